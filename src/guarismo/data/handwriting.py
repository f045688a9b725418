"""Digits as photos show them, and marks that are no digits: what the reader learns besides plain MNIST.

`vary` turns MNIST images into variants: turned, slanted, bent, thin and thick, ragged, crossed by what is left of a
ruled line, then cut out and normalised by the same function as a glyph from a photo. `draw_digits` draws forms that
MNIST hardly has (the European 1 and 7, a slashed 0, an open 4). `draw_marks` draws what must be refused.
All are deterministic by seed, and made anew for every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import UNKNOWN
from guarismo.data.images import Pixels
from guarismo.data.normalise import SIDE, crop, normalise, thicken, thin

Random = np.random.Generator
Points = NDArray[np.float64]

CANVAS = 84
"""Pixels on a side of the canvas on which glyphs are bent and drawn: three for each of MNIST's."""
GENTLE, DRAWN, CUT = 0.42, 0.14, 0.1
"""Shares of a training epoch: MNIST images merely moved and bent, digits drawn from strokes, and digits cut from a
neighbour that they touch. The rest is MNIST as a photo shows it."""
MARKS = 0.36
"""Marks for each digit in an epoch."""
CHUNK = 2000
"""Images made by one call of a worker process."""


# An epoch


def epoch_of(images: Pixels, labels: NDArray[np.int64], seed: Sequence[int]) -> tuple[Pixels, NDArray[np.int64]]:
    """One epoch's images, uint8 (m, 28, 28, 1), and labels: a variant of every image, and marks labelled UNKNOWN.

    `images` are uint8 (n, 28, 28, 1) with labels 0 to 9. Made by all processor cores, in mixed order.
    """
    from joblib import Parallel, delayed

    starts = range(0, len(images), CHUNK)
    parts = Parallel(n_jobs=-1)(
        delayed(part_of_epoch)(images[start : start + CHUNK, ..., 0], labels[start : start + CHUNK], [*seed, start])
        for start in starts
    )
    made = np.concatenate([part for part, _ in parts])
    order = np.random.default_rng(seed).permutation(len(made))
    return made[order][..., None], np.concatenate([part for _, part in parts])[order]


def marks_for(digits: int) -> int:
    """How many marks come with that many digits in an epoch."""
    whole, rest = divmod(digits, CHUNK)
    return whole * round(MARKS * CHUNK) + round(MARKS * rest)


