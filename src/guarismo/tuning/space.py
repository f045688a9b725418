"""Space: which fields of Settings are searched, and where; read from TOML, or a default for each family of models."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from guarismo.choices import is_a
from guarismo.errors import RunError, unknown
from guarismo.models.classical import CLASSICAL
from guarismo.models.settings import Settings
from guarismo.models.training import MODELS

Value = Any  # str, int, float or bool, as the field is
GRID_STEPS = 4
"""Values of a range that a grid takes."""
MOST_SPACE_BYTES = 2**20
NOT_SEARCHED = {"seed": "is luck", "devices": "changes how fast a training is, and nothing else"}


@dataclass(frozen=True)
class Range:
    """From low to high, both included; log: every tenfold as likely as the next."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Options:
    """One of these."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Space:
    """fields: field of Settings → where it is searched."""

    fields: Mapping[str, Range | Options]

    def as_json(self) -> dict[str, Any]:
        """Plain values for json.dumps, as `read_space` takes them from TOML: a list, or a table of low, high, log."""
        return {
            name: list(where.values) if isinstance(where, Options) else asdict(where)
            for name, where in self.fields.items()
        }

    def most(self, name: str, usual: int) -> int:
        """The largest value that a whole number's field may take; `usual` where it is not searched."""
        where = self.fields.get(name)
        if where is None:
            return usual
        return int(max(map(float, where.values)) if isinstance(where, Options) else where.high)

    @property
    def grid(self) -> list[dict[str, Value]]:
        """Every combination of options, and of `GRID_STEPS` values of each range."""
        columns = [values_of(name, where) for name, where in self.fields.items()]
        return [dict(zip(self.fields, row, strict=True)) for row in product(*columns)]


KINDS: dict[str, type] = {item.name: type(item.default) for item in fields(Settings)}
"""Field of Settings → what it holds."""


def values_of(name: str, where: Range | Options) -> list[Value]:
    """What a grid takes of one field: `GRID_STEPS` values from low to high, in equal steps or equal ratios."""
    if isinstance(where, Options):
        return list(where.values)
    shares = [step / (GRID_STEPS - 1) for step in range(GRID_STEPS)]
    if where.log:
        found = [where.low * (where.high / where.low) ** share for share in shares]
    else:
        found = [where.low + (where.high - where.low) * share for share in shares]
    rounded = [min(max(short(value), where.low), where.high) for value in found]
    return sorted({int(value) if KINDS[name] is int else value for value in rounded})


def short(value: float) -> float:
    """Three digits: enough to tell settings apart, and few enough to paste."""
    return float(f"{value:.3g}")


# Reading


def read_space(path: Path, base: Settings) -> Space:
    """The Space of a TOML file: `field = [values]`, or `field = {low = …, high = …, log = true}`.

    Raises RunError for a file that cannot be read, a field that Settings has not, an empty range or a wrong type.
    """
    try:
        if path.stat().st_size > MOST_SPACE_BYTES:
            raise RunError(
                f"{path} is larger than {MOST_SPACE_BYTES >> 20} MB: no space of settings is. Name a TOML file."
            )
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}. Name a TOML file with --space.") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not TOML: {error}.") from None
    space = space_from(table, str(path))
    check_space(space, base)
    return space


def space_from(table: Mapping[str, Any], origin: str = "The space") -> Space:
    """The Space that `Space.as_json` wrote, or a TOML file holds. Raises RunError for what is no space."""
    return Space({name: where_from(name, value, origin) for name, value in table.items()})


