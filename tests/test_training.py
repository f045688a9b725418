"""train and resume: what is kept, what is refused, and that a cut-off training loses nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from guarismo.data.dataset import Dataset, Split, empty_like
from guarismo.errors import DataError, RunError
from guarismo.models.runs import Fitted, Run, open_run
from guarismo.models.settings import Settings
from tiny_run import bars_dataset, full_disk

pytest.importorskip("keras", reason="training is the [train] extra")

from guarismo.models.fitting import to_onnx
from guarismo.models.training import MODELS, begin, check_trainable, keep, resume, train

SHORT = Settings(model="linear", epochs=4, batch_size=32, rotation=5.0)
"""Four epochs with all that is random: order, augmentation, initial weights."""


def weights(run: Run) -> dict[str, np.ndarray]:
    return run.arrays("weights")


def assert_same(first: Run, second: Run) -> None:
    """Equal to the last bit."""
    assert first.about["files"]["weights.safetensors"] == second.about["files"]["weights.safetensors"]
    assert [{**row, "seconds": 0} for row in first.history] == [{**row, "seconds": 0} for row in second.history]


@pytest.fixture(scope="module")
def unbroken(bars, tmp_path_factory):
    return train(bars, SHORT, tmp_path_factory.mktemp("unbroken") / "run")


@pytest.mark.parametrize("model", ["linear", "mlp", "cnn", "forest"])
def test_every_kind_of_model_learns(bars, tmp_path, model):
    run = train(bars, Settings(model=model, epochs=12, batch_size=16), tmp_path / model)
    right = run.predict(bars.test.images).argmax(axis=1) == bars.test.labels
    assert right.mean() > 0.6  # guessing: 0.33; noise hides the row in one image of five
    assert run.about["parameters"] > 0
    assert run.about["metrics"]["validation_accuracy"] > 0.6


def test_the_finished_folder_is_whole_and_says_what_was_done(bars, network_run):
    opened = open_run(network_run.folder)
    assert opened.finished and opened.settings.model == "mlp"
    assert opened.about["data"]["fingerprint"] == bars.fingerprint
    assert opened.about["data"]["counts"] == {"train": 180, "validation": 60, "test": 90}
    assert len(opened.history) == 6
    assert "test_opened" not in opened.about
    assert sorted(path.name for path in opened.folder.iterdir() if path.name != ".lock") == sorted(
        ["run.json", *opened.about["files"]]
    )


def test_the_kept_weights_are_those_of_the_best_epoch(network_run):
    losses = [row["validation_loss"] for row in network_run.history]
    assert network_run.about["facts"]["kept_epoch"] == int(np.argmin(losses)) + 1
    assert network_run.about["metrics"]["validation_loss"] == pytest.approx(min(losses), abs=0.02)


def test_same_seed_same_weights_other_seed_others(bars, unbroken, tmp_path):
    assert_same(train(bars, SHORT, tmp_path / "again"), unbroken)
    other = train(bars, replace(SHORT, seed=1), tmp_path / "other")
    assert any(not np.array_equal(weights(other)[name], array) for name, array in weights(unbroken).items())


@pytest.mark.parametrize("schedule", ["one-cycle", "plateau"])
@pytest.mark.parametrize("model", ["linear", "mlp"])  # mlp: with dropout and batch normalisation
def test_interrupted_in_any_epoch_it_goes_on_to_the_same_weights(bars, tmp_path, model, schedule):
    settings = replace(SHORT, model=model, schedule=schedule, plateau_patience=1, learning_rate=0.05)
    expected = train(bars, settings, tmp_path / "unbroken")
    for epoch, words in ((1, "Stopped. Go on"), (3, "Stopped after epoch 2 of 4. Go on")):
        folder = tmp_path / str(epoch)

        def interrupt(done, total, stop=epoch, **facts):
            if facts["epoch"] == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt, match=f"{words} with: guarismo train --resume"):
            train(bars, settings, folder, interrupt)
        assert not open_run(folder).finished
        resumed = resume(open_run(folder), bars)
        assert_same(resumed, expected)
        assert resumed.about["seconds"]["train"] >= sum(row["seconds"] for row in resumed.history) - 0.01


def test_killed_with_no_warning_it_goes_on_to_the_same_weights_in_another_process(bars, unbroken, tmp_path):
    program = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2]);"
        "from pathlib import Path; from tiny_run import bars_dataset, full_disk; from test_training import SHORT;"
        "from guarismo.models.training import train\n"
        "def kill(done, total, **facts):\n"
        "    if facts['epoch'] == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "train(bars_dataset(), SHORT, Path(sys.argv[1]), kill)"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "run"), str(Path(__file__).parent)]
    killed = subprocess.run(arguments, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    stopped = open_run(tmp_path / "run")
    assert len(stopped.history) == 2
    with pytest.raises(RunError, match=r"not finished: 2 of 4 epochs.*train --resume"):
        stopped.predict(bars.test.images)
    assert_same(resume(stopped, bars), unbroken)


def test_a_run_may_be_looked_at_at_any_moment_while_it_trains(bars, unbroken, tmp_path):
    (tmp_path / "run").mkdir()
    over, seen = threading.Event(), []

    def look():
        while not over.is_set():
            if (tmp_path / "run" / "run.json").exists():
                seen.append(len(open_run(tmp_path / "run").history))

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            run = train(bars, SHORT, tmp_path / "run")
        finally:
            over.set()
        looking.result()
    assert seen == sorted(seen) and seen[-1] > 0
    assert_same(run, unbroken)


def test_a_finished_run_has_nothing_to_resume(bars, unbroken):
    with pytest.raises(RunError, match="is finished: there is nothing to resume"):
        resume(unbroken, bars)


def test_other_data_cannot_go_on_with_a_run(bars, tmp_path):
    (tmp_path / "run").mkdir()
    run = begin(tmp_path / "run", bars, SHORT)
    with pytest.raises(RunError, match="have changed since it began"):
        resume(run, bars_dataset(classes=2))


def test_a_folder_in_use_is_refused_and_left_as_it_is(bars, unbroken):
    before = (unbroken.folder / "run.json").read_bytes()
    with pytest.raises(RunError, match="already holds a run"):
        train(bars, SHORT, unbroken.folder)
    assert (unbroken.folder / "run.json").read_bytes() == before


def test_a_folder_with_other_things_in_it_is_refused_before_any_work(bars, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"is not empty: it holds notes\.txt"):
        train(bars, SHORT, tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_images_too_small_for_the_network_leave_no_folder_behind(bars, tmp_path):
    with pytest.raises(RunError, match="too small for 'mnist-cnn'"):
        train(bars, Settings(model="mnist-cnn"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("model", "absent"), [("forest", "skl2onnx"), ("linear", "keras")])
def test_without_the_extra_one_line_says_what_to_install_and_no_folder_is_left(tmp_path, model, absent):
    """In a process of its own, where the package is hidden as if it had not been installed."""
    program = (
        "import sys; from importlib.machinery import PathFinder; find = PathFinder.find_spec\n"
        "def seek(name, *rest):\n"
        f"    return None if name.split('.')[0] == '{absent}' else find(name, *rest)\n"
        "PathFinder.find_spec = seek\n"
        "from guarismo.cli import main; main(sys.argv[1:])"
    )
    words = [sys.executable, "-c", program, "train", "digits", "--model", model, "--out", str(tmp_path / "run")]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.endswith("Install them with: pip install 'guarismo[train]'\n")
    assert not (tmp_path / "run").exists()


def test_an_altered_checkpoint_is_found_before_it_is_used(bars, tmp_path):
    def interrupt(done, total, **facts):
        if facts["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(bars, SHORT, tmp_path / "run", interrupt)
    path = tmp_path / "run" / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"checkpoint\.safetensors was altered"):
        open_run(tmp_path / "run")


def test_a_second_training_into_the_folder_of_a_first_is_refused(bars, tmp_path):
    refused = []

    def second(done, total, **facts):
        if not refused:
            with pytest.raises(RunError, match="Another process is writing") as caught:
                train(bars, SHORT, tmp_path / "run")
            refused.append(caught)

    train(bars, SHORT, tmp_path / "run", second)
    assert refused


def test_an_export_that_answers_otherwise_is_not_kept(bars, tmp_path):
    from guarismo.models.architectures import build

    network, other = build("linear", bars.shape, 3), build("linear", bars.shape, 3)
    fitted = Fitted(
        files={"model.onnx": to_onnx(other, bars.shape)},
        predict=lambda images: np.asarray(network(images)),
        parameters=1,
        architecture=[],
        facts={},
    )
    run = begin(tmp_path, bars, SHORT)
    with pytest.raises(RunError, match="answers otherwise than the trained one"):
        keep(run, bars, fitted, 0.0)
    assert not open_run(tmp_path).finished


def test_an_unknown_model_is_named_with_the_nearest(bars, tmp_path):
    with pytest.raises(RunError, match=r"Unknown model 'mnist-cn'.*Did you mean 'mnist-cnn'\?"):
        train(bars, Settings(model="mnist-cn"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def relabelled(dataset: Dataset, labels: np.ndarray, names: tuple[str, ...]) -> Dataset:
    return replace(dataset, train=Split(dataset.train.images, labels), class_names=names)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda d: relabelled(d, np.zeros(180, np.int64), ("only",)), "a single class, 'only'"),
        (lambda d: relabelled(d, d.train.labels % 2, d.class_names), "Class 'row 2' has no training image"),
        (lambda d: relabelled(d, np.full(180, -1), d.class_names), "needs labelled training images"),
        (lambda d: replace(d, validation=empty_like(d.validation)), "needs labelled validation images"),
    ],
)
def test_data_that_cannot_be_learnt_are_refused_before_any_work(bars, fault, words):
    with pytest.raises(DataError) as caught:
        check_trainable(fault(bars), SHORT)
    assert words in str(caught.value)


def test_a_full_disk_is_said_and_the_training_can_go_on_afterwards(bars, unbroken, tmp_path):
    with full_disk(), pytest.raises(RunError, match=r"Cannot write into .*train --resume"):
        train(bars, SHORT, tmp_path / "run")
    assert_same(resume(open_run(tmp_path / "run"), bars), unbroken)


def test_a_place_where_no_folder_can_be_made_is_named(bars, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError, match=r"Cannot make .*Choose another place with --out"):
        train(bars, SHORT, tmp_path / "file" / "run")


def test_names_of_models_cost_no_import_of_tensorflow():
    program = "import sys; from guarismo.models.training import MODELS; assert 'tensorflow' not in sys.modules, MODELS"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ})
    assert {"linear", "mlp", "cnn", "forest"} <= set(MODELS)


def test_run_json_is_plain_json_without_nan(network_run):
    def refuse(name):
        raise AssertionError(name)

    json.loads((network_run.folder / "run.json").read_text(), parse_constant=refuse)
