"""History → findings: what went wrong in a training, from which epoch, and what to do. Nothing where nothing is wrong.

A history has one row per epoch: epoch, loss, accuracy, validation_loss, validation_accuracy, learning_rate.
The limits are set between the published experiments that `docs/reproduction.md` lists and trainings of `linear`, `mlp`
and `cnn` on the embedded digits with step sizes from 1e-6 to 1; each says which of them it parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from guarismo.language import N_
from guarismo.results.finding import Finding

History = Sequence[Mapping[str, float]]
"""One row per epoch: epoch, loss, validation_loss and more."""

Losses = NDArray[np.float64]

RISE = 1.1
"""A validation loss that ends so many times as high as its lowest has turned."""

CLEAR_RISE = 4.0
"""A rise counts where it is so many standard deviations of the jumps between epochs.

The lowest of many noisy epochs lies up to two below the curve by luck alone. Of 20,000 drawn curves that come to rest,
with 5 to 30 epochs and jumps of 1 to 30 %, 0.8 % are said to turn. `mnist-mlp` rises by 4.4, `fashion-cnn-strided` by
8.5; `mnist-cnn-bn`, `poly-modality-cnn` and its augmented one, where only the last epochs happen to be bad, by at
most 1.6.
"""

CLEAR_FALL = 3.0
"""Standard errors of the slope that make a fall certain; or of a share, a gap."""

GAP, TIMES = 0.05, 3.0
"""Errors on other images above those on training images, in shares and in times, that say: learnt by heart.

`fashion-cnn-strided`, called "no over-fitting", was published with 8 points and 6 times; the published networks that
are healthy have at most 3.3 points, `mlp` on digits 4.3.
"""

POOR = 0.05
"""A share of errors on its own training images that calls for a stronger model, or more of it: `linear` on digits, with
steps of 0.001, makes 11 to 14 %; the published networks at most 5.5 %, and then more on other images."""

ALIKE = 1.25
"""Where errors on other images are at most so many times those on training images, nothing was learnt by heart."""

FALL = 0.2
"""A validation loss that falls by such a share in the last third of the epochs has not come to rest: on digits `mlp`
with steps of 1e-4 falls by 0.31, `linear` with 1e-3 by 0.23, `cnn` with 1e-3, which is as good as done, by 0.13."""

JUMPS = 0.25
"""Standard deviation of the jumps of a validation loss, as a share of it, from which on the last epoch is a lottery.

`poly-modality-cnn-augmented` has 0.28, `poly-modality-cnn` 0.21, `mnist-cnn-bn` 0.13, the others up to 0.08.
"""

TINY_STEP = 1e-4
"""A step size of Adam's below which a loss that stays at chance is taken to do so for want of way, not for too much of
it; the default of our networks is 20 times as large."""

STUCK = 0.97
"""A loss above this share of chance's has learnt nothing."""

SMALL_LOSS = 0.01
"""Added to a loss before its jumps are measured as shares: at 0.0001 a tenfold loss is still nothing."""


def cut_off(history: History, epochs: int) -> Finding:
    """A training that has not come to its end, after as many epochs as the history has."""
    return Finding(
        "unfinished",
        float(len(history)),
        N_("The training was cut off after epoch {done:count} of {epochs:count}: what follows is of these alone."),
        N_("Go on with it: guarismo train --resume, and the folder of the run."),
        {"done": len(history), "epochs": epochs},
        epochs=(len(history),) if history else (),
    )


def diverged(history: History, rate: float | None = None) -> Finding | None:
    """A loss that is no longer a number: nothing can be learnt from there on. rate: the step size asked for."""
    sound = len(finite(history))
    if sound == len(history):
        return None
    epoch = int(history[sound]["epoch"])
    return Finding(
        "diverged",
        float(epoch),
        N_("The loss is no longer a number in epoch {epoch:count}: from there on nothing was learnt."),
        N_("Train again with a smaller step size: --learning-rate {smaller}."),
        {"epoch": epoch, "smaller": written((rate or largest(history)) / 10)},
        epochs=(epoch,),
    )


def finite(history: History) -> History:
    """The epochs before the first whose losses are no numbers."""
    for index, row in enumerate(history):
        if not (isfinite(row["loss"]) and isfinite(row["validation_loss"])):
            return history[:index]
    return history


def written(rate: float) -> str:
    """A step size as the command line takes it, in every language."""
    return f"{rate:.4g}"


def largest(history: History) -> float:
    """The largest step size that was used; 0.001 where none is told."""
    return max((row.get("learning_rate", 0.0) for row in history), default=0.0) or 1e-3


