"""Evaluated runs → Comparison: which one is better, and whether that is more than luck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.errors import RunError
from guarismo.models.runs import Run
from guarismo.results.evaluation import saved_evaluation, wilson

LUCK = 0.05
"""A difference that two equally good models show less often than this counts as more than luck."""
CLEARLY_SMALLER = 1.5
"""How many times smaller a model must be before size decides between models of the same accuracy."""


@dataclass(frozen=True)
class Row:
    """What one run did: accuracy with its 95 % interval, loss, ece, seconds of training (None where not recorded)."""

    name: str
    model: str
    accuracy: float
    interval: tuple[float, float]
    loss: float
    ece: float
    train_seconds: float | None
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Pair:
    """Two runs on the same n images: how often only one of them is right, and what follows.

    difference: accuracy of `best` minus accuracy of `other`, with its 95 % interval; p: of `mcnemar`, for this pair
    by itself, not corrected for the number of pairs.
    """

    best: str
    other: str
    n: int
    only_best: int
    only_other: int
    difference: float
    interval: tuple[float, float]
    p: float

    @property
    def more_than_luck(self) -> bool:
        return self.p < LUCK


@dataclass(frozen=True)
class Comparison:
    """rows: the most accurate run first; pairs: that run against each other one, in the same order."""

    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    fingerprint: str

    @property
    def best(self) -> Row:
        return self.rows[0]

    @property
    def recommended(self) -> Row:
        """The smallest of the runs that are as accurate as the best, unless it is hardly smaller than the best."""
        equals = {pair.other for pair in self.pairs if not pair.more_than_luck}
        smallest = min((row for row in self.rows if row.name in equals), key=lambda row: row.bytes, default=self.best)
        return smallest if smallest.bytes * CLEARLY_SMALLER <= self.best.bytes else self.best

    @property
    def sentence(self) -> str:
        return verdict(self)

    @property
    def recommendation(self) -> str:
        return advice(self)

    def as_json(self) -> dict[str, Any]:
        """Plain values for json.dumps, the two sentences with them."""
        words = {"sentence": self.sentence, "recommended": self.recommended.name, "recommendation": self.recommendation}
        return {**asdict(self), **words}


def compare(runs: Sequence[Run]) -> Comparison:
    """Set runs side by side from the answers that `evaluate_run` saved.

    Raises RunError for fewer than two runs, one given twice, one not evaluated, or different test images.
    """
    if len(runs) < 2:
        raise RunError(f"A comparison needs two runs or more, received {len(runs)}.")
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise RunError("A run was given twice. Name each run once.")
    found = sorted(zip(names_of(runs), runs, strict=True), key=lambda item: rank(item[1]))
    fingerprint = common_fingerprint(runs)
    rows = tuple(describe(name, run) for name, run in found)
    (best, right), *others = [(name, correct_answers(run)) for name, run in found]
    return Comparison(rows, tuple(pair_of(best, right, name, other) for name, other in others), fingerprint)


def names_of(runs: Sequence[Run]) -> list[str]:
    """The runs' names; the whole path where two folders in different places share a name."""
    names = [run.name for run in runs]
    return [str(run.folder) if names.count(run.name) > 1 else run.name for run in runs]


def rank(run: Run) -> tuple[float, float]:
    """The more accurate first, then the smaller loss."""
    evaluation = saved_evaluation(run)
    return -evaluation.accuracy, evaluation.loss


def common_fingerprint(runs: Sequence[Run]) -> str:
    """The fingerprint of the test images that all were evaluated on. Raises RunError when they differ."""
    prints = [str(run.about["test_opened"]["fingerprint"]) for run in runs]
    if len(set(prints)) > 1:
        listed = ", ".join(f"{run.name} {fingerprint[:8]}" for run, fingerprint in zip(runs, prints, strict=True))
        raise RunError(
            f"These runs were evaluated on different test images ({listed}). "
            "Compare runs that were trained on one source."
        )
    return prints[0]


def describe(name: str, run: Run) -> Row:
    evaluation = saved_evaluation(run)
    return Row(
        name=name,
        model=run.settings.model,
        accuracy=evaluation.accuracy,
        interval=evaluation.interval,
        loss=evaluation.loss,
        ece=evaluation.ece,
        train_seconds=run.about.get("seconds", {}).get("train"),
        parameters=run.about["parameters"],
        bytes=run.about["files"]["model.onnx"]["bytes"],
    )


def correct_answers(run: Run) -> NDArray[np.bool_]:
    """Which test images the run answers right, bool (n,)."""
    arrays = run.arrays("test")
    return np.asarray(arrays["probabilities"].argmax(axis=1) == arrays["labels"])


