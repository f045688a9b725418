"""Dataset: the images and labels that every later stage receives."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from guarismo.errors import DataError
from guarismo.markup import concat, named, table

UNKNOWN = -1
"""The label of an image whose class is not known, as in scikit-learn's semi-supervised arrays."""


MOST_CHUNK_BYTES = 2**28
"""How much of images on disk is held in memory at once."""


@dataclass(frozen=True, eq=False, repr=False)
class Mapped:
    """Images uint8 (n, h, w, c) that stay on disk: chosen rows of a memory-mapped array, read where they are asked for.

    store: uint8 (N, h, w, c); rows: int64 (n,), or (n, v) for v views of one thing, which stand side by side as
    (h, v·w, c). A row of −1 is a view that is missing: all zeros.
    """

    store: NDArray[np.uint8]
    rows: NDArray[np.int64]
    dtype: ClassVar[np.dtype[np.uint8]] = np.dtype(np.uint8)
    ndim: ClassVar[int] = 4

    @property
    def shape(self) -> tuple[int, int, int, int]:
        _, height, width, channels = self.store.shape
        views = 1 if self.rows.ndim == 1 else self.rows.shape[1]
        return len(self.rows), height, views * width, channels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """A copy of the images that a number, a slice or an array of numbers chooses."""
        rows = np.asarray(self.rows[index])
        images = np.array(self.store[rows])
        images[rows < 0] = 0
        if self.rows.ndim == 2:
            images = images.swapaxes(-4, -3)
        return images.reshape(*rows.shape[: rows.ndim - self.rows.ndim + 1], *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


Images = NDArray[np.uint8] | Mapped


def chosen(images: Images, indices: NDArray[np.int64]) -> Images:
    """The images at `indices` (int (m,)), on disk still where they are on disk."""
    return Mapped(images.store, images.rows[indices]) if isinstance(images, Mapped) else images[indices]


def held(images: Images) -> Images:
    """In memory where the whole array that they are rows of takes no more than MOST_CHUNK_BYTES, else on disk still."""
    return images if isinstance(images, Mapped) and images.store.nbytes > MOST_CHUNK_BYTES else np.asarray(images)


def chunks(images: Images, multiple: int = 1) -> Iterator[slice]:
    """Slices that cover the images, each of at most `MOST_CHUNK_BYTES` and a multiple of so many, but for the last."""
    size = max(1, MOST_CHUNK_BYTES // max(1, math.prod(images.shape[1:]) * multiple)) * multiple
    return (slice(start, start + size) for start in range(0, len(images), size))


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images that belong together.

    images: uint8 (n, h, w, c), c = 1 (grey) or 3 (RGB), in memory or on disk; labels: int64 (n,), `UNKNOWN` where not
    known; groups: int64 (n,), images with one number share a writer or an original, or None; names: str (n,), the
    files that they came from, relative to their source, or None.
    """

    images: Images
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None
    names: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DataError(
                f"Expected images as uint8 (n, h, w, c), received {self.images.dtype} {self.images.shape}. "
                "Give grey values 0…255 with a channel axis."
            )
        for name, column in (("labels", self.labels), ("groups", self.groups), ("names", self.names)):
            if column is not None and column.shape != (len(self.images),):
                raise DataError(
                    f"{len(self.images)} images but {name} of shape {column.shape}: "
                    "each image needs exactly one. Are the files of the same set?"
                )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Split({len(self):,} images {'×'.join(map(str, self.images.shape[1:]))})"

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The chosen images, in the order of `indices` (int (m,))."""
        groups = None if self.groups is None else self.groups[indices]
        names = None if self.names is None else self.names[indices]
        return Split(chosen(self.images, indices), self.labels[indices], groups, names)

    @property
    def labelled(self) -> bool:
        """Whether every image has a class."""
        return len(self) > 0 and bool((self.labels != UNKNOWN).all())

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over shape, images and labels: equal exactly when these are, whatever the files are called."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        for chunk in chunks(self.images):
            digest.update(np.ascontiguousarray(self.images[chunk]).data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Training, validation and test images of one source, with the names of their classes.

    `origin` holds the arguments with which `load` builds the same Dataset again;
    `notes` are sentences about what loading changed (images resized, files skipped); `grouped_by` is what the images
    of one group have in common: "writer", "original", or "group" where nobody said.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    origin: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    grouped_by: str = "group"

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c) of one image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the three splits and the class names: the identity that a Run records."""
        parts = [*(split.fingerprint for split in self.splits.values()), *self.class_names]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def __repr__(self) -> str:
        counts = " + ".join(f"{len(split):,} {name}" for name, split in self.splits.items())
        names = ", ".join(self.class_names[:10]) + (", …" if len(self.class_names) > 10 else "")
        size = "×".join(map(str, self.shape))
        return f"Dataset({self.name!r}: {counts}; {size}; {len(self.class_names)} classes: {names})"

    def samples(self, per_class: int = 10) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """Random training images of the first 20 classes, uint8 (k, per_class, h, w, c), and the classes' names.

        Black where a class has fewer; without classes, one row of test images.
        """
        if not self.class_names:
            return self.test.images[None, :per_class], ("unlabelled",)
        picked = pick_samples(self.train, min(20, len(self.class_names)), per_class)
        images = self.train.images[picked]
        images[picked < 0] = 0
        return images, self.class_names[: len(picked)]

    def _repr_html_(self) -> str:
        """In a notebook: images of each class in each part, a strip of samples, and what loading changed."""
        size = "×".join(map(str, self.shape))
        words = Markup("<p><b>{}</b>: {} images of {}, {} classes</p>").format(
            named(self.name), ", ".join(f"{len(split):,} {part}" for part, split in self.splits.items()), size,
            f"{len(self.class_names):,}",
        )  # fmt: skip
        notes = concat(Markup("<p>{}</p>").format(note) for note in self.notes)
        return str(words + table(("class", *self.splits, "samples"), class_rows(self)) + notes)


STRIP = 8
"""Samples of each class that a notebook shows."""
STRIP_SIZE = 800, 32
"""Pixels of them all side by side, (w, h) at most."""


def class_rows(dataset: Dataset) -> list[list[object]]:
    """For the first 20 classes: name, images in each part, samples; then a row for all the others."""
    images, names = dataset.samples(STRIP)
    counts = [count_classes(split, len(dataset.class_names)) for split in dataset.splits.values()]
    rows: list[list[object]] = [
        [named(class_name), *(f"{int(each[k]):,}" for each in counts), strip(images[k], class_name)]
        for k, class_name in enumerate(names)
        if dataset.class_names
    ]
    if not dataset.class_names:
        return [[names[0], *(f"{len(split):,}" for split in dataset.splits.values()), strip(images[0], names[0])]]
    if len(names) < len(dataset.class_names):
        others = f"{len(dataset.class_names) - len(names):,} more"
        rows.append([others, *(f"{int(each[len(names) : -1].sum()):,}" for each in counts), ""])
    if any(each[-1] for each in counts):
        rows.append(["without a label", *(f"{int(each[-1]):,}" for each in counts), ""])
    return rows


def count_classes(split: Split, classes: int) -> NDArray[np.int64]:
    """Images of each class, and last those without a label, int64 (classes + 1,)."""
    return np.bincount(np.where(split.labels == UNKNOWN, classes, split.labels), minlength=classes + 1)


def strip(images: NDArray[np.uint8], of: str) -> Markup:
    """Images (n, h, w, c) side by side as one small picture."""
    from PIL import Image

    row = tile(images, len(images))
    picture = Image.fromarray(row.squeeze(-1) if row.shape[-1] == 1 else row)
    picture.thumbnail(STRIP_SIZE)
    memory = io.BytesIO()
    picture.save(memory, "WEBP", quality=80)  # 8 samples of PolyMNIST's ten digits: 29 kB, as PNG 101
    uri = f"data:image/webp;base64,{base64.b64encode(memory.getvalue()).decode()}"
    return Markup('<img alt="samples of {}" src="{}" style="max-width:none">').format(of, uri)


def split_dataset(
    name: str,
    train: Split,
    class_names: tuple[str, ...],
    *,
    test: Split | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    keep_groups: bool = True,
    **facts: Any,
) -> Dataset:
    """Divide `train` into a Dataset; a given `test` split is kept as it is and not drawn from.

    Fractions are of all the images in `train`. Every class keeps its share in each part (stratified); with groups, no
    group is in two parts, unless `keep_groups` is False. Same arguments, same division. `facts` go to the Dataset as
    they are.

    Raises DataError when a class has too few images to be in every part.
    """
    rng = np.random.default_rng(seed)
    draw = draw_grouped if keep_groups and train.groups is not None else draw_stratified
    rest = np.arange(len(train))
    if test is None:
        drawn = draw(train, rest, test_fraction, rng, class_names)
        test, rest = train.take(drawn), rest[~np.isin(rest, drawn, kind="table")]
    drawn = draw(train, rest, validation_fraction, rng, class_names)
    rest = rest[~np.isin(rest, drawn, kind="table")]
    return Dataset(name, train.take(rest), train.take(drawn), test, class_names, **facts)


def draw_stratified(
    split: Split, candidates: NDArray[np.int64], fraction: float, rng: np.random.Generator, class_names: tuple[str, ...]
) -> NDArray[np.int64]:
    """Sorted indices out of `candidates`: of each class that share of its images in `split`, at least one."""
    if fraction == 0:
        return np.empty(0, dtype=np.int64)
    parts = []
    for label in np.unique(split.labels):
        members = candidates[split.labels[candidates] == label]
        wanted = max(1, round(fraction * int((split.labels == label).sum())))
        if wanted >= len(members):
            raise DataError(
                f"Class '{class_names[label]}' has too few images ({int((split.labels == label).sum())}) to be in "
                "training, validation and test. Add images, or remove the class."
            )
        parts.append(rng.permutation(members)[:wanted])
    return np.sort(np.concatenate(parts))


MANY_GROUPS = 5_000
"""scikit-learn takes 19 s to divide 300,000 images in 60,000 groups, one group after the other."""


def draw_grouped(
    split: Split, candidates: NDArray[np.int64], fraction: float, rng: np.random.Generator, class_names: tuple[str, ...]
) -> NDArray[np.int64]:
    """As `draw_stratified`, but whole groups only (scikit-learn's StratifiedGroupKFold, its first fold).

    Of more than MANY_GROUPS, each counts as one image of the class of its first: chance levels so many small ones.
    """
    if fraction == 0:
        return np.empty(0, dtype=np.int64)
    assert split.groups is not None
    _, first, member = np.unique(split.groups[candidates], return_index=True, return_inverse=True)
    if len(first) > MANY_GROUPS:
        share = min(1.0, fraction * len(split) / len(candidates))
        drawn = draw_stratified(split.take(candidates[first]), np.arange(len(first)), share, rng, class_names)
        return candidates[np.isin(member, drawn)]
    from sklearn.model_selection import StratifiedGroupKFold  # 0.8 s to import: only where groups are used

    groups = split.groups[candidates]
    folds = round(len(candidates) / (fraction * len(split)))
    if not 2 <= folds <= len(np.unique(groups)):
        raise DataError(
            f"{len(np.unique(groups))} groups cannot give a part of {fraction:.0%}: no group may be in two parts. "
            "Add groups, or choose another fraction."
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=int(rng.integers(2**31)))
    _, chosen = next(splitter.split(candidates, split.labels[candidates], groups))
    return np.sort(candidates[chosen])


def join(splits: Sequence[Split]) -> Split:
    """All their images, in this order; groups and names where every one has them."""
    first, *more = splits
    if not more:
        return first
    groups = [split.groups for split in splits if split.groups is not None]
    names = [split.names for split in splits if split.names is not None]
    return Split(
        joined([split.images for split in splits]),
        np.concatenate([split.labels for split in splits]),
        np.concatenate(groups) if len(groups) == len(splits) else None,
        np.concatenate(names) if len(names) == len(splits) else None,
    )


def joined(parts: Sequence[Images]) -> Images:
    """All the images, in this order; on disk still where all of them stay in one array there."""
    mapped = [part for part in parts if isinstance(part, Mapped)]
    if len(mapped) == len(parts) and all(part.store is mapped[0].store for part in mapped):
        return Mapped(mapped[0].store, np.concatenate([part.rows for part in mapped]))
    return np.concatenate([np.asarray(part) for part in parts])


def empty_like(split: Split) -> Split:
    """A split of no images, in the shape of another."""
    return split.take(np.empty(0, dtype=np.int64))


def pick_samples(split: Split, classes: int, per_class: int, seed: int = 0) -> NDArray[np.int64]:
    """Indices int64 (classes, per_class) of random images of each class, −1 where a class has fewer."""
    rng = np.random.default_rng(seed)
    picked = np.full((classes, per_class), -1, dtype=np.int64)
    for label in range(classes):
        members = rng.permutation(np.flatnonzero(split.labels == label))[:per_class]
        picked[label, : len(members)] = members
    return picked


def tile(images: NDArray[np.uint8], columns: int, gap: int = 2) -> NDArray[np.uint8]:
    """One picture of many: (n, h, w, c) → (rows·(h+gap), columns·(w+gap), c), with a mid-grey gap between them."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + gap, width + gap, channels), 128, dtype=np.uint8)
    cells[:count, :height, :width] = images
    grid = cells.reshape(rows, columns, height + gap, width + gap, channels).swapaxes(1, 2)
    return grid.reshape(rows * (height + gap), columns * (width + gap), channels)


def data_uri(image: NDArray[np.uint8], most: int = 4096) -> str:
    """An image (h, w, c), shrunk to `most` pixels a side, as a PNG inside an address, for pages without other files.

    The longer side of an oblong, such as views side by side, may have up to five times as many.
    """
    from PIL import Image

    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    oblong = min(5.0, max(image.shape[:2]) / min(image.shape[:2]))
    picture.thumbnail((round(most * oblong), round(most * oblong)))
    memory = io.BytesIO()
    picture.save(memory, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode()
