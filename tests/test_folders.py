"""A folder of images is decoded once, and its pack is trusted only while it is whole and fresh."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreign import printed_by_a_user
from guarismo.data import packing
from guarismo.data.dataset import UNKNOWN
from guarismo.data.folders import read_folder
from guarismo.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GUARISMO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def draw(path: Path, grey: int = 0, size: tuple[int, int] = (6, 4), mode: str = "L") -> Path:
    """An image of one grey value; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).convert(mode).save(path)
    return path


@pytest.fixture
def cats_and_dogs(tmp_path) -> Path:
    for number in range(4):
        draw(tmp_path / "pets" / "cats" / f"{number}.png", 10 + number)
        draw(tmp_path / "pets" / "dogs" / f"{number}.png", 20 + number)
    return tmp_path / "pets"


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


# Packs


def packs(cache: Path) -> list[Path]:
    return [path for path in (cache / "packs").iterdir() if path.suffix != ".lock"]


def decodes(folder: Path) -> bool:
    """Whether reading the folder tells of progress: only decoding does."""
    told = []
    read_folder(folder, progress=lambda *counts, **_: told.append(counts))
    return bool(told)


def test_the_second_time_nothing_is_decoded(cats_and_dogs, cache):
    assert decodes(cats_and_dogs)
    assert not decodes(cats_and_dogs)
    assert len(packs(cache)) == 1


def test_a_changed_added_or_removed_file_makes_the_pack_stale(cats_and_dogs):
    read_folder(cats_and_dogs)
    draw(cats_and_dogs / "cats" / "0.png", 77)
    assert read_folder(cats_and_dogs).train.images[0, 0, 0, 0] == 77
    draw(cats_and_dogs / "cats" / "4.png", 14)
    assert len(read_folder(cats_and_dogs).train) == 9
    (cats_and_dogs / "dogs" / "0.png").unlink()
    assert len(read_folder(cats_and_dogs).train) == 8
    os.utime(cats_and_dogs / "dogs" / "1.png", ns=(1, 1))
    assert decodes(cats_and_dogs)


DAMAGES = {
    "cut short": lambda images: images.write_bytes(images.read_bytes()[:-10]),
    "altered header": lambda images: images.write_bytes(images.read_bytes().replace(b"(8, 4, 6", b"(8, 6, 4")),
    "one bit flipped": lambda images: images.write_bytes(images.read_bytes()[:-1] + b"\xff"),
    "removed": lambda images: images.unlink(),
    "no index": lambda images: images.with_name("index.json").unlink(),
    "half an index": lambda images: images.with_name("index.json").write_text('{"format": 1'),
    "another index": lambda images: images.with_name("index.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pack_is_made_again(cats_and_dogs, cache, damage):
    before = read_folder(cats_and_dogs).train.images
    DAMAGES[damage](packs(cache)[0] / "images.npy")
    np.testing.assert_array_equal(read_folder(cats_and_dogs).train.images, before)
    assert not decodes(cats_and_dogs)


def test_a_cache_that_cannot_be_written_says_how_to_choose_another(cats_and_dogs, cache):
    cache.write_text("a file stands where the folder should be")
    with pytest.raises(DataError, match="GUARISMO_CACHE"):
        read_folder(cats_and_dogs)


def test_a_pack_in_a_cache_that_can_only_be_read_is_opened(cats_and_dogs, cache):
    read_folder(cats_and_dogs)
    for folder in (*packs(cache), cache / "packs"):
        folder.chmod(0o555)
    (lock,) = (cache / "packs").glob("*.lock")
    lock.chmod(0o444)
    script = f"""
        from guarismo.data.folders import read_folder
        from guarismo.errors import DataError
        print(len(read_folder({str(cats_and_dogs)!r}).train))
        try:
            read_folder({str(cats_and_dogs)!r}, channels=3)
        except DataError as error:
            print(error)
    """
    try:
        opened, refused = printed_by_a_user(script).splitlines()
    finally:
        (cache / "packs").chmod(0o755)
    assert opened == "8"
    assert "Cannot write into the cache" in refused and "GUARISMO_CACHE" in refused


def test_a_file_that_may_be_read_again_is_read_again(cats_and_dogs):
    forbidden = cats_and_dogs / "cats" / "1.png"
    forbidden.chmod(0)
    script = f"""
        from pathlib import Path
        from guarismo.data.folders import read_folder
        from guarismo.errors import DataError
        try:
            read_folder({str(cats_and_dogs)!r})
        except DataError as error:
            print(error)
        Path({str(forbidden)!r}).chmod(0o644)
        print(len(read_folder({str(cats_and_dogs)!r}).train))
    """
    refused, read = printed_by_a_user(script).splitlines()
    assert "cats/1.png cannot be read: Permission denied" in refused
    assert read == "8"


def test_a_full_disk_leaves_nothing_behind(cats_and_dogs, cache):
    """The system refuses files beyond a limit, as it does on a full disk."""
    resource = pytest.importorskip("resource", reason="POSIX only")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match="Cannot write into the cache"):
            read_folder(cats_and_dogs, size=(512, 512))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert packs(cache) == []


def test_more_images_than_any_disk_holds_is_told_before_writing(tmp_path):
    with pytest.raises(DataError, match="--size"):
        packing.reserve(tmp_path / "images.npy", (10**9, 4096, 4096, 3))


def test_an_interruption_leaves_nothing_behind(cats_and_dogs, cache):
    def interrupt(done: int, total: int, **facts: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_folder(cats_and_dogs, progress=interrupt)
    assert packs(cache) == []


@pytest.fixture
def many(tmp_path) -> Path:
    """More images than one process takes on alone."""
    first = draw(tmp_path / "many" / "a" / "0.png", 7).read_bytes()
    for number in range(1, packing.FEW + 500):
        (tmp_path / "many" / "a" / f"{number}.png").write_bytes(first)
    return tmp_path / "many"


def test_many_images_are_decoded_in_parallel_and_in_order(many):
    draw(many / "a" / "777.png", 200)
    seen = []
    images = read_folder(many, progress=lambda done, total, **_: seen.append((done, total))).train.images
    names = sorted(path.name for path in (many / "a").iterdir())
    assert np.flatnonzero(images[:, 0, 0, 0] == 200).tolist() == [names.index("777.png")]
    assert seen[-1] == (len(names), len(names))


def test_a_corrupt_image_among_many_is_named_or_left_out_in_parallel_too(many):
    bad = many / "a" / "777.png"
    bad.write_bytes(bad.read_bytes()[:40])
    with pytest.raises(DataError, match=r"1 image cannot be read: a/777\.png.*--skip-bad"):
        read_folder(many)
    content = read_folder(many, skip_bad=True)
    assert len(content.train) == packing.FEW + 499
    assert (content.train.images == 7).all()
    assert content.notes == ("1 unreadable images were left out: a/777.png.",)


def test_ctrl_c_ends_the_workers_and_removes_what_was_begun(many, cache):
    """In its own process group, as in a terminal, without the guard that multiprocessing would ask of a script.

    `run` returns only when every process has closed its pipes: none is left."""
    script = f"""
        import os, signal
        from guarismo.data.folders import read_folder
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
        try:
            read_folder({str(many)!r}, progress=lambda *a, **k: os.killpg(os.getpgrp(), signal.SIGINT))
        except KeyboardInterrupt:
            print("interrupted")
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
        env={**os.environ, "GUARISMO_CACHE": str(cache)},
    )
    assert ran.stdout == "interrupted\n", ran.stderr
    assert "Traceback" not in ran.stderr
    assert packs(cache) == []
