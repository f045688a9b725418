import json
import re
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from guarismo.errors import RunError
from guarismo.language import Language
from guarismo.models.runs import commit
from guarismo.results.comparison import (
    Comparison,
    Group,
    GroupPair,
    Pair,
    Row,
    advice,
    compare,
    correct_answers,
    pair_of,
    verdict,
)
from guarismo.results.evaluation import evaluate, evaluate_run
from guarismo.results.luck import over_seeds, usual_spread
from tiny_run import bars, bars_dataset, make_run


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
    one, two = first.test.fingerprint[:8], second.test.fingerprint[:8]
    with pytest.raises(RunError, match=f"one {one}, 90 of bars; two {two}, 90 of bars.*Compare runs that were trained"):
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


def planted(folder, dataset, wrong=(), **settings):
    """An evaluated run of such settings that answers all 90 test images right but those that are named."""
    run = evaluated(folder, dataset)
    labels = dataset.test.labels
    answers = np.where(np.isin(np.arange(90), wrong), (labels + 1) % 3, labels)
    probabilities = np.eye(3, dtype=np.float32)[answers] * 0.97 + 0.01
    evaluation = evaluate(probabilities, labels, run.class_names)
    files = {
        "test.safetensors": save({"probabilities": probabilities, "labels": labels}),
        "evaluation.json": json.dumps(evaluation.as_json()).encode(),
    }
    return commit(run, files, settings={**run.about["settings"], **settings})


def test_runs_that_differ_only_in_their_seed_are_one_group(tmp_path):
    dataset = bars_dataset()
    wrongs = {1: range(9), 2: range(3), 3: range(6)}
    seeds = [planted(tmp_path / f"seed{seed}", dataset, wrong, seed=seed) for seed, wrong in wrongs.items()]
    other = planted(tmp_path / "longer", dataset, range(40), epochs=20)
    found = compare([*seeds, other])
    assert [group.runs for group in found.groups] == [("seed2", "seed3", "seed1"), ("longer",)]
    assert [group.name for group in found.groups] == ["cnn (epochs 8)", "longer"]
    assert found.groups[0].accuracy == pytest.approx(1 - 6 / 90)
    assert found.groups[0].spread == pytest.approx(3 / 90) and found.groups[1].spread is None
    right = [np.stack([correct_answers(run) for run in runs]) for runs in (seeds, [other])]
    (pair,) = found.group_pairs
    assert (pair.best, pair.other) == ("cnn (epochs 8)", "longer")
    assert [pair.difference, *pair.interval, pair.p] == pytest.approx(flat(over_seeds(*right, usual_spread(right))))


def flat(found):
    difference, interval, p = found
    return [difference, *interval, p]


@pytest.mark.parametrize("change", ["the same seed", "another setting", "other training images", "an adapted hand"])
def test_what_differs_in_more_than_the_seed_is_no_group(tmp_path, change):
    dataset = bars_dataset()
    first = planted(tmp_path / "first", dataset, seed=1)
    seed = 1 if change == "the same seed" else 2
    epochs = 9 if change == "another setting" else 8
    data = replace(dataset, train=bars(120, seed=5)) if change == "other training images" else dataset
    second = planted(tmp_path / "second", data, seed=seed, epochs=epochs)
    if change == "an adapted hand":
        second = commit(second, {"samples.safetensors": b"x"})
    found = compare([first, second])
    assert not found.grouped and len(found.groups) == 2 and found.group_pairs == ()


def test_groups_of_one_run_among_others_take_the_usual_spread(tmp_path):
    dataset = bars_dataset()
    runs = [planted(tmp_path / f"seed{seed}", dataset, range(seed), seed=seed) for seed in (1, 2)]
    runs += [planted(tmp_path / name, dataset, range(60), epochs=epochs) for name, epochs in (("a", 9), ("b", 10))]
    found = compare(runs)
    assert [pair.other for pair in found.group_pairs] == ["a", "b"]
    assert found.sentence.startswith("Over seeds cnn (epochs 8) answers 98.33")
    assert found.sentence.endswith("corrected for 3 pairs: it is more than luck.")


def test_the_images_that_divide_two_runs_are_named(tmp_path):
    dataset = bars_dataset()
    good = planted(tmp_path / "good", dataset, [3, 50])
    bad = planted(tmp_path / "bad", dataset, [3, 7, 8, 9])
    found = compare([bad, good])
    (images,) = found.disagreements
    assert (images.best, images.other) == ("good", "bad")
    assert images.only_best.tolist() == [7, 8, 9]
    assert images.only_other.tolist() == [50] and images.both_wrong.tolist() == [3]
    (pair,) = found.pairs
    assert (pair.only_best, pair.only_other, pair.both_wrong) == (3, 1, 1)


