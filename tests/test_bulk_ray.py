"""Bulk reading on several nodes: the same table as on one machine, whatever becomes of a node."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from foreign import png, write
from guarismo.reading.reader import SHIPPED
from guarismo.results import bulk_ray
from guarismo.results.bulk import Told, failures_of, read_all, tell
from guarismo.results.bulk_ray import by_ray, packed, unpacked
from paper import Scene, photograph

pytest.importorskip("ray", reason="needs ray, the [ray] extra")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> list[Path]:
    """Forty pages, in a folder that both nodes see."""
    folder = tmp_path_factory.mktemp("pages")
    contents = [png(photograph(text, Scene(height=40, pen="felt"), 1).pixels) for text in ("3052", "714", "68")]
    return [write(folder / f"{number:02}.png", contents[number % 3]) for number in range(40)]


def rows(out: Path) -> list[dict]:
    """What a table says; how long each page took differs."""
    return [{**row, "seconds": 0} for row in pq.read_table(out).to_pylist()]


def by_hand(files, run):
    yield from (tell(file, run) for file in files)


@pytest.fixture(scope="module")
def expected(pages, tmp_path_factory) -> list[dict]:
    return rows(read_all(pages, tmp_path_factory.mktemp("here") / "answers.parquet", engine=by_hand).out)


def test_a_node_that_is_killed_half_way_costs_no_page(pages, expected, tmp_path, ray_cluster, second_node, capfd):
    def progress(done, total, **facts):
        if done == len(pages) // 2:
            ray_cluster.remove_node(second_node, allow_graceful=False)

    done = read_all(pages, tmp_path / "answers.parquet", engine=by_ray, progress=progress)
    assert second_node not in ray_cluster.worker_nodes
    assert (done.files, done.pages, done.failed) == (40, 40, 0)
    assert rows(done.out) == expected
    assert capfd.readouterr().out == ""  # where answers would stand


def test_a_run_travels_to_the_nodes_and_bad_files_are_listed(pages, expected, tmp_path, ray_cluster):
    run = shutil.copytree(SHIPPED, tmp_path / "run")
    bad = write(tmp_path / "bad.png", b"")
    done = read_all([pages[0], bad, pages[1]], tmp_path / "answers.parquet", run, by_ray)
    assert rows(done.out) == expected[:2]
    (row,) = csv.DictReader(failures_of(done.out).open(newline=""))
    assert row["file"] == str(bad) and "is empty" in row["error"]


def test_a_run_that_is_unpacked_is_the_run_that_was_packed(tmp_path):
    run = shutil.copytree(SHIPPED, tmp_path / "run")
    (run / ".lock").touch()
    folder = unpacked(packed(run))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in SHIPPED.iterdir()
    }
    assert unpacked(packed(SHIPPED)) == SHIPPED


def test_pages_may_lie_at_urls(pages, expected, tmp_path, ray_cluster):
    urls = [page.as_uri() for page in pages[:2]]
    done = read_all([*urls, "memory://nowhere/a.png"], tmp_path / "answers.parquet", engine=by_ray)
    assert [row["text"] for row in rows(done.out)] == [row["text"] for row in expected[:2]]
    assert [row["file"] for row in rows(done.out)] == urls
    assert "memory://nowhere/a.png does not exist" in failures_of(done.out).read_text()


def test_the_command_reads_on_ray_with_pages_run_and_table_at_urls(
    pages, expected, tmp_path, ray_cluster, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for page in pages[:3]:
        shutil.copy(page, tmp_path / "mine")
    run = shutil.copytree(SHIPPED, tmp_path / "run")
    out = (tmp_path / "store" / "answers.parquet").as_uri()
    words = ("read", (tmp_path / "mine").as_uri(), "--out", out, "--run", run.as_uri(), "--on", "ray", "--json")
    status, said, complaints = command(*words)
    assert (status, complaints) == (0, "")
    assert {key: json.loads(said)[key] for key in ("out", "pages", "failed")} == {"out": out, "pages": 3, "failed": 0}
    assert [row["text"] for row in rows(tmp_path / "store" / "answers.parquet")] == [
        row["text"] for row in expected[:3]
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "run", "store"]
    status, said, complaints = command(*words)
    assert (status, said) == (1, "") and "is there already" in complaints


def test_names_count_from_where_they_were_given(pages, tmp_path, ray_cluster, monkeypatch):
    """The nodes' processes run elsewhere; and a name may be no UTF-8."""
    odd = os.fsdecode(b"caf\xe9.png")
    shutil.copy(pages[0], tmp_path / odd)
    monkeypatch.chdir(tmp_path)
    (row,) = rows(read_all([odd], tmp_path / "answers.parquet", engine=by_ray).out)
    assert (row["file"], row["text"]) == ("caf\\xe9.png", "3052")


def test_a_page_that_ends_its_process_fails_alone(tmp_path, ray_cluster, monkeypatch):
    def fatal(batch, model, folder):
        if b"b.png" in list(batch["item"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return {"file": batch["item"], "told": [b"[[]]"] * len(batch["item"])}

    monkeypatch.setattr(bulk_ray, "RETRIES", 0)
    monkeypatch.setattr(bulk_ray, "tell_several", fatal)
    told = {each.file: each.error for each in by_ray(["a.png", "b.png", "c.png"], SHIPPED)}
    assert told == {"a.png": "", "c.png": "", "b.png": told["b.png"]}
    assert "b.png ended each process that read it" in told["b.png"]


def test_many_files_are_handed_out_part_by_part(tmp_path, ray_cluster, monkeypatch):
    handed = []

    def noted(left, model, together, jobs):
        handed.append((len(left), together))
        for file in list(left):
            left.pop(file)
            yield Told(file)

    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 1.0})
    monkeypatch.setattr(bulk_ray, "PART", 8)
    monkeypatch.setattr(bulk_ray, "answered", noted)
    files = list("abcdefghijk")
    assert [told.file for told in by_ray(files, SHIPPED)] == files
    assert handed == [(8, 2), (3, 1)]
