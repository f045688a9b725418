"""Sources: each loads as a Dataset or whole; what cannot be loaded says so in one sentence with its remedy."""

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreign import FILES, place_by_hand, printed_by_a_user
from guarismo.data import sources
from guarismo.data.images import with_channels
from guarismo.data.known import SOURCES
from guarismo.data.sources import LoadSettings, load, load_whole, make_polymnist, write_polymnist
from guarismo.errors import DataError, MissingExtraError

pytestmark = pytest.mark.usefixtures("places")

# Looking up


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
def test_a_source_is_found_in_the_folders_of_guarismo_data(places, monkeypatch, packed):
    place_by_hand(places / "second" / "tiny", packed)
    monkeypatch.setenv("GUARISMO_DATA", os.pathsep.join([str(places / "first"), str(places / "second")]))
    dataset = load("tiny")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 54, "validation": 6, "test": 12}
    assert dataset.class_names == ("one", "two", "three")
    assert dataset.origin == {"source": "tiny", **asdict(LoadSettings())}


def test_one_flipped_bit_in_a_known_source_is_noticed(places, monkeypatch):
    """In a raw file, whose format has no checksum of its own."""
    folder = place_by_hand(places / "data" / "tiny", packed=False)
    content = bytearray(FILES["train-images-idx3-ubyte"])
    content[500] ^= 1
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    monkeypatch.setenv("GUARISMO_DATA", str(places / "data"))
    with pytest.raises(DataError, match=r"as the train-images-idx3-ubyte of tiny: altered.*guarismo data fetch"):
        load("tiny")


def test_an_unknown_name_gets_the_nearest_one_and_the_hint_that_paths_do():
    with pytest.raises(DataError, match=r"Unknown source 'fashion-mnist'.*Did you mean 'fashion_mnist'\?.*path"):
        load("fashion-mnist")


def test_a_missing_path_is_not_taken_for_a_name():
    with pytest.raises(DataError, match="There is no file or folder"):
        load("pictures/cats.npz")


def test_a_file_of_no_known_kind_says_which_there_are(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"")
    with pytest.raises(DataError, match=r"\.npz, \.csv, \.parquet"):
        load(tmp_path / "a.docx")


# Loading


def test_the_embedded_digits_need_nothing():
    dataset = load("digits")
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 3500,
        "validation": 500,
        "test": 1000,
    }
    assert np.bincount(dataset.test.labels).tolist() == [100] * 10


def test_the_same_seed_divides_in_the_same_way():
    first, again, other = (load("digits", LoadSettings(split_seed=seed)) for seed in (3, 3, 4))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_origin_of_a_dataset_loads_it_again():
    dataset = load("digits", LoadSettings(validation=0.2, size=14, channels=3))
    assert dataset.shape == (14, 14, 3)
    origin = json.loads(json.dumps(dict(dataset.origin)))
    assert sources.reload(origin).fingerprint == dataset.fingerprint


def test_a_strange_origin_is_refused():
    for origin in ({}, {"source": "digits", "colour": 3}, {"source": "digits", "size": "big"}):
        with pytest.raises(DataError):
            sources.reload(origin)


@pytest.mark.parametrize(
    "value", [{"validation": 1.0}, {"test": -0.1}, {"size": 0}, {"channels": 2}, {"size": 2.5}, {"skip_bad": 1}]
)
def test_load_settings_out_of_range_are_refused(value):
    with pytest.raises(DataError, match=next(iter(value))):
        LoadSettings(**value)


def save_npz(path: Path, count: int, classes: int, **more) -> Path:
    labels = np.arange(count) % classes
    np.savez(
        path, images=np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((4, 4), np.uint8), labels=labels, **more
    )
    return path


def test_fewer_images_than_classes_is_told(tmp_path):
    with pytest.raises(DataError, match="too few images"):
        load(save_npz(tmp_path / "few.npz", 5, 5))


