"""The sheet: a page that prints, and from photos of it, however they were taken, every digit out of its box."""

import cv2
import numpy as np
import pypdfium2
import pytest

import guarismo
from guarismo.data.images import Pixels
from guarismo.errors import DataError
from guarismo.reading.sheet import (
    BOX,
    FRAME,
    INSET,
    MARK,
    MOST_SAMPLES,
    PAPERS,
    PIXELS_PER_MM,
    SIDE,
    box_corners,
    corner_marks,
    cut_sheet,
    is_sheet,
    mark_corners,
    sheet_pdf,
)

DOTS = 150 / 25.4
"""Per millimetre of a rendered page."""
WRITTEN = 14.0
"""Side of a written digit's image, centred in its box."""
DESK = (96, 74, 58)


def rendered(samples: int, paper: str) -> Pixels:
    page = pypdfium2.PdfDocument(sheet_pdf(samples, paper))[0]
    return np.array(page.render(scale=150 / 72).to_pil().convert("RGB"))


def frame_corner(paper: str) -> np.ndarray:
    return (np.array(PAPERS[paper]) - FRAME) / 2


def filled(samples: int = 5, paper: str = "a4") -> tuple[Pixels, list[Pixels]]:
    """A page with a digit of `digits` in every box, dark on the paper, and the images that were written, in order."""
    train = guarismo.load("digits").train
    chance = np.random.default_rng(samples)
    page, written, side = rendered(samples, paper), [], round(WRITTEN * DOTS)
    for digit, row in enumerate(box_corners(samples) + frame_corner(paper) + (BOX - WRITTEN) / 2):
        for left, top in np.rint(row * DOTS).astype(int):
            image = train.images[chance.choice(np.flatnonzero(train.labels == digit))][..., 0]
            ink = cv2.resize(image, (side, side))[..., None] / 255
            part = page[top : top + side, left : left + side]
            part[:] = part * (1 - 0.85 * ink)
            written.append(image)
    return page, written


def photo(page: Pixels, turns: int = 0, tilt: float = 0.12, seed: int = 0) -> Pixels:
    """1500×2000 or 2000×1500, on a desk: `turns` right angles and some more, perspective, shadow, blur, noise."""
    chance = np.random.default_rng(seed)
    width, height = 1500, 2000
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (page.shape[1], page.shape[0])
    corners = corners.astype(np.float32)
    places = np.array([[tilt, 0.1], [0.96 - tilt, 0.06], [0.97, 0.93], [0.04, 0.96]]) * (width, height)
    places = (places + chance.uniform(-15, 15, (4, 2))).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, places)
    picture = cv2.warpPerspective(page, matrix, (width, height), flags=cv2.INTER_AREA, borderValue=DESK).astype(float)
    light = np.linspace(0.95, 0.5, width)[None, :, None] * np.linspace(0.8, 1, height)[:, None, None]
    picture = cv2.GaussianBlur(picture * light, (0, 0), 0.8) + chance.normal(0, 4, picture.shape)
    return np.ascontiguousarray(np.rot90(picture.clip(0, 255).astype(np.uint8), turns))


def ink_of(crop: Pixels) -> np.ndarray:
    """How much darker than its paper: float (SIDE, SIDE), 0–1."""
    grey = cv2.GaussianBlur(crop.mean(axis=-1), (0, 0), 1)
    return (1 - grey / np.percentile(grey, 90)).clip(0, 1)


def expected_ink(image: Pixels) -> np.ndarray:
    """What was written, where a crop that is cut exactly shows it."""
    side, start = round(WRITTEN * PIXELS_PER_MM), round(((BOX - WRITTEN) / 2 - INSET) * PIXELS_PER_MM)
    canvas = np.zeros((SIDE, SIDE))
    canvas[start : start + side, start : start + side] = cv2.resize(image, (side, side)) / 255
    return canvas


