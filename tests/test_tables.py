"""Tables: whole CSV and Parquet files give images and labels, anything else a DataError with its line or row."""

import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from foreign import IMAGES, LABELS, bytes_like, fuzz, png, read_or_refused, write
from guarismo.data.dataset import UNKNOWN
from guarismo.data.tables import read_csv, read_parquet
from guarismo.errors import DataError

# CSV

KAGGLE = "label," + ",".join(f"pixel{i}" for i in range(16))


def csv_file(path: Path, *lines: str) -> Path:
    return write(path / "train.csv", "\n".join(lines).encode())


def row(label: object, *cells: object) -> str:
    return ",".join(map(str, (label, *cells, *range(16 - len(cells)))))


def test_kaggles_csv(tmp_path):
    content = read_csv(csv_file(tmp_path, KAGGLE, row(3), row(5, 255)))
    assert content.train.images.shape == (2, 4, 4, 1)
    assert content.train.images[1, 0, 0, 0] == 255
    assert content.class_names == ("3", "5")


def test_csv_without_heading(tmp_path):
    content = read_csv(csv_file(tmp_path, row(3), row(5)))
    assert [content.class_names[label] for label in content.train.labels] == ["3", "5"]


def test_csv_of_pixels_alone_has_no_labels(tmp_path):
    content = read_csv(csv_file(tmp_path, KAGGLE.removeprefix("label,"), row(0).removeprefix("0,")))
    assert content.train.labels.tolist() == [UNKNOWN]
    assert content.class_names == ()


def test_the_label_may_stand_last_and_be_a_word(tmp_path):
    heading = KAGGLE.removeprefix("label,") + ",class"
    content = read_csv(csv_file(tmp_path, heading, ",".join(["0"] * 16 + ["cat"])))
    assert content.class_names == ("cat",)


def test_csv_with_decimal_points_quotes_and_windows_lines(tmp_path):
    lines = (KAGGLE, row("5.0", "12.0"), row('"4"', '"7"'), "")
    content = read_csv(write(tmp_path / "a.csv", "\ufeff".encode() + "\r\n".join(lines).encode()))
    assert content.class_names == ("4", "5")
    assert content.train.images[:, 0, 0, 0].tolist() == [12, 7]


FAULTY_ROWS = {
    "a missing column": (row(1).rpartition(",")[0], "expected 17 columns, received 16"),
    "a column too many": (row(1) + ",9", "expected 17 columns, received 18"),
    "text": (row(1, "x"), "column 2: expected a pixel 0…255, received 'x'"),
    "out of range": (row(1, 0, 256), "column 3: expected a pixel 0…255, received '256'"),
    "negative": (row(1, -1), "received '-1'"),
    "NaN": (row(1, "nan"), "received 'nan'"),
    "an empty cell": (row(1, ""), "received ''"),
    "an empty label": (row(""), "the label is missing"),
}


@pytest.mark.parametrize("fault", FAULTY_ROWS)
def test_a_faulty_row_is_named_by_its_line(tmp_path, fault):
    faulty, words = FAULTY_ROWS[fault]
    path = csv_file(tmp_path, KAGGLE, *[row(1)] * 2500, faulty, *[row(1)] * 50)
    with pytest.raises(DataError, match="line 2502: ") as error:
        read_csv(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a,b,c\n1,2,3\n", b"\xff\xfe\x00", KAGGLE.encode()])
def test_what_is_no_table_of_square_images_is_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"a\.csv"):
        read_csv(write(tmp_path / "a.csv", content))


SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces"}


@pytest.mark.parametrize("heading", [True, False])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_another_separator_than_commas_is_named(tmp_path, separator, heading):
    lines = [KAGGLE, row(3)] if heading else [row(3), row(4)]
    path = csv_file(tmp_path, *(line.replace(",", separator) for line in lines))
    with pytest.raises(DataError, match=f"separated by {SEPARATORS[separator]}, expected commas"):
        read_csv(path)


# Parquet


def test_parquet_with_a_column_per_pixel(tmp_path):
    columns = {"label": LABELS.astype(np.int64), **{f"p{i}": IMAGES.reshape(5, 16)[:, i] for i in range(16)}}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    content = read_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(content.train.images[..., 0], IMAGES)
    assert content.train.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("wrap", [lambda b: {"bytes": b, "path": None}, lambda b: b], ids=["struct", "bytes"])
def test_parquet_as_hugging_face_writes_it(tmp_path, wrap):
    table = pa.table({"image": [wrap(png(image)) for image in IMAGES], "label": LABELS.astype(np.int64)})
    names = b'{"info": {"features": {"label": {"names": ["zero", "one", "two", "three"]}}}}'
    parquet.write_table(table.replace_schema_metadata({b"huggingface": names}), tmp_path / "a.parquet")
    content = read_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(content.train.images[..., 0], IMAGES)
    assert [content.class_names[label] for label in content.train.labels] == ["zero", "one", "two", "zero", "one"]


def test_a_broken_picture_in_parquet_is_named_by_its_row(tmp_path):
    table = pa.table({"image": [png(IMAGES[0]), b"no image"], "label": [0, 1]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="row 2 is not a readable image"):
        read_parquet(tmp_path / "a.parquet")


def test_missing_values_in_parquet_are_refused(tmp_path):
    columns = {"label": [0, 1], **{f"p{i}": [1, None if i == 3 else 2] for i in range(16)}}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="missing"):
        read_parquet(tmp_path / "a.parquet")


# Any bytes at all


def pictures() -> bytes:
    target = io.BytesIO()
    parquet.write_table(pa.table({"image": [png(image) for image in IMAGES], "label": LABELS}), target)
    return target.getvalue()


TEXT = "\n".join([KAGGLE, row(3), row(4)]).encode()
WHOLE = {"csv": (read_csv, TEXT), "csv.gz": (read_csv, gzip.compress(TEXT)), "parquet": (read_parquet, pictures())}


@pytest.mark.parametrize("kind", WHOLE)
@fuzz
@given(data=st.data())
def test_any_bytes_give_content_or_a_data_error(tmp_path, kind, data):
    read, whole = WHOLE[kind]
    read_or_refused(read, write(tmp_path / f"fuzz.{kind}", data.draw(bytes_like(whole))))


@fuzz
@given(st.lists(st.text(alphabet="0123456789.,-\"'\n xne", max_size=40), max_size=6))
def test_any_table_gives_content_or_a_data_error(tmp_path, lines):
    path = write(tmp_path / "fuzz.csv", "\n".join(["label,a,b,c,d", *lines]).encode())
    content = read_or_refused(read_csv, path)
    assert content is None or content.train.images.dtype == np.uint8
