"""A folder of images becomes parts and classes by the names of its folders, at one size, with bad files named."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drawn import draw, draw_pets
from guarismo.data import dataset
from guarismo.data.dataset import UNKNOWN
from guarismo.data.folders import read_folder
from guarismo.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GUARISMO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def cats_and_dogs(tmp_path) -> Path:
    return draw_pets(tmp_path / "pets")


# Layouts


def test_class_folders_become_labels(cats_and_dogs):
    content = read_folder(cats_and_dogs)
    assert content.class_names == ("cats", "dogs")
    assert content.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert content.train.images[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 20, 21, 22, 23]
    assert content.train.names.tolist() == [f"{name}/{number}.png" for name in ("cats", "dogs") for number in range(4)]
    assert content.train.images.shape == (8, 4, 6, 1)
    assert content.notes == ()


def test_classes_stand_in_natural_order(tmp_path):
    for name in ("10", "2", "1"):
        draw(tmp_path / "in" / name / "a.png", int(name))
    content = read_folder(tmp_path / "in")
    assert content.class_names == ("1", "2", "10")
    assert [content.class_names[k] for k in content.train.labels] == [str(v) for v in content.train.images[:, 0, 0, 0]]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "Testing")])
def test_train_validation_and_test_folders_are_parts(tmp_path, names):
    for part in names:
        draw(tmp_path / "in" / part / "cats" / "a.png")
        draw(tmp_path / "in" / part / "dogs" / "deeper" / "b.png")
    content = read_folder(tmp_path / "in")
    assert content.class_names == ("cats", "dogs")
    assert [part.labels.tolist() for part in (content.train, content.validation, content.test)] == [[0, 1]] * 3


def test_images_without_class_folders_have_no_labels(tmp_path):
    draw(tmp_path / "in" / "a.png")
    content = read_folder(tmp_path / "in")
    assert content.train.labels.tolist() == [UNKNOWN]
    assert content.class_names == ()


def test_one_class_alone_can_be_loaded(tmp_path):
    draw(tmp_path / "in" / "cats" / "a.png")
    assert read_folder(tmp_path / "in").class_names == ("cats",)


def test_hidden_and_other_files_are_ignored_and_counted(cats_and_dogs):
    (cats_and_dogs / "cats" / ".DS_Store").write_bytes(b"")
    (cats_and_dogs / "notes.txt").write_text("hello")
    content = read_folder(cats_and_dogs)
    assert len(content.train) == 8
    assert "2 files that are hidden or no images were ignored." in content.notes


def test_an_empty_class_folder_is_named(cats_and_dogs):
    (cats_and_dogs / "birds").mkdir()
    with pytest.raises(DataError, match="birds holds no image"):
        read_folder(cats_and_dogs)


def test_a_folder_without_images_says_what_was_expected(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="Expected one folder per class"):
        read_folder(tmp_path / "in")


def test_an_image_beside_class_folders_is_named(cats_and_dogs):
    draw(cats_and_dogs / "stray.png")
    with pytest.raises(DataError, match=r"stray\.png lies beside class folders"):
        read_folder(cats_and_dogs)


def test_a_class_that_training_lacks_is_named(tmp_path):
    draw(tmp_path / "in" / "train" / "cats" / "a.png")
    draw(tmp_path / "in" / "test" / "birds" / "a.png")
    with pytest.raises(DataError, match="'birds' is in the test part only"):
        read_folder(tmp_path / "in")


@pytest.mark.parametrize("third", ["docs", "cats"])
def test_a_third_folder_beside_train_and_test_is_named_with_the_remedy(tmp_path, third):
    draw(tmp_path / "in" / "train" / "cats" / "a.png")
    draw(tmp_path / "in" / "test" / "cats" / "a.png")
    (tmp_path / "in" / third).mkdir()
    with pytest.raises(DataError, match=rf"test/ and train/, and beside them {third}/.*Move what is no part"):
        read_folder(tmp_path / "in")


@pytest.mark.parametrize("names", [["test"], ["val", "Test"]])
def test_a_test_part_without_train_is_told(tmp_path, names):
    for name in names:
        draw(tmp_path / "in" / name / "cats" / "a.png")
    with pytest.raises(DataError, match=r"but no train/\. Add train/"):
        read_folder(tmp_path / "in")
    assert read_folder(tmp_path / "in" / names[0]).class_names == ("cats",)


def test_a_train_beside_other_vehicles_is_a_class_which_is_noted(tmp_path):
    for name in ("car", "train"):
        draw(tmp_path / "in" / name / "a.png")
    content = read_folder(tmp_path / "in")
    assert content.class_names == ("car", "train")
    assert content.notes == ("The folder train/ was taken for a class, not for a part.",)


def strange(folder: Path, name: bytes) -> Path:
    """The path of that name, which is not UTF-8."""
    path = folder / os.fsdecode(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    path.unlink()
    return path


def test_a_class_folder_whose_name_is_not_utf8_is_named_with_the_remedy(cats_and_dogs):
    draw(strange(cats_and_dogs, b"caf\xe9") / "a.png")
    with pytest.raises(DataError, match=r"class folder caf\\xe9 in .*Rename"):
        read_folder(cats_and_dogs)


def test_a_file_whose_name_is_not_utf8_is_read_and_its_name_can_be_written(cats_and_dogs):
    draw(strange(cats_and_dogs / "cats", b"caf\xe9.png"))
    strange(cats_and_dogs / "dogs", b"\xff.png").write_bytes(b"")
    for _ in range(2):  # packed, then reopened
        content = read_folder(cats_and_dogs, skip_bad=True)
        assert content.train.names[4] == r"cats/caf\xe9.png"
        assert content.notes == (r"1 unreadable images were left out: dogs/\xff.png.",)


# Size and colour


def test_colour_that_is_lost_is_counted(cats_and_dogs):
    Image.new("RGB", (6, 4), (200, 0, 0)).save(cats_and_dogs / "cats" / "red.png")
    for _ in range(2):  # packed, then reopened
        assert read_folder(cats_and_dogs, channels=1).notes == ("1 RGB images became grey.",)
    assert read_folder(cats_and_dogs).notes == ()


def test_the_most_common_size_wins_and_others_are_scaled_and_counted(cats_and_dogs):
    draw(cats_and_dogs / "cats" / "big.png", 99, size=(600, 400))
    content = read_folder(cats_and_dogs)
    assert content.train.images.shape == (9, 4, 6, 1)
    assert (content.train.images[4] == 99).all()
    assert content.notes == ("1 images of another size were scaled to fit 4×6.",)


def test_a_wanted_size_and_colour_are_obeyed(cats_and_dogs):
    content = read_folder(cats_and_dogs, size=(8, 8), channels=3)
    assert content.train.images.shape == (8, 8, 8, 3)
    assert "8 images of another size" in content.notes[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_grey_in_any_mode_is_grey(tmp_path, mode):
    draw(tmp_path / "in" / f"a.{'jpg' if mode == 'CMYK' else 'png'}", 255, mode=mode)
    images = read_folder(tmp_path / "in").train.images
    assert images.shape == (1, 4, 6, 1)
    assert (images == 255).all()


def test_a_folder_of_mixed_modes_and_sizes_becomes_one_array(tmp_path):
    for mode in ("L", "P", "RGB", "RGBA", "LA"):
        draw(tmp_path / "in" / f"{mode}.png", 80, mode=mode)
    Image.fromarray(np.full((4, 6), 80 * 257, dtype=np.uint16)).save(tmp_path / "in" / "deep.png")
    draw(tmp_path / "in" / "photo.jpg", 80, size=(60, 40))
    draw(tmp_path / "in" / "tall.bmp", 80, size=(4, 40))
    content = read_folder(tmp_path / "in")
    assert content.train.images.shape == (8, 4, 6, 1)
    assert (content.train.images == 80).all()
    assert content.notes == ("2 images of another size were scaled to fit 4×6.",)


def test_one_coloured_image_anywhere_makes_the_set_coloured(tmp_path):
    """The coloured one is none of the few that are looked at beforehand: packing starts again in colour."""
    for number in range(150):
        draw(tmp_path / "in" / f"{number:03}.png", number, mode="RGB")
    Image.new("RGB", (6, 4), (200, 0, 0)).save(tmp_path / "in" / "001.png")
    images = read_folder(tmp_path / "in").train.images
    assert images.shape == (150, 4, 6, 3)
    assert images[1, 0, 0].tolist() == [200, 0, 0]
    assert images[149, 0, 0].tolist() == [149, 149, 149]


# Bad images


def test_a_corrupt_image_among_many_is_named_with_the_remedy(cats_and_dogs):
    whole = (cats_and_dogs / "cats" / "1.png").read_bytes()
    (cats_and_dogs / "cats" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"1 image cannot be read: cats/1\.png.*--skip-bad"):
        read_folder(cats_and_dogs)


def test_skip_bad_goes_on_and_lists_them(cats_and_dogs):
    (cats_and_dogs / "cats" / "1.png").write_bytes(b"")
    (cats_and_dogs / "dogs" / "3.png").write_text("no image")
    for _ in range(2):  # packed, then reopened
        content = read_folder(cats_and_dogs, skip_bad=True)
        assert content.train.images[:, 0, 0, 0].tolist() == [10, 12, 13, 20, 21, 22]
        assert content.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert "cats/1.png" not in content.train.names
        assert "2 unreadable images were left out: cats/1.png, dogs/3.png." in content.notes
    with pytest.raises(DataError, match="2 images cannot be read"):
        read_folder(cats_and_dogs)


def test_nothing_but_bad_images_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of its 1 images"):
        read_folder(tmp_path / "in", skip_bad=True)


# What is learnt: the folder, or the end of the file's name


@pytest.fixture
def pens_and_digits(tmp_path) -> Path:
    """Two folders of pens, and in each the digits 3 to 5 at the end of the files' names."""
    for pen in ("blue", "red"):
        for number in range(9):
            draw(tmp_path / "pens" / pen / f"{number}.{3 + number % 3}.png", 10 * number)
    return tmp_path / "pens"


