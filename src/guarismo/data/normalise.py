"""The ink of one glyph → 28×28, as MNIST was made: one function for photos, drawings, adaptation and training.

LeCun, Cortes, Burges: the binary glyph is scaled, proportions kept, into a box of 20×20 with grey edges, and moved so
that its centre of mass is the centre of 28×28. Added here: a stroke far thinner or thicker than MNIST's (a ballpoint in
a photo of 12 megapixels, a marker) is first brought to a width that the network has seen.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from guarismo.data.images import Pixels

SIDE = 28
BOX = 20
MIDDLE = 14
"""Row and column of the centre of mass, counted from 0: the mean over MNIST is 13.99 (measured on 500 images)."""
FINE = 80
"""The longer side of a glyph, in pixels, while its strokes are measured and changed."""
THINNEST, THICKEST = 0.10, 0.19
"""Stroke width as a share of the glyph's longer side. In MNIST's training images the middle nine tenths lie between
0.08 and 0.19 (measured by `stroke_width` on 5,000 of them); outside these limits it is brought back to them."""


def normalise(ink: Pixels) -> Pixels:
    """One glyph, uint8 (h, w), 0 paper to 255 ink, of any size → uint8 (28, 28), white on black. Blank stays blank."""
    glyph = crop(ink)
    if glyph is None:
        return np.zeros((SIDE, SIDE), dtype=np.uint8)
    return centred(even_strokes(glyph))


def crop(ink: Pixels) -> Pixels | None:
    """The part of (h, w) that holds ink above half; None where there is none."""
    x, y, width, height = cv2.boundingRect((ink > 127).view(np.uint8))
    part: Pixels = ink[y : y + height, x : x + width]
    return part if width else None


def even_strokes(glyph: Pixels) -> Pixels:
    """The cropped glyph as a mask (0, 255), FINE pixels on its longer side, its stroke width between the limits."""
    scale = FINE / max(glyph.shape)
    width = stroke_width(glyph > 127)
    if width * scale < 2:  # would fall below the grid: thicken before it shrinks
        glyph = thicken(glyph, THINNEST * max(glyph.shape) - width)
        scale = FINE / max(glyph.shape)
    size = max(1, round(glyph.shape[1] * scale)), max(1, round(glyph.shape[0] * scale))
    fine = cv2.resize(glyph, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    mask: Pixels = (fine > 127).view(np.uint8) * np.uint8(255)
    width = stroke_width(mask > 0)
    if width < THINNEST * FINE:
        return thicken(mask, THINNEST * FINE - width)
    return thin(mask, width - THICKEST * FINE) if width > THICKEST * FINE else mask


def stroke_width(mask: NDArray[np.bool_]) -> float:
    """The mean width in pixels of the strokes in (h, w): twice the area over the length of the outline.

    Holds for a shape much longer than wide; a disc of diameter d gives d/2.
    """
    area = int(np.count_nonzero(mask))
    inside = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    # Edges between ink and paper, along both axes; a slanted outline counts 4/π of its length, on average
    edges = np.count_nonzero(inside[1:] != inside[:-1]) + np.count_nonzero(inside[:, 1:] != inside[:, :-1])
    return 2 * area / max(1.0, edges * np.pi / 4)


def thicken(glyph: Pixels, by: float) -> Pixels:
    """The glyph with strokes wider by `by` pixels, on a canvas grown by as much."""
    room = int(np.ceil(by / 2)) + 1
    grown = cv2.copyMakeBorder(glyph, room, room, room, room, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform((grown <= 127).view(np.uint8), cv2.DIST_L2, 3)
    wider = (distance <= by / 2).view(np.uint8) * np.uint8(255)
    kept = crop(wider)
    assert kept is not None
    return kept


def thin(mask: Pixels, by: float) -> Pixels:
    """The mask with strokes narrower by `by` pixels, or by as much of that as breaks none of them."""
    distance = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0), cv2.DIST_L2, 3)
    pieces = cv2.connectedComponents(mask)[0]
    for part in (1.0, 0.6, 0.3):
        core = (distance > part * by / 2)[1:-1, 1:-1].view(np.uint8) * np.uint8(255)
        kept = crop(core)
        if kept is not None and cv2.connectedComponents(core)[0] == pieces:
            return kept
    return mask


def centred(glyph: Pixels) -> Pixels:
    """The cropped glyph (h, w) in a 20×20 box with grey edges, its centre of mass at MIDDLE of (28, 28)."""
    scale = BOX / max(glyph.shape)
    size = max(1, round(glyph.shape[1] * scale)), max(1, round(glyph.shape[0] * scale))
    small = cv2.resize(glyph, size, interpolation=cv2.INTER_AREA)
    height, width = small.shape
    total = float(small.sum()) or 1.0
    column = float(small.sum(axis=0) @ np.arange(width)) / total
    row = float(small.sum(axis=1) @ np.arange(height)) / total
    left = min(max(round(MIDDLE - column), 0), SIDE - width)
    top = min(max(round(MIDDLE - row), 0), SIDE - height)
    canvas = np.zeros((SIDE, SIDE), dtype=np.uint8)
    canvas[top : top + height, left : left + width] = small
    return canvas
