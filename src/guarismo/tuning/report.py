"""Search → one self-contained page: what was tried, what mattered, whether the winner is better, what to try next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import floor, isfinite, log10
from pathlib import Path
from typing import Any

from guarismo.language import ENGLISH, N_, Language
from guarismo.models.runs import write_out
from guarismo.models.settings import Settings
from guarismo.results.account import Chart
from guarismo.results.html import isolated, render
from guarismo.results.report import Drawing, drawing
from guarismo.results.survey import page_place
from guarismo.tuning.advice import advise, place_of
from guarismo.tuning.charts import (
    METRICS,
    best_so_far,
    curves_chart,
    frame,
    front_chart,
    history_chart,
    reached,
)
from guarismo.tuning.search import Search, Tried, worth
from guarismo.tuning.settings import LESS_IS_BETTER
from guarismo.tuning.space import Options, Range

LEADERS = 5
"""Trials whose learning curves are drawn in colour."""
MOST_ROWS, MOST_LINES = 500, 200
"""Trials in the table, and drawn across the fields: the best ones, where there are more."""
STATES = {
    "finished": N_("finished"),
    "pruned": N_("stopped early"),
    "failed": N_("failed"),
    "running": N_("not at its end"),
}


@dataclass(frozen=True)
class Axis:
    """One field, or the metric, of which `ticks` are written: (place from 0 to 1, words); `few`: those that have room
    side by side. share: how much of the differences it explains, None where that is not known."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    few: tuple[tuple[float, str], ...] = ()
    share: float | None = None


@dataclass(frozen=True)
class Line:
    """One trial across the axes, the metric the last: a place on each, 0 to 1, or None; path: these joined, for SVG;
    rank: 0 the best of those drawn, 1 the worst; words: all of it in words."""

    number: int
    places: tuple[float | None, ...]
    path: str
    rank: float
    finished: bool
    words: str


@dataclass(frozen=True)
class Figure:
    """A number at the head of the page."""

    title: str
    value: str
    note: str = ""


def write_search(search: Search, source: str, out: str | Path, _: Language = ENGLISH) -> Path:
    """Write the page of a search to `out` and give its path back; `source` is what was loaded, for the line to paste.

    Raises RunError for another suffix than .html, or where it cannot be written.
    """
    place = page_place(out)
    write_out(place, page(search, source, _).encode())
    return place


def page(search: Search, source: str, _: Language = ENGLISH) -> str:
    """The page as text."""
    return render(
        "tune.html.j2",
        _,
        Path(__file__).parent,
        title=_("A search on {data}", data=isolated(search.data)),
        search=search,
        summary=summary(search, _),
        figures=figures(search, _),
        findings=advise(search),
        history=history(search, _),
        curves=curves(search, _),
        front=front(search, _),
        axes=axes_of(search, _),
        lines=lines_of(search, _),
        metrics=[_(METRICS[name]) for name in search.metrics],
        rows=[row_of(each, search, _) for each in ranked(search)[:MOST_ROWS]],
        command=winning_command(search, source),
        compared=compared(search, _),
        step=STEP,
        height=HEIGHT,
    )


# Words


def summary(search: Search, _: Language) -> list[str]:
    """The page in a few sentences, the verdict first."""
    best = search.best
    if search.verdict is not None:
        said = [search.verdict.sentence(_)]
    elif best is not None:
        said = [_("The winner has not been set beside the default on the test images: its figure is that of the images "
                  "that chose it, and flatters it.")]  # fmt: skip
    else:
        said = [_("No trial was finished, so there is no winner.")]
    counts = {state: count_of(search, state) for state in STATES}
    words = TRIED[bool(counts["pruned"]), bool(counts["failed"])]
    said.append(_(words, tried=len(search.tried), time=search.seconds, **counts))
    if best is not None:
        said.append(
            _(
                "Trial {number} won, by its {metric}: {value}.",
                number=best.number,
                metric=_(METRICS[search.metrics[0]]),
                value=value_words(search.metrics[0], best.values[0], _),
            )
        )
    return said


TRIED = {
    (False, False): N_(
        "{tried:count} settings were tried in {time:duration}; {finished:count} were trained to their end."
    ),
    (True, False): N_(
        "{tried:count} settings were tried in {time:duration}: {finished:count} were trained to their end, "
        "{pruned:count} stopped early because they fell behind."
    ),
    (False, True): N_(
        "{tried:count} settings were tried in {time:duration}: {finished:count} were trained to their end, "
        "{failed:count} failed."
    ),
    (True, True): N_(
        "{tried:count} settings were tried in {time:duration}: {finished:count} were trained to their end, "
        "{pruned:count} stopped early because they fell behind, {failed:count} failed."
    ),
}
"""(some were stopped early, some failed) → what is said of all."""


