"""A server on one address: fast loop and parser, slow senders shown out, an end that answers what it began."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from guarismo.errors import RunError
from guarismo.serving.api import create_app
from guarismo.serving.problems import Problem
from guarismo.serving.settings import ServeSettings

MOST_CONNECTIONS = 512
"""Open at once; further ones are closed at once, so that descriptors remain for files and workers."""
BACKLOG = 1024
FAREWELL = 0.5
"""Seconds after SIGTERM for which connections that are open still hear that the server stops."""
LAST_CALL = 0.05
"""Seconds in which those are let in and told who knock at that moment; the system queues no further ones."""
LONGEST_END = 30
"""Seconds after which requests that are not answered are given up."""
KEPT = 75
"""Seconds for which an idle connection is kept."""


def serve(settings: ServeSettings, folder: Path | None, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` is told the address once requests are answered.

    Raises RunError when the folder is no finished run, or the address cannot be had.
    """
    os.environ.setdefault(
        "GUARISMO_THREADS", "1"
    )  # the second core is for the network: batches of 16 gain nothing by two
    door = listening(settings)
    app = create_app(settings, folder)
    config = uvicorn.Config(
        app,
        http=type("Patient", (Patient,), {"patience": settings.patience}),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the word of a proxy is the word of anybody
        server_header=False,
        timeout_keep_alive=KEPT,
        timeout_graceful_shutdown=LONGEST_END,
    )
    Server(config, app.state, lambda: ready(address(settings, door))).run([door])


def listening(settings: ServeSettings) -> socket.socket:
    """The socket of the address. Raises RunError where it cannot be had."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # Python adds the address, which is in the sentence already
        raise RunError(
            f"Cannot listen at {settings.host}, port {settings.port}: {why}. Choose others with --host and --port."
        ) from None


def address(settings: ServeSettings, door: socket.socket) -> str:
    """What to type into a browser, the token with it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    query = f"?token={settings.token}" if settings.token else ""
    return f"http://{host}:{door.getsockname()[1]}/{query}"


class Server(uvicorn.Server):
    """Uvicorn's server that says when it is ready, ends without raising the signal anew, and says farewell."""

    def __init__(self, config: uvicorn.Config, state: Any, ready: Callable[[], None]):
        super().__init__(config)
        self.state, self.ready = state, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            gc.collect()
            gc.freeze()  # else every thousandth request, and all beside it, wait 30 ms for the collector
            self.ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self.handle_exit, each, None)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Nobody new comes in; those inside are answered, and who asks once more hears that it ends, and why.

        A connection that is closed while it seems idle may have a request on its way already.
        """
        self.state.stopping = True
        for door in sockets or []:
            door.listen(0)
        await asyncio.sleep(LAST_CALL)
        for server in self.servers:
            server.close()
        try:
            async with asyncio.timeout(FAREWELL):
                while self.server_state.connections:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pass
        await super().shutdown(sockets)


class Patient(HttpToolsProtocol):
    """Uvicorn's protocol that waits `patience` seconds for the head of a request, and for the first one to begin."""

    patience: float
    wait: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()
        else:
            self.wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.head_came()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.wait is None:
            self.wait_for_head()

    def on_headers_complete(self) -> None:
        self.head_came()
        super().on_headers_complete()

    def wait_for_head(self) -> None:
        self.wait = self.loop.call_later(self.patience, self.too_slow)

    def head_came(self) -> None:
        if self.wait is not None:
            self.wait.cancel()
            self.wait = None

    def too_slow(self) -> None:
        self.refuse(408, "Too slow", f"The head of the request did not come within {self.patience:g} s. Send it again.")

    def send_400_response(self, msg: str) -> None:
        self.refuse(400, "No HTTP", f"{msg} Look at its first lines, Content-Length and Transfer-Encoding.")

    def refuse(self, status: int, title: str, detail: str) -> None:
        """A problem document without any request to answer, and the end of the connection."""
        answer = Problem(status, title, detail, {"Connection": "close"}).response()
        lines = [f"HTTP/1.1 {status} {title}".encode(), *(name + b": " + value for name, value in answer.raw_headers)]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()
