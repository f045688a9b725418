"""The pictures of the documentation, made anew: hard photos that never were taken, each read correctly.

    python docs/make_pictures.py [FOLDER]      from the root of the repository; without FOLDER into docs/

Of each scene the first seed (a sheet of paper, a writer) is shown at which all digits are read; the seeds before it
were misread, and how many they are is printed: whoever shows the picture says so. Where none is read, it stops.
"""

import importlib.util
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from guarismo.data.dataset import tile
from guarismo.data.polymnist import backgrounds, compose, plan
from guarismo.data.sources import load
from guarismo.models.runs import write_out
from guarismo.reading.intake import Picture
from guarismo.reading.reader import SAMPLES as PACKAGED
from guarismo.reading.reader import Reading, read_picture, shipped_reader
from guarismo.results.pictures import annotated, stages

ROOT = Path(__file__).parents[1]


def module_at(path: Path) -> ModuleType:
    """A module that is in no package, by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


paper = module_at(ROOT / "tests" / "paper.py")

PICTURES = {
    "stages-ruled-shadow": (stages, "407", {"ruling": "ruled", "light": "hard_shadow", "tilt": 3.0}),
    "stages-pencil-squared": (stages, "62835", {"ruling": "squared", "pen": "pencil", "light": "gradient"}),
    "stages-chalk": (stages, "30729461", {"pen": "chalk", "paper": "blackboard", "light": "gradient"}),
    "stages-table-page": (stages, "4081 7255 3691", {"ruling": "table", "light": "vignette", "perspective": 0.1}),
    "stages-touching": (stages, "536", {"pen": "felt", "touching": True, "light": "gradient"}),
    "annotated-page": (
        annotated,
        "27183 14142 31415 57721",
        {"ruling": "ruled", "light": "gradient", "perspective": 0.08, "height": 70},
    ),
}
"""Name → what is drawn, the digits written, the circumstances."""
SAMPLES = {
    "ruled-shadow": ("407", {"ruling": "ruled", "light": "hard_shadow", "tilt": 3.0, "height": 80}),
    "chalk": ("30729461", {"pen": "chalk", "paper": "blackboard", "light": "gradient", "height": 80}),
    "pencil-page": ("2718 3141", {"pen": "pencil", "light": "vignette", "height": 90}),
}
"""The photos that come with the package: name → the digits written, the circumstances."""
SEEDS = 30
COLOURS = 256


def first_read(text: str, circumstances: dict[str, Any]) -> tuple[int, Reading]:
    """The first seed of the scene at which what is read is what was written, and the reading."""
    for seed in range(SEEDS):
        reading = reading_of(text, circumstances, seed)
        if reading.text == text:
            return seed, reading
    raise SystemExit(f"{text!r} was misread at all of {SEEDS} seeds: {circumstances}")


def reading_of(text: str, circumstances: dict[str, Any], seed: int) -> Reading:
    pixels = paper.photograph(text, paper.Scene(**circumstances), seed).pixels
    height, width = pixels.shape[:2]
    return read_picture(Picture("photo.jpg", 1, pixels, 1.0, (width, height)), shipped_reader())


def small_png(pixels: np.ndarray) -> bytes:
    """The picture uint8 (h, w, 3) as a PNG of few colours."""
    memory = BytesIO()
    few = Image.fromarray(pixels).quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(memory, "PNG", optimize=True)
    return memory.getvalue()


def modalities() -> np.ndarray:
    """Two samples of each digit in each of the ten modalities, a row each, uint8 (h, w, 3), three times as large."""
    digits = load("digits")
    pictures = list(backgrounds(None, 10).values())
    table, corners = plan(digits.train, digits.test, pictures, seed=0)
    pixels = np.concatenate(list(compose(digits.train, digits.test, table, corners, pictures)))
    shown = [
        rows[index]
        for modality in range(10)
        for digit in range(10)
        for rows in [np.flatnonzero((table.modality == modality) & (table.digit == digit) & (table.part == "train"))]
        for index in (0, 1)
    ]
    return tile(pixels[shown], 20).repeat(3, axis=0).repeat(3, axis=1)


def main(folder: Path) -> None:
    content = small_png(modalities())
    write_out(folder / "polymnist.png", content)
    print(f"{folder / 'polymnist'}.png  {len(content) / 1000:.0f} kB", flush=True)
    for name, (draw, text, circumstances) in PICTURES.items():
        seed, reading = first_read(text, circumstances)
        assert reading.text == text
        content = small_png(draw(reading))
        write_out(folder / f"{name}.png", content)
        print(f"{folder / name}.png  {len(content) / 1000:.0f} kB  seed {seed}; {seed} before it misread", flush=True)

    for name, (text, circumstances) in SAMPLES.items():
        seed, reading = first_read(text, circumstances)
        memory = BytesIO()
        Image.fromarray(reading.picture.pixels).save(memory, "JPEG", quality=80, optimize=True)
        write_out(PACKAGED / f"{name}.jpg", memory.getvalue())
        print(
            f"{PACKAGED / name}.jpg  {memory.tell() / 1000:.0f} kB  seed {seed}; {seed} before it misread", flush=True
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
