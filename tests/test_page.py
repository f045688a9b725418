"""Pages: ink is found where it is, whatever the light, and printed lines go, the strokes across them stay."""

import cv2
import numpy as np
import pytest

from guarismo.data.images import Pixels
from guarismo.reading.intake import WORKING_SIDE, shrunk
from guarismo.reading.page import (
    SMALLEST_SIDE,
    Page,
    at_most,
    enlarged,
    find_ink,
    find_lines,
    ink_is_light,
    ink_on,
    odd,
    parts_of,
    strongest_near,
    surface_of,
    without_rules,
    workable,
)
from guarismo.reading.reader import BREADTHS
from paper import PENS, Scene, mark_photo, photograph

LIGHTS = ("even", "gradient", "hard_shadow", "vignette")
TEXT = "3052 714"


def seen(pixels: Pixels, light_ink: bool = False, breadth: float = 0.25) -> Page:
    """The page without its printed lines."""
    page = find_ink(pixels, light_ink, breadth)
    return without_rules(page, find_lines(page))


def about(ink: np.ndarray) -> np.ndarray:
    """Within 2 pixels of it."""
    return cv2.dilate((ink > 0).astype(np.uint8), np.ones((5, 5))) > 0


def recall(page: Page, truth: np.ndarray) -> float:
    """Of the true ink, what was found."""
    return float(about(page.ink)[truth].mean())


def precision(page: Page, truth: np.ndarray) -> float:
    """Of what was found, what is ink."""
    return float(about(truth)[page.ink > 0].mean())


def pieces(ink: Pixels) -> int:
    return cv2.connectedComponents((ink > 0).astype(np.uint8))[0] - 1


def sheet(height: int = 400, width: int = 600) -> Pixels:
    """White paper, uint8 (h, w, 3), to draw on."""
    return np.full((height, width, 3), 235, np.uint8)


def stroke(paper: Pixels, *points: tuple[int, int], pen: int = 9) -> Pixels:
    cv2.polylines(paper, [np.array(points, np.int32)], False, (40, 40, 60), pen, cv2.LINE_AA)
    return paper


def rule(paper: Pixels, *points: tuple[int, int], thick: int = 3) -> Pixels:
    cv2.polylines(paper, [np.array(points, np.int32)], False, (120, 130, 170), thick, cv2.LINE_AA)
    return paper


# Ink


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("pen", ["ballpoint", "marker", "pencil"])
@pytest.mark.parametrize("seed", [0, 1])
def test_ink_is_found_in_any_light(light, pen, seed):
    """At the best of the breadths that the reader tries."""
    photo = photograph(TEXT, Scene(light=light, pen=pen, height=60), seed)
    pages = [seen(photo.pixels, breadth=breadth) for breadth in BREADTHS]
    assert max(min(recall(page, photo.ink), precision(page, photo.ink)) for page in pages) > (
        0.75 if pen == "pencil" else 0.9
    )


@pytest.mark.parametrize("pen", ["chalk", "white_on_black"])
def test_light_ink_on_a_dark_ground_is_found(pen):
    photo = photograph(TEXT, Scene(pen=pen, height=60), 0)
    page = seen(photo.pixels, light_ink=True)
    assert page.light_ink
    assert recall(page, photo.ink) > 0.9 and precision(page, photo.ink) > 0.8
    assert precision(seen(photo.pixels, light_ink=False), photo.ink) < 0.5, "looked at the wrong way"


@pytest.mark.parametrize("pen", PENS)
@pytest.mark.parametrize("light", LIGHTS)
def test_which_of_ink_and_ground_is_lighter(pen, light):
    for seed in (0, 1):
        evidence = ink_is_light(photograph("3052", Scene(pen=pen, light=light, height=60), seed).pixels)
        assert (evidence > 8) if PENS[pen].light else (evidence < 1 / 8)


def test_faint_pencil_is_kept_beside_a_marker():
    pencil, marker = (photograph("314", Scene(pen=pen, height=60), 3, (400, 220)) for pen in ("pencil", "marker"))
    both = np.vstack([pencil.pixels, marker.pixels])
    page = seen(both)
    for part, photo in ((page.ink[:220], pencil), (page.ink[220:], marker)):
        assert about(part)[photo.ink].mean() > 0.9


