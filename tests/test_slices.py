"""Slices that fail: planted into the errors of the embedded digits, and none where errors fall as they may."""

import numpy as np
import pytest

from guarismo.data.shapes import measure
from guarismo.data.sources import load
from guarismo.results.slices import failing_slices


@pytest.fixture(scope="module")
def digits():
    """Labels and shapes of the 3,500 training digits."""
    train = load("digits").train
    return train.labels, measure(train.images)


def wrong_at(labels, rows):
    """Answers that are right but in these rows."""
    answers = labels.copy()
    answers[rows] = (answers[rows] + 1) % 10
    return answers


def test_errors_anywhere_are_no_slice(digits):
    labels, shapes = digits
    for seed in range(20):
        rows = np.random.default_rng(seed).choice(len(labels), 70, replace=False)
        writers = np.arange(len(labels)) // 25
        assert failing_slices(wrong_at(labels, rows), labels, shapes, writers, "writer") == []


def test_a_model_without_errors_has_no_slices(digits):
    labels, shapes = digits
    assert failing_slices(labels, labels, shapes) == []


@pytest.mark.parametrize(
    "name, end, said",
    [
        ("stroke", 1, "thin strokes"),
        ("stroke", -1, "thick strokes"),
        ("slant", 1, "lean to the left"),
        ("slant", -1, "lean to the right"),
        ("ink", -1, "much ink"),
    ],
)
def test_one_end_of_a_measure_is_found(digits, name, end, said):
    labels, shapes = digits
    rng = np.random.default_rng(0)
    ends = np.argsort(end * shapes[name])[:350]
    rows = np.concatenate([rng.choice(ends, 60, replace=False), rng.choice(len(labels), 30, replace=False)])
    found = failing_slices(wrong_at(labels, rows), labels, shapes, split="test")
    assert said in found[0].sentence() and found[0].values["n"] >= 350
    assert np.isin(found[0].images, rows).all() and found[0].split == "test"


def test_where_all_lean_to_the_right_none_is_said_to_lean_to_the_left(digits):
    labels, shapes = digits
    upright = np.argsort(shapes["slant"])[:350]
    slant = shapes["slant"] - shapes["slant"].min() + 5
    assert failing_slices(wrong_at(labels, upright[::4]), labels, {"slant": slant}) == []
    assert failing_slices(wrong_at(labels, upright[::4]), labels, {"slant": slant - 300})[0].values["limit"] > 0
    flipped = failing_slices(wrong_at(labels, upright[::4]), labels, {"slant": -slant})
    assert flipped == []


def test_a_hard_class_is_no_slice_by_its_shape(digits):
    """Only 8s are wrong, every second one: two holes are theirs, and explain nothing."""
    labels, shapes = digits
    eights = np.flatnonzero(labels == 8)[::2]
    assert failing_slices(wrong_at(labels, eights), labels, shapes) == []


def test_a_writer_whose_images_fail_is_named(digits):
    labels, shapes = digits
    writers = np.arange(len(labels)) // 25 + 1_000
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.arange(250, 262), rng.choice(len(labels), 30, replace=False)])
    found = failing_slices(wrong_at(labels, rows), labels, shapes, writers, "writer")
    assert [finding.values["limit"] for finding in found] == [1_010]
    assert "by writer 1010" in found[0].sentence()
    assert failing_slices(wrong_at(labels, rows), labels, shapes, writers, "original") == []


def test_images_without_ink_are_in_no_slice(digits):
    labels, shapes = digits
    empty = {name: np.full(len(labels), np.nan, dtype=np.float32) for name in shapes}
    assert failing_slices(wrong_at(labels, np.arange(100)), labels, empty) == []
