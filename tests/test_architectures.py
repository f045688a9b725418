"""Networks: plain uint8 images in, probabilities out, the published sizes."""

from itertools import combinations

import numpy as np
import pytest

from guarismo.data.dataset import Dataset, Split
from guarismo.data.known import embedded_digits
from guarismo.data.tables import read_csv
from guarismo.errors import RunError
from guarismo.models.runs import open_run
from guarismo.models.settings import Settings

pytest.importorskip("keras", reason="training is the [train] extra")

from guarismo.models import architectures
from guarismo.models.architectures import NETWORKS, averaged, build, describe_layers, keras
from guarismo.models.interchange import export, load_network
from guarismo.models.training import resume, train

# Computed by hand from the layers that experiments.md states, for 28×28×1 images.
PUBLISHED = {
    ("linear", 10): 784 * 10 + 10,
    ("mnist-cnn-bn", 10): (9 * 32 + 32) + 4 * 32 + (9 * 32 * 64 + 64) + 4 * 64 + (3136 * 256 + 256) + 4 * 256 + 2570,
    ("fashion-cnn-strided", 10): (4 * 32 + 32) + (4 * 32 * 64 + 64) + (3136 * 256 + 256) + (256 * 128 + 128) + 1290,
    ("poly-modality-mlp", 5): (784 * 256 + 256) + (256 * 128 + 128) + (128 * 5 + 5),
    ("poly-modality-cnn", 5): (9 * 32 + 32) + (9 * 32 * 64 + 64) + (1600 * 128 + 128) + (128 * 5 + 5),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("shape", "classes"), [((28, 28, 1), 10), ((32, 64, 3), 2)])
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


# Several views

SIDE, VIEWS = 14, 3
LEARNT = Settings(model="views", epochs=4, batch_size=32, learning_rate=4e-3, precision="bfloat16")


