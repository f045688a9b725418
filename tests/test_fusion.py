"""Fusion: rules whose right answer is known, any subset of the views, and what a run records of it."""

import doctest
import json
import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from guarismo.data.dataset import UNKNOWN, Dataset, Mapped, Split, empty_like
from guarismo.errors import RunError
from guarismo.models.runs import commit, open_run
from guarismo.results import fusion
from guarismo.results.evaluation import evaluate, wilson
from guarismo.results.fusion import blackened, fuse, present_views, product, subsets_of, view_probabilities, vote
from guarismo.results.luck import mcnemar
from guarismo.terminal import print_fusion
from tiny_run import bars, bars_dataset, make_run

VIEWS, TEST = 3, 300


def rows(*views: list[float]) -> np.ndarray:
    """Probabilities of one sample, (1, v, k)."""
    return np.array([views])


def there(*flags: int) -> np.ndarray:
    return np.array([flags], dtype=bool)


def beside(*splits: Split) -> Split:
    """Splits of the same labels, their images side by side."""
    return Split(np.concatenate([split.images for split in splits], axis=2), splits[0].labels)


def views_dataset(**facts) -> Dataset:
    """Three views of 8×8 side by side; each is another image of the row that is brightest."""
    parts = [beside(*(bars(n, seed=n + view) for view in range(VIEWS))) for n in (180, 60, TEST)]
    names = tuple(f"row {k}" for k in range(3))
    return Dataset("bars in views", *parts, names, **{"origin": {"source": "views"}, **facts})


def from_source_of_run(dataset: Dataset, name: str | None) -> Dataset:
    """The same, as if it came from the source of the run, its test samples from files of that name."""
    names = None if name is None else np.array([name.format(index) for index in range(len(dataset.test))])
    return replace(dataset, test=replace(dataset.test, names=names), origin={"source": "bars", "views": True})


@pytest.fixture
def single(tmp_path):
    return make_run(tmp_path / "single", bars_dataset())


# Rules


def test_two_views_in_doubt_outvote_a_sure_one_but_the_product_believes_it():
    views = rows([0.99, 0.01], [0.45, 0.55], [0.45, 0.55])
    assert vote(views, there(1, 1, 1)) == [1]
    assert product(views, there(1, 1, 1)).argmax() == 0


def test_a_view_too_sure_of_itself_spoils_the_product_but_not_the_vote():
    views = rows([0.9999, 0.0001], *[[0.1, 0.9]] * 4)  # four of five are right
    every = np.ones((1, 5), dtype=bool)
    assert vote(views, every) == [1]
    assert product(views, every).argmax() == 0


def test_the_temperature_makes_the_product_less_sure_and_answers_the_same():
    views, every = np.random.default_rng(2).dirichlet(np.ones(3), (40, 4)), np.ones((40, 4), dtype=bool)
    plain, cooler = product(views, every), product(views, every, temperature=3)
    np.testing.assert_array_equal(plain.argmax(axis=1), cooler.argmax(axis=1))
    assert (cooler.max(axis=1) < plain.max(axis=1)).all()
    np.testing.assert_allclose(cooler, plain ** (1 / 3) / (plain ** (1 / 3)).sum(axis=1, keepdims=True), rtol=1e-9)


def test_equal_votes_are_decided_by_the_summed_probability():
    views = rows([0.6, 0.4, 0.0], [0.1, 0.9, 0.0])
    assert vote(views, there(1, 1)) == [1]
    assert vote(views[:, ::-1], there(1, 1)) == [1]


def test_one_more_vote_outweighs_any_sum():
    views = rows([0.34, 0.33, 0.33], [0.34, 0.33, 0.33], [0.0, 1.0, 0.0])
    assert vote(views, there(1, 1, 1)) == [0]


def test_a_missing_view_has_no_say():
    views = rows([0.99, 0.01], [0.2, 0.8])
    for rule in (lambda seen: vote(views, seen)[0], lambda seen: product(views, seen).argmax()):
        assert rule(there(1, 0)) == 0
        assert rule(there(0, 1)) == 1
    np.testing.assert_allclose(product(views, there(0, 1)), views[:, 1], atol=1e-12)