def count_of(search: Search, state: str) -> int:
    return sum(each.state == state for each in search.tried)


def figures(search: Search, _: Language) -> list[Figure]:
    """The numbers at the head, the chief one first."""
    found, verdict, metric = list[Figure](), search.verdict, search.metrics[0]
    if verdict is not None:
        low, high = verdict.interval
        found += [
            Figure(
                _("Winner, test images"), _.percent(verdict.accuracy), _("mean of {n:count} seeds", n=verdict.seeds)
            ),
            Figure(_("Default, test images"), _.percent(verdict.default_accuracy), _("the same seeds")),
            Figure(
                _("Difference in points"),
                _.points(verdict.accuracy - verdict.default_accuracy),
                _("95 % interval {low:points} to {high:points}", low=low, high=high),
            ),
            Figure(_("Chance alone"), _.p(verdict.p)),
        ]
    if search.best is not None:
        value = value_words(metric, search.best.values[0], _)
        found.append(Figure(_("Best trial, validation"), value, _("trial {n}", n=search.best.number)))
    found.append(Figure(_("Time"), _.duration(search.seconds), _("{n:count} trials", n=len(search.tried))))
    saved = epochs_saved(search)
    if saved:
        found.append(Figure(_("Epochs saved"), _.percent(saved, 0), _("by stopping early")))
    return found


def epochs_saved(search: Search) -> float:
    """Share of the epochs of all trials that were not trained because a trial was stopped early."""
    asked = trained = 0
    for each in search.tried:
        if each.state in ("finished", "pruned"):
            epochs = int(each.settings.get("epochs", search.base.epochs))
            asked += epochs
            trained += len(each.curve) if each.state == "pruned" else epochs
    return 1 - trained / asked if asked else 0.0


def value_words(metric: str, value: float, _: Language) -> str:
    """A figure of a metric as one reads it."""
    if metric.endswith("accuracy"):
        return _.percent(value)
    return _.decimal(value, 4) if metric.endswith("loss") else _.count(value)


def field_words(value: object, _: Language) -> str:
    """A value of a field as one reads it."""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, int):
        return _.count(value)
    if not isinstance(value, float):
        return str(value)
    power = floor(log10(abs(value))) if value else 0
    if power >= -4:
        return _.significant(value)
    raised = "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    front = _.significant(value / 10.0**power)
    return raised if front == "1" else f"{front}·{raised}"


def field_name(name: str) -> str:
    return name.replace("_", " ")


# Charts


def history(search: Search, _: Language) -> Drawing | None:
    """Every trial in order, with a stop for each."""
    metric = search.metrics[0]
    shown = [(each, value) for each in search.tried if (value := reached(each)) is not None]
    if not shown:
        return None
    steps = dict(best_so_far(search.tried, metric))
    low, high = frame(search.tried, metric)
    rows, points, best = [], [], ""
    for each, value in shown:
        best = value_words(metric, steps[each.number], _) if each.number in steps else best
        rows.append((str(each.number), value_words(metric, value, _), _(STATES[each.state]), best or "–"))
        points.append((float(each.number), (min(max(value, low), high),)))
    words = _("Each dot is a trial, hollow where it was stopped early; the line is the best finished one so far.")
    if any(not low <= value <= high for each, value in shown):
        words += " " + _("Triangles stand for trials that lie farther off.")
    columns = (_("trial"), _(METRICS[metric]), _("state"), _("best so far"))
    chart = Chart(
        history_chart(search.tried, metric, _), _("Trial by trial"), words, columns, tuple(rows), tuple(points)
    )
    return drawing(chart, "history", _)


