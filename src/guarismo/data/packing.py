"""Pack: images decoded once, in parallel, into an array on disk that opens at once the next time.

A pack is a folder in the cache: images.npy, every image at one size, and index.json, which says what it was made of.
It is made aside and moved into place whole; a pack that is stale or damaged is made again. What a killed process began
stays aside, with a journal of the chunks that are done, and the next call goes on with it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from guarismo.data.arrays import MOST_BYTES, npy_header
from guarismo.data.images import Pixels, common_size, decode_image, fit_image, has_colour, image_size, with_channels
from guarismo.errors import DataError
from guarismo.progress import Progress

FORMAT = 3
"""Version of the pack; another one is made again."""

CHUNK = 256
"""Images per task: 10–30 ms of work for small ones, far more than the cost of handing it over."""

FEW = 1024
"""Up to so many images are decoded here: starting other processes takes 0.5 s."""

SYNC_EVERY = 5.0
"""Seconds of work that a killed process may lose: so often is what is decoded forced to the disk and then entered."""

JOURNAL = "journal.jsonl"

SAMPLE = 1000
COLOUR_SAMPLE = 50


def cache_folder() -> Path:
    """Where Guarismo keeps what it can make or fetch again: GUARISMO_CACHE, or the system's usual place."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("GUARISMO_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("guarismo")


def cannot_write(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"Cannot write into the cache {folder}: {error.strerror or error}. "
        "Make room, or choose another folder with the environment variable GUARISMO_CACHE."
    )


# What is to be packed


class File(NamedTuple):
    """One image file: its path below the source with '/', its bytes, and a number that changes when it does.

    In a folder that is when the file or its permissions changed (ns), in an archive its CRC-32.
    A tuple, because 60,000 of them are made and sorted whenever a pack is opened: 0.35 s less than a dataclass.
    """

    path: str
    size: int
    changed: int


Read = Callable[[Path, str], bytes | Path]
"""(source, path of a file in it) → what `decode_image` takes; a function that the workers can import.

Raises DataError where not the one file but the source is at fault."""


def in_folder(folder: Path, path: str) -> Path:
    return folder / path


@dataclass(frozen=True)
class Listing:
    """The image files of a folder or archive, sorted, how many other files there are, and how a file is read."""

    folder: Path
    files: tuple[File, ...]
    folders: tuple[str, ...]
    ignored: int
    read: Read = in_folder

    @cached_property
    def digest(self) -> str:
        """Equal exactly when the files are: how a stale pack is noticed."""
        paths = "\0".join([file.path for file in self.files])
        digest = hashlib.sha256(paths.encode("utf-8", "surrogateescape"))
        digest.update(np.array([file.size for file in self.files], dtype="<i8").data)
        digest.update(np.array([file.changed for file in self.files], dtype="<i8").data)
        return digest.hexdigest()


def in_text(path: str) -> str:
    r"""The path as it can be written anywhere: a byte that is not UTF-8 becomes \xe9."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# Packs


@dataclass(frozen=True, eq=False)
class Pack:
    """images: uint8 (files, h, w, c), read from disk as needed; `resized` and `recoloured` count those that another
    size or grey was forced upon; `bad` maps unreadable files to the reason."""

    images: Pixels
    resized: int
    recoloured: int
    bad: Mapping[str, str]


def open_or_make_pack(listing: Listing, size: tuple[int, int] | None, channels: int | None, progress: Progress) -> Pack:
    """The pack of exactly these files, made when there is none, it is stale or it is damaged.

    Raises DataError when the cache cannot be written.
    """
    wanted = json.dumps([str(listing.folder), size, channels])
    home = cache_folder() / "packs"
    place = home / f"{listing.folder.name[:40]}-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
    pack = open_pack(place, listing.digest)  # before any lock: the cache may be one that can only be read
    if pack is None:
        try:
            pack = make_alone(place, listing, size, channels, progress)
        except OSError as error:
            raise cannot_write(home, error) from error
    if pack is None:
        raise DataError(f"{place} changed while it was written. Try again.")
    return pack


def make_alone(
    place: Path, listing: Listing, size: tuple[int, int] | None, channels: int | None, progress: Progress
) -> Pack | None:
    """The pack, made by one process while others wait for it."""
    from filelock import FileLock

    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        pack = open_pack(place, listing.digest)
        if pack is None:
            make_pack(place, listing, size, channels, progress)
            pack = open_pack(place, listing.digest)
    return pack


def open_pack(place: Path, digest: str) -> Pack | None:
    """The pack in that folder, or None when it is not whole or not of the files with this digest.

    What was checked is what is mapped: another process may put a new pack into its place meanwhile.
    """
    try:
        with (place / "index.json").open(encoding="utf-8") as file:
            index, written = json.load(file), os.fstat(file.fileno()).st_mtime_ns
        if index["format"] != FORMAT or index["listing"] != digest:
            return None
        with (place / "images.npy").open("rb") as images:
            if not untouched(images, index["state"], written) and sha256_of(images) != index["sha256"]:
                return None
            images.seek(0)
            shape, dtype = npy_header(images)
            pixels = np.memmap(images, dtype, "r", images.tell(), shape)
        return Pack(pixels, index["resized"], index["recoloured"], index["bad"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def untouched(file: io.BufferedIOBase, state: Sequence[int], written: int) -> bool:
    """Whether nothing was written into a file since its state was recorded, `written` (ns) being when that was.

    A write within the same tick of the file system's clock would leave the times as they were, so they must be older.
    """
    return state_of(file) == state and max(state[1:]) < written


def state_of(file: io.BufferedIOBase) -> list[int]:
    """[bytes, when its content changed, when its description did] (ns); no program can set the last."""
    about = os.fstat(file.fileno())
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def sha256_of(file: io.BufferedIOBase) -> str:
    """Of the whole file: 1.0 s for 350,000 images of 28×28×3, which is why `untouched` is asked first."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def make_pack(
    place: Path, listing: Listing, size: tuple[int, int] | None, channels: int | None, progress: Progress
) -> None:
    """Decode every file into a pack beside `place`, then move it there.

    What a killed or interrupted process began there is gone on with; an error leaves nothing behind.
    """
    aside = place.with_name(f"{place.name}.new")
    begun = aside / f"{FORMAT}-{listing.digest[:16]}"  # a worker that outlives its parent finds no other files' pack
    try:
        shape = begun_shape(begun)
        if shape is None:
            shape = wanted_shape(listing, size, channels)
            begin(begun, shape)
        done = decode_all(begun, listing, channels is None and shape[3] == 1, progress)
        if done.coloured:
            begin(begun, (*shape[:3], 3))
            done = decode_all(begun, listing, False, progress)
        write_index(begun, listing, done)
        shutil.rmtree(place, ignore_errors=True)
        begun.replace(place)
        shutil.rmtree(aside, ignore_errors=True)
    except Exception:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def begin(begun: Path, shape: tuple[int, ...]) -> None:
    """An empty array and journal, instead of whatever was begun for this place."""
    shutil.rmtree(begun.parent, ignore_errors=True)
    begun.mkdir(parents=True)
    reserve(begun / "images.npy", shape)


