"""Plan → an Optuna study that any number of workers share: who tries what, once, whoever is killed on the way.

A search of N trials has N slots. A trial of the study belongs to the slot of its number, or to the one that it is a new
attempt of; that is settled when the trial is made, so every worker on every machine counts alike, without a word to the
others. A slot is done once one of its trials ended: finished, pruned or failed. Of a worker that is gone, its trial is
ended as not finished, and its slot gets another attempt at the same settings, in the same folder, from its checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

from guarismo.data.dataset import Dataset
from guarismo.errors import MissingExtraError, RunError
from guarismo.models.settings import Settings
from guarismo.tuning.search import Tried, without_password
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import Space, inside

JOURNAL = "study.journal"
WORKERS = ".workers"
"""Folder of the locks that tell which workers live; held by the operating system, gone with the process."""
ATTEMPTS = 3
"""Workers of one command that may die of a slot before it counts as failed: of too little memory one dies each time."""
BEAT = 10.0
"""Seconds between two signs of life of a trial."""
SILENCE = 120.0
"""Seconds without one after which a worker on another machine counts as gone; storage may be gone half as long."""
PATIENCE = 60.0
"""Seconds for which storage that is full or gone is waited out."""
PAUSE = 0.5
"""Seconds between two looks at storage, or at whether another worker's trial ended."""

T = TypeVar("T")


class StorageGoneError(RunError):
    """The study cannot be reached, for longer than `PATIENCE`."""


class TakenError(Exception):
    """Another worker took a trial's worker for dead and ended it."""


@dataclass(frozen=True)
class Plan:
    """All that a worker must know beside the data: where, what is varied, and how it is searched.

    name: of the study; data, fingerprint: of the dataset; until: time.time() at which work ends; command: what sets the
    workers of this command apart from those of another.
    """

    folder: Path
    name: str
    data: str
    fingerprint: str
    base: Settings
    space: Space
    tuning: TuneSettings
    until: float = math.inf
    command: str = field(default_factory=lambda: uuid.uuid4().hex)

    @cached_property
    def grid(self) -> list[dict[str, Any]]:
        """The combinations that a grid tries, mixed so that a part of them covers all; [] for another sampler."""
        if self.tuning.sampler != "grid":
            return []
        points = self.space.grid
        random.Random(self.tuning.search_seed).shuffle(points)  # noqa: S311  an order, no secret
        return points

    @property
    def slots(self) -> int:
        """How many settings are tried: those asked for, or a whole grid."""
        return min(self.tuning.trials, len(self.grid)) if self.grid else self.tuning.trials

    def given(self, slot: int) -> dict[str, Any]:
        """What a slot tries without the sampler: its place of a grid, or first of all the default."""
        if self.grid:
            return self.grid[slot]
        default = {name: getattr(self.base, name) for name in self.space.fields}
        return default if slot == 0 and all(inside(default[name], self.space.fields[name]) for name in default) else {}

    @property
    def remembered(self) -> dict[str, Any]:
        """What must be the same whenever the study goes on."""
        return {
            "data": self.fingerprint,
            "base": asdict(self.base),
            "space": self.space.as_json(),
            "metrics": list(self.tuning.metrics),
        }


def make_plan(dataset: Dataset, base: Settings, space: Space, tuning: TuneSettings, folder: Path) -> Plan:
    """The plan of a search that begins now."""
    until = time.time() + 60 * tuning.minutes if tuning.minutes else math.inf
    name = tuning.study or f"{dataset.name}_{base.model}"
    return Plan(folder, name, dataset.name, dataset.fingerprint, base, space, tuning, until)


