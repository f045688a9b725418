"""Photos of handwritten digits on paper that never were taken: every circumstance asked for by name, the truth known.

A photo comes about as a real one does. Pens draw strokes on a page; the page is printed with a ruling; a camera
looks at it from some side; light falls on it; the phone blurs, adds noise, sharpens and writes a JPEG. Strokes and
rulings are points and lines until they are in the photo: as sharp at 400 pixels as at 40, and nothing is warped.

The shapes are those of the validation images of the embedded MNIST digits: models were not trained on them, and the
test images stay closed. They are thinned to their middle line and drawn again with the pen that the scene asks for.

Brightness is that of the file (0–1), not of the light: multiplying paper, ink and light means the same in both, since a
power of a product is the product of the powers.

    python tests/paper.py OUT.png      a sheet of examples, for people who want to look
"""

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import guarismo

RULINGS = ("none", "ruled", "squared", "dotted", "margin", "boxes", "table")
LIGHTS = ("even", "gradient", "hard_shadow", "phone_shadow", "vignette", "flash", "night")
CLUTTER = ("desk", "finger", "show_through", "printed_text", "stain", "fold", "underline", "doodle")
STYLES = ("mnist", "european")
KINDS = ("blank", "ruled", "scribble", "crossed_out", "letter", "shape", "noise")  # of mark_photo


@dataclass(frozen=True)
class Scene:
    """The circumstances of a photo; a test states only those that it is about.

    They are taken at their word: a black pen on black paper, or chalk on a yellow pad, is hardly to be seen.
    """

    ruling: str = "none"  # one of RULINGS
    light: str = "even"  # one of LIGHTS
    pen: str = "ballpoint"  # one of PENS; chalk and white_on_black turn white paper into a board, into black paper
    paper: str = "white"  # one of PAPERS
    tilt: float = 0.0  # degrees of the page, clockwise
    perspective: float = 0.0  # 0–0.3: the far side of the photo is about so much smaller
    blur: float = 0.0  # sigma in pixels for digits 60 pixels high, in proportion for others
    noise: float = 0.02  # of the sensor; the phone's own denoising, which is part of it, leaves about a third
    clutter: tuple[str, ...] = ()  # of CLUTTER
    height: int = 120  # of a digit in pixels
    jpeg: int = 85  # quality; 100: no JPEG
    touching: bool = False  # neighbours touch
    gap: float = 0.5  # between digits, in digit widths
    style: str = "mnist"  # european: 1 with flag and base, crossed 7, slashed 0, open 4

    def __post_init__(self) -> None:
        allowed = {"ruling": RULINGS, "light": LIGHTS, "pen": PENS, "paper": PAPERS, "style": STYLES}
        for name, names in allowed.items():
            if getattr(self, name) not in names:
                raise ValueError(f"{name} is one of {', '.join(names)}, not {getattr(self, name)!r}")
        if strange := set(self.clutter) - set(CLUTTER):
            raise ValueError(f"clutter is of {', '.join(CLUTTER)}, not {', '.join(sorted(strange))}")


@dataclass(frozen=True)
class Photo:
    """A photo and the truth about it."""

    pixels: np.ndarray  # uint8 (h, w, 3), RGB
    text: str  # lines joined by one space
    boxes: list[tuple[int, int, int, int]]  # x, y, width, height of each digit's ink, in reading order
    ink: np.ndarray  # bool (h, w): the strokes of the digits, before blur


@dataclass(frozen=True)
class Pen:
    """What a pen leaves: `width` in digit heights and `density` are ranges, `grain` is how much the paper shows."""

    colours: tuple[tuple[float, float, float], ...]
    width: tuple[float, float]
    density: tuple[float, float]
    grain: float
    light: bool = False  # covers what is below it instead of darkening it


@dataclass(frozen=True)
class Paper:
    """A surface: its colour, how strongly it varies finely, broadly and in relief, and its specks per megapixel."""

    colour: tuple[float, float, float]
    fine: float
    broad: float
    relief: float = 0.0
    specks: int = 0


PENS = {
    "ballpoint": Pen(((0.13, 0.17, 0.58), (0.16, 0.16, 0.2), (0.12, 0.25, 0.62)), (0.035, 0.062), (0.85, 1.0), 0.12),
    "pencil": Pen(((0.38, 0.38, 0.39), (0.3, 0.3, 0.32)), (0.035, 0.06), (0.45, 0.75), 0.4),
    "marker": Pen(((0.14, 0.14, 0.15), (0.17, 0.15, 0.26)), (0.1, 0.16), (0.94, 1.0), 0.04),
    "felt": Pen(
        ((0.75, 0.16, 0.18), (0.1, 0.45, 0.25), (0.12, 0.3, 0.7), (0.5, 0.2, 0.5)), (0.06, 0.1), (0.8, 0.95), 0.1
    ),
    "chalk": Pen(((0.9, 0.9, 0.86), (0.92, 0.87, 0.6)), (0.07, 0.12), (0.7, 0.9), 0.6, light=True),
    "white_on_black": Pen(((0.93, 0.93, 0.93),), (0.05, 0.1), (0.9, 1.0), 0.15, light=True),
}
PAPERS = {
    "white": Paper((0.93, 0.925, 0.91), 0.004, 0.003, 0.002),
    "textured": Paper((0.92, 0.91, 0.88), 0.005, 0.004, 0.017),
    "recycled": Paper((0.85, 0.81, 0.74), 0.012, 0.007, 0.006, specks=160),
    "yellow": Paper((0.95, 0.88, 0.55), 0.004, 0.004, 0.003),
    "grey": Paper((0.66, 0.65, 0.64), 0.007, 0.005, 0.003),
    "kraft": Paper((0.72, 0.56, 0.4), 0.018, 0.012, 0.01, specks=60),
    "blackboard": Paper((0.2, 0.27, 0.24), 0.02, 0.035),
    "black": Paper((0.13, 0.13, 0.135), 0.02, 0.02, 0.006),
}
# Blank room round the writing in digit heights, at least; clutter that needs a place beside the writing wants more.
ROOM = 1.1


# --- strokes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strokes:
    """A drawing: points float (n, 2), segments int (m, 2) between them, and a relative width (n,) at each point."""

    points: np.ndarray
    segments: np.ndarray
    widths: np.ndarray

    def at(self, points: np.ndarray) -> "Strokes":
        return dataclasses.replace(self, points=points)


def joined(drawings: list[Strokes]) -> Strokes:
    """Several drawings as one."""
    first = np.cumsum([0, *(len(each.points) for each in drawings)])
    return Strokes(
        np.concatenate([each.points for each in drawings]),
        np.concatenate([each.segments + start for each, start in zip(drawings, first, strict=False)]),
        np.concatenate([each.widths for each in drawings]),
    )


def drawn(*paths: list[tuple[float, float]] | np.ndarray, step: float = 0.04) -> Strokes:
    """Straight lines through the points of each path, with a point every `step`."""
    return joined([path_strokes(np.asarray(path, float), step) for path in paths])


def path_strokes(path: np.ndarray, step: float) -> Strokes:
    """One polyline float (n, 2) as strokes with a point every `step`."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    places = np.linspace(0, along[-1], max(2, int(np.ceil(along[-1] / step)) + 1))
    points = np.stack([np.interp(places, along, path[:, axis]) for axis in (0, 1)], axis=1)
    index = np.arange(len(points))
    return Strokes(points, np.stack([index[:-1], index[1:]], axis=1), np.ones(len(points)))


def arc(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360) -> np.ndarray:
    """A piece of an ellipse float (n, 2), in degrees clockwise from the right."""
    angles = np.deg2rad(np.linspace(start, stop, max(8, int(abs(stop - start) / 8))))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


@lru_cache(maxsize=1)
def thinning_table() -> np.ndarray:
    """Zhang and Suen's rules, uint8 (2, 256): whether a pixel with these eight neighbours goes, in either half step."""
    codes = np.arange(256)[:, None] >> np.arange(8) & 1  # north, then clockwise
    rises = ((codes == 0) & (np.roll(codes, -1, axis=1) == 1)).sum(axis=1)
    count = codes.sum(axis=1)
    n, _, e, _, s, _, w, _ = codes.T
    edge = (count >= 2) & (count <= 6) & (rises == 1)
    return np.stack([edge & (n * e * s == 0) & (e * s * w == 0), edge & (n * e * w == 0) & (n * s * w == 0)]).astype(
        np.uint8
    )


def thinned(mask: np.ndarray) -> np.ndarray:
    """The middle line of a shape, uint8 (h, w) of 0 and 1, one pixel wide; the border has to be empty."""
    weights = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)
    thin = mask.copy()
    while True:
        gone = 0
        for table in thinning_table():
            out = table[cv2.filter2D(thin, cv2.CV_8U, weights)] & thin
            gone += int(out.sum())
            thin ^= out
        if not gone:
            return thin


