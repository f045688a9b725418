"""Very many photos: every page once and in order, whatever is killed, full, gone or damaged in between."""

import csv
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fpdf import FPDF
from PIL import Image

from foreign import png, write
from guarismo.errors import RunError
from guarismo.reading.reader import read
from guarismo.results import bulk
from guarismo.results.bulk import Told, by_processes, failures_of, open_journal, read_all, tell
from paper import Scene, photograph
from tiny_run import bars_dataset, make_run

PHOTOS = {"3052": 0, "714": 0, "68": 1}
"""What is written → seed."""


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    return {text: png(photograph(text, Scene(height=40, pen="felt"), seed).pixels) for text, seed in PHOTOS.items()}


@pytest.fixture
def photos(tmp_path, contents) -> list[Path]:
    (tmp_path / "photos").mkdir()
    return [write(tmp_path / "photos" / f"{text}.png", content) for text, content in contents.items()]


def here(files, run):
    """An engine without processes."""
    yield from (tell(file, run) for file in files)


def as_written(files, run):
    """An engine that takes a file's name for what it says: for tests of all that stands around reading."""
    for file in files:
        page = {"file": file, "page": 1, "text": Path(file).stem, "lines": [Path(file).stem], "seconds": 0.1}
        yield Told(file, [{**page, "digits": [], "refused": []}])


def texts(out: Path) -> list[str]:
    return pq.read_table(out, columns=["text"]).column("text").to_pylist()


def unfinished(out: Path) -> Path:
    return out.with_name(f"{out.name}.unfinished")


# Tables


def test_pages_stand_in_the_order_of_the_files_whoever_is_done_first(photos, tmp_path):
    told = []
    files = list(reversed(photos))
    done = read_all(
        files,
        tmp_path / "answers.parquet",
        engine=partial(by_processes, jobs=2),
        progress=lambda done, total, **facts: told.append((done, total, facts)),
    )
    assert texts(done.out) == ["68", "714", "3052"]
    assert (done.files, done.pages, done.failed, done.read) == (3, 3, 0, 3) and done.rate > 0
    assert [row[:2] for row in told] == [(count, 3) for count in range(4)]
    assert sorted(facts["file"] for *_, facts in told[1:]) == sorted(file.name for file in files)
    assert told[-1][2]["rate"] > 0 and told[-1][2]["failed"] == 0
    assert not unfinished(done.out).exists() and not failures_of(done.out).exists()


def test_a_row_holds_what_the_reader_says(photos, tmp_path):
    (reading,) = read(photos[0])
    said = {**reading.as_json(), "seconds": 0}
    for suffix in (".parquet", ".jsonl", ".csv"):
        read_all(photos[:1], tmp_path / f"answers{suffix}", engine=here)
    assert {**json.loads((tmp_path / "answers.jsonl").read_text()), "seconds": 0} == said
    (row,) = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert [digit["digit"] for digit in row["digits"]] == [digit["digit"] for digit in said["digits"]]
    assert [digit["box"] for digit in row["digits"]] == [digit["box"] for digit in said["digits"]]
    assert {key: row[key] for key in ("file", "page", "text", "lines")} == {
        key: said[key] for key in ("file", "page", "text", "lines")
    }
    (row,) = csv.DictReader((tmp_path / "answers.csv").open(newline=""))
    least = min(digit["confidence"] for digit in said["digits"])
    assert row == {
        "file": str(photos[0]), "page": "1", "text": "3052", "digits": "4", "confidence": str(least), "refused": "0",
    }  # fmt: skip


def test_alternatives_of_a_digit_come_along(tmp_path):
    digit = {"digit": 4, "confidence": 0.6, "box": [1, 2, 3, 4], "alternatives": [[9, 0.4]]}
    page = {"file": "a.png", "page": 1, "text": "4", "lines": ["4"], "digits": [digit], "seconds": 0.5}
    page["refused"] = [{"box": [5, 6, 7, 8], "reason": "a line"}]
    bulk.write_parquet(iter([page]), tmp_path / "a.parquet")
    (row,) = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert row["digits"][0]["alternatives"] == [{"digit": 9, "share": pytest.approx(0.4)}]
    assert row["refused"] == page["refused"]


def test_each_page_of_a_pdf_is_a_row(tmp_path, contents):
    document = FPDF(format=(120, 60))
    for text in ("3052", "714"):
        document.add_page()
        document.image(Image.fromarray(photograph(text, Scene(height=60, pen="felt"), 0).pixels), x=10, y=8, w=80)
    file = write(tmp_path / "two.pdf", bytes(document.output()))
    done = read_all([file], tmp_path / "answers.parquet", engine=here)
    assert (done.files, done.pages) == (1, 2)
    assert texts(done.out) == ["3052", "714"]


