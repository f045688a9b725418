"""The command line: what it prints, what it refuses, what it never imports."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from guarismo.cli import app, main
from tiny_run import bars_dataset, make_run


@pytest.fixture
def source(tmp_path) -> Path:
    """The bars as an .npz file in Keras' layout."""
    bars = bars_dataset()
    place = tmp_path / "bars.npz"
    np.savez(
        place, x_train=bars.train.images, y_train=bars.train.labels, x_test=bars.test.images, y_test=bars.test.labels
    )
    return place


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


@pytest.fixture
def forest(source, tmp_path, command) -> Path:
    """The folder of a forest trained on the command line."""
    pytest.importorskip("skl2onnx", reason="training is the [train] extra")
    status, out, _ = command("train", source, "--model", "forest", "--out", tmp_path / "forest", "--json")
    assert status == 0
    return Path(json.loads(out)["run"])


def commands() -> list[str]:
    names = [name for name in app if not name.startswith("-")]
    return [*names, *(f"data {name}" for name in app["data"] if not name.startswith("-"))]


@pytest.mark.parametrize("name", commands())
def test_every_command_has_a_sentence_and_a_line_to_paste(command, name):
    status, out, _ = command(*name.split(), "--help")
    assert status == 0
    assert "guarismo " + name in out.split("╭")[0] or name == "data"


def test_every_setting_is_an_option_of_train(command):
    _, out, _ = command("train", "--help")
    for option in ("--model", "--batch-size", "--learning-rate", "--label-smoothing", "--seed", "--validation"):
        assert option in out


def test_train_prints_the_contract_as_json(source, tmp_path, command):
    pytest.importorskip("keras", reason="training is the [train] extra")
    words = ("--model", "linear", "--epochs", 2, "--seed", 5, "--out", tmp_path / "run", "--json")
    status, out, _ = command("train", source, *words)
    told = json.loads(out)
    assert status == 0
    assert set(told) == {"run", "model", "epochs", "train_seconds", "validation_accuracy", "parameters"}
    assert (told["model"], told["epochs"], told["parameters"]) == ("linear", 2, 64 * 3 + 3)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["seed"] == 5


def test_evaluate_prints_the_contract_as_json_and_opens_the_test_once(forest, command):
    _, first, _ = command("evaluate", forest, "--json")
    record = json.loads((forest / "run.json").read_text())["test_opened"]
    _, second, _ = command("evaluate", forest, "--json")
    told = json.loads(first)
    assert set(told) == {"run", "split", "n", "loss", "accuracy", "interval", "ece"}
    assert (told["split"], told["n"]) == ("test", 90)
    assert told["interval"][0] < told["accuracy"] < told["interval"][1]
    assert second == first
    assert json.loads((forest / "run.json").read_text())["test_opened"] == record


def test_evaluate_shows_both_confusions_and_every_class(forest, command):
    _, out, _ = command("evaluate", forest)
    assert "Confusion on training images" in out and "Confusion on test images" in out
    assert len(re.findall(r"^\d +\d+\.\d\d %", out, flags=re.MULTILINE)) == 3


def test_predict_writes_a_line_for_each_image(forest, tmp_path, command):
    images = tmp_path / "unlabelled.csv"
    pixels = bars_dataset().test.images[:5].reshape(5, 64)
    header = ",".join(f"pixel{index}" for index in range(64))
    np.savetxt(images, pixels, fmt="%d", delimiter=",", header=header, comments="")
    status, out, _ = command("predict", forest, images, "--out", tmp_path / "answers.csv")
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert (status, lines[0], len(lines)) == (0, "index,class,confidence", 6)
    assert "5 answers" in out