def part_of_epoch(images: Pixels, labels: NDArray[np.int64], seed: Sequence[int]) -> tuple[Pixels, NDArray[np.int64]]:
    """The variants of (n, 28, 28) and their marks, and labels for both."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    made = [variant(image, int(label), rng, images) for image, label in zip(images, labels, strict=True)]
    marks = draw_marks(round(MARKS * len(images)), rng, images)
    return np.concatenate([np.stack(made), marks]), np.concatenate([labels, np.full(len(marks), UNKNOWN)])


def variant(image: Pixels, label: int, rng: Random, others: Pixels) -> Pixels:
    """One image of an epoch: gently bent, drawn anew, cut from one of the `others`, or as a photo would show it."""
    kind = rng.random()
    if kind < GENTLE:
        return bent(image, rng, strength=0.6) if rng.random() < 0.9 else normalise(image)
    if kind < GENTLE + DRAWN:
        return photographed(drawn_digit(label, rng), rng)
    if kind < GENTLE + DRAWN + CUT:
        return parted(image, others[rng.integers(len(others))], rng)
    return photographed(enlarged(image), rng)


def enlarged(image: Pixels) -> Pixels:
    """(28, 28) on the canvas of (84, 84)."""
    large: Pixels = cv2.resize(image, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC)
    return large


def parted(image: Pixels, other: Pixels, rng: Random) -> Pixels:
    """A digit cut from a neighbour that touches it, some of which stays on it, or some of it is lost."""
    digit, neighbour = (restroked(bent(enlarged(one), rng), rng) for one in (image, other))
    own, beside = crop(digit), crop(neighbour)
    if own is None or beside is None:
        return normalise(image)
    high = max(own.shape[0], beside.shape[0])
    overlap = int(rng.integers(-1, 8))
    canvas = np.zeros((high + 8, own.shape[1] + beside.shape[1] + 8), dtype=np.uint8)
    left, right = (own, beside) if rng.random() < 0.5 else (beside, own)
    edge = left.shape[1]
    for part, start in ((left, 0), (right, max(0, edge - overlap))):
        top = int(rng.integers(0, high + 8 - part.shape[0] + 1))
        place = canvas[top : top + part.shape[0], start : start + part.shape[1]]
        np.maximum(place, part[:, : place.shape[1]], out=place)
    slant = float(rng.choice([0.0, 0.22, 0.45]))
    rows = np.arange(canvas.shape[0])[:, None]
    border = edge - overlap / 2 + rng.normal(0, 3) + slant * (canvas.shape[0] / 2 - rows)
    columns = np.arange(canvas.shape[1])[None, :]
    return normalise(np.where(columns < border if left is own else columns >= border, canvas, 0).astype(np.uint8))


# Bending


def bent(image: Pixels, rng: Random, strength: float = 1.0) -> Pixels:
    """(h, h) turned, slanted, stretched, put into perspective and bent like rubber, in one resampling.

    Elastic change after Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to
    visual document analysis" (2003), its smooth field interpolated from a coarse random grid.
    """
    side = image.shape[0]
    turn = strength * rng.normal(0, 0.12)
    slant = strength * rng.normal(0, 0.22)
    wide, high = np.exp(strength * rng.normal(0, (0.14, 0.08)))
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[wide, slant], [0, high]])
    grid = (np.mgrid[0:side, 0:side].reshape(2, -1)[::-1] - (side - 1) / 2).astype(np.float32)
    lean = (strength * rng.normal(0, 0.12, 2) / side).astype(np.float32)
    x, y = (matrix.astype(np.float32) @ grid) / (1 + lean @ grid) + (side - 1) / 2
    move = rng.normal(0, strength * side * 0.022, (2, 6, 6)).astype(np.float32)
    x = x.reshape(side, side) + cv2.resize(move[0], (side, side), interpolation=cv2.INTER_CUBIC)
    y = y.reshape(side, side) + cv2.resize(move[1], (side, side), interpolation=cv2.INTER_CUBIC)
    shift = rng.normal(0, strength * side * 0.02, 2)
    result: Pixels = cv2.remap(
        image, x + np.float32(shift[0]), y + np.float32(shift[1]), cv2.INTER_LINEAR, borderValue=0
    )
    return result


# What photos do


def photographed(canvas: Pixels, rng: Random) -> Pixels:
    """A glyph on (84, 84) as it comes out of a photo: bent, its strokes of another width, ragged, with remains."""
    glyph = bent(canvas, rng)
    glyph = restroked(glyph, rng)
    for fault, share in FAULTS:
        if rng.random() < share:
            glyph = fault(glyph, rng)
    return normalise(glyph)


def restroked(glyph: Pixels, rng: Random) -> Pixels:
    """Strokes up to 4 pixels of 84 thinner or 7 wider."""
    by = float(rng.uniform(-4, 7))
    if by < -0.5:
        return thin((glyph > 127).view(np.uint8) * np.uint8(255), -by)
    return thicken(glyph, by) if by > 0.5 and crop(glyph) is not None else glyph


def ragged(glyph: Pixels, rng: Random) -> Pixels:
    """An outline as a threshold in noise leaves it."""
    noise = smooth_noise(glyph.shape, int(rng.integers(8, 30)), rng) * rng.uniform(8, 36)
    blurred = cv2.GaussianBlur(glyph, (0, 0), float(rng.uniform(0.8, 2.5)))
    rough: Pixels = ((blurred + noise) > rng.uniform(90, 160)).view(np.uint8) * np.uint8(255)
    return rough


def blurred(glyph: Pixels, rng: Random) -> Pixels:
    """Out of focus: narrow gaps fill, the rest swells or shrinks a little."""
    soft = cv2.GaussianBlur(glyph, (0, 0), float(rng.uniform(1.5, 4)))
    swollen: Pixels = (soft > rng.uniform(70, 140)).view(np.uint8) * np.uint8(255)
    return swollen


def gaps(glyph: Pixels, rng: Random) -> Pixels:
    """Places where the pen left no ink."""
    glyph = glyph.copy()
    for _ in range(rng.integers(1, 4)):
        x, y = rng.integers(0, glyph.shape[1]), rng.integers(0, glyph.shape[0])
        cv2.circle(glyph, (int(x), int(y)), int(rng.integers(1, 4)), 0, -1)
    return glyph


def rule_left(glyph: Pixels, rng: Random) -> Pixels:
    """A piece of a ruled line that stayed at the glyph, mostly level, short."""
    glyph = glyph.copy()
    height, width = glyph.shape
    middle, long = rng.integers(0, width), rng.integers(4, max(5, width // 2))
    level = int(rng.integers(0, height))
    ends = ((int(middle - long // 2), level), (int(middle + long // 2), level + int(rng.integers(-2, 3))))
    if rng.random() < 0.2:
        ends = ((ends[0][1], ends[0][0]), (ends[1][1], ends[1][0]))
    cv2.line(glyph, *ends, 255, int(rng.integers(1, 4)))
    return glyph


def rule_cut(glyph: Pixels, rng: Random) -> Pixels:
    """The level gap that a removed line leaves in strokes, not all of it closed again."""
    glyph = glyph.copy()
    thick = int(rng.integers(1, 4))
    level = int(rng.integers(0, max(1, glyph.shape[0] - thick)))
    start, end = sorted(rng.integers(0, glyph.shape[1] + 1, 2))
    glyph[level : level + thick, start:end] = 0
    return glyph


def specks(glyph: Pixels, rng: Random) -> Pixels:
    """Dots of dirt close by."""
    glyph = glyph.copy()
    for _ in range(rng.integers(1, 4)):
        x, y = rng.integers(0, glyph.shape[1]), rng.integers(0, glyph.shape[0])
        cv2.circle(glyph, (int(x), int(y)), int(rng.integers(1, 3)), 255, -1)
    return glyph


def shaved(glyph: Pixels, rng: Random) -> Pixels:
    """A crop that cost the glyph a little of one side."""
    part = crop(glyph)
    if part is None:
        return glyph
    height, width = part.shape
    by = rng.uniform(0, 0.07)
    rows, columns = max(1, round(by * height)), max(1, round(by * width))
    return (
        [part[rows:], part[:-rows], part[:, columns:], part[:, :-columns]][rng.integers(4)]
        if min(height, width) > 12
        else part
    )


Fault = Callable[[Pixels, Random], Pixels]
FAULTS: tuple[tuple[Fault, float], ...] = (
    (ragged, 0.35),
    (blurred, 0.2),
    (gaps, 0.12),
    (rule_left, 0.1),
    (rule_cut, 0.1),
    (specks, 0.08),
    (shaved, 0.08),
)
"""What may befall a glyph, each with its probability, in this order."""


def smooth_noise(shape: Sequence[int], cells: int, rng: Random) -> NDArray[np.float32]:
    """Noise of mean 0 and deviation 1 in (h, w), about `cells` patches on a side."""
    coarse = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    result: NDArray[np.float32] = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return result


# Digits drawn from strokes

FORMS: dict[int, tuple[str, ...]] = {
    0: ("~50,8 20,30 20,70 50,92 80,70 80,30 52,8 40,12", "~50,8 20,50 50,92 80,50 50,8;25,85 76,14"),
    1: ("28,34 60,8 60,92", "38,22 58,8 58,92", "28,34 58,8 58,92;30,92 84,92", "40,20 56,8 56,92;36,92 78,92",
        "~18,46 40,30 62,8;62,8 58,92", "20,50 62,8 54,92", "8,84 58,8 56,92", "~10,90 34,56 62,8;62,8 58,92",
        "14,70 60,8 58,92"),
    2: ("~22,28 40,10 68,14 72,36 48,66 22,90;22,90 80,90", "~24,24 50,8 74,28 50,64 18,90 34,78 56,88 84,84",
        "22,14 74,14 22,90 78,90"),
    3: ("~24,16 54,8 72,26 44,46 76,68 52,92 20,82", "24,10 74,10 46,42;~46,42 74,54 70,84 44,92 20,80"),
    4: ("34,10 22,56 80,56;62,30 60,92", "26,10 24,52 78,52;66,8 66,92", "60,92 60,8 18,64 82,64",
        "~34,8 26,46 40,56 62,44;68,10 62,92", "56,10 20,62 84,62;58,40 56,92"),
    5: ("72,10 32,10 28,44;~28,44 58,40 76,64 58,90 22,86", "34,12 28,46;~28,46 62,40 74,68 48,92 20,84;34,12 76,10",
        "~74,10 36,12 30,46 62,46 74,70 50,92 22,82"),
    6: ("~68,10 36,34 24,68 46,92 72,76 64,54 34,60", "~56,8 28,60 44,92 70,76 56,56 30,68"),
    7: ("20,12 78,12 42,92", "20,12 78,12 42,92;32,52 72,48", "18,28 22,12 80,12 44,92;30,50 74,50",
        "~18,18 36,8 58,16 80,10;80,10 40,92;34,50 70,50", "20,14 76,14;~76,14 54,50 48,92"),
    8: ("~68,20 48,8 28,24 48,46 72,70 50,92 26,72 50,46 70,24 60,10",
        "~50,46 26,26 50,8 72,26 50,46 24,70 50,92 76,70 50,46"),
    9: ("~72,24 46,10 26,32 46,50 70,36;72,22 66,92", "~70,30 44,10 26,34 50,50 72,26;~72,26 72,70 52,92 28,86",
        "~72,22 48,8 28,28 46,48 72,26;~72,26 68,60 44,92"),
}  # fmt: skip
"""Each digit's forms in a box of 100×100: strokes parted by ``;``, a stroke's points by spaces; ~ means curved."""


def drawn_digit(label: int, rng: Random) -> Pixels:
    """A digit drawn from strokes on (84, 84), its points moved a little, its pen of any width."""
    return draw(parse(FORMS[label][rng.integers(len(FORMS[label]))]), rng, jitter=3.0)


@cache
def parse(form: str) -> tuple[tuple[bool, Points], ...]:
    """The strokes of a form: whether curved, and points (n, 2)."""
    return tuple(
        (part.startswith("~"), np.array([[float(v) for v in point.split(",")] for point in part.lstrip("~").split()]))
        for part in form.split(";")
    )


def draw(strokes: Sequence[tuple[bool, Points]], rng: Random, jitter: float) -> Pixels:
    """Strokes given in a box of 100×100, drawn on (84, 84)."""
    canvas = np.zeros((CANVAS, CANVAS), dtype=np.uint8)
    width = int(rng.integers(3, 11))
    margin = 12
    moved = {tuple(point): point + rng.normal(0, jitter, 2) for _, points in strokes for point in points}
    for curved, points in strokes:
        path = np.array([moved[tuple(point)] for point in points])
        path = spline(path) if curved else path
        place = margin + path * (CANVAS - 2 * margin) / 100
        cv2.polylines(canvas, [np.round(place * 16).astype(np.int32)], False, 255, width, cv2.LINE_AA, 4)
    return canvas


def spline(points: Points, steps: int = 8) -> Points:
    """A Catmull–Rom curve through points (n, 2), `steps` to each piece (Catmull, Rom, 1974)."""
    ends = np.concatenate([points[:1], points, points[-1:]])
    before, start, stop, after = ends[:-3, None], ends[1:-2, None], ends[2:-1, None], ends[3:, None]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (
        2 * start
        + (stop - before) * t
        + (2 * before - 5 * start + 4 * stop - after) * t**2
        + (3 * start - before - 3 * stop + after) * t**3
    )
    result: Points = np.concatenate([curve.reshape(-1, 2), points[-1:]])
    return result


# Marks that are no digits


def draw_marks(count: int, rng: Random, digits: Pixels) -> Pixels:
    """`count` marks that are no digits, uint8 (count, 28, 28); of `digits` (n, 28, 28) come the double and struck."""
    kinds = list(MARK_KINDS)
    shares = np.array([MARK_KINDS[kind] for kind in kinds], dtype=float)
    chosen = rng.choice(len(kinds), size=count, p=shares / shares.sum())
    made = [kinds[index](rng, digits) for index in chosen]
    return np.stack(made) if made else np.zeros((0, SIDE, SIDE), dtype=np.uint8)


LETTERS = "AEFHKMNPRVWXdehkmnvwx&%#@+*=?$€{}~^<>:;ΣΩΨΔλψπ±÷¶§"
"""Signs that nobody takes for a digit: those with a twin among them (O, l, Z, S, B, b, g, q, y, T, C, …) stay out."""


@cache
def letter_bank() -> list[Pixels]:
    """Every sign of LETTERS in Matplotlib's DejaVu faces and OpenCV's pen-plotter faces (Hershey), each (84, 84)."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    bank = []
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for path in sorted(folder.glob("DejaVu*.ttf")):
        font = ImageFont.truetype(path, 56)
        for sign in LETTERS if "Display" not in path.name else "":
            picture = Image.new("L", (CANVAS, CANVAS))
            ImageDraw.Draw(picture).text((CANVAS / 2, CANVAS / 2), sign, fill=255, font=font, anchor="mm")
            bank.append(np.asarray(picture))
    for face in (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX):
        for sign in filter(str.isascii, LETTERS):
            canvas = np.zeros((CANVAS, CANVAS), dtype=np.uint8)
            cv2.putText(canvas, sign, (16, 62), face, 1.8, 255, 3)
            bank.append(canvas)
    return [glyph for glyph in bank if crop(glyph) is not None]


