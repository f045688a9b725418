"""Digits: pieces of ink become digits as whole as they look, in lines as they are read. The judge is the real one."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from guarismo.data.images import Pixels
from guarismo.reading.digits import (
    Glyph,
    components,
    cut_places,
    find_digits,
    joined,
    judged,
    lines_of,
    overlap,
    piece,
    weighted_median,
    writing_height,
)
from guarismo.reading.page import Page, find_ink
from guarismo.reading.reader import shipped_reader
from guarismo.reading.refusal import READ_FROM, sift
from paper import Scene, handwriting, photograph


def sheet(height: int = 300, width: int = 700) -> Pixels:
    """No ink yet, uint8 (h, w)."""
    return np.zeros((height, width), np.uint8)


def put(ink: Pixels, digit: int, left: int, top: int, size: int = 112, number: int = 0) -> Pixels:
    """One of MNIST's images, which the judge was not trained on, its box in the middle of a square of `size`."""
    image = cv2.resize(handwriting()[digit][number], (size, size), interpolation=cv2.INTER_CUBIC)
    place = ink[top : top + size, left : left + size]
    np.maximum(place, image, out=place)
    return ink


def draw(ink: Pixels, *strokes: Sequence[tuple[int, int]], pen: int = 9) -> Pixels:
    for points in strokes:
        cv2.polylines(ink, [np.array(points, np.int32)], False, 255, pen, cv2.LINE_AA)
    return ink


def page_of(ink: Pixels) -> Page:
    """Dark ink on white paper."""
    return find_ink(cv2.cvtColor(255 - ink, cv2.COLOR_GRAY2RGB), False, 0.5)


def found(ink: Pixels) -> list[list[Glyph]]:
    """Lines of glyphs, those alone that are read."""
    lines = find_digits(page_of(ink), shipped_reader().judge)
    return [read for line in lines if (read := [glyph for glyph in line if glyph.confidence >= READ_FROM])]


def text(ink: Pixels) -> list[str]:
    return ["".join(str(glyph.digit) for glyph in line) for line in found(ink)]


def bar(x: int, y: int, width: int, height: int) -> Glyph:
    """A black box, not judged."""
    return piece(np.full((height, width), 255, np.uint8), x, y, 1.0, 0)


# One glyph


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_is_one_glyph(digit):
    (line,) = found(put(sheet(), digit, 200, 100))
    (glyph,) = line
    assert glyph.digit == digit
    assert glyph.box == pytest.approx(cv2.boundingRect((put(sheet(), digit, 200, 100) > 127).view(np.uint8)), abs=4)
    assert glyph.probabilities.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("gap", [2, 6, 10])
def test_a_5_and_its_loose_bar_are_one_digit(gap):
    body = [(200, 110 + gap), (196, 150), (225, 145), (250, 165), (248, 190), (225, 208), (195, 200)]
    ink = draw(sheet(), body, [(206, 102), (262, 100)])
    put(put(ink, 3, 300, 85), 8, 60, 85)
    assert text(ink) == ["853"]


def test_a_4_in_two_strokes_is_one_digit():
    ink = draw(sheet(), [(210, 100), (200, 150), (245, 148)], [(262, 110), (258, 200)])
    put(put(ink, 3, 300, 95), 8, 60, 95)
    assert text(ink) == ["843"]


@pytest.mark.parametrize("digit", [0, 2, 3, 6, 8])
def test_a_stroke_with_a_scratch_across_it_is_one_digit(digit):
    """The gap that a fold leaves, narrower than half a stroke."""
    ink = put(sheet(), digit, 200, 100)
    ink[154:156] = 0
    assert text(ink) == [str(digit)]


def test_neighbours_are_not_joined():
    ink = sheet()
    for place in range(5):
        put(ink, 1, 60 + 40 * place, 100)
    assert text(ink) == ["11111"]


# Touching digits


@pytest.mark.parametrize("pair", ["38", "47", "52", "16", "25", "63", "90"])
def test_touching_digits_are_cut(pair):
    assert text(put(touching(*map(int, pair)), 8, 400, 100)) == [f"{pair}8"]


def touching(one: int, other: int) -> Pixels:
    """Two digits pushed together until their strokes meet, and two pixels further."""
    left, right = put(sheet(), one, 60, 100), put(sheet(), other, 172, 100)
    while pieces(np.maximum(left, right)) == 2:
        right = np.roll(right, -1, axis=1)
    return np.maximum(left, np.roll(right, -2, axis=1))


def pieces(ink: Pixels) -> int:
    return cv2.connectedComponents((ink > 127).view(np.uint8))[0] - 1


def test_a_wide_digit_is_not_cut():
    ink = sheet()
    for place, digit in enumerate((0, 2, 0)):
        here = ink[100:212, 30 + 200 * place : 200 + 200 * place]
        np.maximum(here, cv2.resize(handwriting()[digit][0], (170, 112), interpolation=cv2.INTER_CUBIC), out=here)
    assert text(ink) == ["020"]


# Lines


def test_two_lines_are_read_in_order():
    ink = sheet(400)
    for place, digit in enumerate((7, 0, 3)):
        put(ink, digit, 60 + 110 * place, 60)
        put(ink, digit + 1, 60 + 110 * place, 220)
    assert text(ink) == ["703", "814"]


@pytest.mark.parametrize("tilt", [-9, -5, 5, 9])
def test_a_slanted_line_is_one_line(tilt):
    photo = photograph("30526", Scene(tilt=tilt, pen="felt", height=60), 1)
    lines = find_digits(find_ink(photo.pixels, False, 0.25), shipped_reader().judge)
    assert ["".join(str(glyph.digit) for glyph in line) for line in lines] == ["30526"]