def test_without_any_view_there_is_no_vote_and_every_class_is_as_likely():
    views = rows([0.9, 0.1], [0.8, 0.2])
    assert vote(views, there(0, 0)) == [UNKNOWN]
    np.testing.assert_array_equal(product(views, there(0, 0)), [[0.5, 0.5]])


def test_identical_views_bring_nothing():
    one = np.random.default_rng(0).dirichlet(np.ones(4), (50, 1))
    same, every = np.repeat(one, 5, axis=1), np.ones((50, 5), dtype=bool)
    alone = one[:, 0].argmax(axis=1)
    np.testing.assert_array_equal(vote(same, every), alone)
    np.testing.assert_array_equal(product(same, every).argmax(axis=1), alone)


def test_the_product_is_bayes_rule_for_independent_views():
    rng = np.random.default_rng(1)
    views, every = rng.dirichlet(np.ones(3), (20, 4)), np.ones((20, 4), dtype=bool)
    by_hand = views.prod(axis=1)
    np.testing.assert_allclose(product(views, every), by_hand / by_hand.sum(axis=1, keepdims=True), rtol=1e-9)


def test_one_probability_of_zero_is_no_veto():
    sure = product(rows([0.0, 1.0], *[[0.999, 0.001]] * 4), np.ones((1, 5), dtype=bool))
    assert sure.argmax() == 0 and np.isfinite(sure).all()


def test_the_rules_refuse_what_does_not_belong_together():
    for rule in (vote, product):
        with pytest.raises(RunError, match="one row of probabilities for each view"):
            rule(rows([0.5, 0.5]), there(1, 1))
        with pytest.raises(RunError, match="float64"):
            rule(rows([0.5, 0.5]), np.ones((1, 1)))


# Subsets and views


@pytest.mark.parametrize("views", [2, 5, 6])
def test_up_to_six_views_every_subset_is_measured(views):
    sizes = range(1, views + 1)
    assert sum(len(subsets_of(views, size)) for size in sizes) == 2**views - 1


def test_of_more_views_a_repeatable_sample_of_subsets_is_measured():
    drawn = subsets_of(10, 5)
    assert len(set(drawn)) == fusion.MOST_SUBSETS == len(drawn)
    assert all(len(set(subset)) == 5 for subset in drawn)
    assert drawn == subsets_of(10, 5) != sorted(combinations(range(10), 5))[: fusion.MOST_SUBSETS]
    assert len(subsets_of(40, 1)) == 40
    assert subsets_of(10, 10) == [tuple(range(10))]


def test_a_view_of_zeros_is_missing_and_a_dark_one_is_not():
    images = np.zeros((2, 4, 12, 1), dtype=np.uint8)
    images[0, 1, 0], images[0, 3, 11], images[1, 2, 4:8] = 1, 1, 255
    np.testing.assert_array_equal(present_views(images, 3), [[True, False, True], [False, True, False]])


def test_blackened_views_are_zero_and_the_others_as_they_were():
    images = np.random.default_rng(0).integers(1, 256, (5, 4, 12, 3), dtype=np.uint8)
    seen = blackened(images, np.array([True, False, True]))
    assert not seen[:, :, 4:8].any()
    np.testing.assert_array_equal(seen[:, :, [*range(4), *range(8, 12)]], images[:, :, [*range(4), *range(8, 12)]])
    assert images.all()  # the given ones are not touched


def test_each_view_is_answered_as_if_it_stood_alone(single):
    dataset = views_dataset()
    answers = view_probabilities(single, dataset.test.images, VIEWS)
    for view in range(VIEWS):
        alone = np.ascontiguousarray(dataset.test.images[:, :, 8 * view : 8 * (view + 1)])
        np.testing.assert_array_equal(answers[:, view], single.predict(alone))


# A run


