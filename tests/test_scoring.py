"""Scoring: labels are read or refused by their line, edits are counted as published, confidence is weighed."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreign import fuzz, write
from guarismo.errors import DataError
from guarismo.results import scoring
from guarismo.results.scoring import Answer, Label, edit_distance, read_labels, score, trust

DIGITS = st.text("0123456789", max_size=12)


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(scoring).failed == 0


# Labels


def labels_file(folder: Path, *lines: str, photos: tuple[str, ...] = ("a.png", "b/c.jpg")) -> Path:
    """A labels.csv of these lines, beside empty files that stand for the photos."""
    for name in photos:
        (folder / name).parent.mkdir(exist_ok=True)
        write(folder / name, b"")
    return write(folder / "labels.csv", "\n".join(lines).encode())


def test_labels_with_every_column(tmp_path):
    path = labels_file(tmp_path, "file,text,kind,medium,notes", 'b/c.jpg,12 34,line,photo,"blue, thin"', "a.png,5,,,")
    assert read_labels(path) == [Label(Path("b/c.jpg"), "12 34", "line", "photo"), Label(Path("a.png"), "5", "", "")]


def test_labels_need_only_file_and_text_in_any_order_and_case(tmp_path):
    path = labels_file(tmp_path, " Text ,FILE", "5, a.png", ",b/c.jpg", "")
    assert read_labels(path) == [Label(Path("a.png"), "5"), Label(Path("b/c.jpg"), "")]


def test_labels_as_a_spreadsheet_on_windows_writes_them(tmp_path):
    content = "\ufefffile,text\r\n\r\na.png,007\r\n".encode()
    labels_file(tmp_path)
    assert read_labels(write(tmp_path / "labels.csv", content)) == [Label(Path("a.png"), "007")]


FAULTY_LINES = {
    "a letter": ("a.png,1O", "expected digits 0–9, with spaces between lines, received '1O'"),
    "digits of another script": ("a.png,١٢", "received '١٢'"),
    "a line break": ('a.png,"1\n2"', "expected digits"),
    "a column too few": ("a.png", "expected 2 columns, received 1"),
    "a column too many": ("a.png,1,2", "expected 2 columns, received 3"),
    "the same file twice": ("./b/c.jpg,1", r"b/c\.jpg is labelled already"),
    "an absolute path": ("/etc/passwd,1", "inside the folder of the labels, received '/etc/passwd'"),
    "a path that climbs out": ("b/../../a.png,1", r"received 'b/\.\./\.\./a\.png'"),
    "no file": (",1", "the file is missing"),
    "an open quote": ('a.png,"1', "is no CSV"),
}


@pytest.mark.parametrize("fault", FAULTY_LINES)
def test_a_faulty_label_is_named_by_its_line(tmp_path, fault):
    line, words = FAULTY_LINES[fault]
    path = labels_file(tmp_path, "file,text", "b/c.jpg,1", "", line)
    with pytest.raises(DataError, match=rf"labels\.csv, line [45].*{words}"):  # 5: where a quoted cell ends
        read_labels(path)


FAULTY_FILES = {
    "nothing": (b"", "is empty"),
    "blank lines": (b"\n\n,,\n", "is empty"),
    "a heading only": (b"file,text\n", "has a heading only"),
    "no text column": (b"file,digits\na.png,1\n", "has no column text.*received 'file,digits'"),
    "no heading": (b"a.png,1\n", "has no column file and no column text"),
    "semicolons": (b"file;text\na.png;1\n", "separated by commas, received 'file;text'"),
    "Latin 1": ("file,text,año\n".encode("latin-1"), r"is no UTF-8 text \(byte 11\)"),
    "UTF-16": ("file,text\n".encode("utf-16"), "is no UTF-8 text"),
}


@pytest.mark.parametrize("fault", FAULTY_FILES)
def test_what_is_no_table_of_labels_is_refused(tmp_path, fault):
    content, words = FAULTY_FILES[fault]
    with pytest.raises(DataError, match=words):
        read_labels(write(tmp_path / "labels.csv", content))


def test_absent_files_are_reported_together(tmp_path):
    names = [f"{number}.png" for number in range(4)] + ["x" * 300]
    path = labels_file(tmp_path, "file,text", "a.png,1", *(f"{name},2" for name in names))
    words = r"5 of 6 labels name absent files: 0\.png, 1\.png, 2\.png, …\. Put the files there"
    with pytest.raises(DataError, match=words):
        read_labels(path)


def test_labels_that_cannot_be_opened_say_so(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_labels(path)


def test_labels_too_large_for_labels_are_not_opened(tmp_path):
    path = tmp_path / "labels.csv"
    with path.open("wb") as file:
        file.truncate(scoring.MOST_LABEL_BYTES + 1)
    with pytest.raises(DataError, match="larger than 16 MB"):
        read_labels(path)


@fuzz
@given(content=st.binary(max_size=80) | st.text('file,text\n"0 ./\0', max_size=80).map(str.encode))
def test_any_bytes_are_labels_or_refused(tmp_path, content):
    try:
        assert read_labels(write(tmp_path / "labels.csv", b"file,text\n" + content))
    except DataError as error:
        assert str(tmp_path / "labels.csv") in str(error)


# Edits


@pytest.mark.parametrize("a, b, edits", [("kitten", "sitting", 3), ("intention", "execution", 5), ("", "", 0)])
def test_edit_distance_of_the_textbooks(a, b, edits):
    assert edit_distance(a, b) == edits


@given(a=DIGITS, b=DIGITS)
def test_edit_distance_is_symmetric_and_zero_for_equals_alone(a, b):
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)


@given(a=DIGITS, b=DIGITS, c=DIGITS)
def test_edit_distance_takes_no_longer_than_any_detour(a, b, c):
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


@given(a=DIGITS, b=DIGITS)
def test_edit_distance_lies_between_the_difference_and_the_larger_of_the_lengths(a, b):
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


@given(a=DIGITS, b=DIGITS, c=DIGITS)
def test_edit_distance_to_a_longer_text_is_what_was_added(a, b, c):
    assert edit_distance(a + c, a + b + c) == len(b)


# Score

LABELS = [
    Label(Path("ana/1.png"), "1", "single", "photo"),
    Label(Path("ana/2.png"), "2", "single", "drawn"),
    Label(Path("eva/page.jpg"), "123 456 7890", "page", "photo"),
    Label(Path("loose.jpg"), "55"),
]
TEXTS = {
    Path("ana/1.png"): "1",
    Path("ana/2.png"): "",
    Path("eva/page.jpg"): "1234 5567\n890",
    Path("loose.jpg"): " 5 5 ",
    Path("without a label.png"): "8",
}


def test_rows_by_kind_medium_both_folder_and_in_total():
    found = score(LABELS, TEXTS)
    counts = [(row.group, row.name, row.files, row.digits, row.right) for row in found.rows]
    assert counts == [
        ("kind", "page", 1, 10, 0),
        ("kind", "single", 2, 2, 1),
        ("medium", "drawn", 1, 1, 0),
        ("medium", "photo", 2, 11, 1),
        ("kind and medium", "page photo", 1, 10, 0),
        ("kind and medium", "single drawn", 1, 1, 0),
        ("kind and medium", "single photo", 1, 1, 1),
        ("folder", ".", 1, 2, 1),
        ("folder", "ana", 2, 2, 1),
        ("folder", "eva", 1, 10, 0),
        ("total", "all", 4, 14, 2),
    ]
    assert found.of("medium")["photo"].exact == 0.5
    assert found.of("kind")["page"].digit_accuracy == pytest.approx(0.9)  # one 5 too many
    assert found.total.digit_accuracy == pytest.approx(1 - 2 / 14)  # and one 2 too few


def test_wrong_photos_show_both_texts_as_they_are():
    wrong = [(item.file.name, item.truth, item.read) for item in score(LABELS, TEXTS).wrong]
    assert wrong == [("2.png", "2", ""), ("page.jpg", "123 456 7890", "1234 5567\n890")]


def test_digit_accuracy_is_pooled_and_not_below_zero():
    labels = [Label(Path("a"), "1", "single"), Label(Path("b"), "123456789", "line"), Label(Path("c"), "", "blank")]
    found = score(labels, {Path("a"): "222", Path("b"): "123456789", Path("c"): ""})
    assert found.of("kind")["single"].digit_accuracy == 0
    assert found.total.digit_accuracy == pytest.approx(0.7)  # not the mean of the photos
    assert found.of("kind")["blank"].digit_accuracy == 1
    assert score(labels[2:], {Path("c"): "7"}).total.digit_accuracy == 0


def test_the_interval_of_exact_is_wilsons():
    labels = [Label(Path(str(number)), "1") for number in range(10)]
    low, high = score(labels, {label.file: "1" for label in labels}).total.interval
    assert (low, high) == pytest.approx((0.7225, 1), abs=5e-5)  # 10 of 10: Brown, Cai & DasGupta 2001


@given(st.lists(st.tuples(DIGITS, DIGITS), min_size=1, max_size=6))
def test_any_score_is_a_share_and_survives_json(texts):
    labels = [Label(Path(f"{i % 2}/{i}.png"), truth, kind="page") for i, (truth, _) in enumerate(texts)]
    found = score(labels, {label.file: read for label, (_, read) in zip(labels, texts, strict=True)})
    values = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert len(values["rows"]) == len(found.rows)
    assert len(values["wrong"]) == found.total.files - found.total.right
    for row in found.rows:
        assert 0 <= row.interval[0] <= row.exact + 1e-12  # rounding: 0 right of 3 begins at 6e-17
        assert row.exact - 1e-12 <= row.interval[1] <= 1
        assert 0 <= row.digit_accuracy <= 1


def test_what_cannot_be_scored_says_what_to_do():
    with pytest.raises(DataError, match="no labels"):
        score([], {})
    with pytest.raises(
        DataError, match=r"4 labelled photos, 3 have none: ana/2\.png, eva/page\.jpg, loose\.jpg\. Read"
    ):
        score(LABELS, {Path("ana/1.png"): "1"})


# What confidence is worth


def answers(*rows: tuple[float, bool], refused: int = 0) -> list[Answer]:
    """The last `refused` of them refused."""
    return [Answer(*row, refused=i >= len(rows) - refused) for i, row in enumerate(rows)]


def test_risk_over_coverage_by_hand():
    found = trust(answers((0.6, False), (0.9, True), (0.8, False), (0.7, True)))
    np.testing.assert_allclose(found.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found.risk, [0, 1 / 2, 1 / 3, 2 / 4])
    assert found.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)


def test_refused_answers_come_last_however_sure():
    found = trust(answers((0.7, True), (0.6, True), (0.99, False), refused=1))
    np.testing.assert_allclose(found.risk, [0, 0, 1 / 3])
    assert (found.n, found.accepted, found.risk[found.accepted - 1]) == (3, 2, 0)


def test_ece_is_of_the_accepted_answers():
    found = trust(answers((0.9, True), (0.9, False), (1.0, False), refused=1))
    assert found.ece == pytest.approx(0.4)
    assert found.reliability.counts.sum() == 2
    assert trust(answers((0.9, True), refused=1)).ece is None


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.booleans(), st.booleans()), min_size=1), st.data())
def test_the_curve_does_not_depend_on_the_order_of_equals(rows, data):
    first = trust([Answer(*row) for row in rows])
    second = trust([Answer(*row) for row in data.draw(st.permutations(rows))])
    np.testing.assert_allclose(first.risk, second.risk, atol=1e-12)
    assert first.risk[-1] == pytest.approx(np.mean([not right for _, right, _ in rows]))
    assert json.loads(json.dumps(first.as_json(), allow_nan=False))["accepted"] == first.accepted


def test_answers_that_are_none_are_refused():
    with pytest.raises(DataError, match="no answers"):
        trust([])
    for confidence in (1.01, -0.1, float("nan")):
        with pytest.raises(DataError, match=r"Expected confidences 0…1, received"):
            trust([Answer(confidence, True, False)])
