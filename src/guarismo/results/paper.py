"""Account → one linear document → PDF, or Markdown with its pictures in a folder beside it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unicodedata import category

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from guarismo.language import Language
from guarismo.models.runs import write_out
from guarismo.results.account import MOST_TABLE_CLASSES, Account, Chapter, Shot
from guarismo.results.charts import confusion_chart, drawn_as
from guarismo.results.comparison import Group

LEAST_SIDE = 96
"""Pictures of a Markdown report are enlarged to about this, without smoothing: Markdown cannot."""
ACROSS = 6
"""Pictures beside each other in Markdown."""


MOST_LETTERS = 24
"""Of a name beside or above a matrix on paper, and of a word that is not broken."""


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Words:
    """A paragraph. quiet: of less weight."""

    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Points:
    """A list: each point in one sentence or more, and what to do about it."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows under a head; all but the first column hold numbers. shades: of a confusion
    matrix how deep to colour the right answers and the errors, each (k, k) in [0, 1]."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shades: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None


@dataclass(frozen=True)
class Drawn:
    """Figures beside each other, with the words that stand for each."""

    figures: tuple[tuple[Figure, str], ...]


@dataclass(frozen=True)
class Gallery:
    """Images uint8 (h, w, c), each with its caption and the words that stand for it."""

    rows: tuple[tuple[NDArray[np.uint8], str, str], ...]


Block = Heading | Words | Points | Table | Drawn | Gallery


def document(told: Account) -> Iterator[Block]:
    """The report from front to back."""
    _ = told.language
    for sentence in told.summary:
        yield Words(sentence)
    if told.comparison is not None:
        yield from comparison_part(told, _)
    for part in told.chapters:
        yield from chapter_part(part, _)
    yield from data_part(told, _)
    yield Words(
        _("Written by Guarismo. Every figure and sentence on this page is computed from the records of the runs."),
        quiet=True,
    )


def comparison_part(told: Account, _: Language) -> Iterator[Block]:
    comparison = told.comparison
    assert comparison is not None
    yield Heading(1, _("Comparison"))
    yield Table(
        _("The same test images for all; images a second on one core of the processor."),
        (
            _("Run"),
            _("Accuracy"),
            _("95 % interval"),
            _("Training time"),
            _("Parameters"),
            _("File"),
            _("Images a second"),
        ),
        tuple(
            (
                row.name,
                _.percent(row.accuracy),
                f"{_.percent(row.interval[0])} – {_.percent(row.interval[1])}",
                "–" if row.train_seconds is None else _.duration(row.train_seconds),
                _.count(row.parameters),
                _.size(row.bytes),
                _.count(row.images_per_second),
            )
            for row in comparison.rows
        ),
    )
    if comparison.grouped:
        yield Table(
            _("Mean accuracy ± standard deviation over the seeds."),
            (_("Settings"), _("Seeds"), _("Accuracy"), _("Loss")),
            tuple(
                (
                    group.name,
                    str(len(group.runs)),
                    mean_and_spread(group, _),
                    _.decimal(group.loss, 4),
                )
                for group in comparison.groups
            ),
        )
    yield Table(
        _(
            "{best} against each other run, image by image: McNemar’s exact test, corrected for the number of pairs "
            "(Holm), and Newcombe’s interval.",
            best=comparison.best.name,
        ),
        (_("Against"), _("Difference, points"), _("95 % interval"), "p", _("More than luck")),
        tuple(
            (
                pair.other,
                _.points(pair.difference),
                f"{_.points(pair.interval[0])} … {_.points(pair.interval[1])}",
                _.p(pair.p_corrected),
                _("yes") if pair.more_than_luck else _("no"),
            )
            for pair in comparison.pairs
        ),
    )
    for dispute in told.disputes[:1]:
        yield Heading(2, dispute.title)
        for case in dispute.cases:
            yield Words(f"{case.title}: {_.count(case.count)}", quiet=True)
            yield Gallery(tuple(pictured(shot, f"{shot.label} → {shot.answer}") for shot in case.shots[:6]))


def mean_and_spread(group: Group, _: Language) -> str:
    """99.13 % ± 0.05; the mean alone for a single run."""
    mean = _.percent(group.accuracy)
    return mean if group.spread is None else f"{mean} ± {_.decimal(100 * group.spread, 2)}"


