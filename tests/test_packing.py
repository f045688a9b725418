"""A pack is decoded once, gone on with where it was cut off, and trusted only while it is whole and fresh."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drawn import draw, draw_pets
from foreign import printed_by_a_user
from guarismo.data import packing
from guarismo.data.folders import list_images, read_folder
from guarismo.data.packing import Pack, open_or_make_pack
from guarismo.errors import DataError
from guarismo.progress import Progress, silent


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GUARISMO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def cats_and_dogs(tmp_path) -> Path:
    return draw_pets(tmp_path / "pets")


def packs(cache: Path) -> list[Path]:
    return [path for path in (cache / "packs").iterdir() if path.suffix != ".lock"]


def progress_of(folder: Path) -> list[tuple[int, int]]:
    """What packing the folder tells of (done, total)."""
    told = []
    packed(folder, lambda *counts, **_: told.append(counts))
    return told


def decodes(folder: Path) -> bool:
    """Whether packing the folder tells of progress: only decoding does."""
    return bool(progress_of(folder))


def packed(folder: Path, progress: Progress = silent) -> Pack:
    return open_or_make_pack(list_images(folder), None, None, progress)


# Once made


def test_the_second_time_nothing_is_decoded(cats_and_dogs, cache):
    assert decodes(cats_and_dogs)
    assert not decodes(cats_and_dogs)
    assert len(packs(cache)) == 1


def test_a_changed_added_or_removed_file_makes_the_pack_stale(cats_and_dogs):
    read_folder(cats_and_dogs)
    draw(cats_and_dogs / "cats" / "0.png", 77)
    assert read_folder(cats_and_dogs).train.images[0, 0, 0, 0] == 77
    draw(cats_and_dogs / "cats" / "4.png", 14)
    assert len(read_folder(cats_and_dogs).train) == 9
    (cats_and_dogs / "dogs" / "0.png").unlink()
    assert len(read_folder(cats_and_dogs).train) == 8
    os.utime(cats_and_dogs / "dogs" / "1.png", ns=(1, 1))
    assert decodes(cats_and_dogs)


def flip(images: Path) -> None:
    content = images.read_bytes()
    images.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def flip_unseen(images: Path) -> None:
    about = images.stat()
    flip(images)
    os.utime(images, ns=(about.st_atime_ns, about.st_mtime_ns))


def flip_in_the_same_tick(images: Path) -> None:
    """What the index says of the file's size and times is true, yet it was written into afterwards."""
    flip(images)
    about, index = images.stat(), images.with_name("index.json")
    state = [about.st_size, about.st_mtime_ns, about.st_ctime_ns]
    index.write_text(json.dumps(json.loads(index.read_text()) | {"state": state}))
    os.utime(index, ns=(about.st_ctime_ns, about.st_ctime_ns))


