"""Settings → the devices that share each batch of a training, by Keras' own means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.errors import RunError
from guarismo.models.architectures import keras
from guarismo.models.settings import Settings

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Shared(keras.distribution.DataParallel):  # type: ignore[misc]
    """Every device holds the whole network and takes its share of a batch; the gradients are added up.

    A batch that cannot be shared out evenly, the last one of an epoch, is computed whole by every device: rows added to
    fill it up would enter the batch statistics of normalisation.
    """

    def get_data_layout(self, data_shape: tuple[int, ...]) -> Any:
        """How an array of that shape lies on the devices: Keras asks at the first batch of each call."""
        if data_shape[0] % self.num_model_replicas:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        return super().get_data_layout(data_shape)


def devices_for(settings: Settings) -> list[str]:
    """The names of the devices to train on, such as "gpu:0".

    Raises RunError where the backend cannot share a batch, there are fewer devices, or the batch does not divide.
    """
    if settings.devices == 1:
        return ["one"]
    if keras.backend.backend() != "jax":
        raise RunError(
            f"Several devices train together with JAX; Keras computes with {keras.backend.backend()} here. "
            "Set KERAS_BACKEND=jax (pip install jax), or leave out --devices."
        )
    there = list(keras.distribution.list_devices())
    if settings.devices > len(there):
        raise RunError(
            f"Expected {settings.devices} devices, JAX finds {len(there)}: {', '.join(there)}. "
            "Ask for fewer, or for all with --devices 0."
        )
    chosen = there[: settings.devices or len(there)]
    if settings.batch_size % len(chosen):
        below = settings.batch_size // len(chosen) * len(chosen)
        raise RunError(
            f"A batch of {settings.batch_size} images cannot be shared evenly by {len(chosen)} devices. "
            f"Take --batch-size {below or len(chosen)} or another multiple of {len(chosen)}."
        )
    return chosen


@contextmanager
def shared_by(devices: list[str]) -> Iterator[None]:
    """Networks made inside are trained by all these devices; on one, nothing changes."""
    if len(devices) == 1:
        yield
        return
    keras.distribution.set_distribution(Shared(devices=devices))
    try:
        yield
    finally:
        keras.distribution.set_distribution(None)


def evenly(parts: Iterable[tuple[Pixels, Labels]], batch_size: int) -> Iterator[tuple[Pixels, Labels]]:
    """The same images and labels in the same order, as calls of Keras may take them.

    Where devices share the batches, one that is not full comes apart: Keras lays every batch of a call out like its
    first.
    """
    for images, labels in parts:
        full = len(images) - len(images) % batch_size
        if keras.distribution.distribution() is None or full in (0, len(images)):
            yield images, labels
        else:
            yield images[:full], labels[:full]
            yield images[full:], labels[full:]