def rate_too_high(history: History, chance: float, rate: float | None = None) -> Finding | None:
    """Steps so large that the training loss springs up, or never comes down.

    chance: the loss of answering nothing but how common each class is, in nats (log k for k classes of one size);
    rate: the step size that was asked for.
    Seen in: a loss half as high again as before, and not by a trifle; a first epoch of twice the loss of chance, of
    which half is left in the end; or a loss that stays at chance without falling, where steps are not a TINY_STEP.
    """
    history = finite(history)
    if len(history) < 3:
        return None
    losses, rate = column(history, "loss"), rate or largest(history)
    before = np.minimum.accumulate(losses)[:-1]
    sprung = (losses[1:] > 1.5 * before) & (losses[1:] > chance / 4)
    thrown = losses[0] > 2 * chance and losses[-1] > chance / 2
    stuck = rate >= TINY_STEP and losses[-1] > STUCK * chance and trend(losses) > -0.7
    if not (sprung.any() or thrown or stuck):
        return None
    worst = 1 + int(sprung.argmax()) if sprung.any() else 0
    sprang = N_(
        "The step size {rate} is too large: in epoch {epoch:count} the training loss springs up to {high:.4}, "
        "after {low:.4} before."
    )
    stayed = N_(
        "The step size {rate} is too large: the training loss is {high:.4} in epoch {epoch:count} and still "
        "{last:.4} in the end, where guessing has {chance:.4}."
    )
    return Finding(
        "learning-rate-too-high",
        float(losses[worst]),
        sprang if sprung.any() else stayed,
        N_("Train with a smaller step size: --learning-rate {smaller}."),
        {
            "rate": written(rate),
            "smaller": written(rate / 10),
            "epoch": int(history[worst]["epoch"]),
            "high": float(losses[worst]),
            "low": float(losses[:worst].min(initial=losses[0])),
            "last": float(losses[-1]),
            "chance": chance,
        },
        epochs=(int(history[worst]["epoch"]),),
    )


def rate_too_low(history: History, chance: float, rate: float | None = None) -> Finding | None:
    """Steps so small that the training loss has hardly left where it began, and still falls as fast as ever.

    The first epoch is near chance, half of its loss or more is left in the end, and the second half of the way (step
    sizes summed up, for schedules) brought at least a quarter of what the first brought. Or it does not even fall, with
    less than a TINY_STEP. chance and rate: as in `rate_too_high`.
    """
    history = finite(history)
    if len(history) < 4:
        return None
    losses = column(history, "loss")
    first, last, rate = float(losses[0]), float(losses[-1]), rate or largest(history)
    steps = np.array([row.get("learning_rate", rate) for row in history])
    way = np.concatenate([[0.0], np.cumsum((steps[1:] + steps[:-1]) / 2)])
    middle = float(np.interp(way[-1] / 2, way, losses))
    falling = trend(losses) <= -0.7 and middle - last >= (first - middle) / 4
    slow = falling and first >= 0.8 * chance and last >= first / 2
    stuck = rate < TINY_STEP and last > STUCK * chance
    if not slow and not stuck:
        return None
    falls = N_(
        "The step size {rate} is too small: the training loss falls epoch after epoch, but only from "
        "{first:.4} to {last:.4} in {n:count} epochs, where guessing has {chance:.4}."
    )
    stays = N_(
        "The step size {rate} is too small: after {n:count} epochs the training loss is still {last:.4}, where "
        "guessing has {chance:.4}."
    )
    return Finding(
        "learning-rate-too-low",
        last / first,
        falls if slow else stays,
        N_("Train with a larger step size: --learning-rate {larger}."),
        {
            "rate": written(rate),
            "larger": written(10 * rate),
            "first": first,
            "last": last,
            "n": len(history),
            "chance": chance,
        },
        epochs=(int(history[-1]["epoch"]),),
    )


