"""PolyMNIST beyond what was published: the modality, the digit from one view and from five, and what a leak flatters.

Run with the folder that holds mnist/ in GUARISMO_DATA:  python benchmarks/polymnist.py [--out FOLDER] [--seed N]
Trains five networks (about half an hour on 2 cores), each opened or continued where it is in the folder already, and
prints tables in Markdown. Every number of epochs was fixed beforehand; the test split is opened once by each.
"""

import argparse
import platform
from dataclasses import replace
from pathlib import Path

from guarismo.data.sources import LoadSettings, load
from guarismo.models.runs import Run
from guarismo.models.settings import Settings
from guarismo.models.training import fit_into
from guarismo.results.evaluation import Evaluation, evaluate_run
from guarismo.results.fusion import Fusion, fuse
from guarismo.terminal import interval, percent, showing

VARIED = Settings(model="cnn", epochs=8, rotation=10.0, shift=0.05, zoom=0.1)
NETWORKS = {
    "modality": (Settings(model="cnn", epochs=2), LoadSettings(target="modality", group="none")),
    "digit": (VARIED, LoadSettings()),
    "digit, leaky validation": (Settings(model="mlp", epochs=10), LoadSettings(group="none")),
    "digit, grouped validation": (Settings(model="mlp", epochs=10), LoadSettings()),
    "digit, five views": (Settings(model="views", epochs=4), LoadSettings(views=True)),
}


def measure(folder: Path, seed: int) -> dict[str, tuple[Run, Evaluation]]:
    measured = {}
    for name, (settings, how) in NETWORKS.items():
        dataset = load("polymnist", how)
        with showing(name) as progress:
            run = fit_into(
                folder / name.replace(", ", "_").replace(" ", "-"), dataset, replace(settings, seed=seed), progress
            )
        measured[name] = evaluate_run(run, dataset)
    return measured


def print_networks(measured: dict[str, tuple[Run, Evaluation]]) -> None:
    print("| network | validation | test | 95 % interval | validation − test | seconds |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, (run, evaluation) in measured.items():
        validation = run.about["metrics"]["validation_accuracy"]
        print(
            f"| {name} ({run.settings.model}, {run.settings.epochs} epochs) | {percent(validation)} "
            f"| {percent(evaluation.accuracy)} | {interval(evaluation.interval)} "
            f"| {100 * (validation - evaluation.accuracy):+.2f} | {run.about['seconds']['train']:.0f} |"
        )


def print_fusions(fusions: list[Fusion]) -> None:
    views = range(1, fusions[0].views + 1)
    print("| joined by | " + " | ".join(f"{count} view{'s' * (count > 1)}" for count in views) + " |")
    print("|---" + "|--:" * len(views) + "|")
    for fusion in fusions:
        for method in fusion.methods:
            cells = [f"{percent(figure.accuracy)}" for figure in fusion.of(method)]
            print(f"| {method} | " + " | ".join(cells) + " |")
    for fusion in fusions:
        print(f"\n{fusion.sentence}")
        print("Each view alone: " + ", ".join(f"{each.method} {percent(each.accuracy)}" for each in fusion.alone) + ".")


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--out", type=Path, default=Path("runs/polymnist"))
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    found = measure(asked.out, asked.seed)
    print(f"{platform.platform()}, {platform.processor() or platform.machine()}, seed {asked.seed}\n")
    print_networks(found)
    print()
    together = load("polymnist", LoadSettings(views=True))
    print_fusions([fuse(found[name][0], together) for name in ("digit", "digit, five views")])