def letter(rng: Random, _: Pixels) -> Pixels:
    bank = letter_bank()
    return photographed(bank[rng.integers(len(bank))], rng)


def double(rng: Random, digits: Pixels) -> Pixels:
    """Two or three digits that touch."""
    drawn = (crop(digits[rng.integers(len(digits))]) for _ in range(2 + (rng.random() < 0.25)))
    parts = [part for part in drawn if part is not None]
    high = CANVAS // 2
    scaled = [
        cv2.resize(part, (max(6, round(part.shape[1] * high / part.shape[0])), high), interpolation=cv2.INTER_CUBIC)
        for part in parts
    ]
    canvas = np.zeros((CANVAS, CANVAS * 3), dtype=np.uint8)
    place = 10
    for part in scaled:
        top = 20 + int(rng.integers(-6, 7))
        here = canvas[top : top + high, place : place + part.shape[1]]
        np.maximum(here, part[:, : here.shape[1]], out=here)
        place += part.shape[1] + int(rng.integers(-6, 3))
    both = canvas[:, : place + 12]
    return normalise(restroked(both, rng) if rng.random() < 0.5 else both)


def struck(rng: Random, digits: Pixels) -> Pixels:
    """A digit crossed out: by an X, by several lines, or scratched over."""
    canvas = enlarged(digits[rng.integers(len(digits))])
    width = int(rng.integers(3, 8))
    kind = rng.integers(3)
    if kind == 0:
        for ends in (((14, 14), (70, 70)), ((14, 70), (70, 14))):
            a, b = (np.array(end) + rng.integers(-8, 9, 2) for end in ends)
            cv2.line(canvas, tuple(map(int, a)), tuple(map(int, b)), 255, width)
    elif kind == 1:
        for level in np.linspace(20, 64, int(rng.integers(3, 6))):
            ends = rng.integers(-6, 7, 2) + level
            cv2.line(canvas, (6, int(ends[0])), (78, int(ends[1])), 255, width)
    else:
        path = np.stack([np.linspace(8, 76, 14), 42 + np.tile([-24, 24], 7) + rng.normal(0, 5, 14)], axis=1)
        cv2.polylines(canvas, [path.astype(np.int32)], False, 255, width)
    return photographed(canvas, rng)


