"""Many photos → what each says: in parallel, with pictures beside them; a bad file never stops the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from guarismo.data.images import IMAGE_SUFFIXES
from guarismo.errors import DataError, GuarismoError, RunError
from guarismo.progress import Progress, silent
from guarismo.reading.reader import SHIPPED, Reader, Reading, open_reader, read
from guarismo.results.scoring import Label, Score, score

UNREADABLE = "?"
FEW = 4
"""Files up to which one process is sooner done than two more are started (1 s each)."""


@dataclass(frozen=True)
class Outcome:
    """What came of one file: a JSON object for each page, or the error that it gave."""

    file: Path
    pages: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    @property
    def text(self) -> str:
        """The digits of all pages, parted by spaces; nothing where the file could not be read."""
        return " ".join(page["text"] for page in self.pages if page["text"])


@dataclass(frozen=True)
class Wanted:
    """The run that reads, and where pictures of the reading go, if anywhere."""

    run: Path = SHIPPED
    annotate: Path | None = None
    stages: Path | None = None


def read_files(
    files: Sequence[Path], wanted: Wanted | None = None, jobs: int = 0, progress: Progress = silent
) -> Iterator[Outcome]:
    """What each file says, in order, by `jobs` processes (0: as many as there are cores, for more than a few files).

    Raises RunError before anything is read where the run does not read digits or a place for pictures will not do.
    """
    wanted = wanted or Wanted()
    reader_in(wanted.run)
    for place, what in ((wanted.annotate, "--annotate"), (wanted.stages, "--stages")):
        check_place(place, files, what)
    if wanted.annotate is not None and wanted.annotate == wanted.stages:
        raise RunError(f"--annotate and --stages both name {wanted.stages}. Name two places.")
    jobs = min(len(files), jobs or (1 if len(files) <= FEW else os.cpu_count() or 1))
    for done, outcome in enumerate(outcomes(files, wanted, jobs), start=1):
        progress(done, len(files), file=outcome.file.name)
        yield outcome


def outcomes(files: Sequence[Path], wanted: Wanted, jobs: int) -> Iterator[Outcome]:
    names = names_for(files)
    if jobs <= 1:
        yield from (read_one(file, name, wanted) for file, name in zip(files, names, strict=True))
        return
    from joblib import Parallel, delayed

    tasks = (delayed(read_one)(file, name, wanted) for file, name in zip(files, names, strict=True))
    yield from Parallel(n_jobs=jobs, return_as="generator", batch_size=1)(tasks)


@cache
def reader_in(run: Path) -> Reader:
    """The Reader of a run, opened once in each process."""
    return open_reader(run)


def read_one(file: Path, name: str, wanted: Wanted) -> Outcome:
    """One file read, its pictures written under `name`."""
    readings, error = attempted(file, lambda: read(file, reader_in(wanted.run)))
    if error:
        return Outcome(file, error=error)
    pages = [reading.as_json() for reading in readings]
    try:
        for reading in readings:
            write_pictures(reading, name if len(readings) == 1 else f"{name}-page{reading.page}", wanted)
    except GuarismoError as error:
        return Outcome(file, pages, str(error).replace("--out", "--annotate or --stages"))
    return Outcome(file, pages)


def attempted(file: Path | str, work: Callable[[], list[Reading]]) -> tuple[list[Reading], str]:
    """What reading a file gives, or the error of it: whatever is wrong with a file stays with it."""
    try:
        return work(), ""
    except GuarismoError as error:
        return [], str(error)
    except Exception as error:  # what we did not foresee must not stop the others
        return [], f"{file} could not be read: unexpected {type(error).__name__}: {error}"


def write_pictures(reading: Reading, name: str, wanted: Wanted) -> None:
    from guarismo.results.pictures import annotated, save_picture, stages

    if wanted.annotate is not None:
        save_picture(annotated(reading), place_of(wanted.annotate, name, "-read.jpg", reading.page))
    if wanted.stages is not None:
        save_picture(stages(reading), place_of(wanted.stages, name, "-stages.png", reading.page))


def place_of(place: Path, name: str, ending: str, page: int) -> Path:
    """The picture's own path: `place` itself where it names a picture file, else a file in that folder."""
    if is_picture_file(place):
        return place if page == 1 else place.with_stem(f"{place.stem}-page{page}")
    return place / f"{name}{ending}"


def is_picture_file(place: Path) -> bool:
    return place.suffix.lower() in IMAGE_SUFFIXES | {".pdf"}


def check_place(place: Path | None, files: Sequence[Path], what: str) -> None:
    """Raises RunError where pictures would overwrite each other or a photo, or cannot be written there."""
    if place is None:
        return
    if is_picture_file(place):
        if place.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise RunError(f"{what} {place}: pictures are written as .png or .jpg. Name such a file, or a folder.")
        if len(files) > 1:
            raise RunError(f"{what} {place} names one picture, and there are {len(files)} photos. Name a folder.")
        if any(place.resolve() == file.resolve() for file in files):
            raise RunError(f"{what} {place} is the photo itself. Name another file.")
        return
    for file in files:
        if file.stem.endswith(("-read", "-stages")) and file.parent.resolve() == place.resolve():
            raise RunError(f"{file} looks like an earlier {what} and would be written over. Name a new folder.")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{what} {place} is no folder to write in ({error.strerror}). Name another.") from None


def names_for(files: Sequence[Path]) -> list[str]:
    """A name for each file's pictures, its own stem where no other file has it."""
    stems, taken, names = Counter(file.stem for file in files), set[str](), []
    for file in files:
        name = file.stem if stems[file.stem] == 1 else f"{file.parent.name}-{file.stem}-{file.suffix[1:]}"
        number, free = 2, name
        while free in taken:
            free, number = f"{name}-{number}", number + 1
        taken.add(free)
        names.append(free)
    return names


def score_outcomes(found: Sequence[Outcome], labels: Sequence[Label], folder: Path) -> Score:
    """The Score of what was read against labels whose files lie in `folder`; a file that was not readable reads "?",
    which no label is.

    Raises DataError where none of the files is labelled.
    """
    texts = {outcome.file.resolve(): outcome.text if outcome.pages else UNREADABLE for outcome in found}
    known = {
        label.file: texts[(folder / label.file).resolve()]
        for label in labels
        if (folder / label.file).resolve() in texts
    }
    if not known:
        raise DataError("None of the photos that were read is named in the labels. Are they of another folder?")
    return score([label for label in labels if label.file in known], known)
