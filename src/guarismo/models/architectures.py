"""The networks, one function each: image shape and number of classes in, the list of layers out.

Every network begins with the same two layers (plain uint8 images, scaled to 0…1) and ends with the same two
(logits, then probabilities in float32), so a function here lists only what lies between; `build` puts them together.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from guarismo.errors import MissingExtraError, RunError
from guarismo.models.settings import Settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # of TensorFlow's messages only errors interest a user

Layers = Sequence[Any]


@cache
def load_keras() -> Any:
    """Keras, imported without its backend's greetings. Raises MissingExtraError where it is not installed."""
    try:
        with quiet():
            module = importlib.import_module("keras")
            logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every third model in one process
    except ModuleNotFoundError:
        raise MissingExtraError("Training a network", "train") from None
    return module


@contextmanager
def quiet() -> Iterator[None]:
    """Without what TensorFlow says: its C++ part writes to stderr before any setting of it holds, so the file
    descriptor is turned away."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class LazyKeras:
    """Keras, imported at the first use of a name in it: listing the models costs nothing, TensorFlow 3 s.

    Not a lazy module in `sys.modules`: skops and pickle look into every module there, which would be a use.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(load_keras(), name)


keras: Any = LazyKeras()


def conv(filters: int, size: int, **options: Any) -> Any:
    return keras.layers.Conv2D(filters, size, **{"activation": "relu", **options})


def dense(units: int) -> Any:
    return keras.layers.Dense(units, activation="relu")


def pool(**options: Any) -> Any:
    return keras.layers.MaxPooling2D(2, **options)


def linear() -> Layers:
    """Softmax regression on the flattened pixels."""
    return [keras.layers.Flatten()]


def normalise() -> Any:
    """Batch normalisation whose running averages settle within 50 steps: small sets have no more in an epoch."""
    return keras.layers.BatchNormalization(momentum=0.9)


def plain(filters: int, size: int, *after: Any, **options: Any) -> Layers:
    """Convolution, what comes `after` it, rectification."""
    return [keras.layers.Conv2D(filters, size, **options), *after, keras.layers.ReLU()]


def block(filters: int, size: int, *after: Any, **options: Any) -> Layers:
    """Convolution, what comes `after` it, normalisation, rectification."""
    return [keras.layers.Conv2D(filters, size, use_bias=False, **options), *after, normalise(), keras.layers.ReLU()]


def mlp() -> Layers:
    """A dense network of today: two wide layers, normalised, with dropout."""

    def wide(units: int) -> Layers:
        plain = keras.layers.Dense(units, use_bias=False)
        return [plain, normalise(), keras.layers.ReLU(), keras.layers.Dropout(0.3)]

    return [keras.layers.Flatten(), *wide(512), *wide(256)]


def cnn() -> Layers:
    """Three blocks of convolution, pooling and normalisation: the default, right for most small images.

    Pooled before it is normalised: a quarter of the values, 2.0 times the images per second (2 cores, MNIST).
    """
    blocks = [layer for filters in (32, 64, 128) for layer in block(filters, 3, pool(), padding="same")]
    return [*blocks, keras.layers.Flatten(), keras.layers.Dropout(0.4)]


def fast() -> Layers:
    """One epoch is enough: what costs time is left out, above all normalisation where the images are large.

    In three blocks on MNIST it took 7.1 of the 16.3 ms of a step of 256 images (2 cores with AMX, bfloat16). Without
    it in the first, at a step size of 0.02, validation accuracy after an epoch is the same, 99.2 % (3 seeds).
    """
    return [*plain(24, 5, pool()), *block(64, 3, pool()), *block(96, 3)]


def small() -> Layers:
    """Fewer than 10,000 parameters for ten classes of 28×28 images: 8,898."""
    return [*block(8, 5, pool()), *block(16, 3), *block(20, 3, pool()), *block(20, 3)]


def separable(filters: int, *after: Any, **options: Any) -> Layers:
    """As `block`, with a 3×3 convolution of each channel alone, then one across the channels: fewer parameters."""
    layers = keras.layers
    return [layers.SeparableConv2D(filters, 3, use_bias=False, **options), *after, normalise(), layers.ReLU()]


def tiny() -> Layers:
    """Fewer than 1,000 parameters for ten classes of 28×28 images: 960, normalisation's running averages among them."""
    convolutions = [*block(5, 5, pool()), *separable(8, padding="same"), *separable(12, pool(), padding="same")]
    return [*convolutions, *separable(14, pool()), keras.layers.GlobalMaxPooling2D()]


def vgg() -> Layers:
    """Pairs of 3×3 convolutions between poolings (Simonyan, Zisserman, 2014), normalised only where images are small.

    Normalised after each convolution a step takes 2.7 times as long, without any 0.7 times (medians of 9 calls of 16
    steps in turn, busy machine); after 6 epochs of MNIST without any validation accuracy was 99.38, so 99.53 %.
    """
    flow = {"padding": "same", "kernel_initializer": "he_normal"}
    return [
        *[*plain(32, 3, **flow), *plain(32, 3, pool(), **flow)],
        *[*plain(64, 3, **flow), *block(64, 3, pool(), padding="same")],
        *[*block(128, 3), keras.layers.GlobalMaxPooling2D(), keras.layers.Dropout(0.3)],
    ]


