"""Reading → pictures: `annotated` writes the digits into the photo, `stages` shows every step on the way to them.

Drawn with Pillow, pixel for pixel: a Matplotlib figure would smooth the 28×28 images, and is slow on a large photo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import islice
from math import ceil
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from guarismo.data.images import Pixels
from guarismo.data.normalise import BOX, SIDE
from guarismo.errors import RunError
from guarismo.models.runs import write_out
from guarismo.reading.digits import Box, Glyph
from guarismo.reading.reader import Digit, Reading, Refusal
from guarismo.results.charts import INK, TEXT, VALIDATION

PAPER, QUIET, FRAME = "#ffffff", "#5b5f64", "#c9ccd0"
CONFIDENCE_COLOURS = ((0.95, "#009e73"), (0.8, "#e69f00"), (0.0, VALIDATION))
"""From which confidence a digit is drawn in which colour; all are of the palette of the charts."""
REFUSED, REFUSED_GROUND = "#cc79a7", "#7d3560"
"""The palette's purple, and a darker one that carries white words."""
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}

Font = ImageFont.FreeTypeFont
Size = tuple[int, int]
"""Width and height in pixels, as Pillow has it."""


def save_picture(pixels: Pixels, path: Path) -> None:
    """Pixels uint8 (h, w, 3) as PNG or JPEG. Raises RunError for another suffix, or where it cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise RunError(f"A picture's name must end in {', '.join(SUFFIXES)}, received {path.name}.")
    memory = BytesIO()
    # JPEG's usual halving of the colours would blur coloured lines
    Image.fromarray(pixels).save(memory, SUFFIXES[path.suffix.lower()], quality=90, subsampling=0)
    write_out(path, memory.getvalue())


# The photo, with what was read


SMALLEST_SIDE, LARGEST_SIDE = 480, 2000
"""Of an annotated photo, its longer side: a smaller photo is enlarged to the first, one with digits close together as
far as their labels need, up to the second."""
SMALLEST_LABEL, LARGEST_LABEL = 11, 40
"""Size of the digit on a label, in pixels."""
LABEL_HEIGHT, LABEL_WIDTH = 0.4, 2.85
"""Size of a label as a share of the digit's height; width of a label in its own size."""
MOST_REASONS = 10
"""Refusals whose reason is written, the largest."""


