"""One worker process: takes a task at a time from its socket, answers it, and has no more memory than it was given.

    message   two lengths of 4 bytes, a JSON head, and the bytes that the head speaks of

What a worker answers is JSON and bytes, never pickle: whoever breaks out of a decoder here finds no door to the server.
Nothing can be written to the disk from here.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

from guarismo.errors import DataError, GuarismoError

LENGTHS = struct.Struct("<II")
GRACE = 5
"""Seconds after which a worker whose server is gone ends a task that does not."""
POLITE = 5
"""The niceness of a worker: where all cores are busy with photos, who asks for less is answered first."""

Argument = str | int | float | bytes | None


def packed(head: dict[str, Any], body: bytes = b"") -> bytes:
    """A message as it goes over the socket."""
    words = json.dumps(head).encode()
    return LENGTHS.pack(len(words), len(body)) + words + body


def task_message(name: str, arguments: Sequence[Argument], seconds: float) -> bytes:
    """A call of MODULE:FUNCTION; arguments that are bytes travel behind the head."""
    body = b"".join(each for each in arguments if isinstance(each, bytes))
    plain = [{"bytes": len(each)} if isinstance(each, bytes) else each for each in arguments]
    return packed({"task": name, "arguments": plain, "seconds": seconds}, body)


def received(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None where the server has closed its end, or is gone."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    head, body = LENGTHS.unpack(lengths)
    content = stream.read(head + body)
    return (json.loads(content[:head]), content[head:]) if len(content) == head + body else None


def arguments_of(plain: Sequence[Any], body: bytes) -> list[Argument]:
    """The arguments of a call, their bytes put back."""
    found: list[Argument] = []
    start = 0
    for each in plain:
        length = each["bytes"] if isinstance(each, dict) else 0
        found.append(body[start : start + length] if isinstance(each, dict) else each)
        start += length
    return found


def answer(head: dict[str, Any], body: bytes) -> bytes:
    """What a task returns, or the error that it raised, as a message."""
    module, function = head["task"].split(":")
    try:
        task = getattr(importlib.import_module(module), function)
        result = task(*arguments_of(head["arguments"], body))
    except MemoryError:
        return packed({"error": "MemoryError", "detail": ""})
    except DataError as error:
        return packed({"error": "DataError", "detail": str(error)})
    except GuarismoError as error:
        return packed({"error": "RunError", "detail": str(error)})
    except Exception:  # the server logs it
        return packed({"error": "Exception", "detail": traceback.format_exc()})
    return packed({}, result)


def confine(memory: int) -> None:
    """From here on: so many bytes of address space, not one byte in a file, no core dump."""
    for kind, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # the system's own limit is lower, or it knows none
            resource.setrlimit(kind, (most, most))


def main(descriptor: int, memory: int) -> None:
    """Answers message after message until the server closes; the first one is answered before memory is limited."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the server lets its workers finish
        signal.signal(number, signal.SIG_IGN)
    os.nice(POLITE)
    with socket.socket(fileno=descriptor) as channel, channel.makefile("rb") as stream:
        limited = False
        while (message := received(stream)) is not None:
            signal.alarm(math.ceil(message[0]["seconds"]) + GRACE)
            channel.sendall(answer(*message))
            signal.alarm(0)
            if not limited:
                confine(memory)
                limited = True


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