def test_the_contrast_is_the_same_in_light_and_shadow():
    """Reflectance: paper of half the brightness has ink of half the brightness."""
    paper = stroke(stroke(sheet(), (150, 100), (150, 300)), (450, 100), (450, 300))
    paper[:, 300:] //= 2
    page = find_ink(paper, False, 0.25)
    lit, shaded = page.contrast[120:280, 149:152].mean(), page.contrast[120:280, 449:452].mean()
    assert lit > 0.5 and lit == pytest.approx(shaded, rel=0.1)


# Blank and small pictures


@pytest.mark.parametrize("level", [0, 120, 255], ids=["black", "grey", "white"])
@pytest.mark.parametrize(
    "shape", [(300, 400), (900, 700), (30, 20), (1, 1), (2, 3), (1, 10_000), (10_000, 1), (3, 300)]
)
@pytest.mark.parametrize("light_ink", [False, True])
def test_a_plain_picture_is_an_empty_page(level, shape, light_ink):
    pixels = shrunk(np.full((*shape, 3), level, np.uint8))
    assert max(pixels.shape) <= WORKING_SIDE
    page = seen(pixels, light_ink)
    assert not page.ink.any() and not page.rules.any()
    assert page.ink.shape == page.contrast.shape == page.grey.shape
    assert ink_is_light(pixels) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 2000), (2000, 1), (3, 3), (5, 240), (240, 5), (11, 13)])