def curves(search: Search, _: Language) -> Drawing | None:
    """The learning curves of the best trials, and of those stopped early, with a stop for each epoch."""
    metric = search.metrics[0]
    leaders = [each for each in ranked(search) if each.state == "finished" and each.curve][:LEADERS]
    stopped = [each for each in search.tried if each.state == "pruned" and each.curve]
    epochs = max((len(each.curve) for each in leaders), default=0)
    if epochs < 2:
        return None
    rows, points = [], []
    for epoch in range(epochs):
        values = [each.curve[epoch] if epoch < len(each.curve) else float("nan") for each in leaders]
        told = [value_words(metric, value, _) if isfinite(value) else "–" for value in values]
        rows.append((str(epoch + 1), *told))
        points.append((epoch + 1.0, tuple(values)))
    words = _(
        "The metric after each epoch: the winner in orange, the next best in blue, in grey those stopped early, each "
        "ending at a cross."
    )
    columns = (_("epoch"), *(_("trial {n}", n=each.number) for each in leaders))
    figure = curves_chart(leaders, stopped, metric, _)
    return drawing(Chart(figure, _("Epoch by epoch"), words, columns, tuple(rows), tuple(points)), "curves", _)


def front(search: Search, _: Language) -> Drawing | None:
    """The two metrics against each other, with a stop for each trial of the front."""
    if len(search.metrics) < 2 or not search.front:
        return None
    first, second = search.metrics
    low, high = frame(search.finished, first)
    ordered = sorted(search.front, key=lambda each: each.values[1])
    words = _(
        "Each dot is a finished trial. No trial beats those on the line, which bear their numbers, in both metrics."
    )
    chart = Chart(
        front_chart(search.finished, search.front, search.metrics, _),
        _("One against the other"),
        words,
        (_("trial"), _(METRICS[first]), _(METRICS[second])),
        tuple((str(each.number), *metric_words(each, search, _)) for each in ordered),
        tuple((each.values[1], (min(max(each.values[0], low), high),)) for each in ordered),
    )
    return drawing(chart, "front", _)


def metric_words(tried: Tried, search: Search, _: Language) -> list[str]:
    """Every metric of a trial; what it had where it was stopped early, a dash where it has none."""
    if tried.values:
        return [value_words(name, value, _) for name, value in zip(search.metrics, tried.values, strict=True)]
    last = reached(tried)
    return ["–" if last is None else value_words(search.metrics[0], last, _), *("–" for _name in search.metrics[1:])]


# Across the fields


def axes_of(search: Search, _: Language) -> list[Axis]:
    """An axis for each searched field, what explains most first, and one for the metric, its best above."""
    metric = search.metrics[0]
    worst, best = ends_of(search)
    places = (0.05, 0.5, 0.95)
    metric_ticks = tuple((place, value_words(metric, worst + place * (best - worst), _)) for place in places)
    found = []
    for name in ordered_fields(search):
        ticks = ticks_of(search.space.fields[name], _)
        found.append(Axis(field_name(name), ticks, tuple(apart(ticks)), search.importance.get(name)))
    return [*found, Axis(_(METRICS[metric]), metric_ticks)]


def ends_of(search: Search) -> tuple[float, float]:
    """The lower and the upper end of the metric's axis, where upwards is better."""
    low, high = frame(search.tried, search.metrics[0])
    return (high, low) if search.metrics[0] in LESS_IS_BETTER else (low, high)


def ordered_fields(search: Search) -> list[str]:
    return sorted(search.space.fields, key=lambda name: -search.importance.get(name, 0.0))


def ticks_of(where: Range | Options, _: Language) -> tuple[tuple[float, str], ...]:
    """The options, or both ends of a range and its middle; by logarithms the whole powers of ten between them."""
    if isinstance(where, Options):
        last = max(1, len(where.values) - 1)
        return tuple((place / last, field_words(value, _)) for place, value in enumerate(in_order(where)))
    ends = [where.low, where.high]
    inner = [10.0**k for k in range(-9, 10) if where.low < 10.0**k < where.high] if where.log else [sum(ends) / 2]
    return tuple(
        (float(place_of(value, where) or 0), field_words(float(value), _)) for value in sorted([*ends, *inner])
    )


