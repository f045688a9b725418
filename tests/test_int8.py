"""Networks in 8 bits: smaller, nearly as right, and scaled by training images alone."""

import numpy as np
import onnx
import pytest

from guarismo.data.sources import load
from guarismo.errors import RunError
from guarismo.models.int8 import CALIBRATION, PARTS, Reader, quantised, spread
from guarismo.models.runs import answer, open_run, open_session
from guarismo.reading.reader import SHIPPED


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def small_reader(digits):
    """The reader's network in 8 bits, as bytes."""
    return quantised((SHIPPED / "model.onnx").read_bytes(), digits.train.images)


def test_it_has_a_third_of_the_bytes_and_reads_as_well(digits, small_reader):
    run = open_run(SHIPPED)
    answers = answer(open_session(small_reader), digits.validation.images, 10)
    wrong = [
        int((p.argmax(axis=1) != digits.validation.labels).sum())
        for p in (answers, run.predict(digits.validation.images))
    ]
    assert len(small_reader) < 0.3 * (SHIPPED / "model.onnx").stat().st_size
    assert wrong[0] <= wrong[1] + 2


def test_every_large_array_is_of_8_bits(small_reader):
    arrays = onnx.ModelProto.FromString(small_reader).graph.initializer
    large = {array.data_type for array in arrays if np.prod(array.dims) > 2000}
    assert large == {onnx.TensorProto.INT8}


def test_the_scales_come_from_the_images_that_are_given(digits):
    """Planted: calibrated on black images, no activation has any room."""
    blind = quantised((SHIPPED / "model.onnx").read_bytes(), np.zeros_like(digits.train.images[:64]))
    answers = answer(open_session(blind), digits.validation.images, 10)
    assert (answers.argmax(axis=1) == digits.validation.labels).mean() < 0.9


def test_the_same_images_are_chosen_each_time(digits):
    images = digits.train.images
    assert len(spread(images)) == CALIBRATION and len(spread(images[:9])) == 9
    np.testing.assert_array_equal(spread(images), spread(images))


@pytest.mark.parametrize("count", [3, PARTS, 21])
def test_the_reader_hands_out_every_image_once(count):
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    reader, parts = Reader("images", images), []
    while (part := reader.get_next()) is not None:
        parts.append(part["images"])
    np.testing.assert_array_equal(np.concatenate(parts), images)


def test_a_forest_has_nothing_to_quantise(bars, forest_run):
    with pytest.raises(RunError, match="multiplies no matrices"):
        quantised((forest_run.folder / "model.onnx").read_bytes(), bars.train.images)
