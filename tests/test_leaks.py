"""Leaks: planted copies are found, however they were saved; a healthy division stays silent."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from guarismo.data.dataset import Dataset, Mapped, Split, draw_stratified, empty_like
from guarismo.data.known import embedded_digits, writers
from guarismo.data.leaks import FAINT, KEPT, brightness, differences, find_leaks, number_contents
from guarismo.data.sources import load
from guarismo.data.tables import read_csv
from tiny_run import bars, bars_dataset


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """2,000 handwritten digits for training, 500 for validation and 500 for the test, all different."""
    split = read_csv(embedded_digits(), label=784).train
    rows = np.random.default_rng(0).permutation(len(split))
    train, validation, test = (split.take(part) for part in np.split(rows[:3000], [2000, 2500]))
    return Dataset("digits", train, validation, test, tuple("0123456789"))


def between(dataset: Dataset, earlier: str = "train", later: str = "test", **how):
    return next(each for each in find_leaks(dataset, **how).between if (each.earlier, each.later) == (earlier, later))


def planted(dataset: Dataset, alter, number: int = 20) -> Dataset:
    """The dataset with altered training images 100, 101, … in place of its first test images."""
    images = dataset.test.images.copy()
    images[:number] = alter(dataset.train.images[100 : 100 + number])
    return replace(dataset, test=replace(dataset.test, images=images))


def saved_as_jpeg(images: np.ndarray, quality: int = 75) -> np.ndarray:
    saved = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image[..., 0]).save(file, "JPEG", quality=quality)
        saved.append(np.asarray(Image.open(file)))
    return np.stack(saved)[..., None]


def noisy(images: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 8, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


ALTERED = {
    "saved as JPEG": saved_as_jpeg,
    "shifted by a pixel": lambda images: np.roll(images, 1, axis=1),
    "shifted by two pixels both ways": lambda images: np.roll(images, (2, -2), axis=(1, 2)),
    "darker": lambda images: (images * 0.6).astype(np.uint8),
    "greyer": lambda images: (images * 0.7 + 40).astype(np.uint8),
    "black for white": lambda images: 255 - images,
    "noisy": noisy,
    "shifted and saved as JPEG": lambda images: saved_as_jpeg(np.roll(images, -1, axis=2)),
}


def test_a_healthy_division_stays_silent(digits):
    leaks = find_leaks(digits)
    assert not leaks.found
    assert [(each.earlier, each.later, each.looked_at) for each in leaks.between] == [
        ("train", "validation", 500),
        ("train", "test", 500),
        ("validation", "test", 500),
    ]


def test_exact_copies_are_counted_and_are_no_near_duplicates(digits):
    found = between(planted(digits, lambda images: images))
    assert (found.copies, found.near, found.looked_at) == (20, 0, 480)


@pytest.mark.parametrize("name", ALTERED)
def test_altered_copies_are_found_with_the_image_they_were_made_of(digits, name):
    found = between(planted(digits, ALTERED[name]))
    assert (found.copies, found.near) == (0, 20)
    assert {(pair.later, pair.earlier) for pair in found.pairs} == {(row, 100 + row) for row in range(20)}
    assert list(found.pairs) == sorted(found.pairs, key=lambda pair: pair.difference)


def test_a_stroke_more_is_another_image(digits):
    def crossed(images):
        changed = images.copy()
        changed[:, 20:22, 4:12] = 255
        return changed

    assert between(planted(digits, crossed)).near == 0


def test_of_many_near_duplicates_the_most_alike_are_told(digits):
    found = between(planted(digits, ALTERED["darker"], 2 * KEPT))
    assert (found.near, len(found.pairs)) == (2 * KEPT, KEPT)


def test_copies_in_colour_and_of_another_size_are_found(digits):
    def large(split):
        return replace(
            split, images=split.images[:200].repeat(3, 1).repeat(3, 2).repeat(3, 3), labels=split.labels[:200]
        )

    coloured = replace(digits, **{name: large(split) for name, split in digits.splits.items()})
    found = between(planted(coloured, lambda images: (images * [0.9, 0.5, 0.7]).astype(np.uint8)))
    assert {(pair.later, pair.earlier) for pair in found.pairs} == {(row, 100 + row) for row in range(20)}


def test_images_without_contrast_are_no_copies_of_each_other():
    def grey(value):
        return Split(np.full((3, 28, 28, 1), value, dtype=np.uint8), np.zeros(3, dtype=np.int64))

    assert not find_leaks(Dataset("grey", grey(10), grey(20), grey(30), ("a",))).found
    faint = np.zeros((1, 28, 28), dtype=np.float32)
    faint[0, 10] = FAINT - 1
    assert differences(faint, faint) == np.inf


def test_tiny_images_are_compared_as_they_are():
    dataset = bars_dataset()
    assert not find_leaks(dataset).found
    images = dataset.test.images.copy()
    images[7] = dataset.train.images[3] // 2
    found = between(replace(dataset, test=replace(dataset.test, images=images)))
    assert [(pair.later, pair.earlier) for pair in found.pairs] == [(7, 3)]


def test_images_of_a_single_pixel_and_long_ones_are_no_obstacle():
    for shape in ((1, 1, 1), (3, 40, 1), (70, 2, 3)):
        images = np.random.default_rng(0).integers(0, 256, (6, *shape), dtype=np.uint8)
        split = Split(images, np.zeros(6, dtype=np.int64))
        assert between(Dataset("odd", split, split, split, ("a",))).copies == 6


def test_large_images_are_shrunk_by_whole_steps():
    images = np.arange(2 * 65 * 130 * 3, dtype=np.uint32).astype(np.uint8).reshape(2, 65, 130, 3)
    small = brightness(images)
    assert small.shape == (2, 32, 65)
    assert small[1, 3, 5] == pytest.approx(images[1, 6:8, 10:12].mean(), rel=1e-5)


def test_of_a_large_split_a_sample_is_looked_at_and_told(digits):
    everywhere = planted(digits, ALTERED["darker"], 500)
    found = between(everywhere, sample=50)
    assert (found.images, found.looked_at, found.near) == (500, 50, 50)
    assert between(everywhere, sample=50).pairs == found.pairs
    assert between(everywhere, sample=50, seed=1).pairs != found.pairs


def test_images_on_disk_give_the_same_as_in_memory(digits, tmp_path):
    dataset = planted(digits, saved_as_jpeg)
    np.save(tmp_path / "images.npy", np.concatenate([split.images for split in dataset.splits.values()]))
    store = np.load(tmp_path / "images.npy", mmap_mode="r")
    ends = np.cumsum([len(split) for split in dataset.splits.values()])
    on_disk = {
        name: replace(split, images=Mapped(store, np.arange(end - len(split), end)))
        for (name, split), end in zip(dataset.splits.items(), ends, strict=True)
    }
    assert find_leaks(replace(dataset, **on_disk)) == find_leaks(dataset)


def test_groups_of_both_splits_are_counted_with_their_images():
    dataset = bars_dataset()
    train, validation, test = (
        replace(split, groups=np.arange(len(split)) // 10 + first)
        for split, first in zip(dataset.splits.values(), (0, 16, 30), strict=True)
    )
    test = replace(test, groups=np.where(np.arange(90) < 4, 5, test.groups))
    leaks = find_leaks(replace(dataset, train=train, validation=validation, test=test))
    assert leaks.found and leaks.grouped_by == "group"
    counted = [(each.later, each.groups, each.shared_groups, each.grouped) for each in leaks.between]
    assert counted == [("validation", 6, 2, 20), ("test", 10, 1, 4), ("test", 10, 0, 0)]


def test_groups_that_one_split_does_not_know_are_not_compared():
    dataset = bars_dataset(grouped_by="writer")
    train = replace(dataset.train, groups=np.zeros(180, dtype=np.int64))
    leaks = find_leaks(replace(dataset, train=train))
    assert (leaks.grouped_by, [each.groups for each in leaks.between]) == ("writer", [None] * 3)


def test_empty_splits_are_left_out():
    dataset = bars_dataset()
    assert [each.later for each in find_leaks(replace(dataset, validation=bars(0))).between] == ["test"]
    assert find_leaks(replace(dataset, train=bars(0), validation=bars(0))).between == ()


def test_equal_content_has_one_number_over_all_splits():
    dataset = bars_dataset()
    contents = number_contents(replace(dataset, test=dataset.train))
    np.testing.assert_array_equal(contents["test"], contents["train"])
    assert len(np.unique(np.concatenate(list(contents.values())))) == 240


def test_the_json_holds_plain_numbers(digits):
    values = json.loads(json.dumps(find_leaks(planted(digits, ALTERED["darker"], 1)).as_json(), allow_nan=False))
    (pair,) = values["between"][1]["pairs"]
    assert (pair["later"], pair["earlier"], values["grouped_by"]) == (0, 100, "group")


# The real sets


def test_mnist_divided_by_chance_has_most_writers_in_two_parts(shared_data, monkeypatch):
    monkeypatch.setenv("GUARISMO_DATA", str(shared_data))
    known = writers("mnist")
    assert known is not None
    dataset = load("mnist")
    whole = Split(np.zeros((60_000, 1, 1, 1), dtype=np.uint8), np.arange(60_000) % 10, known[0])
    drawn = draw_stratified(whole, np.arange(60_000), 0.1, np.random.default_rng(0), dataset.class_names)
    rest = np.setdiff1d(np.arange(60_000), drawn)
    test = Split(np.zeros((10_000, 1, 1, 1), dtype=np.uint8), np.zeros(10_000, dtype=np.int64), known[1])
    divided = replace(dataset, train=whole.take(rest), validation=whole.take(drawn), test=test)
    validation, train, _ = find_leaks(divided, sample=0).between
    assert validation.shared_groups == validation.groups > 500
    assert validation.grouped == 6_000
    assert (train.groups, train.shared_groups) == (297, 0)


@pytest.mark.parametrize(("name", "near"), [("mnist", 0), ("fashion_mnist", 3)])
def test_fashion_mnist_has_near_duplicates_and_mnist_none(shared_data, monkeypatch, name, near):
    monkeypatch.setenv("GUARISMO_DATA", str(shared_data))
    dataset = load(name)
    some = dataset.test.take(np.array([4998, 6210, 2605, *range(20), *range(4500, 4700)]))
    found = between(replace(dataset, validation=empty_like(dataset.test), test=some))
    assert (found.copies, found.near) == (0, near)
