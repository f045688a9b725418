"""Published experiments, each by its name: trained as its authors state, measured, and set beside their figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from guarismo.data.exploration import Exploration, explore
from guarismo.data.images import decode_image, with_channels
from guarismo.data.known import data_folders
from guarismo.data.sources import LoadSettings, load
from guarismo.errors import DataError
from guarismo.models.runs import Run, open_run, write_out
from guarismo.models.settings import RECIPES, Settings
from guarismo.models.training import fit_into
from guarismo.progress import Progress, silent
from guarismo.reading.reader import read
from guarismo.results.comparison import compare
from guarismo.results.curves import memorised, overfitting
from guarismo.results.evaluation import evaluate_run, wilson
from guarismo.results.scoring import read_labels

MODALITY = LoadSettings(channels=1, target="modality", group="none")
"""PolyMNIST as its laboratory took it: grey, the folder for the class, validation drawn from all the files."""


@dataclass(frozen=True)
class Experiment:
    """A published system.

    accuracy: on the test images, as its authors state it, None where they state none; overfits: what they say of it;
    told: what else they say that can be checked; against: the experiment that they compare it with.
    """

    source: str
    accuracy: float | None
    loading: LoadSettings = field(default_factory=LoadSettings)
    overfits: bool | None = None
    told: str = ""
    against: str = ""


EXPERIMENTS: dict[str, Experiment] = {
    "mnist-mlp": Experiment("mnist", 0.9776, overfits=True, told="validation loss rises from epoch 6"),
    "mnist-cnn": Experiment("mnist", 0.991),
    "mnist-cnn-bn": Experiment("mnist", 0.9935),
    "fashion-cnn": Experiment("fashion_mnist", 0.9053),
    "fashion-cnn-strided": Experiment(
        "fashion_mnist", 0.9059, overfits=False, told="no over-fitting, with 98.54 % of the training images right"
    ),
    "poly-explore": Experiment(
        "polymnist", None, replace(MODALITY, validation=0), told="28×28, five classes of 60,000 + 10,000, balanced"
    ),
    "poly-modality-mlp": Experiment("polymnist", 0.8579, MODALITY),
    "poly-modality-cnn": Experiment("polymnist", 0.9840, MODALITY),
    "poly-modality-cnn-augmented": Experiment(
        "polymnist",
        0.9764,
        MODALITY,
        told="augmentation improved the result, against 98.40 % without",
        against="poly-modality-cnn",
    ),
    "poly-modality-forest": Experiment("polymnist", 0.9469, MODALITY),
    "photos": Experiment("mnist", 1 / 6, told="each of six photos is an 8, at 100.0 %"),
}
"""In the order in which they build on each other: `photos` answers with the network of `mnist-cnn-bn`."""

PHOTOS = "Diegoval-Dev__DC-Lab3"
"""The folder of the six photos, named after the repository that published them."""

QUICK_IMAGES, QUICK_EPOCHS = 6_000, 5
"""What --quick takes of an experiment: enough to see that everything works, too little to compare figures."""


@dataclass(frozen=True)
class Row:
    """One experiment as published and as it came out here: accuracies in [0, 1], None where there is none.

    n: test images; interval: of our accuracy, 95 %; seconds: of training, or of looking; findings: sentences.
    """

    name: str
    published: float | None
    accuracy: float | None
    interval: tuple[float, float] | None
    n: int
    seconds: float
    seed: int
    quick: bool
    findings: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """In words: ours beside the published figure."""
        if self.quick:
            return "quick: not comparable"
        if self.accuracy is None or self.published is None or self.interval is None:
            return "see below"
        low, high = self.interval
        return "better" if low > self.published else "within" if high >= self.published else "short"


def reproduce(
    name: str, folder: Path, quick: bool = False, photos: Path | None = None, progress: Progress = silent
) -> Row:
    """One experiment: its run in ``folder/NAME`` opened, continued or begun, evaluated, and kept as a row.

    `photos` is the folder of the six photos with labels.csv in it or above it, for the experiment of that name.
    Raises DataError where data are missing, RunError where the folder holds a run of other data or settings.
    """
    if name == "photos":
        row = photos_row(folder, quick, photos, progress)
    elif name == "poly-explore":
        row = explored_row(name, quick, progress)
    else:
        row = trained_row(name, folder, quick, progress)
    write_out(folder / f"{name}.json", json.dumps(asdict(row), indent=1, ensure_ascii=False).encode())
    return row


def rows_in(folder: Path) -> list[Row]:
    """What `reproduce` kept in a folder, in the order of EXPERIMENTS. Raises DataError for a damaged file."""
    return [row_of(path) for name in EXPERIMENTS if (path := folder / f"{name}.json").exists()]


def row_of(path: Path) -> Row:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        interval = values["interval"] and tuple(map(float, values["interval"]))
        return Row(**{**values, "interval": interval, "findings": tuple(map(str, values["findings"]))})
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}). Remove it: the experiment is then measured again.") from None


# Trained experiments


def trained_row(name: str, folder: Path, quick: bool, progress: Progress) -> Row:
    experiment = EXPERIMENTS[name]
    dataset = load(experiment.source, loading_of(experiment, quick), progress)
    run = fit_into(folder / name, dataset, settings_of(name, quick), progress)
    run, evaluation = evaluate_run(run, dataset)
    return Row(
        name=name,
        published=experiment.accuracy,
        accuracy=evaluation.accuracy,
        interval=evaluation.interval,
        n=evaluation.n,
        seconds=run.about["seconds"]["train"],
        seed=run.settings.seed,
        quick=quick,
        findings=(*findings_of(experiment, run, quick), *compared_with(experiment, run, folder)),
    )


def settings_of(name: str, quick: bool) -> Settings:
    settings = RECIPES[name]
    return replace(settings, epochs=min(settings.epochs, QUICK_EPOCHS)) if quick else settings


def loading_of(experiment: Experiment, quick: bool) -> LoadSettings:
    return replace(experiment.loading, limit=QUICK_IMAGES) if quick else experiment.loading


def findings_of(experiment: Experiment, run: Run, quick: bool) -> tuple[str, ...]:
    """What the curves tell, beside what the authors told."""
    metrics = run.about["metrics"]
    said = [f"Its authors: {experiment.told}."] if experiment.told else []
    said.append(
        f"{100 * metrics['train_accuracy']:.2f} % of the training images right; {len(run.history) or 'no'} epochs."
    )
    found = overfitting(run.history)
    if found is None and run.history:
        count = run.about["data"]["counts"]["validation"]
        found = memorised(metrics["train_accuracy"], metrics["validation_accuracy"], count)
    if found:
        said.append(found.sentence() + (" That contradicts its authors." if experiment.overfits is False else ""))
    elif experiment.overfits and not quick:
        said.append("Its curves show no over-fitting here.")
    return tuple(said)


def compared_with(experiment: Experiment, run: Run, folder: Path) -> tuple[str, ...]:
    """Whether it is better or worse than the experiment that its authors set beside it, where that was run as well."""
    if not (experiment.against and (folder / experiment.against / "evaluation.json").exists()):
        return ()
    return (compare([run, open_run(folder / experiment.against)]).sentence,)


# poly-explore


def explored_row(name: str, quick: bool, progress: Progress) -> Row:
    """The table that the laboratory made: images of each modality in each part, their size, their balance."""
    began = datetime.now(UTC)
    experiment = EXPERIMENTS[name]
    dataset = load(experiment.source, loading_of(experiment, quick), progress)
    found = explore(dataset, progress)
    return Row(
        name=name,
        published=None,
        accuracy=None,
        interval=None,
        n=len(dataset.test),
        seconds=round((datetime.now(UTC) - began).total_seconds(), 1),
        seed=0,
        quick=quick,
        findings=(f"Its authors: {experiment.told}.", counted(found)),
    )


def counted(found: Exploration) -> str:
    """Size, classes and balance in one sentence."""
    height, width, _ = found.shape
    parts = " + ".join(
        f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,}–{counts.max():,}"
        for part, counts in found.counts.items()
        if part != "validation"
    )
    even = all(counts.min() == counts.max() for counts in found.counts.values())
    return f"Here: {height}×{width}, {len(found.class_names)} classes of {parts}, {'' if even else 'not '}balanced."


# photos


def photos_row(folder: Path, quick: bool, photos: Path | None, progress: Progress) -> Row:
    """The six photos: as their authors gave them to `mnist-cnn-bn`, which is trained if need be, and as `read` does."""
    files = labelled_photos(photos or photos_folder())
    if not (folder / "mnist-cnn-bn" / "model.onnx").exists():
        reproduce("mnist-cnn-bn", folder, quick, progress=progress)
    network = open_run(folder / "mnist-cnn-bn")
    answers = [published_answer(network, path) for path, _ in files]
    right = sum(digit == text for (digit, _), (_, text) in zip(answers, files, strict=True))
    began = datetime.now(UTC)
    texts = [read(path)[0].text for path, _ in files]
    seconds = (datetime.now(UTC) - began).total_seconds()
    read_right = sum(text == label for text, (_, label) in zip(texts, files, strict=True))
    said = ", ".join(
        f"{label} → {digit} ({100 * sure:.1f} %)" for (digit, sure), (_, label) in zip(answers, files, strict=True)
    )
    return Row(
        name="photos",
        published=EXPERIMENTS["photos"].accuracy,
        accuracy=read_right / len(files),
        interval=wilson(read_right, len(files)),
        n=len(files),
        seconds=round(seconds, 1),
        seed=network.settings.seed,
        quick=quick,
        findings=(
            f"Its authors: {EXPERIMENTS['photos'].told}.",
            f"Their way (grey, resized to 28×28), with our `mnist-cnn-bn`: {right} of {len(files)} right: {said}.",
            f"`guarismo read`: {read_right} of {len(files)} right: {', '.join(texts)}.",
        ),
    )


def photos_folder() -> Path:
    """Where the six photos are. Raises DataError: they are their authors', so they do not come with the package."""
    for home in data_folders():
        if (home / "photos" / PHOTOS).is_dir():
            return home / "photos" / PHOTOS
    raise DataError(
        f"The six photos are not here. Get them from the repository {PHOTOS.replace('__', '/')} on GitHub, write "
        "labels.csv (file, text) beside them, and name their folder with --photos."
    )


