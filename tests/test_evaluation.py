import doctest
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from guarismo.errors import DataError, RunError
from guarismo.models.runs import open_run
from guarismo.results import evaluation
from guarismo.results.evaluation import (
    Evaluation,
    confusion_matrix,
    evaluate,
    evaluate_run,
    saved_evaluation,
    train_confusion,
    wilson,
)
from tiny_run import bars, bars_dataset, make_run

PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.0, 0.05, 0.95]])
LABELS = np.array([0, 1, 1, 1])


def random_answers(n=2000, classes=5):
    rng = np.random.default_rng(3)
    scores = rng.exponential(size=(n, classes)) + 0.01
    return scores / scores.sum(axis=1, keepdims=True), rng.integers(0, classes, n)


def test_four_images_counted_by_hand():
    found = evaluate(PROBABILITIES, LABELS, ["a", "b", "c"])
    assert found.accuracy == 0.5
    assert found.loss == pytest.approx(-np.log([0.9, 0.7, 0.3, 0.05]).mean())
    assert found.confusion.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert found.support.tolist() == [1, 3, 0]
    np.testing.assert_allclose(found.precision, [0.5, 1, 0])
    np.testing.assert_allclose(found.recall, [1, 1 / 3, 0])
    np.testing.assert_allclose(found.f1, [2 / 3, 0.5, 0])


def test_the_most_confident_error_comes_first():
    found = evaluate(PROBABILITIES, LABELS)
    assert found.hardest.tolist() == [3, 2]
    assert found.mistakes.answers.tolist() == [2, 0]
    assert found.mistakes.labels.tolist() == [1, 1]
    assert found.mistakes.confidences.tolist() == [0.95, 0.6]


def test_figures_equal_those_of_scikit_learn():
    from sklearn.metrics import confusion_matrix as reference
    from sklearn.metrics import log_loss, precision_recall_fscore_support

    probabilities, labels = random_answers()
    answers, found = probabilities.argmax(axis=1), evaluate(probabilities, labels)
    assert (found.confusion == reference(labels, answers)).all()
    assert found.loss == pytest.approx(log_loss(labels, probabilities))
    columns = precision_recall_fscore_support(labels, answers)
    for ours, theirs in zip((found.precision, found.recall, found.f1, found.support), columns, strict=True):
        np.testing.assert_allclose(ours, theirs)


@pytest.mark.parametrize("right, n", [(0, 10), (10, 10), (9905, 10_000), (1, 3)])
def test_wilson_equals_scipy(right, n):
    from scipy.stats import binomtest

    reference = binomtest(right, n).proportion_ci(0.95, "wilson")
    assert wilson(right, n) == pytest.approx(tuple(reference))


def test_calibration_error_is_the_gap_between_saying_and_doing():
    # 100 answers at 80 %, 60 of them right: 0.2 too sure.
    probabilities = np.tile([0.8, 0.2], (100, 1))
    labels = (np.arange(100) >= 60).astype(np.int64)
    found = evaluate(probabilities, labels)
    assert found.ece == pytest.approx(0.2)
    assert found.reliability.counts.sum() == 100
    assert found.reliability.counts[11] == 100  # (11/15, 12/15] holds 0.8


def test_one_impossible_answer_leaves_the_loss_finite():
    assert evaluate(np.array([[1.0, 0.0]]), np.array([1])).loss == pytest.approx(-np.log(1e-7))


def test_a_perfect_evaluation_has_no_errors():
    found = evaluate(np.eye(3), np.arange(3))
    assert (found.loss, found.ece, found.errors, len(found.hardest)) == (0, 0, 0, 0)


def test_json_round_trip_keeps_every_number():
    before = evaluate(*random_answers(), class_names=["a", "b", "c", "d", "ñ"])
    after = Evaluation.from_json(json.loads(json.dumps(before.as_json(), allow_nan=False)))
    assert after.as_json() == before.as_json()
    assert repr(after) == repr(before)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 5},
        {"confusion": [[1, 2], [3, 4]]},
        {"interval": [1]},
        {"class_names": None},
        {"mistakes": {"indices": [9], "labels": [0], "answers": [0], "confidences": [0.5]}},
        {"mistakes": {"indices": [1], "labels": [], "answers": [0], "confidences": [0.5]}},
    ],
)
def test_json_of_another_shape_is_refused(change):
    values = evaluate(PROBABILITIES, LABELS).as_json()
    with pytest.raises((TypeError, ValueError)):
        Evaluation.from_json({**values, **change})


