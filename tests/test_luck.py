"""Is a difference more than luck: each test against published figures, against SciPy, and against made-up chance."""

import doctest

import numpy as np
import pytest

from guarismo.errors import RunError
from guarismo.results import luck
from guarismo.results.luck import holm, mcnemar, over_seeds, paired_interval, usual_spread


def answers(both, only_a, only_b, none):
    """Two bool arrays with that many images in each of the four cases."""
    counts = (both, only_a, only_b, none)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize(
    "cells, p",
    [
        ((1, 1, 7, 12), 0.0703125),  # airway hyper-responsiveness, Bentur 2009: the exact test in Fagerland 2014
        ((36, 12, 2, 0), 0.012939453125),  # 2·(1 + 14 + 91) / 2^14
        ((10, 0, 0, 5), 1.0),
        ((0, 5, 5, 0), 1.0),
        ((0, 10, 0, 0), 2 / 1024),
    ],
)
def test_mcnemar_by_hand(cells, p):
    assert mcnemar(*answers(*cells)) == pytest.approx(p, rel=1e-12)
    assert mcnemar(*reversed(answers(*cells))) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("only_a, only_b", [(3, 9), (120, 90), (700, 1000), (4000, 4200), (0, 3000)])
def test_mcnemar_equals_scipy(only_a, only_b):
    from scipy.stats import binomtest

    reference = binomtest(only_a, only_a + only_b, 0.5).pvalue
    assert mcnemar(*answers(50, only_a, only_b, 7)) == pytest.approx(reference, rel=1e-9, abs=1e-300)


def test_mcnemar_refuses_arrays_that_are_no_pairs():
    for a, b in ((np.ones(3, bool), np.ones(4, bool)), (np.ones(3), np.ones(3)), (np.ones(0, bool), np.ones(0, bool))):
        with pytest.raises(RunError, match="the same images"):
            mcnemar(a, b)


@pytest.mark.parametrize(
    "cells, interval",
    [
        ((1, 1, 7, 12), (-0.507, -0.026)),  # Fagerland, Lydersen & Laake 2014, "square-and-add"
        ((36, 12, 2, 0), (0.0569, 0.3404)),  # Newcombe 1998, table II, method 10
    ],
)
def test_paired_interval_as_published(cells, interval):
    assert paired_interval(*answers(*cells)) == pytest.approx(interval, abs=6e-4)


def test_paired_interval_holds_its_promise():
    rng = np.random.default_rng(0)
    shares, n = [0.9, 0.06, 0.02, 0.02], 500
    intervals = [paired_interval(*answers(*rng.multinomial(n, shares))) for _ in range(2000)]
    inside = np.mean([low <= 0.04 <= high for low, high in intervals])
    assert 0.935 < inside < 0.97  # 0.95 ± 3 standard errors of 2,000 draws


def test_paired_interval_of_perfect_twins_holds_zero():
    low, high = paired_interval(*answers(100, 0, 0, 0))
    assert low < 0 < high < 0.04


def test_holm_by_hand():
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.001]) == pytest.approx([0.04, 0.002])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2] and holm([]) == []


def test_holm_keeps_false_alarms_of_a_whole_set_at_five_percent():
    ps = np.random.default_rng(0).random((4000, 10))
    alarms = np.mean([min(holm(row)) < 0.05 for row in ps])
    assert 0.04 < alarms < 0.06  # 0.05 ± 3 standard errors; uncorrected it is 0.40


def trained(rng, seeds, difficulty, between_seeds):
    """Right answers bool (seeds, n): an image's difficulty, what a seed does to all images, and to each of them."""
    luck_of_seed = rng.normal(0, between_seeds, (seeds, 1))
    return difficulty + luck_of_seed + rng.normal(0, 0.5, (seeds, len(difficulty))) > 0


def share_called_different(seeds_a, seeds_b, between_seeds, gain=0.0, trials=800, images=1000):
    """How often two settings, equally good but for `gain`, are called different, by `over_seeds` and by `mcnemar`."""
    rng = np.random.default_rng(1)
    called = []
    for _ in range(trials):
        difficulty = rng.normal(2, 1, images)
        own = rng.normal(0, 0.4, (2, images))
        a = trained(rng, seeds_a, difficulty + own[0] + gain, between_seeds)
        b = trained(rng, seeds_b, difficulty + own[1], between_seeds)
        called.append((over_seeds(a, b, usual_spread([a, b]))[2] < 0.05, mcnemar(a[0], b[0]) < 0.05))
    return np.mean(called, axis=0)


@pytest.mark.parametrize("seeds_a, seeds_b", [(3, 3), (4, 1)])
def test_equally_good_settings_are_rarely_called_different_where_seeds_matter(seeds_a, seeds_b):
    over, single = share_called_different(seeds_a, seeds_b, between_seeds=0.15)
    assert over < 0.075  # 0.05 + 3 standard errors of 800 trials
    assert single > 0.25  # what one run of each would have us believe


def test_a_real_gain_is_found():
    over, _ = share_called_different(5, 5, between_seeds=0.05, gain=0.5)
    assert over > 0.95


def test_where_seeds_do_nothing_the_images_alone_decide():
    a, b = (np.tile(right, (3, 1)) for right in answers(900, 40, 20, 40))
    difference, (low, high), p = over_seeds(a, b, usual_spread([a, b]))
    assert difference == pytest.approx(0.02)
    newcombe = paired_interval(a[0], b[0])
    assert (low, high) == pytest.approx(newcombe, abs=1e-3)
    assert p == pytest.approx(mcnemar(a[0], b[0]), abs=5e-3)


def test_the_same_answers_differ_by_nothing():
    same = np.tile(np.arange(100) < 90, (2, 1))
    assert over_seeds(same, same, usual_spread([same])) == (0.0, (0.0, 0.0), 1.0)


def test_the_usual_spread_is_pooled_over_groups():
    first = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=bool)  # 1.0 and 0.5: variance 0.125
    second = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]], dtype=bool)  # none
    assert usual_spread([first, second, second[:1]]) == (pytest.approx(0.125 / 3), 3)


def test_without_a_second_seed_nothing_is_known_of_seeds():
    with pytest.raises(RunError, match="Give a second seed"):
        usual_spread([np.ones((1, 5), bool), np.ones((1, 5), bool)])


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(luck).failed == 0 < doctest.testmod(luck).attempted
