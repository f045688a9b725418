"""Other programs' formats: what goes out answers the same, what comes in is asked for by name."""

import json
import sys

import numpy as np
import pytest

from guarismo.errors import MissingExtraError, RunError
from guarismo.models.runs import answer, open_run, open_session
from guarismo.results.evaluation import evaluate_run
from tiny_run import full_disk

pytest.importorskip("keras", reason="training is the [train] extra")

import keras

from guarismo.models.interchange import EXPORTS, MOST_LOST, Format, export, import_keras, load_network


@pytest.fixture
def stranger(tmp_path):
    """A network as other people write them: floats 0…1 in, flattened, softmax or logits out."""

    def make(activation="softmax", classes=3, pixels=64):
        layers = [keras.Input((pixels,)), keras.layers.Dense(8), keras.layers.Dense(classes, activation=activation)]
        path = tmp_path / "theirs.keras"
        network = keras.Sequential(layers)
        network.save(path)
        return path, network

    return make


def test_a_run_goes_back_into_keras_with_the_same_answers(bars, network_run):
    network = load_network(network_run)
    answers = np.asarray(network(bars.test.images))
    np.testing.assert_allclose(answers, network_run.predict(bars.test.images), atol=1e-5)


EXACT = [name for name in EXPORTS if EXPORTS[name].exact]


def named(format: str) -> str:
    return "model" + EXPORTS[format].ending


@pytest.mark.parametrize("format", EXACT)
def test_every_exact_format_is_written_loaded_again_and_compared(bars, network_run, tmp_path, format):
    if format == "openvino":
        pytest.importorskip("openvino", reason="needs the [openvino] extra")
    path = tmp_path / named(format)
    found = export(network_run, format, path, bars)
    assert found.difference < 1e-5 and found.n == 60
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert found.size == sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def test_int8_is_compared_by_what_it_gets_right(bars, network_run, tmp_path):
    path = tmp_path / "model.onnx"
    found = export(network_run, "int8", path, bars)
    answers = answer(open_session(path.read_bytes()), bars.validation.images, 3)
    assert found.accuracy == (answers.argmax(axis=1) == bars.validation.labels).mean()
    assert found.accuracy >= found.run_accuracy - MOST_LOST and found.difference > 1e-4
    assert path.stat().st_size == found.size < 0.35 * (network_run.folder / "model.onnx").stat().st_size


SPOILT = {
    "otherwise": (True, 0.001, "the onnx file answers otherwise than the run, by up to 0.001. Not kept"),
    "no number": (True, np.nan, "answers otherwise than the run, by up to nan"),
    "fewer right": (
        False,
        5.0,
        "In onnx .* of the validation images are right.*more than 0.5 points are lost. Not kept",
    ),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_what_answers_otherwise_is_not_kept(bars, network_run, tmp_path, monkeypatch, kind):
    """Planted: a format whose file answers so much more for the first class."""
    exact, more, problem = SPOILT[kind]

    def save(run, path, dataset):
        honest = before.save(run, path, dataset)
        return lambda images: honest(images) + np.float32([more, 0, 0])

    before = EXPORTS["onnx"]
    monkeypatch.setitem(EXPORTS, "onnx", Format(".onnx", save, exact))
    with pytest.raises(RunError, match=f"(?i){problem}"):
        export(network_run, "onnx", tmp_path / "model.onnx", bars)
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_named_with_the_nearest(bars, network_run, tmp_path):
    with pytest.raises(RunError, match="Did you mean 'onnx'"):
        export(network_run, "onyx", tmp_path / "model.onnx", bars)


@pytest.mark.parametrize(
    "format, suffix", [("onnx", "onnx"), ("int8", "onnx"), ("keras", "keras"), ("litert", "tflite")]
)
def test_a_file_of_another_ending_is_refused(bars, network_run, tmp_path, format, suffix):
    with pytest.raises(RunError, match=rf"must end in \.{suffix}, received model\.h5"):
        export(network_run, format, tmp_path / "model.h5", bars)


@pytest.mark.parametrize("format", ["saved-model", "openvino", "web"])
def test_nothing_is_written_over_a_folder(bars, network_run, tmp_path, format):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"already something at .*site\. Remove it, or choose another place"):
        export(network_run, format, tmp_path / "site", bars)
    assert (tmp_path / "site" / "thesis.txt").read_text() == "mine"


