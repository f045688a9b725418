"""In a notebook: values show themselves, progress is a line that stays, and the road works cell by cell."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from guarismo.data.dataset import Dataset, Split
from guarismo.language import NARROW
from guarismo.markup import named, sparkline
from guarismo.models.runs import Run
from guarismo.reading.reader import SAMPLES, read
from guarismo.results.evaluation import evaluate, evaluate_run
from tiny_run import HISTORY, bars, bars_dataset, make_run

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</table>&amp;")
SMALL = 100_000
"""Characters that a value may take in a notebook."""


def check_page(html: str) -> None:
    """Small, no script, nothing from elsewhere, each element closed, no colour of its own for text or page."""
    assert len(html) < SMALL
    assert not re.search(r"<script|<img src=x|javascript:|https?://", html)
    for element in ("table", "tr", "td", "th", "p", "div", "span", "svg", "bdi", "code"):
        assert len(re.findall(rf"<{element}[ >]", html)) == html.count(f"</{element}>"), element
    assert not re.search(r"(?<!-)color:|background:(?!rgba)", html)


def cells_of(html: str, heading: str) -> list[str]:
    """The words in the row of a table."""
    html = html.replace(NARROW, " ")
    rows = [re.sub(r"<[^>]*>", "\n", row).split("\n") for row in re.findall(r"<tr>.*?</tr>", html)]
    words = [[cell for cell in row if cell] for row in rows]
    return next(row[1:] for row in words if row and row[0] == heading)


def test_a_dataset_shows_its_counts_per_class_and_part_and_samples():
    html = bars_dataset()._repr_html_()
    check_page(html)
    assert cells_of(html, "class") == ["train", "validation", "test", "samples"]
    assert cells_of(html, "row 0") == ["60", "20", "30"]
    assert html.count('src="data:image/webp;base64,') == 3


def test_a_dataset_of_many_classes_and_of_unlabelled_images_stays_small():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(1000), 3)
    train = Split(rng.integers(0, 256, (3000, 64, 48, 3), dtype=np.uint8), labels)
    test = Split(train.images[:50], np.full(50, -1))
    html = Dataset("many", train, train.take(labels[:10]), test, tuple(f"class {k}" for k in range(1000)))._repr_html_()
    check_page(html)
    assert cells_of(html, "980 more") == ["2,940", "0", "0"]
    assert cells_of(html, "without a label") == ["0", "0", "50"]


def test_a_dataset_without_classes_shows_its_test_images():
    images = bars(12)
    nothing = images.take(np.empty(0, dtype=np.int64))
    html = Dataset("plain", nothing, nothing, Split(images.images, np.full(12, -1)), ())._repr_html_()
    check_page(html)
    assert cells_of(html, "unlabelled") == ["0", "0", "12"]


def test_names_with_html_long_or_from_right_to_left_are_text(tmp_path):
    dataset = replace(bars_dataset(names=HOSTILE), name="<b>", notes=("<i>note</i>",))
    run, evaluation = evaluate_run(make_run(tmp_path / "<b>run", dataset), dataset)
    for html in (dataset._repr_html_(), run._repr_html_(), evaluation._repr_html_()):
        check_page(html)
        assert "<b>run" not in html and "<i>note" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in dataset._repr_html_()
    assert named("א" * 200) == f'<bdi title="{"א" * 200}">{"א" * 29}…</bdi>'


def test_a_run_shows_its_figures_curves_and_what_differs_from_the_default(tmp_path):
    dataset = bars_dataset()
    run = make_run(tmp_path / "bars_cnn_1", dataset)
    html = run._repr_html_()
    check_page(html)
    assert repr(run) == f"Run({run.folder}: cnn on bars; validation 90.00%)"
    assert cells_of(html, "accuracy") == ["95.00 %", "90.00 %", "–"]
    assert html.count("<polyline") == 4 and "epoch 3, which was kept" in html
    assert "epochs=8, seed=7" in html and "model=" not in html
    run, evaluation = evaluate_run(run, dataset)
    assert cells_of(run._repr_html_(), "accuracy")[2] == f"{100 * evaluation.accuracy:.2f} %"


def test_a_run_that_is_not_finished_says_how_far_it_is_and_what_goes_on(tmp_path):
    run = make_run(tmp_path / "run", bars_dataset())
    about = {name: value for name, value in run.about.items() if name not in ("metrics", "facts", "seconds")}
    run = Run(run.folder, {**about, "state": "training", "settings": {"epochs": 12}})
    check_page(run._repr_html_())
    assert "8 of 12 epochs trained; guarismo.resume(run, dataset) goes on" in run._repr_html_()
    assert "8 of 12 epochs" in repr(run)


@pytest.mark.parametrize("rows, lines", [("", 0), ("1,nan,nan,nan,nan,1,1\n", 0), ("1,2.3,0.1,2.2,0.2,1,1\n", 0)])
def test_a_run_without_curves_shows_the_rest(tmp_path, rows, lines):
    html = make_run(tmp_path / "run", bars_dataset(), history=HISTORY + rows)._repr_html_()
    check_page(html)
    assert html.count("<polyline") == lines and "nan" not in "".join(re.findall("<svg.*?</svg>", html))


def test_a_sparkline_stays_inside_its_picture_and_leaves_out_what_is_no_number():
    drawn = sparkline("loss", [float("inf"), 3, 0.01, 2], [1e9, float("nan"), 1e-9, 5], log=True)
    places = [tuple(map(float, place.split(","))) for place in re.findall(r"[\d.]+,[\d.]+", drawn)]
    assert len(places) == 6
    assert all(0 <= x <= 220 and 0 <= y <= 64 for x, y in places)
    assert sparkline("loss", [float("nan")], []) == ""


def test_an_evaluation_shows_its_interval_each_class_and_the_confusions():
    probabilities = np.eye(3)[[0, 0, 1, 1, 1]]
    html = evaluate(probabilities, np.array([0, 1, 1, 1, 0]), ["cat", "dog", "owl"])._repr_html_()
    check_page(html)
    assert "<b>60.00 %</b> of 5 test images right (95 % interval 23.07 % – 88.24 %)" in html.replace(NARROW, " ")
    assert cells_of(html, "dog") == ["66.67 %", "66.67 %", "66.67 %", "3"]
    assert cells_of(html, "owl") == ["–", "–", "–", "0"], "no image, so no figure"
    confusion = html[html.index("<tbody>", html.index("Confusion")) :]
    assert cells_of(confusion, "cat") == ["1", "1", "·"]


def test_of_a_thousand_classes_an_evaluation_shows_the_weakest_and_the_commonest_confusions():
    labels = np.arange(2000) % 1000
    answers = np.where(labels == 7, 8, labels)
    html = evaluate(np.eye(1000)[answers], labels)._repr_html_()
    check_page(html)
    assert "The 20 weakest of 1,000 classes" in html
    assert cells_of(html[html.index("Commonest") :], "7") == ["8", "2"]


def test_a_reading_shows_the_photo_with_boxes_how_sure_each_digit_is_and_what_was_refused():
    reading = read(SAMPLES / "pencil-page.jpg")[0]
    html = reading._repr_html_()
    check_page(html)
    assert repr(reading) == f"Reading({SAMPLES / 'pencil-page.jpg'}: '2718 3141'; {len(reading.refused)} refused)"
    assert cells_of(html, "digit") == list("2718")
    digits = sum(map(len, reading.digits))
    assert html.count("<rect") == digits + len(reading.refused)
    x, y, width, height = reading.digits[0][0].box
    assert f'<rect x="{x}" y="{y}" width="{width}" height="{height}"' in html


def test_a_reading_without_digits_says_so_with_the_reasons():
    blank = read(SAMPLES / "chalk.jpg")[0]
    refused = tuple(replace(blank.refused[0], reason="<b>no") for _ in range(30)) if blank.refused else ()
    html = replace(blank, digits=(), refused=refused, file="<b>.jpg")._repr_html_()
    check_page(html)
    assert "no digits" in html and "<b>no" not in html


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The road in ten lines, a cell each, as a real kernel runs it; the outputs of each cell."""
    pytest.importorskip("keras", reason="training is the [train] extra")
    nbformat = pytest.importorskip("nbformat", reason="a notebook is run with nbclient and ipykernel, of [dev]")
    nbclient = pytest.importorskip("nbclient", reason="a notebook is run with nbclient and ipykernel, of [dev]")
    pytest.importorskip("ipykernel", reason="a notebook is run with nbclient and ipykernel, of [dev]")
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in ROAD])
    made.cells[-1].metadata["tags"] = ["raises-exception"]
    place = tmp_path_factory.mktemp("notebook")
    nbclient.NotebookClient(made, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    assert list(place.glob("runs/*/run.json"))
    return [cell.outputs for cell in made.cells]


ROAD = (
    "import guarismo\nfrom pathlib import Path\n\ndataset = guarismo.load('digits')\ndataset",
    "with guarismo.showing('Training') as progress:\n"
    "    run = guarismo.train(dataset, guarismo.Settings(model='mlp', epochs=2), progress=progress)\n"
    "run",
    "run, evaluation = guarismo.evaluate_run(run, dataset)\nevaluation",
    "guarismo.learning_curves(run.history)",
    f"guarismo.read(Path({str(SAMPLES / 'chalk.jpg')!r}))[0]",
    "with guarismo.showing('Learning'):\n    raise KeyboardInterrupt",
)


def shown(outputs: list[Any], mime: str) -> list[str]:
    """What a cell shows of a kind, in order."""
    return [output.data[mime] for output in outputs if mime in output.get("data", {})]


def test_the_road_works_cell_by_cell_and_each_value_shows_itself(notebook):
    dataset, trained, evaluated, curves, reading, _ = notebook
    for outputs, words in (
        (dataset, "3,500 train"),
        (trained, "Settings that differ from the default: <code>model=&#39;mlp&#39;, epochs=2"),
        (evaluated, "95 % interval"),
        (reading, "30729461"),
    ):
        assert words in shown(outputs, "text/html")[-1]
    assert len(shown(curves, "image/png")) == 1, "a cell that ends in a figure shows it, once"


def test_training_in_a_notebook_has_a_line_that_stays(notebook):
    line = shown(notebook[1], "text/html")[0]
    assert re.search(r"<div>Training: \d+\.\d s · epoch 2 · loss 0\.\d+ · accuracy \d+\.\d+ %", line)
    assert not [output for output in notebook[1] if output.output_type == "stream"], "nothing besides"


def test_a_line_in_a_notebook_says_when_it_was_stopped(notebook):
    assert "stopped after 0.0 s" in shown(notebook[5], "text/html")[0]
