"""The folder for the browser: it computes what the run does, sees as MNIST's makers saw, and reads drawn digits."""

import json
import math
import re
import shutil
import threading
from base64 import b64encode
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from guarismo.data.images import fit_image
from guarismo.data.known import SOURCES
from guarismo.data.normalise import centred, crop
from guarismo.data.sources import load
from guarismo.errors import RunError
from guarismo.models.runs import Run, commit, open_run
from guarismo.models.training import AGREEMENT
from guarismo.models.web import OPERATIONS, PAGE, answer_folder, described, ground, write_folder
from guarismo.reading.reader import SHIPPED
from tiny_run import bars_dataset, describe_run, make_run

FASHION = SOURCES["fashion_mnist"].class_names["en"]


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def reader_folder(digits, tmp_path_factory):
    """The package's reader as a folder."""
    folder = tmp_path_factory.mktemp("web") / "reader"
    write_folder(open_run(SHIPPED), folder, digits)
    return folder


# The folder


def test_the_two_files_hold_the_network(digits, reader_folder):
    images = digits.validation.images[:100]
    np.testing.assert_allclose(answer_folder(reader_folder, images), open_run(SHIPPED).predict(images), atol=1e-6)


def test_a_damaged_weight_shows(digits, reader_folder, tmp_path):
    folder = shutil.copytree(reader_folder, tmp_path / "site")
    weights = np.fromfile(folder / "weights.bin", dtype="<f4")
    weights[-2000:] *= 1.5
    weights.tofile(folder / "weights.bin")
    images = digits.validation.images[:100]
    assert np.abs(answer_folder(folder, images) - open_run(SHIPPED).predict(images)).max() > AGREEMENT


def test_every_file_that_the_page_asks_for_is_there_and_none_is_elsewhere(reader_folder):
    texts = [path.read_text() for path in reader_folder.glob("*.*") if path.suffix in (".html", ".js", ".css")]
    named = {name for text in texts for name in re.findall(r"[\"'](?:\./)?([\w.]+\.(?:js|css|json|bin))[\"']", text)}
    assert named == {path.name for path in reader_folder.iterdir()} - {"index.html"}
    assert not [text for text in texts if re.search(r"https?:|//\w+\.\w+/", text)]


def test_the_page_without_the_network_is_small():
    assert sum(path.stat().st_size for path in PAGE.iterdir()) < 60_000


def test_the_page_knows_every_operation_that_the_folder_may_hold():
    text = (PAGE / "network.js").read_text()
    assert all(re.search(rf'(^  |"){name}\b', text, flags=re.MULTILINE) for name in OPERATIONS)


def graph_of(*nodes, **constants) -> bytes:
    """uint8 (n, 8, 8, 1) → what `nodes` make of "real", float32 (n, 64), called "out"."""
    first = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
    ]
    graph = helper.make_graph(
        [*first, *nodes],
        "planted",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 8, 8, 1])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 64])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


