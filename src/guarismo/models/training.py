"""train: Dataset and Settings in, Run out; resume: the same from where a training was cut off."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from guarismo.data.dataset import UNKNOWN, Dataset, Split
from guarismo.errors import DataError, MissingExtraError, RunError, unknown
from guarismo.models.architectures import NETWORKS, build
from guarismo.models.classical import CLASSICAL, fit_classical
from guarismo.models.runs import (
    CHECKPOINT,
    FORMAT,
    Fitted,
    Run,
    answer,
    claimed,
    commit,
    new_folder,
    open_run,
    open_session,
    quoted,
    write_json,
)
from guarismo.models.settings import Settings
from guarismo.progress import Progress, silent

MODELS = (*NETWORKS, *CLASSICAL)
"""The names that `Settings.model` may take."""

AGREEMENT = 1e-4
"""Largest difference of a probability between the trained model and its ONNX file; below 4e-6 in all we measured."""

RUNS = Path("runs")


def train(
    dataset: Dataset, settings: Settings | None = None, folder: Path | None = None, progress: Progress = silent
) -> Run:
    """Train on `dataset.train`, choose on `dataset.validation`, and keep the result as a folder.

    Without `folder` the run gets a new numbered one under ``runs/``. The test images are not touched.

        run = train(load("digits"), Settings(model="mlp", epochs=5))

    Raises DataError for a dataset that cannot be learnt, RunError for an unknown model or a folder in use.
    """
    settings = settings or Settings()
    check_trainable(dataset, settings)
    check_possible(dataset, settings)
    folder = folder or new_folder(RUNS, dataset.name, settings.model)
    with new_run(folder, dataset, settings) as run:
        return proceed(run, dataset, progress)


def resume(run: Run, dataset: Dataset, progress: Progress = silent) -> Run:
    """Go on with a training that was cut off, to the same result as an unbroken one on this machine.

    Raises RunError when the run is finished, its folder is in use, or the data are not those that it began with.
    """
    with claimed(run.folder):
        run = open_run(run.folder)  # as it is now that nobody else writes
        check_unfinished(run)
        if run.settings.model not in MODELS:
            raise RunError(unknown("model", run.settings.model, MODELS))
        if dataset.fingerprint != run.about["data"]["fingerprint"]:
            raise RunError(f"The data of {run.folder} have changed since it began. Start a new training.")
        return proceed(run, dataset, progress)


def fit_into(folder: Path, dataset: Dataset, settings: Settings, progress: Progress = silent) -> Run:
    """The run in `folder`: opened, continued or begun, as it stands there.

    Raises RunError when the folder holds a run of other data or settings.
    """
    if not (folder / "run.json").exists():
        return train(dataset, settings, folder, progress)
    run = open_run(folder)
    if run.settings != settings or run.about["data"]["fingerprint"] != dataset.fingerprint:
        raise RunError(f"{folder} holds a run of other data or settings. Choose another --out.")
    return run if run.finished else resume(run, dataset, progress)


def forget() -> None:
    """Let go of what Keras keeps of every network: for a process that trains many, one after the other.

    Python's collector is left to come by itself: called each time it took 0.2 s, and freed nothing more (25 networks).
    """
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session(free_memory=False)


def check_unfinished(run: Run) -> None:
    """Raises RunError for a run that has nothing left to train."""
    if run.finished:
        raise RunError(
            f"Run {run.folder} is finished: there is nothing to resume. "
            f"Measure it with: guarismo evaluate {quoted(run.folder)}"
        )


def check_trainable(dataset: Dataset, settings: Settings) -> None:
    """Raises DataError or RunError with what is missing before any time is spent."""
    if settings.model not in MODELS:
        raise RunError(unknown("model", settings.model, MODELS))
    if settings.variants == "handwriting":
        check_digits(dataset, settings)
    for name, split in (("training", dataset.train), ("validation", dataset.validation)):
        if not split.labelled:
            raise DataError(
                f"Training needs labelled {name} images; {dataset.name} has none. "
                "Is it a file without labels, or is --validation 0?"
            )
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.class_names))
    if len(counts) < 2:
        raise DataError(
            f"{dataset.name} has a single class, '{dataset.class_names[0]}'. A model needs two to tell apart."
        )
    if not counts.all():
        raise DataError(
            f"Class '{dataset.class_names[int(counts.argmin())]}' has no training image. Add some, or remove it."
        )


def check_digits(dataset: Dataset, settings: Settings) -> None:
    """Raises RunError where variants of handwritten digits cannot be made."""
    if dataset.shape != (28, 28, 1) or dataset.class_names != tuple("0123456789"):
        raise RunError(
            f"--variants handwriting needs the ten digits as images of 28×28×1, such as mnist; {dataset.name} has "
            f"{len(dataset.class_names)} classes of {'×'.join(map(str, dataset.shape))}. Take another model or recipe."
        )
    if settings.model not in NETWORKS:
        raise RunError(f"--variants handwriting is for networks; '{settings.model}' is none. Choose --model reader.")


MOVING = ("rotation", "shift", "zoom", "mirror", "erase", "neighbours")
"""Settings that treat an image as one picture."""


def check_possible(dataset: Dataset, settings: Settings) -> None:
    """Raises RunError for what the network cannot take, MissingExtraError for parts that are not installed."""
    if settings.model == "views" and (asked := [name for name in MOVING if getattr(settings, name)]):
        raise RunError(
            "Model 'views' cannot be augmented: its views would be moved into each other. "
            f"Leave out --{' and --'.join(asked)}."
        )
    if settings.model == "views" and settings.width != 1:
        raise RunError(f"Model 'views' has one size, received --width {settings.width:g}. Leave it out.")
    if settings.model in NETWORKS:
        build(settings.model, dataset.shape, len(dataset.class_names), width=settings.width)
        if settings.devices != 1:
            from guarismo.models.devices import devices_for  # imports Keras, which `build` has done

            devices_for(settings)
    elif not find_spec("skl2onnx"):
        raise MissingExtraError("Training", "train")


@contextmanager
def new_run(folder: Path, dataset: Dataset, settings: Settings) -> Iterator[Run]:
    """A folder made and held, with its first run.json. Raises RunError when it cannot be made or is in use."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Cannot make {folder}: {error.strerror}. Choose another place with --out.") from None
    with claimed(folder):
        present = {path.name for path in folder.iterdir()} - {".lock"}
        if "run.json" in present:
            raise RunError(
                f"{folder} already holds a run. Choose another --out, or go on with it: --resume {quoted(folder)}"
            )
        if present:
            raise RunError(f"{folder} is not empty: it holds {min(present)}. Choose another --out.")
        yield begin(folder, dataset, settings)


