"""Words and numbers in English, Spanish and Portuguese."""

import tomllib
from datetime import date
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from guarismo.errors import GuarismoError
from guarismo.language import CATALOGUES, ENGLISH, LANGUAGES, N_, Language, language

HOME = Path(__file__).parent.parent
SPANISH, PORTUGUESE = Language("es"), Language("pt")
OTHERS = [code for code in LANGUAGES if code != "en"]
N = "\N{NARROW NO-BREAK SPACE}"


def test_a_text_is_filled_as_its_fields_say():
    said = ENGLISH("{n:count} images, {share:percent} right, loss {loss:.4}", n=10_000, share=0.9906, loss=0.04213)
    assert said == f"10,000 images, 99.06{N}% right, loss 0.0421"
    assert ENGLISH("a text with {braces} and no values") == "a text with {braces} and no values"
    assert ENGLISH("") == ""


def test_numbers_are_written_as_the_language_writes_them():
    assert ENGLISH.decimal(1234.5, 2) == "1,234.50"
    assert SPANISH.decimal(1234.5, 2) == PORTUGUESE.decimal(1234.5, 2) == "1.234,50"
    assert SPANISH.percent(0.9906) == f"99,06{N}%"
    assert SPANISH.decimal(9.9e27, 2) == "9.9e+27"
    assert ENGLISH.decimal(float("nan"), 4) == ENGLISH.decimal(float("inf"), 4) == "–"
    assert ENGLISH.points(-0.0123) == "−1.23" and PORTUGUESE.points(0.0123) == "+1,23"
    assert ENGLISH.day(date(2026, 11, 21)) == "21 November 2026"
    assert SPANISH.day(date(2026, 11, 21)) == "21 de noviembre de 2026"


@pytest.mark.parametrize(
    ("bytes", "said"), [(999, f"999{N}B"), (1_000, f"1{N}kB"), (123_456, f"123{N}kB"), (1_234_567, f"1.23{N}MB")]
)
def test_a_size_takes_the_unit_that_reads_best(bytes, said):
    assert ENGLISH.size(bytes) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.42, f"0.42{N}s"), (1.234, f"1.2{N}s"), (12.3, f"12{N}s"), (185, f"3{N}min 5{N}s"), (7800, f"2{N}h 10{N}min")],
)
def test_a_duration_is_read_aloud(seconds, said):
    assert ENGLISH.duration(seconds) == said


@pytest.mark.parametrize(
    ("p", "said"), [(0.00001, "p < 0.0001"), (0.00321, "p = 0.0032"), (0.0999, "p = 0.1"), (0.512, "p = 0.51")]
)
def test_chance_is_written_in_two_digits(p, said):
    assert ENGLISH.p(p) == said


def test_an_unknown_language_is_refused_with_those_there_are():
    with pytest.raises(GuarismoError, match="Choose from en, es, pt"):
        language("de")


# The catalogues


def texts_in_the_code() -> set[str]:
    """Every text that the code or a template hands to a language."""
    options = tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["babel"]["mappings"]
    methods = [(each["pattern"], each["method"]) for each in options]
    found = extract_from_dir(HOME / "src", methods, keywords={"_": None, "N_": None, "choice": (2,)})
    return {str(text) for _, _, text, *_ in found}


def fields_of(text: str) -> list[tuple[str | None, str | None]]:
    return sorted((name, spec) for _, name, spec, _ in Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("code", OTHERS)
def test_every_text_is_translated_and_nothing_else(code):
    catalogue = read_po((CATALOGUES / f"{code}.po").open("rb"))
    translated = {message.id for message in catalogue if message.id and message.string and not message.fuzzy}
    texts = texts_in_the_code()
    assert len(texts) > 100
    assert sorted(texts - translated) == []  # make catalogues lists them in languages/, to be translated there
    assert sorted(translated - texts) == []


@pytest.mark.parametrize("code", OTHERS)
def test_a_translation_has_the_fields_of_its_text(code):
    for message in read_po((CATALOGUES / f"{code}.po").open("rb")):
        if message.id:
            assert fields_of(message.string) == fields_of(message.id)


@pytest.mark.parametrize("code", OTHERS)
def test_a_catalogue_is_found_by_its_code(code):
    assert language(code)(N_("training")) != "training"
