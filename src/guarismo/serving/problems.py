"""What went wrong, over HTTP: every error is an RFC 9457 problem document."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guarismo.errors import DataError, GuarismoError

MEDIA_TYPE = "application/problem+json"
INFERENCE = "/v2/"
"""Paths of the Open Inference Protocol, whose clients look for the member `error`."""
log = logging.getLogger("guarismo.serving")


class Problem(Exception):  # noqa: N818  the word of RFC 9457
    """A request that cannot be answered: its status, a title of few words, a sentence that helps, further headers."""

    def __init__(self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.status, self.title, self.detail, self.headers = status, title, detail, dict(headers or {})

    def response(self, **more: Any) -> Response:
        """The problem document, with further members."""
        body = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail, **more}
        return Response(orjson.dumps(body), self.status, self.headers, MEDIA_TYPE)


def busy(what: str, seconds: int = 1) -> Problem:
    """503 with Retry-After: a bounded queue is full, or the server is stopping."""
    return Problem(503, "Busy", f"{what} Try again in {seconds} s.", {"Retry-After": str(seconds)})


def problem_of(error: Exception) -> Problem:
    """The Problem of any error; what nobody foresaw is logged with an id and answered without its traceback."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, DataError):
        return Problem(422, "Unreadable", str(error))
    if isinstance(error, GuarismoError):
        return Problem(400, "Not possible", str(error))
    if isinstance(error, HTTPException):
        return of_framework(error)
    mark = secrets.token_hex(4)
    log.error("%s: unexpected %s", mark, type(error).__name__, exc_info=error)
    return Problem(500, "Unexpected error", f"The server met a fault of its own. Its log tells more under {mark}.")


def of_framework(error: HTTPException) -> Problem:
    """Starlette's own errors: no such path, wrong method, a form that is none."""
    title = HTTPStatus(error.status_code).phrase
    remedies = {
        404: "There is nothing at this path. /openapi.json lists what there is.",
        405: f"This path takes {(error.headers or {}).get('Allow', 'other methods')}. Use one of these methods.",
    }
    return Problem(error.status_code, title, remedies.get(error.status_code, str(error.detail)), error.headers)


def of_validation(errors: list[Mapping[str, Any]]) -> Problem:
    """422 for what a path, query or form field is not: where, and what was expected of it."""
    first = errors[0]
    where = " → ".join(str(part) for part in first["loc"])
    return Problem(422, "Wrong parameter", f"{where}: {first['msg']}. /openapi.json describes the request.")


class ProblemAnswers:
    """ASGI middleware: whatever is raised inside becomes a problem document, if no answer has begun."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:  # nobody is left to be told
            return
        except Exception as error:  # the last place where anything can be answered
            problem = problem_of(error)
            if not begun:
                more = {"error": problem.detail} if scope["path"].startswith(INFERENCE) else {}
                await problem.response(**more)(scope, receive, send)