def vgg_wide() -> Layers:
    """`vgg` with more filters and one convolution more, for what is harder than digits: clothes."""
    flow = {"padding": "same", "kernel_initializer": "he_normal"}
    return [
        *[*plain(32, 3, **flow), *plain(32, 3, pool(), **flow)],
        *[*plain(96, 3, **flow), *block(96, 3, pool(), padding="same")],
        *[*block(192, 3, padding="same"), *block(192, 3, padding="same")],
        *[keras.layers.GlobalMaxPooling2D(), keras.layers.Dropout(0.3)],
    ]


def reader() -> Layers:
    """What reads photographed digits: four convolutions, then 128 features on which `adapt` learns a hand."""
    layers, same = keras.layers, {"padding": "same"}
    return [
        *[*block(32, 5, pool(), **same), *block(64, 3, pool(), **same), *block(96, 3, **same)],
        *block(128, 3, pool(), **same),
        *[layers.Flatten(), layers.Dropout(0.3), layers.Dense(128, use_bias=False), normalise(), layers.ReLU()],
        layers.Dropout(0.3),
    ]


def mnist_mlp() -> Layers:
    """Published `mnist-mlp`: a deep dense network. Its sizes are not stated: 512-256-128, without dropout."""
    return [keras.layers.Flatten(), dense(512), dense(256), dense(128)]


def mnist_cnn() -> Layers:
    """Published `mnist-cnn`: convolution and pooling blocks, then dense. Sizes not stated: 32, 64 and 128, dropout.

    Of five such networks the best on validation images (98.96 % against 98.77 to 98.87, one to three seeds each).
    """
    dropout = keras.layers.Dropout
    return [
        *[conv(32, 3), pool(), conv(64, 3), pool(), keras.layers.Flatten()],
        *[dropout(0.25), dense(128), dropout(0.5)],
    ]


def mnist_cnn_bn() -> Layers:
    """Published `mnist-cnn-bn`, layer by layer as stated."""
    layers = keras.layers
    return [
        *[conv(32, 3, padding="same"), layers.BatchNormalization(), pool()],
        *[conv(64, 3, padding="same"), layers.BatchNormalization(), pool()],
        *[layers.Flatten(), dense(256), layers.BatchNormalization(), layers.Dropout(0.5)],
    ]


def fashion_cnn() -> Layers:
    """Published `fashion-cnn`: conv 32 and pooling as stated; "more of the same" taken as conv 64; dropout ½."""
    return [conv(32, 3), pool(), conv(64, 3), pool(), keras.layers.Flatten(), keras.layers.Dropout(0.5)]


def fashion_cnn_strided() -> Layers:
    """Published `fashion-cnn-strided`, layer by layer as stated."""
    layers = keras.layers
    step = {"padding": "same", "strides": 2}
    still = {"padding": "same", "strides": 1}
    return [
        *[conv(32, 2, **step), pool(**still), conv(64, 2, **step), pool(**still), layers.Flatten()],
        *[dense(256), layers.Dropout(0.5), dense(128), layers.Dropout(0.5)],
    ]


def poly_modality_mlp() -> Layers:
    """Published `poly-modality-mlp`, layer by layer as stated."""
    return [keras.layers.Flatten(), dense(256), dense(128)]


def poly_modality_cnn() -> Layers:
    """Published `poly-modality-cnn` (also its augmented variant), layer by layer as stated."""
    layers = keras.layers
    return [conv(32, 3), pool(), conv(64, 3), pool(), layers.Flatten(), dense(128), layers.Dropout(0.5)]


VIEWS_LEFT_OUT = 0.5
"""Share of the views that `views` leaves out, at random, while it trains.

Of 2,000 samples made as PolyMNIST's are, 95.5 % are then right from one view, 94.8 with 0.3 and 93.0 with none left
out; from two 99.5, 99.3 and 98.8 %, from all five 100 % (8,000 to learn from, 4 epochs, seed 0).
"""


def views() -> Layers:
    """Square views of one thing, side by side: one trunk looks at each, its features are averaged. Any may be missing.

    The trunk is that of `cnn`. All that it takes to cut, to average and to leave out are layers and operations of
    Keras' own, so that a `.keras` file of it opens without this package.
    """
    *trunk, dropout = cnn()
    return [lambda images: averaged(trunk, images), dropout, dense(256), keras.layers.Dropout(0.4)]


