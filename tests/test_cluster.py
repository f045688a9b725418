"""Joining a cluster, and files at URLs: what is not there, of another version, or not allowed is said in a sentence."""

import os
import socket
import subprocess
import sys

import pytest

from guarismo import cluster
from guarismo.cluster import at_hand, check_nodes, fetched, is_there, is_url, joined, knock, listed, move_there
from guarismo.errors import DataError, MissingExtraError, RunError

# Clusters


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def test_a_cluster_that_is_not_there():
    with pytest.raises(RunError, match=r"No cluster answers at 127\.0\.0\.1:\d+ \(Connection refused\)\. Start one"):
        knock(f"127.0.0.1:{free_port()}")


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:door", "http://head:6379/"])
def test_what_is_no_address(address):
    with pytest.raises(RunError, match="must be auto or HOST:PORT"):
        knock(address)


def test_without_ray_its_extra_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'guarismo\[ray\]'"), joined():
        pass
    with pytest.raises(MissingExtraError, match=r"pip install 'guarismo\[ray\]'"):
        listed("s3://bucket", {".png"})


def test_a_process_that_has_joined_stays_joined(ray_cluster):
    with joined() as ray:
        assert ray.is_initialized()
    assert ray.is_initialized()


def test_ray_reports_to_nobody(ray_cluster):
    import ray
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
    remote = ray.remote(usage_lib.usage_stats_enabled)
    assert ray.get(remote.remote()) is False


def test_a_node_with_another_version_is_named(ray_cluster, monkeypatch):
    import ray

    check_nodes(ray)
    monkeypatch.setattr(cluster, "version", lambda _: "9.9")
    with pytest.raises(RunError, match=r"Node .* has guarismo .*, this machine 9\.9\. Install the same on all"):
        check_nodes(ray)


OTHER = """
import ray
from guarismo.cluster import joined
from guarismo.errors import RunError
ray.__version__ = "1.0"
try:
    with joined("{address}"):
        print("joined")
except RunError as error:
    print(error)
"""


def test_a_cluster_of_another_version(ray_cluster):
    words = subprocess.run(
        [sys.executable, "-c", OTHER.format(address=ray_cluster.address)], capture_output=True, text=True
    )
    assert "has another version" in words.stdout and "Ray: 1.0" in words.stdout, words.stderr
    assert "Install the same on all" in words.stdout


OWN = """
from guarismo.cluster import joined
with joined(cpus=1) as ray:
    print(ray.cluster_resources()["CPU"], ray.get_runtime_context().gcs_address)
    import subprocess, sys, os
    alone = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"RAY_NUM_REDIS_GET_RETRIES": "1"}
    words = "import ray; ray.init('" + ray.get_runtime_context().gcs_address + "', log_to_driver=False)"
    stranger = subprocess.run([sys.executable, "-c", words], env=alone, capture_output=True, text=True)
    print(stranger.returncode, "InvalidAuthToken" in stranger.stderr or "uthentica" in stranger.stderr)
print(ray.is_initialized())
"""


def test_a_cluster_of_our_own_lets_nobody_else_in_and_ends():
    """Its ports are open to the network."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    words = subprocess.run([sys.executable, "-c", OWN], capture_output=True, text=True, env=environment)
    lines = words.stdout.splitlines()
    assert len(lines) == 3 and lines[0].startswith("1.0 "), words.stderr
    assert lines[1:] == ["1 True", "False"], words.stderr


# Files anywhere


@pytest.fixture
def bucket():
    """A store in memory, as fsspec has one."""
    fsspec = pytest.importorskip("fsspec", reason="needs fsspec, the [ray] extra")
    files = fsspec.filesystem("memory")
    for name in ("pages/b.png", "pages/in/a.JPG", "pages/notes.txt"):
        files.pipe(f"/bucket/{name}", name.encode())
    yield files
    files.rm("/bucket", recursive=True)


def test_what_is_a_url():
    assert is_url("s3://bucket/a.png") and is_url("memory://a")
    assert not is_url("pages/a.png") and not is_url("C:/pages") and not is_url("a:b")


def test_pictures_below_a_url_are_listed(bucket):
    assert listed("memory://bucket/pages", {".png", ".jpg"}) == [
        "memory:///bucket/pages/b.png", "memory:///bucket/pages/in/a.JPG",
    ]  # fmt: skip
    assert listed("memory://bucket/pages/notes.txt", {".png"}) == ["memory://bucket/pages/notes.txt"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://bucket/empty", "holds no picture"),
        ("nosuch://bucket/a", "cannot be used: Protocol not known"),
    ],
)
def test_nothing_to_list(bucket, url, words):
    with pytest.raises(DataError, match=words):
        listed(url, {".png"})


def test_a_file_is_fetched_up_to_a_size(bucket):
    assert fetched("memory://bucket/pages/b.png", 11) == b"pages/b.png"
    with pytest.raises(DataError, match="is larger than"):
        fetched("memory://bucket/pages/b.png", 10)
    with pytest.raises(DataError, match=r"memory://bucket/none does not exist"):
        fetched("memory://bucket/none", 10)


def test_a_folder_is_at_hand(bucket, tmp_path):
    bucket.pipe("/bucket/run/run.json", b"{}")
    with at_hand("memory://bucket/run") as folder:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"run.json": b"{}"}
    assert not folder.exists()
    with at_hand(str(tmp_path)) as folder:
        assert folder == tmp_path
    assert tmp_path.exists()


def test_a_file_is_moved_to_a_url(bucket, tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"1,2")
    assert not is_there("memory://bucket/new/a.csv")
    move_there(file, "memory://bucket/new/a.csv")
    assert is_there("memory://bucket/new/a.csv") and fetched("memory://bucket/new/a.csv", 9) == b"1,2"
    assert not file.exists()
