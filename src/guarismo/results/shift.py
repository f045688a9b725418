"""Training images and images to be answered → a finding, where these lie outside what the model has seen.

A shift is told where many images lie beyond the range of the training images in one thing: brightness, border,
contrast, sharpness, place, a measure of the shape; or where many answers are less sure than nearly all were on
validation images. Other classes in other shares, or one person's hand, stay inside the range and are no shift: of
MNIST's test images drawn by 2 to 100, 10,000 times, one draw is called so, and 7 of its 295 writers.

Found, of 100 of MNIST's test images: inverted, moved by 6 pixels, at 40 % of their contrast, blurred (1.5 pixels), with
noise of deviation 25, enlarged, thinned, turned by 90°. What this cannot see: images inside every range
that are unlike all the same (clothes turned by 90°, or with that noise); an over-confident model is sure of what it has
never seen; and one image alone, which may just be an odd one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import Images
from guarismo.data.leaks import batches
from guarismo.data.shapes import measure
from guarismo.data.sources import reload
from guarismo.errors import GuarismoError
from guarismo.language import N_
from guarismo.models.runs import Run
from guarismo.results.finding import Finding

Columns = Mapping[str, NDArray[np.floating[Any]]]

MOST_BYTES = 2**26
"""How large a data set may be for its images to be loaded again: MNIST's 55 MB take 0.4 s."""

MOST_IMAGES = 2_000
"""Images of each side that are measured, drawn by chance: both together take 0.2 s."""

OUTSIDE = 0.005
"""Share of the training images that lie below the range, and above it."""

UNSURE = 0.02
"""Share of the answers to validation images that are less sure than the range; of one class alone it is up to 0.06."""

MANY = 0.25
"""Share of the images outside the range on one side from which on that is told."""

SURELY = 0.001
"""Probability of chance, after Bonferroni's correction for two ends of every measure."""

BELOW: Mapping[str, str] = {
    "brightness": N_("{share:percent} of the images are darker than nearly all training images."),
    "border": N_("{share:percent} of the images have a darker border than nearly all training images."),
    "contrast": N_("{share:percent} of the images have less contrast than nearly all training images."),
    "sharpness": N_("{share:percent} of the images are more blurred than nearly all training images."),
    "slant": N_("{share:percent} of the images lean further to the left than nearly all training images."),
    "stroke": N_("{share:percent} of the images have thinner strokes than nearly all training images."),
    "aspect": N_("{share:percent} of the images are narrower than nearly all training images."),
    "ink": N_("{share:percent} of the images have less ink than nearly all training images."),
    "offset": N_("{share:percent} of the images are closer to the middle than nearly all training images."),
    "confidence": N_("{share:percent} of the answers are less sure than nearly all those to validation images."),
}
ABOVE: Mapping[str, str] = {
    "brightness": N_("{share:percent} of the images are brighter than nearly all training images."),
    "border": N_("{share:percent} of the images have a brighter border than nearly all training images."),
    "contrast": N_("{share:percent} of the images have more contrast than nearly all training images."),
    "sharpness": N_("{share:percent} of the images are grainier than nearly all training images."),
    "slant": N_("{share:percent} of the images lean further to the right than nearly all training images."),
    "stroke": N_("{share:percent} of the images have thicker strokes than nearly all training images."),
    "aspect": N_("{share:percent} of the images are wider than nearly all training images."),
    "ink": N_("{share:percent} of the images have more ink than nearly all training images."),
    "offset": N_("{share:percent} of the images are further from the middle than nearly all training images."),
}
"""What is said of images below and above the range of each measure."""


def shift_of(run: Run, images: Images, probabilities: NDArray[np.float32]) -> Finding | None:
    """`shift` of images that a run answered, against what can be had of its training within a second or so.

    That is the answers to its validation images, which it keeps, and its training images where they are here and small.
    """
    kept = "validation.safetensors" in run.about["files"]
    before = run.arrays("validation")["probabilities"].max(axis=1) if kept else None
    return shift(training_images(run), images, before, probabilities.max(axis=1))


def training_images(run: Run) -> Images | None:
    """The run's training images, loaded again, where they are here, unchanged and take no more than MOST_BYTES."""
    data = run.about["data"]
    source = str(data["origin"].get("source", ""))
    size = sum(data["counts"].values()) * math.prod(data["shape"])
    if size > MOST_BYTES or not source or source.startswith("kaggle:"):
        return None
    try:
        dataset = reload(data["origin"])
    except (GuarismoError, OSError):
        return None
    return dataset.train.images if dataset.fingerprint == data["fingerprint"] else None


