"""Normalising: a glyph of any size and any pen becomes the image that MNIST would have made of it."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import guarismo
from foreign import fuzz
from guarismo.data.images import Pixels
from guarismo.data.normalise import (
    BOX,
    SIDE,
    THICKEST,
    THINNEST,
    crop,
    even_strokes,
    normalise,
    stroke_width,
    thicken,
    thin,
)


@pytest.fixture(scope="module")
def mnist() -> Pixels:
    """200 images of MNIST, uint8 (200, 28, 28)."""
    return guarismo.load("digits").validation.images[:200, ..., 0]


def alike(one: Pixels, other: Pixels) -> float:
    """The correlation of two images, where one of them may lie a pixel further in any direction."""
    return max(
        np.corrcoef(np.roll(one, (down, right), (0, 1)).ravel(), other.ravel())[0, 1]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    )


def middle_of_mass(image: Pixels) -> tuple[float, float]:
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return float((rows * image).sum() / image.sum()), float((columns * image).sum() / image.sum())


def longer_side(image: Pixels) -> int:
    return max(cv2.boundingRect(image)[2:])


def seven(side: int, pen: int) -> Pixels:
    """A 7 of straight strokes on (side, side)."""
    canvas = np.zeros((side, side), np.uint8)
    corners = np.array([(0.2, 0.15), (0.75, 0.15), (0.4, 0.85)]) * side
    cv2.polylines(canvas, [corners.astype(np.int32)], False, 255, pen)
    return canvas


def strokes(glyph: Pixels) -> float:
    """The stroke width of what the glyph is brought to, as a share of its longer side."""
    fine = even_strokes(glyph)
    return stroke_width(fine > 127) / max(fine.shape)


# What MNIST is


def test_an_image_of_mnist_stays_what_it_is(mnist):
    likeness = [alike(normalise(image), image) for image in mnist]
    assert np.median(likeness) > 0.99
    assert np.mean(np.array(likeness) > 0.95) > 0.93  # loose bits and the thinnest pens: the rest
    assert alike(normalise(mnist[0]), mnist[1]) < 0.8, "a measure by which all are alike"


def test_a_glyph_fills_the_box_and_its_mass_is_in_the_middle(mnist):
    for image in map(normalise, mnist):
        assert longer_side(image) == BOX
        row, column = middle_of_mass(image)
        assert abs(row - SIDE / 2) <= 1 and abs(column - SIDE / 2) <= 1


def test_the_middle_is_where_mnist_has_it(mnist):
    """On the whole: an image has whole pixels to move by."""
    ours, theirs = (
        np.mean([middle_of_mass(image) for image in images], 0) for images in (map(normalise, mnist), mnist)
    )
    np.testing.assert_allclose(ours, theirs, atol=0.2)


def test_edges_stay_grey(mnist):
    images = np.stack([normalise(image) for image in mnist])
    assert 0.1 < np.mean((images[images > 0] > 20) & (images[images > 0] < 235)) < 0.7


def test_where_a_glyph_lies_makes_no_difference(mnist):
    wide = np.zeros((90, 60), np.uint8)
    wide[50:78, 3:31] = mnist[4]
    np.testing.assert_array_equal(normalise(wide), normalise(mnist[4]))


# Any size


@pytest.mark.parametrize("side", [40, 2000])
def test_size_makes_no_difference(side, mnist):
    likeness = []
    large = [crop(cv2.resize(image, None, fx=60, fy=60, interpolation=cv2.INTER_CUBIC)) for image in mnist[:30]]
    for glyph in large:
        of_400, other = (
            normalise(
                cv2.resize(glyph, None, fx=longer / max(glyph.shape), fy=longer / max(glyph.shape), interpolation=3)
            )
            for longer in (400, side)
        )
        likeness.append(alike(of_400, other))
    assert np.median(likeness) > 0.98 and min(likeness) > 0.8


def test_proportions_are_kept():
    bar = np.full((300, 60), 255, np.uint8)
    _, _, width, height = cv2.boundingRect(normalise(bar))
    assert height == BOX and width in (3, 4, 5)
    _, _, width, height = cv2.boundingRect(normalise(bar.T.copy()))
    assert width == BOX and height in (3, 4, 5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 30), (30, 1), (1, 3000), (3000, 1)])
def test_the_smallest_glyphs_are_inside_the_image(shape):
    image = normalise(np.full(shape, 255, np.uint8))
    assert image.shape == (SIDE, SIDE) and image.max() > 127
    height, width = shape
    across, down = cv2.boundingRect(image)[2:]
    assert (across > down) == (width > height) and max(across, down) <= BOX


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (5, 900)])
@pytest.mark.parametrize("level", [0, 127])
def test_blank_stays_blank(shape, level):
    """Ink above half is ink."""
    assert crop(np.full(shape, level, np.uint8)) is None
    assert not normalise(np.full(shape, level, np.uint8)).any()


@fuzz
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_any_ink_is_an_image(ink):
    before = ink.copy()
    image = normalise(ink)
    assert image.shape == (SIDE, SIDE) and image.dtype == np.uint8
    assert image.any() == (ink > 127).any()
    np.testing.assert_array_equal(ink, before)


@fuzz
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_any_blots_are_an_image(height, width, seed):
    """What thresholds leave of large pictures: solid patches, which hypothesis does not draw by itself."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4), np.uint8)
    ink = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    assert normalise(ink).any() == (ink > 127).any()


