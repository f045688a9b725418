"""The house: the public names are exact, and README, tests and tables speak of what is there."""

import importlib
import re
from pathlib import Path

import pytest

import guarismo
from guarismo.cli import app
from guarismo.data.known import SOURCES
from guarismo.models.settings import RECIPES
from guarismo.models.training import MODELS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FILES = sorted(path.relative_to(ROOT / "src/guarismo").as_posix() for path in ROOT.glob("src/guarismo/*/*.py"))


def test_public_names_are_exact():
    for name, home in guarismo.HOMES.items():
        assert getattr(guarismo, name) is getattr(importlib.import_module(f"guarismo.{home}"), name)
    assert sorted(guarismo.__all__) == dir(guarismo)


def test_a_name_that_is_not_public_says_so():
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        guarismo.trian  # noqa: B018


def test_the_static_names_are_the_public_names():
    """What type checkers see, beside what is loaded at first use."""
    text = (ROOT / "src/guarismo/__init__.py").read_text()
    assert set(re.findall(r"import \w+ as (\w+)$", text, flags=re.MULTILINE)) == set(guarismo.HOMES)


@pytest.mark.parametrize("file", [file for file in FILES if not file.endswith("__init__.py")])
def test_every_file_has_its_tests_and_its_line_in_the_map(file):
    name = Path(file).name
    stage = Path(file).parent.name
    tests = f"test_{stage}_{name}" if stage in ("serving", "tuning") else f"test_{name}"
    assert (ROOT / "tests" / tests).exists()
    assert re.search(rf"^ +{name} ", README, flags=re.MULTILINE), f"README's map lacks {file}"


@pytest.mark.parametrize("name", [*(name for name in app if not name.startswith("-"))])
def test_every_command_is_in_the_readme(name):
    assert f"guarismo {name}" in README


@pytest.mark.parametrize("name", [*SOURCES, *MODELS, *RECIPES])
def test_every_source_model_and_recipe_is_in_the_readme(name):
    assert f"`{name}`" in README or f" {name}" in README


def test_the_change_log_begins_with_this_version():
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE).group(1)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE).group(1)
    assert newest == version