def annotated(reading: Reading) -> Pixels:
    """The upright photo, uint8 (h, w, 3): round each digit a box, beside it the digit and how sure it is; what was
    refused in dashes, with the reason where it is large. Enlarged where labels would not be legible."""
    size = annotated_size(reading)
    image = Image.fromarray(scaled_to(reading.picture.pixels, size))
    draw, taken = ImageDraw.Draw(image), ground_taken(reading, size)
    outline(draw, reading, size)
    for line, height in zip(reading.digits, label_heights(reading, size), strict=True):
        for digit in line:
            words = [
                (f"{digit.digit}", font(height, True)),
                (f" {percent(digit.confidence)}", font(max(9, height * 4 // 7))),
            ]
            put_label(draw, words, box_in(digit.box, reading, size), colour_of(digit.confidence), INK, taken)
    put_reasons(draw, reading, size, taken)
    if not any(reading.digits):
        words = [(outcome(reading), font(max(16, max(size) // 45)))]
        put_label(draw, words, (0, 0, *size), INK, PAPER, taken)
    return np.array(image)


def annotated_size(reading: Reading) -> Size:
    """The size at which labels are legible: that of the working picture, unless it is small or its digits crowded."""
    height, width = reading.picture.pixels.shape[:2]
    longer = max(height, width)
    closest = min(map(pitch_of, reading.digits), default=np.inf) / reading.picture.scale
    wanted = min(SMALLEST_LABEL * LABEL_WIDTH / closest, LARGEST_SIDE / longer)
    factor = max(1.0, SMALLEST_SIDE / longer, wanted)
    return max(1, round(width * factor)), max(1, round(height * factor))


def pitch_of(line: Sequence[Digit]) -> float:
    """From one digit of a line to the next in pixels of the upright photo, where they stand closer than elsewhere."""
    middles = [digit.box[0] + digit.box[2] / 2 for digit in line]
    return max(1.0, float(np.percentile(np.abs(np.diff(middles)), 10))) if len(line) > 1 else np.inf


def label_heights(reading: Reading, size: Size) -> list[int]:
    """Of each line the size of its labels in a picture of `size`, as its digits are high and stand apart."""
    factor = size[0] / reading.size[0]
    sizes = []
    for line in reading.digits:
        high = LABEL_HEIGHT * float(np.median([digit.box[3] for digit in line]))
        sizes.append(factor * min(high, pitch_of(line) / LABEL_WIDTH))
    return [round(min(max(each, SMALLEST_LABEL), LARGEST_LABEL)) for each in sizes]


def percent(confidence: float) -> str:
    """In whole per cent, rounded down: nothing is certain."""
    return f"{min(99, int(100 * confidence))} %"


def colour_of(confidence: float) -> str:
    return next(colour for least, colour in CONFIDENCE_COLOURS if confidence >= least)


def outcome(reading: Reading) -> str:
    """Why there is no digit."""
    return "ink was found, but no digit" if reading.refused else "no ink was found"


def scaled_to(pixels: Pixels, size: Size) -> Pixels:
    """Pixels uint8 (h, w) or (h, w, 3) at another size: averaged where it is smaller, smooth where it is larger."""
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    way = cv2.INTER_CUBIC if size[0] > pixels.shape[1] else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, size, interpolation=way), dtype=np.uint8)


def box_in(box: Box, reading: Reading, size: Size) -> Box:
    """A box of the upright photo in a picture of `size`, with room for the line round it."""
    factor, room = size[0] / reading.size[0], pen_of(size) + 1
    left, top = int(box[0] * factor) - room, int(box[1] * factor) - room
    right, bottom = ceil((box[0] + box[2]) * factor) + room, ceil((box[1] + box[3]) * factor) + room
    return left, top, right - left, bottom - top


def pen_of(size: Size) -> int:
    """The width of a line in a picture of `size`."""
    return max(2, round(max(size) / 500))


# Boxes


def outline(draw: ImageDraw.ImageDraw, reading: Reading, size: Size) -> None:
    """A box round each digit in the colour of its confidence, a dashed one round what was refused."""
    pen = pen_of(size)
    for refusal in reading.refused:
        dashed(draw, box_in(refusal.box, reading, size), max(1, pen // 2))
    for digit in (digit for line in reading.digits for digit in line):
        x, y, width, height = box_in(digit.box, reading, size)
        # The white seam is for dark photos
        draw.rectangle((x - 1, y - 1, x + width, y + height), outline=PAPER, width=pen + 2)
        draw.rectangle((x, y, x + width - 1, y + height - 1), outline=colour_of(digit.confidence), width=pen)


def dashed(draw: ImageDraw.ImageDraw, box: Box, pen: int) -> None:
    """A box of purple dashes on white."""
    x, y, width, height = box
    draw.rectangle((x, y, x + width - 1, y + height - 1), outline=PAPER, width=pen)
    for start in range(0, width, 8 * pen):
        for level in (y, y + height - pen):
            draw.rectangle((x + start, level, x + min(start + 5 * pen, width) - 1, level + pen - 1), fill=REFUSED)
    for start in range(0, height, 8 * pen):
        for level in (x, x + width - pen):
            draw.rectangle((level, y + start, level + pen - 1, y + min(start + 5 * pen, height) - 1), fill=REFUSED)


# Words beside boxes


@cache
def font(size: int, bold: bool = False) -> Font:
    """DejaVu Sans, the charts' own, which comes with Matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def put_reasons(draw: ImageDraw.ImageDraw, reading: Reading, size: Size, taken: Pixels) -> None:
    """The reasons of the refusals that are large enough for a reader to wonder."""
    height = max(SMALLEST_LABEL + 1, max(size) // 70)
    for refusal in notable(reading):
        words = [(brief(refusal.reason), font(height))]
        put_label(draw, words, box_in(refusal.box, reading, size), REFUSED_GROUND, PAPER, taken)


def notable(reading: Reading) -> list[Refusal]:
    """The refusals at least half as high as the digits, or where there are none, as a 25th of the photo."""
    heights = [digit.box[3] for line in reading.digits for digit in line]
    least = 0.5 * float(np.median(heights)) if heights else max(reading.size) / 25
    large = [refusal for refusal in reading.refused if max(refusal.box[2:]) >= least]
    return sorted(large, key=lambda refusal: -refusal.box[2] * refusal.box[3])[:MOST_REASONS]


def brief(reason: str) -> str:
    """A reason up to its first comma or colon."""
    return reason.split(":")[0].split(",")[0]


ON_BOX, ON_INK, ON_LABEL = 1, 16, 16
"""How bad it is that a label covers the empty part of a digit's box, ink, another label."""


def ground_taken(reading: Reading, size: Size) -> Pixels:
    """What labels should not cover in a picture of `size`: uint8 (h, w), 0 where nothing is."""
    ink = cv2.resize(reading.steps.page.ink, size, interpolation=cv2.INTER_NEAREST)
    taken: Pixels = (ink > 0).view(np.uint8) * np.uint8(ON_INK)
    for digit in (digit for line in reading.digits for digit in line):
        cover(taken, box_in(digit.box, reading, size), ON_BOX)
    return taken


def cover(taken: Pixels, box: Box, what: int) -> None:
    x, y, width, height = box
    part = taken[max(0, y) : y + height, max(0, x) : x + width]
    np.maximum(part, np.uint8(what), out=part)


def put_label(
    draw: ImageDraw.ImageDraw, words: Sequence[tuple[str, Font]], box: Box, ground: str, colour: str, taken: Pixels
) -> None:
    """Words on a filled ground, by a box; its place is entered in `taken` uint8 (h, w)."""
    size = words[0][1].size
    room = max(2, round(size / 5))
    width = ceil(sum(each.getlength(text) for text, each in words)) + 2 * room
    height = round(0.73 * size) + 2 * room  # DejaVu's capitals and digits are 0.73 high
    x, y = free_place((width, height), box, taken)
    draw.rounded_rectangle((x, y, x + width - 1, y + height - 1), room, fill=ground)
    pen = float(x + room)
    for text, each in words:
        draw.text((pen, y + height - room), text, colour, each, anchor="ls")
        pen += each.getlength(text)
    cover(taken, (x, y, width, height), ON_LABEL)


def free_place(size: Size, box: Box, taken: Pixels) -> tuple[int, int]:
    """Where a label covers least: above its box, below, to the right, to the left, or in a corner of it."""
    (wide, high), (x, y, width, height) = size, box
    middle, right, bottom = x + (width - wide) // 2, x + width - wide, y + height - high
    places = [(middle, y - high), (middle, y + height), (x + width, y), (x - wide, y)]
    places += [(x, y), (right, y), (x, bottom), (right, bottom)]
    inside = [(max(0, min(a, taken.shape[1] - wide)), max(0, min(b, taken.shape[0] - high))) for a, b in places]
    costs = [
        int(taken[b : b + high, a : a + wide].sum()) + rank * wide * high / 3 for rank, (a, b) in enumerate(inside)
    ]
    return inside[int(np.argmin(costs))]


# Every step


@dataclass(frozen=True, eq=False)
class Panel:
    """One step: its title, what happens there in a sentence, and how the photo looks after it, uint8 (h, w, 3)."""

    title: str
    words: str
    picture: Pixels


POSTER, MARGIN, GAP = 1200, 40, 36
"""Width of the stages picture, its margin, and the gap between its panels, in pixels."""
HIGHEST = 620
"""Of a panel's picture, in pixels; many 28×28 images may need more."""
WIDE, CROWDED = 2.4, 20
"""A photo this many times as wide as high has a row for each step; more digits than this have rows for the last."""
TITLE_SIZE, WORDS_SIZE, SMALL_SIZE = round(2 * TEXT), round(1.5 * TEXT), round(1.2 * TEXT)
"""In pixels; the charts' TEXT is in points."""


def stages(reading: Reading) -> Pixels:
    """One picture, uint8 (h, POSTER, 3), of every step from the photo to the answer."""
    bands = [band(row) for row in rows_of_panels(reading)]
    poster = Image.new("RGB", (POSTER, sum(each.height + GAP for each in bands) + 2 * MARGIN - GAP), PAPER)
    top = MARGIN
    for each in bands:
        poster.paste(each, (MARGIN, top))
        top += each.height + GAP
    return np.array(poster)


def panels(reading: Reading) -> list[Panel]:
    """The steps one by one, all of one width."""
    return [step(reading, panel_width(2)) for step in STEPS]


def rows_of_panels(reading: Reading) -> list[list[Panel]]:
    """The steps in their order, as they stand in rows."""
    steps = iter(STEPS)
    return [[step(reading, panel_width(count)) for step in islice(steps, count)] for count in rows_for(reading)]


def rows_for(reading: Reading) -> tuple[int, ...]:
    """How many steps there are in each row."""
    if reading.size[0] > WIDE * reading.size[1]:
        return (1, 1, 1, 1, 1, 1, 1)
    return (2, 2, 1, 1, 1) if sum(map(len, reading.digits)) > CROWDED else (2, 2, 2, 1)


def panel_width(count: int) -> int:
    """Of `count` panels side by side."""
    return (POSTER - 2 * MARGIN - (count - 1) * GAP) // count


def band(row: Sequence[Panel]) -> Image.Image:
    """Panels side by side, their pictures on one level."""
    width = panel_width(len(row))
    words = [wrapped(panel.words, font(WORDS_SIZE), width) for panel in row]
    below_title = round(1.7 * TITLE_SIZE)
    level = below_title + leading(WORDS_SIZE) * max(map(len, words)) + 10
    image = Image.new("RGB", (POSTER - 2 * MARGIN, level + max(len(panel.picture) for panel in row)), PAPER)
    draw = ImageDraw.Draw(image)
    for index, panel in enumerate(row):
        left = index * (width + GAP)
        draw.text((left, 0), panel.title, INK, font(TITLE_SIZE, True))
        put_lines(draw, words[index], (left, below_title), WORDS_SIZE)
        image.paste(Image.fromarray(panel.picture), (left, level))
    return image


def leading(size: int) -> int:
    """From one line of text to the next, in pixels."""
    return round(1.35 * size)


def wrapped(words: str, face: Font, width: float) -> list[str]:
    """Words as lines that are no wider than `width` pixels."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and face.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def put_lines(draw: ImageDraw.ImageDraw, lines: Sequence[str], place: tuple[int, int], size: int) -> None:
    """Lines of quiet text from a left upper corner on."""
    for index, line in enumerate(lines):
        draw.text((place[0], place[1] + index * leading(size)), line, QUIET, font(size))


def panel_size(reading: Reading, width: int) -> Size:
    """The size of the photo in a panel of this width."""
    factor = min(width / reading.size[0], HIGHEST / reading.size[1])
    return max(1, round(reading.size[0] * factor)), max(1, round(reading.size[1] * factor))


def photo_panel(reading: Reading, width: int) -> Panel:
    words = (
        f"{reading.size[0]:,} × {reading.size[1]:,} pixels. Paper, light and shadow are in it besides ink; the network "
        "knows none of them."
    )
    small = scaled_to(reading.picture.pixels, panel_size(reading, width))
    return Panel("1  The photo, upright", words, framed(calm(small)))


def calm(pixels: Pixels) -> Pixels:
    """Pixels uint8 (h, w, 3) with fewer levels and softer colours, as in a JPEG: noise would make a large PNG."""
    planes = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb), dtype=np.uint8)
    planes[..., 1:] = cv2.GaussianBlur(planes[..., 1:], (0, 0), 2) // 2 * 2
    planes[..., 0] = planes[..., 0] // 5 * 5  # 255 stays 255
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB), dtype=np.uint8)


def few_greys(grey: Pixels) -> Pixels:
    """Grey uint8 (h, w) in 16 levels, as (h, w, 3), likewise."""
    return np.repeat((grey // 16 * 17)[..., None], 3, axis=2)


def framed(pixels: Pixels) -> Pixels:
    """Pixels uint8 (h, w, 3) with a thin grey edge, which tells white paper from the poster."""
    edged = pixels.copy()
    edged[[0, -1]] = edged[:, [0, -1]] = rgb(FRAME)
    return edged


def contrast_panel(reading: Reading, width: int) -> Panel:
    page = reading.steps.page
    kind = "Light ink" if page.light_ink else "Dark ink"
    words = f"{kind}. Each pixel is divided by the paper round it: a shadow dims both alike, and cancels out."
    strongest = max(0.1, float(np.percentile(page.contrast[::2, ::2], 99.8)))
    level = (np.minimum(page.contrast / strongest, 1) * 255).astype(np.uint8)
    grey = 255 - scaled_to(level, panel_size(reading, width))
    return Panel("2  Light and shadow divided out", words, framed(few_greys(grey)))


def ink_panel(reading: Reading, width: int) -> Panel:
    words = "Ink is what stands out from the paper's own noise, and about half as strongly as the strokes close by."
    ink = scaled_to(reading.steps.page.found, panel_size(reading, width))
    return Panel("3  Ink above the noise", words, framed(few_greys(255 - ink)))


def rules_panel(reading: Reading, width: int) -> Panel:
    page = reading.steps.page
    words = (
        "Long straight lines go (orange), but for the places where a stroke crosses them: it would fall apart."
        if page.rules.any()
        else "None were found here: all ink stays."
    )
    size = panel_size(reading, width)
    image = few_greys(255 - scaled_to(page.ink, size))
    gone = scaled_to(page.found & ~page.ink, size)
    image[gone > 100] = rgb(VALIDATION)
    return Panel("4  Printed lines taken out", words, framed(image))


def glyphs_panel(reading: Reading, width: int) -> Panel:
    words = (
        "What touches is cut and what is loose is joined, in every way; the way that gives the likeliest digits wins."
    )
    if reading.refused:
        words += " Dashed: refused."
    size = panel_size(reading, width)
    image = Image.fromarray(few_greys(255 - scaled_to(reading.steps.page.ink, size)))
    draw = ImageDraw.Draw(image)
    outline(draw, reading, size)
    put_reasons(draw, reading, size, ground_taken(reading, size))
    return Panel("5  One box for each digit", words, framed(np.array(image)))


def rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


# What the network sees

MOST_TILES, MOST_REFUSED = 60, 10
"""Images shown of what was read, and of what was refused, the largest of these."""
TILE_SCALES = (8, 6, 5, 4, 3, 2)
TILE_GAP = 14
LEAST_HIGH = 280


@dataclass(frozen=True, eq=False)
class Tile:
    """A 28×28 image with lines of words below, the first in bold, and the colour of the bar between them."""

    image: Pixels
    words: Sequence[str]
    colour: str


def network_panel(reading: Reading, width: int) -> Panel:
    words = (
        f"Each digit alone, white on black, its longer side {BOX} pixels, its centre of mass in the middle of "
        f"{SIDE} × {SIDE}: as MNIST was made, and so as the network has learned to read."
    )
    read = [read_tile(glyph) for line in reading.steps.lines for glyph in line]
    refused = sorted(reading.steps.refused, key=lambda each: -each[0].mass)
    least = 5 * WORDS_SIZE
    parts = (
        [
            grid(
                read[:MOST_TILES],
                tile_scale(len(read), width, least, max(LEAST_HIGH, panel_size(reading, width)[1])),
                least,
                width,
            )
        ]
        if read
        else []
    )
    if len(read) > MOST_TILES:
        parts.append(note(f"and {len(read) - MOST_TILES} more", width))
    if refused:
        more = f" ({MOST_REFUSED} of {len(refused)})" if len(refused) > MOST_REFUSED else ""
        parts.append(note(f"Refused rather than guessed{more}:", width))
        shown = [refused_tile(glyph, reason) for glyph, reason in refused[:MOST_REFUSED]]
        parts.append(grid(shown, 3, 8 * WORDS_SIZE, width))
    return Panel("6  What the network sees", words, np.vstack(parts or [note(f"Nothing: {outcome(reading)}.", width)]))


def read_tile(glyph: Glyph) -> Tile:
    """What was read, how surely, and what it would be otherwise."""
    second = int(np.argsort(-glyph.probabilities)[1])
    share = float(glyph.probabilities[second])
    other = f"or {second}: {percent(share) if share >= 0.01 else '< 1 %'}"
    return Tile(glyph.image, [f"{glyph.digit}  {percent(glyph.confidence)}", other], colour_of(glyph.confidence))


def refused_tile(glyph: Glyph, reason: str) -> Tile:
    return Tile(glyph.image, ["", *wrapped(reason, font(SMALL_SIZE), 7.5 * WORDS_SIZE)], REFUSED)


def tile_scale(count: int, width: int, least: int, most: int) -> int:
    """How many times 28×28 is enlarged so that `count` images fill (width, most) and do not outgrow it."""

    def high(scale: int) -> int:
        columns = width // max(SIDE * scale + TILE_GAP, least)
        return -(-min(count, MOST_TILES) // columns) * (SIDE * scale + 4 * SMALL_SIZE)

    return next((scale for scale in TILE_SCALES if high(scale) <= most), TILE_SCALES[-1])


def grid(shown: Sequence[Tile], scale: int, least: int, width: int) -> Pixels:
    """Tiles in rows, at least `least` pixels from one to the next, uint8 (h, width, 3)."""
    side = SIDE * scale
    across = max(side + TILE_GAP, least)
    down = (
        side + round(1.5 * WORDS_SIZE) + leading(SMALL_SIZE) * (max(len(each.words) for each in shown) - 1) + TILE_GAP
    )
    columns = width // across
    image = Image.new("RGB", (width, -(-len(shown) // columns) * down), PAPER)
    draw = ImageDraw.Draw(image)
    for index, each in enumerate(shown):
        x, y = index % columns * across, index // columns * down
        image.paste(Image.fromarray(each.image).resize((side, side), Image.Resampling.NEAREST), (x, y))
        draw.rectangle((x, y + side, x + side - 1, y + side + 3), fill=each.colour)
        draw.text((x, y + side + 6), each.words[0], INK, font(WORDS_SIZE, True))
        below = y + side + 6 + (round(1.4 * WORDS_SIZE) if each.words[0] else 0)
        put_lines(draw, each.words[1:], (x, below), SMALL_SIZE)
    return np.array(image)


def note(words: str, width: int) -> Pixels:
    """A line of its own, uint8 (h, width, 3)."""
    image = Image.new("RGB", (width, 2 * WORDS_SIZE), PAPER)
    ImageDraw.Draw(image).text((0, WORDS_SIZE // 3), words, INK, font(WORDS_SIZE))
    return np.array(image)


# The answer

LARGEST_DIGIT, SMALLEST_DIGIT = 150, 22
"""Size of the answer's type in pixels."""
MOST_LINES = 14


def answer_panel(reading: Reading, width: int) -> Panel:
    shown = 6 * SIDE
    words = wrapped(COMPARISON, font(SMALL_SIZE), 1.5 * shown)
    right = grid([Tile(grey_and_shrunk(reading), ["", *words], QUIET)], 6, round(1.5 * shown), round(1.5 * shown))
    left = answer(reading, width - right.shape[1] - GAP)
    whole = np.full((max(len(left), len(right)), width, 3), 255, np.uint8)
    whole[: len(left), : left.shape[1]] = left
    whole[: len(right), width - right.shape[1] :] = right
    return Panel("7  The answer", verdict(reading), whole)


COMPARISON = (
    "Without these steps: the whole photo in grey, resized to 28 × 28, divided by 255. The network has never seen "
    "the like."
)


def grey_and_shrunk(reading: Reading) -> Pixels:
    """What is so often fed to a network: the whole photo in grey at 28×28, uint8."""
    grey = np.asarray(cv2.cvtColor(reading.picture.pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    return scaled_to(grey, (SIDE, SIDE))


def verdict(reading: Reading) -> str:
    """The least certain digit by name, or why there is none."""
    if not any(reading.digits):
        return f"{outcome(reading).capitalize()}."
    number, place, least = min(
        ((row, place, digit) for row, line in enumerate(reading.digits, 1) for place, digit in enumerate(line, 1)),
        key=lambda each: each[2].confidence,
    )
    if sum(map(len, reading.digits)) == 1:
        return f"One digit, {percent(least.confidence)} sure."
    line = f" of line {number}" if len(reading.digits) > 1 else ""
    other = f" or {least.alternatives[0][0]}" if least.alternatives else ""
    return (
        "Green: at least 95 % sure. Amber: at least 80 %. Orange: less. "
        f"Least sure: the {ordinal(place)} digit{line}, {least.digit}{other}, with {percent(least.confidence)}."
    )


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, …, 11th."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def answer(reading: Reading, width: int) -> Pixels:
    """The digits in large type, lines as lines, each underlined in the colour of its confidence: (h, width, 3)."""
    lines = reading.digits[:MOST_LINES]
    longest = max(map(len, lines), default=1)
    size = min(LARGEST_DIGIT, width / (0.75 * longest), 320 / (1.4 * max(1, len(lines))))
    size = max(SMALLEST_DIGIT, int(size))
    step, most = 0.75 * size, int(width / (0.75 * size))
    image = Image.new("RGB", (width, round(1.4 * size * max(1, len(lines)))), PAPER)
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        foot = round(1.4 * size * row) + size
        for place, digit in enumerate(line[:most]):
            draw.text((place * step, foot), str(digit.digit), INK, font(size, True), anchor="ls")
            bar = (place * step, foot + size // 9, place * step + 0.65 * size, foot + size // 5)
            draw.rectangle(bar, fill=colour_of(digit.confidence))
    if not lines:
        draw.text((0, size), "no digit", QUIET, font(size // 2), anchor="ls")
    cut = len(reading.digits) - len(lines)
    return np.vstack([np.array(image), note(f"and {cut} more lines", width)]) if cut else np.array(image)


STEPS: tuple[Callable[[Reading, int], Panel], ...] = (
    photo_panel,
    contrast_panel,
    ink_panel,
    rules_panel,
    glyphs_panel,
    network_panel,
    answer_panel,
)
