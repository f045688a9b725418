"""Trials in several processes of this machine: each imports TensorFlow once, and shares the study as machines would.

Not joblib: of its workers, one that is killed ends them all; and not fork, which TensorFlow does not survive.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import IO, Any

from guarismo.data.dataset import Dataset, Mapped
from guarismo.data.sources import reload
from guarismo.errors import GuarismoError, RunError
from guarismo.tuning.study import PAUSE, Plan
from guarismo.tuning.trials import Told, work
from guarismo.tuning.verdict import refit

MOST_FALLS = 10
"""Workers that may be killed before the search gives up; what they tried is not lost."""
WORKER_BYTES = 2**30
"""Memory of a worker beside its images: TensorFlow 0.6 GB, its network and what it exports."""
LEAVING = 10.0
"""Seconds that a worker has to go when it is told to."""
PROGRAM = "from guarismo.tuning.workers import serve; serve()"
THREADS = (
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "GUARISMO_THREADS", "LOKY_MAX_CPU_COUNT"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"),
)
"""What tells each library how many threads it may have; two workers with two each wait for each other on two cores."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def jobs_for(plan: Plan, dataset: Dataset) -> int:
    """Processes side by side: as asked, else one per core as far as memory goes; one where there is a GPU to share."""
    if plan.tuning.jobs:
        return min(plan.tuning.jobs, plan.slots)
    if Path("/dev/nvidia0").exists():
        return 1
    each = WORKER_BYTES + 3 * sum(
        split.images.nbytes for split in dataset.splits.values() if not isinstance(split.images, Mapped)
    )
    return max(1, min(cores(), plan.slots, free_memory() // each))


def free_memory() -> int:
    """Bytes that programs may still take, where the system tells."""
    known = Path("/proc/meminfo")
    lines = known.read_text().splitlines() if known.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 2**62)


@dataclass(frozen=True, eq=False)
class Worker:
    """A process at work; it ends when its stdin does, also where this process is killed."""

    process: subprocess.Popen[bytes]
    words: IO[bytes]

    def told(self) -> str:
        """Why it ended: the last line that it wrote on stderr, or that it was killed."""
        if self.process.returncode < 0:
            return (
                f"{MOST_FALLS + 1} workers were killed, perhaps for want of memory. Give the same command with "
                "--jobs 1: it goes on there."
            )
        self.words.seek(0)
        lines = self.words.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"A worker ended with status {self.process.returncode}, and said nothing."


def side_by_side(plan: Plan, dataset: Dataset, jobs: int, told: Told) -> None:
    """Try what the plan asks for and train the verdict's runs, in so many processes, `told` called all the while.

    A worker that is killed is replaced. Raises RunError with the words of one that cannot go on.
    """
    task, share = message(plan, dataset), max(1, cores() // jobs)
    crew, falls = [hire(task, share) for _ in range(jobs)], 0
    try:
        while crew:
            with suppress(subprocess.TimeoutExpired):
                crew[0].process.wait(PAUSE)
            told()
            for worker in [each for each in crew if each.process.poll() is not None]:
                fallen = worker.process.returncode < 0
                if worker.process.returncode > 0 or (fallen and falls == MOST_FALLS):
                    raise RunError(worker.told())
                crew.remove(worker)
                dismiss([worker])
                if fallen:
                    falls += 1
                    crew.append(hire(task, share))
    finally:
        dismiss(crew)


def message(plan: Plan, dataset: Dataset) -> bytes:
    """What a worker is told: the plan, and the data, or where they are where they stay on disk."""
    mapped = any(isinstance(split.images, Mapped) for split in dataset.splits.values())
    return pickle.dumps((plan, dict(dataset.origin) if mapped and dataset.origin else dataset))


def hire(task: bytes, threads: int) -> Worker:
    """A new worker, told its task."""
    words = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the worker
    process = subprocess.Popen(  # noqa: S603  our own words
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=words,
        env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
        start_new_session=True,  # Ctrl-C is for us: it ends with its stdin
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it fell at once: whoever waits for it will see
        process.stdin.write(task)
        process.stdin.flush()
    return Worker(process, words)


def dismiss(crew: list[Worker]) -> None:
    """End the workers; what each was at goes on from its checkpoint some day."""
    for worker in crew:
        assert worker.process.stdin is not None
        with suppress(BrokenPipeError):
            worker.process.stdin.close()
    for worker in crew:
        try:
            worker.process.wait(LEAVING)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        worker.words.close()


def serve() -> None:
    """A worker's whole life: its task read from stdin, worked off; gone the moment that stdin ends."""
    plan, data = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started us
    Thread(target=leave_at_end, daemon=True).start()
    try:
        dataset = data_from(data, plan)
        work(plan, dataset)
        if plan.tuning.seeds:
            refit(plan, dataset)
    except GuarismoError as error:
        sys.exit(str(error))


def leave_at_end() -> None:
    """End this process at once when its stdin ends: its runs and the study are whole at every moment.

    By the descriptor: Python cannot end while a thread waits in its own stdin.
    """
    while os.read(0, 4096):
        pass
    os._exit(0)


def data_from(data: Dataset | Mapping[str, Any], plan: Plan) -> Dataset:
    """The dataset, or what its origin gives. Raises RunError where it is not the plan's any more."""
    if isinstance(data, Dataset):
        return data
    dataset = reload(data)
    if dataset.fingerprint != plan.fingerprint:
        raise RunError("The data have changed since the search began. Start a new one.")
    return replace(dataset, name=plan.data)