UNKNOWN = {
    "an operation": ("Erf", [helper.make_node("Erf", ["flat"], ["out"])]),
    "another axis": ("Softmax", [helper.make_node("Softmax", ["flat"], ["out"], axis=0)]),
    "no constant matrix": (
        "MatMul",
        [
            helper.make_node("Transpose", ["flat"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["turned", "flat"], ["square"]),
            helper.make_node("ReduceSum", ["square", "axis"], ["sums"], keepdims=0),
            helper.make_node("Add", ["flat", "sums"], ["out"]),
        ],
    ),
    "double": (
        "Cast",
        [
            helper.make_node("Cast", ["flat"], ["long"], to=TensorProto.DOUBLE),
            helper.make_node("Sigmoid", ["long"], ["bent"]),
            helper.make_node("Cast", ["bent"], ["out"], to=TensorProto.FLOAT),
        ],
    ),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_the_page_cannot_compute_is_named(kind):
    name, nodes = UNKNOWN[kind]
    with pytest.raises(RunError, match=rf"cannot compute.*{name}.* as this model does. Choose --format onnx"):
        described(graph_of(*nodes, axis=np.array([1])))


def test_a_forest_is_named(forest_run):
    with pytest.raises(RunError, match="cannot compute TreeEnsembleClassifier"):
        described((forest_run.folder / "model.onnx").read_bytes())


def test_the_ground_is_the_colour_of_the_borders():
    images = np.zeros((3, 6, 6, 3), dtype=np.uint8)
    images[..., 0] = 200
    images[:, 1:5, 1:5] = 77
    assert ground(images) == [200, 0, 0]


# In a browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def host():
    """A static host: gives the address of a folder's page."""
    servers = []

    def serve(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def visit(browser, host):
    """Opens a folder's page. At the end nothing may have been fetched from elsewhere, and no error been reported."""
    contexts, fetched, errors, homes = [], [], [], []

    def open_page(folder, width=1280, **options):
        context = browser.new_context(**{"viewport": {"width": width, "height": 900}, "locale": "en-GB", **options})
        contexts.append(context)
        view = context.new_page()
        view.on("request", lambda request: fetched.append(request.url))
        view.on("console", lambda message: errors.append(message.text))
        view.on("pageerror", lambda error: errors.append(str(error)))
        homes.append(host(folder))
        view.goto(homes[-1])
        view.wait_for_selector("#table:not([hidden]), #notice.wrong")
        return view

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in fetched if not url.startswith(("data:", "blob:", *homes))]
    assert not [error for error in errors if "404" not in error]


ANSWERS = """async (encoded) => {
  const { openNetwork } = await import("./network.js");
  const network = await openNetwork(location.href);
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const size = network.about.size.reduce((one, other) => one * other);
  const image = (k) => bytes.subarray(k * size, (k + 1) * size);
  return Array.from({ length: bytes.length / size }, (_, k) => [...network.answer(image(k))]);
}"""


def answers_in(view, images) -> np.ndarray:
    """What the page's own network answers to uint8 (n, h, w, c)."""
    return np.array(view.evaluate(ANSWERS, b64encode(images.tobytes()).decode()))


def test_the_browser_answers_the_validation_images_as_the_run_does(visit, digits, reader_folder):
    images = digits.validation.images[:200]
    np.testing.assert_allclose(
        answers_in(visit(reader_folder), images), open_run(SHIPPED).predict(images), atol=AGREEMENT
    )


def untrained(name, shape, neighbours=False):
    """One of our networks as ONNX, its normalisation far from doing nothing."""
    pytest.importorskip("keras", reason="training is the [train] extra")
    from guarismo.models.architectures import build, keras
    from guarismo.models.fitting import to_onnx

    keras.utils.set_random_seed(0)
    rng, network = np.random.default_rng(0), build(name, shape, 10, neighbours)
    shrunk = 30 if name == "tiny" else 1  # its separable convolutions, untrained, leave little of the noise
    for layer in network.layers:
        if type(layer).__name__ == "BatchNormalization":
            n = layer.gamma.shape[0]
            parts = (
                rng.uniform(-1.5, 1.5, n),
                rng.normal(0, 0.3, n),
                rng.normal(0, 0.1, n),
                rng.uniform(0.3, 1, n) / shrunk,
            )
            layer.set_weights(parts)
    return to_onnx(network, shape)


def run_of(model: bytes, folder, shape, classes=10) -> Run:
    """A finished Run that answers with this graph."""
    dataset = bars_dataset(classes=classes, side=28)
    about = describe_run(dataset, "cnn")
    about["data"]["shape"] = list(shape)
    folder.mkdir()
    return commit(Run(folder, about), {"model.onnx": model})


def networks():
    from guarismo.models.architectures import NETWORKS

    wide = {"views": (28, 84, 3), "poly-modality-cnn": (28, 28, 3), "small": (32, 24, 1)}
    yield from ((name, wide.get(name, (28, 28, 1)), False) for name in NETWORKS)
    yield "small", (28, 28, 1), True


@pytest.mark.parametrize("name, shape, neighbours", [*networks()])
def test_every_network_of_ours_answers_in_the_browser_as_in_onnx(visit, tmp_path, name, shape, neighbours):
    run = run_of(untrained(name, shape, neighbours), tmp_path / "run", shape)
    write_folder(run, tmp_path / "site", bars_dataset(side=28, channels=shape[2]))
    images = np.random.default_rng(1).integers(0, 256, (6, *shape), dtype=np.uint8)
    images[3, :, : shape[1] // 3] = 0  # for `views`: one that is missing
    expected = run.predict(images)
    assert expected.std(axis=0).max() > 1e-3, "answers that tell nothing"
    np.testing.assert_allclose(answers_in(visit(tmp_path / "site"), images), expected, atol=AGREEMENT)


def test_the_layers_of_lenet_answer_in_the_browser_too(visit, tmp_path):
    """What people bring by `guarismo import`: mean pooling, tanh, sigmoid."""
    rng = np.random.default_rng(0)
    weights = {
        "filters": rng.normal(0, 0.01, (4, 1, 3, 3)).astype(np.float32),
        "dense": rng.normal(0, 0.5, (100, 10)).astype(np.float32),
        "to": np.array([-1, 1, 28, 28]),
        "flat": np.array([-1, 100]),
    }
    window = {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["real", "to"], ["grey"]),
        helper.make_node("Conv", ["grey", "filters"], ["felt"], strides=[2, 2], dilations=[2, 2], pads=[2, 2, 1, 1]),
        helper.make_node("Tanh", ["felt"], ["bent"]),
        helper.make_node("AveragePool", ["bent"], ["pooled"], count_include_pad=0, **window),
        helper.make_node("Sigmoid", ["pooled"], ["squashed"]),
        helper.make_node("Reshape", ["squashed", "flat"], ["features"]),
        helper.make_node("MatMul", ["features", "dense"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "lenet",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 28, 28, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
    run = run_of(model, tmp_path / "run", (28, 28, 1))
    write_folder(run, tmp_path / "site", bars_dataset(side=28))
    images = np.random.default_rng(1).integers(0, 256, (6, 28, 28, 1), dtype=np.uint8)
    np.testing.assert_allclose(answers_in(visit(tmp_path / "site"), images), run.predict(images), atol=AGREEMENT)


PIXELS = """async ([name, encoded, width, height, ...more]) => {
  const pixels = await import("./pixels.js");
  const data = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0)), size = { width, height };
  const made = name === "centred" ? pixels.centred({ ...size, data }) : pixels.fitted(size, [data], ...more);
  return made && [...made];
}"""


def made_by(view, name, image, *more):
    height, width = image.shape
    return view.evaluate(PIXELS, [name, b64encode(image.tobytes()).decode(), width, height, *more])


def test_ink_is_centred_as_python_does_it(visit, digits, reader_folder):
    """Digits drawn large, turned, stretched and placed anywhere: the same image, but for a level where halves round."""
    view, rng = visit(reader_folder), np.random.default_rng(0)
    for image in digits.train.images[::100, ..., 0]:
        move = cv2.getRotationMatrix2D((14, 14), rng.uniform(-30, 30), rng.uniform(3, 6))
        move[:, 2] += 90
        move[0] *= rng.uniform(0.4, 1)
        ink = cv2.warpAffine(image, move, (200, 200), flags=cv2.INTER_CUBIC)
        wanted = centred(crop(ink)).ravel().astype(int)
        gap = np.abs(np.array(made_by(view, "centred", ink)) - wanted)
        assert gap.max() <= 1 and (gap > 0).mean() < 0.02


def test_a_blank_sheet_has_nothing_to_centre(visit, reader_folder):
    assert made_by(visit(reader_folder), "centred", np.zeros((40, 30), dtype=np.uint8)) is None


@pytest.mark.parametrize("size", [(90, 40), (64, 64), (60, 200)])
def test_a_picture_is_fitted_as_python_does_it(visit, reader_folder, size):
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8), (0, 0), 3)
    view, wanted = visit(reader_folder), fit_image(picture[..., None], 28, 28).ravel().astype(int)
    made = np.array(made_by(view, "fitted", picture, [28, 28, 1], False))
    assert np.abs(made - wanted).max() <= 3 and np.abs(made - wanted).mean() < 0.6  # Pillow counts whole pixels only
    swapped = np.array(made_by(view, "fitted", picture, [28, 28, 1], True))
    np.testing.assert_array_equal(swapped, 255 - made)


# The page


def arc(x, y, wide, high, start, end):
    """Points on an ellipse around (x, y), from one angle to another in degrees, 0 to the right, 90 below."""
    angles = np.radians(np.linspace(start, end, 16))
    return [(x + wide * math.cos(a), y + high * math.sin(a)) for a in angles]


DRAWN = {
    "0": [arc(0.5, 0.5, 0.2, 0.32, -90, 270)],
    "1": [[(0.53, 0.15), (0.47, 0.85)]],
    "2": [[*arc(0.5, 0.33, 0.2, 0.17, -170, 30), (0.3, 0.82), (0.74, 0.8)]],
    "3": [[*arc(0.48, 0.33, 0.18, 0.16, -150, 90), *arc(0.48, 0.66, 0.21, 0.17, -90, 150)]],
    "4": [[(0.4, 0.15), (0.3, 0.55), (0.72, 0.52)], [(0.63, 0.15), (0.58, 0.88)]],
    "5": [[(0.35, 0.18), (0.33, 0.48), *arc(0.46, 0.64, 0.21, 0.19, -110, 140)], [(0.35, 0.18), (0.68, 0.16)]],
    "6": [[(0.6, 0.14), (0.42, 0.36), *arc(0.5, 0.67, 0.17, 0.18, 190, -170)]],
    "7": [[(0.3, 0.2), (0.7, 0.19), (0.48, 0.85)]],
    "8": [[*arc(0.5, 0.32, 0.15, 0.16, 70, -250), *arc(0.5, 0.66, 0.18, 0.18, -110, 250)]],
    "9": [[*arc(0.5, 0.33, 0.17, 0.17, 0, -350), (0.66, 0.33), (0.6, 0.86)]],
}
"""Each digit's strokes, on a pad of 1×1."""


def draw(view, strokes, scale=1.0):
    """Draw with the pointer, on the part of the pad that `scale` leaves."""
    view.locator("#pad").scroll_into_view_if_needed()
    box = view.locator("#pad").bounding_box()
    for stroke in strokes:
        points = [(box["x"] + scale * x * box["width"], box["y"] + scale * y * box["height"]) for x, y in stroke]
        view.mouse.move(*points[0])
        view.mouse.down()
        for point in points[1:]:
            view.mouse.move(*point)
        view.mouse.up()


def wait_for_answer(view, name):
    view.wait_for_function("name => document.getElementById('winner').textContent === name", arg=name)


@pytest.mark.parametrize("width, scale", [(1280, 1.0), (360, 1.0), (1280, 0.35)])
def test_ten_drawn_digits_are_read(visit, reader_folder, width, scale):
    view = visit(reader_folder, width)
    for name, strokes in DRAWN.items():
        draw(view, strokes, scale)
        wait_for_answer(view, name)
        assert view.locator("#bars li").count() == 10
        assert view.locator("#bars li.first .name").text_content() == name
        view.locator("#clear").click()
        wait_for_answer(view, "")


def test_a_finger_draws_too(visit, reader_folder):
    view = visit(reader_folder, 360, has_touch=True, is_mobile=True)
    box = view.locator("#pad").bounding_box()
    touch = view.context.new_cdp_session(view)
    points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in DRAWN["7"][0]]
    for kind, point in [("touchStart", points[0]), *(("touchMove", point) for point in points)]:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_for_answer(view, "7")


def test_undo_takes_the_last_stroke_back_by_the_keyboard(visit, reader_folder):
    view = visit(reader_folder)
    draw(view, [*DRAWN["7"], [(0.4, 0.55), (0.66, 0.55)], [(0.3, 0.2), (0.31, 0.8), (0.7, 0.8)]])
    view.locator("#undo").focus()
    for _ in range(2):
        view.keyboard.press("Enter")
    wait_for_answer(view, "7")
    view.locator("#undo").press("Enter")
    wait_for_answer(view, "")
    assert view.locator("#certainty").text_content() == "Nothing drawn yet"


def test_a_slip_of_the_pen_is_no_digit(visit, reader_folder):
    view = visit(reader_folder)
    draw(view, [[(0.5, 0.5), (0.51, 0.51)]])
    draw(view, DRAWN["1"])
    wait_for_answer(view, "1")
    view.locator("#undo").click()
    wait_for_answer(view, "")


def picture(image, path, dark=True):
    """A digit as a picture on disk, twelve times as large, dark on light paper."""
    large = cv2.resize(image, None, fx=12, fy=12, interpolation=cv2.INTER_CUBIC)
    Image.fromarray(230 - (large * 0.7).astype(np.uint8) if dark else large).save(path)
    return path


@pytest.mark.parametrize("dark", [True, False])
def test_a_picture_of_a_digit_is_read(visit, digits, reader_folder, tmp_path, dark):
    view = visit(reader_folder)
    places = [np.flatnonzero(digits.test.labels == label)[3] for label in range(10)]
    for place in places:
        image, label = digits.test.images[place, ..., 0], digits.test.labels[place]
        view.set_input_files("#file", picture(image, tmp_path / f"{label}.png", dark))
        wait_for_answer(view, str(label))


def test_what_is_no_picture_is_said(visit, reader_folder, tmp_path):
    (tmp_path / "letter.png").write_bytes(b"Dear Sir")
    view = visit(reader_folder)
    view.set_input_files("#file", tmp_path / "letter.png")
    view.locator("#certainty", has_text="This browser cannot open").wait_for()
    Image.new("L", (50, 50), 200).save(tmp_path / "blank.png")
    view.set_input_files("#file", tmp_path / "blank.png")
    view.locator("#certainty", has_text="There is no ink").wait_for()


@pytest.fixture(scope="module")
def rows_folder(tmp_path_factory):
    """A run of other classes and another size: the brightest of ten rows, named as Fashion-MNIST's classes."""
    place, dataset = tmp_path_factory.mktemp("rows"), bars_dataset(classes=10, side=22, names=FASHION)
    write_folder(make_run(place / "run", dataset, 90.0), place / "site", dataset)
    return place / "site"


def test_other_classes_have_their_names_and_take_pictures(visit, rows_folder, tmp_path):
    view = visit(rows_folder)
    assert view.locator("h1").text_content() == "What is it?"
    image = np.zeros((220, 220), dtype=np.uint8)
    image[70:80] = 255  # row 7 of 22: the fourth class
    Image.fromarray(image).save(tmp_path / "row.png")
    view.set_input_files("#file", tmp_path / "row.png")
    wait_for_answer(view, FASHION[3])
    names = view.locator("#bars .name").all_text_contents()
    assert names == list(FASHION)
    assert view.evaluate("[seen.width, seen.height]") == [22, 22]


def test_dark_on_light_is_swapped_where_training_was_light_on_dark_unless_the_user_says_no(
    visit, tmp_path, rows_folder
):
    image = np.full((220, 220), 255, dtype=np.uint8)
    image[70:80, 20:200] = 0
    Image.fromarray(image).save(tmp_path / "row.png")
    view = visit(rows_folder)
    view.set_input_files("#file", tmp_path / "row.png")
    wait_for_answer(view, FASHION[3])
    assert view.locator("#invert").is_checked()
    view.locator("#invert").uncheck()
    view.wait_for_function("name => document.getElementById('winner').textContent !== name", arg=FASHION[3])


def test_it_speaks_the_browsers_language_and_remembers_another(visit, reader_folder):
    view = visit(reader_folder, locale="pt-BR")
    assert view.locator("h1").text_content() == "Desenhe um algarismo"
    view.locator("#language").select_option("es")
    assert view.locator("h1").text_content() == "Dibuja una cifra"
    draw(view, DRAWN["7"])
    wait_for_answer(view, "7")
    assert re.match(r"\d+,\d\u202f% · \d+,\d ms", view.locator("#certainty").text_content())
    view.reload()
    view.wait_for_selector("#table:not([hidden])")
    assert view.locator("html").get_attribute("lang") == "es"
    assert "99,5" in view.locator("#about").text_content()


def test_every_language_has_every_word_with_its_fields():
    table = (PAGE / "words.js").read_text().split("const WORDS")[1].split("\n};")[0]
    words = [
        {
            key: set(re.findall(r"\{(\w+)\}", text))
            for key, text in re.findall(r'^    (\w+): "(.+)",$', part, re.MULTILINE)
        }
        for part in re.split(r"^  \w\w: \{$", table, flags=re.MULTILINE)[1:]
    ]
    assert len(words) == 3 and words[0] == words[1] == words[2]
    assert words[0]["about"] == {"model", "parameters", "data", "validation"}
    asked = set(re.findall(r'data-(?:word|label)="(\w+)"', (PAGE / "index.html").read_text()))
    asked |= set(re.findall(r'(?:warn|say|own)\("(\w+)"', (PAGE / "page.js").read_text()))
    assert {"title", "missing", "certain"} <= asked <= set(words[0])


@pytest.mark.parametrize("code", ["en", "es", "pt"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(visit, rows_folder, code, width):
    view = visit(rows_folder, width, locale=code)
    draw(view, DRAWN["4"])
    view.wait_for_selector("#bars li.first")
    assert view.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_on_a_phone_the_answer_is_in_sight_while_one_draws(visit, reader_folder):
    view = visit(reader_folder, viewport={"width": 360, "height": 640})
    draw(view, DRAWN["7"])
    wait_for_answer(view, "7")
    for name in ("#winner", "#pad"):
        box = view.locator(name).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 640, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_paper(visit, rows_folder, scheme):
    from test_browser import FAINT

    view = visit(rows_folder, color_scheme=scheme)
    draw(view, DRAWN["4"])
    view.wait_for_selector("#bars li.first")
    assert not view.evaluate(FAINT)


def test_names_of_any_kind_neither_run_nor_break_the_page(visit, tmp_path):
    names = ("<b>bold</b>", "سبعة وثلاثون", "n" * 200, "お o")
    dataset = bars_dataset(classes=4, side=10, names=names)
    write_folder(make_run(tmp_path / "run", dataset), tmp_path / "site", dataset)
    view = visit(tmp_path / "site", 360)
    draw(view, DRAWN["4"])
    view.wait_for_selector("#bars li.first")
    assert view.locator("main b").count() == 0
    assert view.locator("#bars .name").all_text_contents() == list(names)
    assert view.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_a_browser_that_computes_otherwise_is_not_trusted(visit, reader_folder, tmp_path):
    """Planted: the answers to the patterns that the folder holds are those of another network."""
    folder = shutil.copytree(reader_folder, tmp_path / "site")
    about = json.loads((folder / "network.json").read_text())
    about["patterns"]["answers"][1].reverse()
    (folder / "network.json").write_text(json.dumps(about))
    view = visit(folder)
    assert view.locator("#notice").text_content().startswith("This browser computes otherwise")
    view.locator("#language").select_option("pt")
    assert view.locator("#notice").text_content().startswith("Este navegador calcula de outro modo")


def test_a_page_without_its_weights_says_so(visit, reader_folder, tmp_path):
    folder = shutil.copytree(reader_folder, tmp_path / "site", ignore=shutil.ignore_patterns("weights.bin"))
    view = visit(folder)
    notice = view.locator("#notice").text_content()
    assert "could not be fetched (/weights.bin: 404)" in notice
    assert not view.locator("#table").is_visible()


def test_opened_as_a_file_it_says_what_to_do(browser, reader_folder):
    view = browser.new_page()
    view.goto((reader_folder / "index.html").as_uri())
    notice = view.locator("#notice")
    notice.wait_for(state="visible")
    assert "put the folder on a web server" in notice.text_content()
    view.close()
