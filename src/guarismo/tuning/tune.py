"""tune: Dataset, default and space in, Search out: trials, the winner trained anew, and whether that is luck."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from guarismo.data.dataset import Dataset
from guarismo.errors import RunError
from guarismo.models.runs import folder_stem, new_folder, replace_file
from guarismo.models.settings import Settings
from guarismo.models.training import RUNS, check_trainable
from guarismo.progress import Progress, silent
from guarismo.tuning.search import Search
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import Space, check_space, default_space
from guarismo.tuning.study import WORKERS, Plan, engine, is_held, make_plan, open_study, patiently, tried_in
from guarismo.tuning.trials import Told, work
from guarismo.tuning.verdict import is_finished, judge, refit, tasks_of
from guarismo.tuning.workers import jobs_for, side_by_side

SEARCH = "search.json"
LEAST_FOR_IMPORTANCE = 4
"""Trials that ended below which no field's importance is told."""

Carry = Callable[[Plan, Dataset, Told], None]
"""What carries a plan out: tries its trials and trains the verdict's runs, somewhere."""


def tune(
    dataset: Dataset,
    base: Settings | None = None,
    space: Space | None = None,
    tuning: TuneSettings | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
    carry: Carry | None = None,
) -> Search:
    """Search for better settings than `base` on validation images; compare the winner with it on the test images.

    Every trial is a run in `folder`, by default a new numbered one under ``runs/``, or one where the same search was
    cut off: there it goes on, and nothing that finished is repeated. `progress` hears of a whole Search (fact
    ``search``). `carry` takes the work elsewhere than to processes of this machine.

        search = tune(load("digits"), Settings(model="cnn"), tuning=TuneSettings(trials=10))

    Raises RunError for a space that will not do, a study in use with another one, or where no trial finished;
    KeyboardInterrupt says how to go on.
    """
    base, tuning = base or Settings(), tuning or TuneSettings()
    space = default_space(base) if space is None else space
    check_trainable(dataset, base)
    check_space(space, base)
    engine()
    plan = make_plan(dataset, base, space, tuning, folder or search_folder(dataset, base, space, tuning))
    prepare(plan)
    teller = Teller(plan, open_study(plan, patience=0), progress)
    with going_on(teller):
        teller.tell()
        (carry or carry_here)(plan, dataset, teller.tell)
    return conclude(teller, dataset)


def carry_here(plan: Plan, dataset: Dataset, told: Told) -> None:
    """On this machine: in this process where one fits, else in several side by side."""
    jobs = jobs_for(plan, dataset)
    if jobs > 1:
        side_by_side(plan, dataset, jobs, told)
        return
    work(plan, dataset, told=told)
    if plan.tuning.seeds:
        refit(plan, dataset, lambda *_, **__: told())


class Teller:
    """Tells `progress` how a search stands."""

    def __init__(self, plan: Plan, study: Any, progress: Progress):
        self.plan, self.study, self.progress = plan, study, progress
        self.began = time.perf_counter()
        self.before = float(patiently(lambda: study.user_attrs).get("seconds", 0.0))

    @property
    def seconds(self) -> float:
        """Of the whole search, that of earlier commands too."""
        return round(self.before + time.perf_counter() - self.began, 1)

    @property
    def search(self) -> Search:
        plan = self.plan
        tried = tried_in(plan, self.study)
        return Search(
            plan.folder, plan.name, plan.data, plan.base, plan.space, plan.tuning, plan.tuning.metrics,
            tried, {}, self.seconds,
        )  # fmt: skip

    def tell(self) -> None:
        """The search as it stands; at its end, how many of the verdict's runs are trained."""
        search = self.search
        ended = sum(each.state != "running" for each in search.tried)
        tasks = tasks_of(self.plan, search.best) if search.best and ended >= self.plan.slots else []
        trained = sum(is_finished(self.plan.folder / name) for name, _ in tasks)
        self.progress(ended, self.plan.slots, search=search, trained=trained, to_train=len(tasks))


@contextmanager
def going_on(teller: Teller) -> Iterator[None]:
    """Ctrl-C goes up with the line that says how to go on; the seconds so far are kept with the study."""
    try:
        yield
    except KeyboardInterrupt:
        search = teller.search
        ended = sum(each.state != "running" for each in search.tried)
        raise KeyboardInterrupt(
            f"Stopped after {ended} of {teller.plan.slots} trials. The same command goes on there: {teller.plan.folder}"
        ) from None
    finally:
        patiently(lambda: teller.study.set_user_attr("seconds", teller.seconds))


def conclude(teller: Teller, dataset: Dataset) -> Search:
    """The whole Search, its verdict with it, kept as search.json. Raises RunError where no trial finished."""
    plan, search = teller.plan, teller.search
    best = search.best
    if best is None:
        raise RunError(nothing_finished(search, plan))
    verdict = judge(plan, dataset, best) if plan.tuning.seeds else None
    search = replace(search, importance=importance(teller.study), verdict=verdict, seconds=teller.seconds)
    write(plan.folder, search.as_json() | {"fingerprint": plan.fingerprint, "done": True})
    sweep(plan, search)
    return search