def engine() -> Any:
    """Optuna, with its messages switched off. Raises MissingExtraError where it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise MissingExtraError("Tuning", "tune") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


# Storage


def transient() -> tuple[type[Exception], ...]:
    """What storage raises while its disk is full, or its server away."""
    optuna = engine()
    from sqlalchemy.exc import DBAPIError

    return OSError, optuna.exceptions.StorageInternalError, DBAPIError


def patiently(call: Callable[[], T], patience: float = PATIENCE) -> T:
    """What `call` returns, asked again while storage is full or gone.

    A call that was done and whose answer was lost is done twice: callers must bear it. Raises StorageGoneError after
    `patience` seconds, TakenError where the trial has ended.
    """
    ended, gone = engine().exceptions.UpdateFinishedTrialError, math.inf
    while True:
        try:
            return call()
        except ended:
            raise TakenError from None
        except transient() as error:
            gone = min(gone, time.monotonic())
            if time.monotonic() - gone >= patience:
                what = str(error).splitlines()[0]
                raise StorageGoneError(
                    f"The study cannot be reached ({what}). Nothing is lost: the same command goes on once it is there."
                ) from error
        time.sleep(PAUSE)


def open_storage(plan: Plan) -> Any:
    """Optuna's storage: the journal in the search's folder, or a database.

    Raises RunError for an address that is none, or needs a driver that is not installed.
    """
    optuna = engine()
    address = plan.tuning.storage
    if not address:
        from guarismo.tuning.journal import Journal

        return optuna.storages.JournalStorage(Journal(plan.folder / JOURNAL))
    from sqlalchemy.exc import ArgumentError

    try:
        return optuna.storages.RDBStorage(address, engine_kwargs={"pool_pre_ping": True})
    except (ArgumentError, ValueError):
        raise RunError(
            f"--storage {without_password(address)} is no address that Optuna knows. Expected one such as "
            "postgresql://user@host/name or sqlite:///study.db."
        ) from None
    except ImportError as error:
        raise RunError(
            f"--storage {without_password(address)} needs a driver that is not installed ({error}). Install it; for "
            "PostgreSQL: pip install 'guarismo[tune]'"
        ) from None


def open_study(plan: Plan, patience: float = PATIENCE) -> Any:
    """The plan's Optuna study, begun or taken up.

    Raises RunError where a study of that name is of another space, other data, another default or other metrics, and
    StorageGoneError where its storage is not there for `patience` seconds.
    """
    optuna = engine()
    storage = patiently(lambda: open_storage(plan), patience)
    study = patiently(
        lambda: optuna.create_study(
            study_name=plan.name,
            storage=storage,
            directions=plan.tuning.directions,
            pruner=pruner_for(plan),
            load_if_exists=True,
        ),
        patience,
    )
    if "plan" not in patiently(lambda: study.user_attrs):
        patiently(lambda: study.set_user_attr("plan", plan.remembered))
    check_same(plan, patiently(lambda: study.user_attrs)["plan"])
    return study


def check_same(plan: Plan, begun: Mapping[str, Any]) -> None:
    """Raises RunError with the first part in which a study differs from the plan."""
    words = {"data": "other data", "base": "another default", "space": "another space", "metrics": "other metrics"}
    for part, ours in plan.remembered.items():
        theirs = begun.get(part)
        if json.dumps(theirs, sort_keys=True) == json.dumps(ours, sort_keys=True):
            continue
        where = without_password(plan.tuning.storage) or str(plan.folder)
        raise RunError(
            f"Study '{plan.name}' in {where} was begun with {words[part]}{which(theirs, ours)}. Go on with those, or "
            f"name another {'--study' if plan.tuning.storage else '--out'}."
        )


def which(theirs: Any, ours: Any) -> str:
    """ " (epochs, width)": the keys in which two tables differ; nothing where they are no tables."""
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return ""
    names = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
    return f" ({', '.join(names)})"


# What is tried, and what ends early


FIRST_LOOK = 5, 2
"""A trial is first compared after a fifth of its epochs, and not before the second: after the first the averages of
batch normalisation have not settled, and its figures are noise."""
REDUCTION = 2
"""One of so many goes on at each comparison: half the time is saved, and the best is hardly ever lost; with 3 it is
60 %, and in half of the orders of 12 trials something was lost (CONTRIBUTING.md, "Tried, and left")."""


def pruner_for(plan: Plan) -> Any:
    """Optuna's pruner by its name in TuneSettings, compared by epochs."""
    pruners = engine().pruners
    longest = plan.space.most("epochs", plan.base.epochs)
    first = max(math.ceil(longest / FIRST_LOOK[0]), FIRST_LOOK[1])
    if plan.tuning.pruner == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=REDUCTION)
    if plan.tuning.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=first, max_resource=max(first, longest), reduction_factor=REDUCTION)
    return pruners.NopPruner()