def views_dataset() -> Dataset:
    """1,400 samples of three views, 14×42: each view another of the embedded digits of that class, plain, inverted
    over grey, or in noise."""
    content = read_csv(embedded_digits(), label=784)
    images, labels = content.train.images[:, ::2, ::2].astype(int), content.train.labels
    rng = np.random.default_rng(0)
    wanted = np.arange(1400) % 10
    drawn = [images[[rng.choice(np.flatnonzero(labels == k)) for k in wanted]] for _ in range(VIEWS)]
    noise = rng.integers(0, 120, drawn[2].shape)
    strips = np.concatenate([drawn[0], 250 - drawn[1] * 2 // 3, drawn[2] // 2 + noise], axis=2).astype(np.uint8)
    parts = (slice(0, 900), slice(900, 1000), slice(1000, 1400))
    return Dataset("views", *(Split(strips[part], wanted[part]) for part in parts), tuple("0123456789"))


def only(images: np.ndarray, *views: int) -> np.ndarray:
    """The images with all views but these blackened."""
    kept = images.copy()
    for view in set(range(images.shape[2] // images.shape[1])) - set(views):
        kept[:, :, view * images.shape[1] : (view + 1) * images.shape[1]] = 0
    return kept


@pytest.fixture(scope="module")
def many_views() -> Dataset:
    return views_dataset()


@pytest.fixture(scope="module")
def views_run(many_views, tmp_path_factory):
    return train(many_views, LEARNT, tmp_path_factory.mktemp("views") / "run")


def mean_of_views(count: int):
    """A network that answers the mean of the views present, pixel for pixel, (n, 16)."""
    images = keras.Input((4, 4 * count, 1))
    return keras.Model(images, averaged([keras.layers.Flatten()], images))


def random_views(n: int, count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (n, 4, 4 * count, 1)).astype(np.float32)


def panels(images: np.ndarray) -> np.ndarray:
    """Images (n, 4, 4·v, 1) as (n, v, 16)."""
    return images.reshape(len(images), 4, -1, 4).swapaxes(1, 2).reshape(len(images), -1, 16)


@pytest.mark.parametrize("present", [(0,), (1, 3), (0, 2, 4), (0, 1, 2, 3, 4)])
def test_features_are_the_mean_over_the_views_that_are_there(present):
    images = only(random_views(6, 5), *present)
    expected = panels(images)[:, present].mean(axis=1)
    np.testing.assert_allclose(mean_of_views(5)(images), expected, rtol=1e-5)


def test_without_any_view_the_features_are_zero_and_the_answer_is_still_one():
    assert not np.asarray(mean_of_views(3)(np.zeros((2, 4, 12, 1)))).any()
    answer = np.asarray(build("views", (14, 42, 1), 4)(np.zeros((2, 14, 42, 1), dtype=np.uint8)))
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)


def test_in_training_every_subset_of_views_but_the_empty_one_is_drawn():
    images = random_views(400, 3)
    found = np.asarray(mean_of_views(3)(images, training=True))
    subsets = [subset for size in (1, 2, 3) for subset in combinations(range(3), size)]
    means = np.stack([panels(images)[:, subset].mean(axis=1) for subset in subsets], axis=1)
    distances = np.abs(means - found[:, None]).max(axis=2)
    assert distances.min(axis=1).max() < 1e-3  # each is the mean of some views
    assert set(distances.argmin(axis=1)) == set(range(len(subsets)))


def test_in_training_a_missing_view_is_never_drawn_and_the_last_one_never_left_out():
    images = only(random_views(200, 3), 1)
    found = np.asarray(mean_of_views(3)(images, training=True))
    np.testing.assert_allclose(found, panels(images)[:, 1], rtol=1e-5)


def test_a_missing_view_is_as_if_the_image_were_narrower():
    wide, narrow = build("views", (14, 42, 3), 10), build("views", (14, 28, 3), 10)
    narrow.set_weights(wide.get_weights())
    images = np.random.default_rng(1).integers(0, 256, (8, 14, 42, 3), dtype=np.uint8)
    together = np.concatenate([images[:, :, :14], images[:, :, 28:]], axis=2)
    np.testing.assert_allclose(wide(only(images, 0, 2)), narrow(together), atol=1e-6)


def test_what_is_left_out_in_training_does_not_reach_the_batch_statistics(monkeypatch):
    images = np.random.default_rng(1).integers(0, 256, (16, 14, 42, 1), dtype=np.uint8)
    averages, weights = [], None
    for share in (0.0, 0.9):
        monkeypatch.setattr(architectures, "VIEWS_LEFT_OUT", share)
        network = build("views", (14, 42, 1), 10)
        weights = weights or network.get_weights()
        network.set_weights(weights)
        network(images, training=True)
        averages.append([np.asarray(each) for each in network.non_trainable_weights])
    assert len(averages[0]) == 6 and any(each.any() for each in averages[0])
    for first, second in zip(*averages, strict=True):
        np.testing.assert_array_equal(first, second)


def test_it_answers_from_any_view_and_better_from_more(many_views, views_run):
    test = many_views.test
    accuracy = {
        subset: float((views_run.predict(only(test.images, *subset)).argmax(axis=1) == test.labels).mean())
        for size in (1, 2, 3)
        for subset in combinations(range(VIEWS), size)
    }
    assert min(accuracy.values()) > 0.5  # guessing: 0.1
    assert accuracy[0, 1, 2] > max(accuracy[view,] for view in range(VIEWS))


def test_onnx_answers_as_keras_does_from_any_subset_and_for_any_number_of_images(many_views, views_run):
    assert views_run.about["facts"]["onnx_difference"] < 1e-4
    network = load_network(views_run)
    test = many_views.test.images
    for images in (test[:1], only(test[:7], 1), only(test[:6], 0, 2), only(test[:5])):
        np.testing.assert_allclose(views_run.predict(images), network(images), atol=1e-4)


def test_its_keras_file_is_loaded_by_keras_alone(many_views, views_run, tmp_path):
    assert export(views_run, "keras", tmp_path / "views.keras", many_views).difference < 1e-5


def test_cut_off_it_leaves_out_the_same_views_afterwards(many_views, views_run, tmp_path):
    def interrupt(done, total, **facts):
        if facts["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="Stopped after epoch 2"):
        train(many_views, LEARNT, tmp_path / "cut", interrupt)
    resumed = resume(open_run(tmp_path / "cut"), many_views)
    assert resumed.about["files"]["weights.safetensors"] == views_run.about["files"]["weights.safetensors"]


@pytest.mark.parametrize("shape", [(28, 100, 3), (28, 14, 1)])
def test_images_that_are_not_square_views_are_refused(shape):
    with pytest.raises(RunError, match=rf"square views side by side.*received images of 28×{shape[1]}\. Load them"):
        build("views", shape, 10)


def test_the_table_of_views_lists_the_layers_of_the_trunk():
    rows = describe_layers(build("views", (28, 140, 3), 10))
    assert {"layer": "Conv2D", "output": "28×28×32", "parameters": 9 * 3 * 32} in rows
    assert [row["layer"] for row in rows].count("Conv2D") == 3  # one trunk, whatever the number of views


@pytest.mark.parametrize("mirror", [False, True])
def test_neighbours_answer_by_the_mean_over_an_image_and_itself_moved_by_a_pixel(mirror):
    plain, averaging = (build("linear", (6, 5, 1), 3, neighbours, mirror) for neighbours in (False, True))
    averaging.set_weights(plain.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 1), dtype=np.uint8)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    moved = [padded[:, 1 + y : 7 + y, 1 + x : 6 + x] for y, x in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))]
    moved += [part[:, :, ::-1] for part in moved] if mirror else []
    wanted = np.mean([np.asarray(plain(part)) for part in moved], axis=0)
    np.testing.assert_allclose(np.asarray(averaging(images)), wanted, atol=1e-6)


@pytest.mark.parametrize(("name", "most"), [("small", 10_000), ("tiny", 1_000)])
def test_small_networks_have_as_few_parameters_as_they_promise(name, most):
    assert build(name, (28, 28, 1), 10).count_params() < most


# Other sizes


@pytest.mark.parametrize(("name", "width"), [*((name, 0.1) for name in NETWORKS if name != "views"), ("cnn", 1.5)])
def test_width_multiplies_every_hidden_layer_and_leaves_the_classes_alone(name, width):
    def sizes(width):
        layers = build(name, (28, 28, 1), 10, width=width).layers
        return [getattr(layer, "filters", getattr(layer, "units", None)) for layer in layers]

    *hidden, logits = [size for size in sizes(1.0) if size]
    assert [size for size in sizes(width) if size] == [*(max(1, round(width * size)) for size in hidden), logits]
    assert logits == 10


def test_width_one_is_the_network_as_it_was():
    assert build("cnn", (28, 28, 1), 10, width=1.0).count_params() == build("cnn", (28, 28, 1), 10).count_params()


def test_a_run_of_another_width_is_resumed_loaded_and_exported_as_such(bars, tmp_path):
    def interrupt(done, total, **facts):
        if facts["epoch"] == 2:
            raise KeyboardInterrupt

    narrow = Settings(model="mlp", width=0.1, epochs=2, neighbours=True)
    with pytest.raises(KeyboardInterrupt):
        train(bars, narrow, tmp_path / "run", interrupt)
    whole = resume(open_run(tmp_path / "run"), bars)
    assert [row["output"] for row in whole.about["architecture"] if row["layer"] == "Dense"] == ["51", "26", "3"]
    np.testing.assert_allclose(load_network(whole)(bars.test.images), whole.predict(bars.test.images), atol=1e-5)
    assert export(whole, "keras", tmp_path / "narrow.keras", bars).difference < 1e-5


def test_views_has_one_size(many_views, tmp_path):
    with pytest.raises(RunError, match="'views' has one size, received --width 2"):
        train(many_views, Settings(model="views", width=2.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()
