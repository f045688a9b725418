"""Shapes, writers and answers → slices that fail: groups of images with more errors than their classes explain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guarismo.language import N_
from guarismo.results.finding import Finding

ENDS = 0.1
"""Share of the images that are the thinnest, the steepest, …: each end of a measure is a slice."""

FEWEST_IMAGES, FEWEST_ERRORS = 20, 5
"""What a slice must have to be looked at, and to be told."""

TIMES = 2.0
"""Errors of a slice for each that its classes would lead to expect."""

SURELY = 0.01
"""Probability of chance, after Bonferroni's correction for the number of slices that were looked at."""

MOST_SLICES = 3
"""Slices that are told, the surest first."""

LOW: Mapping[str, str] = {
    "stroke": N_(
        "Images with thin strokes fail, those of {limit:.1} pixels and less: {made:count} of {n:count} are wrong, "
        "where their classes lead to expect {expected:.1} ({chance:p}, {slices:count} slices looked at)."
    ),
    "slant": N_(
        "Images that lean to the left fail, those by {limit:.0}° and more: {made:count} of {n:count} are wrong, where "
        "their classes lead to expect {expected:.1} ({chance:p}, {slices:count} slices looked at)."
    ),
    "aspect": N_(
        "Narrow images fail, those {limit:.2} times as wide as high and less: {made:count} of {n:count} are wrong, "
        "where their classes lead to expect {expected:.1} ({chance:p}, {slices:count} slices looked at)."
    ),
    "ink": N_(
        "Images with little ink fail, on {limit:percent} of their pixels and less: {made:count} of {n:count} are "
        "wrong, where their classes lead to expect {expected:.1} ({chance:p}, {slices:count} slices looked at)."
    ),
}
HIGH: Mapping[str, str] = {
    "stroke": N_(
        "Images with thick strokes fail, those of {limit:.1} pixels and more: {made:count} of {n:count} are wrong, "
        "where their classes lead to expect {expected:.1} ({chance:p}, {slices:count} slices looked at)."
    ),
    "slant": N_(
        "Images that lean to the right fail, those by {limit:.0}° and more: {made:count} of {n:count} are wrong, where "
        "their classes lead to expect {expected:.1} ({chance:p}, {slices:count} slices looked at)."
    ),
    "aspect": N_(
        "Wide images fail, those {limit:.2} times as wide as high and more: {made:count} of {n:count} are wrong, where "
        "their classes lead to expect {expected:.1} ({chance:p}, {slices:count} slices looked at)."
    ),
    "ink": N_(
        "Images with much ink fail, on {limit:percent} of their pixels and more: {made:count} of {n:count} are wrong, "
        "where their classes lead to expect {expected:.1} ({chance:p}, {slices:count} slices looked at)."
    ),
}
"""What is said of the lower and of the upper end of each measure of `guarismo.data.shapes`."""

HOLES = N_(
    "Images whose number of holes is {limit:count} fail: {made:count} of {n:count} are wrong, where their classes lead "
    "to expect {expected:.1} ({chance:p}, {slices:count} slices looked at)."
)
GROUPS: Mapping[str, str] = {
    "writer": N_(
        "Images by writer {limit} fail: {made:count} of {n:count} are wrong, where their classes lead to expect "
        "{expected:.1} ({chance:p}, {slices:count} slices looked at)."
    ),
    "group": N_(
        "Images of group {limit} fail: {made:count} of {n:count} are wrong, where their classes lead to expect "
        "{expected:.1} ({chance:p}, {slices:count} slices looked at)."
    ),
}
"""What is said of one group, by what its images have in common."""


@dataclass(frozen=True, eq=False)
class Slice:
    """Images that have something in common: what is said of them, which they are, bool (n,), and where they begin."""

    says: str
    members: NDArray[np.bool_]
    limit: float


def failing_slices(
    answers: NDArray[np.int64],
    labels: NDArray[np.int64],
    shapes: Mapping[str, NDArray[np.float32]],
    groups: NDArray[np.int64] | None = None,
    grouped_by: str = "group",
    split: str = "validation",
) -> list[Finding]:
    """The slices in which more is answered wrong than elsewhere, at most MOST_SLICES.

    answers, labels: int64 (n,); shapes: measures of the images, float32 (n,) each, NaN where unknown; groups: int64
    (n,), and what the images of one have in common, "writer" or "group" (others are not looked at).

    A slice is measured against what its classes lead to expect, the errors of each class spread evenly over its images:
    so 8s do not fail for their two holes. It is told with FEWEST_ERRORS or more, TIMES what was expected, where chance
    has less than SURELY (Poisson, times the number of slices looked at).
    """
    from scipy.stats import poisson

    wrong = (answers != labels).astype(np.float64)
    if not wrong.any():
        return []
    rates = np.bincount(labels, weights=wrong) / np.maximum(np.bincount(labels), 1)
    likely = rates[labels]
    looked_at = [each for each in slices_of(shapes, groups, grouped_by) if each.members.sum() >= FEWEST_IMAGES]
    found = []
    for each in looked_at:
        made, expected = float(wrong[each.members].sum()), float(likely[each.members].sum())
        chance = float(poisson.sf(made - 1, expected)) * len(looked_at)
        if made >= max(FEWEST_ERRORS, TIMES * expected) and chance < SURELY:
            found.append((chance, slice_finding(each, wrong, expected, chance, len(looked_at), split)))
    return [finding for _, finding in sorted(found, key=lambda pair: pair[0])[:MOST_SLICES]]


def slices_of(
    shapes: Mapping[str, NDArray[np.float32]], groups: NDArray[np.int64] | None, grouped_by: str
) -> Iterator[Slice]:
    """Both ends of each measure, each number of holes, each group."""
    for name, column in shapes.items():
        known = column[~np.isnan(column)]
        if name in LOW and len(known):
            low, high = (float(limit) for limit in np.quantile(known, [ENDS, 1 - ENDS]))
            if name != "slant" or low < 0:  # where all lean to the right, those that lean least do not lean to the left
                yield Slice(LOW[name], column <= low, abs(low) if name == "slant" else low)
            if name != "slant" or high > 0:
                yield Slice(HIGH[name], column >= high, high)
        if name == "holes":
            for holes in np.unique(known):
                yield Slice(HOLES, column == holes, float(holes))
    if groups is not None and grouped_by in GROUPS:
        numbers, member = np.unique(groups, return_inverse=True)
        enough = np.flatnonzero(np.bincount(member) >= FEWEST_IMAGES)
        for number in enough:
            yield Slice(GROUPS[grouped_by], member == number, int(numbers[number]))


def slice_finding(
    each: Slice, wrong: NDArray[np.float64], expected: float, chance: float, looked_at: int, split: str
) -> Finding:
    images = np.flatnonzero(each.members & (wrong > 0))
    n = int(each.members.sum())
    return Finding(
        "failing-slice",
        len(images) / n,
        each.says,
        N_(
            "Add such images to training, or vary those there are (--rotation, --shift, --zoom, and for digits "
            "--variants handwriting)."
        ),
        {
            "limit": each.limit,
            "made": len(images),
            "n": n,
            "expected": expected,
            "chance": chance,
            "slices": looked_at,
        },
        split=split,
        images=images,
    )
