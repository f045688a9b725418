"""Intake: what phones, scanners and printers make becomes upright pixels, everything else a DataError that names it."""

import io
import os
import pickle
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foreign import bytes_like, fuzz, png, printed_by_a_user, read_or_refused, write
from guarismo.data.images import decode_image, image_size
from guarismo.errors import DataError
from guarismo.reading.intake import MOST_PAGES, WORKING_SIDE, Picture, numbered_picture, photo_files, pictures

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **how) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **how)
    return target.getvalue()


def heic(image: Image.Image, **how) -> bytes:
    """Made without Pillow knowing HEIF, which is what the reader has to see to."""
    target = io.BytesIO()
    pillow_heif.from_pillow(image).save(target, **how)
    return target.getvalue()


def pdf(pages: int = 1, size: tuple[float, float] = (210, 297), password: str = "") -> bytes:
    """Pages of millimetres with a black square at the top left, as far from the edges as it is large."""
    document = FPDF(unit="mm", format=size)
    for _ in range(pages):
        document.add_page()
        side = min(size) / 10
        document.rect(side, side, side, side, style="F")
    if password:
        document.set_encryption(owner_password="owner", user_password=password)
    return bytes(document.output())


def pdf_of_picture(image: Image.Image) -> bytes:
    document = FPDF()
    document.add_page()
    document.image(image, w=100)
    return bytes(document.output())


def only(source: bytes | Path, name: str = "") -> Picture:
    (picture,) = pictures(source, name)
    return picture


def grey(value: int, width: int, height: int) -> Image.Image:
    return Image.new("L", (width, height), value)


WHOLE = {
    "jpg": encoded(Image.fromarray(NOISE), "JPEG"),
    "png": png(NOISE),
    "heic": heic(Image.fromarray(NOISE), quality=90),
    "pdf": pdf_of_picture(Image.fromarray(NOISE)),
}
OTHERS = {
    "gif": encoded(Image.fromarray(NOISE), "GIF"),
    "webp": encoded(Image.fromarray(NOISE), "WEBP"),
    "tif": encoded(Image.fromarray(NOISE), "TIFF"),
    "avif": encoded(Image.fromarray(NOISE), "AVIF"),
}


# What is read


@pytest.mark.parametrize("kind", [*WHOLE, *OTHERS])
def test_every_format_is_read_from_bytes_and_from_a_file_whatever_its_suffix(tmp_path, kind):
    content = {**WHOLE, **OTHERS}[kind]
    picture = only(write(tmp_path / "photo.dat", content))
    assert picture.name == str(tmp_path / "photo.dat")
    assert picture.page == 1
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous
    assert picture.pixels.std() > 10  # the noise is there
    np.testing.assert_array_equal(only(content).pixels, picture.pixels)


def test_a_small_picture_is_not_enlarged_and_grey_is_repeated():
    picture = only(png(np.array([[0, 100], [200, 255]], dtype=np.uint8)), "a.png")
    assert picture.pixels[..., 1].tolist() == [[0, 100], [200, 255]]
    assert (picture.pixels == picture.pixels[..., :1]).all()
    assert (picture.name, picture.scale, picture.size) == ("a.png", 1.0, (2, 2))


