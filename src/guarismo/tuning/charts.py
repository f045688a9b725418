"""Trials → Figure: the charts of a search."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from guarismo.language import ENGLISH, N_, Language
from guarismo.results.charts import INK, TEXT, TRAIN, VALIDATION, literal, new_figure, numbers, percents
from guarismo.tuning.search import Tried
from guarismo.tuning.settings import LESS_IS_BETTER

METRICS = {
    "validation_accuracy": N_("validation accuracy"),
    "validation_loss": N_("validation loss"),
    "parameters": N_("parameters"),
    "images_per_second": N_("images a second"),
}
"""Metric → its words on an axis."""
SPREAD = 3.0
"""How many times farther than the middle trial a trial may lie from the best to be drawn where it is: those that learnt
nothing would press all the others into one line."""


def history_chart(tried: Sequence[Tried], metric: str, _: Language = ENGLISH) -> Figure:
    """The metric of each trial in order, finished ones filled, those stopped early hollow at their last figure, and the
    best so far as a line. What lies below the frame stands on its edge, as a triangle."""
    figure, axes = new_figure(7.2, 3.3)
    shown = [(each, value) for each in tried if (value := reached(each)) is not None]
    low, high = frame(tried, metric)
    for state, fill in (("pruned", "none"), ("finished", TRAIN)):
        points = [(each.number, value) for each, value in shown if each.state == state]
        inside = [(x, y) for x, y in points if low <= y <= high]
        axes.scatter(*columns(inside), s=26, facecolors=fill, edgecolors=TRAIN, linewidths=1.1, zorder=3, clip_on=False)
        outside = [(x, low if y < low else high) for x, y in points if not low <= y <= high]
        mark = "^" if metric in LESS_IS_BETTER else "v"
        axes.scatter(*columns(outside), s=24, marker=mark, facecolors=fill, edgecolors=TRAIN, clip_on=False, zorder=3)
    steps = best_so_far(tried, metric)
    if steps:
        xs, ys = columns([*steps, (tried[-1].number, steps[-1][1])])
        axes.step(xs, ys, where="post", color=VALIDATION, linewidth=2, zorder=2)
        axes.annotate(
            _("best so far"), (xs[-1], ys[-1]), (6, 0), textcoords="offset points", va="center", size=TEXT, color=INK,
            annotation_clip=False,
        )  # fmt: skip
    axes.set_ylim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    name_axes(axes, _("trial"), metric, _)
    return figure


def curves_chart(leaders: Sequence[Tried], stopped: Sequence[Tried], metric: str, _: Language = ENGLISH) -> Figure:
    """The metric after each epoch: of the best trials (the first in orange), and faintly of those stopped early."""
    figure, axes = new_figure(7.2, 3.3)
    for each in stopped:
        epochs = range(1, len(each.curve) + 1)
        axes.plot(epochs, each.curve, color=INK, alpha=0.22, linewidth=1)
        axes.plot(epochs[-1], each.curve[-1], marker="x", markersize=4, color=INK, alpha=0.4)
    for place, each in reversed(list(enumerate(leaders))):
        colour, width = (VALIDATION, 2.2) if place == 0 else (TRAIN, 1.3)
        epochs = range(1, len(each.curve) + 1)
        axes.plot(epochs, each.curve, color=colour, linewidth=width, marker="o", markersize=2.8, zorder=3)
    if leaders:
        best = leaders[0]
        axes.annotate(
            _("trial {n}", n=best.number), (len(best.curve), best.curve[-1]), (7, 0), textcoords="offset points",
            va="center", size=TEXT, color=INK, annotation_clip=False,
        )  # fmt: skip
    stretch(axes, metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    name_axes(axes, _("epoch"), metric, _)
    return figure


def front_chart(
    finished: Sequence[Tried], front: Sequence[Tried], metrics: Sequence[str], _: Language = ENGLISH
) -> Figure:
    """The first metric against the second (its logarithm), the trials that no other beats in both joined by a line."""
    figure, axes = new_figure(7.2, 3.6)
    low, high = frame(finished, metrics[0])
    points = [(each.values[1], min(max(each.values[0], low), high)) for each in finished]
    axes.scatter(*columns(points), s=24, color=TRAIN, alpha=0.55, linewidths=0, zorder=2, clip_on=False)
    ordered = sorted(front, key=lambda each: each.values[1])
    kept = [(each.values[1], min(max(each.values[0], low), high)) for each in ordered]
    axes.plot(*columns(kept), color=VALIDATION, linewidth=1.4, alpha=0.8, zorder=3, drawstyle="steps-post")
    axes.scatter(*columns(kept), s=42, color=VALIDATION, linewidths=0, zorder=4, clip_on=False)
    for each, spot in zip(ordered, kept, strict=True):
        axes.annotate(str(each.number), spot, (4, 5), textcoords="offset points", size=TEXT - 1.5, color=INK)
    axes.set_xscale("log")
    axes.set_ylim(low, high)
    axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=counts(_))
    axes.minorticks_off()
    name_axes(axes, _(METRICS[metrics[1]]), metrics[0], _)
    return figure


def counts(_: Language) -> FuncFormatter:
    """Whole numbers of an axis, as the language writes them."""

    def write(value: float, place: int | None) -> str:  # noqa: ARG001  Matplotlib gives both
        return _.count(value)

    return FuncFormatter(write)


def name_axes(axes: Axes, across: str, metric: str, _: Language) -> None:
    axes.set_xlabel(across, color=INK, size=TEXT)
    axes.set_ylabel(literal(_(METRICS[metric])), color=INK, size=TEXT)
    axes.yaxis.set_major_formatter(percents(_) if metric.endswith("accuracy") else numbers(_))


def stretch(axes: Axes, metric: str) -> None:
    """An axis on which a halved error, or loss, is the same step everywhere: first epochs and last ones are seen."""
    if not metric.endswith("accuracy"):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.minorticks_off()
        return
    axes.set_yscale("function", functions=(nines, shares))
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(FixedLocator([share for share in ROUND_SHARES if low <= share <= high]))


ROUND_SHARES = (0, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)
LEAST_ERROR = 1e-4


def nines(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """0.9 → 1, 0.99 → 2."""
    return np.asarray(-np.log10(np.maximum(LEAST_ERROR, 1 - np.asarray(share))))


def shares(nines: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 - 10.0 ** -np.asarray(nines))


def columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, y in points], [y for x, y in points]


def reached(tried: Tried) -> float | None:
    """The first metric of a trial: what it finished with, or the last that it had where it was stopped early."""
    if tried.values:
        return tried.values[0]
    return tried.curve[-1] if tried.curve and tried.state == "pruned" else None


def best_so_far(tried: Sequence[Tried], metric: str) -> list[tuple[float, float]]:
    """(number, value) of each finished trial that was better than all before."""
    sign = 1 if metric in LESS_IS_BETTER else -1
    best, steps = inf, []
    for each in tried:
        if each.state == "finished" and sign * each.values[0] < best:
            best = sign * each.values[0]
            steps.append((float(each.number), each.values[0]))
    return steps


def frame(tried: Sequence[Tried], metric: str) -> tuple[float, float]:
    """The ends of an axis of the first metric: from the best trial to SPREAD times as far as the middle one of those
    that finished, or to the worst of all if that is nearer."""
    sign = 1 if metric in LESS_IS_BETTER else -1
    every = [value for each in tried if (value := reached(each)) is not None]
    if not every:
        return 0.0, 1.0
    ordered = sorted([each.values[0] for each in tried if each.values] or every, key=lambda value: sign * value)
    best, worst = sorted((min(every), max(every)), key=lambda value: sign * value)
    far = best + SPREAD * (ordered[len(ordered) // 2] - best)
    far = min(far, worst) if best < worst else max(far, worst)
    far = worst if far == best else far
    room = 0.06 * abs(far - best) or 0.01
    return min(best, far) - room, max(best, far) + room
