"""Searches made by hand, for what is said and drawn of them: plausible trials, nothing trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from guarismo.models.settings import Settings
from guarismo.tuning.search import Search, Tried, Verdict
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import Options, Range, Space

SPACE = Space(
    {"learning_rate": Range(1e-4, 1e-2, log=True), "batch_size": Options((32, 64, 128)), "shift": Range(0.0, 0.2)}
)
BASE = Settings(model="mlp", epochs=4)


def tried(number: int, value: float, state: str = "finished", second: float | None = None, **settings: Any) -> Tried:
    """A trial that reached `value`: after four epochs, or after one where it was pruned."""
    where = {"learning_rate": 1e-3, "batch_size": 64, "shift": 0.1, **settings}
    curve = tuple(value * share for share in (0.7, 0.9, 0.97, 1.0))
    values = (value,) if second is None else (value, second)
    return Tried(
        number,
        state,
        where,
        values=values if state == "finished" else (),
        curve={"finished": curve, "pruned": curve[:1]}.get(state, ()),
        seconds=1.5,
        folder=f"trial-{number}",
        error="the loss is no longer a number" if state == "failed" else "",
        loss=1 - value,
    )


def verdict(better: bool = True) -> Verdict:
    low, p = (0.002, 0.004) if better else (-0.006, 0.41)
    winner = {"learning_rate": 0.0031, "batch_size": 32, "shift": 0.1}
    runs = tuple(tuple(f"{who}-{seed}" for seed in range(3)) for who in ("winner", "default"))
    return Verdict(winner, *runs, 0.981, 0.974, (low, 0.012), p, 1000, 3, better)


def search(*trials: Tried, against: str = "none", **changes: Any) -> Search:
    """A search of these trials; by default of thirty, without anything worth advising."""
    tuning = TuneSettings(trials=max(1, len(trials)), against=against)
    found = Search(
        Path("runs/digits_tune_1"), "digits-mlp", "digits", BASE, SPACE, tuning, tuning.metrics,
        trials or ordinary(), {}, 95.0,
    )  # fmt: skip
    return replace(found, **changes)


def ordinary() -> tuple[Tried, ...]:
    """Thirty finished trials; the best, the sixteenth, in the middle of every range."""
    best, others = tried(15, 0.98), [tried(k, 0.9 + 0.001 * k, learning_rate=1e-3 + 1e-4 * k) for k in range(30)]
    return (*others[:15], best, *others[16:])
