"""How long an answer takes: `Run.predict` beside Keras, TensorFlow, PyTorch and OpenVINO, on the same network.

    GUARISMO_DATA=/folder/with/mnist python benchmarks/answering.py [--rounds 5]

Trains `mnist-cnn` for one epoch, gives every program the same weights, checks that all answer alike, then times them in
turn, round after round, on batches of 1, 32 and 1,024 test images; and the cold start of each as a whole process that
answers one image. PyTorch and OpenVINO are left out, with a word, where they are not installed
(pip install torch openvino). Prints tables in Markdown. Exit status 1 where `Run.predict` at batch 1 is not 20 times as
fast as Keras' predict, or takes more than 1.5 times as long as OpenVINO.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import guarismo
from guarismo.models.interchange import load_network
from guarismo.models.training import processor

BATCHES = (1, 32, 1024)
ALIKE, ROUGHLY_ALIKE = 1e-4, 0.05
"""Largest difference of a probability, in float32 and in bfloat16."""
Answer = Callable[[np.ndarray], np.ndarray]


def ours(run: Any) -> Answer:
    return run.predict


def keras_predict(run: Any) -> Answer:
    network = load_network(run)
    return lambda images: network.predict(images, batch_size=len(images), verbose=0)


def tensorflow_call(run: Any) -> Answer:
    """The network called as a compiled function: the fastest way that Keras on TensorFlow has."""
    import tensorflow as tf

    network = load_network(run)
    answer = tf.function(lambda images: network(images, training=False))
    return lambda images: answer(tf.constant(images)).numpy()


def pytorch(run: Any) -> Answer:
    """The same layers in PyTorch, channels first; the dense layer reads features in Keras' order."""
    import torch
    from torch import nn

    weights = [torch.tensor(weight) for weight in load_network(run).get_weights()]
    kernels = [weight.permute(3, 2, 0, 1) if weight.ndim == 4 else weight.T for weight in weights[::2]]
    first, second = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
    hidden, last = nn.Linear(1600, 128), nn.Linear(128, 10)
    for layer, kernel, bias in zip((first, second, hidden, last), kernels, weights[1::2], strict=True):
        layer.weight.data, layer.bias.data = kernel.contiguous(), bias
    pool = nn.MaxPool2d(2)

    @torch.inference_mode()
    def answer(images: np.ndarray) -> np.ndarray:
        flow = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        flow = pool(torch.relu(second(pool(torch.relu(first(flow))))))
        flow = torch.relu(hidden(flow.permute(0, 2, 3, 1).reshape(len(images), -1)))
        return torch.softmax(last(flow), dim=1).numpy()

    return answer


def openvino(run: Any, precision: str = "f32") -> Answer:
    import openvino as ov

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    model = ov.Core().compile_model(run.folder / "model.onnx", "CPU", options)
    return lambda images: model(images)[0]


def openvino_bfloat16(run: Any) -> Answer:
    """What OpenVINO does unless told otherwise on a processor with bfloat16."""
    return openvino(run, "bf16")


WAYS: dict[str, tuple[str, Callable[[Any], Answer]]] = {
    "Run.predict": ("guarismo", ours),
    "Keras predict": ("keras", keras_predict),
    "TensorFlow, compiled call": ("tensorflow", tensorflow_call),
    "PyTorch, inference mode": ("torch", pytorch),
    "OpenVINO": ("openvino", openvino),
    "OpenVINO, bfloat16": ("openvino", openvino_bfloat16),
}
"""Name → the module that it needs, and what makes it of a run."""

COLD = {
    "Run.predict": "from guarismo.models.runs import open_run; answer = open_run({run!r}).predict",
    "Keras predict": "import keras; answer = lambda x: keras.models.load_model({keras!r}).predict(x, verbose=0)",
    "PyTorch, inference mode": "import torch; answer = lambda x: torch.softmax(torch.rand(1, 10), 1)",
    "OpenVINO": "import openvino as ov; answer = ov.Core().compile_model({onnx!r}, 'CPU')",
}
"""A process each: import, open, answer one image. PyTorch's is its import alone, a lower bound."""


def times_of(answer: Answer, images: np.ndarray, seconds: float = 0.4) -> list[float]:
    """Seconds of each call, for as long as `seconds` and at least five times."""
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        began = perf_counter()
        answer(images)
        times.append(perf_counter() - began)
    return times


def cold_start(code: str) -> float:
    lines = f"import numpy as np\n{code}\nanswer(np.zeros((1, 28, 28, 1), np.uint8))"
    began = perf_counter()
    subprocess.run([sys.executable, "-c", lines], check=True, capture_output=True)
    return perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    dataset = guarismo.load("mnist")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        settings = guarismo.Settings(model="mnist-cnn", epochs=1)
        run = guarismo.train(dataset, settings, folder)
        load_network(run).save(Path(place) / "network.keras")
        there = {name: make for name, (module, make) in WAYS.items() if find_spec(module)}
        for name in WAYS.keys() - there:
            print(f"{name}: not installed, left out.")
        answers = {name: make(run) for name, make in there.items()}
        images = dataset.test.images
        for name, answer in answers.items():
            apart = float(np.abs(np.asarray(answer(images[:1024])) - run.predict(images[:1024])).max())
            assert apart < (ROUGHLY_ALIKE if "bfloat16" in name else ALIKE), f"{name} answers otherwise, by {apart:.2g}"
        seconds: dict[tuple[str, int], list[float]] = {(name, size): [] for name in answers for size in BATCHES}
        for _ in range(rounds):
            for (name, size), times in seconds.items():
                times += times_of(answers[name], images[:size])
        words = {"run": str(folder), "keras": str(Path(place) / "network.keras"), "onnx": str(folder / "model.onnx")}
        cold = {
            name: statistics.median(cold_start(code.format(**words)) for _ in range(rounds))
            for name, code in COLD.items()
            if name in there
        }
    print(f"\n{processor()}, {os.cpu_count()} cores; `mnist-cnn`, {rounds} rounds in turn; median (99th percentile)\n")
    print("| way | 1 image | 32 images | 1,024 images | images/s at 1,024 | cold start |\n|---|--:|--:|--:|--:|--:|")
    for name in answers:
        cells = [
            f"{1e3 * statistics.median(times):.2f} ms ({1e3 * float(np.quantile(times, 0.99)):.2f})"
            for times in (seconds[name, size] for size in BATCHES)
        ]
        rate = f"{1024 / statistics.median(seconds[name, 1024]):,.0f}"
        print(f"| {name} | {' | '.join(cells)} | {rate} | {f'{cold[name]:.2f} s' if name in cold else '–'} |")
    one = {name: statistics.median(seconds[name, 1]) for name in answers}
    ratio = {name: one[name] / one["Run.predict"] for name in one}
    print("\nAt one image, times as long as `Run.predict`: " + json.dumps({k: round(v, 2) for k, v in ratio.items()}))
    return int(ratio["Keras predict"] < 20 or ratio.get("OpenVINO", 1.0) < 1 / 1.5)


if __name__ == "__main__":
    sys.exit(main())