def test_a_grouped_source_keeps_groups_apart(tmp_path):
    groups = np.arange(120) // 4
    dataset = load(save_npz(tmp_path / "written.npz", 120, 2, groups=groups))
    seen = [set(split.groups.tolist()) for split in dataset.splits.values()]
    assert all(seen)
    assert len(set.union(*seen)) == sum(map(len, seen)) == 30


def test_images_without_labels_all_become_the_test_part(tmp_path):
    np.savez(tmp_path / "photos.npz", images=np.zeros((7, 4, 4), np.uint8))
    dataset = load(tmp_path / "photos.npz")
    assert [len(split) for split in dataset.splits.values()] == [0, 0, 7]
    assert dataset.shape == (4, 4, 1)
    assert not dataset.test.labelled


def test_a_folder_of_images_with_its_own_parts_keeps_them(tmp_path):
    for part, count in (("train", 10), ("val", 3), ("test", 2)):
        for number in range(count):
            for name in ("cats", "dogs"):
                path = tmp_path / "pets" / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (4, 4), number).save(path)
    dataset = load(tmp_path / "pets")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 20, "validation": 6, "test": 4}
    assert dataset.name == "pets"


def test_a_folder_of_four_is_loaded_for_what_it_is(places):
    dataset = load(place_by_hand(places / "mine"))
    assert (dataset.name, dataset.class_names) == ("mine", ("0", "1", "2"))
    pair = load(places / "mine" / "t10k-images-idx3-ubyte.gz", LoadSettings(test=0.25, validation=0.25))
    assert len(pair.test) == 3


def test_what_may_not_be_read_says_so_in_the_words_of_the_system(tmp_path):
    names = ["a.npz", "a.csv", "a.parquet", "train-images-idx3-ubyte", "one/a.png", "folder", "closed/a.npz"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if name == "folder" else path.write_bytes(b"something")
        path.chmod(0)
    (tmp_path / "train-labels-idx1-ubyte").touch()
    (tmp_path / "closed").chmod(0)
    script = f"""
        from guarismo.data.sources import load
        from guarismo.errors import DataError
        for name in {[name.replace("one/a.png", "one") for name in names]}:
            try:
                load({str(tmp_path)!r} + "/" + name)
            except DataError as error:
                print(error)
    """
    told = printed_by_a_user(script).splitlines()
    (tmp_path / "folder").chmod(0o755)
    (tmp_path / "closed").chmod(0o755)
    for name, message in zip(names, told, strict=True):
        assert f"{Path(name).name} cannot be read: Permission denied. " in message
        assert "Errno" not in message and "damaged" not in message


# All of a source, to be answered


def test_two_labelled_rows_are_enough_to_be_answered(tmp_path):
    rows = [",".join(map(str, ["label", *range(16)])), "7," + ",".join(["9"] * 16), "7," + ",".join(["8"] * 16)]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    split, notes = load_whole(tmp_path / "a.csv", (4, 4, 1))
    assert split.images[:, 0, 0, 0].tolist() == [9, 8]
    assert (split.labels.tolist(), split.names, notes) == ([0, 0], None, ())


def squares(folder: Path, **greys: int) -> Path:
    """Pictures of 4×4, one of each grey value; in names, __ stands for /."""
    for name, grey in greys.items():
        path = folder / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), grey).save(path)
    return folder


@pytest.mark.parametrize(
    "greys, labels",
    [
        ({"b": 2, "a": 1, "c": 3}, [-1, -1, -1]),
        ({"cats__a": 1, "cats__b": 2, "dogs__a": 3}, [0, 0, 1]),
        ({"test__cats__a": 3, "train__dogs__a": 2, "train__cats__a": 1}, [0, 1, 0]),
    ],
    ids=["flat", "classes", "parts"],
)
def test_a_whole_folder_comes_in_its_order_with_names(tmp_path, greys, labels):
    split, notes = load_whole(squares(tmp_path / "in", **greys), (4, 4, 1))
    assert split.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert [greys[name.removesuffix(".png").replace("/", "__")] for name in split.names] == [1, 2, 3]
    assert (split.labels.tolist(), notes) == (labels, ())


