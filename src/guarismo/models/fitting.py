"""The epoch loop for networks: Dataset and Settings in, weights and history out, able to go on where it was cut off."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from guarismo.data.dataset import UNKNOWN, Dataset, Images, Split, chunks
from guarismo.data.handwriting import epoch_of, marks_for
from guarismo.errors import RunError
from guarismo.models.architectures import build, build_for, describe_layers, keras
from guarismo.models.augmentation import augmentation
from guarismo.models.devices import devices_for, evenly, shared_by
from guarismo.models.runs import CHECKPOINT, Fitted, Row, Run, commit, images_at_once, in_parts, quoted
from guarismo.models.settings import Settings
from guarismo.progress import Progress

Arrays = list[NDArray[Any]]
STEPS_PER_CALL = 16  # Python is back after this many steps: 1.3 (mnist-cnn) to 1.9 (linear) times as fast as after each
WARM_UP = 0.3  # share of a one-cycle training in which the step size rises


@dataclass
class State:
    """All that an epoch changes. Saved after each one, so that a training cut off goes on to the same result."""

    history: list[Row]
    best: Arrays


def fit_network(run: Run, dataset: Dataset, progress: Progress) -> tuple[Run, Fitted]:
    """Train the network of the run's settings, from its checkpoint where there is one.

    Raises RunError when the loss is no longer a number, a checkpoint cannot be written, or devices are missing.
    """
    settings = run.settings
    keras.utils.set_random_seed(settings.seed)
    policy = "mixed_bfloat16" if wants_bfloat16(settings) else "float32"
    devices = devices_for(settings)
    with shared_by(devices):
        with arithmetic(policy):
            network, trainer = compiled(dataset, settings)
        state = load_checkpoint(run, trainer, network) or State([], network.get_weights())
        while not done(state.history, settings):
            row = one_epoch(trainer, dataset, settings, state.history, progress)
            state.history.append(row)
            if best_epoch(state.history, settings) == len(state.history):
                state.best = network.get_weights()
            run = save_checkpoint(run, trainer, state)
    return run, fitted(dataset, settings, state, {"arithmetic": policy, "devices": len(devices)})


def compiled(dataset: Dataset, settings: Settings) -> tuple[Any, Any]:
    """The network, and what trains it: the same layers with augmentation before and logits at the end."""
    network = build(settings.model, dataset.shape, len(dataset.class_names), width=settings.width)
    core = keras.Model(network.input, network.get_layer("logits").output)
    images = flow = keras.Input(dataset.shape, dtype="uint8")
    for layer in augmentation(settings):
        flow = layer(flow)
    trainer = keras.Model(images, core(flow))
    trainer.compile(
        optimizer=keras.optimizers.Adam(
            step_size(settings, steps_of(dataset.train, settings)),
            beta_2=settings.beta_2,
            weight_decay=settings.weight_decay or None,
        ),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing),
        metrics=["accuracy"],
        steps_per_execution=steps_per_call(dataset.train, settings),
    )
    trainer.optimizer.build(trainer.trainable_variables)
    return network, trainer


def steps_per_call(split: Split, settings: Settings) -> int:
    """How many steps are compiled into one call; Keras has one only for PyTorch."""
    return 1 if keras.backend.backend() == "torch" else min(STEPS_PER_CALL, steps_of(split, settings))


def step_size(settings: Settings, steps_per_epoch: int) -> Any:
    """Adam's step size: a schedule over the whole training, or the number that `one_epoch` may lower."""
    if settings.schedule != "one-cycle":
        return settings.learning_rate
    steps = settings.epochs * steps_per_epoch
    rise = max(1, round(WARM_UP * steps))
    peak = settings.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        peak / 25, max(1, steps - rise), warmup_target=peak, warmup_steps=rise
    )


def steps_of(split: Split, settings: Settings) -> int:
    images = len(split) + (marks_for(len(split)) if settings.variants == "handwriting" else 0)
    return math.ceil(images / settings.batch_size)


