"""Runs + Dataset → a report in any of FORMATS: one Account, written as a page, a paper, Markdown or a notebook."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset
from guarismo.errors import RunError, unknown
from guarismo.language import ENGLISH, Language
from guarismo.models.runs import Run, write_out
from guarismo.progress import Progress, silent
from guarismo.results.account import MOST_TABLE_CLASSES, Account, Chapter, Chart, Confusion, Shot, Why, account
from guarismo.results.charts import as_svg, confusion_chart, places
from guarismo.results.html import MOST_SIDE, Picture, Sprite, render, shrunk, sprite, webp
from guarismo.results.notebook import write_notebook
from guarismo.results.paper import write_markdown, write_pdf

MOST_IMAGE_BYTES = 1_500_000
"""Of a page's 3 MB, what the images behind the matrices may take over all its runs."""
MOST_TILES = 2_400
"""Images behind the matrices over all the runs of a page: each takes 250 bytes of text besides its picture."""
LARGE_SIDE = 160
"""The longer side of an error that is looked at by itself, where the original has more than MOST_SIDE."""


def write_report(
    runs: Sequence[Run],
    dataset: Dataset,
    out: str | Path,
    _: Language = ENGLISH,
    format: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Write the report of these evaluated runs to `out` and give its path back.

    `dataset` is the one that they were evaluated on; the format is that of the suffix of `out` unless one is given.
    Raises RunError when the data is another, when a run has no evaluation yet, or when `out` cannot be written.
    """
    place = Path(out)
    write = FORMATS[known_format(place, format)]
    write(account(runs, dataset, _, progress), place)
    return place


def known_format(out: Path, format: str | None = None) -> str:
    """The format asked for, or that of the file's suffix. Raises RunError for one not in FORMATS, and for a folder."""
    if out.is_dir():
        raise RunError(f"Cannot write {out}: it is a folder. Choose another place with --out.")
    chosen = format or out.suffix.removeprefix(".").lower()
    if chosen not in FORMATS:
        raise RunError(unknown("format of a report", chosen, FORMATS))
    return chosen


def write_page(told: Account, out: Path) -> None:
    write_out(out, page(told).encode())


FORMATS: Mapping[str, Callable[[Account, Path], None]] = {
    "html": write_page,
    "pdf": write_pdf,
    "md": write_markdown,
    "ipynb": write_notebook,
}
"""Suffix → what writes an Account to a file of it."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """A confusion matrix on the page: a table with shades in [0, 1] (k, k), or a drawing where `svg` is given."""

    title: str
    rows: list[list[int]]
    shades: list[list[float]]
    svg: str
    cells: Mapping[tuple[int, int], str]


@dataclass(frozen=True, eq=False)
class Drawing:
    """A chart on the page: its <svg>, and what its stops say and where they stand, as JSON."""

    chart: Chart
    svg: str
    stops: str


@dataclass(frozen=True, eq=False)
class View:
    """A chapter as the page shows it. name: prefix of its ids; place: test image → position in `album`; why: error →
    position in `heats`; near: position of the first of its other images in `others`; large: the images themselves."""

    name: str
    chapter: Chapter
    drawings: tuple[Drawing, ...]
    matrices: tuple[Matrix, ...]
    album: Sprite | None
    place: Mapping[tuple[str, int], int]
    cap: int
    why: Mapping[int, int]
    heats: Sprite | None
    near: Mapping[int, int]
    others: Sprite | None
    large: Mapping[int, Picture]

    def id_of(self, cell: Confusion) -> str:
        return f"{self.name}-{cell.label}-{cell.answer}"

    @property
    def explained(self) -> frozenset[int]:
        """The test images that have a part of their own."""
        return frozenset(why.shot.index for why in self.chapter.whys)

    def present(self, shots: Sequence[Shot]) -> list[Shot]:
        """Those of the images that the page has room for."""
        return [shot for shot in shots if (shot.split, shot.index) in self.place]


def page(told: Account) -> str:
    """The report as one self-contained HTML page."""
    images = [image for name, shown, counts in told.samples for image in shown]
    disputed = [shot.image for dispute in told.disputes for case in dispute.cases for shot in case.shots]
    return render(
        "report.html.j2",
        told.language,
        told=told,
        title=told.title,
        comparison=told.comparison,
        samples=sprite(np.stack(images)) if images else None,
        disputed=sprite(np.stack(disputed)) if disputed else None,
        views=[view(chapter, place, len(told.chapters), told.language) for place, chapter in enumerate(told.chapters)],
    )


def view(chapter: Chapter, position: int, runs: int, _: Language) -> View:
    """Everything of a chapter in the form that the page needs."""
    name = f"run-{position + 1}"
    most_bytes = MOST_IMAGE_BYTES // runs
    cap = cap_of(chapter, most_bytes, MOST_TILES // runs)
    shots = {(shot.split, shot.index): shot for shot in shots_of(chapter, cap)}
    near = near_images(chapter.whys)
    cells = {(cell.label, cell.answer): f"{name}-{cell.label}-{cell.answer}" for cell in chapter.confusions}
    return View(
        name=name,
        chapter=chapter,
        drawings=tuple(drawing(chart, f"{name} {chart.title}", _) for chart in (*chapter.curves, chapter.reliability)),
        matrices=(
            matrix(_("Test images"), chapter.evaluation.confusion, chapter, cells, _),
            matrix(_("Training images"), chapter.training, chapter, {}, _),
        ),
        album=sprite(np.stack([shot.image for shot in shots.values()]), most_bytes=most_bytes) if shots else None,
        place={key: place for place, key in enumerate(shots)},
        cap=cap,
        why={why.shot.index: 2 * place for place, why in enumerate(chapter.whys)},
        heats=heat_maps(chapter.whys),
        near={index: first for index, first, images in near},
        others=sprite(np.concatenate([images for index, first, images in near])) if near else None,
        large={
            why.shot.index: Picture(webp(shrunk(why.shot.image, LARGE_SIDE), quality=75), why.shot.words)
            for why in chapter.whys
            if max(why.shot.image.shape[:2]) > MOST_SIDE
        },
    )


def shots_of(chapter: Chapter, cap: int) -> Iterator[Shot]:
    """Every test image that the page shows of a run, some of them more than once."""
    yield from (why.shot for why in chapter.whys)
    yield from chapter.errors
    for found in chapter.findings:
        yield from found.shots
    for cell in chapter.confusions:
        yield from cell.shots[:cap]


def cap_of(chapter: Chapter, most_bytes: int, most_tiles: int) -> int:
    """How many images stand behind each cell, so that all of them together stay within the page's size."""
    sizes = [len(cell.shots) for cell in chapter.confusions]
    if not sizes:
        return 0
    some = [cell.shots[0].image for cell in chapter.confusions[:40]]
    each = len(sprite(np.stack(some), most_bytes=0).uri) / len(some)
    most = min(most_tiles, most_bytes / each)
    return next((cap for cap in range(max(sizes), 0, -1) if sum(min(cap, size) for size in sizes) <= most), 0)


def near_images(whys: Sequence[Why]) -> list[tuple[int, int, NDArray[np.uint8]]]:
    """Of each error: which, where its other images begin, and these: what it resembles, then itself changed."""
    found, first = [], 0
    for why in whys:
        images = [shot.image for shot in why.nearest] + ([why.flipped] if why.flipped is not None else [])
        if images:
            found.append((why.shot.index, first, np.stack(images)))
            first += len(images)
    return found


def heat_maps(whys: Sequence[Why]) -> Sprite | None:
    """Each error twice, as the heat of its answer and that of its true class."""
    drawn = [heated(why.shot.image, heat) for why in whys for name, heat in why.heats]
    return sprite(np.stack(drawn)) if drawn else None


def heated(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """An image (h, w, c) in dim grey with heat (h, w) in [0, 1] laid over it in orange, uint8 (h, w, 3)."""
    grey = image.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    return np.asarray(grey * 0.6 * (1 - heat[..., None]) + np.array([255, 140, 40]) * heat[..., None], dtype=np.uint8)


def drawing(chart: Chart, name: str, _: Language) -> Drawing:
    """The chart as <svg>, with a stop for each of its points whose numbers are finite."""
    svg = as_svg(chart.figure, name)
    stops = []
    for (x, heights), row in zip(chart.points, chart.rows, strict=True):
        shown = [height for height in heights if isfinite(height)]
        if shown:
            spots = places(chart.figure, [(x, height) for height in shown]).round(1).tolist()
            words = " · ".join(f"{column} {value}" for column, value in zip(chart.columns, row, strict=True))
            stops.append({"at": spots, "words": words})
    return Drawing(chart, svg, json.dumps(stops, ensure_ascii=False))


def matrix(
    title: str, confusion: NDArray[np.int64], chapter: Chapter, cells: Mapping[tuple[int, int], str], _: Language
) -> Matrix:
    if len(confusion) <= MOST_TABLE_CLASSES:
        return Matrix(title, confusion.tolist(), shades(confusion).round(3).tolist(), "", cells)
    figure = confusion_chart(confusion, chapter.evaluation.class_names, _)
    return Matrix(title, [], [], as_svg(figure, f"{chapter.run.folder} {title}"), cells)


def shades(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """How deep to colour each cell, in [0, 1]: a right answer by its share of the class, an error against the commonest
    error (square root, so that single errors are seen)."""
    right = np.eye(len(confusion), dtype=bool)
    of_class = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    of_errors = np.sqrt(confusion / max(1, int(np.where(right, 0, confusion).max())))
    return np.asarray(np.where(right, of_class, of_errors))