def check_crops(crops: list[tuple[int, Pixels]], written: list[Pixels], least: float = 0.85) -> None:
    """Each crop shows its digit in its place, and no line along its border."""
    samples = len(written) // 10
    assert [digit for digit, _ in crops] == np.repeat(np.arange(10), samples).tolist()
    for (digit, crop), image in zip(crops, written, strict=True):
        assert crop.shape == (SIDE, SIDE, 3)
        assert crop.dtype == np.uint8
        ink = ink_of(crop)
        assert np.corrcoef(ink.ravel(), expected_ink(image).ravel())[0, 1] > least, digit
        border = [line for i in (0, 1, 2, -3, -2, -1) for line in (ink[i], ink[:, i])]
        assert max(np.median(line) for line in border) < 0.05, digit  # a printed line is 0.08 and more


def covered(page: Pixels, *places: int, paper: str = "a4") -> Pixels:
    """A finger on these corner marks."""
    page = page.copy()
    for place in places:
        x, y = ((mark_corners()[place].mean(axis=0) + frame_corner(paper)) * DOTS).astype(int).tolist()
        cv2.ellipse(page, (x, y), (round(MARK * DOTS * 0.9), round(MARK * DOTS * 0.6)), 30, 0, 360, (205, 160, 140), -1)
    return page


@pytest.fixture(scope="module")
def sheet() -> tuple[Pixels, list[Pixels]]:
    return filled()


# Printing


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("samples", range(1, MOST_SAMPLES + 1))
def test_a_sheet_is_one_small_page_and_always_the_same(samples, paper):
    content = sheet_pdf(samples, paper)
    assert content == sheet_pdf(samples, paper)
    assert len(content) < 60_000
    document = pypdfium2.PdfDocument(content)
    assert len(document) == 1
    points = [side / 25.4 * 72 for side in PAPERS[paper]]
    assert document[0].get_size() == pytest.approx(points, abs=0.1)


def test_a_sheet_says_what_to_do():
    text = pypdfium2.PdfDocument(sheet_pdf())[0].get_textpage().get_text_range()
    assert "usual pen" in text
    assert "four corner marks" in text
    assert "guarismo adapt PHOTO" in text


def test_boxes_stand_apart_from_the_marks_and_from_one_another():
    for samples in range(1, MOST_SAMPLES + 1):
        corners = box_corners(samples)
        assert corners.shape == (10, samples, 2)
        assert corners[..., 0].min() > MARK
        assert (corners[..., 0].max() + BOX) < FRAME[0] - MARK
        assert np.diff(corners[:, 0, 1]).min() > BOX
        assert corners[-1, 0, 1] + BOX <= FRAME[1]


@pytest.mark.parametrize("samples", [0, 6])
def test_another_number_of_boxes_is_refused(samples):
    with pytest.raises(DataError, match=f"Expected 1 to 5 boxes for each digit, got {samples}"):
        sheet_pdf(samples)


def test_an_unknown_paper_is_refused():
    with pytest.raises(DataError, match=r"Unknown paper 'leter'.*Did you mean 'letter'"):
        sheet_pdf(paper="leter")


# Cutting


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("samples", range(1, MOST_SAMPLES + 1))
def test_every_sheet_comes_back_box_by_box(samples, paper):
    page, written = filled(samples, paper)
    picture = photo(page, seed=samples)
    assert is_sheet(picture)
    check_crops(cut_sheet(picture), written)


@pytest.mark.parametrize("turns", range(4))
def test_a_photo_may_be_turned(sheet, turns):
    page, written = sheet
    check_crops(cut_sheet(photo(page, turns)), written)


def test_a_photo_may_be_strongly_tilted(sheet):
    page, written = sheet
    check_crops(cut_sheet(photo(page, tilt=0.3)), written, least=0.8)


def test_a_photo_may_be_half_as_large(sheet):
    page, written = sheet
    check_crops(cut_sheet(cv2.resize(photo(page), (750, 1000), interpolation=cv2.INTER_AREA)), written)


