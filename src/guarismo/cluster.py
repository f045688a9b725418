"""Joining a Ray cluster, one that runs or one of this machine's own; files on any storage that fsspec knows."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from guarismo.errors import DataError, MissingExtraError, RunError

SECONDS = 10.0
"""Within which a cluster must answer a knock."""
CHECKING = 120.0
"""Seconds within which each node must have started a process that names its version."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would report the use of it, and of its libraries, to its makers
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints its tables where it is told not to
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is told by us
}


TOKENS = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
"""What names the word by which a cluster lets its own people in."""


@contextmanager
def joined(address: str | None = None, cpus: int = 0) -> Iterator[Any]:
    """Ray's module, this process joined to the cluster at `address` (`auto`: the one that runs on this machine).

    Without an address a cluster of `cpus` cores (0: all) is started on this machine and ended afterwards; a process
    that has joined one stays in it. Raises MissingExtraError, and RunError where there is no cluster, where it is of
    another version of Ray or Python, or where a node of it lacks this version of Guarismo.
    """
    if find_spec("ray") is None:
        raise MissingExtraError("Ray", "ray")
    prepare(own=address is None)
    import ray

    if ray.is_initialized():
        yield ray
        return
    hush(ray)
    if address is None:
        ray.init("local", num_cpus=cpus or None, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    else:
        join(ray, address)
    try:
        check_nodes(ray)
        yield ray
    finally:
        ray.shutdown()


def prepare(own: bool) -> None:
    """What Ray reads when it is imported. A cluster of our own asks for a word that nobody else has: Ray opens its
    ports to the whole network, and whoever is let in may run programs here. To another we say the word that is here.
    """
    os.environ.update(QUIET)
    if "ray" in sys.modules or "RAY_AUTH_MODE" in os.environ:
        return
    if own:
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    elif TOKENS & os.environ.keys() or (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_MODE"] = "token"


def hush(ray: Any) -> None:
    """Nothing of Ray's own on stdout, where answers go: of a node that is lost it prints thirty lines there, and there
    is no setting against it. What was lost is done again; what cannot be done is told by us.
    """
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def join(ray: Any, address: str) -> None:
    """Raises RunError where nothing answers at `address`, or what answers is another version."""
    if address != "auto":
        knock(address)
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise RunError(f"The cluster at {address} cannot be joined: {first_line(error)}.") from None
        raise RunError(
            f"The cluster at {address} has another version: {' '.join(str(error).split())} Install the same on all."
        ) from None
    except ray.exceptions.AuthenticationError:
        raise RunError(
            f"The cluster at {address} lets in only who knows its token. Copy ~/.ray/auth_token of its head to the "
            "same place here, or set RAY_AUTH_TOKEN."
        ) from None
    except (ConnectionError, ValueError, TimeoutError) as error:
        raise RunError(
            f"No cluster can be joined at {address}: {first_line(error)}. This machine must be a node of it: "
            f"ray start --address={address if address != 'auto' else 'HOST:6379'}"
        ) from None


def knock(address: str) -> None:
    """Raises RunError where HOST:PORT does not answer; Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise RunError(f"--address must be auto or HOST:PORT (of `ray start --head`, 6379), received '{address}'.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"No cluster answers at {address} ({reason}). Start one: ray start --head") from None


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def check_nodes(ray: Any) -> None:
    """Raises RunError where a node has another Guarismo than this process, or none: its answers would differ."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours = version("guarismo")
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    tell = ray.remote(num_cpus=0, max_retries=0)(installed)
    asked = {
        tell.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, True)).remote(): node for node in nodes
    }
    done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=CHECKING)
    for task in done:
        try:
            theirs = ray.get(task)
        except ray.exceptions.RayTaskError:  # the module of `installed` is not there
            theirs = "none"
        except ray.exceptions.RayError:  # the node went away: its work goes to others
            continue
        if theirs != ours:
            raise RunError(
                f"Node {nodes[asked[task]]} has guarismo {theirs}, this machine {ours}. Install the same on all: "
                f"pip install 'guarismo[ray]=={ours}'"
            )


def installed() -> str:
    """The version of Guarismo where this runs."""
    return version("guarismo")


# Files anywhere


def is_url(name: str) -> bool:
    """Whether it names a file by the rules of fsspec (s3://…, gs://…, memory://…), and not one of this machine."""
    return "://" in name


@contextmanager
def storage(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and the path there. Raises MissingExtraError, and DataError where it is of no use."""
    if find_spec("fsspec") is None:
        raise MissingExtraError("Storage by its address", "ray")
    from fsspec.core import url_to_fs

    try:
        yield url_to_fs(url)
    except FileNotFoundError:
        raise DataError(f"{url} does not exist. Check its spelling.") from None
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"{url} cannot be used: {first_line(error)}.") from None


def listed(url: str, suffixes: frozenset[str] | set[str]) -> list[str]:
    """The files at a URL: the one of that name, or all below it whose suffix is among those. Raises DataError."""
    with storage(url) as (files, path):
        if files.isfile(path):
            return [url]
        names = [str(name) for name in files.find(path) if Path(name).suffix.lower() in suffixes]
        if not names:
            raise DataError(f"{url} holds no picture. Expected files that end in {', '.join(sorted(suffixes))}.")
        return [str(files.unstrip_protocol(name)) for name in names]


def fetched(url: str, most: int) -> bytes:
    """A file's content. Raises DataError, and for one of more than `most` bytes before it is in memory."""
    with storage(url) as (files, path), files.open(path, "rb") as file:
        content: bytes = file.read(most + 1)
    if len(content) > most:
        raise DataError(f"{url} is larger than {most >> 20} MB. Expected a photo or a PDF.")
    return content


@contextmanager
def at_hand(name: str) -> Iterator[Path]:
    """A folder of this machine as it is; of one at a URL a copy, for as long as the block works. Raises DataError."""
    if not is_url(name):
        yield Path(name)
        return
    with tempfile.TemporaryDirectory() as copy:
        with storage(name) as (files, path):
            for file in files.find(path, maxdepth=1):
                files.get_file(file, str(Path(copy) / Path(file).name))
        yield Path(copy)


def is_there(url: str) -> bool:
    """Whether there is a file at a URL. Raises DataError."""
    with storage(url) as (files, path):
        return bool(files.exists(path))


def move_there(file: Path, url: str) -> None:
    """A file moved to a URL, gone here once it is there. Raises DataError."""
    with storage(url) as (files, path):
        files.makedirs(files._parent(path), exist_ok=True)
        files.put_file(str(file), path)
    file.unlink()
