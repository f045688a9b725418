"""A search on several nodes: the study's own trials, each once, whatever becomes of a node."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from guarismo.errors import RunError
from guarismo.models.runs import open_run
from guarismo.models.settings import Settings
from guarismo.tuning import on_ray
from guarismo.tuning.on_ray import carry_by_ray, check_room, check_shared, left_to_train, left_to_try
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import Range, Space
from guarismo.tuning.study import make_plan, open_study
from guarismo.tuning.tune import tune
from guarismo.tuning.workers import message

pytest.importorskip("ray", reason="needs ray, the [ray] extra")
pytest.importorskip("optuna", reason="needs optuna, the [tune] extra")
pytest.importorskip("skl2onnx", reason="training is the [train] extra")

FOREST = Settings(model="forest")
"""A forest grows in a second, without TensorFlow."""
SPACE = Space({"rotation": Range(0.0, 30.0)})


@pytest.fixture
def searched(bars):
    """A search of six small trials on the cluster that this process has joined."""

    def call(folder, progress=lambda *_, **__: None, carry=carry_by_ray, **tuning):
        how = TuneSettings(**{"trials": 6, "seeds": 0, "sampler": "random", **tuning})
        return tune(bars, FOREST, SPACE, how, folder, progress, carry)

    return call


def test_a_search_on_ray_is_the_search_of_one_machine(searched, tmp_path, ray_cluster):
    there = searched(tmp_path / "there", trials=3)
    here = searched(tmp_path / "here", carry=None, trials=3, jobs=1)
    assert [(each.settings, each.values, each.folder) for each in there.tried] == [
        (each.settings, each.values, each.folder) for each in here.tried
    ]
    assert all(open_run(there.folder / each.folder).finished for each in there.tried)


def test_a_node_that_is_killed_costs_no_trial(searched, tmp_path, ray_cluster, second_node):
    def progress(done, total, **facts):
        if done >= 2 and second_node in ray_cluster.worker_nodes:
            ray_cluster.remove_node(second_node, allow_graceful=False)

    found = searched(tmp_path / "search", progress)
    assert second_node not in ray_cluster.worker_nodes
    assert [(each.number, each.state) for each in found.tried] == [(number, "finished") for number in range(6)]
    assert len(json.loads((found.folder / "search.json").read_text())["tried"]) == 6


def test_a_search_that_was_begun_here_ends_on_ray(searched, tmp_path, ray_cluster, bars):
    def stop(done, total, **facts):
        if done >= 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "search", stop, carry=None, jobs=1, trials=3)
    kept = (tmp_path / "search" / "trial-0" / "model.onnx").stat().st_mtime_ns
    found = searched(tmp_path / "search", trials=3, seeds=3)
    assert [each.state for each in found.tried] == ["finished"] * 3
    assert (tmp_path / "search" / "trial-0" / "model.onnx").stat().st_mtime_ns == kept
    assert found.verdict is not None and found.verdict.seeds == 3


def test_the_command_searches_on_ray(tmp_path, ray_cluster, command, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the nodes' processes run elsewhere
    out = Path("search")
    words = ("--model", "forest", "--trials", 1, "--seeds", 0, "--on", "ray", "--cpus", 0.5, "--json")
    status, said, complaints = command("tune", "digits", "--out", out, *words)
    assert status == 0, complaints
    assert [each["state"] for each in json.loads(said)["tried"]] == ["finished"]
    assert (out / "report.html").exists() and open_run(out / "trial-0").finished


@pytest.mark.parametrize(
    ("words", "remedy"), [(("--on", "spark"), "Choose from here, ray"), (("--address", "auto"), "Add --on ray")]
)
def test_a_place_that_is_not_known_is_refused(tmp_path, command, words, remedy):
    status, said, complaints = command("tune", "digits", "--out", tmp_path / "search", *words)
    assert (status, said) == (1, "") and remedy in complaints
    assert not (tmp_path / "search").exists()


# What cannot be


@pytest.mark.parametrize(
    ("cpus", "gpus", "words"),
    [
        (64, 0, "No node has 64 cores and 0 GPUs for a trial; the largest has 1 and 0"),
        (0.5, 1, "No node has 0.5 cores and 1 GPUs"),
        (-1, 0, "must be 0 or more"),
        (0, 0, "one of them more"),
    ],
)
def test_what_no_node_has_is_refused(ray_cluster, cpus, gpus, words):
    with pytest.raises(RunError, match=words):
        check_room(cpus, gpus)


def test_parts_of_a_core_will_do(ray_cluster):
    check_room(0.25, 0)


def test_a_folder_that_a_node_does_not_see_is_refused(ray_cluster, tmp_path, monkeypatch):
    """The other node's file is another: it stands for a disk of its own."""
    (tmp_path / "search.json").write_text("{}")
    check_shared(tmp_path)
    monkeypatch.setattr(on_ray, "content_of", lambda _: b"")
    with pytest.raises(RunError, match=r"does not see .* Choose an --out on storage that all nodes mount"):
        check_shared(tmp_path)


def test_trials_that_cannot_be_run_are_an_error(ray_cluster, bars, tmp_path, monkeypatch):
    """What the nodes find is the study of another space."""
    plan = make_plan(bars, FOREST, SPACE, TuneSettings(trials=2, seeds=0), tmp_path)
    (tmp_path / "search.json").write_text("{}")
    open_study(plan)
    assert (left_to_try(plan), left_to_train(plan)) == (2, 0)
    other = replace(plan, space=Space({"shift": Range(0.0, 0.1)}))
    monkeypatch.setattr(on_ray, "message", lambda _, dataset: message(other, dataset))
    with pytest.raises(RunError, match=r"2 trainings are missing: .*another space .* The same command goes on"):
        carry_by_ray(plan, bars, lambda: None)


def test_a_part_of_a_core_for_each_trial(searched, tmp_path, ray_cluster):
    found = searched(tmp_path / "search", carry=partial(carry_by_ray, cpus=0.5), trials=2)
    assert [each.state for each in found.tried] == ["finished"] * 2
