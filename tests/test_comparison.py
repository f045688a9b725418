import doctest
import json
from dataclasses import replace

import numpy as np
import pytest

from guarismo.errors import RunError
from guarismo.results import comparison
from guarismo.results.comparison import Comparison, Pair, Row, compare, mcnemar, paired_interval
from guarismo.results.evaluation import evaluate_run
from tiny_run import bars, bars_dataset, make_run


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


def evaluated(folder, dataset, **options):
    run, _ = evaluate_run(make_run(folder, dataset, **options), dataset)
    return run


def test_rows_and_pairs_of_three_runs(tmp_path):
    dataset = bars_dataset()
    wrong = evaluated(tmp_path / "wrong", dataset, sharpness=-30.0)
    good = evaluated(tmp_path / "good", dataset)
    vague = evaluated(tmp_path / "vague", dataset, sharpness=1.0)
    found = compare([wrong, vague, good])
    assert [row.name for row in found.rows] == ["good", "vague", "wrong"]  # equal accuracy: the smaller loss first
    assert [pair.other for pair in found.pairs] == ["vague", "wrong"]
    assert found.pairs[0].p == 1 and not found.pairs[0].more_than_luck
    assert found.pairs[1].p < 1e-6 and found.pairs[1].interval[0] > 0
    assert found.rows[0].train_seconds == 12.0 and found.rows[0].parameters == 192
    assert found.rows[0].bytes == (good.folder / "model.onnx").stat().st_size


def test_different_test_images_are_refused_with_their_fingerprints(tmp_path):
    first = bars_dataset()
    second = replace(first, test=bars(90, seed=1))
    runs = [evaluated(tmp_path / "one", first), evaluated(tmp_path / "two", second)]
    with pytest.raises(RunError, match=f"one {first.test.fingerprint[:8]}, two {second.test.fingerprint[:8]}"):
        compare(runs)


def test_what_cannot_be_compared_says_what_to_do(tmp_path):
    dataset = bars_dataset()
    run, fresh = evaluated(tmp_path / "a", dataset), make_run(tmp_path / "b", dataset)
    with pytest.raises(RunError, match="needs two runs"):
        compare([run])
    with pytest.raises(RunError, match="given twice"):
        compare([run, run])
    with pytest.raises(RunError, match="guarismo evaluate"):
        compare([run, fresh])


def test_runs_of_the_same_name_are_told_apart_by_their_path(tmp_path):
    dataset = bars_dataset()
    runs = [evaluated(tmp_path / place / "run", dataset) for place in "ab"]
    assert {row.name for row in compare(runs).rows} == {str(run.folder) for run in runs}


def comparison_of(only_best, only_other, sizes=(900, 100), n=1000):
    """Two made-up runs on n images, cnn first."""
    both = n - only_best - only_other
    a, b = answers(both, only_best, only_other, 0)
    rows = [
        Row(name, name, right.mean(), (0, 1), 0.1, 0.01, 5.0, size, size)
        for name, right, size in zip(("cnn", "mlp"), (a, b), sizes, strict=True)
    ]
    difference = (only_best - only_other) / n
    pair = Pair("cnn", "mlp", n, only_best, only_other, difference, paired_interval(a, b), mcnemar(a, b))
    return Comparison(tuple(rows), (pair,), "f")


def test_more_than_luck_in_words():
    found = comparison_of(12, 1)
    assert found.sentence == (
        "cnn answers 11 more of 1,000 images right than mlp; "
        "two equally good models would differ that much with p = 0.0034: it is more than luck."
    )
    assert found.recommendation == "Take cnn: the most accurate, by more than luck."


def test_luck_in_words_and_the_smaller_model_taken():
    found = comparison_of(8, 5)
    assert "p = 0.58: it may well be luck" in found.sentence
    assert found.recommended.name == "mlp"
    assert found.recommendation.startswith("Take mlp: as accurate as cnn within luck (at most 1.1")
    assert found.recommendation.endswith("points less), and 9.0× smaller.")


def test_size_decides_only_where_it_is_clear():
    assert comparison_of(8, 5, sizes=(100, 90)).recommended.name == "cnn"
    assert comparison_of(8, 5, sizes=(100, 900)).recommended.name == "cnn"
    assert "none as accurate is clearly smaller" in comparison_of(8, 5, sizes=(100, 90)).recommendation


def test_a_tie_in_words():
    assert comparison_of(5, 5).sentence == "cnn and mlp answer equally many of 1,000 images right."


def test_the_json_holds_plain_numbers_and_both_sentences():
    found = comparison_of(8, 5)
    values = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert values["recommended"] == "mlp"
    assert values["sentence"] == found.sentence
    assert [row["name"] for row in values["rows"]] == ["cnn", "mlp"]
    assert values["pairs"][0]["only_best"] == 8


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(comparison).failed == 0 < doctest.testmod(comparison).attempted
