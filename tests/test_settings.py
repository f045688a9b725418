"""Settings: one value for every choice, refused where it cannot be meant."""

from dataclasses import asdict, fields, replace

import pytest

from guarismo.errors import RunError
from guarismo.models.architectures import NETWORKS
from guarismo.models.classical import CLASSICAL
from guarismo.models.settings import RECIPES, Settings, recipe_for


def test_settings_survive_the_journey_through_run_json():
    settings = Settings(model="mlp", epochs=3, rotation=10.0, seed=7)
    assert Settings.from_dict(asdict(settings)) == settings


def test_changes_are_what_differs_from_the_defaults():
    assert Settings(epochs=3).changes() == {"epochs": 3}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "epochs must lie between 1 and 100000, received 0"),
        ({"shift": 0.9}, "shift must lie between 0 and 0.5, received 0.9"),
        ({"learning_rate": float("nan")}, "learning_rate must lie between 1e-09 and 10, received nan"),
        ({"schedule": "one-cicle"}, "Did you mean 'one-cycle'?"),
    ],
)
def test_a_value_out_of_range_names_what_was_expected(change, words):
    with pytest.raises(RunError, match=r".") as caught:
        Settings(**change)
    assert words in str(caught.value)


@pytest.mark.parametrize("values", [{"epoch": 3}, {"epochs": "3"}, {"epochs": True}, {"model": ["cnn"]}])
def test_settings_of_a_stranger_are_checked(values):
    with pytest.raises(RunError, match="etting"):
        Settings.from_dict(values)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_a_model_that_exists(name):
    assert RECIPES[name].model in {**NETWORKS, **CLASSICAL}


def test_a_recipe_can_be_varied():
    assert replace(RECIPES["mnist-cnn"], epochs=1) == replace(RECIPES["mnist-cnn"], epochs=1)
    assert replace(RECIPES["mnist-cnn"], epochs=1).batch_size == RECIPES["mnist-cnn"].batch_size == 64


def test_a_recipe_may_have_a_variant_for_some_data():
    assert recipe_for("fast", "fashion_mnist") == RECIPES["fast-fashion_mnist"] != RECIPES["fast"]
    assert recipe_for("fast", "mnist") == recipe_for("fast", "some/folder") == RECIPES["fast"]
    with pytest.raises(RunError, match="Did you mean 'small'"):
        recipe_for("smal")


def test_every_setting_has_a_sentence_of_help():
    assert all(item.metadata["help"].endswith(".") for item in fields(Settings))
