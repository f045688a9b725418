"""Augmentation: within its limits, only in training, and not a pixel otherwise."""

import numpy as np
import pytest

pytest.importorskip("keras", reason="training is the [train] extra")

from guarismo.models.augmentation import RandomAffine, RandomErase, RandomMirror, RandomShift, augmentation
from guarismo.models.settings import Settings


def square(side: int = 29) -> np.ndarray:
    """A white square of 9×9 in the middle of black images, (64, side, side, 1)."""
    images = np.zeros((64, side, side, 1), dtype=np.uint8)
    images[:, 10:19, 10:19] = 255
    return images


def middles(images) -> np.ndarray:
    """Centre of mass of each image, (n, 2): row, column."""
    mass = np.asarray(images)[..., 0].astype(float)
    axis = np.arange(mass.shape[1])
    total = mass.sum(axis=(1, 2))
    return np.stack([(mass.sum(axis=2) @ axis) / total, (mass.sum(axis=1) @ axis) / total], axis=1)


def test_no_layer_where_nothing_is_asked():
    assert augmentation(Settings()) == []


def test_nothing_moves_outside_training():
    np.testing.assert_array_equal(RandomAffine(30, 0.2, 0.3, seed=0)(square()), square())


def test_shift_moves_by_at_most_its_share_and_both_ways():
    moved = middles(RandomAffine(0, 0.1, 0, seed=0)(square(), training=True)) - 14
    assert np.abs(moved).max() <= 2.9 + 0.01
    assert moved.min() < -1.5 and moved.max() > 1.5


def test_rotation_turns_about_the_middle_of_the_image():
    turned = RandomAffine(45, 0, 0, seed=0)(square(), training=True)
    np.testing.assert_allclose(middles(turned), 14, atol=0.05)
    assert np.asarray(turned)[:, 10, 10].min() < 50  # a corner of the square has gone elsewhere in some image


def test_zoom_enlarges_and_shrinks_within_its_share():
    area = np.asarray(RandomAffine(0, 0, 0.2, seed=0)(square(), training=True)).sum(axis=(1, 2, 3)) / 255 / 81
    assert 0.8**2 - 0.05 <= area.min() < 0.8 and 1.2 < area.max() <= 1.2**2 + 0.05


def test_a_light_background_stays_light():
    white = np.full((16, 12, 12, 3), 250, dtype=np.uint8)
    np.testing.assert_allclose(RandomAffine(20, 0.3, 0.2, seed=0)(white, training=True), 250, atol=0.01)


def test_same_seed_same_variants():
    first, again, other = (np.asarray(RandomAffine(15, 0.1, 0.1, seed)(square(), training=True)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_shift_alone_moves_by_whole_pixels_and_changes_no_value():
    images = np.random.default_rng(0).integers(0, 256, (32, 12, 9, 3), dtype=np.uint8)
    moved = np.asarray(RandomShift(0.2, seed=0)(images, training=True)).astype(np.uint8)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    offsets = set()
    for index, image in enumerate(moved):
        places = [(y, x) for y in range(5) for x in range(5) if (padded[index, y : y + 12, x : x + 9] == image).all()]
        assert len(places) == 1, "one of the images that whole pixels of movement can make"
        offsets |= set(places)
    assert len(offsets) > 10


def test_whole_pixels_are_chosen_where_nothing_but_a_shift_is_asked():
    assert [type(layer) for layer in augmentation(Settings(shift=0.1))] == [RandomShift]
    assert [type(layer) for layer in augmentation(Settings(shift=0.1, rotation=5.0))] == [RandomAffine]
    kinds = [type(layer) for layer in augmentation(Settings(mirror=True, erase=0.3, shift=0.1))]
    assert kinds == [RandomShift, RandomMirror, RandomErase]


def test_about_half_of_the_images_are_mirrored_and_the_others_left_alone():
    images = np.random.default_rng(1).integers(0, 256, (200, 6, 8, 1), dtype=np.uint8)
    mirrored = np.asarray(RandomMirror(seed=0)(images, training=True))
    same, turned = ((mirrored == other).all(axis=(1, 2, 3)) for other in (images, images[:, :, ::-1]))
    assert (same | turned).all() and 60 < turned.sum() < 140


def test_a_square_of_the_asked_share_is_blanked():
    white = np.full((200, 20, 20, 1), 255, dtype=np.uint8)
    erased = (np.asarray(RandomErase(0.5, seed=0)(white, training=True)) == 0).sum(axis=(1, 2, 3))
    assert erased.max() == 100 and 25 <= erased.min() < 100, "10 by 10, less where it reaches over the edge"


@pytest.mark.parametrize("layer", [RandomShift(0.2, 0), RandomMirror(0), RandomErase(0.5, 0)])
def test_images_to_be_answered_are_left_alone(layer):
    np.testing.assert_array_equal(np.asarray(layer(square())).astype(np.uint8), square())
