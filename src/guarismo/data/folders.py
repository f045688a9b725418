"""Folder of images, or a zip of one → Content: what is in it, which part and class each file belongs to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.archives import list_archive
from guarismo.data.content import Content, class_names_of, encode, natural
from guarismo.data.dataset import Mapped, Split, held
from guarismo.data.images import IMAGE_SUFFIXES, cannot_read, recoloured_note, resized_note
from guarismo.data.packing import File, Listing, Pack, in_text, open_or_make_pack
from guarismo.data.polymnist import content_of_table, read_originals, table_of_names
from guarismo.errors import DataError
from guarismo.progress import Progress, silent

PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

TARGETS = ("auto", "digit", "modality")

NAMED = re.compile(r"[^/]*\.([A-Za-z0-9_-]{1,20})\.[A-Za-z]+")
"""A file whose name ends in a class: 12.7.png."""

MOST_NAMED = 100
"""More different ends of names are numbers, not classes."""

# What is in the folder


def list_images(folder: Path) -> Listing:
    """Every image file below the folder; hidden files, other suffixes and links to folders are left out.

    One loop, without functions for its steps: 350,000 files in 1.4 s, of which the system takes 0.9.
    """
    files: list[File] = []
    folders: list[str] = []
    ignored = 0
    waiting = [""]
    while waiting:
        place = waiting.pop()
        path: Path | os.DirEntry[str] = folder / place
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    path, name = entry, entry.name
                    if name[0] == "." or name == "__MACOSX":
                        ignored += 1
                    elif name[name.rfind(".") :].lower() in IMAGE_SUFFIXES and entry.is_file():
                        about = entry.stat()
                        changed = max(about.st_mtime_ns, about.st_ctime_ns)
                        files.append(File(place + name, about.st_size, changed))
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(place + name)
                        waiting.append(f"{place}{name}/")
                    else:
                        ignored += 1
        except OSError as error:
            raise cannot_read(in_text(os.fspath(path)), error) from None
    files.sort(key=itemgetter(0))
    return Listing(folder, tuple(files), tuple(sorted(folders)), ignored)


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise cannot_read(folder, error) from None


@dataclass(frozen=True)
class Placed:
    """Where a file belongs: its part (train, validation, test) and class folder, None where there is none."""

    part: str
    label: str | None


def inner_folder(folder: Path) -> Path:
    """The folder itself, or the one with train/ in it where single folders lie around that: PolyMNIST/MMNIST/."""
    inner = folder
    while not (inner / "train").is_dir():
        found = [entry for entry in entries_of(inner) if not entry.name.startswith(".") and entry.name != "__MACOSX"]
        folders = [entry for entry in found if entry.is_dir(follow_symlinks=False)]
        if len(folders) != 1 or any(Path(entry.name).suffix.lower() in IMAGE_SUFFIXES for entry in found):
            return folder
        inner = inner / folders[0].name
    return inner


def place_files(listing: Listing, target: str = "auto") -> list[Placed]:
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
    return named(listing, places) if by_name(listing, places, target) else places


def by_name(listing: Listing, places: list[Placed], target: str) -> bool:
    """Whether the end of a file's name is its class, 12.7.png, and not its folder.

    Raises DataError where both could be and `target` does not say which, or where names do not end in classes.
    """
    few = listing.files[:: len(listing.files) // 1000 + 1]
    if target == "modality" or (target == "auto" and not all(map(end_of, few))):
        return False
    ends = [end_of(file) for file in listing.files]
    found = sorted({end for end in ends if end}, key=natural)
    if target == "digit":
        if None in ends:
            raise DataError(
                f"{listing.folder / in_text(listing.files[ends.index(None)].path)} does not end in a class as 12.7.png "
                "does. Rename it, or learn the folders: --target modality"
            )
        return True
    folders = sorted({place.label for place in places if place.label}, key=natural)
    cross = len({(place.label, end) for place, end in zip(places, ends, strict=True)})
    if None in ends or not 2 <= len(found) <= MOST_NAMED or len(folders) < 2 or cross <= max(len(found), len(folders)):
        return False
    raise DataError(
        f"{listing.folder}: folder names are {folders[0]}…{folders[-1]} but the file names end in "
        f".{found[0]}–.{found[-1]}: digit or modality? Learn the ends of the names with --target digit, the folders "
        "with --target modality."
    )


def end_of(file: File) -> str | None:
    match = NAMED.fullmatch(file.path.rpartition("/")[2])
    return match[1] if match else None


def named(listing: Listing, places: list[Placed]) -> list[Placed]:
    return [Placed(place.part, end_of(file)) for file, place in zip(listing.files, places, strict=True)]


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
    target: str = "auto",
    views: bool = False,
) -> Content:
    """Class folders of images, with or without train/, validation/ and test/ above them, or images alone; or a zip.

    Every image becomes `size` (h, w), by default the most common one; grey unless one is coloured. How values
    of 16 bits become 8 is decided for each image by itself (`images.deep_pixels`). In PolyMNIST's layout the digit of
    the file's name is learnt, or the folder: `target`; `views` joins the modalities of a sample (`content_of_table`).
    Raises DataError for an empty class, a class that training lacks, or, unless skip_bad, an unreadable image.
    """
    folder = Path(folder).resolve()
    zipped = folder.suffix.lower() == ".zip"
    listing = list_archive(folder) if zipped else list_images(inner_folder(folder))
    originals = {} if zipped else read_originals(listing.folder)
    listing = replace(listing, ignored=listing.ignored - bool(originals))  # originals.csv was not
    table = table_of_names([file.path for file in listing.files], originals)
    if views and table is None:
        raise DataError(f"{folder} is not in the layout of PolyMNIST, so it has no --views to join. Leave them out.")
    places = [] if table else place_files(listing, target)
    pack = open_or_make_pack(listing, size, channels, progress)
    if pack.bad and not skip_bad:
        raise bad_images(folder, pack.bad)
    kept = np.arange(len(listing.files))
    if pack.bad:
        kept = np.array([row for row, file in enumerate(listing.files) if file.path not in pack.bad], dtype=np.int64)
    if not len(kept):
        raise DataError(f"{folder}: none of its {len(listing.files):,} images can be read.")
    if table:
        images = pack.images[kept] if pack.bad else pack.images
        target = "digit" if target == "auto" else target
        content = content_of_table(folder, images, table.take(kept), target, views)
        return replace(content, notes=(*content.notes, *notes_of(listing, pack, content.class_names)))
    return arrange(listing, pack, [places[row] for row in kept.tolist()], kept)


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
    splits: dict[str, Any] = {}
    for part in ("train", "validation", "test"):
        chosen = parts == part
        if part != "train" and not chosen.any():
            continue
        labels = None if not any(words[chosen]) else words[chosen]
        coded = encode(listing.folder, labels, names, int(chosen.sum()))
        splits[part] = Split(held(Mapped(pack.images, rows[chosen])), coded, names=files[chosen])
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