def begun_shape(begun: Path) -> tuple[int, ...] | None:
    """The shape of the array that was begun, or None where there is none to go on with."""
    try:
        with (begun / "images.npy").open("rb") as file:
            shape, _ = npy_header(file)
            whole = os.fstat(file.fileno()).st_size == file.tell() + math.prod(shape)
    except (OSError, ValueError):
        return None
    return shape if whole and len(shape) == 4 else None


def write_index(begun: Path, listing: Listing, done: Outcome) -> None:
    with (begun / "images.npy").open("r+b") as images:
        os.fsync(images.fileno())  # an index on the disk must not speak of images that a power cut took
        index = {
            "format": FORMAT,
            "folder": str(listing.folder),
            "listing": listing.digest,
            "state": state_of(images),
            "sha256": sha256_of(images),
            "resized": done.resized,
            "recoloured": done.recoloured,
            "bad": dict(sorted(done.bad.items())),
        }
    (begun / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    (begun / JOURNAL).unlink()


def wanted_shape(listing: Listing, size: tuple[int, int] | None, channels: int | None) -> tuple[int, ...]:
    """(files, h, w, c), where nothing else is asked for as a sample of the files suggests."""
    height, width = size or sampled_size(listing)
    return len(listing.files), height, width, channels or (3 if sampled_colour(listing) else 1)


def sample(listing: Listing, count: int) -> list[str]:
    """The paths of up to `count` files, evenly spread."""
    step = max(1, math.ceil(len(listing.files) / count))
    return [file.path for file in listing.files[::step]]


def sampled_size(listing: Listing) -> tuple[int, int]:
    """The most common (h, w) among up to SAMPLE files, by their headers."""
    sizes = []
    for path in sample(listing, SAMPLE):
        try:
            sizes.append(image_size(listing.read(listing.folder, path)))
        except DataError:  # it is named when all are decoded
            continue
    return common_size(sizes) if sizes else (1, 1)


def sampled_colour(listing: Listing) -> bool:
    """Whether one of a few files is coloured: saves packing in grey first where colour is common."""
    for path in sample(listing, COLOUR_SAMPLE):
        try:
            if has_colour(decode_image(listing.read(listing.folder, path))):
                return True
        except DataError:  # as above
            continue
    return False


# Decoding, in parallel


@dataclass(frozen=True)
class Outcome:
    """What came of `count` files from row `start` on: how many were resized or lost their colours, which are
    unreadable and why, whether one was coloured. Also a line of the journal."""

    start: int
    count: int
    resized: int = 0
    recoloured: int = 0
    bad: Mapping[str, str] = field(default_factory=dict)
    coloured: bool = False


def together(outcomes: Iterable[Outcome], count: int) -> Outcome:
    """One outcome of all the files."""
    resized, recoloured, bad = 0, 0, dict[str, str]()
    for outcome in outcomes:
        resized += outcome.resized
        recoloured += outcome.recoloured
        bad.update(outcome.bad)
    return Outcome(0, count, resized, recoloured, bad)


def decode_all(begun: Path, listing: Listing, grey_only: bool, progress: Progress) -> Outcome:
    """Write the image of every file that the journal has not yet into its row of images.npy.

    Where `grey_only`, the first coloured outcome ends it and is returned.
    """
    finished = entered(begun / JOURNAL)
    paths = [file.path for file in listing.files]
    tasks = [(start, paths[start : start + CHUNK]) for start in range(0, len(paths), CHUNK)]
    missing = [(start, chunk) for start, chunk in tasks if (start, len(chunk)) not in finished]
    done = len(paths) - sum(len(chunk) for _, chunk in missing)
    if done:
        progress(done, len(paths), file=listing.folder.name)
    fresh, synced = list[Outcome](), time.monotonic()
    with outcomes_of(begun / "images.npy", listing, missing, grey_only) as outcomes:
        try:
            for outcome in outcomes:
                if outcome.coloured and grey_only:
                    return outcome
                finished[outcome.start, outcome.count] = outcome
                fresh.append(outcome)
                if time.monotonic() - synced >= SYNC_EVERY:
                    enter(begun, fresh)
                    fresh, synced = [], time.monotonic()
                done += outcome.count
                progress(done, len(paths), file=listing.folder.name)
        finally:
            enter(begun, fresh)
    return together(finished.values(), len(paths))


def enter(begun: Path, outcomes: Sequence[Outcome]) -> None:
    """Add lines to the journal, after the pixels are on the disk: no power cut makes it promise what is not there."""
    with (begun / "images.npy").open("r+b") as images:
        os.fsync(images.fileno())
    with (begun / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.writelines(f"{json.dumps(asdict(outcome))}\n" for outcome in outcomes)


def entered(journal: Path) -> dict[tuple[int, int], Outcome]:
    """(start, count) → outcome of every whole line; what follows the last one is cut off, to go on from there."""
    finished = {}
    with journal.open("a+b") as file:
        file.seek(0)
        whole = 0
        for line in file:
            try:
                outcome = Outcome(**json.loads(line))
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            finished[outcome.start, outcome.count] = outcome
            whole += len(line)
        file.truncate(whole)
    return finished


def reserve(target: Path, shape: tuple[int, ...]) -> None:
    """An images.npy of that shape with its room taken on the disk, so that a full one is told now and not half-way."""
    wanted = math.prod(shape)
    if wanted > 8 * MOST_BYTES:
        raise DataError(
            f"{shape[0]:,} images of {shape[1]}×{shape[2]} need {wanted >> 30:,} GB. Choose smaller ones with --size."
        )
    if shutil.disk_usage(target.parent).free < wanted:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    images = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    del images
    with target.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, target.stat().st_size)


@contextmanager
def outcomes_of(
    target: Path, listing: Listing, tasks: Sequence[tuple[int, list[str]]], grey_only: bool
) -> Iterator[Iterator[Outcome]]:
    """The outcome of each task as it is done, over all the cores; the workers end with the block.

    joblib rather than concurrent.futures: its workers start without importing the user's script again
    (no ``if __name__ == "__main__"`` needed) and end without a word at Ctrl-C.
    """
    folder, read = listing.folder, listing.read
    if sum(len(paths) for _, paths in tasks) <= FEW:
        yield (decode_chunk(target, folder, read, start, paths, grey_only) for start, paths in tasks)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(
        n_jobs=-1,
        return_as="generator_unordered",
        pre_dispatch="4*n_jobs",
        initializer=end_with,
        initargs=(os.getpid(),),
    )
    with deaf_to_interrupts():
        outcomes = parallel(delayed(decode_chunk)(target, folder, read, *task, grey_only) for task in tasks)
    try:
        yield outcomes
    finally:
        with warnings.catch_warnings(action="ignore"):  # that tasks were cancelled is what was asked for
            outcomes.close()


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes begun in this block leave Ctrl-C to this one, which then ends them without their tracebacks."""
    if threading.current_thread() is not threading.main_thread():  # only there may signals be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_with(parent: int) -> None:
    """From now on this process ends when its parent is killed; joblib's workers would wait five minutes for work."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def decode_chunk(target: Path, folder: Path, read: Read, start: int, paths: Sequence[str], grey_only: bool) -> Outcome:
    """Decode files into the rows from `start` on; gives up at the first coloured one where only grey will do.

    Written, not mapped: a full disk is then an error that can be told, not the end of the process.
    """
    resized, recoloured, bad = 0, 0, {}
    with target.open("r+b") as file:
        (_, height, width, channels), _ = npy_header(file)
        row_bytes = height * width * channels
        first = file.tell() + start * row_bytes
        for number, path in enumerate(paths):
            source = read(folder, path)
            try:
                image = decode_image(source, in_text(path))
            except DataError as error:
                bad[path] = str(error)
                continue
            if channels == 1 and has_colour(image):
                if grey_only:
                    return Outcome(start, len(paths), coloured=True)
                recoloured += 1
            resized += image.shape[:2] != (height, width)
            file.seek(first + number * row_bytes)
            file.write(fit_image(with_channels(image, channels), height, width).tobytes())
    return Outcome(start, len(paths), resized, recoloured, bad)
