"""HTML that values show themselves with in a notebook, at home on light and dark pages.

`Markup` escapes whatever `format` fills into it, but for other Markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

TRAIN, VALIDATION = "#0072b2", "#d55e00"
"""As in results/charts.py: contrast above 3 : 1 on white and on black."""
EMPTY = Markup()
WIDTH, HEIGHT, EDGE = 220, 64, 5
"""Of a sparkline, in pixels."""


def concat(parts: Iterable[str], between: Markup = EMPTY) -> Markup:
    """The parts, each escaped unless it is Markup."""
    return between.join(parts)


def table(headings: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """A table whose first column names the rows; the others stand to the right, as notebooks set them."""
    head = row(headings, Markup('<th scope="col">{}</th>'), "col")
    body = concat(row(cells, Markup("<td>{}</td>")) for cells in rows)
    return Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(head, body)


def row(cells: Sequence[object], cell: Markup, scope: str = "row") -> Markup:
    first, *others = cells
    heading = Markup('<th scope="{}" style="text-align:left">{}</th>').format(scope, first)
    return Markup("<tr>{}{}</tr>").format(heading, concat(cell.format(each) for each in others))


def named(text: str, most: int = 30) -> Markup:
    """A name of any length and direction, cut to `most` characters; the pointer shows the whole."""
    if len(text) <= most:
        return Markup("<bdi>{}</bdi>").format(text)
    return Markup('<bdi title="{}">{}…</bdi>').format(text, text[: most - 1])


def sparkline(
    title: str, training: Sequence[float], validation: Sequence[float], mark: int | None = None, log: bool = False
) -> Markup:
    """Two lines over the epochs as a small picture: training dashed, validation solid; `mark` an epoch (from 1).

    Values that are no numbers are left out; nothing is drawn where none is left.
    """
    values = [value for value in (*training, *validation) if math.isfinite(value)]
    if not values:
        return EMPTY
    scale = math.log10 if log and min(values) > 0 else float
    low, high = scale(min(values)), scale(max(values))
    step = (WIDTH - 2 * EDGE) / max(1, len(training) - 1)

    def place(index: int, value: float) -> str:
        height = (scale(value) - low) / (high - low or 1)
        return f"{EDGE + index * step:.1f},{HEIGHT - EDGE - height * (HEIGHT - 2 * EDGE):.1f}"

    lines = [
        drawn([place(index, value) for index, value in enumerate(line) if math.isfinite(value)], colour, dashes)
        for line, colour, dashes in ((training, TRAIN, "4 2"), (validation, VALIDATION, "none"))
    ]
    if mark is not None and 1 <= mark <= len(training):
        x = f"{EDGE + (mark - 1) * step:.1f}"
        upright = Markup('<line x1="{}" x2="{}" y1="0" y2="{}" stroke="currentColor" opacity=".4"/>')
        lines.append(upright.format(x, x, HEIGHT))
    return Markup('<svg width="{}" height="{}" role="img" aria-label="{}" fill="none">{}</svg>').format(
        WIDTH, HEIGHT, title, concat(lines)
    )


def drawn(points: Sequence[str], colour: str, dashes: str) -> Markup:
    """A line through points "x,y"; a dot where there is one only."""
    if len(points) == 1:
        return Markup('<circle cx="{}" cy="{}" r="2.5" fill="{}"/>').format(*points[0].split(","), colour)
    line = Markup('<polyline points="{}" stroke="{}" stroke-width="1.6" stroke-dasharray="{}"/>')
    return line.format(" ".join(points), colour, dashes)
