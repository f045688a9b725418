"""A run as a folder that reads in the browser: the page of web_page/, the network's steps as JSON, its weights.

    index.html, *.js, style.css   the page, the same for every run
    network.json                  what is computed for one image, step by step; classes; patterns with their answers
    weights.bin                   every array of it, float32, little-endian

The browser needs no library: network.js knows the OPERATIONS. Before its first answer it asks itself for the patterns'
answers, and says so where they are not the run's.
"""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset, Images
from guarismo.errors import RunError
from guarismo.models.graphs import simplified
from guarismo.models.runs import Run, answer, open_session, test_figures

PAGE = Path(__file__).parent / "web_page"
PATTERNS = 3
"""Images of noise whose answers the folder holds: any operation that a browser computes otherwise shows in them."""
OPERATIONS = {
    *("Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice"),
    *("Add", "Sub", "Mul", "Div", "Max", "Greater", "Not", "Relu", "Sigmoid", "Tanh", "Softmax"),
    *("Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "MatMul", "Gemm", "ReduceSum", "ReduceMean"),
}
"""What network.js computes: all that our networks come to, and the layers of LeNet, for imported ones."""


def write_folder(run: Run, folder: Path, dataset: Dataset) -> None:
    """The run as a new folder for a static host. Raises RunError for an operation that network.js does not know."""
    network, weights = described((run.folder / "model.onnx").read_bytes())
    shutil.copytree(PAGE, folder)
    (folder / "weights.bin").write_bytes(weights)
    about = {**network, **facts(run, dataset), "patterns": patterns(run)}
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    (folder / "network.json").write_text(text, encoding="utf-8")


def described(model: bytes) -> tuple[dict[str, Any], bytes]:
    """The graph for one image as JSON, and its weights as bytes. Raises RunError for an unknown operation."""
    from onnx import helper, numpy_helper, shape_inference

    plain = shape_inference.infer_shapes(simplified(model, one=True), data_prop=True)
    graph = plain.graph
    check_known(graph)
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output]
    }
    arrays, weights = stored({array.name: numpy_helper.to_array(array) for array in graph.initializer})
    steps = [
        {
            "operation": node.op_type,
            "inputs": list(node.input),
            "output": node.output[0],
            "shape": shapes[node.output[0]],
            "attributes": {item.name: plain_value(helper.get_attribute_value(item)) for item in node.attribute},
        }
        for node in graph.node
    ]
    opset = next(entry.version for entry in plain.opset_import if entry.domain == "")
    ends = {"input": graph.input[0].name, "output": graph.output[0].name}
    return {"opset": opset, **ends, "arrays": arrays, "steps": steps}, weights


def check_known(graph: Any) -> None:
    """Raises RunError for what network.js cannot compute."""
    flat = {array.name for array in graph.initializer if len(array.dims) == 2}
    if others := sorted({node.op_type for node in graph.node if not is_known(node, flat)}):
        raise RunError(f"The page cannot compute {', '.join(others)} as this model does. Choose --format onnx.")


def is_known(node: Any, flat: set[str]) -> bool:
    """Whether network.js computes this node; `flat` are the names of the constant matrices."""
    from onnx import TensorProto, helper

    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    as_asked = {
        "Cast": attributes.get("to", TensorProto.FLOAT) == TensorProto.FLOAT,
        "Softmax": attributes.get("axis", -1) in (-1, 1),  # of (n, classes)
        "MatMul": node.input[-1] in flat,
        "Max": len(node.input) == 2,
    }
    padded = attributes.get("auto_pad", b"NOTSET") != b"NOTSET"
    return node.op_type in OPERATIONS and as_asked.get(node.op_type, True) and not padded


def plain_value(value: Any) -> Any:
    """A node's attribute as JSON holds it."""
    return value.decode() if isinstance(value, bytes) else value


def stored(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Any], bytes]:
    """Arrays by name: whole numbers in the description itself, float32 as offsets (in numbers) into the bytes."""
    described: dict[str, Any] = {}
    parts: list[bytes] = []
    offset = 0
    for name, array in arrays.items():
        if array.dtype == np.int64:
            described[name] = {"shape": list(array.shape), "values": array.ravel().tolist()}
        elif array.dtype == np.float32:
            described[name] = {"shape": list(array.shape), "offset": offset}
            parts.append(array.astype("<f4").tobytes())
            offset += array.size
        else:
            raise RunError(f"The page computes in float32, this model in {array.dtype}. Choose --format onnx.")
    return described, b"".join(parts)


def facts(run: Run, dataset: Dataset) -> dict[str, Any]:
    """What the page tells of the run, and how it makes images of drawings: `handwritten` digits as MNIST's were."""
    measured = {"validation": run.about["metrics"]["validation_accuracy"]}
    if tested := test_figures(run):
        measured["test"] = tested["test_accuracy"]
    return {
        "name": run.name,
        "model": run.settings.model,
        "data": dataset.name,
        "classes": list(run.class_names),
        "size": list(run.shape),
        "handwritten": run.shape == (28, 28, 1) and set(run.class_names) <= set("0123456789"),
        "ground": ground(dataset.train.images[:1000]),
        "parameters": run.about["parameters"],
        "accuracy": measured,
    }


def ground(images: Images) -> list[int]:
    """The median colour of the borders of images (n, h, w, c): c whole numbers."""
    edges = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    colours = np.concatenate([edge.reshape(-1, images.shape[-1]) for edge in edges])
    return [int(value) for value in np.median(colours, axis=0)]


def patterns(run: Run) -> dict[str, Any]:
    """Images of noise, and what the run answers to them."""
    images = np.random.default_rng(0).integers(0, 256, (PATTERNS, *run.shape), dtype=np.uint8)
    return {"images": b64encode(images.tobytes()).decode(), "answers": run.predict(images).tolist()}


def answer_folder(folder: Path, images: Images) -> NDArray[np.float32]:
    """Probabilities (n, classes) as the folder's own two files have them, through ONNX Runtime, one by one."""
    session = open_session(rebuilt(folder))
    classes = session.get_outputs()[0].shape[-1]
    return np.concatenate([answer(session, images[k : k + 1], classes) for k in range(len(images))])


def rebuilt(folder: Path) -> bytes:
    """An ONNX graph made of network.json and weights.bin alone."""
    from onnx import TensorProto, helper, numpy_helper

    about = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    weights = np.fromfile(folder / "weights.bin", dtype="<f4")

    def array(entry: dict[str, Any]) -> NDArray[Any]:
        if "values" in entry:
            return np.array(entry["values"], dtype=np.int64).reshape(entry["shape"])
        size = int(np.prod(entry["shape"]))
        return weights[entry["offset"] : entry["offset"] + size].reshape(entry["shape"])

    nodes = [
        helper.make_node(step["operation"], step["inputs"], [step["output"]], **step["attributes"])
        for step in about["steps"]
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(about["input"], TensorProto.UINT8, [1, *about["size"]])],
        [helper.make_tensor_value_info(about["output"], TensorProto.FLOAT, [1, len(about["classes"])])],
        [numpy_helper.from_array(array(entry), name) for name, entry in about["arrays"].items()],
    )
    opset = helper.make_opsetid("", about["opset"])
    content: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
    return content
