"""Folder of images → arrays: decoded once, in parallel, into a pack that opens at once the next time.

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
from numpy.typing import NDArray

from guarismo.data.arrays import MOST_BYTES, npy_header
from guarismo.data.content import Content, class_names_of, encode
from guarismo.data.dataset import Split
from guarismo.data.images import (
    IMAGE_SUFFIXES,
    Pixels,
    cannot_read,
    common_size,
    decode_image,
    fit_image,
    has_colour,
    image_size,
    recoloured_note,
    resized_note,
    with_channels,
)
from guarismo.errors import DataError
from guarismo.progress import Progress, silent

FORMAT = 2
"""Version of the pack; another one is made again."""

PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
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


# What is in the folder


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


def list_images(folder: Path) -> Listing:
    """Every image file below the folder; hidden files, other suffixes and links to folders are left out."""
    files: list[File] = []
    folders: list[str] = []
    ignored = 0
    suffixes = tuple(IMAGE_SUFFIXES)
    waiting = [""]
    while waiting:
        place = waiting.pop()
        for entry in entries_of(folder / place):
            path = f"{place}{entry.name}"
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                ignored += 1
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
                waiting.append(f"{path}/")
            elif entry.name.lower().endswith(suffixes) and entry.is_file():
                files.append(described(path, entry))
            else:
                ignored += 1
    return Listing(folder, tuple(sorted(files)), tuple(sorted(folders)), ignored)


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise cannot_read(folder, error) from None


def described(path: str, entry: os.DirEntry[str]) -> File:
    try:
        about = entry.stat()
    except OSError as error:
        raise cannot_read(in_text(entry.path), error) from None
    return File(path, about.st_size, max(about.st_mtime_ns, about.st_ctime_ns))


def in_text(path: str) -> str:
    r"""The path as it can be written anywhere: a byte that is not UTF-8 becomes \xe9."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Placed:
    """Where a file belongs: its part (train, validation, test) and class folder, None where there is none."""

    part: str
    label: str | None


def place_files(listing: Listing) -> list[Placed]:
    """The part and class of every file, by its path.

    Raises DataError for an empty class folder, a class that is unclear, or one whose name no file could record.
    """
    parted = has_parts(listing)
    check_class_folders(listing, 2 if parted else 1)
    below = {folder: placed(folder, parted) for folder in ("", *listing.folders)}
    check_class_names(listing, {place.label for place in below.values() if place.label})
    places = [below[file.path.rpartition("/")[0]] for file in listing.files]
    labelled = {place.part for place in places if place.label}
    for file, place in zip(listing.files, places, strict=True):
        if place.label is None and place.part in labelled:
            raise DataError(
                f"{listing.folder / in_text(file.path)} lies beside class folders, so its class is unclear. "
                "Move it into a class folder, or remove it."
            )
    return places


def has_parts(listing: Listing) -> bool:
    """Whether the topmost folders are train/, validation/ and test/, not classes.

    One such name beside others is a class (a train is a vehicle). Raises DataError where they can be neither.
    """
    tops = [name for name in listing.folders if "/" not in name]
    parts = {name: PARTS[name.lower()] for name in tops if name.lower() in PARTS}
    others = [in_text(name) for name in tops if name not in parts]
    found = " and ".join(f"{name}/" for name in parts)
    if parts and not others and "train" not in parts.values():
        raise DataError(
            f"{listing.folder} holds {found} but no train/. Add train/ with the images to learn from, or name the "
            f"folder {listing.folder / next(iter(parts))} itself."
        )
    if others and len(set(parts.values())) > 1:
        raise DataError(
            f"{listing.folder} holds {found}, and beside them {', '.join(f'{name}/' for name in others[:5])}: expected "
            "either the parts of a set or class folders. Move what is no part elsewhere, or rename the parts if they "
            "are classes."
        )
    return bool(parts) and not others


def placed(folder: str, parted: bool) -> Placed:
    """Where the files of a folder belong; '' is the source's own."""
    names = folder.split("/") if folder else []
    if parted and names:
        part, *names = names
        return Placed(PARTS[part.lower()], names[0] if names else None)
    return Placed("train", names[0] if names else None)