def test_more_pages_than_are_written_at_once(tmp_path):
    files = [f"{number}.png" for number in range(2 * bulk.ROWS + 1)]
    done = read_all(files, tmp_path / "answers.parquet", engine=as_written)
    assert texts(done.out) == [Path(file).stem for file in files]
    assert pq.ParquetFile(done.out).num_row_groups == 3


def test_no_page_at_all_is_a_table_without_rows(tmp_path):
    bad = write(tmp_path / "bad.png", b"")
    for suffix in bulk.TABLES:
        assert read_all([bad], tmp_path / f"answers{suffix}", engine=here).pages == 0
    assert texts(tmp_path / "answers.parquet") == []


# What is refused


def test_a_table_of_another_kind_is_refused(photos, tmp_path):
    with pytest.raises(RunError, match=r"Unknown kind of table '\.xlsx'\. Choose from \.parquet, \.csv, \.jsonl"):
        read_all(photos, tmp_path / "answers.xlsx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_a_table_that_is_whole_is_not_written_over(photos, tmp_path):
    done = read_all(photos[:1], tmp_path / "answers.csv", engine=as_written)
    before = done.out.read_bytes()
    with pytest.raises(RunError, match=r"answers\.csv is there already, and whole"):
        read_all(photos, done.out, engine=as_written)
    assert done.out.read_bytes() == before


def test_what_another_reader_began_is_not_gone_on_with(photos, tmp_path):
    out = tmp_path / "answers.csv"
    unfinished(out).mkdir()
    journal = open_journal(
        unfinished(out) / "journal", {"format": bulk.FORMAT, "model": "of another", "temperature": 1.0}
    )
    journal.keep(Told(str(photos[0]), [{"text": "1"}]))
    with pytest.raises(RunError, match="was begun with another reader"):
        read_all(photos, out, engine=as_written)


def test_a_damaged_journal_is_refused(photos, tmp_path):
    out = tmp_path / "answers.csv"
    read_all([*photos, tmp_path / "absent.png"], out, engine=fails_of("absent"))
    path = unfinished(out) / "journal"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b'{"file": 3}\n', *lines[2:]]))
    with pytest.raises(RunError, match=r"journal is damaged. Remove"):
        read_all(photos, out, engine=as_written)


def test_a_run_that_reads_no_digits_is_refused(photos, tmp_path):
    run = make_run(tmp_path / "run", bars_dataset())
    with pytest.raises(RunError, match="guarismo train mnist --recipe reader"):
        read_all(photos, tmp_path / "answers.csv", run.folder)


def test_two_cannot_write_the_same_table(photos, tmp_path):
    out = tmp_path / "answers.csv"

    def engine(files, run):
        with pytest.raises(RunError, match="Another process is writing"):
            read_all(photos, out, engine=as_written)
        yield from as_written(files, run)

    assert read_all(photos, out, engine=engine).files == 3


# Failures


def fails_of(*stems: str):
    """An engine that cannot read some files."""

    def engine(files, run):
        for told in as_written(files, run):
            yield Told(told.file, error=f"{told.file} is damaged") if Path(told.file).stem in stems else told

    return engine


def test_failures_are_listed_and_tried_again_by_the_next_run(photos, tmp_path, contents):
    bad = write(tmp_path / "photos" / "bad.png", contents["68"][:500])
    files, out = [photos[0], bad, *photos[1:]], tmp_path / "answers.parquet"
    done = read_all(files, out, engine=here)
    assert (done.files, done.failed, texts(out)) == (3, 1, ["3052", "714", "68"])
    (row,) = csv.DictReader(failures_of(out).open(newline=""))
    assert row["file"] == str(bad) and str(bad) in row["error"]

    write(bad, contents["68"])
    asked = []
    done = read_all(files, out, engine=lambda files, run: here(asked.append(list(files)) or files, run))
    assert asked == [[str(bad)]]
    assert (done.read, done.files, done.failed) == (1, 4, 0)
    assert texts(out) == ["3052", "68", "714", "68"]
    assert not failures_of(out).exists() and not unfinished(out).exists()


def test_a_file_that_failed_twice_is_listed_once(photos, tmp_path):
    out = tmp_path / "answers.csv"
    for _ in range(2):
        assert read_all(photos, out, engine=fails_of("714")).failed == 1
    assert len(failures_of(out).read_text().splitlines()) == 2
    assert len(out.read_text().splitlines()) == 3


def test_files_that_come_later_take_their_place_and_answers_of_files_gone_stay(photos, tmp_path):
    out = tmp_path / "answers.parquet"
    read_all([photos[0], photos[2]], out, engine=fails_of("68"))
    read_all([photos[1]], out, engine=as_written)
    assert texts(out) == ["714", "3052"]
    assert "68.png" in failures_of(out).read_text()
    read_all(photos, out, engine=as_written)
    assert texts(out) == ["3052", "714", "68"]


