"""What goes wrong, in words: each message says what was expected, what came and what to do.

GuarismoError
├── DataError      a source, a file or a Dataset
├── RunError       a Run folder, its settings or its files
└── MissingExtraError   a part that this installation leaves out
"""

from collections.abc import Iterable
from difflib import get_close_matches


class GuarismoError(Exception):
    """Anything that a user can mend. The command line prints it without a traceback."""


class DataError(GuarismoError):
    """A source, a data file or a Dataset is not what it should be."""


class RunError(GuarismoError):
    """A Run folder, its settings or its files are not what they should be."""


class MissingExtraError(GuarismoError, ImportError):
    """A command needs packages that the base installation leaves out."""

    def __init__(self, purpose: str, extra: str):
        super().__init__(f"{purpose} needs more packages. Install them with: pip install 'guarismo[{extra}]'")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is in no table, with the nearest one that is."""
    names = list(known)
    nearest = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return f"Unknown {kind} '{name}'. Choose from {', '.join(names)}.{hint}"
