"""Zip of images → Listing: its members are read where they lie, nothing is extracted.

An archive is a stranger's file: names, sizes, kinds and places of all its members are checked before one is read.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from posixpath import commonpath
from typing import NamedTuple

from guarismo.data.arrays import MOST_BYTES, MOST_INFLATION
from guarismo.data.images import IMAGE_SUFFIXES, cannot_read, system_refused
from guarismo.data.packing import File, Listing
from guarismo.errors import DataError

MOST_MEMBERS = 2 * 10**6

MOST_DIRECTORY = 2**27
"""Bytes of the list of members, which Python reads whole: 2.8 million of the shortest entries."""

MOST_MEMBER = 2**29
"""Bytes of one image file: more than the largest picture that is decoded needs without any compression."""

MOST_TOTAL = 8 * MOST_BYTES

UNSAFE = re.compile(r"(^|/)\.{0,2}(/|$)|^[A-Za-z]:|[\\\x00-\x1f\x7f]")
"""Names that point elsewhere (/a, ../a, C:a), that are read differently elsewhere (a\\b, a//b), or that no one sees."""

HIDDEN = re.compile(r"(.*?/)??(\.[^/]*|__MACOSX)(?=/|$)")
"""A path down to the first hidden folder or file in it."""

HEADER = 30
"""Bytes before each member's name and data."""


class Member(NamedTuple):
    """Where one image file lies in the archive, and what it must be once decompressed."""

    offset: int
    packed: int
    deflated: bool
    size: int
    crc: int


@dataclass(frozen=True)
class Members:
    """The images of an archive by their names, its folders, and how many other files there are."""

    images: Mapping[str, Member]
    folders: tuple[str, ...]
    ignored: int


def list_archive(path: Path) -> Listing:
    """Every image in a zip as `list_images` has those of a folder; the folders around all of them are left away.

    Raises DataError for a damaged archive, and for one with names, links, sizes or compression that no archive of
    images needs.
    """
    members = members_of(path)
    top = outer_folder(members.images)
    files = [File(name.removeprefix(top), member.size, member.crc) for name, member in members.images.items()]
    folders = [name.removeprefix(top) for name in members.folders if len(name) > len(top) and name.startswith(top)]
    return Listing(path, tuple(sorted(files)), tuple(folders), members.ignored, partial(read_member, top))


def outer_folder(names: Iterable[str]) -> str:
    """What stands before every name, 'MMNIST/' for one; the folder that files lie in stays, as it may be their class.

    Packing a folder puts its own name before all; of a folder that is given as such, the name stands outside too.
    """
    folders = {name.rpartition("/")[0] for name in names}
    shared = commonpath(folders) if folders else ""
    if shared in folders:
        shared = shared.rpartition("/")[0]
    return f"{shared}/" if shared else ""


def read_member(top: str, archive: Path, path: str) -> bytes:
    """The bytes of one image. Raises DataError when they are not those that the archive's directory promises."""
    name = f"{top}{path}"
    member = members_of(archive).images.get(name)
    if member is None:
        raise DataError(f"{archive} was altered while it was read: {name!r} is gone. Try again.")
    try:
        with archive.open("rb") as file:
            file.seek(member.offset)
            signature, name_bytes, extra_bytes = struct.unpack("<4s22xHH", file.read(HEADER))
            file.seek(name_bytes + extra_bytes, os.SEEK_CUR)
            content = file.read(member.packed)
        if member.deflated:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, member.size + 1)
    except (OSError, struct.error, zlib.error) as error:
        if system_refused(error):
            raise cannot_read(archive, error) from None
        raise damaged(archive, name) from None
    if signature != b"PK\3\4" or len(content) != member.size or zlib.crc32(content) != member.crc:
        raise damaged(archive, name)
    return content


def damaged(archive: Path, name: str) -> DataError:
    return DataError(
        f"{archive} is damaged: its member {name!r} is not what the archive's list of contents promises. "
        "Copy or download the archive again."
    )


# What is in the archive


def members_of(archive: Path) -> Members:
    """The members, read once in each process as long as the file stays the same."""
    try:
        about = archive.stat()
    except OSError as error:
        raise cannot_read(archive, error) from None
    return members_in_state(archive, (about.st_ino, about.st_size, about.st_mtime_ns))


