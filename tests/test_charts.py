import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from guarismo.language import Language
from guarismo.results.charts import as_svg, confusion_chart, learning_curves, places, reliability_chart, sample_grid
from guarismo.results.evaluation import reliability_of

EPOCHS = range(1, 9)
HISTORY = [
    {
        "epoch": float(epoch),
        "loss": 1 / epoch,
        "accuracy": 1 - 0.5 / epoch,
        "validation_loss": 0.5 + abs(epoch - 3),
        "validation_accuracy": 0.9,
    }
    for epoch in EPOCHS
]


def some_reliability():
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.3, 1, 400)
    return reliability_of(confidences, rng.uniform(size=400) < confidences)


CHARTS = {
    "loss": lambda: learning_curves(HISTORY, "loss", kept=4, turn=3),
    "accuracy": lambda: learning_curves(HISTORY, "accuracy", kept=4),
    "one epoch": lambda: learning_curves(HISTORY[:1], "loss", kept=1),
    "confusion": lambda: confusion_chart(np.arange(900).reshape(30, 30), [f"class {k}" for k in range(30)]),
    "reliability": lambda: reliability_chart(some_reliability()),
    "samples": lambda: sample_grid(np.zeros((2, 3, 8, 8, 3), dtype=np.uint8), ["a", "b"]),
}


def texts(figure):
    return [axes_text.get_text() for axes in figure.axes for axes_text in axes.texts]


def test_the_lines_are_the_history():
    lines = learning_curves(HISTORY, "loss").axes[0].lines
    np.testing.assert_allclose(lines[0].get_ydata(), [1 / epoch for epoch in EPOCHS])
    np.testing.assert_allclose(lines[1].get_ydata(), [0.5 + abs(epoch - 3) for epoch in EPOCHS])


def test_the_kept_epoch_and_the_turn_are_marked():
    assert texts(CHARTS["loss"]()) == ["turn", "kept", "training", "validation"]
    assert texts(learning_curves(HISTORY, "loss")) == ["training", "validation"]
    marked = {line.get_xdata()[0] for line in CHARTS["loss"]().axes[0].lines[2:]}
    assert marked == {3, 4}


def test_numbers_on_the_axes_are_those_of_the_language():
    spanish = as_svg(learning_curves(HISTORY, "loss", _=Language("es")))
    written = [text.text for text in ET.fromstring(spanish).iter("text")]
    assert any(re.fullmatch(r"0,\d+", text or "") for text in written)
    assert not any(re.fullmatch(r"0\.\d+", text or "") for text in written)


def test_a_loss_that_is_no_number_is_a_gap_in_the_line():
    broken = [{**row, "loss": float("nan")} if row["epoch"] > 4 else row for row in HISTORY]
    figure = learning_curves(broken, "loss")
    assert np.isfinite(figure.axes[0].lines[0].get_ydata()).sum() == 4
    assert texts(figure) == ["training", "validation"]
    everything = [{**row, "loss": float("nan"), "validation_loss": float("nan")} for row in HISTORY]
    assert "<svg" in as_svg(learning_curves(everything, "loss"))


def test_places_are_where_the_drawing_has_its_points():
    figure = learning_curves(HISTORY, "loss")
    dots = re.findall(r'<use href="#[^"]+" x="([\d.]+)" y="([\d.]+)" style="fill: var\(--training', as_svg(figure))
    found = places(figure, [(row["epoch"], row["loss"]) for row in HISTORY])
    assert np.abs(found - np.array(dots, dtype=float)).max() < 0.01


def test_labels_of_lines_that_end_together_stand_apart():
    together = [{**row, "validation_accuracy": row["accuracy"]} for row in HISTORY]
    axes = learning_curves(together, "accuracy").axes[0]
    low, high = axes.get_ylim()
    one, other = (text.xy[1] for text in axes.texts)
    assert abs(one - other) >= 0.08 * (high - low)


def test_errors_and_right_answers_are_drawn_in_two_colours():
    right, wrong = confusion_chart(np.array([[9, 4], [0, 16]]), ["a", "b"]).axes[0].images
    assert right.get_array().tolist() == [[3, 0], [0, 4]]
    assert wrong.get_array().tolist() == [[0, 2], [0, 0]]


def test_each_filled_bin_is_one_dot():
    reliability = some_reliability()
    dots = reliability_chart(reliability).axes[0].collections[0].get_offsets()
    assert len(dots) == (reliability.counts > 0).sum() < len(reliability.counts)


def test_sample_grid_keeps_each_image_in_its_cell():
    images = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1).repeat(4, axis=2).repeat(4, axis=3)
    picture = sample_grid(images, ["a", "b"]).axes[0].images[0].get_array()
    assert picture[::4, ::4].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("chart", CHARTS)
def test_svg_takes_colour_and_font_from_the_page(chart):
    svg = as_svg(CHARTS[chart]())
    ET.fromstring(svg)
    assert "currentColor" in svg and "#0a0b0c" not in svg
    assert "#000000" not in svg and "#ffffff" not in svg  # black or white would vanish in one of the two modes
    assert "DejaVu" not in svg and "font-family: inherit" in svg
    assert "http" not in svg


def test_ids_are_unique_on_a_page_and_still_lead_somewhere():
    page = as_svg(CHARTS["loss"](), "a") + as_svg(CHARTS["loss"](), "b") + as_svg(CHARTS["reliability"]())
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', page)) == set(ids)


def test_same_figure_same_bytes():
    assert as_svg(CHARTS["loss"]()) == as_svg(CHARTS["loss"]())


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    as_svg(CHARTS["accuracy"]())
    assert dict(matplotlib.rcParams) == before


def test_class_names_are_no_formulas():
    svg = as_svg(confusion_chart(np.eye(2, dtype=np.int64), ["$\\frac$", "<b>$5"]))
    assert {"$\\frac$", "<b>$5"} <= {text.text for text in ET.fromstring(svg).iter("text")}
