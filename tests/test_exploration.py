import json
from dataclasses import replace

import numpy as np
import pytest

from guarismo.data.dataset import UNKNOWN, Dataset, Mapped, Split
from guarismo.data.exploration import ENDS, KEPT, MAPPED, QUANTILES, THUMBNAIL, Copy, explore, intraclass_share, lay_out
from guarismo.data.shapes import MEASURES, measure
from guarismo.data.sources import load
from tiny_run import bars, bars_dataset


@pytest.fixture(scope="module")
def digits():
    """5,000 handwritten digits, 3,500 of them for training."""
    return load("digits")


@pytest.fixture(scope="module")
def found(digits):
    return explore(digits)


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


def test_spread_images_are_the_deviation_of_their_class():
    dataset = bars_dataset(channels=3)
    spreads = explore(dataset).spreads
    assert spreads.dtype == np.uint8 and spreads.shape == (3, 8, 8, 3)
    expected = dataset.train.images[dataset.train.labels == 2].std(axis=0)
    assert np.abs(spreads[2] - expected).max() <= 0.51
    constant = replace(dataset.train, images=np.full_like(dataset.train.images, 200))
    assert not explore(replace(dataset, train=constant)).spreads.any()


def test_the_range_of_the_values_is_told():
    images = np.full((4, 8, 8, 1), 30, dtype=np.uint8)
    images[1, 2, 2] = 201
    pixels = explore(replace(bars_dataset(), test=Split(images, np.zeros(4, dtype=np.int64)))).pixels["test"]
    assert (pixels.least, pixels.most) == (30, 201)


def test_blank_images_are_found():
    dataset = bars_dataset()
    assert not any(len(images) for images in explore(dataset).blank.values())
    changed = with_images(dataset.train, [4, 11], np.full((2, 8, 8, 1), 77, dtype=np.uint8))
    blank = explore(replace(dataset, train=changed)).blank
    assert {name: images.tolist() for name, images in blank.items()} == {"train": [4, 11], "validation": [], "test": []}


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
    assert found.copies == (
        Copy(("test", 0), ("train", 0)),
        Copy(("test", 30), ("train", 0)),
        Copy(("train", 3), ("train", 0)),
        Copy(("train", 6), ("train", 0)),
        Copy(("train", 9), ("train", 0)),
    )


def test_of_many_copies_a_few_are_named_those_between_two_splits_first():
    dataset = bars_dataset()
    train = with_images(dataset.train, np.arange(100), dataset.train.images[0])
    validation = with_images(dataset.validation, [7], dataset.train.images[150])
    found = explore(replace(dataset, train=train, validation=validation))
    assert (len(found.copies), found.repeats["train"]) == (KEPT, 99)
    assert found.copies[0] == Copy(("validation", 7), ("train", 150))


def test_a_planted_contradiction_is_counted_on_both_sides():
    dataset = bars_dataset()
    test = with_images(dataset.test, [5], dataset.train.images[0], 2)
    found = explore(replace(dataset, test=test))
    assert found.contradictions == 2
    assert found.contradicting == (Copy(("test", 5), ("train", 0)),)


def test_a_copy_without_a_label_contradicts_nothing():
    dataset = bars_dataset()
    test = with_images(dataset.test, [5], dataset.train.images[0], UNKNOWN)
    found = explore(replace(dataset, test=test))
    assert (found.contradictions, found.contradicting, len(found.copies)) == (0, (), 1)


def test_unlabelled_images_are_counted_apart():
    dataset = bars_dataset()
    test = with_images(dataset.test, [0, 1], dataset.test.images[:2], UNKNOWN)
    found = explore(replace(dataset, test=test))
    assert found.unlabelled == {"train": 0, "validation": 0, "test": 2}
    assert found.counts["test"].sum() == 88


def test_images_without_any_labels_are_measured():
    test = Split(load("digits").test.images[:12], np.full(12, UNKNOWN))
    found = explore(Dataset("photos", test.take(np.arange(0)), test.take(np.arange(0)), test, ()))
    assert (found.balance, found.contradictions, found.unlabelled["test"]) == (0, 0, 12)
    assert found.counts["test"].tolist() == [] and found.means.shape == (0, 28, 28, 1)
    assert (found.shown, found.shaped) == ("test", 1)
    assert [each.measured for (each,) in found.variation.values()] == [12] * len(MEASURES)
    json.dumps(found.as_json(), allow_nan=False)


