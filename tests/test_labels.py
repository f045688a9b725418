"""Wrong labels, planted into answers: found, and none found where none was planted."""

import warnings

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from guarismo.data.sources import load
from guarismo.results.answers import tempered
from guarismo.results.labels import doubtful, wrong_labels


@pytest.fixture(scope="module")
def answered():
    """Answers of a small network to 1,500 of the embedded digits that it did not learn, and their labels."""
    train = load("digits").train
    train = train.take(np.random.default_rng(0).permutation(len(train)))
    pixels = train.images.reshape(len(train), -1) / 255
    network = MLPClassifier(64, max_iter=10, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that ten epochs are few
        network.fit(pixels[:2_000], train.labels[:2_000])
    return network.predict_proba(pixels[2_000:]).astype(np.float32), train.labels[2_000:]


def changed(labels, share, classes=10, seed=0):
    """Labels of which a share is another class, and which."""
    rng = np.random.default_rng(seed)
    which = rng.choice(len(labels), round(share * len(labels)), replace=False)
    made = labels.copy()
    made[which] = (made[which] + rng.integers(1, classes, len(which))) % classes
    return made, which


def test_right_labels_are_left_alone(answered):
    probabilities, labels = answered
    assert wrong_labels(probabilities, labels) is None
    assert wrong_labels(tempered(probabilities, 0.4), labels) is None, "nor by a model that is far too sure"


@pytest.mark.parametrize("share", [0.02, 0.05, 0.2])
def test_changed_labels_are_found(answered, share):
    probabilities, labels = answered
    made, which = changed(labels, share)
    found = wrong_labels(probabilities, made, "test")
    assert found.number == pytest.approx(share, rel=0.3) and found.split == "test"
    assert np.isin(found.images, which).mean() > 0.7, "of those named, changed"
    assert np.isin(which, found.images).mean() > 0.7, "of those changed, named"


def test_a_few_changed_labels_are_told_by_being_the_least_likely(answered):
    probabilities, labels = answered
    made, which = changed(labels, 4 / len(labels))
    assert np.isin(which, doubtful(probabilities, made)[:40]).sum() >= 3


def test_the_least_likely_label_comes_first():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    assert doubtful(probabilities, np.array([0, 0, 0])).tolist() == [1, 2, 0]


def test_labels_of_few_images_are_not_judged():
    assert wrong_labels(np.eye(2)[[0, 1, 1]], np.array([0, 1, 0])) is None
    assert wrong_labels(np.empty((0, 10)), np.empty(0, dtype=np.int64)) is None


def test_votes_are_no_probabilities():
    """None of nine neighbours is of the right class: that is an error, and no wrong label."""
    labels = np.arange(1_000) % 10
    votes = np.eye(10)[labels]
    votes[::50] = np.eye(10)[(labels[::50] + 1) % 10]
    assert wrong_labels(votes, labels) is None


def test_a_thousand_classes():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1_000, 500)
    logits = rng.normal(0, 1, (500, 1_000))
    logits[np.arange(500), labels] += 11
    probabilities = tempered(np.exp(logits), 1.0)
    assert wrong_labels(probabilities, labels) is None
    made, which = changed(labels, 0.05, 1_000)
    assert np.isin(wrong_labels(probabilities, made).images, which).mean() > 0.9
