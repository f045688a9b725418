"""How a settings dataclass describes each of its fields: default, sentence of help, allowed values."""

from __future__ import annotations

import math
from dataclasses import field, fields
from typing import Any

from guarismo.errors import GuarismoError, unknown


def choice(default: Any, help: str, options: tuple[str, ...] = (), least: float = 0, most: float = math.inf) -> Any:
    """A field of a settings dataclass; where the default is None, it takes a whole number or None."""
    return field(default=default, metadata={"help": help, "options": options, "least": least, "most": most})


def check_choices(settings: Any, error: type[GuarismoError]) -> None:
    """Raises `error` for the first field whose value is not of its default's type, or not among those allowed."""
    for item in fields(settings):
        value, rule = getattr(settings, item.name), item.metadata
        if value is None and item.default is None:
            continue
        kind = int if item.default is None else type(item.default)
        if not is_a(kind, value):
            raise error(f"Setting '{item.name}' must be {kind.__name__}, received {value!r}.")
        if rule["options"] and value not in rule["options"]:
            raise error(unknown(item.name, value, rule["options"]))
        if kind in (int, float) and not rule["least"] <= value <= rule["most"]:
            raise error(f"{item.name} must lie between {rule['least']:g} and {rule['most']:g}, received {value}.")


def is_a(kind: type, value: Any) -> bool:
    """A whole number will do for a fraction; True is no number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)
