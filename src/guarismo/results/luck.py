"""Right and wrong answers of several models to the same images → p and interval: is a difference more than luck?"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from guarismo.errors import RunError
from guarismo.results.evaluation import wilson

LUCK = 0.05
"""A difference that two equally good models show less often than this counts as more than luck."""


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """How often two equally good models differ at least this much on the same images (McNemar 1947, exact, two-sided).

    Only the images count that one answers right and the other wrong: a fair coin decides each of them.

    >>> mcnemar(np.array([True] * 6 + [False]), np.array([False] * 6 + [True]))
    0.125
    """
    check_paired(correct_a, correct_b)
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    flips, ways, tail = only_a + only_b, 1, 0
    # Whole numbers throughout: exact, and scipy.stats alone would take 0.8 s to import.
    for k in range(min(only_a, only_b) + 1):
        tail += ways
        ways = ways * (flips - k) // (k + 1)
    return float(min(1.0, 2 * tail / 2**flips))


def check_paired(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> None:
    if correct_a.shape != correct_b.shape or correct_a.dtype != bool or correct_b.dtype != bool or not correct_a.size:
        raise RunError(
            f"Expected two bool arrays over the same images, received {correct_a.dtype} {correct_a.shape} and "
            f"{correct_b.dtype} {correct_b.shape}. Give which images each model answers right."
        )


def paired_interval(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> tuple[float, float]:
    """95 % interval of accuracy A − accuracy B on the same images (Newcombe 1998, Stat. Med. 17:2635, method 10).

    Wilson's interval of each accuracy, joined with regard to how alike the two answer.
    """
    check_paired(correct_a, correct_b)
    n, right_a, right_b = len(correct_a), int(correct_a.sum()), int(correct_b.sum())
    share_a, share_b = right_a / n, right_b / n
    (low_a, high_a), (low_b, high_b) = wilson(right_a, n), wilson(right_b, n)
    alike = likeness(correct_a, correct_b)
    below, above = share_a - low_a, high_a - share_a
    below_b, above_b = share_b - low_b, high_b - share_b
    difference = share_a - share_b
    down = sqrt(max(0.0, below**2 - 2 * alike * below * above_b + above_b**2))
    up = sqrt(max(0.0, above**2 - 2 * alike * above * below_b + below_b**2))
    return difference - down, difference + up


def likeness(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """Newcombe's φ: the correlation of two bool arrays, drawn to 0 by half an image's worth where it is positive."""
    n, right_a, right_b = len(correct_a), int(correct_a.sum()), int(correct_b.sum())
    both, none = int((correct_a & correct_b).sum()), int((~correct_a & ~correct_b).sum())
    product = float(both * none - (right_a - both) * (right_b - both))
    product = max(product - n / 2, 0.0) if product > 0 else product
    spread = sqrt(right_a * (n - right_a) * right_b * (n - right_b))
    return product / spread if spread else 0.0


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that one falls below 0.05 by luck alone in no more than 5 % of such sets
    (Holm 1979, Scand. J. Statist. 6:65).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[index]))
        corrected[index] = largest
    return corrected


def over_seeds(
    right_a: NDArray[np.bool_], right_b: NDArray[np.bool_], usual: tuple[float, int]
) -> tuple[float, tuple[float, float], float]:
    """Mean accuracy of A − mean accuracy of B, its 95 % interval and p, for bool (seeds, n) answers to the same images.

    Both the seeds and the images count as drawn at random, as readers and cases do where radiologists are compared
    (Dorfman, Berbaum & Metz 1992, Invest. Radiol. 27:723; Obuchowski & Rockette 1995): the variance of seeds plus that
    of images less that of both together, which each of them holds already; Satterthwaite's degrees of freedom (Hillis
    2007, Stat. Med. 26:596). usual: `usual_spread` of all that is compared, which serves where A or B has one seed.

    Of 1,500 made-up pairs of equally good settings, 3 seeds each, 1,000 images, seeds spreading by 1.2 points, it calls
    4 % different; McNemar's test of one run of each, which knows nothing of seeds, 40 %.
    """
    from scipy.special import stdtr, stdtrit  # 0.2 s to import: only where there are seeds

    images = right_a.shape[1]
    difference = float(right_a.mean() - right_b.mean())
    of_images = float(np.var(right_a.mean(axis=0) - right_b.mean(axis=0), ddof=1)) / images
    of_seeds = seed_variances(right_a, right_b, usual)
    seeds = sum(variance for variance, _ in of_seeds)
    variance = max(seeds + of_images - shared_variance(right_a) - shared_variance(right_b), seeds, of_images)
    if variance == 0:
        return difference, (difference, difference), 1.0 if difference == 0 else 0.0
    freedom = variance**2 / sum(part**2 / freedom for part, freedom in [*of_seeds, (of_images, images - 1)])
    half = float(stdtrit(freedom, 0.975)) * sqrt(variance)
    p = 2 * float(stdtr(freedom, -abs(difference) / sqrt(variance)))
    return difference, (difference - half, difference + half), p


def usual_spread(groups: Sequence[NDArray[np.bool_]]) -> tuple[float, int]:
    """The variance of accuracy between seeds, pooled over groups of bool (seeds, n), and its degrees of freedom.

    Raises RunError where no group has two seeds.
    """
    freedom = sum(len(right) - 1 for right in groups)
    if not freedom:
        raise RunError("What seeds do to accuracy is not known from one run each. Give a second seed of some settings.")
    squares = [float(np.square(right.mean(axis=1) - right.mean()).sum()) for right in groups]
    return sum(squares) / freedom, freedom


def seed_variances(
    right_a: NDArray[np.bool_], right_b: NDArray[np.bool_], usual: tuple[float, int]
) -> list[tuple[float, int]]:
    """What seeds add to the variance of the difference, with degrees of freedom: each group by its own spread, or both
    by the usual one where one of them has a single seed."""
    if min(len(right_a), len(right_b)) > 1:
        return [(float(np.var(x.mean(axis=1), ddof=1)) / len(x), len(x) - 1) for x in (right_a, right_b)]
    variance, freedom = usual
    return [(variance * (1 / len(right_a) + 1 / len(right_b)), freedom)]


def shared_variance(right: NDArray[np.bool_]) -> float:
    """What chance of seed and image together, which neither explains alone, adds to the variance of a group's mean."""
    seeds, images = right.shape
    if seeds < 2:
        return 0.0
    rest = right - right.mean(axis=0) - right.mean(axis=1, keepdims=True) + right.mean()
    return float(np.square(rest).sum() / ((seeds - 1) * (images - 1) * seeds * images))
