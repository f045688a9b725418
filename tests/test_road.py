"""The whole road on small data: a folder of pictures in, compared models and a report out."""

import json

import numpy as np
import pytest
from PIL import Image

import guarismo
from tiny_run import bars_dataset

pytest.importorskip("keras", reason="training is the [train] extra")

from guarismo import lab as laboratory
from guarismo.cli import main
from guarismo.models.runs import open_run
from guarismo.models.settings import Settings

QUICK = {"linear": Settings(model="linear", epochs=3), "forest": Settings(model="forest")}


@pytest.fixture
def pictures(tmp_path):
    """PNG files in class folders, as people have them."""
    bars = bars_dataset()
    for split in (bars.train, bars.test):
        for index, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            folder = tmp_path / "pictures" / f"row {label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(folder / f"{len(split)}-{index}.png")
    return tmp_path / "pictures"


def test_the_ten_line_road_of_the_library(pictures, tmp_path):
    dataset = guarismo.load(pictures)
    run = guarismo.train(dataset, guarismo.Settings(model="mlp", epochs=8, batch_size=16), tmp_path / "run")
    run, evaluation = guarismo.evaluate_run(run, dataset)
    page = guarismo.write_report([run], dataset, tmp_path / "report.html")
    assert repr(dataset).startswith("Dataset('pictures': ")
    assert evaluation.accuracy > 0.5  # guessing: 0.33
    assert "row 2" in page.read_text()


def test_the_lab_trains_compares_and_reports(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(laboratory, "LAB", QUICK)
    main(["lab", str(pictures), "--out", str(tmp_path / "lab"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {row["model"] for row in told["rows"]} == set(QUICK)
    assert told["sentence"] and told["recommendation"]
    assert (tmp_path / "lab" / "report.html").stat().st_size > 10_000
    assert all("test_opened" in open_run(tmp_path / "lab" / name).about for name in QUICK)


def test_a_lab_cut_off_goes_on_where_it_stopped(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(laboratory, "LAB", QUICK)
    dataset = guarismo.load(pictures)

    def interrupt(done, total, **facts):
        if facts.get("epoch") == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        laboratory.run_model("linear", dataset, tmp_path / "lab", progress=interrupt)
    done = [laboratory.run_model(name, dataset, tmp_path / "lab") for name in QUICK]
    again = [laboratory.run_model(name, dataset, tmp_path / "lab") for name in QUICK]
    assert [run.about for run, _ in again] == [run.about for run, _ in done]
    assert [run.settings.model for run, _ in again] == ["linear", "forest"]
    with pytest.raises(guarismo.GuarismoError, match="other data or settings"):
        laboratory.run_model("linear", dataset, tmp_path / "lab", seed=1)


def test_without_a_folder_the_lab_that_was_cut_off_goes_on_and_a_finished_one_is_left(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(laboratory, "LAB", QUICK)
    monkeypatch.chdir(tmp_path)
    dataset = guarismo.load(pictures)
    first = laboratory.lab_folder(dataset, seed=0)
    laboratory.run_model("linear", dataset, first)  # then cut off
    assert laboratory.lab_folder(dataset, seed=0) == first
    assert laboratory.lab_folder(dataset, seed=1) != first
    laboratory.run_model("forest", dataset, first)
    assert laboratory.lab_folder(dataset, seed=0) != first


@pytest.mark.parametrize(
    ("name", "counts", "last"),
    [("mnist", [54_001, 5_999, 10_000], "9"), ("fashion_mnist", [54_000, 6_000, 10_000], "Ankle boot")],
)
def test_the_full_sets_open_as_published(shared_data, monkeypatch, name, counts, last):
    """MNIST's classes are of unequal size, so that a tenth of each is not exactly a tenth of all."""
    monkeypatch.setenv("GUARISMO_DATA", str(shared_data))
    dataset = guarismo.load(name)
    assert [len(split) for split in dataset.splits.values()] == counts
    assert dataset.class_names[9] == last


def test_a_linear_model_on_full_mnist_answers_as_known(shared_data, tmp_path, monkeypatch):
    """Softmax regression reaches about 92 % on MNIST, here and everywhere."""
    monkeypatch.setenv("GUARISMO_DATA", str(shared_data))
    dataset = guarismo.load("mnist")
    run = guarismo.train(dataset, Settings(model="linear", epochs=5), tmp_path / "run")
    accuracy = np.mean(run.predict(dataset.validation.images).argmax(axis=1) == dataset.validation.labels)
    assert 0.9 < accuracy < 0.94
