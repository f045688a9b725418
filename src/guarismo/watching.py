"""Curves in the terminal while a network trains: a listener to its progress, as `showing` is, with a memory."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from rich.console import Group
from rich.text import Text

from guarismo.errors import MissingExtraError
from guarismo.progress import Progress
from guarismo.terminal import err, percent, warn

History = Sequence[Mapping[str, float]]
Points = list[tuple[float, float]]

TRAIN, VALIDATION = (0, 114, 178), (213, 94, 0)
"""As in results/charts.py: contrast above 3 : 1 on black and on white."""
MARKS = {"training": ("⎯⎯", TRAIN), "validation": ("⎯●", VALIDATION)}
SIDE_BY_SIDE = 72
"""Columns from which on the two charts stand beside each other."""
HIGHEST = 16
"""Rows of a chart at most; wider than high, a slope is easier to judge."""
LEAST = 30, 10
"""A terminal of fewer columns or rows gets the line alone."""
TICKS = 4


@dataclass
class Heard:
    """What was heard of a training: its finished epochs, the facts of the latest call, how far it is.

    began: when (seconds of `time.monotonic`); first: when the first call came, and what was done by then.
    """

    title: str
    rows: list[Mapping[str, float]]
    facts: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    first: tuple[float, int] = (0.0, 0)
    done: int = 0
    total: int = 0
    ended: bool = False


@contextmanager
def watching(title: str, history: History = ()) -> Iterator[Progress]:
    """Loss and accuracy as curves on stderr while the block trains; the last picture stays.

    A line for each epoch where stderr is no terminal. `history`: the epochs that a resumed training has behind it.
    Raises MissingExtraError where plotext is not installed.
    """
    if not find_spec("plotext"):
        raise MissingExtraError("--watch", "train")
    heard = Heard(title, list(history))
    if not err.is_terminal or err.is_dumb_terminal:
        yield lambda done, total, **facts: tell(hear(heard, done, total, facts))
        return
    from rich.live import Live

    def drawn() -> Group | Text:
        return picture(heard, *err.size)

    def listen(done: int, total: int, **facts: object) -> None:
        hear(heard, done, total, facts)  # drawn four times a second, however often it is called

    with Live(get_renderable=drawn, console=err, redirect_stdout=False, vertical_overflow="crop"):
        try:
            yield listen
        finally:
            heard.ended = True  # leaving the block draws once more


def hear(heard: Heard, done: int, total: int, facts: dict[str, Any]) -> Heard:
    """Keep what a call of `Progress` tells."""
    if not heard.total:
        heard.first = time.monotonic(), done
    heard.done, heard.total, heard.facts = done, total, facts
    if "validation_loss" in facts:
        heard.rows.append(facts)
    return heard


def tell(heard: Heard) -> None:
    """A line for an epoch that has just ended."""
    row = heard.facts
    if "validation_loss" in row:
        warn(
            f"{heard.title}: epoch {row['epoch']:.0f} of {row['epochs']}: loss {row['loss']:.4f}, "
            f"accuracy {percent(row['accuracy'])}, validation loss {row['validation_loss']:.4f}, "
            f"accuracy {percent(row['validation_accuracy'])}; {clock(heard)}"
        )


def clock(heard: Heard) -> str:
    """Time since the beginning, and how much more there may be."""
    now, (first, before) = time.monotonic(), heard.first
    words = str(timedelta(seconds=round(now - heard.began)))
    if heard.ended or not before < heard.done < heard.total:
        return words
    left = (now - first) * (heard.total - heard.done) / (heard.done - before)
    return f"{words}, {timedelta(seconds=round(left))} left"


def picture(heard: Heard, width: int, height: int) -> Group | Text:
    """Two charts, and below them a line, for a terminal of `width` columns and `height` rows."""
    line = status(heard)
    if width < LEAST[0] or height < LEAST[1] or not curve(heard, "loss"):
        return line
    charts = ("loss", "accuracy")
    if width >= SIDE_BY_SIDE:
        rows = min(HIGHEST, height - 4)
        both = [chart(heard, measure, width // 2, rows) for measure in charts]
        drawn = [Text.assemble(*pair) for pair in zip(*both, strict=True)]
    else:
        shown = charts if height >= 2 * LEAST[1] else charts[:1]
        rows = min(HIGHEST, (height - 3) // len(shown))
        drawn = [row for measure in shown for row in chart(heard, measure, width, rows)]
    legend = Text("   ").join(Text(f"{mark} {name}", style=colour(rgb)) for name, (mark, rgb) in MARKS.items())
    parts = [*drawn, legend, line]
    for part in parts:
        part.no_wrap, part.overflow = True, "crop"
    return Group(*parts)


def status(heard: Heard) -> Text:
    """How far it is, in a line: what matters most first, for a narrow terminal cuts the rest."""
    facts, words = heard.facts, [heard.title]
    if "epoch" in facts:
        words.append(f"epoch {facts['epoch']:.0f} of {facts['epochs']}")
    words.append(clock(heard))
    if heard.total and not heard.ended:  # a training that stopped early would end with 35 %
        words.append(f"{100 * heard.done // heard.total} %")
        words += [f"step {facts['step']} of {facts['steps']}"] if "step" in facts else []
    return Text(" · ".join(words), no_wrap=True, overflow="ellipsis")


def colour(rgb: tuple[int, int, int]) -> str:
    return f"rgb({','.join(map(str, rgb))})"


def curve(heard: Heard, column: str) -> Points:
    """The column's value at the end of each epoch, and where the present one is."""
    points = [(float(row["epoch"]), float(row[column])) for row in heard.rows]
    facts = heard.facts
    if "step" in facts and not column.startswith("validation") and math.isfinite(facts[column]):
        points.append((facts["epoch"] - 1 + facts["step"] / facts["steps"], float(facts[column])))
    return points


