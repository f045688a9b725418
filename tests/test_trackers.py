"""Trackers: what TensorBoard and MLflow themselves read back is what the run holds, once."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from guarismo.errors import MissingExtraError, RunError
from guarismo.models.runs import Run, commit, open_run
from guarismo.results.evaluation import evaluate_run
from guarismo.results.trackers import EVENTS, TRACKERS, identity, to_mlflow, to_tensorboard
from tiny_run import bars_dataset, make_run, overfit_history

BARS = bars_dataset()


@pytest.fixture
def run(tmp_path) -> Run:
    return make_run(tmp_path / "runs" / "bars_cnn_1", BARS)


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """The points of a curve as TensorBoard reads them."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the [track] extra"
    )
    events = accumulator.EventAccumulator(str(folder), size_guidance={accumulator.TENSORS: 0})
    events.Reload()
    if tag in events.Tags()["scalars"]:
        return [(event.step, event.value) for event in events.Scalars(tag)]
    return [(event.step, float(event.tensor_proto.float_val[0])) for event in events.Tensors(tag)]


def test_tensorboard_reads_the_curves_that_the_history_holds(run, tmp_path):
    pytest.importorskip("tensorboard", reason="the [track] extra")
    place = Path(to_tensorboard(run, tmp_path / "boards"))
    for part, prefix in (("train", ""), ("validation", "validation_")):
        for measure in ("loss", "accuracy"):
            expected = [(row["epoch"], pytest.approx(row[prefix + measure])) for row in run.history]
            assert scalars(place / part, f"epoch_{measure}") == expected
    assert [step for step, _ in scalars(place, "epoch_learning_rate")] == list(range(1, 9))
    assert scalars(place, "final_validation_accuracy") == [(8, pytest.approx(0.9))]


def test_tensorboard_knows_settings_and_data_of_the_run(run, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader", reason="the [track] extra")
    from tensorboard.plugins.hparams import metadata

    place = Path(to_tensorboard(run, tmp_path))
    contents = [
        value.metadata.plugin_data.content
        for event in reader.EventFileLoader(str(place / EVENTS)).Load()
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == metadata.PLUGIN_NAME
    ]
    settings = metadata.parse_session_start_info_plugin_data(contents[0]).hparams
    assert settings["model"].string_value == "cnn" and settings["seed"].number_value == 7
    assert settings["data"].string_value == "bars"


def test_tracked_again_after_evaluate_tensorboard_has_the_test_figures_and_nothing_twice(run, tmp_path):
    pytest.importorskip("tensorboard", reason="the [track] extra")
    place = Path(to_tensorboard(run, tmp_path / "boards"))
    with pytest.raises(KeyError):
        scalars(place, "final_test_accuracy")
    run, evaluation = evaluate_run(run, BARS)
    assert to_tensorboard(run, tmp_path / "boards") == str(place)
    assert len(list((tmp_path / "boards").rglob("*tfevents*"))) == 3
    assert scalars(place, "final_test_accuracy") == [(8, pytest.approx(evaluation.accuracy))]
    assert len(scalars(place / "train", "epoch_loss")) == 8


def test_runs_of_one_name_from_two_places_stand_beside_each_other(run, tmp_path):
    pytest.importorskip("tensorboard", reason="the [track] extra")
    other = make_run(tmp_path / "elsewhere" / run.name, BARS, model="mlp")
    assert to_tensorboard(run, tmp_path / "boards") != to_tensorboard(other, tmp_path / "boards")


def test_a_forest_has_no_curves_but_figures(tmp_path):
    pytest.importorskip("tensorboard", reason="the [track] extra")
    forest = make_run(tmp_path / "forest", BARS, model="forest", history="")
    place = Path(to_tensorboard(forest, tmp_path / "boards"))
    assert [path.name for path in place.iterdir()] == [EVENTS]
    assert scalars(place, "final_train_accuracy") == [(0, pytest.approx(0.95))]


def test_writing_for_tensorboard_does_not_import_tensorflow(run, tmp_path):
    pytest.importorskip("tensorboard", reason="the [track] extra")
    lines = (
        "import sys; from guarismo.models.runs import open_run; from guarismo.results.trackers import to_tensorboard; "
        f"to_tensorboard(open_run({str(run.folder)!r}), {str(tmp_path)!r}); print('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True).stdout == "False\n"


@pytest.fixture
def database(tmp_path) -> str:
    pytest.importorskip("mlflow", reason="the [track] extra")
    pytest.importorskip("sqlalchemy", reason="the [track] extra")
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_mlflow_has_curves_settings_tags_and_after_evaluate_the_test_figures_each_once(run, database):
    from mlflow.tracking import MlflowClient

    tracked = to_mlflow(run, database)
    client = MlflowClient(tracking_uri=database)
    there = client.get_run(tracked)
    assert there.info.run_name == "bars_cnn_1" and there.info.status == "FINISHED"
    assert there.data.params["model"] == "cnn" and there.data.params["epochs"] == "8"
    assert there.data.tags["guarismo.fingerprint"] == BARS.fingerprint
    assert there.data.metrics["final_validation_loss"] == 0.5 and "final_test_accuracy" not in there.data.metrics

    run, evaluation = evaluate_run(run, BARS)
    assert to_mlflow(run, database) == tracked
    history = client.get_metric_history(tracked, "validation_loss")
    assert [(m.step, m.value) for m in history] == [(r["epoch"], r["validation_loss"]) for r in run.history]
    assert client.get_run(tracked).data.metrics["final_test_accuracy"] == evaluation.accuracy
    experiment = client.get_experiment_by_name("bars")
    assert len(client.search_runs([experiment.experiment_id])) == 1

    with pytest.raises(RunError, match=r"MLflow at .* refuses"):
        to_mlflow(run, "nonsense://here")
    with pytest.raises(RunError, match="Cannot write into"):  # MLflow would try again for many minutes
        to_mlflow(run, database.replace("mlflow.db", "missing/mlflow.db"))


def test_a_run_is_the_same_run_after_its_folder_was_renamed_and_trained_on(run, tmp_path):
    before = identity(run)
    shutil.copytree(run.folder, tmp_path / "renamed")
    renamed = open_run(tmp_path / "renamed")
    assert identity(commit(renamed, {"history.csv": overfit_history(12).encode()})) == before
    assert identity(make_run(tmp_path / "other", BARS, model="mlp")) != before


@pytest.mark.parametrize("package, tracker", [("tensorboard", to_tensorboard), ("mlflow", to_mlflow)])
def test_without_the_package_an_error_names_the_line_that_installs_it(run, tmp_path, monkeypatch, package, tracker):
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself writes for a module that is not to be had
    with pytest.raises(MissingExtraError, match=r"pip install 'guarismo\[track\]'"):
        tracker(run, str(tmp_path))


def test_the_command_says_where_it_is_and_how_to_look(run, tmp_path, command):
    pytest.importorskip("tensorboard", reason="the [track] extra")
    status, out, err = command("track", run.folder, "--out", tmp_path / "my boards")
    assert (status, err) == (0, "")
    place = tmp_path / "my boards" / f"bars_cnn_1-{identity(run)[:6]}"
    assert out == f"{run.folder}: {place}\nLook at it with: tensorboard --logdir '{tmp_path / 'my boards'}'\n"


def test_an_unknown_tracker_is_answered_with_those_there_are(run, command):
    status, _, err = command("track", run.folder, "--to", "tensorbord")
    assert status == 1 and f"Choose from {', '.join(TRACKERS)}. Did you mean 'tensorboard'?" in err
    assert command("track")[0] == 1
