"""A Search: its winner, its front, and what it says of luck."""

import json
from pathlib import Path

import pytest

from guarismo.models.settings import Settings
from guarismo.tuning.search import Search, Tried, Verdict, without_password
from guarismo.tuning.settings import TuneSettings
from guarismo.tuning.space import Range, Space


def search(*tried: Tried, **tuning) -> Search:
    settings = TuneSettings(**tuning)
    space = Space({"learning_rate": Range(1e-4, 1e-2, log=True)})
    return Search(Path("out"), "study", "digits", Settings(), space, settings, settings.metrics, tried, {}, 12.0)


def finished(number: int, *values: float, loss: float = 1.0) -> Tried:
    return Tried(number, "finished", {"learning_rate": 0.001}, values, loss=loss)


def test_the_best_trial_is_a_finished_one_and_of_equals_the_one_with_less_loss():
    pruned = Tried(0, "pruned", {}, curve=(0.999,))
    found = search(pruned, finished(1, 0.98, loss=0.3), finished(2, 0.98, loss=0.1), finished(3, 0.97, loss=0.0))
    assert found.best.number == 2
    assert [each.number for each in found.best_first] == [2, 1, 3]


def test_less_is_better_where_the_metric_is_a_loss():
    assert search(finished(0, 0.2), finished(1, 0.1), metric="validation_loss").best.number == 1


def test_nothing_finished_is_no_winner():
    assert search(Tried(0, "failed", {}, error="no")).best is None


def test_the_front_leaves_out_what_another_trial_beats_in_everything():
    found = search(finished(0, 0.98, 900.0), finished(1, 0.97, 100.0), finished(2, 0.96, 200.0), against="parameters")
    assert [each.number for each in found.front] == [0, 1]


def test_a_search_as_json_is_plain_and_holds_no_password():
    found = search(finished(0, 0.9), Tried(1, "running", {}), storage="postgresql://me:secret@host/db")
    text = json.dumps(found.as_json(), allow_nan=False)
    assert "secret" not in text
    assert json.loads(text)["best"] == 0


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:pass:w@rd@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:///study.db", "sqlite:///study.db"),
    ],
)
def test_passwords_are_left_out_of_addresses(address, shown):
    assert without_password(address) == shown


def verdict(accuracy: float, better: bool, **winner) -> Verdict:
    return Verdict(winner, ("a",), ("b",), accuracy, 0.97, (0.0, 0.02), 0.3, 1000, 3, better)


def test_a_verdict_says_plainly_when_it_may_be_luck():
    assert "better than the default by more than luck" in verdict(0.99, True, epochs=9).sentence()
    assert "not better than the default by more than luck" in verdict(0.98, False, epochs=9).sentence()
    assert "was luck" in verdict(0.96, False, epochs=9).sentence()
    assert "No settings were better than the default" in verdict(0.97, False).sentence()
