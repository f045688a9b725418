"""Run + images → why it answers so: where it looked, the nearest training images, the smallest move that changes it.

Everything goes through `Run.predict`, so it works alike for every model: a network, a forest, nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, hypot, radians
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from guarismo.data.dataset import UNKNOWN, Dataset, Images, Split
from guarismo.errors import DataError, RunError
from guarismo.language import ENGLISH, N_, Language
from guarismo.models.runs import Run
from guarismo.progress import Progress, silent
from guarismo.results.evaluation import opened_on, saved_evaluation

MOST_BYTES = 2**24
"""How many bytes of pictures are made at once."""

# Where it looked

MASKS = 600
"""Randomly covered copies of each image. On MNIST 300, 500 and 1,000 of them give insertion − deletion 0.812, 0.831 and
0.840 (`cnn`, 30 right answers, not yet weighted)."""
CELLS = 14
"""Cells of a mask along the side of a square image: finer is more faithful up to here (7: 0.79, 10: 0.82, 14: 0.84)."""


def attribution(
    run: Run, images: Images, classes: NDArray[np.integer[Any]], progress: Progress = silent
) -> NDArray[np.float32]:
    """How much seeing each pixel raises the probability of a class, float32 (n, h, w); positive speaks for the class.

    images: uint8 (n, h, w, c); classes: int (n,), or (n, m) for m classes each, which gives (n, m, h, w) at the cost of
    one. RISE (Petsiuk, Das, Saenko 2018, arXiv:1806.07421): `MASKS` copies with random parts covered by the image's
    background, its border's colour. Here the slope of the answer over how far a pixel is seen, times how much the pixel
    differs from the background. What is background already cannot be covered: of ink that is missing it says nothing.
    Same arguments, same figures.

    Insertion − deletion (`python benchmarks/why.py RUN`) of 30 right and 30 wrong answers, in brackets of occlusion by
    5×5 pixels (Zeiler & Fergus 2014): `cnn` on MNIST 0.83, 0.91 (0.74, 0.79), on PolyMNIST 0.80, 0.86 (0.70, 0.77);
    `fashion-cnn` 0.72, 0.74 (0.60, 0.65); `knn` 0.77, 0.86 (0.43, 0.57).

    Raises RunError for images that the run does not answer or classes that it does not know.
    """
    images = fitting(run, images)
    wanted = each_class(run, images, classes)
    grounds = backgrounds(images)
    count, height, width = images.shape[:3]
    together = np.zeros((*wanted.shape, height, width))
    answers, seen, squares = np.zeros(wanted.shape), np.zeros((height, width)), np.zeros((height, width))
    done = 0
    for masks in random_masks(height, width, images[:1].nbytes):
        seen, squares = seen + masks.sum(axis=0), squares + np.square(masks).sum(axis=0)
        for index, (image, ground) in enumerate(zip(images, grounds, strict=True)):
            rise = run.predict(covered(image, ground, masks))[:, wanted[index]]
            answers[index] += rise.sum(axis=0)
            together[index] += np.tensordot(rise, masks, axes=(0, 0))
            done += len(masks)
            progress(done, count * MASKS)
    shared = together / MASKS - (answers / MASKS)[..., None, None] * (seen / MASKS)
    spread = squares / MASKS - (seen / MASKS) ** 2
    contrasts = np.abs(images - grounds[:, None, None].astype(np.float64)).max(axis=-1) / 255
    effects: NDArray[np.float32] = (shared / spread * contrasts[:, None]).astype(np.float32)
    return effects[:, 0] if np.ndim(classes) == 1 else effects


def fitting(run: Run, images: Images) -> NDArray[np.uint8]:
    """The images in memory, with a channel axis. Raises RunError where the run does not answer such images."""
    pixels: NDArray[np.uint8] = np.asarray(images)
    pixels = pixels[..., None] if pixels.ndim == 3 and run.shape[2] == 1 else pixels
    run.predict(pixels[:0])
    return pixels


def each_class(run: Run, images: NDArray[np.uint8], classes: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The classes as (n, m). Raises RunError where they do not fit the images, or the run knows no such class."""
    wanted = np.asarray(classes)
    known = len(run.class_names)
    fits = wanted.ndim in (1, 2) and len(wanted) == len(images) and wanted.dtype.kind in "iu"
    if not fits or (wanted.size and not 0 <= wanted.min() <= wanted.max() < known):
        raise RunError(
            f"Expected a class 0…{known - 1} for each of {len(images)} images, received {wanted.dtype} {wanted.shape}"
            + (f" {wanted.min()}…{wanted.max()}" if wanted.size and wanted.dtype.kind in "iu" else "")
            + ". Give the numbers of classes, not their names."
        )
    return (wanted[:, None] if wanted.ndim == 1 else wanted).astype(np.int64)


