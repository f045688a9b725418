"""The verdict: winner and default trained anew from the same seeds, and no word more than the test images allow."""

from dataclasses import replace
from shutil import copytree

import numpy as np
import pytest

from guarismo.data.dataset import Split
from guarismo.errors import RunError
from guarismo.models.runs import open_run
from guarismo.models.settings import Settings
from guarismo.tuning.search import Tried
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import Options, Space
from guarismo.tuning.study import holding, make_plan, open_study, tried_in
from guarismo.tuning.trials import work
from guarismo.tuning.verdict import is_finished, judge, lock_of, refit, tasks_of
from tiny_run import bars_dataset

pytest.importorskip("skl2onnx", reason="training is the [train] extra")

SPACE = Space({"model": Options(("knn", "forest"))})


def plan_for(dataset, folder, model: str, **tuning):
    return make_plan(dataset, Settings(model=model), SPACE, TuneSettings(trials=2, sampler="grid", **tuning), folder)


def best(plan) -> Tried:
    return max(tried_in(plan, open_study(plan)), key=lambda each: each.values)


@pytest.fixture(scope="module")
def far_apart():
    """Data on which neighbours are lost and a forest is not: one pixel tells the class, the others are noise."""
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        images = rng.integers(0, 256, (n, 8, 8, 1)).astype(np.uint8)
        labels = np.arange(n) % 2
        images[:, 0, 0, 0] = 50 + 150 * labels
        return Split(images, labels)

    return replace(bars_dataset(classes=2), train=split(300), validation=split(100), test=split(300))


@pytest.fixture(scope="module")
def judged(far_apart, tmp_path_factory):
    plan = plan_for(far_apart, tmp_path_factory.mktemp("judged"), "knn")
    work(plan, far_apart)
    refit(plan, far_apart)
    return plan, judge(plan, far_apart, best(plan))


def test_a_winner_that_is_much_better_is_called_better(judged):
    _, verdict = judged
    assert verdict.winner == {"model": "forest"}
    assert verdict.better and verdict.p < 0.05 and verdict.accuracy > verdict.default_accuracy + 0.1
    low, high = verdict.interval
    assert low < verdict.accuracy - verdict.default_accuracy < high


def test_both_are_trained_from_the_same_seeds_which_the_trials_did_not_have(judged):
    plan, verdict = judged
    ours, theirs = ([open_run(plan.folder / name) for name in names] for names in (verdict.runs, verdict.default_runs))
    assert [run.settings.seed for run in ours] == [run.settings.seed for run in theirs] == [1, 2, 3]
    assert {run.settings.model for run in ours} == {"forest"} and {run.settings.model for run in theirs} == {"knn"}


def test_the_test_images_were_opened_for_these_runs_and_no_trial(judged):
    plan, verdict = judged
    opened = {
        path.parent.name for path in plan.folder.glob("*/run.json") if "test_opened" in open_run(path.parent).about
    }
    assert opened == {*verdict.runs, *verdict.default_runs}
    assert verdict.n_test == 300


def test_a_winner_that_is_worse_is_not_called_better(judged, far_apart, tmp_path):
    """The same runs with the parts exchanged, as if luck on the validation images had chosen wrongly."""
    plan = plan_for(far_apart, tmp_path, "forest")
    work(plan, far_apart)
    unlucky = next(each for each in tried_in(plan, open_study(plan)) if each.settings["model"] == "knn")
    for name, settings in tasks_of(plan, unlucky):
        part = "winner-*" if settings.model == "forest" else "default-*"
        source = next(path for path in judged[0].folder.glob(part) if path.name.endswith(f"-{settings.seed}"))
        copytree(source, tmp_path / name)
    verdict = judge(plan, far_apart, unlucky)
    assert not verdict.better and verdict.p < 0.05 and verdict.accuracy < verdict.default_accuracy
    assert verdict.interval[1] < 0


def test_where_the_default_is_the_best_nothing_is_compared(far_apart, tmp_path):
    plan = plan_for(far_apart, tmp_path, "forest")
    work(plan, far_apart)
    refit(plan, far_apart)
    verdict = judge(plan, far_apart, best(plan))
    assert verdict.winner == {} and verdict.runs == verdict.default_runs and not verdict.better
    assert len(list(tmp_path.glob("winner-*"))) == 0


def test_a_training_that_another_worker_is_at_is_left_to_it_and_a_finished_one_not_repeated(far_apart, tmp_path):
    plan = plan_for(far_apart, tmp_path, "knn")
    work(plan, far_apart)
    names = [name for name, _ in tasks_of(plan, best(plan))]
    with holding(lock_of(plan, names[0])):
        refit(plan, far_apart)
    assert [is_finished(tmp_path / name) for name in names] == [False] + [True] * 5
    before = (tmp_path / names[1] / "run.json").stat().st_mtime_ns
    with pytest.raises(RunError, match="is not a run"):
        judge(plan, far_apart, best(plan))
    refit(plan, far_apart)
    assert is_finished(tmp_path / names[0])
    assert (tmp_path / names[1] / "run.json").stat().st_mtime_ns == before


def test_a_folder_with_other_settings_is_not_taken_for_a_run_of_the_verdict(judged, far_apart):
    plan, _ = judged
    other = replace(plan, base=replace(plan.base, epochs=7))
    with pytest.raises(RunError, match="is not the run that the verdict needs"):
        judge(other, far_apart, best(plan))
