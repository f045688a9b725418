"""POST /v1/predict: the run's own answers, as JSON and as bytes; what is wrong is told in a problem document."""

import numpy as np
import pytest

from guarismo.data.sources import load
from guarismo.reading.reader import shipped_reader
from served import serving
from tiny_run import bars_dataset, make_run

BINARY = "application/octet-stream"


@pytest.fixture(scope="module")
def digits():
    """20 digits (n, 28, 28), and what the shipped reader says of them."""
    images = load("digits").train.images[:2000:100, ..., 0]
    return images, shipped_reader().judge(images)


def test_json_is_answered_with_the_probabilities_of_the_reader(served, digits):
    images, expected = digits
    answer = served.post("/v1/predict", json={"images": images.tolist()})
    assert answer.headers["content-type"] == "application/json"
    assert np.allclose(answer.json()["probabilities"], expected, atol=1e-6)
    assert answer.json()["labels"] == [str(k) for k in expected.argmax(axis=1)]


def test_bytes_are_answered_with_bytes(served, digits):
    images, expected = digits
    headers = {"Content-Type": BINARY, "X-Shape": "20,28,28", "Accept": BINARY}
    answer = served.post("/v1/predict", data=images.tobytes(), headers=headers)
    assert answer.headers["content-type"] == BINARY
    assert answer.headers["x-shape"] == "20,10"
    assert np.allclose(np.frombuffer(answer.content, "<f4").reshape(20, 10), expected, atol=1e-6)


def test_more_images_than_a_batch_come_back_in_their_order(served, digits):
    images, expected = digits
    answer = served.post("/v1/predict", json={"images": np.concatenate([images] * 6).tolist()})
    assert np.allclose(answer.json()["probabilities"], np.concatenate([expected] * 6), atol=1e-6)


def test_a_run_of_another_shape_and_other_classes_answers_as_well(tmp_path):
    run = make_run(tmp_path / "rows", dataset := bars_dataset())
    images = dataset.test.images[:5]
    with serving(tmp_path / "log", run.folder, "--workers", 1) as server:
        answer = server.post("/v1/predict", json={"images": images[..., 0].tolist()}).json()
        assert np.allclose(answer["probabilities"], run.predict(images), atol=1e-6)
        assert answer["labels"] == [f"row {k}" for k in run.predict(images).argmax(axis=1)]
        assert server.post("/v1/predict", json={"images": [[[0] * 28] * 28]}).status_code == 422


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        ({"Content-Type": "application/json"}, b"{", 400, "no JSON"),
        ({"Content-Type": "application/json"}, b"[]", 422, "Expected a JSON object"),
        ({"Content-Type": "application/json"}, b'{"images": [[[0]]]}', 422, "28×28"),
        ({"Content-Type": "text/plain"}, b"{}", 415, "received 'text/plain'"),
        ({}, b"{}", 415, "received ''"),
        ({"Content-Type": BINARY}, bytes(784), 422, "X-Shape"),
        ({"Content-Type": BINARY, "X-Shape": "1,28,28"}, bytes(783), 422, "784 values"),
        ({"Content-Type": BINARY, "X-Shape": "9999999999999999999999,28,28"}, bytes(784), 422, "from 1 to 1,024"),
    ],
)
def test_what_is_wrong_is_told_in_a_problem_document(served, headers, body, status, words):
    answer = served.post("/v1/predict", data=body, headers=headers)
    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
