"""The published experiments as they came out here, saved: curves, and answers to 1,800 of the test images of each; and
what experiments.md, the project's notes about them, says is true and is wrong of each, as findings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from guarismo.models.runs import Run, commit
from guarismo.models.settings import RECIPES
from tiny_run import HISTORY

SAVED = np.load(Path(__file__).parent / "data" / "published.npz")
"""For each experiment: history float32 (epochs, 6), labels uint8 (n,), and probabilities float16 (n, k), rounded to
thousandths but for those of the true class, which below that are rounded to powers of ten."""

CLOTHES = (*("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),)
DIGITS = tuple("0123456789")
MODALITIES = ("m0", "m1", "m2", "m3", "m4")


@dataclass(frozen=True)
class Expected:
    """What is to be found in an experiment.

    found: names of findings; silent: names of what would be a false alarm; because: what was said of it, or is known;
    train_accuracy, temperature, kept: what its run.json says.
    """

    names: tuple[str, ...]
    train_accuracy: float
    temperature: float
    kept: int | None
    found: tuple[str, ...]
    silent: tuple[str, ...]
    because: str


FITTING = ("over-fitting", "under-fitting")
STEPS = ("diverged", "learning-rate-too-high", "learning-rate-too-low")
CLASSES = ("collapse", "dead-classes", "classes-without-images", "imbalance", "wrong-labels")

EXPECTED: dict[str, Expected] = {
    "mnist-mlp": Expected(
        *(DIGITS, 0.998537, 2.0655, 20),
        found=("over-fitting", "over-confidence"),
        silent=("under-fitting", "unstable-validation", *STEPS, *CLASSES),
        because="shows over-fitting: validation loss rises while training loss keeps falling",
    ),
    "mnist-cnn": Expected(
        *(DIGITS, 0.993759, 1.1613, 5),
        found=(),
        silent=(*FITTING, "over-confidence", "confusable-pair", "unstable-validation", *STEPS, *CLASSES),
        because="99.1 %, nothing wrong is told of it",
    ),
    "mnist-cnn-bn": Expected(
        *(DIGITS, 0.995593, 1.4542, 17),
        found=(),
        silent=(*FITTING, "over-confidence", "confusable-pair", *STEPS, *CLASSES),
        because="99.53 % of validation, 99.35 % of test: what jumps at the end is no over-fitting",
    ),
    "fashion-cnn": Expected(
        *(CLOTHES, 0.945222, 1.2463, 25),
        found=("confusable-pair",),
        silent=(*FITTING, *STEPS, *CLASSES),
        because="91.32 % of training, 90.53 % of test",
    ),
    "fashion-cnn-strided": Expected(
        *(CLOTHES, 0.985407, 2.306, 50),
        found=("over-fitting", "over-confidence", "confusable-pair"),
        silent=("under-fitting", *STEPS, *CLASSES),
        because='"no over-fitting", with 98.54 % of training and 90.59 % of test: contradicted',
    ),
    "poly-modality-mlp": Expected(
        *(MODALITIES, 0.951741, 1.162, 14),
        found=("confusable-pair",),
        silent=("over-fitting", "still-improving", *STEPS, *CLASSES),
        because="stopped early at its best epoch",
    ),
    "poly-modality-cnn": Expected(
        *(MODALITIES, 0.995615, 1.0478, 14),
        found=(),
        silent=(*FITTING, "over-confidence", "confusable-pair", *STEPS, *CLASSES),
        because="98.40 %, stopped early at its best epoch",
    ),
    "poly-modality-cnn-augmented": Expected(
        *(MODALITIES, 0.989693, 1.2389, 16),
        found=("unstable-validation",),
        silent=(*FITTING, "over-confidence", *STEPS, *CLASSES),
        because="its validation loss doubles and halves from epoch to epoch",
    ),
    "poly-modality-forest": Expected(
        *(MODALITIES, 1.0, 0.3395, None),
        found=("under-confidence",),
        silent=(*FITTING, *STEPS, *CLASSES),
        because="a forest answers all its training images right, which says nothing; its votes are no confidence",
    ),
}


def published_run(name: str, folder: Path) -> Run:
    """The saved experiment as a finished run that was evaluated on its 1,800 images."""
    told = EXPECTED[name]
    probabilities, labels = SAVED[f"{name} probabilities"], SAVED[f"{name} labels"].astype(np.int64)
    folder.mkdir(parents=True)
    answers = probabilities / probabilities.sum(axis=1, keepdims=True, dtype=np.float32)
    learnt = np.arange(1_000) % len(told.names)
    files = {
        "test.safetensors": save({"probabilities": answers.astype(np.float32), "labels": labels}),
        "train.safetensors": save({"labels": learnt, "answers": learnt}),
    }
    if f"{name} history" in SAVED:
        files["history.csv"] = history_csv(SAVED[f"{name} history"]).encode()
    return commit(Run(folder, about(name, told)), files)


def history_csv(history: np.ndarray) -> str:
    return HISTORY + "".join(",".join(f"{value:g}" for value in row) + ",1\n" for row in history)


def about(name: str, told: Expected) -> dict[str, Any]:
    return {
        "format": 1,
        "state": "finished",
        "model": RECIPES[name].model,
        "settings": asdict(RECIPES[name]),
        "data": {
            "name": name,
            "origin": {},
            "fingerprint": "",
            "counts": {},
            "class_names": list(told.names),
            "shape": [28, 28, 1],
        },
        "parameters": 1,
        "architecture": [],
        "seconds": {"train": 1.0},
        "metrics": {"train_accuracy": told.train_accuracy, "validation_accuracy": 0.9, "validation_loss": 0.1},
        "facts": {} if told.kept is None else {"kept_epoch": told.kept},
        "calibration": {"temperature": told.temperature},
        "versions": {},
        "machine": {},
        "files": {},
    }
