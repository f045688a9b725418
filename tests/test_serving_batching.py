"""The batcher: who comes together goes together, and nobody is harmed by a neighbour."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from guarismo.serving.batching import MOST_IMAGES, Batcher
from guarismo.serving.problems import Problem


class Model:
    """Answers each image with its first pixel, notes the size of each call, and waits where it is held."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.entered = threading.Semaphore(0)
        self.held = threading.Event()
        self.held.set()
        self.fault: Exception | None = None

    def judge(self, images):
        self.sizes.append(len(images))
        self.entered.release()
        assert self.held.wait(60)
        if self.fault:
            raise self.fault
        return images.reshape(len(images), -1)[:, :1].astype(np.float32)


def images(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1, 1)


def play(scene: Callable[[Model, Batcher, list[int]], Awaitable[None]], queue: int = 100) -> None:
    """Plays a scene with a model, a batcher of it, and the sizes that the counters were told."""

    async def whole() -> None:
        model, seen = Model(), []
        batcher = Batcher(model.judge, seen.append, queue)
        try:
            await asyncio.wait_for(scene(model, batcher, seen), 60)
        finally:
            model.held.set()
            batcher.close()

    asyncio.run(whole())


async def held(model: Model, batcher: Batcher) -> asyncio.Task:
    """A request that the model has begun and does not answer before `model.held` is set."""
    model.held.clear()
    first = asyncio.create_task(batcher.answer(images(200)))
    await asyncio.to_thread(model.entered.acquire)
    return first


def test_requests_of_one_moment_are_one_call_and_each_gets_its_own_rows():
    async def scene(model, batcher, seen):
        answers = await asyncio.gather(*(batcher.answer(images(k, k + 1)) for k in range(5)))
        assert [answer.ravel().tolist() for answer in answers] == [[k, k + 1] for k in range(5)]
        assert model.sizes == seen == [10]

    play(scene)


def test_who_comes_during_a_call_goes_into_the_next_as_far_as_it_holds():
    async def scene(model, batcher, seen):
        first = await held(model, batcher)
        later = [asyncio.create_task(batcher.answer(images(k))) for k in range(MOST_IMAGES + 3)]
        await asyncio.sleep(0)
        model.held.set()
        assert [float((await each)[0, 0]) for each in (first, *later)] == [200, *range(MOST_IMAGES + 3)]
        assert model.sizes == [1, MOST_IMAGES, 3]

    play(scene)


def test_a_large_request_takes_turns_with_a_small_one():
    async def scene(model, batcher, seen):
        first = await held(model, batcher)
        many = np.arange(4 * MOST_IMAGES, dtype=np.uint8).reshape(-1, 1, 1, 1)
        large = asyncio.create_task(batcher.answer(many))
        small = asyncio.create_task(batcher.answer(images(7)))
        await asyncio.sleep(0)
        states = []
        small.add_done_callback(lambda _: states.append(large.done()))
        model.held.set()
        assert np.array_equal(await large, many.reshape(-1, 1))
        await asyncio.gather(first, small)
        assert states == [False]
        assert max(model.sizes) <= MOST_IMAGES

    play(scene)


def test_a_full_queue_says_when_to_come_again_and_is_open_again_afterwards():
    async def scene(model, batcher, seen):
        first = await held(model, batcher)
        second = asyncio.create_task(batcher.answer(images(1, 2)))
        await asyncio.sleep(0)
        with pytest.raises(Problem, match="3 images wait") as told:
            await batcher.answer(images(3))
        assert told.value.status == 503
        assert told.value.headers == {"Retry-After": "1"}
        model.held.set()
        await asyncio.gather(first, second)
        assert (await batcher.answer(images(3))).tolist() == [[3]]

    play(scene, queue=3)


def test_a_request_that_was_given_up_harms_no_neighbour():
    async def scene(model, batcher, seen):
        first = await held(model, batcher)
        gone, stays = (asyncio.create_task(batcher.answer(images(k))) for k in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        model.held.set()
        assert (await stays).tolist() == [[2]]
        assert (await first).tolist() == [[200]]
        assert batcher.images == 0

    play(scene)


def test_a_call_that_fails_fails_its_own_requests_and_no_later_one():
    async def scene(model, batcher, seen):
        model.fault = ValueError("the model is damaged")
        with pytest.raises(ValueError, match="damaged"):
            await batcher.answer(images(1))
        model.fault = None
        assert (await batcher.answer(images(5))).tolist() == [[5]]

    play(scene)