def traced(mask: np.ndarray) -> Strokes | None:
    """The shape, uint8 (h, w) of 0 and 1, as strokes along its middle line, 1 high; None where there is none.

    The pixels of the middle line are the points; they are drawn towards their neighbours until the steps are gone.
    """
    mask = np.pad(mask, 2)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    thin = pruned(thinned(mask), length=int(np.ceil(depth.max() * 1.1)))
    rows, columns = np.nonzero(thin)
    if len(rows) < 4:
        return None
    number = np.full(mask.shape, -1)
    number[rows, columns] = np.arange(len(rows))
    segments = np.array(
        [
            (number[y, x], number[y + dy, x + dx])
            for y, x in zip(rows, columns, strict=True)
            for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1))
            # A diagonal beside a corner would be a second way round the same corner.
            if thin[y + dy, x + dx] and not (dx and dy and (thin[y, x + dx] or thin[y + dy, x]))
        ]
    )
    if not len(segments):
        return None
    points = np.stack([columns, rows], axis=1).astype(float)
    widths = depth[rows, columns].astype(float)
    both = np.concatenate([segments, segments[:, ::-1]])
    degree = np.bincount(both[:, 0], minlength=len(points))
    ends = degree == 1
    reach = 0.6 * widths[ends, None]
    neighbour = np.zeros(len(points), int)
    neighbour[both[:, 0]] = both[:, 1]
    for _ in range(24):
        mean = np.stack([np.bincount(both[:, 0], points[both[:, 1], axis], len(points)) for axis in (0, 1)], axis=1)
        moved = points + 0.5 * (mean / np.maximum(degree, 1)[:, None] - points)
        points = np.where(ends[:, None], points, moved)
        widths += 0.5 * (np.bincount(both[:, 0], widths[both[:, 1]], len(points)) / np.maximum(degree, 1) - widths)
    # Thinning eats a line's ends; a few points back is where the line is heading.
    back = neighbour[ends]
    heading = points[ends] - points[back]
    points[ends] += reach * heading / np.maximum(np.hypot(*heading.T), 1e-6)[:, None]
    return unit(Strokes(points, segments, widths / widths.mean()))


def pruned(thin: np.ndarray, length: int) -> np.ndarray:
    """A middle line, uint8 (h, w), without the side branches shorter than `length` that thinning leaves at bumps."""
    thin = thin.copy()
    count = cv2.filter2D(thin, cv2.CV_8U, np.float32([[1, 1, 1], [1, 0, 1], [1, 1, 1]]))
    for y, x in zip(*np.nonzero(thin & (count == 1)), strict=True):
        branch, place = [(y, x)], (y, x)
        while len(branch) <= length:
            around = [
                (place[0] + dy, place[1] + dx)
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if thin[place[0] + dy, place[1] + dx] and (place[0] + dy, place[1] + dx) not in branch
            ]
            if len(around) != 1:
                if len(around) > 1:
                    for each in branch:
                        thin[each] = 0
                break
            place = around[0]
            branch.append(place)
    return thinned(thin)


def unit(strokes: Strokes) -> Strokes:
    """Scaled to 1 high (or, lying, to 1.1 wide), its left upper corner at 0, 0."""
    low = strokes.points.min(axis=0)
    width, height = strokes.points.max(axis=0) - low
    return strokes.at((strokes.points - low) / max(height, width / 1.1, 1e-6))


@lru_cache(maxsize=1)
def handwriting() -> dict[int, np.ndarray]:
    """The validation images of the embedded digits, uint8 (n, 28, 28) for each digit, without the doubtful.

    Doubtful are those of which two of the three most similar training images are another digit: a photo whose truth
    people would dispute measures nothing.
    """
    dataset = guarismo.load("digits")
    known, asked = (
        each.images.reshape(len(each.images), -1) / np.float32(255) for each in (dataset.train, dataset.validation)
    )
    apart = (known**2).sum(axis=1) - 2 * asked @ known.T
    nearest = dataset.train.labels[np.argpartition(apart, 3, axis=1)[:, :3]]
    labels = dataset.validation.labels
    clear = (nearest == labels[:, None]).sum(axis=1) >= 2
    return {digit: dataset.validation.images[clear & (labels == digit), ..., 0] for digit in range(10)}


# How many holes a well-closed digit has; a 2 may have a loop, a 4 may be open.
HOLES = {0: {1}, 1: {0}, 2: {0, 1}, 3: {0}, 4: {0, 1}, 5: {0}, 6: {1}, 7: {0}, 8: {2}, 9: {1}}


