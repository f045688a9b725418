"""Search: what a search for better settings tried, what it found, and whether that is more than luck. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guarismo.language import ENGLISH, N_, Language
from guarismo.models.settings import Settings
from guarismo.tuning.settings import LESS_IS_BETTER, TuneSettings
from guarismo.tuning.space import Space


@dataclass(frozen=True)
class Tried:
    """One trial.

    state: finished, pruned, failed or running; settings: the searched fields alone; values: one per metric, none where
    it has none; curve: the first metric after each epoch; seconds: of its training; folder: of its run, relative to
    the search's where it lies there; loss: on validation images, which decides between equal values.
    """

    number: int
    state: str
    settings: dict[str, Any]
    values: tuple[float, ...] = ()
    curve: tuple[float, ...] = ()
    seconds: float = 0.0
    folder: str = ""
    error: str = ""
    loss: float = float("inf")


@dataclass(frozen=True)
class Verdict:
    """Winner and default, trained anew from the same seeds, on the test images.

    winner: its searched fields, none where the default itself was the best; runs, default_runs: folders, one per seed;
    accuracy, default_accuracy: means over the seeds; interval: 95 %, of their difference, and p, which reckon with
    other seeds as with other images (`results.luck.over_seeds`); better: by more than luck.
    """

    winner: dict[str, Any]
    runs: tuple[str, ...]
    default_runs: tuple[str, ...]
    accuracy: float
    default_accuracy: float
    interval: tuple[float, float]
    p: float
    n_test: int
    seeds: int
    better: bool

    def sentence(self, _: Language = ENGLISH) -> str:
        """In words: whether the winner is better than the default by more than luck."""
        if not self.winner:
            return _(
                "No settings were better than the default on the validation images: over {seeds:count} seeds it "
                "answers {default:percent} of {n:count} test images right.",
                seeds=self.seeds,
                default=self.default_accuracy,
                n=self.n_test,
            )
        return _(
            VERDICTS[self.better, self.accuracy > self.default_accuracy],
            winner=self.accuracy,
            default=self.default_accuracy,
            seeds=self.seeds,
            n=self.n_test,
            p=self.p,
        )


VERDICTS = {
    (True, True): N_(
        "The winner is better than the default by more than luck: over {seeds:count} seeds it answers "
        "{winner:percent} of {n:count} test images right, the default {default:percent}; with other seeds and other "
        "images, equally good settings would differ that much with {p:p}."
    ),
    (False, True): N_(
        "The winner is not better than the default by more than luck: over {seeds:count} seeds it answers "
        "{winner:percent} of {n:count} test images right, the default {default:percent}; with other seeds and other "
        "images, equally good settings would differ that much with {p:p}."
    ),
    (False, False): N_(
        "The winner is not better than the default: over {seeds:count} seeds it answers {winner:percent} of {n:count} "
        "test images right, the default {default:percent}. What it gained on the validation images was luck ({p:p})."
    ),
}
"""(better by more than luck, higher) → what the verdict says."""


@dataclass(frozen=True)
class Search:
    """Every trial of a search, in order, and what came of it.

    data: the dataset's name; base: the default that all trials vary; metrics: what trials are measured by, the first
    decides; importance: field → share of the differences that it explains, {} where it cannot be told; seconds: of the
    whole search; verdict: None before the winner was trained anew.
    """

    folder: Path
    name: str
    data: str
    base: Settings
    space: Space
    tuning: TuneSettings
    metrics: tuple[str, ...]
    tried: tuple[Tried, ...]
    importance: dict[str, float]
    seconds: float
    verdict: Verdict | None = None

    @property
    def finished(self) -> tuple[Tried, ...]:
        """The trials that were trained to their end."""
        return tuple(each for each in self.tried if each.state == "finished")

    @property
    def best_first(self) -> tuple[Tried, ...]:
        """The finished trials by their first metric; of equals the one with less validation loss first."""
        return tuple(sorted(self.finished, key=lambda each: (worth(each, self.metrics)[0], each.loss)))

    @property
    def best(self) -> Tried | None:
        """The finished trial with the best first metric; of equals the one with the least validation loss."""
        return best_of(self.tried, self.metrics)

    @property
    def front(self) -> tuple[Tried, ...]:
        """The finished trials that no other one beats in every metric, the best by the first one first."""
        kept = [each for each in self.finished if not any(beats(other, each, self.metrics) for other in self.finished)]
        return tuple(sorted(kept, key=lambda each: worth(each, self.metrics)))

    def as_json(self) -> dict[str, Any]:
        """Plain values for json.dumps; a password in the storage's address is left out."""
        return {
            "folder": str(self.folder),
            "name": self.name,
            "data": self.data,
            "base": asdict(self.base),
            "space": self.space.as_json(),
            "tuning": asdict(self.tuning) | {"storage": without_password(self.tuning.storage)},
            "metrics": list(self.metrics),
            "tried": [plain(each) for each in self.tried],
            "best": None if self.best is None else self.best.number,
            "front": [each.number for each in self.front],
            "importance": self.importance,
            "seconds": self.seconds,
            "verdict": None if self.verdict is None else asdict(self.verdict) | {"sentence": self.verdict.sentence()},
        }


def best_of(tried: Sequence[Tried], metrics: Sequence[str]) -> Tried | None:
    """The winner among trials, if any finished."""
    finished = [each for each in tried if each.state == "finished"]
    return min(finished, key=lambda each: (worth(each, metrics)[0], each.loss), default=None)


def plain(tried: Tried) -> dict[str, Any]:
    """A trial as JSON knows it: no infinity."""
    return asdict(tried) | {"loss": None if tried.loss == float("inf") else tried.loss}


def without_password(address: str) -> str:
    """postgresql://me:secret@host/db → postgresql://me:***@host/db."""
    head, at, tail = address.rpartition("@")
    scheme, colons, who = head.partition("://")
    return f"{scheme}{colons}{who.split(':')[0]}:***@{tail}" if at and ":" in who else address


def worth(tried: Tried, metrics: Sequence[str]) -> tuple[float, ...]:
    """Its values, turned so that less is better in each."""
    return tuple(value if name in LESS_IS_BETTER else -value for value, name in zip(tried.values, metrics, strict=True))


def beats(one: Tried, other: Tried, metrics: Sequence[str]) -> bool:
    """Whether `one` is nowhere worse than `other`, and somewhere better."""
    ours, theirs = worth(one, metrics), worth(other, metrics)
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))
