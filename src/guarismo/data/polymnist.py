"""PolyMNIST: every MNIST digit on crops of several background pictures, one picture for each modality.

Made as its authors made it (Sutter, Daunhawer and Vogt, "Generalized Multimodal ELBO", ICLR 2021; repository
thomassutter/MoPoE), but with a seed: a Table says of each image what it is, `compose` gives the pixels. They go into a
store, one array on disk that opens at once, or into the published layout, train/m0/123.7.png: the same pixels in the
same order.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from guarismo.data.arrays import npy_header
from guarismo.data.content import Content, class_names_of, encode
from guarismo.data.dataset import UNKNOWN, Mapped, Split, held
from guarismo.data.images import IMAGE_SUFFIXES, Pixels, cannot_read, decode_image, with_channels
from guarismo.data.packing import cannot_write, in_text, sha256_of, state_of, untouched
from guarismo.errors import DataError
from guarismo.progress import Progress, silent

FORMAT = 1
"""Version of the store; another one is made again."""

SIDE = 28
LEAST_MODALITIES, MOST_MODALITIES = 2, 10

INK = 128
"""Pixels of MNIST above it are the digit: its authors' own threshold."""

BLOCK = 1024
"""Images composed at once: 2.4 MB in colour."""

TEST, TRAIN = "test", "train"

# What each image is


@dataclass(frozen=True, eq=False)
class Table:
    """One row for each image, in the order in which a folder of the published layout is listed: by path.

    part: str (n,), "train" or "test"; modality, digit, index: int64 (n,), what the name train/mMODALITY/INDEX.DIGIT.png
    says; original: int64 (n,), the number of the MNIST image, those of the test part counted on from the training
    images, or UNKNOWN.
    """

    part: NDArray[np.str_]
    modality: NDArray[np.int64]
    digit: NDArray[np.int64]
    index: NDArray[np.int64]
    original: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.part)

    def take(self, rows: NDArray[np.int64]) -> Table:
        """The chosen rows, in the order of `rows` (int (m,))."""
        return Table(**{name: column[rows] for name, column in vars(self).items()})

    @property
    def names(self) -> NDArray[np.str_]:
        """The published path of each image, str (n,)."""
        pieces = [self.part, "/m", in_figures(self.modality), "/", in_figures(self.index), ".", in_figures(self.digit)]
        columns = [np.array(piece, dtype=str) for piece in (*pieces, ".png")]
        return reduce(np.strings.add, columns)  # 0.1 s for 350,000; one by one 0.4 s


def in_figures(numbers: NDArray[np.int64]) -> NDArray[np.str_]:
    found, inverse = np.unique(numbers, return_inverse=True)
    return np.array([str(number) for number in found.tolist()], dtype=str)[inverse]


def name_of(part: str, modality: int, index: int, digit: int) -> str:
    return f"{part}/m{modality}/{index}.{digit}.png"


def joined(tables: Sequence[Table]) -> Table:
    """All their rows, in this order."""
    columns = zip(*(vars(table).values() for table in tables), strict=True)
    return Table(*(np.concatenate(parts) for parts in columns))


# Names → Table

PLACE = re.compile(rb"((?:PolyMNIST/)?(?:MMNIST/)?)(train|test)/m(0|[1-9][0-9]{0,2})")
MOST_NAME = 64
"""Characters of a path that are looked at: more than any name of the layout has."""
MOST_FIGURES = 9
"""Of an index."""


def table_of_names(paths: Sequence[str], originals: Mapping[str, int] | None = None) -> Table | None:
    """The Table of relative paths in the published layout, a row for each path, in their order; None for another one.

    PolyMNIST/ and MMNIST/ may stand before train/m0/123.7.png. `originals` gives the MNIST number by the path
    without these, as `read_originals` does.
    Raises DataError for the first file that is named otherwise where most are named so.
    """
    if not paths:
        return None
    folders, _, files = np.strings.rpartition(in_bytes(paths), b"/")
    prefix, part, modality = folder_meaning(folders)
    index, digit = file_meaning(files)
    right = (part != "") & (digit != UNKNOWN)
    if 2 * np.count_nonzero(right) <= len(paths):
        return None
    if not right.all():
        raise DataError(
            f"{in_text(paths[int(np.argmin(right))])} is not named as PolyMNIST's files beside it are: expected "
            f"{prefix}train/m0/INDEX.DIGIT.png, the digit last. Rename it, or move it elsewhere."
        )
    original = np.full(len(paths), UNKNOWN, dtype=np.int64)
    if originals:
        original[:] = [originals.get(path[len(prefix) :], UNKNOWN) for path in paths]
    return Table(part, modality, digit, index, original)