def labelled_photos(folder: Path) -> list[tuple[Path, str]]:
    """(file, digits) of every photo in a folder, by the labels.csv in it or in the folder above."""
    tables = [path for path in (folder / "labels.csv", folder.parent / "labels.csv") if path.is_file()]
    if not tables:
        raise DataError(f"{folder} has no labels.csv in it or above it. Write one: a line of file,text for each photo.")
    home = tables[0].parent
    found = [(home / label.file, label.text) for label in read_labels(tables[0])]
    inside = [(path, text) for path, text in found if path.resolve().is_relative_to(folder.resolve())]
    if not inside:
        raise DataError(f"{tables[0]} names no photo in {folder}. Add a line of file,text for each.")
    return inside


def published_answer(run: Run, path: Path) -> tuple[str, float]:
    """(class, confidence) of a photo as the laboratory gave it: grey, the whole of it resized, light as it is."""
    from PIL import Image

    grey = with_channels(decode_image(path), 1)[..., 0]
    height, width, _ = run.shape
    small = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BOX))
    probabilities = run.predict(small[None, ..., None])[0]
    return run.class_names[int(probabilities.argmax())], float(probabilities.max())


# Page


def page_of(rows: Sequence[Row], machine: Mapping[str, Any], command: str) -> str:
    """The rows as Markdown: a table, then what was found in each."""
    lines = [
        "# Published experiments, reproduced",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}; {machine['processor']}, {machine['cores']} cores; `{command}`, one run each.",
        "",
        "| experiment | published | here | difference | 95 % interval | | seconds | seed |",
        "|---|--:|--:|--:|--:|---|--:|--:|",
        *(table_line(row) for row in rows),
        "",
        "Within: the published figure lies in the interval of ours (Wilson); better: it lies below. Seconds are of "
        "training alone. Where the authors state no sizes, the usual ones were taken (docstrings in "
        "`models/architectures.py`).",
        "",
        "PolyMNIST was made anew from MNIST by its authors' rule, since the published files could not be had: its "
        "backgrounds are others, so the figures of the poly rows show the same systems on data of the same kind.",
        "",
    ]
    for row in rows:
        lines += [f"## {row.name}", "", *(f"- {finding}" for finding in row.findings), ""]
    return "\n".join(lines)


def table_line(row: Row) -> str:
    published = "–" if row.published is None else f"{100 * row.published:.2f} %"
    if row.accuracy is None or row.interval is None:
        return f"| {row.name} | {published} | – | – | – | {row.verdict} | {row.seconds:,.0f} | {row.seed} |"
    difference = "–" if row.published is None else f"{100 * (row.accuracy - row.published):+.2f}"
    low, high = row.interval
    return (
        f"| {row.name} | {published} | {100 * row.accuracy:.2f} % | {difference} "
        f"| {100 * low:.2f} – {100 * high:.2f} % | {row.verdict} | {row.seconds:,.0f} | {row.seed} |"
    )
