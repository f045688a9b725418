"""Tasks of strangers' pictures → worker processes: bounded in number, time and memory, and replaced when one falls.

A task is a plain function of its own module that returns bytes. A worker that is killed harms its own task alone, and
not even that: another worker tries it once more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from guarismo.errors import DataError, RunError
from guarismo.serving.problems import Problem, busy
from guarismo.serving.worker import LENGTHS, Argument, task_message

log = logging.getLogger("guarismo.serving")

Task = Callable[..., bytes]
TRIES = 2
"""How often a task is begun that its worker does not survive."""
STARTING = 60.0
"""Seconds within which a new worker must answer, on a busy machine too."""
PAUSE = 1.0
"""Seconds before the next try where a worker could not be started."""
ONE_THREAD = dict.fromkeys(
    ("GUARISMO_THREADS", "OPENCV_FOR_THREADS_NUM", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
"""Two workers with two threads each wait for each other on two cores."""


@dataclass(frozen=True)
class Limits:
    """Of a task: its seconds, the bytes of address space of its worker, how many may wait."""

    seconds: float = 15.0
    memory: int = 2 * 2**30
    waiting: int = 32


class WorkerError(Exception):
    """A task met what nobody foresaw; its words are the worker's traceback."""


@dataclass(eq=False)
class Job:
    """A task on its way to a worker."""

    message: bytes
    seconds: float
    answer: asyncio.Future[bytes]
    tries: int = 0

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Link:
    """A worker process and the socket to it."""

    def __init__(self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.process, self.reader, self.writer = process, reader, writer

    async def ask(self, message: bytes) -> tuple[dict[str, Any], bytes]:
        """Head and body of what the worker answers. Raises EOFError or OSError where it is gone."""
        self.writer.write(message)
        await self.writer.drain()
        head, body = LENGTHS.unpack(await self.reader.readexactly(LENGTHS.size))
        return json.loads(await self.reader.readexactly(head)), await self.reader.readexactly(body)

    async def end(self) -> None:
        """Kill it, and wait until its memory is given back."""
        self.process.kill()
        self.writer.close()
        await asyncio.to_thread(self.process.wait)


async def started(memory: int) -> Link:
    """A new worker process. `-P`: nothing is imported from the folder in which the server was started."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-P", "-m", "guarismo.serving.worker", str(theirs.fileno()), str(memory)],
            pass_fds=(theirs.fileno(),),
            env={**os.environ, **ONE_THREAD},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # decoders write of each damaged picture; tracebacks come with the answer
            start_new_session=True,  # Ctrl-C is the server's
        )
    return Link(process, *await asyncio.open_unix_connection(sock=ours))


class Workers:
    """`count` processes that run tasks: `start`, `call`, `stop`. `first` is the task that each begins with."""

    def __init__(self, count: int, first: Task, *arguments: Argument, limits: Limits | None = None):
        self.limits = limits or Limits()
        self.count = count
        self.first = task_message(named(first), arguments, STARTING)
        self.links: list[Link] = []
        self.waiting: deque[Job] = deque()
        self.news = asyncio.Semaphore(0)
        self.tenders: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether a worker is there to answer."""
        return bool(self.links)

    @property
    def length(self) -> int:
        """How many tasks wait for a worker."""
        return sum(not job.answer.done() for job in self.waiting)

    async def start(self) -> None:
        """Starts the processes side by side; who calls before the first is ready waits for it."""
        self.tenders = [asyncio.create_task(self.tend()) for _ in range(self.count)]

    async def stop(self) -> None:
        """Ends the processes. What still waits is told to come again; a server first lets its requests finish."""
        for tender in self.tenders:
            tender.cancel()
        await asyncio.gather(*self.tenders, return_exceptions=True)
        self.tenders = []
        self.refuse("The server is stopping.")

    async def call(self, task: Task, *arguments: Argument, seconds: float | None = None, urgent: bool = False) -> bytes:
        """What a task returns, run by the next free worker; before all that wait where it is urgent.

        Raises DataError and RunError as the task does; Problem 503 where too many wait, or two workers in turn were
        lost with it, and 422 where it takes more than its seconds or memory.
        """
        if not self.tenders:
            raise busy("The server is stopping.")
        if self.length >= self.limits.waiting:
            raise busy(f"{self.limits.waiting} pictures wait already.")
        seconds = seconds or self.limits.seconds
        job = Job(task_message(named(task), arguments, seconds), seconds, asyncio.get_running_loop().create_future())
        if urgent:
            self.waiting.appendleft(job)
        else:
            self.waiting.append(job)
        self.news.release()
        return await job.answer

    def refuse(self, why: str) -> None:
        """503 for all that wait."""
        while self.waiting:
            self.waiting.popleft().fail(busy(why))

    async def tend(self) -> None:
        """Keeps one worker at work: one that falls is replaced."""
        while True:
            try:
                link = await started(self.limits.memory)
            except OSError as error:  # the system has no process or no memory to spare
                await self.pause(str(error))
                continue
            try:
                await self.serve(link)
            finally:
                await link.end()

    async def serve(self, link: Link) -> None:
        """Greets a new worker and gives it task after task, as long as it is sound."""
        try:
            head, _ = await asyncio.wait_for(link.ask(self.first), STARTING)
        except (TimeoutError, EOFError, OSError) as error:
            head = {"detail": f"it does not answer ({type(error).__name__})"}
        if head:
            await self.pause(head["detail"])
            return
        self.links.append(link)
        try:
            while await self.done(await self.next_job(), link):
                continue
        finally:
            self.links.remove(link)

    async def pause(self, why: str) -> None:
        """Before another worker is tried. If none is there, who waits is not kept waiting."""
        log.error("A worker could not be started: %s", why)
        if not self.links:
            self.refuse("No worker can be started.")
        await asyncio.sleep(PAUSE)

    async def next_job(self) -> Job:
        """The first of those that wait whose client still does."""
        while True:
            await self.news.acquire()
            if self.waiting and not (job := self.waiting.popleft()).answer.done():
                return job

    async def done(self, job: Job, link: Link) -> bool:
        """Has the job answered, and whether its worker can go on."""
        if link.reader.at_eof():  # it fell while it had nothing to do
            self.back(job)
            return False
        job.tries += 1
        try:
            head, body = await asyncio.wait_for(link.ask(job.message), job.seconds)
        except TimeoutError:
            job.fail(too_much(f"{job.seconds:g} seconds"))
            return False
        except (EOFError, OSError):
            self.lost(job)
            return False
        except asyncio.CancelledError:
            job.fail(busy("The server is stopping."))
            raise
        if not head and not job.answer.done():
            job.answer.set_result(body)
        if head:
            job.fail(error_of(head, self.limits.memory))
        return head.get("error") != "MemoryError"

    def lost(self, job: Job) -> None:
        """The worker of a job is gone: the job is the next, or was tried often enough."""
        if job.tries == TRIES:
            job.fail(busy("The worker was lost, and so was another one."))
        else:
            self.back(job)

    def back(self, job: Job) -> None:
        """The job is the next."""
        self.waiting.appendleft(job)
        self.news.release()


def named(task: Task) -> str:
    """MODULE:FUNCTION, as the worker finds it."""
    return f"{task.__module__}:{task.__qualname__}"


def error_of(head: dict[str, Any], memory: int) -> Exception:
    """The error that a task raised in its worker."""
    kind, detail = head["error"], head["detail"]
    if kind == "MemoryError":
        return too_much(f"{memory >> 20} MB of memory")
    kinds: dict[str, type[Exception]] = {"DataError": DataError, "RunError": RunError}
    return kinds.get(kind, WorkerError)(detail)


def too_much(what: str) -> Problem:
    return Problem(422, "Too much work", f"This takes more than {what}. Send a smaller picture.")
