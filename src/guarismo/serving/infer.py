"""The Open Inference Protocol, version 2: what clients of other model servers speak; JSON and its binary extension."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from guarismo.models.runs import Run
from guarismo.serving.problems import Problem
from guarismo.serving.tensors import Shape, images_of_bytes, json_object, octets, wrong

INPUT, OUTPUT = "images", "probabilities"
LENGTH = "inference-header-content-length"
router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


@dataclass(frozen=True)
class Asked:
    """An inference request: its id, the images, whether the answer shall be bytes."""

    id: str
    images: NDArray[np.uint8]
    binary: bool


@router.get("")
async def server_metadata() -> dict[str, Any]:
    """Name and version of the server, and which extensions of the protocol it speaks."""
    return {"name": "guarismo", "version": version("guarismo"), "extensions": ["binary_tensor_data"]}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Whether the server runs."""
    return {"live": True}


@router.get("/health/ready")
async def ready() -> dict[str, bool]:
    """Whether requests will be answered: 503 while the server stops."""
    return {"ready": True}


@router.get("/models/{name}")
async def model_metadata(request: Request, name: str) -> dict[str, Any]:
    """What the model takes and answers."""
    run = known(request, name)
    return {
        "name": name,
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *run.shape]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(run.class_names)]}],
    }


@router.get("/models/{name}/ready")
async def model_ready(request: Request, name: str) -> dict[str, Any]:
    """Whether the model answers."""
    known(request, name)
    return {"name": name, "ready": True}


NUMBERS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 4}
TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"const": INPUT},
        "shape": NUMBERS,
        "datatype": {"const": "UINT8"},
        "data": {"type": "array", "description": "Whole numbers from 0 to 255, nested or flat."},
        "parameters": {"type": "object", "properties": {"binary_data_size": {"type": "integer", "minimum": 0}}},
    },
}
INFER_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": {"type": "string"},
                    "inputs": {"type": "array", "items": TENSOR, "minItems": 1, "maxItems": 1},
                    "outputs": {"type": "array", "items": {"type": "object"}},
                    "parameters": {"type": "object"},
                },
            }
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


@router.post("/models/{name}/infer", openapi_extra={"requestBody": INFER_BODY}, response_class=Response)
async def infer(request: Request, name: str) -> Response:
    """Probabilities (n, classes) of the tensor `images`, UINT8 (n, h, w, c).

    Tensors as bytes follow the JSON, whose length is in the header `Inference-Header-Content-Length`.
    """
    run = known(request, name)
    asked = asked_for(await request.body(), request.headers.get(LENGTH), run.shape)
    return answer_of(name, asked, await request.app.state.batcher.answer(asked.images))


def known(request: Request, name: str) -> Run:
    """The run that is served. Raises Problem 404 for another name."""
    state = request.app.state
    if name != state.name:
        raise Problem(
            404, "No such model", f"There is no model '{name[:80]}' here. This server answers '{state.name}'."
        )
    run: Run = state.reader.run
    return run


def asked_for(body: bytes, length: str | None, shape: Shape) -> Asked:
    """The request of a body whose first `length` bytes are JSON, all of it by default. Raises Problem 400 or 422."""
    if length is not None and not (length.isdecimal() and int(length) <= len(body)):
        raise wrong(f"Expected {LENGTH} to be 0 to {len(body)}, the bytes of the body, received '{length[:20]}'.")
    size = len(body) if length is None else int(length)
    values = json_object(body[:size])
    tensors, outputs = values.get("inputs"), values.get("outputs") or []
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise wrong(f"Expected one input, '{INPUT}'.")
    if not isinstance(outputs, list) or not all(
        isinstance(each, dict) and each.get("name") == OUTPUT for each in outputs
    ):
        raise wrong(f"Expected no other output than '{OUTPUT}'.")
    binary = parameter(outputs[0], "binary_data") if outputs else parameter(values, "binary_data_output")
    return Asked(str(values.get("id") or "")[:200], images_of(tensors[0], body[size:], shape), bool(binary))


def images_of(tensor: dict[str, Any], after: bytes, shape: Shape) -> NDArray[np.uint8]:
    """The images of the input tensor, out of its JSON or of the bytes after it. Raises Problem 422."""
    if tensor.get("name") != INPUT or tensor.get("datatype") != "UINT8":
        raise wrong(f"Expected the input '{INPUT}' of datatype UINT8. GET /v2/models/NAME describes it.")
    sides = tensor.get("shape")
    if not isinstance(sides, list) or not all(type(side) is int for side in sides):
        raise wrong("Expected the shape to be a list of whole numbers.")
    if (size := parameter(tensor, "binary_data_size")) is None:
        return images_of_bytes(octets(flattened(tensor.get("data"))), sides, shape)
    if size != len(after):
        raise wrong(f"Expected {size!r} bytes after the JSON, as binary_data_size says, received {len(after):,}.")
    return images_of_bytes(after, sides, shape)


def flattened(data: Any) -> list[Any]:
    """Nested lists in the order of their numbers. Raises Problem 422 where `data` is no list."""
    if not isinstance(data, list):
        raise wrong("Expected `data` with the numbers of the tensor, or binary_data_size and bytes after the JSON.")
    for _ in range(3):
        if data and isinstance(data[0], list):
            data = [number for part in data if isinstance(part, list) for number in part]
    return list(data)


def parameter(owner: dict[str, Any], name: str) -> Any:
    """A parameter of a request or a tensor; None where it has none."""
    parameters = owner.get("parameters")
    return parameters.get(name) if isinstance(parameters, dict) else None


def answer_of(name: str, asked: Asked, probabilities: NDArray[np.float32]) -> Response:
    """The inference response, its tensor as JSON numbers or as bytes after the JSON."""
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": list(probabilities.shape)}
    content = probabilities.astype("<f4").tobytes() if asked.binary else b""
    output |= {"parameters": {"binary_data_size": len(content)}} if asked.binary else {"data": probabilities.ravel()}
    values = {"model_name": name, "model_version": "1", "outputs": [output]} | ({"id": asked.id} if asked.id else {})
    header = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    if not asked.binary:
        return Response(header, media_type="application/json")
    return Response(header + content, headers={LENGTH: str(len(header))}, media_type="application/octet-stream")
