"""TuneSettings: every choice of `guarismo tune`, written once; the command line is generated from it."""

from __future__ import annotations

from dataclasses import dataclass

from guarismo.choices import check_choices, choice
from guarismo.errors import RunError

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("asha", "hyperband", "none")
METRICS = ("validation_accuracy", "validation_loss")
AGAINST = ("none", "parameters", "images_per_second")


@dataclass(frozen=True)
class TuneSettings:
    """How settings are searched for. Raises RunError for a value out of range, or two choices that exclude each other.

    `sampler`, `pruner`, `jobs`, `trials` and `minutes` may change when a search goes on; `metric` and `against` not.
    """

    trials: int = choice(30, "How many settings are tried.", least=1, most=1_000_000)
    minutes: float = choice(0.0, "Begin no trial, and cut off those that run, after so long; 0 sets no limit.")
    sampler: str = choice(
        "tpe", "What is tried next: tpe learns from the trials before, random and grid do not.", SAMPLERS
    )
    pruner: str = choice(
        "asha", "Which trials end early: by asha or hyperband those that fall behind; none lets all end.", PRUNERS
    )
    metric: str = choice("validation_accuracy", "What is to become better.", METRICS)
    against: str = choice(
        "none", "A second aim, against the first: fewer parameters, or more images_per_second. Nothing is pruned then.",
        AGAINST,
    )  # fmt: skip
    seeds: int = choice(
        3, "Seeds from which winner and default are trained anew, then opened to the test images; 0 leaves it out.",
        most=1000,
    )  # fmt: skip
    jobs: int = choice(0, "Processes that try settings side by side; 0 takes what fits this machine.", most=1024)
    storage: str = choice("", "Where the study is: an address such as postgresql://…, shared by machines, or OUT.")
    study: str = choice("", "Name of the study in its storage; by default of the data and the model.")
    search_seed: int = choice(0, "Start of the search's own randomness.", most=2**31 - 1)

    def __post_init__(self) -> None:
        check_choices(self, RunError)
        if 0 < self.seeds < 3:
            raise RunError(
                f"--seeds must be 3 or more, received {self.seeds}: fewer tell no gain from luck. 0 leaves it out."
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """What each trial is measured by: the metric, and what stands against it."""
        return (self.metric,) if self.against == "none" else (self.metric, self.against)

    @property
    def directions(self) -> tuple[str, ...]:
        """ "maximize" or "minimize", one per metric."""
        return tuple("minimize" if name in LESS_IS_BETTER else "maximize" for name in self.metrics)


LESS_IS_BETTER = ("validation_loss", "parameters")
