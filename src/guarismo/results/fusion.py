"""Run + samples in several views → Fusion: how well they are answered together, against the number of views."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import UNKNOWN, Dataset, Images, Split, chunks
from guarismo.errors import RunError
from guarismo.language import ENGLISH, N_, Language
from guarismo.models.runs import Run, claimed, commit, open_run
from guarismo.progress import Progress, silent
from guarismo.results.comparison import Pair, pair_of
from guarismo.results.evaluation import check_fit, evaluate_run, opening, same_data, short, source_of, wilson
from guarismo.results.luck import holm

MOST_SUBSETS = 32
"""Of each number of views, so many subsets are measured: all of them for up to six views."""
SMALLEST = 1e-9
"""Where probabilities are cut before the logarithm, as in calibration: one answer of 0 would be a veto."""

Subset = tuple[int, ...]
Method = Callable[[NDArray[np.bool_]], NDArray[np.int64]]
"""Which views are there, bool (v,) → the answer to each sample, int64 (n,)."""

# Rules


def vote(probabilities: NDArray[np.floating[Any]], present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The class that most of the views present answer, int64 (n,); of equal ones the greater summed probability.

    probabilities: (n, v, k); present: bool (n, v). A sample without any view is answered `UNKNOWN`.

    >>> vote(np.array([[[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]]), np.array([[True, True, True]]))
    array([1])
    """
    check_views(probabilities, present)
    samples, views, _ = probabilities.shape
    votes = np.zeros((samples, probabilities.shape[2]))
    np.add.at(votes, (np.arange(samples)[:, None], probabilities.argmax(axis=2)), present)
    support = np.einsum("nvk,nv->nk", probabilities, present, dtype=np.float64)
    answers = (votes + support / (2 * views)).argmax(axis=1)  # the sum of probabilities is below one vote
    return np.where(present.any(axis=1), answers, UNKNOWN).astype(np.int64)


def product(
    probabilities: NDArray[np.floating[Any]], present: NDArray[np.bool_], temperature: float = 1.0
) -> NDArray[np.float64]:
    """Probabilities (n, k) proportional to the product, over the views present, of each view's calibrated ones.

    probabilities: (n, v, k); present: bool (n, v); temperature: what their logarithms are divided by first (Guo et al.
    2017). Right where, the class given, the views tell independent things and the classes are even (the product rule
    of Kittler, Hatef, Duin, Matas, "On combining classifiers", 1998). The temperature, one for all views, changes how
    sure the answer is, not which it is. Without any view every class is as likely.

    >>> product(np.array([[[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]]), np.array([[True, True, True]])).round(2)
    array([[0.8, 0.2]])
    """
    check_views(probabilities, present)
    logs = np.log(np.maximum(probabilities, SMALLEST, dtype=np.float64)) / temperature
    scores = np.einsum("nvk,nv->nk", logs, present)
    likelihoods = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = likelihoods / likelihoods.sum(axis=1, keepdims=True)
    return shares


def check_views(probabilities: NDArray[Any], present: NDArray[Any]) -> None:
    if probabilities.ndim != 3 or probabilities.shape[:2] != present.shape or present.dtype != bool:
        raise RunError(
            f"Expected probabilities (n, v, k) and which views are there, bool (n, v); received {probabilities.shape} "
            f"and {present.dtype} {present.shape}. Give one row of probabilities for each view."
        )


# Fusion


@dataclass(frozen=True)
class Figure:
    """The share of samples that a method answers right from so many views: the mean over that many subsets of them.

    interval: 95 % (Wilson 1927) for the samples, as if each had been answered once.
    """

    method: str
    views: int
    subsets: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Fusion:
    """How well n samples of `views` views are answered.

    figures: each method with 1…v views; alone: each view by itself; pairs: of all the views together, the last method
    against the best view alone and against the other methods, the more accurate one named first, p corrected for their
    number; temperature: what
    calibrates one view's answers (None for a network that sees them all); incomplete: samples left out because a view
    of them is missing.
    """

    run: str
    n: int
    views: int
    incomplete: int
    temperature: float | None
    figures: tuple[Figure, ...]
    alone: tuple[Figure, ...]
    pairs: tuple[Pair, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(figure.method for figure in self.figures))

    def of(self, method: str) -> tuple[Figure, ...]:
        """The figures of one method, with 1…v views."""
        return tuple(figure for figure in self.figures if figure.method == method)

    @property
    def together(self) -> Figure:
        """All the views by the product, or by the network."""
        return self.figures[-1]

    @property
    def sentence(self) -> str:
        return verdict(self)

    def as_json(self) -> dict[str, Any]:
        """Plain values for json.dumps, the sentence with them."""
        return {**asdict(self), "sentence": self.sentence}


