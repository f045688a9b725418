"""PolyMNIST is made as its authors made it, and its store and its files hold the same."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import save

from foreign import bytes_like, fuzz
from guarismo.data.dataset import UNKNOWN, Split
from guarismo.data.folders import list_images
from guarismo.data.images import decode_image, with_channels
from guarismo.data.polymnist import (
    TEXTURES,
    Store,
    Table,
    backgrounds,
    content_of_table,
    grey_store,
    make_store,
    name_of,
    open_store,
    read_originals,
    table_in,
    table_of_names,
    write_files,
)
from guarismo.data.sources import load
from guarismo.errors import DataError


@pytest.fixture(scope="module")
def mnist() -> tuple[Split, Split]:
    """A little of it: 300 training and 40 test images."""
    digits = load("digits")
    spread = [np.linspace(0, len(part) - 1, n).astype(int) for part, n in ((digits.train, 300), (digits.test, 40))]
    return digits.train.take(spread[0]), digits.test.take(spread[1])


@pytest.fixture(scope="module")
def own() -> dict[str, np.ndarray]:
    """All of our own backgrounds."""
    return backgrounds(None, 10)


@pytest.fixture(scope="module")
def pictures(own) -> dict[str, np.ndarray]:
    return dict(list(own.items())[:3])


@pytest.fixture(scope="module")
def store(mnist, pictures, tmp_path_factory) -> Store:
    return make_store(tmp_path_factory.mktemp("made") / "store", *mnist, pictures, seed=1)


COLUMNS = ("part", "modality", "digit", "index", "original")


def parts_of(table: Table) -> dict[str, np.ndarray]:
    return {part: np.flatnonzero(table.part == part) for part in ("train", "test")}


# What is drawn


def test_every_original_is_used_once_in_each_modality(mnist, store):
    train, test = mnist
    for part, first, count in (("train", 0, len(train)), ("test", len(train), len(test))):
        for modality in range(3):
            chosen = (store.table.part == part) & (store.table.modality == modality)
            assert sorted(store.table.original[chosen]) == list(range(first, first + count))


def test_the_digit_of_a_name_is_the_label_of_its_original(mnist, store):
    labels = np.concatenate([part.labels for part in mnist])
    assert (labels[store.table.original] == store.table.digit).all()


def test_images_of_one_name_share_the_digit_and_seldom_the_original(store):
    train = store.table.take(parts_of(store.table)["train"])
    views = [train.original[train.modality == modality] for modality in range(3)]
    names = [train.index[train.modality == modality] for modality in range(3)]
    assert (names[0] == names[1]).all() and (names[0] == names[2]).all()
    assert (views[0] == views[1]).mean() < 0.1


def test_the_index_counts_within_the_digit(mnist, store):
    train, _ = mnist
    chosen = (store.table.part == "train") & (store.table.modality == 2)
    for digit in range(10):
        found = store.table.index[chosen & (store.table.digit == digit)]
        assert sorted(found) == list(range((train.labels == digit).sum()))


def test_every_pixel_follows_the_rule_of_the_authors(mnist, pictures, store):
    """Their rule, image by image: somewhere on the background lies a crop that gives this image."""
    originals = np.concatenate([part.images for part in mnist])
    names = list(pictures)
    for row in np.random.default_rng(0).choice(len(store.table), 12, replace=False):
        background = pictures[names[store.table.modality[row]]]
        ink = originals[store.table.original[row], ..., 0] > 128
        crop = np.array(store.images[row])
        crop[ink] = 255 - crop[ink]
        places = np.argwhere((background[:-27, :-27] == crop[0, 0]).all(axis=-1))
        assert any((background[top : top + 28, left : left + 28] == crop).all() for top, left in places)


def test_crops_come_from_the_whole_background(mnist, tmp_path):
    """Each pixel of this background says where it lies."""
    place = np.zeros((40, 50, 3), dtype=np.uint8)
    place[..., 0], place[..., 1] = np.mgrid[:40, :50]
    made = make_store(tmp_path / "store", *mnist, {"a": place, "b": place})
    corners = made.images[:, 0, 0, :2]
    assert corners.min(axis=0).tolist() == [0, 0]
    assert corners.max(axis=0).tolist() == [40 - 28, 50 - 28]


def test_the_same_seed_gives_the_same_and_another_seed_another(mnist, pictures, store, tmp_path):
    again = make_store(tmp_path / "again", *mnist, pictures, seed=1)
    other = make_store(tmp_path / "other", *mnist, pictures, seed=2)
    assert np.array_equal(again.images, store.images)
    assert not np.array_equal(other.images, store.images)
    assert not np.array_equal(other.table.original, store.table.original)
    assert (other.table.names == store.table.names).all()


def test_one_more_modality_leaves_the_others_as_they_are(mnist, pictures, store, tmp_path):
    fewer = make_store(tmp_path / "fewer", *mnist, dict(list(pictures.items())[:2]), seed=1)
    assert np.array_equal(fewer.images, store.images[store.table.modality < 2])


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_the_grey_of_the_colours(mnist, pictures, store, tmp_path, channels):
    made = make_store(tmp_path / "made", *mnist, pictures, 1, channels)
    assert np.array_equal(made.images, with_channels(np.array(store.images), channels))


def test_the_grey_store_needs_no_mnist(mnist, pictures, store, tmp_path):
    made = grey_store(tmp_path / "grey", store)
    direct = make_store(tmp_path / "direct", *mnist, pictures, 1, 1)
    assert np.array_equal(made.images, direct.images)
    assert made.about["made_of"] == direct.about["made_of"]


def test_only_digits_of_28_by_28_are_taken(bars, mnist, pictures, tmp_path):
    train, test = mnist
    with pytest.raises(DataError, match=r"28×28 with labels 0 to 9, received images \(8, 8, 1\)"):
        make_store(tmp_path / "store", bars.train, test, pictures)
    with pytest.raises(DataError, match="received the label 10"):
        make_store(tmp_path / "store", train, replace(test, labels=test.labels + 1), pictures)


# Backgrounds


def test_our_own_backgrounds_are_ten_different_pictures(own):
    assert list(own) == ["china.jpg", "flower.jpg", *TEXTURES]
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for picture in own.values())
    colours = np.array([picture.mean(axis=(0, 1)) for picture in own.values()])
    assert min(np.abs(a - b).max() for i, a in enumerate(colours) for b in colours[:i]) > 8


def test_digits_stay_legible_on_our_own_backgrounds(own):
    """Within a crop, some channel of the background is far from its inverse almost everywhere."""
    rng = np.random.default_rng(0)
    for name, picture in own.items():
        contrast = np.abs(255 - 2 * picture.astype(int)).max(axis=-1)
        corners = rng.integers(0, np.array(picture.shape[:2]) - 27, (300, 2))
        faint = [(contrast[top : top + 28, left : left + 28] < 60).mean() > 0.5 for top, left in corners]
        assert np.mean(faint) < 0.05, name


def test_backgrounds_of_a_folder_stand_in_the_order_of_their_names(tmp_path):
    for name, grey in (("b.png", 20), ("a.jpg", 10), ("c.png", 30), (".hidden.png", 0)):
        Image.new("L", (30, 28), grey).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = backgrounds(tmp_path, 2)
    assert {name: picture.tolist()[0][0] for name, picture in found.items()} == {"a.jpg": [10] * 3, "b.png": [20] * 3}


def test_too_few_too_small_or_damaged_backgrounds_are_named(tmp_path):
    Image.new("RGB", (27, 300)).save(tmp_path / "narrow.png")
    with pytest.raises(DataError, match="holds 1 pictures, expected 2"):
        backgrounds(tmp_path, 2)
    (tmp_path / "z.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"narrow.png has 300×27 pixels, a background needs at least 28×28"):
        backgrounds(tmp_path, 2)
    (tmp_path / "narrow.png").unlink()
    Image.new("RGB", (28, 28)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"z.png is not a readable image"):
        backgrounds(tmp_path, 2)
    with pytest.raises(DataError, match="cannot be read"):
        backgrounds(tmp_path / "nowhere", 2)


@pytest.mark.parametrize("count", [1, 11])
def test_there_are_two_to_ten_modalities(mnist, pictures, tmp_path, count):
    with pytest.raises(DataError, match=f"2 to 10 modalities, received {count}"):
        backgrounds(None, count)
    with pytest.raises(DataError, match=f"received {count}"):
        make_store(tmp_path, *mnist, {str(number): pictures["stars"] for number in range(count)})


# Store


def test_a_store_opens_as_it_was_made(store, tmp_path):
    place = Path(store.images.filename).parent
    found = open_store(place)
    assert np.array_equal(found.images, store.images)
    assert found.table.names.tolist() == store.table.names.tolist()
    assert found.about["made_of"]["seed"] == 1
    assert [name for name, *_ in found.about["made_of"]["backgrounds"]] == ["china.jpg", "flower.jpg", "stars"]


def test_a_store_is_made_once_and_anew_for_other_settings(mnist, pictures, tmp_path):
    calls = []
    for seed, is_written in ((1, True), (1, False), (2, True)):
        calls.clear()
        make_store(tmp_path / "store", *mnist, pictures, seed, progress=lambda done, total: calls.append((done, total)))
        assert bool(calls) == is_written
    assert calls[-1] == (1020, 1020)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "store.lock"]


def test_a_copied_store_opens(store, tmp_path):
    copy = shutil.copytree(Path(store.images.filename).parent, tmp_path / "copy")
    assert np.array_equal(open_store(copy).images, store.images)


@pytest.mark.parametrize("name", ["images.npy", "table.safetensors", "index.json"])
def test_a_store_that_was_altered_or_cut_is_made_again(mnist, pictures, store, tmp_path, name):
    for fault in ("altered", "cut", "gone"):
        place = shutil.copytree(Path(store.images.filename).parent, tmp_path / fault)
        content = bytearray((place / name).read_bytes())
        content[-1000:-900] = bytes(100) if fault == "altered" else b""
        (place / name).unlink() if fault == "gone" else (place / name).write_bytes(content)
        assert open_store(place) is None
        assert np.array_equal(make_store(place, *mnist, pictures, 1).images, store.images)


@fuzz
@given(data=st.data())
def test_any_index_and_table_are_a_store_or_none(store, tmp_path, data):
    whole = Path(store.images.filename).parent
    for name in ("index.json", "table.safetensors"):
        (tmp_path / name).write_bytes(data.draw(bytes_like((whole / name).read_bytes())))
    if not (tmp_path / "images.npy").exists():
        shutil.copy2(whole / "images.npy", tmp_path)
    found = open_store(tmp_path)
    assert found is None or len(found.images) == len(found.table)


@fuzz
@given(table=bytes_like(save({name: np.arange(3) for name in COLUMNS})))
def test_any_bytes_are_a_table_or_refused(table):
    """Whoever can write the table can write its hash, so that this keeps nothing out."""
    try:
        found = table_in(table)
    except (ValueError, TypeError, SafetensorError):
        return
    assert {column.shape for column in vars(found).values()} == {found.part.shape}


def test_a_store_of_another_version_is_none(store, tmp_path):
    place = shutil.copytree(Path(store.images.filename).parent, tmp_path / "copy")
    about = json.loads((place / "index.json").read_text())
    (place / "index.json").write_text(json.dumps({**about, "format": 0}))
    assert open_store(place) is None


WRITING = """
    import resource, sys
    import numpy as np
    from pathlib import Path
    from guarismo.data.polymnist import backgrounds, make_store, write_files
    from guarismo.data.sources import load
    from guarismo.errors import DataError

    digits = load("digits")
    def stop(done, total):
        {stop}
    try:
        {call}(Path(sys.argv[1]), digits.train, digits.test, backgrounds(None, 2), progress=stop)
    except DataError as error:
        print(error)
