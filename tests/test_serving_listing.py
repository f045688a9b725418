"""GET /v1/runs: sound runs with their figures, the newest first, and reports of those that were evaluated."""

import os

import pytest

from guarismo.data.sources import load
from guarismo.results.evaluation import evaluate_run
from guarismo.serving.listing import listed
from served import serving
from tiny_run import bars_dataset, make_run


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A folder with an evaluated run of the embedded digits, one without evaluation, and what is no run."""
    parent = tmp_path_factory.mktemp("parent") / "runs"
    digits = load("digits")
    evaluate_run(make_run(parent / "dígitos 1", digits, model="linear"), digits)
    make_run(parent / "rows", bars_dataset())
    make_run(parent / "damaged", bars_dataset())
    (parent / "damaged" / "run.json").write_text("{}")
    (parent / "notes").mkdir()
    (parent / "page.html").write_text("no run")
    for age, name in enumerate(["rows", "dígitos 1"]):
        os.utime(parent / name / "run.json", (10**9 - age, 10**9 - age))
    return parent


def test_sound_runs_are_listed_the_newest_first(parent):
    rows, digits = listed(parent)
    assert rows == {
        "name": "rows",
        "model": "cnn",
        "data": "bars",
        "parameters": 192,
        "validation_accuracy": 0.9,
        "test_accuracy": None,
        "seconds": 12.0,
        "report": None,
    }
    assert digits["report"] == "/v1/runs/d%C3%ADgitos%201/report"
    assert 0 <= digits["test_accuracy"] <= 1


def test_no_folder_is_no_runs(tmp_path):
    assert listed(tmp_path / "nothing") == []


def test_the_server_lists_them_and_writes_the_report_of_an_evaluated_one(parent, tmp_path):
    with serving(tmp_path / "log", "--runs", parent, "--workers", 1) as server:
        rows = server.get("/v1/runs").json()["runs"]
        assert [row["name"] for row in rows] == ["rows", "dígitos 1"]
        answer = server.get(rows[1]["report"])
        assert answer.status_code == 200, answer.text
        assert "dígitos 1" in answer.text
        assert "sandbox" in answer.headers["content-security-policy"]
        for name in ("rows", "damaged", "nothing", "..", "%2e%2e"):
            assert server.get(f"/v1/runs/{name}/report").status_code == 404
    assert sorted(path.name for path in parent.iterdir()) == ["damaged", "dígitos 1", "notes", "page.html", "rows"]
