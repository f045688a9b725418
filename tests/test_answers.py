"""Faults planted into answers, and answers of a healthy model: one that is right 97 times of 100 and knows it."""

import numpy as np
import pytest

from guarismo.models.training import temperature_of
from guarismo.results.answers import (
    collapse,
    confidence,
    confusable_pairs,
    dead_classes,
    imbalance,
    tempered,
    unseen_classes,
)

NAMES = tuple("0123456789")


def answers(n=3_000, classes=10, sharpness=8.0, seed=0):
    """Probabilities and labels drawn from them: what is said to be right so often is."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(0, 1.5, (n, classes))
    logits[np.arange(n), labels] += sharpness
    return tempered(np.exp(logits - logits.max(axis=1, keepdims=True)), 1.0).astype(np.float32), labels


def honest(n=3_000, classes=10, seed=0):
    """Labels that are drawn from the probabilities themselves."""
    probabilities, _ = answers(n, classes, seed=seed)
    rng = np.random.default_rng(seed)
    labels = (probabilities.cumsum(axis=1) > rng.random((n, 1)) * probabilities.sum(axis=1, keepdims=True)).argmax(1)
    return probabilities, labels


def swapped(probabilities, rows, one, other):
    """The answers to some rows with two classes exchanged."""
    made = probabilities.copy()
    made[np.ix_(rows, [one, other])] = made[np.ix_(rows, [other, one])]
    return made


def test_a_healthy_model_is_passed_over_in_silence():
    probabilities, labels = honest()
    counts = np.full(10, 500)
    assert collapse(probabilities, labels, NAMES) is None
    assert dead_classes(probabilities, labels, NAMES) is None
    assert unseen_classes(labels, NAMES) is None
    assert confusable_pairs(probabilities, labels, NAMES) == []
    assert confidence(probabilities, labels, 1.0) is None
    assert imbalance(counts, probabilities, labels, NAMES) is None


def test_nothing_is_said_of_no_images():
    none, labels = np.empty((0, 10), np.float32), np.empty(0, np.int64)
    assert collapse(none, labels, NAMES) is None and dead_classes(none, labels, NAMES) is None
    assert unseen_classes(labels, NAMES) is None and confusable_pairs(none, labels, NAMES) == []
    assert confidence(none, labels, 1.0) is None and imbalance(np.full(10, 5), none, labels, NAMES) is None


def test_a_collapse_onto_one_class_is_found():
    probabilities, labels = answers()
    probabilities[:] = np.eye(10, dtype=np.float32)[3]
    found = collapse(probabilities, labels, NAMES)
    assert found.classes == (3,) and found.number == 1 and "100.00" in found.sentence()
    assert (labels[found.images] != 3).all()


def test_a_common_class_is_no_collapse_while_the_others_are_found():
    probabilities, labels = answers()
    keep = (labels == 3) | (np.arange(3_000) < 60)
    assert (labels[keep] == 3).mean() > 0.8
    assert collapse(probabilities[keep], labels[keep], NAMES) is None


def test_a_class_that_is_never_answered_is_found():
    probabilities, labels = answers()
    probabilities[:, 7] = 0
    found = dead_classes(probabilities, labels, NAMES, "test")
    assert found.classes == (7,) and "Class 7 is never answered" in found.sentence()
    assert (labels[found.images] == 7).all() and found.split == "test"
    probabilities[:, [2, 5]] = 0
    assert "3 classes are never answered" in dead_classes(probabilities, labels, NAMES).sentence()


def test_a_class_of_two_images_may_be_missed_by_chance():
    probabilities, labels = answers(300)
    keep = (labels != 7) | (labels.cumsum() < 0)
    two = np.flatnonzero(labels == 7)[:2]
    keep[two] = True
    probabilities[two] = np.eye(10, dtype=np.float32)[1]
    probabilities[np.flatnonzero(labels == 2)[:20]] = np.eye(10, dtype=np.float32)[1]
    assert dead_classes(probabilities[keep], labels[keep], NAMES) is None


def test_a_class_without_images_is_told_by_name():
    _, labels = answers()
    found = unseen_classes(labels[labels != 4], NAMES, "test")
    assert found.classes == (4,) and "Class 4 has no image" in found.sentence()


def test_two_classes_that_are_mixed_up_are_found_in_both_directions():
    probabilities, labels = answers()
    fours, nines = np.flatnonzero(labels == 4)[:30], np.flatnonzero(labels == 9)[:50]
    probabilities = swapped(probabilities, np.concatenate([fours, nines]), 4, 9)
    (found,) = confusable_pairs(probabilities, labels, NAMES)
    assert found.classes == (9, 4)
    assert (found.values["there"], found.values["back"]) == (
        int(((labels == 9) & (probabilities.argmax(axis=1) == 4)).sum()),
        int(((labels == 4) & (probabilities.argmax(axis=1) == 9)).sum()),
    )
    assert found.values["there"] >= 45 and found.values["back"] >= 25
    sure = probabilities.max(axis=1)[found.images]
    assert (np.diff(sure) <= 0).all(), "the surest errors first"


def test_at_most_three_pairs_are_told_the_worst_first():
    probabilities, labels = answers()
    for one in range(0, 10, 2):
        probabilities = swapped(probabilities, np.flatnonzero(labels == one)[: 40 + 10 * one], one, one + 1)
    found = confusable_pairs(probabilities, labels, NAMES)
    assert [set(finding.classes) for finding in found] == [{8, 9}, {6, 7}, {4, 5}]


def test_too_sure_answers_are_found_with_the_temperature_that_mends_them():
    probabilities, labels = honest()
    sharp = tempered(probabilities, 0.33).astype(np.float32)
    temperature = temperature_of(sharp, labels)
    found = confidence(sharp, labels, temperature)
    assert found.name == "over-confidence" and temperature == pytest.approx(3, rel=0.1)
    assert found.values["after"] < 0.5 * found.values["before"] == 0.5 * found.number
    assert (sharp.argmax(axis=1)[found.images] != labels[found.images]).all()


def test_too_unsure_answers_are_found_as_well():
    probabilities, labels = honest()
    flat = tempered(probabilities, 3).astype(np.float32)
    found = confidence(flat, labels, temperature_of(flat, labels))
    assert found.name == "under-confidence" and found.values["after"] < found.values["before"]


def test_rare_classes_that_are_missed_are_found():
    probabilities, labels = answers()
    counts = np.array([500] * 8 + [40, 20])
    rare = np.flatnonzero(labels >= 8)
    probabilities = swapped(probabilities, rare[:200], 8, 1)
    found = imbalance(counts, probabilities, labels, NAMES)
    assert set(found.classes) == {8, 9} and found.values["others"] > found.values["found"] + 0.1
    assert (labels[found.images] >= 8).all()


def test_rare_classes_that_are_found_all_the_same_are_no_fault():
    probabilities, labels = answers()
    assert imbalance(np.array([500] * 8 + [40, 20]), probabilities, labels, NAMES) is None


def test_a_thousand_classes_with_names_of_any_kind():
    names = tuple(f"<b>{k}</b> {{x}}" for k in range(1_000))
    probabilities, labels = answers(6_000, 1_000, sharpness=14, seed=1)
    kept = labels != 5
    probabilities, labels = probabilities[kept], labels[kept]
    probabilities[labels == 1] = np.eye(1_000, dtype=np.float32)[2]
    (pair,) = confusable_pairs(probabilities, labels, names)
    assert pair.classes == (1, 2) and "<b>1</b> {x} and <b>2</b> {x} are mixed up" in pair.sentence()
    assert dead_classes(probabilities, labels, names).classes == (1,)
    unseen = unseen_classes(labels, names)
    assert 5 in unseen.classes and ", <b>5</b> {x} for one" in unseen.sentence()