def test_a_file_that_failed_and_was_removed_is_forgotten(photos, tmp_path):
    out = tmp_path / "answers.parquet"
    assert read_all(photos, out, engine=fails_of("68")).failed == 1
    photos[2].unlink()
    assert read_all(photos[:2], out, engine=as_written).failed == 0
    assert texts(out) == ["3052", "714"] and not failures_of(out).exists()


def test_a_page_that_vanishes_while_others_are_read_fails_alone(photos, tmp_path):
    def engine(files, run):
        for file in files:
            told = tell(file, run)
            photos[2].unlink(missing_ok=True)
            yield told

    done = read_all(photos, tmp_path / "answers.parquet", engine=engine)
    assert (texts(done.out), done.failed) == (["3052", "714"], 1)
    assert "68.png" in failures_of(done.out).read_text()


def test_a_page_that_ends_its_process_fails_alone(photos, tmp_path, monkeypatch):
    """As one does that asks for more memory than there is; it is planted by a function of its own."""
    true_tell = tell

    def fatal(file, run):
        if Path(file).stem == "714":
            os.kill(os.getpid(), signal.SIGKILL)
        return true_tell(file, run)

    monkeypatch.setattr(bulk, "tell", fatal)
    done = read_all(photos, tmp_path / "answers.parquet", engine=partial(by_processes, jobs=2))
    assert (texts(done.out), done.failed) == (["3052", "68"], 1)
    assert "ended the process that read it" in failures_of(done.out).read_text()


# Kills


