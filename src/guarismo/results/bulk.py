"""Very many photos → one table of what they say: in bounded memory, cut off at any moment and gone on with.

    answers.parquet               a row for each page, in the order of the files; there when all of them have been tried
    answers.parquet.failures.csv  the files that could not be read, and why; the next run tries them again
    answers.parquet.unfinished/   what was read so far, a line for each file; gone when every file has been read

Who reads is another's matter (`Engine`): processes of this machine, or of many. Whatever they do, and however often,
a file that stands in the journal is answered, once.
"""

from __future__ import annotations

import csv
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from guarismo.cluster import fetched, is_url, listed
from guarismo.data.content import natural
from guarismo.data.packing import in_text
from guarismo.errors import DataError, RunError, unknown
from guarismo.models.runs import Run, claimed
from guarismo.progress import Progress, silent
from guarismo.reading.intake import PICTURE_SUFFIXES, photo_files
from guarismo.reading.reader import SHIPPED, Reader, Reading, read
from guarismo.results.batch import attempted, reader_in

FORMAT = 1
"""Version of the journal; a program that does not know it leaves it alone."""
MOST_BYTES = 2**29
"""The largest file that is fetched from a URL."""
PATIENCE = 60
"""Seconds for which a disk that is full, or storage that is gone, is waited for."""
PAUSE = 0.5
"""Seconds between two looks."""
AHEAD = 2
"""Files that wait for each process, so that none waits for us."""
ROWS = 2_000
"""Pages that are written at once: about 20 MB of them."""
ONE_THREAD = dict.fromkeys(
    ("GUARISMO_THREADS", "OPENCV_FOR_THREADS_NUM", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
"""Of each process: on 2 cores one process of one thread reads 12.7 pages a second, one of two threads 4.4 beside
another program; several processes with several threads each wait for each other."""


@dataclass(frozen=True)
class Told:
    """What came of one file: a JSON object for each page, or the error that it gave."""

    file: str
    pages: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


Engine = Callable[[Sequence[str], Path], Iterator[Told]]
"""Files and the folder of the run that reads → what came of each, in any order."""


@dataclass(frozen=True)
class Bulk:
    """What came of a bulk reading: files and pages in the table, files that failed, and what this run did of it."""

    out: Path
    files: int
    pages: int
    failed: int
    read: int
    seconds: float

    @property
    def rate(self) -> float:
        """Files per second of this run."""
        return self.read / self.seconds if self.seconds else 0.0


def read_all(
    files: Sequence[str | Path],
    out: Path,
    run: Path = SHIPPED,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Bulk:
    """What each page of `files` says, as a table in `out`: .parquet, .csv or .jsonl, in the order of the files.

    By default one process for each core reads. Cut off, the same call goes on: nothing that was read is read again,
    what failed is tried again, and files that are new come in. Answers of files no longer named stay, at the end; that
    a file could not be read is forgotten where it has been removed.

    Raises RunError where `out` cannot be written for a minute, is there already, or was begun with another reader.
    """
    names = list(dict.fromkeys(map(str, files)))
    folder = check_out(out)
    reader = reader_in(run)
    began = time.perf_counter()
    with claimed(folder):
        journal = open_journal(folder / "journal", mark_of(reader), progress)
        read = keep_all(journal, names, (engine or by_processes)(journal.missing(names), run), progress)
        places = journal.places(names)
        files_there, pages = write_table(journal, places, out, progress)
        failed = write_failures(journal, failures_in(journal, names), out, progress)
        if not failed:
            shutil.rmtree(folder)
    return Bulk(out, files_there, pages, failed, read, time.perf_counter() - began)


def page_files(photos: Sequence[str]) -> tuple[list[str], list[DataError]]:
    """What the user names → files, each once, and what is wrong with the other names.

    Files, folders and patterns of this machine as everywhere, then URLs of files and folders, in natural order.
    """
    files, problems = photo_files([photo for photo in photos if not is_url(photo)])
    names = dict.fromkeys(map(str, files))
    for url in filter(is_url, photos):
        try:
            names.update(dict.fromkeys(sorted(listed(url, PICTURE_SUFFIXES), key=natural)))
        except DataError as error:
            problems.append(error)
    return list(names), problems


def check_out(out: Path) -> Path:
    """The folder of what is unfinished, made. Raises RunError where `out` will not do."""
    if out.suffix.lower() not in TABLES:
        raise RunError(f"{unknown('kind of table', out.suffix or out.name, TABLES)} Name --out answers.parquet.")
    folder = out.with_name(f"{out.name}.unfinished")
    if out.exists() and not folder.exists():
        raise RunError(f"{out} is there already, and whole. Remove it to read anew, or name another --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Cannot make {folder}: {error.strerror}. Choose another place with --out.") from None
    return folder


def mark_of(reader: Reader) -> dict[str, Any]:
    """The first line of a journal: what may go on with it."""
    return {"format": FORMAT, "model": model_of(reader.run), "temperature": reader.temperature}


def model_of(run: Run) -> str:
    return str(run.about["files"]["model.onnx"]["sha256"])


# The journal


@dataclass
class Journal:
    """Lines of JSON, one for each file that was tried; `known` is where each file's last line begins, and whether it
    failed. Opened anew for each line, so that storage may go away and come back.
    """

    path: Path
    size: int = 0
    known: dict[str, tuple[int, bool]] = field(default_factory=dict)

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those of the files that have no answer yet."""
        return [name for name in names if self.known.get(in_text(name), (0, True))[1]]

    def places(self, names: Sequence[str]) -> list[int]:
        """Where the line of each file begins: of those named in their order, then of others in theirs."""
        order = dict.fromkeys([*map(in_text, names), *self.known])
        return [self.known[name][0] for name in order if name in self.known]

    def keep(self, told: Told, progress: Progress = silent) -> None:
        """Write what came of a file, unless it has an answer already: two machines may have read it."""
        file, place = in_text(told.file), self.size
        if not self.known.get(file, (0, True))[1]:
            return
        self.add({"file": file, "pages": told.pages, "error": in_text(told.error)}, progress)
        self.known[file] = (place, bool(told.error))

    def add(self, line: dict[str, Any], progress: Progress = silent) -> None:
        """Append a line. One that was written in part is written over."""
        content = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        patiently(partial(put, self.path, self.size, content), self.path, progress)
        self.size += len(content)

    def lines(self, places: Iterable[int]) -> Iterator[dict[str, Any]]:
        """The lines that begin at these places."""
        with self.path.open("rb") as file:
            for place in places:
                file.seek(place)
                yield orjson.loads(file.readline())


def put(path: Path, place: int, content: bytes) -> None:
    """Write into an existing file from `place` on, where it then ends."""
    with path.open("r+b", buffering=0) as file:
        file.seek(place)
        for start in range(0, len(content), 2**20):
            part = content[start : start + 2**20]
            if file.write(part) != len(part):
                raise OSError(28, "No space left on device")
        file.truncate()


def open_journal(path: Path, mark: dict[str, Any], progress: Progress = silent) -> Journal:
    """The journal as it stands, a line that was cut off by a kill forgotten; a new one where there is none.

    Raises RunError where another reader began it, or it is damaged.
    """
    journal = Journal(path)
    path.touch()
    with path.open("rb") as file:
        for content in file:
            if not content.endswith(b"\n"):
                break
            take(journal, as_line(content, path), mark)
            journal.size += len(content)
    if not journal.size:
        journal.add(mark, progress)
    return journal


def take(journal: Journal, line: dict[str, Any], mark: dict[str, Any]) -> None:
    """The next line of a journal taken note of, the first one compared. Raises RunError."""
    if journal.size:
        journal.known[line["file"]] = (journal.size, bool(line["error"]))
    elif line != mark:
        raise RunError(
            f"{journal.path.parent} was begun with another reader, or by another version. Go on with that one, or "
            "remove the folder to read anew."
        )


def as_line(content: bytes, path: Path) -> dict[str, Any]:
    """One line of the journal. Raises RunError."""
    try:
        line: dict[str, Any] = orjson.loads(content)
        if "format" in line or (isinstance(line["file"], str) and isinstance(line["error"], str)):
            return line
    except (ValueError, TypeError, KeyError):
        pass
    raise RunError(f"{path} is damaged. Remove {path.parent} to read anew.")


def patiently(work: Callable[[], None], path: Path, progress: Progress = silent) -> None:
    """Do it, and again where the disk is full or the storage gone, for a minute. Raises RunError after it."""
    began = time.monotonic()
    while True:
        try:
            return work()
        except OSError as error:
            waited = time.monotonic() - began
            if waited > PATIENCE:
                raise RunError(
                    f"Cannot write {path}, for {waited:.0f} s now: {error.strerror or error}. What was read is kept: "
                    "make room, and give the same command again."
                ) from None
            progress(0, 0, waiting=error.strerror or str(error))
        time.sleep(PAUSE)


def keep_all(journal: Journal, names: Sequence[str], told: Iterator[Told], progress: Progress) -> int:
    """Everything that comes goes into the journal; how many files that were."""
    began, before = time.monotonic(), len(names) - len(journal.missing(names))
    progress(before, len(names))
    failed = count = 0
    try:
        for count, each in enumerate(told, start=1):
            journal.keep(each, progress)
            failed += bool(each.error)
            rate = count / max(time.monotonic() - began, 1e-6)
            progress(before + count, len(names), file=Path(each.file).name, rate=rate, failed=failed)
    except KeyboardInterrupt:
        done = f"Stopped after {before + count:,} of {len(names):,} files."
        raise KeyboardInterrupt(f"{done} Go on with the same command.") from None
    return count


# The engine of one machine


def by_processes(files: Sequence[str], run: Path, jobs: int = 0) -> Iterator[Told]:
    """What came of each file, read by `jobs` processes of one thread each (0: one for each core).

    A file that ends its process (no memory, a fault of a decoder) fails alone: it is found out among those that were
    being read.
    """
    left = deque(files)
    while left:
        lost = yield from pooled(left, run, jobs)
        for file in lost:
            alone = yield from pooled(deque([file]), run, 1)
            if alone:
                yield Told(file, error=f"{file} ended the process that read it. Is it far larger than the others?")


def pooled(left: deque[str], run: Path, jobs: int) -> Generator[Told, None, list[str]]:
    """Read what is left until it is empty or a process falls; returns the files that were then being read."""
    from concurrent.futures import FIRST_COMPLETED, Future, wait
    from concurrent.futures.process import BrokenProcessPool

    from joblib import cpu_count
    from joblib.externals.loky import ProcessPoolExecutor

    jobs = min(jobs or cpu_count(), len(left))
    pool = ProcessPoolExecutor(jobs, env=ONE_THREAD, initializer=end_with_parent)
    going: dict[Future[Told], str] = {}
    try:
        while left or going:
            while left and len(going) < AHEAD * jobs:
                task = pool.submit(tell, left[0], run)
                going[task] = left.popleft()
            for done in wait(going, return_when=FIRST_COMPLETED).done:
                told = done.result()
                del going[done]
                yield told
    except BrokenProcessPool:
        return list(going.values())
    finally:
        pool.shutdown(wait=True, kill_workers=True)
    return []


def end_with_parent() -> None:
    """From here on: this process ends where the one that began it is killed, and would else wait for ever."""

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(PAUSE)
        os._exit(1)

    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


def tell(file: str, run: Path) -> Told:
    """One file read, from this machine or a URL."""
    readings, error = attempted(file, lambda: read_anywhere(file, run))
    return Told(file, [reading.as_json() for reading in readings], error)


def read_anywhere(file: str, run: Path) -> list[Reading]:
    """The pages of a file of this machine, or of one that is fetched first. Raises DataError."""
    if is_url(file):
        return read(fetched(file, MOST_BYTES), reader_in(run), file)
    wait_for(Path(file).parent)
    return read(Path(file), reader_in(run))


GONE: set[Path] = set()
"""Folders that this process has waited for in vain."""


def wait_for(folder: Path) -> None:
    """Where pages lie on storage that went away, it is waited for once; each page would fail otherwise."""
    began = time.monotonic()
    while folder not in GONE and not folder.is_dir():
        if time.monotonic() - began > PATIENCE:
            GONE.add(folder)
        time.sleep(PAUSE)


# Tables


def write_table(journal: Journal, places: Sequence[int], out: Path, progress: Progress) -> tuple[int, int]:
    """The table, whole or not at all; how many files and pages are in it."""
    counts = [0, 0]

    def pages() -> Iterator[dict[str, Any]]:
        counts[:] = [0, 0]
        for line in journal.lines(places):
            counts[0] += not line["error"]
            counts[1] += len(line["pages"])
            yield from line["pages"]

    write = TABLES[out.suffix.lower()]
    patiently(lambda: aside(out, lambda path: write(pages(), path)), out, progress)
    return counts[0], counts[1]


def aside(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside `path`, wait for the disk, then move."""
    new = path.with_name(path.name + ".new")
    try:
        write(new)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def write_parquet(pages: Iterator[dict[str, Any]], path: Path) -> None:
    """A row for each page, its digits and refusals as lists."""
    import pyarrow as pa
    from pyarrow import parquet

    box = pa.list_(pa.int32(), 4)
    other = pa.struct([("digit", pa.int8()), ("share", pa.float32())])
    digit = [("digit", pa.int8()), ("confidence", pa.float32()), ("box", box), ("alternatives", pa.list_(other))]
    columns = [("file", pa.string()), ("page", pa.int32()), ("text", pa.string()), ("lines", pa.list_(pa.string()))]
    columns += [("digits", pa.list_(pa.struct(digit)))]
    columns += [("refused", pa.list_(pa.struct([("box", box), ("reason", pa.string())]))), ("seconds", pa.float32())]
    schema = pa.schema(columns)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in several(map(with_names, pages), ROWS):
            writer.write_table(pa.Table.from_pylist(rows, schema))


def with_names(page: dict[str, Any]) -> dict[str, Any]:
    """A page whose alternatives are named, as a column wants them."""
    digits = [
        {**digit, "alternatives": [{"digit": other, "share": share} for other, share in digit["alternatives"]]}
        for digit in page["digits"]
    ]
    return {**page, "digits": digits}


def several(rows: Iterator[dict[str, Any]], many: int) -> Iterator[list[dict[str, Any]]]:
    """Rows in lists of so many."""
    while part := list(islice(rows, many)):
        yield part


def write_csv(pages: Iterator[dict[str, Any]], path: Path) -> None:
    """A row for each page: its text, how many digits, the least confidence of them, how much was refused."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "page", "text", "digits", "confidence", "refused"))
        for page in pages:
            least = min((digit["confidence"] for digit in page["digits"]), default="")
            row = (page["file"], page["page"], page["text"], len(page["digits"]), least, len(page["refused"]))
            writer.writerow(row)


def write_lines(pages: Iterator[dict[str, Any]], path: Path) -> None:
    """The objects of `guarismo read --json`, one on each line."""
    with path.open("wb") as file:
        for page in pages:
            file.write(orjson.dumps(page, option=orjson.OPT_APPEND_NEWLINE))


TABLES: dict[str, Callable[[Iterator[dict[str, Any]], Path], None]] = {
    ".parquet": write_parquet,
    ".csv": write_csv,
    ".jsonl": write_lines,
}
"""How each kind of table is written."""


def failures_of(out: Path) -> Path:
    """Where the failures beside a table stand."""
    return out.with_name(f"{out.name}.failures.csv")


def failures_in(journal: Journal, names: Sequence[str]) -> list[int]:
    """Where the lines of the files stand that could not be read, but for those that are neither named nor there."""
    named = set(map(in_text, names))
    known = {name: place for name, (place, error) in journal.known.items() if error}
    return [place for name, place in known.items() if name in named or is_url(name) or Path(name).exists()]


def write_failures(journal: Journal, places: Sequence[int], out: Path, progress: Progress) -> int:
    """The ledger of files that could not be read, none where there are none; how many."""
    ledger = failures_of(out)
    if not places:
        ledger.unlink(missing_ok=True)
        return 0

    def write(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("file", "error"))
            writer.writerows((line["file"], line["error"]) for line in journal.lines(places))

    patiently(partial(aside, ledger, write), ledger, progress)
    return len(places)
