"""What to try next: each rule finds the fault that is planted for it, and is silent where there is none."""

import pytest

from guarismo.models.settings import Settings
from guarismo.tuning.advice import advise, place_of, widened
from guarismo.tuning.space import Options, Range
from searched import ordinary, search, tried, verdict


def names(found):
    return [each.name for each in advise(found)]


def said(found, name):
    (one,) = (each for each in advise(found) if each.name == name)
    return one.sentence() + " " + one.remedy()


def test_an_ordinary_search_asks_for_nothing():
    assert names(search()) == []
    assert names(search(verdict=verdict(better=True))) == []


def test_a_winner_that_is_only_luck_comes_first_and_points_elsewhere():
    found = search(*ordinary(), tried(30, 0, "failed"), verdict=verdict(better=False))
    assert names(found) == ["only-luck", "failed-trials"]
    assert "+0.70 percentage points, with a 95 % interval from −0.60 to +1.20" in said(found, "only-luck")


def test_best_trials_at_the_end_of_a_range_ask_for_a_wider_one_that_a_space_can_hold():
    leaders = [tried(30 + k, 0.99, learning_rate=0.009 + 0.0003 * k) for k in range(4)]
    words = said(search(*ordinary(), *leaders), "edge-of-range")
    assert "upper end of “learning_rate”" in words
    assert "learning_rate = { low = 0.001, high = 0.1, log = true }" in words


def test_one_lucky_trial_at_the_end_is_no_edge():
    assert "edge-of-range" not in names(search(*ordinary(), tried(30, 0.99, learning_rate=0.01)))


@pytest.mark.parametrize(
    ("name", "where", "end", "wider"),
    [
        (
            "learning_rate",
            Range(1e-4, 1e-2, log=True),
            0.0,
            "learning_rate = { low = 1e-05, high = 0.001, log = true }",
        ),
        ("shift", Range(0.0, 0.2), 0.0, ""),  # no augmentation at all: nothing lies beyond
        ("shift", Range(0.0, 0.2), 1.0, "shift = { low = 0.1, high = 0.3 }"),
        ("shift", Range(0.0, 0.5), 1.0, ""),  # the most that Settings allow
        ("batch_size", Options((32, 64, 128)), 1.0, "batch_size = { low = 80, high = 176 }"),
    ],
)
def test_beyond_the_end_of_a_range(name, where, end, wider):
    assert widened(name, where, end) == wider


def test_what_has_no_order_has_no_edge():
    assert place_of(1e-3, Range(1e-4, 1e-2, log=True)) == pytest.approx(0.5)
    assert place_of(64, Options((128, 32, 64))) == 0.5
    assert place_of(True, Options((False, True))) is None
    assert place_of("plateau", Options(("one-cycle", "plateau", "constant"))) is None


def test_failed_trials_are_counted_and_the_first_reason_told():
    words = said(search(*ordinary(), tried(30, 0, "failed"), tried(31, 0, "failed")), "failed-trials")
    assert words.startswith("2 of 32 trials failed, the first (trial 30) with: the loss is no longer a number")


def test_trials_that_are_not_at_their_end_are_told():
    assert names(search(*ordinary(), tried(30, 0, "running"))) == ["unfinished-trials"]


def test_few_trials_for_many_fields():
    found = search(*ordinary()[10:18])
    assert names(found) == ["few-trials"]
    assert "8 trials are few for 3 fields" in said(found, "few-trials") and "--trials 30" in said(found, "few-trials")


def test_hardly_any_trial_trained_to_its_end():
    found = search(*ordinary()[14:20], *(tried(40 + k, 0.5, "pruned") for k in range(30)))
    assert "mostly-pruned" in names(found)
    assert "mostly-pruned" not in names(search(*ordinary(), *(tried(40 + k, 0.5, "pruned") for k in range(5))))


def test_one_field_that_decides_and_those_that_do_not_matter():
    found = search(importance={"learning_rate": 0.7, "shift": 0.28, "batch_size": 0.02})
    assert "“learning_rate” explains 70 % of the differences" in said(found, "decisive-field")
    assert "around 0.001" in said(found, "decisive-field")
    assert "together 2 % of the differences: batch_size." in said(found, "negligible-fields")
    assert names(search(importance={"learning_rate": 0.4, "shift": 0.3, "batch_size": 0.3})) == []


def test_a_best_trial_that_came_late_asks_for_more_and_an_old_one_for_something_else():
    late = search(*ordinary()[:15], *(tried(k, 0.9) for k in range(15, 29)), tried(29, 0.99))
    assert "number 30 of 30" in said(late, "still-improving") and "--trials 60" in said(late, "still-improving")
    old = search(tried(0, 0.99), *ordinary()[1:15], *ordinary()[16:])
    assert "Nothing better came in the last 28 trials" in said(old, "nothing-better")


def test_a_much_smaller_model_for_hardly_any_accuracy_is_pointed_out():
    trials = [tried(k, 0.9, second=200_000) for k in range(28)]
    best, small = tried(28, 0.98, second=400_000), tried(29, 0.978, second=50_000)
    found = search(*trials[:14], best, small, *trials[14:], against="parameters")
    assert "Trial 29 has 8.0 times fewer parameters than the best, for −0.20 points" in said(found, "bargain")
    large = search(*trials[:14], best, tried(29, 0.978, second=300_000), *trials[14:], against="parameters")
    assert "bargain" not in names(large)


def test_every_field_that_can_be_searched_can_be_widened_or_says_that_it_cannot():
    for name, value in vars(Settings()).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            for end in (0.0, 1.0):
                assert isinstance(widened(name, Range(1, 2), end), str)