# Any pen


@pytest.mark.parametrize("pen", [1, 2, 4, 10])
def test_a_thin_pen_is_thickened(pen):
    """Of 1,000 pixels: a ballpoint in a photo of 12 megapixels has 20."""
    ink = seven(1000, pen)
    assert stroke_width(crop(ink) > 0) / 700 < 0.03
    assert strokes(crop(ink)) == pytest.approx(THINNEST, rel=0.25)
    assert alike(normalise(ink), normalise(seven(1000, 80))) > 0.85


@pytest.mark.parametrize("pen", [210, 260])
def test_a_thick_pen_is_thinned(pen):
    glyph = crop(seven(1000, pen))
    before = stroke_width(glyph > 0) / max(glyph.shape)
    assert before > THICKEST + 0.02
    assert strokes(glyph) < min(before - 0.01, THICKEST + 0.04)  # of a 7 with its corners


def test_a_pen_between_the_limits_stays():
    glyph = crop(seven(1000, 90))
    assert THINNEST < stroke_width(glyph > 0) / max(glyph.shape) < THICKEST
    assert strokes(glyph) == pytest.approx(stroke_width(glyph > 0) / max(glyph.shape), rel=0.05)


def test_thinning_breaks_nothing():
    """Two thick bars joined by a thin one: it stays, however much of them is to go."""
    canvas = np.zeros((80, 80), np.uint8)
    canvas[10:70, 5:30] = canvas[10:70, 50:75] = 255
    canvas[38:42, 30:50] = 255
    for by in (2, 10, 20):
        left = thin(canvas, by)
        assert cv2.connectedComponents(left)[0] == 2, f"in pieces, {by} pixels thinner"
        assert np.count_nonzero(left) < np.count_nonzero(canvas) or by == 20


def test_thickening_adds_as_much_on_every_side():
    thick = thicken(np.full((4, 40), 255, np.uint8), 6)
    assert thick.shape == (10, 46)


# Measuring strokes


@pytest.mark.parametrize("width", [1, 6, 20])
def test_stroke_width_of_a_known_bar(width):
    """A level edge is measured 4/π too short, a diagonal one a tenth too long: pens do not keep to one slant."""
    bar = np.zeros((50, 5000), bool)
    bar[10 : 10 + width, 10:-10] = True
    for mask in (bar, bar.T.copy()):
        assert stroke_width(mask) == pytest.approx(width * 4 / np.pi, rel=0.01)


def test_stroke_width_is_right_on_average_over_all_slants():
    measured, rows = [], np.mgrid[-450:450, -450:450]
    for angle in np.deg2rad(range(0, 180, 5)):
        along, across = (rows[0] * np.cos(a) + rows[1] * np.sin(a) for a in (angle, angle + np.pi / 2))
        measured.append(stroke_width((abs(along) < 440) & (abs(across) < 10)))
    assert np.mean(measured) == pytest.approx(20, rel=0.05)


def test_stroke_width_of_a_disc_is_half_its_diameter():
    disc = cv2.circle(np.zeros((200, 200), np.uint8), (100, 100), 80, 255, -1)
    assert stroke_width(disc > 0) == pytest.approx(80, rel=0.03)


def test_nothing_has_no_stroke_width():
    assert stroke_width(np.zeros((5, 5), bool)) == 0
