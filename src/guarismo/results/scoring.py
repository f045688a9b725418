"""Labels + what was read → Score: how many photos are read right, in which groups, and what confidence is worth."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guarismo.data.images import cannot_read
from guarismo.errors import DataError
from guarismo.results.evaluation import Reliability, calibration_error, reliability_of, wilson

MOST_LABEL_BYTES = 16 * 2**20
NAMED = 3
"""So many files are named in a message; the others are counted."""

# Labels


@dataclass(frozen=True)
class Label:
    """What stands on a photo: digits in reading order, spaces where a line or a column ends, "" on a blank one.

    file: relative to the folder of the labels' own file; kind and medium: "" where not told.
    """

    file: Path
    text: str
    kind: str = ""
    medium: str = ""


def read_labels(path: Path) -> list[Label]:
    """The labels of a CSV file with columns file and text, and perhaps kind and medium; others are left alone.

    Raises DataError, with the line, for a text that is no digits, a file named twice or outside the labels' folder;
    for files that are absent, all in one; and for what is no such table at all.
    """
    lines = filled_lines(path, label_text(path))
    if not lines:
        raise DataError(f"{path} is empty. Expected a line 'file,text', then one line for each photo.")
    (_, heading), *rows = lines
    columns = label_columns(path, heading)
    labels: dict[Path, Label] = {}
    for line, cells in rows:
        if len(cells) != len(heading):
            raise DataError(f"{path}, line {line}: expected {len(heading)} columns, received {len(cells)}.")
        label = label_of(f"{path}, line {line}", {name: cells[place].strip() for name, place in columns.items()})
        if label.file in labels:
            raise DataError(f"{path}, line {line}: {label.file} is labelled already. Keep one line for each file.")
        labels[label.file] = label
    if not labels:
        raise DataError(f"{path} has a heading only. Expected one line for each photo under it.")
    check_present(path, list(labels))
    return list(labels.values())


def label_text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_LABEL_BYTES:
            raise DataError(
                f"{path} is larger than {MOST_LABEL_BYTES >> 20} MB. Expected labels: one short line for each photo."
            )
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise cannot_read(path, error) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text (byte {error.start}). Save it as CSV in UTF-8.") from None


def filled_lines(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """(line number, cells) of each line that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num} is no CSV: {error}. Save it again as CSV.") from None


def label_columns(path: Path, heading: Sequence[str]) -> dict[str, int]:
    """Where file, text, kind and medium stand. Raises DataError where one of the first two is missing."""
    names = [name.strip().casefold() for name in heading]
    missing = [name for name in ("file", "text") if name not in names]
    if missing:
        raise DataError(
            f"{path} has no column {' and no column '.join(missing)}. Expected a first line such as "
            f"'file,text,kind,medium', separated by commas, received '{','.join(heading)[:80]}'."
        )
    return {name: names.index(name) for name in ("file", "text", "kind", "medium") if name in names}


def label_of(where: str, cells: Mapping[str, str]) -> Label:
    label = Label(Path(cells["file"]), cells["text"], cells.get("kind", ""), cells.get("medium", ""))
    if not cells["file"]:
        raise DataError(f"{where}: the file is missing. Give its path from the folder of the labels.")
    if label.file.is_absolute() or ".." in label.file.parts:
        raise DataError(
            f"{where}: expected a file inside the folder of the labels, received '{cells['file']}'. "
            "Move the labels into the folder that holds all the photos."
        )
    if not re.fullmatch("[0-9 ]*", label.text):
        raise DataError(
            f"{where}: expected digits 0–9, with spaces between lines, received '{label.text[:40]}'. "
            "Label the digits only."
        )
    return label


def check_present(path: Path, files: Sequence[Path]) -> None:
    absent = [file for file in files if not is_there(path.parent / file)]
    if absent:
        raise DataError(
            f"{path}: {len(absent):,} of {len(files):,} labels name absent files: {some(absent)}. "
            "Put the files there, or remove their lines."
        )


def is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False


def some(files: Sequence[Path]) -> str:
    """The first files by name."""
    return ", ".join(map(str, files[:NAMED])) + (", …" if len(files) > NAMED else "")


