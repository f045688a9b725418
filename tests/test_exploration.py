import json
from dataclasses import replace

import numpy as np
import pytest

from guarismo.data.dataset import UNKNOWN, Dataset, Split
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
    assert set(found.repeats.values()) | set(found.shared.values()) | {found.contradictions} == {0}


def test_planted_copies_are_found_where_they_were_planted():
    dataset = bars_dataset()
    train = with_images(dataset.train, [3, 6, 9], dataset.train.images[0])
    test = with_images(dataset.test, [0, 30], dataset.train.images[0])
    found = explore(replace(dataset, train=train, test=test))
    assert found.repeats == {"train": 3, "validation": 0, "test": 1}
    assert found.shared == {("train", "validation"): 0, ("train", "test"): 2, ("validation", "test"): 0}
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
    assert {"between": ["train", "test"], "images": 0} in values["shared"]


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
