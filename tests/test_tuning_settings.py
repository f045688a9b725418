"""The choices of a search: what excludes what, and what follows of them."""

import pytest

from guarismo.errors import RunError
from guarismo.tuning.settings import TuneSettings


def test_one_metric_is_searched_unless_a_second_stands_against_it():
    assert TuneSettings().metrics == ("validation_accuracy",)
    assert TuneSettings(against="parameters").metrics == ("validation_accuracy", "parameters")


def test_less_is_better_of_a_loss_and_of_parameters():
    assert TuneSettings(metric="validation_loss", against="images_per_second").directions == ("minimize", "maximize")
    assert TuneSettings(against="parameters").directions == ("maximize", "minimize")


def test_fewer_than_three_seeds_tell_no_gain_from_luck():
    with pytest.raises(RunError, match="--seeds must be 3 or more, received 2"):
        TuneSettings(seeds=2)
    assert TuneSettings(seeds=0).seeds == 0


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"sampler": "tpee"}, {"minutes": -1.0}, {"jobs": True}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(RunError):
        TuneSettings(**wrong)