# Score


@dataclass(frozen=True)
class Row:
    """How well a group of photos was read.

    right: photos whose digits are all right, in order and none besides; exact: their share, with its 95 % interval
    (Wilson 1927); digit_accuracy: 1 − edits needed / digits labelled, over the whole group, never below 0.
    """

    group: str
    name: str
    files: int
    digits: int
    right: int
    exact: float
    interval: tuple[float, float]
    digit_accuracy: float


@dataclass(frozen=True)
class Wrong:
    """A photo that was read wrong: the label's text and what was read."""

    file: Path
    truth: str
    read: str


@dataclass(frozen=True, repr=False)
class Score:
    """rows: the groups "kind", "medium", "kind and medium" and "folder", by name, then the "total"; wrong: the photos
    that are not exact, in the labels' order. A label without a kind or medium stands in no such group."""

    rows: tuple[Row, ...]
    wrong: tuple[Wrong, ...]

    @property
    def total(self) -> Row:
        return self.rows[-1]

    def __repr__(self) -> str:
        total, (low, high) = self.total, self.total.interval
        return (
            f"Score({total.files:,} photos, {total.digits:,} digits: {total.right:,} exact, "
            f"{total.exact:.2%} [{low:.2%}, {high:.2%}]; digits {total.digit_accuracy:.2%})"
        )

    def of(self, group: str) -> dict[str, Row]:
        """The rows of one group by their names."""
        return {row.name: row for row in self.rows if row.group == group}

    def as_json(self) -> dict[str, Any]:
        """Plain values for json.dumps."""
        wrong = [{"file": item.file.as_posix(), "truth": item.truth, "read": item.read} for item in self.wrong]
        return {"rows": [{**asdict(row), "interval": list(row.interval)} for row in self.rows], "wrong": wrong}


class Outcome(NamedTuple):
    """One photo: its digits, the edits that what was read needs to become them."""

    digits: int
    edits: int


def score(labels: Sequence[Label], texts: Mapping[Path, str]) -> Score:
    """Measure what was read, by the labels' files, against the labels; white space counts for nothing on either side.

    A photo on which nothing was read has the text "". Texts without a label are left alone.
    Raises DataError where there are no labels, or labels without a text.

    >>> score([Label(Path("a.png"), "12 34"), Label(Path("b.png"), "5")], {Path("a.png"): "124", Path("b.png"): "5"})
    Score(2 photos, 5 digits: 1 exact, 50.00% [9.45%, 90.55%]; digits 80.00%)
    """
    check_scorable(labels, texts)
    outcomes = {label.file: outcome_of(label.text, texts[label.file]) for label in labels}
    groups = groups_of(labels)
    rows = tuple(row_of(*key, [outcomes[label.file] for label in members]) for key, members in groups.items())
    wrong = (Wrong(label.file, label.text, texts[label.file]) for label in labels if outcomes[label.file].edits)
    return Score(rows, tuple(wrong))


def check_scorable(labels: Sequence[Label], texts: Mapping[Path, str]) -> None:
    unread = [label.file for label in labels if label.file not in texts]
    if not labels:
        raise DataError("There are no labels to score against. Give at least one labelled photo.")
    if unread:
        raise DataError(
            f"Expected a text for each of {len(labels):,} labelled photos, {len(unread):,} have none: {some(unread)}. "
            "Read them too, or leave their labels out."
        )


def outcome_of(truth: str, read: str) -> Outcome:
    truth, read = without_space(truth), without_space(read)
    return Outcome(len(truth), edit_distance(truth, read))


def without_space(text: str) -> str:
    return "".join(text.split())


def edit_distance(a: str, b: str) -> int:
    """The fewest characters to insert, remove or replace that make `b` of `a` (Levenshtein 1966), by the table of
    Wagner & Fischer 1974, J. ACM 21:168, of which one row is kept.

    >>> edit_distance("2026", "226"), edit_distance("2026", "2062"), edit_distance("", "7")
    (1, 2, 1)
    """
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return row[-1]


