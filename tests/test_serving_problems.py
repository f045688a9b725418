"""Problem documents: each error has its status and words, and a fault of our own shows nothing of itself."""

import asyncio
import logging

import orjson
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from guarismo.errors import DataError, RunError
from guarismo.serving.problems import Problem, ProblemAnswers, busy, of_validation, problem_of


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (Problem(415, "Unknown", "No picture."), 415, "No picture."),
        (DataError("photo.jpg ends early."), 422, "photo.jpg ends early."),
        (RunError("No run."), 400, "No run."),
        (HTTPException(404), 404, "/openapi.json"),
        (HTTPException(405, headers={"Allow": "POST"}), 405, "takes POST"),
        (HTTPException(400, "Missing boundary"), 400, "Missing boundary"),
    ],
)
def test_each_error_has_its_status_and_words(error, status, detail):
    problem = problem_of(error)
    assert problem.status == status
    assert detail in problem.detail


def test_a_full_queue_says_when_to_come_again():
    problem = busy("All wait.", 3)
    assert (problem.status, problem.headers) == (503, {"Retry-After": "3"})


def test_a_wrong_parameter_is_named():
    told = of_validation([{"loc": ("query", "page"), "msg": "Input should be greater than or equal to 1"}])
    assert told.status == 422
    assert told.detail.startswith("query → page: Input should be greater")


def asked(error: Exception, path: str = "/") -> list[dict]:
    """What is sent where `error` is raised inside."""
    sent = []

    async def fails(scope, receive, send):
        raise error

    async def send(message):
        sent.append(message)

    asyncio.run(ProblemAnswers(fails)({"type": "http", "path": path}, None, send))
    return sent


def test_a_fault_of_our_own_is_logged_under_an_id_and_shows_nothing_else(caplog):
    with caplog.at_level(logging.ERROR, "guarismo.serving"):
        start, body = asked(ValueError("the secret of /etc/passwd"))
    document = orjson.loads(body["body"])
    assert start["status"] == document["status"] == 500
    assert b"secret" not in body["body"] and b"Traceback" not in body["body"]
    mark = document["detail"].split()[-1].rstrip(".")
    assert mark in caplog.text and "the secret" in caplog.text


def test_where_the_client_has_left_nothing_is_said(caplog):
    assert asked(ClientDisconnect()) == []
    assert not caplog.records


def test_clients_of_the_inference_protocol_find_the_member_that_they_look_for():
    assert (
        orjson.loads(asked(Problem(404, "No", "No such model."), "/v2/models/x")[1]["body"])["error"]
        == "No such model."
    )
    assert "error" not in orjson.loads(asked(Problem(404, "No", "No such path."), "/v1/x")[1]["body"])


def test_an_answer_that_has_begun_is_not_begun_again():
    sent = []

    async def half(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Problem(422, "Late", "Too late.")

    async def send(message):
        sent.append(message)

    asyncio.run(ProblemAnswers(half)({"type": "http", "path": "/"}, None, send))
    assert [message["type"] for message in sent] == ["http.response.start"]
