"""What a user waits for: whole processes of the command line, each several times, beside what was promised.

    GUARISMO_DATA=/folder/with/mnist python benchmarks/road.py

Prints a table in Markdown with the machine's name and writes nothing. Each figure is the median of whole processes,
interpreter start included. Exit status 1 when a promise is broken by more than the slack of a shared machine.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

GUARISMO = [sys.executable, "-m", "guarismo"]
SLACK = 1.5


def run(words: list[str], folder: Path) -> tuple[float, str]:
    """One process: its seconds and what it printed."""
    began = perf_counter()
    done = subprocess.run([*GUARISMO, *words], cwd=folder, capture_output=True, text=True, check=True)
    return perf_counter() - began, done.stdout


def median(words: list[str], folder: Path, repeats: int) -> float:
    run(words, folder)
    return statistics.median(run(words, folder)[0] for _ in range(repeats))


def fresh_evaluation(folder: Path) -> float:
    """`evaluate` of 10,000 MNIST images, never evaluated before: a new run each time."""
    times = []
    for seed in range(3):
        words = ["train", "mnist", "--model", "mnist-cnn", "--epochs", "1", "--seed", str(seed), "--json"]
        made = json.loads(run(words, folder)[1])["run"]
        times.append(run(["evaluate", made], folder)[0])
    return statistics.median(times)


def main() -> int:
    rows: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows.append(("`guarismo --help`", median(["--help"], folder, 7), 0.4))
        rows.append(("`guarismo data list`", median(["data", "list"], folder, 7), 0.4))
        seconds, printed = run(["lab", "digits", "--json"], folder)
        rows.append(("`guarismo lab` on the 5,000 embedded digits, once", seconds, 120))
        best = json.loads(printed)["rows"][0]
        listed = run(["data", "list", "--json"], folder)[1].splitlines()
        if any(row["name"] == "mnist" and row["where"] != "not here" for row in map(json.loads, listed)):
            rows.append(("`guarismo evaluate` of 10,000 MNIST images", fresh_evaluation(folder), 3))
    print(f"{platform.platform()}, {os.cpu_count()} cores\n")
    print("| what | seconds | promised |\n|---|--:|--:|")
    for name, seconds, promise in rows:
        print(f"| {name} | {seconds:.2f} | ≤ {promise:g} |")
    print(f"\nBest of the lab: {best['model']}, {best['accuracy']:.2%} of its test images (promised ≥ 97.5 %)")
    return int(best["accuracy"] < 0.975 or any(seconds > SLACK * promise for _, seconds, promise in rows))


if __name__ == "__main__":
    sys.exit(main())
