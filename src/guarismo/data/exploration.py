"""Dataset → Exploration: what is in the data, as numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import UNKNOWN, Dataset, Split


@dataclass(frozen=True)
class Pixels:
    """Of one split's values 0…255: mean, standard deviation, share of zeros."""

    mean: float
    deviation: float
    zeros: float


@dataclass(frozen=True, eq=False)
class Exploration:
    """What is in a Dataset.

    counts: split → images of each class, int64 (k,); unlabelled: split → images without a class;
    balance: images of the commonest class for one of the rarest, in training (0 where one has none or there is none);
    means: mean training image of each class, uint8 (k, h, w, c), black where a class has none;
    repeats: split → images that are exact copies of an earlier one in it;
    shared: pair of splits → images of the second that are exact copies of one in the first;
    contradictions: images of which an exact copy carries another label.
    """

    name: str
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: Mapping[str, NDArray[np.int64]]
    unlabelled: Mapping[str, int]
    balance: float
    pixels: Mapping[str, Pixels]
    means: NDArray[np.uint8]
    repeats: Mapping[str, int]
    shared: Mapping[tuple[str, str], int]
    contradictions: int
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The numbers without the mean images, as plain values."""
        return {
            "name": self.name,
            "class_names": list(self.class_names),
            "shape": list(self.shape),
            "counts": {split: column.tolist() for split, column in self.counts.items()},
            "unlabelled": dict(self.unlabelled),
            "balance": self.balance,
            "pixels": {split: vars(figures) for split, figures in self.pixels.items()},
            "repeats": dict(self.repeats),
            "shared": [{"between": list(pair), "images": number} for pair, number in self.shared.items()],
            "contradictions": self.contradictions,
            "notes": list(self.notes),
        }


def explore(dataset: Dataset) -> Exploration:
    """Count, measure and look for copies. (MNIST's 70,000 images: 0.5 s.)"""
    classes = len(dataset.class_names)
    counts = {name: count_classes(split, classes) for name, split in dataset.splits.items()}
    codes = number_contents(dataset)
    return Exploration(
        name=dataset.name,
        class_names=dataset.class_names,
        shape=dataset.shape,
        counts=counts,
        unlabelled={name: int((split.labels == UNKNOWN).sum()) for name, split in dataset.splits.items()},
        balance=balance(counts["train"]),
        pixels={name: measure_pixels(split) for name, split in dataset.splits.items() if len(split)},
        means=mean_images(dataset.train, classes),
        repeats={name: len(code) - len(np.unique(code)) for name, code in codes.items()},
        shared=count_shared(codes),
        contradictions=count_contradictions(dataset, codes),
        notes=dataset.notes,
    )


def count_classes(split: Split, classes: int) -> NDArray[np.int64]:
    """Images of each class, int64 (k,); the unlabelled are left out."""
    return np.bincount(split.labels[split.labels != UNKNOWN], minlength=classes).astype(np.int64)


def balance(counts: NDArray[np.int64]) -> float:
    return float(counts.max() / counts.min()) if counts.size and counts.min() > 0 else 0.0


def measure_pixels(split: Split) -> Pixels:
    """From the histogram of the values: one pass over uint8, no copy in float64 eight times as large."""
    histogram = np.bincount(split.images.reshape(-1), minlength=256)
    values, total = np.arange(256), histogram.sum()
    mean = float(histogram @ values / total)
    return Pixels(mean, float(np.sqrt(histogram @ (values - mean) ** 2 / total)), float(histogram[0] / total))


def mean_images(split: Split, classes: int) -> NDArray[np.uint8]:
    """Mean image of each class, uint8 (k, h, w, c)."""
    means = np.zeros((classes, *split.images.shape[1:]), dtype=np.uint8)
    for label in np.unique(split.labels[split.labels != UNKNOWN]):
        means[label] = split.images[split.labels == label].mean(axis=0).round()
    return means


def number_contents(dataset: Dataset) -> dict[str, NDArray[np.int64]]:
    """Split → a number for each image, the same for equal content and for it only, int64 (n,)."""
    numbers: dict[bytes, int] = {}
    # Digests as keys: the bytes themselves would hold 800 MB for the 350,000 colour images of PolyMNIST.
    return {
        name: np.fromiter((numbers.setdefault(digest(image), len(numbers)) for image in split.images), np.int64)
        for name, split in dataset.splits.items()
    }


def digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def count_shared(codes: Mapping[str, NDArray[np.int64]]) -> dict[tuple[str, str], int]:
    """Images of a later split that stand in an earlier one too."""
    names = list(codes)
    return {
        (first, second): int(np.isin(codes[second], codes[first]).sum())
        for place, first in enumerate(names)
        for second in names[place + 1 :]
    }


def count_contradictions(dataset: Dataset, codes: Mapping[str, NDArray[np.int64]]) -> int:
    """Labelled images whose content occurs with two labels or more, over all splits."""
    labels = np.concatenate([split.labels for split in dataset.splits.values()])
    contents = np.concatenate([codes[name] for name in dataset.splits])[labels != UNKNOWN]
    labels = labels[labels != UNKNOWN]
    pairs = np.unique(np.stack([contents, labels]), axis=1)
    named, times = np.unique(pairs[0], return_counts=True)
    return int(np.isin(contents, named[times > 1]).sum())
