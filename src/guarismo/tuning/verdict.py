"""The winner of a search and the default, trained anew from other seeds → Verdict: is it better by more than luck?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from guarismo.data.dataset import Dataset
from guarismo.errors import RunError
from guarismo.models.runs import Run, open_run, read_about
from guarismo.models.settings import Settings
from guarismo.models.training import fit_into, forget
from guarismo.progress import Progress, silent
from guarismo.results.comparison import compare
from guarismo.results.evaluation import evaluate_run
from guarismo.results.luck import LUCK
from guarismo.tuning.search import Tried, Verdict, best_of
from guarismo.tuning.study import WORKERS, Plan, holding, open_study, tried_in

Task = tuple[str, Settings]
"""The name of a folder, and the settings of the run to be in it."""


def tasks_of(plan: Plan, best: Tried) -> list[Task]:
    """The trainings that the verdict needs, winner and default in turn; the default's alone where it is the winner.

    Their seeds come after that of the trials: from that one the winner may have been lucky.
    """
    winner = replace(plan.base, **best.settings)
    tasks = []
    for seed in range(plan.base.seed + 1, plan.base.seed + 1 + plan.tuning.seeds):
        if winner != plan.base:
            tasks.append((f"winner-{best.number}-seed-{seed}", replace(winner, seed=seed)))
        tasks.append((f"default-seed-{seed}", replace(plan.base, seed=seed)))
    return tasks


def refit(plan: Plan, dataset: Dataset, progress: Progress = silent) -> None:
    """Train what the verdict needs and nobody is training: opened, continued or begun, as it stands there.

    Nothing where no trial finished. Other processes may do the same at the same time, in the same folder.
    """
    best = best_of(tried_in(plan, open_study(plan)), plan.tuning.metrics)
    for name, settings in tasks_of(plan, best) if best else ():
        with holding(lock_of(plan, name)) as ours:
            if ours and not is_finished(plan.folder / name):
                fit_into(plan.folder / name, dataset, settings, progress)
                forget()


def lock_of(plan: Plan, name: str) -> Path:
    return plan.folder / WORKERS / f"{name}.lock"


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a finished run; its files are not looked at."""
    return (folder / "run.json").exists() and read_about(folder)["state"] == "finished"


def judge(plan: Plan, dataset: Dataset, best: Tried) -> Verdict:
    """Open the test images, once for each run that `refit` trained, and compare the winner's with the default's.

    Raises RunError where one of the runs is not finished.
    """
    tasks = tasks_of(plan, best)
    runs = {name: opened(plan.folder / name, settings, dataset) for name, settings in tasks}
    default = [run for name, run in runs.items() if name.startswith("default")]
    winner = [run for name, run in runs.items() if name.startswith("winner")]
    if not winner:
        return undecided(default, plan)
    comparison = compare([*winner, *default])
    pair, (first, second) = comparison.group_pairs[0], comparison.groups
    ours = first.runs[0] in {run.name for run in winner}
    accuracy, other = (first.accuracy, second.accuracy) if ours else (second.accuracy, first.accuracy)
    low, high = pair.interval if ours else (-pair.interval[1], -pair.interval[0])
    return Verdict(
        winner=best.settings,
        runs=names_of(winner, plan),
        default_runs=names_of(default, plan),
        accuracy=accuracy,
        default_accuracy=other,
        interval=(low, high),
        p=pair.p,
        n_test=comparison.n,
        seeds=plan.tuning.seeds,
        better=ours and pair.p < LUCK,
    )


def opened(folder: Path, settings: Settings, dataset: Dataset) -> Run:
    """A finished run of a verdict, evaluated on the test images. Raises RunError where it is not of these settings."""
    run = open_run(folder)
    if run.settings != settings or not run.finished:
        raise RunError(
            f"{folder} is not the run that the verdict needs. Move it away, and give the same command again."
        )
    return evaluate_run(run, dataset)[0]


def undecided(default: Sequence[Run], plan: Plan) -> Verdict:
    """The default was the best of all that was tried: nothing is left to compare it with."""
    accuracies = [
        float((run.arrays("test")["probabilities"].argmax(axis=1) == run.arrays("test")["labels"]).mean())
        for run in default
    ]
    mean = sum(accuracies) / len(accuracies)
    names = names_of(default, plan)
    n = int(default[0].about["test_opened"]["n"])
    return Verdict({}, names, names, mean, mean, (0.0, 0.0), 1.0, n, plan.tuning.seeds, False)


def names_of(runs: Sequence[Run], plan: Plan) -> tuple[str, ...]:
    return tuple(str(run.folder.relative_to(plan.folder)) for run in runs)
