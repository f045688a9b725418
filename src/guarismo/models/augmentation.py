"""Augmentation: random variants of the training images, inside the network, only while it trains."""

from __future__ import annotations

import math
from typing import Any

from guarismo.models.architectures import keras
from guarismo.models.settings import Settings


class RandomAffine(keras.layers.Layer):  # type: ignore[misc]
    """Each image turned, moved and scaled at random: uint8 (n, h, w, c) → float32 of the same shape.

    One resampling for all three movements: three Keras layers in a row would resample, and blur, three times.
    What comes in from outside repeats the edge, so a light background stays light.
    The random state is a variable of the network, so a resumed training goes on with the same numbers.
    """

    def __init__(self, rotation: float, shift: float, zoom: float, seed: int):
        super().__init__(dtype="float32")
        self.limits = {"rotation": math.radians(rotation), "shift": shift, "zoom": zoom}
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        images = keras.ops.cast(images, "float32")
        if not training:
            return images
        transforms = self.transforms(keras.ops.shape(images)[0], *images.shape[1:3])
        return keras.ops.image.affine_transform(images, transforms, interpolation="bilinear", fill_mode="nearest")

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def transforms(self, count: Any, height: int, width: int) -> Any:
        """Random maps from output to input pixels, float32 (n, 8): turned about the middle, then moved."""
        ops = keras.ops

        def uniform(limit: float) -> Any:
            return keras.random.uniform((count,), -limit, limit, seed=self.seeds)

        angle, scale = uniform(self.limits["rotation"]), 1.0 / (1.0 + uniform(self.limits["zoom"]))
        down, right = uniform(self.limits["shift"]) * height, uniform(self.limits["shift"]) * width
        cosine, sine = ops.cos(angle) * scale, ops.sin(angle) * scale
        x, y = (width - 1) / 2, (height - 1) / 2
        offset_x = x - cosine * (x + right) + sine * (y + down)
        offset_y = y - sine * (x + right) - cosine * (y + down)
        zero = ops.zeros_like(angle)
        return ops.stack([cosine, -sine, offset_x, sine, cosine, offset_y, zero, zero], axis=1)


def augmentation(settings: Settings) -> list[RandomAffine]:
    """The layers that vary images as the settings ask: none where they ask for nothing."""
    if not (settings.rotation or settings.shift or settings.zoom):
        return []
    return [RandomAffine(settings.rotation, settings.shift, settings.zoom, settings.seed)]
