"""Evaluated runs → Comparison: which one is better, whether that is more than luck, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.errors import RunError
from guarismo.language import ENGLISH, N_, Language
from guarismo.models.runs import Run
from guarismo.models.settings import Settings
from guarismo.results.evaluation import saved_evaluation
from guarismo.results.luck import LUCK, holm, mcnemar, over_seeds, paired_interval, usual_spread

CLEARLY = 1.5
"""How many times smaller or faster a model must be before that decides between models of the same accuracy."""


@dataclass(frozen=True)
class Row:
    """What one run did: accuracy with its 95 % interval, loss, ece, seconds of training (None where not recorded).

    images_per_second: answered on one core, as `answering_speeds` measures it.
    """

    name: str
    model: str
    accuracy: float
    interval: tuple[float, float]
    loss: float
    ece: float
    train_seconds: float | None
    parameters: int
    bytes: int
    seed: int
    validation_loss: float
    images_per_second: float


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed.

    runs: their names; accuracy, loss, train_seconds, images_per_second: means over them; spread: the standard deviation
    of their accuracies, None for a single run; parameters, bytes: of the largest.
    """

    name: str
    runs: tuple[str, ...]
    accuracy: float
    spread: float | None
    loss: float
    train_seconds: float | None
    parameters: int
    bytes: int
    images_per_second: float


@dataclass(frozen=True)
class Pair:
    """Two runs on the same n images: how often only one of them is right, and what follows.

    difference: accuracy of `best` minus accuracy of `other`, with its 95 % interval; p: of `mcnemar`, for this pair
    by itself; p_corrected: for all the pairs that were looked at (`holm`).
    """

    best: str
    other: str
    n: int
    only_best: int
    only_other: int
    both_wrong: int
    difference: float
    interval: tuple[float, float]
    p: float
    p_corrected: float

    @property
    def more_than_luck(self) -> bool:
        return self.p_corrected < LUCK


@dataclass(frozen=True)
class GroupPair:
    """Two groups on the same images: the difference of their mean accuracies, with 95 % interval and p, which reckon
    with other seeds as well as with other test images (`over_seeds`); p_corrected: for all pairs of groups."""

    best: str
    other: str
    difference: float
    interval: tuple[float, float]
    p: float
    p_corrected: float

    @property
    def more_than_luck(self) -> bool:
        return self.p_corrected < LUCK