@pytest.mark.parametrize("tilt", [-6, 6])
def test_slanted_lines_are_not_mixed(tilt):
    photo = photograph("3052 7148", Scene(tilt=tilt, pen="felt", height=60), 1)
    lines = find_digits(find_ink(photo.pixels, False, 0.25), shipped_reader().judge)
    assert ["".join(str(glyph.digit) for glyph in line) for line in lines] == ["3052", "7148"]


def test_columns_are_read_row_by_row():
    ink = sheet(460)
    for row, digits in enumerate(((1, 2), (3, 4), (5, 6))):
        put(ink, digits[0], 60, 20 + 145 * row)
        put(ink, digits[1], 480, 20 + 145 * row)
    assert text(ink) == ["12", "34", "56"]


def test_digits_of_different_heights_stay_on_their_line():
    ink = put(put(put(sheet(), 7, 60, 80, size=150), 0, 230, 120), 3, 350, 80, size=140)
    assert text(ink) == ["703"]


# What is no digit


@pytest.mark.parametrize("mark", ["dot", "comma", "specks"])
def test_dots_and_commas_are_no_digits(mark):
    ink = put(put(sheet(), 3, 60, 85), 8, 220, 85)
    if mark == "dot":
        cv2.circle(ink, (190, 178), 6, 255, -1)
    elif mark == "comma":
        draw(ink, [(192, 172), (184, 194)])
    else:
        for x, y in np.random.default_rng(0).integers((20, 20), (680, 280), (40, 2)):
            cv2.circle(ink, (int(x), int(y)), 1, 255, -1)
    lines = sift(page_of(ink), shipped_reader().judge).lines
    assert [[glyph.digit for glyph in line] for line in lines] == [[3, 8]]


def test_no_ink_is_no_line():
    page = page_of(sheet())
    assert not page.ink.any()
    assert find_digits(page, shipped_reader().judge) == []
    assert components(page.ink, page.contrast) == judged([], shipped_reader().judge) == lines_of([], 10) == []


def test_all_ink_is_no_error():
    page = page_of(draw(sheet(), [(350, 0), (350, 299)], pen=60))
    full = Page(page.grey, page.contrast, page.noise, *(np.full_like(page.ink, 255) for _ in range(4)), 1.0, False)
    assert isinstance(find_digits(full, shipped_reader().judge), list)


# Plain functions


@pytest.mark.parametrize(
    ("values", "weights", "middle"),
    [
        ([5], [1], 5),
        ([3, 1, 2], [1, 1, 1], 2),
        ([1, 2, 9], [1, 1, 5], 9),
        ([9, 1], [0.2, 5], 1),
        ([4, 4, 8], [0, 0, 1], 8),
    ],
)
def test_weighted_median(values, weights, middle):
    assert weighted_median(values, weights) == middle


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [((0, 10), (5, 10), 0.5), ((0, 10), (2, 4), 1), ((0, 4), (4, 9), 0), ((0, 4), (90, 9), 0)],
)
def test_overlap_is_a_share_of_the_shorter(one, other, share):
    assert overlap(*one, *other) == overlap(*other, *one) == share


def test_cuts_are_where_there_is_least_ink():
    ink, strokes = np.full(60, 20, np.float32), np.ones(60, np.float32)
    ink[18:23], ink[40:45], ink[25] = 3, 5, 4
    (best, price), (second, dearer) = cut_places(ink, strokes, least=10)
    assert (best, second) == (20, 42) and price < dearer


def test_a_cut_through_one_stroke_is_cheaper_than_one_through_two():
    """A 0 and an 8 have as little ink in their middle as the place where two digits touch."""
    ink, strokes = np.full(60, 20, np.float32), np.ones(60, np.float32)
    ink[18:23] = ink[40:45] = 6
    strokes[18:23] = 2
    assert next(place for place, _ in cut_places(ink, strokes, least=10)) == 42


def test_cuts_keep_away_from_the_ends():
    ink, strokes = np.full(40, 20, np.float32), np.ones(40, np.float32)
    ink[[2, 38]] = 0
    assert all(8 <= place < 32 for place, _ in cut_places(ink, strokes, least=8))
    assert cut_places(ink[:12], strokes[:12], least=8) == []


def test_the_parts_of_a_glyph_are_joined_in_their_places():
    both = joined([bar(10, 20, 5, 30), bar(25, 10, 10, 10)])
    assert both.box == (10, 10, 25, 40)
    assert both.mass == pytest.approx(5 * 30 + 10 * 10)
    assert both.mask[0, -1] and both.mask[-1, 0] and not both.mask[0, 0] and not both.mask[-1, -1]


def test_the_height_of_writing_is_that_of_its_digits_and_not_of_dirt():
    ink = put(put(sheet(), 3, 60, 85), 8, 220, 85)
    for x in range(400, 690, 12):
        cv2.circle(ink, (x, 250), 3, 255, -1)
    page = page_of(ink)
    parts = judged(components(page.ink, page.contrast), shipped_reader().judge)
    assert writing_height(parts, page.ink.shape) == pytest.approx(80, abs=6)


def test_a_glyph_that_was_judged_is_not_judged_again():
    asked = []

    def judge(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return shipped_reader().judge(images)

    page = find_ink(photograph("34", Scene(height=60), 0).pixels, False, 0.25)
    once = judged(components(page.ink, page.contrast), judge)
    assert judged(once, judge) == once
    assert asked == [len(once)]
