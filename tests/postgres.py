"""A PostgreSQL server of our own: in a folder of its own, as an unprivileged user, gone with the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def programs() -> Path | None:
    """Where Debian keeps PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class Server:
    """A server that can be stopped in the middle, and started again."""

    def __init__(self, folder: Path, user: str | None):
        self.folder, self.user, self.bin = folder, user, programs()
        self.call("initdb", "-D", folder / "data", "-A", "trust", "-U", "tests", "-E", "UTF8", "--no-sync")
        self.start()

    @property
    def address(self) -> str:
        """A socket in the server's own folder: nobody else's port."""
        return f"postgresql://tests@/postgres?host={self.folder}"

    def call(self, program: str, *words: object) -> None:
        done = subprocess.run(
            [self.bin / program, *map(str, words)], cwd=self.folder, user=self.user, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr + done.stdout

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        self.call("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-o", options, "-w", "start")

    def stop(self) -> None:
        """At once: whoever is connected loses the connection."""
        self.call("pg_ctl", "-D", self.folder / "data", "-m", "fast", "-w", "stop")


@contextmanager
def serving_postgres() -> Iterator[Server]:
    """A running server; the test is skipped where PostgreSQL is not installed."""
    if programs() is None:
        pytest.skip("needs PostgreSQL (Debian's package postgresql)")
    pytest.importorskip("psycopg", reason="needs psycopg, of the [tune] extra")
    user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path must be short
    server = None
    try:
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        server = Server(folder, user)
        yield server
    finally:
        pid = folder / "data" / "postmaster.pid"
        if server and pid.exists():
            os.kill(int(pid.read_text().split()[0]), signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
