"""What `guarismo export --format int8` gives and takes: bytes, images per second, right answers, beside float32.

    GUARISMO_DATA=/folder/with/mnist python benchmarks/int8.py RUN … [--rounds 15]

Each RUN is a network trained on MNIST. Both answer in turn, round after round, in batches of 1,024 and one by one;
medians, with the quartiles of their ratio. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import guarismo
from guarismo.models.interchange import export
from guarismo.models.runs import answer, open_session

BATCHED, SINGLE = 2048, 200
"""Images of a round."""


def speed(session: Any, images: np.ndarray, batch: int) -> float:
    began = perf_counter()
    for start in range(0, len(images), batch):
        answer(session, images[start : start + batch], 10)
    return len(images) / (perf_counter() - began)


def in_turn(sessions: list[Any], rounds: int, measure: Callable[[Any], float]) -> np.ndarray:
    """Images per second (rounds, sessions), the first round left out."""
    return np.array([[measure(session) for session in sessions] for _ in range(rounds + 1)][1:])


def told(speeds: np.ndarray) -> str:
    low, middle, high = np.percentile(speeds[:, 1] / speeds[:, 0], [25, 50, 75])
    return f"{np.median(speeds[:, 0]):,.0f} → {np.median(speeds[:, 1]):,.0f} (× {middle:.2f}, {low:.2f}–{high:.2f})"


def row(run: Any, dataset: Any, rounds: int) -> str:
    images = dataset.validation.images
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.onnx"
        found = export(run, "int8", path, dataset)
        sessions = [run.session, open_session(path.read_bytes())]
        batched = in_turn(sessions, rounds, lambda session: speed(session, images[:BATCHED], 1024))
        single = in_turn(sessions, rounds, lambda session: speed(session, images[:SINGLE], 1))
    size = (run.folder / "model.onnx").stat().st_size
    cells = [
        run.settings.model,
        f"{size:,} → {found.size:,}",
        told(batched),
        told(single),
        f"{found.run_accuracy:.2%} → {found.accuracy:.2%}",
        f"{found.difference:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    dataset = guarismo.load("mnist")
    print("| network | bytes | images/s, batches of 1,024 | images/s, one by one | validation | largest difference |")
    print("|---|--:|--:|--:|--:|--:|")
    for folder in asked.runs:
        print(row(guarismo.open_run(folder), dataset, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
