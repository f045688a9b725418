"""Other programs' formats: what goes out answers the same, what comes in is asked for by name."""

import json

import numpy as np
import pytest

from guarismo.errors import RunError
from guarismo.models.runs import open_run
from guarismo.results.evaluation import evaluate_run

pytest.importorskip("keras", reason="training is the [train] extra")

import keras

from guarismo.models.interchange import EXPORTS, export, import_keras, load_network


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


@pytest.mark.parametrize("format", EXPORTS)
def test_every_format_is_written_loaded_again_and_compared(bars, network_run, tmp_path, format):
    path = tmp_path / f"model{EXPORTS[format][0]}"
    assert export(network_run, format, path, bars.validation.images) < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_unknown_format_is_named_with_the_nearest(bars, network_run, tmp_path):
    with pytest.raises(RunError, match="Did you mean 'onnx'"):
        export(network_run, "onyx", tmp_path / "model.onnx", bars.validation.images)


def test_a_forest_has_no_keras_form(bars, forest_run, tmp_path):
    with pytest.raises(RunError, match="no network of ours"):
        export(forest_run, "keras", tmp_path / "model.keras", bars.validation.images)


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