def begin(folder: Path, dataset: Dataset, settings: Settings) -> Run:
    """The folder's first run.json: what is asked, on which data. From here on `resume` works."""
    about: dict[str, Any] = {
        "format": FORMAT,
        "state": "training",
        "model": settings.model,
        "settings": asdict(settings),
        "data": describe_data(dataset),
        "parameters": 0,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "files": {},
    }
    try:
        write_json(folder, about)
    except OSError as error:
        raise RunError(f"Cannot write into {folder}: {error.strerror}. Choose another place with --out.") from None
    return Run(folder, about)


def describe_data(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "origin": dict(dataset.origin),
        "fingerprint": dataset.fingerprint,
        "counts": {name: len(split) for name, split in dataset.splits.items()},
        "class_names": list(dataset.class_names),
        "shape": list(dataset.shape),
        "notes": list(dataset.notes),
    }


def machine() -> dict[str, Any]:
    """What this is: processor, cores, system."""
    return {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()}


def processor() -> str:
    """The processor's own name where the system tells it."""
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        for line in cpu.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def proceed(run: Run, dataset: Dataset, progress: Progress) -> Run:
    """Fit, check and keep: the part that `train` and `resume` share. The seconds of epochs done before count too."""
    began, before = time.perf_counter(), sum(row["seconds"] for row in run.history)
    with interruptible(run):
        if run.settings.model in NETWORKS:
            from guarismo.models.fitting import fit_network  # imports TensorFlow: 3 s

            run, fitted = fit_network(run, dataset, progress)
        else:
            fitted = fit_classical(dataset, run.settings, progress)
        return keep(run, dataset, fitted, before + time.perf_counter() - began)


