"""The page of a search: verdict first, every trial on it, a line to paste that means the winner."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest

from guarismo.cli import app
from guarismo.errors import RunError
from guarismo.language import LANGUAGES, Language
from guarismo.models.settings import Settings
from guarismo.tuning.report import (
    apart,
    axes_of,
    epochs_saved,
    field_words,
    lines_of,
    page,
    path_of,
    summary,
    winning_command,
    write_search,
)
from guarismo.tuning.space import Options, Range, Space
from searched import BASE, ordinary, search, tried, verdict

MIXED = (*ordinary(), tried(30, 0.5, "pruned"), tried(31, 0, "failed"), tried(32, 0, "running"))


def text_of(html: str) -> str:
    """What a reader sees: no style, no script, no tags."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)).replace("\u202f", " ")


@pytest.mark.parametrize("better", [True, False])
def test_the_verdict_is_the_first_sentence(better):
    found = search(verdict=verdict(better))
    first = re.search(r'<p class="lead">(.*?)</p>', page(found, "digits")).group(1)
    assert first == found.verdict.sentence()
    assert ("is better than the default by more than luck" in first) == better


def test_without_a_verdict_it_says_that_the_winner_flatters_itself():
    assert "flatters it" in summary(search(), Language())[0]
    assert summary(search(tried(0, 0, "failed")), Language())[0] == "No trial was finished, so there is no winner."


def test_every_trial_is_in_the_table_with_its_state_and_its_error():
    html = page(search(*MIXED), "digits")
    rows = re.findall(r'<th scope="row" class="n">(\d+)</th>', html)
    assert sorted(map(int, rows)) == list(range(33)) and rows[0] == "15"  # the best one first
    text = text_of(html)
    for words in ("stopped early", "failed", "not at its end", "trial-31 the loss is no longer a number"):
        assert words in text
    assert "33 settings were tried in 1 min 35 s: 30 were trained to their end, 1 stopped early" in text


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_it_is_given():
    html = page(search(*MIXED, name="<b>&'", data="<i>digits", verdict=verdict()), "a 'quoted' <folder>")
    assert not re.search(r'(src|href)="(?!#|data:)', html) and "url(http" not in html and "@import" not in html
    assert "<b>&" not in html and "<i>" not in html and "<folder>" not in html


@pytest.mark.parametrize("code", LANGUAGES)
def test_it_is_written_in_every_language(code):
    html = page(search(*MIXED, verdict=verdict(), importance={"shift": 0.8}), "digits", Language(code))
    assert f'<html lang="{code}">' in html
    decimal = "." if code == "en" else ","
    assert f"98{decimal}10 %" in text_of(html)


def test_the_line_to_paste_is_read_by_the_command_line_as_the_winner():
    base = replace(BASE, mirror=True, schedule="constant")
    space = Space(
        {"learning_rate": Range(1e-4, 1e-2, log=True), "mirror": Options((False, True)), "width": Range(0.5, 2)}
    )
    best = replace(tried(0, 0.9), settings={"learning_rate": 0.00312, "mirror": False, "width": 1.0})
    line = winning_command(search(best, base=base, space=space), "my digits")
    assert line[:2] == ["guarismo train", "'my digits'"]
    assert "--mirror" not in " ".join(line) and "--width" not in " ".join(line)  # these are Settings' own defaults
    _, bound, *_ = app.parse_args(" ".join(line).removeprefix("guarismo "), exit_on_error=False)
    options = {name: value for name, value in vars(bound.arguments["training"]).items() if value is not None}
    assert Settings(**options) == replace(base, learning_rate=0.00312, mirror=False)


def test_with_a_verdict_the_line_is_of_the_settings_that_were_tested():
    assert "--learning-rate 0.0031" in winning_command(search(verdict=verdict()), "digits")


def test_charts_are_there_where_there_is_something_to_draw():
    whole = page(search(*MIXED, verdict=verdict()), "digits")
    assert all(f'id="{part}"' in whole for part in ("next", "winner", "history", "fields", "trials"))
    assert 'id="front"' not in whole
    two = search(*(tried(k, 0.9 + k / 100, second=1000 * (k + 1)) for k in range(3)), against="parameters")
    assert 'id="front"' in page(two, "digits") and "on the line" in page(two, "digits")
    nothing = page(search(tried(0, 0, "failed")), "digits")
    assert all(f'id="{part}"' not in nothing for part in ("winner", "history", "fields", "front"))


