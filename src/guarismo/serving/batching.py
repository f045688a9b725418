"""Concurrent predictions → one call: whoever comes while a call runs goes together into the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from guarismo.serving.problems import busy

Judge = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Place = asyncio.Future[NDArray[np.float32]]
MOST_IMAGES = 16
"""Images of a call: 2.4 ms of the shipped reader, where 32 take 8.7. A larger request takes turns."""
MOST_WAITING = 4096
"""Images that may wait: half a second of the shipped reader."""


class Batcher:
    """Answers images in the order of their coming, many requests with one call of `judge` in a thread of its own.

    `judge` takes uint8 (n, h, w, c); images must be of its shape already, so that no request can fail its neighbours.
    """

    def __init__(self, judge: Judge, seen: Callable[[int], object], queue: int = MOST_WAITING):
        self.judge, self.seen, self.queue = judge, seen, queue
        self.waiting: deque[tuple[NDArray[np.uint8], Place]] = deque()
        self.images = 0
        self.running = False
        self.thread = ThreadPoolExecutor(1, "batch")

    async def answer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities float32 (n, classes). Raises Problem 503 where too many images wait already."""
        if self.images + len(images) > self.queue and self.images:
            raise busy(f"{self.images} images wait for their answer already.")
        self.images += len(images)
        try:
            parts = [
                await self.join(images[start : start + MOST_IMAGES]) for start in range(0, len(images), MOST_IMAGES)
            ]
        finally:
            self.images -= len(images)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def join(self, images: NDArray[np.uint8]) -> Place:
        """The answer to come, of at most MOST_IMAGES images."""
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        self.waiting.append((images, place))
        if not self.running:
            self.running = True
            loop.call_soon(self.begin)  # after all that came with this one in the same turn of the loop
        return place

    def begin(self) -> None:
        """Start the next call with as many of those that wait as go in."""
        batch = [self.waiting.popleft()]
        size = len(batch[0][0])
        while self.waiting and size + len(self.waiting[0][0]) <= MOST_IMAGES:
            batch.append(self.waiting.popleft())
            size += len(batch[-1][0])
        self.seen(size)
        images = batch[0][0] if len(batch) == 1 else np.concatenate([part for part, _ in batch])
        call = asyncio.get_running_loop().run_in_executor(self.thread, self.judge, images)
        call.add_done_callback(lambda done: self.hand_out(batch, done))

    def hand_out(
        self,
        batch: list[tuple[NDArray[np.uint8], Place]],
        done: Place,
    ) -> None:
        """Give each request its rows, and go on with those that came meanwhile."""
        start = 0
        for images, place in batch:
            if not place.done():  # a client that left has cancelled its own
                error = done.exception()
                place.set_exception(error) if error else place.set_result(done.result()[start : start + len(images)])
            start += len(images)
        if self.waiting:
            self.begin()
        else:
            self.running = False

    def close(self) -> None:
        """End the thread, after the call that it is at."""
        self.thread.shutdown()
