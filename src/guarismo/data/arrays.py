"""IDX and npz files → Content; nothing is unpickled, and no memory is given for more than a file really holds."""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.content import Content, as_images, class_names_of, content_of, encode, tidy_labels, to_pixels
from guarismo.data.images import Pixels, cannot_read, system_refused
from guarismo.errors import DataError

MOST_BYTES = 8 * 2**30
"""No array or decompressed content may be larger than this."""

MOST_INFLATION = 1040
"""deflate gives at most 1,032 bytes for one; a file that promises more than this is lying."""

IDX_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

# IDX: magic 00 00 08 (dimensions), each dimension as 4 bytes, then the bytes; MNIST's own format.


def read_idx(path: str | Path) -> Pixels:
    """The array uint8 of an IDX file, raw or gz (told by its first bytes, not its name).

    Raises DataError when the file is cut short, altered, surplus, or promises more than it holds.
    """
    path = Path(path)
    return idx_array(path, idx_content(path))


def idx_content(path: Path) -> Pixels:
    """The whole IDX file, decompressed and its size checked: uint8 (bytes,), header included."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return inflated_idx(path, file, size) if packed else plain_idx(path, file, size)
    except OSError as error:
        raise cannot_read(path, error) from None


def idx_array(path: Path, content: Pixels) -> Pixels:
    """`idx_content` → the array that its header describes."""
    start, shape = idx_header(path, content[:20].tobytes())
    return content[start:].reshape(shape)


def idx_header(path: Path, head: bytes) -> tuple[int, tuple[int, ...]]:
    """(bytes of the header, shape). Raises DataError when it is no IDX header of bytes in 1–4 dimensions."""
    if len(head) < 8 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4 or len(head) < 4 + 4 * head[3]:
        raise DataError(
            f"{path} is not an IDX file of bytes: it starts with {head[:4].hex(' ') or 'nothing'}, "
            "expected 00 00 08 03 (images) or 00 00 08 01 (labels). Download it again."
        )
    shape = struct.unpack(f">{head[3]}I", head[4 : 4 + 4 * head[3]])
    if 0 in shape or math.prod(shape) > MOST_BYTES:
        raise DataError(
            f"{path}: the header promises {' × '.join(map(str, shape))} bytes, "
            f"expected between 1 byte and {MOST_BYTES >> 30} GB. Download it again."
        )
    return 4 + 4 * head[3], shape


def plain_idx(path: Path, file: IO[bytes], size: int) -> Pixels:
    start, shape = idx_header(path, file.read(20))
    check_promise(path, start + math.prod(shape), size)
    file.seek(0)
    content = np.empty(size, dtype=np.uint8)
    check_promise(path, size, file.readinto(content.data))  # type: ignore[attr-defined]
    return content


def check_promise(path: Path, promised: int, size: int) -> None:
    if promised != size:
        fault = "is cut short" if size < promised else "has surplus bytes at its end"
        raise DataError(
            f"{path} {fault}: its header promises {promised:,} bytes, it holds {size:,}. Download it again."
        )


def inflated_idx(path: Path, file: IO[bytes], size: int) -> Pixels:
    """The decompressed content, never more than the header promises and one byte."""
    inflate = zlib.decompressobj(wbits=31)
    try:
        head = inflate.decompress(file.read(1 << 16), 20)
        start, shape = idx_header(path, head)
        promised = start + math.prod(shape)
        if promised > MOST_INFLATION * size:
            check_promise(path, promised, size)
        content = np.empty(promised, dtype=np.uint8)
        done = fill(content, head, inflate, file)
    except zlib.error as error:
        raise DataError(f"{path} is damaged: {error}. Download it again.") from None
    if done <= promised and not inflate.eof:
        raise DataError(f"{path} is cut short: the compressed data end too early. Download it again.")
    surplus = len(inflate.unused_data) + len(file.read(1))
    check_promise(path, promised, done if done != promised else promised + surplus)
    return content


def fill(content: Pixels, head: bytes, inflate: Any, file: IO[bytes]) -> int:
    """Decompress into `content`; how many bytes there were, one more than fit where it goes on."""
    done = min(len(head), len(content))
    content[:done] = np.frombuffer(head[:done], dtype=np.uint8)
    if len(head) > len(content):
        return len(content) + 1
    while not inflate.eof:
        packed = inflate.unconsumed_tail or file.read(1 << 20)
        part = inflate.decompress(packed, len(content) - done + 1)
        if done + len(part) > len(content):
            return len(content) + 1
        content[done : done + len(part)] = np.frombuffer(part, dtype=np.uint8)
        done += len(part)
        if not packed:
            break
    return done


def find_idx(folder: Path, name: str) -> Path | None:
    """The file of that name in the folder: with or without .gz, with Kaggle's dot before idx.

    Raises DataError for a folder that may not be searched.
    """
    stems = (name, name.replace("-idx", ".idx"))
    try:
        return next((path for stem in stems for path in (folder / f"{stem}.gz", folder / stem) if path.is_file()), None)
    except OSError as error:
        raise cannot_read(folder, error) from None


def labels_beside(images: Path) -> Path:
    """The labels file that belongs to an images file. Raises DataError when it is not there."""
    stem = re.sub(r"idx\d", "idx1", images.name.removesuffix(".gz").replace("images", "labels"))
    found = find_idx(images.parent, stem.replace(".idx", "-idx"))
    if "images" not in images.name:
        raise DataError(f"{images} is not named as images are (train-images-idx3-ubyte). Name the images file instead.")
    if found is None:
        raise DataError(
            f"{images} has no labels beside it: expected {images.parent / stem}. "
            "Put its labels file into the same folder."
        )
    return found


def read_idx_pair(path: str | Path) -> Content:
    """Images and labels, from the path of the images file."""
    path = Path(path)
    labels = labels_beside(path)
    return content_of(path, as_images(path, read_idx(path)), idx_labels(labels))


def idx_labels(path: Path) -> NDArray[np.int64]:
    return tidy_labels(path, read_idx(path))


def holds_idx(folder: Path) -> bool:
    return any(find_idx(folder, images) for images, _ in IDX_NAMES.values())


def read_idx_folder(folder: str | Path) -> Content:
    """MNIST's four files (train-images-idx3-ubyte…, t10k-…), or one pair of them, from one folder."""
    folder = Path(folder)
    found = [path for images, _ in IDX_NAMES.values() if (path := find_idx(folder, images))]
    parts = [(as_images(path, read_idx(path)), idx_labels(labels_beside(path))) for path in found]
    for path, (images, labels) in zip(found, parts, strict=True):
        encode(path, labels, class_names_of(path, labels), len(images))
    return content_of(folder, *parts[0], test=parts[1] if len(parts) > 1 else None)


