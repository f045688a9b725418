"""Glyphs → what is read and what is refused, each with its reason: a reader that may say "that is no digit"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from guarismo.data.normalise import stroke_width
from guarismo.reading.digits import Glyph, Judge, find_digits, is_blot, weighted_median
from guarismo.reading.page import LOWEST_CONTRAST, NOISES, Page

READ_FROM = 0.7
"""The least probability at which a glyph is read as a digit. From 0.6 to 0.9 the labelled single photos lose the same
(1 of 132, whichever repository is left out), and of 3,000 drawn marks 97.6 to 99.3 % are refused."""
NO_DIGIT = 0.25
"""Below this probability a mark is no digit at all; between this and READ_FROM it is one that cannot be told."""
PURE = 0.6
"""Of a word's ink, what must be digits for any of it to be read: printed words hold signs that look like digits."""
FAINT = 0.2
"""Of the ink of the other digits: what is fainter is a mark that shines through, or the paper's grain."""
PALE = 0.5
"""Of the ink of the other digits: a word as pale as this is read only where there is no doubt."""
LOW = 0.45
"""Of the height of the other digits: what is lower is a dot, a comma, a piece of something."""
CLEAR, IN_CROWD, CROWD = 1.35, 2.2, 12
"""How much stronger than the faintest ink a digit must be, and how much among so many marks that are no digits: of
hundreds of grains some look like one. What noise leaves lies between 1 and 1.8."""
APART = 0.7
"""Of the lower neighbour's height: a gap as wide as this parts two words."""
BROAD = 3.5
"""Of the stroke width of the other digits: what is broader is a shadow or a stain. Marker beside pencil: up to 1.8."""


@dataclass(frozen=True, eq=False)
class Sifted:
    """A page's glyphs after refusal: lines of those read, and those refused, each with its reason."""

    lines: list[list[Glyph]]
    refused: list[tuple[Glyph, str]]
    page: Page

    @property
    def score(self) -> float:
        """How well this way of looking explains the picture: ink that was read, times its share of all ink.

        A 1 counts half: any scratch looks like one.
        """
        read = sum(g.mass * g.confidence * (0.5 if g.digit == 1 else 1.0) for line in self.lines for g in line)
        found = float(cv2.mean(self.page.contrast, self.page.ink)[0]) * np.count_nonzero(self.page.ink)
        return read * read / max(1.0, found) / self.page.ink.size


def sift(page: Page, judge: Judge) -> Sifted:
    """The page's digits, and what is refused: unlike a digit, at the edge, unlike the others, or amid no digits."""
    lines = find_digits(page, judge)
    glyphs = [g for line in lines for g in line]
    usual = usual_of([g for g in glyphs if g.confidence >= READ_FROM and not at_edge(g, page)])
    clarity = clarity_of(glyphs, page)
    crowd = sum(g.confidence < NO_DIGIT and clear < IN_CROWD for g, clear in zip(glyphs, clarity, strict=True))
    only_ones = not any(g.digit != 1 for g in glyphs if g.confidence >= READ_FROM)
    least = IN_CROWD if crowd >= CROWD or only_ones else CLEAR
    reasons = {id(g): reason_against(g, page, usual, clear, least) for g, clear in zip(glyphs, clarity, strict=True)}
    for word in (word for line in lines for word in words_of(line)):
        likely = [g for g in word if not reasons[id(g)]]
        reasons |= dict.fromkeys(map(id, likely), against_word(likely, word, usual, page))
    kept = [[g for g in line if not reasons[id(g)]] for line in lines]
    refused = [(g, reason) for g in glyphs if (reason := reasons[id(g)])]
    return Sifted([line for line in kept if line], refused, page)


def clarity_of(glyphs: Sequence[Glyph], page: Page) -> list[float]:
    """How many times as strong as the faintest ink in its place each glyph is."""
    limits = (max(LOWEST_CONTRAST, NOISES * float(page.noise[int(g.middle[1]), int(g.middle[0])])) for g in glyphs)
    return [g.strength / limit for g, limit in zip(glyphs, limits, strict=True)]