def test_where_folders_and_names_both_tell_a_class_the_message_asks_which(pens_and_digits):
    with pytest.raises(DataError, match=r"folder names are blue…red but the file names end in \.3–\.5: digit or mod"):
        read_folder(pens_and_digits)


def test_the_answer_decides_what_is_learnt(pens_and_digits):
    assert read_folder(pens_and_digits, target="modality").class_names == ("blue", "red")
    content = read_folder(pens_and_digits, target="digit")
    assert content.class_names == ("3", "4", "5")
    ends = [int(name.split(".")[1]) - 3 for name in content.train.names]
    assert content.train.labels.tolist() == ends


def test_nobody_is_asked_where_the_two_agree_or_names_only_count(tmp_path, cats_and_dogs):
    for digit in (0, 1):
        for number in range(4):
            draw(tmp_path / "agree" / str(digit) / f"{number}.{digit}.png")
    assert read_folder(tmp_path / "agree").class_names == ("0", "1")
    for number in range(120):
        draw(cats_and_dogs / ("cats", "dogs")[number % 2] / f"photo.{number}.png")
    assert read_folder(cats_and_dogs).class_names == ("cats", "dogs")


def test_a_name_without_its_class_is_named_where_names_are_learnt(pens_and_digits):
    draw(pens_and_digits / "red" / "portrait.png")
    with pytest.raises(DataError, match=r"red/portrait\.png does not end in a class.*--target modality"):
        read_folder(pens_and_digits, target="digit")