DAMAGES = {
    "cut short": lambda images: images.write_bytes(images.read_bytes()[:-10]),
    "altered header": lambda images: images.write_bytes(images.read_bytes().replace(b"(8, 4, 6", b"(8, 6, 4")),
    "one bit flipped": lambda images: flip(images),
    "one bit flipped, its time set back": lambda images: flip_unseen(images),
    "one bit flipped as the index was written": lambda images: flip_in_the_same_tick(images),
    "removed": lambda images: images.unlink(),
    "no index": lambda images: images.with_name("index.json").unlink(),
    "half an index": lambda images: images.with_name("index.json").write_text('{"format": 1'),
    "another index": lambda images: images.with_name("index.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pack_is_made_again(cats_and_dogs, cache, damage):
    before = read_folder(cats_and_dogs).train.images
    DAMAGES[damage](packs(cache)[0] / "images.npy")
    np.testing.assert_array_equal(read_folder(cats_and_dogs).train.images, before)
    assert not decodes(cats_and_dogs)


def test_a_whole_pack_that_was_copied_is_opened(cats_and_dogs, cache):
    """Its times are others: the content decides."""
    read_folder(cats_and_dogs)
    shutil.copytree(cache, cache.with_name("copy"))
    shutil.rmtree(cache)
    cache.with_name("copy").rename(cache)
    assert not decodes(cats_and_dogs)


def test_a_cache_that_cannot_be_written_says_how_to_choose_another(cats_and_dogs, cache):
    cache.write_text("a file stands where the folder should be")
    with pytest.raises(DataError, match="GUARISMO_CACHE"):
        read_folder(cats_and_dogs)


def test_a_pack_in_a_cache_that_can_only_be_read_is_opened(cats_and_dogs, cache):
    read_folder(cats_and_dogs)
    for folder in (*packs(cache), cache / "packs"):
        folder.chmod(0o555)
    (lock,) = (cache / "packs").glob("*.lock")
    lock.chmod(0o444)
    script = f"""
        from guarismo.data.folders import read_folder
        from guarismo.errors import DataError
        print(len(read_folder({str(cats_and_dogs)!r}).train))
        try:
            read_folder({str(cats_and_dogs)!r}, channels=3)
        except DataError as error:
            print(error)
    """
    try:
        opened, refused = printed_by_a_user(script).splitlines()
    finally:
        (cache / "packs").chmod(0o755)
    assert opened == "8"
    assert "Cannot write into the cache" in refused and "GUARISMO_CACHE" in refused


def test_a_file_that_may_be_read_again_is_read_again(cats_and_dogs):
    forbidden = cats_and_dogs / "cats" / "1.png"
    forbidden.chmod(0)
    script = f"""
        from pathlib import Path
        from guarismo.data.folders import read_folder
        from guarismo.errors import DataError
        try:
            read_folder({str(cats_and_dogs)!r})
        except DataError as error:
            print(error)
        Path({str(forbidden)!r}).chmod(0o644)
        print(len(read_folder({str(cats_and_dogs)!r}).train))
    """
    refused, read = printed_by_a_user(script).splitlines()
    assert "cats/1.png cannot be read: Permission denied" in refused
    assert read == "8"


def test_a_full_disk_leaves_nothing_behind(cats_and_dogs, cache):
    """The system refuses files beyond a limit, as it does on a full disk."""
    resource = pytest.importorskip("resource", reason="POSIX only")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match="Cannot write into the cache"):
            read_folder(cats_and_dogs, size=(512, 512))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert packs(cache) == []


def test_more_images_than_any_disk_holds_is_told_before_writing(tmp_path):
    with pytest.raises(DataError, match="--size"):
        packing.reserve(tmp_path / "images.npy", (10**9, 4096, 4096, 3))


def test_a_disk_that_is_full_half_way_leaves_nothing_behind(cats_and_dogs, cache, monkeypatch):
    resource = pytest.importorskip("resource", reason="POSIX only")
    monkeypatch.setattr(packing, "CHUNK", 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    told = []

    def fill_the_disk(done: int, total: int, **facts: object) -> None:
        told.append(done)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))

    try:
        with pytest.raises(DataError, match="Cannot write into the cache"):
            packed(cats_and_dogs, fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told == [2]
    assert packs(cache) == []


# Cut off, and gone on with


def interrupt(folder: Path, at: int) -> None:
    """Ctrl-C after `at` images; chunks are of two."""

    def press(done: int, total: int, **facts: object) -> None:
        if done >= at:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "CHUNK", 2)
        with pytest.raises(KeyboardInterrupt):
            packed(folder, press)


@pytest.fixture
def in_twos(monkeypatch) -> None:
    monkeypatch.setattr(packing, "CHUNK", 2)


def begun_in(cache: Path) -> Path:
    """The folder of what was begun."""
    (begun,) = (cache / "packs").glob("*.new/*")
    return begun


def test_after_an_interruption_only_the_rest_is_decoded(cats_and_dogs, cache, in_twos):
    (cats_and_dogs / "cats" / "1.png").write_bytes(b"")
    draw(cats_and_dogs / "cats" / "2.png", 12, size=(60, 40))
    interrupt(cats_and_dogs, at=4)
    told = []
    pack = packed(cats_and_dogs, lambda *counts, **_: told.append(counts))
    assert told == [(4, 8), (6, 8), (8, 8)]
    assert pack.images[:, 0, 0, 0].tolist() == [10, 0, 12, 13, 20, 21, 22, 23]
    assert (pack.resized, list(pack.bad)) == (1, ["cats/1.png"])
    assert [path.name for path in sorted(packs(cache)[0].iterdir())] == ["images.npy", "index.json"]
    assert len(packs(cache)) == 1


TORN = {
    "half a line": lambda journal: journal[:-9],
    "a line without its end": lambda journal: journal[:-1],
    "zeros, as after a power cut": lambda journal: journal[:-9] + bytes(4096),
    "a line of something else": lambda journal: journal.replace(b'{"start": 2', b'{"begin": 2'),
}


@pytest.mark.parametrize("tear", TORN)
def test_a_torn_journal_holds_up_to_where_it_is_torn(cats_and_dogs, cache, in_twos, tear):
    interrupt(cats_and_dogs, at=4)
    journal = begun_in(cache) / "journal.jsonl"
    journal.write_bytes(TORN[tear](journal.read_bytes()))
    interrupt(cats_and_dogs, at=6)  # goes on in the same journal
    assert progress_of(cats_and_dogs) == [(6, 8), (8, 8)]
    assert packed(cats_and_dogs).images[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 20, 21, 22, 23]


def test_what_was_begun_of_other_files_is_thrown_away(cats_and_dogs, cache, in_twos):
    interrupt(cats_and_dogs, at=4)
    draw(cats_and_dogs / "cats" / "0.png", 77)
    assert progress_of(cats_and_dogs)[0] == (2, 8)
    assert packed(cats_and_dogs).images[0, 0, 0, 0] == 77
    assert len(packs(cache)) == 1


