"""One picture ↔ pixels: `decode_image` gives uint8 (h, w, c) of a file or bytes, `fit_image` brings it to a size."""

from __future__ import annotations

import errno
import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from numpy.typing import NDArray

from guarismo.errors import DataError

if TYPE_CHECKING:  # imported where used: `guarismo data list` must answer at once
    from PIL import Image

MOST_PIXELS = 60 * 10**6
"""Of one image, read from its header before it is decoded."""

IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "HEIF")
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif"}
)
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
"""What stands at bytes 8 to 12 of a HEIC or HEIF file, after `ftyp`."""

TILE = 1024
"""Side of what is reduced at once, in pixels: 4 MB, so that a photo is held once at full size."""

Pixels = NDArray[np.uint8]


def decode_image(source: bytes | Path, name: str = "") -> Pixels:
    """One image, upright, on white where transparent: uint8 (h, w, c), c = 1 where its mode is grey, else 3.

    Raises DataError, naming the file, for anything that is no whole image of an allowed format and size.
    """
    try:
        with open_image(source, name) as image, warnings.catch_warnings(action="ignore"):
            image.load()
            return turned(plain_pixels(image), orientation(image))
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders let through whatever they stumble on
        raise unreadable(source, name, error) from None


def image_size(source: bytes | Path, name: str = "") -> tuple[int, int]:
    """(h, w) of the upright image, from its header alone."""
    try:
        with open_image(source, name) as image, warnings.catch_warnings(action="ignore"):
            # Pillow gives a TIFF's size as it will be when it is loaded, which is upright
            aside = orientation(image) in ASIDE and image.format != "TIFF"
            return (image.width, image.height) if aside else (image.height, image.width)
    except DataError:
        raise
    except Exception as error:  # as above
        raise unreadable(source, name, error) from None


def open_image(source: bytes | Path, name: str = "") -> Image.Image:
    """The image with its header read and its size checked, nothing decoded yet."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"):
            image = identified(source)
    except Image.DecompressionBombError:
        raise too_large(called(source, name), "too many pixels") from None
    except Exception as error:  # as above
        raise unreadable(source, name, error) from None
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise too_large(called(source, name), f"{image.width:,} × {image.height:,} pixels")
    return image


def identified(source: bytes | Path) -> Image.Image:
    """Opened by Pillow, which learns HEIF when the first file needs it: 10 ms that other files do without."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(pillow_source(source), formats=[name for name in IMAGE_FORMATS if name != "HEIF"])
    except UnidentifiedImageError:
        head = first_bytes(source, 12)
        if head[4:8] != b"ftyp" or head[8:12] not in HEIF_BRANDS:
            raise
    import pillow_heif

    pillow_heif.register_heif_opener()
    return Image.open(pillow_source(source), formats=["HEIF"])


def pillow_source(source: bytes | Path) -> io.BytesIO | Path:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def first_bytes(source: bytes | Path, count: int) -> bytes:
    """Raises OSError."""
    if isinstance(source, bytes):
        return source[:count]
    with source.open("rb") as file:
        return file.read(count)


def too_large(name: str, found: str) -> DataError:
    return DataError(f"{name}: {found}, at most {MOST_PIXELS // 10**6} million are read. Make it smaller.")


def called(source: bytes | Path, name: str) -> str:
    return name or ("The image" if isinstance(source, bytes) else str(source))


def unreadable(source: bytes | Path, name: str, error: Exception) -> DataError:
    if system_refused(error):
        return cannot_read(called(source, name), error)
    reason = "no image" if "cannot identify" in str(error) else str(error) or type(error).__name__
    size = len(source) if isinstance(source, bytes) else source.stat().st_size if source.is_file() else 0
    return DataError(
        f"{called(source, name)} is not a readable image ({reason if size else 'it is empty'}). "
        f"Expected a whole {', '.join(IMAGE_FORMATS[:-1])} or {IMAGE_FORMATS[-1]} file."
    )