def shift(
    training: Images | None,
    images: Images,
    before: NDArray[np.floating[Any]] | None = None,
    after: NDArray[np.floating[Any]] | None = None,
    seed: int = 0,
) -> Finding | None:
    """Whether many images lie outside the range of the training images, and in which measure most of them do.

    training, images: uint8 (n, h, w, c); before, after: how sure the answers to validation images and to `images` are,
    float (n,). The range holds all but OUTSIDE of the training images on each side, all but UNSURE of the confidences.
    Told where MANY or more lie beyond one end, and chance has less than SURELY (binomial, Bonferroni).
    """
    rng = np.random.default_rng(seed)
    chosen = sample(len(images), rng)
    known, new = {}, {}
    if training is not None and len(training) and len(images):
        known, new = measures(training[sample(len(training), rng)]), measures(images[chosen])
    if before is not None and after is not None:
        known, new = {**known, "confidence": before}, {**new, "confidence": after[chosen]}
    return outside(known, new, chosen)


def sample(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most MOST_IMAGES numbers out of n, in their order."""
    return np.arange(n) if n <= MOST_IMAGES else np.sort(rng.choice(n, MOST_IMAGES, replace=False))


def measures(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """What is compared, float32 (n,) each; NaN where an image has no such thing.

    brightness, border and contrast: mean, mean of the outermost pixels and standard deviation, of 0…255; sharpness:
    mean step from pixel to pixel as a share of the contrast; offset: from the middle of the image to the centre of what
    differs from its border, in pixels; and the measures of `guarismo.data.shapes` but holes.
    """
    parts = [measured(batch) for batch in batches(images)]
    grey = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    return {**grey, **{name: column for name, column in measure(images).items() if name != "holes"}}


def measured(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    values = images.mean(axis=3, dtype=np.float32)
    border = np.concatenate([values[:, 0], values[:, -1], values[:, :, 0], values[:, :, -1]], axis=1)
    contrast = values.std(axis=(1, 2))
    steps = np.abs(np.diff(values, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(values, axis=2)).mean(axis=(1, 2))
    plain = np.where(contrast > 0, contrast, np.float32(np.nan))
    return {
        "brightness": values.mean(axis=(1, 2)),
        "border": border.mean(axis=1),
        "contrast": contrast,
        "sharpness": steps / plain,
        "offset": offset(values, border),
    }


def offset(values: NDArray[np.float32], border: NDArray[np.float32]) -> NDArray[np.float32]:
    """From the middle of each image to the centre of gravity of what differs from its border's median, in pixels."""
    weight = np.abs(values - np.median(border, axis=1)[:, None, None])
    total = weight.sum(axis=(1, 2))
    total = np.where(total > 0, total, np.float32(np.nan))
    height, width = values.shape[1:]
    down = weight.sum(axis=2) @ (np.arange(height, dtype=np.float32) - (height - 1) / 2) / total
    right = weight.sum(axis=1) @ (np.arange(width, dtype=np.float32) - (width - 1) / 2) / total
    return np.asarray(np.hypot(down, right), dtype=np.float32)


def outside(known: Columns, new: Columns, chosen: NDArray[np.int64]) -> Finding | None:
    """The measure in which most of the `new` images lie outside the range of the `known` ones; which: `chosen`."""
    from scipy.stats import binom

    found: list[tuple[float, str, NDArray[np.bool_]]] = []
    for name, column in known.items():
        column, others = column[~np.isnan(column)], new[name]
        told = ~np.isnan(others)
        if not (len(column) and told.any()):
            continue
        left = UNSURE if name == "confidence" else OUTSIDE
        low, high = np.quantile(column, [left, 1 - left])
        ends = [(BELOW[name], others < low)] + ([(ABOVE[name], others > high)] if name in ABOVE else [])
        for says, beyond in ends:
            share = float(beyond[told].mean())
            chance = float(binom.sf(beyond.sum() - 1, told.sum(), left)) * (len(BELOW) + len(ABOVE))
            if share >= MANY and chance < SURELY:
                found.append((share, says, beyond))
    if not found:
        return None
    share, says, beyond = max(found, key=lambda each: each[0])
    return Finding(
        "shift",
        share,
        says,
        N_(
            "The model has not learnt such images, and its answers may be wrong however sure they look: prepare the "
            "images as those of training were, or train with images like these."
        ),
        {"share": share},
        split="given",
        images=chosen[beyond],
    )