def test_noise_of_any_shape_is_a_page(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for breadth in BREADTHS:
        assert seen(pixels, False, breadth).ink.dtype == np.uint8
    assert ink_is_light(pixels) > 0


@pytest.mark.parametrize("seed", range(6))
def test_blank_paper_has_no_ink(seed):
    page = seen(mark_photo("blank", Scene(height=60), seed).pixels)
    assert (page.ink > 0).mean() < 0.002


def test_a_small_picture_is_enlarged_and_says_by_how_much():
    small = photograph("7", Scene(height=24, pen="marker"), 0, (60, 48))
    page = find_ink(small.pixels, False, 0.25)
    assert page.ink.shape == (192, SMALLEST_SIDE) and page.scale == 60 / SMALLEST_SIDE
    x, y, wide, high = (side * page.scale for side in cv2.boundingRect(page.ink))
    assert (x, y, wide, high) == pytest.approx(small.boxes[0], abs=2)
    large = sheet(SMALLEST_SIDE, 30)
    assert workable(large) == (large, 1.0)


def test_a_picture_is_reduced_but_not_enlarged():
    assert at_most(sheet(400, 600), 150).shape == (100, 150, 3)
    assert at_most(sheet(400, 600), 600).shape == (400, 600, 3)


@pytest.mark.parametrize(("size", "kernel"), [(0, 3), (3.9, 3), (4.2, 5), (9, 9), (1e9, 10_001)])
def test_kernels_are_odd(size, kernel):
    assert odd(size) == kernel


# Printed lines


@pytest.mark.parametrize("ruling", ["ruled", "squared", "margin", "boxes", "table"])
@pytest.mark.parametrize("pen", ["felt", "marker"])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_printed_is_taken_out(ruling, pen, seed):
    photo = photograph(TEXT, Scene(ruling=ruling, pen=pen, height=60), seed)
    page = find_ink(photo.pixels, False, 0.25)
    kept = without_rules(page, find_lines(page))
    assert recall(kept, photo.ink) > 0.9 and precision(kept, photo.ink) > 0.7
    assert kept.rules.any() and (kept.traces == page.traces).all()


@pytest.mark.parametrize("slope", [-20, 0, 25])
@pytest.mark.parametrize("thick", [2, 4])
def test_a_stroke_that_crosses_a_line_stays_whole(slope, thick):
    paper = rule(sheet(), (0, 200 - slope), (599, 200 + slope), thick=thick)
    stroke(paper, (300, 120), (300, 290))
    stroke(paper, (420, 120), (370, 290))
    page = find_ink(paper, False, 0.25)
    assert pieces(page.ink) == 1, "the line joins them"
    kept = without_rules(page, find_lines(page))
    assert pieces(kept.ink) == 2
    assert cv2.boundingRect(kept.ink) == pytest.approx((296, 116, 129, 179), abs=6)


def test_the_lines_of_a_margin_go_upright_as_well():
    paper = rule(sheet(), (90, 0), (95, 399))
    stroke(paper, (60, 200), (200, 190))
    kept = seen(paper)
    assert pieces(kept.ink) == 1
    assert cv2.boundingRect(kept.ink)[3] < 40


@pytest.mark.parametrize("side", [60, 150])
def test_a_printed_box_goes_and_its_digit_stays(side):
    paper = sheet()
    for left in (100, 100 + side + 30):
        rule(paper, *(np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) * side + [left, 100]))
        stroke(paper, (left + side // 2, 100 + side // 5), (left + side // 2, 100 + side * 4 // 5), pen=5)
    kept = seen(paper)
    assert pieces(kept.ink) == 2
    assert cv2.boundingRect(kept.ink)[3] < 0.75 * side


def test_a_large_zero_is_no_printed_box():
    paper = sheet()
    cv2.ellipse(paper, (300, 200), (90, 150), 0, 0, 360, (40, 40, 60), 14, cv2.LINE_AA)
    before = find_ink(paper, False, 0.5)
    assert np.count_nonzero(without_rules(before, find_lines(before)).ink) > 0.97 * np.count_nonzero(before.ink)


@pytest.mark.parametrize("digit", "1472")
@pytest.mark.parametrize("pen", ["ballpoint", "marker"])
def test_the_stem_of_a_large_digit_is_no_printed_line(digit, pen):
    """Photographed from so near that it fills the picture."""
    photo = photograph(digit, Scene(height=300, pen=pen, style="european"), 0)
    x, y, wide, high = photo.boxes[0]
    near = slice(y - 25, y + high + 25), slice(x - 25, x + wide + 25)
    page = find_ink(np.ascontiguousarray(photo.pixels[near]), False, 0.5)
    kept = without_rules(page, find_lines(page))
    assert recall(page, photo.ink[near]) > 0.95, "nothing to lose"
    assert recall(kept, photo.ink[near]) > 0.95


def test_a_page_without_lines_stays_as_it_is():
    page = find_ink(photograph(TEXT, Scene(height=60, pen="marker"), 0).pixels, False, 0.25)
    kept = without_rules(page, find_lines(page))
    np.testing.assert_array_equal(kept.ink, page.ink)
    assert not kept.rules.any()


def test_a_large_page_takes_over_paper_and_light_of_its_small_copy():
    photo = photograph(TEXT, Scene(height=120, light="hard_shadow"), 0)
    pixels = shrunk(photo.pixels)
    known = surface_of(at_most(pixels, 640), False)
    page = ink_on(enlarged(known, pixels), 0.25)
    alone = find_ink(pixels, False, 0.25)
    assert page.found.shape == alone.found.shape == pixels.shape[:2]
    differing = np.count_nonzero(page.found != alone.found)
    assert differing < 0.05 * np.count_nonzero(alone.found)


@pytest.mark.parametrize("size", [(2, 2), (700, 40), (1501, 999), (1, 2000)])
def test_a_picture_is_reduced_to_the_side_that_is_asked_for(size):
    pixels = np.full((*size, 3), 200, np.uint8)
    small = at_most(pixels, 400)
    assert max(small.shape[:2]) == min(400, max(size))
    assert (small == 200).all()


def test_pieces_are_numbered_in_16_bits_only_where_that_is_enough():
    few = np.zeros((20, 20), np.uint8)
    few[5:8, 5:8] = few[12:14, 3:9] = 255
    labels, boxes = parts_of(few)
    assert labels.dtype == np.uint16 and boxes[1:].tolist() == [[5, 5, 3, 3, 9], [3, 12, 6, 2, 12]]
    many = np.zeros((600, 600), np.uint8)
    many[::2, ::2] = 255
    labels, boxes = parts_of(many)
    assert labels.dtype == np.int32 and len(boxes) == 300 * 300 + 1 and labels.max() == 300 * 300


def test_the_strongest_contrast_close_by_is_about_the_same_in_a_large_plane_and_a_small_one():
    plane = np.zeros((1400, 1000), np.float32)
    plane[600:640, 400:700] = 0.8
    large, small = strongest_near(plane), strongest_near(np.ascontiguousarray(plane[::2, ::2]))
    assert large.shape == plane.shape
    assert np.abs(large[::2, ::2] - small).max() < 0.1
