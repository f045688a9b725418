"""How long work tells how far it is, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on; `facts` are named figures worth showing (``loss=0.03``, ``file="a.png"``).

    At the end of each epoch of a network they are its row of the history: those with ``validation_loss``.
    """

    def __call__(self, done: int, total: int, **facts: object) -> None: ...


def silent(done: int, total: int, **facts: object) -> None:
    """The listener that says nothing: the default everywhere in the library."""
