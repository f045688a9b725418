"""A page to write on: `sheet_pdf` prints it, `cut_sheet` finds it in a photo and gives the content of every box.

All lengths are millimetres in the frame whose corners are the outer corners of the four corner marks. The frame is the
same on every paper and fits into what printers reach of it, so a photo need not tell which paper it was.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from guarismo.data.images import Pixels
from guarismo.errors import DataError, unknown

if TYPE_CHECKING:  # imported where used: `guarismo data list` must answer at once
    from cv2.aruco import ArucoDetector, Dictionary
    from fpdf import FPDF

PAPERS = {"a4": (210.0, 297.0), "letter": (215.9, 279.4)}
"""Name → (width, height)."""

MOST_SAMPLES = 5
FRAME = (190.0, 259.0)
"""Width and height: 10 mm inside the shorter sides of both papers."""
MARK = 15.0
"""Side of a corner mark."""
MODULES = 6
"""Along a mark's side; the outermost are black."""
BOX = 19.0
LINE_WIDTH = 0.25
PITCH = (24.0, 22.5)
"""From box to box, across and down."""
FIRST_ROW = FRAME[1] - 9 * PITCH[1] - BOX
"""The last row ends where the lower marks end."""
LABEL = 11.0
"""From the printed digit to the boxes."""
INSET = 1.0
"""Left out at each side of a box: its line, and how far beside its place it may be found."""

PIXELS_PER_MM = 6
"""Of the rectified page: what a photo with a long side of 2,000 pixels has at best."""
SIDE = round((BOX - 2 * INSET) * PIXELS_PER_MM)
"""Of a crop, in pixels."""
MARGIN = 8
"""Of the rectified page, around the frame: room to look for lines that are beside their place."""
REACH = 3
"""How far beside its place, or beside its neighbour's shift, a box is looked for: less than the gaps between boxes."""
FAINTEST = 0.012
"""A line is clear that much darker than the paper, as a part of its brightness; measured: 0.06 in a sharp photo,
0.014 in one of 800 pixels."""

FEWEST_MARKS = 3
PLACES = 4
"""Clockwise from the top left; the mark at a place of a sheet is number PLACES · (samples − 1) + place."""

INK, GREY, LINE = (30, 33, 36), (150, 156, 160), (176, 208, 216)
"""Of words, of what only accompanies them, of the boxes: a pale cyan, which hardly shows beside ink."""

Points = NDArray[np.float32]


# Where things are


def box_corners(samples: int) -> NDArray[np.float64]:
    """The top left corners (x, y) of the boxes: float (10, samples, 2), rows in the order of the digits."""
    across = (samples - 1) * PITCH[0] + BOX
    left = (FRAME[0] - across) / 2
    x, y = np.meshgrid(left + np.arange(samples) * PITCH[0], FIRST_ROW + np.arange(10) * PITCH[1])
    return np.stack([x, y], axis=-1)


def mark_corners() -> Points:
    """float32 (4, 4, 2): the corners of each mark, both clockwise from the top left."""
    width, height = FRAME
    left, right, top, bottom = 0.0, width - MARK, 0.0, height - MARK
    square = np.array([[0, 0], [MARK, 0], [MARK, MARK], [0, MARK]])
    places = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    corners: Points = (places[:, None] + square).astype(np.float32)
    return corners


# Printing


def sheet_pdf(samples: int = 5, paper: str = "a4") -> bytes:
    """One page with `samples` boxes (1–5) for each digit: a PDF, the same bytes each time.

    Raises DataError for another number of boxes and for a paper that is not in PAPERS.
    """
    from fpdf import FPDF

    check_samples(samples)
    if paper not in PAPERS:
        raise DataError(unknown("paper", paper, PAPERS))
    pdf = FPDF(unit="mm", format=PAPERS[paper])
    pdf.set_creation_date(datetime(2026, 1, 1, tzinfo=UTC))
    pdf.set_title("Ten digits, in your own hand")
    pdf.set_auto_page_break(False)
    pdf.add_page()
    left, top = ((side - inner) / 2 for side, inner in zip(PAPERS[paper], FRAME, strict=True))
    for place, corners in enumerate(mark_corners()):
        draw_mark(pdf, PLACES * (samples - 1) + place, left + float(corners[0, 0]), top + float(corners[0, 1]))
    write_heading(pdf, left + FRAME[0] / 2, top)
    draw_boxes(pdf, samples, left, top)
    return bytes(pdf.output())


def check_samples(samples: int) -> None:
    if not 1 <= samples <= MOST_SAMPLES:
        raise DataError(
            f"Expected 1 to {MOST_SAMPLES} boxes for each digit, got {samples}. For more, print more sheets."
        )


