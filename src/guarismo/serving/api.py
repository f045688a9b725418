"""The application: what is served, behind its middleware, and its description at /openapi.json."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from guarismo.models.runs import open_run
from guarismo.reading.reader import SHIPPED, Reader, reader_of, shipped_reader
from guarismo.serving import hands, infer, listing, pagefiles, photos
from guarismo.serving.batching import Batcher
from guarismo.serving.detail import prepare
from guarismo.serving.limits import Bodies, Door, Shielded
from guarismo.serving.metrics import Measured, Metrics
from guarismo.serving.predicting import Direct, predict, predict_router
from guarismo.serving.problems import MEDIA_TYPE, ProblemAnswers, of_framework, of_validation
from guarismo.serving.settings import ServeSettings
from guarismo.serving.workers import Workers

PROBLEM = {
    "description": "An RFC 9457 problem document: what was expected, what came, what to do.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
DESCRIPTION = "Handwritten digits, read on this machine. Errors are problem documents; 503 says when to come again."


def create_app(settings: ServeSettings, folder: Path | None = None) -> FastAPI:
    """The application that serves the run in `folder`, or the reader that comes with the package.

    Raises RunError when the folder is no finished run.
    """
    app = FastAPI(
        title="Guarismo",
        version=version("guarismo"),
        description=DESCRIPTION,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses={"4XX": PROBLEM, "5XX": PROBLEM},
        exception_handlers={HTTPException: framework_answer, RequestValidationError: validation_answer},
    )
    keep_state(app, settings, folder)
    run = app.state.reader.run
    predicting = predict_router(run.shape, run.class_names)
    for router in (predicting, infer.router, photos.router, hands.router, listing.router, pagefiles.router):
        app.include_router(router)
    app.router.routes.insert(0, Direct("/v1/predict", predict, methods=["POST"]))
    app.add_api_route("/metrics", metrics, methods=["GET"], tags=["metrics"], response_class=Response)
    for middleware, options in reversed(stack(app)):  # the last one added is the first to be asked
        app.add_middleware(middleware, **options)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]  # FastAPI's own way to extend its document
    return app


def keep_state(app: FastAPI, settings: ServeSettings, folder: Path | None) -> None:
    """What the paths share: settings, readers, the batcher and the counters."""
    reader = any_reader(folder) if folder else shipped_reader()
    digits = reader.run.shape == (28, 28, 1) and reader.run.class_names == tuple("0123456789")
    state, state.metrics = app.state, Metrics()
    state.settings, state.stopping = settings, False
    state.reader, state.digits_reader = reader, reader if digits else shipped_reader()
    state.name = "reader" if reader.run.folder == SHIPPED else reader.run.name
    state.batcher = Batcher(reader.judge, state.metrics.batches.observe)
    state.metrics.watch("guarismo_images_waiting", "Images that wait for the model.", lambda: state.batcher.images)
    state.workers = Workers(settings.workers or os.cpu_count() or 1, prepare, str(state.digits_reader.run.folder))
    state.hands = hands.Hands(state.digits_reader.run.folder, Path(settings.runs))
    state.metrics.watch("guarismo_photos_waiting", "Photos that wait for a worker.", lambda: state.workers.length)


def any_reader(folder: Path) -> Reader:
    """The Reader of any finished run, calibrated where the run is."""
    run = open_run(folder)
    run.session  # noqa: B018  a run that cannot answer is refused here, not at the first request
    return reader_of(run)


def stack(app: FastAPI) -> list[tuple[Any, dict[str, Any]]]:
    """The middleware, the outermost first."""
    state = app.state
    return [
        (Measured, {"metrics": state.metrics}),
        (Shielded, {}),
        (ProblemAnswers, {}),
        (Door, {"settings": state.settings, "stopping": lambda: state.stopping}),
        (Bodies, {"seconds": state.settings.patience}),
    ]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Workers and the model start beside the server, and end after its last request."""
    state = app.state
    await state.workers.start()
    state.batcher.thread.submit(state.reader.judge, np.zeros((1, *state.reader.run.shape), np.uint8))
    try:
        yield
    finally:
        await state.hands.stop()
        await state.workers.stop()
        state.batcher.close()


async def framework_answer(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return of_framework(error).response()


async def validation_answer(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return of_validation(list(error.errors())).response()


async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: FastAPI's, with problem documents for every error, and the token where one is needed."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = FastAPI.openapi(app)
    parts = document.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    for path, operations in document["paths"].items():
        for operation in operations.values() if path.startswith("/v2/models/") else []:
            operation["parameters"][0]["schema"]["enum"] = [app.state.name]
    if app.state.settings.token:
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document