def scribble(rng: Random, _: Pixels) -> Pixels:
    """A line that wanders: curved or angular, with many turns."""
    points = rng.uniform(0, 100, (int(rng.integers(9, 30)), 2))
    return photographed(draw([(rng.random() < 0.7, points)], rng, 0), rng)


def zigzag(rng: Random, _: Pixels) -> Pixels:
    turns = int(rng.integers(7, 13))
    path = np.stack([np.linspace(5, 95, turns), 50 + np.resize([-1, 1], turns) * rng.uniform(12, 45)], axis=1)
    path += rng.normal(0, 4, path.shape)
    return photographed(draw([(rng.random() < 0.5, path if rng.random() < 0.6 else path[:, ::-1])], rng, 0), rng)


def spiral(rng: Random, _: Pixels) -> Pixels:
    angle = np.linspace(0, 2 * np.pi * rng.uniform(2.3, 5), 90) * rng.choice([-1, 1]) + rng.uniform(0, 6)
    reach = np.linspace(rng.uniform(0, 8), 46, 90)
    path = 50 + np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
    return photographed(draw([(False, path)], rng, 0), rng)


def polygon(rng: Random, _: Pixels) -> Pixels:
    """An outline with corners (star, box, house, arrow), open or filled, or two crossing lines, or a grid."""
    kind = rng.integers(5)
    if kind == 0:
        corners, inner = int(rng.integers(4, 9)), rng.uniform(0.3, 0.7)
        reach = np.resize([46.0, 46.0 * inner], 2 * corners)
        angle = np.linspace(0, 2 * np.pi, 2 * corners, endpoint=False) + rng.uniform(0, 6)
        path = 50 + np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
        strokes = [(False, np.concatenate([path, path[:1]]))]
    elif kind == 1:
        over, left, right, top, low = rng.uniform(6, 25), *rng.uniform((10, 70, 10, 60), (30, 90, 35, 90))
        strokes = [
            (False, np.array(ends))
            for ends in (
                [(left, top - over), (left, low + over)],
                [(right, top - over), (right, low + over)],
                [(left - over, top), (right + over, top)],
                [(left - over, low), (right + over, low)],
            )
        ]
    elif kind == 2:
        strokes = [(False, rng.uniform(0, 100, (2, 2))) for _ in range(rng.integers(4, 9))]
    elif kind == 3:
        shaft = np.array([(5.0, 50), (95, 50)])
        head = np.array([(65.0, 20), (95, 50), (65, 80)])
        strokes = [(False, shaft), (False, head)]
    else:
        rows = [np.array([(0.0, level), (100, level)]) for level in np.linspace(10, 90, int(rng.integers(2, 5)))]
        columns = [path[:, ::-1] for path in rows[: int(rng.integers(0, 4))]]
        strokes = [(False, path) for path in rows + columns]
    canvas = draw(strokes, rng, jitter=2.0)
    if kind == 0 and rng.random() < 0.4:
        cv2.floodFill(canvas, None, (CANVAS // 2, CANVAS // 2), 255)
    return photographed(canvas, rng)


def bar(rng: Random, _: Pixels) -> Pixels:
    """A level dash, a pair of them, a corner, or a dot: what rules, frames and dirt leave."""
    kind = rng.integers(4)
    level = rng.uniform(30, 70)
    strokes = {
        0: [(5.0, level), (95, level + rng.normal(0, 12))],
        1: [(5.0, 40), (95, 40 + rng.normal(0, 5))],
        2: [(10.0, rng.uniform(60, 90)), (10, 10), (rng.uniform(60, 95), 10)],
        3: [(48.0, 50), (52, 50)],
    }[int(kind)]
    paths = [(False, np.array(strokes))]
    if kind == 1:
        paths.append((False, np.array([(5.0, 62), (95, 62 + rng.normal(0, 5))])))
    canvas = draw(paths, rng, jitter=1.5)
    if kind == 2:
        canvas = np.rot90(canvas, int(rng.integers(4))).copy()
    return turned_over(canvas, rng) if kind == 3 else photographed(canvas, rng)


def turned_over(canvas: Pixels, rng: Random) -> Pixels:
    """A dot keeps its shape: bent and restroked, it is still a dot."""
    return normalise(bent(restroked(canvas, rng), rng))


def silhouette(rng: Random, _: Pixels) -> Pixels:
    """A filled shape with its own shades of grey, alike on both sides or not: clothes, things, stains."""
    levels = np.sort(rng.uniform(4, 96, int(rng.integers(3, 9))))
    reach = rng.uniform(8, 46, len(levels))
    left = np.stack([50 - reach, levels], axis=1)
    right = np.stack([50 + (reach if rng.random() < 0.7 else rng.uniform(8, 46, len(levels))), levels], axis=1)
    outline = np.concatenate([left, right[::-1]]) * CANVAS / 100
    canvas = np.zeros((CANVAS, CANVAS), dtype=np.uint8)
    cv2.fillPoly(canvas, [outline.astype(np.int32)], 255, cv2.LINE_AA)
    if rng.random() < 0.5:  # a hole, as between handles or legs
        hole = np.array([[50, rng.uniform(30, 100)], [38, 100], [62, 100]]) * CANVAS / 100
        cv2.fillPoly(canvas, [hole.astype(np.int32)], 0, cv2.LINE_AA)
    canvas = np.ascontiguousarray(np.rot90(canvas, int(rng.choice([0, 0, 1, 2, 3]))))
    shades = np.clip(
        rng.uniform(90, 240) + rng.uniform(5, 60) * smooth_noise(canvas.shape, int(rng.integers(2, 16)), rng), 20, 255
    )
    textured = (canvas.astype(np.float32) / 255 * shades).astype(np.uint8)
    if rng.random() < 0.35:
        return photographed(textured, rng)
    small: Pixels = cv2.resize(textured, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small


def blob(rng: Random, _: Pixels) -> Pixels:
    """Patches of noise above a threshold: texture of paper and cloth, shadows."""
    noise = smooth_noise((CANVAS, CANVAS), int(rng.integers(3, 20)), rng)
    mask = (noise > rng.uniform(-0.5, 1.2)).view(np.uint8) * np.uint8(255)
    if rng.random() < 0.5:
        mask = cv2.bitwise_and(mask, cv2.circle(np.zeros_like(mask), (42, 42), int(rng.integers(18, 40)), 255, -1))
    return normalise(mask)


def noise(rng: Random, _: Pixels) -> Pixels:
    """Random pixels, plain grey, gradients, nothing at all."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    if kind == 1:
        grey = int(rng.choice([0, 0, int(rng.integers(256))]))
        return np.full((SIDE, SIDE), grey, np.uint8)
    if kind == 2:
        ramp = np.add.outer(np.arange(SIDE) * rng.uniform(-9, 9), np.arange(SIDE) * rng.uniform(-9, 9))
        shaded: Pixels = np.clip(rng.uniform(0, 255) + ramp, 0, 255).astype(np.uint8)
        return shaded
    sparse = rng.random((SIDE, SIDE)) < rng.uniform(0.005, 0.5)
    dots: Pixels = (sparse * rng.integers(100, 256)).astype(np.uint8)
    return dots


def inverted(rng: Random, digits: Pixels) -> Pixels:
    """An image whose colours were not inverted: black on white, which must not be answered with confidence."""
    image = 255 - digits[rng.integers(len(digits))]
    return np.asarray(image, dtype=np.uint8)


MARK_KINDS: dict[Callable[[Random, Pixels], Pixels], float] = {
    letter: 5.0,
    double: 2.5,
    struck: 1.5,
    scribble: 2.0,
    zigzag: 0.7,
    spiral: 0.5,
    polygon: 1.5,
    bar: 1.5,
    silhouette: 5.0,
    blob: 1.5,
    noise: 0.7,
    inverted: 0.2,
}
"""Each kind of mark and how often it comes."""
