"""Trials in several processes: replaced where one is killed, gone with us, told off where they cannot go on."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from guarismo.data.dataset import Mapped, Split
from guarismo.data.sources import load
from guarismo.errors import RunError
from guarismo.models.settings import Settings
from guarismo.tuning import workers
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import Options, Space
from guarismo.tuning.study import make_plan, open_study, tried_in
from guarismo.tuning.workers import data_from, jobs_for, message, side_by_side

pytest.importorskip("skl2onnx", reason="training is the [train] extra")

SPACE = Space({"model": Options(("knn", "forest")), "batch_size": Options((32, 64))})


@pytest.fixture
def plan(bars, tmp_path):
    settings = TuneSettings(trials=4, sampler="grid", jobs=2, seeds=3)
    return make_plan(bars, Settings(model="knn"), SPACE, settings, tmp_path)


def watched(monkeypatch) -> list:
    """Every worker that is hired from now on."""
    hired, hire = [], workers.hire
    monkeypatch.setattr(workers, "hire", lambda *words: hired.append(hire(*words)) or hired[-1])
    return hired


def test_a_worker_that_is_killed_is_replaced_and_every_trial_and_run_is_there_once(plan, bars, monkeypatch):
    hired = watched(monkeypatch)

    def kill_the_first_at_work() -> None:
        tried = tried_in(plan, open_study(plan))
        if tried and len(hired) == 2:
            os.kill(hired[0].process.pid, signal.SIGKILL)
            hired[0].process.wait()

    side_by_side(plan, bars, 2, kill_the_first_at_work)
    assert len(hired) == 3 and hired[0].process.returncode == -signal.SIGKILL
    assert [each.state for each in tried_in(plan, open_study(plan))] == ["finished"] * 4
    assert len(list(plan.folder.glob("default-seed-*/model.onnx"))) == 3


def test_workers_end_with_the_one_that_hired_them(plan, bars, monkeypatch):
    hired = watched(monkeypatch)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(plan, bars, 2, stop)
    assert [worker.process.returncode for worker in hired] == [0, 0]  # by the end of their stdin, not by force


def test_what_a_worker_cannot_mend_is_said_in_its_words(plan, bars):
    open_study(plan)
    other = replace(plan, base=Settings(model="knn", epochs=3))
    with pytest.raises(RunError, match=r"was begun with another default \(epochs\)"):
        side_by_side(other, bars, 1, lambda: None)


def test_workers_that_always_fall_end_the_search(plan, bars, monkeypatch):
    monkeypatch.setattr(workers, "MOST_FALLS", 1)
    monkeypatch.setattr(workers, "PROGRAM", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(RunError, match=r"2 workers were killed, perhaps for want of memory.*--jobs 1"):
        side_by_side(plan, bars, 1, lambda: None)


def test_there_are_as_many_processes_as_cores_trials_and_memory_allow(plan, bars, monkeypatch):
    plan = replace(plan, tuning=TuneSettings(trials=3))
    monkeypatch.setattr(workers, "cores", lambda: 16)
    monkeypatch.setattr(workers, "free_memory", lambda: 2**40)
    assert jobs_for(plan, bars) == 3
    monkeypatch.setattr(workers, "free_memory", lambda: int(2.5 * 2**30))
    assert jobs_for(plan, bars) == 2
    monkeypatch.setattr(workers, "free_memory", lambda: 1)
    assert jobs_for(plan, bars) == 1
    assert jobs_for(replace(plan, tuning=TuneSettings(trials=3, jobs=8)), bars) == 3


def test_data_travel_as_they_are_or_as_where_they_are(bars):
    digits = load("digits")
    mapped = replace(digits, train=Split(Mapped(digits.train.images, np.arange(3500)), digits.train.labels))
    plan = make_plan(digits, Settings(), SPACE, TuneSettings(), None)
    assert len(message(plan, mapped)) < 10_000 < len(message(plan, digits))
    assert data_from(dict(digits.origin), plan).fingerprint == digits.fingerprint
    with pytest.raises(RunError, match="data have changed"):
        data_from(dict(digits.origin), replace(plan, fingerprint="other"))
