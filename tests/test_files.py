"""Foreign bytes: whole files give arrays, anything else gives a DataError that names the file."""

import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from guarismo.data import files
from guarismo.data.dataset import UNKNOWN
from guarismo.errors import DataError

IMAGES = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)
LABELS = np.array([0, 1, 2, 0, 1], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def write_pair(folder: Path, images=IMAGES, labels=LABELS, part="train") -> Path:
    write(folder / f"{part}-labels-idx1-ubyte.gz", gzip.compress(idx(labels)))
    return write(folder / f"{part}-images-idx3-ubyte.gz", gzip.compress(idx(images)))


# IDX


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gz"])
def test_idx_is_read_by_its_content_not_its_name(tmp_path, pack):
    path = write(tmp_path / "whatever.bin", pack(idx(IMAGES)))
    np.testing.assert_array_equal(files.read_idx(path), IMAGES)


PACKED = gzip.compress(idx(IMAGES))

FAULTY_IDX = {
    "empty": (b"", "not an IDX file"),
    "wrong magic": (b"\0\0\x0d\x03" + idx(IMAGES)[4:], "starts with 00 00 0d 03"),
    "a text file": (b"<html>404 not found</html>", "not an IDX file"),
    "five dimensions": (bytes([0, 0, 8, 5]) + bytes(40), "not an IDX file"),
    "no images": (struct.pack(">4B3I", 0, 0, 8, 3, 0, 28, 28), "promises 0 × 28 × 28"),
    "raw, cut short": (idx(IMAGES)[:-1], "cut short"),
    "raw, surplus": (idx(IMAGES) + b"\0", "surplus"),
    "gz, cut short": (PACKED[:-20], "cut short"),
    "gz, without its checksum": (PACKED[:-8], "cut short"),
    "gz, surplus after the end": (PACKED + b"x", "surplus"),
    "gz, surplus inside": (gzip.compress(idx(IMAGES) + b"\0"), "surplus"),
    "gz, promises more than it holds": (gzip.compress(idx(IMAGES)[:-1]), "cut short"),
    "gz, altered checksum": (PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:], "damaged"),
}


@pytest.mark.parametrize("fault", FAULTY_IDX)
def test_a_faulty_idx_file_is_refused_by_name(tmp_path, fault):
    content, words = FAULTY_IDX[fault]
    path = write(tmp_path / "train-images-idx3-ubyte.gz", content)
    with pytest.raises(DataError, match=words) as error:
        files.read_idx(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gz"])
@pytest.mark.parametrize("count", [2**32 - 1, 8_000_000])
def test_a_header_that_promises_gigabytes_is_refused_before_memory_is_given(tmp_path, pack, count):
    import tracemalloc

    path = write(tmp_path / "lie", pack(struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) + bytes(10)))
    tracemalloc.start()
    with pytest.raises(DataError, match="promises"):
        files.read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_every_single_flipped_bit_of_a_gz_is_noticed_or_harmless(tmp_path):
    """gz checks its content; only its own heading (time, name, system) may change without a word."""
    for position in range(len(PACKED)):
        flipped = bytearray(PACKED)
        flipped[position] ^= 1
        try:
            array = files.read_idx(write(tmp_path / "flipped.gz", bytes(flipped)))
        except DataError:
            continue
        np.testing.assert_array_equal(array, IMAGES)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            files.read_idx(path)


def test_images_find_their_labels_beside_them(tmp_path):
    content = files.read_idx_pair(write_pair(tmp_path))
    assert content.train.images.shape == (5, 4, 4, 1)
    assert content.train.labels.tolist() == LABELS.tolist()
    assert content.class_names == ("0", "1", "2")


def test_images_without_labels_beside_them_say_what_was_expected(tmp_path):
    path = write(tmp_path / "train-images-idx3-ubyte", idx(IMAGES))
    with pytest.raises(DataError, match=r"expected .*train-labels-idx1-ubyte"):
        files.read_idx_pair(path)