def groups_of(labels: Iterable[Label]) -> dict[tuple[str, str], list[Label]]:
    """(group, name) → its labels, in the order of `Score.rows`."""
    labels = list(labels)
    found = {
        "kind": [label.kind for label in labels],
        "medium": [label.medium for label in labels],
        "kind and medium": [f"{label.kind} {label.medium}" if label.kind and label.medium else "" for label in labels],
        "folder": [label.file.parent.as_posix() for label in labels],
        "total": ["all"] * len(labels),
    }
    return {
        (group, name): [label for label, other in zip(labels, names, strict=True) if other == name]
        for group, names in found.items()
        for name in sorted(set(names) - {""})
    }


def row_of(group: str, name: str, outcomes: Sequence[Outcome]) -> Row:
    files, right = len(outcomes), sum(outcome.edits == 0 for outcome in outcomes)
    digits, edits = sum(outcome.digits for outcome in outcomes), sum(outcome.edits for outcome in outcomes)
    return Row(group, name, files, digits, right, right / files, wilson(right, files), digit_accuracy(digits, edits))


def digit_accuracy(digits: int, edits: int) -> float:
    """1 − edits / digits, not below 0: more may be read than there is. Without any digit, whether nothing was read."""
    return max(0.0, 1 - edits / digits) if digits else float(edits == 0)


# What confidence is worth


class Answer(NamedTuple):
    """One digit: the confidence 0…1 of its best reading, whether that is right, whether it was refused all the same."""

    confidence: float
    right: bool
    refused: bool


@dataclass(frozen=True, eq=False)
class Trust:
    """Whether confidence tells right from wrong.

    ece: expected calibration error of the accepted answers, None where there are none; reliability: what it sums up;
    coverage and risk, float64 (n,): taking the surest answers first and the refused ones last, the share of all
    answers taken so far and the share of those that is wrong; aurc: the mean of risk (Geifman, Uziel & El-Yaniv
    2019, arXiv:1805.08206), the less the better. accepted: how many of the n were, so risk[accepted − 1] is theirs.
    """

    n: int
    accepted: int
    ece: float | None
    reliability: Reliability
    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    aurc: float

    def as_json(self) -> dict[str, Any]:
        """Plain values for json.dumps."""
        bins = {name: column.tolist() for name, column in vars(self.reliability).items()}
        columns = {"reliability": bins, "coverage": self.coverage.tolist(), "risk": self.risk.tolist()}
        return {"n": self.n, "accepted": self.accepted, "ece": self.ece, "aurc": self.aurc, **columns}


def trust(answers: Sequence[Answer]) -> Trust:
    """Calibration, and the curve of risk over coverage. Raises DataError for no answers, or confidences beyond 0…1."""
    check_answers(answers)
    confidence = np.array([answer.confidence for answer in answers], dtype=np.float64)
    right = np.array([answer.right for answer in answers], dtype=bool)
    refused = np.array([answer.refused for answer in answers], dtype=bool)
    accepted = int((~refused).sum())
    reliability = reliability_of(confidence[~refused], right[~refused])
    coverage, risk = risk_curve(confidence, right, refused)
    ece = calibration_error(reliability) if accepted else None
    return Trust(len(answers), accepted, ece, reliability, coverage, risk, float(risk.mean()))


def check_answers(answers: Sequence[Answer]) -> None:
    if not answers:
        raise DataError("There are no answers to measure confidence on. Give at least one digit.")
    beyond = [answer.confidence for answer in answers if not 0 <= answer.confidence <= 1]
    if beyond:
        raise DataError(f"Expected confidences 0…1, received {beyond[0]:g}. Give the share that softmax answers.")


def risk_curve(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], refused: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(coverage, risk), float64 (n,) each, of n answers; see `Trust`.

    Equally sure answers have no order among them: each carries the mean of their errors, which gives the mean risk
    over all their orders.
    """
    _, rank = np.unique(np.where(refused, 2 - confidence, -confidence), return_inverse=True)
    wrong = np.bincount(rank, weights=~right) / np.bincount(rank)
    taken = np.arange(1, len(rank) + 1)
    return taken / len(rank), np.cumsum(wrong[np.sort(rank)]) / taken
