"""Picture → ink: which pixels are strokes of a pen, whatever the paper, the light and the lines printed on it.

    contrast   how much darker (or lighter) than the paper around it each pixel is, light and shadow divided out
    ink        where that contrast is above the noise and above half of the strongest close by
    rules      long straight lines, tables and boxes, taken out without breaking the strokes that cross them

Each step is kept in the Page, so that `--stages` shows what was really used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from guarismo.data.images import Pixels

Plane = NDArray[np.float32]
Lines = tuple[Pixels, Pixels]

SMALLEST_SIDE = 240
"""Smaller pictures are enlarged to this longer side: strokes of a pixel or two have no outline."""
LOWEST_CONTRAST = 0.05
"""Ink reflects at least this share less than its paper. Chosen, not measured: pencil in the labelled photos has 0.4."""
FAINTEST = 0.14
"""Of the strongest ink of the picture: below it lies what shines through, a crease, the grain of the paper. Pencil
beside marker has 0.64 to 0.98 in the labelled photos."""
NOISES = 4.0
"""Ink stands out by this many standard deviations of the paper's noise."""
HALF = 0.45
"""Of the strongest contrast close by: where the outline of a blurred stroke lies."""


@dataclass(frozen=True, eq=False)
class Page:
    """The ink of one picture, all planes of one size (h, w).

    grey: uint8; contrast: float32, 0 paper to 1; noise: float32, its standard deviation; found: uint8 0/255, all ink;
    traces: with what may be some; rules: uint8 0/255, what was taken out; ink: what is left; scale: pixels of the
    picture handed in per pixel here; light_ink: whether the writing is lighter than its ground.
    """

    grey: Pixels
    contrast: Plane
    noise: Plane
    found: Pixels
    traces: Pixels
    rules: Pixels
    ink: Pixels
    scale: float
    light_ink: bool

    @cached_property
    def parts(self) -> Parts:
        """The connected pieces of all that was found."""
        return parts_of(self.found)


Parts = tuple[NDArray[np.uint16 | np.int32], NDArray[np.int32]]
"""The number of its piece for each pixel (h, w), 0 for the ground, and of each piece x, y, w, h and area (n, 5)."""


def parts_of(ink: Pixels) -> Parts:
    """The connected pieces of ink (h, w) of 0/255.

    Numbers of 16 bits take a third of the time; a piece begins where a run of ink does, so that there are enough.
    """
    runs = np.count_nonzero(ink[:, 1:] > ink[:, :-1]) + len(ink)
    kind = cv2.CV_16U if runs < 2**16 else cv2.CV_32S
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(ink, connectivity=8, ltype=kind)
    return labels, boxes


def find_ink(pixels: Pixels, light_ink: bool, breadth: float) -> Page:
    """The ink in RGB pixels uint8 (h, w, 3), lighter or darker than its ground, printed lines still in it.

    breadth: share of the picture's shorter side. What is less wide is a stroke, what is wider a change of light.
    """
    return ink_on(surface_of(pixels, light_ink), breadth)


@dataclass(frozen=True, eq=False)
class Surface:
    """A picture before its ink is found: what is the same for every breadth of stroke.

    grey: uint8 (h, w); soft: uint8 (h, w, 3), the grain smoothed, ink dark; small: uint8, a copy of PAPER_SIDE; light:
    float32, the slow change of light on it; even: uint16, the copy with that divided out, times EVEN; scale, light_ink:
    as of a Page.
    """

    grey: Pixels
    soft: Pixels
    small: Pixels
    light: Plane
    even: NDArray[np.uint16]
    scale: float
    light_ink: bool


def surface_of(pixels: Pixels, light_ink: bool) -> Surface:
    """The surface of RGB pixels uint8 (h, w, 3)."""
    sized, scale = workable(pixels)
    grey, soft = cv2.cvtColor(sized, cv2.COLOR_RGB2GRAY), softened(sized, light_ink)
    small = cv2.medianBlur(at_most(255 - sized if light_ink else sized, PAPER_SIDE), 3)
    light = slow_light(small)
    even = np.minimum((small + np.float32(DARK)) / light * EVEN, 65535).astype(np.uint16)
    return Surface(grey, soft, small, light, even, scale, light_ink)


