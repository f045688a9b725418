"""Content: arrays of any kind become uint8 images and numbered classes, or a DataError that names the file."""

from pathlib import Path

import numpy as np
import pytest

from foreign import IMAGES, LABELS
from guarismo.data.content import Content, as_images, content_of, natural, tidy_labels, to_pixels
from guarismo.errors import DataError


def content_from(images: np.ndarray, labels: np.ndarray) -> Content:
    """What the readers of arrays and tables make of one part."""
    path = Path("a.npz")
    pixels, notes = to_pixels(path, images)
    return content_of(path, as_images(path, pixels), tidy_labels(path, labels), notes=notes)


# Pixels


@pytest.mark.parametrize("kind", [np.int64, np.float64, np.uint16])
def test_whole_numbers_of_any_type_stay_as_they_are(kind):
    content = content_from(IMAGES.astype(kind), LABELS)
    np.testing.assert_array_equal(content.train.images[..., 0], IMAGES)


WITH_NAN = IMAGES.astype(float)
WITH_NAN[3, 0, 0] = np.nan

FAULTY_ARRAYS = {
    "NaN": ((WITH_NAN, LABELS), "image 3 holds NaN"),
    "normalised": ((IMAGES / 40.0 - 1, LABELS), "values from -1"),
    "fractions beyond 1": ((IMAGES + 0.5, LABELS), "whole numbers 0…255 or fractions"),
    "one-hot": ((IMAGES, np.eye(5)), "argmax"),
    "fractional labels": ((IMAGES, LABELS + 0.5), "whole numbers or words"),
    "NaN as label": ((IMAGES, np.full(5, np.nan)), "whole numbers or words"),
    "unequal counts": ((IMAGES, LABELS[:3]), "5 images but 3 labels"),
    "channels first": ((np.zeros((5, 3, 8, 8), np.uint8), LABELS), "channels last"),
    "some labels unknown": ((IMAGES, np.array([-1, 0, 1, 0, 1])), "Remove those images"),
}


@pytest.mark.parametrize("fault", FAULTY_ARRAYS)
def test_faulty_arrays_are_refused(fault):
    arrays, words = FAULTY_ARRAYS[fault]
    with pytest.raises(DataError, match=words) as error:
        content_from(*arrays)
    assert "a.npz" in str(error.value)


# Labels


def test_natural_order_puts_2_before_10():
    names = ["10", "2", "a10", "a2", "1", "a", "a2b", "9" * 5000]
    assert sorted(names, key=natural)[:3] == ["1", "2", "10"]
    assert sorted(names, key=natural)[4:] == ["a", "a2", "a2b", "a10"]