def test_figures_of_a_run_of_single_views_by_hand(single):
    dataset = views_dataset()
    found = fuse(single, dataset)
    assert (found.n, found.views, found.incomplete, found.methods) == (TEST, 3, 0, ("vote", "product"))
    assert [(figure.views, figure.subsets) for figure in found.figures] == [(1, 3), (2, 3), (3, 1)] * 2
    answers, labels = view_probabilities(single, dataset.test.images, VIEWS), dataset.test.labels
    right = [answers[:, view].argmax(axis=1) == labels for view in range(VIEWS)]
    assert [figure.accuracy for figure in found.alone] == pytest.approx([column.mean() for column in right])
    assert found.figures[0].accuracy == found.figures[3].accuracy == pytest.approx(np.mean(right))
    together = answers.astype(float).prod(axis=1).argmax(axis=1) == labels
    assert found.together.accuracy == pytest.approx(together.mean())
    assert found.together.interval == wilson(int(together.sum()), TEST)
    best = max(right, key=np.sum)
    assert found.pairs[0].p == mcnemar(together, best)
    assert found.together.accuracy > best.mean() + 0.05  # three independent looks see more than one


def test_views_that_are_the_same_image_bring_nothing_and_the_sentence_says_so(single):
    test = bars(TEST, seed=1)
    found = fuse(single, replace(views_dataset(), test=beside(test, test, test)))
    assert len({figure.accuracy for figure in (*found.figures, *found.alone)}) == 1
    assert found.sentence.endswith(
        "product and view 1 answer equally many right. product and vote answer equally many right."
    )


def test_the_sentence_says_what_is_more_than_luck(single):
    found = fuse(single, views_dataset())
    share = f"{100 * found.together.accuracy:.2f}\u202f% ("
    assert found.sentence.startswith(f"3 views by product: {share}")
    assert f"of {TEST} samples right" in found.sentence and "from one view" in found.sentence
    pair = found.pairs[0]
    assert pair.best == "product" and pair.more_than_luck
    assert f"product answers {pair.only_best - pair.only_other} more right than {pair.other}, p" in found.sentence
    assert "more than luck" in found.sentence


def test_the_more_accurate_of_a_pair_is_named_first():
    right, wrong = np.ones(5, dtype=bool), np.zeros(5, dtype=bool)
    pair = fusion.ordered_pair("product", wrong, "vote", right)
    assert (pair.best, pair.other, pair.difference) == ("vote", "product", 1.0)
    assert fusion.pair_words(pair) == "vote answers 5 more right than product, p = 0.062: it may well be luck."


def test_the_runs_own_calibration_is_used(single):
    calibrated = commit(single, {}, calibration={"temperature": 2.5})
    assert fuse(single, views_dataset()).temperature == 1.0
    assert fuse(calibrated, views_dataset()).temperature == 2.5


def test_samples_that_lack_a_view_are_left_out_and_counted(single):
    dataset = views_dataset()
    images = dataset.test.images.copy()
    images[:10, :, 8:16] = 0
    test = Split(images, dataset.test.labels)
    found = fuse(single, replace(dataset, test=test))
    assert (found.n, found.incomplete) == (TEST - 10, 10)
    rest = fuse(single, replace(dataset, test=test.take(np.arange(10, TEST))))
    assert found.figures == rest.figures
    with pytest.raises(RunError, match="None of the 10 test samples has all its 3 views"):
        fuse(single, replace(dataset, test=test.take(np.arange(10))))


def test_images_on_disk_are_answered_as_those_in_memory(single):
    dataset = views_dataset()
    store = dataset.test.images.reshape(TEST, 8, VIEWS, 8, 1).swapaxes(1, 2).reshape(-1, 8, 8, 1)
    mapped = Split(Mapped(store, np.arange(TEST * VIEWS).reshape(TEST, VIEWS)), dataset.test.labels)
    assert fuse(single, replace(dataset, test=mapped)).figures == fuse(single, dataset).figures


