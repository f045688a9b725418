"""Foreign files → arrays: IDX, npz, CSV, Parquet and single images.

Every file is hostile until checked: sizes are compared with the real number of bytes before memory is given,
nothing is unpickled, and whatever is wrong becomes a DataError that names the file.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import struct
import warnings
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import UNKNOWN, Split
from guarismo.errors import DataError

if TYPE_CHECKING:  # imported where used: `guarismo data list` must answer at once
    from PIL import Image

MOST_BYTES = 8 * 2**30
"""No array or decompressed content may be larger than this."""

MOST_TEXT_BYTES = 2 * 2**30
MOST_LINE_BYTES = 16 * 2**20
MOST_CLASSES = 10_000
MOST_INFLATION = 1040
"""deflate gives at most 1,032 bytes for one; a file that promises more than this is lying."""

MOST_PIXELS = 64 * 10**6
"""Of one image, read from its header before it is decoded."""

IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
IDX_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
LABEL_COLUMNS = ("label", "labels", "class", "target", "y")

Pixels = NDArray[np.uint8]
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


# IDX: magic 00 00 08 (dimensions), each dimension as 4 bytes, then the bytes; MNIST's own format.


def read_idx(path: str | Path) -> Pixels:
    """The array uint8 of an IDX file, raw or gz (told by its first bytes, not its name).

    Raises DataError when the file is cut short, altered, surplus, or promises more than it holds.
    """
    path = Path(path)
    return idx_array(path, idx_content(path))


def idx_content(path: Path) -> Pixels:
    """The whole IDX file, decompressed and its size checked: uint8 (bytes,), header included."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return inflated_idx(path, file, size) if packed else plain_idx(path, file, size)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def idx_array(path: Path, content: Pixels) -> Pixels:
    """`idx_content` → the array that its header describes."""
    start, shape = idx_header(path, content[:20].tobytes())
    return content[start:].reshape(shape)


def idx_header(path: Path, head: bytes) -> tuple[int, tuple[int, ...]]:
    """(bytes of the header, shape). Raises DataError when it is no IDX header of bytes in 1–4 dimensions."""
    if len(head) < 8 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4 or len(head) < 4 + 4 * head[3]:
        raise DataError(
            f"{path} is not an IDX file of bytes: it starts with {head[:4].hex(' ') or 'nothing'}, "
            "expected 00 00 08 03 (images) or 00 00 08 01 (labels). Download it again."
        )
    shape = struct.unpack(f">{head[3]}I", head[4 : 4 + 4 * head[3]])
    if 0 in shape or math.prod(shape) > MOST_BYTES:
        raise DataError(
            f"{path}: the header promises {' × '.join(map(str, shape))} bytes, "
            f"expected between 1 byte and {MOST_BYTES >> 30} GB. Download it again."
        )
    return 4 + 4 * head[3], shape


def plain_idx(path: Path, file: IO[bytes], size: int) -> Pixels:
    start, shape = idx_header(path, file.read(20))
    check_promise(path, start + math.prod(shape), size)
    file.seek(0)
    content = np.empty(size, dtype=np.uint8)
    check_promise(path, size, file.readinto(content.data))  # type: ignore[attr-defined]
    return content


def check_promise(path: Path, promised: int, size: int) -> None:
    if promised != size:
        fault = "is cut short" if size < promised else "has surplus bytes at its end"
        raise DataError(
            f"{path} {fault}: its header promises {promised:,} bytes, it holds {size:,}. Download it again."
        )


def inflated_idx(path: Path, file: IO[bytes], size: int) -> Pixels:
    """The decompressed content, never more than the header promises and one byte."""
    inflate = zlib.decompressobj(wbits=31)
    try:
        head = inflate.decompress(file.read(1 << 16), 20)
        start, shape = idx_header(path, head)
        promised = start + math.prod(shape)
        if promised > MOST_INFLATION * size:
            check_promise(path, promised, size)
        content = np.empty(promised, dtype=np.uint8)
        done = fill(content, head, inflate, file)
    except zlib.error as error:
        raise DataError(f"{path} is damaged: {error}. Download it again.") from None
    if done <= promised and not inflate.eof:
        raise DataError(f"{path} is cut short: the compressed data end too early. Download it again.")
    surplus = len(inflate.unused_data) + len(file.read(1))
    check_promise(path, promised, done if done != promised else promised + surplus)
    return content