def draw_mark(pdf: FPDF, number: int, left: float, top: float) -> None:
    """A mark as one path, so that no hairlines shine between its modules."""
    from cv2.aruco import generateImageMarker

    modules = generateImageMarker(mark_dictionary(), number, MODULES)
    module = MARK / MODULES
    with pdf.new_path() as path:
        path.style.fill_color = "#000000"
        path.style.stroke_color = None
        for row, column in np.argwhere(modules == 0).tolist():
            path.rectangle(left + column * module, top + row * module, module, module)


def write_heading(pdf: FPDF, middle: float, top: float) -> None:
    lines = (
        (5.2, "Helvetica", 20, "Ten digits, in your own hand"),
        (14.5, "Helvetica", 10, "Print this page and write each digit into its boxes with your usual pen."),
        (19.5, "Helvetica", 10, "Photograph the whole sheet with all four corner marks visible, then run"),
        (26.5, "Courier", 11, "guarismo adapt PHOTO"),
    )
    pdf.set_text_color(*INK)
    for baseline, font, size, words in lines:
        pdf.set_font(font, size=size)
        pdf.text(middle - pdf.get_string_width(words) / 2, top + baseline, words)


def draw_boxes(pdf: FPDF, samples: int, left: float, top: float) -> None:
    pdf.set_font("Helvetica", size=15)
    pdf.set_text_color(*GREY)
    pdf.set_draw_color(*LINE)
    pdf.set_line_width(LINE_WIDTH)
    for digit, row in enumerate(box_corners(samples).tolist()):
        pdf.text(left + row[0][0] - LABEL, top + row[0][1] + BOX / 2 + 1.9, str(digit))  # half a figure's height
        for x, y in row:
            pdf.rect(left + x, top + y, BOX, BOX, round_corners=True, corner_radius=2)


# Finding


def is_sheet(pixels: Pixels) -> bool:
    """Whether uint8 (h, w, 3) shows at least two corner marks of one sheet.

    A single one may be chance: 4 of 150 simulated photos, each of 600 MNIST digits, showed one, none showed two.
    """
    _, marks = corner_marks(pixels)
    return len(marks) >= 2


