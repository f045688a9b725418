"""What a search shows while it runs: a line for each trial that ends, or a table that stays in its place."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from guarismo.searching import picture, searching, tell_ended
from guarismo.terminal import print_search
from guarismo.tuning.search import Search, Tried
from guarismo.watching import Heard, hear
from test_tuning_search import search

RUNNING = Tried(2, "running", {"learning_rate": 0.003}, curve=(0.5, 0.75))
TRIED = (
    Tried(0, "finished", {"learning_rate": 0.002}, (0.98,), (0.9, 0.98), seconds=3.21),
    Tried(1, "pruned", {"learning_rate": 0.001}, curve=(0.3,)),
    RUNNING,
    Tried(3, "failed", {"learning_rate": 9.0}, error="the loss is no number"),
)


def drawn(heard: Heard, width: int = 120) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(picture(heard))
    return console.export_text()


def test_each_trial_that_ends_has_a_line_and_no_trial_two(capsys):
    found = search(*TRIED)
    told = tell_ended(replace(found, tried=TRIED[:1]), None, "0:00:01")
    assert capsys.readouterr().err == ""  # it had ended before this command began
    told = tell_ended(found, told, "0:00:02")
    tell_ended(found, told, "0:00:03")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Trial 1 pruned after epoch 1, 30.00 %: learning_rate 0.001; 0:00:02",
        "Trial 3 failed: the loss is no number: learning_rate 9; 0:00:02",
    ]


def test_a_listener_hears_of_whole_searches(capsys):
    with searching("Searching") as progress:
        progress(0, 4, search=search(RUNNING))
        progress(3, 4, search=search(*TRIED))
    assert "Trial 0 98.00 %: learning_rate 0.002; " in capsys.readouterr().err


def test_the_table_shows_how_far_it_is_the_best_and_what_is_at_work():
    heard = Heard("Searching", [])
    assert "beginning" in drawn(heard)
    hear(heard, 1, 4, {"search": search(TRIED[0]), "to_train": 0})
    hear(heard, 3, 4, {"search": search(*TRIED), "to_train": 0})
    text = drawn(heard)
    assert "3 of 4 trials, best 98.00 % (trial 0)" in text and "left" in text
    assert "2      running after epoch 2, 75.00 %  learning_rate 0.003" in text and "no number" not in text
    hear(heard, 4, 4, {"search": search(*TRIED), "to_train": 6, "trained": 2})
    assert "winner and default trained anew: 2 of 6" in drawn(heard)


def test_a_narrow_terminal_cuts_the_settings_and_nothing_else():
    wide = Tried(7, "finished", {"learning_rate": 0.00123, "label_smoothing": 0.0456, "batch_size": 128}, (0.98,))
    heard = hear(Heard("Searching", []), 1, 9, {"search": search(wide), "to_train": 0})
    assert "7      98.00 %  learning_rate 0.0" in drawn(heard, width=40)


@pytest.fixture
def found() -> Search:
    return replace(search(*TRIED), importance={"learning_rate": 1.0})


def test_the_end_is_the_best_trials_and_what_made_the_difference(found, capsys):
    print_search(found)
    said = capsys.readouterr().out
    assert said.startswith("4 trials in 12 s: 1 finished, 1 pruned, 1 failed, 1 running\n")
    assert "98.00 %" in said and "3.2 s" in said and "30.00 %" not in said
    assert "What made the difference: learning rate 100 %" in said


def test_of_two_metrics_the_front_is_shown(capsys):
    small = Tried(0, "finished", {"learning_rate": 0.002}, (0.9, 1000.0))
    print_search(search(small, replace(small, number=1, values=(0.8, 2000.0)), against="parameters"))
    said = capsys.readouterr().out
    assert "1,000" in said and "2,000" not in said
