"""Histograms of oriented gradients: the graph that everything runs, against the same in plain loops."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from guarismo.errors import RunError
from guarismo.models.hog import BINS, assembled, cell_side, hog
from guarismo.models.runs import open_session

SHAPES = [(8, 8, 1), (28, 28, 1), (28, 28, 3), (13, 21, 3), (33, 9, 1), (64, 64, 3)]


def features(images, change=lambda graph: graph):
    """What ONNX Runtime makes of the graph."""
    session = open_session(assembled([change(hog(images.shape[1:]))], images.shape[1:], "features"))
    return session.run(None, {"images": images})[0]


def plain_hog(image):
    """Dalal and Triggs' features of one image uint8 (h, w, c), a pixel at a time."""
    height, width, channels = image.shape
    side = cell_side(height, width)
    rows, columns = height // side, width // side
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
    cells = np.zeros((rows, columns, BINS))
    for i in range(rows * side):
        for j in range(columns * side):
            y, x = i + top + 1, j + left + 1
            gradients = [
                (padded[y, x + 1, c] - padded[y, x - 1, c], padded[y + 1, x, c] - padded[y - 1, x, c])
                for c in range(channels)
            ]
            dx, dy = max(gradients, key=lambda g: g[0] ** 2 + g[1] ** 2)
            place = np.degrees(np.arctan2(dy, dx)) % 180 / (180 / BINS) - 0.5
            lower, share = int(np.floor(place)), place - np.floor(place)
            cells[i // side, j // side, lower % BINS] += np.hypot(dx, dy) * (1 - share) / side**2
            cells[i // side, j // side, (lower + 1) % BINS] += np.hypot(dx, dy) * share / side**2
    blocks = np.empty((rows - 1, columns - 1, BINS, 2, 2))
    for i in range(rows - 1):
        for j in range(columns - 1):
            block = np.moveaxis(cells[i : i + 2, j : j + 2], 2, 0)
            block = np.minimum(block / np.sqrt((block**2).sum() + 1), 0.2)
            blocks[i, j] = block / np.sqrt((block**2).sum() + 1e-12)
    return blocks.reshape(rows - 1, columns - 1, -1).transpose(2, 0, 1).ravel()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_graph_is_what_the_loops_say(shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    np.testing.assert_allclose(features(images), [plain_hog(image) for image in images], atol=1e-5)


def test_smooth_images_too_where_many_gradients_are_upright_or_flat():
    y, x = np.mgrid[:28, :28]
    images = np.stack([8 * x, 8 * y, 4 * (x + y), 0 * x, 255 * (x > 13)]).astype(np.uint8)[..., None]
    np.testing.assert_allclose(features(images), [plain_hog(image) for image in images], atol=1e-5)


def test_a_flat_image_has_no_features_and_no_nan():
    assert not features(np.full((2, 28, 28, 3), 200, np.uint8)).any()


def test_an_edge_and_its_negative_are_the_same():
    images = np.random.default_rng(1).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    np.testing.assert_allclose(features(images), features(255 - images), atol=1e-6)


def test_a_grey_image_as_three_equal_channels_has_the_features_of_one():
    images = np.random.default_rng(2).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    np.testing.assert_array_equal(features(images), features(np.repeat(images, 3, axis=3)))


def test_a_graph_with_one_wrong_constant_would_be_noticed():
    def clipped_higher(graph):
        other = [c for c in graph.constants if c.name != "clip"]
        return replace(graph, constants=[*other, onnx.numpy_helper.from_array(np.float32([0.3]), "clip")])

    images = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1), dtype=np.uint8)
    images[..., :14, :] //= 8
    assert np.abs(features(images, clipped_higher)[0] - plain_hog(images[0])).max() > 1e-3


def test_images_too_small_for_cells_are_refused_in_words():
    with pytest.raises(RunError, match=r"at least 8×8, received 7×20"):
        hog((7, 20, 1))
