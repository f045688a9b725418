"""What any file holds → Content: `content_of` takes images and labels as they were read, checked and made regular."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import UNKNOWN, Split
from guarismo.data.images import Pixels
from guarismo.errors import DataError

MOST_CLASSES = 10_000

Labels = NDArray[Any] | None
"""Labels as they stand in a file, whole numbers or words (n,), or None where there are none."""


@dataclass(frozen=True, eq=False)
class Content:
    """What a file or folder holds: its parts, class names (none when the labels are unknown), and what was changed."""

    train: Split
    class_names: tuple[str, ...]
    validation: Split | None = None
    test: Split | None = None
    notes: tuple[str, ...] = ()
    grouped_by: str = "group"


def content_of(
    path: Path,
    images: Pixels,
    labels: Labels,
    test: tuple[Pixels, Labels] | None = None,
    groups: NDArray[np.int64] | None = None,
    notes: Sequence[str] = (),
) -> Content:
    """Images uint8 (n, h, w, c) and labels as read → Content. Raises DataError where they do not fit together."""
    if test is not None and test[0].shape[1:] != images.shape[1:]:
        raise DataError(
            f"{path}: training images are {images.shape[1:]}, test images {test[0].shape[1:]}. "
            "Make them one size, or load the two parts apart."
        )
    names = class_names_of(path, labels)
    train = Split(images, encode(path, labels, names, len(images)), groups)
    parts = None if test is None else Split(test[0], encode(path, test[1], names, len(test[0])))
    return Content(train, names, test=parts, notes=tuple(notes))


# Labels


def natural(name: str) -> tuple[Any, ...]:
    """A key for sorting that puts 2 before 10."""
    parts = re.split(r"([0-9]+)", name)
    key = [(len(p.lstrip("0")), p.lstrip("0")) if i % 2 else p.casefold() for i, p in enumerate(parts)]
    return tuple(key), name


def tidy_labels(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Labels as int64 (n,) where they are whole numbers, else as words. Raises DataError for anything else."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        hint = " They look one-hot: save labels.argmax(axis=1)." if values.ndim == 2 else ""
        raise DataError(f"{path}: expected one label per image, received labels of shape {values.shape}.{hint}")
    if values.dtype.kind in "biuf":
        with np.errstate(invalid="ignore"):
            whole = values.astype(np.int64)
        if not np.array_equal(whole, values):
            raise DataError(f"{path}: labels must be whole numbers or words, received fractions or NaN.")
        return whole
    if values.dtype.kind not in "USO":
        raise DataError(f"{path}: labels must be whole numbers or words, received {values.dtype}.")
    return words_or_numbers(path, values)


def words_or_numbers(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Labels written as text: int64 when every one is a whole number, else the words."""
    words = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.tolist()]
    words = [word.strip() for word in words]
    if not all(0 < len(word) <= 200 for word in words):
        raise DataError(f"{path}: a label is empty or longer than 200 characters. Give each image one short label.")
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}(\.0*)?", word) for word in words):
        return np.array([int(word.partition(".")[0]) for word in words], dtype=np.int64)
    return np.array(words, dtype=str)


def class_names_of(path: Path, labels: Labels) -> tuple[str, ...]:
    """The classes that labels mention, in natural order; () without labels, or when every one is −1."""
    if labels is None or not len(labels):
        return ()
    found = np.unique(labels)
    if found.dtype.kind == "i" and found[0] == UNKNOWN:
        if len(found) == 1:
            return ()
        raise DataError(f"{path}: some labels are −1, which means unknown. Remove those images to train on the rest.")
    if len(found) > MOST_CLASSES:
        raise DataError(f"{path}: {len(found):,} different labels; at most {MOST_CLASSES:,} classes are supported.")
    if found.dtype.kind == "i":
        return tuple(str(label) for label in found)
    return tuple(sorted(found.tolist(), key=natural))


