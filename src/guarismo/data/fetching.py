"""Fetching: a known set from its mirrors into the cache, resumed and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from guarismo.data.arrays import idx_content
from guarismo.data.known import EXACT, KnownFile, by_hand, compared, find, known_source
from guarismo.data.packing import cache_folder, cannot_write
from guarismo.errors import DataError, MissingExtraError
from guarismo.progress import Progress, silent

# Our own few lines rather than pooch.retrieve: that one neither resumes, nor tries another mirror,
# nor knows a hash of the decompressed content (mirrors differ in how they compressed).

TRIES = 3
TIMEOUT = (10, 30)
"""Seconds to connect, and without a byte."""


class MirrorError(Exception):
    """One mirror did not give the file, for the reason in words."""


def fetch(name: str, progress: Progress = silent, mirrors: Sequence[str] | None = None) -> Path:
    """Download what is not here of a known source into the cache, checked; the folder.

    A broken download goes on where it stopped; a damaged one is thrown away and the next mirror tried.
    Of two fetches at once, the second waits for the first. Raises DataError when no mirror gives a file,
    with each one's reason.
    """
    source = known_source(name)
    home = cache_folder() / "data" / name
    if source.made_of:
        raise DataError(f"{name} is not offered anywhere. Make it of {source.made_of}: guarismo data make {name}")
    if all(find(name, file) for file in source.files):
        return home
    with alone_in(home):
        for file, known in source.files.items():
            if find(name, file) is None:  # another process may have brought it meanwhile
                fetch_file(name, file, known, home, mirrors or source.mirrors, progress)
    return home


@contextmanager
def alone_in(home: Path) -> Iterator[None]:
    """The folder is there, and another process that wants it waits. Raises DataError when it cannot be made."""
    from filelock import FileLock

    lock = FileLock(home.with_name(f"{home.name}.lock"))
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise cannot_write(home, error) from error
    try:
        yield
    finally:
        lock.release()


def fetch_file(name: str, file: str, known: KnownFile, home: Path, mirrors: Sequence[str], progress: Progress) -> None:
    """One file from the first mirror that gives it whole, moved into place."""
    part, reasons = home / f"{file}.gz.part", []
    for mirror in mirrors:
        try:
            download_checked(f"{mirror}{file}.gz", part, known, progress)
            part.replace(home / f"{file}.gz")
            return
        except MirrorError as failure:
            reasons.append(f"{mirror}: {failure}")
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise cannot_write(home, error) from error
    raise by_hand(name, f"No mirror gave {file}.gz ({'; '.join(reasons)}).")


def download_checked(url: str, part: Path, known: KnownFile, progress: Progress) -> None:
    """Download into `part`, going on where an earlier try stopped; what is damaged is removed.

    Content that was continued and turns out wrong is fetched once more from its beginning:
    the first half may come from a mirror that compressed it differently.
    """
    resumed = part.exists()
    download(url, part, known, progress)
    if not intact(part, known):
        part.unlink()
        if not resumed:
            raise MirrorError("gave a damaged file (its sha256 differs); it was thrown away")
        download_checked(url, part, known, progress)


def intact(part: Path, known: KnownFile) -> bool:
    try:
        return compared(part, idx_content(part), known) == EXACT
    except DataError:
        return False


def download(url: str, part: Path, known: KnownFile, progress: Progress) -> None:
    """Until the file is complete, at most TRIES times. Raises MirrorError, or OSError when it cannot be written."""
    import requests
    from urllib3.exceptions import HTTPError

    for left in reversed(range(TRIES)):
        before = part.stat().st_size if part.exists() else 0
        try:
            return receive(url, part, before, known, progress)
        except (requests.RequestException, HTTPError) as error:
            after = part.stat().st_size if part.exists() else 0
            if left == 0 or after <= before:  # nothing more came: another mirror is the better hope
                raise MirrorError(in_short(error)) from None
    return None


def in_short(error: Exception) -> str:
    """What a network error comes to, in a few words."""
    text = str(error)
    known = {
        "Name or service": "its name cannot be resolved",
        "getaddrinfo": "its name cannot be resolved",
        "NameResolution": "its name cannot be resolved",
        "refused": "the connection was refused",
        "timed out": "no answer in time",
        "unreachable": "the network cannot be reached",
        "IncompleteRead": "the connection broke off",
        "roxy": "the proxy refused",
        "SSL": "its certificate was not accepted",
    }
    return next((words for sign, words in known.items() if sign in text), type(error).__name__)


def receive(url: str, part: Path, have: int, known: KnownFile, progress: Progress) -> None:
    """One request: the rest of the file where the server can continue (206), else all of it (200)."""
    import requests

    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # all of it is here already, or more: the check decides
            return
        if answer.status_code not in (200, 206):
            raise MirrorError(f"answered {answer.status_code}")
        goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if answer.status_code == 206 and not goes_on:
            raise MirrorError("continued at the wrong place")
        start = have if goes_on else 0
        total = start + whole_number(answer.headers.get("Content-Length"))
        with part.open("ab" if goes_on else "wb") as file:
            store(answer.raw.stream(1 << 16, decode_content=False), file, start, total, known, progress)


def whole_number(text: str | None) -> int:
    """What a header says, 0 where it says nothing of sense: then the length is not known."""
    try:
        return max(0, int(text or 0))
    except ValueError:
        return 0


def store(chunks: Any, file: IO[bytes], start: int, total: int, known: KnownFile, progress: Progress) -> None:
    """Write what comes. Raises MirrorError when it is more than the file can be."""
    most = known.size + known.size // 100 + 4096
    done = start
    for chunk in chunks:
        done += len(chunk)
        if done > most:
            raise MirrorError("sent more than the file can be")
        file.write(chunk)
        progress(done, max(done, total), file=Path(file.name).name.removesuffix(".part"))


# Kaggle


def fetch_kaggle(handle: str) -> Path:
    """The folder of a data set of Kaggle, OWNER/NAME, downloaded by kagglehub, which keeps it in a cache of its own.

    Raises MissingExtraError without kagglehub, DataError for a handle that is none and when nothing can be had.
    """
    if not re.fullmatch(r"[\w-]+/[\w-]+", handle):
        raise DataError(f"A data set of Kaggle is kaggle:OWNER/NAME, received kaggle:{handle}.")
    try:
        import kagglehub
    except ModuleNotFoundError:
        raise MissingExtraError("Data from Kaggle", "kaggle") from None
    try:
        return Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub's own errors and those of what it stands on share no base class
        raise DataError(
            f"Kaggle did not give {handle}: {in_short(error)}. Download it in any way, and name its folder or zip."
        ) from None
