"""Shapes: what is drawn with a known slant, width, number of holes, box and ink is measured so."""

import math

import cv2
import numpy as np
import pytest

from guarismo.data import leaks
from guarismo.data.dataset import Mapped
from guarismo.data.shapes import MEASURES, measure
from guarismo.data.sources import load

FINE = 16
"""Drawn so many times as large and then shrunk, for edges of half-grey pixels as those of a scan."""


def bar(width: float, degrees: float = 0.0, length: float = 18, side: int = 28, aside: float = 0.3) -> np.ndarray:
    """A straight stroke that leans to the right by so many degrees, so many pixels off the middle, (side, side)."""
    lean = math.radians(degrees)
    along, across = np.array([math.sin(lean), -math.cos(lean)]), np.array([math.cos(lean), math.sin(lean)])
    corners = [a * length / 2 * along + b * width / 2 * across for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
    large = np.zeros((side * FINE, side * FINE), dtype=np.uint8)
    cv2.fillPoly(large, [np.round((np.array(corners) + side / 2 + aside) * FINE).astype(np.int32)], 255)
    return cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)


def rings(number: int, side: int = 28) -> np.ndarray:
    """So many rings, one above the other."""
    image = np.zeros((side, side), dtype=np.uint8)
    for place in range(number):
        cv2.circle(image, (side // 2, 5 + 9 * place), 4, 255, 1)
    return image


def of(*images: np.ndarray) -> dict[str, np.ndarray]:
    return measure(np.stack(images)[..., None])


def one(image: np.ndarray) -> dict[str, float]:
    return {name: float(column[0]) for name, column in of(image).items()}


@pytest.mark.parametrize("degrees", (-45, -20, 0, 10, 30))
def test_the_slant_is_the_angle_from_upright_and_positive_to_the_right(degrees):
    assert one(bar(2, degrees))["slant"] == pytest.approx(degrees, abs=1.5)


def test_what_lies_flat_is_at_a_right_angle_and_no_more():
    image = np.zeros((28, 28), dtype=np.uint8)
    image[14, 4:24] = 255
    assert abs(one(image)["slant"]) <= 90


@pytest.mark.parametrize("width", (1, 1.5, 2, 2.5, 3, 4, 6))
@pytest.mark.parametrize("degrees", (0, 17, 45, 90))
def test_the_width_of_a_stroke_does_not_depend_on_its_direction(width, degrees):
    found = of(*(bar(width, degrees, aside=place / 8) for place in range(8)))["stroke"]
    assert found.mean() == pytest.approx(width, abs=0.4)


@pytest.mark.parametrize("width", (6, 9, 20))
def test_strokes_of_large_images_are_measured_in_their_own_pixels(width):
    assert one(bar(width, 20, length=150, side=200))["stroke"] == pytest.approx(width, abs=0.6)


@pytest.mark.parametrize("number", (0, 1, 2, 3))
def test_holes_are_counted(number):
    assert one(rings(number) if number else bar(3))["holes"] == number


def test_a_hole_of_one_pixel_is_a_speck():
    image = np.zeros((28, 28), dtype=np.uint8)
    image[8:20, 8:20] = 255
    image[12, 12] = 0
    assert one(image)["holes"] == 0
    image[12, 13] = 0
    assert one(image)["holes"] == 1


def test_a_ring_that_is_open_has_no_hole_and_one_closed_at_a_corner_has():
    image = np.zeros((8, 8), dtype=np.uint8)
    for row, column in ((2, 3), (2, 4), (3, 2), (4, 2), (3, 5), (4, 5), (5, 3), (5, 4)):
        image[row, column] = 255
    assert one(image)["holes"] == 1
    image[2, 3] = 0
    assert one(image)["holes"] == 0


def test_aspect_and_ink_are_those_of_the_box_and_the_pixels():
    image = np.zeros((20, 30), dtype=np.uint8)
    image[5:10, 4:24] = 255
    found = one(image)
    assert (found["aspect"], found["ink"]) == (4, pytest.approx(100 / 600))


def test_a_speck_far_away_changes_nothing():
    image = bar(3, 10)
    with_speck = image.copy()
    with_speck[1, 26] = 255
    assert one(with_speck) == pytest.approx(one(image))


def test_the_ground_is_what_the_border_shows():
    digits = load("digits").test.images[:200]
    expected = measure(digits)
    coloured = np.where(digits > 0, np.array([250, 200, 40], dtype=np.uint8), np.array([10, 40, 30], dtype=np.uint8))
    plain = measure(np.where(digits > 0, 255, 0).astype(np.uint8))
    for name in MEASURES:
        np.testing.assert_allclose(measure(255 - digits)[name], expected[name], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(measure(digits.repeat(3, axis=3))[name], expected[name])
        np.testing.assert_allclose(measure(coloured)[name], plain[name], rtol=1e-4, atol=1e-4)


def test_without_ink_there_is_no_measure():
    faint, speck = np.full((28, 28), 90, dtype=np.uint8), np.zeros((28, 28), dtype=np.uint8)
    faint[5:20, 10] = 100
    speck[9, 9] = 255
    found = of(np.zeros((28, 28), dtype=np.uint8), faint, speck, bar(3))
    for name in MEASURES:
        assert np.isfinite(found[name]).tolist() == [False, False, False, True]


def test_without_an_even_ground_there_is_no_measure():
    noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    assert np.isnan(measure(noise)["ink"]).all()


def test_the_digits_are_measured_as_one_sees_them():
    digits = load("digits").train
    found = measure(digits.images)
    holes = {digit: found["holes"][digits.labels == digit] for digit in range(10)}
    assert min((holes[digit] == 0).mean() for digit in (1, 3, 5, 7)) > 0.95
    assert (holes[0] == 1).mean() > 0.8 and (holes[8] == 2).mean() > 0.55
    assert 0.1 < (holes[2] > 0).mean() < 0.7, "some write the 2 with a loop"
    assert np.median(found["aspect"][digits.labels == 1]) < 0.6 < np.median(found["aspect"][digits.labels == 0])
    assert not any(np.isnan(column).any() for column in found.values())


def test_every_image_is_measured_by_itself(monkeypatch):
    images = load("digits").test.images[:50]
    alone = [measure(images[place : place + 1]) for place in range(50)]
    monkeypatch.setattr(leaks, "BATCH", 7)
    together = measure(images)
    for name in MEASURES:
        assert together[name].dtype == np.float32
        np.testing.assert_allclose(together[name], [float(each[name][0]) for each in alone], rtol=1e-5, atol=1e-4)


def test_images_on_disk_are_measured_as_those_in_memory(tmp_path):
    images = load("digits").test.images[:40]
    np.save(tmp_path / "store.npy", images[::-1])
    mapped = Mapped(np.load(tmp_path / "store.npy", mmap_mode="r"), np.arange(40)[::-1].copy())
    for name, column in measure(mapped).items():
        np.testing.assert_array_equal(column, measure(images)[name])


@pytest.mark.parametrize("shape", ((0, 28, 28, 1), (2, 1, 1, 1), (2, 1, 9, 3), (1, 90, 2, 1)))
def test_images_of_any_shape_are_measured_or_have_none(shape):
    found = measure(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert all(column.shape == (shape[0],) for column in found.values())
