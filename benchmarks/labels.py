"""Doubtful labels: how many of those that people found in MNIST's test set stand first, and how many planted ones are
found, beside cleanlab where it is installed.

    GUARISMO_DATA=/folder/with/mnist python benchmarks/labels.py RUN …

RUN is an evaluated run. The doubtful ones are 15 of MNIST's 10,000 test labels that three of five people or more called
wrong (Northcutt, Athalye, Mueller, "Pervasive label errors in test sets", 2021; cleanlab/label-errors,
mturk/mnist_mturk.json). Prints two tables in Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from guarismo import open_run
from guarismo.results.labels import doubtful, wrong_labels

DOUBTFUL = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
FIRST = (15, 50, 100, 200)
CHANGED = 0.005
"""Share of the validation labels that are changed to another class at random."""

Order = Callable[[Any, Any], Any]


def orders() -> dict[str, Order]:
    """Ways of setting the images in order, the most doubtful first."""
    ways: dict[str, Order] = {"least likely label (Guarismo)": doubtful}
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return ways
    for method in ("self_confidence", "normalized_margin"):
        ways[f"cleanlab, {method}"] = lambda probabilities, labels, method=method: np.argsort(
            get_label_quality_scores(labels, probabilities, method=method), kind="stable"
        )
    return ways


def finders() -> dict[str, Order]:
    """Ways of saying which labels are wrong."""

    def ours(probabilities: Any, labels: Any) -> Any:
        found = wrong_labels(probabilities, labels)
        return np.empty(0, dtype=int) if found is None else found.images

    ways: dict[str, Order] = {"Guarismo": ours}
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return ways
    for rule in ("prune_by_noise_rate", "both", "confident_learning"):
        ways[f"cleanlab, {rule}"] = lambda probabilities, labels, rule=rule: find_label_issues(
            labels, probabilities, filter_by=rule, return_indices_ranked_by="self_confidence", n_jobs=1
        )
    return ways


def found_first(order: Any, n: int) -> str:
    """How many of the doubtful ones are among the first so many, and how likely that is by chance."""
    cells = []
    for first in FIRST:
        hits = int(np.isin(order[:first], DOUBTFUL).sum())
        cells.append(f"{hits} (p {hypergeom.sf(hits - 1, n, len(DOUBTFUL), first):.0e})")
    return " | ".join(cells)


def changed(labels: Any, classes: int, share: float, seed: int = 0) -> tuple[Any, Any]:
    """Labels of which a share is another class, and which."""
    rng = np.random.default_rng(seed)
    which = rng.choice(len(labels), round(share * len(labels)), replace=False)
    made = labels.copy()
    made[which] = (made[which] + rng.integers(1, classes, len(which))) % classes
    return made, which


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+")
    runs = [open_run(folder) for folder in parser.parse_args(arguments).run]
    chance = " | ".join(f"{len(DOUBTFUL) * first / 10_000:.2f}" for first in FIRST)
    print(f"| run, order | of {len(DOUBTFUL)} in the first {' | '.join(map(str, FIRST))} |\n|---|--:|--:|--:|--:|")
    print(f"| by chance | {chance} |")
    for run in runs:
        if run.about["data"]["name"] == "mnist":
            answers = run.arrays("test")
            for name, way in orders().items():
                order = way(answers["probabilities"], answers["labels"])
                print(f"| {run.name}, {name} | {found_first(order, len(order))} |")
    print(f"\n| run, rule | called wrong of unchanged labels | of {CHANGED:.1%} changed | right | found | seconds |")
    print("|---|--:|--:|--:|--:|--:|")
    for run in runs:
        answers = run.arrays("validation")
        probabilities, labels = answers["probabilities"], answers["labels"]
        altered, which = changed(labels, probabilities.shape[1], CHANGED)
        for name, way in finders().items():
            before = len(way(probabilities, labels))
            began = time.perf_counter()
            after = way(probabilities, altered)
            seconds = time.perf_counter() - began
            right, found = np.isin(after, which).mean() if len(after) else 0.0, np.isin(which, after).mean()
            row = f"{before} | {len(after)} | {right:.0%} | {found:.0%} | {seconds:.2f}"
            print(f"| {run.name}, {name} | {row} |")


if __name__ == "__main__":
    main()
