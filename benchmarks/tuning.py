"""What a search costs and brings: thirty trials on the embedded digits, what pruning saves, what a study itself takes.

    python benchmarks/tuning.py [search] [pruning] [overhead] [--trials 30] [--epochs 10] [--out FOLDER]

search: `guarismo tune digits` as it comes, its verdict, and the time. pruning: the same search with and without, by
random settings, so that both try the same ones, in one process; compared are processor seconds, since other programs
run, and what both found. overhead: the same settings in turn as a trial of a study and by `train` alone, likewise.
Prints tables in Markdown. Exit status 1 where 30 trials take more than 5 minutes, pruning saves less than 40 % or costs
more than noise, or a trial costs more than 5 % beside its training.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import guarismo
from guarismo.data.dataset import Dataset
from guarismo.models.settings import Settings
from guarismo.models.training import machine, train
from guarismo.tuning.report import epochs_saved, write_search
from guarismo.tuning.search import Search
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import default_space
from guarismo.tuning.study import make_plan
from guarismo.tuning.trials import work
from guarismo.tuning.tune import prepare, tune

MOST_MINUTES, LEAST_SAVED, MOST_OVERHEAD = 5.0, 0.40, 0.05
OVERHEAD_TRIALS = 6


def whole_search(dataset: Dataset, asked: argparse.Namespace) -> bool:
    """As a user gets it: pruned, several processes, winner and default trained anew; its page beside it."""
    found = timed_search(dataset, asked, "search", TuneSettings(trials=asked.trials))
    print(f"| {asked.trials} trials, with the verdict's runs | {found.seconds / 60:.1f} min |")
    print(f"| epochs saved by pruning | {epochs_saved(found):.0%} |")
    assert found.best is not None and found.verdict is not None
    print(f"| best trial, validation | {found.best.values[0]:.2%} |")
    print(f"\n{found.verdict.sentence()}\n\n{write_search(found, 'digits', asked.out / 'search' / 'report.html')}")
    return found.seconds <= 60 * MOST_MINUTES * asked.trials / 30


def pruning(dataset: Dataset, asked: argparse.Namespace) -> bool:
    """The same random settings with ASHA and without, in this process: processor seconds, and the best found."""
    found: dict[str, Search] = {}
    seconds = {}
    print("\n| pruner | processor seconds | epochs saved | best trial | its validation accuracy |")
    print("|---|--:|--:|--:|--:|")
    for pruner in ("asha", "none"):
        how = TuneSettings(trials=asked.trials, sampler="random", pruner=pruner, seeds=0, jobs=1)
        began = time.process_time()
        one = found[pruner] = timed_search(dataset, asked, f"pruning-{pruner}", how)
        seconds[pruner] = time.process_time() - began
        assert one.best is not None
        number, best = one.best.number, one.best.values[0]
        print(f"| {pruner} | {seconds[pruner]:.0f} | {epochs_saved(one):.0%} | {number} | {best:.2%} |", flush=True)
    saved = 1 - seconds["asha"] / seconds["none"]
    assert found["asha"].best is not None and found["none"].best is not None
    loss, noise = found["none"].best.values[0] - found["asha"].best.values[0], noise_of(dataset, found["none"])
    print(f"\nPruning saves {saved:.0%} of the time. Its best is {100 * loss:+.2f} points lower (noise {noise:.2%}).")
    return saved >= LEAST_SAVED and loss <= noise


def noise_of(dataset: Dataset, search: Search) -> float:
    """The standard error of the best trial's validation accuracy: what other validation images would change."""
    assert search.best is not None
    share = search.best.values[0]
    return float((share * (1 - share) / len(dataset.validation)) ** 0.5)


def overhead(dataset: Dataset, asked: argparse.Namespace) -> bool:
    """A trial of a study beside `train` with the same settings, in turn, after one of each to warm up."""
    base = Settings(epochs=asked.epochs)
    how = TuneSettings(trials=OVERHEAD_TRIALS + 1, sampler="random", pruner="none", seeds=0, jobs=1)
    plan = make_plan(dataset, base, default_space(base), how, asked.out / "overhead")
    prepare(plan)
    more = []
    for trial in range(OVERHEAD_TRIALS + 1):
        within = processor_seconds(lambda: work(plan, dataset, most=1))
        settings = guarismo.open_run(plan.folder / f"trial-{trial}").settings
        alone = processor_seconds(
            lambda settings=settings, trial=trial: train(dataset, settings, asked.out / f"alone-{trial}")
        )
        more.append((within, alone))
    within, alone = (sum(column) for column in zip(*more[1:], strict=True))
    each = [one / other - 1 for one, other in more[1:]]
    print(f"\n| {OVERHEAD_TRIALS} trainings | processor seconds |\n|---|--:|")
    print(f"| as trials of a study | {within:.1f} |\n| by `train` alone | {alone:.1f} |")
    share = within / alone - 1
    print(f"\nOverhead {share:+.1%} (each {mean(each):+.1%} ± {stdev(each):.1%}).")
    return share <= MOST_OVERHEAD


def timed_search(dataset: Dataset, asked: argparse.Namespace, name: str, how: TuneSettings) -> Search:
    began = time.perf_counter()
    found = tune(dataset, replace(Settings(), epochs=asked.epochs), tuning=how, folder=asked.out / name)
    print(f"<!-- {name}: {time.perf_counter() - began:.0f} s -->", flush=True)
    return found


def processor_seconds(do: Callable[[], object]) -> float:
    began = time.process_time()
    do()
    return time.process_time() - began


PARTS = {"search": whole_search, "pruning": pruning, "overhead": overhead}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    asked.out = asked.out or Path(tempfile.mkdtemp(prefix="tuning-"))
    print(f"{machine()['processor']}, {machine()['cores']} cores\n")
    digits = guarismo.load("digits")
    reached = [PARTS[part](digits, asked) for part in asked.parts or PARTS]
    sys.exit(0 if all(reached) else 1)
