"""The whole laboratory in one go: several models trained, evaluated and compared on one Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from guarismo.data.dataset import Dataset
from guarismo.errors import RunError
from guarismo.models.runs import Run, folder_stem, new_folder, open_run
from guarismo.models.settings import Settings
from guarismo.models.training import RUNS, fit_into
from guarismo.progress import Progress, silent
from guarismo.results.evaluation import Evaluation, evaluate_run

LAB: Mapping[str, Settings] = {
    "linear": Settings(model="linear"),
    "mlp": Settings(model="mlp"),
    "cnn": Settings(model="cnn", epochs=20, rotation=10.0, shift=0.1, zoom=0.1),
    "forest": Settings(model="forest"),
}
"""What the laboratory trains: from the simplest that can work to the one that should win."""


def run_model(
    name: str, dataset: Dataset, folder: Path, seed: int = 0, progress: Progress = silent
) -> tuple[Run, Evaluation]:
    """One model of LAB trained into ``folder/NAME`` and evaluated: opened, continued or begun, as it stands there.

    Raises RunError when the folder holds a run of other data or settings.
    """
    run = fit_into(folder / name, dataset, replace(LAB[name], seed=seed), progress)
    return evaluate_run(run, dataset)


def lab_folder(dataset: Dataset, seed: int) -> Path:
    """Where a laboratory on this data and seed was cut off, to go on there; else a new numbered folder."""
    for folder in sorted(RUNS.glob(f"{folder_stem(dataset.name, 'lab')}_*")):
        if cut_off(folder, dataset, seed):
            return folder
    return new_folder(RUNS, dataset.name, "lab")


def cut_off(folder: Path, dataset: Dataset, seed: int) -> bool:
    """Whether some, but not all, of a laboratory's models are done in `folder`, on this data and seed."""
    try:
        runs = {name: open_run(folder / name) for name in LAB if (folder / name / "run.json").exists()}
    except RunError:  # damaged: not ours to go on with
        return False
    done = [run for run in runs.values() if "test_opened" in run.about]
    fits = all(run.settings == replace(LAB[name], seed=seed) and of_data(run, dataset) for name, run in runs.items())
    return bool(runs) and fits and len(done) < len(LAB)


def of_data(run: Run, dataset: Dataset) -> bool:
    return bool(run.about["data"]["fingerprint"] == dataset.fingerprint)