# npz: Keras' layout


def read_npz(path: str | Path) -> Content:
    """x_train, y_train, x_test, y_test as Keras saves them, or images and labels; `groups` where known.

    Raises DataError for a damaged archive, objects, NaN, or members that promise more than they hold.
    """
    path = Path(path)
    arrays = npz_arrays(path, ("x_train", "y_train", "x_test", "y_test", "images", "labels", "groups"))
    first, second = ("x_train", "y_train") if "x_train" in arrays else ("images", "labels")
    if first not in arrays:
        raise DataError(f"{path}: expected x_train and y_train, or images and labels; received {', '.join(arrays)}.")
    images, notes = npz_images(path, arrays, first)
    labels = tidy_labels(path, arrays[second]) if second in arrays else None
    test, test_notes = None, tuple[str, ...]()
    if "x_test" in arrays and first == "x_train":
        pixels, test_notes = npz_images(path, arrays, "x_test")
        test = pixels, (tidy_labels(path, arrays["y_test"]) if "y_test" in arrays else None)
    groups = tidy_labels(path, arrays["groups"]) if "groups" in arrays else None
    return content_of(path, images, labels, test, numbered(groups), tuple(dict.fromkeys((*notes, *test_notes))))


def numbered(groups: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """Groups named in any way → int64 numbers, equal where the names are."""
    if groups is None:
        return None
    return groups if groups.dtype == np.int64 else np.unique(groups, return_inverse=True)[1].astype(np.int64)


def npz_images(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> tuple[Pixels, tuple[str, ...]]:
    pixels, notes = to_pixels(path, arrays[name])
    return as_images(path, pixels), notes


def npz_arrays(path: Path, wanted: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Those of the wanted members that are there, each checked against its real size before it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            return {name: npz_member(path, archive, members[name]) for name in wanted if name in members}
    except DataError:
        raise
    except (OSError, EOFError, ValueError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        if system_refused(error):
            raise cannot_read(path, error) from None
        raise DataError(f"{path} is damaged or not an npz file ({error}). Save it again with numpy.savez.") from None
    except (NotImplementedError, RuntimeError, TypeError, OverflowError, struct.error) as error:
        raise DataError(f"{path} uses what npz files never use ({error}). Save it again with numpy.savez.") from None


def npz_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, no objects. The archive's and the header's promised sizes must agree and be possible."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is compressed in an unusual way")
    possible = min(info.compress_size, path.stat().st_size) * MOST_INFLATION
    if info.file_size > min(possible, MOST_BYTES):
        raise ValueError(f"{info.filename} promises {info.file_size:,} bytes")
    with archive.open(info) as member:
        shape, dtype = npy_header(member)
        if dtype.hasobject or dtype.kind not in "biufUS":
            raise DataError(f"{path}: {info.filename} holds {dtype} objects, which are not read. Save plain numbers.")
        if math.prod(shape) * dtype.itemsize != info.file_size - member.tell() or min(shape, default=0) < 1:
            raise ValueError(f"{info.filename}: its header promises {shape} of {dtype}, it holds other than that")
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """(shape, dtype), the member then standing at the first value."""
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    return shape, dtype