def where_from(name: str, value: Any, origin: str) -> Range | Options:
    if name not in KINDS:
        raise RunError(f"{origin}: {unknown('setting', name, KINDS)}")
    kind = KINDS[name]
    if isinstance(value, list):
        for each in value:
            if not is_a(kind, each):
                raise RunError(f"{origin}: {name} must be {kind.__name__}, received {each!r}.")
        return Options(tuple(kind(each) for each in value))
    if isinstance(value, dict) and {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        if kind not in (int, float):
            raise RunError(f"{origin}: {name} has no order. List its values: {name} = [{example(name)}]")
        for each in (value["low"], value["high"]):
            if not is_a(kind, each) or not math.isfinite(each):
                raise RunError(f"{origin}: {name} must be {kind.__name__}, received {each!r}.")
        if not isinstance(value.get("log", False), bool):
            raise RunError(f"{origin}: log of {name} must be true or false, received {value['log']!r}.")
        return Range(kind(value["low"]), kind(value["high"]), value.get("log", False))
    raise RunError(
        f"{origin}: {name} must be a list of values, or a table such as {{low = 1, high = 10, log = true}}, "
        f"received {value!r}."
    )


def example(name: str) -> str:
    """Two values of a field, as TOML."""
    options: tuple[str, ...] = Settings.__dataclass_fields__[name].metadata["options"]
    return ", ".join(f'"{each}"' for each in (options or MODELS)[:2]) if KINDS[name] is str else "true, false"


def check_space(space: Space, base: Settings) -> None:
    """Raises RunError for a field that cannot be searched, an empty range, or a value that Settings refuses."""
    if not space.fields:
        raise RunError("The space names no setting to search. Write one a line, such as: batch_size = [32, 64, 128]")
    for name, where in space.fields.items():
        if name not in KINDS:
            raise RunError(unknown("setting", name, KINDS))
        if name in NOT_SEARCHED:
            raise RunError(f"{name} cannot be searched: it {NOT_SEARCHED[name]}. Leave it out of the space.")
        ends = check_options(name, where) if isinstance(where, Options) else check_range(name, where)
        for value in ends:
            replace(base, **{name: value})  # refuses what lies outside
            if name == "model" and value not in MODELS:
                raise RunError(unknown("model", str(value), MODELS))


def check_options(name: str, where: Options) -> tuple[Value, ...]:
    """The options. Raises RunError where there are none, or one stands twice."""
    if not where.values:
        raise RunError(f"The options of {name} are empty. List one value or more, or leave it out.")
    if len(set(where.values)) < len(where.values):
        raise RunError(f"The options of {name} name a value twice: {', '.join(map(str, where.values))}.")
    return where.values


def check_range(name: str, where: Range) -> tuple[Value, ...]:
    """Both ends. Raises RunError for a range that holds less than two values, or cannot be logarithmic."""
    if KINDS[name] not in (int, float):
        raise RunError(f"{name} has no order, so no range. List its values: [{example(name)}]")
    if not where.low < where.high:
        raise RunError(f"The range of {name} is empty: low {where.low:g} is not below high {where.high:g}.")
    if where.log and where.low <= 0:
        raise RunError(f"The range of {name} is logarithmic, so low must be above 0, received {where.low:g}.")
    return where.low, where.high


# Defaults


def default_space(base: Settings) -> Space:
    """What is worth searching for a model of this family, around its settings; training for photos keeps its variants.

    Classical models have no settings but their kind, so that is searched. Nothing is mirrored: that makes other
    characters of characters.
    """
    if base.model in CLASSICAL:
        return Space({"model": Options(tuple(CLASSICAL))})
    moving: dict[str, Range | Options] = {
        "width": Range(0.5, 1.5),
        "rotation": Range(0.0, 15.0),
        "shift": Range(0.0, 0.12),
        "zoom": Range(0.0, 0.15),
    }
    fields: dict[str, Range | Options] = {
        "learning_rate": Range(short(base.learning_rate / 5), short(min(1.0, base.learning_rate * 5)), log=True),
        "batch_size": Options(tuple(sorted({max(1, base.batch_size // 2), base.batch_size, base.batch_size * 2}))),
        "label_smoothing": Range(0.0, 0.15),
        "weight_decay": Range(0.0, 0.05),
    }
    if base.model == "linear":
        moving.pop("width")
    return Space(fields if base.model == "views" or base.variants != "none" else fields | moving)


# One trial


def suggest(trial: Any, space: Space, base: Settings) -> Settings:
    """The settings that an Optuna trial tries: `base`, the searched fields drawn by the study's sampler.

    Fractions are kept to three digits, but for those of `base`.
    """
    drawn = {name: draw(trial, name, where, getattr(base, name)) for name, where in space.fields.items()}
    return replace(base, **drawn)


def draw(trial: Any, name: str, where: Range | Options, usual: Value) -> Value:
    """One field's value, asked of the trial's sampler."""
    if isinstance(where, Options):
        return trial.suggest_categorical(name, where.values)
    if KINDS[name] is int:
        return int(trial.suggest_int(name, where.low, where.high, log=where.log))
    fraction = float(trial.suggest_float(name, where.low, where.high, log=where.log))
    return fraction if fraction == usual else min(max(short(fraction), where.low), where.high)


def inside(value: Value, where: Range | Options) -> bool:
    """Whether a field's value is one that is searched."""
    return value in where.values if isinstance(where, Options) else where.low <= float(value) <= where.high
