"""How long a training takes, and what comes of it: our recipes beside the published ones in plain Keras, PyTorch's
MNIST example and scikit-learn, seed after seed, on one machine.

    GUARISMO_DATA=/folder/with/mnist-and-fashion python benchmarks/training.py [--seeds 5] [--only WORD …]

Each training is a process of its own; every program has its turn for one seed before the next seed begins. The epochs
are fixed in advance, the test images are opened once, after the last. Seconds are those of training alone: from the
images in memory to the trained weights, compiling included, export and test not. Left out with a word where a program
is not installed (pip install torch). The share of the peak is what the convolutions and products of a training (three
times those of its answers) took of what TensorFlow's largest products in bfloat16 reach on this machine. Prints a table
in Markdown. Exit status 1 where a recipe stays below its floor.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import guarismo
from guarismo.models.architectures import build, keras
from guarismo.models.settings import recipe_for
from guarismo.models.training import processor


@dataclass(frozen=True)
class Trained:
    """seconds: of training; epochs and n: how often it saw how many images; accuracy: of the test images, once.

    operations: multiplications and additions of convolutions and products in answering one image; 0 where none.
    """

    seconds: float
    epochs: int
    n: int
    accuracy: float
    operations: int = 0


def operations(network: Any) -> int:
    """Of all convolutions and dense layers for one image, 2 for each weight at each place of the output."""
    return sum(
        2 * math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in network.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
    )


def peak() -> float:
    """Operations per second of products of 4096² matrices in bfloat16, the best of ten."""
    matrix = keras.ops.ones((4096, 4096), dtype="bfloat16")
    seconds = []
    for _ in range(10):
        began = perf_counter()
        np.asarray(keras.ops.matmul(matrix, matrix)[0, 0], dtype="float32")
        seconds.append(perf_counter() - began)
    return 2 * 4096**3 / min(seconds)


def ours(source: str, recipe: str, seed: int, **changes: Any) -> Trained:
    """`guarismo train SOURCE --recipe NAME`, with what `changes` of its settings: its epochs, validation included."""
    dataset, settings = guarismo.load(source), replace(recipe_for(recipe, source), seed=seed, **changes)
    with tempfile.TemporaryDirectory() as place:
        run = guarismo.train(dataset, settings, Path(place) / "run")
        seconds = sum(row["seconds"] for row in run.history)
        _, evaluation = guarismo.evaluate_run(run, dataset)
    network = build(settings.model, dataset.shape, len(dataset.class_names), width=settings.width)
    return Trained(seconds, len(run.history), len(dataset.train), evaluation.accuracy, operations(network))


def plain_keras(source: str, recipe: str, seed: int) -> Trained:
    """The same network and settings as users write them: float32 arrays in 0…1, `compile`, `fit`."""
    settings, dataset = recipe_for(recipe), guarismo.load(source)
    keras.utils.set_random_seed(seed)
    core = build(settings.model, dataset.shape, len(dataset.class_names))
    layers = [layer for layer in core.layers[2:] if layer.name != "probabilities"]
    network = keras.Sequential([keras.Input(dataset.shape), *layers, keras.layers.Softmax()])
    images, tests = (np.asarray(part.images, dtype="float32") / 255 for part in (dataset.train, dataset.test))
    wanted = keras.utils.to_categorical(dataset.train.labels)
    held_out = dataset.validation.images.astype("float32") / 255, keras.utils.to_categorical(dataset.validation.labels)
    network.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    began = perf_counter()
    network.fit(images, wanted, settings.batch_size, settings.epochs, validation_data=held_out, verbose=0)
    seconds = perf_counter() - began
    answers = network.predict(tests, batch_size=1000, verbose=0).argmax(axis=1)
    right = float((answers == dataset.test.labels).mean())
    return Trained(seconds, settings.epochs, len(images), right, operations(network))


def pytorch_example(source: str, recipe: str, seed: int) -> Trained:
    """The network and settings of PyTorch's MNIST example (Adadelta, step size 1, × 0.7 each epoch), data in memory."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(seed)
    dataset, epochs = guarismo.load(source), int(recipe)
    images = (torch.from_numpy(np.asarray(dataset.train.images)).permute(0, 3, 1, 2).float() / 255 - 0.1307) / 0.3081
    labels = torch.from_numpy(dataset.train.labels)
    network = nn.Sequential(
        *[nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)],
        *[nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10), nn.LogSoftmax(1)],
    )
    optimiser = torch.optim.Adadelta(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.7)
    began = perf_counter()
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            functional.nll_loss(network(images[batch]), labels[batch]).backward()
            optimiser.step()
        schedule.step()
    seconds = perf_counter() - began
    tests = (torch.from_numpy(dataset.test.images).permute(0, 3, 1, 2).float() / 255 - 0.1307) / 0.3081
    network.eval()
    with torch.inference_mode():
        answers = torch.cat([network(part).argmax(1) for part in tests.split(1000)]).numpy()
    right = float((answers == dataset.test.labels).mean())
    return Trained(seconds, epochs, len(images), right, counted(network, tests[:1]))


