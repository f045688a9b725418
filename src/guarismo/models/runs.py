"""Run: one training as a folder, checked on opening and whole at every moment.

    model.onnx              answers, for every kind of model
    weights.safetensors     continues (networks); model.skops for classical models
    run.json                what was asked, on which data, what came out, and the sha256 of every other file
    history.csv             one row per epoch
    train.safetensors       labels and answers on the training images
    validation.safetensors  labels and probabilities on the validation images
    test.safetensors        the same on the test images, and evaluation.json, once `evaluate` has opened them
    samples.safetensors     of an adapted run: the digits that it learnt, and the last layer that it began with
    checkpoint.safetensors  only while training: where to go on

A file is first written aside as NAME.new, then run.json is replaced, then the file is moved into place:
killed between any two of these steps, the folder is as before or `open_run` completes the move. So run.json describes
every other file at every moment, while a training goes on too.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import shlex
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from guarismo.data.dataset import Images
from guarismo.errors import RunError
from guarismo.language import ENGLISH
from guarismo.markup import concat, named, sparkline, table
from guarismo.models.settings import Settings

FORMAT = 1
"""Version of the folder layout; a later program that changes it reads this one still."""

CHECKPOINT = "checkpoint.safetensors"
KNOWN_FILES = {
    "model.onnx",
    "weights.safetensors",
    "model.skops",
    "history.csv",
    "train.safetensors",
    "validation.safetensors",
    "test.safetensors",
    "evaluation.json",
    "samples.safetensors",
    CHECKPOINT,
}
MOST_JSON_BYTES = 32 * 2**20
MOST_FILE_BYTES = 2 * 2**30
PIXELS_AT_ONCE = 256 * 28 * 28
"""Pixels that are answered in one call: what a network holds of them is what the memory of answering grows with.

