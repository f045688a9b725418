import dataclasses

import cv2
import numpy as np
import pytest
from PIL import Image

from guarismo.errors import RunError
from guarismo.reading.intake import Picture
from guarismo.reading.reader import Reading, Refusal, read_picture, shipped_reader
from guarismo.results.pictures import (
    POSTER,
    annotated,
    annotated_size,
    answer,
    answer_panel,
    box_in,
    calm,
    colour_of,
    free_place,
    network_panel,
    notable,
    percent,
    rows_of_panels,
    rules_panel,
    save_picture,
    stages,
    verdict,
)
from guarismo.results.pictures import panels as one_by_one
from paper import Photo, Scene, photograph

EASY = Scene(pen="marker", height=90)
TITLES = [
    "1  The photo, upright",
    "2  Light and shadow divided out",
    "3  Ink above the noise",
    "4  Printed lines taken out",
    "5  One box for each digit",
    "6  What the network sees",
    "7  The answer",
]


def reading_of(pixels, scale: float = 1.0) -> Reading:
    height, width = pixels.shape[:2]
    size = round(width * scale), round(height * scale)
    return read_picture(Picture("photo.jpg", 1, pixels, scale, size), shipped_reader())


@pytest.fixture(scope="module")
def photo() -> Photo:
    return photograph("407 12", EASY, 1)


@pytest.fixture(scope="module")
def reading(photo) -> Reading:
    reading = reading_of(photo.pixels)
    assert reading.text == photo.text
    return reading


@pytest.fixture(scope="module")
def blank() -> Reading:
    return reading_of(np.full((300, 400, 3), 220, np.uint8))


def with_refusal(reading: Reading, *refused: Refusal) -> Reading:
    """The reading with these refusals instead of its own."""
    return dataclasses.replace(reading, refused=refused)


def changed(picture, reading: Reading):
    """Where a picture of the reading is not the photo: bool (h, w)."""
    return (picture != reading.picture.pixels).any(axis=2)


# annotated