def test_chunks_of_another_length_are_not_taken_for_those_begun(cats_and_dogs, monkeypatch):
    interrupt(cats_and_dogs, at=2)
    monkeypatch.setattr(packing, "CHUNK", 3)
    assert packed(cats_and_dogs).images[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 20, 21, 22, 23]


@pytest.mark.parametrize("damage", ["cut short", "removed"])
def test_an_array_that_was_damaged_since_is_begun_anew(cats_and_dogs, cache, in_twos, damage):
    interrupt(cats_and_dogs, at=4)
    DAMAGES[damage](begun_in(cache) / "images.npy")
    assert progress_of(cats_and_dogs)[0] == (2, 8)
    assert packed(cats_and_dogs).images[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 20, 21, 22, 23]


def test_colour_that_was_found_before_an_interruption_is_not_sought_again(tmp_path, in_twos):
    """The coloured one is none of the few that are looked at beforehand."""
    for number in range(150):
        draw(tmp_path / "in" / f"{number:03}.png", number, mode="RGB")
    Image.new("RGB", (6, 4), (200, 0, 0)).save(tmp_path / "in" / "001.png")
    interrupt(tmp_path / "in", at=20)
    assert progress_of(tmp_path / "in")[0] == (20, 150)
    assert packed(tmp_path / "in").images[[1, 149], 0, 0].tolist() == [[200, 0, 0], [149, 149, 149]]


# In parallel


@pytest.fixture
def many(tmp_path) -> Path:
    """More images than one process takes on alone."""
    first = draw(tmp_path / "many" / "a" / "0.png", 7).read_bytes()
    for number in range(1, packing.FEW + 500):
        (tmp_path / "many" / "a" / f"{number}.png").write_bytes(first)
    return tmp_path / "many"


def test_many_images_are_decoded_in_parallel_and_in_order(many):
    draw(many / "a" / "777.png", 200)
    seen = []
    images = read_folder(many, progress=lambda done, total, **_: seen.append((done, total))).train.images
    names = sorted(path.name for path in (many / "a").iterdir())
    assert np.flatnonzero(images[:, 0, 0, 0] == 200).tolist() == [names.index("777.png")]
    assert seen[-1] == (len(names), len(names))


def test_a_corrupt_image_among_many_is_named_or_left_out_in_parallel_too(many):
    bad = many / "a" / "777.png"
    bad.write_bytes(bad.read_bytes()[:40])
    with pytest.raises(DataError, match=r"1 image cannot be read: a/777\.png.*--skip-bad"):
        read_folder(many)
    content = read_folder(many, skip_bad=True)
    assert len(content.train) == packing.FEW + 499
    assert (content.train.images == 7).all()
    assert content.notes == ("1 unreadable images were left out: a/777.png.",)


def run_script(script: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run in its own process group, as in a terminal, without the guard that multiprocessing would ask of a script.

    This returns only when every process has closed its pipes: none is left."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
        env={**os.environ, "GUARISMO_CACHE": str(cache)},
    )


def test_ctrl_c_ends_the_workers_and_the_next_call_goes_on(many, cache):
    script = f"""
        import os, signal
        from guarismo.data.folders import read_folder
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
        try:
            read_folder({str(many)!r}, progress=lambda *a, **k: os.killpg(os.getpgrp(), signal.SIGINT))
        except KeyboardInterrupt:
            print("interrupted")
    """
    ran = run_script(script, cache)
    assert ran.stdout == "interrupted\n", ran.stderr
    assert "Traceback" not in ran.stderr
    assert progress_of(many)[0][0] in (packing.CHUNK, len(list_images(many).files) % packing.CHUNK)  # one was done
    assert (packed(many).images == 7).all()


def test_a_killed_process_loses_nothing_that_was_entered_and_the_pack_is_the_same(many, cache, monkeypatch):
    for number in range(0, 1500, 100):
        draw(many / "a" / f"{number}.png", number // 10, size=(12, 8))
    (many / "a" / "777.png").write_bytes(b"no image")
    script = f"""
        import os, signal
        from pathlib import Path
        from guarismo.data import packing
        from guarismo.data.folders import list_images
        def kill_at_half(done, total, **facts):
            if done >= total / 2:
                print(done, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
        packing.SYNC_EVERY = 0
        packing.open_or_make_pack(list_images(Path({str(many)!r})), None, None, kill_at_half)
    """
    ran = run_script(script, cache)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    total = len(list_images(many).files)
    told = []
    resumed = packed(many, lambda *counts, **_: told.append(counts))
    assert told[0] == (int(ran.stdout), total)
    assert told[-1] == (total, total)
    monkeypatch.setenv("GUARISMO_CACHE", str(cache.with_name("another")))
    unbroken = packed(many)
    np.testing.assert_array_equal(resumed.images, unbroken.images)
    assert (resumed.resized, resumed.recoloured, resumed.bad) == (15, 0, dict(unbroken.bad))
    assert list(unbroken.bad) == ["a/777.png"]
