"""Dataset and Settings → the step size to train with, found by trying all of them for a moment."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset
from guarismo.errors import RunError
from guarismo.models.architectures import NETWORKS
from guarismo.models.settings import Settings
from guarismo.models.training import check_possible, check_trainable
from guarismo.progress import Progress, silent

LOWEST, HIGHEST = 1e-5, 1.0
STEPS = 200
MEMORY = 0.9
"""Of the running mean that smooths the loss."""
TOO_HIGH = 4
"""Ended when the smoothed loss is so many times its lowest."""


@dataclass(frozen=True)
class RateTest:
    """rates, losses: float64 (steps,), the loss smoothed; rate: the one to train with, as a peak."""

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    rate: float


def find_learning_rate(dataset: Dataset, settings: Settings | None = None, progress: Progress = silent) -> RateTest:
    """Train for up to 200 steps while the step size rises from 1e-5 to 1, and see where the loss is lowest.

    The range test of Smith ("Cyclical learning rates for training neural networks", 2017). Nothing is kept. Raises as
    `train`, and RunError for a model that is no network or a loss that never falls.
    """
    settings = replace(settings or Settings(), schedule="constant", learning_rate=LOWEST)
    if settings.model not in NETWORKS:
        raise RunError(f"--find-lr is for networks; '{settings.model}' has no step size. Leave it out.")
    check_trainable(dataset, settings)
    check_possible(dataset, settings)
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    losses = smoothed(losses_at(rates, dataset, settings, progress))
    return RateTest(rates[: len(losses)], losses, best_rate(rates[: len(losses)], losses))


def losses_at(rates: NDArray[np.float64], dataset: Dataset, settings: Settings, progress: Progress) -> list[float]:
    """The loss of a batch at each rate, in one training, until it is lost."""
    from guarismo.models.architectures import keras
    from guarismo.models.fitting import arithmetic, compiled, epoch_chunks, targets, wants_bfloat16

    keras.utils.set_random_seed(settings.seed)
    with arithmetic("mixed_bfloat16" if wants_bfloat16(settings) else "float32"):
        _, trainer = compiled(dataset, settings)
    images, labels = next(epoch_chunks(dataset.train, settings, epoch=1))
    wanted, losses = targets(labels, len(dataset.class_names)), list[float]()
    for step, rate in enumerate(rates):
        places = np.arange(step * settings.batch_size, (step + 1) * settings.batch_size) % len(images)
        trainer.optimizer.learning_rate = rate
        trainer.reset_metrics()
        losses.append(float(trainer.train_on_batch(images[places], wanted[places], return_dict=True)["loss"]))
        progress(step + 1, len(rates), loss=losses[-1])
        if not math.isfinite(losses[-1]) or lost(losses):
            break
    return [loss for loss in losses if math.isfinite(loss)]


def lost(losses: list[float]) -> bool:
    running = smoothed(losses)
    return bool(running[-1] > TOO_HIGH * running.min())


def smoothed(losses: list[float]) -> NDArray[np.float64]:
    """The running mean, without the pull of its beginning (as Adam corrects its own)."""
    mean, running = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        running.append(mean / (1 - MEMORY**step))
    return np.array(running)


def best_rate(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """Half of the rate where the loss is lowest, in two digits: beyond that it no longer learns.

    Of six rates from 0.0003 to 0.1, half a decade apart, the best of 3 epochs on 12,000 images of MNIST was 0.3 to 2.3
    times the rate of the lowest loss, for five networks. Raises RunError where the loss never falls.
    """
    lowest = int(losses.argmin())
    if losses[lowest] > 0.9 * losses[0]:
        raise RunError("The loss falls at no step size from 1e-05 to 1. Do the labels belong to the images?")
    return float(f"{rates[lowest] / 2:.2g}")