@pytest.mark.parametrize("width, height", [(1, 1), (1, 10_000), (10_000, 1), (2001, 3), (3, 2001), (4001, 2999)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_any_proportion_fits_the_working_side(kind, width, height):
    picture = only(encoded(grey(60, width, height), kind))
    assert picture.size == (width, height)
    assert max(picture.pixels.shape[:2]) == min(WORKING_SIDE, max(width, height))
    assert picture.scale == max(width, height) / max(picture.pixels.shape[:2])
    assert picture.pixels.shape[0] == max(1, round(height / picture.scale))
    assert picture.pixels.shape[1] == max(1, round(width / picture.scale))
    assert (picture.pixels == 60).all()


def test_shrinking_averages_areas():
    """A pattern as fine as pixels becomes its mean, in every tile and at their seams."""
    checks = (np.indices((2500, 4000)).sum(axis=0) % 2 * 200).astype(np.uint8)
    picture = only(png(checks))
    assert picture.pixels.shape == (938, 1500, 3)
    assert (picture.pixels == 100).all()


def test_positions_survive_shrinking():
    """`scale` leads back from a pixel here to where it was."""
    image = np.full((3100, 4700), 255, dtype=np.uint8)
    image[2500:2600, 4000:4100] = 0
    picture = only(png(image))
    rows, columns = np.nonzero(picture.pixels[..., 0] < 128)
    assert rows.min() * picture.scale == pytest.approx(2500, abs=picture.scale)
    assert (columns.max() + 1) * picture.scale == pytest.approx(4100, abs=picture.scale)


def test_all_black_stays_black():
    assert only(encoded(grey(0, 3000, 2000), "JPEG")).pixels.max() == 0


def test_every_mode_becomes_rgb():
    """Scanners and editors: CMYK, 16 bits, 1 bit, palette, transparency over white."""
    colour = Image.new("RGB", (2400, 8), (200, 60, 20))
    assert abs(only(encoded(colour.convert("CMYK"), "JPEG")).pixels.astype(int) - (200, 60, 20)).max() <= 3
    assert (only(encoded(colour.convert("P", palette=Image.Palette.ADAPTIVE), "PNG")).pixels == (200, 60, 20)).all()
    assert (only(encoded(Image.new("RGBA", (2400, 8), (200, 60, 20, 0)), "PNG")).pixels == 255).all()
    assert (only(encoded(Image.new("LA", (2400, 8), (0, 51)), "PNG")).pixels == 204).all()
    assert (only(encoded(Image.new("1", (2400, 8), 1), "TIFF")).pixels == 255).all()


def test_16_bits_are_judged_by_the_whole_picture():
    """Its dark parts are not taken for an 8-bit picture in a wider file."""
    image = np.full((2, 4400), 200, dtype=np.uint16)
    image[:, -200:] = 0xFFFF
    pixels = only(png(image)).pixels
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[0, -1].tolist() == [255, 255, 255]
    assert only(png(np.full((2, 4400), 200, dtype=np.uint16))).pixels.min() == 200


def test_of_several_frames_the_first_is_read():
    frames = {"save_all": True, "append_images": [grey(240, 20, 10)]}
    for kind in ("GIF", "WEBP", "TIFF", "PNG", "MPO"):
        assert abs(only(encoded(grey(20, 20, 10), kind, **frames)).pixels.astype(int) - 20).max() <= 3, kind


def test_a_phone_s_double_picture_is_reduced_as_it_is_decoded():
    """MPO: a JPEG with a second one behind it, as phones make."""
    content = encoded(grey(90, 4032, 3024), "MPO", save_all=True, append_images=[grey(200, 8, 8)])
    picture = only(content)
    assert (picture.size, picture.pixels.shape) == ((4032, 3024), (1125, 1500, 3))


# Upright

BACK = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation → how an upright picture lies in the file."""


def four_quarters(width: int = 96, height: int = 64) -> Image.Image:
    quarters = np.array([[0, 80], [160, 240]], dtype=np.uint8)
    return Image.fromarray(np.kron(quarters, np.ones((height // 2, width // 2), np.uint8))).convert("RGB")


def lying(note: int, kind: str, picture: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = note
    image = picture if BACK[note] is None else picture.transpose(BACK[note])
    return heic(image, exif=exif.tobytes(), quality=95) if kind == "HEIF" else encoded(image, kind, exif=exif)


@pytest.mark.parametrize("note", BACK)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF"])
def test_every_orientation_gives_the_same_upright_picture(kind, note):
    upright = four_quarters()
    content = lying(note, kind, upright)
    picture = only(content)
    assert picture.size == (96, 64)
    assert np.abs(picture.pixels.astype(int) - np.asarray(upright)).mean() < 4
    np.testing.assert_array_equal(decode_image(content), picture.pixels)
    assert image_size(content) == (64, 96)


@pytest.mark.parametrize("note", [3, 6])
def test_a_large_photo_is_upright_too(note):
    picture = only(lying(note, "JPEG", four_quarters(4200, 2800)))
    assert (picture.size, picture.pixels.shape) == ((4200, 2800), (1000, 1500, 3))
    assert [picture.pixels[y, x, 0].round(-1) for y in (100, -100) for x in (100, -100)] == [0, 80, 160, 240]


def test_a_heif_file_that_names_no_codec_is_read():
    """Brand mif1, which AVIF has as well."""
    picture = only(WHOLE["heic"].replace(b"ftypheic", b"ftypmif1", 1))
    np.testing.assert_array_equal(picture.pixels, only(WHOLE["heic"]).pixels)


def test_heif_is_loaded_only_for_a_file_that_needs_it(tmp_path):
    script = f"""
        import sys
        from pathlib import Path
        from guarismo.reading.intake import pictures
        for name in ("a.jpg", "a.heic"):
            list(pictures(Path({str(tmp_path)!r}, name)))
            print(*(name in sys.modules for name in ("pillow_heif", "pypdfium2")))
    """
    for kind in ("jpg", "heic"):
        write(tmp_path / f"a.{kind}", WHOLE[kind])
    assert printed_by_a_user(script).split() == ["False", "False", "True", "False"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "HEIF"])
def test_where_a_photo_was_made_is_not_kept(kind):
    exif = Image.Exif()
    exif[0x010F] = "SECRETMAKER"
    exif.get_ifd(0x8825).update({1: "N", 2: (41.0, 24.0, 12.5), 29: "SECRETDAY"})
    image = Image.fromarray(NOISE)
    content = heic(image, exif=exif.tobytes()) if kind == "HEIF" else encoded(image, kind, exif=exif)
    assert b"SECRETDAY" in content
    assert b"SECRET" not in pickle.dumps(only(content))
    with pytest.raises(DataError) as error:
        only(content[: len(content) // 2])
    assert "SECRET" not in str(error.value)


# PDF


def test_every_page_of_a_pdf_is_rendered_on_white():
    pages = list(pictures(pdf(pages=3), "scan.pdf"))
    assert [(picture.name, picture.page) for picture in pages] == [("scan.pdf", 1), ("scan.pdf", 2), ("scan.pdf", 3)]
    page = pages[0]
    assert page.size == (2481, 3508)  # A4 at 300 dpi
    assert page.pixels.shape == (1500, 1061, 3)
    assert page.scale == 3508 / 1500
    square = 21 / 297 * 1500
    assert (page.pixels[int(square) + 2 : int(2 * square) - 2, int(square) + 2 : int(2 * square) - 2] == 0).all()
    assert (page.pixels[: int(square) - 2] == 255).all()


def test_a_colour_in_a_pdf_is_not_mirrored():
    content = pdf_of_picture(Image.new("RGB", (40, 40), (250, 120, 10)))
    assert (only(content).pixels == (250, 120, 10)).all(axis=-1).any()


def test_a_small_page_is_not_enlarged():
    picture = only(pdf(size=(50.8, 25.4)))
    assert (picture.size, picture.pixels.shape, picture.scale) == ((600, 300), (300, 600, 3), 1.0)


@pytest.mark.parametrize("size", [(4_000_000.0, 4_000_000.0), (4_000_000.0, 1.0), (0.5, 5000.0)])
def test_a_page_of_any_size_fits_the_working_side(size):
    assert max(only(pdf(size=size)).pixels.shape) == WORKING_SIDE


def test_a_pdf_is_found_behind_leading_junk():
    assert only(b"\r\n\r\n" + pdf()).pixels.shape == (1500, 1061, 3)


def test_a_protected_pdf_says_what_to_do():
    with pytest.raises(DataError, match=r"exam\.pdf is protected by a password\. Remove the password first"):
        only(pdf(password="1234"), "exam.pdf")
    assert only(pdf(password="")).page == 1


def test_a_pdf_without_or_with_too_many_pages_is_refused():
    with pytest.raises(DataError, match=r"long\.pdf has 201 pages, 1 to 200 are read"):
        next(pictures(pdf(pages=MOST_PAGES + 1), "long.pdf"))
    empty = pdf().replace(b"/Count 1", b"/Count 0").replace(b"/Kids [3 0 R]", b"/Kids [     ]")
    with pytest.raises(DataError, match=r"none\.pdf"):
        only(empty, "none.pdf")


def test_a_picture_bomb_inside_a_pdf_is_refused():
    content = pdf_of_picture(Image.new("L", (64, 64)))
    bomb = content.replace(b"/Width 64", b"/Width 99999").replace(b"/Height 64", b"/Height 99999")
    assert bomb != content
    with pytest.raises(
        DataError, match=r"Page 1 of bomb\.pdf: a picture of 99,999 × 99,999 pixels, at most 60 million"
    ):
        only(bomb, "bomb.pdf")


def test_a_damaged_pdf_is_refused():
    with pytest.raises(DataError, match=r"a\.pdf is damaged"):
        only(b"%PDF-1.7\n" + b"junk\n" * 100 + b"%%EOF\n", "a.pdf")


# What is refused


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_that_was_cut_short_is_refused(kind, tenth):
    content = WHOLE[kind]
    with pytest.raises(DataError, match="half copied"):
        only(content[: len(content) * tenth // 10], "half copied")


STRANGERS = {
    "empty": (b"", "is empty"),
    "text": (b"label,pixel0\n5,0\n", "is plain text"),
    "text of another time": ("año,días\n".encode("latin-1"), "is plain text"),
    "text from Windows": ("año".encode("utf-16"), "is plain text"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is PostScript"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
    "page": (b"<!DOCTYPE html>\n<html><body><svg/></body></html>", "is a web page"),
    "video": (b"\0\0\0\x18ftypisom\0\0\2\0isommp41", "is a video"),
    "film": (b"\x1a\x45\xdf\xa3\x01\0\0\0", "is a video"),
    "office": (b"PK\x03\x04\x14\0\6\0", "is a ZIP archive or an office document"),
    "zeros": (b"\0" * 5000, "is filled with zeros"),
    "jxl": (b"\xff\x0a\x00\x10", "is a JPEG XL picture"),
    "nothing known": (b"\x01\x02\x03\x04" * 9, "is not a readable image"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_what_is_no_picture_is_named(tmp_path, kind):
    content, words = STRANGERS[kind]
    with pytest.raises(DataError, match=words) as error:
        only(write(tmp_path / "seven.jpg", content))
    assert "seven.jpg" in str(error.value)
    assert "Expected a" in str(error.value)


def test_a_picture_may_look_like_something_else():
    """Netpbm's plain form is text, and a PNG may say <svg> in a comment."""
    assert only(b"P2\n2 1\n255\n7 9\n").pixels[0, :, 0].tolist() == [7, 9]
    words = b"tEXtsource\0<svg >"
    chunk = struct.pack(">I", len(words) - 4) + words + struct.pack(">I", zlib.crc32(words))
    assert only(WHOLE["png"][:33] + chunk + WHOLE["png"][33:]).size == (64, 64)


def test_a_bomb_s_heading_is_enough_to_refuse_it():
    header = struct.pack(">2I", 100_000, 100_000) + b"\x08\0\0\0\0"
    heading = b"IHDR" + header
    whole = png(NOISE[..., 0])
    bomb = whole[:12] + heading + struct.pack(">I", zlib.crc32(heading)) + whole[33:]
    with pytest.raises(DataError, match=r"bomb\.png: too many pixels, at most 60 million are read"):
        only(bomb, "bomb.png")


def test_a_real_bomb_is_refused_before_it_is_decoded(monkeypatch):
    content = encoded(Image.new("1", (7746, 7747)), "PNG")
    assert len(content) < 20_000
    monkeypatch.setattr(Image.core, "new", None)  # nothing could be decoded
    with pytest.raises(DataError, match=r"bomb\.png: 7,746 × 7,747 pixels, at most 60 million"):
        only(content, "bomb.png")


def test_a_camera_s_raw_file_is_not_read_as_its_preview():
    content = encoded(Image.fromarray(NOISE), "TIFF", tiffinfo={0x00FE: 1})
    with pytest.raises(DataError, match=r"a\.dng is a camera's raw file"):
        only(content, "a.dng")


def test_a_file_that_is_gone_or_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg cannot be read: No such file"):
        only(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        only(tmp_path)


# Files


def test_files_folders_and_patterns_become_files_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "page 10.PNG", "page 2.png", "notes.txt", ".hidden.png", "below/a.heic", ".git/x.png"):
        Path(name).parent.mkdir(exist_ok=True)
        write(Path(name), b"")
    Path("below/scan.pdf").write_bytes(b"")
    everything = ["b.jpg", "below/a.heic", "below/scan.pdf", "page 2.png", "page 10.PNG"]
    assert photo_files(["."]) == ([Path(name) for name in everything], [])
    assert photo_files(["notes.txt", Path("b.jpg")]) == ([Path("notes.txt"), Path("b.jpg")], [])
    assert photo_files(["page*"]) == ([Path("page 2.png"), Path("page 10.PNG")], [])
    assert photo_files([f"{tmp_path}/**/*.heic"]) == ([tmp_path / "below/a.heic"], [])


def test_a_file_named_twice_is_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.png", b"")
    Path("link.png").symlink_to("a.png")
    files, problems = photo_files(["a.png", tmp_path / "a.png", "link.png", ".", "*.png"])
    assert (files, problems) == ([Path("a.png")], [])


def test_a_name_with_brackets_is_no_pattern_where_there_is_such_a_file(tmp_path):
    path = write(tmp_path / "IMG[1].jpg", b"")
    assert photo_files([path]) == ([path], [])


def test_a_bad_name_does_not_stop_the_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.png", b"")
    Path("empty").mkdir()
    write(Path("empty/notes.txt"), b"words")
    os.mkfifo("pipe")
    Path("dangling.png").symlink_to("nowhere")
    files, problems = photo_files(["gone.jpg", "empty", "*.heic", "pipe", "", "a.png/b.png", "*.png"])
    assert files == [Path("a.png")]
    assert [str(problem).split(". ")[0] for problem in problems[:6]] == [
        "'gone.jpg' does not exist",
        "empty holds no picture",
        "No file matches *.heic",
        "pipe is neither a file nor a folder",
        "'' does not exist",
        "'a.png/b.png' does not exist",
    ]
    assert [str(problem).split(". ")[0] for problem in problems[6:]] == ["'dangling.png' does not exist"]
    assert all(len(str(problem).split(". ")) > 1 for problem in problems)  # each has a remedy


def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    printed = printed_by_a_user(f"""
        from guarismo.reading.intake import photo_files
        print(*photo_files([{str(tmp_path)!r}])[1])
    """)
    assert "shut cannot be read: Permission denied. Change its permissions" in printed


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS writes file names in UTF-8 only")
def test_a_name_that_is_not_utf_8_can_be_written_anywhere(tmp_path):
    path = tmp_path / os.fsdecode(b"a\xf1o.png")
    path.write_bytes(WHOLE["png"])
    assert only(path).name.endswith("a\\xf1o.png")
    path.write_bytes(b"words")
    with pytest.raises(DataError) as error:
        only(path)
    str(error.value).encode("utf-8")


def test_the_size_is_that_of_the_pixels_where_the_header_of_a_damaged_heic_states_another(tmp_path):
    damaged = bytearray(heic(Image.fromarray(NOISE[:16, :16])))
    aperture = damaged.index(b"clap") + 4  # which 16 × 16 of the 64 × 64 coded pixels are meant
    damaged[aperture + 24 : aperture + 28] = struct.pack(">i", -0x100030)  # its offset, far above
    picture = only(write(tmp_path / "damaged.heic", bytes(damaged)))
    assert picture.size == picture.pixels.shape[1::-1] == (16, 64)
    assert picture.scale == 1


# Any bytes at all


def cut(whole: bytes) -> st.SearchStrategy[bytes]:
    return st.integers(0, len(whole)).map(lambda end: whole[:end])


@st.composite
def flipped(draw, whole: bytes) -> bytes:
    """A file with single bits turned over."""
    content = bytearray(whole)
    for place in draw(st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=6)):
        content[place // 8] ^= 1 << place % 8
    return bytes(content)


SMALL = {
    "jpg": encoded(grey(9, 17, 5), "JPEG"),
    "png": png(NOISE[:5, :6]),
    "heic": heic(Image.fromarray(NOISE[:16, :16])),
    "pdf": pdf(size=(8, 6)),
    "gif": encoded(grey(9, 17, 5), "GIF", save_all=True, append_images=[grey(7, 17, 5)]),
    "webp": encoded(grey(9, 17, 5), "WEBP"),
    "tif": encoded(grey(9, 17, 5), "TIFF", compression="tiff_lzw"),
    "avif": encoded(grey(9, 17, 5), "AVIF"),
}


@pytest.mark.parametrize("kind", SMALL)
@fuzz
@given(data=st.data())
def test_any_bytes_give_pictures_or_a_data_error(tmp_path, kind, data):
    whole = SMALL[kind]
    content = data.draw(st.one_of(bytes_like(whole), cut(whole), flipped(whole)))
    found = read_or_refused(lambda path: list(pictures(path)), write(tmp_path / "fuzz.png", content))
    for picture in found or []:
        assert picture.pixels.shape[2] == 3
        assert 1 <= max(picture.pixels.shape[:2]) <= WORKING_SIDE
        assert picture.scale >= 1


def test_one_page_is_the_one_that_all_pages_have_there():
    document = three_pages()
    for number, page in enumerate(pictures(document), 1):
        alone, count = numbered_picture(document, number)
        assert (alone.page, alone.size, count) == (number, page.size, 3)
        np.testing.assert_array_equal(alone.pixels, page.pixels)


@pytest.mark.parametrize("page", [0, 4])
def test_a_page_that_is_not_there_is_refused(page):
    with pytest.raises(DataError, match=f"has pages 1 to 3, page {page} was asked for"):
        numbered_picture(three_pages(), page)


def test_a_photo_has_one_page():
    photo = printed_png()
    assert numbered_picture(photo, 1)[1] == 1
    with pytest.raises(DataError, match=r"photo\.png has one page, page 2 was asked for"):
        numbered_picture(photo, 2, "photo.png")


def printed_png() -> bytes:
    memory = io.BytesIO()
    Image.new("RGB", (30, 20), "white").save(memory, "PNG")
    return memory.getvalue()


def three_pages() -> bytes:
    """A PDF whose pages are white, grey and black, each of another height."""
    first, *others = (Image.new("L", (60, 40 + grey), grey) for grey in (255, 128, 0))
    memory = io.BytesIO()
    first.save(memory, "PDF", save_all=True, append_images=others)
    return memory.getvalue()
