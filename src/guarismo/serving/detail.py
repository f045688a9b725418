"""Picture → the JSON of /v1/read, in a worker: what `read --json` says, what the network saw, and every step to it."""

from __future__ import annotations

import io
from base64 import b64encode
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
from PIL import Image

from guarismo.data.images import Pixels
from guarismo.reading.digits import Glyph
from guarismo.reading.intake import numbered_picture
from guarismo.reading.reader import Reader, Reading, read_picture
from guarismo.results.batch import reader_in

DETAILS = ("none", "glyphs", "stages")


def prepare(run: str) -> bytes:
    """Opens the reader in this worker and reads a blank picture, so that the first photo finds all at hand."""
    blank = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(blank, "PNG")
    reader = reader_in(Path(run))
    reader.judge(np.zeros((1, 28, 28), np.uint8))
    read_picture(numbered_picture(blank.getvalue(), 1)[0], reader)
    return b""


def read_photo(run: str, hand: bytes, content: bytes, name: str, page: int, detail: str, drawn: bool) -> bytes:
    """One page of a picture as JSON; `detail` is of DETAILS, each with what the ones before it have.

    hand: the last layer that a hand was given, or nothing.

    Raises DataError for what is no readable picture, and where there is no such page.
    """
    picture, pages = numbered_picture(content, page, name)
    reading = read_picture(picture, reader_for(run, hand), drawn)
    return orjson.dumps(described(reading, pages, detail), option=orjson.OPT_SERIALIZE_NUMPY)


def reader_for(run: str, hand: bytes) -> Reader:
    """The reader of a run, or of a hand that was taught to it."""
    if not hand:
        return reader_in(Path(run))
    from guarismo.serving.teaching import hand_reader  # its imports take as long as all others: only where asked

    return hand_reader(run, hand)


def described(reading: Reading, pages: int, detail: str) -> dict[str, Any]:
    """The object of a Reading, its boxes in pixels of `size`."""
    about = {**reading.as_json(), "pages": pages, "size": list(reading.size)}
    if detail != "none":
        read = [glyph for line in reading.steps.lines for glyph in line]
        about["digits"] = [{**one, **seen(g)} for one, g in zip(about["digits"], read, strict=True)]
        refused = [glyph for glyph, _ in reading.steps.refused]
        about["refused"] = [{**one, **seen(g)} for one, g in zip(about["refused"], refused, strict=True)]
    if detail == "stages":
        about["stages"] = stages_of(reading)
    return about


def seen(glyph: Glyph) -> dict[str, Any]:
    """The 28×28 that the network saw, and the probability that it gave to each digit."""
    return {"image": png(glyph.image), "probabilities": [round(float(share), 4) for share in glyph.probabilities]}


def stages_of(reading: Reading) -> list[dict[str, str]]:
    """Every step from the photo to the answer, as `read --stages` draws them."""
    from guarismo.results.pictures import panels  # Matplotlib's fonts and palette: half a second, where nobody asks

    return [{"name": panel.title, "words": panel.words, "image": png(panel.picture)} for panel in panels(reading)]


def png(pixels: Pixels) -> str:
    """Pixels uint8 (h, w), (h, w, 3) or, with alpha, (h, w, 4), as a data URI."""
    turned = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[pixels.shape[2] if pixels.ndim == 3 else 2]
    content = cv2.imencode(".png", pixels if turned is None else cv2.cvtColor(pixels, turned))[1]
    return f"data:image/png;base64,{b64encode(content.tobytes()).decode()}"
