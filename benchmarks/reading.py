"""How well photographed handwriting is read: Guarismo beside the published ways and general readers, same photos.

    GUARISMO_DATA=/folder/with/mnist python benchmarks/reading.py --photos /folder/with/labels.csv

Prints a table in Markdown with the date, the machine and the versions; `--out` writes it as well, `--only` takes some
readers. A reader that is not installed is left out with a word. The network of the first two is trained once (two
minutes) and kept in the cache. To have the others:

    apt-get install tesseract-ocr
    pip install --no-deps --target RIVALS rapidocr-onnxruntime pyclipper shapely PyYAML tqdm six   # PYTHONPATH=RIVALS

(without dependencies, for they bring a second OpenCV that overwrites the first).
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import guarismo
from guarismo.data.images import decode_image, with_channels
from guarismo.data.known import where_is
from guarismo.data.packing import cache_folder
from guarismo.errors import DataError
from guarismo.models.training import processor
from guarismo.results.scoring import Label, Row, Score, read_labels, score

PHOTOS = Path(os.environ.get("GUARISMO_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "photos"

# Every reader gets the photo upright and on white: `path` and the label's kind → digits, or None for a kind that it
# is not made for. It raises Absent where it is not installed.


class Absent(Exception):  # noqa: N818  (no error, a reader less)
    """Why a reader is left out."""


def published_way(path: Path, kind: str) -> str | None:
    """As the laboratories do it: grey, resized to 28×28 whatever the proportions, divided by 255, not inverted."""
    if kind != "single":
        return None
    small = Image.fromarray(grey_pixels(path)).resize((28, 28))
    return str(answer(np.asarray(small)))


def otsu(path: Path, kind: str) -> str | None:
    """One threshold for the whole picture, the ink's bounding box in 20×20, its centre of mass in the middle."""
    return str(answer(centred(ink_mask(grey_pixels(path))))) if kind == "single" else None


def tesseract(path: Path, kind: str) -> str:
    """The program of that name, told that there are digits only, and whether one, a line or a block of them."""
    page = {"single": "10", "line": "7"}.get(kind, "6")
    words = ["tesseract", "stdin", "stdout", "--psm", page, "-c", "tessedit_char_whitelist=0123456789"]
    picture = io.BytesIO()
    Image.fromarray(with_channels(decode_image(path), 3)).save(picture, "PPM")
    try:
        done = subprocess.run(words, input=picture.getvalue(), capture_output=True, check=False)
    except FileNotFoundError:
        raise Absent("no program tesseract; apt-get install tesseract-ocr") from None
    if done.returncode > 0:  # below 0 it died of a signal, as 5.3.0 does on some lines (SIGFPE): nothing read
        raise RuntimeError(done.stderr.decode())
    return digits_in(done.stdout.decode())


def rapidocr(path: Path, kind: str) -> str:  # noqa: ARG001  (it finds lines by itself)
    """PaddleOCR's networks on ONNX Runtime: the digits of all the boxes it finds, line by line."""
    boxes, _ = rapidocr_engine()(with_channels(decode_image(path), 3)[..., ::-1])
    return digits_in(in_reading_order([(np.array(corners), text) for corners, text, _ in boxes or []]))


def guarismo_reader(path: Path, kind: str) -> str:  # noqa: ARG001  (it is not told what is on the photo)
    try:
        from guarismo.reading.reader import read
    except ImportError as error:
        raise Absent(str(error)) from None
    try:
        return " ".join(reading.text for reading in read(path))
    except DataError:
        return ""


READERS: dict[str, Callable[[Path, str], str | None]] = {
    "published way": published_way,
    "Otsu": otsu,
    "Tesseract": tesseract,
    "RapidOCR": rapidocr,
    "Guarismo": guarismo_reader,
}

# What they are made of


def grey_pixels(path: Path) -> NDArray[np.uint8]:
    """uint8 (h, w)."""
    return with_channels(decode_image(path), 1)[..., 0]


def digits_in(text: str) -> str:
    return "".join(character for character in text if character in "0123456789")


def in_reading_order(boxes: Sequence[tuple[NDArray[np.float64], str]]) -> str:
    """Texts of boxes, corners (4, 2) as x, y: a line goes on while the next middle is less than half a box lower.

    RapidOCR's own order takes a line apart that slants by more than 10 pixels.
    """
    lines: list[list[tuple[float, str]]] = []
    last = -np.inf
    for corners, text in sorted(boxes, key=lambda box: box[0][:, 1].mean()):
        middle, height = corners[:, 1].mean(), np.ptp(corners[:, 1])
        if middle - last >= height / 2:
            lines.append([])
        lines[-1].append((corners[:, 0].min(), text))
        last = middle
    return "".join(text for line in lines for _, text in sorted(line))


def ink_mask(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The side of Otsu's threshold (1979) that most of the border is not on, bool (h, w)."""
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    below, mass = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mass[-1] * below / below[-1] - mass) ** 2 / (below * (below[-1] - below))
    light = grey > np.argmax(np.nan_to_num(between, posinf=0.0))
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    return ~light if border.mean() > 0.5 else light


