"""Sources: a name or a path → Dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from guarismo.choices import check_choices, choice
from guarismo.data.arrays import holds_idx, idx_array, idx_content, read_idx_folder, read_idx_pair, read_npz
from guarismo.data.content import Content, as_images, content_of, tidy_labels
from guarismo.data.dataset import Dataset, Split, draw_stratified, empty_like, join, split_dataset
from guarismo.data.fetching import fetch, fetch_kaggle
from guarismo.data.folders import TARGETS, read_folder
from guarismo.data.images import Pixels, cannot_read, fit_image, recoloured_note, resized_note, with_channels
from guarismo.data.known import EXACT, SOURCES, by_hand, compared, embedded_digits, find, writers
from guarismo.data.packing import cache_folder, in_text
from guarismo.data.polymnist import (
    Store,
    backgrounds,
    content_of_table,
    grey_store,
    make_store,
    open_store,
    write_files,
)
from guarismo.data.tables import read_csv, read_parquet
from guarismo.errors import DataError, unknown
from guarismo.progress import Progress, silent

# How to load

Side = tuple[int, int] | None
"""(h, w) that every image shall have, or None: as they are."""


GROUPS = ("auto", "writer", "original", "none")


@dataclass(frozen=True)
class LoadSettings:
    """How a source becomes a Dataset. Raises DataError for a value out of range."""

    validation: float = choice(0.1, "Share of the training images held back for validation.", most=0.9)
    test: float = choice(0.2, "Share held back for the test where the source has no test part of its own.", most=0.9)
    split_seed: int = choice(0, "Start of the random division: same seed, same division.", most=2**31 - 1)
    size: int | None = choice(None, "Side of the images in pixels; by default as they are.", least=1, most=4096)
    channels: int | None = choice(None, "1 for grey, 3 for colour; by default as they are.", least=1, most=3)
    skip_bad: bool = choice(False, "Go on without images that cannot be read, and list them.")
    target: str = choice(
        "auto",
        "What is learnt where folders and the ends of file names both tell a class: digit (the name's end) or modality "
        "(the folder). Of PolyMNIST, by default the digit.",
        TARGETS,
    )
    group: str = choice(
        "auto",
        "Images of one group are never in two parts: auto (groups that the source carries itself), writer (of mnist, "
        "with QMNIST's labels), original (of polymnist), none (nothing is kept together).",
        GROUPS,
    )
    views: bool = choice(False, "Of PolyMNIST: the modalities of one sample side by side, as one image.")
    limit: int | None = choice(None, "At most so many images for training and validation, drawn at random.", least=2)

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
    content = limited(grouped(conform(content, side, how.channels), name, how.group), how)
    return divide(name, content, how, {"source": place, **asdict(how)})


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
        return source, source, load_known(source, how, progress)
    if isinstance(source, str) and source.startswith(KAGGLE):
        path = fetch_kaggle(source.removeprefix(KAGGLE))
        return source, path.name, read_images(path, side, how, progress)
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
    return read_folder(path, side, how.channels, how.skip_bad, progress, how.target, how.views)


KAGGLE = "kaggle:"
"""What a source begins with that is a data set of Kaggle: kaggle:OWNER/NAME."""

Reader = Callable[[Path, Side, LoadSettings, Progress], Content]

READERS: dict[str, Reader] = {
    "idx": lambda path, *_: read_idx_pair(path),
    "idx folder": lambda path, *_: read_idx_folder(path),
    "folder": read_images,
    ".zip": read_images,
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
    for row, target in enumerate(images):
        target[:] = fit_image(with_channels(split.images[row], channels), *side)
    return replace(split, images=images)


def grouped(content: Content, name: str, group: str) -> Content:
    """The content with the groups that are known of it: its own, or the writers of a known source.

    Raises DataError where those that `group` names are not known.
    """
    if group == "original" and (content.grouped_by != "original" or content.train.groups is None):
        raise DataError(
            f"Of {name} it is not known which images were made of one original. --group original is for polymnist, "
            "made with: guarismo data make polymnist"
        )
    if content.train.groups is not None and group != "writer":
        return content
    try:
        known = writers(name)
    except DataError:
        if group == "writer":
            raise
        return content
    if known is None or content.test is None:
        if group == "writer":
            raise DataError(f"Of {name} nobody knows who wrote what. --group writer is for mnist.")
        return content
    train, test = (replace(part, groups=who) for part, who in zip((content.train, content.test), known, strict=True))
    return replace(content, train=train, test=test, grouped_by="writer")


def limited(content: Content, how: LoadSettings) -> Content:
    """The content with at most `how.limit` images to learn from, of each class its share."""
    if how.limit is None or how.limit >= len(content.train) or not content.class_names:
        return content
    rng = np.random.default_rng([how.split_seed, how.limit])
    share = how.limit / len(content.train)
    taken = draw_stratified(content.train, np.arange(len(content.train)), share, rng, content.class_names)
    note = f"{len(taken):,} of {len(content.train):,} training images were drawn at random (--limit)."
    return replace(content, train=content.train.take(taken), notes=(*content.notes, note))


def divide(name: str, content: Content, how: LoadSettings, origin: Mapping[str, Any]) -> Dataset:
    """Content → Dataset: parts of its own stay as they are; images without labels all become the test part."""
    facts: dict[str, Any] = {"origin": origin, "notes": content.notes, "grouped_by": content.grouped_by}
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
        keep_groups=how.group != "none" and (how.group != "auto" or content.grouped_by != "writer"),
        **facts,
    )
    return dataset if own is None else replace(dataset, validation=own)


# Known sources


def load_known(name: str, how: LoadSettings = LoadSettings(), progress: Progress = silent) -> Content:
    """The images of a known source, every file checked; fetched or made first where they are not here."""
    source = SOURCES[name]
    if source.made_of:
        return polymnist_content(name, how, progress)
    if not source.files:
        return replace(read_csv(embedded_digits(), label=784), class_names=source.class_names["en"])
    if not all(find(name, file) for file in source.files):
        fetch(name, progress)
    images, labels, test_images, test_labels = [known_array(name, file) for file in source.files]
    here = Path(name)
    test = as_images(here, test_images), tidy_labels(here, test_labels)
    content = content_of(here, as_images(here, images), tidy_labels(here, labels), test)
    return replace(content, class_names=source.class_names["en"])


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


# PolyMNIST, which is made here


def polymnist_content(name: str, how: LoadSettings, progress: Progress = silent) -> Content:
    """The images that `make_polymnist` left in the cache, made by its defaults where there are none."""
    colour = open_store(polymnist_folder("colour")) or make_polymnist(progress=progress)
    store = colour if how.channels != 1 else grey_store(polymnist_folder("grey"), colour, progress)
    target = "digit" if how.target == "auto" else how.target
    return content_of_table(Path(name), store.images, store.table, target, how.views)


def make_polymnist(
    modalities: int = 5, seed: int = 0, pictures: Path | None = None, progress: Progress = silent
) -> Store:
    """The source `polymnist` of the cache, made anew from MNIST unless it is of these very settings already.

    pictures: a folder of backgrounds, by default those that come along. Raises DataError without MNIST, for too few
    pictures, and where the cache cannot be written.
    """
    train, test = originals(progress)
    return make_store(polymnist_folder("colour"), train, test, backgrounds(pictures, modalities), seed, 3, progress)


def write_polymnist(
    out: Path, modalities: int = 5, seed: int = 0, pictures: Path | None = None, progress: Progress = silent
) -> int:
    """PolyMNIST as files in its published layout under `out`, and how many. Raises DataError as `make_polymnist`."""
    train, test = originals(progress)
    return write_files(out, train, test, backgrounds(pictures, modalities), seed, progress)


def originals(progress: Progress) -> tuple[Split, Split]:
    content = load_known("mnist", progress=progress)
    assert content.test is not None
    return content.train, content.test


def polymnist_folder(kind: str) -> Path:
    return cache_folder() / "data" / "polymnist" / kind
