"""Worker processes: tasks are answered, and what kills, holds or fills a worker harms its own task alone."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import serving_tasks as tasks
from guarismo.errors import DataError, RunError
from guarismo.serving.problems import Problem
from guarismo.serving.workers import Limits, WorkerError, Workers

SMALL = Limits(seconds=30, memory=2**30, waiting=3)


@pytest.fixture(autouse=True)
def tasks_are_found(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


def run(scene: Callable[[Workers], Awaitable[None]], count: int = 1, limits: Limits = SMALL) -> None:
    """Plays a scene with workers, and stops them."""

    async def play() -> None:
        workers = Workers(count, tasks.pid, limits=limits)
        await workers.start()
        try:
            await asyncio.wait_for(scene(workers), 60)
        finally:
            await workers.stop()

    asyncio.run(play())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


@pytest.fixture
def gate(tmp_path) -> Path:
    """A FIFO at which `hold` waits."""
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


def test_a_task_answers_with_its_bytes_and_a_call_before_the_first_worker_is_ready_waits_for_it():
    async def scene(workers):
        assert not workers.ready
        content = bytes(range(256)) * 5000
        assert await workers.call(tasks.echo, "¡números!", content) == "¡números!".encode() + content
        assert workers.ready

    run(scene)


def test_two_workers_work_side_by_side(gate):
    async def scene(workers):
        held = asyncio.create_task(workers.call(tasks.hold, str(gate)))
        await workers.call(tasks.pid)
        assert len({await workers.call(tasks.pid) for _ in range(3)}) == 1
        assert not held.done()
        await asyncio.to_thread(gate.write_bytes, b"go")
        assert await held == b"go"

    run(scene, count=2)


def test_each_worker_has_one_thread_for_opencv_and_for_onnx():
    async def scene(workers):
        assert await workers.call(tasks.threads) == b"1 1"

    run(scene)


@pytest.mark.parametrize(("kind", "error"), [("data", DataError), ("run", RunError), ("bug", WorkerError)])
def test_an_error_arrives_as_it_was_raised_and_the_worker_goes_on(kind, error):
    async def scene(workers):
        before = await workers.call(tasks.pid)
        with pytest.raises(error, match=f"a {kind} error"):
            await workers.call(tasks.refuse, kind)
        assert await workers.call(tasks.pid) == before

    run(scene)


def test_a_task_whose_worker_is_killed_is_tried_once_more(tmp_path):
    async def scene(workers):
        before = await workers.call(tasks.pid)
        assert await workers.call(tasks.fall_once, str(tmp_path / "mark")) == b"survived"
        assert await workers.call(tasks.pid) != before

    run(scene)


def test_a_task_that_two_workers_do_not_survive_is_answered_with_503_and_others_are_unharmed(gate):
    async def scene(workers):
        held = asyncio.create_task(workers.call(tasks.hold, str(gate)))
        with pytest.raises(Problem) as problem:
            await workers.call(tasks.fall)
        assert problem.value.status == 503
        assert problem.value.headers["Retry-After"] == "1"
        assert not held.done()
        await asyncio.to_thread(gate.write_bytes, b"unharmed")
        assert await held == b"unharmed"

    run(scene, count=2)


def test_a_worker_that_is_killed_while_it_has_nothing_to_do_is_replaced(tmp_path):
    async def scene(workers):
        first = await workers.call(tasks.pid)
        os.kill(int(first), signal.SIGKILL)
        await until(workers.links[0].reader.at_eof)
        assert await workers.call(tasks.fall_once, str(tmp_path / "mark")) == b"survived"  # it costs no try
        assert await workers.call(tasks.pid) != first

    run(scene)


def test_a_task_beyond_its_seconds_is_ended_with_its_worker_and_the_next_is_answered():
    async def scene(workers):
        before = int(await workers.call(tasks.pid))
        with pytest.raises(Problem, match=r"more than 0\.1 seconds") as problem:
            await workers.call(tasks.for_ever, seconds=0.1)
        assert problem.value.status == 422
        assert int(await workers.call(tasks.pid)) != before
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)

    run(scene)


def test_a_task_beyond_its_memory_is_refused_and_the_next_is_answered():
    async def scene(workers):
        with pytest.raises(Problem, match="more than 1024 MB of memory") as problem:
            await workers.call(tasks.fill, 2**30)
        assert problem.value.status == 422
        assert await workers.call(tasks.fill, 2**20) == b"\0"

    run(scene)


def test_a_worker_cannot_write_to_the_disk(tmp_path):
    async def scene(workers):
        with pytest.raises(WorkerError, match="File too large"):
            await workers.call(tasks.write, str(tmp_path / "file"))
        assert (tmp_path / "file").read_bytes() == b""

    run(scene)


def test_a_full_queue_refuses_with_503_and_those_whose_client_is_gone_do_not_count(gate):
    async def scene(workers):
        held = asyncio.create_task(workers.call(tasks.hold, str(gate)))
        await until(lambda: workers.ready and not workers.length)
        waiting = [asyncio.create_task(workers.call(tasks.pid)) for _ in range(SMALL.waiting)]
        await until(lambda: workers.length == SMALL.waiting)
        with pytest.raises(Problem) as problem:
            await workers.call(tasks.pid)
        assert problem.value.status == 503
        waiting[0].cancel()
        await until(lambda: workers.length == SMALL.waiting - 1)
        last = asyncio.create_task(workers.call(tasks.echo, "taken in", b""))
        await until(lambda: workers.length == SMALL.waiting)
        await asyncio.to_thread(gate.write_bytes, b"go")
        assert await held == b"go"
        assert await last == b"taken in"

    run(scene)


def test_stopping_ends_the_processes_and_refuses_what_waits_and_what_comes(gate):
    async def scene(workers):
        worker = int(await workers.call(tasks.pid))
        calls = [asyncio.create_task(workers.call(tasks.hold, str(gate))) for _ in range(2)]
        await until(lambda: workers.length == 1)
        await workers.stop()
        for call in calls:
            with pytest.raises(Problem, match="stopping"):
                await call
        with pytest.raises(Problem, match="stopping"):
            await workers.call(tasks.pid)
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)

    run(scene)


def test_where_no_worker_can_be_started_nobody_is_kept_waiting(caplog):
    async def play():
        workers = Workers(1, tasks.refuse, "run", limits=SMALL)
        await workers.start()
        try:
            with pytest.raises(Problem, match="No worker can be started"):
                await workers.call(tasks.pid)
        finally:
            await workers.stop()
        assert "a run error" in caplog.text

    asyncio.run(play())


def test_a_worker_ends_when_its_server_is_gone():
    """The server's end of the socket is closed, as the system does when it is killed."""

    async def scene(workers):
        worker = int(await workers.call(tasks.pid))
        process = workers.links[0].process
        workers.links[0].writer.close()
        assert await asyncio.to_thread(process.wait, 20) == 0
        assert process.pid == worker

    run(scene)