def corner_marks(pixels: Pixels) -> tuple[int, dict[int, Points]]:
    """Of the sheet in uint8 (h, w, 3): its samples, and place → float32 (4, 2), the mark's corners in the photo.

    Without any mark, (1, {}). Raises DataError where a mark is there twice.
    """
    import cv2

    corners, numbers, _ = mark_detector().detectMarkers(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    found = [] if numbers is None else [int(number) for number in numbers.ravel()]
    if not found:
        return 1, {}
    ((sheet, count),) = Counter(number // PLACES for number in found).most_common(1)
    marks = {
        n % PLACES: np.asarray(c[0], np.float32) for n, c in zip(found, corners, strict=True) if n // PLACES == sheet
    }
    if len(marks) < count:
        raise DataError("Expected one sheet in the picture, found a corner mark twice. Photograph one sheet at a time.")
    return sheet + 1, marks


def mark_detector() -> ArucoDetector:
    from cv2 import aruco

    parameters = aruco.DetectorParameters()
    parameters.cornerRefinementMethod = aruco.CORNER_REFINE_SUBPIX
    parameters.errorCorrectionRate = 0.0  # a mark is read exactly or not at all: three are enough
    return aruco.ArucoDetector(mark_dictionary(), parameters)


def mark_dictionary() -> Dictionary:
    """The marks of all sheets: the first of ArUco's DICT_4X4_50 (Garrido-Jurado et al., Pattern Recognition 2014)."""
    from cv2 import aruco

    dictionary = aruco.getPredefinedDictionary(aruco.DICT_4X4_50)
    return aruco.Dictionary(dictionary.bytesList[: PLACES * MOST_SAMPLES], dictionary.markerSize)


# Cutting


def cut_sheet(pixels: Pixels) -> list[tuple[int, Pixels]]:
    """The content of every box of the sheet in uint8 (h, w, 3), row by row: (digit, uint8 (SIDE, SIDE, 3)) each.

    Empty boxes are among them. The crops are views of one array, upright whichever way the photo was taken. Raises
    DataError where fewer than three corner marks are found, one is found twice, or boxes are beyond the picture.
    """
    samples, marks = corner_marks(pixels)
    if len(marks) < FEWEST_MARKS:
        raise DataError(
            f"Expected a sheet with four corner marks, found {len(marks)}. "
            "Lay the paper flat, take the whole sheet into the picture, and give it more light."
        )
    to_photo = homography(marks)
    check_boxes_inside(to_photo, samples, pixels.shape)
    page = rectified(pixels, to_photo)
    corners = page_pixels(box_corners(samples) + INSET) + box_shifts(page, samples)
    return [(digit, page[y : y + SIDE, x : x + SIDE]) for digit, row in enumerate(corners.tolist()) for x, y in row]


def homography(marks: dict[int, Points]) -> NDArray[np.float64]:
    """float (3, 3), pixels of the rectified page → of the photo: least squares over the corners of all marks."""
    import cv2

    places = sorted(marks)
    printed = (mark_corners()[places].reshape(-1, 2) + MARGIN) * PIXELS_PER_MM - 0.5
    matrix, _ = cv2.findHomography(printed, np.concatenate([marks[place] for place in places]))
    return np.asarray(matrix, dtype=np.float64)


def check_boxes_inside(to_photo: NDArray[np.float64], samples: int, shape: tuple[int, ...]) -> None:
    import cv2

    corners = box_corners(samples)
    outer = np.array([corners[0, 0], corners[0, -1] + (BOX, 0), corners[-1, -1] + BOX, corners[-1, 0] + (0, BOX)])
    places = cv2.perspectiveTransform((outer[None] + MARGIN) * PIXELS_PER_MM, to_photo)[0]
    if places.min() < 0 or (places > (shape[1], shape[0])).any():
        raise DataError("Expected the whole sheet in the picture, found boxes beyond its edge. Step back a little.")


def rectified(pixels: Pixels, to_photo: NDArray[np.float64]) -> Pixels:
    """The frame and MARGIN around it, flat and upright: uint8 (h, w, 3)."""
    import cv2

    width, height = (round((side + 2 * MARGIN) * PIXELS_PER_MM) for side in FRAME)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    page = cv2.warpPerspective(pixels, to_photo, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(page, dtype=np.uint8)


def page_pixels(points: NDArray[np.float64]) -> NDArray[np.int64]:
    pixels: NDArray[np.int64] = np.rint((points + MARGIN) * PIXELS_PER_MM).astype(np.int64)
    return pixels


# Where the boxes are on paper that bulges


def box_shifts(page: Pixels, samples: int) -> NDArray[np.int64]:
    """How far (x, y) each box lies from its place, seen by its lines: int (10, samples, 2), pixels of the page.

    Paper bulges and lenses bend: without this, a sheet that rose 3 mm between its marks, seen at 20°, was cut 0.8 mm
    beside its boxes; with it, 6 mm are well. Rows are looked for from the outer ones, next to the marks, inwards,
    each from where its neighbour was. Then each shift becomes the median of its neighbourhood: a stroke may pass for
    a line, but not in box after box.
    """
    lines = thin_lines(page)
    corners = page_pixels(box_corners(samples))
    shifts = np.zeros((12, samples, 2), dtype=np.int64)  # with a row of none above and below
    for row, outer in ((1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (10, 11), (9, 10), (8, 9), (7, 8), (6, 7)):
        for column in range(samples):
            near = shifts[outer, column]
            shifts[row, column] = near + box_shift(lines, corners[row - 1, column] + near)
    around = np.pad(shifts[1:-1], ((1, 1), (1, 1), (0, 0)), mode="edge")
    neighbourhoods = np.lib.stride_tricks.sliding_window_view(around, (3, 3), axis=(0, 1))
    smoothed: NDArray[np.int64] = np.median(neighbourhoods, axis=(-2, -1)).astype(np.int64)
    return smoothed


def thin_lines(page: Pixels) -> NDArray[np.float32]:
    """How much darker than the paper around it each pixel (h, w, 3) of a line or stroke up to 1.5 mm wide is:
    float32 (h, w), as a part of the local brightness (black top-hat)."""
    import cv2

    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)
    darker = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, np.ones((9, 9), dtype=np.uint8))
    return np.asarray(darker / np.maximum(cv2.blur(grey, (61, 61)), 1).astype(np.float32), dtype=np.float32)


def box_shift(lines: NDArray[np.float32], corner: NDArray[np.int64]) -> list[int]:
    """How far (x, y) from `corner`, at most REACH, two lines stand a box apart; 0 where none are clear."""
    reach, side = REACH * PIXELS_PER_MM, round(BOX * PIXELS_PER_MM)
    (left, top), size = (corner - reach).tolist(), side + 2 * reach + 1
    window = lines[top : top + size, left : left + size]
    inner = slice(reach + side // 6, reach + side - side // 6)
    return [pair_shift(np.median(window[inner], axis=0), side), pair_shift(np.median(window[:, inner], axis=1), side)]


def pair_shift(profile: NDArray[np.float32], side: int) -> int:
    """Where in `profile` (side + 2 · reach + 1,) two peaks stand `side` apart, counted from its middle."""
    import cv2

    smooth = cv2.GaussianBlur(profile[None], (0, 0), 1.5)[0]
    both = np.minimum(smooth[:-side], smooth[side:])
    level = float(np.median(both))
    clear = both.max() - level > FAINTEST + 2 * (level - both.min())
    return int(both.argmax()) - len(both) // 2 if clear else 0