def against_word(likely: Sequence[Glyph], word: Sequence[Glyph], usual: Usual, page: Page) -> str | None:
    """Why none of a word's likely digits is read; None where they are."""
    if not trustworthy(likely, word, usual):
        return "among marks that are no digits"
    if {g.digit for g in likely} <= {1, 7} and like_rules(likely, page):
        return "as if left of a printed line"
    return None


ALIKE = 1.3
"""Up to this many times the contrast and the thickness of the printed lines, a stroke may be a piece of them."""


def like_rules(strokes: Sequence[Glyph], page: Page) -> bool:
    """Whether strokes are no stronger and no broader than the lines that were taken out of the page."""
    if not page.rules.any():
        return False
    strength = cv2.mean(page.contrast, page.rules)[0]
    pen = stroke_width(page.rules > 0)
    return all(g.strength < ALIKE * strength and g.pen < ALIKE * pen for g in strokes)


class Usual(NamedTuple):
    """How a page's digits are written: contrast, height and stroke width in pixels, where most of their ink is."""

    strength: float = 0.0
    height: float = 0.0
    pen: float = np.inf


def usual_of(sure: Sequence[Glyph]) -> Usual:
    """The usual of likely digits; of 1s only where there is nothing else, since any scratch looks like one."""
    digits = [g for g in sure if g.digit != 1] or list(sure)
    if not digits:
        return Usual()
    weights = [g.mass for g in digits]
    return Usual(
        weighted_median([g.strength for g in digits], weights),
        weighted_median([g.box[3] for g in digits], weights),
        weighted_median([g.pen for g in digits], weights),
    )


def trustworthy(readable: Sequence[Glyph], word: Sequence[Glyph], usual: Usual) -> bool:
    """Whether enough of a word's ink is digits; in a word much fainter than the usual ink, nearly all, and sure."""
    if not readable:
        return False
    junk = sum(g.mass for g in word if g.confidence < NO_DIGIT)
    good = sum(g.mass for g in readable)
    share = good / (good + junk)
    faint = float(np.mean([g.strength for g in readable])) < PALE * usual.strength
    sure = not faint or min(g.confidence for g in readable) > 0.9
    return share >= (0.9 if faint else PURE) and sure


def words_of(line: Sequence[Glyph]) -> list[list[Glyph]]:
    """A line's glyphs parted at wide gaps."""
    words = [[line[0]]]
    for before, glyph in pairwise(line):
        gap = glyph.box[0] - before.box[0] - before.box[2]
        if gap > APART * min(before.box[3], glyph.box[3]):
            words.append([])
        words[-1].append(glyph)
    return words


def reason_against(glyph: Glyph, page: Page, usual: Usual, clear: float, least: float) -> str | None:
    """Why a glyph is not read; None where it is."""
    if at_edge(glyph, page):
        return "cut off by the edge of the picture"
    if glyph.confidence < READ_FROM:
        if glyph.box[2] > 1.1 * glyph.box[3]:
            return f"not a digit, or digits that I cannot separate: {glyph.confidence:.2f}"
        return f"not a digit: {glyph.confidence:.2f}"
    if glyph.strength < FAINT * usual.strength:
        return "far fainter than the rest"
    if glyph.box[3] < LOW * usual.height:
        return "far smaller than the rest"
    if glyph.pen > BROAD * usual.pen:
        return "far broader than the rest"
    if is_blot(glyph, usual.height):
        return "a blot, not a stroke"
    if clear < least:
        return "no clearer than the grain of the paper"
    return None


def at_edge(glyph: Glyph, page: Page) -> bool:
    """Whether it is a thin strip along the left or right edge of the picture, as paper's edges are."""
    x, _, width, height = glyph.box
    return (x <= 1 or x + width >= page.ink.shape[1] - 1) and width < 0.4 * height
