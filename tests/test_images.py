"""Images: pictures of every mode become upright bytes, and what is no picture a DataError that names the file."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from foreign import bytes_like, fuzz, png, read_or_refused, write
from guarismo.data.images import decode_image, fit_image, image_size, with_channels
from guarismo.errors import DataError

GREY = np.array([[0, 100], [200, 255]], dtype=np.uint8)


def saved(path: Path, image: Image.Image, **how) -> Path:
    image.save(path, **how)
    return path


def test_every_mode_becomes_grey_or_rgb_bytes(tmp_path):
    """What a mixed folder holds: grey, 1 bit, RGB, palette, 16 bits, CMYK."""
    grey = Image.fromarray(GREY)
    np.testing.assert_array_equal(decode_image(saved(tmp_path / "l.png", grey))[..., 0], GREY)
    assert decode_image(saved(tmp_path / "1.png", grey.convert("1"))).tolist()[0][0] == [0]
    assert decode_image(saved(tmp_path / "rgb.png", grey.convert("RGB"))).shape == (2, 2, 3)
    np.testing.assert_array_equal(decode_image(saved(tmp_path / "p.png", grey.convert("P")))[..., 0], GREY)
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode_image(saved(tmp_path / "16.png", deep))[..., 0], GREY)
    assert decode_image(saved(tmp_path / "c.jpg", grey.convert("CMYK"))).shape == (2, 2, 3)


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_8_bit_values_in_a_wider_file_stay_as_they_are(tmp_path, kind):
    path = saved(tmp_path / "a.tiff", Image.fromarray(GREY.astype(kind)))
    np.testing.assert_array_equal(decode_image(path)[..., 0], GREY)
    path = saved(tmp_path / "b.tiff", Image.fromarray(GREY.astype(kind) + 1))  # up to 256: of 16 bits
    assert decode_image(path)[..., 0].tolist() == [[0, 0], [0, 1]]


def test_transparency_is_laid_on_white(tmp_path):
    glass = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert decode_image(saved(tmp_path / "rgba.png", glass)).min() == 255
    ink = Image.fromarray(np.stack([GREY * 0, GREY], axis=-1), "LA")
    np.testing.assert_array_equal(decode_image(saved(tmp_path / "la.png", ink))[..., 0], 255 - GREY)
    palette = Image.fromarray(GREY * 0).convert("P")
    assert decode_image(saved(tmp_path / "p.png", palette, transparency=0)).min() == 255


def test_a_photo_on_its_side_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.jpg", Image.new("L", (30, 20)), exif=exif)
    assert decode_image(path).shape == (30, 20, 1)
    assert image_size(path) == (30, 20)


FAULTY_IMAGES = {
    "empty": (b"", "it is empty"),
    "renamed text": (b"label,pixel0\n5,0\n", "no image"),
    "cut short": (png(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))[:2000], "not a readable"),
    "too many pixels": (
        png(GREY)[:16] + struct.pack(">2I", 60_000, 60_000) + b"\x08\0\0\0\0" + b"\0" * 4 + png(GREY)[33:],
        "not a readable|million",
    ),
    "a format that is not allowed": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
}


@pytest.mark.parametrize("fault", FAULTY_IMAGES)
def test_a_faulty_image_is_refused_by_name(tmp_path, fault):
    content, words = FAULTY_IMAGES[fault]
    with pytest.raises(DataError, match=words) as error:
        decode_image(write(tmp_path / "seven.png", content))
    assert "seven.png" in str(error.value)


def test_a_picture_bomb_is_refused_by_its_heading(tmp_path):
    path = saved(tmp_path / "bomb.png", Image.new("1", (9000, 9000)))
    with pytest.raises(DataError, match="at most 60 million"):
        decode_image(path)


def test_fractional_pixels_are_refused(tmp_path):
    path = saved(tmp_path / "f.tiff", Image.fromarray(GREY.astype(np.float32)))
    with pytest.raises(DataError, match="range is unknown"):
        decode_image(path)


def test_fitting_keeps_proportions_and_continues_the_border():
    wide = np.full((2, 4, 1), 10, dtype=np.uint8)
    wide[:, 1:3] = 90
    fitted = fit_image(wide, 4, 4)
    assert fitted.shape == (4, 4, 1)
    np.testing.assert_array_equal(fitted[1:3], wide)
    assert (fitted[[0, 3]] == 10).all()
    small = fit_image(np.tile(np.array([[0, 100]], np.uint8), (4, 2))[..., None], 2, 2)
    assert (small == 50).all()


def test_grey_and_rgb_are_exact_in_both_directions():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(with_channels(with_channels(images, 3), 1), images)


@fuzz
@given(content=bytes_like(png(GREY)))
def test_any_bytes_give_pixels_or_a_data_error(tmp_path, content):
    read_or_refused(decode_image, write(tmp_path / "fuzz.png", content))