def test_an_empty_split_is_no_obstacle():
    found = explore(replace(bars_dataset(), test=bars(0)))
    assert found.counts["test"].tolist() == [0, 0, 0]
    assert "test" not in found.pixels


def test_nothing_at_all_is_no_obstacle():
    nothing = bars(0)
    found = explore(Dataset("nothing", nothing, nothing, nothing, ()))
    assert (found.map, found.groups, found.shaped, found.copies) == (None, None, 0, ())
    json.dumps(found.as_json(), allow_nan=False)


def test_a_single_image_is_explored():
    dataset = load("digits")
    one = dataset.train.take(np.array([100]))
    found = explore(replace(dataset, train=one, validation=one.take(np.arange(0)), test=one.take(np.arange(0))))
    label = int(one.labels[0])
    assert [each is not None for each in found.variation["slant"]] == [digit == label for digit in range(10)]
    assert found.variation["slant"][label].low.tolist() == found.variation["slant"][label].high.tolist() == [0]
    assert found.map is None
    json.dumps(found.as_json(), allow_nan=False)


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
    found = explore(named_dataset(origin={"views": True}))
    assert (found.modalities, found.shaped) == (None, 0)


# How a class varies


def test_each_class_has_a_histogram_and_quantiles_of_its_own_images(digits, found):
    columns = measure(digits.train.images)
    for name in MEASURES:
        for label, each in enumerate(found.variation[name]):
            values = columns[name][digits.train.labels == label].astype(np.float64)
            assert each.measured == each.counts.sum() == len(values)
            assert len(each.edges) == len(each.counts) + 1
            np.testing.assert_allclose(each.quantiles, np.quantile(values, QUANTILES))
            assert each.median == np.median(values)
    assert found.variation["holes"][8].holed == np.mean(columns["holes"][digits.train.labels == 8] > 0)


def test_all_classes_share_the_edges_of_a_measure(found):
    for classes in found.variation.values():
        assert all(np.array_equal(each.edges, classes[0].edges) for each in classes)
    assert found.variation["holes"][0].edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]


def test_the_ends_are_the_outermost_image_and_those_about_the_outer_quantile(digits, found):
    slants = measure(digits.train.images)["slant"]
    sevens = np.flatnonzero(digits.train.labels == 7)
    order = sevens[np.argsort(slants[sevens])]
    seven = found.variation["slant"][7]
    assert seven.low.tolist() == [order[0], *order[2 : 2 + ENDS - 1]]  # 350 images: one in 200 is 2 images
    assert seven.high.tolist() == [order[-1], *order[::-1][2 : 2 + ENDS - 1]]


def test_a_loop_tells_one_2_from_the_other(digits, found):
    holes = measure(digits.train.images)["holes"]
    two = found.variation["holes"][2]
    assert set(digits.train.labels[np.concatenate([two.low, two.high])]) == {2}
    assert not holes[two.low].any() and holes[two.high].all()


def test_broken_images_do_not_fill_the_ends(digits):
    """Two of 350 sevens are blots: the outermost is one of them, the others are sevens."""
    images = digits.train.images.copy()
    spoilt = np.flatnonzero(digits.train.labels == 7)[:2]
    images[spoilt, 3:25, 3:25] = 255
    seven = explore(replace(digits, train=replace(digits.train, images=images))).variation["ink"][7]
    assert np.isin(seven.high, spoilt).tolist() == [True] + [False] * (ENDS - 1)


def test_the_ends_of_few_images_do_not_overlap():
    digits = load("digits").train
    few = digits.take(np.flatnonzero(digits.labels == 3)[:9])
    dataset = Dataset("few", few, few.take(np.arange(0)), few.take(np.arange(0)), tuple("0123"))
    three = explore(dataset).variation["slant"][3]
    assert len(three.low) == len(three.high) == 4
    assert not set(three.low.tolist()) & set(three.high.tolist())


