"""The study as a file: Optuna's journal, made whole again after a full disk or a killed writer.

Imports Optuna: only `study.open_storage` imports this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend


class Journal(JournalFileBackend):
    """Optuna's journal file with two changes.

    Its lock is the operating system's, gone with the process; Optuna's own outlives a killed one by 30 s. And what a
    writer left unfinished goes before the next line is written: Optuna would write on behind it, and never be able to
    read the file again.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, FileLock(f"{path}.lock")
        super().__init__(str(path), lock_obj=self.lock)  # type: ignore[arg-type]  # acquire and release, and no more

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with self.lock:  # taken again inside: it counts
            drop_unfinished(self.path)
            super().append_logs(logs)


def drop_unfinished(path: Path) -> None:
    """Cut off what stands behind the last end of a line."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
