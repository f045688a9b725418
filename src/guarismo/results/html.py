"""Content → one self-contained HTML page: templates, words and numbers of one language, pictures inside the page."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import date
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from guarismo.data.dataset import data_uri, tile
from guarismo.language import ENGLISH, Language

MOST_SIDE = 48
"""Larger images are shrunk to this for a page: it stays below 3 MB even with colour noise in every image."""


@dataclass(frozen=True)
class Picture:
    """An image or a drawing for a page: a data URI or an <svg> element, with the words that stand for it."""

    uri: str
    words: str


@dataclass(frozen=True)
class Sprite:
    """Many images of one size in one picture: its data URI, columns and rows, and width / height of one image."""

    uri: str
    columns: int
    rows: int
    aspect: float

    def place(self, position: int) -> str:
        """Where image `position` lies, as CSS: background-position in percent."""
        row, column = divmod(position, self.columns)
        across, down = 100 * column / max(1, self.columns - 1), 100 * row / max(1, self.rows - 1)
        return f"{across:.4g}% {down:.4g}%"

    @property
    def extent(self) -> str:
        """How much larger the whole is than one image, as CSS: background-size in percent."""
        return f"{100 * self.columns}% {100 * self.rows}%"


HERE = Path(__file__).parent


def render(template: str, _: Language = ENGLISH, home: Path = HERE, **content: Any) -> str:
    """The page that a template of the folder `home` makes of `content`, in the language `_`. Every value is escaped."""
    return environment(_, home).get_template(template).render(written=date.today(), **content)


def environment(_: Language = ENGLISH, home: Path = HERE) -> Environment:
    """Jinja with every value escaped; words and numbers are those of one language: `_("…")`, `share|percent`. Templates
    of `home` may extend and import those of this folder."""
    made = Environment(
        loader=FileSystemLoader([home, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["_"] = _
    made.filters.update(
        percent=_.percent, count=_.count, size=_.size, duration=_.duration, decimal=_.decimal, points=_.points,
        p=_.p, day=_.day, with_options=with_options,
    )  # fmt: skip
    return made


def with_options(text: str) -> Markup:
    """A text whose command line options are code, never broken at a hyphen."""
    parts = re.split(r"(--[a-z][a-z-]*)", text)
    code = Markup("<code>{}</code>")
    return Markup().join(code.format(part) if part.startswith("--") else part for part in parts)


def picture(image: NDArray[np.uint8], words: str, most: int = MOST_SIDE) -> Picture:
    """An image (h, w, c) for a page, shrunk to `most` pixels a side."""
    return Picture(data_uri(image, most), words)


def sprite(images: NDArray[np.uint8], most: int = MOST_SIDE, most_bytes: int = 200_000) -> Sprite:
    """Images uint8 (n, h, w, c), n ≥ 1, shrunk to `most` pixels a side, as one WebP: without loss where it then has
    `most_bytes` or fewer (1,000 digits take 194 kB), else at quality 75."""
    small = np.stack([shrunk(image, most) for image in images])
    count, height, width = small.shape[:3]
    columns = ceil(sqrt(count * height / width))
    whole = tile(small, columns, gap=0)
    uri = webp(whole)
    if len(uri) > most_bytes:
        uri = webp(whole, quality=75)
    return Sprite(uri, columns, ceil(count / columns), width / height)


def shrunk(image: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """An image (h, w, c) with at most `most` pixels a side."""
    if max(image.shape[:2]) <= most:
        return image
    drawn = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    drawn.thumbnail((most, most))
    return np.asarray(drawn, dtype=np.uint8).reshape(drawn.height, drawn.width, image.shape[-1])


def webp(image: NDArray[np.uint8], **options: Any) -> str:
    """An image (h, w, c) as a data URI: WebP, without loss unless `options` say otherwise."""
    memory = io.BytesIO()
    drawn = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    drawn.save(memory, "WEBP", **(options or {"lossless": True}))
    return "data:image/webp;base64," + b64encode(memory.getvalue()).decode()


def isolated(name: str) -> str:
    """A name that is written from right to left, between marks that keep it from turning the sentence around it."""
    from unicodedata import bidirectional

    turns = any(bidirectional(letter) in ("R", "AL", "AN") for letter in name)
    return f"\u2068{name}\u2069" if turns else name