def fill(content: Pixels, head: bytes, inflate: Any, file: IO[bytes]) -> int:
    """Decompress into `content`; how many bytes there were, one more than fit where it goes on."""
    done = min(len(head), len(content))
    content[:done] = np.frombuffer(head[:done], dtype=np.uint8)
    if len(head) > len(content):
        return len(content) + 1
    while not inflate.eof:
        packed = inflate.unconsumed_tail or file.read(1 << 20)
        part = inflate.decompress(packed, len(content) - done + 1)
        if done + len(part) > len(content):
            return len(content) + 1
        content[done : done + len(part)] = np.frombuffer(part, dtype=np.uint8)
        done += len(part)
        if not packed:
            break
    return done


def find_idx(folder: Path, name: str) -> Path | None:
    """The file of that name in the folder: with or without .gz, with Kaggle's dot before idx."""
    for stem in (name, name.replace("-idx", ".idx")):
        for path in (folder / f"{stem}.gz", folder / stem):
            if path.is_file():
                return path
    return None


def labels_beside(images: Path) -> Path:
    """The labels file that belongs to an images file. Raises DataError when it is not there."""
    stem = re.sub(r"idx\d", "idx1", images.name.removesuffix(".gz").replace("images", "labels"))
    found = find_idx(images.parent, stem.replace(".idx", "-idx"))
    if "images" not in images.name:
        raise DataError(f"{images} is not named as images are (train-images-idx3-ubyte). Name the images file instead.")
    if found is None:
        raise DataError(
            f"{images} has no labels beside it: expected {images.parent / stem}. "
            "Put its labels file into the same folder."
        )
    return found


def read_idx_pair(path: str | Path) -> Content:
    """Images and labels, from the path of the images file."""
    path = Path(path)
    labels = labels_beside(path)
    return content_of(path, as_images(path, read_idx(path)), idx_labels(labels))


def idx_labels(path: Path) -> NDArray[np.int64]:
    return tidy_labels(path, read_idx(path))


def holds_idx(folder: Path) -> bool:
    return any(find_idx(folder, images) for images, _ in IDX_NAMES.values())


def read_idx_folder(folder: str | Path) -> Content:
    """MNIST's four files (train-images-idx3-ubyte…, t10k-…), or one pair of them, from one folder."""
    folder = Path(folder)
    found = [path for images, _ in IDX_NAMES.values() if (path := find_idx(folder, images))]
    parts = [(as_images(path, read_idx(path)), idx_labels(labels_beside(path))) for path in found]
    for path, (images, labels) in zip(found, parts, strict=True):
        encode(path, labels, class_names_of(path, labels), len(images))
    return content_of(folder, *parts[0], test=parts[1] if len(parts) > 1 else None)


# npz: Keras' layout


def read_npz(path: str | Path) -> Content:
    """x_train, y_train, x_test, y_test as Keras saves them, or images and labels; `groups` where known.

    Raises DataError for a damaged archive, objects, NaN, or members that promise more than they hold.
    """
    path = Path(path)
    arrays = npz_arrays(path, ("x_train", "y_train", "x_test", "y_test", "images", "labels", "groups"))
    first, second = ("x_train", "y_train") if "x_train" in arrays else ("images", "labels")
    if first not in arrays:
        raise DataError(f"{path}: expected x_train and y_train, or images and labels; received {', '.join(arrays)}.")
    images, notes = npz_images(path, arrays, first)
    labels = tidy_labels(path, arrays[second]) if second in arrays else None
    test, test_notes = None, tuple[str, ...]()
    if "x_test" in arrays and first == "x_train":
        pixels, test_notes = npz_images(path, arrays, "x_test")
        test = pixels, (tidy_labels(path, arrays["y_test"]) if "y_test" in arrays else None)
    groups = tidy_labels(path, arrays["groups"]) if "groups" in arrays else None
    return content_of(path, images, labels, test, numbered(groups), tuple(dict.fromkeys((*notes, *test_notes))))