def test_names_tell_which_files_of_a_folder_were_read(tmp_path):
    folder = squares(tmp_path / "in", a=1, b=2, c=3)
    (folder / "b.png").write_bytes(b"")
    split, notes = load_whole(folder, (4, 4, 1), LoadSettings(skip_bad=True))
    assert split.names.tolist() == ["a.png", "c.png"]
    assert notes == ("1 unreadable images were left out: b.png.",)


def test_all_parts_of_an_npz_follow_each_other_brought_to_the_shape(tmp_path):
    ones = np.ones((4, 4), np.uint8)
    train, test = np.array([5, 3, 4])[:, None, None] * ones, np.array([1, 2])[:, None, None] * ones
    parts = {"x_train": train, "y_train": [0, 1, 1], "x_test": test, "y_test": [1, 0]}
    np.savez(tmp_path / "a.npz", **parts)
    split, notes = load_whole(tmp_path / "a.npz", (6, 8, 3))
    assert split.images.shape == (5, 6, 8, 3)
    assert split.images[:, 0, 0, 0].tolist() == [5, 3, 4, 1, 2]
    assert split.labels.tolist() == [0, 1, 1, 1, 0]
    assert notes == ("5 images of another size were scaled to fit 6×8.", "5 grey images became RGB.")


def test_a_whole_folder_is_brought_to_the_shape_as_for_training(tmp_path):
    """Straight from each file's own size: scaling twice would blur."""
    folder = squares(tmp_path / "in", a=1, b=2, c=3)
    Image.fromarray(np.arange(35 * 20 * 3, dtype=np.uint8).reshape(35, 20, 3)).save(folder / "d.png")
    split, notes = load_whole(folder, (5, 5, 1))
    expected = load(folder, LoadSettings(size=5, channels=1)).test
    np.testing.assert_array_equal(split.images, expected.images)
    assert notes == ("4 images of another size were scaled to fit 5×5.", "1 RGB images became grey.")
    assert load_whole(squares(tmp_path / "grey", a=1), (4, 4, 3))[1] == ("1 grey images became RGB.",)


def test_a_known_source_can_be_had_whole():
    split, _ = load_whole("digits", (28, 28, 1))
    assert len(split) == 5000


# PolyMNIST, made here


def test_polymnist_is_made_of_mnist_when_it_is_first_asked_for(small_mnist):
    told = []
    dataset = load("polymnist", progress=lambda done, total, **_: told.append((done, total)))
    assert told[-1] == (4_000, 4_000)
    assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (3_000, 1_000)
    assert dataset.shape == (28, 28, 3)
    assert dataset.class_names == tuple("0123456789")
    assert "digit is learnt" in dataset.notes[0] and "--target modality" in dataset.notes[0]
    told.clear()
    assert load("polymnist").fingerprint == dataset.fingerprint
    assert not told, "opened, not made again"


def test_one_original_of_polymnist_is_never_in_training_and_validation(small_mnist):
    dataset = load("polymnist")
    assert not set(dataset.train.groups.tolist()) & set(dataset.validation.groups.tolist())
    leaky = load("polymnist", LoadSettings(group="none"))
    assert len(set(leaky.train.groups.tolist()) & set(leaky.validation.groups.tolist())) > 150, "known, not kept apart"


def test_the_modality_can_be_learnt_instead_and_in_grey(small_mnist):
    dataset = load("polymnist", LoadSettings(target="modality", channels=1))
    assert dataset.class_names == ("m0", "m1", "m2", "m3", "m4")
    assert dataset.shape == (28, 28, 1)
    colour = load("polymnist", LoadSettings(target="modality"))
    np.testing.assert_array_equal(dataset.test.labels, colour.test.labels)
    np.testing.assert_array_equal(dataset.test.images[7], with_channels(colour.test.images[7], 1))


