"""Run → the trackers that people compare trainings with: TensorBoard, MLflow. Tracking twice leaves one run there."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from guarismo.errors import MissingExtraError, RunError
from guarismo.models.runs import Run, write_out
from guarismo.results.evaluation import saved_evaluation

EVENTS = "events.out.tfevents.guarismo"
"""TensorBoard reads every file with tfevents in its name. One name, so that tracking again replaces it."""
MEASURES = ("loss", "accuracy")


def to_tensorboard(run: Run, folder: str | Path = "tensorboard") -> str:
    """Write the run for `tensorboard --logdir folder`; returns the run's folder in there.

    Training and validation are two curves of one chart, named as Keras' own callback names them (epoch_loss,
    epoch_accuracy); settings and final figures stand under HParams. Raises MissingExtraError, RunError.
    """
    place = Path(folder) / f"{run.name}-{identity(run)[:6]}"
    curves = {"train": "", "validation": "validation_"}
    for part, prefix in curves.items() if run.history else ():
        scalars = [{f"epoch_{measure}": row[prefix + measure] for measure in MEASURES} for row in run.history]
        write_out(place / part / EVENTS, events(run, scalars))
    rates = [{f"epoch_{name}": row[name] for name in ("learning_rate", "seconds")} for row in run.history]
    write_out(place / EVENTS, events(run, rates, whole=True))
    return str(place)


def events(run: Run, epochs: Sequence[Mapping[str, float]], whole: bool = False) -> bytes:
    """An event file: scalars of each epoch at the time when it ended; where `whole`, settings, tags, final figures too.

    Put together of TensorBoard's own parts: its writer would make a new file each time, and imports TensorFlow.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        raise MissingExtraError("Tracking with TensorBoard", "track") from None
    memory = io.BytesIO()
    writer = RecordWriter(memory)
    times = epoch_times(run)

    def write(time: float, step: int, summary: Any) -> None:
        writer.write(Event(wall_time=time, step=step, summary=summary).SerializeToString())

    def scalars(values: Mapping[str, float]) -> Any:
        return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])

    writer.write(Event(wall_time=times[0], file_version="brain.Event:2").SerializeToString())
    for step, values in enumerate(epochs, start=1):
        write(times[step], step, scalars(values))
    if whole:
        chosen = {**run.about["settings"], "data": run.about["data"]["name"]}
        write(times[0], 0, hparams_pb(chosen, identity(run), times[0]))
        write(times[-1], len(run.history), scalars(final_figures(run)))
    return memory.getvalue()


def to_mlflow(run: Run, uri: str = "sqlite:///mlflow.db") -> str:
    """Log the run to the tracking server or database at `uri`; returns its MLflow id.

    The experiment is named after the data. Settings are parameters; each epoch a step of the metrics. A run that is
    there already gets only what is new, such as the test accuracy after `evaluate`. Raises MissingExtraError, RunError.
    """
    # It would tell its makers of each use, and its users of each table made: theirs to turn on.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # Of its own seven it waits four minutes for a server that is not there.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise MissingExtraError("Tracking with MLflow", "track") from None
    check_database(uri)
    times = [round(1000 * time) for time in epoch_times(run)]
    metrics = [
        Metric(name, value, times[step], step)
        for step, row in enumerate(run.history, start=1)
        for name, value in row.items()
        if name != "epoch"
    ]
    metrics += [Metric(name, value, times[-1], len(run.history)) for name, value in final_figures(run).items()]
    params = [Param(name, str(value)) for name, value in run.about["settings"].items()]
    try:
        client = MlflowClient(tracking_uri=uri)
        tracked = find_or_create(client, run, times[0])
        new = missing(client, tracked, metrics)
        client.log_batch(tracked, [], params, [RunTag(name, value) for name, value in tags(run).items()])
        for start in range(0, len(new), MOST_METRICS):
            client.log_batch(tracked, new[start : start + MOST_METRICS])
        if run.finished:
            client.set_terminated(tracked, "FINISHED", times[-1])
    except MlflowException as error:
        raise RunError(f"MLflow at {uri} refuses: {str(error).splitlines()[0]}") from None
    return tracked


MOST_METRICS = 1000
"""What MLflow takes in one batch."""


def check_database(uri: str) -> None:
    """Raises RunError where no SQLite file can be made: MLflow itself would try again for many minutes."""
    folder = Path(uri.removeprefix("sqlite:///")).parent
    if uri.startswith("sqlite:///") and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise RunError(
            f"Cannot write into {folder}. Choose a folder that there is, with --out sqlite:///FOLDER/mlflow.db."
        )


def find_or_create(client: Any, run: Run, began: int) -> str:
    """MLflow's id of the run, found by our tag, or new; `began` in milliseconds."""
    name = run.about["data"]["name"]
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    found = client.search_runs([number], f"tags.`guarismo.identity` = '{identity(run)}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    return str(client.create_run(number, began, {"guarismo.identity": identity(run)}, run.name).info.run_id)


def missing(client: Any, tracked: str, metrics: Sequence[Any]) -> list[Any]:
    """The metrics whose step is not there yet."""
    names = {metric.key for metric in metrics}
    there = {name: {each.step for each in client.get_metric_history(tracked, name)} for name in names}
    return [metric for metric in metrics if metric.step not in there[metric.key]]


def identity(run: Run) -> str:
    """The same for a run whatever its folder is called, and however far it is trained."""
    told = [run.about.get("began"), run.about["settings"], run.about["data"]["fingerprint"]]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def epoch_times(run: Run) -> list[float]:
    """When the run began and when each of its epochs ended, in seconds since 1970."""
    began = run.about.get("began")
    times = [datetime.fromisoformat(began).timestamp() if began else 0.0]
    for row in run.history:
        times.append(times[-1] + row.get("seconds", 0.0))
    return times


def final_figures(run: Run) -> dict[str, float]:
    """What the kept model does on training and validation images, and on test images once they were opened."""
    figures = {f"final_{name}": float(value) for name, value in run.about.get("metrics", {}).items()}
    if (run.folder / "evaluation.json").exists():
        evaluation = saved_evaluation(run)
        figures |= {f"final_test_{name}": getattr(evaluation, name) for name in ("accuracy", "loss", "ece")}
    return figures


def tags(run: Run) -> dict[str, str]:
    """What else is worth looking for: the data and their identity, the state, the version."""
    data = run.about["data"]
    return {
        "guarismo.data": data["name"],
        "guarismo.fingerprint": data["fingerprint"],
        "guarismo.state": run.about["state"],
        "guarismo.version": run.about.get("versions", {}).get("guarismo", ""),
    }


@dataclass(frozen=True)
class Tracker:
    """track: takes a run and a place, returns where it is there; place: where, unless told; viewer: what shows it."""

    track: Callable[[Run, str], str]
    place: str
    viewer: str


TRACKERS: dict[str, Tracker] = {
    "tensorboard": Tracker(to_tensorboard, "tensorboard", "tensorboard --logdir"),
    "mlflow": Tracker(to_mlflow, "sqlite:///mlflow.db", "mlflow ui --backend-store-uri"),
}
