"""The picture of explanations: every part is there, in the words of the language, whatever the classes are called."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from guarismo.language import Language
from guarismo.results.charts import TRAIN, VALIDATION, save_figure
from guarismo.results.evaluation import evaluate_run
from guarismo.results.why import explain
from guarismo.results.why_picture import colour_of, heated, why_figure
from tiny_run import bars_dataset, make_run

NAMES = ("<b>$one$</b>", "نص عربي", "a name as long as this one that no picture has room for")


@pytest.fixture
def explained(tmp_path):
    dataset = bars_dataset(names=NAMES)
    run, evaluation = evaluate_run(make_run(tmp_path / "run", dataset), dataset)
    return run, explain(run, dataset, evaluation.hardest[:2])


def words_of(figure):
    """All that is written in a figure, in its rows of pictures too."""
    titles = [axes.get_title() for row in figure.subfigs for axes in row.axes]
    heads = [
        text.get_text() for part in (figure, *figure.subfigs) for text in (part._suptitle, part._supxlabel) if text
    ]
    return titles + heads


def test_a_row_has_the_image_both_maps_and_the_neighbours(explained):
    run, explanations = explained
    figure = why_figure(explanations, run)
    assert len(figure.subfigs) == 2
    for row, each in zip(figure.subfigs, explanations, strict=True):
        pictures = [axes.images[0].get_array() for axes in row.axes]
        assert len(pictures) == 3 + len(each.neighbours)
        np.testing.assert_allclose(pictures[0], np.broadcast_to(each.image / 255, (8, 8, 3)))
        np.testing.assert_allclose(pictures[1], heated(each.image, each.map))
        np.testing.assert_allclose(pictures[2], heated(each.image, each.other_map))
        np.testing.assert_allclose(pictures[3][..., 0], each.neighbour_images[0, ..., 0] / 255)


def test_the_words_say_what_was_answered_and_what_would_change_it(explained):
    run, explanations = explained
    words = words_of(why_figure(explanations, run))
    assert any(text.startswith(f"Test image {explanations[0].index}: ") for text in words)
    assert any("the answer becomes" in text or "No shift" in text for text in words)
    assert sum(text.startswith("learnt as") for text in words) == 6
    assert all(len(text) < 40 for text in words if text.startswith(("for", "learnt")))


def test_names_of_all_kinds_can_be_drawn(explained, tmp_path):
    run, explanations = explained
    for suffix in ("png", "svg", "pdf"):
        save_figure(why_figure(explanations, run), tmp_path / f"why.{suffix}")
        assert (tmp_path / f"why.{suffix}").stat().st_size > 5_000
    first = next(each for each in explanations if 0 in (each.label, each.answer))
    assert any(r"\$one\$" in text for text in words_of(why_figure([first], run)))  # not a formula


def test_words_above_a_picture_do_not_run_into_the_next(explained):
    run, explanations = explained
    figure = why_figure(explanations, run)
    figure.draw_without_rendering()
    for row in figure.subfigs:
        boxes = [axes.title.get_window_extent() for axes in row.axes]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_every_word_goes_through_the_language(explained):
    run, explanations = explained
    assert all(text.startswith("T:") for text in words_of(why_figure(explanations, run, Marking())))


class Marking(Language):
    """Marks whatever passes through it."""

    def __call__(self, text, **values):
        return "T:" + super().__call__(text, **values)


def test_blue_speaks_for_and_orange_against_and_chance_stays_grey():
    image = np.zeros((2, 2, 1), np.uint8)
    painted = heated(image, np.array([[0.5, -0.5], [0.25, 0]], np.float32))
    np.testing.assert_allclose(painted[0, 0], colour_of(TRAIN))
    np.testing.assert_allclose(painted[0, 1], colour_of(VALIDATION))
    np.testing.assert_allclose(painted[1, 1], 0.25)
    assert np.abs(painted[1, 0] - (0.25 + colour_of(TRAIN)) / 2).max() < 1e-6
    faint = heated(image, np.array([[1e-5, -1e-5], [0, 0]], np.float32))
    assert np.abs(faint - 0.25).max() < 1e-3


def test_right_answers_are_called_so(explained):
    run, explanations = explained
    right = replace(explanations[0], answer=explanations[0].label)
    assert any(text.endswith("answered right") for text in words_of(why_figure([right], run)))
