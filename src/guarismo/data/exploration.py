"""Dataset → Exploration: what is in the data, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from guarismo.data.dataset import UNKNOWN, Dataset, Images, Split, chosen
from guarismo.data.leaks import FAINT, Leaks, batches, find_leaks, number_contents
from guarismo.data.polymnist import table_of_names
from guarismo.data.shapes import MEASURES, measure
from guarismo.progress import Progress, silent

QUANTILES = (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995)
"""Of a measure in a class."""

BINS = 32
"""Of a measure's histogram; numbers of holes have one each, up to MOST_HOLES."""

MOST_HOLES = 8

ENDS = 8
"""Images at each end of a measure."""

KEPT = 20
"""Copies that are told one by one."""

MAPPED = 3000
"""Images on the map; its axes are fitted to them."""

THUMBNAIL = 1 / 22
"""Side of an image on the map, as a share of the map's."""

MAP_SIDE = 24
"""Pixels of the shorter side at which images are laid on the map; larger ones are shrunk to it or a little more."""


@dataclass(frozen=True)
class Pixels:
    """Of one split's values 0…255: mean, standard deviation, share of zeros, least and most."""

    mean: float
    deviation: float
    zeros: float
    least: int
    most: int


@dataclass(frozen=True, eq=False)
class Variation:
    """How one measure of `shapes` varies in one class.

    measured: images that have it; edges, counts: histogram, float64 (b+1,) and int64 (b,), whose outer bins hold what
    lies beyond as well; quantiles: its values at QUANTILES, float64 (7,); low, high: images at both ends, int64
    (≤ ENDS,), the outermost first. It is followed by those from the outer one of QUANTILES inwards, so that not only
    broken images are shown; equal values stand in an order of chance.
    """

    measured: int
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    quantiles: NDArray[np.float64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @property
    def median(self) -> float:
        return float(self.quantiles[QUANTILES.index(0.5)])

    @property
    def holed(self) -> float:
        """Of holes: the share of images that have any."""
        return float(1 - self.counts[0] / self.measured)


@dataclass(frozen=True)
class Copy:
    """Two images with exactly the same pixels, as (split, index), the later one first."""

    later: tuple[str, int]
    earlier: tuple[str, int]


@dataclass(frozen=True)
class Groups:
    """Images that share a writer or an original: how many groups, images in the smallest, the median and the largest
    of them, and for each measure the share of its spread inside a class that lies between groups, 0…1
    (`intraclass_share`; left out where no group has two images of a class)."""

    groups: int
    least: int
    median: float
    most: int
    shares: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Map:
    """Images laid out so that those with like pixels lie close to each other: their first two principal components.

    images: indices int64 (m,); places: across and up, float32 (m, 2) in 0…1; thumbnails: positions in `images`,
    int64 (t,), of those that may be drawn THUMBNAIL wide and high without touching each other; explained: share of
    the pixels' variance that both axes show.
    """

    images: NDArray[np.int64]
    places: NDArray[np.float32]
    thumbnails: NDArray[np.int64]
    explained: float


@dataclass(frozen=True, eq=False)
class Exploration:
    """What is in a Dataset.

    counts: split → images of each class, int64 (k,); unlabelled: split → images without a class;
    balance: images of the commonest class for one of the rarest, in training (0 where one has none or there is none);
    blank: split → images that show nothing, int64 (b,): their values differ by less than FAINT;
    means, spreads: mean and standard deviation of the training images of each class, uint8 (k, h, w, c), black where a
    class has none;
    repeats: split → images that are exact copies of an earlier one in it; copies: KEPT of all, in one split or in two;
    contradictions: images of which an exact copy carries another label; contradicting: KEPT of them;
    leaks: what two splits share;
    modalities: split → images of each modality and digit, int64 (modalities, 10), where the names tell them as
    PolyMNIST's do, else None;
    shown: the split that the following are of: "train", or the first that has images;
    shaped: share of its images that have a shape to be measured, 0 of several views side by side;
    variation: measure → one of each class, or of all images where there are no classes, None where none has a shape;
    groups: None where they are not known; map: None of fewer than three images.
    """

    name: str
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: Mapping[str, NDArray[np.int64]]
    unlabelled: Mapping[str, int]
    balance: float
    pixels: Mapping[str, Pixels]
    blank: Mapping[str, NDArray[np.int64]]
    means: NDArray[np.uint8]
    spreads: NDArray[np.uint8]
    repeats: Mapping[str, int]
    copies: tuple[Copy, ...]
    contradictions: int
    contradicting: tuple[Copy, ...]
    leaks: Leaks
    modalities: Mapping[str, NDArray[np.int64]] | None
    shown: str
    shaped: float
    variation: Mapping[str, tuple[Variation | None, ...]]
    groups: Groups | None
    map: Map | None
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The numbers as plain values, without images, histograms and the map."""
        return {
            "name": self.name,
            "class_names": list(self.class_names),
            "shape": list(self.shape),
            "counts": {split: column.tolist() for split, column in self.counts.items()},
            "unlabelled": dict(self.unlabelled),
            "balance": self.balance,
            "pixels": {split: vars(figures) for split, figures in self.pixels.items()},
            "blank": {split: len(images) for split, images in self.blank.items()},
            "repeats": dict(self.repeats),
            "copies": [asdict(copy) for copy in self.copies],
            "contradictions": self.contradictions,
            "contradicting": [asdict(copy) for copy in self.contradicting],
            "leaks": self.leaks.as_json(),
            "modalities": self.modalities and {split: table.tolist() for split, table in self.modalities.items()},
            "shown": self.shown,
            "shaped": self.shaped,
            "quantiles": list(QUANTILES),
            "variation": {
                name: [each and [round(value, 4) for value in each.quantiles.tolist()] for each in classes]
                for name, classes in self.variation.items()
            },
            "groups": self.groups and asdict(self.groups),
            "notes": list(self.notes),
        }


def explore(dataset: Dataset, progress: Progress = silent) -> Exploration:
    """Count, measure, and look for copies and leaks.

    MNIST's 70,000 images take 10 s of processor time: 8 s of it to look for leaks, 2 s to measure shapes.
    """
    classes = len(dataset.class_names)
    counts = {name: count_classes(split, classes) for name, split in dataset.splits.items()}
    shown = next((name for name, split in dataset.splits.items() if len(split)), "train")
    split = dataset.splits[shown]
    means, spreads = mean_and_spread(dataset.train, classes)
    codes = number_contents(dataset)
    contradictions, contradicting = find_contradictions(dataset, codes)
    columns = shapes_of(dataset, split)
    return Exploration(
        name=dataset.name,
        class_names=dataset.class_names,
        shape=dataset.shape,
        counts=counts,
        unlabelled={name: int((split.labels == UNKNOWN).sum()) for name, split in dataset.splits.items()},
        balance=balance(counts["train"]),
        pixels={name: measure_pixels(split) for name, split in dataset.splits.items() if len(split)},
        blank={name: find_blank(split) for name, split in dataset.splits.items()},
        means=means,
        spreads=spreads,
        repeats={name: count_repeats(column) for name, column in codes.items()},
        copies=find_copies(codes),
        contradictions=contradictions,
        contradicting=contradicting,
        leaks=find_leaks(dataset, contents=codes, progress=progress),
        modalities=count_modalities(dataset),
        shown=shown,
        shaped=float(np.isfinite(columns["ink"]).mean()) if len(split) else 0.0,
        variation=vary(columns, split.labels, classes),
        groups=describe_groups(split, columns),
        map=lay_out(split.images),
        notes=dataset.notes,
    )


def count_classes(split: Split, classes: int) -> NDArray[np.int64]:
    """Images of each class, int64 (k,); the unlabelled are left out."""
    return np.bincount(split.labels[split.labels != UNKNOWN], minlength=classes).astype(np.int64)


def balance(counts: NDArray[np.int64]) -> float:
    return float(counts.max() / counts.min()) if counts.size and counts.min() > 0 else 0.0


def measure_pixels(split: Split) -> Pixels:
    """From the histogram of the values: one pass over uint8, no copy in float64 eight times as large."""
    histogram = np.zeros(256, dtype=np.int64)
    for batch in batches(split.images):
        histogram += np.bincount(batch.reshape(-1), minlength=256)
    values, total = np.arange(256), histogram.sum()
    mean = float(histogram @ values / total)
    deviation = float(np.sqrt(histogram @ (values - mean) ** 2 / total))
    used = np.flatnonzero(histogram)
    return Pixels(mean, deviation, float(histogram[0] / total), int(used[0]), int(used[-1]))


def find_blank(split: Split) -> NDArray[np.int64]:
    """Images whose values all lie within FAINT of each other, int64 (b,)."""
    spans = [np.ptp(batch.reshape(len(batch), -1), axis=1) for batch in batches(split.images)]
    return np.flatnonzero(np.concatenate([np.empty(0, np.uint8), *spans]) < FAINT)


def mean_and_spread(split: Split, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Mean and standard deviation of the images of each class, pixel by pixel, uint8 (k, h, w, c) both."""
    sums, squares = np.zeros((2, classes, *split.images.shape[1:]))
    start = 0
    for batch in batches(split.images):
        labels = split.labels[start : start + len(batch)]
        order = np.argsort(labels, kind="stable")[(labels == UNKNOWN).sum() :]
        if len(order):
            found, first = np.unique(labels[order], return_index=True)
            values = batch[order].astype(np.float32)
            sums[found] += np.add.reduceat(values, first)
            squares[found] += np.add.reduceat(values * values, first)
        start += len(batch)
    counts = np.maximum(count_classes(split, classes), 1)[:, None, None, None]
    means = sums / counts
    spreads = np.sqrt(np.maximum(squares / counts - means**2, 0))
    return means.round().astype(np.uint8), spreads.round().astype(np.uint8)


# Exact copies


def count_repeats(codes: NDArray[np.int64]) -> int:
    """Images that are copies of an earlier one, by their contents' numbers."""
    return len(codes) - len(np.unique(codes))


def find_copies(codes: Mapping[str, NDArray[np.int64]]) -> tuple[Copy, ...]:
    """Copies of the first image with the same content, at most KEPT: those in another split than it come first."""
    contents, splits = np.concatenate(list(codes.values())), split_of_each(codes)
    _, first, content = np.unique(contents, return_index=True, return_inverse=True)
    earlier = first[content]
    later = np.flatnonzero(earlier != np.arange(len(contents)))
    apart = splits[later] != splits[earlier[later]]
    return pair_up(codes, later[np.argsort(~apart, kind="stable")], earlier)


def find_contradictions(dataset: Dataset, codes: Mapping[str, NDArray[np.int64]]) -> tuple[int, tuple[Copy, ...]]:
    """Labelled images whose content occurs with two labels or more, over all splits: how many, and at most KEPT of
    those whose label is another than that of the first of their content."""
    labels = np.concatenate([split.labels for split in dataset.splits.values()])
    known = np.flatnonzero(labels != UNKNOWN)
    contents = np.concatenate(list(codes.values()))[known]
    _, first, content = np.unique(contents, return_index=True, return_inverse=True)
    earlier = np.zeros(len(labels), dtype=np.int64)
    earlier[known] = known[first[content]]
    differing = known[labels[known] != labels[earlier[known]]]
    named = np.isin(earlier[known], earlier[differing])
    return int(named.sum()), pair_up(codes, differing, earlier)


def split_of_each(codes: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Which split, 0, 1, 2, each of all the images belongs to, int64 (n,)."""
    return np.repeat(np.arange(len(codes)), [len(column) for column in codes.values()])


def pair_up(
    codes: Mapping[str, NDArray[np.int64]], later: NDArray[np.int64], earlier: NDArray[np.int64]
) -> tuple[Copy, ...]:
    """The first KEPT of the images `later`, each with the one that `earlier` has for it; both count over all splits."""
    names, splits = list(codes), split_of_each(codes)
    starts = np.cumsum([0, *(len(column) for column in codes.values())])

    def place(image: int) -> tuple[str, int]:
        return names[splits[image]], int(image - starts[splits[image]])

    return tuple(Copy(place(image), place(earlier[image])) for image in later[:KEPT])


# How a class varies


def shapes_of(dataset: Dataset, split: Split) -> dict[str, NDArray[np.float32]]:
    """The `measure` of each image; all NaN where one image holds several views, which have a shape each."""
    if dataset.origin.get("views"):
        return {name: np.full(len(split), np.nan, dtype=np.float32) for name in MEASURES}
    return measure(split.images)


def vary(
    columns: Mapping[str, NDArray[np.float32]], labels: NDArray[np.int64], classes: int
) -> dict[str, tuple[Variation | None, ...]]:
    """Measure → its Variation in each class, or in all images where there are no classes."""
    members = [np.flatnonzero(labels == label) for label in range(classes)] or [np.arange(len(labels))]
    found = {}
    for name, column in columns.items():
        edges = bin_edges(name, column[np.isfinite(column)])
        found[name] = tuple(variation(column, rows[np.isfinite(column[rows])], edges) for rows in members)
    return found


def bin_edges(name: str, values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of a histogram that every class can share: all but the outermost in a thousand have a bin of their own."""
    if name == "holes":
        return np.arange(-0.5, min(MOST_HOLES, int(values.max(initial=1))) + 1)
    low, high = np.quantile(values, (0.001, 0.999)) if len(values) else (0.0, 0.0)
    return np.linspace(low, high, BINS + 1) if low < high else np.array([low - 0.5, low + 0.5])


def variation(column: NDArray[np.float32], rows: NDArray[np.int64], edges: NDArray[np.float64]) -> Variation | None:
    """How the measure varies in the images `rows` (int64 (m,)), None without images."""
    if not len(rows):
        return None
    values = column[rows].astype(np.float64)
    chance = np.random.default_rng(0).permutation(len(rows))
    order = rows[np.lexsort((chance, values))]
    return Variation(
        measured=len(rows),
        edges=edges,
        counts=np.histogram(values.clip(edges[0], edges[-1]), edges)[0],
        quantiles=np.quantile(values, QUANTILES),
        low=end_of(order),
        high=end_of(order[::-1]),
    )


def end_of(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The outermost of the images, and those from the outer one of QUANTILES inwards, not beyond the middle."""
    start = max(1, round(QUANTILES[0] * len(order)))
    return np.concatenate([order[:1], order[start : min(start + ENDS - 1, max(start, len(order) // 2))]])


def describe_groups(split: Split, columns: Mapping[str, NDArray[np.float32]]) -> Groups | None:
    """The groups of a split, None where it does not know them."""
    if split.groups is None or not len(split):
        return None
    sizes = np.unique(split.groups, return_counts=True)[1]
    shares = {name: intraclass_share(column, split.labels, split.groups) for name, column in columns.items()}
    told = {name: share for name, share in shares.items() if share is not None}
    return Groups(len(sizes), int(sizes.min()), float(np.median(sizes)), int(sizes.max()), told)


def intraclass_share(values: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64]) -> float | None:
    """The share of the variance inside a class that lies between groups, 0…1.

    ICC(1) by analysis of variance (Shrout & Fleiss 1979), for groups of unequal size, of the images of one class by
    one group. None where no group has two images of a class, or nothing varies.
    """
    kept = np.isfinite(values) & (labels != UNKNOWN)
    values, labels, groups = values[kept].astype(np.float64), labels[kept], groups[kept]
    if not len(values):
        return None
    _, cell, sizes = np.unique(np.stack([labels, groups]), axis=1, return_inverse=True, return_counts=True)
    cell = cell.reshape(-1)
    cells, classes, n = len(sizes), len(np.unique(labels)), len(values)
    if n == cells or cells == classes:
        return None
    centres = np.bincount(labels, values)[labels] / np.bincount(labels)[labels]
    means = (np.bincount(cell, values) / sizes)[cell]
    between = float(((means - centres) ** 2).sum() / (cells - classes))
    within = float(((values - means) ** 2).sum() / (n - cells))
    size = (n - (sizes**2).sum() / n) / (cells - 1)
    if between + within == 0:
        return None
    return max(0.0, float((between - within) / (between + (size - 1) * within)))


# The map


def lay_out(images: Images) -> Map | None:
    """A map of at most MAPPED images, drawn by chance. None of fewer than three, or where all are the same."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(images))[:MAPPED])
    if len(rows) < 3:
        return None
    pixels = np.concatenate([reduced(batch) for batch in batches(chosen(images, rows))])
    pixels -= pixels.mean(axis=0)
    total = float(np.square(pixels).sum(dtype=np.float64))
    if total == 0:
        return None
    with threadpool_limits(1, "blas"):
        scores = principal_components(pixels, rng)
    # The outermost in a thousand stand at the border: one broken image would otherwise press all others together.
    low, high = np.quantile(scores, (0.001, 0.999), axis=0)
    places = ((scores - low) / np.where(high > low, high - low, 1)).clip(0, 1).astype(np.float32)
    explained = float(np.square(scores).sum(dtype=np.float64)) / total
    return Map(rows, places, apart(places, rng.permutation(len(rows))), explained)


def reduced(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (n, h, w, c) → float32 (n, d): means of squares of pixels where there are more than MAP_SIDE of them."""
    count, height, width, channels = images.shape
    step = max(1, min(height, width) // MAP_SIDE)
    rows, columns = height // step, width // step
    squares = images[:, : rows * step, : columns * step].reshape(count, rows, step, columns, step, channels)
    means: NDArray[np.float32] = squares.mean(axis=(2, 4), dtype=np.float32).reshape(count, -1)
    return means


def principal_components(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The first two of centred values (n, d), as scores (n, 2); a randomised range finder (Halko et al. 2011)."""
    basis = rng.normal(size=(values.shape[1], 10)).astype(np.float32)
    for _ in range(8):
        basis = np.linalg.qr(values.T @ (values @ basis))[0]
    seen, strength = np.linalg.svd(values @ basis, full_matrices=False)[:2]
    scores = np.zeros((len(values), 2), dtype=np.float32)
    scores[:, : len(strength)] = (seen * strength)[:, :2]
    # The sign of a component is a matter of chance: let the image that is furthest out be to the right and on top.
    furthest = np.abs(scores).argmax(axis=0)
    return scores * np.where(scores[furthest, (0, 1)] < 0, np.float32(-1), np.float32(1))


def apart(places: NDArray[np.float32], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of places (m, 2), taken in that order, those that are THUMBNAIL away, across or up, from all taken before."""
    taken: list[int] = []
    for position in order.tolist():
        if (np.abs(places[taken] - places[position]).max(axis=1, initial=0) >= THUMBNAIL).all():
            taken.append(position)
    return np.array(taken, dtype=np.int64)


def count_modalities(dataset: Dataset) -> dict[str, NDArray[np.int64]] | None:
    """Split → images of each modality and digit, int64 (modalities, 10), by names such as train/m0/12.7.png.

    None for other names, and for images that hold all modalities side by side.
    """
    if dataset.origin.get("views"):
        return None
    tables = {
        name: table
        for name, split in dataset.splits.items()
        if split.names is not None and (table := table_of_names(split.names.tolist()))
    }
    if not tables:
        return None
    modalities = 1 + max(int(table.modality.max()) for table in tables.values())
    return {
        name: np.bincount(10 * table.modality + table.digit, minlength=10 * modalities).reshape(-1, 10)
        for name, table in tables.items()
    }