def chapter_part(part: Chapter, _: Language) -> Iterator[Block]:
    """One run: figures, findings, curves, matrix, classes, errors, settings."""
    evaluation = part.evaluation
    yield Heading(1, part.run.name)
    yield Words(" ".join(part.sentences))
    yield Table("", (_("Figure"), _("Value")), figures(part, _))
    yield Heading(2, _("What was found, and what to do"))
    for found in part.findings:
        yield Points(((found.sentence, found.remedy),))
        yield Gallery(tuple(pictured(shot, arrow(shot)) for shot in found.shots[:6]))
    if not part.findings:
        yield Words(_("Nothing wrong was found among the faults that Guarismo looks for."))
    yield Heading(2, _("How it learnt, and whether it keeps its word"))
    if not part.curves:
        yield Words(_("This model is not trained in epochs, so it has no learning curves."))
    yield Drawn(tuple((chart.figure, chart.words) for chart in (*part.curves, part.reliability)))
    yield Heading(2, _("What it takes for what"))
    yield Words(_("Rows are the true classes, columns the answers: right ones in blue, errors in orange."), quiet=True)
    yield matrix(evaluation.confusion, evaluation.class_names, _)
    yield Heading(2, _("Class by class"))
    yield Table(
        "",
        (_("Class"), _("Precision"), _("Recall"), "F1", _("Images")),
        tuple(
            (name, *(_.percent(column[k]) if evaluation.support[k] else "–" for column in columns(part)), support)
            for k, (name, support) in enumerate(
                zip(evaluation.class_names, map(_.count, evaluation.support), strict=True)
            )
        ),
    )
    if part.untested:
        yield Words(_("No test images, so nothing is known of: {names}", names=part.untested), quiet=True)
    if part.worst:
        worst = part.worst
        yield Heading(2, _("The worst class: {name}, {recall:percent} found", name=worst.name, recall=worst.recall))
        yield Words(" ".join(worst.sentences))
        yield Gallery(tuple(pictured(shot, f"→ {shot.answer} {_.percent(shot.confidence)}") for shot in worst.shots))
    yield Heading(2, _("Its most confident errors"))
    if part.errors:
        yield Words(_("The true class, an arrow, the answer, and how sure the model was."), quiet=True)
        yield Gallery(
            tuple(pictured(shot, f"{shot.label} → {shot.answer} {_.percent(shot.confidence)}") for shot in part.errors)
        )
    else:
        yield Words(_("There are none: every test image is answered right."))
    yield Heading(2, _("Settings"))
    yield Table("", (_("Setting"), _("Value")), tuple((row[0].replace("_", " "), str(row[1])) for row in part.settings))
    yield Heading(2, _("Where it comes from"))
    yield Table("", (_("What"), _("Value")), part.origin)


def columns(part: Chapter) -> tuple[NDArray[np.float64], ...]:
    return part.evaluation.precision, part.evaluation.recall, part.evaluation.f1


def figures(part: Chapter, _: Language) -> tuple[tuple[str, str], ...]:
    evaluation, about = part.evaluation, part.run.about
    low, high = evaluation.interval
    seconds = about.get("seconds", {}).get("train")
    return (
        (_("Test accuracy"), _.percent(evaluation.accuracy)),
        (_("95 % interval"), f"{_.percent(low)} – {_.percent(high)}"),
        (_("Errors"), _("{errors:count} of {n:count}", errors=evaluation.errors, n=evaluation.n)),
        (_("Loss"), _.decimal(evaluation.loss, 4)),
        (_("Calibration error"), _.percent(evaluation.ece)),
        (_("Training accuracy"), _.percent(part.train_accuracy)),
        *(((_("Training time"), _.duration(seconds)),) if seconds is not None else ()),
        (_("Parameters"), _.count(about["parameters"])),
    )


def matrix(confusion: NDArray[np.int64], names: Sequence[str], _: Language) -> Block:
    if len(confusion) > MOST_TABLE_CLASSES:
        return Drawn(((confusion_chart(confusion, names, _), _("Confusion matrix")),))
    eye = np.eye(len(confusion), dtype=bool)
    share = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    depth = np.sqrt(confusion / max(1, int(np.where(eye, 0, confusion).max())))
    return Table(
        _("Test images"),
        ("", *names),
        tuple((name, *map(str, row)) for name, row in zip(names, confusion.tolist(), strict=True)),
        (np.where(eye, share, 0), np.where(eye, 0, depth)),
    )


