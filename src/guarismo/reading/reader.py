"""Photo → Reading: the digits of a picture with honest confidence, and what was refused and why."""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from guarismo.data.images import Pixels
from guarismo.data.normalise import centred, crop
from guarismo.errors import RunError
from guarismo.language import ENGLISH
from guarismo.markup import concat, named, table
from guarismo.models.runs import Run, open_run
from guarismo.reading.digits import Box, Glyph, Judge
from guarismo.reading.intake import Picture, pictures
from guarismo.reading.page import (
    HALF,
    Lines,
    Page,
    Surface,
    at_most,
    enlarged,
    find_lines,
    ink_is_light,
    ink_on,
    noise_of,
    surface_of,
    without_rules,
    workable,
)
from guarismo.reading.refusal import NO_DIGIT, Sifted, sift

SHIPPED = Path(__file__).parent / "model"
"""The reader that comes with the package: a Run of recipe `reader`, less what only training needs."""
LIKELY = 0.005
"""The least probability at which another digit is named as an alternative."""
SAMPLES = Path(__file__).parent / "samples"
"""Photos to try: drawn by docs/make_pictures.py, never taken."""
BREADTHS = (0.13, 0.25, 0.5)
"""How wide a stroke may be, as a share of the picture's shorter side: each is tried on a small copy."""
PREVIEW = 640
"""The longer side of that copy."""
OWN_SIZE = 32
"""Pictures up to this side are of the network's own size."""
DOUBTFUL = 8.0
"""Ink and ground are tried both ways where neither has this many times the evidence of the other."""


@dataclass(frozen=True)
class Digit:
    """One digit that was read: its box (x, y, w, h) in pixels of the upright photo, how sure, what else it may be."""

    digit: int
    confidence: float
    box: Box
    alternatives: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Refusal:
    """Ink that was not read, and why."""

    box: Box
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Reading:
    """What a picture says: lines of digits in reading order, and what was refused; `steps` is how it was seen."""

    file: str
    page: int
    size: tuple[int, int]
    digits: tuple[tuple[Digit, ...], ...]
    refused: tuple[Refusal, ...]
    seconds: float
    picture: Picture
    steps: Sifted

    @property
    def lines(self) -> list[str]:
        """The digits of each line."""
        return ["".join(str(digit.digit) for digit in line) for line in self.digits]

    @property
    def text(self) -> str:
        """All lines, parted by spaces."""
        return " ".join(self.lines)

    def __repr__(self) -> str:
        return f"Reading({self.file}: {self.text!r}; {len(self.refused)} refused)"

    def _repr_html_(self) -> str:
        """In a notebook: the text, the photo with its boxes, how sure each digit is, what was refused and why."""
        return str(spoken(self) + boxed(self) + concat(sureness(line) for line in self.digits) + refusals(self))

    def as_json(self) -> dict[str, Any]:
        """The object that `guarismo read --json` prints."""
        return {
            "file": self.file,
            "page": self.page,
            "text": self.text,
            "lines": self.lines,
            "digits": [
                {
                    "digit": digit.digit,
                    "confidence": round(digit.confidence, 4),
                    "box": list(digit.box),
                    "alternatives": [[other, round(share, 4)] for other, share in digit.alternatives],
                }
                for line in self.digits
                for digit in line
            ],
            "refused": [{"box": list(refusal.box), "reason": refusal.reason} for refusal in self.refused],
            "seconds": round(self.seconds, 3),
        }


SHOWN_SIDE = 560
"""The longer side of the photo in a notebook, in pixels."""
UNSURE = 0.9
"""Digits below this confidence are set apart."""
MOST_REFUSALS = 20


def spoken(reading: Reading) -> Markup:
    """The file and its text, a line of writing to a line."""
    page = f", page {reading.page}" if reading.page > 1 else ""
    lines = concat((Markup("<code>{}</code>").format(line) for line in reading.lines), Markup("<br>"))
    return Markup('<p><b>{}</b>{}, read in {:.2f} s</p><p style="font-size:1.4em">{}</p>').format(
        named(reading.file, 80), page, reading.seconds, lines or "no digits"
    )


