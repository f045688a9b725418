"""IDX and npz: whole files give arrays, anything else gives a DataError that names the file."""

import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreign import IMAGES, LABELS, bytes_like, fuzz, idx, read_or_refused, write
from guarismo.data.arrays import read_idx, read_idx_folder, read_idx_pair, read_npz
from guarismo.errors import DataError


def write_pair(folder: Path, images=IMAGES, labels=LABELS, part="train") -> Path:
    write(folder / f"{part}-labels-idx1-ubyte.gz", gzip.compress(idx(labels)))
    return write(folder / f"{part}-images-idx3-ubyte.gz", gzip.compress(idx(images)))


# IDX


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gz"])
def test_idx_is_read_by_its_content_not_its_name(tmp_path, pack):
    path = write(tmp_path / "whatever.bin", pack(idx(IMAGES)))
    np.testing.assert_array_equal(read_idx(path), IMAGES)


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
        read_idx(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gz"])
@pytest.mark.parametrize("count", [2**32 - 1, 8_000_000])
def test_a_header_that_promises_gigabytes_is_refused_before_memory_is_given(tmp_path, pack, count):
    import tracemalloc

    path = write(tmp_path / "lie", pack(struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) + bytes(10)))
    tracemalloc.start()
    with pytest.raises(DataError, match="promises"):
        read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_every_single_flipped_bit_of_a_gz_is_noticed_or_harmless(tmp_path):
    """gz checks its content; only its own heading (time, name, system) may change without a word."""
    for position in range(len(PACKED)):
        flipped = bytearray(PACKED)
        flipped[position] ^= 1
        try:
            array = read_idx(write(tmp_path / "flipped.gz", bytes(flipped)))
        except DataError:
            continue
        np.testing.assert_array_equal(array, IMAGES)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_idx(path)


def test_images_find_their_labels_beside_them(tmp_path):
    content = read_idx_pair(write_pair(tmp_path))
    assert content.train.images.shape == (5, 4, 4, 1)
    assert content.train.labels.tolist() == LABELS.tolist()
    assert content.class_names == ("0", "1", "2")


def test_images_without_labels_beside_them_say_what_was_expected(tmp_path):
    path = write(tmp_path / "train-images-idx3-ubyte", idx(IMAGES))
    with pytest.raises(DataError, match=r"expected .*train-labels-idx1-ubyte"):
        read_idx_pair(path)


def test_the_labels_file_alone_is_not_what_is_asked_for(tmp_path):
    labels = write_pair(tmp_path).with_name("train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match="Name the images file"):
        read_idx_pair(labels)


def test_unequal_counts_are_refused(tmp_path):
    with pytest.raises(DataError, match="5 images but 4 labels"):
        read_idx_pair(write_pair(tmp_path, labels=LABELS[:4]))


def test_a_folder_of_four_gives_both_parts(tmp_path):
    write_pair(tmp_path)
    write_pair(tmp_path, IMAGES[:2], LABELS[:2], "t10k")
    content = read_idx_folder(tmp_path)
    assert (len(content.train), len(content.test)) == (5, 2)


def test_kaggles_names_with_dots_are_found(tmp_path):
    write(tmp_path / "train-images.idx3-ubyte", idx(IMAGES))
    write(tmp_path / "train-labels.idx1-ubyte", idx(LABELS))
    assert len(read_idx_folder(tmp_path).train) == 5


def test_a_test_label_that_training_lacks_is_refused(tmp_path):
    write_pair(tmp_path)
    write_pair(tmp_path, IMAGES[:2], np.array([0, 7], dtype=np.uint8), "t10k")
    with pytest.raises(DataError, match="label '7' is in the test part only"):
        read_idx_folder(tmp_path)


# npz


def save(path: Path, **arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_keras_npz(tmp_path):
    arrays = {"x_train": IMAGES, "y_train": LABELS[:, None], "x_test": IMAGES[:2], "y_test": LABELS[:2]}
    content = read_npz(save(tmp_path / "mnist.npz", **arrays))
    np.testing.assert_array_equal(content.train.images[..., 0], IMAGES)
    assert content.test.labels.tolist() == [0, 1]
    assert content.notes == ()


def test_npz_with_groups_and_words_as_labels(tmp_path):
    words = np.array(["cat 10", "cat 2", "dog", "cat 2", "dog"])
    path = save(tmp_path / "a.npz", images=IMAGES, labels=words, groups=np.array(["ann", "bob", "ann", "bob", "cy"]))
    content = read_npz(path)
    assert content.class_names == ("cat 2", "cat 10", "dog")
    assert content.train.labels.tolist() == [1, 0, 2, 0, 2]
    assert content.train.groups.tolist() == [0, 1, 0, 1, 2]


def test_fractions_from_0_to_1_are_scaled_and_noted(tmp_path):
    content = read_npz(save(tmp_path / "a.npz", images=IMAGES / np.float32(255), labels=LABELS))
    np.testing.assert_array_equal(content.train.images[..., 0], IMAGES)
    assert "multiplied by 255" in content.notes[0]


FAULTY_NPZ = {
    "objects": ({"images": np.array([{}, []], dtype=object), "labels": LABELS}, "objects, which are not read"),
    "no images": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "damaged"),
    "other names": ({"a": IMAGES}, "expected x_train"),
}


@pytest.mark.parametrize("fault", FAULTY_NPZ)
def test_a_faulty_npz_file_is_refused(tmp_path, fault):
    arrays, words = FAULTY_NPZ[fault]
    with pytest.raises(DataError, match=words):
        read_npz(save(tmp_path / "a.npz", **arrays))


def test_a_member_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 28, 28)})
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(100))
    with pytest.raises(DataError, match="its header promises"):
        read_npz(tmp_path / "lie.npz")


# Any bytes at all


def npz() -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, x_train=IMAGES, y_train=LABELS)
    return target.getvalue()


WHOLE = {"idx": (read_idx, idx(IMAGES)), "idx.gz": (read_idx, PACKED), "npz": (read_npz, npz())}


@pytest.mark.parametrize("kind", WHOLE)
@fuzz
@given(data=st.data())
def test_any_bytes_give_content_or_a_data_error(tmp_path, kind, data):
    read, whole = WHOLE[kind]
    read_or_refused(read, write(tmp_path / f"fuzz.{kind}", data.draw(bytes_like(whole))))