def chart(heard: Heard, measure: str, width: int, height: int) -> list[Text]:
    """Rows of text: the figures of now, and both curves of a measure below them."""
    lines = curve(heard, measure), curve(heard, f"validation_{measure}")
    heading = Text(measure, style="bold")
    for line, (mark, rgb) in zip(lines, (MARKS["training"], MARKS["validation"]), strict=True):
        if line:
            value = line[-1][1]
            heading.append(f"  {mark} {value:.4f}" if measure == "loss" else f"  {mark} {percent(value)}", colour(rgb))
    heading.truncate(width, pad=True)
    present = lines[0][-1][0]
    last = shown_epochs(present, heard.facts.get("epochs", present))
    return [heading, *plotted(*lines, measure, last, width, height - 1)]


def shown_epochs(present: float, last: float) -> float:
    """How far the axis goes: ten epochs, then twenty, forty, … until all of them are shown."""
    doublings = max(0, math.ceil(math.log2(max(present, 1) / 10)))
    return min(last, 10 * float(1 << doublings))


def plotted(training: Points, validation: Points, measure: str, last: float, width: int, height: int) -> list[Text]:
    """The curves as rows of text, drawn by plotext; the loss as logarithms, as on the report's page."""
    from plotext import figure, marker

    values = [value for _, value in (*training, *validation)]
    log = measure == "loss" and min(values) > 0
    scale = math.log10 if log else float
    low, high = scale(min(values)), scale(max(values))
    high = max(high, low + 1e-6)
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("colorless")
    for points, rgb, symbol in (
        (training, TRAIN, "braille"),
        (validation, VALIDATION, "braille"),
        (validation, VALIDATION, "●"),
    ):
        if points:
            # A point to a column: a thousand of them took 0.13 s to draw, four times a second.
            points = points[:: 1 + len(points) // width] + points[-1:]
            places = [epoch for epoch, _ in points], [scale(value) for _, value in points]
            figure.draw(figure.signal(*places, marker=marker(symbol, rgb)).lines(symbol != "●"))
    steps = [low + (high - low) * part / (TICKS - 1) for part in range(TICKS)]
    words = [f"{10**step if log else step:.3g}" if measure == "loss" else f"{100 * step:.1f} %" for step in steps]
    figure.ruler("y").lim(low, high).ticks(steps, words)
    epochs = sorted({round(1 + (last - 1) * part / TICKS) for part in range(TICKS + 1)})
    figure.ruler("x").lim(0, last).ticks(epochs, [str(epoch) for epoch in epochs])
    return list(Text.from_ansi(figure.build().string()).split("\n"))
