"""Handwriting: an epoch is made by its seed alone, digits stay the digits they are, and marks are none."""

import zlib

import cv2
import numpy as np
import pytest

import guarismo
from guarismo.data import handwriting
from guarismo.data.dataset import UNKNOWN
from guarismo.data.handwriting import (
    CHUNK,
    FAULTS,
    FORMS,
    MARK_KINDS,
    MARKS,
    bent,
    draw_marks,
    drawn_digit,
    epoch_of,
    marks_for,
    parse,
    photographed,
    spline,
    variant,
)
from guarismo.data.images import Pixels
from guarismo.data.normalise import SIDE, normalise
from guarismo.errors import RunError
from guarismo.models.settings import RECIPES
from guarismo.reading.reader import shipped_reader
from guarismo.reading.refusal import READ_FROM

KINDS = {kind.__name__: kind for kind in MARK_KINDS}


@pytest.fixture(scope="module")
def digits() -> tuple[Pixels, np.ndarray]:
    """Images uint8 (300, 28, 28, 1) that no reader was trained on, and labels."""
    split = guarismo.load("digits").validation
    return split.images[:300], split.labels[:300]


@pytest.fixture(scope="module")
def epoch(digits) -> tuple[Pixels, np.ndarray]:
    return epoch_of(*digits, [0, 1])


def answers(images: Pixels) -> np.ndarray:
    """What the reader that comes with the package says, (n, 10)."""
    return shipped_reader().judge(images)


# An epoch


def test_the_same_seed_is_the_same_epoch(digits, epoch):
    for one, again in zip(epoch, epoch_of(*digits, [0, 1]), strict=True):
        np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize("seed", [[0, 2], [1, 1]])
def test_another_seed_or_number_is_another_epoch(digits, epoch, seed):
    images, labels = epoch_of(*digits, seed)
    assert images.shape == epoch[0].shape and sorted(labels) == sorted(epoch[1])
    again = {image.tobytes() for image in images} & {image.tobytes() for image in epoch[0]}
    assert len(again) < 0.03 * len(images)  # those that are left as they are, in both


def test_each_image_has_one_variant_of_its_label_and_marks_are_unknown(digits, epoch):
    images, labels = epoch
    assert images.shape == (300 + marks_for(300), SIDE, SIDE, 1) and images.dtype == np.uint8
    for digit in range(10):
        assert (labels == digit).sum() == (digits[1] == digit).sum()
    assert (labels == UNKNOWN).sum() == marks_for(300) == round(300 * MARKS)


def test_digits_and_marks_are_mixed(epoch):
    marks = np.flatnonzero(epoch[1] == UNKNOWN)
    assert marks[0] < 30 and marks[-1] > len(epoch[1]) - 30


def test_a_variant_has_the_label_of_its_image(epoch):
    """Were labels and images in another order, one in ten would be right."""
    images, labels = epoch
    read = answers(images)
    known = labels != UNKNOWN
    assert (read[known].argmax(axis=1) == labels[known]).mean() > 0.95
    assert (read[~known].max(axis=1) < READ_FROM).mean() >= 0.9


@pytest.mark.parametrize("count", [0, 1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7, 54_001])
def test_the_count_of_marks_is_the_sum_over_the_parts(count):
    parts = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    assert marks_for(count) == sum(round(MARKS * part) for part in parts)


def test_several_parts_are_one_epoch(digits, monkeypatch):
    monkeypatch.setattr(handwriting, "CHUNK", 70)
    images, labels = epoch_of(*digits, [0, 1])
    assert len(images) == len(labels) == 300 + marks_for(300)
    assert [(labels == digit).sum() for digit in range(10)] == [(digits[1] == digit).sum() for digit in range(10)]
    drawn = {zlib.crc32(image.tobytes()) for image in images if image.any()}
    assert len(drawn) > 0.95 * len(images), "parts that are made of the same chances"


# Digits


@pytest.mark.parametrize("digit", FORMS)
def test_a_drawn_digit_is_read_as_itself(digit):
    rng = np.random.default_rng(digit)
    read = answers(np.stack([normalise(drawn_digit(digit, rng)) for _ in range(40)]))
    assert (read.argmax(axis=1) == digit).mean() >= 0.9


def test_every_form_of_every_digit_is_drawn():
    assert set(FORMS) == set(range(10))
    for digit, forms in FORMS.items():
        rng = np.random.default_rng(0)
        seen = {drawn_digit(digit, rng).tobytes() for _ in range(30)}
        assert len(seen) == 30
        for form in forms:
            for _, points in parse(form):
                assert len(points) >= 2 and points.min() >= 0 and points.max() <= 100


@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_bending_keeps_what_a_digit_is(digits, strength):
    images, labels = digits
    rng = np.random.default_rng(0)
    changed = np.stack([bent(image, rng, strength) for image in images[..., 0]])
    assert changed.shape == images.shape[:3] and changed.dtype == np.uint8
    moved = np.abs(changed.astype(int) - images[..., 0]).mean(axis=(1, 2))
    assert moved.min() > 1, "an image that stays as it was"
    assert (answers(np.stack([normalise(image) for image in changed])).argmax(axis=1) == labels).mean() >= 0.9


