"""Curves → findings: what went wrong in a training, where, and what to do. Nothing where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

History = Sequence[Mapping[str, float]]
"""One row per epoch: epoch, loss, validation_loss and more."""

RISE = 1.1
"""A validation loss that ends so many times as high as its lowest has turned."""


@dataclass(frozen=True)
class Overfitting:
    """The epoch (from 1) of the lowest validation loss, that loss, and epoch and loss at the end."""

    epoch: int
    lowest: float
    last_epoch: int
    last: float

    def sentence(self, _: Callable[[str], str] = str) -> str:
        return _(
            "It over-fits from epoch {turn}: the validation loss rises from {low:.4f} there to {high:.4f} in epoch "
            "{last}, while the training loss keeps falling."
        ).format(turn=self.epoch, low=self.lowest, high=self.last, last=self.last_epoch)

    def remedy(self, _: Callable[[str], str] = str) -> str:
        return _(
            "Stop earlier (--patience 3), keep the best epoch (--keep best), or learn from varied images "
            "(--rotation, --shift, --zoom)."
        )


def overfitting(history: History) -> Overfitting | None:
    """Where the lowest validation loss is followed by a rise of a tenth or more until the end.

    None where it does not; also where the training loss rises with it, for then the training itself went astray.
    """
    if len(history) < 3:
        return None
    losses = [row["validation_loss"] for row in history]
    lowest = int(np.argmin(losses))
    last = float(np.mean(losses[-2:]))  # two epochs: one bad last step is no turn
    if lowest >= len(history) - 2 or last < RISE * losses[lowest] or history[-1]["loss"] > history[lowest]["loss"]:
        return None
    return Overfitting(int(history[lowest]["epoch"]), losses[lowest], int(history[-1]["epoch"]), losses[-1])
