"""Arrays → Figure: every chart of the report, and the way into the page.

No pyplot, no window, nothing left behind in memory.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO, StringIO
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from guarismo.errors import RunError
from guarismo.language import ENGLISH, N_, NARROW, Language
from guarismo.models.runs import write_out
from guarismo.results.evaluation import Reliability

INK = "#0a0b0c"
"""Stands for the page's text colour: `as_svg` turns it into currentColor."""
TRAIN, VALIDATION = "#0072b2", "#d55e00"
"""Of the palette for all eyes of Okabe & Ito (2008), the ones with contrast above 3 : 1 on white and on black."""
TEXT = 10.5

PAGE_COLOURS = {
    INK: "currentColor",
    TRAIN: f"var(--training, {TRAIN})",
    VALIDATION: f"var(--validation, {VALIDATION})",
}
"""What `as_svg` writes instead, so that one drawing serves light and dark pages."""

MEASURES = {
    "loss": ("loss", "validation_loss", N_("loss")),
    "accuracy": ("accuracy", "validation_accuracy", N_("accuracy")),
}
"""Name → the column of training, the column of validation, the words on the axis."""


class CellFigure(Figure):
    """Shows itself at the end of a notebook's cell, as figures of pyplot do, without pyplot or `%matplotlib inline`."""

    def _repr_png_(self) -> bytes:
        return drawn_as(self, "png", facecolor="white")


def new_figure(width: float = 4.6, height: float = 3.1) -> tuple[Figure, Axes]:
    """An empty figure (inches) with quiet axes, drawn in `INK`."""
    figure = CellFigure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=INK, alpha=0.35, linewidth=0.8)
    axes.tick_params(colors=INK, labelsize=TEXT, length=3, width=0.8)
    return figure, axes


def learning_curves(
    history: Sequence[Mapping[str, float]],
    measure: str = "loss",
    kept: int | None = None,
    turn: int | None = None,
    _: Language = ENGLISH,
) -> Figure:
    """Training and validation over the epochs; `kept` marks the epoch whose weights became the model,
    `turn` the one after which the validation loss rises. `_` translates, here and below."""
    train, validation, words = MEASURES[measure]
    figure, axes = new_figure()
    epochs = [row["epoch"] for row in history]
    ends = []
    for name, column, colour, style in (
        (_("training"), train, TRAIN, (0, (4, 2))),
        (_("validation"), validation, VALIDATION, "solid"),
    ):
        values = [row[column] for row in history]
        axes.plot(epochs, values, color=colour, linestyle=style, linewidth=1.8, marker="o", markersize=2.8)
        ends.append((name, next((value for value in reversed(values) if isfinite(value)), float("nan"))))
    if measure == "loss" and min(row[column] for row in history for column in (train, validation)) > 0:
        axes.set_yscale("log")  # the first epoch is ten times the last: on a linear scale the end is a flat line
        axes.yaxis.set_major_formatter(numbers(_))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.minorticks_off()
    mark_epochs(axes, {_("kept"): kept, _("turn"): turn if measure == "loss" and turn != kept else None})
    label_ends(axes, epochs[-1], [(name, value) for name, value in ends if isfinite(value)])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlabel(_("epoch"), color=INK, size=TEXT)
    axes.set_ylabel(_(words), color=INK, size=TEXT)
    if measure == "accuracy":
        axes.yaxis.set_major_formatter(percents(_))
    elif axes.yaxis.get_scale() != "log":
        axes.yaxis.set_major_formatter(numbers(_))
    return figure


def percents(_: Language) -> FuncFormatter:
    """The numbers of an axis of shares, as the language writes them."""

    def write(value: float, place: int | None) -> str:  # noqa: ARG001  Matplotlib gives both
        return f"{_.significant(100 * value, 5)}{NARROW}%"

    return FuncFormatter(write)


def numbers(_: Language) -> FuncFormatter:
    """The numbers of an axis, as the language writes them."""

    def write(value: float, place: int | None) -> str:  # noqa: ARG001
        return _.significant(value)

    return FuncFormatter(write)


def mark_epochs(axes: Axes, marks: Mapping[str, int | None]) -> None:
    """Thin vertical lines with their words above the axes, the left one's to the left of its line."""
    present = sorted((epoch, words) for words, epoch in marks.items() if epoch is not None)
    for position, (epoch, words) in enumerate(present):
        axes.axvline(epoch, color=INK, linewidth=1, alpha=0.5, linestyle=(0, (1, 2)))
        side = "center" if len(present) == 1 else ("right", "left")[position]
        axes.text(epoch, 1.01, words, transform=axes.get_xaxis_transform(), ha=side, va="bottom", size=TEXT, color=INK)


