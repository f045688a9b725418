"""Looking inside a run: each layer's answer as the graph computes it, and its picture."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from guarismo.data.sources import load
from guarismo.errors import RunError
from guarismo.reading.reader import SHIPPED, shipped_reader
from guarismo.serving.looking import layer_picture, look_inside, mosaic, shaded
from tiny_run import bars_dataset, make_run


@pytest.fixture(scope="module")
def digit() -> np.ndarray:
    return np.asarray(load("digits").test.images[0])


@pytest.fixture(scope="module")
def looked(digit) -> dict:
    return json.loads(look_inside(str(SHIPPED), digit.tobytes()))


def picture(about: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(about["image"].partition(",")[2]))))


def test_the_probabilities_are_those_of_the_run(looked, digit):
    expected = shipped_reader().run.predict(digit[None])[0]
    np.testing.assert_allclose(looked["probabilities"], expected, atol=1e-5)


def test_the_layers_stand_in_the_order_of_the_flow(looked):
    kinds = [layer["kind"] for layer in looked["layers"]]
    assert kinds[:3] == ["convolution", "pooling", "activation"]
    assert kinds[-2:] == ["dense", "probabilities"]
    assert looked["layers"][0]["shape"] == [28, 28, 32]
    assert looked["layers"][-1]["shape"] == [1, 1, 10]
    assert [layer["name"] for layer in looked["layers"] if layer["kind"] == "pooling"] == [
        "pooling 1",
        "pooling 2",
        "pooling 3",
    ]


def test_the_last_picture_is_brightest_at_the_answer(looked):
    shown = picture(looked["layers"][-1])
    assert shown[0, :, 0].argmax() == np.argmax(looked["probabilities"])
    assert (shown[..., 3] == 255).all()


def test_a_layer_before_its_activation_has_grey_for_zero_and_after_it_black(looked):
    convolution, activation = (picture(looked["layers"][place]) for place in (0, 2))
    values = convolution[convolution[..., 3] > 0][:, 0]
    assert np.median(values) == 128 and values.min() < 128
    assert activation[activation[..., 3] > 0][:, 0].min() == 0


def test_a_dense_layer_is_shown_with_its_bias(tmp_path):
    """The graph of the tiny run has no bias, the shipped one has."""
    run = make_run(tmp_path / "run", bars_dataset())
    image = bars_dataset().test.images[0]
    found = json.loads(look_inside(str(run.folder), image.tobytes()))
    assert [layer["kind"] for layer in found["layers"]] == ["dense", "probabilities"]
    np.testing.assert_allclose(found["probabilities"], run.predict(image[None])[0], atol=1e-5)


def test_channels_are_tiles_with_clear_gaps():
    values = np.arange(3 * 2 * 2, dtype=np.float32).reshape(3, 2, 2)
    whole = mosaic(values)
    assert whole.shape == (5, 5)
    np.testing.assert_array_equal(whole[:2, :2], values[0])
    np.testing.assert_array_equal(whole[:2, 3:], values[1])
    np.testing.assert_array_equal(whole[3:, :2], values[2])
    assert np.isnan(whole[2]).all() and np.isnan(whole[3:, 3:]).all()
    assert (shaded(whole)[2, :, 3] == 0).all()


@pytest.mark.parametrize(("values", "greys"), [([0.0, 1.0, 2.0], [0, 128, 255]), ([-2.0, 0.0, 2.0], [0, 128, 255])])
def test_greys_are_shares_of_the_strongest(values, greys):
    assert shaded(np.array([values], np.float32))[0, :, 0].tolist() == greys


def test_a_silent_layer_is_black():
    assert shaded(np.zeros((1, 3), np.float32))[..., 0].max() == 0


def test_a_layer_without_places_is_in_rows():
    about = layer_picture(np.ones(70, np.float32))
    assert about["shape"] == [1, 1, 70]
    assert picture(about).shape == (3, 32, 4)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="is not a run"):
        look_inside(str(tmp_path), b"")
