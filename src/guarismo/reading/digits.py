"""Ink → digits: components joined, cut and put into lines, the recogniser judging each way to do it.

A line of writing is a row of atoms: components of ink, the wide ones cut at their narrow places. Every run of up to
MOST_ATOMS neighbours may be one glyph; all are normalised and answered in one batch, and the cheapest way through the
row wins, by dynamic programming (as in segmentation by recognition: Casey, Lecolinet, 1996). So a 5 and its loose bar
become one digit because together they look like one, and two touching digits are cut because apart they do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from guarismo.data.images import Pixels
from guarismo.data.normalise import normalise, stroke_width
from guarismo.reading.page import Page, Parts, Plane, parts_of

Judge = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Images uint8 (n, 28, 28) → probabilities of the ten digits float32 (n, 10)."""
Box = tuple[int, int, int, int]
Indices = NDArray[np.int64]

TINY = 0.27
"""Of SMALLEST_SIDE: a picture of fewer pixels (64), no wider than high, is one glyph; there is no page to look at."""
MOST_COMPONENTS = 700
"""The largest of a page; a photo of cloth has more, and no writing."""
MOST_ATOMS = 6
"""In one glyph."""
SPECK = 0.14
"""Of the writing's height: dirt."""
SMALL = 0.38
"""Of the writing's height: a piece of a digit, no digit of its own."""
PER_GLYPH = 0.45
"""Cost of one more glyph, in units of −log probability: of two ways equally probable, the simpler is right."""
PER_CUT = 0.6
"""Cost of a cut through ink."""
UNREAD = 2.6
"""Cost of leaving a component of full height unread."""


@dataclass(frozen=True, eq=False)
class Glyph:
    """A piece of ink that may be a digit: its box (x, y, w, h) on the page, its mask uint8 (h, w) of 0 and 255, the
    mean contrast of its ink, and the probabilities of the ten digits (zeros until judged)."""

    box: Box
    mask: Pixels
    strength: float
    component: int
    probabilities: NDArray[np.float32]

    @property
    def digit(self) -> int:
        return int(self.probabilities.argmax())

    @property
    def confidence(self) -> float:
        return float(self.probabilities.max())

    @cached_property
    def image(self) -> Pixels:
        """As the recogniser sees it, uint8 (28, 28)."""
        return normalise(self.mask)

    @cached_property
    def mass(self) -> float:
        """Its ink: pixels times contrast."""
        return np.count_nonzero(self.mask) * self.strength

    @cached_property
    def pen(self) -> float:
        """Its stroke width in pixels."""
        return stroke_width(self.mask > 0)

    @property
    def middle(self) -> tuple[float, float]:
        x, y, width, height = self.box
        return x + width / 2, y + height / 2


UNJUDGED = np.zeros(10, dtype=np.float32)


def find_digits(page: Page, judge: Judge) -> list[list[Glyph]]:
    """Lines of glyphs in reading order, judged, whether likely or not."""
    found = components(page.ink, page.contrast, page.parts if page.ink is page.found else None)
    if page.scale < TINY and found and page.ink.shape[1] < 1.4 * page.ink.shape[0]:
        tallest = max(glyph.box[3] for glyph in found)
        return [judged([joined([glyph for glyph in found if glyph.box[3] > SMALL * tallest])], judge)]
    pieces = judged(found, judge)
    height = writing_height(pieces, page.ink.shape)
    return [read_line(line, height, judge) for line in lines_of(pieces, height)]


def judged(glyphs: Sequence[Glyph], judge: Judge) -> list[Glyph]:
    """The glyphs with their probabilities; those that have some keep them."""
    new = [glyph for glyph in glyphs if glyph.probabilities is UNJUDGED]
    if not new:
        return list(glyphs)
    answers = iter(judge(np.stack([glyph.image for glyph in new])))
    return [replace(g, probabilities=next(answers)) if g.probabilities is UNJUDGED else g for g in glyphs]


# Components