def epoch_chunks(split: Split, settings: Settings, epoch: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """The images of one epoch and their labels, in an order (and variants) drawn from seed and epoch.

    In as few parts as memory allows, each but the last a whole number of calls of the compiled step.
    """
    if settings.variants == "handwriting":
        yield epoch_of(np.asarray(split.images), split.labels, [settings.seed, epoch])
        return
    order = np.random.default_rng([settings.seed, epoch]).permutation(len(split))
    for part in chunks(split.images, settings.batch_size * STEPS_PER_CALL):
        yield split.images[order[part]], split.labels[order[part]]


def targets(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """What the network should answer, (n, classes): 1 for its class; for an UNKNOWN image, every class alike.

    The second is the entropic open-set loss (Dhamija, Günther, Boult, "Reducing network agnostophobia", 2018): what is
    no digit is answered with no confidence in any.
    """
    rows = np.vstack([np.eye(classes), np.full(classes, 1 / classes)]).astype(np.float32)
    wanted: NDArray[np.float32] = rows[np.where(labels == UNKNOWN, classes, labels)]
    return wanted


def one_epoch(trainer: Any, dataset: Dataset, settings: Settings, history: list[Row], progress: Progress) -> Row:
    """One pass over the training images in an order drawn from seed and epoch; returns its row of the history.

    Tells of each call of the compiled step, and at the end the whole row.
    """
    began = time.perf_counter()
    epoch = len(history) + 1
    if settings.schedule == "plateau":
        trainer.optimizer.learning_rate = plateau_step_size(history, settings)
    classes = len(dataset.class_names)
    steps, begun, parts = steps_of(dataset.train, settings), 0, []
    for images, labels in evenly(epoch_chunks(dataset.train, settings, epoch), settings.batch_size):
        fit = trainer.fit(
            **fed(images, targets(labels, classes), settings.batch_size),
            shuffle=False,
            verbose=0,
            callbacks=[tell(epoch, begun, steps, settings, history, progress)],
        )
        begun += math.ceil(len(images) / settings.batch_size)
        parts.append((len(images), {name: values[0] for name, values in fit.history.items()}))
    trained, validated = mean_of(parts), validate(trainer, dataset.validation, classes)
    row = {
        "epoch": float(epoch),
        "loss": trained["loss"],
        "accuracy": trained["accuracy"],
        "validation_loss": validated["loss"],
        "validation_accuracy": validated["accuracy"],
        "learning_rate": float(trainer.optimizer.learning_rate),
        "seconds": round(time.perf_counter() - began, 3),
    }
    row = {name: float(value) for name, value in row.items()}
    check_finite(row, settings)
    progress(epoch * steps, settings.epochs * steps, epochs=settings.epochs, **row)
    return row


def fed(images: NDArray[np.uint8], wanted: NDArray[np.float32], size: int) -> dict[str, Any]:
    """What Keras' `fit` and `evaluate` take: images (n, h, w, c), answers (n, classes), in batches of `size`, in order.

    With TensorFlow a dataset that does not tune itself. Of arrays Keras makes one that does, and at its end waits for a
    thread that sleeps 10 ms, then 20, 40, 80 …, and is not always woken: of the epochs of `vgg` on MNIST half took
    11.4 s, half 20.9 s, the difference without any work (2 cores, TensorFlow 2.21).
    """
    if keras.backend.backend() != "tensorflow":
        return {"x": images, "y": wanted, "batch_size": size}
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    # Part of the dataset, not held by the function: of what a mapped function holds, TensorFlow does not free all.
    whole = tf.data.Dataset.from_tensors((images, wanted)).repeat()
    places = tf.data.Dataset.range(0, len(images), size)
    batches = tf.data.Dataset.zip((places, whole)).map(lambda at, every: tuple(each[at : at + size] for each in every))
    return {"x": batches.prefetch(2).with_options(options)}


def validate(trainer: Any, split: Split, classes: int) -> dict[str, float]:
    """Loss and accuracy on a split, part by part."""
    parts, size = [], images_at_once(split.images.shape[1:])
    whole = ((split.images[part], split.labels[part]) for part in chunks(split.images))
    for images, labels in evenly(whole, size):
        found = trainer.evaluate(**fed(images, targets(labels, classes), size), verbose=0, return_dict=True)
        parts.append((len(images), found))
    return mean_of(parts)


def mean_of(parts: list[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """The figures of several parts as those of the whole, each part weighed by how many images it has."""
    total = sum(count for count, _ in parts)
    return {name: sum(count * figures[name] for count, figures in parts) / total for name in parts[0][1]}


def check_finite(row: Row, settings: Settings) -> None:
    """Raises RunError when a figure of an epoch is no number: everything after would be lost time."""
    if not all(map(math.isfinite, row.values())):
        raise RunError(
            f"The loss is no longer a number in epoch {row['epoch']:.0f}: the step size {settings.learning_rate:g} "
            "is too large. Train again with a smaller --learning-rate."
        )


def tell(epoch: int, begun: int, steps: int, settings: Settings, history: list[Row], progress: Progress) -> Any:
    """A Keras callback that reports each call of the compiled step; `begun`: steps of the epoch done before."""
    last = {name: history[-1][name] for name in ("validation_accuracy",)} if history else {}

    def report(step: int, logs: dict[str, float]) -> None:
        facts = {"loss": logs["loss"], "accuracy": logs["accuracy"], **last}
        here = min(begun + step + 1, steps)  # Keras counts the last call of several steps as a full one
        done, total = (epoch - 1) * steps + here, settings.epochs * steps
        progress(done, total, epoch=epoch, epochs=settings.epochs, step=here, steps=steps, **facts)

    return keras.callbacks.LambdaCallback(on_train_batch_end=report)


def improved(history: list[Row], settings: Settings) -> list[bool]:
    """For each epoch, whether its monitored figure was better than all before."""
    sign = 1 if settings.monitor == "validation_loss" else -1
    values = [sign * row[settings.monitor] for row in history]
    return [value < min(values[:index], default=math.inf) for index, value in enumerate(values)]


def best_epoch(history: list[Row], settings: Settings) -> int:
    """The epoch (from 1) whose weights become the model."""
    if settings.keep == "last":
        return len(history)
    return max(index for index, better in enumerate(improved(history, settings), start=1) if better)


def done(history: list[Row], settings: Settings) -> bool:
    """Whether the epochs are used up, or nothing has improved for `patience` of them."""
    waited = 0
    for better in improved(history, settings):
        waited = 0 if better else waited + 1
    return len(history) >= settings.epochs or 0 < settings.patience <= waited


def plateau_step_size(history: list[Row], settings: Settings) -> float:
    """Halved after each `plateau_patience` epochs without improvement, never below 1e-5 (Keras' ReduceLROnPlateau)."""
    size, waited = settings.learning_rate, 0
    for better in improved(history, settings):
        waited = 0 if better else waited + 1
        if waited == settings.plateau_patience:
            size, waited = max(size / 2, 1e-5), 0
    return size


def save_checkpoint(run: Run, trainer: Any, state: State) -> Run:
    """Weights, random state, optimiser, best weights and history: never one without the others.

    Raises RunError when they cannot be written; the folder then still holds the epoch before.
    """
    arrays = {f"state.{index}": np.asarray(array) for index, array in enumerate(mutable(trainer))}
    arrays |= {f"best.{index}": array for index, array in enumerate(state.best)}
    files = {CHECKPOINT: save(arrays), "history.csv": history_csv(state.history)}
    try:
        return commit(run, files)
    except RunError as error:
        raise RunError(f"{error} Make room, then go on with: guarismo train --resume {quoted(run.folder)}") from error


def load_checkpoint(run: Run, trainer: Any, network: Any) -> State | None:
    """The state after the last finished epoch, put into the trainer; None where no epoch was finished.

    Raises RunError when the file does not fit the network.
    """
    if CHECKPOINT not in run.about["files"]:
        return None
    arrays, variables = run.arrays("checkpoint"), mutable(trainer)
    names = [f"state.{index}" for index in range(len(variables))] + [f"best.{i}" for i in range(len(network.weights))]
    shapes = {name: tuple(v.shape) for name, v in zip(names, [*variables, *network.weights], strict=True)}
    if {name: array.shape for name, array in arrays.items()} != shapes:
        raise RunError(f"The checkpoint in {run.folder} is of another network than its settings. Train anew.")
    for name, variable in zip(names, variables, strict=False):
        variable.assign(arrays[name])
    return State(list(run.history), [arrays[name] for name in names[len(variables) :]])


def mutable(trainer: Any) -> list[Any]:
    """Every variable that training changes: weights, random states, the optimiser's (metrics restart each epoch)."""
    metrics = {id(variable) for variable in trainer.metrics_variables}
    own = [variable for variable in trainer.variables if id(variable) not in metrics]
    optimiser = [v for v in trainer.optimizer.variables if "learning_rate" not in v.path]
    return own + optimiser


def history_csv(history: list[Row]) -> bytes:
    lines = [",".join(history[0])] if history else []
    lines += [",".join(repr(value) for value in row.values()) for row in history]
    return "\n".join([*lines, ""]).encode()


def fitted(dataset: Dataset, settings: Settings, state: State, facts: dict[str, Any]) -> Fitted:
    """The best weights in a float32 network, as arrays and as ONNX (ONNX Runtime refuses bfloat16 weights).

    `facts`: how they were found, to be told beside what is found here.
    """
    with arithmetic("float32"):
        network = build_for(settings, dataset.shape, len(dataset.class_names))
    network.set_weights(state.best)
    epoch = best_epoch(state.history, settings)
    weights = dict(zip(weight_names(network), state.best, strict=True))
    return Fitted(
        files={
            "model.onnx": to_onnx(network, dataset.shape),
            "weights.safetensors": save(weights),
            "history.csv": history_csv(state.history),
        },
        predict=lambda images: predicted(network, images),
        parameters=int(network.count_params()),
        architecture=describe_layers(network),
        history=state.history,
        facts={
            **facts,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "kept_epoch": epoch,
        },
    )


def predicted(network: Any, images: Images) -> NDArray[np.float32]:
    """Its answers float32 (n, classes), part by part. `network.predict` may wait as `fed` tells."""
    return in_parts(network.predict_on_batch, images)


def weight_names(network: Any) -> list[str]:
    """A name for each weight that is the same in every process: "2.conv2d.kernel" (Keras' own count on and on)."""
    return [
        f"{place}.{type(layer).__name__.lower()}.{weight.name}"
        for place, layer in enumerate(network.layers)
        for weight in layer.weights
    ]


def to_onnx(network: Any, shape: tuple[int, int, int]) -> bytes:
    """The network as an ONNX file: input "images" uint8 (n, h, w, c), output float32 (n, classes)."""
    network(np.zeros((1, *shape), dtype=np.uint8))  # Keras exports only what has been called
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx speaks of NumPy names that it no longer needs
        if keras.backend.backend() == "tensorflow":
            network.export(Path(place) / "model.onnx", format="onnx", verbose=False)
        else:
            export_in_tensorflow(network, Path(place))
        return (Path(place) / "model.onnx").read_bytes()


EXPORT = """
import sys, keras, numpy
network = keras.models.load_model(sys.argv[1] + "/network.keras")
network(numpy.zeros((1, *network.input.shape[1:]), dtype="uint8"))
network.export(sys.argv[1] + "/model.onnx", format="onnx", verbose=False)
"""


def export_in_tensorflow(network: Any, place: Path) -> None:
    """The same where Keras computes with JAX or PyTorch, whose own converters write files that ONNX Runtime refuses.

    In a process of its own, since a process has one backend. Raises RunError where TensorFlow is not installed.
    """
    network.save(place / "network.keras")
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    words = [sys.executable, "-c", EXPORT, str(place)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)  # noqa: S603  our own words
    if done.returncode:
        raise RunError(
            f"TensorFlow, which writes the ONNX file, failed: {done.stderr.strip().splitlines()[-1]}. "
            "Install it, then go on with: guarismo train --resume RUN"
        )


def wants_bfloat16(settings: Settings) -> bool:
    """Whether to compute in bfloat16: as asked, or where the processor gains by it.

    Measured on 2 cores with AMX, TensorFlow, model mnist-cnn: 2.0 times the images per second of float32.
    """
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    if has_gpu():
        return True
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if platform.system() == "Linux" and cpu.exists() else ""
    return keras.backend.backend() == "tensorflow" and ("amx_bf16" in flags or "avx512_bf16" in flags)


def has_gpu() -> bool:
    """Whether the backend computes on a GPU (Keras cannot list PyTorch's devices)."""
    if keras.backend.backend() == "torch":
        import torch

        return bool(torch.cuda.is_available())
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())


@contextmanager
def arithmetic(policy: str) -> Iterator[None]:
    """Layers made inside compute by this Keras dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