def averaged(trunk: Layers, images: Any) -> Any:
    """Features (n, f): the mean of trunk(view) over the views in images (n, h, v·h, c) that are there.

    A view of zeros is missing; with none at all the features are zero. In training each view is left out with
    probability `VIEWS_LEFT_OUT`, and none is where that would leave nothing. It is left out of the mean, not blackened:
    so the batch statistics in the trunk are those of whole views, whatever is left out. Raises RunError where the
    images are not square views side by side.

    Views missing in the training images do pass through the trunk as black ones: with half of them missing, 95.8 % of
    the samples above were right from one view, 99.7 from two. Keras' batch normalisation with a mask trained on 370
    samples a second, without one on 660 (medians of 4 epochs in turn, busy machine).
    """
    layers, ops = keras.layers, keras.ops
    height, width, channels = images.shape[1:]
    if width % height:
        raise RunError(
            f"Model 'views' takes square views side by side, (h, v·h), received images of {height}×{width}. "
            "Load them with --views, or choose another --model."
        )
    count = width // height
    panels = layers.Permute((2, 1, 3, 4))(layers.Reshape((height, count, height, channels))(images))
    present = ops.cast(ops.max(panels, axis=(2, 3, 4)) > 0, panels.dtype)
    flow = ops.reshape(panels, (-1, height, height, channels))
    for layer in trunk:
        flow = layer(flow)
    kept = layers.Dropout(VIEWS_LEFT_OUT)(present)  # what it multiplies the kept ones by is divided out again
    weights = ops.where(ops.sum(kept, axis=1, keepdims=True) > 0, kept, present)
    features = ops.reshape(flow, (-1, count, flow.shape[-1])) * ops.expand_dims(weights, axis=-1)
    return ops.sum(features, axis=1) / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1)


NETWORKS: dict[str, Callable[[], Layers]] = {
    "linear": linear,
    "mlp": mlp,
    "cnn": cnn,
    "fast": fast,
    "small": small,
    "tiny": tiny,
    "vgg": vgg,
    "vgg-wide": vgg_wide,
    "reader": reader,
    "views": views,
    "mnist-mlp": mnist_mlp,
    "mnist-cnn": mnist_cnn,
    "mnist-cnn-bn": mnist_cnn_bn,
    "fashion-cnn": fashion_cnn,
    "fashion-cnn-strided": fashion_cnn_strided,
    "poly-modality-mlp": poly_modality_mlp,
    "poly-modality-cnn": poly_modality_cnn,
}


def build(
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    neighbours: bool = False,
    mirror: bool = False,
    width: float = 1.0,
) -> Any:
    """The network as a functional `keras.Model`: uint8 images (n, h, w, c) → probabilities float32 (n, classes).

    With `neighbours`, the mean of the probabilities of each image and of itself moved by a pixel in four directions;
    where it was trained with `mirror`, of all these left for right as well. `width`: see `widened`.
    The layer of the logits is named "logits". Raises RunError when images of `shape` are too small for it.
    """
    layers = keras.layers
    images = keras.Input(shape, dtype="uint8", name="images")
    flow = layers.Rescaling(1 / 255)(with_neighbours(images, mirror) if neighbours else images)
    try:
        for layer in NETWORKS[name]():
            flow = widened(layer, width)(flow)
    except ValueError as error:  # Keras: "computed output size would be negative"
        raise RunError(f"Images of {shape[0]}×{shape[1]} are too small for '{name}'. Load larger ones.") from error
    flow = layers.Dense(classes, name="logits")(layers.Flatten()(flow) if len(flow.shape) > 2 else flow)
    probabilities = layers.Activation("softmax", dtype="float32", name="probabilities")(flow)
    if neighbours:
        probabilities = keras.ops.mean(keras.ops.reshape(probabilities, (10 if mirror else 5, -1, classes)), axis=0)
    return keras.Model(images, probabilities, name=name.replace("-", "_"))


def build_for(settings: Settings, shape: tuple[int, int, int], classes: int) -> Any:
    """The network that answers after a training with these settings. Raises RunError as `build`."""
    return build(settings.model, shape, classes, settings.neighbours, settings.mirror, settings.width)


def widened(layer: Any, width: float) -> Any:
    """The layer, not yet called, with `width` times its filters or units, rounded, one at least."""
    for size in ("filters", "units"):
        if hasattr(layer, size):
            setattr(layer, size, max(1, round(width * getattr(layer, size))))
    return layer


def with_neighbours(images: Any, mirror: bool) -> Any:
    """(n, h, w, c) → (5·n, h, w, c): the images, then all of them moved by a pixel up, down, left, right.

    With `mirror` 10·n: then the same left for right.
    """
    join = keras.ops.concatenate
    every = [
        images,
        join([images[:, 1:], images[:, -1:]], axis=1),
        join([images[:, :1], images[:, :-1]], axis=1),
        join([images[:, :, 1:], images[:, :, -1:]], axis=2),
        join([images[:, :, :1], images[:, :, :-1]], axis=2),
    ]
    mirrored = [each[:, :, ::-1] for each in every] if mirror else []
    return join([*every, *mirrored], axis=0)


def describe_layers(network: Any) -> list[dict[str, Any]]:
    """One row per layer: its kind, its output shape without the batch, its parameters."""
    return [
        {
            "layer": type(layer).__name__,
            "output": "×".join(str(side) for side in layer.output.shape[1:]),
            "parameters": int(layer.count_params()),
        }
        for layer in network.layers
    ]
