"""Dataset → Leaks: what two splits share, so that figures of the one flatter: copies, near copies, writers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset, Images, Split
from guarismo.progress import Progress, silent

MOST_PAIRS = 6 * 10**8
"""Pairs of images of two splits that are looked at for near duplicates: 10,000 with 60,000, the whole of MNIST."""

ALIKE = 0.05
"""Near duplicates differ nowhere by more than this share of their range of brightness (`differences`).

Of MNIST's test images the one most like a training image differs by 0.058, the next by 0.065. 1,000 training images of
MNIST, and of Fashion-MNIST, were altered and sought: as JPEG of quality 75, all found, 50: 98.5 and 97.2 %; shifted by
(0, 1), 100 and 99.5 %, (1, 2), 100 and 99.2 %, (2, 2), 100 and 84.6 %; with noise of deviation 10, 99.6 and 97 %, 20:
40 and 6 %; darker by 40 %, all. Fashion-MNIST itself has 14 test images below 0.05: the same clothes, by eye.
"""

FAINT = 8
"""Images whose brightness has a smaller range than this, of 0…255, show nothing that could be compared."""

KEPT = 20
"""Pairs of near duplicates that are told."""

SIDE = 32
"""Pixels of the shorter side at which images are compared; larger ones are shrunk to it at most by half again."""

FREQUENCIES = 6
"""Spatial frequencies in a signature, down and across."""

BLOCKS = 16
LIKELIEST = 2
"""So many of the best of BLOCKS or more parts of the earlier split are compared pixel by pixel."""

BATCH = 512
"""Images at a time: larger products leave the caches and take twice as long."""

BATCH_BYTES = 2**25

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """Two images, by their indices in the later and the earlier split, and their `differences`."""

    later: int
    earlier: int
    difference: float


@dataclass(frozen=True)
class Between:
    """What a later split has in common with an earlier one.

    images: how many the later has; copies: those that are exact copies of one in the earlier;
    near: those of the `looked_at`, exact copies apart, that are nearly so; pairs: of these the KEPT most alike, each
    with the most alike of the earlier; groups: how many the later has, None where one of the two does not know them;
    shared_groups: those that the earlier has as well; grouped: images of the later in these.
    """

    earlier: str
    later: str
    images: int
    copies: int
    looked_at: int
    near: int
    pairs: tuple[Pair, ...]
    groups: int | None
    shared_groups: int
    grouped: int

    @property
    def found(self) -> bool:
        return bool(self.copies or self.near or self.shared_groups)


@dataclass(frozen=True)
class Leaks:
    """What each two splits have in common; `grouped_by` says what a group is: "writer", "original" or "group"."""

    between: tuple[Between, ...]
    grouped_by: str

    @property
    def found(self) -> bool:
        return any(each.found for each in self.between)

    def as_json(self) -> dict[str, Any]:
        between = [{**vars(each), "pairs": [vars(pair) for pair in each.pairs]} for each in self.between]
        return {"grouped_by": self.grouped_by, "between": between}


def find_leaks(
    dataset: Dataset,
    sample: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    contents: Mapping[str, NDArray[np.int64]] | None = None,
) -> Leaks:
    """What the splits of a Dataset share. (MNIST's 70,000 images, two busy cores: 6 s.)

    Exact copies and groups are counted among all images; for near duplicates at most `sample` images of a later split,
    by default as many as MOST_PAIRS allows, are looked at, drawn by `seed`.
    contents: `number_contents`, where that is known already.
    """
    from threadpoolctl import threadpool_limits

    contents = number_contents(dataset) if contents is None else contents
    filled = [name for name, split in dataset.splits.items() if len(split)]
    between: list[Between] = []
    pairs = list(combinations(filled, 2))
    # Threads of BLAS wait for each other, 20 s for 1 s where the cores have other work; ours (`in_threads`) do not.
    with threadpool_limits(1, "blas"):
        signed = {name: all_signatures(dataset.splits[name].images) for name in filled[:-1]}
        for pair in pairs:
            progress(len(between), len(pairs))
            between.append(compare(dataset, pair, contents, signed[pair[0]], sample, seed))
    progress(len(pairs), len(pairs))
    return Leaks(tuple(between), dataset.grouped_by)


def compare(
    dataset: Dataset,
    pair: tuple[str, str],
    contents: Mapping[str, NDArray[np.int64]],
    signed: Floats,
    sample: int | None,
    seed: int,
) -> Between:
    """What the later of a pair of splits has in common with the earlier, whose `signatures` are given."""
    earlier, later = (dataset.splits[name] for name in pair)
    copied = np.isin(contents[pair[1]], contents[pair[0]])
    others = np.flatnonzero(~copied)
    most = MOST_PAIRS // len(earlier) if sample is None else sample
    if len(others) > most:
        others = np.sort(np.random.default_rng(seed).choice(others, most, replace=False))
    near = near_duplicates(later.images, others, earlier.images, signed)
    groups, shared, grouped = shared_groups(earlier, later)
    return Between(
        *pair, len(later), int(copied.sum()), len(others), len(near), tuple(near[:KEPT]), groups, shared, grouped
    )


# Exact copies and groups


def number_contents(dataset: Dataset) -> dict[str, NDArray[np.int64]]:
    """Split → a number for each image, the same for equal content and for it only, int64 (n,)."""
    numbers: dict[bytes, int] = {}
    # Digests as keys: the bytes themselves would hold 800 MB for the 350,000 colour images of PolyMNIST.
    return {
        name: np.fromiter(
            (numbers.setdefault(digest(image), len(numbers)) for batch in batches(split.images) for image in batch),
            np.int64,
        )
        for name, split in dataset.splits.items()
    }


def batches(images: Images) -> Iterator[NDArray[np.uint8]]:
    """All the images, `batch_size` at a time: of those on disk no more are held in memory."""
    size = batch_size(images)
    return (images[start : start + size] for start in range(0, len(images), size))


def batch_size(images: Images) -> int:
    return max(1, min(BATCH, BATCH_BYTES // max(1, math.prod(images.shape[1:]))))


def digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def shared_groups(earlier: Split, later: Split) -> tuple[int | None, int, int]:
    """(groups of the later split or None, those that the earlier has too, images of the later in these)."""
    if earlier.groups is None or later.groups is None:
        return None, 0, 0
    groups = np.unique(later.groups)
    shared = np.isin(groups, earlier.groups)
    return len(groups), int(shared.sum()), int(np.isin(later.groups, groups[shared]).sum())


# Near duplicates: the likeliest by matrix products of signatures, these then compared pixel by pixel


def near_duplicates(later: Images, looked_at: NDArray[np.int64], earlier: Images, signed: Floats) -> list[Pair]:
    """Those of the images `looked_at` (int64 (m,)) that differ from an earlier one by ALIKE at most, most alike first.

    signed: the `signatures` of the earlier ones.
    """

    def search(rows: NDArray[np.int64]) -> list[Pair]:
        nearest, least = compare_likeliest(brightness(later[rows]), earlier, signed)
        alike = np.flatnonzero(least <= ALIKE)
        return [Pair(int(rows[row]), int(nearest[row]), float(least[row])) for row in alike]

    size = batch_size(later)
    found = in_threads(search, (looked_at[start : start + size] for start in range(0, len(looked_at), size)))
    return sorted((pair for pairs in found for pair in pairs), key=lambda pair: pair.difference)


def in_threads(work: Callable[[Any], Any], parts: Iterable[Any]) -> list[Any]:
    """The work of each part, one thread to a core: NumPy lets others work while it does."""
    from joblib import Parallel, delayed

    done: list[Any] = Parallel(n_jobs=-1, prefer="threads")(delayed(work)(part) for part in parts)
    return done


def compare_likeliest(images: Floats, earlier: Images, signed: Floats) -> tuple[NDArray[np.int64], Floats]:
    """For each image (`brightness`) the most alike of the LIKELIEST earlier ones: index, `differences`, (n,) both."""
    corners = product((-1, 0, 1), repeat=2) if reach(images) == 2 else [(0, 0)]
    best = [best_of_blocks(signatures(inner(images, *shift)), signed) for shift in corners if shift.count(0) != 1]
    likeness, rows = (np.stack(columns) for columns in zip(*best, strict=True))
    corner = likeness.argmax(axis=0)[None]
    likeness, rows = (np.take_along_axis(columns, corner, axis=0)[0] for columns in (likeness, rows))
    candidates = np.take_along_axis(rows, np.argsort(-likeness, axis=1)[:, :LIKELIEST], axis=1)
    found = np.stack([differences(images, brightness(earlier[column])) for column in candidates.T], axis=1)
    least = found.argmin(axis=1)[:, None]
    return np.take_along_axis(candidates, least, axis=1)[:, 0], np.take_along_axis(found, least, axis=1)[:, 0]


def brightness(images: NDArray[np.uint8]) -> Floats:
    """uint8 (n, h, w, c) → the mean of the channels, float32 (n, h', w'), the shorter side shrunk to SIDE…2·SIDE."""
    count, height, width, channels = images.shape
    grey: Floats = images.astype(np.float32) @ np.full(channels, 1 / channels, dtype=np.float32)
    step = max(1, min(height, width) // SIDE)
    rows, columns = height // step, width // step
    grey = grey[:, : rows * step, : columns * step].reshape(count, rows, step, columns, step)
    return grey.mean(axis=(2, 4)) if step > 1 else grey.reshape(count, rows, columns)


def reach(images: Floats) -> int:
    """By how many pixels a copy may be shifted: 2 from 24×24 on, none in images so small that nothing would be left."""
    return int(min(2, min(images.shape[1:]) // 12))


def inner(images: Floats, down: int = 0, right: int = 0) -> Floats:
    """What is left without a margin of `reach`, seen through a window that is moved by up to that."""
    margin, (height, width) = reach(images), images.shape[1:]
    top, left = margin + down, margin + right
    return images[:, top : top + height - 2 * margin, left : left + width - 2 * margin]


def signatures(images: Floats) -> Floats:
    """The strength of the lowest spatial frequencies, float32 (n, 66), of length 1: hardly changed by a shift.

    A pixel to the side changes the phase of a frequency, not its strength, but for what comes in at the border.
    """
    height, width = images.shape[1:]
    down = np.arange(1 - FREQUENCIES, FREQUENCIES)[:, None, None, None] * np.arange(height)[:, None] / height
    right = np.arange(FREQUENCIES)[:, None, None] * np.arange(width) / width
    waves = (2 * np.pi * (down + right)).reshape(-1, height * width).T.astype(np.float32)
    values = (images - images.mean(axis=(1, 2), keepdims=True)).reshape(len(images), -1)
    strengths: Floats = np.hypot(values @ np.cos(waves), values @ np.sin(waves))
    strengths /= np.linalg.norm(strengths, axis=1, keepdims=True) + np.float32(1e-6)
    return strengths


def best_of_blocks(queries: Floats, signed: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """(likeness, index) of the most alike in each block of the earlier signatures: (n, blocks) both.

    The best of each block, and not the best of all, takes one pass over the products; sorting them would take ten.
    """
    size = max(1, min(8 * BATCH, -(-len(signed) // BLOCKS)))
    likeness, rows = [], []
    for start in range(0, len(signed), size):
        products = queries @ signed[start : start + size].T
        nearest = products.argmax(axis=1)
        likeness.append(products[np.arange(len(queries)), nearest])
        rows.append(start + nearest)
    return np.stack(likeness, axis=1), np.stack(rows, axis=1)


def all_signatures(images: Images) -> Floats:
    """The `signatures` of every image, float32 (n, 66)."""
    return np.concatenate(in_threads(lambda batch: signatures(inner(brightness(batch))), batches(images)))


def differences(images: Floats, others: Floats) -> Floats:
    """How far each image differs from the other at their worst place, as a share of its range of brightness, (n,).

    The other is shifted by up to `reach` to where it correlates best, its brightness and contrast are fitted by least
    squares, and what is left is blurred a little, so that noise counts for less than a stroke that lies elsewhere.
    Infinite for FAINT images. The worst place and not the mean, because a 1 differs from the 1 of another hand in few
    pixels.
    """
    margin, window = reach(images), inner(images)
    target, rest = centred(window), np.empty((len(images), window[0].size), dtype=np.float32)
    highest = np.full(len(images), -1, dtype=np.float32)
    for down, right in product(range(-margin, margin + 1), repeat=2):
        other = centred(inner(others, down, right))
        power = np.maximum(np.vecdot(other, other), np.float32(1e-6))
        gain = np.vecdot(target, other) / power
        better = gain**2 * power > highest
        highest[better] = (gain**2 * power)[better]
        rest[better] = target[better] - gain[better, None] * other[better]
    worst = np.abs(blurred(rest.reshape(window.shape), margin)).max(axis=(1, 2))
    span = np.ptp(target, axis=1)
    return np.where(span < FAINT, np.float32(np.inf), worst / np.maximum(span, FAINT))


def blurred(images: Floats, times: int) -> Floats:
    """Each pixel with half its weight and a quarter from both sides, down and across, `times` over."""
    from scipy.ndimage import convolve1d

    for axis in (1, 2) * times:
        images = convolve1d(images, (0.25, 0.5, 0.25), axis, mode="nearest")
    return images


def centred(images: Floats) -> Floats:
    """float32 (n, pixels), each image less its mean."""
    values: Floats = images.reshape(len(images), -1)
    means: Floats = values.mean(axis=1, keepdims=True)
    return values - means
