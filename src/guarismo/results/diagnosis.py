"""Run → findings: what is wrong with a training, its answers and its data, the gravest first. Nothing else is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset, Split, empty_like
from guarismo.data.leaks import Between, Leaks, find_leaks
from guarismo.data.shapes import measure
from guarismo.errors import RunError, unknown
from guarismo.language import N_
from guarismo.models.runs import Run, quoted
from guarismo.models.training import temperature_of
from guarismo.progress import Progress, silent
from guarismo.results.answers import collapse, confidence, confusable_pairs, dead_classes, imbalance, unseen_classes
from guarismo.results.curves import (
    cut_off,
    diverged,
    memorised,
    overfitting,
    rate_too_high,
    rate_too_low,
    still_improving,
    underfitting,
    unstable,
)
from guarismo.results.finding import NO_IMAGES, Finding
from guarismo.results.labels import wrong_labels
from guarismo.results.slices import failing_slices

SPLITS = ("validation", "test")

MOST_COMPARED = 500
"""Images that are compared with those of training for near copies: 0.9 s for MNIST, and enough to see one in a
hundred."""

LEAKED = 0.005
"""Share of copies from which on a figure is flattered by more than chance moves it, with 10,000 images."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What the run answered on a split: probabilities float32 (n, k), labels int64 (n,)."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a diagnosis looks at. answers, counts (training images of each class) and dataset: None where not there."""

    run: Run
    split: str
    answers: Answers | None
    counts: NDArray[np.int64] | None
    dataset: Dataset | None

    @property
    def images(self) -> Split | None:
        """The images that were answered, where they are there."""
        return None if self.dataset is None or self.answers is None else self.dataset.splits[self.split]

    @property
    def chance(self) -> float:
        """The loss of answering nothing but how common each class is, in nats."""
        if self.counts is None:
            return float(np.log(len(self.run.class_names)))
        shares = self.counts[self.counts > 0] / self.counts.sum()
        return float(-(shares * np.log(shares)).sum())


def diagnose(
    run: Run, dataset: Dataset | None = None, split: str = "validation", progress: Progress = silent
) -> list[Finding]:
    """All that is wrong with a run, the gravest first; an empty list where nothing was found.

    split: "validation", or "test" where the run was evaluated. dataset: the data that it was trained on; without, only
    what the run keeps is looked at: no copies, no slices. What one finding explains is not told besides (EXPLAINED).

    Raises RunError for a split that there is not, or that was not opened, and for other data than the run's.
    """
    evidence = gather(run, dataset, split)
    detectors = looked_for(evidence)
    found: list[Finding] = []
    for done, name in enumerate(detectors):
        progress(done, len(detectors))
        found += DETECTORS[name].find(evidence)
    progress(len(detectors), len(detectors))
    explained = {name for finding in found for name in EXPLAINED.get(finding.name, ())}
    told = [finding for finding in found if finding.name not in explained]
    return sorted(told, key=lambda finding: finding.name in MILD)


def gather(run: Run, dataset: Dataset | None = None, split: str = "validation") -> Evidence:
    """What there is of a run to look at. Raises RunError as `diagnose`."""
    if split not in SPLITS:
        raise RunError(unknown("split", split, SPLITS))
    kept = kept_arrays(run, split)
    if kept is None and split == "test":
        raise RunError(f"Run {run.name} has not been evaluated. Do it with: guarismo evaluate {quoted(run.folder)}")
    answers = None if kept is None else Answers(kept["probabilities"], kept["labels"])
    train = kept_arrays(run, "train")
    counts = None if train is None else np.bincount(train["labels"], minlength=len(run.class_names)).astype(np.int64)
    if dataset is not None and answers is not None:
        check_same(run, dataset, answers, split)
    return Evidence(run, split, answers, counts, dataset)


def kept_arrays(run: Run, name: str) -> dict[str, NDArray[Any]] | None:
    return run.arrays(name) if f"{name}.safetensors" in run.about["files"] else None


def check_same(run: Run, dataset: Dataset, answers: Answers, name: str) -> None:
    """Raises RunError where these are not the images that were answered."""
    if dataset.fingerprint != run.about["data"]["fingerprint"]:
        count = len(dataset.splits[name])
        raise RunError(
            f"These {count:,} {name} images are not the {len(answers.labels):,} that run {run.name} answered. "
            "Name the data that it was trained on, loaded with the same options."
        )


@dataclass(frozen=True)
class Detector:
    """needs: the parts of Evidence without which there is nothing to look at; find: what is wrong, if anything."""

    needs: tuple[str, ...]
    find: Callable[[Evidence], list[Finding]]


def looked_for(evidence: Evidence) -> tuple[str, ...]:
    """The names of the DETECTORS that have something to look at."""
    there = {
        "run": True,
        "history": bool(evidence.run.history),
        "answers": evidence.answers is not None and len(evidence.answers.labels) > 0,
        "counts": evidence.counts is not None,
        "images": evidence.images is not None,
    }
    return tuple(name for name, detector in DETECTORS.items() if all(there[need] for need in detector.needs))


# What each looks at


def of_interruption(evidence: Evidence) -> list[Finding]:
    run = evidence.run
    return [] if run.finished else [cut_off(run.history, run.settings.epochs)]


def of_divergence(evidence: Evidence) -> list[Finding]:
    return several(diverged(evidence.run.history, evidence.run.settings.learning_rate))


def of_large_steps(evidence: Evidence) -> list[Finding]:
    return several(rate_too_high(evidence.run.history, evidence.chance, evidence.run.settings.learning_rate))


def of_small_steps(evidence: Evidence) -> list[Finding]:
    return several(rate_too_low(evidence.run.history, evidence.chance, evidence.run.settings.learning_rate))


def of_overfitting(evidence: Evidence) -> list[Finding]:
    """By the curves; where they tell nothing, by the errors on training and on other images."""
    run = evidence.run
    found = overfitting(run.history, run.about.get("facts", {}).get("kept_epoch"))
    if found is None and evidence.answers is not None and "metrics" in run.about:
        found = memorised(train_accuracy(run), evidence.answers.accuracy, len(evidence.answers.labels))
    return several(found)


def of_underfitting(evidence: Evidence) -> list[Finding]:
    assert evidence.answers is not None
    if "metrics" not in evidence.run.about:
        return []
    return several(underfitting(train_accuracy(evidence.run), evidence.answers.accuracy))


def train_accuracy(run: Run) -> float:
    """On the training images as the model answers them; runs that say nothing of it count as having learnt them."""
    return float(run.about["metrics"].get("train_accuracy", 1.0))


def of_stopping(evidence: Evidence) -> list[Finding]:
    """Not where it was stopped because nothing improved."""
    run, settings = evidence.run, evidence.run.settings
    if settings.patience and len(run.history) < settings.epochs:
        return []
    return several(still_improving(run.history, settings.schedule))


def of_jumps(evidence: Evidence) -> list[Finding]:
    return several(unstable(evidence.run.history))


def of_answers(detect: Callable[..., Finding | list[Finding] | None]) -> Callable[[Evidence], list[Finding]]:
    """A detector of probabilities, labels and names as one of Evidence."""

    def find(evidence: Evidence) -> list[Finding]:
        assert evidence.answers is not None
        answers = evidence.answers
        found = detect(answers.probabilities, answers.labels, evidence.run.class_names, evidence.split)
        return found if isinstance(found, list) else several(found)

    return find


def of_unseen_classes(evidence: Evidence) -> list[Finding]:
    assert evidence.answers is not None
    return several(unseen_classes(evidence.answers.labels, evidence.run.class_names, evidence.split))


def of_confidence(evidence: Evidence) -> list[Finding]:
    assert evidence.answers is not None
    answers = evidence.answers
    kept = evidence.run.about.get("calibration", {}).get("temperature")
    temperature = temperature_of(answers.probabilities, answers.labels) if kept is None else float(kept)
    return several(confidence(answers.probabilities, answers.labels, temperature, evidence.split))


def of_imbalance(evidence: Evidence) -> list[Finding]:
    assert evidence.answers is not None and evidence.counts is not None
    answers, names = evidence.answers, evidence.run.class_names
    return several(imbalance(evidence.counts, answers.probabilities, answers.labels, names, evidence.split))


def of_labels(evidence: Evidence) -> list[Finding]:
    assert evidence.answers is not None
    return several(wrong_labels(evidence.answers.probabilities, evidence.answers.labels, evidence.split))


def of_slices(evidence: Evidence) -> list[Finding]:
    assert evidence.answers is not None and evidence.images is not None and evidence.dataset is not None
    images = evidence.images
    answers = evidence.answers.probabilities.argmax(axis=1)
    grouped_by = evidence.dataset.grouped_by
    return failing_slices(answers, images.labels, measure(images.images), images.groups, grouped_by, evidence.split)


def of_leaks(evidence: Evidence) -> list[Finding]:
    """What the split shares with training; the other split is left closed."""
    assert evidence.dataset is not None
    dataset, closed = evidence.dataset, empty_like(evidence.dataset.train)
    parts = replace(dataset, test=closed) if evidence.split == "validation" else replace(dataset, validation=closed)
    return leaked(find_leaks(parts, sample=MOST_COMPARED))


def leaked(leaks: Leaks) -> list[Finding]:
    """Shared groups, copies and near copies, each where they are LEAKED of the images or more.

    Where originals are shared, near copies are of these, and need not be told besides.
    """
    found = []
    for each in leaks.between:
        together = shared(each, leaks.grouped_by)
        found += together if any(finding.name == "leak" for finding in together) else [*copied(each), *together]
    return found


def copied(each: Between) -> list[Finding]:
    alike = np.array([pair.later for pair in each.pairs], dtype=np.int64)
    exact = N_("{count:count} of {n:count} images are exact copies of training images: the figures flatter.")
    near = N_(
        "{count:count} of {n:count} images are nearly the same as a training image (moved a little, brighter, or "
        "compressed): the figures flatter."
    )
    kinds = ((each.copies, each.images, exact, NO_IMAGES), (each.near, each.looked_at, near, alike))
    return [
        Finding(
            "leak",
            count / n,
            says,
            N_("Take the copies out of one of the parts, and train again."),
            {"count": count, "n": n},
            split=each.later,
            images=images,
        )
        for count, n, says, images in kinds
        if count and count >= LEAKED * n
    ]


def shared(each: Between, grouped_by: str) -> list[Finding]:
    """Groups that are in training too. Images of one original are copies but for the background."""
    if not each.grouped or each.grouped < LEAKED * each.images:
        return []
    originals = N_("Of {count:count} of {n:count} images the original is in training too: the figures flatter.")
    writers = N_(
        "{count:count} of {n:count} images are by {groups:count} writers who are in training too: new hands will be "
        "read less well."
    )
    others = N_(
        "{count:count} of {n:count} images are of {groups:count} groups that are in training too: of new groups less "
        "will be right."
    )
    says = {"original": originals, "writer": writers}.get(grouped_by, others)
    way = N_("Keep each writer in one part (--group writer), and train again.")
    return [
        Finding(
            "leak" if grouped_by == "original" else "shared-groups",
            each.grouped / each.images,
            says,
            way if grouped_by == "writer" else N_("Keep each group in one part (--group auto), and train again."),
            {"count": each.grouped, "n": each.images, "groups": each.shared_groups},
            split=each.later,
        )
    ]


def several(finding: Finding | None) -> list[Finding]:
    return [] if finding is None else [finding]


DETECTORS: Mapping[str, Detector] = {
    "interruption": Detector(("run",), of_interruption),
    "divergence": Detector(("history",), of_divergence),
    "steps too large": Detector(("history",), of_large_steps),
    "steps too small": Detector(("history",), of_small_steps),
    "collapse": Detector(("answers",), of_answers(collapse)),
    "leaks": Detector(("images",), of_leaks),
    "dead classes": Detector(("answers",), of_answers(dead_classes)),
    "wrong labels": Detector(("answers",), of_labels),
    "classes without images": Detector(("answers",), of_unseen_classes),
    "over-fitting": Detector(("history",), of_overfitting),
    "under-fitting": Detector(("answers",), of_underfitting),
    "imbalance": Detector(("answers", "counts"), of_imbalance),
    "failing slices": Detector(("images",), of_slices),
    "confidence": Detector(("answers",), of_confidence),
    "training too short": Detector(("history",), of_stopping),
    "unstable validation": Detector(("history",), of_jumps),
    "confusable pairs": Detector(("answers",), of_answers(confusable_pairs)),
}
"""What is looked for, in the order in which it is told: what makes all figures worthless comes first."""

OF_THE_TRAINING = ("over-fitting", "under-fitting", "still-improving", "unstable-validation", "wrong-labels")
OF_THE_ANSWERS = (
    "dead-classes",
    "confusable-pair",
    "imbalance",
    "failing-slice",
    "over-confidence",
    "under-confidence",
)
EXPLAINED: Mapping[str, tuple[str, ...]] = {
    "diverged": (*OF_THE_TRAINING, *OF_THE_ANSWERS, "collapse"),
    "learning-rate-too-high": (*OF_THE_TRAINING, *OF_THE_ANSWERS, "collapse"),
    "learning-rate-too-low": (*OF_THE_TRAINING, *OF_THE_ANSWERS, "collapse"),
    "collapse": (*OF_THE_TRAINING, *OF_THE_ANSWERS),
    "dead-classes": ("wrong-labels", "confusable-pair"),
    "over-fitting": ("under-fitting",),
    "still-improving": ("under-fitting",),
}
"""What need not be told besides, since it comes of the other: once that is mended, one will see."""

MILD = ("shared-groups",)
"""Told last, wherever they are found."""
