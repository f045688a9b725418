"""Classical models, one function each: Dataset and Settings in, a fitted scikit-learn estimator out as a Fitted."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset
from guarismo.models.runs import Fitted
from guarismo.models.settings import Settings
from guarismo.progress import Progress

TREES = 100
TREES_AT_ONCE = 10


def forest(dataset: Dataset, settings: Settings, progress: Progress) -> Any:
    """Random forest on the flattened pixels: 100 trees without depth limit, as published (`poly-modality-forest`).

    Grown ten trees at a time for the sake of progress; scikit-learn promises the same forest as in one go.
    """
    from sklearn.ensemble import RandomForestClassifier

    estimator = RandomForestClassifier(warm_start=True, random_state=settings.seed, n_jobs=-1)
    for trees in range(TREES_AT_ONCE, TREES + 1, TREES_AT_ONCE):
        estimator.set_params(n_estimators=trees)
        estimator.fit(flattened(dataset.train.images), dataset.train.labels)
        progress(trees, TREES, trees=trees)
    return estimator


CLASSICAL: dict[str, Callable[[Dataset, Settings, Progress], Any]] = {"forest": forest}


def flattened(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, h, w, c) → float32 (n, h·w·c), what scikit-learn and its ONNX form both read."""
    return images.reshape(len(images), -1).astype(np.float32)


def fit_classical(dataset: Dataset, settings: Settings, progress: Progress) -> Fitted:
    """Train the classical model of `settings`. Cut off, it starts again from nothing, to the same result."""
    import skops.io  # from the [train] extra

    estimator = CLASSICAL[settings.model](dataset, settings, progress)
    nodes = sum(int(tree.tree_.node_count) for tree in estimator.estimators_)
    return Fitted(
        files={"model.onnx": to_onnx(estimator, dataset.shape), "model.skops": skops.io.dumps(estimator)},
        predict=lambda images: estimator.predict_proba(flattened(images)).astype(np.float32),
        parameters=nodes,
        architecture=[
            {"layer": f"{TREES} decision trees", "output": str(len(dataset.class_names)), "parameters": nodes}
        ],
        facts={"scikit-learn": version("scikit-learn"), "arithmetic": "float32"},
    )


def to_onnx(estimator: Any, shape: tuple[int, int, int]) -> bytes:
    """The estimator as an ONNX file: input "images" uint8 (n, h, w, c), output float32 (n, classes)."""
    import skl2onnx  # with onnx, from the [train] extra
    from onnx import TensorProto, helper
    from skl2onnx.common.data_types import FloatTensorType

    pixels = [("pixels", FloatTensorType([None, math.prod(shape)]))]
    model = skl2onnx.to_onnx(estimator, initial_types=pixels, options={"zipmap": False})
    graph = model.graph
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["pixels"], axis=1),
        *graph.node,
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, [None, *shape])
    probabilities = [output for output in graph.output if output.name == "probabilities"]
    whole = helper.make_graph(nodes, "guarismo", [images], probabilities, graph.initializer)
    converted: bytes = helper.make_model(
        whole, opset_imports=model.opset_import, ir_version=model.ir_version
    ).SerializeToString()
    return converted
