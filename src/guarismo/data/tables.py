"""CSV and Parquet files → Content: an image per row, as a column per pixel or as an encoded picture."""

from __future__ import annotations

import csv
import io
import json
import math
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.arrays import MOST_BYTES
from guarismo.data.content import Content, as_images, content_of, image_shape, tidy_labels, to_pixels
from guarismo.data.dataset import Split
from guarismo.data.images import (
    cannot_read,
    common_size,
    decode_image,
    fit_image,
    has_colour,
    resized_note,
    system_refused,
    with_channels,
)
from guarismo.errors import DataError

MOST_TEXT_BYTES = 2 * 2**30
MOST_LINE_BYTES = 16 * 2**20
SEPARATORS = {b";": "semicolons", b"\t": "tabs", b"|": "vertical bars", b" ": "spaces"}
LABEL_COLUMNS = ("label", "labels", "class", "target", "y")

# Columns


@dataclass(frozen=True)
class Layout:
    """Which column of a table is the label (None: no labels), how many columns there are, how many rows to skip."""

    columns: int
    label: int | None
    skip: int = 0

    @property
    def pixels(self) -> list[int]:
        return [column for column in range(self.columns) if column != self.label]


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


# CSV


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
    except OSError as error:
        raise cannot_read(path, error) from None
    except zlib.error as error:
        raise DataError(f"{path} is damaged: {error}. Compress it again.") from None
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
    try:
        return table_layout(path, cells, label)
    except DataError:
        check_separator(path, line)
        raise


def check_separator(path: Path, line: bytes) -> None:
    """Raises DataError when something else than commas stands between the cells."""
    found = max(SEPARATORS, key=line.count)
    if line.count(found) > line.count(b","):
        raise DataError(
            f"{path}: its columns are separated by {SEPARATORS[found]}, expected commas. Save it with commas "
            f"(in pandas: read_csv(…, sep={found.decode()!r}), then to_csv)."
        )


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


# Parquet


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
        if system_refused(error):
            raise cannot_read(path, error) from None
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
