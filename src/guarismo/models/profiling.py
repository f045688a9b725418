"""Dataset and Settings → where the time of a training goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from guarismo.data.dataset import Dataset
from guarismo.errors import RunError
from guarismo.models.architectures import NETWORKS, build_for, keras
from guarismo.models.augmentation import augmentation
from guarismo.models.settings import Settings
from guarismo.models.training import check_possible, check_trainable
from guarismo.progress import Progress, silent

REPEATS = 15
"""Each part of a step is timed so often, in turn with the others; the median counts."""


@dataclass(frozen=True)
class Part:
    """One part of a training: how often it happens in an epoch (0: once in a training), seconds each time."""

    name: str
    times: int
    seconds: float


def profile(dataset: Dataset, settings: Settings | None = None, progress: Progress = silent) -> list[Part]:
    """What each part of a training costs, by timing ever longer beginnings of a step, compiled as in training.

    Load (an epoch's images into their order), augment, forward, backward, optimiser, validation, compile, export. A
    part is the difference of two medians, so it may come out a little below 0, given as 0. Raises as `train`, and
    RunError for a model that is no network or a backend other than TensorFlow.
    """
    settings = settings or Settings()
    check_trainable(dataset, settings)
    check_possible(dataset, settings)
    if settings.model not in NETWORKS:
        raise RunError(f"--profile is for networks; '{settings.model}' is none. Leave it out.")
    from guarismo.models.fitting import (
        arithmetic,
        compiled,
        epoch_chunks,
        steps_of,
        targets,
        to_onnx,
        validate,
        wants_bfloat16,
    )

    if keras.backend.backend() != "tensorflow":
        raise RunError(f"--profile is for TensorFlow; Keras computes with {keras.backend.backend()} here.")
    with arithmetic("mixed_bfloat16" if wants_bfloat16(settings) else "float32"):
        _, trainer = compiled(dataset, settings)
    with arithmetic("float32"):
        network = build_for(settings, dataset.shape, len(dataset.class_names))
    classes, steps = len(dataset.class_names), steps_of(dataset.train, settings)
    load, (images, labels) = timed(lambda: next(epoch_chunks(dataset.train, settings, epoch=1)))
    batch = images[: settings.batch_size], targets(labels[: settings.batch_size], classes)
    compile_time, seconds = step_times(trainer, *batch, progress)
    augment, forward, backward, whole = (median(each) for each in seconds)
    validate(trainer, dataset.validation, classes)
    validation, _ = timed(lambda: validate(trainer, dataset.validation, classes))
    export, _ = timed(lambda: to_onnx(network, dataset.shape))
    augmenting = [Part("augment", steps, augment)] if augmentation(settings) else []
    return [
        Part("load", 1, load),
        *augmenting,
        Part("forward", steps, max(0.0, forward - augment)),
        Part("backward", steps, max(0.0, backward - forward)),
        Part("optimiser", steps, max(0.0, whole - backward)),
        Part("validation", 1, validation),
        Part("compile", 0, compile_time),
        Part("export", 0, export),
    ]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done


def step_times(trainer: Any, images: Any, wanted: Any, progress: Progress) -> tuple[float, list[list[float]]]:
    """(seconds to compile a whole step, REPEATS × seconds of each beginning of one).

    The beginnings: augmented; and answered, with the loss; and the gradients; and the weights moved.
    """
    import tensorflow as tf

    images, wanted = tf.constant(images), tf.constant(wanted)
    augmenting = [layer for layer in trainer.layers if type(layer).__module__.startswith("guarismo")]

    def augmented() -> Any:
        flow = images
        for layer in augmenting:
            flow = layer(flow, training=True)
        return flow

    def answered() -> Any:
        return trainer.compute_loss(images, wanted, trainer(images, training=True))

    def gradients() -> Any:
        with tf.GradientTape() as tape:
            loss = answered()
        return tape.gradient(loss, [variable.value for variable in trainer.trainable_variables])

    beginnings = [tf.function(part) for part in (augmented, answered, gradients)]
    beginnings.append(tf.function(lambda: trainer.train_step((images, wanted))))
    compile_time = [timed(part)[0] for part in beginnings][-1]
    seconds: list[list[float]] = [[] for part in beginnings]
    for repeat in range(REPEATS):
        for part, times in zip(beginnings, seconds, strict=True):
            began = time.perf_counter()
            tf.nest.map_structure(np.asarray, part())
            times.append(time.perf_counter() - began)
        progress(repeat + 1, REPEATS)
    return compile_time, seconds
