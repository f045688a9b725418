"""Choices: every field of a settings dataclass is checked by its own description."""

from dataclasses import dataclass, fields

import pytest

from guarismo.choices import check_choices, choice
from guarismo.errors import DataError, RunError


@dataclass(frozen=True)
class Tea:
    leaf: str = choice("green", "Which tea.", ("green", "black"))
    minutes: float = choice(3.0, "How long it draws.", most=10)
    cups: int = choice(1, "How many.", least=1)
    sugar: int | None = choice(None, "Lumps; by default as the guest likes.", most=3)
    milk: bool = choice(False, "Whether milk goes in.")


@pytest.mark.parametrize("values", [{}, {"minutes": 3}, {"sugar": 3}, {"milk": True}, {"leaf": "black", "minutes": 10}])
def test_what_may_be_meant_passes(values):
    check_choices(Tea(**values), DataError)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"leaf": "blak"}, r"Unknown leaf 'blak'.*Did you mean 'black'\?"),
        ({"leaf": None}, "'leaf' must be str, received None"),
        ({"minutes": 10.5}, "minutes must lie between 0 and 10, received 10.5"),
        ({"minutes": float("nan")}, "received nan"),
        ({"minutes": "3"}, "'minutes' must be float, received '3'"),
        ({"cups": 0}, "cups must lie between 1 and inf, received 0"),
        ({"cups": 1.0}, "'cups' must be int, received 1.0"),
        ({"cups": True}, "'cups' must be int, received True"),
        ({"sugar": 4}, "sugar must lie between 0 and 3, received 4"),
        ({"sugar": "two"}, "'sugar' must be int, received 'two'"),
        ({"milk": 1}, "'milk' must be bool, received 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(values, words):
    with pytest.raises(RunError, match=words):
        check_choices(Tea(**values), RunError)


def test_a_field_carries_what_the_command_line_shows():
    leaf = fields(Tea)[0]
    assert (leaf.default, leaf.metadata["help"], leaf.metadata["options"]) == (
        "green",
        "Which tea.",
        ("green", "black"),
    )
