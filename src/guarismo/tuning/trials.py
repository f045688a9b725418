"""One trial = one ordinary run in the search's folder, told to the study epoch by epoch; work: one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import Any

from guarismo.data.dataset import Dataset
from guarismo.errors import MissingExtraError
from guarismo.models.runs import Row, Run, open_run
from guarismo.models.settings import Settings
from guarismo.models.training import check_possible, fit_into, forget
from guarismo.results.comparison import answering_speeds
from guarismo.tuning.space import suggest
from guarismo.tuning.study import (
    Desk,
    Plan,
    StorageGoneError,
    TakenError,
    at_desk,
    beating,
    end,
    folder_name,
    give_up,
    next_trial,
    patiently,
    slot_of,
)

Told = Callable[[], None]
"""Hears that a trial has moved: an epoch more, or its end."""


class PrunedError(Exception):
    """The study has seen enough of a trial."""


class OutOfTimeError(Exception):
    """The minutes of the search are used up."""


def hear_nothing() -> None:
    """The listener that wants no news."""


def work(plan: Plan, dataset: Dataset, most: int | None = None, told: Told = hear_nothing) -> int:
    """Try settings of the plan's study until none is left to try, or `most` of them; returns how many were tried here.

    For any process on any machine that reaches the plan's folder or storage. A trial that fails is written down, and
    the next one tried. Raises StorageGoneError, and RunError where the study is another one, or where not even the
    default can be trained on such images.
    """
    count = 0
    check_possible(dataset, plan.base)
    with at_desk(plan) as desk:
        while (most is None or count < most) and (trial := next_trial(desk)) is not None:
            run_trial(desk, trial, dataset, told)
            count += 1
    return count


def run_trial(desk: Desk, trial: Any, dataset: Dataset, told: Told = hear_nothing) -> None:
    """Draw the settings of a trial that is ours, train its run, and tell the study how it ended.

    Raises StorageGoneError, MissingExtraError, and KeyboardInterrupt, after which the slot is left to another attempt.
    """
    try:
        settings = patiently(lambda: suggest(trial, desk.plan.space, desk.plan.base))
        watch = Watch(desk.plan, trial, settings, told)
        watch.note("settings", {name: getattr(settings, name) for name in desk.plan.space.fields})
        with beating(trial):
            train_trial(desk, watch, dataset)
    except TakenError:
        pass  # the attempt that took it over tells the study
    forget()
    told()


def train_trial(desk: Desk, watch: Watch, dataset: Dataset) -> None:
    """The run of a trial, begun or gone on with, to whatever end it comes."""
    plan, trial = desk.plan, watch.trial
    try:
        folder = plan.folder / folder_name(
            slot_of(patiently(lambda: desk.study.get_trials(deepcopy=False)), trial.number)
        )
        watch.note("place", f"{gethostname()}:{folder.absolute()}")
        watch.tell_again(folder)
        run = fit_into(folder, dataset, watch.settings, watch.progress)
        values = [measured(run, name) for name in plan.tuning.metrics]
        watch.note("loss", run.about["metrics"]["validation_loss"])
        watch.note("curve", [row[plan.tuning.metric] for row in run.history])
        watch.finish(desk, "COMPLETE", values)
    except PrunedError:
        watch.finish(desk, "PRUNED")
    except OutOfTimeError:
        give_up(desk, trial)
    except KeyboardInterrupt:
        give_up(desk, trial)
        raise
    except (StorageGoneError, MissingExtraError, TakenError):
        raise
    except Exception as error:  # whatever is wrong with these settings stays with them
        watch.note("error", str(error) or type(error).__name__)
        watch.finish(desk, "FAIL")


class Watch:
    """What listens to the training of one trial, and tells the study."""

    def __init__(self, plan: Plan, trial: Any, settings: Settings, told: Told):
        self.plan, self.trial, self.settings, self.told = plan, trial, settings, told
        self.began, self.before = time.perf_counter(), 0.0  # seconds of epochs that an earlier attempt trained
        self.pruned = False

    def progress(self, done: int, total: int, **facts: Any) -> None:  # noqa: ARG002  what a Progress takes
        """A Progress that ends the training where the study or the time wants it.

        A trial that is pruned ends when its next epoch has begun: then the last one is in the run's checkpoint.
        """
        if time.time() >= self.plan.until:
            raise OutOfTimeError
        if self.pruned:
            raise PrunedError
        if "validation_loss" in facts:
            self.epoch(facts)
            self.told()

    def epoch(self, row: Row) -> None:
        """One epoch told to the study, which answers whether it has seen enough."""
        tuning = self.plan.tuning
        if tuning.against != "none":  # Optuna compares trials on their way by one figure alone
            return
        patiently(lambda: self.trial.report(row[tuning.metric], int(row["epoch"])))
        self.pruned = row["epoch"] < self.settings.epochs and bool(patiently(self.trial.should_prune))

    def tell_again(self, folder: Path) -> None:
        """Tell this attempt's trial of the epochs of an earlier attempt, after none of which it was pruned."""
        if (folder / "run.json").exists():
            for row in open_run(folder).history:
                self.before += row["seconds"]
                self.epoch(row)
            self.pruned = False

    def note(self, name: str, value: Any) -> None:
        """A fact written down beside the trial."""
        patiently(lambda: self.trial.set_user_attr(name, value))

    def finish(self, desk: Desk, state: str, values: list[float] | None = None) -> None:
        """The end of the trial, with the seconds that it took."""
        self.note("seconds", round(self.before + time.perf_counter() - self.began, 3))
        end(desk, self.trial.number, state, values)


def measured(run: Run, metric: str) -> float:
    """A finished run by one of the metrics."""
    if metric == "parameters":
        return float(run.about["parameters"])
    if metric == "images_per_second":
        return answering_speeds([run])[0]
    return float(run.about["metrics"][metric])