def sweep(plan: Plan, search: Search) -> None:
    """Take away the locks that nobody holds, once no trial needs them to be missed by."""
    if all(each.state != "running" for each in search.tried):
        for lock in (plan.folder / WORKERS).glob("*.lock"):
            if not is_held(lock):
                lock.unlink(missing_ok=True)


def nothing_finished(search: Search, plan: Plan) -> str:
    """Why there is no winner, and what to do."""
    failed = [each for each in search.tried if each.state == "failed"]
    if failed and len(failed) == len(search.tried):
        return f"All {len(failed)} trials failed. The first: {failed[0].error}"
    if plan.tuning.minutes:
        return (
            f"In {plan.tuning.minutes:g} minutes no trial came to its end. Give the same command with more --minutes: "
            "it goes on there. Or try fewer --epochs."
        )
    return f"None of {len(search.tried)} trials came to its end. Look at the study in {plan.folder}."


def importance(study: Any) -> dict[str, float]:
    """Field → share of the differences between trials that it explains (fANOVA), the largest first; {} where too few
    ended, or all alike.

    Differences in rank: those stopped early come after those that finished, by what they had. Without them a field
    whose wrong values all fell behind would seem not to matter.
    """
    optuna = engine()
    state = optuna.trial.TrialState
    trials = [each for each in study.get_trials(deepcopy=False, states=(state.COMPLETE, state.PRUNED)) if each.params]
    if len(trials) < LEAST_FOR_IMPORTANCE:
        return {}
    places = {standing: place for place, standing in enumerate(sorted({standing_of(each, study) for each in trials}))}
    ranks = optuna.create_study()
    ranks.add_trials(
        optuna.trial.create_trial(
            params=each.params, distributions=each.distributions, value=places[standing_of(each, study)]
        )
        for each in trials
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        found = optuna.importance.get_param_importances(ranks, evaluator=evaluator)
    except (RuntimeError, ValueError):  # no two trials differ
        return {}
    return {name: round(float(share), 4) for name, share in found.items()}


def standing_of(trial: Any, study: Any) -> tuple[bool, float]:
    """What orders an Optuna trial among others, the best first: whether it was stopped early, and what it had."""
    early = trial.values is None
    value = trial.intermediate_values.get(trial.last_step, 0.0) if early else trial.values[0]
    return early, value if study.directions[0].name == "MINIMIZE" else -value


# The folder


def prepare(plan: Plan) -> None:
    """Make the search's folder, its search.json in it. Raises RunError where it is another search's, or no search's."""
    try:
        present = {path.name for path in plan.folder.iterdir()} if plan.folder.exists() else set()
        if present and WORKERS not in present:
            raise RunError(f"{plan.folder} is not empty: it holds {min(present)}. Choose another --out.")
        (plan.folder / WORKERS).mkdir(parents=True, exist_ok=True)
        kept = kept_in(plan.folder)
        if kept and (kept["name"], kept["tuning"]["storage"]) != (plan.name, header(plan)["tuning"]["storage"]):
            raise RunError(f"{plan.folder} is of another study, '{kept['name']}'. Choose another --out.")
        if not kept:
            write(plan.folder, header(plan))
    except OSError as error:
        raise RunError(f"Cannot write into {plan.folder}: {error.strerror}. Choose another --out.") from None


def header(plan: Plan) -> dict[str, Any]:
    """search.json before anything was tried."""
    nothing = Search(
        plan.folder, plan.name, plan.data, plan.base, plan.space, plan.tuning, plan.tuning.metrics, (), {}, 0.0
    )
    return nothing.as_json() | {"fingerprint": plan.fingerprint, "done": False}


def write(folder: Path, values: dict[str, Any]) -> None:
    replace_file(folder / SEARCH, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())


def kept_in(folder: Path) -> dict[str, Any]:
    """The search.json of a folder; {} where there is none that can be read."""
    try:
        values: dict[str, Any] = json.loads((folder / SEARCH).read_text(encoding="utf-8"))
        return values if {"name", "tuning", "space", "base", "metrics", "fingerprint", "done"} <= set(values) else {}
    except (OSError, ValueError):
        return {}


def search_folder(dataset: Dataset, base: Settings, space: Space, tuning: TuneSettings) -> Path:
    """Where the same search was cut off, to go on there; else a new numbered folder."""
    for folder in sorted(RUNS.glob(f"{folder_stem(dataset.name, 'tune')}_*")):
        kept = kept_in(folder)
        ours = header(make_plan(dataset, base, space, tuning, folder))
        same = (
            all(kept[part] == ours[part] for part in ("name", "fingerprint", "base", "space", "metrics"))
            if kept
            else False
        )
        if same and not kept["done"] and kept["tuning"]["storage"] == ours["tuning"]["storage"]:
            return folder
    return new_folder(RUNS, dataset.name, "tune")
