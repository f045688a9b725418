"""A search carried by Ray Tune: each of its trials takes the next of the study, on whatever machine has room.

The study decides what is tried and what is pruned, and knows what is done; Ray finds room for it, and begins anew what
was lost with its node: that attempt goes on from the run's checkpoint. So a search may begin on one machine and end on
twenty, or the other way round.
"""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from guarismo.data.dataset import Dataset
from guarismo.errors import GuarismoError, RunError
from guarismo.tuning.search import best_of
from guarismo.tuning.study import ATTEMPTS, PAUSE, Plan, open_study, tried_in
from guarismo.tuning.trials import Told, work
from guarismo.tuning.verdict import is_finished, refit, tasks_of
from guarismo.tuning.workers import THREADS, data_from, message

SHARED = "search.json"
"""What a node must see of the search's folder."""


def carry_by_ray(plan: Plan, dataset: Dataset, told: Told, cpus: float = 1.0, gpus: float = 0.0) -> None:
    """Try what the plan asks for and train the verdict's runs, on the cluster that this process has joined.

    Each trial holds `cpus` cores and `gpus` graphics processors, parts of one too. The plan's folder must be on storage
    that all nodes see. Raises RunError where it is not, where no node has that much, or where no trial could be run.
    """
    check_room(cpus, gpus)
    check_shared(plan.folder)
    many = left_to_try(plan) + 2 * plan.tuning.seeds
    whole = replace(plan, folder=plan.folder.resolve())
    errors = hand_out(message(whole, dataset), many, cpus, gpus, told)
    if errors and (missing := left_to_try(plan) + left_to_train(plan)):
        raise RunError(f"{missing} trainings are missing: {errors[0]} The same command goes on.")


def left_to_try(plan: Plan) -> int:
    """How many trials are not settled."""
    return plan.slots - sum(each.state != "running" for each in tried_in(plan, open_study(plan)))


def left_to_train(plan: Plan) -> int:
    """How many runs the verdict lacks."""
    best = best_of(tried_in(plan, open_study(plan)), plan.tuning.metrics)
    tasks = tasks_of(plan, best) if best and plan.tuning.seeds else []
    return sum(not is_finished(plan.folder / name) for name, _ in tasks)


def check_room(cpus: float, gpus: float) -> None:
    """Raises RunError where no node has what each trial asks for; Ray would wait for one that never comes."""
    import ray

    if cpus < 0 or gpus < 0 or cpus + gpus == 0:
        raise RunError(f"--cpus and --gpus must be 0 or more, and one of them more, received {cpus:g} and {gpus:g}.")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        most = max((node.get("CPU", 0), node.get("GPU", 0)) for node in nodes)
        raise RunError(
            f"No node has {cpus:g} cores and {gpus:g} GPUs for a trial; the largest has {most[0]:g} and {most[1]:g}. "
            "Ask for less with --cpus and --gpus."
        )


def check_shared(folder: Path) -> None:
    """Raises RunError where a node does not see the search's folder."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    content = (folder / SHARED).read_bytes()
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], True)
            look = ray.remote(num_cpus=0)(content_of).options(scheduling_strategy=there)
            if ray.get(look.remote(folder.resolve() / SHARED)) != content:
                raise RunError(
                    f"Node {node['NodeManagerAddress']} does not see {folder.resolve()}. Choose an --out on storage "
                    "that all nodes mount at the same place."
                )


def content_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def hand_out(task: bytes, many: int, cpus: float, gpus: float, told: Told) -> list[str]:
    """So many Ray trials; returns what was wrong with those that could not be run."""
    from ray import tune
    from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    share = str(max(1, int(cpus)))
    carried = tune.with_parameters(carried_trial, task=task, share=share, folder=str(Path.cwd()))
    with tempfile.TemporaryDirectory() as notes:  # Ray's own; what counts is in the study
        found = Tuner(
            tune.with_resources(carried, {"cpu": cpus, "gpu": gpus}),
            tune_config=TuneConfig(num_samples=many, reuse_actors=True),
            run_config=RunConfig(
                storage_path=notes,
                verbose=0,
                failure_config=FailureConfig(max_failures=ATTEMPTS),
                callbacks=[teller(told)],
            ),
        ).fit()
    told()
    said = [result.metrics["error"] for result in found if result.metrics and result.metrics.get("error")]
    return said + [str(error).strip().splitlines()[-1] for error in found.errors]


def teller(told: Told) -> Any:
    """Ray's callback that tells how the search stands, twice a second at most."""
    from ray.tune import Callback

    class Teller(Callback):  # type: ignore[misc]  # Ray brings no types
        last = 0.0

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return Callback, ()  # Ray keeps a copy beside its notes, where nobody listens

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ARG002  Ray's own
            if time.monotonic() - self.last > PAUSE:
                self.last = time.monotonic()
                told()

    return Teller()


def carried_trial(config: Mapping[str, Any], task: bytes, share: str, folder: str) -> None:  # noqa: ARG001  Ray's own
    """One Ray trial, where it runs: the next trial of the study, or where none is left what the verdict needs."""
    from ray import tune

    with suppress(OSError):  # the data may have been named from there
        os.chdir(folder)
    os.environ.update(dict.fromkeys(THREADS, share))  # before TensorFlow is imported, in `work`
    plan, data = pickle.loads(task)  # noqa: S301  from the process that started us
    try:
        dataset = data_from(data, plan)
        if not work(plan, dataset, most=1) and plan.tuning.seeds:
            refit(plan, dataset)
    except GuarismoError as error:  # what a second attempt would not mend
        tune.report({"error": str(error)})
    else:
        tune.report({"error": ""})