@dataclass(frozen=True, eq=False)
class Disagreement:
    """Which test images only one of two runs answers right, and which neither does: indices int64 (m,)."""

    best: str
    other: str
    only_best: NDArray[np.int64]
    only_other: NDArray[np.int64]
    both_wrong: NDArray[np.int64]

    def as_json(self) -> dict[str, Any]:
        """Plain values for json.dumps."""
        return {name: value if isinstance(value, str) else value.tolist() for name, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class Comparison:
    """rows: the most accurate run first; pairs and disagreements: that run against each other one, in the same order;
    groups: of runs that differ in their seed alone, the most accurate first; group_pairs: the first against each other
    one, none where every run is alone; n: test images."""

    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    groups: tuple[Group, ...]
    group_pairs: tuple[GroupPair, ...]
    disagreements: tuple[Disagreement, ...]
    fingerprint: str
    n: int

    @property
    def best(self) -> Row:
        return self.rows[0]

    @property
    def grouped(self) -> bool:
        """Whether some settings were trained from several seeds, so that groups are compared, not runs."""
        return len(self.groups) < len(self.rows)

    @property
    def recommended(self) -> Row:
        """The run to take; of a group, the one with the lowest validation loss: the test images choose nothing."""
        chosen = choose(self)
        runs = chosen.runs if isinstance(chosen, Group) else (chosen.name,)
        return min((row for row in self.rows if row.name in runs), key=lambda row: row.validation_loss)

    @property
    def sentence(self) -> str:
        return verdict(self)

    @property
    def recommendation(self) -> str:
        return advice(self)

    def as_json(self) -> dict[str, Any]:
        """Plain values for json.dumps, the two sentences with them."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "pairs": [asdict(pair) for pair in self.pairs],
            "groups": [asdict(group) for group in self.groups],
            "group_pairs": [asdict(pair) for pair in self.group_pairs],
            "disagreements": [found.as_json() for found in self.disagreements],
            "fingerprint": self.fingerprint,
            "n": self.n,
            "sentence": self.sentence,
            "recommended": self.recommended.name,
            "recommendation": self.recommendation,
        }


def compare(runs: Sequence[Run]) -> Comparison:
    """Set runs side by side from the answers that `evaluate_run` saved, and time them.

    Raises RunError for fewer than two runs, one given twice, one not evaluated, or different test images.
    """
    if len(runs) < 2:
        raise RunError(f"A comparison needs two runs or more, received {len(runs)}.")
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise RunError("A run was given twice. Name each run once.")
    found = dict(sorted(zip(names_of(runs), runs, strict=True), key=lambda item: rank(item[1])))
    fingerprint = common_fingerprint(runs)
    speeds = answering_speeds(list(found.values()))
    rows = tuple(describe(name, run, speed) for (name, run), speed in zip(found.items(), speeds, strict=True))
    right = {name: correct_answers(run) for name, run in found.items()}
    groups = groups_of(found, rows)
    best, *others = found
    return Comparison(
        rows=rows,
        pairs=run_pairs(right),
        groups=groups,
        group_pairs=group_pairs(groups, right) if len(groups) < len(rows) else (),
        disagreements=tuple(disagreement(best, right[best], other, right[other]) for other in others),
        fingerprint=fingerprint,
        n=len(right[best]),
    )


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
        opened = [run.about["test_opened"] for run in runs]
        listed = "; ".join(
            f"{name} {each['fingerprint'][:8]}, {each['n']:,} of {each['source']}"
            for name, each in zip(names_of(runs), opened, strict=True)
        )
        raise RunError(
            f"These runs were evaluated on different test images ({listed}). Compare runs that were trained on one "
            "source with the same loading options: only answers to the same images tell which is better."
        )
    return prints[0]


TIMED_IMAGES = 64
TIMED_ROUNDS = 7


def answering_speeds(runs: Sequence[Run]) -> list[float]:
    """Images a second that each run answers on one processor core: `TIMED_IMAGES` random ones, the median of several
    rounds in which the runs take turns.

    Processor time, one thread: beside other work on two cores, the same seven medians of wall time with two threads
    were up to ten times apart, these within 10 %.
    """
    images = np.random.default_rng(0).integers(0, 256, (TIMED_IMAGES, *runs[0].shape), dtype=np.uint8)
    sessions = [one_core_session(run) for run in runs]
    rounds = [[seconds_of(session, images) for session in sessions] for _ in range(1 + TIMED_ROUNDS)]
    return [float(TIMED_IMAGES / seconds) for seconds in np.median(rounds[1:], axis=0)]  # the first one warms up


def one_core_session(run: Run) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    model = (run.folder / "model.onnx").read_bytes()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def seconds_of(session: Any, images: NDArray[np.uint8]) -> float:
    began = time.thread_time()
    session.run(None, {session.get_inputs()[0].name: images})
    return max(1e-9, time.thread_time() - began)


def describe(name: str, run: Run, images_per_second: float) -> Row:
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
        seed=run.settings.seed,
        validation_loss=run.about["metrics"]["validation_loss"],
        images_per_second=images_per_second,
    )


def correct_answers(run: Run) -> NDArray[np.bool_]:
    """Which test images the run answers right, bool (n,)."""
    arrays = run.arrays("test")
    return np.asarray(arrays["probabilities"].argmax(axis=1) == arrays["labels"])


# Two runs


def run_pairs(right: dict[str, NDArray[np.bool_]]) -> tuple[Pair, ...]:
    """The first run against each other one; p corrected for every pair, since the first was found by comparing all."""
    names = list(right)
    every = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    corrected = holm([mcnemar(right[a], right[b]) for a, b in every])
    return tuple(
        replace(pair_of(a, right[a], b, right[b]), p_corrected=p)
        for (a, b), p in zip(every, corrected, strict=True)
        if a == names[0]
    )


def pair_of(best: str, correct_best: NDArray[np.bool_], other: str, correct_other: NDArray[np.bool_]) -> Pair:
    """Two runs, or any two ways to answer the same images, by which answers are right, bool (n,)."""
    p = mcnemar(correct_best, correct_other)
    only_best = int((correct_best & ~correct_other).sum())
    only_other = int((correct_other & ~correct_best).sum())
    return Pair(
        best=best,
        other=other,
        n=len(correct_best),
        only_best=only_best,
        only_other=only_other,
        both_wrong=int((~correct_best & ~correct_other).sum()),
        difference=(only_best - only_other) / len(correct_best),
        interval=paired_interval(correct_best, correct_other),
        p=p,
        p_corrected=p,
    )


def disagreement(
    best: str, correct_best: NDArray[np.bool_], other: str, correct_other: NDArray[np.bool_]
) -> Disagreement:
    """Which images divide two runs, by which answers are right, bool (n,)."""
    cases = (correct_best & ~correct_other, correct_other & ~correct_best, ~correct_best & ~correct_other)
    return Disagreement(best, other, *(np.flatnonzero(case) for case in cases))


# Several seeds


def groups_of(runs: dict[str, Run], rows: Sequence[Row]) -> tuple[Group, ...]:
    """The runs by what they share: all settings but the seed, and the data; the most accurate group first."""
    described = {row.name: row for row in rows}
    members: list[list[str]] = []
    for name, run in runs.items():
        group = next((each for each in members if same_but_seed(run, [runs[other] for other in each])), None)
        if group is None:
            members.append([name])
        else:
            group.append(name)
    called = group_names([[runs[name] for name in names] for names in members], members)
    groups = [group_of(name, [described[run] for run in names]) for name, names in zip(called, members, strict=True)]
    return tuple(sorted(groups, key=lambda group: (-group.accuracy, group.loss)))


def same_but_seed(run: Run, others: Sequence[Run]) -> bool:
    """Whether a run differs from each of the others in its seed, and in nothing else that was chosen.

    What was imported or adapted tells too little of how it was made.
    """
    return all(
        replace(run.settings, seed=0) == replace(other.settings, seed=0)
        and run.settings.seed != other.settings.seed
        and run.about["data"]["fingerprint"] == other.about["data"]["fingerprint"]
        and "seed" in other.about["settings"]
        and "samples.safetensors" not in {**run.about["files"], **other.about["files"]}
        for other in others
    )


def group_names(groups: Sequence[Sequence[Run]], names: Sequence[Sequence[str]]) -> list[str]:
    """What to call each group: a single run by its name, several by their model and what sets them apart from other
    groups of that model."""
    called = []
    for runs, members in zip(groups, names, strict=True):
        settings = runs[0].settings
        alike = [each[0].settings for each in groups if each[0].settings.model == settings.model]
        apart = [
            f"{item.name} {getattr(settings, item.name)}"
            for item in fields(Settings)
            if item.name != "seed" and any(getattr(other, item.name) != getattr(settings, item.name) for other in alike)
        ]
        words = ", ".join(apart) or (members[0] if len(alike) > 1 else "")
        called.append(members[0] if len(members) == 1 else f"{settings.model} ({words})" if words else settings.model)
    return called


def group_of(name: str, rows: Sequence[Row]) -> Group:
    seconds = [row.train_seconds for row in rows if row.train_seconds is not None]
    accuracies = [row.accuracy for row in rows]
    return Group(
        name=name,
        runs=tuple(row.name for row in rows),
        accuracy=float(np.mean(accuracies)),
        spread=float(np.std(accuracies, ddof=1)) if len(rows) > 1 else None,
        loss=float(np.mean([row.loss for row in rows])),
        train_seconds=float(np.mean(seconds)) if seconds else None,
        parameters=max(row.parameters for row in rows),
        bytes=max(row.bytes for row in rows),
        images_per_second=float(np.mean([row.images_per_second for row in rows])),
    )


def group_pairs(groups: Sequence[Group], right: dict[str, NDArray[np.bool_]]) -> tuple[GroupPair, ...]:
    """The first group against each other one; p corrected for every pair of groups."""
    answers = [np.stack([right[name] for name in group.runs]) for group in groups]
    usual = usual_spread(answers)
    every = [(a, b) for a in range(len(groups)) for b in range(a + 1, len(groups))]
    found = [over_seeds(answers[a], answers[b], usual) for a, b in every]
    corrected = holm([p for _, _, p in found])
    return tuple(
        GroupPair(groups[a].name, groups[b].name, difference, interval, p, p_corrected)
        for (a, b), (difference, interval, p), p_corrected in zip(every, found, corrected, strict=True)
        if a == 0
    )


# Words


def contenders(comparison: Comparison) -> tuple[Sequence[Row | Group], Sequence[Pair | GroupPair]]:
    """What is compared, the best first, with the pairs that it forms with each other one: groups, or single runs."""
    if comparison.grouped:
        return comparison.groups, comparison.group_pairs
    return comparison.rows, comparison.pairs


def choose(comparison: Comparison) -> Row | Group:
    """Of those as accurate as the best within luck the smallest, if it is clearly smaller than the best; else the
    fastest, if it is clearly faster; else the best."""
    (best, *others), pairs = contenders(comparison)
    equals = [other for other, pair in zip(others, pairs, strict=True) if not pair.more_than_luck]
    if not equals:
        return best
    smallest = min(equals, key=lambda other: other.bytes)
    if smallest.bytes * CLEARLY <= best.bytes:
        return smallest
    fastest = max(equals, key=lambda other: other.images_per_second)
    return fastest if fastest.images_per_second >= CLEARLY * best.images_per_second else best


def verdict(comparison: Comparison, _: Language = ENGLISH) -> str:
    """In words: whether the best run, or settings over seeds, is better than the next by more than luck."""
    return seed_verdict(comparison, _) if comparison.grouped else run_verdict(comparison, _)


RUN_VERDICTS = {
    (False, True): N_(
        "{best} answers {more:count} more of {n:count} images right than {other}; "
        "two equally good models would differ that much with {p:p}: it is more than luck."
    ),
    (False, False): N_(
        "{best} answers {more:count} more of {n:count} images right than {other}; "
        "two equally good models would differ that much with {p:p}: it may well be luck."
    ),
    (True, True): N_(
        "{best} answers {more:count} more of {n:count} images right than {other}; two equally good models would differ "
        "that much with {p:p}, corrected for {pairs:count} pairs: it is more than luck."
    ),
    (True, False): N_(
        "{best} answers {more:count} more of {n:count} images right than {other}; two equally good models would differ "
        "that much with {p:p}, corrected for {pairs:count} pairs: it may well be luck."
    ),
}
GROUP_VERDICTS = {
    (False, True): N_(
        "Over seeds {best} answers {high:percent} right and {other} {low:percent}; with other seeds and other test "
        "images, equally good settings would differ that much with {p:p}: it is more than luck."
    ),
    (False, False): N_(
        "Over seeds {best} answers {high:percent} right and {other} {low:percent}; with other seeds and other test "
        "images, equally good settings would differ that much with {p:p}: it may well be luck."
    ),
    (True, True): N_(
        "Over seeds {best} answers {high:percent} right and {other} {low:percent}; with other seeds and other test "
        "images, equally good settings would differ that much with {p:p}, corrected for {pairs:count} pairs: "
        "it is more than luck."
    ),
    (True, False): N_(
        "Over seeds {best} answers {high:percent} right and {other} {low:percent}; with other seeds and other test "
        "images, equally good settings would differ that much with {p:p}, corrected for {pairs:count} pairs: "
        "it may well be luck."
    ),
}
"""(several pairs, more than luck) → what the verdict says."""


def run_verdict(comparison: Comparison, _: Language) -> str:
    pair, pairs = comparison.pairs[0], every_pair(comparison.rows)
    more = pair.only_best - pair.only_other
    if not more:
        return _(
            "{best} and {other} answer equally many of {n:count} images right.",
            best=pair.best,
            other=pair.other,
            n=pair.n,
        )
    return _(
        RUN_VERDICTS[pairs > 1, pair.more_than_luck],
        best=pair.best,
        other=pair.other,
        more=more,
        n=pair.n,
        p=pair.p_corrected,
        pairs=pairs,
    )


def seed_verdict(comparison: Comparison, _: Language) -> str:
    best, *others = comparison.groups
    if not others:
        return _(
            "{name} from {seeds:count} seeds answers {accuracy:percent} ± {spread:percent} of {n:count} images right: "
            "by so much figures differ by the luck of the seed alone.",
            name=best.name,
            seeds=len(best.runs),
            accuracy=best.accuracy,
            spread=best.spread,
            n=comparison.n,
        )
    pair, pairs = comparison.group_pairs[0], every_pair(comparison.groups)
    return _(
        GROUP_VERDICTS[pairs > 1, pair.more_than_luck],
        best=pair.best,
        other=pair.other,
        high=best.accuracy,
        low=others[0].accuracy,
        p=pair.p_corrected,
        pairs=pairs,
    )


def every_pair(rivals: Sequence[object]) -> int:
    """How many pairs there are among so many."""
    return len(rivals) * (len(rivals) - 1) // 2


def advice(comparison: Comparison, _: Language = ENGLISH) -> str:
    """In words: which run to take, and why."""
    chosen, said = choose(comparison), reason(comparison, _)
    if not isinstance(chosen, Group) or len(chosen.runs) == 1:
        return said
    taken = _("Of its seeds, {run} has the lowest validation loss.", run=comparison.recommended.name)
    return f"{said} {taken}"


REASONS = {
    (1, 1): N_(
        "Take {name}: as accurate as {best} within luck (at most {loss:.2} points less), {smaller:.1}× smaller and "
        "{faster:.1}× faster."
    ),
    (1, 0): N_(
        "Take {name}: as accurate as {best} within luck (at most {loss:.2} points less), and {smaller:.1}× smaller."
    ),
    (1, -1): N_(
        "Take {name}: as accurate as {best} within luck (at most {loss:.2} points less), and {smaller:.1}× smaller, "
        "though {slower:.1}× slower."
    ),
    (0, 1): N_(
        "Take {name}: as accurate as {best} within luck (at most {loss:.2} points less), and {faster:.1}× faster."
    ),
    (-1, 1): N_(
        "Take {name}: as accurate as {best} within luck (at most {loss:.2} points less), and {faster:.1}× faster, "
        "though larger."
    ),
}
"""(clearly smaller or larger, clearly faster or slower) → why it is taken rather than the most accurate."""


def reason(comparison: Comparison, _: Language) -> str:
    """In words: what is chosen, and why."""
    chosen, (rivals, pairs) = choose(comparison), contenders(comparison)
    best = rivals[0]
    if chosen is best:
        if not pairs:
            return _("Take any: these runs are the same settings on the same data.")
        if all(pair.more_than_luck for pair in pairs):
            return _("Take {name}: the most accurate, by more than luck.", name=best.name)
        return _(
            "Take {name}: none is more accurate, and none as accurate is clearly smaller or faster.", name=best.name
        )
    pair = next(pair for pair in pairs if pair.other == chosen.name)
    smaller, faster = best.bytes / chosen.bytes, chosen.images_per_second / best.images_per_second
    return _(
        REASONS[clearly(smaller), clearly(faster)],
        name=chosen.name,
        best=best.name,
        loss=100 * max(0.0, pair.interval[1]),
        smaller=smaller,
        faster=faster,
        slower=1 / faster,
    )


def clearly(times: float) -> int:
    """1 where so many times better is clearly better, −1 where it is clearly worse, else 0."""
    return (times >= CLEARLY) - (times * CLEARLY <= 1)
