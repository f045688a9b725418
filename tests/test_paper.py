"""Paper: the same seed gives the same photo, what a scene asks for is to be seen, and the truth is true."""

import dataclasses

import cv2
import numpy as np
import pytest

from paper import CLUTTER, KINDS, LIGHTS, PAPERS, PENS, RULINGS, Scene, main, mark_photo, non_digits, photograph

PLAIN = Scene(height=60)
CHANGES = [
    *({"ruling": name} for name in RULINGS if name != PLAIN.ruling),
    *({"light": name} for name in LIGHTS if name != PLAIN.light),
    *({"pen": name} for name in PENS if name != PLAIN.pen),
    *({"paper": name} for name in PAPERS if name != PLAIN.paper),
    *({"clutter": (name,)} for name in CLUTTER),
    *({"tilt": 8.0}, {"perspective": 0.3}, {"blur": 2.0}, {"noise": 0.1}, {"jpeg": 30}, {"gap": 1.0}),
    *({"touching": True}, {"style": "european"}),
]


def covered(photo) -> np.ndarray:
    """Where the boxes are: bool (h, w)."""
    inside = np.zeros(photo.ink.shape, bool)
    for x, y, w, h in photo.boxes:
        inside[y : y + h, x : x + w] = True
    return inside


def test_a_seed_is_a_photo():
    scene = dataclasses.replace(PLAIN, ruling="squared", light="phone_shadow", clutter=CLUTTER)
    one, two, other = (photograph("407 15", scene, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert one.boxes == two.boxes
    assert one.pixels.shape != other.pixels.shape or (one.pixels != other.pixels).any()
    np.testing.assert_array_equal(non_digits(20, 1), non_digits(20, 1))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "-".join(map(str, *change.items())))
def test_what_is_asked_for_is_to_be_seen_and_the_truth_stays_true(change):
    plain = photograph("301 47", PLAIN, 1, (500, 400))
    photo = photograph("301 47", dataclasses.replace(PLAIN, **change), 1, (500, 400))
    assert photo.pixels.dtype == np.uint8 and photo.pixels.shape == (400, 500, 3)
    assert (np.abs(photo.pixels.astype(int) - plain.pixels).max(axis=-1) > 8).mean() > 0.001
    assert photo.text == "301 47" and len(photo.boxes) == 5
    assert not photo.ink[~covered(photo)].any(), "ink outside its box"
    for x, y, w, h in photo.boxes:
        assert x >= 0 and y >= 0 and x + w <= 500 and y + h <= 400
        assert photo.ink[y : y + h, x : x + w].any(axis=0).all(), "a box is wider than its ink"


@pytest.mark.parametrize("pen", [name for name in PENS if name != "pencil"])
def test_true_ink_is_where_the_photo_is_dark_or_for_light_pens_light(pen):
    photo = photograph("2568", dataclasses.replace(PLAIN, pen=pen), 2)
    grey = photo.pixels.min(axis=-1).astype(float)
    near = cv2.dilate(photo.ink.astype(np.uint8), np.ones((25, 25))) > 0
    apart = grey[photo.ink].mean() - grey[near & ~photo.ink].mean()
    assert apart > 30 if PENS[pen].light else apart < -30


@pytest.mark.parametrize("height", [36, 120, 300])
def test_digits_have_the_height_that_was_asked_for(height):
    photo = photograph("23456 7890", Scene(height=height), 0)
    assert np.median([h for _, _, _, h in photo.boxes]) == pytest.approx(height, rel=0.12)


def test_boxes_come_in_reading_order():
    photo = photograph("123 45", PLAIN, 5)
    x, y, _, h = np.array(photo.boxes).T
    assert (np.diff(x[:3]) > 0).all() and (np.diff(x[3:]) > 0).all()
    assert (y[3:] > y[:3].max() + h[:3].min() / 2).all()


def test_touching_digits_are_one_piece_and_others_are_not():
    apart, touching = (
        photograph("2345", dataclasses.replace(PLAIN, touching=each, pen="felt"), 0) for each in (False, True)
    )
    pieces = [cv2.connectedComponents(photo.ink.astype(np.uint8))[0] - 1 for photo in (apart, touching)]
    assert pieces == [4, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_has_no_truth(kind):
    photo = mark_photo(kind, PLAIN, 1, (300, 200))
    assert (photo.text, photo.boxes, photo.ink.any()) == ("", [], False)
    assert photo.pixels.shape == (200, 300, 3)


def test_non_digits_are_as_mnist_has_its_digits():
    marks = non_digits(300, 2)
    assert marks.shape == (300, 28, 28) and marks.dtype == np.uint8
    assert len(np.unique(marks.reshape(300, -1), axis=0)) > 250
    sides = [cv2.boundingRect((mark > 60).astype(np.uint8))[2:] for mark in marks]
    assert np.median([max(side) for side in sides]) == pytest.approx(20, abs=1.5)
    assert np.median(marks[:, 0]) == 0


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="light is one of"):
        Scene(light="disco")
    with pytest.raises(ValueError, match="not confetti"):
        Scene(clutter=("confetti",))
    with pytest.raises(ValueError, match="the photo has 100×50"):
        photograph("123", size=(100, 50))
    with pytest.raises(ValueError, match="no digit"):
        photograph(" ")


def test_the_sheet_of_examples_is_drawn(tmp_path):
    main(str(tmp_path / "sheet.png"))
    assert cv2.imread(str(tmp_path / "sheet.png")).std() > 20
