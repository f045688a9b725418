"""Refusal: each reason, in its words, for a picture made for it; the judge is the real one, every digit is MNIST's."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from guarismo.data.images import Pixels
from guarismo.reading.digits import Glyph, piece
from guarismo.reading.page import Page, find_ink, find_lines, without_rules
from guarismo.reading.reader import look, shipped_reader
from guarismo.reading.refusal import (
    Sifted,
    Usual,
    at_edge,
    sift,
    trustworthy,
    usual_of,
    words_of,
)
from paper import Scene, photograph
from test_digits import draw, page_of, put, sheet

SEVEN = [(0, 0), (60, 0), (25, 110)]
FOUR = ([(20, 0), (0, 70), (70, 65)], [(50, 30), (45, 112)])


def writing(text: str, width: int = 700) -> Pixels:
    """Digits of 70 to 80 pixels in a row."""
    ink = sheet(width=width)
    for place, digit in enumerate(text):
        put(ink, int(digit), 60 + 130 * place, 90)
    return ink


def at(x: int, y: int, path: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(x + dx, y + dy) for dx, dy in path]


def tangle(x: int, seed: int) -> list[tuple[int, int]]:
    """A line that goes to and fro in a square of 110 pixels."""
    return at(x, 90, [(int(dx), int(dy)) for dx, dy in np.random.default_rng(seed).integers(0, 110, (14, 2))])


def grain(marks: int = 100, level: int = 25) -> Pixels:
    """Faint short strokes all over a page of 500 × 700."""
    rng, ink = np.random.default_rng(0), sheet(500)
    for x, y in np.stack([rng.integers(10, 660, marks), rng.integers(10, 460, marks)], axis=1):
        mark = [at(int(x), int(y), [(int(dx), int(dy)) for dx, dy in rng.integers(0, 26, (4, 2))])]
        np.maximum(ink, draw(np.zeros_like(ink), *mark, pen=3) // (255 // level), out=ink)
    return ink


def sifted(ink: Pixels, rules: bool = False) -> Sifted:
    page = page_of(ink)
    return sift(without_rules(page, find_lines(page)) if rules else page, shipped_reader().judge)


def text(found: Sifted) -> str:
    return " ".join("".join(str(glyph.digit) for glyph in line) for line in found.lines)


def reasons(found: Sifted) -> list[str]:
    return [reason for _, reason in found.refused]


def glyph(digit: int = 7, x: int = 0, height: int = 100, confidence: float = 0.99, strength: float = 0.9) -> Glyph:
    """A black bar a fifth as wide as high, judged to be `digit`."""
    answers = np.full(10, (1 - confidence) / 9, np.float32)
    answers[digit] = confidence
    bar = piece(np.full((height, height // 5), 255, np.uint8), x, 0, strength, 0)
    return replace(bar, probabilities=answers)


# One reason, one picture


def test_clean_digits_are_read_and_nothing_is_refused():
    found = sifted(writing("3052"))
    assert (text(found), found.refused) == ("3052", [])


@pytest.mark.parametrize("column", [0, 699])
def test_a_strip_along_the_edge_is_the_paper_s(column):
    found = sifted(draw(writing("3052"), [(column, 60), (column, 240)], pen=16))
    assert (text(found), reasons(found)) == ("3052", ["cut off by the edge of the picture"])
    ((strip, _),) = found.refused
    assert strip.digit == 1 and strip.confidence > 0.9, "the judge alone would have read it"


def test_a_whole_digit_at_the_edge_is_read():
    assert text(sifted(np.ascontiguousarray(put(sheet(), 3, 60, 90)[:, 76:]))) == "3"
    assert at_edge(glyph(), sifted(sheet()).page) and not at_edge(glyph(x=2), sifted(sheet()).page)


def test_what_shines_through_is_far_fainter():
    faint = (put(sheet(), 2, 500, 90) * 0.16).astype(np.uint8)
    found = sifted(np.maximum(writing("305"), faint))
    assert (text(found), reasons(found)) == ("305", ["far fainter than the rest"])
    assert text(sifted(faint)) == "2", "faint alone is no reason"


def test_a_tiny_digit_is_far_smaller():
    found = sifted(put(writing("305"), 2, 500, 130, size=53))
    assert (text(found), reasons(found)) == ("305", ["far smaller than the rest"])
    assert text(sifted(put(writing("305"), 2, 500, 130, size=70))) == "3052"


def test_a_stroke_of_a_broom_is_far_broader():
    ink = sheet(width=900)
    for place, x in enumerate(range(40, 640, 100)):
        draw(ink, *([at(x, 90, SEVEN)] if place % 2 else (at(x, 90, path) for path in FOUR)), pen=4)
    pencil = text(sifted(ink))
    found = sifted(draw(ink, at(740, 90, SEVEN), pen=24))
    assert pencil == text(found) == "474747"
    assert reasons(found) == ["far broader than the rest"]


def test_a_ring_that_ran_together_is_a_blot():
    found = sifted(cv2.dilate(put(sheet(), 0, 300, 90), np.ones((24, 24))))
    assert (found.lines, reasons(found)) == ([], ["a blot, not a stroke"])
    assert found.refused[0][0].confidence > 0.9, "the judge alone would have read it"


def test_among_grain_a_digit_must_be_clearer_than_alone():
    faint = draw(np.zeros((500, 700), np.uint8), at(300, 200, SEVEN)) // 10
    assert text(sifted(faint)) == "7"
    found = sifted(np.maximum(grain(), faint))
    assert found.lines == []
    assert [reason for refused, reason in found.refused if refused.digit == 7 and refused.box[3] > 100] == [
        "no clearer than the grain of the paper"
    ]
    assert text(sifted(np.maximum(grain(), 5 * faint))) == "7", "a clear one is read"


def test_a_crowd_of_grain_says_nothing():
    found = sifted(grain())
    assert found.lines == [] and "no clearer than the grain of the paper" in reasons(found)


@pytest.mark.parametrize("seed", range(3))
def test_a_digit_inside_a_word_of_scrawls_is_not_read(seed):
    found = sifted(draw(writing("3"), tangle(190, seed), tangle(325, seed + 10), pen=8))
    assert found.lines == []
    assert reasons(found)[0] == "among marks that are no digits"
    assert any(reason.startswith("not a digit") for reason in reasons(found))


@pytest.mark.parametrize("seed", range(3))
def test_a_digit_well_apart_from_a_scrawl_is_read(seed):
    found = sifted(draw(writing("3"), tangle(450, seed), pen=8))
    assert text(found) == "3" and len(found.refused) == 1


@pytest.mark.parametrize("pen", [2, 3])
def test_a_stroke_like_the_printed_lines_is_left_of_them(pen):
    """Three lines across the page, and below them an upright stroke as thick and as dark: a 1 to the judge."""
    ink = sheet()
    for row in (30, 70, 110):
        cv2.line(ink, (0, row), (699, row), 120, pen)
    cv2.line(ink, (300, 200), (300, 262), 120, pen)
    found = sifted(ink, rules=True)
    assert (found.lines, reasons(found)) == ([], ["as if left of a printed line"])
    cv2.line(ink, (300, 200), (300, 262), 120, 3 * pen)
    assert text(sifted(ink, rules=True)) == "1", "a pen thrice as broad is no print"


def test_the_same_stroke_on_blank_paper_is_a_1():
    assert text(sifted(draw(sheet(), [(300, 200), (300, 262)], pen=3), rules=True)) == "1"


def test_a_scrawl_is_no_digit_and_says_how_sure():
    upright, lying = (sifted(draw(sheet(), tangle(200, seed), pen=8)) for seed in (0, 2))
    assert reasons(upright) == ["not a digit: 0.10"]
    assert reasons(lying) == ["not a digit, or digits that I cannot separate: 0.10"]
    for found in (upright, lying):
        assert f"{found.refused[0][0].confidence:.2f}" == reasons(found)[0][-4:]


# Words


def test_a_line_is_parted_at_gaps_wider_than_most_of_the_lower_neighbour():
    close, wide = glyph(x=20 + 69), glyph(x=20 + 71)
    assert [len(word) for word in words_of([glyph(), close])] == [2]
    assert [len(word) for word in words_of([glyph(), wide])] == [1, 1]
    low = glyph(x=20 + 69, height=50)
    assert [len(word) for word in words_of([glyph(), low])] == [1, 1], "the lower one counts"


def test_words_keep_every_glyph_in_its_order():
    line = [glyph(digit, x) for digit, x in enumerate((0, 40, 300, 340, 700))]
    words = words_of(line)
    assert [[each.digit for each in word] for word in words] == [[0, 1], [2, 3], [4]]


def test_a_word_is_trusted_for_its_share_of_digits():
    digit, scrawl = glyph(), glyph(x=30, confidence=0.1)
    usual = usual_of([digit])
    assert trustworthy([digit, digit], [digit, digit, scrawl], usual)
    assert not trustworthy([digit], [digit, scrawl], usual)
    assert not trustworthy([], [scrawl], usual)


def test_a_pale_word_is_trusted_only_without_a_doubt():
    usual = Usual(strength=0.9, height=100, pen=20)
    sure, doubtful = (glyph(strength=0.3, confidence=confidence) for confidence in (0.95, 0.85))
    scrawl = glyph(strength=0.3, confidence=0.1, height=60)
    assert trustworthy([sure], [sure], usual)
    assert not trustworthy([doubtful], [doubtful], usual)
    assert not trustworthy([sure], [sure, scrawl], usual)
    assert trustworthy([sure], [sure, scrawl], usual._replace(strength=0.3)), "as dark as the rest it would be"


# The usual


def test_1s_say_what_is_usual_only_where_there_is_nothing_else():
    ones, four = [glyph(1, height=300) for _ in range(3)], glyph(4, height=100)
    assert usual_of([*ones, four]).height == 100
    assert usual_of(ones).height == 300


def test_what_is_usual_is_where_most_of_the_ink_is():
    small = [glyph(4, height=20, strength=0.3) for _ in range(5)]
    assert usual_of([*small, glyph(4, height=100)])[:2] == (0.9, 100)


# The score


def pages(text: str, scene: Scene) -> tuple[Page, Page]:
    """A photo looked at for dark ink and for light ink."""
    pixels = photograph(text, scene, 0).pixels
    return find_ink(pixels, False, 0.25), find_ink(pixels, True, 0.25)


@pytest.mark.parametrize(("pen", "light"), [("felt", False), ("chalk", True)])
def test_the_score_prefers_the_way_that_reads(pen, light):
    dark_ink, light_ink = (sift(page, shipped_reader().judge) for page in pages("3052", Scene(height=60, pen=pen)))
    right, wrong = (light_ink, dark_ink) if light else (dark_ink, light_ink)
    assert text(right) == "3052"
    assert right.score > 2 * wrong.score
    best = look(photograph("3052", Scene(height=60, pen=pen), 0).pixels, shipped_reader().judge)
    assert (best.page.light_ink, text(best)) == (light, "3052")


def test_nothing_read_scores_nothing():
    assert sifted(sheet()).score == 0
    assert sifted(draw(sheet(), tangle(200, 0), pen=8)).score == 0


def test_a_1_counts_half_in_the_score():
    """Its share of the ink is squared as well: a quarter."""
    found = sifted(writing("7"))
    ((seven,),) = found.lines
    one = replace(seven, probabilities=np.roll(seven.probabilities, 1 - 7))
    assert one.digit == 1
    assert replace(found, lines=[[one]]).score == pytest.approx(found.score / 4)


def test_ink_left_unread_lowers_the_score():
    plain = sifted(writing("3"))
    beside = sifted(draw(writing("3"), tangle(450, 0), pen=8))
    assert text(plain) == text(beside) == "3"
    assert beside.score < 0.6 * plain.score