@contextmanager
def interruptible(run: Run) -> Iterator[None]:
    """Ctrl-C goes up with the line that continues."""
    try:
        yield
    except KeyboardInterrupt:
        epochs = len(Run(run.folder, run.about).history)
        after = f" after epoch {epochs} of {run.settings.epochs}" if epochs else ""
        raise KeyboardInterrupt(f"Stopped{after}. Go on with: guarismo train --resume {quoted(run.folder)}") from None


def keep(run: Run, dataset: Dataset, fitted: Fitted, seconds: float) -> Run:
    """The finished run: ONNX checked against the trained model, answers on train and validation kept beside it.

    Raises RunError when the two disagree.
    """
    began = time.perf_counter()
    session = open_session(fitted.files["model.onnx"])
    classes = len(dataset.class_names)
    validation = answer(session, dataset.validation.images, classes)
    difference = float(np.abs(validation - fitted.predict(dataset.validation.images)).max())
    if not difference <= AGREEMENT:
        raise RunError(
            f"The exported model answers otherwise than the trained one, by up to {difference:.2g}. Not kept."
        )
    answers = answer(session, dataset.train.images, classes).argmax(axis=1)
    files = {
        **fitted.files,
        "validation.safetensors": save({"labels": dataset.validation.labels, "probabilities": validation}),
        "train.safetensors": save({"labels": dataset.train.labels, "answers": answers}),
    }
    return commit(
        run,
        files,
        remove=(CHECKPOINT,),
        state="finished",
        parameters=fitted.parameters,
        architecture=fitted.architecture,
        metrics=metrics(dataset.validation, validation, answers, dataset.train),
        seconds={"train": round(seconds, 2), "check": round(time.perf_counter() - began, 2)},
        epochs=len(fitted.history),
        calibration={
            "temperature": temperature_of(*calibrating(dataset.validation, validation, run.settings, session))
        },
        facts={**fitted.facts, "onnx_difference": difference},
        versions={name: version(name) for name in ("guarismo", "numpy", "onnxruntime")},
    )


def calibrating(
    validation: Split, probabilities: NDArray[np.float32], settings: Settings, session: Any
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities (n, k) and labels (n,) that tell how sure the model should be: on validation images, and on
    variants of them where it learnt such."""
    if settings.variants == "none":
        return probabilities, validation.labels
    from guarismo.data.handwriting import epoch_of  # imports OpenCV: 0.1 s that `guarismo --help` need not wait

    images, labels = epoch_of(np.asarray(validation.images), validation.labels, [settings.seed, 0])
    digits = labels != UNKNOWN
    return answer(session, images[digits], probabilities.shape[1]), labels[digits]


def temperature_of(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """What the logarithms of probabilities (n, k) are divided by for the likeliest labels (n,): above 1 where a model
    is too sure (Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", 2017)."""
    from scipy.optimize import minimize_scalar

    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-9))
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float((np.logaddexp.reduce(scaled, axis=1) - scaled[rows, labels]).mean())

    return round(float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x)), 4)


def metrics(validation: Split, probabilities: Any, answers: Any, train: Split) -> dict[str, float]:
    """The figures on training and validation images, as the kept model answers them through ONNX Runtime."""
    right = probabilities[np.arange(len(validation)), validation.labels]
    return {
        "train_accuracy": float((answers == train.labels).mean()),
        "validation_accuracy": float((probabilities.argmax(axis=1) == validation.labels).mean()),
        "validation_loss": float(-np.log(np.clip(right, 1e-7, 1)).mean()),
    }
