"""Published experiments by name, on a small MNIST: trained, resumed, measured, set beside the published figure."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guarismo.data.sources import load
from guarismo.errors import DataError, RunError
from guarismo.models.settings import RECIPES
from guarismo.reproduction import (
    EXPERIMENTS,
    Row,
    compared_with,
    findings_of,
    labelled_photos,
    page_of,
    published_answer,
    reproduce,
    rows_in,
)
from guarismo.results.evaluation import evaluate_run
from tiny_run import bars_dataset, make_run

ROW = Row("mnist-cnn", 0.991, 0.992, (0.990, 0.994), 10_000, 33.0, 0, False, ("Found this.",))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_a_recipe_unless_nothing_is_trained(name):
    assert (name in RECIPES) == (name not in ("poly-explore", "photos"))


@pytest.mark.parametrize(
    "interval, verdict",
    [((0.990, 0.994), "within"), ((0.9911, 0.995), "better"), ((0.985, 0.9909), "short")],
)
def test_the_verdict_says_where_the_published_figure_lies(interval, verdict):
    assert replace(ROW, interval=interval).verdict == verdict
    assert "not comparable" in replace(ROW, interval=interval, quick=True).verdict


def history(*losses: float) -> str:
    lines = [f"{epoch},{0.5 / epoch},0.9,{loss},0.9,0.001,1.0" for epoch, loss in enumerate(losses, start=1)]
    return "\n".join(["epoch,loss,accuracy,validation_loss,validation_accuracy,learning_rate,seconds", *lines, ""])


def test_no_over_fitting_is_contradicted_by_curves_that_turn(tmp_path):
    run = make_run(tmp_path / "run", bars_dataset(), history=history(0.5, 0.3, 0.4, 0.5, 0.6))
    *_, said = findings_of(EXPERIMENTS["fashion-cnn-strided"], run, quick=False)
    assert "over-fits from epoch 2" in said and said.endswith("contradicts its authors.")
    *_, said = findings_of(EXPERIMENTS["mnist-mlp"], run, quick=False)
    assert "over-fits from epoch 2" in said and "contradicts" not in said


def test_what_the_authors_compare_is_compared_on_the_same_images(tmp_path):
    """Augmentation is said to help; here the one without it answers more images right."""
    dataset = bars_dataset()
    runs = {
        name: evaluate_run(make_run(tmp_path / name, dataset, sharpness=sharpness), dataset)[0]
        for name, sharpness in {"poly-modality-cnn": 30.0, "augmented": -30.0}.items()
    }
    (said,) = compared_with(EXPERIMENTS["poly-modality-cnn-augmented"], runs["augmented"], tmp_path)
    assert said.startswith("poly-modality-cnn answers") and said.endswith("it is more than luck.")
    assert compared_with(EXPERIMENTS["mnist-cnn"], runs["augmented"], tmp_path) == ()
    assert compared_with(EXPERIMENTS["poly-modality-cnn-augmented"], runs["augmented"], tmp_path / "empty") == ()


def test_curves_that_do_not_turn_contradict_nobody(tmp_path):
    run = make_run(tmp_path / "run", bars_dataset(), history=history(0.5, 0.4, 0.3, 0.3, 0.3))
    assert not any("over-fits" in said for said in findings_of(EXPERIMENTS["fashion-cnn-strided"], run, quick=False))
    assert "Its curves show no over-fitting here." in findings_of(EXPERIMENTS["mnist-mlp"], run, quick=False)


def test_an_experiment_is_trained_once_and_opened_afterwards(small_mnist, tmp_path):
    pytest.importorskip("keras", reason="training is the [train] extra")
    row = reproduce("mnist-mlp", tmp_path / "out", quick=True)
    assert row.n == 200 and row.quick and row.published == 0.9776
    assert row.interval[0] < row.accuracy < row.interval[1]
    written = (tmp_path / "out" / "mnist-mlp" / "run.json").read_bytes()
    assert reproduce("mnist-mlp", tmp_path / "out", quick=True) == row
    assert (tmp_path / "out" / "mnist-mlp" / "run.json").read_bytes() == written
    assert rows_in(tmp_path / "out") == [row]
    with pytest.raises(RunError, match="other data or settings"):
        reproduce("mnist-mlp", tmp_path / "out", quick=False)


def test_the_table_of_polymnist_is_counted(small_mnist, tmp_path):
    row = reproduce("poly-explore", tmp_path)
    assert row.findings[1] == "Here: 28×28, 5 classes of 600 + 200, balanced."


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two of the embedded digits, dark on a light page as a phone shows them, and their labels.csv."""
    digits = load("digits").test
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["file,text"]
    for row in (0, 1):
        page = np.full((300, 300), 235, dtype=np.uint8)
        ink = (0.8 * np.kron(digits.images[row, ..., 0], np.ones((5, 5)))).astype(np.uint8)
        page[80:220, 80:220] -= ink
        Image.fromarray(page).save(folder / f"{row}.png")
        lines.append(f"{row}.png,{digits.labels[row]}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def test_the_photos_are_read_in_the_published_way_and_in_ours(photos, tmp_path):
    dataset = bars_dataset(10, tuple("0123456789"), side=28)
    make_run(tmp_path / "out" / "mnist-cnn-bn", dataset)
    row = reproduce("photos", tmp_path / "out", photos=photos)
    assert (row.accuracy, row.n, row.published) == (1.0, 2, pytest.approx(1 / 6))
    assert any("resized to 28×28" in said for said in row.findings)
    assert any("`guarismo read`: 2 of 2 right" in said for said in row.findings)


def test_the_network_of_the_photos_is_trained_where_it_is_not_there(small_mnist, photos, tmp_path):
    pytest.importorskip("keras", reason="training is the [train] extra")
    row = reproduce("photos", tmp_path / "out", quick=True, photos=photos)
    assert row.n == 2 and [each.name for each in rows_in(tmp_path / "out")] == ["mnist-cnn-bn", "photos"]


def test_the_published_way_gives_the_network_the_whole_photo_as_it_is(photos, tmp_path):
    """Light paper stays light: a class by the brightness of rows answers nothing that it was trained for."""
    run = make_run(tmp_path / "run", bars_dataset(10, tuple("0123456789"), side=28))
    digit, confidence = published_answer(run, photos / "0.png")
    assert digit in tuple("0123456789") and 0.1 <= confidence <= 1


def test_without_the_photos_it_is_told_where_they_come_from(tmp_path, monkeypatch):
    make_run(tmp_path / "mnist-cnn-bn", bars_dataset(10, tuple("0123456789"), side=28))
    monkeypatch.setenv("GUARISMO_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"Diegoval-Dev/DC-Lab3 on GitHub.*--photos"):
        reproduce("photos", tmp_path)


def test_photos_without_labels_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"labels\.csv"):
        labelled_photos(tmp_path)


def test_the_page_sets_every_row_beside_its_published_figure(tmp_path):
    rows = [ROW, replace(ROW, name="poly-explore", published=None, accuracy=None, interval=None)]
    page = page_of(rows, {"processor": "a chip", "cores": 2}, "guarismo reproduce --all")
    assert "| mnist-cnn | 99.10 % | 99.20 % | +0.10 | 99.00 – 99.40 % | within | 33 | 0 |" in page
    assert "| poly-explore | – | – | – | – | see below |" in page
    assert "## mnist-cnn\n\n- Found this." in page
    assert "a chip, 2 cores" in page


def test_a_damaged_row_is_named_with_the_remedy(tmp_path):
    (tmp_path / "mnist-cnn.json").write_text('{"name": "mnist-cnn"}')
    with pytest.raises(DataError, match=r"mnist-cnn\.json is damaged.*Remove it"):
        rows_in(tmp_path)


def test_all_goes_on_after_an_experiment_that_cannot_be_done(small_mnist, tmp_path, command, monkeypatch):
    """Fashion-MNIST is not here, and nobody listens where it could be fetched."""
    pytest.importorskip("keras", reason="training is the [train] extra")
    from guarismo.data.known import SOURCES

    nowhere = replace(SOURCES["fashion_mnist"], mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setitem(SOURCES, "fashion_mnist", nowhere)
    for name in [name for name in EXPERIMENTS if name not in ("fashion-cnn", "mnist-mlp")]:
        monkeypatch.delitem(EXPERIMENTS, name)
    status, out, err = command("reproduce", "--all", "--quick", "--out", tmp_path / "out", "--json")
    assert status == 1
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["mnist-mlp"]
    assert "fashion-cnn: " in err and "1 of 2 experiments failed: fashion-cnn" in err
    assert "mnist-mlp" in (tmp_path / "out" / "reproduction.md").read_text()
    status, out, _ = command("reproduce", "--all", "--quick", "--out", tmp_path / "out", "--json")
    assert status == 1 and out == "", "what is done is not done again"


def test_the_list_names_every_experiment(command):
    status, out, _ = command("reproduce")
    assert status == 0
    assert all(name in out for name in EXPERIMENTS)


def test_an_unknown_experiment_gets_the_nearest_name(command):
    status, _, err = command("reproduce", "mnist-mlpp")
    assert status == 1 and "Did you mean 'mnist-mlp'?" in err
