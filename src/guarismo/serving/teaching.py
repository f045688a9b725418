"""Samples of a hand → what is learnt of it, in a worker: as `adapt` learns it, and nothing written."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.images import Pixels
from guarismo.data.normalise import SIDE
from guarismo.errors import GuarismoError, RunError
from guarismo.reading.adaptation import (
    SAMPLES,
    Adaptation,
    Network,
    Score,
    Taught,
    Weights,
    open_network,
    softmax_of,
    teach,
    without_surplus,
)
from guarismo.reading.reader import Reader
from guarismo.results.batch import reader_in
from guarismo.serving.worker import packed


@dataclass(frozen=True, eq=False)
class HandReader(Reader):
    """A Reader whose last layer is that of a hand."""

    network: Network = field(kw_only=True)
    weights: Weights = field(kw_only=True)

    def judge(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Calibrated probabilities float32 (n, 10) of images uint8 (n, 28, 28), white on black."""
        return softmax_of(self.network.features(images) @ self.weights / np.float32(self.temperature))


@cache
def network_in(run: str) -> Network:
    """The network of a run, opened once in each process. Raises RunError where it cannot learn a hand."""
    return open_network(reader_in(Path(run)).run)


@lru_cache(maxsize=64)
def hand_reader(run: str, weights: bytes) -> HandReader:
    """The reader of a run with another last layer, float32 (f + 1, 10)."""
    base = reader_in(Path(run))
    layer = np.frombuffer(weights, np.float32).reshape(-1, 10)
    return HandReader(base.run, base.temperature, network=network_in(run), weights=layer)


def prepare(run: str) -> bytes:
    """Has ready what is rehearsed with every hand, which takes seconds."""
    with suppress(RunError):  # the lesson itself will say so
        network = network_in(run)
        network.rehearsed, network.guard  # noqa: B018
    return b""


def lesson(run: str, images: bytes, labels: bytes) -> bytes:
    """What is learnt of samples uint8 (n, 28, 28) with labels uint8 (n,), as a message: what it brought, and with it
    the last layer, model.onnx and the samples, one after another."""
    glyphs = np.frombuffer(images, np.uint8).reshape(-1, SIDE, SIDE)
    found = [
        (f"sample {place}", glyph, label) for place, (glyph, label) in enumerate(zip(glyphs, labels, strict=True), 1)
    ]
    samples = without_surplus(found, ())
    try:
        taught = teach(samples, reader_in(Path(run)), network_in(run))
    except GuarismoError as error:
        return packed({**untaught(str(error)), "counts": samples.counts})
    parts = [taught.weights.astype(np.float32).tobytes(), taught.files["model.onnx"], taught.files[SAMPLES]]
    head = {**brought(taught.adaptation), "answers": answers_of(taught, glyphs), "about": dict(taught.about)}
    return packed({**head, "lengths": [len(part) for part in parts]}, b"".join(parts))


def untaught(why: str) -> dict[str, Any]:
    """What a lesson brought that taught nothing."""
    return {"learnt": False, "message": why, "counts": {}, "before": None, "after": None, "answers": []}


def brought(adaptation: Adaptation) -> dict[str, Any]:
    """How the hand and held-out MNIST digits are read, before and after: samples that were not learnt, in turn."""
    before, after = (
        {"right": adaptation.left_out[side], "of": adaptation.left_out[2], "mnist": share(adaptation.mnist, side)}
        for side in (0, 1)
    )
    return {"learnt": True, "message": "", "counts": dict(adaptation.counts), "before": before, "after": after}


def share(score: Score, side: int) -> float:
    return round(score[side] / score[2], 5)


def answers_of(taught: Taught, glyphs: Pixels) -> list[list[int] | None]:
    """What each of these samples was read as before, and when it was left out; None for one beyond the most."""
    from safetensors.numpy import load

    learnt = load(taught.files[SAMPLES])["images"]
    known = {image.tobytes(): list(each) for image, each in zip(learnt, taught.adaptation.answers, strict=True)}
    return [known.get(glyph.tobytes()) for glyph in glyphs]
