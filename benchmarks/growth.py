"""Seconds and memory of each step as the work grows: images 1 k … 1 M, sides 28 … 224, classes 2 … 1,000.

    python benchmarks/growth.py [--most 1000000] [--plot growth.png]

Synthetic images: each class a pattern of its own, moved and in noise. One process for each amount; nine of ten images
are to learn from (one epoch of recipe `fast`), the rest is the test split. Prints a table in Markdown and draws a plot.
Exit status 1 where a step grows faster than the work: from the second largest amount to the largest by a power above
LINEAR.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import guarismo
from guarismo.models.training import processor

LINEAR = 1.15
"""Timings of the same step differ by a few percent from run to run; n log n from 100 k to 1 M is a power of 1.08."""


class Amount(NamedTuple):
    """images: in all; side: of each in pixels; classes: how many."""

    images: int = 20_000
    side: int = 28
    classes: int = 10


AXES = {
    "images": [Amount(images=n) for n in (1_000, 10_000, 100_000, 1_000_000)],
    "pixels of an image": [Amount(images=2_000, side=side) for side in (28, 56, 112, 224)],
    "classes": [Amount(classes=classes) for classes in (2, 10, 100, 1_000)],
}


def work(axis: str, amount: Amount) -> int:
    """What grows along the axis."""
    return {"images": amount.images, "pixels of an image": amount.side**2, "classes": amount.classes}[axis]


def synthetic(amount: Amount, path: Path) -> None:
    """An .npz of grey images: a random 7×7 pattern for each class, enlarged, rolled by up to 2 pixels, with noise."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, (amount.classes, 7, 7), dtype=np.uint8)
    prototypes = patterns.repeat(amount.side // 7, axis=1).repeat(amount.side // 7, axis=2)
    rolls = [np.roll(prototypes, (down, right), (1, 2)) for down in range(-2, 3) for right in range(-2, 3)]
    labels = np.arange(amount.images, dtype=np.int64) % amount.classes
    which = rng.integers(0, len(rolls), amount.images)
    images = np.stack(rolls)[which, labels]
    for start in range(0, amount.images, 10_000):
        part = images[start : start + 10_000]
        part += rng.integers(0, 55, part.shape, dtype=np.uint8)
    first = amount.images * 9 // 10
    np.savez(path, x_train=images[:first], y_train=labels[:first], x_test=images[first:], y_test=labels[first:])


def measured(path: Path) -> dict[str, float]:
    """Seconds of each step of the road in this process, and its peak memory in GB."""
    dataset, loading = timed(lambda: guarismo.load(str(path)))
    _, exploring = timed(lambda: guarismo.explore(dataset))
    run, training = timed(lambda: guarismo.train(dataset, guarismo.recipe_for("fast"), path.with_suffix(".run")))
    (run, _), evaluating = timed(lambda: guarismo.evaluate_run(run, dataset))
    _, diagnosing = timed(lambda: guarismo.diagnose(run, dataset))
    return {
        "load": loading,
        "explore": exploring,
        "train": training,
        "evaluate": evaluating,
        "diagnose": diagnosing,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def timed(step: Callable[[], Any]) -> tuple[Any, float]:
    began = perf_counter()
    return step(), perf_counter() - began


def in_own_process(amount: Amount) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "images.npz"
        synthetic(amount, path)
        words = [sys.executable, __file__, "--one", str(path)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def powers(axis: str, amounts: list[Amount], rows: list[dict[str, float]]) -> dict[str, float]:
    """By which power of the work each step grew between the two largest amounts."""
    grown = math.log(work(axis, amounts[-1]) / work(axis, amounts[-2]))
    return {step: math.log(rows[-1][step] / rows[-2][step]) / grown for step in rows[0]}


def plot(found: dict[str, tuple[list[Amount], list[dict[str, float]]]], path: Path) -> None:
    """A panel for each axis, a line for each step, both scales logarithmic."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(12, 4), layout="constrained")
    for panel, (axis, (amounts, rows)) in zip(np.atleast_1d(panels), found.items(), strict=True):
        x = [work(axis, amount) for amount in amounts]
        for step in rows[0]:
            style = {"linestyle": "--", "color": "grey"} if step == "memory" else {}
            panel.loglog(x, [row[step] for row in rows], marker="o", label=step, **style)
        panel.set_xlabel(axis)
        panel.grid(alpha=0.3)
    np.atleast_1d(panels)[0].set_ylabel("seconds; memory in GB")
    figure.legend(*np.atleast_1d(panels)[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--one", type=Path)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measured(asked.one)))
        return 0
    found = {}
    for axis, every in AXES.items():
        amounts = [amount for amount in every if amount.images <= asked.most]
        rows = []
        for amount in amounts:
            rows.append(in_own_process(amount))
            print(axis, amount, rows[-1], file=sys.stderr, flush=True)
        found[axis] = amounts, rows
    print(f"\n{processor()}, {os.cpu_count()} cores; seconds, memory in GB; power: of the work, last two rows\n")
    failed = False
    for axis, (amounts, rows) in found.items():
        print(f"| {axis} | {' | '.join(rows[0])} |\n|--:|{'--:|' * len(rows[0])}")
        for amount, row in zip(amounts, rows, strict=True):
            print(f"| {work(axis, amount):,} | {' | '.join(f'{value:.2f}' for value in row.values())} |")
        grew = powers(axis, amounts, rows)
        print(f"| *power* | {' | '.join(f'{value:.2f}' for value in grew.values())} |\n")
        failed |= max(grew.values()) > LINEAR
    if asked.plot:
        plot(found, asked.plot)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
