"""Probabilities and labels → which labels are likely wrong.

Out-of-sample answers only: of the images that a model learnt, it has learnt the wrong labels too.

cleanlab's confident learning was measured beside this (`benchmarks/labels.py`). Its order of the images is the one of
`doubtful`; which of them it calls wrong depends on how sure the model says it is. Of the 5,999 validation labels of
`mnist-mlp`, none of them changed, it calls 40 wrong, and of `fashion-cnn`'s 6,000, 180; this here none. With 30 labels
of `mnist-mlp` changed, it names 72, of which 27 were; this here 27, of which 24 were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.language import N_
from guarismo.results.finding import Finding

CERTAIN = 20.0
"""Twice the gain in log-likelihood that wrong labels must bring; chance gives 3.8 in one case of twenty. Where no label
was changed, 30 sets of answers of 15 runs on MNIST, Fashion-MNIST and PolyMNIST reach 16 at most."""

FEWEST = 5
"""So many wrong labels at least; of fewer nothing is told but their images, the first ones of `doubtful`."""

OF_ERRORS = 0.1
"""Share of the errors that wrong labels must explain. A linear model, too weak for its temperature to tell how sure it
is, has 41 of MNIST's 10,000 test labels called wrong (certainty 96): 5 % of its errors. Of 60 changed ones of 6,000,
`fashion-cnn` gives 10 % of its errors, `mnist-mlp` a third."""

VOTES = 0.1
"""Share of probabilities that are exactly 0 where they are votes, of neighbours or trees: that none of nine neighbours
is of a class does not make it impossible. `knn` on digits would have 5 of 500 labels called wrong."""

MOST_FITTED = 5 * 10**5
"""Probabilities that are fitted to; of more images every so-many-th, evenly over the set, is taken."""


@dataclass(frozen=True, eq=False)
class Noise:
    """What a set of labels tells about itself.

    share: of the labels that are wrong; certainty: twice the log-likelihood that assuming so gains;
    wrong: the probability of each label to be wrong, float64 (n,).
    """

    share: float
    certainty: float
    wrong: NDArray[np.float64]


def doubtful(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """All images, int64 (n,), the one first whose label the model thinks least likely (cleanlab's self-confidence)."""
    given = probabilities[np.arange(len(labels)), labels]
    return np.argsort(given, kind="stable")


def wrong_labels(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64], split: str = "validation"
) -> Finding | None:
    """Labels that are more likely wrong than right, where there are enough of them to be sure that there are any.

    probabilities: out-of-sample, float (n, k); labels: int64 (n,). Votes are not judged (VOTES).
    """
    if len(labels) < FEWEST or (probabilities == 0).mean() > VOTES:
        return None
    noise = label_noise(probabilities, labels)
    order = doubtful(probabilities, labels)
    wrong = order[noise.wrong[order] > 0.5]
    errors = int((probabilities.argmax(axis=1) != labels).sum())
    if noise.certainty < CERTAIN or len(wrong) < max(FEWEST, OF_ERRORS * errors):
        return None
    return Finding(
        "wrong-labels",
        noise.share,
        N_(
            "About {share:percent} of the labels are likely wrong: {m:count} of {n:count} images get another answer, "
            "and a surer one than this model gives when it errs."
        ),
        N_("Look at these images, and correct the labels or take the images out."),
        {"share": noise.share, "m": len(wrong), "n": len(labels)},
        split=split,
        images=wrong,
        classes=tuple(np.unique(labels[wrong]).tolist()),
    )


def label_noise(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> Noise:
    """How many labels are wrong, by maximum likelihood: each label is what the model answers, its confidence set right
    by a temperature (Guo et al. 2017), or with probability e, any class at all.

    Where the model's own errors explain the labels, e is 0; labels changed at random are none that a temperature could
    explain. The noise is that of Natarajan et al., "Learning with noisy labels", 2013.
    """
    from scipy.optimize import minimize, minimize_scalar
    from scipy.special import expit

    classes = probabilities.shape[1]
    every = max(1, len(labels) * classes // MOST_FITTED)
    all_logits = np.log(np.maximum(probabilities, 1e-9, dtype=np.float64))
    logits = all_logits[::every]
    given = labels[::every]

    def loss(shape: NDArray[np.float64], noisy: bool = True) -> float:
        likely = likelihood(logits, given, float(np.exp(shape[0])))
        share = float(expit(shape[1])) if noisy else 0.0
        return -float(np.log((1 - share) * likely + share / classes + 1e-300).sum())

    clean = minimize_scalar(lambda shape: loss(np.array([shape]), False), bounds=(-3, 3), method="bounded")
    # Wide first steps, from two sides: with its own small ones it takes a few wrong labels for a great temperature.
    starts = ([[0, -5], [1, -5], [0.5, -3]], [[0, -3], [-0.5, -3], [0.5, -2]])
    tried = (minimize(loss, at[0], method="Nelder-Mead", options={"initial_simplex": at}) for at in starts)
    best = min(tried, key=lambda each: float(each.fun))
    temperature, share = float(np.exp(best.x[0])), float(expit(best.x[1]))
    right = (1 - share) * likelihood(all_logits, labels, temperature)
    wrong = (share / classes) / (share / classes + right + 1e-300)
    return Noise(share * (1 - 1 / classes), 2 * float(clean.fun - best.fun), wrong)


def likelihood(logits: NDArray[np.float64], labels: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """The probability of each label, (n,), where the logarithms (n, k) are divided by a temperature."""
    scaled = logits / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    return np.asarray(scaled[np.arange(len(labels)), labels] / scaled.sum(axis=1))
