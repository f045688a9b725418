"""Explanations → Figure: each image, what speaks for its answer, the nearest training images, and what changes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from guarismo.language import ENGLISH, Language
from guarismo.models.runs import Run
from guarismo.results.charts import INK, TRAIN, VALIDATION, CellFigure, literal
from guarismo.results.why import Explanation, flip_words

TALL = 1.75
"""Inches of one explanation."""
FAINT = 0.01
"""Where no pixel brings more probability than this, all of them are drawn fainter: the rest is chance."""
LONGEST, IN_A_LINE = 18, 40
"""Letters of a class name above a picture, and in a line of its own."""


def why_figure(explanations: Sequence[Explanation], run: Run, _: Language = ENGLISH) -> Figure:
    """A row for each explanation: the image, what speaks for its answer and for the other class, its neighbours."""
    near = max((len(each.neighbours) for each in explanations), default=0)
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, hspace=0.03)
    figure = CellFigure(figsize=((3 + near) * across(*run.shape[:2]), TALL * len(explanations) + 0.5), layout=layout)
    rows = figure.subfigures(len(explanations), 1, squeeze=False)[:, 0]
    for row, each in zip(rows, explanations, strict=True):
        axes = row.subplots(1, 3 + near, squeeze=False)[0]
        for cell in axes:
            cell.set_axis_off()
        draw(axes, each, run, _)
        row.suptitle(headline(each, run, _), x=0.01, ha="left", size=9, color=INK)
        row.supxlabel(change(each, run, _), x=0.01, ha="left", size=8.5, color=INK)
    figure.supxlabel(
        _("Blue: seeing it speaks for the class. Orange: seeing it speaks against it."),
        x=0.01,
        ha="left",
        size=8.5,
        color=INK,
    )
    return figure


def across(height: int, width: int) -> float:
    """Inches from one picture to the next."""
    return 1.3 * min(2.5, max(1.0, width / height))


def headline(explanation: Explanation, run: Run, _: Language) -> str:
    """The image by its number, and how it was answered."""
    names = run.class_names
    texts = {
        True: _(
            "Test image {index}: {label}, taken for {answer}",
            index=explanation.index,
            label=short_name(names[explanation.label], IN_A_LINE),
            answer=short_name(names[explanation.answer], IN_A_LINE),
        ),
        False: _(
            "Test image {index}: {label}, answered right",
            index=explanation.index,
            label=short_name(names[explanation.label], IN_A_LINE),
        ),
    }
    return texts[explanation.wrong]


def change(explanation: Explanation, run: Run, _: Language) -> str:
    """The smallest move that changes the answer, or that none does."""
    names = [short_name(name, IN_A_LINE) for name in run.class_names]
    return explanation.flip.sentence(names, _) if explanation.flip else flip_words(None, run, _)


def draw(axes: Sequence[Axes], explanation: Explanation, run: Run, _: Language) -> None:
    """One explanation into its row of axes."""
    first, answer, other, *rest = axes
    names = [short_name(name) for name in run.class_names]
    put(first, as_rgb(explanation.image), _("image"))
    put(
        answer,
        heated(explanation.image, explanation.map),
        _("for {name}, {share:percent}", name=names[explanation.answer], share=explanation.confidence),
    )
    put(
        other,
        heated(explanation.image, explanation.other_map),
        _("for {name}, {share:percent}", name=names[explanation.other], share=explanation.other_confidence),
    )
    for cell, image, label in zip(rest, explanation.neighbour_images, explanation.neighbour_labels, strict=False):
        put(cell, as_rgb(image), _("learnt as {name}", name=names[label]))


def put(axes: Axes, pixels: NDArray[np.float64], words: str) -> None:
    axes.imshow(pixels, interpolation="nearest")
    # A letter is 0.6 times as wide as high: smaller ones where the words would run into those of the next picture.
    room = 72 * across(*pixels.shape[:2]) / len(words)
    axes.set_title(words, size=min(8, room / 0.6), color=INK, pad=3)


def short_name(name: str, most: int = LONGEST) -> str:
    return literal(name if len(name) <= most else name[: most - 1] + "…")


def as_rgb(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """An image uint8 (h, w, c) as RGB in [0, 1], (h, w, 3)."""
    return np.broadcast_to(image / 255, (*image.shape[:2], 3))


def heated(image: NDArray[np.uint8], attribution: NDArray[np.float32]) -> NDArray[np.float64]:
    """The image in pale grey with its attribution (h, w) over it: the strongest pixel of either sign is opaque, unless
    even that one is FAINT."""
    grey = as_rgb(image).mean(axis=2, keepdims=True)
    pale = 0.25 + 0.5 * grey
    strength = np.abs(attribution) / max(FAINT, float(np.abs(attribution).max()))
    colour = np.where(attribution[..., None] >= 0, colour_of(TRAIN), colour_of(VALIDATION))
    return np.asarray(pale + strength[..., None] * (colour - pale))


def colour_of(name: str) -> NDArray[np.float64]:
    """'#rrggbb' as RGB in [0, 1]."""
    return np.array([int(name[place : place + 2], 16) / 255 for place in (1, 3, 5)])
