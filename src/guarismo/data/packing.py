"""Pack: images decoded once, in parallel, into an array on disk that opens at once the next time.

A pack is a folder in the cache: images.npy, every image at one size, and index.json, which says what it was made of.
It is made aside and moved into place whole; a pack that is stale or damaged is made again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from guarismo.data.arrays import MOST_BYTES, npy_header
from guarismo.data.images import Pixels, common_size, decode_image, fit_image, has_colour, image_size, with_channels
from guarismo.errors import DataError
from guarismo.progress import Progress

FORMAT = 2
"""Version of the pack; another one is made again."""

CHUNK = 256
"""Images per task: 10–30 ms of work for small ones, far more than the cost of handing it over."""

FEW = 1024
"""Up to so many images are decoded here: starting other processes takes 0.5 s."""

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
    """One image file: its path below the folder with '/', its bytes, and when it or its permissions changed (ns).

    A tuple, because 60,000 of them are made and sorted whenever a pack is opened: 0.35 s less than a dataclass.
    """

    path: str
    size: int
    changed: int


@dataclass(frozen=True)
class Listing:
    """The image files of a folder, sorted, and how many other files there are."""

    folder: Path
    files: tuple[File, ...]
    folders: tuple[str, ...]
    ignored: int

    @property
    def digest(self) -> str:
        """Equal exactly when names, sizes and times are: how a stale pack is noticed."""
        lines = (f"{file.path}\0{file.size}\0{file.changed}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


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
        index = json.loads((place / "index.json").read_text(encoding="utf-8"))
        if index["format"] != FORMAT or index["listing"] != digest:
            return None
        with (place / "images.npy").open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # 1.2 GB/s: 0.04 s for 60,000 of 28×28
            if sha256 != index["sha256"]:
                return None
            file.seek(0)
            shape, dtype = npy_header(file)
            images = np.memmap(file, dtype, "r", file.tell(), shape)
        return Pack(images, index["resized"], index["recoloured"], index["bad"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_pack(
    place: Path, listing: Listing, size: tuple[int, int] | None, channels: int | None, progress: Progress
) -> None:
    """Decode every file into a pack beside `place`, then move it there; whatever interrupts leaves nothing behind."""
    aside = place.with_name(f"{place.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        size = size or sampled_size(listing)
        channels_now = channels or (3 if sampled_colour(listing) else 1)
        done = decode_all(aside, listing, size, channels_now, channels is None, progress)
        if done.coloured and channels is None:
            done = decode_all(aside, listing, size, 3, False, progress)
        write_index(aside, listing, done)
        shutil.rmtree(place, ignore_errors=True)
        aside.replace(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_index(aside: Path, listing: Listing, done: Outcome) -> None:
    with (aside / "images.npy").open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    index = {
        "format": FORMAT,
        "folder": str(listing.folder),
        "listing": listing.digest,
        "sha256": sha256,
        "resized": done.resized,
        "recoloured": done.recoloured,
        "bad": dict(sorted(done.bad.items())),
    }
    (aside / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def sample(listing: Listing, count: int) -> list[Path]:
    """Up to `count` files, evenly spread."""
    step = max(1, math.ceil(len(listing.files) / count))
    return [listing.folder / file.path for file in listing.files[::step]]


def sampled_size(listing: Listing) -> tuple[int, int]:
    """The most common (h, w) among up to SAMPLE files, by their headers."""
    sizes = []
    for path in sample(listing, SAMPLE):
        try:
            sizes.append(image_size(path))
        except DataError:  # it is named when all are decoded
            continue
    return common_size(sizes) if sizes else (1, 1)


def sampled_colour(listing: Listing) -> bool:
    """Whether one of a few files is coloured: saves packing in grey first where colour is common."""
    for path in sample(listing, COLOUR_SAMPLE):
        try:
            if has_colour(decode_image(path)):
                return True
        except DataError:  # as above
            continue
    return False


# Decoding, in parallel


@dataclass(frozen=True)
class Outcome:
    """What came of some files: how many were resized or lost their colours, which are unreadable and why,
    whether one was coloured."""

    resized: int = 0
    recoloured: int = 0
    bad: Mapping[str, str] = field(default_factory=dict)
    coloured: bool = False

    def plus(self, other: Outcome) -> Outcome:
        return Outcome(
            self.resized + other.resized,
            self.recoloured + other.recoloured,
            {**self.bad, **other.bad},
            self.coloured or other.coloured,
        )


def decode_all(
    aside: Path, listing: Listing, size: tuple[int, int], channels: int, stop_at_colour: bool, progress: Progress
) -> Outcome:
    """Write every file's image into aside/images.npy, in order. Stops early at colour where grey was hoped for."""
    shape = (len(listing.files), *size, channels)
    target = aside / "images.npy"
    reserve(target, shape)
    paths = [file.path for file in listing.files]
    tasks = [(start, paths[start : start + CHUNK]) for start in range(0, len(paths), CHUNK)]
    total, done = Outcome(), 0
    with outcomes_of(target, listing.folder, tasks, stop_at_colour and channels == 1) as outcomes:
        for outcome, count in outcomes:
            total = total.plus(outcome)
            if total.coloured:
                return total
            done += count
            progress(done, len(paths), file=listing.folder.name)
    return total


def reserve(target: Path, shape: tuple[int, ...]) -> None:
    """An images.npy of that shape with its room taken on the disk: writing into a mapped file must not find it full."""
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
    target: Path, folder: Path, tasks: Sequence[tuple[int, list[str]]], grey_only: bool
) -> Iterator[Iterator[tuple[Outcome, int]]]:
    """The outcome and count of each task as it is done, over all the cores; the workers end with the block.

    joblib rather than concurrent.futures: its workers start without importing the user's script again
    (no ``if __name__ == "__main__"`` needed) and end without a word at Ctrl-C.
    """
    if sum(len(paths) for _, paths in tasks) <= FEW:
        yield (decode_chunk(target, folder, start, paths, grey_only) for start, paths in tasks)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=-1, return_as="generator_unordered", pre_dispatch="4*n_jobs")
    with deaf_to_interrupts():
        outcomes = parallel(delayed(decode_chunk)(target, folder, start, paths, grey_only) for start, paths in tasks)
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


def decode_chunk(target: Path, folder: Path, start: int, paths: list[str], grey_only: bool) -> tuple[Outcome, int]:
    """Decode files into the rows from `start` on; gives up at the first coloured one where only grey will do."""
    rows = np.load(target, mmap_mode="r+")[start : start + len(paths)]
    height, width, channels = rows.shape[1:]
    resized, recoloured, bad = 0, 0, {}
    for row, path in zip(rows, paths, strict=True):
        try:
            image = decode_image(folder / path, in_text(path))
        except DataError as error:
            bad[path] = str(error)
            continue
        if channels == 1 and has_colour(image):
            if grey_only:
                return Outcome(coloured=True), 0
            recoloured += 1
        resized += image.shape[:2] != (height, width)
        row[:] = fit_image(with_channels(image, channels), height, width)
    return Outcome(resized, recoloured, bad), len(paths)