def test_p_values_are_corrected_for_every_pair_that_was_looked_at(tmp_path):
    dataset = bars_dataset()
    runs = [planted(tmp_path / str(wrong), dataset, range(wrong)) for wrong in (9, 0, 7)]
    slightly, worse = compare(runs).pairs
    assert (slightly.p, worse.p) == (2 / 2**7, 2 / 2**9)
    assert slightly.p_corrected == 2 * slightly.p  # of three: 0.0039 · 3, 0.0156 · 2, and 0.5 between the two
    assert worse.p_corrected == 3 * worse.p


def test_speed_is_measured_on_the_model_itself(tmp_path):
    small, large = bars_dataset(side=8), bars_dataset(side=64)
    fast, slow = (
        compare([evaluated(tmp_path / f"{side}{name}", dataset) for name in "ab"]).rows[0].images_per_second
        for side, dataset in ((8, small), (64, large))
    )
    assert fast > 2 * slow  # 64 times as many pixels


# Words: made-up comparisons


def row(name, accuracy=0.9, size=100, speed=1000.0, loss=0.1):
    return Row(name, name, accuracy, (0, 1), 0.1, 0.01, 5.0, size, size, 0, loss, speed)


def comparison_of(only_best, only_other, sizes=(900, 100), speeds=(1000.0, 1000.0), n=1000, more=()):
    """Two made-up runs on n images, cnn first; `more` adds p-values of runs beside them."""
    counts = (n - only_best - only_other, only_best, only_other, 0)
    a, b = np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)
    rows = [
        row(name, right.mean(), size, speed)
        for name, right, size, speed in zip(("cnn", "mlp"), (a, b), sizes, speeds, strict=True)
    ]
    pairs = [pair_of("cnn", a, "mlp", b)]
    for number, p in enumerate(more):
        rows.append(row(f"other{number}", 0.1))
        pairs.append(Pair("cnn", f"other{number}", n, 9, 0, 0, 0.009, (0.001, 0.02), p, p))
    groups = tuple(Group(each.name, (each.name,), each.accuracy, None, 0.1, 5.0, 1, 1, 1.0) for each in rows)
    return Comparison(tuple(rows), tuple(pairs), groups, (), (), "f", n)


def test_more_than_luck_in_words():
    found = comparison_of(12, 1)
    assert found.sentence == (
        "cnn answers 11 more of 1,000 images right than mlp; "
        "two equally good models would differ that much with p = 0.0034: it is more than luck."
    )
    assert found.recommendation == "Take cnn: the most accurate, by more than luck."


def test_several_pairs_in_words():
    found = comparison_of(12, 1, more=(0.001,))
    assert found.sentence.endswith("with p = 0.0034, corrected for 3 pairs: it is more than luck.")
    assert comparison_of(8, 5, more=(0.001,)).sentence.endswith("corrected for 3 pairs: it may well be luck.")


def test_luck_in_words_and_the_smaller_model_taken():
    found = comparison_of(8, 5)
    assert "p = 0.58: it may well be luck" in found.sentence
    assert found.recommended.name == "mlp"
    assert found.recommendation.startswith("Take mlp: as accurate as cnn within luck (at most 1.1")
    assert found.recommendation.endswith("points less), and 9.0× smaller.")


@pytest.mark.parametrize(
    "sizes, speeds, name, said",
    [
        ((900, 100), (1000, 4000), "mlp", "9.0× smaller and 4.0× faster."),
        ((900, 100), (4000, 1000), "mlp", "and 9.0× smaller, though 4.0× slower."),
        ((100, 90), (1000, 4000), "mlp", "and 4.0× faster."),
        ((100, 900), (1000, 4000), "mlp", "and 4.0× faster, though larger."),
        ((100, 90), (1000, 1100), "cnn", "none as accurate is clearly smaller or faster."),
        ((100, 900), (1000, 300), "cnn", "none as accurate is clearly smaller or faster."),
    ],
)
def test_size_then_speed_decide_where_accuracy_does_not(sizes, speeds, name, said):
    found = comparison_of(8, 5, sizes, speeds)
    assert found.recommended.name == name
    assert found.recommendation.endswith(said)