def started(photos: Path, out: Path) -> subprocess.Popen[bytes]:
    """`guarismo read` in a group of its own, as a shell would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "guarismo", "read", str(photos), "--out", str(out), "--jobs", "1"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for_line(out: Path, process: subprocess.Popen[bytes]) -> int:
    """Until the first file stands in the journal; returns how many do."""
    path = unfinished(out) / "journal"
    while True:
        if path.exists() and (lines := path.read_bytes().count(b"\n")) > 1:
            return lines - 1
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            raise AssertionError(process.stderr.read().decode())


def children_of(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_it_goes_on_and_reads_nothing_twice(photos, tmp_path, contents):
    for number in range(12):
        write(tmp_path / "photos" / f"{number:02}.png", contents["68"])
    out = tmp_path / "answers.parquet"
    process = started(tmp_path / "photos", out)
    wait_for_line(out, process)
    workers = [os.pidfd_open(worker) for worker in children_of(process.pid)]
    process.kill()
    process.communicate()
    for worker in workers:  # they find out by themselves
        assert select.select([worker], [], [], 60)[0]
        os.close(worker)
    with (unfinished(out) / "journal").open("rb") as file:
        known = {json.loads(line)["file"] for line in file.readlines()[1:] if line.endswith(b"\n")}
    with (unfinished(out) / "journal").open("ab") as file:
        file.write(b'{"file": "cut of')  # as a kill in the middle of a line
    assert not out.exists()
    files = sorted((tmp_path / "photos").iterdir())
    asked = []
    done = read_all(files, out, engine=lambda names, run: here(asked.extend(names) or names, run))
    assert {*asked, *known} == {str(file) for file in files} and not known & set(asked)
    assert pq.read_table(out).column("file").to_pylist() == [str(file) for file in files]
    assert (done.read, done.failed) == (len(asked), 0)


def test_ctrl_c_says_how_to_go_on(photos, tmp_path, contents):
    for number in range(30):
        write(tmp_path / "photos" / f"{number:02}.png", contents["68"])
    out = tmp_path / "answers.parquet"
    process = started(tmp_path / "photos", out)
    wait_for_line(out, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers too
    words = process.communicate()[1].decode()
    assert process.returncode == 130
    assert "of 33 files. Go on with the same command." in words
    assert "Traceback" not in words


def test_a_file_named_twice_is_read_once(photos, tmp_path):
    done = read_all([photos[0], photos[0]], tmp_path / "answers.parquet", engine=here)
    assert (done.read, texts(done.out)) == (1, ["3052"])


def test_a_name_that_is_not_utf8_is_read_and_remembered(photos, tmp_path):
    """As disks of other systems have them."""
    odd = photos[0].rename(Path(os.fsdecode(bytes(tmp_path / "photos") + b"/caf\xe9.png")))
    out = tmp_path / "answers.parquet"
    read_all([odd, photos[1]], out, engine=lambda files, run: [*here(files[:1], run), Told(files[1], error="no")])
    asked = []
    done = read_all([odd, photos[1]], out, engine=lambda files, run: here(asked.extend(files) or files, run))
    assert asked == [str(photos[1])]
    assert texts(done.out) == ["3052", "714"]
    assert pq.read_table(out).column("file").to_pylist()[0].endswith("caf\\xe9.png")


def test_a_file_read_twice_counts_once(photos, tmp_path):
    """As where a machine was cut off from the others and its pages were given to another."""
    out = tmp_path / "answers.parquet"
    done = read_all(photos, out, engine=lambda files, run: [*as_written(files, run), *here(files, run)])
    assert (done.pages, len(texts(out))) == (3, 3)


# Storage


def test_a_full_disk_is_waited_out(photos, tmp_path, monkeypatch):
    """The limit on the size of a file stands for the disk: what is written in part is written again, whole."""
    monkeypatch.setattr(bulk, "PAUSE", 0)
    out, told = tmp_path / "answers.parquet", []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def progress(done, total, **facts):
        told.append(facts)
        if "waiting" in facts:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def engine(files, run):
        for number, told in enumerate(as_written(files, run)):
            if number == 1:
                size = (unfinished(out) / "journal").stat().st_size
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, before[1]))
            yield told

    try:
        done = read_all(photos, out, engine=engine, progress=progress)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sum("waiting" in facts for facts in told) == 1
    assert texts(done.out) == ["3052", "714", "68"]


def test_storage_that_goes_away_and_comes_back_is_waited_for(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "PAUSE", 0)
    place, away, waits = tmp_path / "storage", tmp_path / "away", []
    place.mkdir()

    def engine(files, run):
        for told in as_written(files, run):
            place.rename(away)
            yield told

    def progress(done, total, **facts):
        if "waiting" in facts:
            waits.append(facts["waiting"])
            away.rename(place)

    done = read_all(photos, place / "answers.csv", engine=engine, progress=progress)
    assert waits == ["No such file or directory"] * 3
    assert done.files == 3 and len((place / "answers.csv").read_text().splitlines()) == 4


def test_pages_on_storage_that_comes_back_are_read(photos, tmp_path, monkeypatch):
    folder = photos[0].parent
    away = folder.rename(tmp_path / "away")
    monkeypatch.setattr(bulk.time, "sleep", lambda _: away.rename(folder))
    assert tell(str(photos[0]), bulk.SHIPPED).pages[0]["text"] == "3052"


def test_storage_that_does_not_come_back_is_an_error_that_keeps_what_was_read(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "PAUSE", 0)
    monkeypatch.setattr(bulk, "PATIENCE", 0)
    place = tmp_path / "storage"
    place.mkdir()

    def engine(files, run):
        for number, told in enumerate(as_written(files, run)):
            if number == 2:
                place.rename(tmp_path / "away")
            yield told

    with pytest.raises(RunError, match=r"Cannot write .*journal.* No such file .* give the same command again"):
        read_all(photos, place / "answers.csv", engine=engine)
    (tmp_path / "away").rename(place)
    asked = []
    read_all(photos, place / "answers.csv", engine=lambda files, run: as_written(asked.extend(files) or files, run))
    assert asked == [str(photos[2])]


# The command


def test_the_command_writes_a_table_and_says_what_failed(photos, tmp_path, command):
    write(tmp_path / "photos" / "bad.png", b"")
    out = tmp_path / "answers.csv"
    status, said, complaints = command("read", tmp_path / "photos", "--out", out, "--jobs", 1)
    assert status == 1
    assert said.startswith(f"{out}: 3 pages of 3 files; 4 files read now")
    assert f"Why: {failures_of(out)}" in complaints and "1 of 4 could not be read" in complaints
    (tmp_path / "photos" / "bad.png").unlink()
    shutil.rmtree(unfinished(out))
    out.unlink()
    status, said, complaints = command("read", tmp_path / "photos", "--out", out, "--jobs", 1, "--json")
    assert (status, complaints) == (0, "")
    assert {**json.loads(said), "seconds": 0} == {
        "out": str(out), "files": 3, "pages": 3, "failed": 0, "read": 3, "seconds": 0, "problems": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("--out", "a.csv", "--annotate", "b"), "Leave out --annotate"),
        (("--on", "ray"), "name it with --out"),
        (("--out", "a.csv", "--address", "auto"), "Add --on ray"),
        (("--out", "a.csv", "--on", "spark"), "Choose from here, ray"),
        (("--out", "a.csv", "--jobs", "-1"), "must be 0 or more"),
        (("--out", "a.txt"), "Choose from .parquet"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(photos, monkeypatch, command, words, remedy):
    monkeypatch.chdir(photos[0].parent)
    status, said, complaints = command("read", *photos, *words)
    assert (status, said) == (1, "") and remedy in complaints
    assert sorted(Path().iterdir()) == sorted(Path(photo.name) for photo in photos)
