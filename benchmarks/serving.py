"""What `guarismo serve` holds: its start, its load beside a plain FastAPI + Keras server, its memory, its faults.

    python benchmarks/serving.py [--seconds 10] [--rounds 3] [--requests 100000] [--overload 60]

The client is this process, on the same machine: plain sockets that stay open, each sends its next request when the last
one is answered. The plain server is what one writes first: FastAPI with a pydantic body and `model.predict`, the same
network (recipe `reader`, untrained), under Uvicorn with uvloop and httptools. Both are asked in turn, round after
round. Prints tables in Markdown. Exit status 1 where a goal is missed:

- ready within 1.5 s of the start
- 1,500 predictions a second of one image as JSON at 32 connections, 99 % within 25 ms; 5 times the plain server's
- 12 photos of 2 megapixels a second at 4 connections, 99 % within 500 ms
- memory flat (5 %) over 100,000 requests
- overload (256 connections that predict, 64 that send photos): nothing but 200 and 503, and answers within 1 s after it
- SIGTERM under load: each request that was sent is answered
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import uvloop
from PIL import Image

from guarismo.data.sources import load
from guarismo.reading.reader import SAMPLES

CONNECTIONS = 32
PLAIN_PORT = 8179


@dataclass
class Figures:
    """What clients saw: seconds of each answered request, how often each status, requests without an answer."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return 1e3 * float(np.quantile(self.seconds, share)) if self.seconds else float("nan")


class Client(asyncio.Protocol):
    """One connection: the next request goes out when the last is answered, until `asking` is cleared."""

    def __init__(self, request: bytes, figures: Figures, asking: asyncio.Event, port: int):
        self.request, self.figures, self.asking, self.port = request, figures, asking, port
        self.answer = b""
        self.waits = False
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        if not self.asking.is_set():
            self.transport.close()
            return
        self.answer, self.waits, self.began = b"", True, perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.answer += data
        end = self.answer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.answer[:end].lower()
        length = int(head[head.index(b"content-length: ") + 16 :].split(b"\r", 1)[0])
        if len(self.answer) < end + 4 + length:
            return
        self.figures.seconds.append(perf_counter() - self.began)
        self.figures.statuses[int(head[9:12])] += 1
        self.waits = False
        if b"connection: close" not in head:
            self.ask()

    def connection_lost(self, _: Exception | None) -> None:
        self.figures.lost += self.waits
        self.done.set_result(None)


async def clients(count: int, request: bytes, figures: Figures, asking: asyncio.Event, port: int) -> list[Client]:
    loop = asyncio.get_running_loop()
    made = [
        loop.create_connection(lambda: Client(request, figures, asking, port), "127.0.0.1", port) for _ in range(count)
    ]
    return [protocol for _, protocol in [await each for each in made]]


def load_for(seconds: float, port: int, *kinds: tuple[int, bytes]) -> list[Figures]:
    """What clients see in `seconds`: for each kind, so many connections with this request."""

    async def ask() -> list[Figures]:
        asking, figures = asyncio.Event(), [Figures() for _ in kinds]
        asking.set()
        lines = [
            line
            for (count, request), seen in zip(kinds, figures, strict=True)
            for line in await clients(count, request, seen, asking, port)
        ]
        await asyncio.sleep(seconds)
        asking.clear()
        await asyncio.wait_for(asyncio.gather(*(line.done for line in lines)), 60)
        return figures

    gc.collect()
    gc.freeze()  # the client's own collector would hold up 32 answers at a time
    return uvloop.run(ask())