def encode(path: Path, labels: Labels, class_names: tuple[str, ...], count: int) -> NDArray[np.int64]:
    """Labels as positions in `class_names`: int64 (count,), UNKNOWN without labels.

    Raises DataError when there are more or fewer than `count`, or one is in no class.
    """
    if labels is None or not class_names:
        return np.full(count, UNKNOWN, dtype=np.int64)
    if len(labels) != count:
        raise DataError(f"{path}: {count:,} images but {len(labels):,} labels. Are the files of the same set?")
    found, inverse = np.unique(labels, return_inverse=True)
    position = {name: index for index, name in enumerate(class_names)}
    strange = [str(label) for label in found.tolist() if str(label) not in position]
    if strange:
        raise DataError(
            f"{path}: label '{strange[0]}' is in the test part only; training has {', '.join(class_names[:20])}. "
            "Add training images of it, or remove it."
        )
    return np.array([position[str(label)] for label in found.tolist()], dtype=np.int64)[inverse]


# Pixels


def to_pixels(path: Path, values: NDArray[Any]) -> tuple[Pixels, tuple[str, ...]]:
    """Any numbers → uint8 of the same shape, and a note where they were scaled.

    Whole numbers 0…255 stay; fractions 0…1 are multiplied by 255. Raises DataError for NaN and everything else.
    """
    if values.dtype == np.uint8:
        return values, ()
    if values.dtype.kind not in "biuf":
        raise DataError(f"{path}: expected numbers as pixels, received {values.dtype}. Save the images as uint8.")
    least, most, whole = span(path, values)
    if least < 0 or most > 255 or not (whole or most <= 1):
        raise DataError(
            f"{path}: expected pixels as whole numbers 0…255 or fractions 0…1, received values from {least:g} to "
            f"{most:g}. Save the original grey values as uint8."
        )
    scaled = values.dtype.kind in "bf" and 0 < most <= 1
    pixels = np.empty(values.shape, dtype=np.uint8)
    for rows in chunks_of(values):
        pixels[rows] = np.rint(values[rows] * 255.0) if scaled else values[rows]
    return pixels, (f"{path.name}: pixels were fractions 0…1 and were multiplied by 255.",) if scaled else ()


def span(path: Path, values: NDArray[Any]) -> tuple[float, float, bool]:
    """Least, most, and whether all are whole numbers. Raises DataError for NaN and infinity."""
    least, most, whole = math.inf, -math.inf, True
    for rows in chunks_of(values):
        part = values[rows]
        if part.dtype.kind == "f":
            if not np.isfinite(part).all():
                first = rows.start + int(np.argmin(np.isfinite(part).reshape(len(part), -1).all(axis=1)))
                raise DataError(
                    f"{path}: image {first:,} holds NaN or infinity. Save the images without missing values."
                )
            whole = whole and bool((part == np.rint(part)).all())
        least, most = min(least, float(part.min())), max(most, float(part.max()))
    return least, most, whole


def chunks_of(values: NDArray[Any]) -> Iterator[slice]:
    """Slices of about 4 million values: a temporary copy never doubles the memory of a large set."""
    step = max(1, 2**22 // max(1, math.prod(values.shape[1:])))
    return (slice(start, start + step) for start in range(0, len(values), step))


def as_images(path: Path, pixels: Pixels) -> Pixels:
    """(n, pixels), (n, h, w) or (n, h, w, c) → (n, h, w, c). Raises DataError when c is neither 1 nor 3."""
    if pixels.ndim == 2 and (shape := image_shape(pixels.shape[1])):
        pixels = pixels.reshape(len(pixels), *shape)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or not pixels.size:
        raise DataError(
            f"{path}: expected images (n, height, width) or (n, height, width, 1 or 3), received {pixels.shape}. "
            "Give at least one image, channels last."
        )
    return pixels


def image_shape(pixels: int) -> tuple[int, int, int] | None:
    """(side, side, channels) of a square image with so many values, grey before RGB, or None."""
    for channels in (1, 3):
        side = math.isqrt(max(0, pixels) // channels)
        if side > 1 and side * side * channels == pixels:
            return side, side, channels
    return None
