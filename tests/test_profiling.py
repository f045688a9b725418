"""Where the time of a training goes."""

import pytest

from guarismo import Settings, load
from guarismo.errors import RunError
from guarismo.models.profiling import profile


def test_every_part_of_a_training_has_its_time():
    pytest.importorskip("keras", reason="training is the [train] extra")
    parts = {part.name: part for part in profile(load("digits"), Settings(model="linear", shift=0.1, batch_size=100))}
    each_step = ["augment", "forward", "backward", "optimiser"]
    assert list(parts) == ["load", *each_step, "validation", "compile", "export"]
    assert {parts[name].times for name in each_step} == {35}
    assert (parts["load"].times, parts["validation"].times, parts["compile"].times, parts["export"].times) == (
        1,
        1,
        0,
        0,
    )
    assert all(part.seconds >= 0 for part in parts.values()) and parts["export"].seconds > 0


def test_without_augmentation_it_is_no_part():
    pytest.importorskip("keras", reason="training is the [train] extra")
    assert "augment" not in [part.name for part in profile(load("digits"), Settings(model="linear"))]


def test_a_forest_has_no_such_parts():
    with pytest.raises(RunError, match="'forest' is none"):
        profile(load("digits"), Settings(model="forest"))
