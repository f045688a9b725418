"""What the user names → pictures: `photo_files` finds the files, `pictures` gives each photo or page upright and small.

Nothing but pixels is taken over: where and when a photo was made stays in its file.
"""

from __future__ import annotations

import glob
import io
import math
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from guarismo.data.content import natural
from guarismo.data.images import (
    ASIDE,
    IMAGE_SUFFIXES,
    MOST_PIXELS,
    Pixels,
    called,
    cannot_read,
    first_bytes,
    open_image,
    orientation,
    reduced_pixels,
    too_large,
    turned,
    unreadable,
)
from guarismo.data.packing import in_text
from guarismo.errors import DataError

if TYPE_CHECKING:  # imported where used: a photo needs no PDFium
    from PIL import Image
    from pypdfium2 import PdfDocument, PdfPage

WORKING_SIDE = 1500
"""The longer side of a picture as it is read, in pixels: a digit of 4 mm on A4 paper has 20.
At 2000 the labelled pages gained 1 point of digit accuracy (98.2 for 97.3 %), and a photo took 0.5 s longer."""

MOST_PAGES = 200
PAGE_DPI = 300
"""What a PDF page counts as photographed with; a small page is not rendered finer."""

PICTURE_SUFFIXES = IMAGE_SUFFIXES | {".pdf"}
EXPECTED = "Expected a photo (JPEG, HEIC, PNG, TIFF, WebP, …) or a PDF."
HEAD = 1024
"""Bytes from which the kind of a file is told; a PDF may begin anywhere in them."""

PDFIUM = threading.Lock()
"""PDFium works for one thread at a time."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One upright photo or page as it is read.

    name: the file as the user wrote it.
    page: from 1; a photo has one.
    pixels: uint8 (h, w, 3), RGB, grey repeated; the longer side at most WORKING_SIDE.
    scale: pixels of the upright original per pixel here, at least 1.
    size: (w, h) of the upright original; of a PDF page as if it were scanned with PAGE_DPI.
    """

    name: str
    page: int
    pixels: Pixels
    scale: float
    size: tuple[int, int]


def pictures(source: bytes | Path, name: str = "") -> Iterator[Picture]:
    """The photo in a file, or every page of a PDF; of an animation or a file of several frames the first.

    What it is, its content says, not its suffix. Raises DataError, naming the file, for anything else, for a file that
    is damaged or cut short, and before decoding for one that is too large; in a PDF when its faulty page is reached.
    """
    name = in_text(name or ("" if isinstance(source, bytes) else str(source)))
    if not is_pdf(source, name):
        yield photo(source, name)
        return
    with opened_pdf(source, name) as (document, count):
        for number in range(count):
            yield rendered(document, number, name, f"Page {number + 1} of {called(source, name)}")


def numbered_picture(source: bytes | Path, page: int, name: str = "") -> tuple[Picture, int]:
    """One page, from 1, of what `pictures` gives, no other being drawn, and how many there are.

    Raises DataError as `pictures` does, and where there is no such page.
    """
    name = in_text(name or ("" if isinstance(source, bytes) else str(source)))
    if not is_pdf(source, name):
        check_number(page, 1, called(source, name))
        return photo(source, name), 1
    with opened_pdf(source, name) as (document, count):
        check_number(page, count, called(source, name))
        return rendered(document, page - 1, name, f"Page {page} of {called(source, name)}"), count


def check_number(page: int, count: int, name: str) -> None:
    if not 0 < page <= count:
        pages = "one page" if count == 1 else f"pages 1 to {count}"
        raise DataError(f"{name} has {pages}, page {page} was asked for. Ask for one that it has.")


# What kind of file it is

EXPORT = "Export it as PDF or PNG."
COPY_AGAIN = "Copy or download it again."
STILL = "Save one frame of it as a picture."

STRANGERS = (
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript", EXPORT),
    (rb"(?i)\s*(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)", "a web page", "Save the picture that it shows."),
    (rb"(?i)[^\0]*<svg[\s>]", "an SVG drawing", EXPORT),
    (rb"PK\x03\x04", "a ZIP archive or an office document", "Unpack it, or export it as PDF."),
    (rb"\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ", "a packed archive", "Unpack it."),
    (rb"\xd0\xcf\x11\xe0", "an office document", EXPORT),
    (rb"\{\\rtf", "an office document", EXPORT),
    (rb"(?s)....ftyp(isom|iso[2-9]|mp4|M4V|avc1|qt|3g|MSNV|dash)", "a video", STILL),
    (rb"(?s)....(moov|mdat|wide|free)", "a video", STILL),
    (rb"(?s)\x1a\x45\xdf\xa3|RIFF....AVI |\0\0\x01[\xb3\xba]|FLV", "a video", STILL),
    (rb"(?s)RIFF....WAVE|ID3|OggS|fLaC", "a sound", "Name a picture."),
    (rb"8BPS", "a Photoshop file", EXPORT),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture", "Export it as JPEG or PNG."),
    (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "a JPEG 2000 picture", "Export it as JPEG or PNG."),
    (rb"\x7fELF|MZ|#!", "a program", "Name a picture."),
    (rb"\0+\Z", "filled with zeros, as after a copy that broke off", COPY_AGAIN),
    (rb"\xff\xfe|\xfe\xff|(?!P[1-6]\s)[^\0-\x08\x0e-\x1a\x1c-\x1f\x7f]+\Z", "plain text", EXPORT),
)
"""How they begin, what they are, what to do; text last, for several of the others are text too."""


