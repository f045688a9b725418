"""Classical models: the same Run, the same answers through ONNX Runtime."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from guarismo.data.dataset import Dataset, Mapped, Split
from guarismo.data.sources import load
from guarismo.errors import RunError
from guarismo.models.settings import Settings

pytest.importorskip("skl2onnx", reason="training is the [train] extra")

from threadpoolctl import threadpool_limits

from guarismo.models import classical
from guarismo.models.classical import (
    CLASSICAL,
    MOST_IMAGES,
    TREES,
    features,
    fit_classical,
    flattened,
    forest,
    nearer_more,
    part_of,
    probabilities,
)
from guarismo.models.hog import constants_of
from guarismo.models.runs import Run, answer, open_run, open_session
from guarismo.models.training import train
from guarismo.progress import silent
from tiny_run import bars_dataset

OTHERS = ("boosted", "knn", "svm", "svm-hog")


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Few rounds, and one thread: OpenMP's wait for each other in a loop, which beside other work took 34 s for 1.2."""
    with threadpool_limits(1, "openmp"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(classical, "ROUNDS", 10)
        patch.setattr(classical, "ROUNDS_AT_ONCE", 5)
        yield


@pytest.fixture(scope="module")
def runs(bars, tmp_path_factory) -> dict[str, Run]:
    """One trained run of each. Do not change their folders."""
    place = tmp_path_factory.mktemp("classical")
    return {model: train(bars, Settings(model=model, seed=1), place / model) for model in OTHERS}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """400 + 100 of the embedded digits."""
    whole = load("digits")
    return replace(
        whole, train=whole.train.take(np.arange(0, 3500, 9)), validation=whole.validation.take(np.arange(100))
    )


def fitted(dataset, model, seed=0):
    return fit_classical(dataset, Settings(model=model, seed=seed), silent)


def onnx_answers(result, images, classes):
    return answer(open_session(result.files["model.onnx"]), images, classes)


def test_a_forest_answers_through_onnx_as_scikit_learn_does(bars, forest_run):
    estimator = forest(bars, Settings(model="forest"), silent)
    expected = estimator.predict_proba(flattened(bars.test.images))
    np.testing.assert_allclose(forest_run.predict(bars.test.images), expected, atol=1e-5)


def test_a_forest_grown_in_steps_is_the_forest_grown_at_once(bars):
    from sklearn.ensemble import RandomForestClassifier

    steps = forest(bars, Settings(model="forest", seed=3), silent)
    once = RandomForestClassifier(TREES, random_state=3).fit(flattened(bars.train.images), bars.train.labels)
    pixels = flattened(bars.test.images)
    np.testing.assert_array_equal(steps.predict_proba(pixels), once.predict_proba(pixels))


@pytest.mark.parametrize(("model", "last"), [("forest", 100), ("boosted", 10), ("knn", 1), ("svm", 3), ("svm-hog", 3)])
def test_every_model_tells_how_far_it_is_in_as_many_steps_whatever_the_data(bars, model, last):
    told = []
    CLASSICAL[model](bars, Settings(model=model), lambda done, total, **_: told.append((done, total)))
    assert told[-1] == (last, last) and told == sorted(set(told))


def test_the_run_counts_the_nodes_of_its_trees(forest_run):
    assert forest_run.about["parameters"] > TREES
    assert forest_run.about["architecture"][0]["layer"] == "100 decision trees"
    assert forest_run.history == []


@pytest.mark.parametrize("model", OTHERS)
def test_each_becomes_a_run_that_opens_again_and_has_learnt(bars, runs, model):
    again = open_run(runs[model].folder)
    right = (again.predict(bars.test.images).argmax(axis=1) == bars.test.labels).mean()
    assert right > (0.4 if model == "svm-hog" else 0.7)  # of three classes, whose edges are mostly noise
    assert again.about["parameters"] == sum(row["parameters"] for row in again.about["architecture"]) > 0
    assert "learnt_from" not in again.about["facts"]


@pytest.mark.parametrize("model", OTHERS)
def test_skops_opens_the_estimator_which_answers_as_the_run(bars, runs, model):
    import skops.io

    file = runs[model].folder / "model.skops"
    strange = skops.io.get_untrusted_types(file=file)
    assert all(name.startswith("sklearn.") or name == "guarismo.models.classical.nearer_more" for name in strange)
    estimator = skops.io.load(file, trusted=strange)
    expected = probabilities(estimator, features(model, bars.test.images))
    np.testing.assert_allclose(runs[model].predict(bars.test.images), expected, atol=1e-5)


@pytest.mark.parametrize("model", OTHERS)
def test_the_same_seed_gives_the_same_answers(bars, runs, model):
    again = onnx_answers(fitted(bars, model, seed=1), bars.test.images, 3)
    np.testing.assert_array_equal(runs[model].predict(bars.test.images), again)


def test_another_seed_grows_other_boosted_trees(bars, runs):
    other = onnx_answers(fitted(bars, "boosted", seed=2), bars.test.images, 3)
    assert np.abs(other - runs["boosted"].predict(bars.test.images)).max() > 1e-3


@pytest.mark.parametrize("model", OTHERS)
@pytest.mark.parametrize(("classes", "side", "channels"), [(2, 8, 1), (4, 11, 3)])
def test_two_classes_colours_and_odd_sizes(model, classes, side, channels):
    dataset = bars_dataset(classes=classes, side=side, channels=channels)
    result, images = fitted(dataset, model), dataset.test.images
    answers = onnx_answers(result, images, classes)
    np.testing.assert_allclose(answers, result.predict(images), atol=1e-5)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert (answers.argmax(axis=1) == dataset.test.labels).mean() > (1.0 if model == "svm-hog" else 1.4) / classes


@pytest.mark.parametrize(("model", "least"), [("knn", 0.85), ("svm", 0.85), ("svm-hog", 0.93)])
def test_digits_are_learnt_from_389_images(digits, model, least):
    answers = fitted(digits, model).predict(digits.validation.images)
    assert (answers.argmax(axis=1) == digits.validation.labels).mean() >= least


def test_images_on_disk_give_the_same_model(bars):
    train = bars.train
    mapped = replace(bars, train=Split(Mapped(train.images, np.arange(len(train))), train.labels))
    for model in ("knn", "svm"):
        assert fitted(mapped, model).files["model.onnx"] == fitted(bars, model).files["model.onnx"]


@pytest.mark.parametrize("model", ["knn", "svm", "svm-hog"])
def test_a_model_that_learnt_from_a_part_says_so(bars, model, monkeypatch):
    monkeypatch.setitem(MOST_IMAGES, model, 90)
    result = fitted(bars, model)
    assert result.facts["learnt_from"] == "90 of 180 training images, drawn at random"
    assert result.architecture[0]["layer"] == "90 of 180 training images, drawn at random"
    assert result.files["model.onnx"] == fitted(part_of(bars, 90, 0), model).files["model.onnx"]


def test_a_part_is_random_seeded_and_holds_each_class_in_its_share(bars):
    labels = np.repeat([0, 1, 2], [120, 59, 1])
    uneven = replace(bars, train=Split(bars.train.images, labels))
    part, again, other = (part_of(uneven, 60, seed).train for seed in (0, 0, 1))
    assert np.bincount(part.labels).tolist() == [40, 19, 1]
    np.testing.assert_array_equal(part.images, again.images)
    assert (part.images != other.images).any()
    assert part_of(uneven, 180, 0) is uneven


def test_a_neighbour_enters_with_no_weight_so_that_answers_do_not_jump():
    weights = nearer_more(np.array([[10.0, 100, 200], [0, 0, 0]]))
    assert weights[0] == pytest.approx([1 - 100 / 40001, 1 - 10000 / 40001, 0], abs=1e-4)
    assert weights[1] == pytest.approx([1, 1, 1], abs=1e-4)


def test_the_same_picture_with_two_labels_is_answered_alike_by_both(bars):
    """Twenty copies of each picture: all neighbours are at distance 0, where rounding could decide."""
    copies = bars.train.take(np.repeat(np.arange(9), 20))
    twice = replace(bars, train=Split(copies.images, copies.labels, None, None))
    result = fitted(twice, "knn")
    np.testing.assert_allclose(onnx_answers(result, copies.images, 3), result.predict(copies.images), atol=1e-4)


@pytest.mark.parametrize("model", ["boosted", "knn", "svm"])
def test_an_export_that_answers_otherwise_is_not_kept(bars, tmp_path, model, monkeypatch):
    """Planted: the graph of the pixels takes 1 % off every grey value, which the estimator does not see."""
    honest = classical.graphs_of

    def darker(*given):
        door, *more = honest(*given)
        values, rest = door.nodes[0], door.nodes[1:]
        values.output[0] = "bright"
        dim = helper.make_node("Mul", ["bright", "dimmed"], ["values"])
        constants = [*door.constants, *constants_of(dimmed=np.float32([0.99]))]
        return [replace(door, nodes=[values, dim, *rest], constants=constants), *more]

    monkeypatch.setattr(classical, "graphs_of", darker)
    with pytest.raises(RunError, match="answers otherwise than the trained one, by up to"):
        train(bars, Settings(model=model), tmp_path / "run")


@pytest.mark.parametrize("model", ["forest", "boosted", "knn", "svm"])
def test_images_beyond_all_memory_are_refused_in_words(model, monkeypatch):
    images = np.broadcast_to(np.uint8(0), (2**20, 4096, 4096, 3))  # 48 TB that nobody has written
    dataset = Dataset("huge", Split(images, np.arange(2**20) % 2), *[bars_dataset().test] * 2, ("a", "b"))
    monkeypatch.setattr(classical, "MOST_IMAGES", {})
    with pytest.raises(RunError, match=r"holds its 1,048,576 images in memory, 196,608\.0 GB and more"):
        fitted(dataset, model)