def test_digits_in_grey_come_with_a_warning(small_mnist):
    assert any("vanish" in note for note in load("polymnist", LoadSettings(channels=1)).notes)


def test_five_views_of_one_digit_stand_side_by_side(small_mnist):
    dataset = load("polymnist", LoadSettings(views=True))
    assert dataset.shape == (28, 140, 3)
    assert len(dataset.train) + len(dataset.validation) == 600
    single = load("polymnist")
    name = str(dataset.test.names[3])
    (row,) = np.flatnonzero(single.test.names == name)
    np.testing.assert_array_equal(dataset.test.images[3][:, :28], single.test.images[int(row)])


def test_the_files_and_the_store_are_the_same_data(small_mnist, tmp_path):
    count = write_polymnist(tmp_path / "PolyMNIST")
    assert count == 4_000
    files, store = load(tmp_path / "PolyMNIST"), load("polymnist")
    assert files.fingerprint == store.fingerprint
    np.testing.assert_array_equal(files.train.groups, store.train.groups)


def test_other_backgrounds_and_another_seed_give_another_set(small_mnist):
    prints = {load("polymnist").fingerprint}
    make_polymnist(modalities=5, seed=1)
    prints.add(load("polymnist").fingerprint)
    make_polymnist(modalities=3, seed=1)
    dataset = load("polymnist", LoadSettings(target="modality", channels=1))
    assert dataset.class_names == ("m0", "m1", "m2")
    assert len(prints) == 2


def test_without_mnist_there_is_no_polymnist(places, monkeypatch):
    """Nobody listens where it could be fetched."""
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], mirrors=("http://127.0.0.1:9/",)))
    with pytest.raises(DataError, match="guarismo data import mnist FOLDER"):
        load("polymnist")
    assert not list((places / "cache").rglob("*.npy"))


# Limit and groups


def test_a_limit_takes_of_each_class_its_share_and_says_so(small_mnist):
    dataset = load("mnist", LoadSettings(limit=300))
    assert len(dataset.train) + len(dataset.validation) == pytest.approx(300, abs=5)
    assert len(dataset.test) == 200
    assert any("--limit" in note for note in dataset.notes)
    whole = load("mnist")
    share = np.bincount(dataset.train.labels) / np.bincount(whole.train.labels)
    assert share == pytest.approx(0.5, abs=0.05)


def test_writers_are_kept_in_one_part_each(shared_data, monkeypatch):
    monkeypatch.setenv("GUARISMO_DATA", str(shared_data))
    dataset = load("mnist", LoadSettings(group="writer"))
    assert not set(dataset.train.groups.tolist()) & set(dataset.validation.groups.tolist())
    assert 0.05 < len(dataset.validation) / 60_000 < 0.15
    shared = load("mnist")
    assert shared.grouped_by == "writer"
    assert set(shared.validation.groups.tolist()) <= set(shared.train.groups.tolist()), "at random, they are in both"


@pytest.mark.parametrize("group, words", [("writer", "writer"), ("original", "polymnist")])
def test_groups_that_are_not_known_are_refused(small_mnist, group, words):
    with pytest.raises(DataError, match=words):
        load("digits", LoadSettings(group=group))


# Kaggle


@pytest.mark.parametrize("handle", ["somebody", "a/b/c", "../etc/passwd", "owner/name?x"])
def test_a_handle_that_is_none_is_refused(handle):
    with pytest.raises(DataError, match="kaggle:OWNER/NAME"):
        load(f"kaggle:{handle}")


def test_kaggle_without_kagglehub_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)  # as where it is not installed
    with pytest.raises(MissingExtraError, match=r"guarismo\[kaggle\]"):
        load("kaggle:agungpambudi/mnist-multiple-dataset-comprehensive-analysis")
