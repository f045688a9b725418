"""Probabilities and labels → findings: which classes are not found, which are mixed up, how far confidence is true.

Everywhere: probabilities float32 (n, k), labels int64 (n,), names of the k classes. Limits are set between the runs of
the published experiments, whose figures stand beside each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.language import N_
from guarismo.results.evaluation import calibration_error, confusion_matrix, ratio, reliability_of
from guarismo.results.finding import Finding

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]

SURELY = 0.01
"""A probability of chance below this, after Bonferroni's correction for how many classes or pairs were looked at."""

COLLAPSED = 0.9
"""Share of the answers that go to one class where a model has collapsed onto it."""

STILL_FOUND = 0.1
"""A model that finds a larger share of the other classes than this has not collapsed, be one class ever so common."""

MIXED_UP = 0.02
"""Share of the images of two classes that are taken for each other, from which on that is worth knowing.

Of MNIST's test images, 4 and 9: 0.9 % with each published network, 3.9 % with `linear`; shirts and T-shirts with
`fashion-cnn`: 10 %.
"""

MOST_PAIRS = 3
"""Pairs of classes that are told, those with the most errors."""

TOO_SURE = 1.5
"""Errors that are made for each that the confidences announce; its inverse is too unsure.

`mnist-mlp` makes 2.8, `fashion-cnn-strided` 2.1, `poly-modality-forest` 0.1; the others 1.0 to 1.6, those above 1.4
with less than AMISS.
"""

AMISS = 0.01
"""Least difference between mean confidence and accuracy that is told."""

RARE = 1 / 3
"""A class with fewer training images than this share of the mean class is rare; MNIST's rarest has 0.90 of it."""

LOST = 0.05
"""By how much rare classes must be found less often than the others for their rarity to matter."""


def collapse(
    probabilities: Probabilities, labels: Labels, names: Sequence[str], split: str = "validation"
) -> Finding | None:
    """Nearly every answer is one class, and images of the others are hardly ever found."""
    answers = probabilities.argmax(axis=1)
    if not len(labels):
        return None
    counts = np.bincount(answers, minlength=len(names))
    favourite = int(counts.argmax())
    share, others = counts[favourite] / len(labels), labels != favourite
    if share < COLLAPSED or not others.any() or (answers[others] == labels[others]).mean() > STILL_FOUND:
        return None
    return Finding(
        "collapse",
        float(share),
        N_("It has collapsed: {share:percent} of its answers are {name}, whatever the image shows."),
        N_(
            "Check that images and labels belong together; train with a smaller step size (--learning-rate) and with "
            "more images of the other classes."
        ),
        {"share": float(share), "name": names[favourite]},
        split=split,
        images=np.flatnonzero(others & (answers == favourite)),
        classes=(favourite,),
    )


def dead_classes(
    probabilities: Probabilities, labels: Labels, names: Sequence[str], split: str = "validation"
) -> Finding | None:
    """Classes with images that are never answered.

    Of few images none may be right by chance: a class counts where, with the accuracy of all the answers, that would
    happen with a probability below SURELY / classes.
    """
    answers = probabilities.argmax(axis=1)
    if not len(labels):
        return None
    support, answered = (np.bincount(column, minlength=len(names)) for column in (labels, answers))
    missed = max(1e-9, float((answers != labels).mean()))
    dead = np.flatnonzero((answered == 0) & (support > 0) & (missed**support * len(names) < SURELY))
    if not len(dead):
        return None
    dead = dead[np.argsort(-support[dead], kind="stable")]
    one = N_("Class {name} is never answered, though {n:count} images are of it.")
    more = N_("{classes:count} classes are never answered, though there are images of them; the first is {name}.")
    return Finding(
        "dead-classes",
        float(len(dead)),
        one if len(dead) == 1 else more,
        N_("Look whether these classes are labelled right, and train with more images of them."),
        {"classes": len(dead), "name": names[int(dead[0])], "n": int(support[dead[0]])},
        split=split,
        images=np.flatnonzero(np.isin(labels, dead)),
        classes=tuple(dead.tolist()),
    )


def unseen_classes(labels: Labels, names: Sequence[str], split: str = "validation") -> Finding | None:
    """Classes without an image in a split, of which its figures say nothing."""
    unseen = np.flatnonzero(np.bincount(labels, minlength=len(names)) == 0)
    if not len(unseen) or not len(labels):
        return None
    one = N_("Class {name} has no image among the {n:count} looked at: its figures say nothing.")
    more = N_(
        "{classes:count} classes have no image among the {n:count} looked at, {name} for one: nothing is known of them."
    )
    return Finding(
        "classes-without-images",
        float(len(unseen)),
        one if len(unseen) == 1 else more,
        N_("Add images of each class to every part, or remove the class."),
        {"classes": len(unseen), "name": names[int(unseen[0])], "n": len(labels)},
        split=split,
        classes=tuple(unseen.tolist()),
    )


def confusable_pairs(
    probabilities: Probabilities, labels: Labels, names: Sequence[str], split: str = "validation"
) -> list[Finding]:
    """Pairs of classes that are taken for each other, in both directions together, the one with the most errors first.

    A pair is told where its errors are MIXED_UP of the images of both or more, and more than the errors of all spread
    evenly over the pairs would bring (Poisson, corrected for the number of pairs).
    """
    from scipy.stats import poisson

    answers = probabilities.argmax(axis=1)
    classes = len(names)
    table = confusion_matrix(labels, answers, classes)
    one, other = np.nonzero(np.triu(table + table.T, 1))
    if not len(one):
        return []
    both = (table + table.T)[one, other]
    support = np.bincount(labels, minlength=classes)
    share = both / (support[one] + support[other])
    pairs = classes * (classes - 1) / 2
    chance = poisson.sf(both - 1, (answers != labels).sum() / pairs) * pairs
    chosen = np.flatnonzero((share >= MIXED_UP) & (chance < SURELY))
    chosen = chosen[np.argsort(-both[chosen], kind="stable")][:MOST_PAIRS]
    return [
        pair_finding(probabilities, labels, names, split, int(one[pair]), int(other[pair]), float(share[pair]))
        for pair in chosen
    ]