def overfitting(history: History, kept: int | None = None) -> Finding | None:
    """Where the lowest validation loss is followed by a rise of a tenth or more until the end, beyond its jumps.

    None where the training loss rises with it, for then the training itself went astray. kept: the epoch whose weights
    became the model.
    """
    history = finite(history)
    if len(history) < 3:
        return None
    losses = column(history, "validation_loss")
    lowest = int(losses.argmin())
    low, last = float(losses[lowest]), float(losses[-2:].mean())  # two epochs: one bad last step is no turn
    jumps = noise(losses[-max(len(losses) - lowest, ceil(len(losses) / 2)) :])
    rise = min(last, float(losses[-max(2, len(losses) // 4) :].mean())) - low
    turned = lowest < len(losses) - 2 and last >= RISE * low and rise >= CLEAR_RISE * jumps
    if not turned or history[-1]["loss"] > history[lowest]["loss"]:
        return None
    turn, end = int(history[lowest]["epoch"]), int(history[-1]["epoch"])
    spared = kept is not None and kept <= turn
    stop = N_(
        "Stop earlier (--patience 3), keep the best epoch (--keep best), or learn from varied images "
        "(--rotation, --shift, --zoom)."
    )
    spare = N_(
        "The model keeps the weights of epoch {kept:count}, before the rise. Stop earlier (--patience 3) to save time, "
        "or learn from varied images (--rotation, --shift, --zoom) to go further."
    )
    return Finding(
        "over-fitting",
        last / low,
        N_(
            "It over-fits from epoch {turn:count}: the validation loss rises from {low:.4} there to {high:.4} in epoch "
            "{last:count}, while the training loss keeps falling."
        ),
        spare if spared else stop,
        {"turn": turn, "low": low, "high": float(losses[-1]), "last": end, "kept": kept},
        epochs=(turn, end),
    )


def memorised(train_accuracy: float, accuracy: float, n: int) -> Finding | None:
    """Over-fitting without a look at the curves: far more errors on n other images than on training images."""
    train, other = 1 - train_accuracy, 1 - accuracy
    gap = other - train
    if gap < GAP or other < TIMES * train or gap < CLEAR_FALL * sqrt(other * accuracy / n):
        return None
    return Finding(
        "over-fitting",
        gap,
        N_(
            "It over-fits: it answers {train:percent} of its training images right, but only {other:percent} of the "
            "others: it has learnt images by heart."
        ),
        N_(
            "Learn from varied images (--rotation, --shift, --zoom) or more of them, keep the best epoch (--keep "
            "best), or take a smaller model."
        ),
        {"train": train_accuracy, "other": accuracy},
    )


def underfitting(train_accuracy: float, accuracy: float) -> Finding | None:
    """Many errors on the training images themselves, and hardly more on others: there is more to be learnt."""
    train, other = 1 - train_accuracy, 1 - accuracy
    if train < POOR or other > ALIKE * train:
        return None
    return Finding(
        "under-fitting",
        train,
        N_(
            "It under-fits: it gets {train:percent} of its own training images wrong, and {other:percent} of the "
            "others."
        ),
        N_("Take a stronger model (--model cnn), more epochs (--epochs), or less augmentation."),
        {"train": train, "other": other},
    )


def still_improving(history: History, schedule: str = "constant") -> Finding | None:
    """A validation loss that still falls in the last third of the epochs.

    Of one-cycle nothing can be told: there the step size comes to nothing in the end, and every loss falls with it.
    """
    history = finite(history)
    if len(history) < 4 or schedule == "one-cycle":
        return None
    losses = column(history, "validation_loss")[-max(4, len(history) // 3) :]
    epochs = np.arange(len(losses)) - (len(losses) - 1) / 2
    slope = float(epochs @ losses / (epochs @ epochs))
    fall, end = -slope * (len(losses) - 1), float(losses[-1])
    if fall < FALL * end or -slope < CLEAR_FALL * noise(losses) / sqrt(float(epochs @ epochs)):
        return None
    return Finding(
        "still-improving",
        fall / end,
        N_(
            "It was still improving when it stopped: over the last {n:count} epochs the validation loss fell by "
            "{fall:.4}, to {end:.4}."
        ),
        N_("Train longer: --epochs {more}."),
        {"n": len(losses), "fall": fall, "end": end, "more": 2 * len(history)},
        epochs=(int(history[-len(losses)]["epoch"]), int(history[-1]["epoch"])),
    )


def unstable(history: History) -> Finding | None:
    """A validation loss that jumps from epoch to epoch, so that the epoch that happens to be kept decides."""
    history = finite(history)
    if len(history) < 6:
        return None
    late = history[len(history) // 3 :]
    losses = column(late, "validation_loss")
    shares = np.log(losses + SMALL_LOSS)
    jumps, worst = noise(shares), int(np.diff(shares).argmax()) + 1
    if jumps < JUMPS or shares[worst] - shares[worst - 1] < JUMPS:
        return None
    return Finding(
        "unstable-validation",
        jumps,
        N_(
            "The validation loss is unstable: it jumps by {jumps:percent} from epoch to epoch, as from {before:.4} to "
            "{after:.4} in epoch {epoch:count}. Two epochs more or less would change the model."
        ),
        N_("Let the step size shrink (--schedule one-cycle or plateau), and keep the best epoch (--keep best)."),
        {
            "jumps": jumps,
            "before": float(losses[worst - 1]),
            "after": float(losses[worst]),
            "epoch": int(late[worst]["epoch"]),
        },
        epochs=(int(late[worst]["epoch"]),),
    )


def column(history: History, name: str) -> Losses:
    return np.array([row[name] for row in history], dtype=np.float64)


def noise(values: Losses) -> float:
    """Standard deviation of the jumps around a smooth curve, from second differences, so that its slope does not count
    (Gasser, Sroka, Jennen-Steinmetz, "Residual variance and residual pattern in nonlinear regression", 1986)."""
    if len(values) < 3:
        return 0.0
    return float(np.sqrt((np.diff(values, 2) ** 2).mean() / 6))


def trend(values: Losses) -> float:
    """Rank correlation with time, −1 where every value is below the one before (Spearman)."""
    time = np.arange(len(values)) - (len(values) - 1) / 2
    ranks = np.argsort(np.argsort(values, kind="stable")) - (len(values) - 1) / 2
    return float(time @ ranks / (time @ time))