"""


def written(call: str, place: Path, stop: str) -> subprocess.CompletedProcess:
    script = textwrap.dedent(WRITING).format(call=call, stop=stop)
    return subprocess.run([sys.executable, "-c", script, place], capture_output=True, text=True)


FULL = "resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, resource.RLIM_INFINITY))"


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    ran = written("make_store", tmp_path / "store", FULL.format(most=4_000_000))
    assert f"Cannot write into the cache {tmp_path}: File too large" in ran.stdout, ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["store.lock"]
    ran = written("write_files", tmp_path / "out", FULL.format(most=1_000))
    assert f"Cannot write into {tmp_path / 'out'}: File too large" in ran.stdout, ran.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_too_little_room_is_said_before_anything_is_written(mnist, pictures, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="No space left"):
        make_store(tmp_path / "store", *mnist, pictures)
    with pytest.raises(DataError, match="No space left"):
        write_files(tmp_path / "out", *mnist, pictures)


@pytest.mark.parametrize("call", ["make_store", "write_files"])
def test_what_a_killed_process_left_is_taken_for_nothing_and_written_anew(mnist, pictures, store, tmp_path, call):
    ran = written(call, tmp_path / "made", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert ran.returncode == -9
    if call == "make_store":
        assert open_store(tmp_path / "made") is None
        assert np.array_equal(make_store(tmp_path / "made", *mnist, pictures, 1).images, store.images)
    else:
        assert list_images(tmp_path / "made").files == ()
        assert write_files(tmp_path / "made", *mnist, pictures, 1) == len(store.table)
    assert not list(tmp_path.rglob("*.new"))


# Files


@pytest.fixture(scope="module")
def files(mnist, pictures, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("files") / "out"
    assert write_files(out, *mnist, pictures, 1) == 3 * 340
    return out


def test_files_and_store_hold_the_same_in_the_same_order(files, store):
    paths = [file.path for file in list_images(files / "MMNIST").files]
    assert paths == store.table.names.tolist()
    images = np.array([decode_image(files / "MMNIST" / path) for path in paths])
    assert np.array_equal(images, store.images)


def test_files_tell_which_original_they_show(files, store):
    originals = read_originals(files / "MMNIST")
    paths = [file.path for file in list_images(files).files]
    assert paths[0] == "MMNIST/test/m0/0.0.png"
    table = table_of_names(paths, originals)
    assert table.original.tolist() == store.table.original.tolist()


def test_another_reader_of_png_sees_the_same(files):
    cv2 = pytest.importorskip("cv2")
    for path in sorted((files / "MMNIST" / "test" / "m1").iterdir()):
        assert np.array_equal(cv2.imread(str(path))[..., ::-1], decode_image(path))


def test_a_folder_that_is_not_empty_is_left_alone(mnist, pictures, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"is not empty: it holds thesis.txt. Choose a new folder"):
        write_files(tmp_path, *mnist, pictures)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_there_are_no_originals_without_their_file(tmp_path):
    assert read_originals(tmp_path) == {}


@pytest.mark.parametrize(
    "text", ["", "file,original", "file,original\na.png,x\n", "a.png,1\n", "file,original\na.png,1"]
)
def test_a_damaged_list_of_originals_is_named(tmp_path, text):
    (tmp_path / "originals.csv").write_text(text)
    with pytest.raises(DataError, match=r"originals.csv: expected 'file,original'"):
        read_originals(tmp_path)


@fuzz
@given(content=bytes_like(b"file,original\ntrain/m0/0.0.png,12\ntrain/m0/0.1.png,13\n"))
def test_any_bytes_are_originals_or_refused(tmp_path, content):
    (tmp_path / "originals.csv").write_bytes(content)
    try:
        assert all(number >= 0 for number in read_originals(tmp_path).values())
    except DataError as error:
        assert "originals.csv" in str(error)


# Names


whole_names = st.builds(
    name_of, st.sampled_from(["train", "test"]), st.integers(0, 999), st.integers(0, 10**9 - 1), st.integers(0, 9)
)


@given(names=st.lists(whole_names, min_size=1), prefix=st.sampled_from(["", "MMNIST/", "PolyMNIST/MMNIST/"]))
def test_a_table_gives_back_the_names_that_it_was_read_from(names, prefix):
    table = table_of_names([prefix + name for name in names], {names[0]: 7})
    assert table.names.tolist() == names
    assert table.original[0] == 7
    assert {int(original) for original in table.original} <= {7, UNKNOWN}


LAYOUT = re.compile(r"(train|test)/m(0|[1-9][0-9]{0,2})/(0|[1-9][0-9]{0,8})\.[0-9]\.png")
some_letters = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80)
near_names = st.from_regex(r"(train|test|val)/m[0-9]{1,4}/[0-9.]{0,12}[.](png|PNG|jpg)", fullmatch=True)


@given(names=st.lists(st.one_of(whole_names, near_names, some_letters), max_size=12))
def test_any_names_are_a_table_or_none_or_the_first_wrong_one_is_named(names):
    right = [bool(LAYOUT.fullmatch(name)) for name in names]
    try:
        table = table_of_names(names)
    except DataError as error:
        assert sum(right) > len(names) / 2
        assert str(error).startswith(f"{names[right.index(False)]} is not named")
    else:
        assert (table is None) == (sum(right) <= len(names) / 2)
        assert table is None or table.names.tolist() == names


def test_other_layouts_are_not_taken_for_it():
    assert table_of_names([]) is None
    assert table_of_names(["cats/1.png", "dogs/1.png"]) is None
    assert table_of_names([f"train/m{number % 5}/{number}.png" for number in range(50)]) is None


@pytest.mark.parametrize(
    "wrong", ["train/m0/12.png", "train/m0/12.a.png", "samples.png", "MMNIST/train/m0/9.9.png", "é.png"]
)
def test_the_first_file_that_is_named_otherwise_is_named(wrong):
    names = sorted([*(name_of("train", 0, number, 7) for number in range(20)), wrong])
    with pytest.raises(DataError, match=rf"^{re.escape(wrong)} is not named .* train/m0/INDEX.DIGIT.png"):
        table_of_names(names)


# What is learnt


def test_the_digit_is_learnt_from_the_names(store):
    content = content_of_table(Path("poly"), store.images, store.table, "digit")
    assert content.class_names == tuple("0123456789")
    for part, rows in parts_of(store.table).items():
        split = getattr(content, part)
        assert np.array_equal(split.images, store.images[rows])
        assert [int(name[-5]) for name in split.names] == split.labels.tolist()
        assert split.groups.tolist() == store.table.original[rows].tolist()
    assert content.validation is None
    assert content.notes == (
        "The digit is learnt (from the file names); the folders m0…m2 are modalities: --target modality learns those.",
    )


def test_the_modality_is_learnt_where_it_is_asked_for(store):
    content = content_of_table(Path("poly"), store.images, store.table, "modality")
    assert content.class_names == ("m0", "m1", "m2")
    assert [f"m{label}" for label in content.test.labels] == [name.split("/")[1] for name in content.test.names]
    assert content.notes[0].startswith("The modality is learnt (the folders m0…m2), not the digit: --target digit")


def test_files_and_store_are_one_dataset(files, store):
    listing = list_images(files / "MMNIST").files
    images = np.array([decode_image(files / "MMNIST" / file.path) for file in listing])
    table = table_of_names([file.path for file in listing])
    for target in ("digit", "modality"):
        of_files = content_of_table(files, images, table, target)
        of_store = content_of_table(files, store.images, store.table, target)
        assert of_files.train.fingerprint == of_store.train.fingerprint
        assert of_files.test.fingerprint == of_store.test.fingerprint


def test_where_originals_are_unknown_it_is_said(store):
    table = replace(store.table, original=np.full(len(store.table), UNKNOWN))
    content = content_of_table(Path("poly"), store.images, table, "modality")
    assert content.train.groups is None
    assert "is not known: the same handwriting" in content.notes[1]


def test_in_grey_it_is_said_that_digits_vanish(store):
    grey = with_channels(np.array(store.images), 1)
    assert any("mid-grey" in note for note in content_of_table(Path("p"), grey, store.table, "digit").notes)
    assert not any("mid-grey" in note for note in content_of_table(Path("p"), grey, store.table, "modality").notes)


def test_views_of_one_name_stand_side_by_side(store):
    content = content_of_table(Path("poly"), store.images, store.table, "digit", views=True)
    assert content.train.images.shape == (300, 28, 84, 3)
    assert content.train.groups is None
    names = store.table.names.tolist()
    for row in (0, 17, 299):
        name = content.train.names[row]
        views = [store.images[names.index(name.replace("/m0/", f"/m{view}/"))] for view in range(3)]
        assert np.array_equal(content.train.images[row], np.concatenate(views, axis=1))
        assert content.train.labels[row] == int(name[-5])
    assert content.test.names.tolist() == [name for name in names if name.startswith("test/m0/")]
    assert "share handwriting" in content.notes[1]


@pytest.mark.parametrize("gone", ["train/m1/3.7.png", "test/m0/0.1.png"])
def test_a_missing_view_is_named(store, gone):
    kept = np.flatnonzero(store.table.names != gone)
    with pytest.raises(DataError, match=rf"poly: {re.escape(gone)} is missing; .* leave --views out"):
        content_of_table(Path("poly"), store.images[kept], store.table.take(kept), "digit", views=True)
    assert len(content_of_table(Path("poly"), store.images[kept], store.table.take(kept), "digit").train) >= 899


def test_views_have_no_modality_to_learn(store):
    with pytest.raises(DataError, match="only the digit can be learnt"):
        content_of_table(Path("poly"), store.images, store.table, "modality", views=True)


def test_a_test_part_alone_cannot_be_learnt(store):
    rows = parts_of(store.table)["test"]
    with pytest.raises(DataError, match="poly holds test/ but no train/"):
        content_of_table(Path("poly"), store.images[rows], store.table.take(rows), "digit")