def test_a_file_takes_the_place_of_the_one_before_and_its_folder_is_made(bars, network_run, tmp_path):
    path = tmp_path / "new" / "model.onnx"
    for _ in range(2):
        export(network_run, "onnx", path, bars)
    assert path.read_bytes() == (network_run.folder / "model.onnx").read_bytes()


@pytest.mark.parametrize("format", EXPORTS)
def test_a_full_disk_leaves_nothing(bars, network_run, tmp_path, format):
    with full_disk(), pytest.raises(RunError, match=r"[Cc]annot .*write"):
        export(network_run, format, tmp_path / named(format), bars)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["keras", "saved-model", "litert"])
def test_a_forest_has_no_keras_form(bars, forest_run, tmp_path, format):
    with pytest.raises(RunError, match="no network of ours: choose --format onnx"):
        export(forest_run, format, tmp_path / named(format), bars)


@pytest.mark.parametrize("format", ["int8", "web"])
def test_a_forest_has_no_form_for_networks(bars, forest_run, tmp_path, format):
    with pytest.raises(RunError, match="is a forest, no network: only --format onnx can hold it"):
        export(forest_run, format, tmp_path / named(format), bars)


def test_a_forest_goes_to_onnx(bars, forest_run, tmp_path):
    assert export(forest_run, "onnx", tmp_path / "model.onnx", bars).difference == 0


def test_openvino_says_that_it_cannot_hold_a_forest(bars, forest_run, tmp_path):
    pytest.importorskip("openvino", reason="needs the [openvino] extra")
    with pytest.raises(RunError, match=r"OpenVINO cannot hold run .*TreeEnsembleClassifier"):
        export(forest_run, "openvino", tmp_path / "model", bars)
    assert not list(tmp_path.iterdir())


def test_openvino_is_an_extra(bars, network_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'guarismo\[openvino\]'"):
        export(network_run, "openvino", tmp_path / "model", bars)


@pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")
def test_litert_and_saved_model_take_plain_images_in_any_number(bars, network_run, tmp_path):
    """As another program would open them, by their names alone."""
    import tensorflow as tf

    for name in ("saved-model", "litert"):
        export(network_run, name, tmp_path / named(name), bars)
    serve = tf.saved_model.load(str(tmp_path / named("saved-model"))).signatures["serving_default"]
    interpreter = tf.lite.Interpreter(str(tmp_path / named("litert")))
    runner = interpreter.get_signature_runner("serving_default")
    for images in (bars.test.images[:1], bars.test.images[:7]):
        expected = network_run.predict(images)
        np.testing.assert_allclose(serve(images=images)["output_0"], expected, atol=1e-5)
        np.testing.assert_allclose(runner(images=images)["output_0"], expected, atol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", None])
def test_a_model_from_elsewhere_becomes_a_run_with_its_own_answers(bars, stranger, tmp_path, activation):
    file, network = stranger(activation)
    run = import_keras(file, bars, tmp_path / "run", most=1.0, trusted=True)
    raw = np.asarray(network(bars.test.images.reshape(-1, 64) / 255.0))
    expected = raw if activation else np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run.predict(bars.test.images), expected, atol=1e-5)
    assert evaluate_run(open_run(run.folder), bars)[1].n == 90


def test_nothing_is_opened_before_the_user_says_that_it_is_trusted(bars, tmp_path):
    with pytest.raises(RunError, match=r"can run code of whoever made it.*--trust"):
        import_keras(tmp_path / "theirs.keras", bars, tmp_path / "run", most=1.0, trusted=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("sizes", [{"classes": 4}, {"pixels": 100}])
def test_a_model_of_another_shape_is_refused_with_both_shapes(bars, stranger, tmp_path, sizes):
    file, _ = stranger(**sizes)
    with pytest.raises(RunError, match=r"The model turns .* into .*; bars has images of \(8, 8, 1\) and 3 classes"):
        import_keras(file, bars, tmp_path / "run", most=1.0, trusted=True)


def test_a_file_that_is_no_model_is_refused(bars, tmp_path):
    (tmp_path / "theirs.keras").write_bytes(b"no archive")
    with pytest.raises(RunError, match="Keras cannot open"):
        import_keras(tmp_path / "theirs.keras", bars, tmp_path / "run", most=1.0, trusted=True)


def test_weights_of_another_network_are_refused(network_run, tmp_path):
    import shutil

    folder = shutil.copytree(network_run.folder, tmp_path / "run")
    about = json.loads((folder / "run.json").read_text())
    about["settings"]["model"] = "poly-modality-mlp"
    (folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match="do not fit model 'poly-modality-mlp'"):
        load_network(open_run(folder))
