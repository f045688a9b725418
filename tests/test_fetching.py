"""Fetching, from real servers with planted faults: each is borne, or ends in one sentence with its remedy."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from foreign import PACKED, TINY, cached
from guarismo.data import fetching
from guarismo.data.sources import load
from guarismo.errors import DataError
from guarismo.progress import silent

pytestmark = pytest.mark.usefixtures("places")


@dataclass
class Mirror:
    """A server of files. `breaks` cuts the first answers after so many bytes; `ranges`: whether it continues;
    `length` is said instead of the true Content-Length."""

    content: dict[str, bytes]
    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    length: str | None = None
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(mirror: Mirror):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            mirror.asked.append(f"{self.path} {wanted or 'all'}")
            whole = mirror.content.get(self.path.lstrip("/"))
            if whole is None:
                return self.send_error(404)
            start = int(wanted[len("bytes=") : -1]) if wanted and mirror.ranges else 0
            if start and start >= len(whole):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
            self.send_header("Content-Length", mirror.length or str(len(whole) - start))
            self.end_headers()
            stop = mirror.breaks.pop(0) if mirror.breaks else len(whole)
            self.wfile.write(whole[start : start + stop])
            return None

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_fetch_fills_the_cache_once(places):
    mirror, told = Mirror(PACKED), []
    with serving(mirror) as url:
        fetching.fetch("tiny", lambda done, total, **facts: told.append((facts["file"], done, total)), [url])
        fetching.fetch("tiny", mirrors=[url])
    assert cached(places) == sorted(PACKED)
    assert len(mirror.asked) == 4
    first = "train-images-idx3-ubyte.gz"
    assert told[0] == (first, len(PACKED[first]), len(PACKED[first]))
    assert len(load("tiny").test) == 12


def test_a_broken_download_goes_on_where_it_stopped(places):
    mirror = Mirror(PACKED, breaks=[1000])
    with serving(mirror) as url:
        fetching.fetch("tiny", mirrors=[url])
    assert mirror.asked[:2] == ["/train-images-idx3-ubyte.gz all", "/train-images-idx3-ubyte.gz bytes=1000-"]
    assert cached(places) == sorted(PACKED)


def test_a_download_goes_on_after_the_program_was_ended(places):
    part = places / "cache" / "data" / "tiny" / "train-images-idx3-ubyte.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(PACKED["train-images-idx3-ubyte.gz"][:700])
    mirror = Mirror(PACKED)
    with serving(mirror) as url:
        fetching.fetch("tiny", mirrors=[url])
    assert mirror.asked[0].endswith("bytes=700-")
    assert cached(places) == sorted(PACKED)


def test_a_server_that_cannot_continue_sends_all_again(places):
    mirror = Mirror(PACKED, breaks=[1000], ranges=False)
    with serving(mirror) as url:
        fetching.fetch("tiny", mirrors=[url])
    assert cached(places) == sorted(PACKED)


@pytest.mark.parametrize("left", [b"x" * 900, b"x" * 10**5], ids=["wrong beginning", "longer than the file"])
def test_a_wrong_part_is_thrown_away_and_fetched_from_its_beginning(places, left):
    part = places / "cache" / "data" / "tiny" / "train-images-idx3-ubyte.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    mirror = Mirror(PACKED)
    with serving(mirror) as url:
        fetching.fetch("tiny", mirrors=[url])
    assert mirror.asked[1] == "/train-images-idx3-ubyte.gz all"
    assert cached(places) == sorted(PACKED)


@pytest.mark.parametrize("length", ["many", "-5", "1e3", "9" * 5000])
def test_a_length_that_makes_no_sense_is_an_unknown_length(length):
    with serving(Mirror(PACKED, length=length)) as url:
        fetching.fetch("tiny", mirrors=[url])
    assert len(load("tiny").test) == 12


def test_the_second_of_two_fetches_waits_and_then_finds_all(places):
    """The second begins while the first is in the middle of its first file, and has half a second to disturb it."""
    mirror, faults = Mirror(PACKED), []
    with serving(mirror) as url:

        def fetch(progress) -> None:
            try:
                fetching.fetch("tiny", progress, [url])
            except DataError as error:
                faults.append(error)

        second = threading.Thread(target=fetch, args=(silent,))

        def begin_second(*counts, **facts) -> None:
            if second.ident is None:
                second.start()
                second.join(0.5)

        fetch(begin_second)
        second.join()
    assert faults == []
    assert len(mirror.asked) == 4
    assert cached(places) == sorted(PACKED)


FLIPPED = {name: content[:20] + bytes([content[20] ^ 1]) + content[21:] for name, content in PACKED.items()}
ENDLESS = {name: content + bytes(10**6) for name, content in PACKED.items()}


@pytest.mark.parametrize(
    "faulty",
    [{}, FLIPPED, ENDLESS, dict.fromkeys(PACKED, b"<html>sorry</html>")],
    ids=["404", "bit", "endless", "page"],
)
def test_the_second_mirror_helps_when_the_first_is_faulty(places, faulty):
    good = Mirror(PACKED)
    with serving(Mirror(faulty)) as first, serving(good) as second:
        fetching.fetch("tiny", mirrors=[first, second])
    assert cached(places) == sorted(PACKED)
    assert len(good.asked) >= 4


def test_when_no_mirror_helps_each_reason_and_the_remedy_are_told(places):
    with serving(Mirror({})) as empty, serving(Mirror(FLIPPED)) as flipped, pytest.raises(DataError) as error:
        fetching.fetch("tiny", mirrors=[*TINY.mirrors, empty, flipped])
    for words in ("connection was refused", "answered 404", "damaged file", "guarismo data import tiny FOLDER"):
        assert words in str(error.value)
    assert cached(places) == []


def test_loading_a_source_that_is_nowhere_tells_the_same():
    with pytest.raises(DataError, match="guarismo data import tiny FOLDER"):
        load("tiny")


def test_a_cache_that_cannot_be_written_says_how_to_choose_another(places):
    (places / "cache").write_text("a file stands where the folder should be")
    with pytest.raises(DataError, match="GUARISMO_CACHE"):
        fetching.fetch("tiny")


def test_a_full_disk_leaves_no_half_file(places):
    """The system refuses files beyond a limit, as it does on a full disk."""
    resource = pytest.importorskip("resource", reason="POSIX only")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(Mirror(PACKED)) as url:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        try:
            with pytest.raises(DataError, match="Cannot write into the cache"):
                fetching.fetch("tiny", mirrors=[url])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert cached(places) == []