def centred(ink: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Ink (h, w) as MNIST has it: its box scaled into 20×20, its centre of mass in the middle of uint8 (28, 28)."""
    canvas = np.zeros((28, 28), dtype=np.uint8)
    if not ink.any():
        return canvas
    (top, *_, bottom), (left, *_, right) = (np.flatnonzero(ink.any(axis=axis)).repeat(2) for axis in (1, 0))
    box = ink[top : bottom + 1, left : right + 1]
    scale = 20 / max(box.shape)
    size = max(1, round(box.shape[1] * scale)), max(1, round(box.shape[0] * scale))
    small = np.asarray(Image.fromarray(box.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX))
    small = (small * (255 / small.max())).round().astype(np.uint8)  # shrunk thin strokes pale; MNIST's reach white
    middle = [np.average(np.arange(n), weights=small.sum(axis=1 - axis)) for axis, n in enumerate(small.shape)]
    row, column = (int(np.clip(round(13.5 - at), 0, 28 - n)) for at, n in zip(middle, small.shape, strict=True))
    canvas[row : row + small.shape[0], column : column + small.shape[1]] = small
    return canvas


def answer(image: NDArray[np.uint8]) -> int:
    return int(network().predict(image[None]).argmax())


@cache
def network() -> guarismo.Run:
    """Our `cnn`, trained on MNIST with the defaults, from the cache where it has been before."""
    folder = cache_folder() / "benchmarks" / "mnist_cnn"
    if folder.exists():
        run = guarismo.open_run(folder)
        return run if run.finished else guarismo.resume(run, guarismo.load("mnist"))
    if where_is("mnist") == "not here":
        raise Absent("no MNIST to train on; set GUARISMO_DATA, or: guarismo data fetch mnist")
    folder.parent.mkdir(parents=True, exist_ok=True)
    return guarismo.train(guarismo.load("mnist"), guarismo.Settings(model="cnn"), folder)


@cache
def rapidocr_engine() -> Any:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise Absent(f"{error}; how to install it: --help") from None
    return RapidOCR()


# The table


@dataclass(frozen=True)
class Result:
    """A reader on all the photos of its kinds: its score, and the median of its seconds for one photo."""

    name: str
    score: Score
    seconds: float


def measure(name: str, photos: Path, labels: Sequence[Label]) -> Result:
    """Raises Absent. The first photo is read twice, for what is loaded at first use is not measured."""
    reader, texts, seconds = READERS[name], {}, []
    reader(photos / labels[0].file, labels[0].kind)
    for label in labels:
        began = perf_counter()
        text = reader(photos / label.file, label.kind)
        if text is not None:
            seconds.append(perf_counter() - began)
            texts[label.file] = text
    kept = [label for label in labels if label.file in texts]
    if not kept:
        raise Absent("it reads single digits, and no photo is labelled as one")
    return Result(name, score(kept, texts), statistics.median(seconds))


def exact(row: Row) -> str:
    return f"{row.exact:.0%} ({row.right} of {row.files})"


def digits(row: Row) -> str:
    return f"{row.digit_accuracy:.0%}"


COLUMNS: dict[str, tuple[str, str, Callable[[Row], str]]] = {
    "single, photo: exact": ("kind and medium", "single photo", exact),
    "single, drawn: exact": ("kind and medium", "single drawn", exact),
    "lines, photo: digits": ("kind and medium", "line photo", digits),
    "lines, photo: exact": ("kind and medium", "line photo", exact),
    "pages, photo: digits": ("kind and medium", "page photo", digits),
    "scans: digits": ("medium", "scan", digits),
}


def cells(result: Result) -> list[str]:
    rows = [(result.score.of(group).get(name), show) for group, name, show in COLUMNS.values()]
    return [*("–" if row is None else show(row) for row, show in rows), f"{result.seconds:.3f}"]


def table(results: Sequence[Result], labels: Sequence[Label]) -> str:
    lines = [
        f"{date.today()}, {len(labels)} photos; {processor()}, {os.cpu_count()} cores, {platform.system()}; "
        + ", ".join(versions([result.name for result in results])),
        "",
        f"| reader | {' | '.join(COLUMNS)} | seconds per photo (median) |",
        f"|---|{'--:|' * (len(COLUMNS) + 1)}",
        *(f"| {' | '.join([result.name, *cells(result)])} |" for result in results),
    ]
    return "\n".join(lines) + "\n"


def versions(names: Sequence[str]) -> list[str]:
    found = [f"Python {platform.python_version()}", f"Guarismo {version('guarismo')}"]
    found.append(f"ONNX Runtime {version('onnxruntime')}")
    if "Tesseract" in names:
        said = subprocess.run(["tesseract", "--version"], capture_output=True, text=True, check=True)
        found.append(f"Tesseract {said.stdout.split()[1]}")
    if "RapidOCR" in names:
        found.append(f"RapidOCR {version('rapidocr-onnxruntime')}")
    if {"published way", "Otsu"} & set(names):
        found.append(f"cnn on MNIST, {network().about['metrics']['validation_accuracy']:.2%} in validation")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="the folder with labels.csv")
    parser.add_argument("--only", nargs="+", choices=READERS, default=list(READERS), metavar="NAME")
    parser.add_argument("--out", type=Path, help="write the table there as well")
    given = parser.parse_args()
    if not (given.photos / "labels.csv").is_file():
        print(f"No labelled photos in {given.photos}: name their folder with --photos. Nothing measured.")
        return 0
    labels, results = read_labels(given.photos / "labels.csv"), []
    for name in given.only:
        try:
            results.append(measure(name, given.photos, labels))
        except Absent as reason:
            print(f"{name} is left out: {reason}", file=sys.stderr)
    text = table(results, labels)
    print(text, end="")
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
