"""Lessons of a hand in a worker: the same computation as `adapt`, and a reader that reads with what was learnt."""

import io

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays

from guarismo.data.sources import load
from guarismo.reading.adaptation import Samples, adapt
from guarismo.reading.reader import SHIPPED, open_reader, shipped_reader
from guarismo.serving.teaching import hand_reader, lesson, prepare
from guarismo.serving.worker import received
from tiny_run import bars_dataset, make_run

RUN = str(SHIPPED)


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray, np.ndarray]:
    """Six digits of three kinds."""
    digits = load("digits").test
    chosen = np.flatnonzero(digits.labels < 3)[:6]
    return digits.images[chosen, ..., 0], digits.labels[chosen].astype(np.uint8)


def learnt(images: np.ndarray, labels: np.ndarray, run: str = RUN) -> tuple[dict, bytes]:
    return received(io.BytesIO(lesson(run, images.tobytes(), labels.tobytes())))


@pytest.fixture(scope="module")
def taught(samples):
    prepare(RUN)
    return learnt(*samples)


def test_a_lesson_is_what_adapt_computes(taught, samples, tmp_path):
    head, body = taught
    images, labels = samples
    names = tuple(map(str, range(len(labels))))
    run, adaptation = adapt(Samples(images, labels.astype(np.int64), names), folder=tmp_path / "run")
    weights = body[: head["lengths"][0]]
    np.testing.assert_allclose(
        hand_reader(RUN, weights).judge(images), open_reader(run.folder).judge(images), atol=1e-5
    )
    assert head["counts"] == adaptation.counts
    assert head["after"] == {
        "right": adaptation.left_out[1],
        "of": len(labels),
        "mnist": round(adaptation.mnist[1] / adaptation.mnist[2], 5),
    }
    assert head["answers"] == [list(each) for each in adaptation.answers]
    assert head["about"]["adapted"] == run.about["adapted"]


def test_a_hands_reader_is_surer_of_its_samples(taught, samples):
    head, body = taught
    images, labels = samples
    places = np.arange(len(labels)), labels
    before = shipped_reader().judge(images)[places]
    after = hand_reader(RUN, body[: head["lengths"][0]]).judge(images)[places]
    assert after.mean() > before.mean()


def test_the_samples_travel_with_the_lesson(taught, samples):
    head, body = taught
    arrays = load_arrays(body[sum(head["lengths"][:2]) :])
    np.testing.assert_array_equal(arrays["images"], samples[0])


def test_a_sample_sent_twice_is_learnt_once_and_answered_twice(taught, samples):
    images, labels = (np.concatenate([part, part[:1]]) for part in samples)
    head, _ = learnt(images, labels)
    assert sum(head["counts"].values()) == len(samples[1])
    assert head["answers"][-1] == head["answers"][0]


def test_wrong_labels_teach_nothing_and_say_why():
    digits = load("digits").test
    head, body = learnt(digits.images[:12, ..., 0], ((digits.labels[:12] + 1) % 10).astype(np.uint8))
    assert not head["learnt"]
    assert "surely other digits than their labels say" in head["message"]
    assert (head["before"], head["after"], head["answers"], body) == (None, None, [], b"")


def test_a_run_that_cannot_learn_is_prepared_all_the_same_and_says_so(tmp_path, samples):
    images = bars_dataset(10, tuple("0123456789"), side=28)
    run = str(make_run(tmp_path / "run", images).folder)
    assert prepare(run) == b""
    head, _ = learnt(*samples, run)
    assert not head["learnt"] and "Adapting needs the network `reader`" in head["message"]
