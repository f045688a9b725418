"""How long loading takes: MNIST's gz files → Dataset, and 60,000 PNG files → pack, then reopened.

Run with the folder that holds mnist/ in GUARISMO_DATA:  python benchmarks/loading.py
Prints a table in Markdown: medians of REPEATS, after one unmeasured turn that warms the disk's cache.
"""

import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from joblib import cpu_count
from PIL import Image

from guarismo.data.folders import read_folder
from guarismo.data.sources import load

REPEATS = 5


def seconds(work: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> list[float]:
    """The time of each of REPEATS turns of `work`; `prepare` goes before each and is not measured."""
    times = []
    for _ in range(REPEATS + 1):
        prepare()
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return times[1:]


def write_pngs(folder: Path) -> Path:
    """MNIST's training and validation images as PNG files in class folders."""
    dataset = load("mnist")
    for part in (dataset.train, dataset.validation):
        for number, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
            path = folder / str(label) / f"{len(part)}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)
    return folder


def remove_packs(cache: Path) -> None:
    for path in sorted((cache / "packs").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def measure() -> dict[str, list[float]]:
    rows = {"70,000 images from 4 gz files, checked, → Dataset": seconds(lambda: load("mnist"))}
    with tempfile.TemporaryDirectory() as place:
        cache = Path(place) / "cache"
        os.environ["GUARISMO_CACHE"] = str(cache)
        pngs = write_pngs(Path(place) / "pngs")
        rows["60,000 PNG files → pack"] = seconds(lambda: read_folder(pngs), lambda: remove_packs(cache))
        rows["the same, pack reopened"] = seconds(lambda: read_folder(pngs))
    return rows


def processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    print(f"{processor()}, {cpu_count()} cores, {platform.system()}, Python {platform.python_version()}\n")
    print("| what | seconds (median) | least – most |\n|---|--:|--:|")
    for what, times in measure().items():
        print(f"| {what} | {statistics.median(times):.2f} | {min(times):.2f} – {max(times):.2f} |")


if __name__ == "__main__":
    main()