def test_bending_leaves_the_original_alone(digits):
    image = digits[0][0, ..., 0].copy()
    bent(image, np.random.default_rng(0))
    np.testing.assert_array_equal(image, digits[0][0, ..., 0])


@pytest.mark.parametrize("fault", [fault for fault, _ in FAULTS], ids=lambda fault: fault.__name__)
def test_what_befalls_a_glyph_changes_it_and_leaves_it_readable(digits, fault):
    images, labels = digits
    rng = np.random.default_rng(0)
    large = [cv2.resize(image, (84, 84), interpolation=cv2.INTER_CUBIC) for image in images[:100, ..., 0]]
    before = [glyph.copy() for glyph in large]
    hurt = [fault(glyph, rng) for glyph in large]
    assert all(np.array_equal(*pair) for pair in zip(large, before, strict=True)), "the original was drawn upon"
    assert all(glyph.dtype == np.uint8 for glyph in hurt)
    changed = [a.shape != b.shape or (a != b).any() for a, b in zip(large, hurt, strict=True)]
    assert np.mean(changed) > 0.4  # some miss the ink
    read = answers(np.stack([normalise(glyph) for glyph in hurt])).argmax(axis=1)
    assert (read == labels[:100]).mean() >= 0.85


def test_a_blank_image_has_variants_too():
    """A data set may hold one."""
    rng = np.random.default_rng(0)
    blank = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(200):
        assert (
            variant(blank, 3, rng, blank[None]).shape
            == photographed(np.zeros((84, 84), np.uint8), rng).shape
            == (SIDE, SIDE)
        )


def test_a_spline_goes_through_its_points():
    points = np.array([(0.0, 0), (10, 20), (40, 5), (41, 90)])
    curve = spline(points)
    for point in points:
        assert np.abs(curve - point).sum(axis=1).min() < 1e-9


# Marks


@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_is_drawn_and_refused(kind, digits):
    rng = np.random.default_rng(0)
    marks = np.stack([KINDS[kind](rng, digits[0][..., 0]) for _ in range(60)])
    assert marks.shape == (60, SIDE, SIDE) and marks.dtype == np.uint8
    assert np.mean([mark.any() for mark in marks]) > (0.6 if kind == "noise" else 0.9)
    assert len({mark.tobytes() for mark in marks}) > 40
    assert (answers(marks).max(axis=1) < READ_FROM).mean() >= 0.85


def test_marks_of_all_kinds_are_refused(digits):
    marks = draw_marks(500, np.random.default_rng(1), digits[0][..., 0])
    assert (answers(marks).max(axis=1) < READ_FROM).mean() >= 0.9


@pytest.mark.parametrize("count", [0, 1, 17])
def test_as_many_marks_as_asked_for(digits, count):
    assert draw_marks(count, np.random.default_rng(0), digits[0][..., 0]).shape == (count, SIDE, SIDE)


# In a training


def test_a_training_sees_the_same_images_when_it_goes_on(digits):
    pytest.importorskip("keras", reason="training is the [train] extra")
    from guarismo.data.dataset import Split
    from guarismo.models.fitting import epoch_chunks

    split, settings = Split(*digits), RECIPES["reader"]
    (third,), (again,), (fourth,) = (epoch_chunks(split, settings, number) for number in (3, 3, 4))
    np.testing.assert_array_equal(third[0], again[0])
    np.testing.assert_array_equal(third[1], again[1])
    assert (third[0] != fourth[0]).any()


def test_a_step_of_training_counts_the_marks(digits):
    pytest.importorskip("keras", reason="training is the [train] extra")
    from guarismo.data.dataset import Split
    from guarismo.models.fitting import epoch_chunks, steps_of

    split, settings = Split(*digits), RECIPES["reader"]
    ((images, _),) = epoch_chunks(split, settings, 1)
    assert steps_of(split, settings) == -(-len(images) // settings.batch_size)


def test_a_mark_is_to_be_answered_with_no_confidence():
    pytest.importorskip("keras", reason="training is the [train] extra")
    from guarismo.models.fitting import targets

    wanted = targets(np.array([2, UNKNOWN]), 10)
    np.testing.assert_allclose(wanted, [np.eye(10)[2], np.full(10, 0.1)])


@pytest.mark.parametrize(
    "odd",
    [{"side": 8}, {"side": 28, "channels": 3}, {"side": 28, "classes": 3}, {"side": 28, "classes": 10}],
    ids=["small", "colour", "three classes", "other classes"],
)
def test_the_recipe_of_the_reader_refuses_what_is_no_mnist(odd, tmp_path):
    pytest.importorskip("keras", reason="training is the [train] extra")
    from dataclasses import replace

    from guarismo.models.training import train
    from tiny_run import bars_dataset

    with pytest.raises(RunError, match=r"28×28|ten digits"):
        train(bars_dataset(**odd), replace(RECIPES["reader"], epochs=1), tmp_path / "run")
    assert not (tmp_path / "run" / "model.onnx").exists()