def in_bytes(paths: Sequence[str]) -> NDArray[np.bytes_]:
    """Paths as ASCII (n,), '?' for other letters, cut off where they are too long for the layout."""
    width = f"S{min(MOST_NAME, max(map(len, paths)))}"
    try:
        return np.array(paths, dtype=width)
    except UnicodeEncodeError:  # the usual way takes a third of the time
        return np.array([path.encode("ascii", "replace") for path in paths], dtype=width)


def folder_meaning(folders: NDArray[np.bytes_]) -> tuple[str, NDArray[np.str_], NDArray[np.int64]]:
    """(what stands before train/, part str (n,), modality int64 (n,)); part "" where a folder is not of the layout.

    Paths come sorted, so that only the first of each run of equal folders is looked at.
    """
    starts = np.flatnonzero(np.append(True, folders[1:] != folders[:-1]))
    found = [PLACE.fullmatch(folder) for folder in folders[starts].tolist()]
    lengths = np.diff(starts, append=len(folders))
    prefixes: Counter[bytes] = Counter()
    for match, length in zip(found, lengths.tolist(), strict=True):
        prefixes[match[1] if match else b""] += length if match else 0
    prefix = max(prefixes, key=prefixes.__getitem__)
    kept = [match if match and match[1] == prefix else None for match in found]
    part = np.array([match[2].decode() if match else "" for match in kept])
    modality = np.array([int(match[3]) if match else UNKNOWN for match in kept], dtype=np.int64)
    return prefix.decode(), np.repeat(part, lengths), np.repeat(modality, lengths)


