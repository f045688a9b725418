"""Image → what each layer of a run answers, in a worker: its ONNX graph with inner outputs added, as small pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from guarismo.data.images import Pixels
from guarismo.models.runs import open_run, open_session
from guarismo.serving.detail import png

KINDS = {
    "Conv": "convolution",
    "MaxPool": "pooling",
    "AveragePool": "pooling",
    "GlobalAveragePool": "pooling",
    "Relu": "activation",
    "LeakyRelu": "activation",
    "Sigmoid": "activation",
    "Tanh": "activation",
    "MatMul": "dense",
    "Gemm": "dense",
    "Softmax": "probabilities",
}
"""What is shown of a graph, and how it is called."""
MOST_VALUES = 2**20
"""A layer of more values is not shown."""
ACROSS = 32
"""Values in a row of the picture of a layer that has no places, only values."""

Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Glass:
    """A run that shows its layers: their kinds and outputs in the order of the flow."""

    session: Any
    layers: tuple[tuple[str, str], ...]
    out: str


@cache
def glass_of(run: str) -> Glass:
    """The run in a folder, opened once in each process. Raises RunError."""
    import onnx

    opened = open_run(run)
    opened.session  # noqa: B018  what does not fit run.json is refused in its words
    model = onnx.load_from_string((Path(run) / "model.onnx").read_bytes())
    out = model.graph.output[0].name
    layers = layers_of(model.graph)
    for _, name in layers:
        if name != out:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    return Glass(open_session(model.SerializeToString()), layers, out)


def layers_of(graph: Any) -> tuple[tuple[str, str], ...]:
    """Kind and output of each node that is shown; a dense layer's with its bias."""
    biased = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Add"}
    shown = [(node.op_type, node.output[0]) for node in graph.node if node.op_type in KINDS]
    return tuple((KINDS[kind], biased.get(name, name) if kind == "MatMul" else name) for kind, name in shown)


def look_inside(run: str, image: bytes) -> bytes:
    """What the layers of a run answer to an image uint8 (h, w, c), as JSON."""
    glass = glass_of(run)
    door = glass.session.get_inputs()[0]
    names = [name for _, name in glass.layers]
    pixels = np.frombuffer(image, np.uint8).reshape(1, *door.shape[1:])
    found = glass.session.run([glass.out, *names], {door.name: pixels})
    shown: list[dict[str, Any]] = []
    for (kind, _), values in zip(glass.layers, found[1:], strict=True):
        if values.ndim in (2, 4) and len(values) == 1 and values.size <= MOST_VALUES:
            number = 1 + sum(layer["kind"] == kind for layer in shown)
            shown.append({"name": f"{kind} {number}", "kind": kind, **layer_picture(values[0])})
    probabilities = [round(float(share), 5) for share in found[0][0]]
    return orjson.dumps({"probabilities": probabilities, "layers": shown})


def layer_picture(values: Values) -> dict[str, Any]:
    """Values (c,) or (c, h, w), as ONNX has them: the shape (h, w, c), and a picture in which a channel is a tile."""
    if values.ndim == 1:
        across = min(ACROSS, len(values))
        whole = np.pad(values, (0, -len(values) % across), constant_values=np.nan)
        return {"shape": [1, 1, len(values)], "image": png(shaded(whole.reshape(-1, across)))}
    channels, height, width = values.shape
    return {"shape": [height, width, channels], "image": png(shaded(mosaic(values)))}


def mosaic(values: Values) -> Values:
    """Channels (c, h, w) side by side, about as many as below each other, NaN between them."""
    channels, height, width = values.shape
    across = math.ceil(math.sqrt(channels))
    down = math.ceil(channels / across)
    padded = np.full((across * down, height + 1, width + 1), np.nan, np.float32)
    padded[:channels, :height, :width] = values
    rows = padded.reshape(down, across, height + 1, width + 1).swapaxes(1, 2)
    whole: Values = rows.reshape(down * (height + 1), across * (width + 1))[:-1, :-1]
    return whole


def shaded(values: Values) -> Pixels:
    """Values (h, w) as grey and alpha in uint8 (h, w, 4): 0 black and the largest white, or 0 grey where some are
    negative; NaN is clear."""
    strongest = max(float(np.nanmax(np.abs(values))), 1e-9)
    signed = float(np.nanmin(values)) < 0
    share = values / strongest
    grey = np.nan_to_num((share + 1) / 2 if signed else share) * 255
    picture = np.repeat(np.rint(grey).astype(np.uint8)[..., None], 4, axis=2)
    picture[..., 3] = np.where(np.isnan(values), 0, 255)
    return picture