def fuse(run: Run, dataset: Dataset, progress: Progress = silent) -> Fusion:
    """Answer the test samples of `dataset`, square views side by side, from every number of views.

    A run of single views is asked about each of them, and its answers are joined by `vote` and `product`; a run that
    was trained on all of them side by side (model `views`) is shown them with the others blackened. This opens the
    test images, and the run records it. Raises RunError when the data does not fit the run.
    """
    views = fitting_views(run, dataset)
    own = run.shape == dataset.shape and same_data(run, dataset)
    if own:
        run, _ = evaluate_run(run, dataset)
    fusion = measure(run, dataset.test, views, progress)
    if not own:
        with claimed(run.folder, timeout=60):
            run = open_run(run.folder)
            opened = {**opening(dataset), "n": fusion.n, "accuracy": fusion.together.accuracy}
            commit(run, {}, other_data=[*run.about.get("other_data", []), opened])
    return fusion


def fitting_views(run: Run, dataset: Dataset) -> int:
    """How many views each sample has. Raises RunError when the run can answer neither one nor all of them."""
    height, width, channels = dataset.shape
    if width % height or width == height:
        raise RunError(
            f"Data '{dataset.name}' has images of {height}×{width}; expected two square views or more, side by side. "
            "Load them with --views."
        )
    if run.shape == dataset.shape:
        check_fit(run, dataset)
        return width // height
    if not dataset.test.labelled:
        raise RunError(f"Data '{dataset.name}' has no labelled test images. Name a source that has: RUN SOURCE.")
    if run.shape != (height, height, channels) or run.class_names != dataset.class_names:
        raise RunError(
            f"Run {run.name} answers images of {run.shape} as {short(run.class_names)}, the views of data "
            f"'{dataset.name}' are {(height, height, channels)} of {short(dataset.class_names)}. "
            "Train a run on one of them at a time, or on all of them with --views."
        )
    check_test_part(run, dataset)
    return width // height


def check_test_part(run: Run, dataset: Dataset) -> None:
    """Raises RunError where the run may have learnt views of the test samples: those of its own source, without a test
    part there, were drawn otherwise than the single images that it learned from."""
    if source_of(run.about["data"]["origin"]) != source_of(dataset.origin) or source_of(dataset.origin) is None:
        return
    names = dataset.test.names
    if names is None or not np.char.startswith(names, "test/").all():
        raise RunError(
            f"The test samples of '{dataset.name}' are not from a folder test/, so that run {run.name} may have learnt "
            "from their views. Give a source that has train/ and test/."
        )


def measure(run: Run, test: Split, views: int, progress: Progress = silent) -> Fusion:
    """The Fusion of labelled test samples. Raises RunError where none has all its views."""
    complete = present_views(test.images, views).all(axis=1)
    if not complete.any():
        raise RunError(f"None of the {len(test):,} test samples has all its {views} views. Load fewer modalities.")
    samples = test if complete.all() else test.take(np.flatnonzero(complete))
    temperature = None
    methods: dict[str, Method] = {"network": lambda there: network_answers(run, samples.images, there)}
    if run.shape != samples.images.shape[1:]:
        temperature = float(run.about.get("calibration", {}).get("temperature", 1.0))
        methods = joined(view_probabilities(run, samples.images, views), temperature)
    subsets = {size: subsets_of(views, size) for size in range(1, views + 1)}
    total = len(methods) * sum(map(len, subsets.values()))
    right: dict[tuple[str, Subset], NDArray[np.bool_]] = {}
    for method, answers in methods.items():
        for subset in (subset for group in subsets.values() for subset in group):
            right[method, subset] = answers(np.isin(np.arange(views), subset)) == samples.labels
            progress(len(right), total)
    last = list(methods)[-1]
    alone = {f"view {view + 1}": right[last, (view,)] for view in range(views)}
    everything = {method: right[method, tuple(range(views))] for method in methods}
    best = max(alone, key=lambda name: alone[name].sum())
    others = {best: alone[best], **{method: column for method, column in everything.items() if method != last}}
    return Fusion(
        run=run.name,
        n=len(samples),
        views=views,
        incomplete=len(test) - len(samples),
        temperature=temperature,
        figures=tuple(
            figure_of(method, size, [right[method, subset] for subset in group])
            for method in methods
            for size, group in subsets.items()
        ),
        alone=tuple(figure_of(name, 1, [column]) for name, column in alone.items()),
        pairs=corrected(ordered_pair(last, everything[last], name, column) for name, column in others.items()),
    )