def pair_finding(
    probabilities: Probabilities, labels: Labels, names: Sequence[str], split: str, one: int, other: int, share: float
) -> Finding:
    """Two classes that are mixed up, the direction with more errors first; its images, the surest errors first."""
    answers, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    there = np.flatnonzero((labels == one) & (answers == other))
    back = np.flatnonzero((labels == other) & (answers == one))
    if len(back) > len(there):
        one, other, there, back = other, one, back, there
    images = np.concatenate([there, back])
    return Finding(
        "confusable-pair",
        share,
        N_(
            "{one} and {other} are mixed up: {there:count} images of {one} are taken for {other}, {back:count} the "
            "other way round, {share:percent} of the images of both."
        ),
        N_(
            "Look at these images: where people cannot tell them either, join the two classes or correct the labels; "
            "otherwise add images of both."
        ),
        {"one": names[one], "other": names[other], "there": len(there), "back": len(back), "share": share},
        split=split,
        images=images[np.argsort(-sure[images], kind="stable")],
        classes=(one, other),
    )


def confidence(
    probabilities: Probabilities, labels: Labels, temperature: float, split: str = "validation"
) -> Finding | None:
    """Answers that are surer than they are right, or less sure: the errors that are made against those announced.

    temperature: what the logarithms of the probabilities are to be divided by, fitted on the validation images (Guo et
    al., "On calibration of modern neural networks", 2017). Told where the difference cannot be chance (four standard
    deviations of the number of errors, if the confidences were true), is AMISS or more, and TOO_SURE times.
    """
    if not len(labels):
        return None
    sure = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    announced, made = float((1 - sure).sum()), int((~right).sum())
    spread = sqrt(max(1.0, float((sure * (1 - sure)).sum())))
    amiss = abs(made - announced)
    times = (made + 1) / (announced + 1)
    if amiss < 4 * spread or amiss < AMISS * len(labels) or max(times, 1 / times) < TOO_SURE:
        return None
    before = calibration_error(reliability_of(sure.clip(0, 1), right))
    after = calibration_error(reliability_of(tempered(probabilities, temperature).max(axis=1), right))
    over = made > announced
    too_sure = N_(
        "It is too sure: its answers claim {claim:percent} on average, and {right:percent} of them are right "
        "(calibration error {before:percent})."
    )
    too_unsure = N_(
        "It is better than it says: its answers claim {claim:percent} on average, and {right:percent} of them are "
        "right (calibration error {before:percent})."
    )
    return Finding(
        "over-confidence" if over else "under-confidence",
        before,
        too_sure if over else too_unsure,
        N_(
            "Divide the logarithms of its probabilities by {temperature:.2} (run.json keeps it as the calibration's "
            "temperature; guarismo read does it by itself): the calibration error becomes {after:percent}."
        ),
        {
            "claim": float(sure.mean()),
            "right": float(right.mean()),
            "before": before,
            "after": after,
            "temperature": temperature,
        },
        split=split,
        images=np.flatnonzero(~right)[np.argsort(-sure[~right], kind="stable")],
    )


def tempered(probabilities: Probabilities, temperature: float) -> NDArray[np.float64]:
    """Probabilities (n, k) whose logarithms are divided by a temperature, float64 (n, k)."""
    logits = np.log(np.maximum(probabilities, 1e-9, dtype=np.float64)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def imbalance(
    counts: Labels, probabilities: Probabilities, labels: Labels, names: Sequence[str], split: str = "validation"
) -> Finding | None:
    """Rare classes that are found less often than the others; counts: training images of each class, int64 (k,).

    Told where the difference is LOST or more and more than chance (one-sided test of two shares, normal).
    """
    support = np.bincount(labels, minlength=len(names))
    rare = (counts < RARE * counts.mean()) & (support > 0)
    if not rare.any() or rare.all():
        return None
    right = (probabilities.argmax(axis=1) == labels).astype(np.int64)
    mine = rare[labels]
    if mine.all():
        return None
    found, others = float(right[mine].mean()), float(right[~mine].mean())
    pooled = float(right.mean())
    spread = sqrt(pooled * (1 - pooled) * (1 / mine.sum() + 1 / (~mine).sum()))
    if others - found < LOST or others - found < 3 * spread:
        return None
    recall = ratio(np.bincount(labels, weights=right, minlength=len(names)).astype(np.int64), support)
    classes = np.flatnonzero(rare)
    classes = classes[np.argsort(recall[classes], kind="stable")]
    worst = int(classes[0])
    return Finding(
        "imbalance",
        float(counts.max() / max(1, counts[worst])),
        N_(
            "Rare classes are found less often: {found:percent} of their images, {others:percent} of the others. "
            "{name} has {rare:count} training images, the commonest class {most:count}."
        ),
        N_("Add images of the rare classes, or vary those there are (--rotation, --shift, --zoom)."),
        {
            "found": found,
            "others": others,
            "name": names[worst],
            "rare": int(counts[worst]),
            "most": int(counts.max()),
        },
        split=split,
        images=np.flatnonzero(mine & (right == 0)),
        classes=tuple(classes.tolist()),
    )