@lru_cache(maxsize=1024)
def written(digit: int, number: int) -> Strokes:
    """The digit as the `number`-th of its writers drew it, 1 high.

    Those whose loops ran together, and those too fat to have a middle line that tells which digit they are, are passed
    over for the next.
    """
    images = handwriting()[digit]
    for step in range(len(images)):
        large = cv2.resize(images[(number + step) % len(images)], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        mask = (cv2.GaussianBlur(large, (0, 0), 1.5) > 105).astype(np.uint8)
        if cv2.distanceTransform(mask, cv2.DIST_L2, 3).max() > 8:
            continue
        parts = cv2.connectedComponents(mask)[0] - 1
        holes = cv2.connectedComponents(np.pad(1 - mask, 1, constant_values=1), connectivity=4)[0] - 2
        if parts == 1 and holes in HOLES[digit] and (strokes := traced(mask)) is not None:
            return strokes
    raise AssertionError(f"no {digit} can be drawn again")


def european(digit: int, rng: np.random.Generator) -> Strokes | None:
    """The digits that are written otherwise in Europe, 1 high; None for the others."""
    if digit == 0:
        return drawn(arc(0.32, 0.5, 0.32, 0.5, -80, 285), [(0.62, 0.08), (0.02, 0.92)])
    if digit == 1:
        base = [[(0.12, 1), (0.7, 1)]] if rng.random() < 0.6 else []
        return drawn([(0, rng.uniform(0.25, 0.5)), (0.42, 0), (0.42, 1)], *base)
    if digit == 4:
        return drawn([(0.22, 0), (0, 0.62), (0.66, 0.6)], [(0.46, rng.uniform(0.2, 0.4)), (0.42, 1)])
    if digit == 7:
        return drawn([(0, 0.1), (0.02, 0.03), (0.56, 0), (0.3, 0.5), (0.2, 1)], [(0.08, 0.52), (0.56, 0.47)])
    return None


def shaken(strokes: Strokes, rng: np.random.Generator, amount: float = 0.02) -> Strokes:
    """No two alike: slow waves of `amount` move the points of a drawing of about 1."""
    x, y = strokes.points.T
    waves = rng.uniform(2, 5, (2, 2, 1)) * np.stack([x, y]) + rng.uniform(0, 6.28, (2, 2, 1))
    return strokes.at(strokes.points + amount * np.sin(waves).sum(axis=1).T)


def turned(points: np.ndarray, degrees: float, slant: float = 0.0) -> np.ndarray:
    """Points float (n, 2) leaned to the right by `slant`, then turned clockwise about their middle."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return (points - middle) @ np.array([[1, -slant], [0, 1]]).T @ np.array([[c, -s], [s, c]]).T + middle


# --- a page -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """Drawings in the pixels of an untilted page, and what the ruling is fitted to."""

    drawings: list[Strokes]
    baselines: list[float]
    cells: list[tuple[float, float, float, float]]  # x, y, width, height: the place of each drawing
    pitch: float  # from one printed line to the next
    nib: float  # stroke width


def write_page(lines: list[list[Strokes]], scene: Scene, rng: np.random.Generator) -> Page:
    """Lines of drawings 1 high, set out on a page as a hand would."""
    size, pen = scene.height, PENS[scene.pen]
    nib = max(1.3, size * rng.uniform(*pen.width))
    pitch = size * (rng.uniform(0.45, 0.8) if scene.ruling in ("squared", "dotted") else rng.uniform(0.95, 1.4))
    lined = scene.ruling in ("ruled", "squared", "dotted", "margin")
    leading = pitch * np.ceil(1.4 * size / pitch) if lined else size * rng.uniform(1.45, 1.9)
    celled = scene.ruling in ("boxes", "table")
    leading = size * 1.75 if celled else leading
    slant, drift = rng.normal(0, 0.07), np.deg2rad(rng.normal(0, 0.7))
    drawings, cells, baselines = [], [], []
    for row, line in enumerate(lines):
        x, baseline = 0.0 if celled else rng.uniform(-0.3, 0.3) * size, row * leading
        baselines.append(baseline)
        previous = None
        for each in line:
            tall = size * rng.normal(1, 0.04) - nib
            points = turned(shaken(each, rng).points, rng.normal(0, 2.5), slant)
            points = (points - points.min(axis=0)) * tall / max(np.ptp(points[:, 1]), np.ptp(points[:, 0]) / 1.1, 1e-6)
            lift = rng.normal(0.12 if celled else 0.02, 0.03) * size
            points[:, 1] += baseline - lift - np.ptp(points[:, 1]) - nib / 2
            wide = np.ptp(points[:, 0])
            if celled:
                points[:, 0] += x + (1.4 * size - wide) / 2 + rng.normal(0, 0.05) * size
                x += 1.4 * size
            elif previous is None or not scene.touching:
                points[:, 0] += x
                x += wide + nib + scene.gap * 0.6 * size * rng.uniform(0.8, 1.2)
            else:
                points[:, 0] += touching_shift(previous, points, nib)
            if not celled:
                points[:, 1] += drift * points[:, 0]
            drawings.append(each.at(points))
            cells.append((x - 1.4 * size if celled else points[:, 0].min(), baseline - 1.3 * size, 1.4 * size, leading))
            previous = points
    return Page(drawings, baselines, cells, pitch, nib)


def touching_shift(left: np.ndarray, right: np.ndarray, nib: float) -> float:
    """How far to the right the points `right` go so that their strokes just meet those of `left`."""
    level = np.abs(left[:, None, 1] - right[None, :, 1]) < 0.7 * nib
    apart = np.where(level, left[:, None, 0] - right[None, :, 0], -np.inf).max()
    return (apart if np.isfinite(apart) else left[:, 0].max() - right[:, 0].min()) + 0.5 * nib


# --- the camera -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Camera:
    """Where the points of a page are in the photo: a homography, after the slight bend that every sheet has."""

    matrix: np.ndarray  # float (3, 3)
    bend: np.ndarray  # float (4,): height and angular frequencies of the wave, and its phase

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points float (n, 2) of the page in pixels of the photo."""
        height, along, across, phase = self.bend
        x, y = points.T
        flat = np.stack([x, y + height * np.sin(along * x + across * y + phase), np.ones(len(x))])
        out = self.matrix @ flat
        return (out[:2] / out[2]).T

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The part of the page that the photo shows, with some more round it: left, top, right, bottom."""
        corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]]).T
        out = np.linalg.solve(self.matrix, corners)
        points = (out[:2] / out[2]).T
        spare = 0.03 * max(height, width)
        return (*(points.min(axis=0) - spare), *(points.max(axis=0) + spare))


def aim(
    page: Page, scene: Scene, size: tuple[int, int] | None, rng: np.random.Generator
) -> tuple[Camera, tuple[int, int]]:
    """A camera that has the whole page of writing in the picture, and the picture's height and width."""
    points = np.concatenate([*(each.points for each in page.drawings), *map(cell_corners, page.cells)])
    middle, extent = (points.min(axis=0) + points.max(axis=0)) / 2, np.ptp(points, axis=0)
    room = scene.height * (ROOM + 0.7 * bool({"desk", "finger", "printed_text", "doodle"} & set(scene.clutter)))
    diagonal = np.hypot(*size) / 2 if size else np.hypot(*(extent / 2 + room))
    c, s = np.cos(np.deg2rad(scene.tilt)), np.sin(np.deg2rad(scene.tilt))
    direction = rng.normal(-np.pi / 2, 0.9)
    lean = scene.perspective / 2 / diagonal * np.array([np.cos(direction), np.sin(direction)])
    centre = np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, 1]])
    matrix = np.array([[1, 0, 0], [0, 1, 0], [-lean[0], -lean[1], 1]]) @ [[c, -s, 0], [s, c, 0], [0, 0, 1]] @ centre
    bend = np.array([rng.uniform(0.001, 0.004) * diagonal, *(rng.uniform(0.5, 2, 2) / diagonal), rng.uniform(0, 6.28)])
    seen = Camera(matrix, bend).project(points)
    low, high = seen.min(axis=0), seen.max(axis=0)
    if size is None:
        before, after = room * rng.uniform(1, 1.8, (2, 2))
        width, height = (high - low + before + after).astype(int)
    else:
        width, height = size
        spare = np.array([width, height]) - (high - low) - 2 * page.nib - 4
        if (spare < 0).any():
            needs = np.array([width, height]) - np.floor(spare)
            raise ValueError(f"the writing needs {needs[0]:.0f}×{needs[1]:.0f} pixels, the photo has {width}×{height}")
        before = page.nib + 2 + spare * np.clip(rng.normal(0.5, 0.12, 2), 0.05, 0.95)
    shift = before - low
    return Camera(np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]]) @ matrix, bend), (int(height), int(width))


def cell_corners(cell: tuple[float, float, float, float]) -> np.ndarray:
    """The corners float (4, 2) of x, y, width, height."""
    x, y, w, h = cell
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])


def draw_strokes(layer: np.ndarray, strokes: Strokes, nib: float) -> tuple[int, int, int, int]:
    """Draws into the layer uint8 (h, w), which keeps the greater; gives the box of what is more than half covered."""
    fine = 4 if np.ptp(strokes.points, axis=0).max() < 250 else 2
    low = np.floor(strokes.points.min(axis=0) - nib - 2).astype(int)
    high = np.ceil(strokes.points.max(axis=0) + nib + 2).astype(int)
    low, high = np.maximum(low, 0), np.minimum(high, layer.shape[1::-1])
    if (high <= low).any():
        return 0, 0, 0, 0
    large = np.zeros(tuple((high - low)[::-1] * fine), np.uint8)
    places = np.round(((strokes.points - low + 0.5) * fine - 0.5) * 16).astype(np.int32)
    # A pen presses a little harder here than there; all segments of one thickness are one call.
    ends = strokes.widths[strokes.segments].mean(axis=1)
    thick = np.maximum(1, np.round(nib * fine * np.clip(0.55 + 0.45 * ends, 0.7, 1.3))).astype(int)
    for each in np.unique(thick):
        cv2.polylines(large, list(places[strokes.segments[thick == each]]), False, 255, int(each), cv2.LINE_8, 4)
    patch = cv2.resize(large, None, fx=1 / fine, fy=1 / fine, interpolation=cv2.INTER_AREA)
    part = layer[low[1] : high[1], low[0] : high[0]]
    np.maximum(part, patch, out=part)
    x, y, w, h = cv2.boundingRect((patch > 127).astype(np.uint8))
    return int(low[0] + x), int(low[1] + y), w, h


def draw_line(layer: np.ndarray, camera: Camera, start: tuple[float, float], stop: tuple[float, float], wide: float):
    """A printed line of the page into the layer uint8 (h, w), `wide` pixels, fainter where thinner than one."""
    points = camera.project(np.linspace(start, stop, 24))
    value = int(255 * min(1, wide))
    cv2.polylines(layer, [np.round(points * 16).astype(np.int32)], False, value, max(1, round(wide)), cv2.LINE_AA, 4)


# --- noise, made once -------------------------------------------------------------------------------------------------

TILE = 1024