@pytest.mark.parametrize(
    "probabilities, labels, words",
    [
        (PROBABILITIES[:3], LABELS, r"received \(3, 3\) and labels \(4,\)"),
        (PROBABILITIES[:, :2], LABELS, "its sum 0.9, not 1"),
        (PROBABILITIES, np.array([0, 1, -1, 1]), "1 images have no label"),
        (PROBABILITIES, np.array([0, 1, 3, 1]), "labels 0…2"),
        (PROBABILITIES, LABELS.astype(float), "whole labels"),
        (PROBABILITIES * np.nan, LABELS, "Row 0 is no set of probabilities"),
        (np.log(PROBABILITIES + 1e-9), LABELS, "Apply softmax"),
        (PROBABILITIES[:0], LABELS[:0], "no images"),
        (np.array([[1.5, -0.5]]), np.array([0]), "Row 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(probabilities, labels, words):
    with pytest.raises(DataError, match=words):
        evaluate(probabilities, labels)


def test_opening_the_test_images_is_written_into_the_run(tmp_path):
    dataset = bars_dataset()
    run, found = evaluate_run(make_run(tmp_path / "run", dataset), dataset)
    again = open_run(run.folder)
    opened = again.about["test_opened"]
    assert (opened["fingerprint"], opened["n"]) == (dataset.test.fingerprint, 90)
    assert opened["source"] == "bars"
    assert saved_evaluation(again).as_json() == found.as_json()
    assert again.arrays("test")["probabilities"].dtype == np.float32
    assert (again.arrays("test")["labels"] == dataset.test.labels).all()


def test_the_test_images_are_answered_once(tmp_path):
    dataset = bars_dataset()
    run, found = evaluate_run(make_run(tmp_path / "run", dataset), dataset)
    (run.folder / "model.onnx").unlink()  # a second answer would need the model
    again, saved = evaluate_run(run, dataset)
    assert again.about == run.about
    assert saved.as_json() == found.as_json()


def test_other_data_are_measured_and_recorded_but_the_saved_evaluation_stays_that_of_the_own(tmp_path):
    dataset = bars_dataset()
    other = replace(dataset, name="others", test=bars(30, seed=5), origin={"source": "others"})
    run, own = evaluate_run(make_run(tmp_path / "run", dataset), dataset)
    run, found = evaluate_run(run, other)
    assert found.n == 30
    assert [(opening["source"], opening["n"]) for opening in run.about["other_data"]] == [("others", 30)]
    assert run.about["other_data"][0]["accuracy"] == found.accuracy
    assert saved_evaluation(open_run(run.folder)).as_json() == own.as_json()


def test_many_processes_may_evaluate_one_run(tmp_path):
    dataset = bars_dataset()
    others = [replace(dataset, test=bars(30, seed=k), origin={"source": str(k)}) for k in range(4)]
    run = make_run(tmp_path / "run", dataset)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda data: evaluate_run(open_run(run.folder), data)[1].n, [dataset, *others] * 2))
    assert found == [90, 30, 30, 30, 30] * 2
    assert len(open_run(run.folder).about["other_data"]) == 8


@pytest.mark.parametrize("part", ["train", "test"])
def test_data_that_changed_since_training_is_refused(tmp_path, part):
    dataset = bars_dataset()
    run = make_run(tmp_path / "run", dataset)
    changed = replace(dataset, **{part: bars(90, seed=1)})
    with pytest.raises(RunError, match="changed since run run was trained"):
        evaluate_run(run, changed)
    assert "test_opened" not in open_run(run.folder).about


@pytest.mark.parametrize(
    "other, words",
    [
        (bars_dataset(names=("x", "y", "z")), "answers classes row 0, row 1, row 2, data 'bars' has x, y, z"),
        (bars_dataset(side=10), r"\(h, w, c\) 8, 8, 1, data 'bars' has 10, 10, 1"),
        (replace(bars_dataset(), test=bars(0)), "no labelled test images"),
    ],
)
def test_data_that_does_not_fit_is_refused(tmp_path, other, words):
    run = make_run(tmp_path / "run", bars_dataset())
    with pytest.raises(RunError, match=words):
        evaluate_run(run, other)


def test_a_run_without_evaluation_names_the_command(tmp_path):
    run = make_run(tmp_path / "run", bars_dataset())
    with pytest.raises(RunError, match=f"guarismo evaluate {run.folder}"):
        saved_evaluation(run)


def test_a_damaged_evaluation_is_refused(tmp_path):
    dataset = bars_dataset()
    run, _ = evaluate_run(make_run(tmp_path / "run", dataset), dataset)
    (run.folder / "evaluation.json").write_text('{"n": 3}')
    with pytest.raises(RunError, match="damaged"):
        saved_evaluation(run)


def test_train_confusion_counts_every_training_image(tmp_path):
    dataset = bars_dataset()
    run = make_run(tmp_path / "run", dataset)
    answers = run.predict(dataset.train.images).argmax(axis=1)
    assert (train_confusion(run) == confusion_matrix(dataset.train.labels, answers, 3)).all()
    assert train_confusion(run).sum() == 180


def test_an_unfinished_run_is_not_evaluated(tmp_path):
    dataset = bars_dataset()
    run = make_run(tmp_path / "run", dataset)
    path = run.folder / "run.json"
    path.write_text(path.read_text().replace('"finished"', '"training"'))
    with pytest.raises(RunError, match="not finished"):
        evaluate_run(open_run(run.folder), dataset)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(evaluation).failed == 0 < doctest.testmod(evaluation).attempted
