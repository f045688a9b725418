"""Tasks that worker processes of the tests run: they find them by the folder in PYTHONPATH."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from guarismo.errors import DataError, RunError


def echo(text: str, content: bytes) -> bytes:
    return text.encode() + content


def pid() -> bytes:
    return str(os.getpid()).encode()


def hold(fifo: str) -> bytes:
    """Waits until somebody writes into the FIFO, and returns what."""
    return Path(fifo).read_bytes()


def fall_once(mark: str) -> bytes:
    """The first worker that runs it is killed; the folder `mark` says that there was one."""
    try:
        Path(mark).mkdir()
    except FileExistsError:
        return b"survived"
    return fall()


def fall() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def for_ever() -> bytes:
    while True:
        pass


def fill(size: int) -> bytes:
    return bytes(size)[:1]


def write(path: str) -> bytes:
    Path(path).write_bytes(b"kept")
    return b"written"


def refuse(kind: str) -> bytes:
    raise {"data": DataError, "run": RunError, "bug": ZeroDivisionError}[kind](f"a {kind} error")


def threads() -> bytes:
    import cv2

    from guarismo.reading.reader import shipped_reader

    options = shipped_reader().run.session.get_session_options()
    return f"{cv2.getNumThreads()} {options.intra_op_num_threads}".encode()