def numbered(groups: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """Groups named in any way → int64 numbers, equal where the names are."""
    if groups is None:
        return None
    return groups if groups.dtype == np.int64 else np.unique(groups, return_inverse=True)[1].astype(np.int64)


def npz_images(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> tuple[Pixels, tuple[str, ...]]:
    pixels, notes = to_pixels(path, arrays[name])
    return as_images(path, pixels), notes


def npz_arrays(path: Path, wanted: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Those of the wanted members that are there, each checked against its real size before it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            return {name: npz_member(path, archive, members[name]) for name in wanted if name in members}
    except DataError:
        raise
    except (OSError, EOFError, ValueError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or not an npz file ({error}). Save it again with numpy.savez.") from None
    except (NotImplementedError, RuntimeError, TypeError, OverflowError, struct.error) as error:
        raise DataError(f"{path} uses what npz files never use ({error}). Save it again with numpy.savez.") from None


def npz_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, no objects. The archive's and the header's promised sizes must agree and be possible."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is compressed in an unusual way")
    possible = min(info.compress_size, path.stat().st_size) * MOST_INFLATION
    if info.file_size > min(possible, MOST_BYTES):
        raise ValueError(f"{info.filename} promises {info.file_size:,} bytes")
    with archive.open(info) as member:
        shape, dtype = npy_header(member)
        if dtype.hasobject or dtype.kind not in "biufUS":
            raise DataError(f"{path}: {info.filename} holds {dtype} objects, which are not read. Save plain numbers.")
        if math.prod(shape) * dtype.itemsize != info.file_size - member.tell() or min(shape, default=0) < 1:
            raise ValueError(f"{info.filename}: its header promises {shape} of {dtype}, it holds other than that")
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """(shape, dtype), the member then standing at the first value."""
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    return shape, dtype


# Tables: CSV and Parquet with one column per pixel


@dataclass(frozen=True)
class Layout:
    """Which column of a table is the label (None: no labels), how many columns there are, how many rows to skip."""

    columns: int
    label: int | None
    skip: int = 0

    @property
    def pixels(self) -> list[int]:
        return [column for column in range(self.columns) if column != self.label]


def read_csv(path: str | Path, label: int | None = None) -> Content:
    """Kaggle's ``label,pixel0…pixel783``, the same without heading, or pixels alone; plain or gz.

    `label` is the label's column where there is no heading to tell. Raises DataError with the line of the first fault.
    """
    path = Path(path)
    content = text_content(path)
    layout = csv_layout(path, content, label)
    from pyarrow import ArrowException

    try:
        pixels, labels = csv_arrays(content, layout)
        values, notes = to_pixels(path, pixels)
        tidy = None if labels is None else tidy_labels(path, labels)
    except (ArrowException, DataError) as error:
        fault = csv_fault(content, layout) or str(error).splitlines()[0].removeprefix(f"{path}: ")
        raise DataError(f"{path}, {fault}") from None
    return content_of(path, as_images(path, values), tidy, notes=notes)


def text_content(path: Path) -> bytes:
    """The bytes of a text file, decompressed where gz, at most MOST_TEXT_BYTES."""
    try:
        if path.stat().st_size > MOST_TEXT_BYTES:
            raise DataError(f"{path} is larger than {MOST_TEXT_BYTES >> 30} GB. Save it as .npz or .parquet.")
        content = path.read_bytes()
        if content[:2] != b"\x1f\x8b":
            return content
        inflate = zlib.decompressobj(wbits=31)
        content = inflate.decompress(content, MOST_TEXT_BYTES)
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    if not inflate.eof or inflate.unused_data:
        raise DataError(f"{path} is cut short, has surplus bytes or is too large. Compress it again.")
    return content


def csv_layout(path: Path, content: bytes, label: int | None) -> Layout:
    """What the first line tells. Raises DataError when its columns make no square image."""
    end = content.find(b"\n", 0, MOST_LINE_BYTES)
    line = content[: end if end >= 0 else MOST_LINE_BYTES]
    try:
        cells = next(csv.reader([line.decode("utf-8-sig").strip()]), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}, line 1: not readable as text with commas ({error}). Save it as CSV in UTF-8."
        ) from None
    return table_layout(path, cells, label)


def table_layout(path: Path, cells: Sequence[str], label: int | None = None) -> Layout:
    """From the first row: is it a heading, which column is the label, and do the others make a square image?"""
    names = [cell.strip().casefold() for cell in cells]
    named = next((names.index(name) for name in LABEL_COLUMNS if name in names), None)
    counted = names == [str(number) for number in range(len(names))]  # pandas' heading for unnamed columns
    heading = named is not None or counted or sum(map(is_number, names)) < len(names) / 2
    if named is None and label is None and not label_less(len(cells)):
        label = 0
    layout = Layout(len(cells), label if named is None else named, int(heading))
    if image_shape(len(layout.pixels)) is None:
        raise DataError(
            f"{path}: {len(layout.pixels)} pixel columns are no square image, grey or RGB. "
            "Expected label,pixel0…pixel783 for images of 28×28."
        )
    return layout


def label_less(columns: int) -> bool:
    """Whether so many columns without heading are pixels only: 784, but not 785."""
    with_label, alone = image_shape(columns - 1), image_shape(columns)
    return alone is not None and (with_label is None or with_label[2] > alone[2])


def is_number(cell: str) -> bool:
    return math.isfinite(number(cell))


def number(cell: str) -> float:
    """The value of a cell, NaN where it has none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def csv_arrays(content: bytes, layout: Layout) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """(pixels (n, p), labels as text (n,) or None); whole numbers at once, else as fractions."""
    import pyarrow as pa

    try:
        return csv_arrays_of(content, layout, pa.uint8())
    except pa.ArrowInvalid:
        return csv_arrays_of(content, layout, pa.float64())


def csv_arrays_of(content: bytes, layout: Layout, kind: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    import pyarrow as pa
    from pyarrow import csv as fast

    names = [str(column) for column in range(layout.columns)]
    types = {name: pa.string() if index == layout.label else kind for index, name in enumerate(names)}
    table = fast.read_csv(
        pa.BufferReader(content),
        read_options=fast.ReadOptions(column_names=names, skip_rows=layout.skip, block_size=MOST_LINE_BYTES),
        convert_options=fast.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
    )
    return columns_of(table, layout)


def columns_of(table: Any, layout: Layout) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """A pyarrow table → (pixels (n, p), labels (n,) or None)."""
    kind = np.result_type(*{table.schema.field(column).type.to_pandas_dtype() for column in layout.pixels})
    pixels = np.empty((table.num_rows, len(layout.pixels)), dtype=kind)
    start = 0
    for batch in table.to_batches():
        for position, column in enumerate(layout.pixels):
            pixels[start : start + batch.num_rows, position] = batch.column(column).to_numpy(zero_copy_only=False)
        start += batch.num_rows
    return pixels, None if layout.label is None else table.column(layout.label).to_numpy()


def csv_fault(content: bytes, layout: Layout) -> str | None:
    """'line 7: …' for the first line that is wrong, or None.

    Only the thousand lines around it are read slowly: 1.5 s instead of 10 s for 42,000 images of 28×28.
    """
    lines = enumerate(io.BytesIO(content), start=1)
    deque(islice(lines, layout.skip), maxlen=0)
    while part := list(islice(lines, 1000)):
        if not sound(b"".join(line for _, line in part), layout):
            for index, line in part:
                if line.strip() and (fault := line_fault(line, layout)):
                    return f"line {index}: {fault}"
    return None


def sound(lines: bytes, layout: Layout) -> bool:
    """Whether the fast reader finds a label and pixels 0…255 in each of some lines without heading."""
    from pyarrow import ArrowException

    try:
        pixels, labels = csv_arrays(lines, replace(layout, skip=0))
    except ArrowException:
        return False
    return bool((pixels >= 0).all() and (pixels <= 255).all()) and (labels is None or all(labels))


def line_fault(line: bytes, layout: Layout) -> str | None:
    try:
        cells = next(csv.reader([line.decode("utf-8-sig").strip("\r\n")]))
    except (UnicodeDecodeError, csv.Error) as error:
        return f"not readable as text with commas ({error})."
    if len(cells) != layout.columns:
        return f"expected {layout.columns} columns, received {len(cells)}. Complete the row, or remove it."
    for column, cell in enumerate(cells):
        if column == layout.label:
            if not cell.strip():
                return f"column {column + 1}: the label is missing. Fill it in, or remove the row."
        elif not 0 <= number(cell) <= 255:
            return (
                f"column {column + 1}: expected a pixel 0…255, received '{cell[:40]}'. Correct it, or remove the row."
            )
    return None


def read_parquet(path: str | Path) -> Content:
    """One column per pixel and `label`, or Hugging Face's layout: `image` ({bytes, path} or bytes) and `label`.

    Raises DataError for a damaged file, missing values, or an image that cannot be decoded.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path = Path(path)
    try:
        file = parquet.ParquetFile(path, thrift_string_size_limit=2**26, thrift_container_size_limit=2**20)
        check_parquet(path, file.metadata)
        names = file.schema_arrow.names
        picture = next((name for name in ("image", "img") if name in names), None)
        label = next((name for name in LABEL_COLUMNS if name in names), None)
        wanted = None if picture is None else [picture, *([label] if label else [])]
        table = file.read(columns=wanted)
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise DataError(f"{path} is damaged or not a Parquet file ({first}). Copy or export it again.") from None
    if picture is None:
        return flat_parquet(path, table)
    return picture_parquet(path, table, picture, label)


def check_parquet(path: Path, about: Any) -> None:
    """Raises DataError when the file promises nothing, or more than MOST_BYTES."""
    promised = sum(about.row_group(index).total_byte_size for index in range(about.num_row_groups))
    if not 0 < about.num_rows * max(1, about.num_columns) <= MOST_BYTES or promised > MOST_BYTES:
        raise DataError(f"{path} holds no rows, or more than {MOST_BYTES >> 30} GB. Split it into smaller files.")


def flat_parquet(path: Path, table: Any) -> Content:
    layout = table_layout(path, table.schema.names)
    if any(column.null_count for column in table.columns):
        raise DataError(f"{path}: some values are missing. Fill them in, or remove those rows.")
    try:
        pixels, labels = columns_of(table, layout)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise DataError(f"{path}: expected a number for every pixel ({error}). Save the pixels as uint8.") from None
    values, notes = to_pixels(path, pixels)
    return content_of(path, as_images(path, values), None if labels is None else tidy_labels(path, labels), notes=notes)


def picture_parquet(path: Path, table: Any, picture: str, label: str | None) -> Content:
    """Encoded pictures, one per row, decoded and made one size."""
    images, spent = [], 0
    for row, cell in enumerate(table.column(picture)):
        value = cell.as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise DataError(
                f"{path}, row {row + 1}: expected the bytes of an image, received {type(content).__name__}."
            )
        images.append(decode_image(content, f"{path}, row {row + 1}"))
        spent += images[-1].size
        if spent > MOST_BYTES:
            raise DataError(f"{path}: the decoded images need more than {MOST_BYTES >> 30} GB. Save them smaller.")
    size = common_size([image.shape[:2] for image in images])
    colour = any(has_colour(image) for image in images)
    resized = sum(image.shape[:2] != size for image in images)
    stack = np.stack([with_channels(fit_image(image, *size), 3 if colour else 1) for image in images])
    notes = (resized_note(resized, *size),) if resized else ()
    labels = None if label is None else tidy_labels(path, table.column(label).to_numpy())
    return named_by_hub(table, label, content_of(path, stack, labels, notes=notes))


def named_by_hub(table: Any, label: str | None, content: Content) -> Content:
    """The same with the class names that Hugging Face keeps in the file's schema, where they fit the labels."""
    try:
        about = json.loads(table.schema.metadata[b"huggingface"])
        names = tuple(about["info"]["features"][label]["names"])
        numbers = [int(name) for name in content.class_names]
        fits = all(isinstance(name, str) for name in names) and numbers and max(numbers) < len(names)
    except (TypeError, KeyError, ValueError, RecursionError):
        return content
    if not fits or len(set(names)) != len(names):
        return content
    labels = np.array(numbers, dtype=np.int64)[content.train.labels]
    return Content(Split(content.train.images, labels), names, notes=content.notes)


# Single images


def decode_image(source: bytes | Path, name: str = "") -> Pixels:
    """One image, upright, on white where transparent: uint8 (h, w, c), c = 1 where its mode is grey, else 3.

    Raises DataError, naming the file, for anything that is no whole image of an allowed format and size.
    """
    try:
        with open_image(source, name) as image, warnings.catch_warnings(action="ignore"):
            image.load()
            return plain_pixels(upright(image))
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders let through whatever they stumble on
        raise unreadable(source, name, error) from None


def image_size(source: bytes | Path, name: str = "") -> tuple[int, int]:
    """(h, w) of the upright image, from its header alone."""
    try:
        with open_image(source, name) as image, warnings.catch_warnings(action="ignore"):
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except DataError:
        raise
    except Exception as error:  # as above
        raise unreadable(source, name, error) from None


def open_image(source: bytes | Path, name: str = "") -> Image.Image:
    """The image with its header read and its size checked, nothing decoded yet."""
    from PIL import Image

    try:
        file = source if isinstance(source, Path) else io.BytesIO(source)
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(file, formats=IMAGE_FORMATS)
    except Exception as error:  # as above
        raise unreadable(source, name, error) from None
    if image.width * image.height > MOST_PIXELS:
        raise DataError(
            f"{called(source, name)}: {image.width:,} × {image.height:,} pixels, "
            f"at most {MOST_PIXELS // 10**6} million are read. Make it smaller."
        )
    return image


def called(source: bytes | Path, name: str) -> str:
    return name or ("The image" if isinstance(source, bytes) else str(source))


def unreadable(source: bytes | Path, name: str, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"{called(source, name)} cannot be read: {error.strerror}.")
    reason = "no image" if "cannot identify" in str(error) else str(error) or type(error).__name__
    size = len(source) if isinstance(source, bytes) else source.stat().st_size if source.is_file() else 0
    return DataError(
        f"{called(source, name)} is not a readable image ({reason if size else 'it is empty'}). "
        f"Expected a whole {', '.join(IMAGE_FORMATS[:-1])} or {IMAGE_FORMATS[-1]} file."
    )


def upright(image: Image.Image) -> Image.Image:
    """Turned as the camera's EXIF note says."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if image.getexif().get(0x0112, 1) != 1 else image


def plain_pixels(image: Image.Image) -> Pixels:
    """uint8 (h, w, 1 or 3) of any mode; 16 bits become 8 by their upper half. Raises ValueError for fractions."""
    if image.mode.startswith("I"):
        return deep_pixels(image)
    if image.mode == "F":
        raise ValueError("its pixels are fractions, whose range is unknown; save it with 8 or 16 bits per pixel")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        grey = image.mode in ("L", "LA", "La", "1")
        image = on_white(image)
        image = image.convert("L") if grey else image
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    pixels = np.array(image, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def deep_pixels(image: Image.Image) -> Pixels:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("its pixels go beyond 16 bits; save it with 8 or 16 bits per pixel")
    return (values >> 8).astype(np.uint8)[..., None]


def on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def has_colour(image: Pixels) -> bool:
    """Whether any pixel of (…, c) is other than grey."""
    return image.shape[-1] == 3 and bool((image[..., 1:] != image[..., :1]).any())


def with_channels(images: Pixels, channels: int) -> Pixels:
    """Grey (…, 1) ↔ RGB (…, 3); RGB becomes grey by the weights of ITU-R 601, as in Pillow, so grey stays exact."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    weighed = images.astype(np.uint32) @ np.array([[19595], [38470], [7471]], dtype=np.uint32)
    return ((weighed + 0x8000) >> 16).astype(np.uint8)


def common_size(sizes: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """The most common (h, w), the first of equals."""
    (height, width), _ = Counter(sizes).most_common(1)[0]
    return height, width


def fit_image(image: Pixels, height: int, width: int) -> Pixels:
    """The image (h, w, c) scaled to fit into (height, width, c), its proportions kept (area averaging when
    it shrinks), centred on the median colour of its own border."""
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image

    scale = min(height / image.shape[0], width / image.shape[1])
    inner = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    scaled = np.asarray(picture.resize((inner[1], inner[0]), how)).reshape(*inner, image.shape[2])
    canvas = np.empty((height, width, image.shape[2]), dtype=np.uint8)
    canvas[:] = border_colour(image)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas[top : top + inner[0], left : left + inner[1]] = scaled
    return canvas


def border_colour(image: Pixels) -> Pixels:
    """The median of the outermost pixels of (h, w, c): uint8 (c,)."""
    edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    colour: Pixels = np.median(edges, axis=0).astype(np.uint8)
    return colour


def resized_note(count: int, height: int, width: int) -> str:
    return f"{count:,} images of another size were scaled to fit {height}×{width}."
