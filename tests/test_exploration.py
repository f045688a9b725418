import json
from dataclasses import replace

import numpy as np
import pytest

from guarismo.data.dataset import UNKNOWN, Dataset, Mapped, Split
from guarismo.data.exploration import explore
from tiny_run import bars, bars_dataset


def with_images(split, places, images, labels=None):
    """The split with other images (and labels) at these places."""
    changed, names = split.images.copy(), split.labels.copy()
    changed[places] = images
    if labels is not None:
        names[places] = labels
    return Split(changed, names)


def test_counts_of_each_class_in_each_split():
    found = explore(bars_dataset())
    assert {name: column.tolist() for name, column in found.counts.items()} == {
        "train": [60, 60, 60],
        "validation": [20, 20, 20],
        "test": [30, 30, 30],
    }
    assert found.balance == 1
    assert found.shape == (8, 8, 1)


def test_balance_is_the_commonest_class_against_the_rarest():
    dataset = bars_dataset()
    kept = np.flatnonzero((dataset.train.labels != 0) | (np.arange(180) < 60))
    assert explore(replace(dataset, train=dataset.train.take(kept))).balance == 3
    without = np.flatnonzero(dataset.train.labels != 0)
    assert explore(replace(dataset, train=dataset.train.take(without))).balance == 0


def test_pixel_figures_equal_those_of_numpy():
    images = bars_dataset(channels=3).train.images
    found = explore(bars_dataset(channels=3)).pixels["train"]
    assert found.mean == pytest.approx(images.mean())
    assert found.deviation == pytest.approx(images.std())
    assert found.zeros == pytest.approx((images == 0).mean())


def test_mean_images_are_those_of_their_class():
    dataset = bars_dataset()
    means = explore(dataset).means
    assert means.dtype == np.uint8 and means.shape == (3, 8, 8, 1)
    expected = dataset.train.images[dataset.train.labels == 1].mean(axis=0)
    assert np.abs(means[1] - expected).max() <= 0.5
    assert [int(mean.sum(axis=(1, 2)).argmax()) for mean in means.astype(int)] == [1, 3, 5]


def test_clean_data_has_no_copies():
    found = explore(bars_dataset())
    assert set(found.repeats.values()) | {found.contradictions} == {0}
    assert not found.leaks.found


def test_planted_copies_are_found_where_they_were_planted():
    dataset = bars_dataset()
    train = with_images(dataset.train, [3, 6, 9], dataset.train.images[0])
    test = with_images(dataset.test, [0, 30], dataset.train.images[0])
    found = explore(replace(dataset, train=train, test=test))
    assert found.repeats == {"train": 3, "validation": 0, "test": 1}
    assert [(each.earlier, each.later, each.copies) for each in found.leaks.between] == [
        ("train", "validation", 0),
        ("train", "test", 2),
        ("validation", "test", 0),
    ]
    assert found.contradictions == 0  # all of them carry label 0


def test_a_planted_contradiction_is_counted_on_both_sides():
    dataset = bars_dataset()
    test = with_images(dataset.test, [5], dataset.train.images[0], 2)
    assert explore(replace(dataset, test=test)).contradictions == 2


def test_unlabelled_images_are_counted_apart():
    dataset = bars_dataset()
    test = with_images(dataset.test, [0, 1], dataset.test.images[:2], UNKNOWN)
    found = explore(replace(dataset, test=test))
    assert found.unlabelled == {"train": 0, "validation": 0, "test": 2}
    assert found.counts["test"].sum() == 88


def test_images_without_any_labels_are_measured():
    test = Split(bars(12).images, np.full(12, UNKNOWN))
    found = explore(Dataset("photos", test.take(np.arange(0)), test.take(np.arange(0)), test, ()))
    assert (found.balance, found.contradictions, found.unlabelled["test"]) == (0, 0, 12)
    assert found.counts["test"].tolist() == [] and found.means.shape == (0, 8, 8, 1)
    json.dumps(found.as_json(), allow_nan=False)