def counted(network: Any, image: Any) -> int:
    """Operations of a PyTorch network for one image."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops())


def pytorch_published(source: str, recipe: str, seed: int) -> Trained:
    """Recipe `mnist-cnn` written in plain PyTorch, one epoch: for its images per second."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(seed)
    dataset = guarismo.load(source)
    images = torch.from_numpy(np.asarray(dataset.train.images)).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(dataset.train.labels)
    network = nn.Sequential(
        *[nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Flatten(), nn.Dropout(0.25), nn.Linear(1600, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)],
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    began = perf_counter()
    for batch in torch.randperm(len(images)).split(recipe_for(recipe).batch_size):
        optimiser.zero_grad()
        functional.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimiser.step()
    seconds = perf_counter() - began
    network.eval()
    with torch.inference_mode():
        tests = torch.from_numpy(dataset.test.images).permute(0, 3, 1, 2).float() / 255
        answers = torch.cat([network(part).argmax(1) for part in tests.split(1000)]).numpy()
    right = float((answers == dataset.test.labels).mean())
    return Trained(seconds, 1, len(images), right, counted(network, tests[:1]))


def scikit_learn(source: str, recipe: str, seed: int) -> Trained:
    """scikit-learn's dense network or forest with its own defaults, all cores."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neural_network import MLPClassifier

    dataset = guarismo.load(source)
    flat, tests = (part.images.reshape(len(part), -1).astype("float32") / 255 for part in (dataset.train, dataset.test))
    models = {
        "mlp": lambda: MLPClassifier(random_state=seed, max_iter=20),
        "forest": lambda: RandomForestClassifier(n_jobs=-1, random_state=seed),
    }
    model = models[recipe]()
    began = perf_counter()
    model.fit(flat, dataset.train.labels)
    seconds = perf_counter() - began
    return Trained(seconds, getattr(model, "n_iter_", 1), len(flat), float(model.score(tests, dataset.test.labels)))


@dataclass(frozen=True)
class Contender:
    """train: with a source, a recipe (or what stands for it), a seed; needs: its module; floor: of mean accuracy."""

    train: Callable[[str, str, int], Trained]
    source: str
    recipe: str
    needs: str = "keras"
    floor: float = 0.0


HALF: dict[str, Any] = {"width": 0.5, "batch_size": 256, "learning_rate": 0.03}

CONTENDERS = {
    "recipe fast": Contender(ours, "mnist", "fast", floor=0.993),
    "recipe small": Contender(ours, "mnist", "small", floor=0.993),
    "recipe tiny": Contender(ours, "mnist", "tiny", floor=0.98),
    "recipe fast, half as wide": Contender(partial(ours, **HALF), "mnist", "fast", floor=0.99),
    "recipe fast, 2 epochs": Contender(partial(ours, epochs=2), "mnist", "fast", floor=0.994),
    "recipe best": Contender(ours, "mnist", "best", floor=0.997),
    "recipe mnist-cnn": Contender(ours, "mnist", "mnist-cnn"),
    "mnist-cnn in plain Keras": Contender(plain_keras, "mnist", "mnist-cnn"),
    "mnist-cnn in plain PyTorch, 1 epoch": Contender(pytorch_published, "mnist", "mnist-cnn", "torch"),
    "PyTorch's MNIST example, 1 epoch": Contender(pytorch_example, "mnist", "1", "torch"),
    "scikit-learn MLP, 20 epochs": Contender(scikit_learn, "mnist", "mlp", "sklearn"),
    "scikit-learn forest": Contender(scikit_learn, "mnist", "forest", "sklearn"),
    "Fashion: recipe fast, 2 epochs": Contender(partial(ours, epochs=2), "fashion_mnist", "fast", floor=0.9),
    "Fashion: recipe fast": Contender(ours, "fashion_mnist", "fast", floor=0.905),
    "Fashion: recipe fast, 8 epochs": Contender(partial(ours, epochs=8), "fashion_mnist", "fast", floor=0.92),
    "Fashion: recipe best": Contender(ours, "fashion_mnist", "best", floor=0.94),
    "Fashion: fashion-cnn-strided in plain Keras": Contender(plain_keras, "fashion_mnist", "fashion-cnn-strided"),
}


def one(name: str, seed: int) -> dict[str, Any]:
    """A training in this process, with its peak memory."""
    contender = CONTENDERS[name]
    trained = contender.train(contender.source, contender.recipe, seed)
    return {**trained.__dict__, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def in_own_process(name: str, seed: int) -> dict[str, Any]:
    words = [sys.executable, __file__, "--one", name, "--first", str(seed)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def spread(values: list[float], form: str, factor: float = 1) -> str:
    """Mean ± standard deviation."""
    mean = format(factor * statistics.mean(values), form)
    return f"{mean} ± {format(factor * statistics.stdev(values), form)}" if len(values) > 1 else mean


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--one", choices=CONTENDERS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one, asked.first)))
        return 0
    chosen = [name for name in CONTENDERS if any(word in name for word in asked.only)]
    there = [name for name in chosen if find_spec(CONTENDERS[name].needs)]
    for name in chosen:
        if name not in there:
            print(f"{name}: {CONTENDERS[name].needs} is not installed, left out.")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in there}
    for seed in range(asked.first, asked.first + asked.seeds):
        for name, found in rows.items():
            found.append(in_own_process(name, seed))
            print(f"{name}, seed {seed}: {found[-1]}", file=sys.stderr, flush=True)
    print(
        f"\n{processor()}, {os.cpu_count()} cores; {asked.seeds} seeds from {asked.first}; mean ± standard deviation\n"
    )
    most = peak()
    print(f"Peak: {most / 1e12:.2f} TFLOP/s\n")
    print("| training | seconds | epochs | test accuracy | images/s | of the peak | memory |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    failed = False
    for name, found in rows.items():
        accuracy = [row["accuracy"] for row in found]
        rates = [row["epochs"] * row["n"] / row["seconds"] for row in found]
        print(
            f"| {name} | {spread([row['seconds'] for row in found], '.1f')} | {found[0]['epochs']} | "
            f"{spread(accuracy, '.2f', 100)} % | {statistics.median(rates):,.0f} | "
            f"{3 * found[0]['operations'] * statistics.median(rates) / most:.1%} | "
            f"{max(row['peak'] for row in found) / 1e9:.1f} GB |"
        )
        failed |= statistics.mean(accuracy) < CONTENDERS[name].floor
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
