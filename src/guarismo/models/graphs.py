"""A run's ONNX graph made plain: constants folded, normalisation taken into the layer before it where it can be."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from guarismo.errors import RunError


def simplified(model: bytes, one: bool = False) -> Any:
    """The same graph, standard operations only, as `onnx.ModelProto`. With `one`, for one image at a time.

    ONNX Runtime's own first level of optimisation does it; for one image every shape is a constant, so that the
    arithmetic of shapes goes away too. Raises RunError where ONNX Runtime cannot open the graph, or write it.
    """
    import onnx
    import onnxruntime

    if one:
        model = for_one_image(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            reason = str(error).splitlines()[0]
            raise RunError(f"ONNX Runtime cannot open the model, or write it into {place}: {reason}") from None
        return onnx.load(path)


def for_one_image(model: bytes) -> bytes:
    """The graph with 1 where its input said "any number of images"."""
    import onnx

    proto = onnx.ModelProto.FromString(model)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for output in proto.graph.output:
        output.type.tensor_type.shape.dim[0].Clear()
    content: bytes = proto.SerializeToString()
    return content