def sampler_for(plan: Plan, slot: int) -> Any:
    """What draws the settings of a slot, its randomness of its own: two workers with one seed would draw alike."""
    samplers = engine().samplers
    digest = hashlib.sha256(f"{plan.tuning.search_seed}/{slot}".encode()).digest()
    seed = int.from_bytes(digest[:4])
    drawn = samplers.TPESampler(seed=seed) if plan.tuning.sampler == "tpe" else samplers.RandomSampler(seed=seed)
    given = plan.given(slot)
    return samplers.PartialFixedSampler(given, drawn) if given else drawn


# Who tries what


@dataclass(frozen=True, eq=False)
class Desk:
    """A worker's place at a study: seen holds the last sign of life of trials elsewhere, and when it was new."""

    plan: Plan
    study: Any
    worker: str
    seen: dict[int, tuple[Any, float]] = field(default_factory=dict)


@contextmanager
def at_desk(plan: Plan) -> Iterator[Desk]:
    """A place at the plan's study, its lock held: as long as it is, this worker's trials are left to it."""
    worker = f"{plan.command}-{uuid.uuid4().hex}"
    with holding(plan.folder / WORKERS / f"{worker}.lock"):
        yield Desk(plan, open_study(plan), worker)


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Whether the lock at `path` is ours while the block works. Raises RunError where it cannot be made."""
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise RunError(f"Cannot write into {path.parent.parent}: {error.strerror}. Choose another --out.") from None
    try:
        yield True
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    with holding(path) as ours:
        return not ours


def next_trial(desk: Desk) -> Any:
    """The next Optuna trial that is ours to run, waited for while another worker's may still be left; None at the end.

    Raises StorageGoneError.
    """
    while time.time() < desk.plan.until:
        trials = patiently(lambda: desk.study.get_trials(deepcopy=False))
        if end_gone(desk, trials):
            continue
        slots = slots_of(trials, desk.plan.slots)
        again = [slot for slot, attempts in enumerate(slots) if is_lost(attempts, desk.plan)]
        for slot in again:
            attempt_again(desk.study, slot, slots[slot])
        if again or len(slots) < desk.plan.slots or any(is_state(holder(each), "WAITING") for each in slots):
            if (trial := ask(desk)) is not None:
                return trial
        elif any(is_state(holder(each), "RUNNING") for each in slots):
            time.sleep(PAUSE)
        else:
            return None
    return None


def ask(desk: Desk) -> Any:
    """An Optuna trial taken from the study; None where it proved to be another worker's slot, or one too many."""
    trial = patiently(desk.study.ask)
    patiently(lambda: trial.set_user_attr("worker", desk.worker))
    trials = patiently(lambda: desk.study.get_trials(deepcopy=False))
    slot = slot_of(trials, trial.number)
    if slot < desk.plan.slots:
        ours = holder(slots_of(trials, desk.plan.slots)[slot])
        if ours is not None and ours.number == trial.number:
            desk.study.sampler = sampler_for(desk.plan, slot)
            return trial
    give_up(desk, trial)
    return None


def give_up(desk: Desk, trial: Any) -> None:
    """End a trial as not finished, through no fault of its own: its slot is left to another attempt."""
    patiently(lambda: trial.set_user_attr("stopped", True))
    end(desk, trial.number, "FAIL")


def end(desk: Desk, number: int, state: str, values: Sequence[float] | None = None) -> None:
    """Write down how a trial ended, unless another worker did already."""
    ended = engine().trial.TrialState[state]
    with suppress(TakenError):
        patiently(lambda: desk.study.tell(number, values, state=ended, skip_if_finished=True))


def attempt_again(study: Any, slot: int, attempts: Sequence[Any]) -> None:
    """Another attempt at a slot, with the settings of the last one that had any. Two workers may do so at once: the
    first attempt holds the slot."""
    params: dict[str, Any] = next((each.params for each in reversed(attempts) if each.params), {})
    patiently(lambda: study.enqueue_trial(params, user_attrs={"slot": slot}))


def slot_of(trials: Sequence[Any], number: int) -> int:
    """The slot of the trial of that number: the one that it names, or how many before it name none."""
    named = trials[number].user_attrs.get("slot")
    return int(named) if named is not None else sum("slot" not in each.user_attrs for each in trials[:number])


