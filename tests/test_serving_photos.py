"""POST /v1/read and /v1/look of a running server: what is read, and what hostile bodies get for an answer."""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from safetensors.numpy import save

from guarismo.data.sources import load
from guarismo.reading.reader import SAMPLES, SHIPPED, shipped_reader
from served import Served, serving

PHOTO = (SAMPLES / "chalk.jpg").read_bytes()
TEXT = "30729461"
JPEG = {"Content-Type": "image/jpeg"}


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    """A small picture in this format."""
    memory = io.BytesIO()
    (image or Image.open(SAMPLES / "ruled-shadow.jpg")).save(memory, kind, **options)
    return memory.getvalue()


def refused(answer, *statuses: int) -> str:
    """That the answer is a problem document of one of these; its detail."""
    assert answer.status_code in statuses, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    about = answer.json()
    assert about["status"] == answer.status_code and about["title"]
    assert "Traceback" not in answer.text
    return about["detail"]


@pytest.fixture(autouse=True)
def the_next_request_is_answered(served):
    yield
    answer = served.post("/v1/read", data=PHOTO, headers=JPEG)
    assert answer.status_code == 200 and answer.json()["text"] == TEXT


AS_CURL_SAYS = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "kind", ["image/jpeg", "image/*", "application/octet-stream", "IMAGE/JPEG; quality=high", AS_CURL_SAYS]
)
def test_a_photo_is_read_whatever_its_type_is_called(served, kind):
    assert served.post("/v1/read", data=PHOTO, headers={"Content-Type": kind}).json()["text"] == TEXT


def test_a_photo_without_a_type_is_read(served):
    head = f"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(PHOTO)}\r\nConnection: close\r\n\r\n"
    assert f'"text":"{TEXT}"'.encode() in served.say(head.encode() + PHOTO)


def test_a_photo_in_a_form_keeps_its_name_and_no_folder(served):
    answer = served.post("/v1/read", files={"file": ("../holiday/wall.jpg", PHOTO, "image/jpeg")})
    assert (answer.json()["file"], answer.json()["text"]) == ("wall.jpg", TEXT)


def test_detail_page_and_drawing_are_asked_for_in_the_address(served):
    answer = served.post("/v1/read?detail=stages&page=1&drawn=0", data=PHOTO, headers=JPEG).json()
    assert len(answer["stages"]) == 7 and "image" in answer["digits"][0]


@pytest.mark.parametrize("query", ["detail=all", "page=0", "page=x", "drawn=perhaps"])
def test_a_wrong_parameter_is_refused(served, query):
    refused(served.post(f"/v1/read?{query}", data=PHOTO, headers=JPEG), 422)


def test_a_hand_that_is_not_known_is_refused(served):
    assert "was forgotten" in refused(served.post("/v1/read?hand=x", data=PHOTO, headers=JPEG), 404)


# What is no picture