def boxed(reading: Reading) -> Markup:
    """The photo, small: a box around each digit, dashed where unsure; a thin dashed one around what was refused."""
    small = at_most(reading.picture.pixels, SHOWN_SIDE)
    width, height = reading.size
    encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    uri = f"data:image/jpeg;base64,{b64encode(encoded.tobytes()).decode()}"
    thick = max(width, height) / 300
    boxes = [
        outline(
            digit.box,
            f"{digit.digit}: {ENGLISH.percent(digit.confidence, 1)}",
            "#0072b2",
            thick,
            digit.confidence < UNSURE,
        )
        for line in reading.digits
        for digit in line
    ]
    boxes += [outline(each.box, each.reason, "#d55e00", thick / 2, True) for each in reading.refused]
    return Markup(
        '<svg viewBox="0 0 {w} {h}" width="{shown}" style="max-width:100%" role="img" aria-label="the photo, boxed" '
        'fill="none"><image href="{uri}" width="{w}" height="{h}"/>{boxes}</svg>'
    ).format(w=width, h=height, shown=small.shape[1], uri=uri, boxes=concat(boxes))


def outline(box: Box, words: str, colour: str, thick: float, dashed: bool) -> Markup:
    """A box (x, y, w, h) that tells its words to the pointer."""
    x, y, width, height = box
    return Markup(
        '<rect x="{}" y="{}" width="{}" height="{}" stroke="{}" stroke-width="{:.1f}" stroke-dasharray="{}" '
        'pointer-events="all"><title>{}</title></rect>'
    ).format(x, y, width, height, colour, thick, f"{3 * thick:.1f}" if dashed else "none", words)


def sureness(line: tuple[Digit, ...]) -> Markup:
    """How sure each digit of a line is, and what else an unsure one may be."""
    rows: list[list[object]] = [["confidence", *(ENGLISH.percent(digit.confidence, 1) for digit in line)]]
    if any(digit.confidence < UNSURE for digit in line):
        rows.append(["or", *(others(digit) if digit.confidence < UNSURE else "" for digit in line)])
    return table(("digit", *(digit.digit for digit in line)), rows)


def others(digit: Digit) -> str:
    return ", ".join(f"{other} ({ENGLISH.percent(share, 1)})" for other, share in digit.alternatives[:2])


def refusals(reading: Reading) -> Markup:
    """What was not read, the largest first, and why."""
    if not reading.refused:
        return Markup()
    largest = sorted(reading.refused, key=lambda each: each.box[2] * each.box[3], reverse=True)[:MOST_REFUSALS]
    rows = [[f"{w}×{h} at {x}, {y}", each.reason] for each in largest for x, y, w, h in [each.box]]
    more = len(reading.refused) - len(rows)
    rest = Markup("<p>and {} smaller ones</p>").format(more) if more else Markup()
    return Markup("<p>Not read:</p>") + table(("box", "reason"), rows) + rest


