"""One trial: an ordinary run, told to the study epoch by epoch, that goes on where it was cut off."""

import time
from dataclasses import replace

import pytest

from guarismo.models.runs import open_run
from guarismo.models.settings import Settings
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import Options, Range, Space
from guarismo.tuning.study import at_desk, end, give_up, make_plan, next_trial, open_study, tried_in
from guarismo.tuning.trials import work

BASE = Settings(model="linear", epochs=3, batch_size=64)
SPACE = Space({"learning_rate": Range(1e-4, 1e-1, log=True)})


@pytest.fixture
def plan(bars, tmp_path):
    pytest.importorskip("keras", reason="training is the [train] extra")
    return make_plan(bars, BASE, SPACE, TuneSettings(trials=2, pruner="none"), tmp_path)


def tried(plan):
    return tried_in(plan, open_study(plan))


def test_a_trial_is_an_ordinary_run_of_its_settings(plan, bars):
    assert work(plan, bars) == 2
    first, second = tried(plan)
    run = open_run(plan.folder / second.folder)
    assert run.finished and run.settings == replace(BASE, **second.settings)
    assert second.values == (run.about["metrics"]["validation_accuracy"],)
    assert second.loss == run.about["metrics"]["validation_loss"]
    assert second.curve == tuple(row["validation_accuracy"] for row in run.history)
    assert second.seconds >= run.about["seconds"]["train"]
    assert first.settings == {"learning_rate": BASE.learning_rate}  # the default is tried too
    assert "test_opened" not in run.about


def test_no_more_are_tried_than_this_worker_shall(plan, bars):
    assert work(plan, bars, most=1) == 1
    assert len(tried(plan)) == 1


class Cut:
    """Something that happens when the study has heard of so many epochs."""

    def __init__(self, after: int, error: BaseException):
        self.after, self.error = after, error

    def __call__(self) -> None:
        self.after -= 1
        if self.after == 0:
            raise self.error


def test_a_trial_that_was_cut_off_goes_on_from_its_checkpoint(plan, bars):
    with pytest.raises(KeyboardInterrupt):
        work(plan, bars, told=Cut(2, KeyboardInterrupt()))
    begun = open_run(plan.folder / "trial-0")
    assert not begun.finished and tried(plan)[0].state == "running"
    work(plan, bars)
    first = tried(plan)[0]
    run = open_run(plan.folder / "trial-0")
    assert run.history[: len(begun.history)] == begun.history  # not trained again
    assert (first.state, len(first.curve)) == ("finished", 3)
    assert first.seconds >= sum(row["seconds"] for row in run.history)


def test_a_trial_that_goes_on_is_not_pruned_for_epochs_that_it_had_survived(plan, bars):
    with pytest.raises(KeyboardInterrupt):
        work(plan, bars, most=1, told=Cut(3, KeyboardInterrupt()))
    plan = replace(plan, tuning=replace(plan.tuning, pruner="asha"))
    with at_desk(plan) as desk:  # meanwhile another comes by, and is better after two epochs
        mine = next_trial(desk)
        better = next_trial(desk)
        better.report(1.0, 2)
        assert not better.should_prune()
        end(desk, better.number, "COMPLETE", [1.0])
        give_up(desk, mine)
    work(plan, bars)
    assert (tried(plan)[0].state, len(tried(plan)[0].curve)) == ("finished", 3)


def test_a_trial_that_falls_behind_stays_an_unfinished_run(plan, bars):
    space = Space({"learning_rate": Options((0.1, 1e-6))})
    settings = TuneSettings(trials=4, pruner="asha", sampler="grid")
    plan = replace(plan, space=space, base=replace(BASE, epochs=9), tuning=settings)
    work(plan, bars)
    by_rate = {each.settings["learning_rate"]: each for each in tried(plan)}
    assert by_rate[0.1].state == "finished"
    if by_rate[1e-6].number:  # the first of all has nobody to fall behind
        pruned = by_rate[1e-6]
        run = open_run(plan.folder / pruned.folder)
        assert pruned.state == "pruned" and pruned.values == ()
        assert not run.finished and len(run.history) == len(pruned.curve) < 9


def test_settings_that_fail_are_written_down_and_the_others_tried(plan, bars):
    space = Space({"model": Options(("mnist-cnn", "knn"))})  # images of 8×8 are too small for the first
    plan = replace(plan, space=space, tuning=TuneSettings(sampler="grid", pruner="none"))
    work(plan, bars)
    by_model = {each.settings["model"]: each for each in tried(plan)}
    assert by_model["mnist-cnn"].state == "failed" and "mnist-cnn" in by_model["mnist-cnn"].error
    assert by_model["knn"].state == "finished" and by_model["knn"].curve == ()


def test_where_the_time_is_up_nothing_is_begun_and_what_runs_is_left_to_the_next_command(plan, bars, monkeypatch):
    assert work(replace(plan, until=time.time()), bars) == 0 and tried(plan) == ()
    late = replace(plan, until=time.time() + 3600)
    work(late, bars, told=lambda: monkeypatch.setattr("guarismo.tuning.trials.time.time", lambda: late.until))
    assert tried(late)[0].state == "running" and len(open_run(plan.folder / "trial-0").history) == 1


def test_size_and_speed_stand_against_accuracy(plan, bars):
    for against, model, epochs in (("parameters", "linear", 3), ("images_per_second", "knn", 0)):
        settings = TuneSettings(trials=1, against=against)
        other = replace(plan, folder=plan.folder / against, tuning=settings, base=replace(BASE, model=model))
        work(other, bars)
        accuracy, second = tried(other)[0].values
        assert 0 <= accuracy <= 1 and second > 1
        assert len(tried(other)[0].curve) == epochs


def test_a_folder_that_holds_another_run_is_not_written_over(plan, bars):
    work(plan, bars, most=1)
    (plan.folder / "study.journal").unlink()
    other = replace(plan, base=replace(BASE, epochs=2))
    work(other, bars, most=1)
    assert "holds a run of other data or settings" in tried(other)[0].error
    assert open_run(plan.folder / "trial-0").settings.epochs == 3