def test_compare_and_report_take_several_runs(tmp_path, source, forest, command):
    other = tmp_path / "other"
    command("train", source, "--model", "forest", "--seed", 1, "--out", other)
    for run in (forest, other):
        command("evaluate", run)
    status, out, _ = command("compare", forest, other, "--json")
    assert status == 0 and {row["name"] for row in json.loads(out)["rows"]} == {"forest", "other"}
    status, out, _ = command("report", forest, other, "--out", tmp_path / "page.html")
    assert status == 0 and (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_explore_counts_the_images_of_each_class(source, command):
    status, out, _ = command("explore", source, "--json")
    assert status == 0 and sum(json.loads(out)["counts"]["test"]) == 90
    assert "Pixels of train" in command("explore", source)[1]


def test_explore_draws_samples_into_a_picture(source, tmp_path, command):
    command("explore", source, "--picture", tmp_path / "samples.png")
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")
    status, _, err = command("explore", source, "--picture", tmp_path / "samples.doc")
    assert status == 1 and ".png, .svg or .pdf" in err


def test_export_writes_a_file_that_answers_the_same(forest, tmp_path, command):
    status, out, _ = command("export", forest, "--out", tmp_path / "model.onnx")
    assert status == 0 and "as the run does" in out


def test_data_list_names_every_source(command):
    out = command("data", "list", "--json")[1]
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["digits", "mnist", "fashion_mnist", "kmnist"]


def test_an_embedded_source_needs_no_fetching_and_has_nothing_to_import(command, tmp_path):
    assert command("data", "fetch", "digits")[:2] == (0, "digits is here: embedded\n")
    status, _, err = command("data", "import", "digits", tmp_path)
    assert status == 1 and "comes with the installation" in err


def test_data_verify_of_absent_files_fails_with_the_remedy(command, tmp_path, monkeypatch):
    monkeypatch.setenv("GUARISMO_CACHE", str(tmp_path))
    monkeypatch.delenv("GUARISMO_DATA", raising=False)
    status, out, err = command("data", "verify", "mnist")
    assert status == 1 and "not here" in out and "guarismo data fetch mnist" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "mnits"), "Did you mean 'mnist'?"),
        (("train", "digits", "--model", "cn"), "Did you mean 'cnn'?"),
        (("train", "digits", "--recipe", "mnist-cn"), "Did you mean 'mnist-cnn"),
        (("train", "digits", "--epochs", "many"), "unable to convert"),
        (("train", "digits", "--epochs", "0"), "epochs must lie between 1"),
        (("train",), "Name a SOURCE to train on"),
        (("evaluate", "nowhere"), "has no run.json"),
        (("compare",), "needs two runs or more"),
        (("report",), "Name the folder of a run"),
        (("models", "cn"), "Did you mean 'cnn'?"),
        (("explore", "photos/missing.csv"), "There is no file or folder"),
        (("import", "theirs.keras", "digits"), "add --trust"),
        (("trian",), 'Did you mean "train"?'),
    ],
)
def test_a_mistake_gets_one_line_that_helps(command, words, expected):
    status, _, err = command(*words)
    assert status != 0
    assert expected in err
    assert "Traceback" not in err and len(err.strip().splitlines()) <= 3


def test_compare_before_evaluate_says_what_to_do(tmp_path, command):
    runs = [make_run(tmp_path / name, bars_dataset()).folder for name in ("a", "b")]
    status, _, err = command("compare", *runs)
    assert status == 1 and "guarismo evaluate" in err


def test_debug_shows_where(command):
    from guarismo.errors import DataError

    with pytest.raises(DataError):
        main(["explore", "mnits", "--debug"])


def test_an_error_nobody_foresaw_is_still_one_line(command, monkeypatch):
    import guarismo.data.sources as sources

    monkeypatch.setattr(sources, "available", lambda: 1 / 0)
    status, _, err = command("data", "list")
    assert status == 70 and "unexpected ZeroDivisionError" in err and "--debug" in err


def test_a_reader_that_goes_away_is_no_error():
    program = f"{sys.executable} -m guarismo models | head -n 1"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", program], capture_output=True, text=True, check=False)
    assert ended.stderr == "" and ended.stdout.startswith("model")


LIGHT = {
    "--help": ("onnxruntime", "scipy", "sklearn", "matplotlib", "tensorflow"),
    "data list": ("onnxruntime", "scipy", "sklearn", "matplotlib", "tensorflow", "pyarrow", "PIL", "requests"),
    "evaluate {run}": ("tensorflow", "sklearn", "matplotlib"),
    "report {run} --out {out}": ("tensorflow", "sklearn"),
}


@pytest.mark.parametrize("line", LIGHT)
def test_commands_import_only_what_they_need(tmp_path, forest, line):
    """In a process of its own: seconds at every call are lost by one careless import."""
    words = line.format(run=forest, out=tmp_path / "page.html").split()
    if words[0] == "report":
        main(["evaluate", str(forest)])
    program = (
        "import sys; from guarismo.cli import main; main(sys.argv[1:])\n"
        f"found = [name for name in {LIGHT[line]} if name in sys.modules]\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True)