def test_a_box_stands_round_each_digit(photo, reading):
    drawn = annotated(reading)
    green = (drawn == (0x00, 0x9E, 0x73)).all(axis=2)
    for x, y, width, height in photo.boxes:
        for level in (y + height // 2, y + height // 4):
            assert green[level, x - 12 : x + 8].any() and green[level, x + width - 8 : x + width + 12].any()


def test_the_rest_of_the_photo_is_as_it_was(photo, reading):
    drawn = annotated(reading)
    assert drawn.dtype == np.uint8 and drawn.shape == photo.pixels.shape
    near = np.zeros(drawn.shape[:2], bool)
    for x, y, width, height in photo.boxes:
        near[max(0, y - height) : y + 2 * height, max(0, x - height) : x + width + height] = True
    assert changed(drawn, reading).any() and not changed(drawn, reading)[~near].any()
    assert near.mean() < 0.7


def test_labels_leave_the_strokes_free(photo, reading):
    ink = cv2.erode(photo.ink.astype(np.uint8), np.ones((3, 3))) > 0
    assert changed(annotated(reading), reading)[ink].mean() < 0.02


def test_boxes_of_a_reduced_photo_are_in_pixels_of_the_original(photo, reading):
    reduced = reading_of(photo.pixels, scale=3.0)
    assert reduced.size == (photo.pixels.shape[1] * 3, photo.pixels.shape[0] * 3)
    np.testing.assert_array_equal(annotated(reduced), annotated(reading))


def test_a_small_photo_is_enlarged(photo):
    small = cv2.resize(photograph("5", EASY, 2).pixels, (40, 36), interpolation=cv2.INTER_AREA)
    assert annotated(reading_of(small)).shape == (432, 480, 3)


def test_a_crowded_photo_is_enlarged_as_far_as_labels_need(reading):
    line = reading.digits[0]
    crowd = [dataclasses.replace(line[0], box=(100 + 12 * k, 100, 10, 20)) for k in range(20)]
    width, height = annotated_size(dataclasses.replace(reading, digits=(tuple(crowd),)))
    assert (width, height) > annotated_size(reading) == reading.size
    assert max(width, height) <= 2000


def test_refused_ink_is_dashed_and_a_large_one_says_why(reading):
    refusal = Refusal((20, 20, 120, 90), "not a digit, or digits that I cannot separate: 0.31")
    drawn = annotated(with_refusal(reading, refusal))
    purple = (drawn == (0xCC, 0x79, 0xA7)).all(axis=2)
    assert purple[15:25, 15:145].any() and not purple[30:100, 30:130].any()
    assert (drawn == (0x7D, 0x35, 0x60)).all(axis=2).any()


def test_of_many_refusals_the_largest_have_words(reading):
    refused = [Refusal((5 * k, 5, k, k), "not a digit") for k in range(1, 100)]
    shown = notable(with_refusal(reading, *refused))
    assert len(shown) == 10 and {refusal.box[2] for refusal in shown} == set(range(90, 100))
    assert notable(with_refusal(reading, Refusal((5, 5, 4, 4), "not a digit"))) == []


def test_a_label_goes_below_where_there_is_no_room_above():
    taken = np.zeros((100, 100), np.uint8)
    assert free_place((20, 10), (40, 50, 20, 30), taken) == (40, 40)
    taken[:50] = 4
    assert free_place((20, 10), (40, 50, 20, 30), taken) == (40, 80)
    assert free_place((20, 10), (90, 50, 20, 30), np.zeros((100, 100), np.uint8)) == (80, 40)


def test_a_box_has_room_for_its_line(reading):
    assert box_in((10, 20, 30, 40), reading, reading.size) == (7, 17, 36, 46)


def test_confidence_is_rounded_down_and_coloured():
    assert [percent(confidence) for confidence in (0.9999, 1.0, 0.957, 0.5)] == ["99 %", "99 %", "95 %", "50 %"]
    assert len({colour_of(confidence) for confidence in (0.95, 0.94, 0.79)}) == 3


def test_a_blank_photo_says_so(blank, reading):
    assert blank.text == "" and not blank.refused
    assert changed_share(blank) > 0
    assert verdict(blank) == "No ink was found."
    refused = dataclasses.replace(blank, refused=(Refusal((9, 9, 50, 50), "not a digit"),))
    assert verdict(refused) == "Ink was found, but no digit."


def changed_share(reading: Reading) -> float:
    drawn = annotated(reading)
    return float((drawn != cv2.resize(reading.picture.pixels, drawn.shape[1::-1])).any(axis=2).mean())


# stages


def panels(reading: Reading):
    return [panel for row in rows_of_panels(reading) for panel in row]


@pytest.mark.parametrize("kind", ["reading", "blank"])
def test_every_step_has_its_panel(kind, request):
    shown = panels(request.getfixturevalue(kind))
    assert [panel.title for panel in shown] == TITLES
    assert all(panel.words.endswith(".") for panel in shown)
    assert all(panel.picture.dtype == np.uint8 and panel.picture.shape[2] == 3 for panel in shown)


@pytest.mark.parametrize("kind", ["reading", "blank"])
def test_the_poster_is_one_picture(kind, request, tmp_path):
    poster = stages(request.getfixturevalue(kind))
    assert poster.shape[1:] == (POSTER, 3) and poster.dtype == np.uint8
    save_picture(poster, tmp_path / "stages.png")
    assert (tmp_path / "stages.png").stat().st_size < 600_000


def test_white_paper_stays_white_and_black_black():
    for level in (0, 255):
        assert (calm(np.full((8, 8, 3), level, np.uint8)) == level).all()


@pytest.mark.parametrize(("size", "rows"), [((900, 300), [1] * 7), ((600, 600), [2, 2, 2, 1])])
def test_a_wide_photo_has_a_row_for_each_step(reading, size, rows):
    assert [len(row) for row in rows_of_panels(dataclasses.replace(reading, size=size))] == rows


def test_many_digits_have_the_whole_width(reading):
    many = dataclasses.replace(reading, digits=(reading.digits[0] * 7,))
    assert [len(row) for row in rows_of_panels(many)] == [2, 2, 1, 1, 1]


def test_lines_that_went_are_orange(reading):
    page = reading.steps.page
    lined = page.found.copy()
    lined[20:26] = 255
    ruled = dataclasses.replace(page, found=lined, rules=lined & ~page.ink)
    panel = rules_panel(with_page(reading, ruled), 542)
    assert (panel.picture == (0xD5, 0x5E, 0x00)).all(axis=2).any() and "orange" in panel.words
    plain = rules_panel(
        with_page(reading, dataclasses.replace(page, rules=np.zeros_like(page.ink), found=page.ink)), 542
    )
    assert plain.words == "None were found here: all ink stays."


def with_page(reading: Reading, page) -> Reading:
    return dataclasses.replace(reading, steps=dataclasses.replace(reading.steps, page=page))


def test_the_images_are_enlarged_without_smoothing(reading):
    glyph = reading.steps.lines[0][0]
    shown = network_panel(reading, 542).picture
    scale = next(s for s in (8, 6, 5, 4, 3, 2) if (shown[: 28 * s : s, : 28 * s : s, 0] == glyph.image).all())
    np.testing.assert_array_equal(shown[: 28 * scale, : 28 * scale, 0], np.kron(glyph.image, np.ones((scale, scale))))


def test_more_than_sixty_images_are_counted_and_refused_ones_stand_apart(reading):
    line = reading.steps.lines[0]
    steps = dataclasses.replace(reading.steps, lines=[line * 20], refused=[(line[0], "not a digit: 0.31")] * 20)
    crowded = network_panel(dataclasses.replace(reading, steps=steps), 1120)
    longer = dataclasses.replace(steps, lines=[line * 30], refused=steps.refused * 2)
    more = network_panel(dataclasses.replace(reading, steps=longer), 1120)
    assert 0 < len(more.picture) - len(crowded.picture) < 50  # one line: "and 30 more"


def test_the_least_certain_digit_is_named(reading):
    sure, doubtful = reading.digits[0][0], dataclasses.replace(reading.digits[1][1], confidence=0.61)
    some = dataclasses.replace(reading, digits=((sure, sure), (sure, doubtful)))
    assert "Least sure: the 2nd digit of line 2, 2" in verdict(some) and verdict(some).endswith("with 61 %.")
    assert verdict(dataclasses.replace(reading, digits=((doubtful,),))) == "One digit, 61 % sure."


def test_a_long_answer_is_cut_and_says_so(reading):
    line = reading.digits[0]
    long = answer(dataclasses.replace(reading, digits=(line * 100,) * 30), 800)
    assert long.shape[1] == 800 and len(long) < 700


def test_the_photo_shrunk_is_shown_beside_the_answer(reading):
    panel = answer_panel(reading, 1120)
    grey = cv2.resize(cv2.cvtColor(reading.picture.pixels, cv2.COLOR_RGB2GRAY), (28, 28), interpolation=cv2.INTER_AREA)
    corner = panel.picture[: 28 * 6 : 6, 1120 - 28 * 9 : 1120 - 28 * 3 : 6, 0]
    np.testing.assert_array_equal(corner, grey)


# files


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_a_picture_is_written_whole(reading, tmp_path, suffix):
    path = tmp_path / "new" / f"out{suffix}"
    save_picture(annotated(reading), path)
    with Image.open(path) as image:
        assert image.size == reading.size
        assert image.format == ("PNG" if suffix == ".png" else "JPEG")
    assert list(path.parent.iterdir()) == [path]


def test_what_stood_there_stays_until_the_new_picture_is_whole(reading, tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    save_picture(annotated(reading), path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(RunError, match="No space left"):
        save_picture(np.zeros((5, 5, 3), np.uint8), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def refuse(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_another_suffix_or_place_is_refused_with_words(reading, tmp_path):
    with pytest.raises(RunError, match=r"must end in \.png, \.jpg, \.jpeg, received out\.tiff"):
        save_picture(annotated(reading), tmp_path / "out.tiff")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot write"):
        save_picture(annotated(reading), tmp_path / "file" / "out.png")


def test_the_steps_one_by_one_are_those_of_the_poster():
    pixels = photograph("52", Scene(height=60), 0).pixels
    picture = Picture("photo.jpg", 1, pixels, 1.0, pixels.shape[1::-1])
    reading = read_picture(picture, shipped_reader())
    alone, rows = one_by_one(reading), panels(reading)
    assert [panel.title for panel in alone] == [panel.title for panel in rows]
    assert {panel.picture.shape for panel in alone[:5]} == {alone[0].picture.shape}
