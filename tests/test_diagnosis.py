"""A run is diagnosed as a whole: what real trainings with planted faults tell, and that healthy ones tell nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from guarismo.data.dataset import Dataset, Split
from guarismo.data.leaks import find_leaks
from guarismo.data.sources import load
from guarismo.errors import RunError
from guarismo.models.runs import Run, commit, open_run
from guarismo.models.settings import Settings
from guarismo.results.diagnosis import DETECTORS, EXPLAINED, diagnose, gather, leaked, looked_for
from guarismo.results.evaluation import evaluate_run
from tiny_run import HISTORY, bars_dataset, make_run, overfit_history

HEALTHY = HISTORY + "".join(f"{epoch},{0.9 / epoch},0.9,{0.2 + 0.4 / epoch**2},0.9,0.001,1\n" for epoch in range(1, 9))


def names(found):
    return [finding.name for finding in found]


def answered(folder, dataset: Dataset, probabilities, history=HEALTHY) -> Run:
    """A finished run that answers the validation images so."""
    run = make_run(folder, dataset, history=history)
    kept = {"labels": dataset.validation.labels, "probabilities": probabilities.astype(np.float32)}
    metrics = {**run.about["metrics"], "train_accuracy": 0.98}
    return commit(run, {"validation.safetensors": save(kept)}, metrics=metrics)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def right(digits):
    """Answers to the 500 validation digits that are 97 % right and say so, the errors anywhere."""
    labels = digits.validation.labels
    probabilities = np.full((500, 10), 0.03 / 9)
    probabilities[np.arange(500), labels] = 0.97
    wrong = np.random.default_rng(0).choice(500, 15, replace=False)
    probabilities[wrong] = np.full((15, 10), 0.03 / 9)
    probabilities[wrong, (labels[wrong] + 1 + np.arange(15) % 9) % 10] = 0.97
    return probabilities


# Healthy


def test_a_healthy_run_is_passed_over_in_silence(digits, right, tmp_path):
    run = answered(tmp_path / "run", digits, right)
    assert diagnose(run, digits) == [] and diagnose(run) == []
    assert looked_for(gather(run, digits)) == tuple(DETECTORS)


def test_small_trainings_in_earnest(network_run, forest_run, bars):
    assert names(diagnose(network_run, bars)) == []
    assert names(diagnose(forest_run, bars)) == []


# Faults in training, in earnest


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    pytest.importorskip("keras", reason="training is the [train] extra")
    from guarismo.models.training import train

    def fit(dataset=digits, **settings) -> Run:
        folder = tmp_path_factory.mktemp("runs") / "run"
        return train(dataset, Settings(**{"model": "linear", "epochs": 6, "schedule": "constant", **settings}), folder)

    return fit


def test_a_step_size_a_thousand_times_too_small(trained):
    assert names(diagnose(trained(learning_rate=1e-6))) == ["learning-rate-too-low"]


def test_a_step_size_a_thousand_times_too_large(trained):
    found = diagnose(trained(model="mlp", learning_rate=1.0, epochs=4))
    assert names(found) == ["learning-rate-too-high"] and "--learning-rate 0.1" in found[0].remedy()


def test_a_few_images_learnt_by_heart(trained, digits):
    few = replace(digits, train=digits.train.take(np.arange(0, 3_500, 25)))
    found = diagnose(trained(few, model="mlp", epochs=12, learning_rate=2e-3))
    assert "over-fitting" in names(found)


def test_a_model_that_is_too_weak(trained):
    assert "under-fitting" in names(diagnose(trained(epochs=8, learning_rate=2e-3, schedule="one-cycle")))


# Faults in the data


def test_copies_of_training_images_are_a_leak(digits, right, tmp_path):
    images = digits.validation.images.copy()
    images[:40] = digits.train.images[100:140]
    images[40:80] = digits.train.images[200:240] // 2
    dataset = replace(digits, validation=Split(images, digits.validation.labels))
    exact, near = diagnose(answered(tmp_path / "run", dataset, right), dataset)
    assert (exact.name, near.name) == ("leak", "leak")
    assert "40 of 500 images are exact copies" in exact.sentence()
    assert near.values["count"] >= 35 and np.isin(near.images, np.arange(40, 80)).all()


@pytest.mark.parametrize("kind, name", [("writer", "shared-groups"), ("original", "leak"), ("group", "shared-groups")])
def test_shared_groups_are_told_by_what_they_are(kind, name):
    dataset = bars_dataset(grouped_by=kind)
    parts = {part: replace(split, groups=np.arange(len(split))) for part, split in dataset.splits.items()}
    found = leaked(find_leaks(replace(dataset, **parts)))
    assert {finding.name for finding in found} == {name}
    assert (f"--group {kind}" if kind == "writer" else "--group auto") in found[0].remedy()


def test_the_other_split_stays_closed(digits, right, tmp_path):
    """Copies in the test images are no matter of validation."""
    dataset = replace(digits, test=digits.train.take(np.arange(100)))
    assert diagnose(answered(tmp_path / "run", dataset, right), dataset) == []


def test_thin_strokes_that_fail_are_found_with_the_images(digits, right, tmp_path):
    from guarismo.data.shapes import measure

    thin = np.argsort(measure(digits.validation.images)["stroke"])[:14]
    probabilities = right.copy()
    probabilities[thin] = np.roll(probabilities[thin], 1, axis=1)
    found = {finding.name: finding for finding in diagnose(answered(tmp_path / "run", digits, probabilities), digits)}
    assert "thin strokes" in found["failing-slice"].sentence()
    assert np.isin(thin, found["failing-slice"].images).mean() > 0.8


def test_without_the_data_slices_and_leaks_are_not_looked_for(digits, right, tmp_path):
    names = looked_for(gather(answered(tmp_path / "run", digits, right)))
    assert not {"leaks", "failing slices"} & set(names) and {"over-fitting", "confusable pairs"} <= set(names)


# What is told


def test_the_gravest_comes_first_and_explains_the_rest(digits, tmp_path):
    """One class for all, from steps too large: that alone is told."""
    always = np.tile(np.eye(10)[1] * 0.9 + 0.01, (500, 1))
    run = answered(tmp_path / "run", digits, always)
    assert names(diagnose(run)) == ["collapse"]
    losses = (24.9, 2.51, 2.33, 2.34, 2.36, 2.35)
    history = HISTORY + "".join(f"{k},{loss},0.1,{loss},0.1,0.001,1\n" for k, loss in enumerate(losses, start=1))
    run = answered(tmp_path / "large", digits, always, history)
    assert names(diagnose(run)) == ["learning-rate-too-high"]


def test_over_fitting_and_under_fitting_are_not_told_of_one_run(digits, right, tmp_path):
    """Sure of wrong answers, the validation loss rises while as many are right: a stronger model is no remedy."""
    poor = {"train_accuracy": 0.93}
    healthy = answered(tmp_path / "healthy", digits, right)
    assert names(diagnose(commit(healthy, {}, metrics={**healthy.about["metrics"], **poor}))) == ["under-fitting"]
    run = answered(tmp_path / "run", digits, right, overfit_history())
    assert names(diagnose(commit(run, {}, metrics={**run.about["metrics"], **poor}))) == ["over-fitting"]


def test_what_explains_is_looked_for_before_what_it_explains():
    assert all(name not in EXPLAINED[name] for name in EXPLAINED)
    assert "leak" not in {name for explained in EXPLAINED.values() for name in explained}


# Bad input


def test_a_run_without_history_is_judged_by_its_answers(digits, right, tmp_path):
    run = answered(tmp_path / "run", digits, right, HISTORY)
    assert diagnose(run) == [] and "over-fitting" not in looked_for(gather(run))


@pytest.mark.parametrize("row", ["1,nan,0.1,nan,0.1,0.001,1\n", "1,0.5,0.8,0.6,0.8,0.001,1\n"])
def test_one_epoch_tells_nothing_but_that_it_is_no_number(digits, right, tmp_path, row):
    found = diagnose(answered(tmp_path / "run", digits, right, HISTORY + row))
    assert names(found) == (["diverged"] if "nan" in row else [])


def test_a_run_that_was_cut_off_is_judged_by_its_curves(digits, tmp_path):
    run = commit(make_run(tmp_path / "run", digits), {}, state="training")
    found = diagnose(open_run(run.folder))
    assert names(found)[:2] == ["unfinished", "over-fitting"] and "--resume" in found[0].remedy()


def test_test_images_that_were_not_opened_stay_closed(digits, right, tmp_path):
    run = answered(tmp_path / "run", digits, right)
    with pytest.raises(RunError, match="guarismo evaluate"):
        diagnose(run, digits, "test")
    run, _ = evaluate_run(run, digits)
    assert {finding.split for finding in diagnose(run, digits, "test")} <= {"test", ""}


def test_other_data_than_the_run_s_are_refused(digits, right, tmp_path):
    run = answered(tmp_path / "run", digits, right)
    with pytest.raises(RunError, match="are not the 500 that run run answered"):
        diagnose(run, replace(digits, validation=digits.test))
    with pytest.raises(RunError, match="Did you mean 'validation'"):
        diagnose(run, digits, "validatoin")


# The command


@pytest.fixture
def healthy_folder(digits, right, tmp_path):
    return answered(tmp_path / "run", digits, right).folder


def test_nothing_wrong_is_said_with_what_was_looked_for(healthy_folder, command):
    status, out, _ = command("diagnose", healthy_folder)
    assert status == 0
    assert out.startswith("Nothing wrong was found. run, validation images: looked for interruption")
    assert "leaks" in out and "confusable pairs" in out


def test_findings_are_told_with_remedy_and_images(digits, right, tmp_path, command):
    probabilities = right.copy()
    probabilities[:, 7] = 0
    run = answered(tmp_path / "run", digits, probabilities / probabilities.sum(axis=1, keepdims=True))
    status, out, _ = command("diagnose", run.folder)
    lines = out.splitlines()
    assert status == 0 and lines[0].startswith("Class 7 is never answered, though ")
    assert lines[1].startswith("  Look whether") and lines[2].startswith("  Images of validation, counted from 0: ")
    assert "\u202f" not in out
    status, out, _ = command("diagnose", run.folder, "--json")
    told = json.loads(out)
    assert told["findings"][0]["finding"] == "dead-classes" and told["split"] == "validation"
    assert set(told["looked_for"]) == set(DETECTORS)


def test_the_command_refuses_test_images_that_were_not_opened(healthy_folder, command):
    status, _, err = command("diagnose", healthy_folder, "--split", "test")
    assert status == 1 and "has not been evaluated" in err
