"""Augmentation: within its limits, only in training, and not a pixel otherwise."""

import numpy as np
import pytest

pytest.importorskip("keras", reason="training is the [train] extra")

from guarismo.models.augmentation import RandomAffine, augmentation
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
