"""Words and numbers in the reader's language: catalogues in languages/CODE.po, number formats of Babel (Unicode CLDR).

A text is written in English where it is used, `_("{n:count} images, {share:percent} right", n=12, share=0.5)`; what
stands behind the colon says how a value is written in each language: the names of FORMATS, or decimals as ``.4``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from gettext import NullTranslations
from io import BytesIO
from math import isfinite
from pathlib import Path
from string import Formatter
from typing import Any

from guarismo.errors import GuarismoError, unknown

LANGUAGES: Mapping[str, str] = {"en": "English", "es": "Español", "pt": "Português"}
CATALOGUES = Path(__file__).parent / "languages"
NARROW = "\u202f"
"""Narrow no-break space, between a number and its unit."""


def N_(text: str) -> str:  # noqa: N802  gettext's name for it
    """Marks a text for the catalogues where it is written down, to be translated where it is shown."""
    return text


class Language(Formatter):
    """One language. Called with an English text and values for its fields, it gives the text translated and filled."""

    def __init__(self, code: str = "en", translations: NullTranslations | None = None):
        self.code = code
        self.translations = translations or NullTranslations()

    def __call__(self, text: str, **values: Any) -> str:
        translated = self.translations.gettext(text) if text else ""
        return self.vformat(translated, (), values) if values else translated

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec in FORMATS:
            return FORMATS[format_spec](self, value)
        if format_spec.startswith("."):
            return self.decimal(value, int(format_spec[1:]))
        return str(super().format_field(value, format_spec))

    def decimal(self, number: float, digits: int) -> str:
        """0.0421 → 0.0421, 0,0421; a number of more digits than a float has, as 9.9e+27; what is no number, as –."""
        from babel.numbers import format_decimal

        if not isfinite(number):
            return "–"
        if abs(number) >= 1e16:
            return f"{number:.2g}"
        places = "#,##0" + ("." + "0" * digits if digits else "")
        return format_decimal(number, places, locale=self.code, numbering_system="latn")

    def count(self, number: float) -> str:
        """10000 → 10,000; in Spanish and Portuguese as CLDR has it."""
        return self.decimal(round(number), 0)

    def percent(self, share: float, digits: int = 2) -> str:
        """0.9906 → 99.06 %."""
        return f"{self.decimal(100 * share, digits)}{NARROW}%"

    def points(self, share: float) -> str:
        """A difference of shares in percentage points, with its sign: 0.0123 → +1.23."""
        return ("+" if share >= 0 else "−") + self.decimal(abs(100 * share), 2)

    def size(self, number: float) -> str:
        """Bytes in the unit that reads best, 1 kB = 1,000 bytes."""
        for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if number >= least:
                return f"{self.significant(number / least)}{NARROW}{unit}"
        return f"{number:.0f}{NARROW}B"

    def significant(self, number: float, digits: int = 3) -> str:
        """A number in so many significant digits, trailing zeros left out."""
        written = Decimal(f"{number:.{digits}g}").normalize()
        return self.decimal(float(written), max(0, -int(written.as_tuple().exponent)))

    def duration(self, seconds: float) -> str:
        """Seconds as one reads them aloud: 0.42 s, 12 s, 3 min 5 s, 2 h 10 min."""
        if seconds < 60:
            places = 2 if seconds < 1 else 1 if seconds < 10 else 0
            return f"{self.decimal(seconds, places)}{NARROW}s"
        minutes, rest = divmod(round(seconds), 60)
        if minutes < 60:
            return f"{minutes}{NARROW}min {rest}{NARROW}s"
        return f"{minutes // 60}{NARROW}h {minutes % 60}{NARROW}min"

    def day(self, when: date) -> str:
        """A date in words: 21 November 2026."""
        from babel.dates import format_date

        return format_date(when, "long", locale="en_GB" if self.code == "en" else self.code)

    def p(self, p: float) -> str:
        """A probability of chance in two digits, without pretending to more than four places: p < 0.0001."""
        if p < 1e-4:
            return f"p < {self.decimal(0.0001, 4)}"
        return f"p = {self.significant(p, 2) if p < 0.1 else self.decimal(p, 2)}"


FORMATS: dict[str, Callable[[Language, Any], str]] = {
    "count": Language.count,
    "percent": Language.percent,
    "points": Language.points,
    "size": Language.size,
    "duration": Language.duration,
    "day": Language.day,
    "p": Language.p,
}
"""What may stand behind the colon of a field, and how it is written."""

ENGLISH = Language()


@cache
def language(code: str) -> Language:
    """The language of a code. Raises GuarismoError for one without a catalogue."""
    if code not in LANGUAGES:
        raise GuarismoError(unknown("language", code, LANGUAGES))
    if code == "en":
        return ENGLISH
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po
    from babel.support import Translations

    compiled = BytesIO()
    with (CATALOGUES / f"{code}.po").open("rb") as file:
        write_mo(compiled, read_po(file))
    compiled.seek(0)
    return Language(code, Translations(compiled))