def label_ends(axes: Axes, x: float, ends: Sequence[tuple[str, float]]) -> None:
    """Each line's name beside its last point, moved apart where two of them would touch."""
    heights = [float(axes.transLimits.transform(axes.transScale.transform((x, value)))[1]) for name, value in ends]
    places: list[float] = []
    names = [name for name, value in ends]
    for height, name in sorted(zip(heights, names, strict=True), key=lambda item: item[0]):
        places.append(max(height, places[-1] + 0.09) if places else height)
        axes.annotate(
            name,
            (x, places[-1]),
            (7, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="center",
            size=TEXT,
            color=INK,
            annotation_clip=False,
        )


def confusion_chart(confusion: NDArray[np.int64], class_names: Sequence[str], _: Language = ENGLISH) -> Figure:
    """A confusion matrix (k, k) as a picture, for more classes than a table can show: right answers in blue, errors in
    orange, the deeper the more (square root, so that single errors are seen)."""
    classes = len(class_names)
    figure, axes = new_figure(6.4, 6.0)
    diagonal = np.eye(classes, dtype=bool)
    for part, colour in ((diagonal, TRAIN), (~diagonal, VALIDATION)):
        depth = np.sqrt(np.where(part, confusion, 0))
        shades = LinearSegmentedColormap.from_list("shades", [f"{colour}00", colour])
        axes.imshow(depth, cmap=shades, vmin=0, vmax=max(1.0, float(depth.max())), interpolation="nearest")
    ticks = range(0, classes, -(-classes // 30))
    names = [literal(class_names[k]) for k in ticks]
    axes.set_xticks(ticks, names, rotation=90)
    axes.set_yticks(ticks, names)
    axes.tick_params(labelsize=7)
    axes.set_xlabel(_("answer"), color=INK, size=TEXT)
    axes.set_ylabel(_("true class"), color=INK, size=TEXT)
    return figure


def literal(name: str) -> str:
    """The name as it stands: Matplotlib would read what is between two dollar signs as a formula, and draw the marks
    around a name from right to left."""
    return name.replace("$", r"\$").strip("\u2068\u2069")


def reliability_chart(reliability: Reliability, _: Language = ENGLISH) -> Figure:
    """Accuracy against confidence, one dot per bin, as large as the bin is full; on the diagonal it keeps its word."""
    figure, axes = new_figure()
    filled = reliability.counts > 0
    sizes = 12 + 130 * np.sqrt(reliability.counts[filled] / reliability.counts.sum())
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.45, linewidth=1, linestyle=(0, (4, 3)))
    confidence, accuracy = reliability.confidence[filled], reliability.accuracy[filled]
    axes.plot(confidence, accuracy, color=TRAIN, linewidth=1.2, alpha=0.6)
    axes.scatter(confidence, accuracy, sizes, color=TRAIN, linewidths=0, zorder=3, clip_on=False)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    for axis, words in ((axes.xaxis, _("confidence")), (axes.yaxis, _("right answers"))):
        axis.set_major_formatter(percents(_))
        axis.set_label_text(words, color=INK, size=TEXT)
    axes.annotate(_("too modest"), (0.04, 0.94), size=TEXT, color=INK, va="top")
    axes.annotate(_("too sure"), (0.98, 0.06), size=TEXT, color=INK, ha="right")
    return figure


def rate_chart(rates: NDArray[np.float64], losses: NDArray[np.float64], rate: float, _: Language = ENGLISH) -> Figure:
    """Loss against step size, both as logarithms, the step size to train with marked."""
    figure, axes = new_figure()
    axes.plot(rates, losses, color=TRAIN, linewidth=1.6)
    axes.axvline(rate, color=INK, alpha=0.45, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xscale="log", yscale="log")
    axes.annotate(_.significant(rate), (rate, losses.max()), (5, 0), textcoords="offset points", size=TEXT, color=INK)
    axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=numbers(_), minor_formatter="")
    for axis, words in ((axes.xaxis, _("step size")), (axes.yaxis, _("loss"))):
        axis.set_label_text(words, color=INK, size=TEXT)
    return figure


def sample_grid(images: NDArray[np.uint8], row_names: Sequence[str]) -> Figure:
    """Images uint8 (rows, columns, h, w, c), one named row per class."""
    rows, columns, height, width, channels = images.shape
    picture = images.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    figure, axes = new_figure(0.5 * columns + 1.2, 0.5 * rows)
    axes.imshow(picture.squeeze(-1) if channels == 1 else picture, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks((np.arange(rows) + 0.5) * height - 0.5, [literal(name) for name in row_names])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """The figure as a file of its own, on white. Raises RunError for another suffix, or where it cannot be written."""
    path = picture_place(path)
    figure.set_facecolor("white")
    write_out(path, drawn_as(figure, path.suffix.removeprefix("."), dpi=150))


def picture_place(path: str | Path) -> Path:
    """Where a picture goes. Raises RunError for a suffix of none that we draw."""
    path = Path(path)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise RunError(f"A picture's name must end in .png, .svg or .pdf, received {path.name or path}.")
    return path


def drawn_as(figure: Figure, format: str, **options: Any) -> bytes:
    """The figure as a file's content. A letter that the font lacks stands as a box, without Matplotlib's warning."""
    memory = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(memory, format=format, **options)
    return memory.getvalue()


def as_svg(figure: Figure, name: str = "") -> str:
    """The figure as an <svg> element for inlining: the page's font and text colour, no background, ids of its own.

    `name` tells apart two equal figures on one page.
    """
    file = StringIO()
    # fonttype none keeps text as text: selectable, searchable, read aloud. A fixed salt: same figure, same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "guarismo"}):
        metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'^<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text)
    # Matplotlib 3.10 writes "font: 9px 'DejaVu Sans', …", 3.11 the size and the family apart.
    text = re.sub(r"font: ([^;\"]*?)([\d.]+px) [^;\"]*", r"font-size: \2; font-family: inherit", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    for drawn, written in PAGE_COLOURS.items():
        text = text.replace(drawn, written)
    return own_ids(text.replace("xlink:href", "href"), name)


def places(figure: Figure, points: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """Where points of the first axes lie in the <svg> that `as_svg` made of the figure, float (n, 2), in its units."""
    width, height = figure.get_size_inches() * 72
    spots = figure.axes[0].transData.transform(points) / figure.bbox.size
    return np.column_stack([spots[:, 0] * width, (1 - spots[:, 1]) * height])


def own_ids(svg: str, name: str) -> str:
    """Each id that is referred to gets a prefix from the content; the others are dropped."""
    prefix = "c" + hashlib.sha256((name + svg).encode()).hexdigest()[:8]
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", svg)