def system_refused(error: Exception) -> TypeGuard[OSError]:
    """Whether the system would not read; EINVAL is a seek to where a damaged file points, so the file's own fault."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def cannot_read(name: str | Path, error: OSError) -> DataError:
    """What the system says against reading a file or folder, in its own words."""
    reason = os.strerror(error.errno) if error.errno else error
    remedy = (
        " Change its permissions, or copy it to where you may read it." if isinstance(error, PermissionError) else ""
    )
    return DataError(f"{name} cannot be read: {reason}.{remedy}")


ASIDE = (5, 6, 7, 8)
"""The orientations whose width is upright their height."""


def orientation(image: Image.Image) -> int:
    """The camera's EXIF note, 1 to 8; 1 is upright.

    Asked after the pixels are loaded: TIFF, HEIF and AVIF are turned by their decoders, some of them only then.
    """
    note = image.getexif().get(0x0112, 1)
    return note if note in range(1, 9) else 1


def turned(pixels: Pixels, note: int) -> Pixels:
    """Pixels (h, w, c) whose EXIF orientation is `note`, upright: (h, w, c), or (w, h, c) where it is in ASIDE."""
    if note in ASIDE:
        pixels = pixels.swapaxes(0, 1)
    down = -1 if note in (3, 4, 7, 8) else 1
    right = -1 if note in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::down, ::right])


def reduced_pixels(image: Image.Image, factor: int) -> Pixels:
    """A loaded image, each square of factor × factor pixels averaged: uint8 (⌈h / factor⌉, ⌈w / factor⌉, 3).

    In tiles, of which each becomes plain for itself. Raises ValueError as `plain_pixels` does.
    """
    import cv2

    if factor == 1 and image.mode == "RGB" and "transparency" not in image.info:
        return np.array(image, dtype=np.uint8)
    wide = image.mode.startswith("I") and needs_16_bits(image)
    reduced = np.empty((-(-image.height // factor), -(-image.width // factor), 3), dtype=np.uint8)
    for left, top, right, bottom in tiles(image, factor * -(-TILE // factor)):
        tile = plain_pixels(image.crop((left, top, right, bottom)), wide)
        part = reduced[top // factor : -(-bottom // factor), left // factor : -(-right // factor)]
        small = cv2.resize(tile, part.shape[1::-1], interpolation=cv2.INTER_AREA)
        part[:] = small if small.ndim == 3 else small[..., None]
    return reduced


def tiles(image: Image.Image, side: int) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of left, top, right, bottom that cover the image, no longer than `side`."""
    for top in range(0, image.height, side):
        for left in range(0, image.width, side):
            yield left, top, min(left + side, image.width), min(top + side, image.height)


def plain_pixels(image: Image.Image, wide: bool | None = None) -> Pixels:
    """uint8 (h, w, 1 or 3) of any mode, 16 bits as `deep_pixels` has it. Raises ValueError for fractions.

    `wide` is what `needs_16_bits` says of the whole image where this is a part of it.
    """
    if image.mode.startswith("I"):
        return deep_pixels(image, needs_16_bits(image) if wide is None else wide)
    if image.mode == "F":
        raise ValueError("its pixels are fractions, whose range is unknown; save it with 8 or 16 bits per pixel")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        grey = image.mode in ("L", "LA", "La", "1")
        image = on_white(image)
        image = image.convert("L") if grey else image
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    pixels = np.array(image, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def deep_pixels(image: Image.Image, wide: bool) -> Pixels:
    """Values of up to 16 bits → uint8 (h, w, 1): their upper half where they are `wide`, else as they are."""
    values = np.asarray(image)
    return (values >> 8 if wide else values).astype(np.uint8)[..., None]


def needs_16_bits(image: Image.Image) -> bool:
    """Whether any value is above 255.

    Label tools and scanners store 8-bit values in wider files; a real 16-bit image that is so dark (less than
    0.4 % of full white) would be black. Raises ValueError beyond 16 bits.
    """
    extremes = [(int(part.min()), int(part.max())) for part in map(np.asarray, map(image.crop, tiles(image, TILE)))]
    least, most = min(least for least, _ in extremes), max(most for _, most in extremes)
    if least < 0 or most > 0xFFFF:
        raise ValueError("its pixels go beyond 16 bits; save it with 8 or 16 bits per pixel")
    return most > 0xFF


def on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


# Colour and size


def has_colour(image: Pixels) -> bool:
    """Whether any pixel of (…, c) is other than grey."""
    return image.shape[-1] == 3 and bool((image[..., 1:] != image[..., :1]).any())


def with_channels(images: Pixels, channels: int) -> Pixels:
    """Grey (…, 1) ↔ RGB (…, 3); RGB becomes grey by the weights of ITU-R 601, as in Pillow, so grey stays exact."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    weighed = images.astype(np.uint32) @ np.array([[19595], [38470], [7471]], dtype=np.uint32)
    return ((weighed + 0x8000) >> 16).astype(np.uint8)


def common_size(sizes: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """The most common (h, w), the first of equals."""
    (height, width), _ = Counter(sizes).most_common(1)[0]
    return height, width


def fit_image(image: Pixels, height: int, width: int) -> Pixels:
    """The image (h, w, c) scaled to fit into (height, width, c), its proportions kept (area averaging when
    it shrinks), centred on the median colour of its own border."""
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image

    scale = min(height / image.shape[0], width / image.shape[1])
    inner = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    scaled = np.asarray(picture.resize((inner[1], inner[0]), how)).reshape(*inner, image.shape[2])
    canvas = np.empty((height, width, image.shape[2]), dtype=np.uint8)
    canvas[:] = border_colour(image)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas[top : top + inner[0], left : left + inner[1]] = scaled
    return canvas


def border_colour(image: Pixels) -> Pixels:
    """The median of the outermost pixels of (h, w, c): uint8 (c,)."""
    edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    colour: Pixels = np.median(edges, axis=0).astype(np.uint8)
    return colour


def resized_note(count: int, height: int, width: int) -> str:
    return f"{count:,} images of another size were scaled to fit {height}×{width}."


def recoloured_note(count: int, channels: int) -> str:
    return f"{count:,} {'RGB images became grey' if channels == 1 else 'grey images became RGB'}."