def test_each_line_crosses_every_axis_and_the_best_is_drawn_last():
    found = search(*MIXED)
    axes, lines = axes_of(found, Language()), lines_of(found, Language())
    assert [axis.name for axis in axes] == ["learning rate", "batch size", "shift", "validation accuracy"]
    assert len(lines) == 31 and lines[-1].number == 15 and lines[-1].rank == 0
    assert all(len(line.places) == 4 for line in lines)
    assert lines[-1].places[:3] == pytest.approx((0.5, 0.5, 0.5))
    assert lines[-1].words.startswith("trial 15: 98.00\u202f% · learning rate 0.001 · batch size 64")


def test_the_axes_stand_in_the_order_of_what_matters():
    found = search(importance={"shift": 0.7, "batch_size": 0.2, "learning_rate": 0.1})
    assert [axis.share for axis in axes_of(found, Language())] == [0.7, 0.2, 0.1, None]


def test_less_loss_is_higher_up():
    trials = (tried(0, 0.5), tried(1, 0.1))
    found = search(*trials)
    found = replace(found, tuning=replace(found.tuning, metric="validation_loss"), metrics=("validation_loss",))
    worse, better = lines_of(found, Language())
    assert (worse.number, better.number) == (0, 1) and better.places[-1] > worse.places[-1]


def test_a_value_that_a_trial_does_not_have_breaks_its_line():
    assert path_of([0.0, None, 1.0]).count("M") == 2
    assert path_of([0.0, 1.0]).count("C") == 1


def test_words_below_a_field_never_touch():
    for names in (("a", "b"), tuple(f"option {k}" for k in range(9)), ("one",)):
        last = max(1, len(names) - 1)
        kept = apart([(place / last, words) for place, words in enumerate(names)])
        assert kept[0][1] == names[0] and kept[-1][1] == names[-1]
        spots = [place for place, _ in kept]
        assert all(b - a > 0.2 for a, b in pairwise(spots)) or len(names) < 3


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "yes"),
        (128, "128"),
        (0.0031, "0.0031"),
        (0.0, "0"),
        (4.79e-6, "4.79·10⁻⁶"),
        (1e-6, "10⁻⁶"),
        ("cnn", "cnn"),
    ],
)
def test_values_are_written_as_one_reads_them(value, words):
    assert field_words(value, Language()) == words


def test_epochs_saved_are_those_that_stopped_trials_did_not_train():
    assert epochs_saved(search(tried(0, 0.9), tried(1, 0.5, "pruned"))) == pytest.approx(3 / 8)
    assert epochs_saved(search(tried(0, 0.9))) == 0


def test_more_trials_than_the_table_holds_are_told(monkeypatch):
    monkeypatch.setattr("guarismo.tuning.report.MOST_ROWS", 10)
    html = page(search(), "digits")
    assert "The best 10 of 30." in html and html.count('<th scope="row" class="n">') == 10


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"must end in \.html, received report\.pdf"):
        write_search(search(), "digits", tmp_path / "report.pdf")


def test_the_drawing_across_the_fields_is_sound_xml():
    html = page(search(*MIXED, importance={"shift": 0.8}), "digits")
    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) >= 6
    for drawing in drawings:
        ET.fromstring(drawing)


@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_it_fits_sorts_and_says_what_is_under_the_pointer(browser, tmp_path, width):
    path = write_search(
        search(*MIXED, verdict=verdict(), importance={"shift": 0.8}), "digits", tmp_path / "report.html"
    )
    view = browser.new_page(viewport={"width": width, "height": 900})
    wrong = []
    view.on("pageerror", lambda error: wrong.append(str(error)))
    view.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith("file:") else None)
    view.goto(path.as_uri())
    assert view.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    view.locator("#history .stops").first.focus()
    view.keyboard.press("Home")
    assert "trial 0" in view.locator("#history .said").first.inner_text()
    view.locator("#trials th button", has_text="Trial").click()
    view.locator("#trials th button", has_text="Trial").click()
    assert view.locator("#trials tbody th").first.inner_text().strip() == "0"
    assert wrong == []
    view.close()