def arrow(shot: Shot) -> str:
    """What an image is, and what it was taken for."""
    return f"{shot.label} → {shot.answer}" if shot.answer not in ("", shot.label) else shot.label


def pictured(shot: Shot, caption: str) -> tuple[NDArray[np.uint8], str, str]:
    return shot.image, caption, shot.words


def data_part(told: Account, _: Language) -> Iterator[Block]:
    yield Heading(1, _("The data"))
    for note in told.dataset.notes:
        yield Words(note, quiet=True)
    yield Gallery(
        tuple(
            (image, name, _("{n:count} images of {name}", n=1, name=name))
            for name, images, counts in told.samples
            for image in images[:1]
        )
    )
    yield Table(
        "",
        (_("Class"), _("Training"), _("Validation"), _("Test")),
        tuple((name, *map(_.count, counts)) for name, images, counts in told.samples),
    )


# PDF


def write_pdf(told: Account, out: Path) -> None:
    """The report as a tagged PDF (PDF/UA-1, so that it can be read aloud), set by Typst from paper.typ."""
    import typst  # 30 MB of library: only where a PDF is asked for

    with TemporaryDirectory() as folder:
        place = Path(folder)
        blocks = [for_typst(block, place, number) for number, block in enumerate(document(told))]
        content = {
            "title": told.title,
            "language": told.language.code,
            "day": told.language.day(date.today()),
            "blocks": blocks,
        }
        text, unwritable = writable(json.dumps(content, ensure_ascii=False))
        content = json.loads(text)
        if unwritable:
            content["blocks"].append(for_typst(missing_letters(unwritable, told.language), place, len(blocks)))
        (place / "content.json").write_text(json.dumps(with_breaks(content)), encoding="utf-8")
        (place / "paper.typ").write_bytes(Path(__file__).with_name("paper.typ").read_bytes())
        made = typst.compile(place / "paper.typ", root=place, font_paths=[font_folder()], pdf_standards=["ua-1"])
    write_out(out, made)


def for_typst(block: Block, folder: Path, number: int) -> dict[str, Any]:
    """A block as plain values; its pictures are written into `folder`."""
    match block:
        case Heading():
            return {"kind": "heading", "level": block.level, "text": block.text}
        case Words():
            return {"kind": "words", "text": block.text, "quiet": block.quiet}
        case Points():
            return {"kind": "points", "rows": block.rows}
        case Table():
            shades = block.shades and [depth.tolist() for depth in block.shades]
            head, rows = block.head, block.rows
            if shades:
                head, rows = tuple(map(cut, head)), tuple((cut(row[0]), *row[1:]) for row in rows)
            return {"kind": "table", "caption": block.caption, "head": head, "rows": rows, "shades": shades}
        case Drawn():
            drawn = [(f"{number}-{place}.svg", figure, words) for place, (figure, words) in enumerate(block.figures)]
            for name, figure, words in drawn:  # noqa: B007
                (folder / name).write_bytes(drawn_as(figure, "svg", transparent=True))
            return {"kind": "drawn", "rows": [(name, words) for name, figure, words in drawn]}
        case Gallery():
            shown = [(f"{number}-{place}.png", *row) for place, row in enumerate(block.rows)]
            for name, image, caption, words in shown:  # noqa: B007
                (folder / name).write_bytes(png(image))
            return {"kind": "gallery", "rows": [(name, caption, words) for name, image, caption, words in shown]}


def cut(name: str) -> str:
    """A name as short as a matrix wants it."""
    return name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1] + "…"


def with_breaks(value: Any) -> Any:
    """Plain values in whose texts every word of more than MOST_LETTERS may be broken, for it would leave the page."""
    if isinstance(value, str):
        return re.sub(rf"\S{{{MOST_LETTERS + 1},}}", lambda word: re.sub("(.{12})(?=.)", "\\1\u200b", word[0]), value)
    if isinstance(value, list):
        return [with_breaks(each) for each in value]
    return {name: with_breaks(each) for name, each in value.items()} if isinstance(value, dict) else value