def test_an_empty_split_is_no_obstacle():
    found = explore(replace(bars_dataset(), test=bars(0)))
    assert found.counts["test"].tolist() == [0, 0, 0]
    assert "test" not in found.pixels


def test_the_json_holds_plain_numbers_and_the_notes():
    dataset = replace(bars_dataset(), notes=("3 files skipped",))
    values = json.loads(json.dumps(explore(dataset).as_json(), allow_nan=False))
    assert values["counts"]["train"] == [60, 60, 60]
    assert values["notes"] == ["3 files skipped"]
    assert [each["later"] for each in values["leaks"]["between"]] == ["validation", "test", "test"]
    assert values["modalities"] is None


def test_images_of_other_shapes_than_square_are_measured():
    split = Split(np.zeros((2, 3, 5, 1), dtype=np.uint8), np.array([0, 1]))
    found = explore(Dataset("flat", split, split, split, ("a", "b")))
    assert found.means.shape == (2, 3, 5, 1)
    assert found.repeats == {"train": 1, "validation": 1, "test": 1}
    assert found.contradictions == 6


def test_a_dataset_with_file_names_is_explored_like_any_other():
    dataset = bars_dataset()
    named = replace(dataset.train, names=np.array([f"{number}.png" for number in range(180)]))
    assert explore(replace(dataset, train=named)).as_json() == explore(dataset).as_json()


def test_images_on_disk_are_explored_as_those_in_memory(tmp_path):
    dataset = bars_dataset(channels=3)
    splits = {}
    for name, split in dataset.splits.items():
        np.save(tmp_path / f"{name}.npy", split.images[::-1])
        store = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        splits[name] = replace(split, images=Mapped(store, np.arange(len(split))[::-1].copy()))
    on_disk = explore(replace(dataset, **splits))
    assert on_disk.as_json() == explore(dataset).as_json()
    np.testing.assert_array_equal(on_disk.means, explore(dataset).means)


def test_images_of_more_than_one_batch_are_all_measured():
    images = np.random.default_rng(0).integers(0, 256, (1500, 4, 4, 1), dtype=np.uint8)
    split = Split(images, np.arange(1500) % 2)
    found = explore(Dataset("noise", split, split.take(np.arange(0)), split.take(np.arange(0)), ("a", "b")))
    assert found.pixels["train"].mean == pytest.approx(images.mean())
    assert np.abs(found.means[1] - images[1::2].mean(axis=0)).max() <= 0.5


def named_dataset(**facts):
    """Two modalities of three digits, named as PolyMNIST's files; training lacks the last 29 of m1."""

    def named(split, part, missing=0):
        rows = np.arange(len(split))
        names = [f"{part}/m{row % 2}/{row // 6}.{split.labels[row]}.png" for row in rows]
        order = np.argsort(names)[: len(rows) - missing]
        return replace(split.take(order), names=np.array(names)[order])

    parts = ("train", "train", "test")
    splits = {
        name: named(split, part, 29 if name == "train" else 0)
        for (name, split), part in zip(bars_dataset().splits.items(), parts, strict=True)
    }
    return replace(bars_dataset(**facts), **splits)


def test_modalities_and_digits_are_counted_where_the_names_tell_them():
    dataset = named_dataset()
    found = explore(dataset)
    assert set(found.modalities) == {"train", "validation", "test"}
    for name, split in dataset.splits.items():
        table = found.modalities[name]
        assert table.shape == (2, 10)
        assert table.sum(axis=0)[:3].tolist() == found.counts[name].tolist()
        assert table[1].sum() == sum("/m1/" in path for path in split.names.tolist())
    assert found.modalities["train"].sum() == 151
    assert found.as_json()["modalities"]["test"] == found.modalities["test"].tolist()


def test_images_of_all_modalities_side_by_side_have_none():
    assert explore(named_dataset(origin={"views": True})).modalities is None