def test_the_labels_file_alone_is_not_what_is_asked_for(tmp_path):
    labels = write_pair(tmp_path).with_name("train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match="Name the images file"):
        files.read_idx_pair(labels)


def test_unequal_counts_are_refused(tmp_path):
    with pytest.raises(DataError, match="5 images but 4 labels"):
        files.read_idx_pair(write_pair(tmp_path, labels=LABELS[:4]))


def test_a_folder_of_four_gives_both_parts(tmp_path):
    write_pair(tmp_path)
    write_pair(tmp_path, IMAGES[:2], LABELS[:2], "t10k")
    content = files.read_idx_folder(tmp_path)
    assert (len(content.train), len(content.test)) == (5, 2)


def test_kaggles_names_with_dots_are_found(tmp_path):
    write(tmp_path / "train-images.idx3-ubyte", idx(IMAGES))
    write(tmp_path / "train-labels.idx1-ubyte", idx(LABELS))
    assert len(files.read_idx_folder(tmp_path).train) == 5


def test_a_test_label_that_training_lacks_is_refused(tmp_path):
    write_pair(tmp_path)
    write_pair(tmp_path, IMAGES[:2], np.array([0, 7], dtype=np.uint8), "t10k")
    with pytest.raises(DataError, match="label '7' is in the test part only"):
        files.read_idx_folder(tmp_path)


# npz


def save(path: Path, **arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_keras_npz(tmp_path):
    arrays = {"x_train": IMAGES, "y_train": LABELS[:, None], "x_test": IMAGES[:2], "y_test": LABELS[:2]}
    content = files.read_npz(save(tmp_path / "mnist.npz", **arrays))
    np.testing.assert_array_equal(content.train.images[..., 0], IMAGES)
    assert content.test.labels.tolist() == [0, 1]
    assert content.notes == ()


def test_npz_with_groups_and_words_as_labels(tmp_path):
    words = np.array(["cat 10", "cat 2", "dog", "cat 2", "dog"])
    path = save(tmp_path / "a.npz", images=IMAGES, labels=words, groups=np.array(["ann", "bob", "ann", "bob", "cy"]))
    content = files.read_npz(path)
    assert content.class_names == ("cat 2", "cat 10", "dog")
    assert content.train.labels.tolist() == [1, 0, 2, 0, 2]
    assert content.train.groups.tolist() == [0, 1, 0, 1, 2]


def test_fractions_from_0_to_1_are_scaled_and_noted(tmp_path):
    content = files.read_npz(save(tmp_path / "a.npz", images=IMAGES / np.float32(255), labels=LABELS))
    np.testing.assert_array_equal(content.train.images[..., 0], IMAGES)
    assert "multiplied by 255" in content.notes[0]


@pytest.mark.parametrize("kind", [np.int64, np.float64, np.uint16])
def test_whole_numbers_of_any_type_stay_as_they_are(tmp_path, kind):
    content = files.read_npz(save(tmp_path / "a.npz", images=IMAGES.astype(kind), labels=LABELS))
    np.testing.assert_array_equal(content.train.images[..., 0], IMAGES)


WITH_NAN = IMAGES.astype(float)
WITH_NAN[3, 0, 0] = np.nan

FAULTY_ARRAYS = {
    "NaN": ({"images": WITH_NAN, "labels": LABELS}, "image 3 holds NaN"),
    "normalised": ({"images": IMAGES / 40.0 - 1, "labels": LABELS}, "values from -1"),
    "fractions beyond 1": ({"images": IMAGES + 0.5, "labels": LABELS}, "whole numbers 0…255 or fractions"),
    "one-hot": ({"images": IMAGES, "labels": np.eye(5)}, "argmax"),
    "fractional labels": ({"images": IMAGES, "labels": LABELS + 0.5}, "whole numbers or words"),
    "NaN as label": ({"images": IMAGES, "labels": np.full(5, np.nan)}, "whole numbers or words"),
    "unequal counts": ({"images": IMAGES, "labels": LABELS[:3]}, "5 images but 3 labels"),
    "objects": ({"images": np.array([{}, []], dtype=object), "labels": LABELS}, "objects, which are not read"),
    "no images": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "damaged"),
    "channels first": ({"images": np.zeros((5, 3, 8, 8), np.uint8), "labels": LABELS}, "channels last"),
    "other names": ({"a": IMAGES}, "expected x_train"),
    "some labels unknown": ({"images": IMAGES, "labels": np.array([-1, 0, 1, 0, 1])}, "Remove those images"),
}


@pytest.mark.parametrize("fault", FAULTY_ARRAYS)
def test_faulty_arrays_are_refused(tmp_path, fault):
    arrays, words = FAULTY_ARRAYS[fault]
    with pytest.raises(DataError, match=words):
        files.read_npz(save(tmp_path / "a.npz", **arrays))


def test_a_member_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 28, 28)})
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(100))
    with pytest.raises(DataError, match="its header promises"):
        files.read_npz(tmp_path / "lie.npz")


# CSV

KAGGLE = "label," + ",".join(f"pixel{i}" for i in range(16))


def csv_file(path: Path, *lines: str) -> Path:
    return write(path / "train.csv", "\n".join(lines).encode())


def row(label: object, *cells: object) -> str:
    return ",".join(map(str, (label, *cells, *range(16 - len(cells)))))


def test_kaggles_csv(tmp_path):
    content = files.read_csv(csv_file(tmp_path, KAGGLE, row(3), row(5, 255)))
    assert content.train.images.shape == (2, 4, 4, 1)
    assert content.train.images[1, 0, 0, 0] == 255
    assert content.class_names == ("3", "5")


