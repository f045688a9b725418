"""The whole search, as a command and in Python: it goes on where it was cut off, and ends with a verdict and a page."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from guarismo.errors import RunError
from guarismo.models.settings import Settings
from guarismo.tuning import tune as tuning
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import Options, Space
from guarismo.tuning.study import engine, make_plan, open_study, tried_in
from guarismo.tuning.trials import work
from guarismo.tuning.tune import importance, kept_in, search_folder, tune

pytest.importorskip("skl2onnx", reason="training is the [train] extra")

BASE = Settings(model="knn")
SPACE = Space({"model": Options(("knn", "forest"))})
ONE_BY_ONE = TuneSettings(trials=2, sampler="grid", jobs=1, seeds=3)


@pytest.fixture
def space_file(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text('model = ["knn", "forest"]\n')
    return path


def test_a_search_ends_with_its_trials_a_verdict_and_a_file(bars, tmp_path):
    heard = []
    found = tune(
        bars, BASE, SPACE, ONE_BY_ONE, tmp_path / "out", lambda done, total, **facts: heard.append((done, total, facts))
    )
    assert [each.state for each in found.tried] == ["finished", "finished"]
    assert found.best is not None and found.verdict is not None and found.seconds > 0
    assert json.loads((tmp_path / "out" / "search.json").read_text())["done"] is True
    assert not list((tmp_path / "out" / ".workers").iterdir())  # no lock is left behind
    assert [done for done, _, _ in heard][-1] == 2 and heard[-1][2]["search"].tried == found.tried


def words_for(space: Path, out: Path, jobs: int) -> list[str]:
    """A search of a few seconds as a user would ask for it."""
    how = f"--limit 200 --model knn --sampler grid --jobs {jobs} --seeds 0"
    return ["tune", "digits", *how.split(), "--space", str(space), "--out", str(out)]


def test_the_command_prints_the_best_and_the_verdict_and_writes_a_page(command, tmp_path, space_file):
    out = tmp_path / "out"
    words = words_for(space_file, out, jobs=1)
    status, said, err = command(*words)
    assert status == 0, err
    assert "2 trials in" in said and "trial  validation accuracy  training" in said
    assert "Train it with: guarismo train digits --model" in said
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert "Trial 0" in err
    status, said, _ = command(*words, "--json")  # nothing is left to do: at once
    assert status == 0 and len(json.loads(said)["tried"]) == 2


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(bars, tmp_path):
    def stop(done: int, total: int, **facts: object) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"Stopped after 1 of 2 trials. The same command goes on there: .*out"):
        tune(bars, BASE, SPACE, ONE_BY_ONE, tmp_path / "out", stop)
    plan = make_plan(bars, BASE, SPACE, ONE_BY_ONE, tmp_path / "out")
    done = tmp_path / "out" / "trial-0" / "run.json"
    before = done.stat().st_mtime_ns
    found = tune(bars, BASE, SPACE, ONE_BY_ONE, tmp_path / "out")
    assert [each.state for each in found.tried] == ["finished", "finished"]
    assert done.stat().st_mtime_ns == before
    assert len(open_study(plan).get_trials()) == 2
    assert found.seconds > 0


def test_a_search_killed_with_all_its_workers_goes_on_by_the_same_command(command, tmp_path, space_file):
    out = tmp_path / "out"
    words = words_for(space_file, out, jobs=2)
    process = subprocess.Popen(
        [sys.executable, "-m", "guarismo", *words], start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        while not list(out.glob("trial-*/run.json")):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    status, said, err = command(*words, "--json")
    assert status == 0, err
    tried = json.loads(said)["tried"]
    assert [each["state"] for each in tried] == ["finished"] * 2
    completed = [t for t in optuna_trials(out) if t.state.name == "COMPLETE"]
    assert len(completed) == 2


def optuna_trials(folder):
    optuna = engine()
    from guarismo.tuning.journal import Journal

    storage = optuna.storages.JournalStorage(Journal(folder / "study.journal"))
    return optuna.load_study(study_name=None, storage=storage).get_trials()


def test_where_every_trial_fails_the_first_reason_is_said(bars, tmp_path):
    space = Space({"model": Options(("mnist-cnn", "fashion-cnn"))})  # images of 8×8 are too small for either
    with pytest.raises(RunError, match=r"All 2 trials failed. The first: Images of 8×8 are too small"):
        tune(bars, BASE, space, ONE_BY_ONE, tmp_path / "out")


def test_a_default_that_cannot_be_trained_is_refused_before_anything_is_tried(bars, tmp_path):
    with pytest.raises(RunError, match="Images of 8×8 are too small for 'mnist-cnn'"):
        tune(bars, Settings(model="mnist-cnn"), SPACE, ONE_BY_ONE, tmp_path / "out")
    assert not list((tmp_path / "out").glob("trial-*"))


def test_a_budget_too_small_for_one_trial_says_so_and_what_was_done_is_kept(bars, tmp_path):
    tiny = replace(ONE_BY_ONE, minutes=1e-9)
    with pytest.raises(RunError, match=r"In 1e-09 minutes no trial came to its end.*--minutes"):
        tune(bars, BASE, SPACE, tiny, tmp_path / "out")
    assert tune(bars, BASE, SPACE, replace(ONE_BY_ONE, seeds=0), tmp_path / "out").best is not None


def test_a_folder_of_something_else_is_refused(bars, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"is not empty: it holds notes.txt. Choose another --out"):
        tune(bars, BASE, SPACE, ONE_BY_ONE, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Choose another --out"):
        tune(bars, BASE, SPACE, ONE_BY_ONE, tmp_path / "file")
    tune(bars, BASE, SPACE, replace(ONE_BY_ONE, seeds=0), tmp_path / "out")
    with pytest.raises(RunError, match=r"of another study, 'bars_knn'"):
        tune(bars, BASE, SPACE, replace(ONE_BY_ONE, study="mine"), tmp_path / "out")
    with pytest.raises(RunError, match=r"was begun with another space \(model\)"):
        tune(bars, BASE, Space({"model": Options(("knn", "svm"))}), ONE_BY_ONE, tmp_path / "out")


def test_without_out_it_goes_on_where_the_same_search_was_cut_off(bars, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def folder(tuning: TuneSettings = ONE_BY_ONE, space: Space = SPACE):
        return search_folder(bars, BASE, space, tuning)

    first = folder()
    tuning.prepare(make_plan(bars, BASE, SPACE, ONE_BY_ONE, first))
    assert folder() == folder(replace(ONE_BY_ONE, trials=9)) == first
    assert folder(space=Space({"model": Options(("knn", "svm"))})) != first
    tune(bars, BASE, SPACE, replace(ONE_BY_ONE, seeds=0))
    assert kept_in(first)["done"] and folder() != first


def test_fields_are_told_apart_by_how_much_they_matter(bars, tmp_path):
    space = Space({"model": Options(("knn", "forest")), "batch_size": Options((32, 64, 128))})
    plan = make_plan(bars, BASE, space, TuneSettings(sampler="grid"), tmp_path)
    work(plan, bars, most=2)
    assert importance(open_study(plan)) == {}
    work(plan, bars)
    shares = importance(open_study(plan))
    assert len(tried_in(plan, open_study(plan))) == 6
    assert list(shares) == ["model", "batch_size"] and shares["model"] > 0.9  # neither takes any batch


def test_a_field_whose_wrong_values_all_fell_behind_matters():
    optuna = pytest.importorskip("optuna", reason="needs optuna, the [tune] extra")
    study, rng = optuna.create_study(direction="maximize"), np.random.default_rng(0)
    size = optuna.distributions.CategoricalDistribution((64, 128))
    shift = optuna.distributions.FloatDistribution(0, 1)
    for number in range(12):
        params = {"batch_size": (64, 128)[number % 2], "shift": float(rng.uniform())}
        end = {"state": optuna.trial.TrialState.PRUNED} if number % 2 else {"value": float(rng.uniform(0.98, 0.99))}
        fields = {"params": params, "distributions": {"batch_size": size, "shift": shift}}
        study.add_trial(optuna.trial.create_trial(**fields, **end, intermediate_values={2: 0.5}))
    assert next(iter(importance(study))) == "batch_size"


def test_without_optuna_the_command_says_what_to_install(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    status, _, err = command("tune", "digits", "--model", "knn")
    assert status == 1 and "pip install 'guarismo[tune]'" in err
