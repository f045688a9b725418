"""Metrics: what was asked is counted under its route, whatever clients write into their paths."""

import re

import pytest

from served import serving


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A server of which only this file asks."""
    folder = tmp_path_factory.mktemp("counting")
    with serving(folder / "log", "--workers", 1) as server:
        yield server


def figure(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, flags=re.MULTILINE)
    assert found, f"{name} is not in:\n{text}"
    return float(found[1])


def test_requests_batches_and_times_are_counted(counting):
    for k in range(1, 4):
        assert counting.post("/v1/predict", json={"images": [[[0] * 28] * 28] * k}).status_code == 200
    counting.post("/v1/predict", json={})
    answer = counting.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert figure(answer.text, 'guarismo_requests_total{path="/v1/predict",status="200"}') == 3
    assert figure(answer.text, 'guarismo_requests_total{path="/v1/predict",status="422"}') == 1
    assert figure(answer.text, 'guarismo_request_seconds_count{path="/v1/predict"}') == 4
    assert figure(answer.text, "guarismo_batch_images_sum") == 6
    assert figure(answer.text, "guarismo_images_waiting") == 0
    assert figure(answer.text, "guarismo_photos_waiting") == 0
    assert figure(answer.text, "guarismo_requests_in_progress") == 1  # this one


def test_paths_that_clients_make_up_are_one_line(counting):
    for path in ("/made-up-1", "/made-up-2", "/v2/models/made-up-3", "/page/made-up-4"):
        assert counting.get(path).status_code == 404
    text = counting.get("/metrics").text
    assert "made-up" not in text
    assert figure(text, 'guarismo_requests_total{path="other",status="404"}') == 2
    assert figure(text, 'guarismo_requests_total{path="/v2/models/{name}",status="404"}') == 1