class Harmful:
    """Unpickled, it would make a folder."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def archive(name: str) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as packed:
        packed.writestr(name, b"content")
    return memory.getvalue()


def model_files() -> dict[str, bytes]:
    return {
        "model.onnx": (SHIPPED / "model.onnx").read_bytes(),
        "other.onnx": onnx.ModelProto(ir_version=8, producer_name="another").SerializeToString(),
        "model.safetensors": save({"weights": np.zeros(3)}),
        "model.h5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "model.keras": archive("config.json"),
        "model.pt": archive("archive/data.pkl"),
        "data.npy": b"\x93NUMPY\x01\x00" + bytes(100),
    }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_not_opened(served, tmp_path, protocol):
    content = pickle.dumps(Harmful(tmp_path / "harm"), protocol)
    refused(served.post("/v1/read", data=content, headers={"Content-Type": "application/octet-stream"}), 415)
    refused(served.post("/v1/read", files={"file": ("model.pkl", content)}), 415)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", model_files())
def test_a_model_is_refused_by_its_content(served, name):
    answer = served.post("/v1/read", data=model_files()[name], headers={"Content-Type": "image/png"})
    assert "Expected a photo" in refused(answer, 415)


@pytest.mark.parametrize("suffix", ["pkl", "pt", "h5", "keras", "onnx", "safetensors", "zip", "PKL"])
def test_a_model_is_refused_by_its_name(served, suffix):
    answer = served.post("/v1/read", files={"file": (f"model.{suffix}", PHOTO, "image/jpeg")})
    assert "Models are never taken from a request" in refused(answer, 415)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "video/mp4"])
def test_another_type_of_content_is_refused(served, kind):
    assert (
        f"received content of type '{kind}'"
        in refused(served.post("/v1/read", data=PHOTO, headers={"Content-Type": kind}), 415).lower()
    )


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0", b"<html><body>", b"<svg xmlns=''>", b"MZ\x90\0", b"\0" * 64, b"7z\xbc\xaf'\x1c"]
)
def test_other_files_are_refused(served, content):
    refused(served.post("/v1/read", data=content, headers=JPEG), 415)


def test_an_empty_body_is_refused(served):
    assert "The body is empty" in refused(served.post("/v1/read", data=b"", headers=JPEG), 422)


@pytest.mark.parametrize(
    "form",
    [
        {"files": {"photo": ("a.jpg", PHOTO)}},
        {"files": {"file": (None, "only words")}},
        {"files": [("file", ("a.jpg", PHOTO)), ("file", ("b.jpg", PHOTO))]},
        {"data": b"no form at all", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"data": PHOTO, "headers": {"Content-Type": "multipart/form-data"}},
    ],
)
def test_a_form_without_one_file_is_refused(served, form):
    refused(served.post("/v1/read", **form), 400, 422)


# Hostile pictures


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "PDF"])
@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_picture_cut_short_is_refused_or_read(served, kind, tenth):
    """Pillow fills up a BMP or a GIF that breaks off in its last rows: then there are digits, or none."""
    whole = encoded(kind)
    answer = served.post("/v1/read", data=whole[: len(whole) * tenth // 10], headers=JPEG)
    if answer.status_code != 200:
        refused(answer, 415, 422)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_read_upright(served, orientation):
    """What a camera writes that was held so: the pixels turned, and the note how to turn them back."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    image = Image.open(io.BytesIO(PHOTO))
    image = image.transpose(back[orientation]) if orientation > 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    answer = served.post("/v1/read", data=encoded("JPEG", image, exif=exif, quality=95), headers=JPEG).json()
    assert answer["text"] == TEXT
    assert tuple(answer["size"]) == Image.open(io.BytesIO(PHOTO)).size


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, content: bytes) -> bytes:
    """A PNG that says this size and holds this."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(content, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def bombs() -> dict[str, bytes]:
    plain, dot = encoded("PNG", Image.new("L", (20, 20), 255)), Image.new("L", (9, 9))
    return {
        "many pixels": png_of(50_000, 50_000, bytes(2**20)),
        "more than it says": png_of(100, 100, bytes(2**26)),
        "less than it says": png_of(7_000, 7_000, b""),
        "a text of 64 MB": plain.replace(
            plain[33:41], png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26), 9)) + plain[33:41], 1
        ),
        "a GIF of 65,535 × 65,535": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
        "a PDF of many pages": encoded("PDF", dot, save_all=True, append_images=[dot] * 220),
    }


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_or_read_as_blank(served, name):
    answer = served.post("/v1/read", data=bombs()[name], headers=JPEG)
    if answer.status_code == 200:
        assert answer.json()["text"] == ""
    else:
        refused(answer, 413, 415, 422)


OTHERS = {
    "zip": archive("evil.py"),
    "pdf": b"%PDF-1.7\n%%EOF",
    "html": b"<script>alert(1)</script>",
    "pickle": pickle.dumps([1]),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_polyglot_is_the_picture_that_it_is_or_refused(served, other):
    for content in (PHOTO + other, PHOTO[:2] + b"\xff\xfe" + struct.pack(">H", len(other) + 2) + other + PHOTO[2:]):
        answer = served.post("/v1/read", data=content, headers=JPEG)
        if answer.status_code == 200:
            assert answer.json()["text"] == TEXT
        else:
            refused(answer, 415, 422)


def test_a_damaged_photo_harms_none_that_is_read_beside_it(served):
    bodies = [PHOTO, PHOTO[:5000], bombs()["many pixels"], b"words"] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: served.post("/v1/read", data=body, headers=JPEG), bodies))
    assert [answer.status_code for answer in answers] == [200, 422, 422, 415] * 4
    assert all(answer.json()["text"] == TEXT for answer in answers[::4])


def test_nothing_is_kept_on_the_disk(tmp_path):
    """Of photos, nor of what the libraries do with them; Matplotlib lists the fonts that it finds, elsewhere."""
    home, fonts = tmp_path / "home", tmp_path / "fonts"
    home.mkdir()
    places = {name: str(home) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "GUARISMO_CACHE")}
    large = encoded("BMP", Image.open(io.BytesIO(PHOTO)))
    assert len(large) > 2**20
    with serving(tmp_path / "log", "--runs", home / "runs", MPLCONFIGDIR=str(fonts), **places) as server:
        for content in (large, large[:-9], encoded("PDF")):
            server.post("/v1/read?detail=stages", files={"file": ("a.bmp", content)})
        assert list(home.iterdir()) == []


# Looking inside


def test_looking_inside_answers_as_predict_does(served):
    image = load("digits").test.images[0, ..., 0]
    answer = served.post("/v1/look", json={"image": image.tolist()}).json()
    np.testing.assert_allclose(answer["probabilities"], shipped_reader().run.predict(image[None])[0], atol=1e-5)
    assert {layer["kind"] for layer in answer["layers"]} >= {"convolution", "dense", "probabilities"}


@pytest.mark.parametrize("body", [{}, {"image": 7}, {"image": [[0] * 28] * 27}, {"image": [[256] * 28] * 28}])
def test_looking_inside_refuses_what_is_no_image(served, body):
    refused(served.post("/v1/look", json=body), 422)


def test_looking_inside_refuses_what_is_no_json(served: Served):
    refused(served.post("/v1/look", data=json.dumps({"image": []})[:-1]), 400)