As many images per second as with four times as many, or an eighth (`mnist-cnn` 7,215 with 256 images of MNIST at once,
5,713 with 1,024, 7,406 with 32; `vgg` 2,040, 1,829 and 3,117; TensorFlow's evaluation the same; in turn, busy machine).
"""
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""From 1.29 on ONNX Runtime for Linux notes every model that is opened and tells its maker, unless this is set before
it is imported; its own switch in Python comes too late. Whoever wants it sets it to 0."""
LOOKS = 100
"""How often `open_run` looks again, 10 ms apart, at a folder that another process is writing."""


Row = dict[str, float]


@dataclass
class Fitted:
    """A trained model of any kind, ready to be kept: its files, how it answers, what is worth telling."""

    files: dict[str, bytes]
    predict: Callable[[Images], NDArray[np.float32]]
    parameters: int
    architecture: list[dict[str, Any]]
    facts: dict[str, Any]
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True, repr=False)
class Run:
    """One training: its folder and what its run.json says. Made by `train`, opened by `open_run`."""

    folder: Path
    about: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> bool:
        return bool(self.about["state"] == "finished")

    @cached_property
    def settings(self) -> Settings:
        return Settings.from_dict(self.about["settings"])

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.about["data"]["class_names"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the images that it answers."""
        height, width, channels = self.about["data"]["shape"]
        return height, width, channels

    @cached_property
    def history(self) -> list[Row]:
        """One row per epoch: epoch, loss, accuracy, validation_loss, validation_accuracy, learning_rate, seconds."""
        path = self.folder / "history.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            try:
                return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
            except (ValueError, TypeError) as error:
                raise RunError(f"{path} is damaged ({error}). Copy the run again from where it came.") from None

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays of NAME.safetensors. Raises RunError when the run has none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.folder / f"{name}.safetensors"
        try:
            arrays: dict[str, NDArray[Any]] = load_file(path)
        except FileNotFoundError:
            raise RunError(f"Run {self.name} has no {path.name} yet.") from None
        except SafetensorError as error:
            raise RunError(f"{path} is not a readable safetensors file ({error}).") from None
        return arrays

    def predict(self, images: Images) -> NDArray[np.float32]:
        """Probabilities float32 (n, classes) for images uint8 (n, h, w, c), or (n, h, w) for grey ones.

        Raises RunError when the images are of another size or type than the run was trained on.
        """
        images = np.asarray(images)[..., None] if images.ndim == 3 and self.shape[2] == 1 else images
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise RunError(
                f"Run {self.name} answers uint8 images (n, {', '.join(map(str, self.shape))}), "
                f"received {images.dtype} {images.shape}. Resize them, or train on images of that size."
            )
        return answer(self.session, images, len(self.class_names))

    @cached_property
    def session(self) -> Any:
        """The ONNX Runtime session of model.onnx."""
        if not self.finished:
            raise RunError(
                f"Run {self.folder} is not finished: {len(self.history)} of {self.settings.epochs} epochs. "
                f"Go on with: guarismo train --resume {quoted(self.folder)}"
            )
        session = open_session((self.folder / "model.onnx").read_bytes())
        door, out = session.get_inputs()[0], session.get_outputs()[0]
        if (door.type, *door.shape[1:], out.shape[-1]) != ("tensor(uint8)", *self.shape, len(self.class_names)):
            raise RunError(f"{self.folder / 'model.onnx'} is not of the shape in run.json. Copy the run again.")
        return session

    def __repr__(self) -> str:
        about = f"{self.settings.model} on {self.about['data']['name']}"
        if not self.finished:
            return f"Run({self.folder}: {about}; {len(self.history)} of {self.settings.epochs} epochs)"
        return f"Run({self.folder}: {about}; validation {self.about['metrics']['validation_accuracy']:.2%})"

    def _repr_html_(self) -> str:
        """In a notebook: what was trained, its figures and curves, and the settings that are not the default's."""
        return str(summary(self) + figures(self) + curves(self) + changed_settings(self))


def summary(run: Run) -> Markup:
    """What it is, in a line, and where."""
    words = Markup("<p><b>{}</b>: {} on {}, {}<br><code>{}</code></p>")
    if run.finished:
        state = f"{run.about['parameters']:,} parameters, trained in {run.about['seconds']['train']:.1f} s"
    else:
        state = f"{len(run.history)} of {run.settings.epochs} epochs trained; guarismo.resume(run, dataset) goes on"
    return words.format(named(run.name), run.settings.model, named(run.about["data"]["name"]), state, run.folder)


def figures(run: Run) -> Markup:
    """Accuracy and loss of each part, as far as they are known."""
    known = {**run.about.get("metrics", {}), **test_figures(run)}
    parts = ("train", "validation", "test")
    rows = [
        ["accuracy", *(ENGLISH.percent(known[key]) if (key := f"{part}_accuracy") in known else "–" for part in parts)],
        ["loss", *(ENGLISH.decimal(known[key], 4) if (key := f"{part}_loss") in known else "–" for part in parts)],
    ]
    return table(("", "training", "validation", "test"), rows) if known else Markup()


def test_figures(run: Run) -> dict[str, float]:
    """Accuracy and loss of the test images, once they were opened."""
    path = run.folder / "evaluation.json"
    if not path.is_file():
        return {}
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    return {f"test_{key}": float(evaluation[key]) for key in ("accuracy", "loss")}


def curves(run: Run) -> Markup:
    """Loss and accuracy over the epochs, the kept epoch marked; nothing for a model that has no epochs."""
    if not run.history:
        return Markup()
    kept = run.about.get("facts", {}).get("kept_epoch")
    drawn = []
    for measure, written in (("loss", lambda value: ENGLISH.decimal(value, 4)), ("accuracy", ENGLISH.percent)):
        training, validation = ([row[column] for row in run.history] for column in (measure, f"validation_{measure}"))
        last = f"training {written(training[-1])}, validation {written(validation[-1])} in epoch {len(training)}"
        picture = sparkline(f"{measure}, {last}", training, validation, kept, log=measure == "loss")
        drawn.append(Markup("<div>{}<br><small>{}</small></div>").format(picture, f"{measure}, {last}"))
    marked = f"; the upright line: epoch {kept}, which was kept" if kept else ""
    legend = f"Dashed: training; solid: validation{marked}."
    return Markup('<div style="display:flex;flex-wrap:wrap;gap:1.5em">{}</div><p><small>{}</small></p>').format(
        concat(drawn), legend
    )


def changed_settings(run: Run) -> Markup:
    changes = run.settings.changes()
    listed = ", ".join(f"{key}={value!r}" for key, value in changes.items()) or "none"
    return Markup("<p>Settings that differ from the default: <code>{}</code></p>").format(listed)


def open_session(model: bytes) -> Any:
    """An ONNX Runtime session on the CPU. From bytes, so that a model cannot name other files of the disk.

    It has as many threads as there are cores, or GUARISMO_THREADS.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = int(os.environ.get("GUARISMO_THREADS", 0))
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise RunError(f"model.onnx cannot be opened by ONNX Runtime: {str(error).splitlines()[0]}") from None


def images_at_once(shape: Sequence[int]) -> int:
    """How many images of shape (h, w, c) are answered in one call: PIXELS_AT_ONCE of them, one at least."""
    return max(1, PIXELS_AT_ONCE // (shape[0] * shape[1]))


def in_parts(ask: Callable[[NDArray[np.uint8]], NDArray[np.float32]], images: Images) -> NDArray[np.float32]:
    """What `ask` answers to images (n, h, w, c), one at least, as many at a time as `images_at_once` says."""
    size = images_at_once(images.shape[1:])
    starts = range(0, len(images), size)
    return np.concatenate([ask(np.ascontiguousarray(images[start : start + size])) for start in starts])


def answer(session: Any, images: Images, classes: int) -> NDArray[np.float32]:
    """Probabilities float32 (n, classes) of images uint8 (n, h, w, c), part by part."""
    name = session.get_inputs()[0].name
    if not len(images):
        return np.empty((0, classes), dtype=np.float32)
    return in_parts(lambda part: session.run(None, {name: part})[0], images)


def open_run(folder: str | Path) -> Run:
    """The Run in a folder, every file checked against run.json; nothing in it is executed.

    Raises RunError when the folder is no run, or a file is missing, altered, surplus, a link or too large.
    """
    folder = Path(folder)
    for _ in range(LOOKS):
        about = read_about(folder)
        try:
            check_files(folder, about["files"])
            break
        except RunError as error:
            problem = error
        if tidied(folder):  # nobody writes: what a killed process left is mended, what is wrong still is wrong
            about = read_about(folder)
            check_files(folder, about["files"])
            break
        time.sleep(0.01)  # its writer is between two steps, which are milliseconds apart
    else:
        raise problem
    run = Run(folder, about)
    run.settings  # noqa: B018  unknown or unfit settings are refused here, not later
    return run


def tidied(folder: Path) -> bool:
    """Take the folder for a moment, which completes what a killed process began; False where another holds it."""
    try:
        with claimed(folder, timeout=0):
            return True
    except RunError:
        return False


def read_about(folder: Path) -> dict[str, Any]:
    """run.json, its shape checked. Raises RunError."""
    path = folder / "run.json"
    if not path.is_file():
        raise RunError(f"{folder} is not a run: it has no run.json. `guarismo train` prints the folder of each run.")
    try:
        if path.is_symlink() or path.stat().st_size > MOST_JSON_BYTES:
            raise ValueError(f"not a plain file of at most {MOST_JSON_BYTES >> 20} MB")
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant)
        check_about(about)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}). Copy the run again from where it came.") from None
    return about


def refuse_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's; we never write them."""
    raise ValueError(f"{name} is no number")


EACH = "each of"
"""In a shape: the key that stands for every key there is."""
BEGUN: dict[str, Any] = {
    "format": int,
    "state": str,
    "settings": dict,
    "data": {
        "name": str,
        "origin": dict,
        "fingerprint": str,
        "counts": {EACH: int},
        "class_names": list,
        "shape": list,
    },
    "parameters": int,
    "machine": dict,
    "files": dict,
}
FINISHED: dict[str, Any] = {
    "architecture": list,
    "metrics": {EACH: float, "validation_accuracy": float, "validation_loss": float},
    "seconds": {EACH: float, "train": float},
    "facts": dict,
    "versions": {EACH: str},
}
OPENED: dict[str, Any] = {"at": str, "source": str, "fingerprint": str, "n": int}


def check_about(about: Any) -> None:
    """Raises ValueError where run.json lacks a part that everything relies on, or has it in another shape."""
    check_shape(about, BEGUN, "run.json")
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']}, this program knows {FORMAT}")
    finished = about["state"] == "finished"
    check_shape(about, {name: part for name, part in FINISHED.items() if finished or name in about}, "run.json")
    if (kept := about.get("facts", {}).get("kept_epoch")) is not None:
        check_shape(kept, int, "kept_epoch")
    if "test_opened" in about or "evaluation.json" in about["files"]:
        check_shape(about.get("test_opened"), OPENED, "test_opened")
    sides, names = about["data"]["shape"], about["data"]["class_names"]
    if len(sides) != 3 or not all(type(side) is int and 0 < side <= 4096 for side in sides):
        raise ValueError("'shape' must be three positive sizes")
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError("'class_names' must be words")
    for name, entry in about["files"].items():
        if name not in KNOWN_FILES:
            raise ValueError(f"unexpected file '{name}'")
        check_shape(entry, {"bytes": int, "sha256": str}, name)
    for opened in about.get("other_data", []):
        check_shape(opened, {**OPENED, "accuracy": float}, "other_data")
    for row in about.get("architecture", []):
        check_shape(row, {"layer": str, "output": str, "parameters": int}, "architecture")


def check_shape(value: Any, shape: Any, where: str) -> None:
    """Raises ValueError unless `value` has the keys and types of `shape`; more keys do no harm."""
    if isinstance(shape, type):
        if not (isinstance(value, shape) or (shape is float and type(value) is int)) or isinstance(value, bool):
            raise ValueError(f"'{where}' must be {shape.__name__}")
        return
    check_shape(value, dict, where)
    for name, part in shape.items():
        if name != EACH and name not in value:
            raise ValueError(f"'{where}' lacks '{name}'")
        for key in value if name == EACH else [name]:
            check_shape(value[key], part, key)


def complete_moves(folder: Path) -> None:
    """Finish what a killed `commit` began: what run.json describes moves into place, a spent checkpoint goes.

    Only while the folder is `claimed`: beside a living writer the same moves would take its next file for this one.
    """
    about = read_about(folder)
    for name, entry in about["files"].items():
        aside = folder / f"{name}.new"
        if aside.exists() and describe(aside) == entry:
            aside.replace(folder / name)
    if CHECKPOINT not in about["files"]:
        (folder / CHECKPOINT).unlink(missing_ok=True)


def check_files(folder: Path, files: Mapping[str, Any]) -> None:
    """Raises RunError for the first file that is missing, altered, a link, too large or not named in run.json."""
    present = {path.name for path in folder.iterdir()} - {"run.json", ".lock"}
    leftovers = {f"{name}.new" for name in (*KNOWN_FILES, "run.json")}
    for name, entry in files.items():
        try:
            found = describe(folder / name)
        except FileNotFoundError:
            raise RunError(f"{folder / name} is missing. Copy the run again from where it came.") from None
        if found != entry:
            raise RunError(
                f"{folder / name} was altered: its size or sha256 is not the one in run.json. "
                "Copy the run again from where it came."
            )
    if surplus := sorted(present - set(files) - leftovers):
        raise RunError(f"{folder / surplus[0]} does not belong to the run. Move it elsewhere.")


def describe(path: Path) -> dict[str, Any]:
    """What run.json records of a file: its bytes and sha256.

    Raises RunError for a link, a very large file or one that cannot be read, FileNotFoundError where there is none.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123  a descriptor
            about = os.fstat(file.fileno())
            if stat.S_ISREG(about.st_mode) and about.st_size <= MOST_FILE_BYTES:
                return {"bytes": about.st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno != errno.ELOOP:  # what O_NOFOLLOW says of a link
            raise RunError(f"{path} cannot be read: {error.strerror}.") from None
    raise RunError(f"{path} must be a plain file of at most {MOST_FILE_BYTES >> 30} GB. Remove it.")


def commit(run: Run, files: Mapping[str, bytes], remove: tuple[str, ...] = (), **changes: Any) -> Run:
    """The run with files added, replaced or removed and parts of run.json changed, in one step that cannot break.

    Call it while the folder is `claimed`. Raises RunError when the disk is full or read-only; the folder is then as
    it was.
    """
    try:
        for name, content in files.items():
            write_through(run.folder / f"{name}.new", content)
        entries = {name: {"bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for name, b in files.items()}
        kept = {name: entry for name, entry in run.about["files"].items() if name not in remove}
        about = {**run.about, **changes, "files": {**kept, **entries}}
        write_json(run.folder, about)
    except OSError as error:
        for name in files:
            (run.folder / f"{name}.new").unlink(missing_ok=True)
        raise RunError(f"Cannot write into {run.folder}: {error.strerror}. What was there is unharmed.") from error
    for name in files:
        (run.folder / f"{name}.new").replace(run.folder / name)
    for name in remove:
        (run.folder / name).unlink(missing_ok=True)
    return Run(run.folder, about)


def write_json(folder: Path, about: Mapping[str, Any]) -> None:
    text = json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(folder / "run.json", (text + "\n").encode())


def replace_file(path: Path, content: bytes) -> None:
    """Write aside, then move: whoever reads `path` finds the old content or the new, never half."""
    aside = path.with_name(path.name + ".new")
    write_through(aside, content)
    aside.replace(path)


def write_out(path: Path, content: bytes) -> None:
    """A file that the user asked for, whole or not at all. Raises RunError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}. Choose another place with --out.") from None


