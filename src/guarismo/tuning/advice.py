"""Search → what to try next: rules on what was tried, the gravest first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from statistics import median

from guarismo.language import N_
from guarismo.models.runs import quoted
from guarismo.models.settings import Settings
from guarismo.results.finding import Finding
from guarismo.tuning.search import Search, Tried, worth
from guarismo.tuning.space import Options, Range

NEAR = 0.1
"""Share of a range that counts as its end."""
PER_FIELD = 10
"""Trials for each searched field below which a search is called short."""
MOSTLY = 0.75
DECISIVE, NEGLIGIBLE = 0.5, 0.05
"""Shares of the differences that one field, or several together, explain."""
LATE, STALE = 0.8, 20
"""The best came after this share of the trials; or nothing better came in so many."""
SMALLER, NEARLY = 2.0, 0.005
"""How many times better in the second metric, for how much of the first, a trial is worth pointing out."""


def advise(search: Search) -> list[Finding]:
    """What the trials say about the next search, or nothing."""
    return [found for rule in RULES for found in rule(search)]


def failures(search: Search) -> Iterator[Finding]:
    failed = [each for each in search.tried if each.state == "failed"]
    if failed:
        yield Finding(
            "failed-trials",
            len(failed),
            N_("{failed:count} of {tried:count} trials failed, the first (trial {number}) with: {error}"),
            N_("Take the values that cause this out of the space; the table below shows which they are."),
            {
                "failed": len(failed), "tried": len(search.tried), "number": failed[0].number,
                "error": failed[0].error.strip() or failed[0].state,
            },
        )  # fmt: skip


def unfinished(search: Search) -> Iterator[Finding]:
    running = [each for each in search.tried if each.state == "running"]
    if running:
        yield Finding(
            "unfinished-trials",
            len(running),
            N_("{n:count} trials are not at their end."),
            N_("Where nothing works on them any more, the same command goes on with them."),
            {"n": len(running)},
        )


def too_few(search: Search) -> Iterator[Finding]:
    wanted, looked = PER_FIELD * len(search.space.fields), len(used(search))
    if 0 < looked < wanted and len(search.space.fields) > 1:
        yield Finding(
            "few-trials",
            looked / wanted,
            N_("{trials:count} trials are few for {fields:count} fields: most of the space has not been looked at."),
            N_(
                "Go on with --out {folder} --trials {wanted:count}: what has been tried counts. Or search fewer fields."
            ),
            {"trials": looked, "fields": len(search.space.fields), "wanted": wanted, "folder": quoted(search.folder)},
        )


def mostly_pruned(search: Search) -> Iterator[Finding]:
    pruned, looked = sum(each.state == "pruned" for each in search.tried), len(used(search))
    if looked and pruned / looked > MOSTLY and len(search.finished) < PER_FIELD:
        yield Finding(
            "mostly-pruned",
            pruned / looked,
            N_(
                "{pruned:count} of {trials:count} trials were stopped early, only {finished:count} were trained to "
                "their end."
            ),
            N_(
                "Settings that begin slowly may have been lost: compare with --pruner hyperband, which gives some "
                "trials all their epochs, or with --pruner none."
            ),
            {"pruned": pruned, "trials": looked, "finished": len(search.finished)},
        )


def at_the_edge(search: Search) -> Iterator[Finding]:
    """Fields whose best values lie at an end of their range, where Settings allow more."""
    if search.best is None or len(search.finished) < PER_FIELD:
        return
    leaders = best_few(search)
    for name, where in search.space.fields.items():
        places = [place for each in leaders if (place := place_of(each.settings.get(name), where)) is not None]
        own = place_of(search.best.settings.get(name), where)
        if own is None or len(places) < 3:
            continue
        for end in (0.0, 1.0):
            wider = widened(name, where, end)
            if wider and abs(own - end) <= NEAR and abs(median(places) - end) <= NEAR:
                yield Finding(
                    "edge-of-range",
                    own,
                    N_("The best trials lie at the upper end of “{field}”, at {value}.")
                    if end
                    else N_("The best trials lie at the lower end of “{field}”, at {value}."),
                    N_("Better values may lie beyond: search again with {wider} in the space."),
                    {"field": name, "value": f"{search.best.settings[name]:.3g}", "wider": wider},
                )


def decisive(search: Search) -> Iterator[Finding]:
    if search.best is None or len(search.importance) < 2:
        return
    name, share = max(search.importance.items(), key=lambda item: item[1])
    if share >= DECISIVE and name in search.best.settings:
        yield Finding(
            "decisive-field",
            share,
            N_("“{field}” explains {share:.0} % of the differences between the trials."),
            N_("Search it by itself around {value}, the other fields held at the winner's values."),
            {"field": name, "share": 100 * share, "value": written(search.best.settings[name])},
        )


def negligible(search: Search) -> Iterator[Finding]:
    """The fields that explain least, as many as together stay below NEGLIGIBLE."""
    found, total = list[str](), 0.0
    for name, share in sorted(search.importance.items(), key=lambda item: item[1]):
        if total + share >= NEGLIGIBLE:
            break
        found.append(name)
        total += share
    if found and len(found) < len(search.importance):
        yield Finding(
            "negligible-fields",
            total,
            N_("What hardly mattered, together {share:.0} % of the differences: {names}."),
            N_("Take these out of the space, and the same number of trials looks more closely at the others."),
            {"share": 100 * total, "names": ", ".join(found)},
        )


def late_or_stale(search: Search) -> Iterator[Finding]:
    looked = used(search)
    if search.best is None or len(looked) < PER_FIELD:
        return
    place, trials = looked.index(search.best) + 1, len(looked)
    if place > LATE * trials:
        yield Finding(
            "still-improving",
            place / trials,
            N_("The best trial came late: it is number {place:count} of {trials:count}."),
            N_("More trials may find better ones: go on with --out {folder} --trials {more:count}."),
            {"place": place, "trials": trials, "more": 2 * search.tuning.trials, "folder": quoted(search.folder)},
        )
    elif trials - place >= STALE:
        yield Finding(
            "nothing-better",
            trials - place,
            N_("Nothing better came in the last {since:count} trials."),
            N_("More trials of the same space promise little: widen it, try another --model, or look at the data."),
            {"since": trials - place},
        )


def only_luck(search: Search) -> Iterator[Finding]:
    verdict = search.verdict
    if verdict is not None and not verdict.better:
        low, high = verdict.interval
        yield Finding(
            "only-luck",
            verdict.p,
            N_(
                "Between winner and default lie {difference:points} percentage points, with a 95 % interval from "
                "{low:points} to {high:points}."
            ),
            N_(
                "These settings are not what holds the model back. Look at its errors with guarismo diagnose, add "
                "images, or try another --model; more test images and --seeds would show smaller differences."
            ),
            {"difference": verdict.accuracy - verdict.default_accuracy, "low": low, "high": high},
        )


def bargain(search: Search) -> Iterator[Finding]:
    """With two metrics: the trial of the front that gains most in the second for hardly anything of the first."""
    if len(search.metrics) < 2 or search.best is None or search.metrics[0] != "validation_accuracy":
        return
    best = search.best
    near = [each for each in search.front if best.values[0] - each.values[0] <= NEARLY]
    chosen = min(near, key=lambda each: worth(each, search.metrics)[1], default=best)
    large, small = sorted((best.values[1], chosen.values[1]), reverse=True)
    if small > 0 and large / small >= SMALLER:
        yield Finding(
            "bargain",
            large / small,
            N_("Trial {number} has {times:.1} times fewer parameters than the best, for {loss:points} points.")
            if search.metrics[1] == "parameters"
            else N_("Trial {number} answers {times:.1} times as many images a second, for {loss:points} points."),
            N_("Where size or speed counts, take that one: its run is in {folder}."),
            {
                "number": chosen.number, "times": large / small, "loss": chosen.values[0] - best.values[0],
                "folder": chosen.folder,
            },
        )  # fmt: skip


RULES: tuple[Callable[[Search], Iterator[Finding]], ...] = (
    only_luck, at_the_edge, failures, unfinished, mostly_pruned, too_few, decisive, negligible, late_or_stale, bargain,
)  # fmt: skip


def used(search: Search) -> list[Tried]:
    """The trials that tell something: to their end, or stopped early."""
    return [each for each in search.tried if each.state in ("finished", "pruned")]


def best_few(search: Search) -> list[Tried]:
    """The best tenth of the finished trials, three at least."""
    return list(search.best_first[: max(3, len(search.finished) // 10)])


def place_of(value: object, where: Range | Options) -> float | None:
    """Where a value lies between the ends of its range, 0 to 1, by its logarithm where that is searched; among numbers
    to choose from, by their order. None for what has no order."""
    if isinstance(where, Range):
        if not isinstance(value, int | float) or where.high <= where.low:
            return None
        turn = math.log if where.log else float
        return (turn(value) - turn(where.low)) / (turn(where.high) - turn(where.low))
    ordered = sorted(each for each in where.values if isinstance(each, int | float) and not isinstance(each, bool))
    if len(ordered) < max(3, len(where.values)) or value not in ordered:
        return None
    return ordered.index(value) / (len(ordered) - 1)


def widened(name: str, where: Range | Options, end: float) -> str:
    """The line of a space that goes on beyond an end; "" where Settings allow nothing there."""
    rule = next(item for item in fields(Settings) if item.name == name)
    numbers = sorted(where.values) if isinstance(where, Options) else [where.low, where.high]
    low, high = float(numbers[0]), float(numbers[-1])
    log = isinstance(where, Range) and where.log
    step = min(10.0, math.sqrt(high / low)) if log else (high - low) / 2
    if end:
        low, high = (high / step, high * step) if log else (high - step, high + step)
    else:
        low, high = (low / step, low * step) if log else (low - step, low + step)
    least, most = rule.metadata["least"], rule.metadata["most"]
    if (numbers[-1] >= most) if end else (numbers[0] <= least):
        return ""
    low, high = max(low, least), min(high, most)
    if isinstance(rule.default, int):
        low, high = round(low), round(high)
    return f"{name} = {{ low = {low:.3g}, high = {high:.3g}{', log = true' if log else ''} }}"


def written(value: object) -> str:
    """A value as a person writes it: three digits of a fraction."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