def test_paper_may_bulge_between_its_marks(sheet):
    """By 1.6 mm in the photo: more than INSET, so that only the lines tell where a box is."""
    page, written = sheet
    rows, columns = np.indices(page.shape[:2], dtype=np.float32)
    inner = ((rows / DOTS - 20) / (PAPERS["a4"][1] - 40)).clip(0, 1)
    bulging = cv2.remap(page, columns, rows + 1.6 * DOTS * np.sin(np.pi * inner), cv2.INTER_LINEAR)
    check_crops(cut_sheet(photo(bulging)), written)


def test_empty_boxes_come_back_empty():
    crops = cut_sheet(photo(rendered(5, "a4")))
    assert len(crops) == 50
    assert max(np.percentile(ink_of(crop), 99.9) for _, crop in crops) < 0.2


def test_a_digit_that_fills_its_box_stays_whole():
    page = rendered(5, "a4")
    left, top = (box_corners(5)[4, 2] + frame_corner("a4")) * DOTS
    start, end = round(left + 1.6 * DOTS), round(left + (BOX - 1.6) * DOTS)
    page[round(top + 1.6 * DOTS) : round(top + (BOX - 1.6) * DOTS), start:end] = 30
    ink = ink_of_paper(cut_sheet(photo(page))[4 * 5 + 2][1])
    share = ((BOX - 2 * 1.6) / (BOX - 2 * INSET)) ** 2
    assert (ink > 0.5).mean() == pytest.approx(share, abs=0.03)


def ink_of_paper(crop: Pixels) -> np.ndarray:
    grey = crop.mean(axis=-1)
    return 1 - grey / grey.max()


@pytest.mark.parametrize("place", range(4))
def test_one_mark_may_be_covered(sheet, place):
    page, written = sheet
    picture = photo(covered(page, place))
    assert sorted(corner_marks(picture)[1]) == sorted({0, 1, 2, 3} - {place})
    assert is_sheet(picture)
    check_crops(cut_sheet(picture), written)


@pytest.mark.parametrize("places", [(0, 1), (0, 2), (0, 1, 3), (0, 1, 2, 3)])
def test_with_more_marks_covered_the_remedy_is_said(sheet, places):
    picture = photo(covered(sheet[0], *places))
    assert is_sheet(picture) == (len(places) == 2)
    with pytest.raises(DataError, match=f"four corner marks, found {4 - len(places)}.*flat.*whole sheet.*light"):
        cut_sheet(picture)


def test_boxes_beyond_the_picture_are_refused(sheet):
    """Three marks are in it, the fourth is not, nor is the last row's end."""
    picture = photo(sheet[0], tilt=0.05)
    matrix = cv2.getRotationMatrix2D((750, 1000), -45, 1)
    matrix[:, 2] += 500, 250
    turned = cv2.warpAffine(picture, matrix, (2500, 2500))
    cut = turned[: int(corner_marks(turned)[1][2][:, 1].min()) - 60]
    assert len(corner_marks(cut)[1]) == 3
    with pytest.raises(DataError, match="whole sheet in the picture, found boxes beyond its edge"):
        cut_sheet(cut)


def test_two_sheets_in_one_picture_are_refused(sheet):
    picture = photo(sheet[0])
    with pytest.raises(DataError, match=r"Expected one sheet.*twice"):
        cut_sheet(np.concatenate([picture, picture], axis=1))


def test_handwriting_on_plain_paper_is_no_sheet():
    images = guarismo.load("digits").test.images[:400, ..., 0].reshape(20, 20, 28, 28)
    plain = cv2.resize(255 - images.transpose(0, 2, 1, 3).reshape(560, 560), (1600, 1600))
    assert not is_sheet(photo(np.repeat(plain[..., None], 3, axis=-1)))
    assert not is_sheet(np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8))
    assert not is_sheet(np.full((20, 20, 3), 255, dtype=np.uint8))