def test_neither_size_nor_speed_outweighs_what_is_more_than_luck():
    assert comparison_of(12, 1, (900, 100), (1, 1000)).recommended.name == "cnn"


def test_a_tie_in_words():
    assert comparison_of(5, 5).sentence == "cnn and mlp answer equally many of 1,000 images right."


def over_seeds_of(p, pairs=True):
    """Made-up groups: three seeds of mlp, and where asked a single run of linear."""
    rows = [row("m1", 0.95, loss=0.3), row("m2", 0.94, loss=0.2), row("m3", 0.93, loss=0.25), row("l1", 0.9, size=10)]
    mlp = Group("mlp", ("m1", "m2", "m3"), 0.94, 0.01, 0.1, 5.0, 100, 100, 1000.0)
    linear = Group("linear", ("l1",), 0.9, None, 0.1, 5.0, 10, 10, 1000.0)
    pair = GroupPair("mlp", "linear", 0.04, (0.01, 0.07), p, p)
    if not pairs:
        return Comparison(tuple(rows[:3]), (), (mlp,), (), (), "f", 1000)
    return Comparison(tuple(rows), (), (mlp, linear), (pair,), (), "f", 1000)


def test_seeds_in_words_and_the_run_chosen_by_validation():
    found = over_seeds_of(p=0.002)
    assert found.sentence.replace("\u202f", " ") == (
        "Over seeds mlp answers 94.00 % right and linear 90.00 %; with other seeds and other test images, equally good "
        "settings would differ that much with p = 0.002: it is more than luck."
    )
    assert found.recommended.name == "m2"  # not m1, which the test images would choose
    assert found.recommendation == (
        "Take mlp: the most accurate, by more than luck. Of its seeds, m2 has the lowest validation loss."
    )


def test_seeds_that_leave_it_open_let_size_decide():
    found = over_seeds_of(p=0.2)
    assert found.sentence.endswith("p = 0.20: it may well be luck.")
    assert found.recommended.name == "l1"
    assert found.recommendation.startswith("Take linear: as accurate as mlp within luck (at most 7.00 points less)")


def test_seeds_of_one_model_alone_show_what_luck_does():
    found = over_seeds_of(p=0.2, pairs=False)
    assert found.sentence.replace("\u202f", " ").startswith("mlp from 3 seeds answers 94.00 % ± 1.00 % of 1,000 images")
    assert found.recommended.name == "m2"


def test_the_sentences_go_through_the_language():
    shouting = Shouting()
    for found in (comparison_of(12, 1), comparison_of(8, 5), over_seeds_of(0.2), over_seeds_of(0.2, pairs=False)):
        for words in (verdict(found, shouting), advice(found, shouting)):
            assert words.startswith("TRANSLATED")


class Shouting(Language):
    """Marks whatever passes through it."""

    def __call__(self, text, **values):
        return "TRANSLATED " + super().__call__(text, **values)


def test_the_json_holds_plain_numbers_and_both_sentences(tmp_path):
    dataset = bars_dataset()
    found = compare([planted(tmp_path / "a", dataset), planted(tmp_path / "b", dataset, range(20))])
    values = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert values["recommended"] == "a" and values["sentence"] == found.sentence
    assert [row["name"] for row in values["rows"]] == ["a", "b"]
    assert values["pairs"][0]["only_best"] == 20 and values["pairs"][0]["p"] == 2 / 2**20
    assert values["disagreements"][0]["only_best"] == list(range(20))
    assert values["groups"][0]["spread"] is None and values["n"] == 90


def test_the_table_names_cost_and_what_divides_the_runs(tmp_path, command):
    dataset = bars_dataset()
    folders = [planted(tmp_path / "a", dataset).folder, planted(tmp_path / "b", dataset, range(20)).folder]
    status, out, _ = command("compare", *folders)
    assert status == 0
    assert re.search(r"^a +cnn +100.00 %.* 12.0 s +192 +0.0 MB +[\d,]+$", out, flags=re.MULTILINE)
    assert re.search(r"^b +20 +0 +0 +22.22 .* < 0.0001 +< 0.0001$", out, flags=re.MULTILINE)


def test_the_table_of_seeds_has_mean_and_spread(tmp_path, command):
    dataset = bars_dataset()
    runs = [planted(tmp_path / f"seed{seed}", dataset, range(9 * seed), seed=seed) for seed in (0, 2)]
    _, out, _ = command("compare", *(run.folder for run in runs))
    assert re.search(r"^cnn +2 +90.00 % +14.14 %", out, flags=re.MULTILINE)
