"""How faithfully `attribution` tells where a run looked, beside occlusion and the ink alone, and what it takes.

    python benchmarks/why.py RUN RUN … [--images 30]

Each RUN is an evaluated run. The measure is insertion − deletion (Petsiuk, Das, Saenko 2018): pixels are taken in the
order that a map gives them, put onto an empty image and taken away from the whole one; the mean probability of the
answer over the way there, less that over the way back. Chance is 0, more is better. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import numpy as np

from guarismo import Run, open_run
from guarismo.data.sources import reload
from guarismo.results.evaluation import saved_evaluation
from guarismo.results.why import attribution, backgrounds

STEPS = 28
PATCH = 5

Maps = Callable[[Run, np.ndarray, np.ndarray], np.ndarray]


def ink(run: Run, images: np.ndarray, classes: np.ndarray) -> np.ndarray:  # noqa: ARG001  as the others are called
    """How much each pixel differs from the background, whatever the run says."""
    return np.abs(images - backgrounds(images)[:, None, None].astype(float)).max(axis=-1)


def occlusion(run: Run, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """How much the log-odds fall where 5×5 pixels are covered, around each pixel in turn (Zeiler & Fergus 2014)."""
    height, width = images.shape[1:3]
    y, x = np.mgrid[:height, :width]
    near = PATCH // 2
    masks = (np.abs(y.reshape(-1, 1, 1) - y) <= near) & (np.abs(x.reshape(-1, 1, 1) - x) <= near)
    maps = []
    for image, ground, wanted in zip(images, backgrounds(images), classes, strict=True):
        whole = log_odds(run.predict(image[None])[:, wanted])
        fall = whole - log_odds(run.predict(np.where(masks[..., None], ground, image))[:, wanted])
        maps.append(np.tensordot(fall, masks, axes=(0, 0)) / masks.sum(axis=0))
    return np.array(maps)


def log_odds(shares: np.ndarray) -> np.ndarray:
    shares = shares.astype(float).clip(1e-7, 1 - 1e-7)
    return np.log(shares / (1 - shares))


METHODS: Mapping[str, Maps] = {"attribution": attribution, "occlusion 5×5": occlusion, "ink": ink}


def faithfulness(run: Run, image: np.ndarray, wanted: int, shown: np.ndarray) -> float:
    """Insertion − deletion of one map (h, w) for a class; equal pixels in the order that a fixed chance gives."""
    chance = np.random.default_rng(0).permutation(shown.size)
    place = np.empty(shown.size, dtype=int)
    place[np.lexsort((chance, -shown.ravel()))] = np.arange(shown.size)
    taken = place.reshape(shown.shape) < np.linspace(0, shown.size, STEPS + 1)[:, None, None]
    ground = backgrounds(image[None])[0]
    inserted = run.predict(np.where(taken[..., None], image, ground))[:, wanted]
    deleted = run.predict(np.where(taken[..., None], ground, image))[:, wanted]
    return float(inserted.mean() - deleted.mean())


def measure(run: Run, count: int) -> list[str]:
    """A row of the table for each method: `count` right and as many wrong test answers."""
    dataset = reload(run.about["data"]["origin"])
    wrong = np.sort(saved_evaluation(run).hardest)[:count]
    candidates = np.arange(min(len(dataset.test), 20 * count))
    answers = run.predict(dataset.test.images[candidates]).argmax(axis=1)
    right = candidates[answers == dataset.test.labels[candidates]][:count]
    rows = []
    for name, method in METHODS.items():
        cells, took = [], 0.0
        for chosen in (right, wrong):
            images = dataset.test.images[chosen]
            classes = run.predict(images).argmax(axis=1)
            began = time.perf_counter()
            maps = method(run, images, classes)
            took += time.perf_counter() - began
            scores = [faithfulness(run, *each) for each in zip(images, classes, maps, strict=True)]
            cells.append(f"{np.mean(scores):.2f} ± {np.std(scores) / max(1, len(scores)) ** 0.5:.2f}")
        each = 1000 * took / (len(right) + len(wrong))
        rows.append(f"| {run.name} | {run.settings.model} | {name} | {cells[0]} | {cells[1]} | {each:.0f} |")
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("runs", nargs="+")
    options.add_argument("--images", type=int, default=30)
    given = options.parse_args()
    print("| run | model | map | right answers | errors | ms an image |\n|---|---|---|--:|--:|--:|")
    for folder in given.runs:
        print("\n".join(measure(open_run(folder), given.images)), flush=True)


if __name__ == "__main__":
    main()
