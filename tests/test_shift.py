"""Images unlike those of training: planted, and images like them that must not be called so."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as moved

from guarismo.data.dataset import Split
from guarismo.data.sources import load
from guarismo.results.shift import measures, outside, sample, shift, shift_of, training_images
from tiny_run import bars_dataset, make_run

FAULTS = {
    "inverted": (lambda image: 255 - image, "brighter"),
    "moved": (lambda image: moved(image, (5, 0), order=0), "further from the middle"),
    "faint": (lambda image: (0.4 * image).astype(np.uint8), "less contrast"),
    "blurred": (lambda image: gaussian_filter(image, 2.5), "more ink"),
    "noisy": (lambda image: np.maximum(image, (np.arange(784).reshape(28, 28) % 97).astype(np.uint8)), "brighter"),
}


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.mark.parametrize("fault", FAULTS)
def test_images_that_were_not_prepared_alike_are_found(digits, fault):
    make, said = FAULTS[fault]
    images = np.stack([make(image[..., 0]) for image in digits.test.images[:100]])[..., None]
    found = shift(digits.train.images, images)
    assert said in found.sentence() and "answers may be wrong" in found.remedy()
    assert found.number == pytest.approx(len(found.images) / 100)


def test_some_strange_images_among_many_are_named(digits):
    images = digits.test.images[:100].copy()
    images[10:50] = 255 - images[10:50]
    assert shift(digits.train.images, images).images[:40].tolist() == list(range(10, 50))


def test_images_of_the_same_kind_are_passed_over_in_silence(digits):
    """However few, and whatever they show: 600 draws, and each class alone."""
    known, new = measures(digits.train.images), measures(digits.test.images)
    rng = np.random.default_rng(0)
    draws = [rng.choice(1_000, n, replace=False) for n in (1, 2, 5, 20, 100, 500) for _ in range(100)]
    draws += [np.flatnonzero(digits.test.labels == label) for label in range(10)]
    found = [outside(known, {name: column[rows] for name, column in new.items()}, rows) for rows in draws]
    assert sum(each is not None for each in found) <= 1
    assert shift(digits.train.images, digits.test.images) is None


def test_one_image_alone_is_not_judged(digits):
    assert shift(digits.train.images, 255 - digits.test.images[:1]) is None
    assert shift(digits.train.images, digits.test.images[:0]) is None


def test_answers_that_are_less_sure_are_found_without_any_images():
    before = np.linspace(0.5, 1, 1_000)
    found = shift(None, np.zeros((40, 28, 28, 1), np.uint8), before, np.full(40, 0.4))
    assert found.number == 1 and "less sure" in found.sentence()
    assert shift(None, np.zeros((40, 28, 28, 1), np.uint8), before, before[::25]) is None
    assert shift(None, np.zeros((40, 28, 28, 1), np.uint8), before, np.ones(40)) is None, "surer is no harm"


def test_of_many_images_a_sample_is_measured():
    rows = sample(10_000, np.random.default_rng(0))
    assert len(rows) == 2_000 and (np.diff(rows) > 0).all()


def test_a_run_looks_at_its_training_images_where_they_are_unchanged(digits, tmp_path):
    run = make_run(tmp_path / "run", digits)
    assert training_images(run).shape == (3_500, 28, 28, 1)
    images = 255 - digits.test.images[:50]
    assert "brighter" in shift_of(run, images, run.predict(images)).sentence()
    other = replace(digits, test=Split(digits.test.images[:10], digits.test.labels[:10]))
    assert training_images(make_run(tmp_path / "changed", other)) is None


@pytest.mark.parametrize("source", ["nowhere.npz", "", "kaggle:owner/name"])
def test_training_images_that_cannot_be_had_are_done_without(source, tmp_path):
    run = make_run(tmp_path / "run", bars_dataset(origin={"source": source}))
    assert training_images(run) is None
    images = bars_dataset().test.images
    assert shift_of(run, images, run.predict(images)) is None


def test_predict_warns_of_images_unlike_those_of_training(digits, tmp_path, command):
    run = make_run(tmp_path / "run", digits)
    for name, images in (("alike", digits.test.images[:30]), ("inverted", 255 - digits.test.images[:30])):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=digits.test.labels[:30])
    status, out, err = command("predict", run.folder, tmp_path / "alike.npz")
    assert status == 0 and "training images" not in err
    status, out, err = command("predict", run.folder, tmp_path / "inverted.npz")
    assert status == 0 and len(out.splitlines()) == 31 and "brighter than nearly all training images" in err
