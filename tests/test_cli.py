"""The command line: what it prints, what it refuses, what it never imports."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guarismo.cli import app, main
from guarismo.data.known import SOURCES
from guarismo.models.runs import open_run
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
    _, sentence, *rest = [line for line in out.split("╭")[0].splitlines() if line]
    assert status == 0
    assert sentence.endswith((".", ",", ";")) or len(sentence) > 70  # the first of a sentence's lines
    assert name == "data" or any(line.startswith(f"guarismo {name} ") or line == f"guarismo {name}" for line in rest)


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


def test_predict_answers_every_image_in_its_order(forest, tmp_path, command):
    images = tmp_path / "unlabelled.csv"
    pixels = bars_dataset().test.images[:5].reshape(5, 64)
    header = ",".join(f"pixel{index}" for index in range(64))
    np.savetxt(images, pixels, fmt="%d", delimiter=",", header=header, comments="")
    status, out, _ = command("predict", forest, images, "--out", tmp_path / "answers.csv")
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    answers = open_run(forest).predict(bars_dataset().test.images[:5]).argmax(axis=1)
    assert (status, lines[0]) == (0, "index,name,class,confidence")
    assert [line.split(",")[:3] for line in lines[1:]] == [[str(k + 1), "", str(a)] for k, a in enumerate(answers)]
    assert "5 answers" in out


def test_predict_names_the_files_of_a_folder_and_fits_their_size(forest, tmp_path, command):
    (tmp_path / "new").mkdir()
    Image.new("RGB", (20, 20), "white").save(tmp_path / "new" / "a, b.png")
    status, out, err = command("predict", forest, tmp_path / "new")
    assert status == 0
    assert out.splitlines()[1].startswith('1,"a, b.png",')
    assert "scaled to fit 8×8" in err
    told = json.loads(command("predict", forest, tmp_path / "new", "--json")[1])
    assert (told["index"], told["name"]) == (1, "a, b.png")


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
    assert status == 0 and "as the run does (difference 0)" in out
    status, out, _ = command("export", forest, "--out", tmp_path / "again.onnx", "--json")
    assert status == 0 and json.loads(out)["size"] == (tmp_path / "model.onnx").stat().st_size


def test_export_names_the_formats_that_it_knows(forest, command):
    status, _, err = command("export", forest, "--format", "tflite")
    assert status == 1 and "Choose from onnx, int8, keras, saved-model, litert, openvino, web" in err


def test_data_list_names_every_source(command):
    out = command("data", "list", "--json")[1]
    assert [json.loads(line)["name"] for line in out.splitlines()] == [*SOURCES]


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
        (("models", "cnn", "--classes", "0"), "Expected 2 classes or more"),
        (("explore", "digits", "--picture", "a.doc"), "must end in .png, .svg or .pdf"),
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


def test_ctrl_c_says_how_to_go_on(source, tmp_path):
    """In a process of its own, with a real signal while it trains."""
    pytest.importorskip("keras", reason="training is the [train] extra")
    program = (
        "import signal, os; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import guarismo.models.fitting as fitting; from guarismo.cli import main; epoch = fitting.one_epoch\n"
        "def interrupted(*given):\n"
        "    row = epoch(*given)\n"
        "    if row['epoch'] == 2: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return row\n"
        "fitting.one_epoch = interrupted; main(__import__('sys').argv[1:])"
    )
    words = ["train", str(source), "--model", "linear", "--out", str(tmp_path / "my run")]
    stopped = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert stopped.returncode == 130
    line = f"Stopped after epoch 1 of 10. Go on with: guarismo train --resume '{tmp_path / 'my run'}'"
    assert stopped.stderr.splitlines()[-1] == line
    main(["train", "--resume", str(tmp_path / "my run")])
    assert open_run(tmp_path / "my run").finished


def test_resume_takes_no_other_settings(forest, command):
    status, _, err = command("train", "--resume", forest, "--epochs", 3)
    assert status == 1 and "run's own settings" in err
    status, _, err = command("train", "--resume", forest)
    assert status == 1 and "nothing to resume" in err
    status, _, err = command("evaluate", forest, "--size", 9)
    assert status == 1 and "Name a SOURCE" in err


def test_class_names_are_plain_text_on_the_terminal(tmp_path, command):
    place = tmp_path / "[b]odd.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(place, images=images, labels=np.array(["[/x]", "[red]y"] * 20))
    status, out, err = command("explore", place)
    assert (status, err) == (0, "")
    assert "[/x]" in out and "[red]y" in out and "[b]odd" in out


def test_an_import_refused_leaves_no_folder(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("import", "theirs.keras", "digits")[0] == 1
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_that_knows_only_ascii_is_served(source):
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "guarismo", "explore", str(source)]
    shown = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert "images of 8?8?1" in shown.stdout


def test_debug_shows_where(command):
    from guarismo.errors import DataError

    with pytest.raises(DataError):
        main(["explore", "mnits", "--debug"])


def test_an_error_nobody_foresaw_is_still_one_line(command, monkeypatch):
    import guarismo.data.known as known

    monkeypatch.setattr(known, "available", lambda: 1 / 0)
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
    "explore digits --out {out}": ("tensorflow",),
    "diagnose {run}": ("tensorflow", "matplotlib"),
    "why {run} --out {out}.png": ("tensorflow",),
    "report {run} --out {out}": ("tensorflow", "sklearn"),
    "train digits --model forest --out {out}": ("tensorflow",),
}


@pytest.mark.parametrize("line", LIGHT)
def test_commands_import_only_what_they_need(tmp_path, forest, line):
    """In a process of its own: seconds at every call are lost by one careless import."""
    words = line.format(run=forest, out=tmp_path / "page.html").split()
    if words[0] in ("why", "report"):
        main(["evaluate", str(forest)])
    program = (
        "import sys; from guarismo.cli import main; main(sys.argv[1:])\n"
        f"found = [name for name in {LIGHT[line]} if name in sys.modules]\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True)


# Before a training


def test_find_lr_names_a_step_size_and_draws_it(tmp_path, command):
    pytest.importorskip("keras", reason="training is the [train] extra")
    picture = tmp_path / "rates.png"
    status, out, _ = command("train", "digits", "--model", "linear", "--find-lr", "--out", picture)
    assert status == 0 and re.search(r"Train with --learning-rate 0\.\d+: half of the step size", out)
    assert picture.stat().st_size > 1000 and list(tmp_path.iterdir()) == [picture], "no run"
    status, out, _ = command("train", "digits", "--model", "linear", "--find-lr", "--out", picture, "--json")
    assert status == 0 and 1e-4 < json.loads(out)["learning_rate"] < 1
    status, _, err = command("train", "digits", "--find-lr", "--out", tmp_path / "run")
    assert status == 1 and "must end in .png, .svg or .pdf" in err


def test_profile_says_where_the_time_goes(command):
    pytest.importorskip("keras", reason="training is the [train] extra")
    status, out, _ = command("train", "digits", "--model", "linear", "--profile")
    names = [line.split()[0] for line in out.splitlines()[1:]]
    assert (status, names) == (
        0,
        ["part", "load", "forward", "backward", "optimiser", "validation", "compile", "export"],
    )
    status, out, _ = command("train", "digits", "--model", "linear", "--profile", "--json")
    assert status == 0 and json.loads(out)["parts"][0]["name"] == "load"


# PolyMNIST, from its making to its fusion


def test_polymnist_is_made_as_files_and_says_how_many(small_mnist, tmp_path, command):
    status, out, _ = command("data", "make", "polymnist", "--modalities", "2", "--out", tmp_path / "poly")
    assert (status, out) == (0, f"1,600 images: {tmp_path / 'poly'}\n")
    assert len(list((tmp_path / "poly" / "MMNIST" / "test" / "m1").glob("*.png"))) == 200
    status, out, _ = command("explore", tmp_path / "poly")
    assert status == 0 and "The digit is learnt" in out


@pytest.mark.parametrize(
    "words, said",
    [
        (["mnistt"], "Unknown source to make"),
        (["polymnist", "--modalities", "11"], "2 to 10 modalities, received 11"),
        (["polymnist", "--backgrounds", "no/such/folder"], "no/such/folder"),
    ],
)
def test_what_cannot_be_made_is_told(small_mnist, command, words, said):
    status, _, err = command("data", "make", *words)
    assert status == 1 and said in err
    assert not list((small_mnist / "cache").rglob("*.npy"))


def test_fuse_says_what_each_further_view_brings(small_mnist, tmp_path, command):
    pytest.importorskip("skl2onnx", reason="training is the [train] extra")
    run = tmp_path / "forest"
    assert command("train", "polymnist", "--model", "forest", "--limit", "900", "--out", run)[0] == 0
    status, out, _ = command("fuse", run, "--json")
    found = json.loads(out)
    assert status == 0 and (found["run"], found["n"], found["views"]) == (str(run), 200, 5)
    product = [figure["accuracy"] for figure in found["figures"] if figure["method"] == "product"]
    assert len(product) == 5 and product[-1] > product[0]
    status, out, _ = command("fuse", run)
    assert status == 0 and "product" in out