def test_csv_without_heading(tmp_path):
    content = files.read_csv(csv_file(tmp_path, row(3), row(5)))
    assert [content.class_names[label] for label in content.train.labels] == ["3", "5"]


def test_csv_of_pixels_alone_has_no_labels(tmp_path):
    content = files.read_csv(csv_file(tmp_path, KAGGLE.removeprefix("label,"), row(0).removeprefix("0,")))
    assert content.train.labels.tolist() == [UNKNOWN]
    assert content.class_names == ()


def test_the_label_may_stand_last_and_be_a_word(tmp_path):
    heading = KAGGLE.removeprefix("label,") + ",class"
    content = files.read_csv(csv_file(tmp_path, heading, ",".join(["0"] * 16 + ["cat"])))
    assert content.class_names == ("cat",)


def test_csv_with_decimal_points_quotes_and_windows_lines(tmp_path):
    lines = (KAGGLE, row("5.0", "12.0"), row('"4"', '"7"'), "")
    content = files.read_csv(write(tmp_path / "a.csv", "\ufeff".encode() + "\r\n".join(lines).encode()))
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
        files.read_csv(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a,b,c\n1,2,3\n", b"\xff\xfe\x00", KAGGLE.encode()])
def test_what_is_no_table_of_square_images_is_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"a\.csv"):
        files.read_csv(write(tmp_path / "a.csv", content))


# Parquet


def png(image: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(image).save(target, "PNG")
    return target.getvalue()


def test_parquet_with_a_column_per_pixel(tmp_path):
    columns = {"label": LABELS.astype(np.int64), **{f"p{i}": IMAGES.reshape(5, 16)[:, i] for i in range(16)}}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    content = files.read_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(content.train.images[..., 0], IMAGES)
    assert content.train.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("wrap", [lambda b: {"bytes": b, "path": None}, lambda b: b], ids=["struct", "bytes"])
def test_parquet_as_hugging_face_writes_it(tmp_path, wrap):
    table = pa.table({"image": [wrap(png(image)) for image in IMAGES], "label": LABELS.astype(np.int64)})
    names = b'{"info": {"features": {"label": {"names": ["zero", "one", "two", "three"]}}}}'
    parquet.write_table(table.replace_schema_metadata({b"huggingface": names}), tmp_path / "a.parquet")
    content = files.read_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(content.train.images[..., 0], IMAGES)
    assert [content.class_names[label] for label in content.train.labels] == ["zero", "one", "two", "zero", "one"]


def test_a_broken_picture_in_parquet_is_named_by_its_row(tmp_path):
    table = pa.table({"image": [png(IMAGES[0]), b"no image"], "label": [0, 1]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="row 2 is not a readable image"):
        files.read_parquet(tmp_path / "a.parquet")


def test_missing_values_in_parquet_are_refused(tmp_path):
    columns = {"label": [0, 1], **{f"p{i}": [1, None if i == 3 else 2] for i in range(16)}}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="missing"):
        files.read_parquet(tmp_path / "a.parquet")


# Single images

GREY = np.array([[0, 100], [200, 255]], dtype=np.uint8)


def saved(path: Path, image: Image.Image, **how) -> Path:
    image.save(path, **how)
    return path


def test_every_mode_becomes_grey_or_rgb_bytes(tmp_path):
    """What a mixed folder holds: grey, 1 bit, RGB, palette, 16 bits, CMYK."""
    grey = Image.fromarray(GREY)
    np.testing.assert_array_equal(files.decode_image(saved(tmp_path / "l.png", grey))[..., 0], GREY)
    assert files.decode_image(saved(tmp_path / "1.png", grey.convert("1"))).tolist()[0][0] == [0]
    assert files.decode_image(saved(tmp_path / "rgb.png", grey.convert("RGB"))).shape == (2, 2, 3)
    np.testing.assert_array_equal(files.decode_image(saved(tmp_path / "p.png", grey.convert("P")))[..., 0], GREY)
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(files.decode_image(saved(tmp_path / "16.png", deep))[..., 0], GREY)
    assert files.decode_image(saved(tmp_path / "c.jpg", grey.convert("CMYK"))).shape == (2, 2, 3)


def test_transparency_is_laid_on_white(tmp_path):
    glass = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert files.decode_image(saved(tmp_path / "rgba.png", glass)).min() == 255
    ink = Image.fromarray(np.stack([GREY * 0, GREY], axis=-1), "LA")
    np.testing.assert_array_equal(files.decode_image(saved(tmp_path / "la.png", ink))[..., 0], 255 - GREY)
    palette = Image.fromarray(GREY * 0).convert("P")
    assert files.decode_image(saved(tmp_path / "p.png", palette, transparency=0)).min() == 255


def test_a_photo_on_its_side_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.jpg", Image.new("L", (30, 20)), exif=exif)
    assert files.decode_image(path).shape == (30, 20, 1)
    assert files.image_size(path) == (30, 20)


FAULTY_IMAGES = {
    "empty": (b"", "it is empty"),
    "renamed text": (b"label,pixel0\n5,0\n", "no image"),
    "cut short": (png(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))[:2000], "not a readable"),
    "too many pixels": (
        png(GREY)[:16] + struct.pack(">2I", 60_000, 60_000) + b"\x08\0\0\0\0" + b"\0" * 4 + png(GREY)[33:],
        "not a readable|million",
    ),
    "a format that is not allowed": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
}