def post(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def prediction() -> bytes:
    """One digit as JSON."""
    image = load("digits").train.images[:1, ..., 0]
    return post("/v1/predict", "application/json", json.dumps({"images": image.tolist()}).encode())


def photo() -> bytes:
    """A sample photo of 2 megapixels."""
    with Image.open(min(SAMPLES.glob("*.jpg"))) as picture:
        scale = (2e6 / picture.width / picture.height) ** 0.5
        sized = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    sized.save(content, "jpeg", quality=88)
    return post("/v1/read", "image/jpeg", content.getvalue())


@contextmanager
def guarismo() -> Iterator[tuple[subprocess.Popen[str], int, float]]:
    """The server, its port, and the seconds from its start to its first answer."""
    began = perf_counter()
    command = [sys.executable, "-m", "guarismo", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
            urlopen(f"http://127.0.0.1:{port}/v2/health/ready").close()
            yield process, port, perf_counter() - began
        finally:
            process.terminate()


@contextmanager
def plain() -> Iterator[int]:
    """The plain server, ready; its port."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen([sys.executable, __file__, "--plain"], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    urlopen(f"http://127.0.0.1:{PLAIN_PORT}/ready").close()
                    break
                except URLError:
                    if process.poll() is not None:
                        raise SystemExit("The plain server did not start: it needs guarismo[train].") from None
            yield PLAIN_PORT
        finally:
            process.terminate()


def serve_plainly() -> None:
    """FastAPI and Keras as one writes them first."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    from guarismo.models.architectures import build

    class Images(BaseModel):
        images: list[list[list[int]]]

    Images.model_rebuild(_types_namespace={"list": list, "int": int})
    app, network = FastAPI(), build("reader", (28, 28, 1), 10)
    network.predict(np.zeros((1, 28, 28, 1), np.uint8), verbose=0)

    def predict(body: Images) -> dict[str, list[list[float]]]:
        images = np.array(body.images, dtype=np.uint8)[..., None]
        return {"probabilities": network.predict(images, verbose=0).tolist()}

    predict.__annotations__ = {"body": Images, "return": dict[str, list[list[float]]]}
    app.post("/v1/predict")(predict)
    app.get("/ready")(lambda: {"ready": True})
    uvicorn.run(app, port=PLAIN_PORT, log_level="error", loop="uvloop", http="httptools")


def memory(process: subprocess.Popen[str]) -> float:
    """Resident megabytes of the server's own process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def check_start() -> list[str]:
    seconds = []
    for _ in range(5):
        with guarismo() as (_, _, ready):
            seconds.append(ready)
    print(f"\nReady after {statistics.median(seconds):.2f} s (5 starts: {min(seconds):.2f}–{max(seconds):.2f}).")
    return [] if statistics.median(seconds) <= 1.5 else ["ready within 1.5 s"]


def check_load(seconds: float, rounds: int) -> list[str]:
    """Predictions beside the plain server, then photos."""
    request, missed = prediction(), []
    rows: dict[str, list[tuple[float, float, float]]] = {"guarismo serve": [], "FastAPI + Keras predict": []}
    with guarismo() as (_, port, _), plain() as plain_port:
        for _ in range(rounds):
            for name, at in zip(rows, (port, plain_port), strict=True):
                load_for(1, at, (CONNECTIONS, request))
                (seen,) = load_for(seconds, at, (CONNECTIONS, request))
                assert set(seen.statuses) == {200} and not seen.lost, (name, seen.statuses, seen.lost)
                rows[name].append((len(seen.seconds) / seconds, seen.quantile(0.5), seen.quantile(0.99)))
    print(f"\n| {CONNECTIONS} connections, {rounds} × {seconds:g} s | requests/s | median ms | 99 % ms |")
    print("|---|--:|--:|--:|")
    for name, measured in rows.items():
        rates, middles, lasts = zip(*measured, strict=True)
        print(
            f"| {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) "
            f"| {statistics.median(middles):.1f} | {statistics.median(lasts):.1f} |"
        )
    ours, theirs = ([statistics.median(column) for column in zip(*measured, strict=True)] for measured in rows.values())
    missed += ["1,500 requests a second"] * (ours[0] < 1500) + ["99 % within 25 ms"] * (ours[2] > 25)
    missed += ["5 times the plain server"] * (ours[0] < 5 * theirs[0])
    print(f"\n{ours[0] / theirs[0]:.1f} times the plain server.")
    return missed


def check_photos(seconds: float) -> list[str]:
    with guarismo() as (_, port, _):
        load_for(2, port, (4, photo()))
        (seen,) = load_for(seconds, port, (4, photo()))
    rate = len(seen.seconds) / seconds
    print(f"\nPhotos of 2 megapixels, 4 connections: {rate:.1f} a second, 99 % within {seen.quantile(0.99):.0f} ms.")
    assert set(seen.statuses) == {200}, seen.statuses
    return ["12 photos a second"] * (rate < 12) + ["photos within 500 ms"] * (seen.quantile(0.99) > 500)


def check_memory(requests: int) -> list[str]:
    with guarismo() as (process, port, _):
        load_for(3, port, (CONNECTIONS, prediction()))
        before, answered, highest = memory(process), 0, 0.0
        while answered < requests:
            (seen,) = load_for(2, port, (CONNECTIONS, prediction()))
            answered += len(seen.seconds)
            highest = max(highest, memory(process))
    print(f"\nMemory: {before:.1f} MB, at most {highest:.1f} MB during {answered:,} further requests.")
    return [] if highest <= 1.05 * before else ["memory flat"]


def check_overload(seconds: float) -> list[str]:
    with guarismo() as (_, port, _):
        load_for(3, port, (1, photo()))
        seen = load_for(seconds, port, (256, prediction()), (64, photo()))
        ended = monotonic()
        after = load_for(0.1, port, (1, prediction()), (1, photo()))
        recovered = monotonic() - ended
    for name, each in zip(("predictions", "photos"), seen, strict=True):
        told = ", ".join(f"{count:,} × {status}" for status, count in sorted(each.statuses.items()))
        print(
            f"\nOverload for {seconds:g} s, {name}: {told}; {each.lost} lost; 99 % within {each.quantile(0.99):.0f} ms."
        )
    print(f"\nAfterwards a prediction and a photo are answered within {recovered:.2f} s.")
    bad = any(set(each.statuses) - {200, 503} or each.lost for each in seen)
    well = all(set(each.statuses) == {200} for each in after) and recovered <= 1.1
    return ["only 200 and 503 in overload"] * bad + ["recovery within 1 s"] * (not well)


def check_end() -> list[str]:
    """SIGTERM amid 32 connections that predict and 4 that send photos."""

    async def ask(process: subprocess.Popen[str], port: int) -> Figures:
        asking, seen = asyncio.Event(), Figures()
        asking.set()
        kinds = ((CONNECTIONS, prediction()), (4, photo()))
        lines = [line for count, body in kinds for line in await clients(count, body, seen, asking, port)]
        await asyncio.sleep(2)
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(asyncio.gather(*(line.done for line in lines)), 60)
        return seen

    with guarismo() as (process, port, _):
        seen = uvloop.run(ask(process, port))
        status = process.wait(60)
    told = ", ".join(f"{count:,} × {status}" for status, count in sorted(seen.statuses.items()))
    print(f"\nSIGTERM under load: {told}; {seen.lost} without an answer; exit status {status}.")
    return ["each request answered at SIGTERM"] * (bool(seen.lost) or set(seen.statuses) > {200, 503} or status != 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--overload", type=float, default=60)
    parser.add_argument("--only", choices=("start", "load", "photos", "memory", "overload", "end"))
    parser.add_argument("--plain", action="store_true", help="be the plain server")
    chosen = parser.parse_args()
    if chosen.plain:
        serve_plainly()
        return
    checks = {
        "start": check_start,
        "load": lambda: check_load(chosen.seconds, chosen.rounds),
        "photos": lambda: check_photos(chosen.seconds),
        "memory": lambda: check_memory(chosen.requests),
        "overload": lambda: check_overload(chosen.overload),
        "end": check_end,
    }
    missed = [goal for name, check in checks.items() if chosen.only in (None, name) for goal in check()]
    print("\nEvery goal reached." if not missed else f"\nMissed: {', '.join(missed)}.")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