def write_through(path: Path, content: bytes) -> None:
    """Write a new file and wait for the disk, so that a move never gets ahead of its content.

    What stands at `path` goes first: a link laid there by a stranger is removed, not followed.
    """
    path.unlink(missing_ok=True)
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def quoted(path: Path) -> str:
    """A path as one word of a shell command, for lines to paste."""
    return shlex.quote(str(path))


def folder_stem(dataset_name: str, model: str) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{dataset_name}_{model}")


def new_folder(parent: Path, dataset_name: str, model: str) -> Path:
    """A fresh numbered folder, ``mnist_cnn-bn_3``, made in one step so that two trainings never share one."""
    stem = folder_stem(dataset_name, model)
    number = 1
    while True:
        folder = parent / f"{stem}_{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise RunError(f"Cannot make {folder}: {error.strerror}. Choose another place with --out.") from None
        else:
            return folder


@contextmanager
def claimed(folder: Path, timeout: float = 1) -> Iterator[None]:
    """Hold the folder for writing, what a killed process left in it completed first.

    Raises RunError where another process holds it for more than `timeout` seconds, or it cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=timeout)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(f"Another process is writing into {folder}. Wait for it, or choose another folder.") from None
    except OSError as error:
        raise RunError(f"Cannot write into {folder}: {error.strerror}. Choose another folder.") from None
    try:
        if (folder / "run.json").exists():
            complete_moves(folder)
        yield
    finally:
        lock.release()
