"""Graphs made plain: fewer operations, the same answers, for any number of images or for one."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from guarismo.errors import RunError
from guarismo.models.graphs import for_one_image, simplified
from guarismo.models.runs import answer, open_session
from tiny_run import linear_model


def flattened_by_arithmetic() -> bytes:
    """uint8 (n, 4, 4, 1) → softmax of 16 pixels, flattened as tf2onnx does it: the new shape computed from the old."""
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["real"], ["sides"]),
        helper.make_node("Slice", ["sides", "zero", "one"], ["count"]),
        helper.make_node("Concat", ["count", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["real", "wanted"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["probabilities"], axis=1),
    ]
    constants = {"zero": [0], "one": [1], "rest": [16]}
    graph = helper.make_graph(
        nodes,
        "flattened",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 4, 4, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor(name, TensorProto.INT64, [1], values) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 4, (5, 4, 4, 1), dtype=np.uint8)


def test_for_one_image_the_arithmetic_of_shapes_goes_away(images):
    plain = simplified(flattened_by_arithmetic(), one=True)
    assert [node.op_type for node in plain.graph.node] == ["Cast", "Reshape", "Softmax"]
    assert [side.dim_value for side in plain.graph.input[0].type.tensor_type.shape.dim] == [1, 4, 4, 1]


@pytest.mark.parametrize("one", [False, True])
def test_the_answers_stay(images, one):
    model = flattened_by_arithmetic()
    plain = open_session(simplified(model, one).SerializeToString())
    expected = answer(open_session(model), images, 16)
    parts = [answer(plain, part, 16) for part in (np.split(images, 5) if one else [images])]
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-6)


def test_the_graph_that_is_given_is_not_changed():
    model = linear_model(3, (8, 8, 1), 9.0)
    one = onnx.ModelProto.FromString(for_one_image(model))
    assert one.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert onnx.ModelProto.FromString(model).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


def test_what_is_no_graph_is_refused():
    with pytest.raises(RunError, match="ONNX Runtime cannot open the model"):
        simplified(b"no graph")
