"""The application as its document describes it, and hostile requests made from that document."""

from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from guarismo.errors import RunError
from guarismo.serving.api import any_reader, create_app
from guarismo.serving.settings import ServeSettings
from tiny_run import bars_dataset, make_run

OPERATIONS = {
    ("post", "/v1/read"),
    ("post", "/v1/predict"),
    ("get", "/v1/runs"),
    ("get", "/v1/runs/{name}/report"),
    ("get", "/v2"),
    ("get", "/v2/health/live"),
    ("get", "/v2/health/ready"),
    ("get", "/v2/models/{name}"),
    ("get", "/v2/models/{name}/ready"),
    ("post", "/v2/models/{name}/infer"),
    ("get", "/metrics"),
}


@pytest.fixture(scope="module")
def document(served):
    return served.get("/openapi.json").json()


def test_every_path_is_described_with_its_bodies_answers_and_problems(document):
    described = {
        (method, path): what for path, methods in document["paths"].items() for method, what in methods.items()
    }
    assert set(described) >= OPERATIONS
    for (_, path), what in described.items():
        assert what["description"], path
        assert set(what["responses"]) >= {"4XX", "5XX"}, path
        assert "422" not in what["responses"], "errors have one shape"
    for path in ("/v1/predict", "/v1/read", "/v2/models/{name}/infer"):
        assert described["post", path]["requestBody"]["content"]
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_document_says_where_a_token_is_needed(document):
    assert "security" not in document
    guarded = create_app(ServeSettings(token="a-token-of-some-length")).openapi()
    assert guarded["security"] == [{"token": []}]
    assert guarded["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_there_is_no_page_with_scripts_from_elsewhere(served):
    assert served.get("/docs").status_code == served.get("/redoc").status_code == 404


def test_another_method_is_told_which_there_are(served):
    answer = served.get("/v1/predict")
    assert answer.status_code == answer.json()["status"] == 405
    assert "POST" in answer.json()["detail"] and answer.headers["allow"] == "POST"


def test_a_wrong_parameter_is_a_problem_document(served):
    answer = served.post("/v1/read?page=none", data=b"", headers={"Content-Type": "image/png"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("query → page")


def test_only_a_finished_run_is_served(tmp_path):
    run = make_run(tmp_path / "run", bars_dataset())
    assert any_reader(run.folder).run.shape == (8, 8, 1)
    with pytest.raises(RunError, match="is not a run"):
        any_reader(tmp_path)


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = {GenerationMode.POSITIVE: 10, GenerationMode.NEGATIVE: 50}


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_the_document_allows_or_forbids_is_answered_as_it_says(served, mode):
    """Right and wrong values for every path: no fault of our own, and each answer of a described kind."""
    document = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= len(OPERATIONS)
    for operation in operations:

        @settings(max_examples=EXAMPLES[mode], derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            case.call_and_validate(checks=CHECKS)

        with suppress(Unsatisfiable):  # nothing can be wrong with a path that takes nothing
            ask()
    assert served.process.poll() is None
    assert "Traceback" not in served.log.read_text()
