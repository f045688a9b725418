"""Histograms of oriented gradients, written once, as a piece of an ONNX graph: training and answering run the same.

N. Dalal, B. Triggs, "Histograms of oriented gradients for human detection", CVPR 2005. As there: centred differences
without smoothing, of colours the channel with the largest gradient, 9 orientations without sign (a bright and a dark
edge are one), each pixel's magnitude shared between the two nearest, blocks of 2 × 2 cells that overlap, L2-Hys.
Otherwise: a pixel belongs to its own cell alone, and the cells grow with the image (`cell_side`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.errors import RunError

OPSETS = {"": 18}
"""The version of ONNX' operators that our own nodes are written in."""

BINS = 9
CELLS = 7
"""Cells along the shorter side, at least, where a cell may have 2 pixels: 4 × 4 pixels each in images of 28 × 28."""
BLOCK = 2
CLIP = 0.2
LEAST_NORM = 1.0
"""In grey values: what a block's norm is never below, so that flat places stay flat."""
SMALLEST_SIDE = 8


@dataclass(frozen=True)
class Graph:
    """A piece of an ONNX graph: nodes from one tensor to another, the constants they use, and what it is for people:
    a layer of so many outputs and learnt numbers."""

    layer: str
    width: int
    nodes: Sequence[Any]
    constants: Sequence[Any] = ()
    parameters: int = 0
    opsets: Mapping[str, int] = field(default_factory=lambda: OPSETS)


def constants_of(**arrays: NDArray[Any]) -> list[Any]:
    """Arrays as ONNX constants of these names."""
    from onnx import numpy_helper

    return [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()]


def assembled(graphs: Sequence[Graph], shape: tuple[int, int, int], output: str = "probabilities") -> bytes:
    """The pieces one after the other as an ONNX file: "images" uint8 (n, h, w, c) → `output` float32 (n, width)."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [node for piece in graphs for node in piece.nodes],
        "guarismo",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [None, *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, graphs[-1].width])],
        [constant for piece in graphs for constant in piece.constants],
    )
    opsets = {domain: version for piece in graphs for domain, version in piece.opsets.items()}
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports, True))
    content: bytes = model.SerializeToString()
    return content


def cell_side(height: int, width: int) -> int:
    """Pixels along a side of a cell."""
    return max(2, min(height, width) // CELLS)


def hog(shape: tuple[int, int, int]) -> Graph:
    """From "images" uint8 (n, h, w, c) to "features" float32 (n, blocks · 36), each 0…1.

    Pixels that fill no cell are left out, as many at the top as at the bottom, as many left as right.
    Raises RunError for images with a side below 8 pixels.
    """
    from onnx import TensorProto, helper

    height, width, channels = shape
    if min(height, width) < SMALLEST_SIDE:
        raise RunError(
            f"Histograms of gradients need images of at least {SMALLEST_SIDE}×{SMALLEST_SIDE}, received "
            f"{height}×{width}. Load larger ones, or take another model."
        )
    side = cell_side(height, width)
    top, left = height % side // 2, width % side // 2
    bottom, right = top + height // side * side, left + width // side * side
    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        node("Transpose", ["values"], ["planes"], perm=[0, 3, 1, 2]),
        node("Pad", ["planes", "border"], ["padded"], mode="edge"),
        node("Conv", ["padded", "across"], ["every_x"], group=channels),
        node("Conv", ["padded", "down"], ["every_y"], group=channels),
        node("Mul", ["every_x", "every_x"], ["squared_x"]),
        node("Mul", ["every_y", "every_y"], ["squared_y"]),
        node("Add", ["squared_x", "squared_y"], ["steepness"]),
        node("ArgMax", ["steepness"], ["steepest"], axis=1),
        node("GatherElements", ["every_x", "steepest"], ["x"], axis=1),
        node("GatherElements", ["every_y", "steepest"], ["y"], axis=1),
        node("GatherElements", ["steepness", "steepest"], ["squared"], axis=1),
        node("Sqrt", ["squared"], ["magnitude"]),
        # The orientation in half turns, −½…½: where x is 0 it is ±½, which are the same; a flat place has no vote.
        node("Equal", ["x", "zero"], ["upright"]),
        node("Where", ["upright", "tiny", "x"], ["divisor"]),
        node("Div", ["y", "divisor"], ["slope"]),
        node("Atan", ["slope"], ["angle"]),
        node("Div", ["angle", "half_turn"], ["orientation"]),
        node("Sub", ["orientation", "centres"], ["apart"]),
        node("Round", ["apart"], ["turns"]),
        node("Sub", ["apart", "turns"], ["signed"]),
        node("Abs", ["signed"], ["distance"]),
        node("Mul", ["distance", "bins"], ["bins_away"]),
        node("Sub", ["one", "bins_away"], ["nearness"]),
        node("Relu", ["nearness"], ["shares"]),
        node("Mul", ["shares", "magnitude"], ["every_vote"]),
        node("Slice", ["every_vote", "begin", "end", "sides"], ["votes"]),
        node("AveragePool", ["votes"], ["cells"], kernel_shape=[side, side], strides=[side, side]),
        node("Conv", ["cells", "neighbours"], ["blocks"]),
        *normalised("blocks", "first"),
        node("Min", ["first", "clip"], ["clipped"]),
        *normalised("clipped", "second", least="least_again"),
        node("Flatten", ["second"], ["features"], axis=1),
    ]
    difference = np.array([-1, 0, 1], dtype=np.float32)
    constants = constants_of(
        border=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        across=np.tile(np.outer([0, 1, 0], difference).astype(np.float32), (channels, 1, 1, 1)),
        down=np.tile(np.outer(difference, [0, 1, 0]).astype(np.float32), (channels, 1, 1, 1)),
        zero=np.array([0], dtype=np.float32),
        tiny=np.array([1e-9], dtype=np.float32),
        half_turn=np.array([math.pi], dtype=np.float32),
        centres=((np.arange(BINS, dtype=np.float32) + 0.5) / BINS).reshape(1, BINS, 1, 1),
        bins=np.array([BINS], dtype=np.float32),
        one=np.array([1], dtype=np.float32),
        begin=np.array([top, left]),
        end=np.array([bottom, right]),
        sides=np.array([2, 3]),
        # A block is its four cells' bins, one output channel each.
        neighbours=np.eye(BINS * BLOCK**2, dtype=np.float32).reshape(-1, BINS, BLOCK, BLOCK),
        clip=np.array([CLIP], dtype=np.float32),
        bin_axis=np.array([1]),
        least=np.array([LEAST_NORM**2], dtype=np.float32),
        least_again=np.array([1e-12], dtype=np.float32),
    )
    blocks = (height // side - BLOCK + 1) * (width // side - BLOCK + 1)
    return Graph("Histograms of oriented gradients", blocks * BINS * BLOCK**2, nodes, constants)


def normalised(given: str, made: str, least: str = "least") -> list[Any]:
    """Nodes that divide each block by its L2 norm, kept from 0 by the constant `least`."""
    from onnx import helper

    node = helper.make_node
    return [
        node("ReduceSumSquare", [given, "bin_axis"], [f"{made}_sum"]),
        node("Add", [f"{made}_sum", least], [f"{made}_safe"]),
        node("Sqrt", [f"{made}_safe"], [f"{made}_norm"]),
        node("Div", [given, f"{made}_norm"], [made]),
    ]
