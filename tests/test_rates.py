"""The range test of step sizes, on made-up losses and on real digits."""

import numpy as np
import pytest

from guarismo import Settings, load
from guarismo.errors import RunError
from guarismo.models.rates import best_rate, find_learning_rate, lost, smoothed

RATES = np.geomspace(1e-5, 1, 101)


def test_the_rate_is_half_of_where_the_loss_is_lowest():
    losses = 2.3 - 2 * np.exp(-(np.log10(RATES / 1e-2) ** 2))
    assert best_rate(RATES, losses) == 0.005


def test_a_loss_that_never_falls_has_no_rate():
    with pytest.raises(RunError, match="falls at no step size"):
        best_rate(RATES, np.linspace(2.3, 4, 101))


def test_smoothing_keeps_a_constant_and_its_beginning():
    np.testing.assert_allclose(smoothed([2.0] * 5), 2.0)
    assert smoothed([1.0, 3.0])[0] == 1.0


def test_a_training_is_lost_when_its_loss_is_many_times_its_lowest():
    assert not lost([2.0, 1.0, 2.0])
    assert lost([2.0, 1.0, 90.0])


def test_on_digits_it_names_a_rate_that_trains():
    pytest.importorskip("keras", reason="training is the [train] extra")
    found = find_learning_rate(load("digits"), Settings(model="mlp"))
    assert 100 < len(found.rates) == len(found.losses)
    assert 1e-4 < found.rate < 1e-1


def test_a_forest_has_no_step_size():
    with pytest.raises(RunError, match="'forest' has no step size"):
        find_learning_rate(load("digits"), Settings(model="forest"))
