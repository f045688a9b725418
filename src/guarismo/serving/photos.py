"""The paths of pictures: a worker answers them; here a body is told what it is, and refused where it is none."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from guarismo.reading.intake import EXPECTED, HEAD, MOST_PAGES, stranger
from guarismo.serving.detail import read_photo
from guarismo.serving.hands import answered
from guarismo.serving.looking import look_inside
from guarismo.serving.problems import Problem
from guarismo.serving.tensors import images_from, json_object

router = APIRouter()

BODIES = ("application/octet-stream", "application/pdf", "image/", "application/x-www-form-urlencoded")
"""Types of content that may be a picture; the last is what curl --data-binary says of any file."""
PICTURES = (
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|BM|GIF8[79]a|II[*+]\0|MM\0[*+]|P[1-6]\s|(?s:RIFF....WEBP)",
    rb"(?s)....ftyp(avif|avis|heic|heix|heim|heis|hevc|hevx|hevm|hevs|mif1|msf1)",
)
"""How the pictures that we read begin; a PDF says so anywhere in HEAD."""
MODELS = frozenset(
    {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".h5", ".hdf5", ".keras", ".onnx", ".safetensors"}
    | {".tflite", ".pb", ".npy", ".npz", ".skops", ".zip"}
)
MODEL_STARTS = (
    (rb"\x80[\x02-\x05]", "a pickle"),
    (rb"\x89HDF\r\n", "an HDF5 file"),
    (rb"(?s)........\{\s*\"", "a safetensors file"),
    (rb"\x93NUMPY", "a NumPy file"),
    (rb"\x08[\x01-\x20][\x12\x1a\x22\x3a\x42]", "an ONNX model"),
)
NO_MODELS = "Models are never taken from a request: start the server with a run of yours, guarismo serve RUN."

BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
FORM: dict[str, Any] = {
    "schema": {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
}
READ_BODY = {
    "required": True,
    "content": {"image/*": BINARY, "application/pdf": BINARY, BODIES[0]: BINARY, "multipart/form-data": FORM},
}


def array_of(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, **more}


def object_of(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    """The schema of an object that has these properties, but for the optional ones always."""
    return {"type": "object", "required": sorted({*properties} - {*optional}), "properties": properties}


TEXT, COUNT, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
BOX = array_of(COUNT, minItems=4, maxItems=4, description="x, y, width, height in pixels of the upright photo")
SEEN = {"image": TEXT, "probabilities": array_of(SHARE, minItems=10, maxItems=10)}
DIGIT = {
    "digit": COUNT,
    "confidence": SHARE,
    "box": BOX,
    "alternatives": array_of(array_of(NUMBER)),
    **SEEN,
}
READING = object_of(
    {
        "file": TEXT,
        "page": COUNT,
        "pages": COUNT,
        "size": array_of(COUNT, minItems=2, maxItems=2),
        "text": TEXT,
        "lines": array_of(TEXT),
        "digits": array_of(object_of(DIGIT, *SEEN)),
        "refused": array_of(object_of({"box": BOX, "reason": TEXT, **SEEN}, *SEEN)),
        "seconds": NUMBER,
        "stages": array_of(object_of({"name": TEXT, "words": TEXT, "image": TEXT})),
    },
    "stages",
)
LAYER = {"name": TEXT, "kind": TEXT, "shape": array_of(COUNT, minItems=3, maxItems=3), "image": TEXT}
LOOKED = object_of({"probabilities": array_of(NUMBER), "layers": array_of(object_of(LAYER))})


@router.post(
    "/v1/read",
    tags=["read"],
    summary="A photo → its digits",
    openapi_extra={"requestBody": READ_BODY},
    responses=answered(200, "What is written, and where; what was refused, and why.", READING),
    response_class=Response,
)
async def read(
    request: Request,
    page: Annotated[int, Query(ge=1, le=MOST_PAGES)] = 1,
    detail: Literal["none", "glyphs", "stages"] = "none",
    drawn: bool = False,
    hand: str = "",
) -> Response:
    """The digits of a photo, or of one page of a PDF: what `guarismo read --json` prints, and `pages`, how many.

    `detail=glyphs` adds the 28×28 that the network saw and its ten probabilities, `detail=stages` each step as well.
    `drawn`: a drawing of dark strokes on plain white, in which no light and no printed lines are looked for.
    `hand`: read as a hand that was taught is read.
    """
    state = request.app.state
    layer = state.hands.find(hand).lesson.weights if hand else b""
    content, name = await picture_in(request)
    run = str(state.digits_reader.run.folder)
    answer = await state.workers.call(read_photo, run, layer, content, name, page, detail, drawn, urgent=drawn)
    return Response(answer, media_type="application/json")


LOOK_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "array", "description": "Rows of numbers 0 to 255, as /v1/predict."}},
            }
        }
    },
}


@router.post(
    "/v1/look",
    tags=["look"],
    summary="An image → what each layer answers",
    openapi_extra={"requestBody": LOOK_BODY},
    responses=answered(200, "Each layer in the order of the flow.", LOOKED),
    response_class=Response,
)
async def look(request: Request) -> Response:
    """Each layer of the run that is served: its kind, its shape (h, w, c), and a picture with a tile for each channel.

    In pictures of layers that have negative values 0 is grey, else it is black.
    """
    run = request.app.state.reader.run
    image = images_from([json_object(await request.body()).get("image")], run.shape)
    answer = await request.app.state.workers.call(look_inside, str(run.folder), image.tobytes(), urgent=True)
    return Response(answer, media_type="application/json")


async def picture_in(request: Request) -> tuple[bytes, str]:
    """The picture of a request and its name, "" where it has none. Raises Problem 415 and 422."""
    kind = request.headers.get("content-type", BODIES[0]).partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        content, name = await file_in_form(request)
    elif kind.startswith(BODIES):
        content, name = await request.body(), ""
    else:
        raise not_taken(f"content of type '{kind[:80]}'", "Send it as image/*, application/pdf or octet-stream.")
    check_kind(content[:HEAD], name)
    return content, name


async def file_in_form(request: Request) -> tuple[bytes, str]:
    """The field `file` of a form. It stays in memory: the framework's own parser would lay large files on the disk."""
    parser = MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=8)
    parser.spool_max_size = 0  # 0: never
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from None
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise Problem(422, "No picture", "Expected the form to have a file in its field 'file'. Add it.")
    with file.file:
        return file.file.read(), PurePath(file.filename or "").name


def check_kind(head: bytes, name: str) -> None:
    """Raises Problem 422 for an empty body, and 415 for one that is no picture or PDF by its beginning or its name."""
    if not head:
        raise Problem(422, "No picture", f"The body is empty. {EXPECTED}")
    model = next((what for start, what in MODEL_STARTS if re.match(start, head)), "")
    if model or PurePath(name).suffix.lower() in MODELS:
        raise not_taken(model or f"a file {PurePath(name).suffix.lower()}", NO_MODELS)
    if b"%PDF-" in head or any(re.match(start, head) for start in PICTURES):
        return
    what, remedy = stranger(head) or ("of no kind that is known here", "")
    raise not_taken(what, remedy)


def not_taken(what: str, remedy: str) -> Problem:
    return Problem(415, "No picture", f"{EXPECTED} Received {what}. {remedy}".rstrip())