@dataclass(frozen=True)
class Reader:
    """A Run that answers 28×28 digits, and how far its answers are to be trusted."""

    run: Run
    temperature: float = 1.0

    def judge(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Calibrated probabilities float32 (n, 10) of images uint8 (n, 28, 28), white on black (Guo et al. 2017)."""
        logits = np.log(np.maximum(self.run.predict(images), 1e-9)) / self.temperature
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return probabilities


@cache
def shipped_reader() -> Reader:
    """The reader that comes with the package."""
    return open_reader(SHIPPED)


def open_reader(folder: Path) -> Reader:
    """The Reader in a Run's folder. Raises RunError where it does not answer ten digits of 28×28."""
    run = open_run(folder)
    if run.shape != (28, 28, 1) or run.class_names != tuple("0123456789"):
        raise RunError(
            f"{folder} answers {len(run.class_names)} classes of {'×'.join(map(str, run.shape))}; reading needs the "
            "ten digits of 28×28×1. Train one with: guarismo train mnist --recipe reader"
        )
    return reader_of(run)


def reader_of(run: Run) -> Reader:
    """The Reader of any run, calibrated where the run is."""
    return Reader(run, float(run.about.get("calibration", {}).get("temperature", 1.0)))


def read(source: bytes | Path, reader: Reader | None = None, name: str = "") -> list[Reading]:
    """The digits of a photo, or of each page of a PDF. Raises DataError where it is no readable picture.

    read(Path("photo.jpg"))[0].text
    """
    reader = reader or shipped_reader()
    return [read_picture(picture, reader) for picture in pictures(source, name)]


def read_picture(picture: Picture, reader: Reader, drawn: bool = False) -> Reading:
    """The digits of one upright picture. `drawn`: on a screen, dark on plain white, which takes a tenth of the time."""
    began = time.perf_counter()
    steps = (look_drawn if drawn else look)(picture.pixels, reader.judge)
    scale = picture.scale * steps.page.scale
    return Reading(
        file=picture.name,
        page=picture.page,
        size=picture.size,
        digits=tuple(tuple(digit_of(glyph, scale) for glyph in line) for line in steps.lines),
        refused=tuple(Refusal(scaled(glyph.box, scale), reason) for glyph, reason in steps.refused),
        seconds=time.perf_counter() - began,
        picture=picture,
        steps=steps,
    )


def digit_of(glyph: Glyph, scale: float) -> Digit:
    order = np.argsort(-glyph.probabilities)
    others = tuple((int(k), float(glyph.probabilities[k])) for k in order[1:] if glyph.probabilities[k] >= LIKELY)
    return Digit(glyph.digit, glyph.confidence, scaled(glyph.box, scale), others)


def scaled(box: Box, scale: float) -> Box:
    """A box of the page in pixels of the upright photo."""
    x, y, width, height = (round(side * scale) for side in box)
    return x, y, max(1, width), max(1, height)


def look(pixels: Pixels, judge: Judge) -> Sifted:
    """The best reading of RGB pixels over polarities and breadths of stroke, chosen on a small copy."""
    small = at_most(pixels, PREVIEW)
    evidence = ink_is_light(small)
    both = 1 / DOUBTFUL < evidence < DOUBTFUL
    tried: list[tuple[Sifted, tuple[Surface, float, Lines]]] = []
    for light_ink in (evidence > 1, evidence <= 1)[: 1 + both]:
        surface = surface_of(small, light_ink)
        pages = [ink_on(surface, breadth) for breadth in BREADTHS]
        lines = find_lines(pages[0])
        for page, breadth in zip(pages, BREADTHS, strict=True):
            tried.append((sift(without_rules(page, lines), judge), (surface, breadth, lines)))
        if lines[0].any() or lines[1].any():  # a long stroke may pass for a printed line
            tried.append((sift(pages[0], judge), (surface, BREADTHS[0], no_lines(small))))
    best, (surface, breadth, lines) = max(tried, key=lambda one: one[0].score)
    if best.lines and max(pixels.shape[:2]) <= OWN_SIZE and not confirmed(best, pixels, judge):
        return unconfirmed(best)
    if small is pixels:
        return best
    page = ink_on(enlarged(surface, pixels), breadth)
    return sift(without_rules(page, lines), judge)


def look_drawn(pixels: Pixels, judge: Judge) -> Sifted:
    """The reading of RGB pixels that were drawn: there is no paper, no light and no printed line to be found out."""
    sized, scale = workable(pixels)
    grey = cv2.cvtColor(sized, cv2.COLOR_RGB2GRAY)
    contrast = 1 - grey / np.float32(255)
    ink = (contrast > HALF).view(np.uint8) * np.uint8(255)
    none = np.zeros_like(ink)
    return sift(Page(grey, contrast, noise_of(contrast), ink, ink, none, ink, scale, light_ink=False), judge)


def confirmed(best: Sifted, pixels: Pixels, judge: Judge) -> bool:
    """Whether the network says the same of a picture of its own size as it is, in all its greys.

    Such a picture is a glyph already, and thresholds make digits of what is none: of 200 Fashion images, 20 %.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    ground = float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    ink = np.maximum(grey - ground if best.page.light_ink else ground - grey, 0)
    glyph = crop((ink * (255 / max(1.0, float(ink.max())))).astype(np.uint8))
    if glyph is None or len(best.lines) > 1:
        return False
    probabilities = judge(centred(glyph)[None])[0]
    return len(best.lines[0]) == 1 and bool(probabilities[best.lines[0][0].digit] > NO_DIGIT)


def unconfirmed(best: Sifted) -> Sifted:
    """The same with every digit refused."""
    doubtful = [(glyph, "a digit in outline only, not in its greys") for line in best.lines for glyph in line]
    return replace(best, lines=[], refused=[*best.refused, *doubtful])


def no_lines(pixels: Pixels) -> Lines:
    none = np.zeros(pixels.shape[:2], np.uint8)
    return none, none
