"""Runs in other programs' files, and other programs' models as runs."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset
from guarismo.errors import RunError, unknown
from guarismo.models.architectures import NETWORKS, build, describe_layers, keras
from guarismo.models.runs import Fitted, Run, answer, new_folder, open_session
from guarismo.models.settings import Settings
from guarismo.models.training import AGREEMENT, RUNS, keep, new_run

IMPORTED = "imported"
"""The model's name in the settings of a run that was made from another program's file."""


def load_network(run: Run) -> Any:
    """The run's network in Keras, float32: architecture by name from our code, weights from plain arrays.

    Raises RunError for a run that is no network, or whose arrays do not fit it.
    """
    from guarismo.models.fitting import weight_names

    name = run.settings.model
    if name not in NETWORKS:
        raise RunError(f"Run {run.folder} is a {name}, no network of ours: only --format onnx can hold it.")
    network = build(name, run.shape, len(run.class_names), run.settings.neighbours)
    arrays = run.arrays("weights")
    weights = [arrays.get(place) for place in weight_names(network)]
    if any(
        array is None or array.shape != weight.shape for array, weight in zip(weights, network.weights, strict=True)
    ):
        raise RunError(f"The weights in {run.folder} do not fit model '{name}'. Copy the run again from where it came.")
    network.set_weights(weights)
    return network


def save_onnx(run: Run, path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The file that every run answers with."""
    shutil.copyfile(run.folder / "model.onnx", path)
    session = open_session(path.read_bytes())
    return lambda images: answer(session, images, len(run.class_names))


def save_keras(run: Run, path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Keras' own format, for going on with it in Keras."""
    load_network(run).save(path)
    network = keras.models.load_model(path)
    return lambda images: np.asarray(network.predict(images, verbose=0))


EXPORTS: dict[str, tuple[str, Callable[[Run, Path], Callable[[NDArray[np.uint8]], NDArray[np.float32]]]]] = {
    "onnx": (".onnx", save_onnx),
    "keras": (".keras", save_keras),
}
"""Format → suffix, and what writes the file and answers with it again."""


def export(run: Run, format: str, path: Path, images: NDArray[np.uint8]) -> float:
    """Write the run in another format, load that file again and compare its answers to `images` with the run's.

    Returns the largest difference of a probability. Raises RunError, leaving no file, when it is more than AGREEMENT.
    """
    if format not in EXPORTS:
        raise RunError(unknown("format", format, EXPORTS))
    suffix, save = EXPORTS[format]
    if path.suffix != suffix:
        raise RunError(f"A file of format {format} must end in {suffix}, received {path.name}.")
    aside = path.with_name(f".{path.stem}.new{suffix}")
    try:
        difference = float(np.abs(save(run, aside)(images) - run.predict(images)).max())
        if not difference <= AGREEMENT:
            raise RunError(f"The {format} file answers otherwise than the run, by up to {difference:.2g}. Not kept.")
        aside.replace(path)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}. Choose another place with --out.") from None
    finally:
        aside.unlink(missing_ok=True)
    return difference


def import_keras(file: Path, dataset: Dataset, folder: Path | None, most: float, trusted: bool) -> Run:
    """A model from another program's .keras file as a Run on `dataset`, to be evaluated and compared like any other.

    most: what a white pixel (255) was when the model was trained, usually 1 or 255.
    Raises RunError when the user has not said that the file is trusted, or it does not fit the images.
    """
    check_trust(file, trusted)
    from guarismo.models.fitting import EVALUATION_BATCH, to_onnx

    settings, began = Settings(model=IMPORTED), time.perf_counter()
    model = read_keras(file)
    network = wrapped(model, dataset, most)
    fitted = Fitted(
        files={"model.onnx": to_onnx(network, dataset.shape)},
        predict=lambda images: np.asarray(network.predict(images, batch_size=EVALUATION_BATCH, verbose=0)),
        parameters=int(network.count_params()),
        architecture=describe_layers(model),
        facts={"file": file.name, "keras": keras.__version__, "arithmetic": "float32"},
    )
    with new_run(folder or new_folder(RUNS, dataset.name, IMPORTED), dataset, settings) as run:
        run = Run(run.folder, {**run.about, "settings": {"model": IMPORTED}})  # how it was trained is not known
        return keep(run, dataset, fitted, time.perf_counter() - began)


def check_trust(file: Path, trusted: bool) -> None:
    """Raises RunError, with what it means, unless the user has said that the file is trusted."""
    if not trusted:
        raise RunError(
            f"{file} can run code of whoever made it when it is opened; Keras' safe mode does not prevent that. "
            "If you or someone you trust made it, add --trust."
        )


def read_keras(file: Path) -> Any:
    """The model in a .keras or .h5 file. Raises RunError when it cannot be opened."""
    if not file.is_file():
        raise RunError(f"There is no file {file}. Check the path.")
    try:
        return keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its layers stumble on
        raise RunError(f"Keras cannot open {file}: {str(error).splitlines()[0]}") from None


def wrapped(model: Any, dataset: Dataset, most: float) -> Any:
    """The model behind our door: uint8 images (n, h, w, c) in, probabilities (n, classes) out.

    Raises RunError when it takes images of another size or tells another number of classes apart.
    """
    wanted, classes = model.input_shape[1:], len(dataset.class_names)
    if None in wanted or math.prod(wanted) != math.prod(dataset.shape) or model.output_shape[1:] != (classes,):
        raise RunError(
            f"The model turns {wanted} into {model.output_shape[1:]}; {dataset.name} has images of {dataset.shape} "
            f"and {classes} classes. Name the data that it was trained on, with --size or --channels if need be."
        )
    images = keras.Input(dataset.shape, dtype="uint8", name="images")
    answers = model(keras.layers.Reshape(wanted)(keras.layers.Rescaling(most / 255)(images)))
    sample = keras.Model(images, answers).predict(dataset.validation.images[:256], verbose=0)
    if sample.min() < 0 or not np.allclose(sample.sum(axis=1), 1, atol=1e-3):  # logits: no softmax at its end
        answers = keras.layers.Softmax()(answers)
    return keras.Model(images, answers)