def file_meaning(files: NDArray[np.bytes_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """INDEX and DIGIT of names INDEX.DIGIT.png: int64 (n,) each, both UNKNOWN where a name is another."""
    files = files.astype(f"S{MOST_FIGURES + 7}")  # one letter more than the longest name has
    letters = files.view(np.uint8).reshape(len(files), -1)
    figures = letters - np.uint8(ord("0"))  # above 9 where the letter is no figure
    dot = np.strings.str_len(files) - len(".7.png")
    right = np.strings.endswith(files, b".png") & (dot >= 1) & (dot <= MOST_FIGURES)
    dot, rows = np.where(right, dot, 1), np.arange(len(files))
    index = np.zeros(len(files), dtype=np.int64)
    for column in range(MOST_FIGURES):
        inside = column < dot
        right &= ~inside | (figures[:, column] <= 9)
        index = np.where(inside, 10 * index + figures[:, column], index)
    digit = figures[rows, dot + 1].astype(np.int64)
    right &= (letters[rows, dot] == ord(".")) & (digit <= 9)
    right &= (dot == 1) | (figures[:, 0] != 0)  # 07.7.png is no name that an index gives
    return np.where(right, index, UNKNOWN), np.where(right, digit, UNKNOWN)


ORIGINALS = "originals.csv"
MOST_TEXT = 2**26
"""Bytes of originals.csv that are read: eight times those of ten modalities."""


def read_originals(folder: Path) -> dict[str, int]:
    """The MNIST number of each file in originals.csv of that folder, as `write_files` left it; {} without one.

    Raises DataError where it is not a list of files and numbers.
    """
    path = folder / ORIGINALS
    try:
        if not path.is_file():
            return {}
        with path.open("rb") as file:
            text = file.read(MOST_TEXT + 1).decode("utf-8", "replace")
    except OSError as error:
        raise cannot_read(path, error) from None
    found = re.findall(r"^([^,\n]+),([0-9]{1,9})$", text, flags=re.MULTILINE)
    whole = text.startswith("file,original\n") and text.endswith("\n") and text.count("\n") == len(found) + 1
    if not whole or len(text) > MOST_TEXT:
        raise DataError(f"{path}: expected 'file,original', then a line for each file. Remove it to go on without.")
    return {name: int(number) for name, number in found}


# MNIST and backgrounds → Table and pixels


def plan(train: Split, test: Split, backgrounds: Sequence[Pixels], seed: int) -> tuple[Table, NDArray[np.int64]]:
    """(the Table, top left corners of the crops int64 (n, 2)): what is drawn at random, and nothing else.

    For each part, modality and digit, a new random order of all the originals. One more background changes nothing
    for those before it.
    """
    check_originals(train)
    check_originals(test)
    check_count(len(backgrounds))
    tables, corners = [], []
    for part, split, first in ((TEST, test, len(train)), (TRAIN, train, 0)):  # in the order of their names
        for modality, background in enumerate(backgrounds):
            rng = np.random.default_rng([seed, part == TRAIN, modality])
            original, index, corner = drawn(split.labels, background.shape, rng)
            order = in_order_of_names(index, split.labels[original])
            count = len(order)
            columns = (split.labels[original], index, original + first)
            tables.append(Table(np.repeat(part, count), np.repeat(modality, count), *(c[order] for c in columns)))
            corners.append(corner[order])
    return joined(tables), np.concatenate(corners)


def drawn(
    labels: NDArray[np.int64], shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(original (n,), its place among those of its digit (n,), top left corner of a crop (n, 2)), digit by digit."""
    members = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    corners = rng.integers(0, (shape[0] - SIDE + 1, shape[1] - SIDE + 1), (len(labels), 2))
    return np.concatenate(members), np.concatenate([np.arange(len(group)) for group in members]), corners


def in_order_of_names(index: NDArray[np.int64], digit: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions that sort INDEX.DIGIT.png as text: 1.0, 1.9, 10.0, 2.0, for a dot stands before every figure."""
    numbers = np.arange(index.max(initial=0) + 1)
    rank = np.empty_like(numbers)
    rank[np.argsort(numbers.astype(str))] = numbers
    return np.lexsort((digit, rank[index]))


def check_originals(split: Split) -> None:
    wrong = f"images {split.images.shape[1:]}"
    if split.images.shape[1:] == (SIDE, SIDE, 1):
        outside = split.labels[(split.labels < 0) | (split.labels > 9)]
        if not len(outside):
            return
        wrong = f"the label {outside[0]}"
    raise DataError(
        f"PolyMNIST is made of grey digits of {SIDE}×{SIDE} with labels 0 to 9, received {wrong}. Give MNIST."
    )


def check_count(count: int) -> None:
    if not LEAST_MODALITIES <= count <= MOST_MODALITIES:
        raise DataError(
            f"PolyMNIST has {LEAST_MODALITIES} to {MOST_MODALITIES} modalities, received {count}. "
            "Give another number of backgrounds."
        )


def compose(
    train: Split, test: Split, table: Table, corners: NDArray[np.int64], backgrounds: Sequence[Pixels]
) -> Iterator[Pixels]:
    """The images of the Table, in order: blocks uint8 (≤ BLOCK, 28, 28, 3).

    A crop of the modality's background, each channel 255 − value where the original is above INK.
    """
    digits = np.concatenate([np.asarray(part.images) for part in (train, test)])
    masks = np.where(digits > INK, np.uint8(255), np.uint8(0))
    for modality, rows in runs(table.modality):
        for start in range(rows.start, rows.stop, BLOCK):
            block = slice(start, min(start + BLOCK, rows.stop))
            mask = np.repeat(masks[table.original[block]], 3, axis=-1)
            yield crops(backgrounds[modality], corners[block]) ^ mask  # 255 − value, for 8 bits


def runs(values: NDArray[np.int64]) -> list[tuple[int, slice]]:
    """Each run of equal values (n,), and where it stands."""
    bounds = np.flatnonzero(np.diff(values, prepend=values[:1] - 1, append=values[-1:] - 1)).tolist()
    return [(int(values[a]), slice(a, b)) for a, b in pairwise(bounds)]


def crops(picture: Pixels, corners: NDArray[np.int64]) -> Pixels:
    """Squares cut from (h, w, c) at the corners (n, 2): uint8 (n, 28, 28, c)."""
    windows = sliding_window_view(picture, (SIDE, SIDE, picture.shape[2]))[:, :, 0]
    return windows[corners[:, 0], corners[:, 1]]


# Backgrounds


def backgrounds(folder: Path | None, count: int) -> dict[str, Pixels]:
    """`count` pictures by name, uint8 (h, w, 3): the first of a folder, sorted by name, or our own.

    Ours are scikit-learn's two sample photos and then TEXTURES. Raises DataError for a folder with too few pictures,
    one that is too small or cannot be read, and a count that is out of range.
    """
    check_count(count)
    if folder is None:
        names = [*PHOTOS, *TEXTURES][:count]
        return {name: TEXTURES[name]() if name in TEXTURES else photo(name) for name in names}
    return {path.name: background(path) for path in pictures_in(folder, count)}


def pictures_in(folder: Path, count: int) -> list[Path]:
    try:
        paths = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    except OSError as error:
        raise cannot_read(folder, error) from None
    if len(paths) < count:
        raise DataError(
            f"{folder} holds {len(paths)} pictures, expected {count}: one for each modality. "
            "Add pictures, or ask for fewer modalities."
        )
    return sorted(paths)[:count]


def background(path: Path) -> Pixels:
    picture = with_channels(decode_image(path), 3)
    height, width = picture.shape[:2]
    if min(height, width) < SIDE:
        raise DataError(
            f"{path} has {height}×{width} pixels, a background needs at least {SIDE}×{SIDE}. Choose a larger picture."
        )
    return picture


PHOTOS = ("china.jpg", "flower.jpg")


def photo(name: str) -> Pixels:
    """scikit-learn's own file, found without importing scikit-learn."""
    from importlib.util import find_spec

    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    return background(Path(spec.origin).parent / "datasets" / "images" / name)


# Textures: squares of 512 pixels whose patterns repeat within a few dozen, drawn by arithmetic

WIDE = 512
Plane = NDArray[np.float64]
Colour = tuple[int, int, int]


def blend(values: Plane, *colours: Colour) -> Plane:
    """Values 0…1 (h, w) → the colours that stand evenly between: (h, w, 3)."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(values, stops, column) for column in zip(*colours, strict=True)], axis=-1)


def pixels_of(colours: Plane) -> Pixels:
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


def fractal(rng: np.random.Generator, slope: float, stretch: float = 1) -> Plane:
    """Noise 0…1 (WIDE, WIDE) whose amplitude falls as frequency^−slope; `stretch` draws it out from left to right."""
    frequency = np.hypot(np.fft.fftfreq(WIDE)[:, None], stretch * np.fft.rfftfreq(WIDE))
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((WIDE, WIDE))) / frequency**slope, (WIDE, WIDE))
    ranks = np.empty(field.size)
    ranks[np.argsort(field, axis=None)] = np.linspace(0, 1, field.size)
    return ranks.reshape(field.shape)


def nearest_points(rng: np.random.Generator, count: int, bend: float = 0) -> tuple[Plane, NDArray[np.int64]]:
    """(distances to the two nearest of so many random points (h, w, 2), which they are (h, w, 2)): Worley's cells."""
    from scipy.spatial import KDTree

    y, x = np.mgrid[:WIDE, :WIDE].astype(np.float64)
    y, x = y + bend * fractal(rng, 2), x + bend * fractal(rng, 2)
    points = rng.uniform(0, WIDE + bend, (count, 2))
    return KDTree(points).query(np.stack([y, x], axis=-1), 2)  # type: ignore[no-any-return]


def stars() -> Pixels:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(1)
    sky = blend(fractal(rng, 1.8) ** 2, (4, 6, 24), (28, 16, 66), (92, 28, 96), (150, 60, 90))
    light = np.zeros((WIDE, WIDE))
    light[tuple(rng.integers(0, WIDE, (2, 2600)))] = rng.pareto(1.6, 2600)
    light = np.minimum(gaussian_filter(light, 0.6, mode="wrap") + 2 * gaussian_filter(light, 2, mode="wrap"), 1.5)
    return pixels_of(sky + 200 * light[..., None])


def wood() -> Pixels:
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:WIDE, :WIDE] / WIDE
    rings = 34 * np.hypot(y - 1.2, 0.35 * (x - 0.4)) + 5 * fractal(rng, 2.2)
    grain = (rings % 1) ** 1.5 * 0.75 + 0.25 * fractal(rng, 0.8, 12)
    return pixels_of(blend(grain, (232, 188, 124), (196, 132, 70), (92, 46, 20)))


def tartan() -> Pixels:
    red, navy, cream, green = (176, 22, 34), (18, 26, 74), (240, 226, 190), (16, 74, 44)
    sett = np.array([red] * 6 + [navy] * 3 + [green] * 3 + [cream] + [green] * 3 + [navy] * 3, dtype=np.float64)
    y, x = np.mgrid[:WIDE, :WIDE]
    thread = 3
    over = ((x + y) // thread) % 4 < 2  # twill
    colours = np.where(over[..., None], sett[x // thread % len(sett)], sett[y // thread % len(sett)])
    return pixels_of(colours * np.where((x + y) % thread == 0, 0.8, 1.0)[..., None])


def water() -> Pixels:
    distances, _ = nearest_points(np.random.default_rng(4), 900, bend=60)
    edge = 1 / (1 + ((distances[..., 1] - distances[..., 0]) / 1.6) ** 2)
    return pixels_of(blend(edge, (0, 78, 122), (0, 128, 168), (70, 196, 214), (236, 255, 250)))


def sunset() -> Pixels:
    height = np.linspace(0, 1, WIDE)[:, None]
    values = 0.6 * height + 0.4 * fractal(np.random.default_rng(5), 1.7, 0.4)
    return pixels_of(blend(values, (38, 14, 84), (140, 26, 96), (236, 84, 48), (255, 176, 64), (255, 236, 176)))


def bricks() -> Pixels:
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:WIDE, :WIDE]
    row = y // 9
    column = (x + 10 * (row % 2)) // 20
    tone = rng.uniform(0, 1, (WIDE, WIDE))[row, column]
    wall = blend(0.7 * tone + 0.3 * fractal(rng, 0.7), (98, 26, 18), (158, 50, 32), (196, 84, 58))
    mortar = (y % 9 < 2) | ((x + 10 * (row % 2)) % 20 < 2)
    return pixels_of(np.where(mortar[..., None], 214 + 24 * fractal(rng, 0.5)[..., None], wall))


def mosaic() -> Pixels:
    rng = np.random.default_rng(7)
    distances, cells = nearest_points(rng, 700)
    glass = np.array([(222, 40, 44), (250, 190, 30), (24, 92, 196), (20, 140, 70), (120, 34, 140), (250, 240, 210)])
    colours = glass[rng.integers(0, len(glass), 700)][cells[..., 0]] * (0.8 + 0.3 * fractal(rng, 1)[..., None])
    lead = np.clip((distances[..., 1] - distances[..., 0]) / 2.5, 0, 1)
    return pixels_of(colours * lead[..., None] + 16 * (1 - lead[..., None]))


def marble() -> Pixels:
    rng = np.random.default_rng(8)
    veins = np.abs(2 * fractal(rng, 1.9) - 1) ** 0.45
    tint = 0.75 * veins + 0.25 * fractal(rng, 1.2)
    return pixels_of(blend(tint, (52, 64, 58), (150, 168, 156), (226, 234, 226), (250, 250, 246)))


TEXTURES: dict[str, Callable[[], Pixels]] = {
    "stars": stars,
    "wood": wood,
    "tartan": tartan,
    "water": water,
    "sunset": sunset,
    "bricks": bricks,
    "mosaic": mosaic,
    "marble": marble,
}


# Store

IMAGES, TABLE = "images.npy", "table.safetensors"


class Store(NamedTuple):
    """images: uint8 (n, 28, 28, c), read from disk as needed; table: a row for each; about: what index.json says;
    what decides every pixel is in its "made_of"."""

    images: Pixels
    table: Table
    about: dict[str, Any]


def make_store(
    place: Path,
    train: Split,
    test: Split,
    backgrounds: Mapping[str, Pixels],
    seed: int = 0,
    channels: int = 3,
    progress: Progress = silent,
) -> Store:
    """PolyMNIST as one array on disk, made beside `place` and moved there whole, or as it is there already.

    train, test: MNIST, images uint8 (n, 28, 28, 1), labels 0…9; backgrounds: uint8 (h, w, 3) by name, one for each
    modality; channels: 3, or 1 for grey.
    Raises DataError for other data than these, and when the place cannot be written.
    """
    pictures = list(backgrounds.values())
    table, corners = plan(train, test, pictures, seed)
    blocks = compose(train, test, table, corners, pictures)
    made_of = ingredients(train, test, backgrounds, seed, channels)
    return stored(place, table, blocks, made_of, progress)


def grey_store(place: Path, colour: Store, progress: Progress = silent) -> Store:
    """The same as `make_store` makes with channels=1, from the colours. Raises DataError as it does."""
    blocks = (colour.images[start : start + BLOCK] for start in range(0, len(colour.images), BLOCK))
    return stored(place, colour.table, blocks, {**colour.about["made_of"], "channels": 1}, progress)


def stored(place: Path, table: Table, blocks: Iterator[Pixels], made_of: dict[str, Any], progress: Progress) -> Store:
    """The store made of these, written where it is not there; one process writes while others wait."""
    from filelock import FileLock

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            store = open_store(place)
            if store is None or store.about["made_of"] != made_of:
                channels = made_of["channels"]
                painted = (with_channels(block, channels) for block in blocks)
                write_store(place, table, painted, channels, made_of, progress)
                store = open_store(place)
    except OSError as error:
        raise cannot_write(place.parent, error) from error
    if store is None:
        raise DataError(f"{place} changed while it was written. Try again.")
    return store


def ingredients(
    train: Split, test: Split, backgrounds: Mapping[str, Pixels], seed: int, channels: int
) -> dict[str, Any]:
    """What decides every pixel, fit for JSON: equal exactly when two stores are."""
    pictures = [
        [name, *picture.shape, hashlib.sha256(np.ascontiguousarray(picture).data).hexdigest()]
        for name, picture in backgrounds.items()
    ]
    originals = [part.fingerprint for part in (train, test)]
    return {"seed": seed, "channels": channels, "originals": originals, "backgrounds": pictures}


def write_store(
    place: Path, table: Table, blocks: Iterator[Pixels], channels: int, made_of: dict[str, Any], progress: Progress
) -> None:
    """Raises OSError; whatever interrupts leaves nothing behind."""
    aside = place.with_name(f"{place.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        write_images(aside / IMAGES, (len(table), SIDE, SIDE, channels), blocks, progress)
        (aside / TABLE).write_bytes(save({**vars(table), "part": (table.part == TRAIN).astype(np.int64)}))
        files = {name: described(aside / name) for name in (IMAGES, TABLE)}
        index = {"format": FORMAT, "made_of": made_of, "files": files}
        (aside / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        aside.replace(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_images(path: Path, shape: tuple[int, ...], blocks: Iterator[Pixels], progress: Progress) -> None:
    """An npy file of that shape. Written, not mapped: where a disk is full, a mapped file ends the process."""
    need_room(path.parent, math.prod(shape))
    done = 0
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(block.data)
            done += len(block)
            progress(done, shape[0])


def need_room(folder: Path, size: int) -> None:
    """Raises OSError where the disk has fewer free bytes."""
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"state": state_of(file), "sha256": sha256_of(file)}


def open_store(place: Path) -> Store | None:
    """The store in that folder, or None when there is none, it is not whole or of another version.

    Files that lie as they were left are opened at once, copied ones are read and compared first (823 MB: 0.6 s).
    """
    try:
        with (place / "index.json").open(encoding="utf-8") as file:
            about, written = json.load(file), os.fstat(file.fileno()).st_mtime_ns
        if about["format"] != FORMAT or not isinstance(about["made_of"], dict):
            return None
        with (place / TABLE).open("rb") as columns, (place / IMAGES).open("rb") as images:
            for part, file_of in ((columns, TABLE), (images, IMAGES)):
                left = about["files"][file_of]
                if not untouched(part, left["state"], written) and sha256_of(part) != left["sha256"]:
                    return None
                part.seek(0)
            table = table_in(columns.read())
            shape, dtype = npy_header(images)
            if dtype != np.uint8 or shape[:3] != (len(table), SIDE, SIDE) or shape[3:] not in ((1,), (3,)):
                return None
            return Store(np.memmap(images, dtype, "r", images.tell(), shape), table, about)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def table_in(content: bytes) -> Table:
    """Raises ValueError, TypeError or SafetensorError for anything but a Table."""
    columns = load(content)
    table = Table(**columns)
    if any(column.dtype != np.int64 or column.shape != (table.part.size,) for column in columns.values()):
        raise ValueError("its columns are not whole numbers, one for each image")
    return replace(table, part=np.where(table.part == 1, TRAIN, TEST))


# Published layout


def write_files(
    out: Path,
    train: Split,
    test: Split,
    backgrounds: Mapping[str, Pixels],
    seed: int = 0,
    progress: Progress = silent,
) -> int:
    """out/MMNIST/train/m0/0.0.png and so on, the pixels of `make_store`, with originals.csv beside; how many files.

    Made in a hidden folder and moved into place whole. Raises DataError as `make_store`, and where `out` holds
    anything already.
    """
    pictures = list(backgrounds.values())
    table, corners = plan(train, test, pictures, seed)
    aside = out / ".MMNIST.new"  # hidden: what was left half-written is read by nobody
    try:
        out.mkdir(parents=True, exist_ok=True)
        if found := sorted(entry.name for entry in out.iterdir() if entry != aside):
            raise DataError(
                f"{out} is not empty: it holds {in_text(found[0])}. Choose a new folder, or empty this one."
            )
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        need_files(aside, len(table))
        write_layout(aside, table, compose(train, test, table, corners, pictures), progress)
        aside.replace(out / "MMNIST")
    except OSError as error:
        raise DataError(
            f"Cannot write into {out}: {error.strerror or error}. Make room, or choose another folder."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return len(table)


def need_files(folder: Path, count: int) -> None:
    """Raises OSError where the disk has no room for so many small files: each takes a block of its own."""
    disk = os.statvfs(folder)
    need_room(folder, count * max(disk.f_frsize, len(END) + SIDE * (3 * SIDE + 1)))
    if disk.f_files and disk.f_favail < count:
        raise OSError(errno.ENOSPC, "the disk has no room for so many files")


def write_layout(folder: Path, table: Table, blocks: Iterator[Pixels], progress: Progress) -> None:
    names, done = table.names.tolist(), 0
    for place in sorted({name.rpartition("/")[0] for name in names}):
        (folder / place).mkdir(parents=True)
    for block in blocks:
        for name, content in zip(names[done : done + len(block)], png_files(block), strict=True):
            Path(f"{folder}/{name}").write_bytes(content)
        done += len(block)
        progress(done, len(names))
    lines = [f"{name},{number}\n" for name, number in zip(names, table.original.tolist(), strict=True)]
    (folder / ORIGINALS).write_text("file,original\n" + "".join(lines), encoding="utf-8")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


HEAD = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
END = chunk(b"IEND", b"")


def png_files(images: Pixels) -> Iterator[bytes]:
    """Each of the images uint8 (n, 28, 28, 3) as a PNG file (ISO/IEC 15948), its pixels not compressed.

    A file takes a block of 4 KB on the disk, compressed or not; Pillow would compress 350,000 in 46 s of processor
    time, these take 2 s.
    """
    lines = np.zeros((len(images), SIDE, 1 + 3 * SIDE), dtype=np.uint8)  # each begins with its filter: none
    lines[:, :, 1:] = images.reshape(len(images), SIDE, 3 * SIDE)
    return (HEAD + chunk(b"IDAT", zlib.compress(line.tobytes(), 0)) + END for line in lines)


# Table → Content


def content_of_table(place: Path, images: Pixels, table: Table, target: str, views: bool = False) -> Content:
    """What is learnt of images uint8 (n, h, w, c), in memory or on disk, whose Table has a row for each.

    target: "digit" or "modality". With `views`, an item is INDEX.DIGIT, its modalities side by side as one image of
    the digit, (h, views·w, c); it is named as in the first modality. `place` is named in errors.
    Raises DataError for views of the modality, and for a view that is missing or there twice.
    """
    if views and target == "modality":
        raise DataError(
            "Side by side the modalities are one image, so that only the digit can be learnt. "
            "Choose --target digit, or leave --views out."
        )
    if TRAIN not in table.part:
        raise DataError(f"{place} holds test/ but no train/. Add train/m0/ with the images to learn from.")
    notes = notes_of(table, target, images.shape[3], views)
    names, known = table.names, bool((table.original != UNKNOWN).all())
    parts = {part: np.flatnonzero(table.part == part) for part in (TRAIN, TEST)}
    labels = table.modality if target == "modality" else table.digit
    class_names = class_names_of(place, labels[parts[TRAIN]])
    splits: dict[str, Split] = {}
    for part, rows in parts.items():
        if part == TEST and not len(rows):
            continue
        pictures, groups = rows, table.original[rows] if known else None
        if views:
            pictures, groups = side_by_side(place, table, rows), None
            rows = pictures[:, 0]
        coded = encode(place, labels[rows], class_names, len(rows))
        splits[part] = Split(held(Mapped(images, pictures)), coded, groups, names[rows])
    class_names = tuple(f"m{name}" for name in class_names) if target == "modality" else class_names
    return Content(class_names=class_names, notes=notes, grouped_by="original", **splits)


def side_by_side(place: Path, table: Table, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of one part → int64 (items, views): for each INDEX.DIGIT, in the order of names, its row in each modality.

    Raises DataError for one that is missing.
    """
    modalities, view = np.unique(table.modality, return_inverse=True)
    found, first, item = np.unique(10 * table.index[rows] + table.digit[rows], return_index=True, return_inverse=True)
    grid = np.full((len(found), len(modalities)), -1)
    grid[item, view[rows]] = rows
    if (grid < 0).any():
        row, column = np.argwhere(grid < 0)[0]
        name = name_of(table.part[rows[0]], modalities[column], *divmod(int(found[row]), 10))
        raise DataError(
            f"{place}: {name} is missing; side by side, every image is needed in each of the {len(modalities)} "
            "modalities. Restore it, or leave --views out."
        )
    return grid[np.argsort(first)]


def sentence(table: Table, target: str) -> str:
    """What is learnt, and how to learn the other, in one line."""
    modalities = np.unique(table.modality)
    folders = f"the folders m{modalities[0]}…m{modalities[-1]}"
    if target == "modality":
        return f"The modality is learnt ({folders}), not the digit: --target digit learns that, from the file names."
    return f"The digit is learnt (from the file names); {folders} are modalities: --target modality learns those."


def notes_of(table: Table, target: str, channels: int, views: bool) -> tuple[str, ...]:
    notes = [sentence(table, target)]
    if target == "digit" and channels == 1:
        notes.append("In grey, digits vanish where the background is mid-grey: keep --channels 3 to learn digits.")
    if views:
        notes.append(
            "The views of one item show different originals of its digit, and other items show these again: "
            "training and validation share handwriting, the test part has its own."
        )
    elif (table.original == UNKNOWN).any():
        notes.append(
            "Which MNIST image each file shows is not known: the same handwriting, on other backgrounds, may be in "
            "training and validation; the test part has its own."
        )
    return tuple(notes)
