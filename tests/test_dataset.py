"""Split and Dataset: what goes in is checked, and dividing is stratified, grouped and repeatable."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from guarismo.data import dataset as dataset_file
from guarismo.data.dataset import (
    UNKNOWN,
    Dataset,
    Mapped,
    Split,
    chunks,
    data_uri,
    empty_like,
    held,
    join,
    pick_samples,
    split_dataset,
    tile,
)
from guarismo.errors import DataError


def numbered(labels, groups=None) -> Split:
    """Images of one pixel whose three channels hold their number, so that each can be told from the others."""
    numbers = np.arange(len(labels))
    pixels = np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=-1).astype(np.uint8)
    groups = None if groups is None else np.asarray(groups, dtype=np.int64)
    return Split(pixels[:, None, None], np.asarray(labels, dtype=np.int64), groups)


def numbers_of(split: Split) -> list[int]:
    return (split.images.reshape(-1, 3).astype(np.int64) @ [65536, 256, 1]).tolist()


@pytest.mark.parametrize("images", [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 1))], ids=["no channel", "float"])
def test_images_must_be_bytes_with_a_channel_axis(images):
    with pytest.raises(DataError, match="Expected images as uint8"):
        Split(images, np.zeros(2, np.int64))


def test_each_image_needs_one_label_and_one_group():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(DataError, match="labels of shape"):
        Split(images, np.zeros(3, np.int64))
    with pytest.raises(DataError, match="groups of shape"):
        Split(images, np.zeros(2, np.int64), np.zeros(1, np.int64))
    with pytest.raises(DataError, match="names of shape"):
        Split(images, np.zeros(2, np.int64), names=np.array(["a.png"]))


def named(labels, names) -> Split:
    return replace(numbered(labels), names=np.array(names))


def test_names_travel_with_their_images_and_are_no_part_of_the_fingerprint():
    split = named([0, 1, 1], ["a.png", "b.png", "c.png"])
    assert split.take(np.array([2, 0])).names.tolist() == ["c.png", "a.png"]
    assert empty_like(split).names.tolist() == []
    assert split.fingerprint == numbered([0, 1, 1]).fingerprint


def test_names_travel_into_the_parts_of_a_dataset():
    dataset = split_dataset("a", named([0, 1] * 20, [f"{number}.png" for number in range(40)]), ("a", "b"))
    for split in dataset.splits.values():
        assert split.names.tolist() == [f"{number}.png" for number in numbers_of(split)]
    assert dataset.samples()[0].shape == (2, 10, 1, 1, 3)


def test_splits_are_joined_in_order_with_names_where_all_have_them():
    first, second = named([0, 1], ["a", "b"]), named([1], ["long name"])
    both = join([first, second])
    assert (both.labels.tolist(), both.names.tolist()) == ([0, 1, 1], ["a", "b", "long name"])
    assert join([first, numbered([1], [7])]).names is None
    assert join([first]) is first


def test_the_fingerprint_is_of_the_content():
    split = numbered([0, 1, 1])
    assert split.fingerprint == numbered([0, 1, 1]).fingerprint
    assert split.fingerprint != numbered([0, 1, 0]).fingerprint
    assert split.fingerprint == split.take(np.arange(3)).fingerprint
    assert split.fingerprint != split.take(np.array([1, 0, 2])).fingerprint


def test_the_fingerprint_of_a_dataset_knows_its_class_names():
    dataset = split_dataset("a", numbered([0, 1] * 20), ("cat", "dog"))
    assert dataset.fingerprint != replace(dataset, class_names=("gato", "perro")).fingerprint


def test_a_split_without_a_label_is_not_labelled():
    assert numbered([0, 1]).labelled
    assert not numbered([0, UNKNOWN]).labelled
    assert not empty_like(numbered([0])).labelled


@settings(max_examples=50)
@given(
    counts=st.lists(st.integers(12, 60), min_size=1, max_size=5),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
    seed=st.integers(0, 99),
)
def test_every_image_is_in_exactly_one_part_and_every_class_keeps_its_share(counts, validation, test, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    names = tuple(map(str, range(len(counts))))
    dataset = split_dataset("a", numbered(labels), names, validation_fraction=validation, test_fraction=test, seed=seed)
    together = [number for split in dataset.splits.values() for number in numbers_of(split)]
    assert sorted(together) == list(range(len(labels)))
    for part, share in ((dataset.validation, validation), (dataset.test, test)):
        found = np.bincount(part.labels, minlength=len(counts))
        assert (np.abs(found - share * np.array(counts)) <= 1).all()


def test_the_same_seed_gives_the_same_division_and_another_seed_another():
    first, again, other = (split_dataset("a", numbered([0, 1] * 50), ("a", "b"), seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_a_given_test_part_is_kept_as_it_is():
    own = numbered([1, 0, 1])
    dataset = split_dataset("a", numbered([0, 1] * 20), ("a", "b"), test=own)
    assert dataset.test is own
    assert len(dataset.train) + len(dataset.validation) == 40


@settings(max_examples=20)
@given(size=st.integers(2, 6), seed=st.integers(0, 99))
def test_no_group_is_in_two_parts(size, seed):
    groups = np.arange(40 * size) // size
    dataset = split_dataset("a", numbered(np.arange(40 * size) % 2, groups), ("a", "b"), seed=seed)
    seen = [set(split.groups.tolist()) for split in dataset.splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 40
    assert all(len(split) for split in dataset.splits.values())


def test_too_few_groups_are_told():
    with pytest.raises(DataError, match="1 groups cannot give"):
        split_dataset("a", numbered([0, 1] * 10, [5] * 20), ("a", "b"))


def test_fewer_images_than_parts_are_told_with_the_class():
    with pytest.raises(DataError, match="Class 'rare' has too few images"):
        split_dataset("a", numbered([0] * 30 + [1] * 2), ("common", "rare"))


def test_fraction_zero_gives_an_empty_part():
    dataset = split_dataset("a", numbered([0, 1] * 10), ("a", "b"), validation_fraction=0, test_fraction=0)
    assert [len(split) for split in dataset.splits.values()] == [20, 0, 0]
    assert dataset.validation.images.shape == (0, 1, 1, 3)


def test_pick_samples_marks_classes_that_have_fewer():
    picked = pick_samples(numbered([0, 0, 0, 1]), 3, 2)
    assert picked.shape == (3, 2)
    assert (picked[0] >= 0).all()
    assert picked[1].tolist() == [3, -1]
    assert picked[2].tolist() == [-1, -1]


def test_tile_lays_images_in_rows():
    picture = tile(np.full((3, 4, 5, 1), 9, np.uint8), columns=2, gap=1)
    assert picture.shape == (10, 12, 1)
    assert (picture[:4, :5] == 9).all()
    assert (picture[5:, 6:] == 128).all()


def test_a_dataset_says_what_it_is():
    assert repr(split_dataset("a", numbered([0, 1] * 20), ("cat", "dog"))) == (
        "Dataset('a': 28 train + 4 validation + 8 test; 1×1×3; 2 classes: cat, dog)"
    )


def test_samples_are_rows_of_their_class_black_where_there_are_fewer():
    dataset = split_dataset("a", numbered([0] * 40 + [1] * 10), ("cat", "dog"))
    images, names = dataset.samples(per_class=20)
    assert (images.shape, names) == ((2, 20, 1, 1, 3), ("cat", "dog"))
    assert (images[1].reshape(20, 3).sum(axis=1) > 0).sum() == 7


def test_in_a_notebook_a_dataset_shows_its_classes_and_escapes_their_names():
    dataset = split_dataset("a", numbered([0, 1] * 20), ("<b>cat</b>", "dog"))
    html = dataset._repr_html_()
    assert html.count("<img") == 2 and "data:image/webp;base64," in html
    assert "&lt;b&gt;cat" in html and "<b>cat" not in html


def test_a_dataset_without_classes_shows_its_test_images():
    split = numbered([UNKNOWN] * 12)
    dataset = Dataset("a", empty_like(split), empty_like(split), split, ())
    assert dataset.samples()[0].shape == (1, 10, 1, 1, 3)
    assert "unlabelled" in dataset._repr_html_()


@pytest.mark.parametrize(
    "shape, side", [((8, 8, 1), 8), ((100, 100, 3), 48), ((28, 140, 3), 140), ((100, 500, 3), 240), ((10, 900, 1), 240)]
)
def test_an_image_becomes_a_png_inside_an_address_shrunk_where_asked(shape, side):
    """Of five views side by side each may have that side."""
    uri = data_uri(np.zeros(shape, dtype=np.uint8), most=48)
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert max(picture.size) == side
    assert picture.mode == ("L" if shape[2] == 1 else "RGB")


# Images on disk


@pytest.fixture
def store(tmp_path) -> np.ndarray:
    """Twelve images of 2×3 in colour, mapped from a file."""
    images = np.random.default_rng(0).integers(0, 256, (12, 2, 3, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


ROWS = np.array([7, 0, 3, 3, 11])


@pytest.mark.parametrize("index", [2, slice(1, 4), np.array([4, 0]), np.array([[1, 2], [0, 4]]), ROWS > 2], ids=str)
def test_images_on_disk_are_indexed_as_an_array_is(store, index):
    np.testing.assert_array_equal(Mapped(store, ROWS)[index], np.array(store)[ROWS][index])
    assert Mapped(store, ROWS)[index].flags.writeable, "a copy, not the file"


def test_views_stand_side_by_side_and_a_missing_one_is_black(store):
    pairs = Mapped(store, np.array([[1, 2], [-1, 5]]))
    assert pairs.shape == (2, 2, 6, 3)
    np.testing.assert_array_equal(pairs[0], np.concatenate([store[1], store[2]], axis=1))
    np.testing.assert_array_equal(pairs[1], np.concatenate([0 * store[5], store[5]], axis=1))
    np.testing.assert_array_equal(pairs[:], np.stack([pairs[0], pairs[1]]))
    np.testing.assert_array_equal(np.asarray(pairs), pairs[:])


def test_a_split_on_disk_is_the_split_in_memory(store):
    labels = np.array([0, 1, 0, 1, 0])
    mapped, plain = Split(Mapped(store, ROWS), labels), Split(np.array(store)[ROWS], labels)
    assert mapped.fingerprint == plain.fingerprint
    taken = mapped.take(np.array([3, 1]))
    assert isinstance(taken.images, Mapped)
    assert taken.fingerprint == plain.take(np.array([3, 1])).fingerprint
    assert join([mapped, taken]).fingerprint == join([plain, plain.take(np.array([3, 1]))]).fingerprint
    assert isinstance(join([mapped, taken]).images, Mapped)


def test_small_images_are_held_in_memory_and_large_ones_stay(store, monkeypatch):
    assert isinstance(held(Mapped(store, ROWS)), np.ndarray)
    monkeypatch.setattr(dataset_file, "MOST_CHUNK_BYTES", 5 * 18 - 1)
    assert isinstance(held(Mapped(store, ROWS)), Mapped)


def test_chunks_cover_the_images_in_whole_multiples(store, monkeypatch):
    monkeypatch.setattr(dataset_file, "MOST_CHUNK_BYTES", 100)  # five images of 18 bytes
    assert list(chunks(Mapped(store, ROWS))) == [slice(0, 5)]
    assert [(part.start, part.stop) for part in chunks(np.array(store))] == [(0, 5), (5, 10), (10, 15)]
    assert [(part.start, part.stop) for part in chunks(np.array(store), 4)] == [(0, 4), (4, 8), (8, 12)]


def test_many_small_groups_are_divided_without_sharing_one():
    """Beyond MANY_GROUPS each group counts as one."""
    groups = np.repeat(np.arange(6_000), 3)
    split = replace(numbered(groups % 10), groups=np.random.default_rng(0).permutation(groups))
    made = split_dataset("many", split, tuple("0123456789"), validation_fraction=0.1, test_fraction=0.2)
    parts = [set(part.groups.tolist()) for part in made.splits.values()]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert len(made.validation) == pytest.approx(1_800, abs=60)
    assert len(made.test) == pytest.approx(3_600, abs=120)
    assert np.bincount(made.validation.labels).min() > 100