def pair_of(best: str, correct_best: NDArray[np.bool_], other: str, correct_other: NDArray[np.bool_]) -> Pair:
    only_best = int((correct_best & ~correct_other).sum())
    only_other = int((correct_other & ~correct_best).sum())
    return Pair(
        best=best,
        other=other,
        n=len(correct_best),
        only_best=only_best,
        only_other=only_other,
        difference=(only_best - only_other) / len(correct_best),
        interval=paired_interval(correct_best, correct_other),
        p=mcnemar(correct_best, correct_other),
    )


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """How often two equally good models differ at least this much on the same images (McNemar 1947, exact, two-sided).

    Only the images count that one answers right and the other wrong: a fair coin decides each of them.

    >>> mcnemar(np.array([True] * 6 + [False]), np.array([False] * 6 + [True]))
    0.125
    """
    check_paired(correct_a, correct_b)
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    flips, ways, tail = only_a + only_b, 1, 0
    # Whole numbers throughout: exact, and scipy.stats alone would take 0.8 s to import.
    for k in range(min(only_a, only_b) + 1):
        tail += ways
        ways = ways * (flips - k) // (k + 1)
    return float(min(1.0, 2 * tail / 2**flips))


def check_paired(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> None:
    if correct_a.shape != correct_b.shape or correct_a.dtype != bool or correct_b.dtype != bool or not correct_a.size:
        raise RunError(
            f"Expected two bool arrays over the same images, received {correct_a.dtype} {correct_a.shape} and "
            f"{correct_b.dtype} {correct_b.shape}. Give which images each model answers right."
        )


def paired_interval(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> tuple[float, float]:
    """95 % interval of accuracy A − accuracy B on the same images (Newcombe 1998, Stat. Med. 17:2635, method 10).

    Wilson's interval of each accuracy, joined with regard to how alike the two answer.
    """
    check_paired(correct_a, correct_b)
    n, right_a, right_b = len(correct_a), int(correct_a.sum()), int(correct_b.sum())
    share_a, share_b = right_a / n, right_b / n
    (low_a, high_a), (low_b, high_b) = wilson(right_a, n), wilson(right_b, n)
    alike = likeness(correct_a, correct_b)
    below, above = share_a - low_a, high_a - share_a
    below_b, above_b = share_b - low_b, high_b - share_b
    difference = share_a - share_b
    down = sqrt(max(0.0, below**2 - 2 * alike * below * above_b + above_b**2))
    up = sqrt(max(0.0, above**2 - 2 * alike * above * below_b + below_b**2))
    return difference - down, difference + up


def likeness(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """Newcombe's φ: the correlation of two bool arrays, drawn to 0 by half an image's worth where it is positive."""
    n, right_a, right_b = len(correct_a), int(correct_a.sum()), int(correct_b.sum())
    both, none = int((correct_a & correct_b).sum()), int((~correct_a & ~correct_b).sum())
    product = float(both * none - (right_a - both) * (right_b - both))
    product = max(product - n / 2, 0.0) if product > 0 else product
    spread = sqrt(right_a * (n - right_a) * right_b * (n - right_b))
    return product / spread if spread else 0.0


def verdict(comparison: Comparison, _: Callable[[str], str] = str) -> str:
    """In words: whether the best run is better than the next one by more than luck."""
    pair = comparison.pairs[0]
    names = {"best": pair.best, "other": pair.other, "n": f"{pair.n:,}"}
    if pair.only_best == pair.only_other:
        return _("{best} and {other} answer equally many of {n} images right.").format(**names)
    start = _("{best} answers {more:,} more of {n} images right than {other};").format(
        **names, more=pair.only_best - pair.only_other
    )
    if pair.more_than_luck:
        end = _("two equally good models would differ that much with {p}: it is more than luck.")
    else:
        end = _("two equally good models would differ that much with {p}: it may well be luck.")
    return f"{start} {end.format(p=readable(pair.p))}"


def readable(p: float) -> str:
    """p in two digits, without pretending to more than four places."""
    if p < 1e-4:
        return "p < 0.0001"
    return f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def advice(comparison: Comparison, _: Callable[[str], str] = str) -> str:
    """In words: which run to take, and why."""
    best, chosen = comparison.best, comparison.recommended
    if chosen is not best:
        pair = next(pair for pair in comparison.pairs if pair.other == chosen.name)
        return _(
            "Take {name}: as accurate as {best} within luck (at most {loss:.2f} points less), and {times:.1f}× smaller."
        ).format(name=chosen.name, best=best.name, loss=100 * pair.interval[1], times=best.bytes / chosen.bytes)
    if all(pair.more_than_luck for pair in comparison.pairs):
        return _("Take {name}: the most accurate, by more than luck.").format(name=best.name)
    return _("Take {name}: none is more accurate, and none as accurate is clearly smaller.").format(name=best.name)
