"""Watching a training: curves in a terminal of any size, a line for each epoch where there is none."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
from pathlib import Path

import pytest
from rich.console import Console

from guarismo.errors import MissingExtraError
from guarismo.models.runs import open_run
from guarismo.terminal import err
from guarismo.watching import Heard, hear, picture, shown_epochs, watching

pytest.importorskip("plotext", reason="the curves are drawn with plotext, of the [train] extra")

EPOCHS = [
    {"epoch": float(e), "epochs": 10, "loss": 2 / e, "accuracy": 1 - 0.3 / e, "validation_loss": 0.5 + 0.1 * abs(e - 3)}
    | {"validation_accuracy": 0.9 - 0.01 * abs(e - 3), "learning_rate": 0.001, "seconds": 1.5}
    for e in range(1, 8)
]
STEP = {"epoch": 8, "epochs": 10, "step": 14, "steps": 28, "loss": 0.21, "accuracy": 0.96}


def heard(*facts: dict, title: str = "cnn") -> Heard:
    """A training of ten epochs of 28 steps that told these facts."""
    training = Heard(title, [])
    for number, each in enumerate(facts, start=1):
        hear(training, 28 * number, 280, each)
    return training


def screen(training: Heard, width: int, height: int) -> list[str]:
    """The rows that a terminal shows, as rich's Live puts them there."""
    console = Console(width=width, height=height)
    lines = console.render_lines(picture(training, width, height), pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


def test_both_curves_stand_side_by_side_with_the_figures_of_now_and_the_time():
    rows = screen(heard(*EPOCHS, STEP), 80, 24)
    assert re.match(r"loss +⎯⎯ 0\.2100 +⎯● 0\.9000 +accuracy +⎯⎯ 96\.00 % +⎯● 86\.00 %", rows[0])
    assert sum(row.count("●") for row in rows[1:-2]) > 2 * 5, "a dot for each epoch, in both charts"
    assert any("⠤" in row or "⠒" in row for row in rows)
    assert rows[-2].split() == ["⎯⎯", "training", "⎯●", "validation"]
    assert rows[-1].startswith("cnn · epoch 8 of 10 · 0:00:0") and "step 14 of 28" in rows[-1]


@pytest.mark.parametrize("width", [1, 12, 29, 30, 44, 71, 72, 80, 200])
@pytest.mark.parametrize("height", [1, 9, 10, 19, 20, 24, 70])
def test_the_picture_fits_into_a_terminal_of_any_size(width, height):
    rows = screen(heard(*EPOCHS, STEP), width, height)
    assert len(rows) <= height and max(map(len, rows)) <= width


def test_a_narrow_terminal_gets_the_charts_below_each_other_and_a_tiny_one_the_line_alone():
    narrow, low = screen(heard(*EPOCHS), 44, 24), screen(heard(*EPOCHS), 44, 14)
    assert [row.split()[0] for row in narrow if "⎯⎯ " in row] == ["loss", "accuracy", "⎯⎯"]
    assert [row.split()[0] for row in low if "⎯⎯ " in row] == ["loss", "⎯⎯"]
    assert len(screen(heard(*EPOCHS), 29, 24)) == 1


@pytest.mark.parametrize(
    "facts",
    [
        [STEP | {"epoch": 1}],  # no epoch is finished yet
        [EPOCHS[0]],  # one point is no line
        [row | {"loss": 0.0, "validation_loss": 0.0} for row in EPOCHS],  # no logarithm
        [row | {"accuracy": 1.0, "validation_accuracy": 1.0} for row in EPOCHS],  # no range
        [*EPOCHS, STEP | {"loss": float("nan"), "accuracy": float("nan")}],
        [row | {"epochs": 1, "epoch": 1.0} for row in EPOCHS[:1]],
    ],
)
def test_unusual_curves_are_drawn_as_far_as_they_go(facts):
    assert len(screen(heard(*facts), 80, 24)) > 10


def test_a_model_without_epochs_shows_how_far_it_is():
    assert screen(heard({"trees": 10}, title="forest"), 80, 24) == ["forest · 0:00:00 · 10 %"]


def test_the_axis_grows_by_doubling_until_all_epochs_are_shown():
    assert [shown_epochs(now, 50) for now in (0.3, 10, 10.2, 25, 45)] == [10, 10, 20, 40, 50]
    assert shown_epochs(0.3, 5) == 5


def test_where_there_is_no_terminal_each_epoch_is_a_line(capsys):
    with watching("cnn") as progress:
        progress(14, 280, **STEP)
        for row in EPOCHS[:2]:
            progress(int(28 * row["epoch"]), 280, **row)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(
        "cnn: epoch 2 of 10: loss 1.0000, accuracy 85.00 %, validation loss 0.6000, accuracy 89.00 %; 0:00:00, "
    )


def test_a_resumed_training_shows_the_epochs_that_it_has_behind_it(monkeypatch, capsys):
    monkeypatch.setattr(err, "_force_terminal", True)
    monkeypatch.setenv("TERM", "xterm")
    with watching("cnn", EPOCHS[:5]) as progress:
        progress(28 * 6, 280, **EPOCHS[5])
    assert "epoch 6 of 10" in capsys.readouterr().err


def test_without_plotext_an_error_names_the_line_that_installs_it_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotext", None)  # what Python itself writes for a module that is not to be had
    with pytest.raises(MissingExtraError, match=r"pip install 'guarismo\[train\]'"), watching("cnn"):
        raise AssertionError("begun")


class Terminal:
    """A command in a pseudo-terminal of a given size, and what it wrote."""

    def __init__(self, words: list[str], columns: int, rows: int):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(sys.executable, [sys.executable, "-m", "guarismo", *words])
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.written = ""

    def read_until(self, pattern: str = "\0", seconds: float = 120) -> None:
        """Take what it writes until it has written what is wanted, or ends."""
        while not re.search(pattern, self.written) and select.select([self.descriptor], [], [], seconds)[0]:
            try:
                piece = os.read(self.descriptor, 65536)
            except OSError:  # Linux' way to say that the other end is closed
                piece = b""
            if not piece:
                return
            self.written += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", piece.decode(errors="replace"))

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_train_watch_draws_in_a_real_terminal_and_goes_on_after_ctrl_c(tmp_path: Path):
    pytest.importorskip("keras", reason="training is the [train] extra")
    folder = tmp_path / "run"
    words = ["train", "digits", "--model", "mlp", "--epochs", "16", "--watch", "--out", str(folder)]
    first = Terminal(words, 80, 24)
    first.read_until(r"epoch ([2-9]|\d\d) of 16")
    os.kill(first.pid, signal.SIGINT)
    first.read_until()
    assert first.status() == 130
    assert "┌─" in first.written and "⎯● validation" in first.written
    assert f"Go on with: guarismo train --resume {folder}" in first.written.replace("\r\n", "")
    done = len(open_run(folder).history)
    assert 1 <= done < 16

    second = Terminal(["train", "--resume", str(folder), "--watch"], 40, 20)
    second.read_until()
    assert second.status() == 0
    last = second.written[second.written.rindex("⎯● validation") :]
    assert "mlp · epoch 16 of 16" in last, "the last picture stays"
    assert len(open_run(folder).history) == 16


def test_json_stays_alone_on_stdout(tmp_path, command):
    pytest.importorskip("keras", reason="training is the [train] extra")
    words = ("train", "digits", "--model", "linear", "--epochs", 2, "--watch", "--json", "--out", tmp_path / "run")
    status, out, errors = command(*words)
    assert status == 0 and out.count("\n") == 1 and out.startswith('{"run"')
    assert [line.split(":")[1] for line in errors.splitlines()] == [" epoch 1 of 2", " epoch 2 of 2"]
