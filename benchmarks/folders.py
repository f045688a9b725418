"""350,000 image files: packed once, opened again, and learnt from for an epoch, beside Keras reading the same files.

    python benchmarks/folders.py [--files 350000] [--keep FOLDER]

Writes files as PolyMNIST's are, train|test/m0…m4/INDEX.DIGIT.png of 28×28 in colour, crops of five backgrounds with a
figure on them (--keep: into FOLDER, where they stay and are used again). What is learnt is the folder, in grey, with
the recipes poly-modality-cnn and poly-modality-cnn-augmented. Prints a table in Markdown. An epoch of ours holds its
validation, one of Keras' does not; both hold the compiling of the step. Of Keras' epoch only the first MOST_BATCHES
are run, and the rest is reckoned from them.
"""

import argparse
import io
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import cv2
import keras
import numpy as np
from joblib import Parallel, cpu_count, delayed

from guarismo.data.dataset import Dataset
from guarismo.data.sources import LoadSettings, load
from guarismo.models.fitting import STEPS_PER_CALL, arithmetic, compiled, epoch_chunks, one_epoch, wants_bfloat16
from guarismo.models.settings import RECIPES, Settings
from guarismo.progress import silent

REPEATS = 5
MODALITIES = 5
SIDE = 28
MOST_BATCHES = 16 * STEPS_PER_CALL

HOW = LoadSettings(target="modality", channels=1)


class Measured(NamedTuple):
    what: str
    images: int
    seconds: list[float]


# The files


def write_files(folder: Path, files: int) -> None:
    """Six of seven for training, as in PolyMNIST."""
    each = files // MODALITIES
    parts = {"train": each - each // 7, "test": each // 7}
    Parallel(n_jobs=-1)(
        delayed(write_modality)(folder / part / f"m{modality}", modality, count)
        for part, count in parts.items()
        for modality in range(MODALITIES)
    )


def write_modality(folder: Path, modality: int, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([modality, count])
    picture = background(np.random.default_rng(modality))
    corners = rng.integers(0, len(picture) - SIDE, (count, 2))
    for number, (top, left) in enumerate(corners):
        digit = number % 10
        image = picture[top : top + SIDE, left : left + SIDE].copy()
        ink = tuple(int(255 - value) for value in image[SIDE // 2, SIDE // 2])
        cv2.putText(image, str(digit), (6, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.8, ink, 2)
        content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        (folder / f"{number // 10}.{digit}.png").write_bytes(content.tobytes())


def background(rng: np.random.Generator) -> np.ndarray:
    """A picture of its own colours and grain, uint8 (400, 400, 3)."""
    coarse = rng.integers(0, 256, (rng.integers(4, 80), rng.integers(4, 80), 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (400, 400), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)


# What is measured


def measure(pngs: Path, cache: Path) -> Iterator[Measured]:
    os.environ["GUARISMO_CACHE"] = str(cache)
    dataset, once = timed(lambda: load(pngs, HOW))
    count = sum(map(len, dataset.splits.values()))
    yield Measured("PNG files → pack → Dataset", count, [once])
    yield Measured("the same, pack reopened", count, [timed(lambda: load(pngs, HOW))[1] for _ in range(REPEATS)])
    yield Measured("reading an epoch of images, without any network", len(dataset.train), reading_of_ours(dataset))
    for recipe in ("poly-modality-cnn", "poly-modality-cnn-augmented"):
        settings = RECIPES[recipe]
        seconds = epoch_of_ours(dataset, settings)
        yield Measured(f"an epoch of {recipe}, batch {settings.batch_size}", len(dataset.train), [seconds])
    yield from epochs_of_keras(pngs, dataset, RECIPES["poly-modality-cnn"])


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = perf_counter()
    return work(), perf_counter() - start


def reading_of_ours(dataset: Dataset) -> list[float]:
    """Every training image once, in a random order, as an epoch takes them from the pack."""
    settings = RECIPES["poly-modality-cnn"]
    turn = partial(epoch_chunks, dataset.train, settings, 1)
    return [timed(lambda: sum(len(labels) for _, labels in turn()))[1] for _ in range(REPEATS)]


def epoch_of_ours(dataset: Dataset, settings: Settings) -> float:
    _, trainer = compiled_as_asked(dataset, settings)
    return timed(lambda: one_epoch(trainer, dataset, settings, [], silent))[1]


def compiled_as_asked(dataset: Dataset, settings: Settings) -> tuple[object, keras.Model]:
    keras.utils.set_random_seed(settings.seed)
    with arithmetic("mixed_bfloat16" if wants_bfloat16(settings) else "float32"):
        return compiled(dataset, settings)


def epochs_of_keras(pngs: Path, dataset: Dataset, settings: Settings) -> Iterator[Measured]:
    """The same network fed by Keras' own reader of folders, as its guide has it; and the reading alone."""
    _, trainer = compiled_as_asked(dataset, settings)
    with redirect_stdout(io.StringIO()):  # it tells its count whether asked or not
        batches, listing = timed(
            lambda: keras.utils.image_dataset_from_directory(
                pngs / "train",
                label_mode="categorical",
                color_mode="grayscale",
                batch_size=settings.batch_size,
                image_size=(SIDE, SIDE),
                validation_split=HOW.validation,
                subset="training",
                seed=settings.seed,
                verbose=False,
            )
        )
    total = len(batches)
    run = min(total, MOST_BATCHES)
    reckoned = "" if run == total else f" (reckoned from {run} of {total:,} batches)"
    alone = timed(lambda: sum(1 for _ in batches.take(run)))[1] * total / run
    what = f"reading an epoch by image_dataset_from_directory, without any network{reckoned}"
    yield Measured(what, len(dataset.train), [alone])
    first = timed(lambda: trainer.fit(batches.take(run), shuffle=False, verbose=0))[1]
    what = f"an epoch of the same network by image_dataset_from_directory, batch {settings.batch_size}"
    again = 0.0 if run == total else timed(lambda: trainer.fit(batches.take(run), shuffle=False, verbose=0))[1]
    seconds = listing + first + again * (total - run) / run  # the second turn finds the step compiled
    yield Measured(what + reckoned, len(dataset.train), [seconds])


# The table


def processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=350_000)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    print(f"{processor()}, {cpu_count()} cores, {platform.system()}, Python {platform.python_version()}\n")
    print("| what | images | seconds (median) | least – most | images per second |\n|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as place:
        pngs = asked.keep or Path(place) / "pngs"
        if not pngs.exists():
            write_files(pngs, asked.files)
        for what, images, seconds in measure(pngs, Path(place) / "cache"):
            middle, spread = statistics.median(seconds), f"{min(seconds):.2f} – {max(seconds):.2f}"
            print(f"| {what} | {images:,} | {middle:.2f} | {spread} | {images / middle:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