def enlarged(surface: Surface, pixels: Pixels) -> Surface:
    """The surface of RGB pixels uint8 (h, w, 3) whose small copy has that surface: its paper and light are known."""
    grey, soft = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), softened(pixels, surface.light_ink)
    return replace(surface, grey=grey, soft=soft, scale=1.0)


def softened(pixels: Pixels, light_ink: bool) -> Pixels:
    """Pixels (h, w, 3) with the grain smoothed, ink dark."""
    soft: Pixels = cv2.GaussianBlur(pixels, (0, 0), max(0.6, max(pixels.shape[:2]) / 1600))
    return 255 - soft if light_ink else soft


def ink_on(surface: Surface, breadth: float) -> Page:
    """The ink on a surface, as `find_ink` has it."""
    contrast = contrast_of(surface, breadth)
    noise = noise_of(contrast)
    if NOISES * float(np.median(noise[::4, ::4])) >= NOISY * strongest_in(contrast):
        contrast = cv2.GaussianBlur(contrast, (0, 0), max(1.0, max(contrast.shape) / 450))
        noise = noise_of(contrast)
    found, traces = threshold(contrast, noise)
    none = np.zeros_like(found)
    return Page(surface.grey, contrast, noise, found, traces, none, found, surface.scale, surface.light_ink)