def subsets_of(views: int, size: int) -> list[Subset]:
    """Which `size` of so many views to take: every choice where there are at most `MOST_SUBSETS`, else as many of them
    at random, the same each time. Every single view is always there."""
    if size == 1 or comb(views, size) <= MOST_SUBSETS:
        return list(combinations(range(views), size))
    rng = np.random.default_rng([views, size])
    drawn: set[Subset] = set()
    while len(drawn) < MOST_SUBSETS:
        drawn.add(tuple(sorted(rng.choice(views, size, replace=False).tolist())))
    return sorted(drawn)


def figure_of(method: str, views: int, right: list[NDArray[np.bool_]]) -> Figure:
    accuracy = float(np.mean(right))
    samples = len(right[0])
    return Figure(method, views, len(right), accuracy, wilson(round(accuracy * samples), samples))


def ordered_pair(name: str, right: NDArray[np.bool_], other: str, right_other: NDArray[np.bool_]) -> Pair:
    """Two methods on the same samples, the more accurate one first."""
    if right_other.sum() > right.sum():
        return pair_of(other, right_other, name, right)
    return pair_of(name, right, other, right_other)


def corrected(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """The pairs with p corrected for their number."""
    found = list(pairs)
    ps = holm([pair.p for pair in found])
    return tuple(replace(pair, p_corrected=p) for pair, p in zip(found, ps, strict=True))


# Views and answers


def cut(images: NDArray[np.uint8], views: int) -> NDArray[np.uint8]:
    """Images (n, h, v·w, c) as a view of the same memory, (n, h, v, w, c)."""
    count, height, width, channels = images.shape
    return images.reshape(count, height, views, width // views, channels)


def present_views(images: Images, views: int) -> NDArray[np.bool_]:
    """Which views each sample has, bool (n, v): a view of zeros is missing."""
    parts = [cut(images[part], views).any(axis=(1, 3, 4)) for part in chunks(images)]
    return np.concatenate(parts) if parts else np.empty((0, views), dtype=bool)


def blackened(images: NDArray[np.uint8], there: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A copy of images (n, h, v·w, c) with zeros for every view that is not `there`, bool (v,)."""
    return (cut(images, len(there)) * there[:, None, None].astype(np.uint8)).reshape(images.shape)


def view_probabilities(run: Run, images: Images, views: int) -> NDArray[np.float32]:
    """What a run of single views answers to each view by itself, float32 (n, v, k)."""
    answers = []
    for part in chunks(images):
        single = cut(images[part], views).swapaxes(1, 2)
        answers.append(run.predict(single.reshape(-1, *run.shape)).reshape(len(single), views, -1))
    return np.concatenate(answers)


def network_answers(run: Run, images: Images, there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """What a run that sees all views at once answers from those that are `there`, int64 (n,)."""
    answers = [run.predict(blackened(images[part], there)).argmax(axis=1) for part in chunks(images)]
    return np.concatenate(answers)


def joined(probabilities: NDArray[np.float32], temperature: float) -> dict[str, Method]:
    """The rules, each ready to answer the samples with these probabilities (n, v, k) from some of their views."""

    def everywhere(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.broadcast_to(there, probabilities.shape[:2])

    return {
        "vote": lambda there: vote(probabilities, everywhere(there)),
        "product": lambda there: product(probabilities, everywhere(there), temperature).argmax(axis=1),
    }


# Words

TOGETHER = N_(
    "{views:count} views by {method}: {all:percent} ({all_low:.2} – {all_high:.2}) of {n:count} samples right, "
    "{one:percent} ({one_low:.2} – {one_high:.2}) from one view."
)
PAIRS = {
    True: N_("{best} answers {more:count} more right than {other}, {p:p}: more than luck."),
    False: N_("{best} answers {more:count} more right than {other}, {p:p}: it may well be luck."),
}
"""More than luck → what is said of two methods."""


def verdict(fusion: Fusion, _: Language = ENGLISH) -> str:
    """In words: what all the views together come to, against one of them, and whether that is more than luck."""
    every, one = fusion.together, fusion.of(fusion.together.method)[0]
    (all_low, all_high), (one_low, one_high) = every.interval, one.interval
    said = _(
        TOGETHER,
        views=fusion.views,
        method=every.method,
        all=every.accuracy,
        all_low=100 * all_low,
        all_high=100 * all_high,
        n=fusion.n,
        one=one.accuracy,
        one_low=100 * one_low,
        one_high=100 * one_high,
    )
    return " ".join([said, *(pair_words(pair, _) for pair in fusion.pairs)])


def pair_words(pair: Pair, _: Language = ENGLISH) -> str:
    """In words: which of two methods answers more samples right, and whether that is more than luck."""
    more = pair.only_best - pair.only_other
    if not more:
        return _("{best} and {other} answer equally many right.", best=pair.best, other=pair.other)
    return _(PAIRS[pair.more_than_luck], best=pair.best, more=more, other=pair.other, p=pair.p_corrected)