@lru_cache(maxsize=32)
def tile(sigma: float) -> np.ndarray:
    """Noise float32 (TILE, TILE) of mean 0 and spread 1 that varies over `sigma` pixels and continues at its edges."""
    noise = np.random.default_rng(round(100 * sigma)).standard_normal((TILE, TILE), np.float32)
    if sigma:
        shrink = 1 << max(0, int(np.log2(sigma / 4)))
        noise = noise[: TILE // shrink, : TILE // shrink]
        edge = int(4 * sigma / shrink) + 2
        wrapped = cv2.GaussianBlur(np.pad(noise, edge, mode="wrap"), (0, 0), sigma / shrink)
        side = TILE // shrink
        wrapped = cv2.resize(wrapped, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_CUBIC)
        noise = wrapped[edge * shrink : (edge + side) * shrink, edge * shrink : (edge + side) * shrink]
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


@lru_cache(maxsize=1)
def relief_tile() -> np.ndarray:
    """The light and shade float32 (TILE, TILE) of a rough surface lit from the side, spread 1."""
    rough = tile(1.6) + tile(4.0)
    slope = rough - np.roll(rough, (1, 1), axis=(0, 1))
    return slope / slope.std()


@lru_cache(maxsize=1)
def sensor_tile() -> np.ndarray:
    """What a phone's denoising leaves of its sensor's noise, brightness and blotchy colour: float32 (TILE, TILE, 3).

    Measured on photos of phones: about 1–1.7 of 255 below 2 pixels and as much again up to 8.
    """
    brightness = 0.55 * tile(0.6) + 0.3 * tile(1.2) + 0.2 * tile(3.0)
    colour = np.stack([np.roll(tile(2.5), shift, axis=(0, 1)) for shift in (0, 311, 677)], axis=-1)
    return np.ascontiguousarray(0.4 * (brightness[..., None] + 0.25 * colour))


def cut(noise: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A piece (height, width, …) of a tile, from anywhere."""
    y, x = rng.integers(TILE, size=2)
    out = np.empty((height, width, *noise.shape[2:]), noise.dtype)
    for top in range(-int(y), height, TILE):
        for left in range(-int(x), width, TILE):
            part = out[max(0, top) : top + TILE, max(0, left) : left + TILE]
            part[:] = noise[max(0, -top) :, max(0, -left) :][: part.shape[0], : part.shape[1]]
    return out


# --- paper, print, light ----------------------------------------------------------------------------------------------


def surface(paper: Paper, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """How much more or less of its colour the paper shows: float32 (height, width) round 1."""
    shade = 1 + paper.fine * cut(tile(0.8), height, width, rng) + paper.broad * cut(tile(24.0), height, width, rng)
    shade += paper.fine * cut(tile(3.0), height, width, rng)
    if paper.relief:
        shade += paper.relief * cut(relief_tile(), height, width, rng)
    for _ in range(rng.poisson(paper.specks * height * width / 1e6)):
        x, y = rng.integers([width, height])
        step = rng.normal(0, 3, 2).astype(int)
        spot = np.zeros((15, 15), np.float32)
        cv2.line(spot, (7, 7), (7 + int(step[0]), 7 + int(step[1])), 1.0, 1, cv2.LINE_AA)
        part = shade[y : y + 15, x : x + 15]
        part *= 1 - rng.uniform(0.03, 0.25) * cv2.GaussianBlur(spot, (0, 0), 0.7)[: part.shape[0], : part.shape[1]]
    if paper is PAPERS["blackboard"]:  # wiped, not washed
        wiped = cv2.resize(cut(tile(6.0), height, width // 12 + 1, rng), (width, height))
        shade += 0.05 * np.maximum(wiped + 0.3, 0)
    return shade


def print_ruling(shape: tuple[int, int], page: Page, camera: Camera, scene: Scene, rng: np.random.Generator):
    """The printed lines as density uint8 (h, w), and their colour."""
    layer = np.zeros(shape, np.uint8)
    left, top, right, bottom = camera.seen(*shape)
    wide = max(0.7, scene.height * rng.uniform(0.012, 0.022))
    first = page.baselines[0] + 0.03 * scene.height if page.baselines else rng.uniform(0, page.pitch)
    ys = np.arange(first - np.ceil((first - top) / page.pitch) * page.pitch, bottom, page.pitch)
    xs = np.arange(left + rng.uniform(0, page.pitch), right, page.pitch)
    pale = [(0.55, 0.66, 0.82), (0.62, 0.64, 0.68), (0.6, 0.74, 0.8)][rng.integers(3)]
    dark = [(0.25, 0.25, 0.26), (0.4, 0.4, 0.42), (0.3, 0.45, 0.6), (0.75, 0.45, 0.4)][rng.integers(4)]
    if scene.ruling in ("ruled", "margin", "squared"):
        for y in ys:
            draw_line(layer, camera, (left, y), (right, y), wide)
    if scene.ruling == "squared":
        for x in xs:
            draw_line(layer, camera, (x, top), (x, bottom), wide)
    if scene.ruling == "dotted":
        dots = camera.project(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2))
        for x, y in np.round(dots * 16).astype(int):
            cv2.circle(layer, (int(x), int(y)), round(16 * max(0.8, wide)), 255, -1, cv2.LINE_AA, 4)
    if scene.ruling == "boxes":
        for x, y, w, h in page.cells:
            corners = cell_corners((x + 0.05 * w, y, w * 0.9, min(h, 1.5 * scene.height)))
            for start, stop in zip(corners, np.roll(corners, -1, axis=0), strict=True):
                draw_line(layer, camera, start, stop, 1.3 * wide)
    if scene.ruling == "table" and page.cells:
        cells = np.array(page.cells)
        step, leading = cells[0, 2:]
        columns = np.arange(cells[:, 0].min() - step, cells[:, 0].max() + 1.5 * step, step)
        rows = np.arange(cells[:, 1].min() - leading, cells[:, 1].max() + 1.5 * leading, leading)
        for x in columns:
            draw_line(layer, camera, (x, rows[0]), (x, rows[-1]), 1.4 * wide)
        for y in rows:
            draw_line(layer, camera, (columns[0], y), (columns[-1], y), 1.4 * wide)
    return layer, dark if scene.ruling in ("boxes", "table") else pale


def print_words(layer: np.ndarray, camera: Camera, words: str, place: tuple[float, float], size: float, font: str):
    """Printed words into the density uint8 (h, w), their left lower corner at `place` of the page."""
    face = ImageFont.truetype(font, 48)
    _, top, right, bottom = face.getbbox(words)
    picture = Image.new("L", (int(right) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(picture).text((2, 2 - top), words, fill=255, font=face)
    scale = size / 48
    # Reducing by hand first: warping looks at four pixels only, however many one of them stands for.
    patch = cv2.GaussianBlur(np.asarray(picture), (0, 0), max(0.3, 0.4 / scale))
    put = np.array([[scale, 0, place[0]], [0, scale, place[1] - scale * picture.height], [0, 0, 1]])
    seen = cv2.warpPerspective(patch, camera.matrix @ put, layer.shape[1::-1], flags=cv2.INTER_LINEAR)
    np.maximum(layer, seen, out=layer)


def light_field(kind: str, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """How bright the light is in each place and colour: float32 (height/4, width/4, 3), where 1 is bright paper."""
    h, w = height // 4 + 2, width // 4 + 2
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    angle = rng.uniform(0, 6.28)
    slope = x * np.cos(angle) + y * np.sin(angle)
    from_centre = (x - rng.normal(0, 0.1)) ** 2 + (y - rng.normal(0, 0.1)) ** 2
    # Phones expose for grey: white paper comes out anywhere between dull grey and nearly white.
    light = (
        rng.uniform(0.68, 0.98) * (1 + rng.uniform(0.02, 0.06) * slope) * (1 - rng.uniform(0.02, 0.06) * from_centre)
    )
    tint = 1 + np.array([1, 0.1, -1.2]) * rng.normal(0.015, 0.018)
    dark = np.zeros((h, w), np.float32)  # how much of the light is kept away
    if kind == "gradient":
        light = 0.72 * (1 + rng.uniform(0.3, 0.5) * slope)
    elif kind == "vignette":
        light = rng.uniform(0.72, 0.88) * (1 - rng.uniform(0.22, 0.36) * from_centre)
    elif kind == "flash":
        px, py = rng.uniform(-0.6, 0.6, 2)
        away = (x - px) ** 2 + (y - py) ** 2
        light = 0.5 + 0.3 * np.exp(-away / 0.8) + rng.uniform(0.35, 0.6) * np.exp(-away / rng.uniform(0.015, 0.06))
    elif kind == "night":
        light = rng.uniform(0.3, 0.42) * (1 + 0.3 * slope) * (1 - 0.2 * from_centre)
        tint = np.array([1.12, 0.92, 0.62])
    elif kind == "hard_shadow":
        edge = slope - rng.uniform(-0.25, 0.25) + 0.05 * np.sin(4 * (y * np.cos(angle) - x * np.sin(angle)))
        dark = (edge > 0) * np.float32(rng.uniform(0.35, 0.55))
        dark = cv2.GaussianBlur(dark, (0, 0), max(1.2, max(h, w) * rng.uniform(0.004, 0.02)))
    elif kind == "phone_shadow":
        dark = phone_shadow(h, w, rng)
    # A shadow is lit by what the walls throw back, which is a little warmer here.
    kept = 1 - dark[..., None] * np.array([0.97, 1.0, 1.02], np.float32)
    return (light[..., None] * tint * kept).astype(np.float32)


def phone_shadow(h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """The shadow float32 (h, w) of a phone with round corners held between lamp and paper."""
    dark = np.zeros((h, w), np.float32)
    corner, reach = 0.1 * max(h, w), rng.uniform(0.3, 0.5)
    x, y = w * rng.uniform(0.1, 0.4), h * (1 - reach)
    inner = cell_corners((x + corner, y + corner, 1.6 * w - 2 * corner, 2 * h - 2 * corner))
    inner = turned(inner, rng.normal(0, 4))
    cv2.fillPoly(dark, [inner.astype(np.int32)], 1.0)
    cv2.polylines(dark, [inner.astype(np.int32)], True, 1.0, int(2 * corner))
    if rng.random() < 0.5:
        dark = dark[:, ::-1]
    if rng.random() < 0.3:
        dark = dark[::-1]
    soft = cv2.GaussianBlur(dark, (0, 0), max(1.2, max(h, w) * rng.uniform(0.004, 0.03)))
    return soft * np.float32(rng.uniform(0.5, 0.75))


# --- clutter ----------------------------------------------------------------------------------------------------------


def sheet_mask(
    page: Page, camera: Camera, shape: tuple[int, int], scene: Scene, rng: np.random.Generator
) -> np.ndarray:
    """Where the paper is, uint8 (h, w), of a sheet that ends inside the photo on one side at least."""
    points = np.concatenate([*(each.points for each in page.drawings), *map(cell_corners, page.cells)])
    writing = *points.min(axis=0), *points.max(axis=0)
    seen = camera.seen(*shape)
    inside = rng.random(4) < 0.6
    inside[rng.integers(4)] = True
    edges = []
    for there, far, ends in zip(writing, seen, inside, strict=True):
        edges.append(there + (far - there) * rng.uniform(0.35, 0.6) if ends else far + 2 * (far - there))
    left, top, right, bottom = edges
    outline = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    border = np.concatenate([np.linspace(a, b, 16) for a, b in pairwise(outline)])
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(camera.project(border) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask


def desk(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """What lies under the sheet, float32 (height, width, 3): wood with its grain, or a plain dark table top."""
    colour = np.array([(0.62, 0.43, 0.27), (0.42, 0.27, 0.18), (0.75, 0.6, 0.44), (0.2, 0.2, 0.22)][rng.integers(4)])
    # The grain: noise stretched along the board, and rings where slow noise crosses levels.
    narrow = cv2.resize(cut(tile(1.2), height, width // 24 + 2, rng), (width, height), interpolation=cv2.INTER_CUBIC)
    slow = cv2.resize(cut(tile(24.0), height, width // 8 + 2, rng), (width, height), interpolation=cv2.INTER_LINEAR)
    strength = 1.0 if colour[0] > colour[2] + 0.05 else 0.3
    grain = 1 + strength * (0.05 * narrow + 0.07 * np.sin(9 * slow) + 0.05 * slow)
    return tinted(0, grain, colour)


def put_finger(
    image: np.ndarray, boxes: list[tuple[int, int, int, int]], size: float, rng: np.random.Generator
) -> None:
    """Lays a finger on the paper float32 (h, w, 3), from the edge that leaves most room beside the digits."""
    height, width = image.shape[:2]
    thick = size * rng.uniform(1.1, 1.6)
    best = (-1.0, 0, 0.0)
    for side in range(4):
        length = width if side % 2 else height  # 0 left, 1 top, 2 right, 3 bottom
        for place in rng.uniform(0.15, 0.85, 6) * length:
            best = max(best, (free_depth(boxes, side, place, thick, height, width), side, place))
    depth, side, place = best
    reach = min(0.8 * depth, 2.6 * thick)
    # Drawn as if it came from the left, into a view of the photo that is turned to its side.
    view = np.rot90(image, (0, 1, 2, -1)[side])
    place = view.shape[0] - place if side in (1, 2) else place
    first = max(0, int(place - 2 * thick))
    view = view[first : int(place + 2 * thick), : max(2, int(reach + thick))]
    place -= first
    mask = np.zeros(view.shape[:2], np.float32)
    tip, root = (reach - 0.46 * thick, place), (-1.5 * thick, place + rng.uniform(-0.4, 0.4) * thick)
    for part in np.linspace(0, 1, 40):  # thicker towards the hand
        middle = np.array(root) * (1 - part) + np.array(tip) * part
        cv2.circle(mask, point(16 * middle), int(16 * thick * (0.58 - 0.12 * part)), 1.0, -1, cv2.LINE_AA, 4)
    shadow = cv2.GaussianBlur(np.roll(mask, int(0.12 * thick), axis=0), (0, 0), 0.14 * thick)
    view *= tinted(1, shadow, (-0.45,) * 3)
    inside = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3) / np.float32(0.5 * thick)
    bulge = cv2.GaussianBlur(np.sqrt(np.minimum(inside, 1)), (0, 0), 0.06 * thick)
    bulge *= 1 + 0.02 * cut(tile(3.0), *mask.shape, rng) + 0.015 * cut(tile(0.8), *mask.shape, rng)
    skin = np.array([(0.9, 0.69, 0.58), (0.8, 0.58, 0.46), (0.58, 0.4, 0.3), (0.38, 0.25, 0.19)][rng.integers(4)])
    flesh = tinted(0, 0.5 + 0.5 * bulge, skin)
    nail = np.zeros(mask.shape, np.float32)
    axes = int(0.27 * thick), int(0.21 * thick)
    cv2.ellipse(nail, point((tip[0] + 0.12 * thick, tip[1])), axes, 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    nail = cv2.GaussianBlur(nail, (0, 0), 0.02 * thick)
    flesh += tinted(0, 0.35 * nail * bulge, (0.4, 0.33, 0.32))
    soft = cv2.GaussianBlur(mask, (0, 0), 1.2)
    view *= tinted(1, soft, (-1,) * 3)
    view += flesh * soft[..., None]


def point(place: tuple[float, float]) -> tuple[int, int]:
    """The pixel of a place."""
    return int(place[0]), int(place[1])


def free_depth(boxes, side: int, place: float, thick: float, height: int, width: int) -> float:
    """How far into the photo a bar `thick` wide can come from this side at this place without touching a box."""
    depth = 0.6 * (height if side % 2 else width)
    for x, y, w, h in boxes:
        low, high = (x, x + w) if side % 2 else (y, y + h)
        if low - 0.8 * thick < place < high + 0.8 * thick:
            depth = min(depth, (x, y, width - x - w, height - y - h)[side])
    return float(depth)


def stain(height: int, width: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """What a cup left: density float32 (height, width)."""
    radius = size * rng.uniform(1.0, 1.8)
    side = 2 * int(1.2 * radius)
    y, x = np.mgrid[-1.2 : 1.2 : side * 1j, -1.2 : 1.2 : side * 1j].astype(np.float32)
    uneven = cut(tile(24.0), side, side, rng)
    away = np.hypot(x, y) + 0.015 * uneven
    rim = np.exp(-(((away - 1) / 0.03) ** 2)) * np.clip(0.5 + 0.5 * np.roll(uneven, 99), 0, 1)
    cup = 0.5 * rim + 0.14 / (1 + np.exp(np.clip((away - 1) / 0.015, -30, 30)))
    layer = np.zeros((height + 2 * side, width + 2 * side), np.float32)
    top, left = side + rng.integers(-side // 3, [height - side // 2, width - side // 2])
    layer[top : top + side, left : left + side] = cup
    return layer[side:-side, side:-side]


def fold(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """How a crease across the sheet changes the light: float32 (height, width) round 1."""
    wide = max(height, width)
    across = np.arange(-2 * wide, 2 * wide, dtype=np.float32)
    sharp = np.exp(-((across / (0.0012 * wide + 0.7)) ** 2))
    sharp -= 0.8 * np.exp(-(((across - 0.003 * wide) / (0.002 * wide + 0.7)) ** 2))
    sides = np.tanh(across / (0.002 * wide)) * np.exp(-np.abs(across) / (0.3 * wide))
    profile = 1 - rng.uniform(0.08, 0.16) * sharp - rng.uniform(0.02, 0.05) * sides
    # One profile for the whole crease, laid out along it by an affine map.
    angle = rng.choice([0.0, 90.0]) + rng.normal(0, 3)
    turn = cv2.getRotationMatrix2D((2 * wide, 2), angle, 1)
    turn[:, 2] += [width * rng.uniform(0.3, 0.7) - 2 * wide, height * rng.uniform(0.3, 0.7) - 2]
    strip = np.tile(profile.astype(np.float32), (5, 1))
    return cv2.warpAffine(strip, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)


# --- marks that are no digits -----------------------------------------------------------------------------------------

# Nothing that a hand might have meant as a digit: no a, C, e, h, P, U (9, 0, 6, 4, 9, 0), no ?, ! or $ (2, 1, 5).
LETTERS = "AEFHKMNRVWXkmwxЖШЩМДπΨΞ"
SIGNS = "#%&@*+=€~≈≠♣♥★☂✂♫"


@lru_cache(maxsize=1)
def faces() -> list[str]:
    """The text fonts that come with Matplotlib, as paths."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    kinds = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "cmr10", "cmss10", "cmtt10", "cmb10")
    return [
        str(path)
        for path in sorted(folder.glob("*.ttf"))
        if path.stem.split("-")[0].startswith(kinds) and "Display" not in path.stem
    ]


@lru_cache(maxsize=2048)
def glyph(character: str, face: str) -> np.ndarray:
    """A printed character uint8 (h, w), 64 pixels to the em, cut out; from DejaVu Sans where the font lacks it."""
    for path in (face, next(each for each in faces() if each.endswith("DejaVuSans.ttf"))):
        font = ImageFont.truetype(path, 64)
        if font.getmask(character).getbbox() and bytes(font.getmask(character)) != bytes(font.getmask("\uffff")):
            break
    left, top, right, bottom = font.getbbox(character)
    picture = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(picture).text((4 - left, 4 - top), character, fill=255, font=font)
    pixels = np.asarray(picture)
    x, y, w, h = cv2.boundingRect(pixels)
    return pixels[y : y + h, x : x + w]


@lru_cache(maxsize=512)
def letter(character: str, face: str) -> Strokes:
    """A letter as a hand would draw it: along the middle line of the printed one."""
    large = cv2.resize(glyph(character, face), None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    strokes = traced((cv2.GaussianBlur(np.pad(large, 4), (0, 0), 1.5) > 127).astype(np.uint8))
    return strokes if strokes is not None else drawn([(0, 0), (1, 1)], [(1, 0), (0, 1)])


def scribble(rng: np.random.Generator) -> Strokes:
    """To and fro, many times: 10–18 turns."""
    turns = int(rng.integers(10, 19))
    xs = np.where(np.arange(turns) % 2, 1.0, 0.0) + rng.normal(0, 0.1, turns)
    ys = np.linspace(0, 1, turns) + rng.normal(0, 0.12, turns)
    curve = np.stack([np.interp(np.linspace(0, turns - 1, 12 * turns), np.arange(turns), each) for each in (xs, ys)])
    smooth = cv2.GaussianBlur(curve, (0, 0), sigmaX=2, sigmaY=1e-3)
    return drawn(turned(smooth.T, rng.uniform(-60, 60)))


def crossed_out(rng: np.random.Generator) -> Strokes:
    """Something under five or more lines each way: a ring under a single line would be a slashed 0."""
    lines = [[(-0.1, y + rng.normal(0, 0.04)), (1.1, y + rng.normal(0, 0.04))] for y in np.linspace(0.05, 0.95, 5)]
    lines += [[(x + rng.normal(0, 0.04), -0.1), (x + rng.normal(0, 0.04), 1.1)] for x in np.linspace(0.1, 0.9, 5)]
    under = letter(str(rng.choice(list(LETTERS))), faces()[rng.integers(len(faces()))])
    over = drawn(*lines)
    return joined([under, over.at(turned(over.points, rng.uniform(-50, 50)))])


def shape(rng: np.random.Generator) -> Strokes:
    """A drawn thing: star, heart with an arrow, house, arrow, spiral, zigzag, sun, tree, fish, person, ladder."""
    around = np.deg2rad(np.arange(6) * 144 - 90)
    t = np.linspace(0, 2 * np.pi, 40)
    turns = rng.uniform(3.2, 4.5)
    winding = np.linspace(0.1, 1, 120)
    zig = int(rng.integers(6, 10))
    heart = (
        np.stack([16 * np.sin(t) ** 3, -13 * np.cos(t) + 5 * np.cos(2 * t) + 2 * np.cos(3 * t) + np.cos(4 * t)], 1) / 32
    )
    rays = [[(0.32 * np.cos(a), 0.32 * np.sin(a)), (0.55 * np.cos(a), 0.55 * np.sin(a))] for a in t[:-1:4]]
    shapes = (
        [np.stack([np.cos(around), np.sin(around)], axis=1)],
        [heart, [(-0.7, 0.35), (0.7, -0.35)], [(0.45, -0.38), (0.7, -0.35), (0.6, -0.12)]],
        [
            [(0, 0.45), (0, 1), (0.9, 1), (0.9, 0.45), (0, 0.45), (0.45, 0), (0.9, 0.45)],
            [(0.35, 1), (0.35, 0.7), (0.55, 0.7), (0.55, 1)],
        ],
        [[(0, 0.5), (1.4, 0.5)], [(1.05, 0.2), (1.4, 0.5), (1.05, 0.8)], [(0.35, 0.2), (0, 0.5), (0.35, 0.8)]],
        [np.stack([winding * np.cos(6.28 * turns * winding), winding * np.sin(6.28 * turns * winding)], axis=1)],
        [np.stack([np.linspace(0, 1.3, zig), np.arange(zig) % 2 * 0.7], axis=1)],
        [arc(0, 0, 0.25, 0.25), *rays],
        [
            [(0.5, 0), (0.1, 0.4), (0.9, 0.4), (0.5, 0)],
            [(0.5, 0.4), (0, 0.8), (1, 0.8), (0.5, 0.4)],
            [(0.5, 0.8), (0.5, 1.1)],
        ],
        [
            arc(0.5, 0.4, 0.5, 0.3),
            [(1, 0.4), (1.4, 0.1), (1.4, 0.7), (1, 0.4)],
            arc(0.25, 0.32, 0.04, 0.04),
            arc(0.3, 0.4, 0.2, 0.3, -50, 50),
        ],
        [
            arc(0.5, 0.15, 0.15, 0.15),
            [(0.5, 0.3), (0.5, 0.7)],
            [(0, 0.45), (1, 0.4)],
            [(0.1, 1.1), (0.5, 0.7), (0.9, 1.1)],
        ],
        [
            [(0, 0), (0.1, 1.2)],
            [(0.6, 0), (0.7, 1.2)],
            *[[(0.02, y), (0.68, y)] for y in (0.15, 0.38, 0.6, 0.82, 1.05)],
        ],
    )
    return unit(drawn(*shapes[rng.integers(len(shapes))]))


def mark(kind: str, rng: np.random.Generator) -> Strokes:
    """A drawing about 1 high that is no digit: scribble, crossed_out, letter or shape."""
    if kind == "letter":
        return letter(str(rng.choice(list(LETTERS))), faces()[rng.integers(len(faces()))])
    return {"scribble": scribble, "crossed_out": crossed_out, "shape": shape}[kind](rng)


def non_digits(n: int, seed: int = 0) -> np.ndarray:
    """Marks that are no digits and look like none, white on black like MNIST: uint8 (n, 28, 28)."""
    rng = np.random.default_rng(seed)
    makers = [no_digit_drawn] * 4 + [no_digit_printed] * 4 + [no_digit_found]
    return (
        np.stack([makers[rng.integers(len(makers))](rng) for _ in range(n)]) if n else np.zeros((0, 28, 28), np.uint8)
    )


def no_digit_drawn(rng: np.random.Generator) -> np.ndarray:
    """A scribble, a crossed-out thing, a letter or a shape drawn by hand: uint8 (28, 28)."""
    strokes = shaken(mark(str(rng.choice(["scribble", "crossed_out", "letter", "shape", "shape"])), rng), rng, 0.015)
    points = turned(strokes.points, rng.normal(0, 6), rng.normal(0, 0.1))
    points = (points - points.min(axis=0)) * 100 / np.ptp(points, axis=0).max() + 20
    layer = np.zeros((140, 140), np.uint8)
    draw_strokes(layer, strokes.at(points), rng.uniform(6, 13))
    return centred(layer)


def no_digit_printed(rng: np.random.Generator) -> np.ndarray:
    """A printed letter or sign, leaned and thickened or not: uint8 (28, 28)."""
    pixels = np.pad(glyph(str(rng.choice(list(LETTERS + SIGNS))), faces()[rng.integers(len(faces()))]), 24)
    h, w = pixels.shape
    lean = rng.normal(0, 0.15)
    pixels = cv2.warpAffine(pixels, np.float32([[1, lean, -lean * h / 2], [0, 1, 0]]), (w, h))
    if rng.random() < 0.4:
        pixels = cv2.dilate(pixels, np.ones((3, 3), np.uint8), iterations=int(rng.integers(1, 3)))
    return centred(pixels)


def no_digit_found(rng: np.random.Generator) -> np.ndarray:
    """What is in a photo besides writing: nothing, noise, lines of a ruling, blots: uint8 (28, 28)."""
    kind = rng.integers(5)
    if kind == 0:
        return np.zeros((28, 28), np.uint8)
    if kind == 1:
        noise = cv2.GaussianBlur(rng.standard_normal((28, 28)), (0, 0), rng.uniform(0.3, 0.8))
        return np.clip(noise / noise.std() * 60 + rng.uniform(0, 100), 0, 255).astype(np.uint8)
    if kind == 2:  # three lines at least: one alone would be a 1
        layer, step = np.zeros((140, 140), np.uint8), int(rng.integers(15, 34))
        for place in range(int(rng.integers(2, step)), 140, step):
            cv2.line(layer, (0, place), (140, place), 255, 5)
            if step % 2:
                cv2.line(layer, (place, 0), (place, 140), 255, 5)
        turn = cv2.getRotationMatrix2D((70, 70), rng.normal(0, 5), 1.15)
        return cv2.resize(cv2.warpAffine(layer, turn, (140, 140)), (28, 28), interpolation=cv2.INTER_AREA)
    field = cv2.GaussianBlur(rng.standard_normal((80, 80)), (0, 0), 5)
    if kind == 3:  # blots: many, or the mass of them
        return centred((field > np.quantile(field, rng.uniform(0.4, 0.7))).astype(np.uint8) * 255)
    y, x = np.mgrid[-1:1:80j, -1:1:80j]
    return centred((np.hypot(x, y) + 0.25 * field / field.std() < 0.75).astype(np.uint8) * 255)


def centred(mark: np.ndarray) -> np.ndarray:
    """Light on dark uint8 (h, w) as MNIST has it: in a box of 20×20, its centre of mass in the middle of 28×28."""
    x, y, w, h = cv2.boundingRect((mark > 40).astype(np.uint8))
    scale = 20 / max(w, h)
    moments = cv2.moments(mark[y : y + h, x : x + w])
    cx, cy = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    small = cv2.resize(
        mark[y : y + h, x : x + w], (max(1, round(w * scale)), max(1, round(h * scale))), interpolation=cv2.INTER_AREA
    )
    shift = np.float32([[1, 0, 13.5 - (cx + 0.5) * scale + 0.5], [0, 1, 13.5 - (cy + 0.5) * scale + 0.5]])
    return cv2.warpAffine(small, shift, (28, 28))


# --- the photo --------------------------------------------------------------------------------------------------------


def photograph(text: str, scene: Scene = Scene(), seed: int = 0, size: tuple[int, int] | None = None) -> Photo:
    """A photo of the digits of `text`, a line of writing for each word; `size` is width, height, else what it takes."""
    rng = np.random.default_rng(seed)
    hands = {digit: rng.integers(1000, size=2) for digit in range(10)}  # one writer has few ways of drawing a 4

    def draw(digit: int) -> Strokes:
        own = european(digit, rng) if scene.style == "european" else None
        return own if own is not None else written(digit, int(rng.choice(hands[digit])))

    lines = [[draw(int(digit)) for digit in line] for line in text.split()]
    if not lines:
        raise ValueError("there is no digit to write; mark_photo makes photos without digits")
    return develop(lines, " ".join(text.split()), scene, rng, size)


def mark_photo(kind: str, scene: Scene = Scene(), seed: int = 0, size: tuple[int, int] | None = None) -> Photo:
    """A photo without a digit, of one of KINDS: its text is empty, it has no boxes and no true ink."""
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}, not {kind!r}")
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    size = size or (int(5 * scene.height), int(4 * scene.height))
    if kind == "noise":
        width, height = size
        pixels = 255 * (0.5 + rng.uniform(0.1, 0.3) * cut(sensor_tile(), height, width, rng) / 0.3)
        return nothing(np.clip(pixels, 0, 255).astype(np.uint8))
    if kind == "ruled" and scene.ruling in ("none", "boxes", "table"):
        scene = dataclasses.replace(scene, ruling=str(rng.choice(["ruled", "squared", "dotted", "margin"])))
    lines = [[mark(kind, rng)]] if kind in ("scribble", "crossed_out", "letter", "shape") else []
    return nothing(develop(lines, "", scene, rng, size).pixels)


def nothing(pixels: np.ndarray) -> Photo:
    """A photo that has no digit in it."""
    return Photo(pixels, "", [], np.zeros(pixels.shape[:2], bool))


def develop(
    lines: list[list[Strokes]], text: str, scene: Scene, rng: np.random.Generator, size: tuple[int, int] | None
) -> Photo:
    """The photo of these drawings in this scene."""
    page = write_page(lines, scene, rng)
    if not lines:
        page = dataclasses.replace(page, cells=[(0.0, -scene.height, 1.0, 1.0)])
    camera, (height, width) = aim(page, scene, size, rng)
    ink = np.zeros((height, width), np.uint8)
    boxes = [draw_strokes(ink, each.at(camera.project(each.points)), page.nib) for each in page.drawings]
    true_ink = ink > 127
    # Every part has its own chance, so that asking for one thing more leaves all others as they are.
    chances: Iterator[np.random.Generator] = iter(rng.spawn(12))
    image = lay_paper(page, camera, scene, (height, width), chances)
    add_ink(image, drawn_besides(ink, page, camera, boxes, scene, next(chances)), scene, next(chances))
    light = cv2.resize(light_field(scene.light, height, width, next(chances)), (width, height))
    if "finger" in scene.clutter:
        put_finger(image, boxes, scene.height, next(chances))
    image = cv2.multiply(image, light)
    return Photo(expose(image, scene, rng), text, boxes, true_ink)


def lay_paper(
    page: Page, camera: Camera, scene: Scene, shape: tuple[int, int], chances: Iterator[np.random.Generator]
) -> np.ndarray:
    """The paper before the writing, float32 (h, w, 3): its surface, ruling, creases, stains, print, and the desk."""
    height, width = shape
    named = {"chalk": "blackboard", "white_on_black": "black"}.get(scene.pen, "white")
    paper = PAPERS[named if scene.paper == "white" else scene.paper]
    look, print_, words, back, spill, under = (next(chances) for _ in range(6))
    shade = surface(paper, height, width, look)
    if "fold" in scene.clutter:
        shade *= fold(height, width, spill)
    image = tinted(0, shade, paper.colour)
    if "show_through" in scene.clutter:
        darken(image, 0.16 * show_through(shape, page, back), (0.3, 0.3, 0.4))
    if "stain" in scene.clutter:
        darken(image, stain(height, width, scene.height, spill), (0.62, 0.45, 0.28))
    if scene.ruling != "none":
        lines, colour = print_ruling(shape, page, camera, scene, print_)
        darken(image, cv2.GaussianBlur(lines, (0, 0), 0.5) * np.float32(print_.uniform(0.75, 1) / 255), colour)
        if scene.ruling == "margin":
            red = np.zeros(shape, np.uint8)
            left, top, _, bottom = camera.seen(*shape)
            x = (
                min(each.points[:, 0].min() for each in page.drawings) - 0.4 * scene.height
                if page.drawings
                else left * 0.7
            )
            draw_line(red, camera, (x, top), (x, bottom), max(1, 0.02 * scene.height))
            darken(image, red * np.float32(0.8 / 255), (0.9, 0.45, 0.45))
    if "printed_text" in scene.clutter:
        layer = np.zeros(shape, np.uint8)
        print_heading(layer, page, camera, scene, words)
        darken(image, layer * np.float32(0.92 / 255), (0.2, 0.2, 0.22))
    if "desk" in scene.clutter:
        mask = sheet_mask(page, camera, shape, scene, under).astype(np.float32) / 255
        small = cv2.resize(mask, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        shadow = cv2.GaussianBlur(np.roll(small, (2, 3), axis=(0, 1)), (0, 0), max(1.5, 0.02 * scene.height))
        below = cv2.multiply(desk(height, width, under), tinted(1, cv2.resize(shadow, (width, height)), (-0.5,) * 3))
        image = cv2.blendLinear(image, below, mask, 1 - mask)
    return image


def print_heading(layer: np.ndarray, page: Page, camera: Camera, scene: Scene, rng: np.random.Generator) -> None:
    """A printed heading over the writing, and a small line under it."""
    points = np.concatenate([*(each.points for each in page.drawings), *map(cell_corners, page.cells)])
    (left, top), bottom = points.min(axis=0), points[:, 1].max()
    words = str(
        rng.choice(["Name and Address", "Meter reading", "Total amount", "Exercise sheet", "Room plan", "Datum"])
    )
    size = scene.height * rng.uniform(0.4, 0.65)
    font = faces()[rng.integers(len(faces()))]
    print_words(layer, camera, words, (left - rng.uniform(0, 0.5) * size, top - 0.4 * scene.height), size, font)
    small = "Please write clearly and in block capitals."
    print_words(layer, camera, small, (left, bottom + 0.7 * scene.height), 0.45 * size, font)


def show_through(shape: tuple[int, int], page: Page, rng: np.random.Generator) -> np.ndarray:
    """The writing on the back, mirrored and soft: density float32 (h, w)."""
    layer = np.zeros(shape, np.uint8)
    size = (np.ptp(page.drawings[0].points[:, 1]) if page.drawings else 0.25 * shape[0]) + page.nib
    for y in np.arange(rng.uniform(0.2, 0.8), shape[0] / size - 1, 1.7):
        for x in np.arange(rng.uniform(0, 1), shape[1] / size - 1, 0.95):
            digit = written(int(rng.integers(10)), int(rng.integers(50)))
            mirrored = (digit.points * [-1, 1] + [digit.points[:, 0].max() + x, y]) * size
            draw_strokes(layer, digit.at(mirrored), page.nib)
    return cv2.GaussianBlur(layer, (0, 0), max(0.8, 0.012 * size)).astype(np.float32) / 255


def drawn_besides(
    ink: np.ndarray,
    page: Page,
    camera: Camera,
    boxes: list[tuple[int, int, int, int]],
    scene: Scene,
    rng: np.random.Generator,
) -> np.ndarray:
    """The ink uint8 (h, w) with what the pen drew besides the digits: an underline, a doodle."""
    ink = ink.copy()
    if "underline" in scene.clutter and page.drawings:
        for y in page.baselines:
            row = [each.points for each in page.drawings if abs(each.points[:, 1].max() - y) < 0.7 * scene.height]
            points = np.concatenate(row)
            below = points[:, 1].max() + page.nib + rng.uniform(0.1, 0.2) * scene.height
            tilt = rng.normal(0, 0.05) * scene.height
            line = shaken(drawn([(0, 0), (1, 0)]), rng, 0.006).points * np.ptp(points[:, 0]) * 1.1
            line += [points[:, 0].min() - 0.05 * np.ptp(points[:, 0]), below + abs(tilt)]
            draw_strokes(ink, drawn(camera.project(line), step=4), page.nib)
    if "doodle" in scene.clutter:
        height, width = ink.shape
        for tall in scene.height * np.array([1.4, 1.1, 0.8, 0.6]):
            for x, y in rng.uniform(0, 1, (40, 2)) * [width - 1.3 * tall, height - 1.2 * tall]:
                apart = [
                    bx > x + 1.5 * tall or bx + w < x - 0.3 * tall or by > y + 1.3 * tall or by + h < y - 0.3 * tall
                    for bx, by, w, h in boxes
                ]
                if x > 0 and y > 0 and all(apart):
                    thing = shaken(mark(str(rng.choice(["shape", "scribble"])), rng), rng)
                    thing = thing.at((thing.points - thing.points.min(axis=0)) * tall + [x, y])
                    draw_strokes(ink, thing, page.nib)
                    return ink
    return ink


def add_ink(image: np.ndarray, ink: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    """Writes on the paper float32 (h, w, 3) with the scene's pen, where the density uint8 (h, w) says."""
    pen = PENS[scene.pen]
    colour = np.array(pen.colours[rng.integers(len(pen.colours))], np.float32)
    x, y, w, h = cv2.boundingRect(ink)
    if not w:
        return
    part = image[y : y + h, x : x + w]
    cover = ink[y : y + h, x : x + w].astype(np.float32) / 255
    # Where the paper is rough, dry pens skip; the roughness is about as large as a nib is wide.
    tooth = cut(tile((0.6, 0.8, 1.2, 1.6, 3.0)[int(np.clip(np.log2(scene.height / 40), 0, 4))]), h, w, rng)
    slow = cut(tile(12.0), h, w, rng)
    density = (
        rng.uniform(*pen.density) * (1 + 0.25 * min(1, pen.grain * 2) * slow) * (1 + pen.grain * np.minimum(tooth, 0.7))
    )
    cover *= np.clip(density, 0.05, 1)
    if pen.light:
        part += cover[..., None] * (colour - part)
    else:
        darken(part, cover, colour)


def darken(image: np.ndarray, density: np.ndarray, colour: tuple[float, float, float] | np.ndarray) -> None:
    """Takes light away from the image float32 (h, w, 3): where the density (h, w) is 1, `colour` of it remains."""
    x, y, w, h = cv2.boundingRect((density > 0.002).astype(np.uint8))
    part, density = image[y : y + h, x : x + w], density[y : y + h, x : x + w]
    part *= tinted(1, density, [level - 1 for level in colour])


def tinted(base: float, shade: np.ndarray, colour: tuple[float, float, float] | np.ndarray | list[float]) -> np.ndarray:
    """`base` plus the shade float32 (h, w) in this colour: float32 (h, w, 3); by planes, in a third of the time."""
    return cv2.merge([base + shade.astype(np.float32, copy=False) * np.float32(level) for level in colour])


def expose(image: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """What the phone makes of the light float32 (h, w, 3): uint8, blurred, noisy, sharpened, through JPEG."""
    height, width = image.shape[:2]
    # No lens is perfect: at full size real edges are 2–3 pixels wide, and stray light lifts the black.
    optics = np.hypot(0.6 + height * width / 8e6, scene.blur * scene.height / 60 + 0.4 * (scene.light == "night"))
    flare = rng.uniform(0.02, 0.07)
    image = cv2.GaussianBlur(image, (0, 0), optics)
    spread = scene.noise * (2.5 if scene.light == "night" else 1)
    image = cv2.scaleAdd(cut(sensor_tile(), height, width, rng), spread, image)
    pixels = cv2.addWeighted(image, 255 * (1 - flare), image, 0, 255 * flare, dtype=cv2.CV_8U)
    # Phones sharpen: the pale seam along dark strokes comes of that.
    pixels = cv2.addWeighted(pixels, 1.4, cv2.GaussianBlur(pixels, (0, 0), 1.4), -0.4, 0)
    if scene.jpeg < 100:
        coded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, scene.jpeg])[1]
        pixels = cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB)
    return pixels


# --- a sheet of examples ----------------------------------------------------------------------------------------------

EXAMPLES = (
    *(Scene(ruling=name) for name in RULINGS),
    *(Scene(light=name, pen="marker" if name == "night" else "ballpoint") for name in LIGHTS),
    *(Scene(pen=name, height=90) for name in PENS),
    *(Scene(paper=name, pen={"blackboard": "chalk", "black": "white_on_black"}.get(name, "marker")) for name in PAPERS),
    *(Scene(clutter=(name,)) for name in CLUTTER),
    Scene(tilt=12, ruling="squared", pen="felt"),
    Scene(perspective=0.3, ruling="ruled", clutter=("desk",), pen="marker"),
    Scene(blur=3),
    Scene(touching=True, pen="felt"),
    Scene(style="european", pen="felt"),
    Scene(light="night", pen="pencil", noise=0.04),
    Scene(height=36, ruling="ruled", light="gradient"),
    Scene(height=300, pen="marker", light="hard_shadow"),
)


def contact_sheet(
    photos: list[tuple[str, np.ndarray]], columns: int = 6, width: int = 400, height: int = 300
) -> np.ndarray:
    """Titled pictures side by side, uint8 (h, w, 3)."""
    tiles = []
    for title, pixels in photos:
        scale = min(width / pixels.shape[1], (height - 18) / pixels.shape[0])
        shape_ = max(1, int(pixels.shape[1] * scale)), max(1, int(pixels.shape[0] * scale))
        cell = np.full((height, width, 3), 255, np.uint8)
        small = cv2.resize(pixels, shape_, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
        cell[18 : 18 + shape_[1], : shape_[0]] = small
        cv2.putText(cell, title, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (90, 90, 90), 1, cv2.LINE_AA)
        tiles.append(cell)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])


def title(scene: Scene) -> str:
    """What a scene says besides the defaults."""
    plain = Scene()
    said = {f.name: getattr(scene, f.name) for f in dataclasses.fields(scene)}
    return " ".join(
        f"{name} {'+'.join(value) if isinstance(value, tuple) else value}"
        for name, value in said.items()
        if value != getattr(plain, name)
    )


def main(out: str) -> None:
    """Writes the sheet of examples."""
    photos = [
        (title(scene) or "nothing asked for", photograph("30147 2589", scene, seed).pixels)
        for seed, scene in enumerate(EXAMPLES)
    ]
    photos += [(f"no digit: {kind}", mark_photo(kind, Scene(pen="felt"), 3).pixels) for kind in KINDS]
    photos.append(("non_digits", np.vstack([np.hstack(row) for row in non_digits(70, 1).reshape(7, 10, 28, 28)])))
    photos[-1] = (photos[-1][0], np.repeat(photos[-1][1][..., None], 3, axis=-1))
    Image.fromarray(contact_sheet(photos)).save(out)


if __name__ == "__main__":
    main(sys.argv[1])