def workable(pixels: Pixels) -> tuple[Pixels, float]:
    """The picture enlarged to SMALLEST_SIDE where it is smaller, and the pixels handed in per pixel returned."""
    side = max(pixels.shape[:2])
    if side >= SMALLEST_SIDE:
        return pixels, 1.0
    scale = side / SMALLEST_SIDE
    size = max(1, round(pixels.shape[1] / scale)), max(1, round(pixels.shape[0] / scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), scale


def at_most(pixels: Pixels, side: int) -> Pixels:
    """The picture, reduced to a longer side of `side` where it is larger: by halves, then by less than a half.

    OpenCV averages squares of 2×2 pixels ten times as fast as those of a fraction.
    """
    height, width = pixels.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return pixels
    size = max(1, round(width * factor)), max(1, round(height * factor))
    while max(pixels.shape[:2]) > 2 * side and min(pixels.shape[:2]) > 1:
        height, width = (length // 2 for length in pixels.shape[:2])
        pixels = cv2.resize(pixels[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    reduced: Pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return reduced


# Light and shadow


def ink_is_light(pixels: Pixels) -> float:
    """How strongly ink lighter than its ground speaks against darker ink: above 1 for chalk, below 1 for pens.

    The ground is the smooth surface that most of the picture lies on; what stands out on either side is weighed.
    """
    small = at_most(pixels, PAPER_SIDE)
    off = cv2.transform(cv2.LUT(small, LOGS) - cv2.log(slow_light(small)), np.full((1, 3), 1 / 3, np.float32))
    off -= np.median(off)
    least = 4 * 1.4826 * float(np.median(np.abs(off))) + 0.05
    lighter, darker = off[off > least].sum(), -off[off < -least].sum()
    return float((lighter + 1) / (darker + 1))


def odd(size: float, most: int = 10_001) -> int:
    """The nearest odd whole number from 3 on, as kernels want it."""
    return min(most, max(3, round((size - 1) / 2) * 2 + 1))


def contrast_of(surface: Surface, breadth: float) -> Plane:
    """How much darker than the paper around it each pixel is, 0 to 1, in the colour that shows it most.

    The paper is what a closing wider than a stroke leaves of a small copy: strokes vanish from it, light and shadow
    stay. Reflectance is a ratio of the two, so a shadow that dims both divides out.
    """
    size = surface.soft.shape[1], surface.soft.shape[0]
    paper = cv2.resize(paper_of(surface, breadth), size, interpolation=cv2.INTER_LINEAR)
    red, green, blue = cv2.split(cv2.divide(surface.soft, paper, scale=255.0, dtype=cv2.CV_8U))
    darker = cv2.LUT(cv2.min(cv2.min(red, green), blue), DARKER)
    # A closing follows the brightest grains of the paper: what half of each place has is no ink
    own = block_medians(darker[:: max(1, darker.shape[0] // SAMPLED), :: max(1, darker.shape[1] // SAMPLED)])
    own = np.minimum(own, 1.5 * np.median(own))  # not where a broad stroke fills a block
    own = cv2.resize(own, size, interpolation=cv2.INTER_LINEAR)
    result: Plane = cv2.max(cv2.subtract(darker, own), 0)
    return result


DARKER = (1 - np.arange(256) / np.float32(255)).astype(np.float32)
"""How much darker than its paper a pixel is, by its share of the paper's brightness in 255 steps."""
SAMPLED = 250
"""Rows and columns from which noise and paper are measured, evenly spaced."""
BLOCKS = 12
"""Noise and paper are measured in this many blocks along each side."""


def block_medians(plane: Plane) -> Plane:
    """The median of each of BLOCKS × BLOCKS blocks of (h, w); fewer where the plane is smaller."""
    rows, columns = max(1, plane.shape[0] // BLOCKS), max(1, plane.shape[1] // BLOCKS)
    blocks = plane[: plane.shape[0] // rows * rows, : plane.shape[1] // columns * columns]
    blocks = blocks.reshape(blocks.shape[0] // rows, rows, blocks.shape[1] // columns, columns)
    medians: Plane = np.median(blocks, axis=(1, 3)).astype(np.float32)
    return medians


PAPER_SIDE = 400
"""The longer side of the small copy on which the paper is estimated."""
EVEN = np.float32(4096)
"""Steps of a pixel that is as bright as the slow light: a reflectance above 16 counts as 16."""
DARK = 6.0
"""Added to both sides of a reflectance: the noise of a sensor in the dark, in grey levels."""
LOGS = np.log(np.arange(256, dtype=np.float32) + np.float32(DARK))
"""Of the grey levels."""


def paper_of(surface: Surface, breadth: float) -> Plane:
    """The paper's brightness under the ink, float32 (h, w, 3): the lower of two closings, both of which lie above it.

    One on the picture as it is: exact beside the edge of a shadow. One with the slow change of light divided out
    first: where light falls off towards an edge of the picture, the other sees no paper beyond.
    """
    kernel = np.ones((odd(min(surface.small.shape[:2]) * breadth),) * 2, np.uint8)
    plain = closed(surface.small, kernel) + np.float32(DARK)
    paper = np.minimum(plain, closed(surface.even, kernel) * (surface.light / EVEN))
    smooth: Plane = cv2.GaussianBlur(paper, (0, 0), 1.5)  # no more: a shadow's edge stays where it is
    return smooth


Levels = TypeVar("Levels", Pixels, NDArray[np.uint16])


def closed(plane: Levels, kernel: Pixels) -> Levels:
    """Of whole numbers, which takes a third to a half of the time of fractions."""
    result: Levels = cv2.morphologyEx(plane, cv2.MORPH_CLOSE, kernel, borderType=cv2.BORDER_REPLICATE)
    return result


def slow_light(small: Pixels) -> Plane:
    """A surface of second degree through the paper's brightness, float32 (h, w, 3), ink left out step by step."""
    tiny = at_most(small, 72)
    terms = quadratic(*tiny.shape[:2]).reshape(-1, 6)
    logs = np.log(tiny.reshape(-1, 3) + DARK)
    weights = np.ones(len(terms))
    for _ in range(4):
        weighed = terms * weights[:, None]
        surface = np.linalg.lstsq(weighed.T @ terms, weighed.T @ logs, rcond=None)[0]
        off = (logs - terms @ surface).mean(axis=1)
        spread = 1.4826 * np.median(np.abs(off)) + 1e-3
        weights = 1 / (1 + (off / (2 * spread)) ** 2)
    fitted = np.clip(terms @ surface, logs.min(axis=0) - 1, logs.max(axis=0) + 1)
    light = np.exp(fitted).reshape(tiny.shape).astype(np.float32)
    whole: Plane = cv2.resize(light, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_LINEAR)
    return whole


def quadratic(height: int, width: int) -> NDArray[np.float64]:
    """1, x, y, x², xy, y² over (height, width), each coordinate from −1 to 1: (height, width, 6)."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


NOISY = 0.16
"""Noise times NOISES as a share of the strongest ink: from here on, it would hide faint ink, and the night's photo is
smoothed first, at the cost of fine strokes."""


def strongest_in(contrast: Plane) -> float:
    """The contrast of the strongest ink."""
    return float(np.percentile(contrast[::4, ::4], 99.5))


def threshold(contrast: Plane, noise: Plane) -> tuple[Pixels, Pixels]:
    """Where there is ink, 0 or 255: above the noise there, and above HALF of the strongest contrast close by; and
    where there may be traces of some.

    The half keeps strokes of faint pencil beside those of a marker, each at its own outline. The traces hold the faint
    rules that lie between strong strokes as well.
    """
    lowest = cv2.max(NOISES * noise, max(LOWEST_CONTRAST, FAINTEST * strongest_in(contrast)))
    traces = cv2.compare(contrast, lowest, cv2.CMP_GT)
    ink = cv2.compare(contrast, HALF * strongest_near(contrast), cv2.CMP_GT) & traces
    return ink, traces


def strongest_near(contrast: Plane) -> Plane:
    """The strongest contrast close to each pixel of (h, w), without steps; of a large plane from a copy of half its
    sides, in a fifth of the time."""
    height, width = contrast.shape
    half = max(contrast.shape) > 2 * RULE_SIDE
    if half:
        contrast = cv2.dilate(contrast, np.ones((2, 2), np.uint8))[::2, ::2]
    reach = odd(max(contrast.shape) / 45)
    near = cv2.GaussianBlur(cv2.dilate(contrast, np.ones((reach, reach), np.uint8)), (0, 0), reach / 3)
    result: Plane = cv2.resize(near, (width, height), interpolation=cv2.INTER_LINEAR) if half else near
    return result


def noise_of(contrast: Plane) -> Plane:
    """Standard deviation of the paper's contrast (h, w), place by place: a shadow is noisier than the light.

    The middle of the differences between pixels a hundredth of the picture apart, block by block; strokes are the
    fewer of them.
    """
    height, width = contrast.shape
    step = max(1, max(contrast.shape) // SAMPLED)
    grid = contrast[::step, ::step]
    if min(grid.shape) < 3:  # a sliver has no neighbourhood
        return np.zeros_like(contrast)
    apart = max(1, min(5, min(grid.shape) // 8))  # next neighbours are alike in a JPEG, and on paper with a grain
    off = np.abs(grid[apart:, apart:] - grid[:-apart, :-apart])
    middle = block_medians(off) * np.float32(1.4826 / np.sqrt(2))
    middle = np.minimum(middle, 3 * np.percentile(middle, 20))  # where strokes fill a block, it is not noise
    result: Plane = cv2.resize(middle, (width, height), interpolation=cv2.INTER_LINEAR)
    return result


# Rules, tables, boxes

TILTS = np.tan(np.radians(np.arange(-10.5, 10.6, 1.5))).astype(np.float32)
"""The slopes at which lines are looked for."""
LONG = 0.3
"""Of the picture's width: the shortest piece of a line that counts."""
RULE_SIDE = 640
"""The longer side of the small copy in which lines are looked for."""


def find_lines(page: Page) -> Lines:
    """The printed lines of a page: near-level and near-upright ones, uint8 0/255 each, on a copy of RULE_SIDE."""
    small = at_most(page.traces, RULE_SIDE)
    small = (small > 60).view(np.uint8) * np.uint8(255)
    rows, columns = long_lines(small), transposed(long_lines(transposed(small)))
    return printed(rows, columns), transposed(printed(transposed(columns), transposed(rows)))


def long_lines(traces: Pixels) -> Pixels:
    """Near-level lines in (h, w) of 0/255: sheared level at each tilt, what an opening with a long bar leaves."""
    size = traces.shape[1], traces.shape[0]
    bar = np.ones((max(9, round(LONG * size[0])), 1), np.uint8)  # upright: OpenCV is ten times as fast along columns
    bridge = np.ones((max(3, round(0.012 * size[0])), 1), np.uint8)
    lines = np.zeros_like(traces)
    for slope in TILTS:
        shear = np.array([[1, 0, 0], [slope, 1, -slope * size[0] / 2]], np.float32)
        turned = cv2.warpAffine(traces, shear, size, flags=cv2.INTER_NEAREST)
        wide = cv2.dilate(turned, np.ones((3, 1), np.uint8))
        if cv2.reduce(wide, 1, cv2.REDUCE_AVG).max() < 0.8 * 255 * LONG:
            continue
        bridged = cv2.morphologyEx(transposed(wide), cv2.MORPH_CLOSE, bridge)
        opened = thin_only(transposed(cv2.morphologyEx(bridged, cv2.MORPH_OPEN, bar)))
        if opened.any():
            back = cv2.warpAffine(opened, shear, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
            lines = np.maximum(lines, back)
    return lines & traces


SPAN, WHOLE = 0.6, 0.92
"""Of the picture: a line that runs out of it is printed from the first length on, any line from the second on."""
GRID = 6
"""So many long lines one way are ruled or squared paper, however short the pieces that were found."""
SLENDER = 0.06
"""Thickness of a printed line as a share of its length, at most."""


def printed(lines: Pixels, crossing: Pixels) -> Pixels:
    """Of near-level lines (0/255), those that are no stroke of a large digit: as long as the picture, or running out
    of it, or held at both ends by `crossing` lines, as the inner lines of a table are."""
    if not lines.any():
        return lines
    width = lines.shape[1]
    gap = max(3, round(0.02 * width))
    parts, boxes = parts_of(cv2.dilate(lines, np.ones((3, gap), np.uint8)))
    edge = max(2, round(0.015 * width)) + gap
    posts = cv2.dilate(crossing, np.ones((gap, gap), np.uint8)) > 0
    kept = np.zeros(len(boxes), np.uint8)
    inked = np.bincount(parts[lines > 0], minlength=len(boxes))
    wides = boxes[:, cv2.CC_STAT_WIDTH].astype(float)
    slender = np.flatnonzero((wides >= LONG * width) & (inked <= SLENDER * wides**2))
    slender = slender[slender > 0]
    for index in slender:
        left, top, wide, high = map(int, boxes[index, :4])
        own = parts[top : top + high, left : left + wide] == index
        out = left <= edge or left + wide >= width - edge
        ends = own & posts[top : top + high, left : left + wide]
        held = ends[:, : 2 * gap].any() and ends[:, -2 * gap :].any()
        kept[index] = wide > WHOLE * width or (out and wide > SPAN * width) or held or len(slender) >= GRID
    result: Pixels = kept[parts] * lines
    return result


def thin_only(lines: Pixels) -> Pixels:
    """Without what is thick: a dark table or a shadow is no line."""
    thick = max(7, round(0.025 * max(lines.shape)))
    block = cv2.morphologyEx(lines, cv2.MORPH_OPEN, np.ones((thick, 1), np.uint8))
    thin: Pixels = lines & ~cv2.dilate(block, np.ones((3, 3), np.uint8))
    return thin


def without_lines(ink: Pixels, lines: Pixels) -> Pixels:
    """The ink less near-level lines: upright runs of ink that are no longer than the line is thick go.

    Where a stroke crosses, the run goes on beyond the line, and stays whole.
    """
    if not lines.any():
        return ink
    flat = np.pad(ink > 0, ((1, 1), (0, 0))).T.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2) + 1
    on_line = np.concatenate([[0], np.cumsum(np.pad(lines > 0, ((1, 1), (0, 0))).T.ravel())])
    lengths = ends[:, 1] - ends[:, 0]
    touched = on_line[ends[:, 1]] > on_line[ends[:, 0]]
    if not touched.any():
        return ink
    thick = float(np.median(lengths[touched]))
    gone = ends[touched & (lengths <= 1.7 * thick + 1)]
    erased = np.zeros(len(flat) + 1, np.int8)
    np.add.at(erased, gone[:, 0], 1)
    np.add.at(erased, gone[:, 1], -1)
    keep = flat & ~np.cumsum(erased[:-1]).astype(bool)
    upright: Pixels = np.ascontiguousarray(keep.reshape(ink.shape[1], -1).T[1:-1]).view(np.uint8) * np.uint8(255)
    return upright


def without_rules(page: Page, lines: Lines) -> Page:
    """The page less the printed `lines` and boxes, the strokes that cross them whole."""
    size = page.found.shape[1], page.found.shape[0]
    level, upright = (cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST) for plane in lines)
    rows, columns = frame_edges(page.parts)
    level, upright = level | rows, upright | columns
    kept = without_lines(page.found, level)
    if upright.any():
        kept = transposed(without_lines(transposed(kept), transposed(upright)))
    return replace(page, ink=kept, rules=(level | upright) & page.found)


def transposed(plane: Pixels) -> Pixels:
    return np.ascontiguousarray(plane.T)


SIDED = 0.88
"""Of each side of a frame, what must have ink: a 0 has half, a printed box all."""


def frame_edges(pieces: Parts) -> tuple[Pixels, Pixels]:
    """The level and the upright edges of boxes printed round a digit, (h, w) of 0/255 each.

    A frame is a piece of ink with ink all along the four sides of the tightest rectangle round it, wherever it is:
    long_lines sees only what is long in the whole picture.
    """
    parts, boxes = pieces
    level, upright = np.zeros(parts.shape, np.uint8), np.zeros(parts.shape, np.uint8)
    least = max(16, min(parts.shape) // 40)
    hollow = (boxes[:, 2:4].min(axis=1) >= least) & (boxes[:, 4] < 0.5 * boxes[:, 2] * boxes[:, 3])
    for index in np.flatnonzero(hollow):
        left, top, wide, high = map(int, boxes[index, :4])
        if not index:  # the ground
            continue
        y, x = np.nonzero(parts[top : top + high, left : left + wide] == index)
        sides = sides_of(np.stack([x, y], axis=1).astype(np.float32))
        for side, plane in zip(sides or (), (level, level, upright, upright), strict=False):
            plane[y[side] + top, x[side] + left] = 255
    return level, upright


def sides_of(points: NDArray[np.float32]) -> list[NDArray[np.bool_]] | None:
    """Which of the points (n, 2) lie along the upper, lower, left and right side of the tightest rectangle round them.

    None where a side is not covered, or the rectangle leans by more than 15°.
    """
    middle, size, angle = cv2.minAreaRect(points)
    lean = (angle + 45) % 90 - 45
    if abs(lean) > 15:
        return None
    turns = round((angle - lean) / 90) % 2
    width, height = size[::-1] if turns else size
    cosine, sine = np.cos(np.radians(lean)), np.sin(np.radians(lean))
    along = (points - middle) @ np.array([[cosine, -sine], [sine, cosine]]) + (width / 2, height / 2)
    band = max(3.0, 0.1 * min(width, height))
    near = [along[:, 1] < band, along[:, 1] > height - band, along[:, 0] < band, along[:, 0] > width - band]
    for side, axis, length in zip(near, (0, 0, 1, 1), (width, width, height, height), strict=True):
        if len(np.unique(np.round(along[side, axis]))) < SIDED * length:
            return None
    return near