def test_a_class_without_images_or_without_ink_has_no_variation(digits):
    images = digits.train.images.copy()
    images[digits.train.labels == 5] = 0
    train = replace(digits.train, images=images)
    found = explore(replace(digits, train=train.take(np.flatnonzero(train.labels != 2))))
    for classes in found.variation.values():
        assert [label for label, each in enumerate(classes) if each is None] == [2, 5]
    assert found.shaped == pytest.approx(8 / 9)
    assert found.as_json()["variation"]["ink"][5] is None


# Writers


def test_the_share_between_writers_is_that_with_which_it_was_drawn():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 20)
    labels = np.tile(np.arange(2), 2000)
    hands = rng.normal(0, 2, (200, 2))[groups, labels]
    values = (100 * labels + hands + rng.normal(0, 1, 4000)).astype(np.float32)
    assert intraclass_share(values, labels, groups) == pytest.approx(4 / 5, abs=0.03)
    noise = rng.normal(0, 1, 4000).astype(np.float32)
    assert intraclass_share(noise, labels, groups) == pytest.approx(0, abs=0.03)


def test_a_share_needs_two_images_of_a_class_by_one_writer():
    values, labels = np.arange(6, dtype=np.float32), np.array([0, 0, 0, 1, 1, 1])
    assert intraclass_share(values, labels, np.arange(6)) is None
    assert intraclass_share(values, labels, np.zeros(6, dtype=np.int64)) is None
    assert intraclass_share(np.full(6, np.nan, dtype=np.float32), labels, np.arange(6)) is None
    assert intraclass_share(np.zeros(6, dtype=np.float32), labels, np.array([0, 0, 1, 0, 1, 1])) is None
    assert intraclass_share(np.array([1, 1, 5, 2, 7, 7]), labels, np.array([0, 0, 1, 0, 1, 1])) == 1


def test_writers_who_write_the_same_twice_differ_only_from_each_other(digits):
    assert explore(digits).groups is None
    pairs = digits.train.take(np.repeat(np.arange(0, 3500, 2), 2))
    found = explore(replace(digits, train=replace(pairs, groups=np.arange(3500) // 2), grouped_by="writer")).groups
    assert (found.groups, found.least, found.median, found.most) == (1750, 2, 2, 2)
    assert min(found.shares.values()) == 1


# The map


def test_the_axes_of_the_map_are_those_of_the_singular_values(digits):
    pixels = digits.test.images.reshape(1000, -1).astype(np.float64)
    values = np.linalg.svd(pixels - pixels.mean(axis=0), compute_uv=False)
    found = lay_out(digits.test.images)
    assert found.explained == pytest.approx((values[:2] ** 2).sum() / (values**2).sum(), rel=1e-3)
    assert found.images.tolist() == list(range(1000))


def test_like_images_lie_close_to_each_other(digits, found):
    labels = digits.train.labels[found.map.images]
    zeros, ones = (found.map.places[labels == label].mean(axis=0) for label in (0, 1))
    assert np.linalg.norm(zeros - ones) > 0.4
    assert len(found.map.images) == MAPPED == len(set(found.map.images.tolist()))
    assert found.map.places.min() == 0 and found.map.places.max() == 1


def test_thumbnails_do_not_touch(found):
    places = found.map.places[found.map.thumbnails]
    away = np.abs(places[:, None] - places).max(axis=2)
    np.fill_diagonal(away, 1)
    assert len(places) > 50 and away.min() >= THUMBNAIL


def test_large_and_odd_images_are_laid_out():
    rng = np.random.default_rng(0)
    for shape in ((5, 1, 1, 1), (3, 100, 130, 3), (40, 2, 90, 1)):
        found = lay_out(rng.integers(0, 256, shape, dtype=np.uint8))
        assert found.places.shape == (shape[0], 2) and np.isfinite(found.places).all()
        assert 0 < found.explained <= 1.0001


def test_of_images_that_are_all_the_same_there_is_no_map():
    assert lay_out(np.full((9, 8, 8, 1), 7, dtype=np.uint8)) is None
