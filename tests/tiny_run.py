"""A real Run without any training: a linear ONNX graph with weights chosen by hand, in a folder of its own."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from guarismo.data.dataset import Dataset, Split
from guarismo.models.runs import Run, commit

SIDE = 8
HISTORY = "epoch,loss,accuracy,validation_loss,validation_accuracy,learning_rate,seconds\n"


def bars(n: int, seed: int = 0, classes: int = 3, side: int = SIDE, channels: int = 1) -> Split:
    """Images with a bright row; the row is the class, and noise makes some of them hard."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    images = rng.integers(0, 120, (n, side, side, channels))
    images[np.arange(n), 2 * labels + 1] += rng.integers(0, 136, (n, 1, 1))
    return Split(images.astype(np.uint8), labels.astype(np.int64))


def bars_dataset(
    classes: int = 3, names: tuple[str, ...] = (), side: int = SIDE, channels: int = 1, **facts: Any
) -> Dataset:
    """180 training, 60 validation and 90 test images."""
    train, validation, test = (bars(n, n, classes, side, channels) for n in (180, 60, 90))
    names = names or tuple(f"row {k}" for k in range(classes))
    return Dataset("bars", train, validation, test, names, **{"origin": {"source": "bars"}, **facts})


def linear_model(classes: int, shape: tuple[int, int, int], sharpness: float) -> bytes:
    """uint8 (n, *shape) → softmax over the mean brightness of each class's row, or its pixel where rows are too few."""
    weights = np.zeros((*shape, classes), dtype=np.float32)
    for k in range(classes):
        if 2 * classes <= shape[0]:
            weights[2 * k + 1, :, :, k] = sharpness / shape[1] / shape[2] / 255
        else:
            weights.reshape(-1, classes)[k, k] = sharpness / 255
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "rows",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(weights.reshape(-1, classes), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def overfit_history(epochs: int = 8) -> str:
    """history.csv of a run whose validation loss is lowest in epoch 3."""
    rows = [
        f"{e},{1 / e:.4f},{1 - 0.3 / e:.4f},{0.5 + 0.1 * abs(e - 3):.4f},{0.9 - 0.01 * abs(e - 3):.4f},0.001,1.5"
        for e in range(1, epochs + 1)
    ]
    return HISTORY + "\n".join(rows) + "\n"


def make_run(
    folder: Path, dataset: Dataset, sharpness: float = 30.0, model: str = "cnn", history: str | None = None
) -> Run:
    """A finished Run as `train` leaves it; the greater `sharpness`, the surer its answers (negative: all wrong)."""
    folder.mkdir(parents=True)
    about = describe_run(dataset, model)
    content = linear_model(len(dataset.class_names), dataset.shape, sharpness)
    files = {"model.onnx": content, "history.csv": (overfit_history() if history is None else history).encode()}
    run = commit(Run(folder, about), files)
    answers = run.predict(dataset.train.images).argmax(axis=1)
    return commit(run, {"train.safetensors": save({"labels": dataset.train.labels, "answers": answers})})


def describe_run(dataset: Dataset, model: str) -> dict[str, Any]:
    """The run.json of a training on `dataset`, before any file is in the folder."""
    return {
        "format": 1,
        "state": "finished",
        "model": model,
        "settings": {"model": model, "epochs": 8, "seed": 7},
        "data": {
            "name": dataset.name,
            "origin": dict(dataset.origin),
            "fingerprint": dataset.fingerprint,
            "counts": {name: len(split) for name, split in dataset.splits.items()},
            "class_names": list(dataset.class_names),
            "shape": list(dataset.shape),
        },
        "parameters": 192,
        "architecture": [
            {"layer": "Rescaling", "output": "8×8×1", "parameters": 0},
            {"layer": "Dense", "output": "3", "parameters": 192},
        ],
        "seconds": {"train": 12.0, "export": 0.5},
        "metrics": {"train_accuracy": 0.95, "validation_accuracy": 0.9, "validation_loss": 0.5},
        "facts": {"kept_epoch": 3, "onnx_difference": 1.2345e-7},
        "versions": {"guarismo": "0.1.0", "python": "3.11"},
        "machine": {"system": "Linux", "cores": 2},
        "files": {},
    }


@contextmanager
def full_disk(room: int = 3000) -> Iterator[None]:
    """Files cannot grow beyond `room` bytes: the system's own limit stands in for a disk without space."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
