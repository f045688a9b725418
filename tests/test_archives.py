"""A zip of images is listed and packed as the folder in it would be, and whatever else it may be, a DataError."""

import io
import pickle
import stat
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from drawn import draw_pets
from foreign import bytes_like, fuzz, png, read_or_refused, write
from guarismo.data import archives, packing
from guarismo.data.archives import list_archive
from guarismo.data.folders import list_images
from guarismo.data.packing import Pack, open_or_make_pack
from guarismo.errors import DataError
from guarismo.progress import silent

IMAGE = png(np.arange(24, dtype=np.uint8).reshape(4, 6))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GUARISMO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def zip_bytes(*members: tuple[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", how) as archive, warnings.catch_warnings(action="ignore"):  # of names that repeat
        for name, content in members:
            archive.writestr(name, content, how)
    return target.getvalue()


def zipped(folder: Path, top: str = "", how: int = zipfile.ZIP_DEFLATED) -> Path:
    """The folder as an archive beside it, every name after `top`, folders listed too."""
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", how) as archive:
        for path in folder.rglob("*"):
            archive.write(path, top + str(path.relative_to(folder)))
    return target


@pytest.fixture
def pets(tmp_path) -> Path:
    return draw_pets(tmp_path / "pets")


def pack_of(archive: Path) -> Pack:
    return open_or_make_pack(list_archive(archive), None, None, silent)


def paths_in(archive: Path) -> list[str]:
    return [file.path for file in list_archive(archive).files]


# What is in the archive


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_gives_the_files_folders_and_pixels_of_the_folder_in_it(pets, how):
    expected, listing = list_images(pets), list_archive(zipped(pets, how=how))
    assert [file[:2] for file in listing.files] == [file[:2] for file in expected.files]
    assert (listing.folders, listing.ignored) == (expected.folders, 0)
    pack = open_or_make_pack(listing, None, None, silent)
    np.testing.assert_array_equal(pack.images, open_or_make_pack(expected, None, None, silent).images)


@pytest.mark.parametrize("top", ["pets/", "a/b/pets/"])
def test_the_folders_around_everything_are_left_away(pets, top):
    archive = zipped(pets, top)
    assert list_archive(archive).folders == ("cats", "dogs")
    assert pack_of(archive).images[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 20, 21, 22, 23]


def test_a_folder_that_holds_the_files_themselves_stays(tmp_path):
    archive = write(tmp_path / "a.zip", zip_bytes(("pets/cats/1.png", IMAGE), ("pets/cats/2.png", IMAGE)))
    assert paths_in(archive) == ["cats/1.png", "cats/2.png"]
    archive = write(tmp_path / "b.zip", zip_bytes(("1.png", IMAGE), ("cats/2.png", IMAGE)))
    assert paths_in(archive) == ["1.png", "cats/2.png"]


def test_a_folder_without_images_is_listed_whether_or_not_others_are(tmp_path):
    archive = write(tmp_path / "a.zip", zip_bytes(("dogs/", b""), ("cats/1.png", IMAGE), ("cats/old/2.png", IMAGE)))
    assert list_archive(archive).folders == ("cats", "cats/old", "dogs")


def test_an_archive_without_images_is_an_empty_listing(tmp_path):
    assert list_archive(write(tmp_path / "a.zip", zip_bytes())).files == ()


def test_hidden_and_other_files_are_counted_as_in_a_folder(pets):
    for name in (".DS_Store", "cats/.git/objects/1.png", "cats/.git/2.png", "__MACOSX/cats/._0.png", "notes.txt"):
        (pets / name).parent.mkdir(parents=True, exist_ok=True)
        (pets / name).write_bytes(b"")
    expected, listing = list_images(pets), list_archive(zipped(pets))
    assert listing.ignored == expected.ignored == 4
    assert len(listing.files) == 8
    assert listing.folders == expected.folders


def test_another_image_of_the_same_size_makes_the_pack_stale(tmp_path):
    for grey in (10, 90):
        image = np.full((4, 6), grey, dtype=np.uint8)
        archive = write(tmp_path / "a.zip", zip_bytes(("cats/1.png", png(image)), how=zipfile.ZIP_STORED))
        assert pack_of(archive).images[0, 0, 0, 0] == grey


def test_a_pack_outlives_the_copying_of_its_archive_to_and_fro(pets, tmp_path):
    """What is compared is what is in it, not when the file was written."""
    archive = zipped(pets)
    pack_of(archive)
    write(archive, archive.read_bytes())
    told = []
    open_or_make_pack(list_archive(archive), None, None, lambda *counts, **_: told.append(counts))
    assert not told


def test_many_members_are_decoded_in_parallel_and_in_order(tmp_path):
    greys = np.random.default_rng(0).integers(0, 256, packing.FEW + 500, dtype=np.uint8)
    members = ((f"{number:05}.png", png(np.full((2, 2), grey, dtype=np.uint8))) for number, grey in enumerate(greys))
    archive = write(tmp_path / "a.zip", zip_bytes(*members))
    np.testing.assert_array_equal(pack_of(archive).images[:, 0, 0, 0], greys)


def test_an_unreadable_image_in_a_whole_archive_is_reported_as_in_a_folder(tmp_path):
    pack = pack_of(write(tmp_path / "a.zip", zip_bytes(("cats/1.png", IMAGE), ("cats/2.png", b"no image"))))
    assert list(pack.bad) == ["cats/2.png"]
    assert pack.bad["cats/2.png"].startswith("cats/2.png is not a readable image")


# Archives that are refused


def entry(name: str, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info


def renamed(name: str) -> bytes:
    """An archive in which 'cats/1.png' has another name of ten letters, that no program would write."""
    assert len(name) == 10
    return zip_bytes(("cats/1.png", IMAGE)).replace(b"cats/1.png", name.encode())


def directory_field(archive: bytes, name: str, offset: int, kind: str, value: int) -> bytes:
    """The archive with a field of the entry of `name` in its list of contents altered."""
    start = archive.rindex(name.encode()) - 46
    assert archive[start : start + 4] == b"PK\1\2"
    content = bytearray(archive)
    struct.pack_into(kind, content, start + offset, value)
    return bytes(content)


ONE = zip_bytes(("cats/1.png", IMAGE))
TWO = zip_bytes(("cats/1.png", IMAGE), ("cats/2.png", IMAGE))

REFUSED = {
    "above": (zip_bytes(("../1.png", IMAGE)), r"'\.\./1\.png' could mean a place outside"),
    "above, further in": (zip_bytes(("cats/../../1.png", IMAGE)), "could mean a place outside"),
    "absolute": (zip_bytes(("/etc/1.png", IMAGE)), "'/etc/1.png' could mean"),
    "a drive": (zip_bytes(("C:1.png", IMAGE)), "'C:1.png' could mean"),
    "backslashes": (renamed("..\\..\\.png"), "could mean a place outside"),
    "a zero byte": (renamed("cats/1\0png"), r"'cats/1\\x00png' could mean"),
    "an escape sequence": (renamed("\x1b[2J/1.png"), r"'\\x1b\[2J/1\.png' could mean"),
    "an unsafe name of what is no image": (zip_bytes(("../notes.txt", b""), ("cats/1.png", IMAGE)), "notes.txt"),
    "a name twice": (zip_bytes(("cats/1.png", IMAGE), ("cats/1.png", IMAGE)), "'cats/1.png' comes twice"),
    "a link": (zip_bytes((entry("cats/1.png", stat.S_IFLNK), b"/etc/passwd")), "'cats/1.png' is a link"),
    "a device": (zip_bytes((entry("cats/1.png", stat.S_IFCHR), b"")), "'cats/1.png' is a link or device"),
    "encrypted": (directory_field(ONE, "cats/1.png", 8, "<H", 1), "'cats/1.png' is encrypted"),
    "bzip2": (zip_bytes(("cats/1.png", IMAGE), how=zipfile.ZIP_BZIP2), "'cats/1.png' is compressed in an unusual"),
    "lzma": (zip_bytes(("cats/1.png", IMAGE), how=zipfile.ZIP_LZMA), "'cats/1.png' is compressed in an unusual"),
    "more than deflate can do": (directory_field(ONE, "cats/1.png", 24, "<I", 2**28), "have 268,435,456 bytes"),
    "too large": (directory_field(ONE, "cats/1.png", 24, "<I", 2**30), "'cats/1.png' is said to have 1,073,741,824"),
    "two members in one place": (directory_field(TWO, "cats/2.png", 42, "<I", 0), "lie in one another"),
    "beyond the end": (directory_field(ONE, "cats/1.png", 20, "<I", 10**6), "'cats/1.png' goes beyond its end"),
    "cut short": (ONE[:-30], "damaged or not a zip"),
    "nothing": (b"", "damaged or not a zip"),
    "an image": (IMAGE, "damaged or not a zip"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_no_archive_of_images_needs_is_refused_by_name(tmp_path, fault):
    content, message = REFUSED[fault]
    with pytest.raises(DataError, match=message):
        list_archive(write(tmp_path / "strange.zip", content))


def test_the_faultless_archives_that_were_altered_are_read(tmp_path):
    assert paths_in(write(tmp_path / "a.zip", ONE)) == ["cats/1.png"]
    assert paths_in(write(tmp_path / "b.zip", TWO)) == ["cats/1.png", "cats/2.png"]
    assert paths_in(write(tmp_path / "c.zip", renamed("birds1.png"))) == ["birds1.png"]


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1)
    with pytest.raises(DataError, match="holds 2 members, at most 1"):
        list_archive(write(tmp_path / "a.zip", TWO))


def test_too_many_bytes_in_all_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_TOTAL", 2 * len(IMAGE) - 1)
    with pytest.raises(DataError, match="its images are said to have"):
        list_archive(write(tmp_path / "a.zip", TWO))


def test_a_member_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBER", len(IMAGE) - 1)
    with pytest.raises(DataError, match=f"'cats/1.png' is said to have {len(IMAGE)} bytes"):
        list_archive(write(tmp_path / "a.zip", ONE))


def test_a_list_of_contents_that_is_too_long_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_DIRECTORY", 100)
    assert paths_in(write(tmp_path / "a.zip", ONE)) == ["cats/1.png"]
    with pytest.raises(DataError, match="its list of contents has 112 bytes, at most 100"):
        list_archive(write(tmp_path / "b.zip", TWO))


def test_an_archive_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.zip cannot be read: No such file"):
        list_archive(tmp_path / "none.zip")


# Archives that break their promise


def with_altered_data(archive: bytes, at: int = 60) -> bytes:
    return archive[:at] + bytes([archive[at] ^ 0xFF]) + archive[at + 1 :]


SHORTER = directory_field(ONE, "cats/1.png", 16, "<I", zlib.crc32(IMAGE[:-1]))
STORED = zip_bytes(("cats/1.png", IMAGE), how=zipfile.ZIP_STORED)

BROKEN = {
    "stored data altered": with_altered_data(STORED),
    "deflated data altered": with_altered_data(ONE),
    "no member where one should be": with_altered_data(ONE, at=0),
    "another CRC": directory_field(ONE, "cats/1.png", 16, "<I", 7),
    "larger than promised": directory_field(SHORTER, "cats/1.png", 24, "<I", len(IMAGE) - 1),
    "smaller than promised": directory_field(ONE, "cats/1.png", 24, "<I", len(IMAGE) + 1),
    "deflated data cut short": directory_field(ONE, "cats/1.png", 20, "<I", 10),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_member_that_is_not_what_was_promised_ends_the_packing_and_leaves_nothing(tmp_path, cache, fault):
    archive = write(tmp_path / "strange.zip", BROKEN[fault])
    with pytest.raises(DataError, match=r"strange\.zip is damaged: its member 'cats/1\.png'"):
        pack_of(archive)
    assert [path.suffix for path in (cache / "packs").iterdir()] == [".lock"]
    write(archive, ONE)  # downloaded again
    assert not pack_of(archive).bad


def test_a_damaged_member_among_many_ends_the_workers_too(tmp_path, cache):
    """None of those that are looked at beforehand."""
    members = [(f"{number:05}.png", IMAGE) for number in range(packing.FEW + 500)]
    whole = zip_bytes(*members, how=zipfile.ZIP_STORED)
    place = whole.index(b"00777.png") + 60
    archive = write(tmp_path / "strange.zip", with_altered_data(whole, place))
    with pytest.raises(DataError, match=r"strange\.zip is damaged: its member '00777\.png'"):
        pack_of(archive)
    assert [path.suffix for path in (cache / "packs").iterdir()] == [".lock"]


def test_a_member_that_vanished_since_it_was_listed_is_told(tmp_path):
    archive = write(tmp_path / "a.zip", TWO)
    listing = pickle.loads(pickle.dumps(list_archive(archive)))  # as a worker receives what reads
    write(archive, ONE)
    assert listing.read(archive, "cats/1.png") == IMAGE
    with pytest.raises(DataError, match=r"altered while it was read: 'cats/2\.png' is gone"):
        listing.read(archive, "cats/2.png")


@fuzz
@given(content=bytes_like(TWO))
def test_any_bytes_are_images_or_refused(tmp_path, content):
    path = write(tmp_path / "strange.zip", content)
    listing = read_or_refused(list_archive, path)
    for file in listing.files if listing else ():
        content = read_or_refused(lambda archive, name=file.path: listing.read(archive, name), path)
        assert content is None or len(content) == file.size
