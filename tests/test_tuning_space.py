"""Spaces: read from TOML, refused with a reason, drawn from."""

from dataclasses import replace

import optuna
import pytest

from guarismo.errors import RunError
from guarismo.models.settings import RECIPES, Settings
from guarismo.models.training import MODELS
from guarismo.tuning.space import (
    Options,
    Range,
    Space,
    check_space,
    default_space,
    read_space,
    space_from,
    suggest,
)

GOOD = """
learning_rate = {low = 1e-4, high = 1e-2, log = true}
epochs = {low = 2, high = 4}
batch_size = [32, 64]
shift = [0, 0.1]
mirror = [true, false]
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "space.toml"
        path.write_text(text)
        return path

    return write


def test_a_space_is_read_from_toml(written):
    space = read_space(written(GOOD), Settings())
    assert space.fields["learning_rate"] == Range(1e-4, 1e-2, log=True)
    assert space.fields["shift"] == Options((0.0, 0.1))
    assert space_from(space.as_json()) == space  # as a study remembers it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rat = [0.1]", "Unknown setting 'learning_rat'.*Did you mean 'learning_rate'"),
        ("learning_rate = {low = 0.1, high = 0.01}", "range of learning_rate is empty: low 0.1 is not below high 0.01"),
        ("learning_rate = {low = 0.1, high = 0.1}", "is empty"),
        ("learning_rate = {low = 0, high = 0.1, log = true}", "logarithmic, so low must be above 0"),
        ("learning_rate = {low = 0.1, high = 99}", "learning_rate must lie between"),
        ("learning_rate = {low = 0.1}", "must be a list of values, or a table"),
        ("learning_rate = {low = 0.1, high = nan}", "must be float, received nan"),
        ("learning_rate = {low = 0.1, high = 0.2, log = 1}", "log of learning_rate must be true or false"),
        ('learning_rate = ["fast"]', "learning_rate must be float, received 'fast'"),
        ("epochs = [1.5]", "epochs must be int, received 1.5"),
        ("epochs = {low = 1.5, high = 3}", "epochs must be int, received 1.5"),
        ("epochs = 3", "must be a list of values"),
        ("batch_size = []", "options of batch_size are empty"),
        ("batch_size = [32, 32]", "name a value twice"),
        ("mirror = {low = 0, high = 1}", r"mirror has no order. List its values: mirror = \[true, false\]"),
        ('schedule = ["weekly"]', "Unknown schedule 'weekly'"),
        ('model = ["cnm"]', "Unknown model 'cnm'.*Did you mean 'cnn'"),
        ("seed = [1, 2]", "seed cannot be searched: it is luck"),
        ("", "names no setting to search"),
        ("learning_rate = ", "is not TOML"),
        ("learning_rate = " + "[" * 5000, "is not TOML"),
    ],
)
def test_a_space_that_will_not_do_says_why(written, text, said):
    with pytest.raises(RunError, match=said):
        read_space(written(text), Settings())


def test_a_space_file_that_is_not_there_or_is_no_text_says_so(tmp_path):
    with pytest.raises(RunError, match=r"cannot be read: No such file"):
        read_space(tmp_path / "none.toml", Settings())
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="is not TOML"):
        read_space(tmp_path / "binary.toml", Settings())


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_space_of_settings_that_it_can_take(model):
    base = Settings(model=model)
    space = default_space(base)
    check_space(space, base)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        settings = suggest(study.ask(), space, base)
        assert {name for name in settings.changes() if name != "model"} <= set(space.fields)


def test_every_recipe_has_a_space_and_photos_keep_their_variants():
    for base in RECIPES.values():
        check_space(default_space(base), base)
    assert "rotation" not in default_space(RECIPES["reader"]).fields


def test_drawn_fractions_are_short_enough_to_paste_but_the_default_is_kept_as_it_is():
    space = Space({"learning_rate": Range(1e-4, 1e-2, log=True)})
    drawn = optuna.trial.FixedTrial({"learning_rate": 0.00123456})
    assert suggest(drawn, space, Settings()).learning_rate == 0.00123
    assert suggest(drawn, space, Settings(learning_rate=0.00123456)).learning_rate == 0.00123456


def test_a_short_fraction_stays_inside_its_range():
    space = Space({"learning_rate": Range(0.0012345, 0.0012355)})
    drawn = optuna.trial.FixedTrial({"learning_rate": 0.001235})
    assert 0.0012345 <= suggest(drawn, space, Settings()).learning_rate <= 0.0012355


def test_a_grid_is_every_combination_with_some_values_of_each_range():
    space = Space(
        {"learning_rate": Range(1e-4, 1e-1, log=True), "epochs": Range(1, 3), "mirror": Options((True, False))}
    )
    grid = space.grid
    assert len(grid) == 4 * 3 * 2
    assert sorted({point["learning_rate"] for point in grid}) == [1e-4, 1e-3, 1e-2, 1e-1]
    assert all(replace(Settings(), **point) for point in grid)


def test_the_longest_training_is_what_pruning_reckons_with():
    assert Space({"epochs": Range(2, 9)}).most("epochs", 5) == 9
    assert Space({"epochs": Options((2, 7))}).most("epochs", 5) == 7
    assert Space({"batch_size": Options((32,))}).most("epochs", 5) == 5
