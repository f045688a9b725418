"""Hands that are taught on the page: in memory, a bounded number for a bounded time, on the disk only when asked."""

from __future__ import annotations

import asyncio
import io
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from guarismo.data.images import Pixels
from guarismo.errors import RunError
from guarismo.models.runs import new_folder
from guarismo.serving.problems import Problem
from guarismo.serving.teaching import lesson, prepare, untaught
from guarismo.serving.tensors import images_from, json_object, wrong
from guarismo.serving.worker import received
from guarismo.serving.workers import Limits, Workers

MOST_HANDS = 64
"""The one that was not used for the longest time goes first."""
MOST_SAMPLES = 500
LONGEST = 4 * 3600.0
"""Seconds after its last use that a hand is remembered."""
LESSONS = Limits(seconds=120, memory=4 * 2**30, waiting=8)

Post = tuple[Pixels, NDArray[np.uint8]]
"""Samples sent at once: images uint8 (n, 28, 28), labels uint8 (n,)."""


@dataclass(frozen=True)
class Lesson:
    """What was learnt: what it brought, the last layer, and run.json and files of the run that it would be."""

    brought: Mapping[str, Any]
    weights: bytes = b""
    about: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(eq=False)
class Hand:
    """The samples of one hand in the order in which they were sent, and what was learnt of all."""

    used: float
    posts: list[Post] = field(default_factory=list)
    lesson: Lesson = field(default_factory=lambda: Lesson(untaught("")))
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Hands:
    """The hands taught to one run. A worker of their own learns them, started with the first hand."""

    def __init__(self, run: Path, runs: Path):
        self.run, self.runs = str(run), runs
        self.hands: OrderedDict[str, Hand] = OrderedDict()
        self.teacher = Workers(1, prepare, self.run, limits=LESSONS)

    async def begin(self) -> str:
        """A new hand's name, which nobody can guess."""
        if not self.teacher.tenders:
            await self.teacher.start()
        while len(self.hands) >= MOST_HANDS:
            self.hands.popitem(last=False)
        name = secrets.token_urlsafe(16)
        self.hands[name] = Hand(time.monotonic())
        return name

    def find(self, name: str) -> Hand:
        """Raises Problem 404 where there is no such hand any more."""
        now = time.monotonic()
        for old in [key for key, hand in self.hands.items() if now - hand.used > LONGEST]:
            del self.hands[old]
        if name not in self.hands:
            raise Problem(404, "No such hand", "This hand is not known, or was forgotten. POST /v1/hands begins one.")
        self.hands[name].used = now
        self.hands.move_to_end(name)
        return self.hands[name]

    async def teach(self, hand: Hand, posts: list[Post]) -> None:
        """The hand learns from all of its samples anew; where that fails for a Problem it is as before."""
        if posts:
            images, labels = (np.concatenate([post[part] for post in posts]).tobytes() for part in (0, 1))
            learnt = lesson_in(await self.teacher.call(lesson, self.run, images, labels))
        else:
            learnt = Lesson(untaught(""))
        hand.posts, hand.lesson = posts, learnt

    async def stop(self) -> None:
        """Ends the worker."""
        await self.teacher.stop()


def lesson_in(message: bytes) -> Lesson:
    """The Lesson that a worker sent."""
    content = received(io.BytesIO(message))
    assert content is not None
    head, body = content
    if not head["learnt"]:
        return Lesson(head)
    weights, model, samples = parts_of(body, head.pop("lengths"))
    return Lesson(head, weights, head.pop("about"), {"model.onnx": model, "samples.safetensors": samples})


def parts_of(body: bytes, lengths: Sequence[int]) -> list[bytes]:
    """Parts that stand one after another."""
    stream = io.BytesIO(body)
    return [stream.read(length) for length in lengths]


def keep_lesson(learnt: Lesson, runs: Path) -> str:
    """Writes the run of a lesson into a new folder below `runs`, and tells its name. Raises RunError."""
    from guarismo.reading.adaptation import keep

    return keep(new_folder(runs, "adapted", "reader"), learnt.about, learnt.files).name


# The paths

router = APIRouter(tags=["hands"])

IMAGE: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 255},
        "minItems": 28,
        "maxItems": 28,
    },
    "minItems": 28,
    "maxItems": 28,
    "description": "White ink on black, as /v1/read with detail=glyphs shows it.",
}
SAMPLE = {
    "type": "object",
    "required": ["image", "label"],
    "properties": {"image": IMAGE, "label": {"type": "integer", "minimum": 0, "maximum": 9}},
}
SAMPLES_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["samples"],
                "properties": {"samples": {"type": "array", "items": SAMPLE, "minItems": 1, "maxItems": MOST_SAMPLES}},
            }
        }
    },
}

