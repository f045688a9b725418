"""The study that workers share: N trials, each once, whoever is killed, wherever it is kept."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from guarismo.errors import RunError
from guarismo.models.settings import Settings
from guarismo.tuning import study
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import Options, Range, Space, suggest
from guarismo.tuning.study import JOURNAL, WORKERS, Plan, at_desk, end, next_trial, open_study, tried_in
from postgres import serving_postgres
from tiny_run import full_disk

SPACE = Space({"learning_rate": Range(1e-4, 1e-2, log=True), "batch_size": Options((32, 64, 128))})


def plan_for(folder: Path, **tuning) -> Plan:
    return Plan(
        folder, "bars_linear", "bars", "f1", Settings(model="linear"), SPACE, TuneSettings(**{"trials": 6, **tuning})
    )


@pytest.fixture
def plan(tmp_path) -> Plan:
    return plan_for(tmp_path)


def try_out(desk, trial) -> float:
    """A trial whose worth is its step size."""
    rate = study.patiently(lambda: suggest(trial, desk.plan.space, desk.plan.base)).learning_rate
    end(desk, trial.number, "COMPLETE", [rate])
    return rate


def work_off(plan: Plan) -> list[float]:
    """What one worker tries until nothing is left."""
    rates = []
    with at_desk(plan) as desk:
        while (trial := next_trial(desk)) is not None:
            rates.append(try_out(desk, trial))
    return rates


# How many, and which


def test_as_many_are_tried_as_asked_for_the_default_first(plan):
    rates = work_off(plan)
    assert len(rates) == 6 and len(set(rates)) == 6
    assert rates[0] == Settings().learning_rate
    assert work_off(plan) == []


def test_workers_at_the_same_time_try_as_many_together_and_no_settings_twice(plan):
    plan = replace(plan, tuning=TuneSettings(trials=24, sampler="random"))
    with ThreadPoolExecutor(4) as crew:
        rates = [rate for rates in crew.map(work_off, [plan] * 4) for rate in rates]
    assert len(rates) == 24 and len(set(rates)) == 24
    assert [each.state for each in tried_in(plan, open_study(plan))] == ["finished"] * 24


def test_more_trials_may_be_asked_for_afterwards(plan):
    work_off(plan)
    assert len(work_off(replace(plan, tuning=TuneSettings(trials=8)))) == 2


def test_one_trial_too_many_is_given_back_and_is_there_when_more_are_asked_for(plan):
    work_off(plan)
    with at_desk(plan) as desk:
        assert study.ask(desk) is None  # as a worker does that looked before another's came
    assert len(tried_in(plan, open_study(plan))) == 6
    assert len(work_off(replace(plan, tuning=TuneSettings(trials=8)))) == 2


def test_a_search_draws_the_same_again_from_the_same_seed_and_others_from_another(tmp_path):
    one, same = (work_off(plan_for(tmp_path / name, sampler="random")) for name in "ab")
    other = work_off(plan_for(tmp_path / "c", sampler="random", search_seed=1))
    assert one == same and one[1:] != other[1:]


def test_a_grid_is_tried_once_whole_however_many_are_asked_for(tmp_path):
    plan = plan_for(tmp_path, sampler="grid", trials=100)
    work_off(plan)
    tried = [tuple(trial.params.values()) for trial in open_study(plan).get_trials()]
    assert len(tried) == len(set(tried)) == 4 * 3


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_a_trial_that_falls_behind_is_pruned_and_one_that_leads_is_not(plan, pruner):
    plan = replace(plan, tuning=TuneSettings(trials=9, pruner=pruner))
    pruned = []
    with at_desk(plan) as desk:
        for worth in range(9):
            trial = next_trial(desk)
            for epoch in range(1, 10):
                trial.report(-float(worth), epoch)  # each one worse than those before
                if trial.should_prune():
                    pruned.append(worth)
                    break
            end(desk, trial.number, "PRUNED" if worth in pruned else "COMPLETE", None if worth in pruned else [0.0])
    assert 0 not in pruned and len(pruned) >= 4


# Workers that are gone


def abandon(plan: Plan, slot: int = 0) -> dict:
    """What a killed worker leaves: a trial that runs, and a lock that nobody holds. Returns its settings."""
    with at_desk(plan) as desk:
        trial = next_trial(desk)
        suggest(trial, plan.space, plan.base)
        return trial.params


def test_the_trial_of_a_killed_worker_is_tried_again_with_its_settings_in_its_place(plan):
    work_off(replace(plan, tuning=TuneSettings(trials=2)))
    params = abandon(plan)
    with at_desk(plan) as desk:
        trial = next_trial(desk)
        assert study.slot_of(desk.study.get_trials(), trial.number) == 2
        suggest(trial, plan.space, plan.base)
        assert trial.params == params
        try_out(desk, trial)
    assert len(work_off(plan)) == 3
    assert [each.state for each in tried_in(plan, open_study(plan))] == ["finished"] * 6


def test_the_trial_of_a_worker_that_lives_is_left_to_it(plan):
    with at_desk(plan) as one, at_desk(plan) as other:
        mine = next_trial(one)
        assert next_trial(other).number != mine.number
        assert open_study(plan).get_trials()[mine.number].state == optuna.trial.TrialState.RUNNING


def test_two_that_take_over_at_once_make_one_attempt(plan):
    abandon(plan)
    with at_desk(plan) as one, at_desk(plan) as other:
        trials = one.study.get_trials()
        assert study.end_gone(one, trials)
        attempts = study.slots_of(one.study.get_trials(), 6)[0]
        study.attempt_again(one.study, 0, attempts)
        study.attempt_again(other.study, 0, attempts)  # it looked at the same moment
        numbers = [next_trial(one).number, next_trial(other).number]
        slots = [study.slot_of(one.study.get_trials(), number) for number in numbers]
    assert sorted(slots) == [0, 1] and numbers[0] == 1  # the first attempt holds the slot, not a later one


def test_a_worker_of_another_machine_is_given_up_after_a_long_silence_by_our_own_clock(plan, tmp_path):
    with at_desk(plan) as far:
        trial = next_trial(far)
    for lock in (tmp_path / WORKERS).iterdir():
        lock.unlink()  # of another machine we see no lock
    with at_desk(plan) as desk:

        def gone(seconds: float) -> bool:
            return study.is_gone(desk, desk.study.get_trials()[trial.number], seconds)

        assert not gone(1000.0)
        assert not gone(1000.0 + study.SILENCE)
        trial.set_user_attr("beat", 1)
        assert not gone(1001.0 + study.SILENCE)
        assert gone(1002.0 + 2 * study.SILENCE)


def test_a_worker_that_was_taken_for_dead_hears_it_and_counts_nothing(plan):
    with at_desk(plan) as desk:
        trial = next_trial(desk)
        desk.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        with pytest.raises(study.TakenError):
            study.patiently(lambda: trial.report(0.5, 1))
        end(desk, trial.number, "COMPLETE", [0.5])
    assert tried_in(plan, open_study(plan))[0].state == "running"  # its slot waits for another attempt


def test_settings_that_kill_their_worker_each_time_count_as_failed(plan):
    for _ in range(study.ATTEMPTS):
        abandon(plan)
    assert len(work_off(plan)) == 5
    tried = tried_in(plan, open_study(plan))[0]
    assert (tried.state, tried.error) == ("failed", "Its worker died 3 times.")
    again = replace(plan, command="another command")  # ended three times over, a search is whole
    assert len(work_off(again)) == 1


def test_signs_of_life_are_given_while_a_trial_runs(plan, monkeypatch):
    monkeypatch.setattr(study, "BEAT", 0.001)
    with at_desk(plan) as desk:
        trial = next_trial(desk)
        with study.beating(trial):
            while "beat" not in desk.study.get_trials()[0].user_attrs:
                time.sleep(0.001)


# Another study


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": Space({"batch_size": Options((32, 64, 128))})}, r"another space \(learning_rate\)"),
        ({"fingerprint": "f2"}, "other data"),
        ({"base": Settings(model="linear", epochs=3)}, r"another default \(epochs\)"),
        ({"tuning": TuneSettings(metric="validation_loss")}, "other metrics"),
    ],
)
def test_a_study_of_something_else_is_refused(plan, change, said):
    open_study(plan)
    with pytest.raises(RunError, match=f"Study 'bars_linear' in .* was begun with {said}.*another --out"):
        open_study(replace(plan, **change))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "is no address that Optuna knows"),
        ("redis://host", "is no address that Optuna knows"),
        ("mysql+nodriver://host/db", "is no address that Optuna knows"),
        ("sqlite:////none/such/place/study.db", "cannot be reached"),
        ("postgresql://me:secret@127.0.0.1:9/db?connect_timeout=2", "cannot be reached"),
    ],
)
def test_a_storage_that_is_none_is_refused_without_its_password(tmp_path, address, said):
    with pytest.raises(RunError, match=said) as refused:
        open_study(plan_for(tmp_path, storage=address), patience=0)
    assert "secret" not in str(refused.value)


def test_a_database_in_a_file_holds_a_study_too(tmp_path):
    plan = plan_for(tmp_path, storage=f"sqlite:///{tmp_path}/study.db")
    assert len(work_off(plan)) == 6
    assert not (tmp_path / JOURNAL).exists()


# Storage that is full or gone


def test_a_full_disk_is_waited_out_and_no_trial_is_lost_or_counted_twice(plan, monkeypatch):
    waits = []
    with at_desk(plan) as desk, ExitStack() as disk:
        trial = next_trial(desk)
        disk.enter_context(full_disk((plan.folder / JOURNAL).stat().st_size + 20))  # room for half a line
        monkeypatch.setattr(study.time, "sleep", lambda _: waits.append(disk.close()))
        try_out(desk, trial)
    monkeypatch.undo()
    assert len(waits) == 1
    assert len(work_off(plan)) == 5
    assert [each.state for each in tried_in(plan, open_study(plan))] == ["finished"] * 6


def test_storage_that_stays_away_ends_the_work_with_what_to_do(plan, monkeypatch):
    with at_desk(plan) as desk:
        trial = next_trial(desk)
        monkeypatch.setattr(study, "PAUSE", 0.001)
        with (
            full_disk((plan.folder / JOURNAL).stat().st_size),
            pytest.raises(study.StorageGoneError, match="Nothing is lost: the same command goes on"),
        ):
            study.patiently(lambda: trial.report(0.5, 1), patience=0.01)


# Processes


def start(plan: Plan, folder: Path, hang: object = "") -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    (folder / "plan").write_bytes(pickle.dumps(replace(plan, folder=folder)))
    words = [sys.executable, Path(__file__).with_name("study_worker.py"), folder / "plan", folder / "log", str(hang)]
    return subprocess.Popen(words)


def log_of(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


def wait_for(happened, process: subprocess.Popen) -> None:
    while not happened():
        assert process.poll() is None, "the worker ended before it came so far"
        time.sleep(0.01)


def check_each_once(plan: Plan, folders: list[Path]) -> None:
    """Every slot finished, each by one trial, which is that of the logs."""
    trials = open_study(plan).get_trials()
    slots = study.slots_of(trials, plan.slots)
    assert len(slots) == plan.slots
    assert all(Counter(each.state.name for each in attempts)["COMPLETE"] == 1 for attempts in slots)
    ended = Counter(line.split()[1] for folder in folders for line in log_of(folder) if line.endswith("ended"))
    assert ended == Counter(str(slot) for slot in range(plan.slots))


def test_a_worker_killed_in_the_middle_costs_nothing_but_its_own_trial(tmp_path):
    plan = plan_for(tmp_path, trials=8)
    killed, other = start(plan, tmp_path, hang=0), None
    try:
        wait_for(lambda: "0 0 begun" in log_of(tmp_path), killed)
        other = start(plan, tmp_path)
        os.kill(killed.pid, signal.SIGKILL)
        assert other.wait() == 0
    finally:
        for process in (killed, other):
            if process:
                process.kill()
                process.wait()
    check_each_once(plan, [tmp_path])


def test_two_machines_share_a_study_on_postgresql_and_one_of_them_is_killed(tmp_path):
    """Each with a folder of its own, so that nothing but the database tells one of the other; the server stops for a
    moment on the way."""
    with serving_postgres() as server:
        plan = plan_for(tmp_path / "seen", trials=8, storage=server.address)
        one, two = start(plan, tmp_path / "one", hang=0), None
        try:
            wait_for(lambda: "0 0 begun" in log_of(tmp_path / "one"), one)
            two = start(plan, tmp_path / "two", hang="")
            wait_for(lambda: log_of(tmp_path / "two"), two)
            server.stop()
            os.kill(one.pid, signal.SIGKILL)
            server.start()
            assert two.wait() == 0
        finally:
            for process in (one, two):
                if process:
                    process.kill()
                    process.wait()
        (tmp_path / "seen").mkdir()
        check_each_once(plan, [tmp_path / "one", tmp_path / "two"])
