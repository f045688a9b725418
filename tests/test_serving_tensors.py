"""Images out of requests: right ones exactly, everything else refused in words."""

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from guarismo.serving.problems import Problem
from guarismo.serving.tensors import MOST_IMAGES, images_from, images_of_bytes, json_object

SMALL = (2, 3, 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=30,
)


@given(arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(2), st.just(3), st.just(1))))
def test_nested_lists_become_the_same_array_with_or_without_the_last_side(images):
    for written in (images.tolist(), images[..., 0].tolist(), images.astype(float).tolist()):
        assert np.array_equal(images_from(written, SMALL), images)


def test_colours_keep_their_side():
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    assert np.array_equal(images_from(images.tolist(), (2, 2, 3)), images)


@pytest.mark.parametrize("pixel", [256, -1, 0.5, "7", None, True, [1], 1e300, float("nan"), float("inf"), 2**70])
def test_a_pixel_that_is_none_is_refused(pixel):
    with pytest.raises(Problem, match=r"whole numbers from 0 to 255|a list of length") as told:
        images_from([[[0, 0, 0], [0, 0, pixel]]], SMALL)
    assert told.value.status == 422


@pytest.mark.parametrize(
    "values",
    [[], None, 5, "x", {}, [[]], [5], [[[0, 0, 0]]], [[[0, 0], [0, 0]]], [[[0, 0, 0], 5]], [[[0] * 3] * 2, [[0] * 3]]],
)
def test_another_shape_is_refused(values):
    with pytest.raises(Problem) as told:
        images_from(values, SMALL)
    assert told.value.status == 422


def test_too_many_images_are_refused():
    image = [[0] * 3] * 2
    assert len(images_from([image] * MOST_IMAGES, SMALL)) == MOST_IMAGES
    with pytest.raises(Problem, match="1 to 1,024 images, received a list of 1,025"):
        images_from([image] * (MOST_IMAGES + 1), SMALL)


@settings(max_examples=300)
@given(JSON)
def test_whatever_comes_is_an_array_or_a_problem(values):
    try:
        assert images_from(values, SMALL).shape[1:] == SMALL
    except Problem as told:
        assert told.status == 422


def test_bytes_are_taken_as_they_are_said_to_be():
    body = bytes(range(12))
    for sides in ([2, 2, 3], [2, 2, 3, 1]):
        assert images_of_bytes(body, sides, SMALL).tobytes() == body


@pytest.mark.parametrize("sides", [[2, 3], [1, 2, 3], [3, 2, 3], [2, 3, 2], [0, 2, 3], [-2, 2, 3], [], [2, 2, 3, 1, 1]])
def test_bytes_of_another_shape_are_refused(sides):
    with pytest.raises(Problem, match="Expected"):
        images_of_bytes(bytes(range(12)), sides, SMALL)


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (b"{", 400), (b"\xff", 400), (b"[1]", 422), (b"[" * 5000, 400)]
)
def test_a_body_that_is_no_json_object_is_refused(body, status):
    with pytest.raises(Problem) as told:
        json_object(body)
    assert told.value.status == status


def test_a_json_object_is_read():
    assert json_object(orjson.dumps({"images": []})) == {"images": []}