# PolyMNIST's layout


@pytest.fixture
def poly(tmp_path) -> Path:
    """PolyMNIST/MMNIST/{train,test}/m0…m1/INDEX.DIGIT.png; the value tells the modality and the digit."""
    home = tmp_path / "PolyMNIST" / "MMNIST"
    for part, count in (("train", 4), ("test", 2)):
        for modality in (0, 1):
            for index in range(count):
                for digit in (0, 7):
                    draw(home / part / f"m{modality}" / f"{index}.{digit}.png", 100 * modality + digit, (28, 28))
    return tmp_path / "PolyMNIST"


def test_the_digit_of_polymnist_is_learnt_and_said(poly):
    content = read_folder(poly)
    assert content.class_names == ("0", "7")
    assert content.train.labels.tolist() == [0 if value % 100 == 0 else 1 for value in content.train.images[:, 0, 0, 0]]
    assert "The digit is learnt" in content.notes[0] and "--target modality" in content.notes[0]
    assert len(content.test) == 8


def test_the_modality_of_polymnist_is_learnt_where_that_is_asked(poly):
    content = read_folder(poly, target="modality")
    assert content.class_names == ("m0", "m1")
    assert (content.train.images[:, 0, 0, 0] // 100 == content.train.labels).all()


@pytest.mark.parametrize("inside", ["", "MMNIST"])
def test_the_folder_may_be_named_at_any_height(poly, inside):
    assert len(read_folder(poly / inside).train) == 16


def test_views_of_polymnist_stand_side_by_side(poly):
    content = read_folder(poly, views=True)
    assert content.train.images.shape == (8, 28, 56, 1)
    assert (content.train.images[:, 0, 28, 0].astype(int) - content.train.images[:, 0, 0, 0] == 100).all()


def test_a_missing_view_is_named(poly):
    (poly / "MMNIST" / "train" / "m1" / "2.7.png").unlink()
    assert len(read_folder(poly).train) == 15
    with pytest.raises(DataError, match=r"train/m1/2\.7\.png is missing"):
        read_folder(poly, views=True)


def test_views_of_another_layout_are_refused(cats_and_dogs):
    with pytest.raises(DataError, match="not in the layout of PolyMNIST"):
        read_folder(cats_and_dogs, views=True)


def test_a_name_of_polymnist_without_its_digit_is_named(poly):
    draw(poly / "MMNIST" / "train" / "m0" / "portrait.png", 1, (28, 28))
    with pytest.raises(DataError, match=r"train/m0/portrait\.png is not named as PolyMNIST's files"):
        read_folder(poly)


def test_a_damaged_file_of_polymnist_is_named_or_left_out(poly):
    (poly / "MMNIST" / "train" / "m0" / "1.7.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"train/m0/1\.7\.png.*--skip-bad"):
        read_folder(poly)
    content = read_folder(poly, skip_bad=True)
    assert len(content.train) == 15
    assert content.train.labels.tolist() == [0 if value % 100 == 0 else 1 for value in content.train.images[:, 0, 0, 0]]


def test_a_modality_of_the_test_that_training_lacks_is_named(poly):
    draw(poly / "MMNIST" / "test" / "m2" / "0.0.png", 200, (28, 28))
    with pytest.raises(DataError, match="training has"):
        read_folder(poly, target="modality")


def test_a_zip_of_polymnist_is_the_same_data(poly, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "poly"), "zip", tmp_path, "PolyMNIST")
    zipped, folder = read_folder(archive), read_folder(poly)
    assert zipped.train.fingerprint == folder.train.fingerprint
    assert zipped.test.fingerprint == folder.test.fingerprint
    np.testing.assert_array_equal(zipped.train.names, folder.train.names)


def test_large_folders_stay_on_disk(cats_and_dogs, monkeypatch):
    whole = read_folder(cats_and_dogs).train
    monkeypatch.setattr(dataset, "MOST_CHUNK_BYTES", 24)
    mapped = read_folder(cats_and_dogs).train
    assert isinstance(mapped.images, dataset.Mapped) and isinstance(whole.images, np.ndarray)
    assert mapped.fingerprint == whole.fingerprint
