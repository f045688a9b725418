"""`guarismo serve` as its users start it: a process of its own, asked over the network."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests


@dataclass(frozen=True)
class Served:
    """A server that is ready: its process, its address without the last slash, its port, where its log goes."""

    process: subprocess.Popen[str]
    url: str
    port: int
    log: Path

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=60, **options)

    def connect(self) -> socket.socket:
        """A connection of which each byte is the test's own."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def say(self, content: bytes) -> bytes:
        """Everything that comes back for these bytes, until the server closes."""
        with self.connect() as line:
            line.sendall(content)
            return everything(line)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def everything(line: socket.socket) -> bytes:
    """What comes until the other side closes."""
    parts = []
    while part := line.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


@contextmanager
def serving(log: Path, *words: object, **environment: str) -> Iterator[Served]:
    """A server on a free port, ready; ended when the block is left. `log` is the file for its standard error."""
    command = [sys.executable, "-m", "guarismo", "serve", "--port", "0", *map(str, words)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process,
    ):
        try:
            told = re.search(r"(http://[^ /]+:(\d+))/", process.stdout.readline())
            assert told, log.read_text()
            yield Served(process, told[1], int(told[2]), log)
        finally:
            process.terminate()
            process.wait(60)