@lru_cache(maxsize=1)
def members_in_state(archive: Path, state: tuple[int, int, int]) -> Members:
    """The checked members of the file that has this inode, size and time (ns)."""
    try:
        with archive.open("rb", buffering=0) as raw, zipfile.ZipFile(Sparing(raw)) as opened:
            entries = opened.infolist()
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, struct.error) as error:
        if system_refused(error):
            raise cannot_read(archive, error) from None
        raise DataError(
            f"{archive} is damaged or not a zip file ({error}). Copy or download the archive again."
        ) from None
    except (NotImplementedError, RuntimeError, OverflowError) as error:
        raise DataError(f"{archive} uses what zips of images never use ({error}). Pack the images again.") from None
    check_entries(archive, entries, state[1])
    return sorted_out(archive, entries)


class Sparing(io.BufferedReader):
    """A file that gives no more than MOST_DIRECTORY bytes at once: a zip states how long its list of members is."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_DIRECTORY:
            raise zipfile.BadZipFile(f"its list of contents has {size:,} bytes, at most {MOST_DIRECTORY:,} are read")
        return super().read(size)


def check_entries(archive: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    """Raises DataError for names that are unsafe or come twice, and for members that lie in one another."""
    if len(entries) > MOST_MEMBERS:
        raise refused(archive, f"it holds {len(entries):,} members, at most {MOST_MEMBERS:,} are read")
    names = set()
    for entry in entries:
        name = entry.orig_filename
        if UNSAFE.search(name.removesuffix("/")):
            raise refused(archive, f"the name {name!r} could mean a place outside the archive")
        if name in names:
            raise refused(archive, f"the name {name!r} comes twice")
        names.add(name)
    ordered = sorted(entries, key=attrgetter("header_offset"))
    for entry, following in pairwise(ordered):
        if end_of(entry) > following.header_offset:
            raise refused(archive, f"{entry.orig_filename!r} and {following.orig_filename!r} lie in one another")
    if ordered and (ordered[0].header_offset < 0 or end_of(ordered[-1]) > size):
        raise refused(archive, f"{ordered[-1].orig_filename!r} goes beyond its end")


def end_of(entry: zipfile.ZipInfo) -> int:
    """Before this no other member can begin."""
    return entry.header_offset + HEADER + entry.compress_size


def sorted_out(archive: Path, entries: list[zipfile.ZipInfo]) -> Members:
    """Images, each checked, and folders; what is hidden counts as one, however much is in it."""
    images: dict[str, Member] = {}
    folders: set[str] = set()
    hidden: set[str] = set()
    others = 0
    suffixes = tuple(IMAGE_SUFFIXES)
    for entry in entries:
        name = entry.orig_filename.removesuffix("/")
        if veiled := HIDDEN.match(name):
            hidden.add(veiled.group())
        elif entry.orig_filename.endswith("/"):
            folders.add(name)
        elif name.lower().endswith(suffixes):
            images[name] = checked_member(archive, entry)
        else:
            others += 1
    total = sum(member.size for member in images.values())
    if total > MOST_TOTAL:
        raise refused(archive, f"its images are said to have {total:,} bytes, at most {MOST_TOTAL:,} are read")
    for folder in {name.rpartition("/")[0] for name in images}:
        parts = folder.split("/")
        folders |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return Members(images, tuple(sorted(folders - {""})), others + len(hidden))


def checked_member(archive: Path, entry: zipfile.ZipInfo) -> Member:
    """Raises DataError for an image that is encrypted, a link, or cannot be what it is said to be."""
    name, size, packed = entry.orig_filename, entry.file_size, entry.compress_size
    if entry.flag_bits & 0x2041:  # encrypted, strongly encrypted, with its header hidden
        raise refused(archive, f"{name!r} is encrypted")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise refused(archive, f"{name!r} is a link or device, not a file")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refused(archive, f"{name!r} is compressed in an unusual way")
    deflated = entry.compress_type == zipfile.ZIP_DEFLATED
    possible = packed * MOST_INFLATION if deflated else packed
    if size > min(possible, MOST_MEMBER) or packed > MOST_MEMBER:
        raise refused(archive, f"{name!r} is said to have {size:,} bytes, in {packed:,}")
    return Member(entry.header_offset, packed, deflated, size, entry.CRC)


def refused(archive: Path, fault: str) -> DataError:
    return DataError(
        f"{archive} is not read: {fault}. Pack the images again with any usual program (deflate, no password), "
        "or extract them and give the folder."
    )