def backgrounds(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The colour of each image's border, its median, uint8 (n, c)."""
    edges = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    return np.asarray(np.median(edges, axis=1), dtype=np.uint8)


def random_masks(height: int, width: int, image_bytes: int) -> Iterator[NDArray[np.float32]]:
    """`MASKS` masks, as many at once as pictures may be: 1 where the image is seen, 0 where covered, (m, h, w).

    Random cells, half of them seen, enlarged smoothly and shifted by a random part of a cell.
    """
    cell = max(2, round((height * width) ** 0.5 / CELLS))
    rows, columns = enlarging(height, cell), enlarging(width, cell)
    rng = np.random.default_rng(0)
    size = max(1, MOST_BYTES // (4 * max(1, image_bytes)))
    for start in range(0, MASKS, size):
        count = min(size, MASKS - start)
        cells = rng.integers(0, 2, (count, rows.shape[2], columns.shape[2])).astype(np.float32)
        down, across = rng.integers(0, cell, (2, count))
        yield rows[down] @ cells @ columns[across].swapaxes(1, 2)


@cache
def enlarging(length: int, cell: int) -> NDArray[np.float32]:
    """For each shift of 0…cell − 1 pixels what enlarges a row of cells to `length` pixels, linearly between their
    centres, float32 (cell, length, cells)."""
    cells = ceil(length / cell) + 1
    places = (np.arange(length) + np.arange(cell)[:, None] + 0.5) / cell - 0.5
    distances = np.abs(places.clip(0, cells - 1)[..., None] - np.arange(cells))
    return np.asarray((1 - distances).clip(0), dtype=np.float32)


def covered(image: NDArray[np.uint8], ground: NDArray[np.uint8], masks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The image (h, w, c) as far as each mask lets it be seen over its background, uint8 (m, h, w, c)."""
    over = image.astype(np.float32) - ground
    return rounded(ground + masks[..., None] * over)


def rounded(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(pixels), dtype=np.uint8)


# The nearest training images

NEAREST_BYTES = 2**22
"""How many bytes of the split are looked at at once. 270,000 images of 28×28×3: 2.4 s; with 2^24 bytes 3.9 s."""
NEAREST_SIDE = 32
"""Larger images are compared after shrinking by a whole number, to a side of at least this."""


def nearest_examples(
    images: Images, split: Split, count: int = 3, progress: Progress = silent
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The labelled images of `split` that look most like each image: their indices int64 (n, count), the most alike
    first, and distances float32 (n, count), 0 for the same picture, 2 for its negative.

    images: uint8 (n, h, w, c), of the split's size; the split may lie on disk, larger than memory. Compared are
    slightly blurred pixels, brightness and contrast evened out. Raises DataError for another size, or too few labelled
    images.
    """
    pixels = np.asarray(images)
    if pixels.shape[1:] != split.images.shape[1:]:
        raise DataError(
            f"Expected images of {split.images.shape[1:]} as in the split, received {pixels.shape[1:]}. "
            "Give images of the same source."
        )
    labelled = np.flatnonzero(split.labels != UNKNOWN)
    if len(labelled) < count or count < 1:
        raise DataError(f"Expected 1 to {len(labelled)} neighbours, as many as are labelled; received {count}.")
    wanted = looks(pixels)
    best = np.full((len(pixels), count), -np.inf, dtype=np.float32)
    found = np.zeros((len(pixels), count), dtype=np.int64)
    size = max(1, NEAREST_BYTES // max(1, pixels[:1].nbytes))
    for start in range(0, len(labelled), size):
        part = labelled[start : start + size]
        with threadpool_limits(
            1
        ):  # products this small: beside other work 2.4 s where BLAS with two threads takes 11.6
            alike = np.concatenate([best, wanted @ looks(split.images[part]).T], axis=1)
        numbers = np.concatenate([found, np.broadcast_to(part, (len(pixels), len(part)))], axis=1)
        order = most_alike(alike, count)
        best, found = np.take_along_axis(alike, order, axis=1), np.take_along_axis(numbers, order, axis=1)
        progress(start + len(part), len(labelled))
    return found, np.sqrt((2 - 2 * best).clip(0)).astype(np.float32)


def looks(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `nearest_examples` compares, float32 (n, d), of mean 0 and length 1; zeros for an image of one colour.

    Of the three nearest to each of 1,000 test images of MNIST 95.8 % have its own label by plain pixels, 96.3 % by
    blurred ones, 96.7 % where brightness and contrast are evened out as well; of Fashion-MNIST 81.4, 81.6, 83.6 %.
    """
    factor = max(1, min(images.shape[1:3]) // NEAREST_SIDE)
    small = blurred(shrunk(images, factor)).reshape(len(images), -1).astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.einsum("nd,nd->n", small, small))
    # 1: below a grey level of one pixel there is only the rounding of the mean
    small /= np.maximum(lengths, 1)[:, None]
    return small


def shrunk(images: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Means of squares of factor × factor pixels, uint8; what is left over at the far edges is dropped."""
    if factor == 1:
        return images
    count, height, width, channels = images.shape
    rows, columns = height // factor, width // factor
    squares = images[:, : rows * factor, : columns * factor].reshape(count, rows, factor, columns, factor, channels)
    return rounded(squares.mean(axis=(2, 4), dtype=np.float32))


def blurred(images: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Each pixel with its neighbours, weighed 1 2 1 along both axes, 16 times as bright: a Gaussian of 0.7 pixels.

    Beyond the edge the edge goes on. Whole numbers: four times as fast as float32.
    """
    across = images.astype(np.uint16)
    wide = 2 * across
    wide[:, :, 1:] += across[:, :, :-1]
    wide[:, :, :-1] += across[:, :, 1:]
    wide[:, :, [0, -1]] += across[:, :, [0, -1]]
    both = 2 * wide
    both[:, 1:] += wide[:, :-1]
    both[:, :-1] += wide[:, 1:]
    both[:, [0, -1]] += wide[:, [0, -1]]
    return both


def most_alike(alike: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The columns of the `count` greatest of each row, the greatest first."""
    some = np.argpartition(-alike, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(alike, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


# The smallest move that changes an answer


class Move(NamedTuple):
    """A shift by dx pixels to the right and dy down, or a turn by degrees counter-clockwise."""

    dx: int = 0
    dy: int = 0
    degrees: int = 0


@dataclass(frozen=True)
class Flip:
    """The smallest move that changes an answer, and the class that is answered then."""

    move: Move
    answer: int

    def sentence(self, class_names: Sequence[str], _: Language = ENGLISH) -> str:
        """In words: what changes the answer, and to what."""
        dx, dy, degrees = self.move
        text = FLIPS[sign(dx), sign(dy), sign(degrees)]
        return _(text, x=abs(dx), y=abs(dy), degrees=abs(degrees), answer=class_names[self.answer])


FLIPS: Mapping[tuple[int, int, int], str] = {
    (1, 0, 0): N_("Shifted {x:count} px to the right, the answer becomes {answer}."),
    (-1, 0, 0): N_("Shifted {x:count} px to the left, the answer becomes {answer}."),
    (0, 1, 0): N_("Shifted {y:count} px down, the answer becomes {answer}."),
    (0, -1, 0): N_("Shifted {y:count} px up, the answer becomes {answer}."),
    (1, 1, 0): N_("Shifted {x:count} px to the right and {y:count} px down, the answer becomes {answer}."),
    (1, -1, 0): N_("Shifted {x:count} px to the right and {y:count} px up, the answer becomes {answer}."),
    (-1, 1, 0): N_("Shifted {x:count} px to the left and {y:count} px down, the answer becomes {answer}."),
    (-1, -1, 0): N_("Shifted {x:count} px to the left and {y:count} px up, the answer becomes {answer}."),
    (0, 0, 1): N_("Turned by {degrees:count}° to the left, the answer becomes {answer}."),
    (0, 0, -1): N_("Turned by {degrees:count}° to the right, the answer becomes {answer}."),
}
"""The directions of a move → what a Flip says."""
NO_FLIP = N_("No shift by up to {pixels:count} px and no turn by up to {degrees:count}° changes the answer.")
MOST_DEGREES = 30


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


def flip_words(flip: Flip | None, run: Run, _: Language = ENGLISH) -> str:
    """In words: the smallest move that changes an answer of this run, or that none does."""
    if flip is None:
        return _(NO_FLIP, pixels=farthest(run.shape), degrees=MOST_DEGREES)
    return flip.sentence(run.class_names, _)


def smallest_flip(run: Run, images: Images, progress: Progress = silent) -> list[Flip | None]:
    """For each image uint8 (n, h, w, c) the smallest shift (pixels) or turn (degrees) that changes the run's answer.

    None where no shift by up to a seventh of the image and no turn by up to 30° does. A turn counts as large as the way
    of a point halfway between centre and edge: 8° of a 28×28 image are a pixel. Where the image moves away, its
    background, the border's colour, comes in. Raises RunError for images that the run does not answer.
    """
    images = fitting(run, images)
    grounds, answers = backgrounds(images), run.predict(images).argmax(axis=1)
    flips: list[Flip | None] = [None] * len(images)
    tried = moves(run.shape)
    size = max(1, MOST_BYTES // (8 * max(1, images[:1].nbytes)))
    for done, move in enumerate(tried, start=1):
        unmoved = np.array([index for index, flip in enumerate(flips) if flip is None], dtype=np.int64)
        for start in range(0, len(unmoved), size):
            part = unmoved[start : start + size]
            now = run.predict(moved(images[part], move, grounds[part])).argmax(axis=1)
            for index, answer in zip(part.tolist(), now.tolist(), strict=True):
                if answer != answers[index]:
                    flips[index] = Flip(move, answer)
        progress(done, len(tried))
    return flips


def farthest(shape: tuple[int, ...]) -> int:
    """How many pixels images of (h, w, c) are shifted at most."""
    return max(2, round(min(shape[:2]) / 7))


def moves(shape: tuple[int, ...]) -> list[Move]:
    """Every move that is tried on images of (h, w, c), the smallest first. Large images are shifted in steps."""
    most, side = farthest(shape), min(shape[:2])
    step = max(1, round(most / 4))
    along = range(-(most // step) * step, most + 1, step)
    shifts = [Move(dx, dy) for dx in along for dy in along if 0 < hypot(dx, dy) <= most]
    turns = [Move(degrees=degrees) for degrees in range(-MOST_DEGREES, MOST_DEGREES + 1) if degrees]
    return sorted(shifts + turns, key=lambda move: extent(move, side))


def extent(move: Move, side: int) -> float:
    """How many pixels a point halfway between centre and edge goes."""
    return hypot(move.dx, move.dy) + radians(abs(move.degrees)) * side / 4


def moved(images: NDArray[np.uint8], move: Move, grounds: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (n, h, w, c) moved, with their backgrounds (n, c) where nothing is left."""
    if move.degrees:
        return turned(images, move.degrees, grounds)
    height, width = images.shape[1:3]
    dx, dy = move.dx, move.dy
    result = np.broadcast_to(grounds[:, None, None], images.shape).copy()
    result[:, max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = images[
        :, max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)
    ]
    return result


def turned(images: NDArray[np.uint8], degrees: float, grounds: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images turned counter-clockwise about their centre, bilinearly."""
    count, height, width, channels = images.shape
    framed = np.empty((count, height + 2, width + 2, channels), dtype=np.float32)
    framed[:] = grounds[:, None, None]
    framed[:, 1:-1, 1:-1] = images
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    sine, cosine = np.sin(radians(degrees)), np.cos(radians(degrees))
    # where each pixel comes from, in the frame; beyond it everything is background
    rows = (sine * x + cosine * y + (height + 1) / 2).clip(0, height + 1)
    columns = (cosine * x - sine * y + (width + 1) / 2).clip(0, width + 1)
    top, left = np.minimum(rows.astype(int), height), np.minimum(columns.astype(int), width)
    down, across = ((rows - top)[..., None].astype(np.float32), (columns - left)[..., None].astype(np.float32))
    upper = framed[:, top, left] * (1 - across) + framed[:, top, left + 1] * across
    lower = framed[:, top + 1, left] * (1 - across) + framed[:, top + 1, left + 1] * across
    return rounded(upper * (1 - down) + lower * down)


FRAGILE_SHIFTS = (Move(1, 0), Move(-1, 0), Move(0, 1), Move(0, -1))
FRAGILE_TURNS = (Move(degrees=5), Move(degrees=-5))
FRAGILE_SAMPLE = 500


@dataclass(frozen=True)
class Fragility:
    """Of n right answers, the share that a shift by one pixel to any side turns over, and a turn by 5° either way."""

    n: int
    shifted: float
    turned: float

    def sentence(self, _: Language = ENGLISH) -> str:
        """In words: how many right answers hang on where the thing stands."""
        return _(
            "Of {n:count} right answers, a shift by one pixel turns over {shifted:percent}, "
            "a turn by 5° {turned:percent}.",
            n=self.n,
            shifted=self.shifted,
            turned=self.turned,
        )


def fragility(run: Run, images: Images, labels: NDArray[np.int64], seed: int = 0) -> Fragility | None:
    """How easily right answers are turned over: over at most `FRAGILE_SAMPLE` random images uint8 (n, h, w, c).

    labels: int64 (n,). None where none of them is answered right. Raises RunError for images of another size.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:FRAGILE_SAMPLE])
    sample = fitting(run, images[chosen])
    right = run.predict(sample).argmax(axis=1) == labels[chosen]
    if not right.any():
        return None
    sample, wanted = sample[right], labels[chosen][right]
    grounds = backgrounds(sample)

    def share(tried: Sequence[Move]) -> float:
        lost = [run.predict(moved(sample, move, grounds)).argmax(axis=1) != wanted for move in tried]
        return float(np.any(lost, axis=0).mean())

    return Fragility(len(sample), share(FRAGILE_SHIFTS), share(FRAGILE_TURNS))


# All of it for test images


@dataclass(frozen=True, eq=False)
class Explanation:
    """One test image uint8 (h, w, c) and why it is answered so.

    other: the true class of an error, the next likely of a right answer; confidence, other_confidence: probabilities
    of answer and other; map, other_map: their `attribution`, float32 (h, w); neighbours: the nearest training images,
    int64 (m,), with pictures uint8 (m, h, w, c), labels and distances.
    """

    index: int
    image: NDArray[np.uint8]
    label: int
    answer: int
    confidence: float
    other: int
    other_confidence: float
    map: NDArray[np.float32]
    other_map: NDArray[np.float32]
    neighbours: NDArray[np.int64]
    neighbour_images: NDArray[np.uint8]
    neighbour_labels: NDArray[np.int64]
    distances: NDArray[np.float32]
    flip: Flip | None

    @property
    def wrong(self) -> bool:
        return self.answer != self.label

    def as_json(self, run: Run) -> dict[str, Any]:
        """Plain values for json.dumps; `looked_at` is the pixel (x, y) that speaks most for the answer."""
        names = run.class_names
        y, x = np.unravel_index(self.map.argmax(), self.map.shape)
        return {
            "index": self.index,
            "label": names[self.label],
            "answer": names[self.answer],
            "confidence": round(self.confidence, 4),
            "other": names[self.other],
            "other_confidence": round(self.other_confidence, 4),
            "looked_at": [int(x), int(y)],
            "nearest": [
                {"index": int(index), "label": names[label], "distance": round(float(distance), 4)}
                for index, label, distance in zip(self.neighbours, self.neighbour_labels, self.distances, strict=True)
            ],
            "flip": None if self.flip is None else {**self.flip.move._asdict(), "answer": names[self.flip.answer]},
            "sentence": flip_words(self.flip, run),
        }


def explain(
    run: Run, dataset: Dataset, indices: Sequence[int] | NDArray[np.int64], progress: Progress = silent
) -> list[Explanation]:
    """Why the run answers these test images as it does, in their order.

    Opens no test images: raises RunError where the run was not evaluated on those of `dataset`, or has no such image.
    """
    check_opened(run, dataset)
    chosen = np.asarray(indices, dtype=np.int64)
    for index in chosen[(chosen < 0) | (chosen >= len(dataset.test))]:
        raise RunError(f"There is no test image {index}. Name numbers from 0 to {len(dataset.test) - 1:,}.")
    images, labels = dataset.test.images[chosen], dataset.test.labels[chosen]
    probabilities = run.predict(images)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    answers = order[:, 0]
    others = np.where(answers == labels, order[:, min(1, order.shape[1] - 1)], labels)
    maps = attribution(run, images, np.stack([answers, others], axis=1), progress)
    labelled = int((dataset.train.labels != UNKNOWN).sum())
    near, distances = nearest_examples(images, dataset.train, min(3, labelled))
    flips = smallest_flip(run, images)
    return [
        Explanation(
            index=int(chosen[row]),
            image=images[row],
            label=int(labels[row]),
            answer=int(answers[row]),
            confidence=float(probabilities[row, answers[row]]),
            other=int(others[row]),
            other_confidence=float(probabilities[row, others[row]]),
            map=maps[row, 0],
            other_map=maps[row, 1],
            neighbours=near[row],
            neighbour_images=dataset.train.images[near[row]],
            neighbour_labels=dataset.train.labels[near[row]],
            distances=distances[row],
            flip=flips[row],
        )
        for row in range(len(chosen))
    ]


MOST_ERRORS = 8


def named_or_hardest(run: Run, indices: Sequence[int]) -> NDArray[np.int64]:
    """The test images that were named, or the most confident errors of an evaluated run, int64 (m,).

    Raises RunError where it was not evaluated, or has no errors.
    """
    hardest = saved_evaluation(run).hardest
    if not indices and not len(hardest):
        raise RunError(f"Run {run.name} answers every test image right. Name images by number to ask about them.")
    return np.asarray(indices, dtype=np.int64) if indices else hardest[:MOST_ERRORS]


def check_opened(run: Run, dataset: Dataset) -> None:
    """Raises RunError where the run was not evaluated on the test images of `dataset`: only that may open them."""
    saved_evaluation(run)
    if not opened_on(run, dataset):
        raise RunError(
            f"Run {run.name} was evaluated on test images {run.about['test_opened']['fingerprint'][:8]}, "
            f"those of '{dataset.name}' are {dataset.test.fingerprint[:8]}. Give the data that it was evaluated on."
        )