def png(image: NDArray[np.uint8], times: int = 1) -> bytes:
    """An image (h, w, c) as a PNG, each pixel enlarged."""
    image = image.repeat(times, axis=0).repeat(times, axis=1)
    memory = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(memory, "PNG", optimize=True)
    return memory.getvalue()


def font_folder() -> Path:
    """Where Matplotlib keeps DejaVu Sans: Latin, Greek, Cyrillic, Hebrew and Arabic."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def writable(text: str) -> tuple[str, str]:
    """The text with each letter that no font here has as its Unicode number, [U+304A]; and these letters."""
    shown = {
        letter for letter in text if letter > "~" and category(letter) != "Cf"
    }  # marks that order text draw nothing
    missing = shown - letters_of(font_folder() / "DejaVuSans.ttf")
    if missing:
        from matplotlib.font_manager import fontManager

        for font in fontManager.ttflist:
            if not font.name.startswith("Last Resort"):  # Matplotlib's own, with a box for every letter there is
                missing -= letters_of(Path(font.fname))
    written = {ord(letter): f"[U+{ord(letter):04X}]" for letter in missing}
    return text.translate(written), "".join(sorted(missing))


def letters_of(font: Path) -> set[str]:
    """The letters that a font file has; none where it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return set(map(chr, FT2Font(str(font)).get_charmap()))
    except (OSError, RuntimeError):
        return set()


def missing_letters(letters: str, _: Language) -> Block:
    return Words(
        _(
            "{n:count} letters stand here as their Unicode numbers, such as [U+{code}], since no font of the computer "
            "that wrote this has them. Install one, such as Noto Sans CJK, or take the report as HTML.",
            n=len(letters),
            code=f"{ord(letters[0]):04X}",
        ),
        quiet=True,
    )


# Markdown


def write_markdown(told: Account, out: Path) -> None:
    """The report as Markdown (GitHub's, with tables); its pictures in a folder beside it, named as the file is."""
    folder = out.with_name(f"{out.stem}_files")
    parts = [f"# {plain(told.title)}", told.language.day(date.today())]
    for number, block in enumerate(document(told)):
        parts.extend(for_markdown(block, folder, number))
    write_out(out, ("\n\n".join(parts) + "\n").encode())


def for_markdown(block: Block, folder: Path, number: int) -> Iterator[str]:
    """The paragraphs of a block; its pictures are written into `folder`."""
    match block:
        case Heading():
            yield f"{'#' * (block.level + 1)} {plain(block.text)}"
        case Words():
            yield plain(block.text)
        case Points():
            yield "\n".join(f"- {plain(said)} {plain(advised)}" for said, advised in block.rows)
        case Table():
            yield from [plain(block.caption)] if block.caption else []
            yield grid(block.head, block.rows)
        case Drawn():
            for place, (figure, words) in enumerate(block.figures):
                drawn = drawn_as(figure, "png", dpi=150, facecolor="white")
                yield picture(folder, f"{number}-{place}.png", drawn, words)
                yield plain(words)
        case Gallery():
            for first in range(0, len(block.rows), ACROSS):
                row = block.rows[first : first + ACROSS]
                shown = [
                    picture(folder, f"{number}-{first + place}.png", png(image, times(image)), words)
                    for place, (image, caption, words) in enumerate(row)
                ]
                captions = [plain(caption) for image, caption, words in row]
                yield "\n".join("| " + " | ".join(line) + " |" for line in (shown, [":--"] * len(row), captions))


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(map(plain, head)), [":--", *["--:"] * (len(head) - 1)], *(list(map(plain, row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def times(image: NDArray[np.uint8]) -> int:
    return max(1, LEAST_SIDE // int(max(image.shape[:2])))


def picture(folder: Path, name: str, content: bytes, words: str) -> str:
    """Write a picture and give the Markdown that shows it."""
    from urllib.parse import quote

    write_out(folder / name, content)
    return f"![{plain(words)}]({quote(folder.name)}/{name})"


def plain(text: str) -> str:
    """A text as Markdown that shows it as it stands, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", re.sub(r"[ \t\r\n]+", " ", text).strip())
