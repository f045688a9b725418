"""On each published experiment the findings agree with what is true of it, and contradict what was said wrongly."""

import numpy as np
import pytest

from guarismo.data.leaks import find_leaks
from guarismo.data.sources import LoadSettings, load
from guarismo.models.settings import RECIPES
from guarismo.reproduction import EXPERIMENTS, MODALITY, PHOTOS
from guarismo.results.curves import memorised
from guarismo.results.diagnosis import diagnose, leaked
from guarismo.results.shift import shift
from published import EXPECTED, published_run


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_true_is_found_and_what_is_not_is_not(name, tmp_path):
    found = diagnose(published_run(name, tmp_path / name), split="test")
    names = {finding.name for finding in found}
    assert set(EXPECTED[name].found) <= names, EXPECTED[name].because
    assert not names & set(EXPECTED[name].silent), EXPECTED[name].because


def test_every_trained_experiment_is_in_the_table():
    assert set(EXPECTED) == {name for name in EXPERIMENTS if name in RECIPES}


def test_over_fitting_begins_where_the_validation_loss_is_lowest(tmp_path):
    """The authors of `mnist-mlp` saw theirs rise from epoch 6, those of `fashion-cnn-strided` saw nothing."""
    begins = {
        name: next(f.epochs[0] for f in diagnose(published_run(name, tmp_path / name)) if f.name == "over-fitting")
        for name in ("mnist-mlp", "fashion-cnn-strided")
    }
    assert begins == {"mnist-mlp": 3, "fashion-cnn-strided": 21}


def test_shirts_are_the_class_that_is_mixed_up(tmp_path):
    """Of the published precisions, .74 is the lowest: the shirt's."""
    run = published_run("fashion-cnn-strided", tmp_path / "run")
    pairs = [finding.classes for finding in diagnose(run, split="test") if finding.name == "confusable-pair"]
    assert pairs and all(run.class_names.index("Shirt") in pair for pair in pairs)


@pytest.mark.parametrize(
    "name, train, test, overfits",
    [
        ("fashion-cnn-strided", 0.9854, 0.9059, True),  # its authors: no over-fitting
        ("fashion-cnn", 0.9132, 0.9053, False),
        ("mnist-cnn-bn", 0.9956, 0.9935, False),
    ],
)
def test_the_authors_own_figures_tell_who_over_fits(name, train, test, overfits):
    found = memorised(train, test, 10_000)
    assert (found is not None) == overfits
    if found:
        assert "98.54" in found.sentence() and "90.59" in found.sentence()


def test_the_laboratory_s_division_shares_handwriting(small_mnist):
    """Validation files drawn at random have their originals in training; kept together, none has."""
    validation = load("polymnist", MODALITY)
    (found,) = [each for each in leaked(find_leaks(validation)) if each.split == "validation"]
    assert found.name == "leak" and found.number > 0.9 and "original" in found.sentence()
    together = load("polymnist", LoadSettings(channels=1, target="modality", group="original"))
    assert not [each for each in leaked(find_leaks(together)) if each.number > 0.9]


def test_polymnist_is_balanced(small_mnist):
    counts = np.bincount(load("polymnist", MODALITY).train.labels)
    assert counts.max() <= 1.1 * counts.min()


def test_the_six_photos_are_called_unlike_the_training_images(shared_data):
    """Dark on light, the whole page: the laboratory's network answered an 8 for each, at 100.0 %."""
    image = pytest.importorskip("PIL.Image")
    files = sorted((shared_data / "photos" / PHOTOS).rglob("*.jp*g"))[:6]
    if len(files) < 6:
        pytest.skip("needs the six photos of the laboratory")
    pages = np.stack([np.asarray(image.open(file).convert("L").resize((28, 28))) for file in files])[..., None]
    found = shift(load("digits").train.images, pages)
    assert found.number == 1 and found.images.tolist() == [0, 1, 2, 3, 4, 5]