def apart(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those of the ticks that can stand side by side: the first and the last, and between them what has room."""
    letters = 27  # as many as fit below a field
    kept = [ticks[0], ticks[-1]] if len(ticks) > 1 else list(ticks)
    for place, words in ticks[1:-1]:
        gaps = [abs(place - other) - (len(words) / 2 + len(text) * (1 if other in (0, 1) else 0.5)) / letters
                for other, text in kept]  # fmt: skip
        if min(gaps) > 0.03:
            kept.append((place, words))
    return sorted(kept)


def in_order(where: Options) -> list[Any]:
    """Numbers by their size, words as they stand."""
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in where.values)
    return sorted(where.values) if numeric else list(where.values)


def field_place(value: object, where: Range | Options) -> float | None:
    """Where a value lies on the axis of its field, 0 to 1."""
    if isinstance(where, Range):
        return place_of(value, where)
    values = in_order(where)
    return values.index(value) / max(1, len(values) - 1) if value in values else None


def lines_of(search: Search, _: Language) -> list[Line]:
    """The trials that reached something, the worst first, so that the best are drawn over the others."""
    metric = search.metrics[0]
    shown = [each for each in ranked(search) if reached(each) is not None][:MOST_LINES]
    worst, best = ends_of(search)
    lines = []
    for rank, each in enumerate(shown):
        value = reached(each)
        assert value is not None
        places = [field_place(each.settings.get(name), search.space.fields[name]) for name in ordered_fields(search)]
        end = min(1.0, max(0.0, (value - worst) / (best - worst)))
        told = [f"{field_name(name)} {field_words(each.settings[name], _)}" for name in ordered_fields(search)
                if name in each.settings]  # fmt: skip
        words = f"{_('trial {n}', n=each.number)}: {value_words(metric, value, _)} · {' · '.join(told)}"
        share = rank / max(1, len(shown) - 1)
        lines.append(Line(each.number, (*places, end), path_of([*places, end]), share, each.state == "finished", words))
    return lines[::-1]


STEP, HEIGHT = 120, 320
"""Pixels between two axes, and from their lower to their upper end."""


def path_of(places: Sequence[float | None]) -> str:
    """A curve through the places on the axes that leaves and meets each at a right angle, broken where one is None."""
    drawn, before = "", None
    for number, place in enumerate(places):
        if place is not None:
            x, y = STEP * number, HEIGHT * (1 - place)
            half = x - STEP / 2
            drawn += f"M{x} {y:.1f}" if before is None else f"C{half:g} {before:.1f} {half:g} {y:.1f} {x} {y:.1f}"
        before = None if place is None else HEIGHT * (1 - place)
    return drawn


def ranked(search: Search) -> list[Tried]:
    """Finished trials, the best first; then those stopped early by what they had; then the others."""
    sign = 1 if search.metrics[0] in LESS_IS_BETTER else -1
    order = list(STATES)

    def rank(each: Tried) -> tuple[int, float, float]:
        value = worth(each, search.metrics)[0] if each.values else sign * (reached(each) or 0.0)
        return order.index(each.state), value, each.loss

    return sorted(search.tried, key=rank)


# The winner, and the table


@dataclass(frozen=True)
class TableRow:
    """One trial in the table: its metrics and fields, each as (what sorts it, words)."""

    tried: Tried
    state: str
    best: bool
    on_front: bool
    metrics: tuple[tuple[float, str], ...]
    fields: tuple[tuple[object, str], ...]


def row_of(tried: Tried, search: Search, _: Language) -> TableRow:
    sorting = [*(tried.values or (reached(tried) or 0.0,)), 0.0, 0.0]
    words = metric_words(tried, search, _)
    values = [tried.settings.get(name) for name in ordered_fields(search)]
    return TableRow(
        tried,
        _(STATES[tried.state]),
        tried is search.best,
        len(search.metrics) > 1 and tried in search.front,
        tuple(zip(sorting, words, strict=False)),
        tuple((value, "–" if value is None else field_words(value, _)) for value in values),
    )


def winning_command(search: Search, source: str) -> list[str]:
    """The line that trains the winner's settings, word by word with their values; none where there is no winner."""
    if search.best is None:
        return []
    settings = search.base.changes() | search.best.settings
    if search.verdict is not None:
        settings |= search.verdict.winner
    default = asdict(Settings())
    options = [option(name, value) for name, value in settings.items() if value != default[name]]
    return ["guarismo train", shlex.quote(source), *options]


def option(name: str, value: object) -> str:
    """A field of Settings as the command line takes it: --learning-rate 0.004, --mirror, --no-mirror."""
    words = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{words}" if value else f"--no-{words}"
    return f"--{words} {shlex.quote(str(value))}"


def compared(search: Search, _: Language) -> list[tuple[str, str, str, bool]]:
    """Each searched field: its name, the winner's value, the default's, and whether they differ."""
    if search.best is None:
        return []
    chosen = search.verdict.winner if search.verdict is not None else search.best.settings
    default = asdict(search.base)
    return [
        (field_name(name), field_words(chosen[name], _), field_words(default[name], _), chosen[name] != default[name])
        for name in ordered_fields(search)
        if name in chosen
    ]