def components(ink: Pixels, contrast: Plane, parts: Parts | None = None) -> list[Glyph]:
    """The connected pieces of ink, those with a gap below half a stroke between them as one, the largest ones.

    `parts`, where they are known, are `parts_of(ink)`.
    """
    parts = parts or parts_of(ink)
    pen = pen_width(parts)
    clean = without_specks(ink, parts, pen)
    reach = max(1, round(0.5 * pen)) | 1
    grown = cv2.dilate(clean, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    labels, boxes = parts_of(grown)
    order = np.argsort(-boxes[1:, cv2.CC_STAT_AREA], kind="stable")[:MOST_COMPONENTS] + 1
    found = []
    for index in order:
        x, y, width, height = map(int, boxes[index, :4])
        own = clean[y : y + height, x : x + width] * (labels[y : y + height, x : x + width] == index)
        left, top, wide, high = cv2.boundingRect(own)
        if max(wide, high) >= 4:
            mask = own[top : top + high, left : left + wide]
            around = contrast[y + top : y + top + high, x + left : x + left + wide]
            found.append(piece(mask, x + left, y + top, cv2.mean(around, mask)[0], int(index)))
    return found


def without_specks(ink: Pixels, parts: Parts, pen: float) -> Pixels:
    """The ink less what is smaller than a dot of the pen: the grain of a photo taken at night."""
    labels, boxes = parts
    large = boxes[:, cv2.CC_STAT_AREA] >= 0.6 * pen * pen
    if large[1:].all():
        return ink
    large[0] = False
    clean: Pixels = (large.view(np.uint8) * np.uint8(255)).take(labels)
    return clean


LARGEST = 30


def pen_width(parts: Parts) -> float:
    """The stroke width in pixels of the largest pieces of ink."""
    labels, boxes = parts
    if len(boxes) == 1:
        return 1.0
    large = np.zeros(len(boxes), np.bool_)
    large[np.argsort(-boxes[1:, cv2.CC_STAT_AREA])[:LARGEST] + 1] = True
    return stroke_width(large.take(labels))


def piece(mask: Pixels, x: int, y: int, strength: float, component: int) -> Glyph:
    return Glyph((x, y, mask.shape[1], mask.shape[0]), mask, strength, component, UNJUDGED)


def writing_height(pieces: Sequence[Glyph], shape: tuple[int, ...]) -> float:
    """The height in pixels of what is written: the median over likely digits, each counting by its ink."""
    likely = [glyph for glyph in pieces if glyph.confidence > 0.8 and not glyph_fills(glyph, shape)] or list(pieces)
    if not likely:
        return float(shape[0])
    return weighted_median([glyph.box[3] for glyph in likely], [glyph.mass for glyph in likely])


def weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The value that has half of the weight on either side."""
    order = np.argsort(values)
    share = np.cumsum(np.asarray(weights, dtype=float)[order])
    return float(np.asarray(values, dtype=float)[order[np.searchsorted(share, share[-1] / 2)]])


def glyph_fills(glyph: Glyph, shape: tuple[int, ...]) -> bool:
    """Whether it spans the picture: a frame, a shadow."""
    return glyph.box[3] > 0.98 * shape[0] and glyph.box[2] > 0.5 * shape[1]


# Lines


def lines_of(pieces: Sequence[Glyph], height: float) -> list[list[Glyph]]:
    """Pieces as lines of writing, top to bottom, each from left to right; dirt and what is far too large left out."""
    large = [g for g in pieces if SMALL * height <= max(g.box[3], 0.7 * g.box[2]) and g.box[3] < 3.2 * height]
    small = [g for g in pieces if SPECK * height <= max(g.box[2:]) and max(g.box[3], 0.7 * g.box[2]) < SMALL * height]
    chains: list[list[Glyph]] = []
    for glyph in sorted(large, key=lambda g: g.middle[0]):
        best = max(chains, key=lambda chain: nearness(chain, glyph), default=None)
        if best is not None and nearness(best, glyph) > 0.35:
            best.append(glyph)
        else:
            chains.append([glyph])
    for glyph in small:
        near = [chain for chain in chains if beside(chain, glyph, height)]
        if near:
            min(near, key=lambda chain: distance(chain, glyph)).append(glyph)
    chains.sort(key=lambda chain: float(np.median([g.middle[1] for g in chain])))
    return [sorted(chain, key=lambda g: g.middle[0]) for chain in chains]


def nearness(chain: Sequence[Glyph], glyph: Glyph) -> float:
    """How much of the lower of two neighbours' heights they share, 0 to 1: with the last few of the chain at best."""
    last = chain[-3:]
    return max(overlap(g.box[1], g.box[3], glyph.box[1], glyph.box[3]) for g in last)


def overlap(start: float, length: float, other: float, other_length: float) -> float:
    shared = min(start + length, other + other_length) - max(start, other)
    return max(0.0, shared) / max(1.0, min(length, other_length))


def beside(chain: Sequence[Glyph], glyph: Glyph, height: float) -> bool:
    return distance(chain, glyph) < 0.5 * height


def distance(chain: Sequence[Glyph], glyph: Glyph) -> float:
    """From the glyph's box to the nearest box of the chain, in pixels."""
    x, y, width, high = glyph.box
    return min(
        max(bx - x - width, x - bx - bw, 0) + max(by - y - high, y - by - bh, 0)
        for bx, by, bw, bh in (g.box for g in chain)
    )


# One line


def read_line(line: Sequence[Glyph], height: float, judge: Judge) -> list[Glyph]:
    """The glyphs of a line: the cheapest way to join its neighbours and cut its wide pieces."""
    tall = [g.box[3] for g in line if g.confidence > 0.6] or [max(g.box[3] for g in line)]
    height = float(np.median(tall))
    widest = ALONE if len(line) == 1 else WIDE
    atoms = [atom for glyph in line for atom in cut(glyph, height, widest)]
    atoms.sort(key=lambda g: g.middle[0])
    spans = [
        (start, end)
        for start in range(len(atoms))
        for end in range(start + 1, min(start + MOST_ATOMS, len(atoms)) + 1)
        if may_join(atoms[start:end], height)
    ]
    made = judged([joined(atoms[start:end]) for start, end in spans], judge)
    glyphs = dict(zip(spans, made, strict=True))
    best: list[tuple[float, list[Glyph]]] = [(0.0, [])]
    for end in range(1, len(atoms) + 1):
        ways = []
        for start in range(max(0, end - MOST_ATOMS), end):
            if (start, end) in glyphs:
                cost, before = best[start]
                glyph = glyphs[start, end]
                ways.append((cost + cost_of(glyph, atoms, start, end, height), [*before, glyph]))
        best.append(min(ways, key=lambda way: way[0]))
    return best[-1][1]


def cost_of(glyph: Glyph, atoms: Sequence[Glyph], start: int, end: int, height: float) -> float:
    """What it costs to take atoms start…end for one glyph: read, or left unread, whichever is cheaper."""
    size = min(1.0, glyph.box[3] / height)
    cuts = sum(
        PER_CUT
        for a, b in ((start - 1, start), (end - 1, end))
        if a >= 0 and b < len(atoms) and atoms[a].component == atoms[b].component
    )
    shrunk = 6.0 * max(0.0, 0.6 - size)
    read = -float(np.log(max(glyph.confidence, 1e-4))) + PER_GLYPH + shrunk
    left = UNREAD * size if end - start == 1 else UNREAD * (end - start)
    return min(read, left) + cuts / 2


def may_join(atoms: Sequence[Glyph], height: float) -> bool:
    """Whether neighbours can be one glyph: close together, and not far wider than high."""
    if len(atoms) == 1:
        return True
    left = min(g.box[0] for g in atoms)
    right = max(g.box[0] + g.box[2] for g in atoms)
    top = min(g.box[1] for g in atoms)
    low = max(g.box[1] + g.box[3] for g in atoms)
    gaps = [b.box[0] - (a.box[0] + a.box[2]) for a, b in pairwise(atoms)]
    return right - left < 1.6 * height and low - top < 1.8 * height and max(gaps) < 0.22 * height


def joined(atoms: Sequence[Glyph]) -> Glyph:
    """Several pieces as one."""
    if len(atoms) == 1:
        return atoms[0]
    x, y = min(g.box[0] for g in atoms), min(g.box[1] for g in atoms)
    right, low = max(g.box[0] + g.box[2] for g in atoms), max(g.box[1] + g.box[3] for g in atoms)
    canvas = np.zeros((low - y, right - x), dtype=np.uint8)
    for g in atoms:
        place = canvas[g.box[1] - y : g.box[1] - y + g.box[3], g.box[0] - x : g.box[0] - x + g.box[2]]
        np.maximum(place, g.mask, out=place)
    strength = sum(g.mass for g in atoms) / sum(np.count_nonzero(g.mask) for g in atoms)
    return piece(canvas, x, y, strength, atoms[0].component)


SLANTS = (0.0, 0.22, 0.45)
"""Of the cuts: columns to the right per row upwards."""


WIDE, ALONE = 0.75, 1.15
"""Widths in heights from which a piece may be several digits: beside others, and alone, where a letter is likelier."""


def cut(glyph: Glyph, height: float, widest: float = WIDE) -> list[Glyph]:
    """A wide piece cut at its narrow places, from left to right, upright or at the slant of the hand; others whole."""
    x, y, width, _ = glyph.box
    whole = width < widest * height or (glyph.confidence > 0.9 and width < 1.15 * height) or width > 14 * height
    if whole or is_blot(glyph, height):
        return [glyph]
    least = max(4, round(0.16 * height))
    likely = max(1, round(width / height / 0.75) - 1)
    ways = [cut_places(*profile(glyph.mask, slant), least) for slant in SLANTS]
    prices = [float(np.mean(sorted(price for _, price in way)[:likely])) if way else np.inf for way in ways]
    best = int(np.argmin(prices))
    if not ways[best]:
        return [glyph]
    places = sorted(place for place, _ in ways[best])
    rows, columns = np.nonzero(glyph.mask)
    part = np.searchsorted(places, slid(rows, columns, glyph.mask.shape, SLANTS[best]), side="right")
    parts = []
    for index in range(len(places) + 1):
        own = np.zeros_like(glyph.mask)
        chosen = part == index
        own[rows[chosen], columns[chosen]] = 255
        left, top, wide, tall = cv2.boundingRect(own)
        if wide:
            mask = np.ascontiguousarray(own[top : top + tall, left : left + wide])
            parts.append(piece(mask, x + left, y + top, glyph.strength, glyph.component))
    return parts


def slid(rows: Indices, columns: Indices, shape: tuple[int, ...], slant: float) -> Indices:
    """Where columns lie once a slanted mask of that shape is set upright about its middle row."""
    moved: Indices = columns - np.rint(slant * (shape[0] / 2 - rows)).astype(np.int64)
    return moved


def profile(mask: Pixels, slant: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The ink of each column of (h, w) set upright, and how many strokes it crosses, float32 (w,) each."""
    shear = np.array([[1, slant, -slant * mask.shape[0] / 2], [0, 1, 0]], np.float32)
    upright = cv2.warpAffine(mask, shear, mask.shape[::-1], flags=cv2.INTER_NEAREST) > 0
    starts = np.count_nonzero(upright[1:] & ~upright[:-1], axis=0) + upright[0]
    return np.count_nonzero(upright, axis=0).astype(np.float32), starts.astype(np.float32)


BLOT = 0.42
"""Stroke width as a share of the writing's height: more is a shadow, a finger, a stain."""


def is_blot(glyph: Glyph, height: float) -> bool:
    """Whether it is far too solid for strokes of writing of that height."""
    return glyph.pen > BLOT * min(height, max(glyph.box[2:]))


def cut_places(ink: NDArray[np.float32], strokes: NDArray[np.float32], least: int) -> list[tuple[int, float]]:
    """Columns to cut at and the price of each: little ink, one stroke only, `least` pixels apart and from both ends.

    The middle of a 0 has as little ink as the place where two digits touch, but there a cut crosses two strokes.
    """
    pen = max(1.0, float(np.median(ink[ink > 0] / np.maximum(strokes[ink > 0], 1)))) if ink.any() else 1.0
    price = cv2.GaussianBlur((ink + 1.5 * pen * np.maximum(strokes - 1, 0))[None, :], (0, 0), max(0.8, least / 8))[0]
    inner = range(least, len(price) - least)
    lows = [i for i in inner if price[i] <= price[i - least // 2 : i + least // 2 + 1].min()]
    chosen: list[int] = []
    for place in sorted(lows, key=lambda i: float(price[i])):
        if all(abs(place - other) >= least for other in chosen):
            chosen.append(place)
    return [(place, float(price[place])) for place in chosen]