@pytest.mark.parametrize("fault", FAULTY_IMAGES)
def test_a_faulty_image_is_refused_by_name(tmp_path, fault):
    content, words = FAULTY_IMAGES[fault]
    with pytest.raises(DataError, match=words) as error:
        files.decode_image(write(tmp_path / "seven.png", content))
    assert "seven.png" in str(error.value)


def test_a_picture_bomb_is_refused_by_its_heading(tmp_path):
    path = saved(tmp_path / "bomb.png", Image.new("1", (9000, 9000)))
    with pytest.raises(DataError, match="at most 64 million"):
        files.decode_image(path)


def test_fractional_pixels_are_refused(tmp_path):
    path = saved(tmp_path / "f.tiff", Image.fromarray(GREY.astype(np.float32)))
    with pytest.raises(DataError, match="range is unknown"):
        files.decode_image(path)


def test_fitting_keeps_proportions_and_continues_the_border():
    wide = np.full((2, 4, 1), 10, dtype=np.uint8)
    wide[:, 1:3] = 90
    fitted = files.fit_image(wide, 4, 4)
    assert fitted.shape == (4, 4, 1)
    np.testing.assert_array_equal(fitted[1:3], wide)
    assert (fitted[[0, 3]] == 10).all()
    small = files.fit_image(np.tile(np.array([[0, 100]], np.uint8), (4, 2))[..., None], 2, 2)
    assert (small == 50).all()


def test_grey_and_rgb_are_exact_in_both_directions():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(files.with_channels(files.with_channels(images, 3), 1), images)


def test_natural_order_puts_2_before_10():
    names = ["10", "2", "a10", "a2", "1", "a", "a2b", "9" * 5000]
    assert sorted(names, key=files.natural)[:3] == ["1", "2", "10"]
    assert sorted(names, key=files.natural)[4:] == ["a", "a2", "a2b", "a10"]


# Any bytes at all: arrays or DataError, nothing else

fuzz = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def seeds() -> dict[str, bytes]:
    npz, table = io.BytesIO(), io.BytesIO()
    np.savez_compressed(npz, x_train=IMAGES, y_train=LABELS)
    parquet.write_table(pa.table({"image": [png(image) for image in IMAGES], "label": LABELS}), table)
    text = "\n".join([KAGGLE, row(3), row(4)]).encode()
    return {
        "idx": idx(IMAGES),
        "idx.gz": PACKED,
        "npz": npz.getvalue(),
        "csv": text,
        "csv.gz": gzip.compress(text),
        "parquet": table.getvalue(),
        "png": png(GREY),
    }


SEEDS = seeds()
READERS = {
    "idx": files.read_idx,
    "idx.gz": files.read_idx,
    "npz": files.read_npz,
    "csv": files.read_csv,
    "csv.gz": files.read_csv,
    "parquet": files.read_parquet,
    "png": files.decode_image,
}


@st.composite
def altered(draw, whole: bytes) -> bytes:
    """A real file with bytes replaced, cut out and put in."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.integers(0, 8))
        content[start:end] = draw(st.binary(max_size=8))
    return bytes(content)


@pytest.mark.parametrize("kind", READERS)
@fuzz
@given(data=st.data())
def test_any_bytes_give_content_or_a_data_error(tmp_path, kind, data):
    content = data.draw(st.one_of(st.binary(max_size=64), altered(SEEDS[kind])))
    path = write(tmp_path / f"fuzz.{kind}", content)
    try:
        READERS[kind](path)
    except DataError as error:
        assert "fuzz" in str(error)


@fuzz
@given(st.lists(st.text(alphabet="0123456789.,-\"'\n xne", max_size=40), max_size=6))
def test_any_table_gives_content_or_a_data_error(tmp_path, lines):
    path = write(tmp_path / "fuzz.csv", "\n".join(["label,a,b,c,d", *lines]).encode())
    try:
        content = files.read_csv(path)
    except DataError as error:
        assert "fuzz" in str(error)
    else:
        assert content.train.images.dtype == np.uint8