FIGURES = {
    "type": ["object", "null"],
    "required": ["right", "of", "mnist"],
    "properties": {"right": {"type": "integer"}, "of": {"type": "integer"}, "mnist": {"type": "number"}},
}
STATE = {
    "type": "object",
    "required": ["hand", "samples", "counts", "learnt", "message", "before", "after", "answers"],
    "properties": {
        "hand": {"type": "string"},
        "samples": {"type": "integer"},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "learnt": {"type": "boolean"},
        "message": {"type": "string"},
        "before": FIGURES,
        "after": FIGURES,
        "answers": {"type": "array", "items": {"type": ["array", "null"], "items": {"type": "integer"}}},
    },
}


def named(name: str) -> dict[str, Any]:
    """The schema of an object of one name."""
    return {"type": "object", "required": [name], "properties": {name: {"type": "string"}}}


def answered(status: int, description: str, schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": description, "content": {"application/json": {"schema": schema}}}}


def told(about: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(about), status, media_type="application/json")


def state_of(name: str, hand: Hand) -> Response:
    """How the hand is read, and how it was."""
    return told({"hand": name, "samples": sum(len(labels) for _, labels in hand.posts), **hand.lesson.brought})


@router.post(
    "/v1/hands",
    summary="Begin to teach a hand",
    status_code=201,
    responses=answered(201, "Its name.", named("hand")),
    response_class=Response,
)
async def begin(request: Request) -> Response:
    """A new hand without samples. It is kept in memory, for four hours after its last use."""
    return told({"hand": await request.app.state.hands.begin()}, 201)


@router.post(
    "/v1/hands/{hand}/samples",
    summary="Teach samples of a hand",
    openapi_extra={"requestBody": SAMPLES_BODY},
    responses=answered(200, "How the hand is read, and how it was.", STATE),
    response_class=Response,
)
async def add(request: Request, hand: str) -> Response:
    """Learns anew from all samples of the hand, these among them: how many of them, left out, are read right before
    and after. Where `learnt` is false, `message` says why, and the hand is read as by the run itself."""
    hands: Hands = request.app.state.hands
    found = hands.find(hand)
    post = samples_in(json_object(await request.body()))
    async with found.turn:
        if sum(len(labels) for _, labels in [*found.posts, post]) > MOST_SAMPLES:
            raise wrong(f"A hand has at most {MOST_SAMPLES} samples. Begin a new one, or undo some.")
        await hands.teach(found, [*found.posts, post])
        return state_of(hand, found)


@router.delete(
    "/v1/hands/{hand}/samples/last",
    summary="Undo the last samples",
    responses=answered(200, "How the hand is read, and how it was.", STATE),
    response_class=Response,
)
async def undo(request: Request, hand: str) -> Response:
    """As before the samples that were sent last."""
    hands: Hands = request.app.state.hands
    found = hands.find(hand)
    async with found.turn:
        if not found.posts:
            raise Problem(409, "Nothing to undo", "This hand has no samples.")
        await hands.teach(found, found.posts[:-1])
        return state_of(hand, found)


@router.post(
    "/v1/hands/{hand}/keep",
    summary="Keep a hand as a run",
    status_code=201,
    responses=answered(201, "The run's folder among the runs.", named("run")),
    response_class=Response,
)
async def keep_hand(request: Request, hand: str) -> Response:
    """Writes a run that reads this hand, for `guarismo read --run`; nothing else is ever written."""
    hands: Hands = request.app.state.hands
    found = hands.find(hand)
    if not found.lesson.weights:
        raise Problem(409, "Nothing to keep", "Nothing was learnt of this hand yet. Send samples of it.")
    try:
        return told({"run": await asyncio.to_thread(keep_lesson, found.lesson, hands.runs)}, 201)
    except RunError as error:
        raise Problem(507, "Not kept", str(error).replace(" with --out", "")) from None


@router.delete("/v1/hands/{hand}", summary="Forget a hand", status_code=204, response_class=Response)
async def forget(request: Request, hand: str) -> Response:
    """Its samples and what was learnt of them are gone."""
    hands: Hands = request.app.state.hands
    hands.find(hand)
    del hands.hands[hand]
    return Response(status_code=204)


def samples_in(about: Mapping[str, Any]) -> Post:
    """The samples of a request. Raises Problem 422."""
    samples = about.get("samples")
    if not isinstance(samples, list) or not all(isinstance(each, dict) for each in samples):
        raise wrong('Expected {"samples": [{"image": 28 rows of 28 numbers, "label": 0 to 9}]}.')
    labels = [each.get("label") for each in samples]
    if not all(type(label) is int and 0 <= label <= 9 for label in labels):
        raise wrong("Expected each label to be a whole number from 0 to 9.")
    images = images_from([each.get("image") for each in samples], (28, 28, 1))[..., 0]
    return images, np.array(labels, np.uint8)