def is_pdf(source: bytes | Path, name: str) -> bool:
    """Whether it is a PDF, else it may be a picture. Raises DataError where it is neither."""
    head = head_of(source, name)
    if b"%PDF-" in head:
        return True
    if other := stranger(head):
        what, remedy = other
        raise DataError(f"{called(source, name)} is {what}. {EXPECTED} {remedy}")
    return False


def head_of(source: bytes | Path, name: str) -> bytes:
    """The first bytes. Raises DataError for an empty file, or one that cannot be read."""
    try:
        head = first_bytes(source, HEAD)
    except OSError as error:
        raise cannot_read(called(source, name), error) from None
    if not head:
        raise DataError(f"{called(source, name)} is empty. {EXPECTED} {COPY_AGAIN}")
    return head


def stranger(head: bytes) -> tuple[str, str] | None:
    """What a file is that is neither picture nor PDF, and what to do; None where it may be a picture."""
    return next(((what, remedy) for start, what, remedy in STRANGERS if re.match(start, head)), None)


# Photos


def photo(source: bytes | Path, name: str) -> Picture:
    """One picture of any allowed format; a JPEG is decoded at a half, a quarter or an eighth where that is enough."""
    try:
        with open_image(source, name) as image, warnings.catch_warnings(action="ignore"):
            check_no_preview(image, called(source, name))
            width, height = image.size
            if image.format in ("JPEG", "MPO"):
                image.draft(None, (WORKING_SIDE, 1) if width >= height else (1, WORKING_SIDE))
            image.load()
            if image.format == "HEIF":  # a damaged header may state another size than decoding finds
                width, height = image.size
            note = orientation(image)
            pixels = turned(shrunk(reduced_pixels(image, max(1, max(image.size) // WORKING_SIDE))), note)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders let through whatever they stumble on
        raise unreadable(source, name, error) from None
    size = (height, width) if note in ASIDE else (width, height)
    return Picture(name, 1, pixels, max(size) / max(pixels.shape[:2]), size)


def check_no_preview(image: Image.Image, name: str) -> None:
    """Raises DataError for a camera's raw file, a TIFF that begins with a thumbnail of what Pillow cannot decode."""
    if getattr(image, "tag_v2", {}).get(0x00FE, 0) == 1:
        raise DataError(f"{name} is a camera's raw file or begins with a preview. {EXPECTED} Export it as JPEG.")


def shrunk(pixels: Pixels) -> Pixels:
    """Pixels (h, w, 3) whose longer side is at most WORKING_SIDE, by area averaging; never enlarged.

    Up to a third smaller, two neighbours averaged do as well, in a quarter of the time.
    """
    import cv2

    longer = max(pixels.shape[:2])
    if longer <= WORKING_SIDE:
        return pixels
    height, width = (max(1, round(side * WORKING_SIDE / longer)) for side in pixels.shape[:2])
    how = cv2.INTER_AREA if longer > 1.5 * WORKING_SIDE else cv2.INTER_LINEAR
    small: Pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=how), dtype=np.uint8)
    return small


# PDF


@contextmanager
def opened_pdf(source: bytes | Path, name: str) -> Iterator[tuple[PdfDocument, int]]:
    """The document and how many pages it has. Raises DataError as `pictures` does."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            check_whole(file, called(source, name))
            document = open_pdf(file, called(source, name))
            try:
                yield document, checked_count(document, called(source, name))
            finally:
                with PDFIUM:
                    document.close()
    except OSError as error:
        raise cannot_read(called(source, name), error) from None


def check_whole(file: BinaryIO, name: str) -> None:
    """Raises DataError where the end mark is missing: PDFium would show what is left, and nobody would notice."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * HEAD))
    if b"%%EOF" not in file.read().rstrip(b"\0\r\n\t ")[-HEAD:]:
        raise DataError(f"{name} is cut short: a whole PDF ends in %%EOF. {COPY_AGAIN}")
    file.seek(0)


def open_pdf(file: BinaryIO, name: str) -> PdfDocument:
    """Raises DataError for a PDF that asks for a password or that is damaged."""
    import pypdfium2
    from pypdfium2.raw import FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY

    try:
        with PDFIUM:
            return pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY):
            raise DataError(
                f"{name} is protected by a password. Remove the password first: open it and print it into a new PDF."
            ) from None
        raise damaged(name) from None


def damaged(name: str) -> DataError:
    return DataError(f"{name} is damaged. Open it and print it into a new PDF, or photograph the paper.")


def checked_count(document: PdfDocument, name: str) -> int:
    """How many pages. Raises DataError for none and for more than MOST_PAGES."""
    with PDFIUM:
        count = len(document)
    if not 0 < count <= MOST_PAGES:
        raise DataError(
            f"{name} has {count:,} pages, 1 to {MOST_PAGES} are read. Print the pages wanted into a new PDF."
        )
    return count


def rendered(document: PdfDocument, number: int, name: str, title: str) -> Picture:
    """One page on white, as large as PAGE_DPI would have it but for WORKING_SIDE. Raises DataError."""
    import pypdfium2

    try:
        with PDFIUM, closing(document[number]) as page:
            check_page(page, title)
            longer = max(page.get_size()) / 72  # inches
            # PDFium rounds up, so that a little less is asked for
            dpi = min(PAGE_DPI, (WORKING_SIDE - 0.5) / longer)
            with closing(page.render(scale=dpi / 72, rev_byteorder=True)) as bitmap:
                pixels = np.array(bitmap.to_numpy())
            width, height = (math.ceil(side * PAGE_DPI / 72) for side in page.get_size())
    except (pypdfium2.PdfiumError, ValueError, RuntimeError):
        raise damaged(title) from None
    return Picture(name, number + 1, pixels, max(1.0, max(width, height) / max(pixels.shape[:2])), (width, height))


def check_page(page: PdfPage, title: str) -> None:
    """Raises DataError for a page without a size, and for one with a picture that is too large to be decoded."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    if not all(0 < side < math.inf for side in page.get_size()):
        raise DataError(f"{title} has no size. Print it into a new PDF.")
    for image in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE]):
        width, height = image.get_px_size()
        if width * height > MOST_PIXELS:
            raise too_large(title, f"a picture of {width:,} × {height:,} pixels")


# Files


def photo_files(paths: Sequence[str | Path]) -> tuple[list[Path], list[DataError]]:
    """What the user names → files, each once, in that order, and what is wrong with the other names.

    A file as it is; a folder as every picture and PDF below it, in natural order, hidden ones left out; a pattern that
    the shell left as it is (`**` for folders in folders) as what it matches.
    """
    files: dict[str, Path] = {}
    problems: list[DataError] = []
    for path in map(str, paths):
        found: list[Path] = []
        try:
            if glob.has_magic(path) and not os.path.lexists(path):
                found, faults = photo_files(matches(path))
                problems += faults
            else:
                found = named_files(path)
        except DataError as error:
            problems.append(error)
        for file in found:
            files.setdefault(os.path.realpath(file), file)
    return list(files.values()), problems


def matches(pattern: str) -> list[str]:
    """Raises DataError where there are none."""
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207  (Path.glob takes no absolute pattern)
    if not found:
        raise DataError(f"No file matches {in_text(pattern)}. Check its folder, or name the files themselves.")
    return sorted(found, key=natural)


def named_files(path: str) -> list[Path]:
    """The file of that name, or those in the folder of that name. Raises DataError where there is none."""
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116  (Path("") is the working folder)
        if stat.S_ISDIR(kind):
            return files_below(Path(path))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"'{in_text(path)}' does not exist. Check its spelling and its folder.") from None
    except OSError as error:
        raise cannot_read(in_text(str(error.filename or path)), error) from None
    if not stat.S_ISREG(kind):
        raise DataError(f"{in_text(path)} is neither a file nor a folder. Save the picture to a file and name that.")
    return [Path(path)]


def files_below(folder: Path) -> list[Path]:
    """Raises DataError for a folder without a picture, and OSError for one that cannot be read."""

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not hidden(name)]
        found += [Path(place, name) for name in names if not hidden(name) and is_picture(Path(place, name))]
    if not found:
        raise DataError(
            f"{in_text(str(folder))} holds no picture. Expected files that end in "
            f"{', '.join(sorted(PICTURE_SUFFIXES))}, here or in folders below."
        )
    return sorted(found, key=lambda path: [natural(part) for part in path.parts])


def hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
