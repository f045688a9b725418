"""Bulk reading by many machines: Ray Data carries files to processes and answers back; `bulk` keeps them, once each.

Tasks, not actors: where a node is lost, its actors wait for room on another, and their pages with them, for ever where
there is none. A task is simply run elsewhere. Ray keeps a node's processes, so each opens the reader once all the same.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from typing import Any

import orjson

from guarismo.data.packing import in_text
from guarismo.errors import RunError
from guarismo.models.runs import open_run
from guarismo.reading.reader import SHIPPED
from guarismo.results.bulk import ONE_THREAD, Told, tell

TOGETHER = 32
"""Files of one task at most. Between two tasks a core waits 0.2 s for the next: two nodes read 19 small pages a second
with 8 files to a task, 24 with 32. A lost node loses as many for each of its cores."""
TURNS = 4
"""Tasks for each core at least, so that all are done at about the same time."""
PART = 1_000
"""Files for each core that Ray is told of at a time: it keeps a record of each task."""
RETRIES = 2
"""How often Ray itself runs a task again that was lost; of itself it would for ever."""

Model = tuple[str, dict[str, bytes]]
"""The sha256 of a run's model, and the content of each of its files; no file for the reader that comes along."""


def by_ray(files: Sequence[str], run: Path, jobs: int = 0) -> Iterator[Told]:
    """What came of each file, read by the cluster that this process has joined, by `jobs` cores at most (0: all).

    Each node opens the files by their names: they must lie on storage that all of them see, or at a URL. A file that
    ends each process that reads it fails; so does one that is lost six times with its node.
    Raises RunError where the cluster itself is lost.
    """
    import ray

    model = packed(run)
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    for start in range(0, len(files), PART * cores):
        left = dict.fromkeys(files[start : start + PART * cores])
        several = max(1, min(TOGETHER, len(left) // (TURNS * cores)))
        for together in (several, 1):  # alone, a file that ends its process takes no other along
            if left:
                yield from answered(left, model, together, jobs)
        for file in left:
            yield Told(file, error=f"{file} ended each process that read it. Is it far larger than the others?")


def packed(run: Path) -> Model:
    """A run as it travels to nodes that do not have it."""
    sha256 = str(open_run(run).about["files"]["model.onnx"]["sha256"])
    if run == SHIPPED:
        return sha256, {}
    return sha256, {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != ".lock"}


def answered(left: dict[str, None], model: Model, together: int, jobs: int) -> Iterator[Told]:
    """One pass over what is left; each file that is answered is taken out of it."""
    import ray

    try:
        for batch in handed_out(list(left), model, together, jobs).iter_batches(batch_size=None, prefetch_batches=0):
            for name, line in zip(batch["file"], batch["told"], strict=True):
                told = Told(os.fsdecode(name), *orjson.loads(line))
                left.pop(told.file, None)
                yield told
    except ray.exceptions.RayError as error:
        if not ray.is_initialized():
            raise RunError(f"The cluster was lost ({type(error).__name__}). Go on with the same command.") from None
    # what a lost node had finished and nobody had fetched is left, for the next pass


def handed_out(files: Sequence[str], model: Model, together: int, jobs: int) -> Any:
    """The work as Ray's Dataset: nothing is drawn or logged beside us, and a task that is lost takes no other along."""
    import ray
    from ray.data import DataContext, TaskPoolStrategy

    context = DataContext.get_current()
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    names = [os.fsencode(file) for file in files]  # Ray's tables hold no name that is not UTF-8
    items = ray.data.from_items(names, override_num_blocks=-(-len(files) // together))
    with warnings.catch_warnings(action="ignore"):  # `ray_remote_args_fn` is to go, and nothing yet takes its place
        return items.map_batches(
            tell_several,
            fn_args=(model, str(Path.cwd())),
            batch_size=None,
            compute=TaskPoolStrategy(size=jobs or None),
            num_cpus=1,
            runtime_env={"env_vars": ONE_THREAD},
            ray_remote_args_fn=lambda: {"max_retries": RETRIES},
        )


def tell_several(batch: dict[str, Any], model: Model, folder: str) -> dict[str, Any]:
    """What comes of a few files, each as JSON; names count from `folder`, as where they were given."""
    with suppress(OSError):  # where it is not here, whole names still lead somewhere
        os.chdir(folder)
    files = [os.fsdecode(name) for name in batch["item"]]
    try:
        run = unpacked(model)
        told = [tell(file, run) for file in files]
    except OSError as error:
        told = [Told(file, error=f"{file}: the run finds no room on {gethostname()}: {error}") for file in files]
    return {"file": batch["item"], "told": [orjson.dumps([each.pages, in_text(each.error)]) for each in told]}


HERE: dict[str, tempfile.TemporaryDirectory[str]] = {}
"""The runs that this process has been handed."""


def unpacked(model: Model) -> Path:
    """The folder of a run on this node."""
    sha256, files = model
    if not files:
        return SHIPPED
    if sha256 not in HERE:
        HERE[sha256] = tempfile.TemporaryDirectory()
        for name, content in files.items():
            (Path(HERE[sha256].name) / name).write_bytes(content)
    return Path(HERE[sha256].name)
