"""Files from elsewhere: small whole ones, and the same with bytes altered, which may be refused but never surprise."""

import gzip
import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

from guarismo.data.known import KnownFile, Source
from guarismo.errors import DataError

IMAGES = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)
LABELS = np.array([0, 1, 2, 0, 1], dtype=np.uint8)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def png(image: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(image).save(target, "PNG")
    return target.getvalue()


# A known source: "tiny", which the fixture `places` adds

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


def cached(places: Path) -> list[str]:
    return sorted(path.name for path in (places / "cache" / "data" / "tiny").iterdir())


def place_by_hand(folder: Path, packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (PACKED if packed else FILES).items():
        (folder / name).write_bytes(content)
    return folder


# Permissions

WITHOUT_RIGHTS = ["setpriv", *(f"--{kind}=-dac_override,-dac_read_search" for kind in ("bounding-set", "inh-caps"))]


def printed_by_a_user(script: str) -> str:
    """What a Python script prints in a process that is bound by permissions, as root, who may run the tests, is not."""
    as_user = WITHOUT_RIGHTS if os.geteuid() == 0 else []
    if as_user and (not shutil.which("setpriv") or subprocess.run([*as_user, "true"], capture_output=True).returncode):
        pytest.skip("root may read and write everything, and setpriv cannot take that right away")
    ran = subprocess.run([*as_user, sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


# Any bytes at all: content or DataError, nothing else

fuzz = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def altered(draw, whole: bytes) -> bytes:
    """A real file with bytes replaced, cut out and put in."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.integers(0, 8))
        content[start:end] = draw(st.binary(max_size=8))
    return bytes(content)


def bytes_like(whole: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(st.binary(max_size=64), altered(whole))


def read_or_refused(read: Callable[[Path], Any], path: Path) -> Any:
    """What is in the file, or None where it is refused by name; any other exception is passed on."""
    try:
        return read(path)
    except DataError as error:
        assert path.stem in str(error)
        return None
