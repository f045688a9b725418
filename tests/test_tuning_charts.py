"""The charts of a search: every mark stands for a trial."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from guarismo.results.charts import as_svg
from guarismo.tuning.charts import best_so_far, curves_chart, frame, front_chart, history_chart, nines, shares
from searched import ordinary, search, tried

TRIALS = (tried(0, 0.93), tried(1, 0.95), tried(2, 0.8, "pruned"), tried(3, 0, "failed"), tried(4, 0.97))


def dots(figure):
    """(x, y) of every dot, in the order drawn."""
    return [tuple(np.round(spot, 6)) for part in figure.axes[0].collections for spot in part.get_offsets().tolist()]


def test_every_trial_that_reached_something_is_a_dot_hollow_where_it_was_stopped_early():
    axes = history_chart(TRIALS, "validation_accuracy").axes[0]
    hollow, hollow_outside, filled, filled_outside = axes.collections
    assert [x for x, _ in filled.get_offsets()] == [0, 1, 4] and not len(filled_outside.get_offsets())
    assert [x for x, _ in hollow_outside.get_offsets()] == [2] and not len(hollow.get_offsets())
    assert not len(hollow_outside.get_facecolors()) and len(filled.get_facecolors())


def test_the_line_is_the_best_finished_trial_so_far():
    assert best_so_far(TRIALS, "validation_accuracy") == [(0, 0.93), (1, 0.95), (4, 0.97)]
    assert best_so_far(TRIALS, "validation_loss") == [(0, 0.93)]
    line = history_chart(TRIALS, "validation_accuracy").axes[0].lines[0]
    assert line.get_xdata().tolist() == [0, 1, 4, 4] and line.get_ydata().tolist() == [0.93, 0.95, 0.97, 0.97]


@pytest.mark.parametrize(
    ("metric", "values", "bad"),
    [("validation_accuracy", [0.96, 0.97, 0.98, 0.975], 0.1), ("validation_loss", [0.1, 0.11, 0.12], 2.3)],
)
@pytest.mark.parametrize("state", ["finished", "pruned"])
def test_trials_that_learnt_nothing_do_not_press_the_others_into_a_line(metric, values, bad, state):
    worse = [tried(10 + k, bad, state) for k in range(1 if state == "finished" else 9)]
    low, high = frame([*(tried(k, value) for k, value in enumerate(values)), *worse], metric)
    assert high - low < 0.1
    assert all(low < value < high for value in values)


@pytest.mark.parametrize("values", [[], [0.5], [0.9, 0.9, 0.9], [0.0, 1.0]])
@pytest.mark.parametrize("state", ["finished", "pruned", "failed"])
def test_an_axis_has_two_ends_whatever_there_is(values, state):
    low, high = frame([tried(k, value, state) for k, value in enumerate(values)], "validation_accuracy")
    assert low < high


def test_curves_of_the_best_and_of_those_stopped_early():
    found = search(*ordinary()[:3], tried(9, 0.5, "pruned"))
    axes = curves_chart(found.finished, found.tried[3:], "validation_accuracy").axes[0]
    drawn = [line.get_ydata().tolist() for line in axes.lines if len(line.get_xdata()) == 4]
    assert drawn == [list(each.curve) for each in reversed(found.finished)]
    assert any(line.get_marker() == "x" and line.get_ydata().tolist() == [0.35] for line in axes.lines)


def test_halving_the_errors_is_the_same_step_everywhere():
    heights = nines(np.array([0.8, 0.9, 0.95, 0.975]))
    assert np.ptp(np.diff(heights)) < 1e-12
    np.testing.assert_allclose(shares(heights), [0.8, 0.9, 0.95, 0.975])
    assert np.isfinite(nines(np.array([1.0]))).all()


def test_the_front_is_joined_and_numbered_and_all_the_others_are_dots():
    trials = [tried(0, 0.9, second=1000), tried(1, 0.95, second=5000), tried(2, 0.8, second=4000)]
    found = search(*trials, against="parameters")
    figure = front_chart(found.finished, found.front, found.metrics)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["0", "1"]
    assert axes.lines[0].get_xdata().tolist() == [1000, 5000]
    assert (4000, 0.8) in dots(figure)


@pytest.mark.parametrize("metric", ["validation_accuracy", "validation_loss"])
def test_svg_takes_colour_and_font_from_the_page(metric):
    found = search(*ordinary(), tried(40, 0.2, "pruned"))
    two = [tried(k, 0.9 + k / 100, second=1000 * (k + 1)) for k in range(3)]
    history, curves = history_chart(found.tried, metric), curves_chart(found.tried[:3], found.tried[30:], metric)
    for figure in (history, curves, front_chart(two, two, (metric, "parameters"))):
        svg = as_svg(figure)
        ET.fromstring(svg)
        assert "currentColor" in svg and "#000000" not in svg and "#ffffff" not in svg and "http" not in svg
