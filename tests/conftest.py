"""What several test files share: where real data may be, a tiny known source and Dataset, one Run of each kind."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from foreign import TINY, idx
from guarismo.cli import main
from guarismo.data.dataset import Dataset
from guarismo.data.known import SOURCES, KnownFile
from guarismo.data.sources import load
from guarismo.models.runs import Run
from guarismo.models.settings import Settings
from served import Served, serving
from tiny_run import bars_dataset

hypothesis.settings.register_profile("untimed", hypothesis.settings(), deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("untimed")

SHARED = Path(os.environ.get("GUARISMO_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with MNIST and Fashion-MNIST; tests that need it are skipped where it is absent."""
    if not (SHARED / "mnist").is_dir():
        pytest.skip(f"needs MNIST and Fashion-MNIST under {SHARED} (or set GUARISMO_TEST_DATA)")
    return SHARED


QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, which asks nobody for anything. One for each file: Playwright's loop must not outlive it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def places(tmp_path, monkeypatch) -> Path:
    """An empty cache, no other folder, and one more known source, 'tiny'."""
    monkeypatch.setenv("GUARISMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GUARISMO_DATA", raising=False)
    monkeypatch.setitem(SOURCES, "tiny", TINY)
    return tmp_path


@pytest.fixture
def small_mnist(places, monkeypatch) -> Path:
    """600 + 200 of the embedded digits where MNIST would be: the source `mnist` for this test; an empty cache."""
    digits = load("digits").train
    digits = digits.take(np.random.default_rng(0).permutation(len(digits))[:800])
    arrays = {
        "train-images-idx3-ubyte": digits.images[:600, ..., 0],
        "train-labels-idx1-ubyte": digits.labels[:600].astype(np.uint8),
        "t10k-images-idx3-ubyte": digits.images[600:, ..., 0],
        "t10k-labels-idx1-ubyte": digits.labels[600:].astype(np.uint8),
    }
    files = {}
    (places / "data" / "mnist").mkdir(parents=True)
    for name, array in arrays.items():
        content = idx(array)
        (places / "data" / "mnist" / name).write_bytes(content)
        files[name] = KnownFile("raw:" + hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setenv("GUARISMO_DATA", str(places / "data"))
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], files=files))
    return places


@pytest.fixture(scope="session")
def bars() -> Dataset:
    """Images of 8×8 whose class is the row that is brightest."""
    return bars_dataset()


@pytest.fixture(scope="session")
def network_run(bars: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small network trained in earnest. Do not change its folder: copy it."""
    pytest.importorskip("keras", reason="training is the [train] extra")
    from guarismo.models.training import train

    return train(bars, Settings(model="mlp", epochs=6, batch_size=32), tmp_path_factory.mktemp("runs") / "network")


@pytest.fixture(scope="session")
def forest_run(bars: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A forest trained in earnest. Do not change its folder: copy it."""
    pytest.importorskip("skl2onnx", reason="training is the [train] extra")
    from guarismo.models.training import train

    return train(bars, Settings(model="forest"), tmp_path_factory.mktemp("runs") / "forest")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of the shipped reader that many tests ask; its folder of runs is empty. Do not stop it."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder / "log", "--runs", folder / "runs", "--workers", 1) as server:
        yield server


@pytest.fixture
def command(capsys):
    """Run a command; returns (exit status, stdout, stderr)."""

    def call(*words: object) -> tuple[int, str, str]:
        try:
            main([str(word) for word in words])
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def ray_cluster():
    """A Ray cluster of one node of one core that this process has joined. Tests may add nodes, and remove them."""
    pytest.importorskip("ray", reason="needs ray, the [ray] extra")
    from guarismo.cluster import joined, prepare

    prepare(own=False)
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    with joined(cluster.address):
        yield cluster
    cluster.shutdown()


@pytest.fixture
def second_node(ray_cluster):
    """One more node of one core, for one test."""
    node = ray_cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    yield node
    if node in ray_cluster.worker_nodes:
        ray_cluster.remove_node(node)
