"""Networks: plain uint8 images in, probabilities out, the published sizes."""

import numpy as np
import pytest

from guarismo.errors import RunError

pytest.importorskip("keras", reason="training is the [train] extra")

from guarismo.models.architectures import NETWORKS, build, describe_layers

# Computed by hand from the layers that experiments.md states, for 28×28×1 images.
PUBLISHED = {
    ("linear", 10): 784 * 10 + 10,
    ("mnist-cnn-bn", 10): (9 * 32 + 32) + 4 * 32 + (9 * 32 * 64 + 64) + 4 * 64 + (3136 * 256 + 256) + 4 * 256 + 2570,
    ("fashion-cnn-strided", 10): (4 * 32 + 32) + (4 * 32 * 64 + 64) + (3136 * 256 + 256) + (256 * 128 + 128) + 1290,
    ("poly-modality-mlp", 5): (784 * 256 + 256) + (256 * 128 + 128) + (128 * 5 + 5),
    ("poly-modality-cnn", 5): (9 * 32 + 32) + (9 * 32 * 64 + 64) + (1600 * 128 + 128) + (128 * 5 + 5),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("shape", "classes"), [((28, 28, 1), 10), ((32, 40, 3), 2)])
def test_every_network_turns_uint8_images_into_probabilities(name, shape, classes):
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    probabilities = np.asarray(build(name, shape, classes)(images))
    assert probabilities.shape == (4, classes)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("name", "classes"), PUBLISHED)
def test_published_networks_have_the_published_size(name, classes):
    assert build(name, (28, 28, 1), classes).count_params() == PUBLISHED[name, classes]


def test_the_table_of_layers_adds_up_to_the_network():
    network = build("cnn", (28, 28, 1), 10)
    rows = describe_layers(network)
    assert sum(row["parameters"] for row in rows) == network.count_params()
    assert rows[2] == {"layer": "Conv2D", "output": "28×28×32", "parameters": 9 * 32}


def test_images_too_small_for_a_network_are_refused():
    with pytest.raises(RunError, match="Images of 6×6 are too small for 'mnist-cnn'"):
        build("mnist-cnn", (6, 6, 1), 10)
