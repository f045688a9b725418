"""Images out of requests: nested JSON numbers or plain bytes → uint8 (n, h, w, c), every value checked."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from guarismo.serving.problems import Problem

MOST_IMAGES = 1024
"""Images of one request."""
Shape = tuple[int, int, int]


def json_object(body: bytes) -> dict[str, Any]:
    """The object of a JSON body. Raises Problem 400 for what is no JSON, 422 for another kind of value."""
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "No JSON", f"The body is no JSON: {error}.") from None
    if not isinstance(values, dict):
        raise wrong(f"Expected a JSON object, received {name_of(values)}.")
    return values


def images_from(values: Any, shape: Shape) -> NDArray[np.uint8]:
    """uint8 (n, h, w, c) of nested lists (n, h, w, c), or (n, h, w) for grey ones. Raises Problem 422."""
    if not isinstance(values, list) or not 0 < len(values) <= MOST_IMAGES:
        raise wrong(f"Expected a list of 1 to {MOST_IMAGES:,} images, received {name_of(values)}.")
    flat = values
    for side in sides_of(values, shape):
        if set(map(type, flat)) != {list} or set(map(len, flat)) != {side}:
            raise wrong(f"Expected images of {'×'.join(map(str, shape))}; a list of length {side} was none.")
        flat = list(chain.from_iterable(flat))
    return np.frombuffer(octets(flat), np.uint8).reshape(-1, *shape)


def sides_of(values: list[Any], shape: Shape) -> tuple[int, ...]:
    """How the lists are nested: the last side of 1 may be left out."""
    deep = values[0]
    for _ in range(3):
        deep = deep[0] if isinstance(deep, list) and deep else None
    return shape[:2] if shape[2] == 1 and deep is None else shape


def octets(numbers: list[Any]) -> bytes:
    """Whole numbers from 0 to 255 as bytes. Raises Problem 422."""
    kinds = set(map(type, numbers))
    try:
        if kinds == {int}:
            return bytes(numbers)
        if kinds <= {int, float} and all(float(number).is_integer() for number in numbers):
            return bytes(map(int, numbers))
    except (ValueError, OverflowError):
        pass
    raise wrong("Expected whole numbers from 0 to 255 as pixels, white ink on black.")


def images_of_bytes(body: bytes, sides: list[int], shape: Shape) -> NDArray[np.uint8]:
    """uint8 (n, h, w, c) of plain bytes that are said to be of `sides`. Raises Problem 422."""
    whole = (*sides, 1) if shape[2] == 1 and len(sides) == 3 else tuple(sides)
    if whole[1:] != shape or not 0 < whole[0] <= MOST_IMAGES:
        raise wrong(
            f"Expected the shape n,{','.join(map(str, shape))} with n from 1 to {MOST_IMAGES:,}, received {sides}."
        )
    if len(body) != math.prod(whole):
        raise wrong(f"Expected {math.prod(whole):,} values for the shape {sides}, received {len(body):,}.")
    return np.frombuffer(body, np.uint8).reshape(whole)


def wrong(detail: str) -> Problem:
    return Problem(422, "Wrong content", detail)


def name_of(value: Any) -> str:
    """What was received, in a word or two."""
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    return {dict: "an object", str: "a text", type(None): "nothing", bool: "true or false"}.get(type(value), "a number")
