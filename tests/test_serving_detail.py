"""Picture → JSON: what the command line prints, and with it what the network saw and each step."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from guarismo.errors import DataError
from guarismo.reading.intake import numbered_picture
from guarismo.reading.reader import SAMPLES, SHIPPED, read, read_picture, shipped_reader
from guarismo.results.pictures import STEPS
from guarismo.serving.detail import png, prepare, read_photo

PHOTO = (SAMPLES / "ruled-shadow.jpg").read_bytes()


def told(content: bytes = PHOTO, detail: str = "none", page: int = 1, drawn: bool = False, hand: bytes = b"") -> dict:
    return json.loads(read_photo(str(SHIPPED), hand, content, "a photo", page, detail, drawn))


def pixels_of(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def images_in(answer: bytes) -> list[str]:
    """Every picture of an answer in base64."""
    found = json.loads(answer)
    parts = [*found["digits"], *found["refused"], *found["stages"]]
    return [part["image"].partition(",")[2] for part in parts]


def drawing() -> bytes:
    """A 7 and a 1 as a pen draws them on a canvas of 600×300."""
    image = Image.new("RGB", (600, 300), "white")
    draw = ImageDraw.Draw(image)
    draw.line([(80, 60), (180, 60), (120, 250)], (20, 20, 20), 16, "curve")
    draw.line([(380, 50), (375, 250)], (20, 20, 20), 16)
    memory = io.BytesIO()
    image.save(memory, "PNG")
    return memory.getvalue()


def test_it_tells_what_the_command_line_prints():
    plain = read(PHOTO, name="a photo")[0].as_json()
    found = told()
    assert found["text"] == "407"
    assert found["pages"] == 1
    assert (found["size"][0], found["size"][1]) == Image.open(io.BytesIO(PHOTO)).size
    assert {key: value for key, value in found.items() if key not in ("pages", "size", "seconds")} == {
        key: value for key, value in plain.items() if key != "seconds"
    }


def test_with_glyphs_each_digit_and_each_refusal_shows_what_the_network_saw():
    page = (SAMPLES / "pencil-page.jpg").read_bytes()
    reading = read(page)[0]
    found = told(page, "glyphs")
    glyphs = [glyph for line in reading.steps.lines for glyph in line]
    for one, glyph in zip(found["digits"], glyphs, strict=True):
        np.testing.assert_array_equal(pixels_of(one["image"]), glyph.image)
        assert len(one["probabilities"]) == 10
        assert max(one["probabilities"]) == pytest.approx(one["confidence"], abs=1e-4)
    assert len(found["refused"]) == len(reading.steps.refused)
    assert all(set(one) == {"box", "reason", "image", "probabilities"} for one in found["refused"])
    assert "stages" not in found


def test_with_stages_each_step_is_a_picture_with_its_name():
    found = told(detail="stages")
    assert "image" in found["digits"][0]
    assert [stage["name"][0] for stage in found["stages"]] == [str(number) for number in range(1, len(STEPS) + 1)]
    widths = {pixels_of(stage["image"]).shape[1] for stage in found["stages"][1:5]}
    assert len(widths) == 1 and widths.pop() > 300
    assert all(stage["words"] for stage in found["stages"])


def test_a_drawing_is_read_without_looking_for_light():
    assert told(drawing(), drawn=True)["text"] == told(drawing())["text"] == "71"


def test_a_drawing_is_read_as_the_reader_reads_drawings():
    picture, _ = numbered_picture(drawing(), 1)
    assert read_picture(picture, shipped_reader(), drawn=True).text == "71"


def pages_of(*texts: str) -> bytes:
    """A PDF with the samples as its pages."""
    first, *others = (Image.open(SAMPLES / text) for text in texts)
    memory = io.BytesIO()
    first.save(memory, "PDF", save_all=True, append_images=others)
    return memory.getvalue()


def test_of_a_pdf_one_page_is_read_and_all_are_counted():
    document = pages_of("ruled-shadow.jpg", "chalk.jpg")
    second = told(document, page=2)
    assert (second["page"], second["pages"]) == (2, 2)
    assert second["text"] == read(SAMPLES / "chalk.jpg")[0].text


@pytest.mark.parametrize(
    ("content", "most"), [(PHOTO, "one page"), (pages_of("chalk.jpg", "chalk.jpg"), "pages 1 to 2")]
)
def test_a_page_that_is_not_there_is_refused(content, most):
    with pytest.raises(DataError, match=f"a photo has {most}, page 3 was asked for"):
        told(content, page=3)


def test_a_worker_is_prepared_without_a_photo():
    assert prepare(str(SHIPPED)) == b""


@pytest.mark.parametrize("channels", [None, 3, 4])
def test_pictures_travel_without_loss(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7) if channels is None else (5, 7, channels), np.uint8)
    np.testing.assert_array_equal(pixels_of(png(pixels)), pixels)


def test_where_a_photo_was_taken_is_not_told():
    image = Image.open(io.BytesIO(PHOTO))
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    exif[0x010F] = "A camera"
    memory = io.BytesIO()
    image.save(memory, "JPEG", exif=exif)
    assert b"A camera" in memory.getvalue()
    answer = read_photo(str(SHIPPED), b"", memory.getvalue(), "", 1, "stages", False)
    assert b"A camera" not in answer and b"A camera" not in b"".join(map(base64.b64decode, images_in(answer)))
