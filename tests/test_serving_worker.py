"""The worker's side: messages come through whole, and a task's errors become words."""

import io

import pytest

import serving_tasks as tasks
from guarismo.serving.worker import answer, arguments_of, packed, received, task_message


def call(task, *arguments):
    """Head and body of the answer to a call."""
    message = received(io.BytesIO(task_message(f"{task.__module__}:{task.__name__}", arguments, 1)))
    return received(io.BytesIO(answer(*message)))


def test_arguments_and_answer_come_through_whole():
    assert call(tasks.echo, "¿7?", bytes(range(256))) == ({}, "¿7?".encode() + bytes(range(256)))


def test_bytes_stand_where_they_stood():
    head, body = received(io.BytesIO(task_message("a:b", [1, b"one", None, b"", b"two", True], 1)))
    assert arguments_of(head["arguments"], body) == [1, b"one", None, b"", b"two", True]


@pytest.mark.parametrize("length", [0, 7, 9, 20])
def test_a_message_that_breaks_off_is_none(length):
    assert received(io.BytesIO(packed({"task": "a:b"}, b"content")[:length])) is None


@pytest.mark.parametrize(("kind", "error"), [("data", "DataError"), ("run", "RunError")])
def test_an_error_that_helps_keeps_its_words(kind, error):
    assert call(tasks.refuse, kind)[0] == {"error": error, "detail": f"a {kind} error"}


def test_an_error_that_nobody_foresaw_brings_its_traceback():
    head, _ = call(tasks.refuse, "bug")
    assert head["error"] == "Exception"
    assert "ZeroDivisionError: a bug error" in head["detail"]
