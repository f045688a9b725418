"""The whole laboratory in one go: several models trained, evaluated and compared on one Dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from guarismo.data.dataset import Dataset
from guarismo.errors import RunError
from guarismo.models.runs import Run, folder_stem, new_folder, open_run
from guarismo.models.settings import Settings
from guarismo.models.training import RUNS, resume, train
from guarismo.progress import Progress, silent
from guarismo.results.evaluation import Evaluation, evaluate_run

LAB: Mapping[str, Settings] = {
    "linear": Settings(model="linear"),
    "mlp": Settings(model="mlp"),
    "cnn": Settings(model="cnn", epochs=20, rotation=10.0, shift=0.1, zoom=0.1),
    "forest": Settings(model="forest"),
}
"""What the laboratory trains: from the simplest that can work to the one that should win."""


def run_lab(
    dataset: Dataset, folder: Path, seed: int = 0, progress: Progress = silent
) -> Iterator[tuple[Run, Evaluation]]:
    """Train and evaluate each model of LAB into ``folder/NAME``, handing over each as it is done.

    Called again on the same folder it goes on where it stopped. The test split is opened once per model, at its end.

    Raises RunError when the folder holds runs of other data or settings.
    """
    for name, settings in LAB.items():
        run = trained(dataset, replace(settings, seed=seed), folder / name, progress)
        yield evaluate_run(run, dataset)


def lab_folder(dataset: Dataset, seed: int) -> Path:
    """Where a laboratory on this data and seed was cut off, to go on there; else a new numbered folder."""
    for folder in sorted(RUNS.glob(f"{folder_stem(dataset.name, 'lab')}_*")):
        runs = [open_run(folder / name) for name in LAB if (folder / name / "run.json").exists()]
        done = [run for run in runs if "test_opened" in run.about]
        same = all(run.settings.seed == seed and of_data(run, dataset) for run in runs)
        if runs and same and len(done) < len(LAB):
            return folder
    return new_folder(RUNS, dataset.name, "lab")


def of_data(run: Run, dataset: Dataset) -> bool:
    return bool(run.about["data"]["fingerprint"] == dataset.fingerprint)


def trained(dataset: Dataset, settings: Settings, folder: Path, progress: Progress) -> Run:
    """The finished run in `folder`: opened, continued or begun."""
    if not (folder / "run.json").exists():
        return train(dataset, settings, folder, progress)
    run = open_run(folder)
    if run.settings != settings or not of_data(run, dataset):
        raise RunError(f"{folder} holds a run of other data or settings. Choose another --out.")
    return run if run.finished else resume(run, dataset, progress)