def check_class_names(listing: Listing, labels: set[str]) -> None:
    """Raises DataError for a class name with bytes that are not UTF-8."""
    for label in sorted(labels):
        if in_text(label) != label:
            raise DataError(
                f"The name of the class folder {in_text(label)} in {listing.folder} is not UTF-8, so that no file "
                "could record it. Rename the folder."
            )


def check_class_folders(listing: Listing, depth: int) -> None:
    """Raises DataError for the first folder at that depth without an image."""
    classes = [name for name in listing.folders if name.count("/") == depth - 1]
    filled = {"/".join(file.path.split("/")[:depth]) for file in listing.files}
    if empty := sorted(set(classes) - filled):
        raise DataError(
            f"The class folder {listing.folder / in_text(empty[0])} holds no image. "
            "Add images to it, or remove the folder."
        )
    if not listing.files:
        raise DataError(
            f"{listing.folder} holds no image. Expected one folder per class with images in it "
            f"({', '.join(sorted(IMAGE_SUFFIXES))})."
        )


# Folder → Content


def read_folder(
    folder: str | Path,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    progress: Progress = silent,
) -> Content:
    """Class folders of images, with or without train/, validation/ and test/ above them, or images alone.

    Every image becomes `size` (h, w), by default the most common one; grey unless one is coloured. How values
    of 16 bits become 8 is decided for each image by itself (`images.deep_pixels`).
    Raises DataError for an empty class, a class that training lacks, or, unless skip_bad, an unreadable image.
    """
    folder = Path(folder).resolve()
    listing = list_images(folder)
    places = place_files(listing)
    pack = open_or_make_pack(listing, size, channels, progress)
    if pack.bad and not skip_bad:
        raise bad_images(folder, pack.bad)
    kept = [row for row, file in enumerate(listing.files) if file.path not in pack.bad]
    if not kept:
        raise DataError(f"{folder}: none of its {len(places):,} images can be read.")
    return arrange(listing, pack, [places[row] for row in kept], np.array(kept, dtype=np.int64))


def bad_images(folder: Path, bad: Mapping[str, str]) -> DataError:
    first = ", ".join(map(in_text, list(bad)[:5])) + (", …" if len(bad) > 5 else "")
    count = "1 image" if len(bad) == 1 else f"{len(bad):,} images"
    return DataError(
        f"{folder}: {count} cannot be read: {first}. {next(iter(bad.values()))} "
        "Replace or remove them, or go on without them with --skip-bad."
    )


def arrange(listing: Listing, pack: Pack, places: list[Placed], rows: NDArray[np.int64]) -> Content:
    """The rows of a pack, divided into parts; class names come from the training part, in natural order."""
    parts = np.array([place.part for place in places])
    words = np.array([place.label or "" for place in places])
    files = np.array([in_text(listing.files[row].path) for row in rows])
    names = class_names_of(listing.folder, words[parts == "train"])
    names = () if names == ("",) else names
    splits = {}
    for part in ("train", "validation", "test"):
        chosen = parts == part
        if part != "train" and not chosen.any():
            continue
        labels = None if not any(words[chosen]) else words[chosen]
        coded = encode(listing.folder, labels, names, int(chosen.sum()))
        splits[part] = Split(pack.images[rows[chosen]], coded, names=files[chosen])
    return Content(class_names=names, notes=notes_of(listing, pack, names), **splits)


def notes_of(listing: Listing, pack: Pack, class_names: tuple[str, ...]) -> tuple[str, ...]:
    height, width = pack.images.shape[1:3]
    notes = [resized_note(pack.resized, height, width)] if pack.resized else []
    if pack.recoloured:
        notes.append(recoloured_note(pack.recoloured, 1))
    notes += [
        f"The folder {name}/ was taken for a class, not for a part." for name in class_names if name.lower() in PARTS
    ]
    if listing.ignored:
        notes.append(f"{listing.ignored:,} files that are hidden or no images were ignored.")
    if pack.bad:
        notes.append(f"{len(pack.bad):,} unreadable images were left out: {', '.join(map(in_text, pack.bad))}.")
    return tuple(notes)


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
