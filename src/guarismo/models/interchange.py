"""Runs in other programs' files, and other programs' models as runs."""

from __future__ import annotations

import importlib
import math
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset, Images, Split
from guarismo.errors import MissingExtraError, RunError, unknown
from guarismo.models.architectures import NETWORKS, build_for, describe_layers, keras, quiet
from guarismo.models.classical import CLASSICAL
from guarismo.models.runs import Fitted, Run, answer, in_parts, new_folder, open_session
from guarismo.models.settings import Settings
from guarismo.models.training import AGREEMENT, RUNS, keep, new_run

IMPORTED = "imported"
"""The model's name in the settings of a run that was made from another program's file."""

Answers = Callable[[Images], NDArray[np.float32]]
"""Images uint8 (n, h, w, c) → probabilities (n, classes)."""


def load_network(run: Run) -> Any:
    """The run's network in Keras, float32: architecture by name from our code, weights from plain arrays.

    Raises RunError for a run that is no network, or whose arrays do not fit it.
    """
    from guarismo.models.fitting import weight_names

    name = run.settings.model
    if name not in NETWORKS:
        raise RunError(f"Run {run.folder} is a {name}, no network of ours: choose --format onnx.")
    network = build_for(run.settings, run.shape, len(run.class_names))
    arrays = run.arrays("weights")
    weights = [arrays.get(place) for place in weight_names(network)]
    if any(
        array is None or array.shape != weight.shape for array, weight in zip(weights, network.weights, strict=True)
    ):
        raise RunError(f"The weights in {run.folder} do not fit model '{name}'. Copy the run again from where it came.")
    network.set_weights(weights)
    return network


def save_onnx(run: Run, path: Path, _: Dataset) -> Answers:
    """The file that every run answers with."""
    shutil.copyfile(run.folder / "model.onnx", path)
    return answers_of(path, run)


def answers_of(path: Path, run: Run) -> Answers:
    """What an ONNX file of the run's classes answers with."""
    session = open_session(path.read_bytes())
    return lambda images: answer(session, images, len(run.class_names))


def save_int8(run: Run, path: Path, dataset: Dataset) -> Answers:
    """The same network in whole numbers of 8 bits, its scales taken from training images."""
    from guarismo.models.int8 import quantised

    check_network(run)
    path.write_bytes(quantised((run.folder / "model.onnx").read_bytes(), dataset.train.images))
    return answers_of(path, run)


def check_network(run: Run) -> None:
    """Raises RunError for a classical model."""
    if run.settings.model in CLASSICAL:
        raise RunError(f"Run {run.folder} is a {run.settings.model}, no network: only --format onnx can hold it.")


def save_keras(run: Run, path: Path, _: Dataset) -> Answers:
    """Keras' own format, for going on with it in Keras."""
    load_network(run).save(path)
    network = keras.models.load_model(path)
    return partial(in_parts, network.predict_on_batch)


def save_saved_model(run: Run, path: Path, _: Dataset) -> Answers:
    """TensorFlow's folder, for TensorFlow Serving and the like: signature serving_default, images uint8 in."""
    tensorflow = write_with_tensorflow(run, path, "tf_saved_model")
    serve = tensorflow.saved_model.load(str(path)).signatures["serving_default"]
    return partial(in_parts, lambda images: np.asarray(serve(images=tensorflow.constant(images))["output_0"]))


def save_litert(run: Run, path: Path, _: Dataset) -> Answers:
    """The file of LiteRT (TensorFlow Lite), for phones and small boards: images uint8 in, any number of them."""
    tensorflow = write_with_tensorflow(run, path, "litert")
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # TensorFlow announces that its interpreter moves to a package of its own
        interpreter = litert_interpreter(tensorflow)(str(path))
    door, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def ask(images: Images) -> NDArray[np.float32]:
        interpreter.resize_tensor_input(door, images.shape)
        with quiet():
            interpreter.allocate_tensors()
        interpreter.set_tensor(door, images)
        interpreter.invoke()
        answers: NDArray[np.float32] = interpreter.get_tensor(out)
        return answers

    return partial(in_parts, ask)


def litert_interpreter(tensorflow: Any) -> Any:
    """The interpreter of LiteRT's own package where that is installed, else the one that TensorFlow still has."""
    try:
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter
    except ImportError:
        return tensorflow.lite.Interpreter


def write_with_tensorflow(run: Run, path: Path, format: str) -> Any:
    """Write by Keras' own exporter; returns TensorFlow.

    Raises RunError where Keras computes with something else, or it cannot be written.
    """
    network = load_network(run)
    if keras.backend.backend() != "tensorflow":
        raise RunError(f"Only TensorFlow writes {path.name}. Unset KERAS_BACKEND, now {keras.backend.backend()}.")
    network(np.zeros((1, *run.shape), dtype=np.uint8))  # Keras exports only what has been called
    try:
        with quiet():
            network.export(path, format=format, verbose=False)
    except Exception as error:  # a full disk is a class of TensorFlow's own
        raise cannot_write("TensorFlow", path, error) from None
    return importlib.import_module("tensorflow")


