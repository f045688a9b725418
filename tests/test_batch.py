"""Many photos: in their order whoever reads them, each with its pictures; a bad file never stops the others."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fpdf import FPDF
from PIL import Image

from foreign import png, write
from guarismo.errors import DataError, RunError
from guarismo.reading.reader import read
from guarismo.results.batch import Outcome, Wanted, check_place, names_for, place_of, read_files, score_outcomes
from guarismo.results.scoring import Label
from paper import Scene, mark_photo, photograph
from tiny_run import bars_dataset, make_run

PHOTOS = {"3052": 0, "714": 0, "68": 1}
"""What is written → seed."""


def pixels_of(text: str) -> np.ndarray:
    return photograph(text, Scene(height=60, pen="felt"), PHOTOS[text]).pixels


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    return {text: png(pixels_of(text)) for text in PHOTOS}


@pytest.fixture
def photos(tmp_path, contents) -> list[Path]:
    return [write(tmp_path / f"{text}.png", content) for text, content in contents.items()]


@pytest.fixture(scope="module")
def two_pages(tmp_path_factory) -> Path:
    """A PDF with 3052 on its first page and 714 on its second."""
    document = FPDF(format=(120, 60))
    for text in ("3052", "714"):
        document.add_page()
        document.image(Image.fromarray(pixels_of(text)), x=10, y=8, w=80)
    return write(tmp_path_factory.mktemp("pdf") / "two.pdf", bytes(document.output()))


# Order, and bad files


@pytest.mark.parametrize("jobs", [1, 2])
def test_outcomes_come_in_the_order_of_the_files(photos, jobs):
    files = [*photos, *reversed(photos)]
    told = []
    found = list(read_files(files, jobs=jobs, progress=lambda done, total, **facts: told.append((done, total, facts))))
    assert [outcome.file for outcome in found] == files
    assert [outcome.text for outcome in found] == ["3052", "714", "68", "68", "714", "3052"]
    assert told == [(done, 6, {"file": file.name}) for done, file in enumerate(files, start=1)]


BAD = {
    "empty": (b"", "is empty"),
    "text": (b"shopping list: 3 apples, 4 pears\n" * 20, "is plain text"),
    "cut short": (png(pixels_of("3052"))[:2000], "cut short|damaged|broken|truncated"),
}


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_files_between_good_ones_have_an_error_and_the_others_are_read(photos, tmp_path, jobs):
    bad = [write(tmp_path / f"{name}.jpg", content) for name, (content, _) in BAD.items()]
    files = [file for pair in zip(photos, bad, strict=True) for file in pair]
    found = list(read_files(files, jobs=jobs))
    assert [outcome.text for outcome in found] == ["3052", "", "714", "", "68", ""]
    assert [bool(outcome.error) for outcome in found] == [False, True] * 3
    for outcome, (_, words) in zip(found[1::2], BAD.values(), strict=True):
        assert outcome.pages == [] and str(outcome.file) in outcome.error
        assert any(word in outcome.error for word in words.split("|")), outcome.error


def test_a_file_that_went_away_is_an_outcome_too(photos):
    photos[1].unlink()
    found = list(read_files(photos))
    assert [outcome.text for outcome in found] == ["3052", "", "68"]
    assert str(photos[1]) in found[1].error


@pytest.mark.parametrize("shape", [(1, 10_000), (10_000, 1), (1, 1), (3, 900)])
def test_a_sliver_of_a_picture_stops_nobody(photos, tmp_path, shape):
    sliver = write(tmp_path / "sliver.png", png(np.full((*shape, 3), 255, np.uint8)))
    found = list(read_files([sliver, photos[1]]))
    assert [outcome.text for outcome in found] == ["", "714"]


def test_an_outcome_holds_what_the_reader_says(photos):
    (outcome,) = read_files(photos[:1])
    (reading,) = read(photos[0])
    (page,) = outcome.pages
    assert {**page, "seconds": 0} == {**reading.as_json(), "seconds": 0}


def test_the_pages_of_a_pdf_are_one_outcome(two_pages):
    (outcome,) = read_files([two_pages])
    assert [(page["page"], page["text"]) for page in outcome.pages] == [(1, "3052"), (2, "714")]
    assert outcome.text == "3052 714"


def test_a_page_without_digits_adds_none_to_the_text():
    assert Outcome(Path("a.pdf"), [{"text": text} for text in ("30", "", "52")]).text.split() == ["30", "52"]
    assert Outcome(Path("a.pdf"), [{"text": ""}]).text == ""


def test_a_run_that_reads_no_digits_is_refused_before_any_file(tmp_path):
    run = make_run(tmp_path / "run", bars_dataset())
    with pytest.raises(RunError, match="guarismo train mnist --recipe reader"):
        next(read_files([tmp_path / "absent.png"], Wanted(run.folder)))


# Pictures beside the reading


def test_pictures_of_an_earlier_reading_are_not_read_and_written_over(tmp_path):
    """As `read photos --annotate photos` would, the second time."""
    with pytest.raises(RunError, match="Name a new folder"):
        check_place(tmp_path, [tmp_path / "68.jpg", tmp_path / "68-read.jpg"], "--annotate")


def test_names_are_the_photos_own_where_they_can_be():
    assert names_for([Path("a/one.jpg"), Path("b/two.png")]) == ["one", "two"]


@pytest.mark.parametrize(
    "files",
    [
        ("a/7.jpg", "b/7.jpg", "a/7.png"),
        ("x/a/7.jpg", "y/a/7.jpg", "z/a/7.jpg"),
        ("a/7.jpg", "b/7.jpg", "c/a-7-jpg.png"),
        ("7", "b/7", "c/7."),
    ],
)
def test_no_two_photos_share_a_name(files):
    names = names_for([Path(file) for file in files])
    assert len(set(names)) == len(files)
    assert all("/" not in name and "7" in name for name in names)


def test_pictures_go_into_a_folder_under_the_photos_names(photos, tmp_path):
    wanted = Wanted(annotate=tmp_path / "seen" / "boxes", stages=tmp_path / "seen" / "steps")
    assert [outcome.error for outcome in read_files(photos[:2], wanted)] == ["", ""]
    made = sorted(path.relative_to(tmp_path / "seen").as_posix() for path in (tmp_path / "seen").rglob("*.*"))
    assert made == ["boxes/3052-read.jpg", "boxes/714-read.jpg", "steps/3052-stages.png", "steps/714-stages.png"]
    for path in made:
        with Image.open(tmp_path / "seen" / path) as image:
            image.load()
            assert image.format == {".jpg": "JPEG", ".png": "PNG"}[path[-4:]] and min(image.size) > 100


def test_one_photo_s_picture_may_be_named(photos, tmp_path):
    assert [o.error for o in read_files(photos[:1], Wanted(annotate=tmp_path / "out.PNG"))] == [""]
    assert (tmp_path / "out.PNG").read_bytes().startswith(b"\x89PNG")
    assert place_of(tmp_path / "out.PNG", "3052", "-read.jpg", 1) == tmp_path / "out.PNG"
    assert place_of(tmp_path / "out.PNG", "3052", "-read.jpg", 2) == tmp_path / "out-page2.PNG"
    assert place_of(tmp_path / "out", "3052-page2", "-read.jpg", 2) == tmp_path / "out" / "3052-page2-read.jpg"


def test_one_picture_for_two_photos_is_refused_before_any_is_read(photos, tmp_path):
    for wanted, option in (
        (Wanted(annotate=tmp_path / "a.jpg"), "--annotate"),
        (Wanted(stages=tmp_path / "a.png"), "--stages"),
    ):
        with pytest.raises(RunError, match=rf"{option} .*names one picture, and there are 2 photos. Name a folder"):
            next(read_files(photos[:2], wanted))
    assert not list(tmp_path.glob("a.*"))


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    notes = write(tmp_path / "notes.txt", b"mine")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(RunError, match=r"--annotate .*notes\.txt is no folder to write in .* Name another"):
        check_place(notes, files, "--annotate")
    assert notes.read_bytes() == b"mine"
    check_place(tmp_path, files, "--annotate")
    check_place(None, files, "--annotate")


def test_the_folder_is_made_before_anything_is_read(tmp_path):
    check_place(tmp_path / "new" / "seen", [tmp_path / "a.png"], "--annotate")
    assert (tmp_path / "new" / "seen").is_dir()


@pytest.mark.parametrize("name", ["seen.webp", "seen.pdf", "seen.TIFF"])
def test_a_picture_of_a_kind_that_is_not_drawn_is_refused(tmp_path, name):
    with pytest.raises(RunError, match=r"written as \.png or \.jpg"):
        check_place(tmp_path / name, [tmp_path / "a.png"], "--stages")
    assert not list(tmp_path.iterdir())


def test_both_kinds_of_pictures_in_one_place_are_refused(photos, tmp_path):
    with pytest.raises(RunError, match=r"--annotate and --stages both name .*Name two places"):
        next(read_files(photos[:1], Wanted(annotate=tmp_path / "a.jpg", stages=tmp_path / "a.jpg")))
    assert not (tmp_path / "a.jpg").exists()


def test_a_pdf_has_a_picture_for_each_page(two_pages, tmp_path):
    assert [o.error for o in read_files([two_pages], Wanted(annotate=tmp_path / "out"))] == [""]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "two-page1-read.jpg",
        "two-page2-read.jpg",
    ]
    first, second = ((tmp_path / "out" / f"two-page{page}-read.jpg").read_bytes() for page in (1, 2))
    assert first != second


def test_no_page_s_picture_is_lost_in_one_file(two_pages, tmp_path):
    """Written beside: the second page shall not take the place of the first in silence."""
    (outcome,) = read_files([two_pages], Wanted(annotate=tmp_path / "out" / "one.jpg"))
    assert outcome.error == ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one-page2.jpg", "one.jpg"]


@pytest.mark.parametrize("place", ["68.jpg", ""], ids=["the photo itself", "the photo's folder"])
def test_a_photo_is_never_overwritten_by_its_own_picture(tmp_path, place):
    Image.fromarray(pixels_of("68")).save(tmp_path / "68.jpg")
    before = (tmp_path / "68.jpg").read_bytes()
    with suppress(RunError):
        list(read_files([tmp_path / "68.jpg"], Wanted(annotate=tmp_path / place)))
    assert (tmp_path / "68.jpg").read_bytes() == before


def test_a_place_that_cannot_be_written_is_refused_before_any_is_read(photos, tmp_path):
    write(tmp_path / "notes.txt", b"mine")
    with pytest.raises(RunError, match=r"--annotate .*notes\.txt/in is no folder to write in"):
        next(read_files(photos[:2], Wanted(annotate=tmp_path / "notes.txt" / "in")))
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"


@pytest.mark.parametrize(("option", "ending"), [("annotate", "-read.jpg"), ("stages", "-stages.png")])
def test_a_picture_that_cannot_be_written_takes_no_reading_away(photos, tmp_path, option, ending):
    (tmp_path / "seen" / f"3052{ending}").mkdir(parents=True)
    first, second = read_files(photos[:2], Wanted(**{option: tmp_path / "seen"}))
    assert (first.text, second.text) == ("3052", "714")
    assert "Cannot write" in first.error and f"3052{ending}" in first.error and "--out" not in first.error
    assert second.error == "" and (tmp_path / "seen" / f"714{ending}").is_file()


# Scores


@pytest.fixture
def found(tmp_path) -> list[Outcome]:
    """Three photos, one of which could not be read."""
    return [
        Outcome(tmp_path / "photos" / "a.png", [{"text": "30 52"}]),
        Outcome(tmp_path / "photos" / "in" / "b.png", [{"text": "71"}]),
        Outcome(tmp_path / "photos" / "c.png", error="c.png is empty."),
    ]


LABELS = [Label(Path("a.png"), "3052"), Label(Path("in/b.png"), "714"), Label(Path("c.png"), "68")]


def test_outcomes_are_scored_by_their_labels(found, tmp_path):
    score = score_outcomes(found, LABELS, tmp_path / "photos")
    assert (score.total.files, score.total.right, score.total.digits) == (3, 1, 9)
    assert [(wrong.file.name, wrong.truth, wrong.read) for wrong in score.wrong] == [
        ("b.png", "714", "71"),
        ("c.png", "68", "?"),
    ]


def test_labels_of_another_folder_are_refused(found, tmp_path):
    with pytest.raises(DataError, match=r"named in the labels\. Are they of another folder"):
        score_outcomes(found, LABELS, tmp_path / "others")


def test_only_what_was_read_is_scored(found, tmp_path):
    assert score_outcomes(found[:1], LABELS, tmp_path / "photos").total.files == 1
    assert score_outcomes(found, LABELS[1:2], tmp_path / "photos").total.files == 1


def test_a_file_given_by_another_path_is_the_same(found, tmp_path, monkeypatch):
    (tmp_path / "photos" / "in").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path / "photos")
    ways = [Path("in/../a.png"), tmp_path / "link" / "in" / "b.png", Path("c.png")]
    others = [Outcome(way, outcome.pages, outcome.error) for way, outcome in zip(ways, found, strict=True)]
    for folder in (Path(), tmp_path / "link", tmp_path / "photos" / "in" / ".."):
        assert (
            score_outcomes(others, LABELS, folder).as_json()
            == score_outcomes(found, LABELS, tmp_path / "photos").as_json()
        )


def test_blank_and_marked_pages_are_scored_as_nothing_read(tmp_path):
    """From end to end: a blank page labelled "" is right, one labelled with a digit is wrong."""
    file = write(tmp_path / "blank.png", png(mark_photo("blank", Scene(height=60), 1).pixels))
    (outcome,) = read_files([file])
    assert score_outcomes([outcome], [Label(Path("blank.png"), "")], tmp_path).total.right == 1
    assert score_outcomes([outcome], [Label(Path("blank.png"), "8")], tmp_path).total.right == 0


def test_a_file_that_was_not_readable_is_never_right(tmp_path):
    """Labelled as blank, it was not found to be blank."""
    bad = Outcome(tmp_path / "a.png", error="a.png is empty.")
    assert score_outcomes([bad], [Label(Path("a.png"), "")], tmp_path).total.right == 0