def slots_of(trials: Sequence[Any], most: int) -> list[list[Any]]:
    """The attempts at each of the first `most` slots that were begun, in order."""
    slots: list[list[Any]] = []
    for trial in trials:
        if "slot" not in trial.user_attrs:
            slots.append([trial])
        else:
            slots[trial.user_attrs["slot"]].append(trial)
    return slots[:most]


def holder(attempts: Sequence[Any]) -> Any:
    """The attempt that counts: the first that was not abandoned; None where all were."""
    return next((each for each in attempts if not is_abandoned(each)), None)


def is_abandoned(trial: Any) -> bool:
    """Whether it ended for no reason of its own: its worker was killed, stopped, or came too late."""
    return is_state(trial, "FAIL") and "error" not in trial.user_attrs


def is_lost(attempts: Sequence[Any], plan: Plan) -> bool:
    """Whether a slot needs another attempt."""
    return holder(attempts) is None and deaths(attempts, plan) < ATTEMPTS


def deaths(attempts: Sequence[Any], plan: Plan) -> int:
    """How many workers of this command died of a slot: whoever ends a search three times over finds it whole."""
    fallen = [each.user_attrs for each in attempts if is_abandoned(each) and "stopped" not in each.user_attrs]
    return sum(str(facts.get("worker")).startswith(plan.command) for facts in fallen)


def is_state(trial: Any, state: str) -> bool:
    return trial is not None and trial.state.name == state


def end_gone(desk: Desk, trials: Sequence[Any]) -> bool:
    """End the trials of workers that are gone; whether there were any."""
    gone = [trial.number for trial in trials if is_state(trial, "RUNNING") and is_gone(desk, trial, time.monotonic())]
    for number in gone:
        end(desk, number, "FAIL")
    return bool(gone)


def is_gone(desk: Desk, trial: Any, now: float) -> bool:
    """Whether a running trial's worker is gone: the lock that it had in this folder is free; or, for one of another
    machine, it gave no new sign of life for `SILENCE` seconds of ours (clocks of two machines differ).

    Optuna's own heartbeat is for databases alone, and never misses a worker that died before its first beat.
    """
    lock = desk.plan.folder / WORKERS / f"{trial.user_attrs.get('worker', '-')}.lock"
    if lock.exists():
        return not is_held(lock)
    sign = trial.user_attrs.get("beat"), len(trial.intermediate_values)
    if trial.number not in desk.seen or desk.seen[trial.number][0] != sign:
        desk.seen[trial.number] = sign, now
    return now - desk.seen[trial.number][1] > SILENCE


@contextmanager
def beating(trial: Any) -> Iterator[None]:
    """A sign of life of the trial every `BEAT` seconds while the block works."""
    stopped = Event()

    def beat() -> None:
        count = 0
        while not stopped.wait(BEAT):
            count += 1
            try:
                trial.set_user_attr("beat", count)
            except Exception:  # noqa: S112  storage is away, or the trial was ended: its training will find out
                continue

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


# What came of it


STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}


def tried_in(plan: Plan, study: Any) -> tuple[Tried, ...]:
    """Every slot that was begun, as it stands. Raises StorageGoneError."""
    trials = patiently(lambda: study.get_trials(deepcopy=False))
    return tuple(tried(slot, attempts, plan) for slot, attempts in enumerate(slots_of(trials, plan.slots)))


def tried(slot: int, attempts: Sequence[Any], plan: Plan) -> Tried:
    """What came of a slot's attempts; running where it is not settled."""
    trial = holder(attempts) or attempts[-1]
    facts = trial.user_attrs
    lost = holder(attempts) is None
    curve = facts.get("curve") or [value for _, value in sorted(trial.intermediate_values.items())]
    fallen = lost and deaths(attempts, plan) >= ATTEMPTS
    return Tried(
        number=slot,
        state="failed" if fallen else "running" if lost else STATES.get(trial.state.name, "running"),
        settings=facts.get("settings", {}),
        values=tuple(trial.values) if trial.state.name == "COMPLETE" else (),
        curve=tuple(curve),
        seconds=facts.get("seconds", 0.0),
        folder=folder_name(slot) if (plan.folder / folder_name(slot)).exists() else facts.get("place", ""),
        error=f"Its worker died {ATTEMPTS} times." if fallen else facts.get("error", ""),
        loss=facts.get("loss", math.inf),
    )


def folder_name(slot: int) -> str:
    """The run of a slot, inside the search's folder."""
    return f"trial-{slot}"