def save_openvino(run: Run, path: Path, _: Dataset) -> Answers:
    """OpenVINO's model.xml and model.bin in a folder, in float32 throughout.

    Read by its core: its converter for Python would report the use of itself over the network. Raises MissingExtraError
    without OpenVINO, RunError for what it cannot hold (forests).
    """
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("Export to OpenVINO", "openvino") from None
    core = openvino.Core()
    try:
        model = core.read_model(model=(run.folder / "model.onnx").read_bytes())
    except Exception as error:  # OpenVINO's exceptions are RuntimeErrors of many lines
        lines = [line.strip("- ") for line in str(error).splitlines()]
        reason = next((line for line in lines if "conversion rule" in line), lines[0])
        raise RunError(f"OpenVINO cannot hold run {run.folder}: {reason}. Choose --format onnx.") from None
    path.mkdir()
    try:
        openvino.save_model(model, path / "model.xml", compress_to_fp16=False)
    except RuntimeError as error:
        raise cannot_write("OpenVINO", path, error) from None
    # Left to itself it computes in bfloat16 where the processor can: answers differ by up to 0.002
    compiled = core.compile_model(path / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return partial(in_parts, lambda images: np.asarray(compiled(images)[0]))


def cannot_write(program: str, path: Path, error: Exception) -> RunError:
    return RunError(f"{program} cannot write into {path.parent}: {str(error).splitlines()[0]}. Is the disk full?")


def save_web(run: Run, path: Path, dataset: Dataset) -> Answers:
    """A folder with a page that reads in the browser, for any static host."""
    from guarismo.models.web import answer_folder, write_folder

    check_network(run)
    write_folder(run, path, dataset)
    return lambda images: answer_folder(path, images)


@dataclass(frozen=True)
class Format:
    """How the names of its files end (of its folders, where there is no dot), what writes one and answers with it.

    exact: its answers must be the run's; otherwise only its accuracy must be near.
    """

    ending: str
    save: Callable[[Run, Path, Dataset], Answers]
    exact: bool = True

    @property
    def suffix(self) -> str:
        """What a file's name must end in; nothing for a folder."""
        return "".join(self.ending.rpartition(".")[1:]) if "." in self.ending else ""


EXPORTS: dict[str, Format] = {
    "onnx": Format(".onnx", save_onnx),
    "int8": Format("-int8.onnx", save_int8, exact=False),
    "keras": Format(".keras", save_keras),
    "saved-model": Format("-saved-model", save_saved_model),
    "litert": Format(".tflite", save_litert),
    "openvino": Format("-openvino", save_openvino),
    "web": Format("-web", save_web),
}
MOST_LOST = 0.005
"""Share of the validation images that a format which is not exact may answer rightly no more."""


@dataclass(frozen=True)
class Agreement:
    """What a written file answers beside its run, on n validation images."""

    difference: float
    """The largest difference of a probability."""
    accuracy: float
    run_accuracy: float
    n: int
    size: int
    """Bytes of the file, or of all in the folder."""


def export(run: Run, format: str, path: Path, dataset: Dataset) -> Agreement:
    """Write the run in another format, load that again and compare its answers to the validation images with the run's.

    Raises RunError, leaving nothing, where they differ by more than AGREEMENT or, for a format that is not exact, where
    the accuracy is lower by more than MOST_LOST.
    """
    if format not in EXPORTS:
        raise RunError(unknown("format", format, EXPORTS))
    kind = EXPORTS[format]
    check_place(path, format)
    aside = path.with_name(f".new-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        discard(aside)
        found = compared(run, kind.save(run, aside, dataset), aside, dataset.validation)
        check_agreement(found, format)
        aside.replace(path)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}. Choose another place with --out.") from None
    finally:
        discard(aside)
    return found


def check_place(path: Path, format: str) -> None:
    """Raises RunError for a file of another ending, and for a folder where something is already."""
    suffix = EXPORTS[format].suffix
    if suffix and path.suffix != suffix:
        raise RunError(f"A file of format {format} must end in {suffix}, received {path.name}.")
    if not suffix and path.exists():
        raise RunError(f"There is already something at {path}. Remove it, or choose another place with --out.")


def discard(path: Path) -> None:
    """Remove a file or folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def compared(run: Run, answers: Answers, path: Path, validation: Split) -> Agreement:
    theirs, ours = answers(validation.images), run.predict(validation.images)
    return Agreement(
        difference=float(np.abs(theirs - ours).max()),
        accuracy=float((theirs.argmax(axis=1) == validation.labels).mean()),
        run_accuracy=float((ours.argmax(axis=1) == validation.labels).mean()),
        n=len(validation),
        size=sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()),
    )


def check_agreement(found: Agreement, format: str) -> None:
    """Raises RunError where the written file is not what the format promises."""
    if EXPORTS[format].exact and not found.difference <= AGREEMENT:
        raise RunError(f"The {format} file answers otherwise than the run, by up to {found.difference:.2g}. Not kept.")
    if not found.accuracy >= found.run_accuracy - MOST_LOST:
        raise RunError(
            f"In {format} {found.accuracy:.2%} of the validation images are right, of the run's answers "
            f"{found.run_accuracy:.2%}: more than {100 * MOST_LOST:g} points are lost. Not kept."
        )


def import_keras(file: Path, dataset: Dataset, folder: Path | None, most: float, trusted: bool) -> Run:
    """A model from another program's .keras file as a Run on `dataset`, to be evaluated and compared like any other.

    most: what a white pixel (255) was when the model was trained, usually 1 or 255.
    Raises RunError when the user has not said that the file is trusted, or it does not fit the images.
    """
    check_trust(file, trusted)
    from guarismo.models.fitting import predicted, to_onnx

    settings, began = Settings(model=IMPORTED), time.perf_counter()
    model = read_keras(file)
    network = wrapped(model, dataset, most)
    fitted = Fitted(
        files={"model.onnx": to_onnx(network, dataset.shape)},
        predict=lambda images: predicted(network, images),
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