def test_progress_ends_at_its_total(single):
    told = []

    def listen(done, total, **_):
        told.append((done, total))

    fuse(single, views_dataset(), listen)
    assert told == [(done, 14) for done in range(1, 15)]  # seven subsets by two rules


def test_the_opening_is_recorded_with_the_figure_of_all_views(single):
    dataset = views_dataset()
    found = fuse(single, dataset)
    opened = open_run(single.folder)
    assert "test_opened" not in opened.about  # those were not its own test images
    (record,) = opened.about["other_data"]
    assert record["fingerprint"] == dataset.test.fingerprint
    assert (record["n"], record["source"], record["accuracy"]) == (TEST, "views", found.together.accuracy)


def test_a_network_of_all_views_is_shown_them_with_the_others_blackened(tmp_path):
    dataset = views_dataset()
    run = make_run(tmp_path / "network", dataset)
    found = fuse(run, dataset)
    assert found.methods == ("network",) and found.temperature is None
    middle = dataset.test.images.copy()
    middle[:, :, :8] = middle[:, :, 16:] = 0
    assert found.alone[1].accuracy == (run.predict(middle).argmax(axis=1) == dataset.test.labels).mean()
    assert found.together.accuracy == evaluate(run.predict(dataset.test.images), dataset.test.labels).accuracy
    opened = open_run(run.folder)
    assert opened.about["test_opened"]["fingerprint"] == dataset.test.fingerprint  # as `evaluate` opens them
    assert "other_data" not in opened.about
    other = replace(dataset, test=dataset.test.take(np.arange(60)), origin={"source": "others"})
    assert open_run(run.folder).about["test_opened"] == opened.about["test_opened"]
    assert fuse(run, other).n == open_run(run.folder).about["other_data"][0]["n"] == 60


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda _: bars_dataset(), "expected two square views or more, side by side. Load them with --views"),
        (lambda data: replace(data, class_names=("a", "b", "c")), "the views of data 'bars in views' are (8, 8, 1)"),
        (lambda data: replace(data, test=empty_like(data.test)), "has no labelled test images"),
        (lambda data: from_source_of_run(data, None), "not from a folder test/"),
        (lambda data: from_source_of_run(data, "train/m0/{}.7.png"), "may have learnt from their views"),
    ],
)
def test_data_that_do_not_fit_are_refused_and_nothing_is_opened(single, fault, words):
    with pytest.raises(RunError) as caught:
        fuse(single, fault(views_dataset()))
    assert words in str(caught.value)
    assert "other_data" not in open_run(single.folder).about


def test_the_test_part_of_the_runs_own_source_may_be_loaded_in_views(single):
    assert fuse(single, from_source_of_run(views_dataset(), "test/m0/{}.7.png")).n == TEST


def test_the_json_holds_plain_numbers_and_the_sentence(single):
    found = fuse(single, views_dataset())
    values = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert values["sentence"] == found.sentence
    assert values["figures"][-1]["accuracy"] == found.together.accuracy
    assert {"run", "n", "views", "temperature", "alone", "pairs"} <= set(values)


def test_the_table_has_a_row_for_each_number_of_views_and_for_each_view(single, capsys):
    dataset = views_dataset()
    images = dataset.test.images.copy()
    images[0, :, :8] = 0
    found = fuse(single, replace(dataset, test=Split(images, dataset.test.labels)))
    print_fusion(found)
    out = capsys.readouterr().out
    assert re.search(r"views +vote +product +subsets", out)
    for size, subsets in ((1, 3), (2, 3), (3, 1)):
        share = f"{100 * found.of('product')[size - 1].accuracy:.2f} %"
        assert re.search(rf"^ *{size} .* {re.escape(share)} \(.*\) +{subsets} *$", out, flags=re.MULTILINE)
    assert re.search(rf"^view 2 +{100 * found.alone[1].accuracy:.2f} % ", out, flags=re.MULTILINE)
    assert "1 samples lack a view and were left out." in out
    assert out.endswith(f"{found.sentence}\n")


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(fusion).failed == 0 < doctest.testmod(fusion).attempted
