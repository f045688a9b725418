"""A search in the terminal while it runs: the best trials and those at work; a line for each one where it is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from guarismo.progress import Progress
from guarismo.terminal import err, metric_words, setting_words, tried_words, warn
from guarismo.watching import Heard, clock, hear

if TYPE_CHECKING:
    from guarismo.tuning.search import Search, Tried

MOST_BEST = 5
"""Finished trials that are shown, the best first."""


@contextmanager
def searching(title: str) -> Iterator[Progress]:
    """The trials of `tune` as a table on stderr while the block works; a line for each that ends where it is no
    terminal."""
    heard = Heard(title, [])
    if not err.is_terminal or err.is_dumb_terminal:
        told: set[int] | None = None

        def tell(done: int, total: int, **facts: Any) -> None:
            nonlocal told
            hear(heard, done, total, facts)
            told = tell_ended(facts["search"], told, clock(heard))

        yield tell
        return
    from rich.live import Live

    def listen(done: int, total: int, **facts: Any) -> None:
        hear(heard, done, total, facts)  # drawn once a second, however often it is called

    with Live(get_renderable=lambda: picture(heard), console=err, refresh_per_second=1, transient=True):
        yield listen


def tell_ended(search: Search, told: set[int] | None, words: str) -> set[int]:
    """A line for each trial that ended and was not told of, by its number; of those that had ended before the first
    call (told: None), for none. Returns which now are told of."""
    ended = {each.number: each for each in search.tried if each.state != "running"}
    for number in sorted(ended.keys() - (ended.keys() if told is None else told)):
        each = ended[number]
        warn(f"Trial {number} {tried_words(each, search)}: {setting_words(each.settings)}; {words}")
    return set(ended)


def picture(heard: Heard) -> Group | Text:
    """A line that says how far it is, and a table of the trials at work and the best."""
    if "search" not in heard.facts:
        return Text(f"{heard.title}: beginning")
    search: Search = heard.facts["search"]
    running = [each for each in search.tried if each.state == "running"]
    best = search.best_first[:MOST_BEST]
    return Group(Text(headline(heard, search), overflow="ellipsis", no_wrap=True), table([*running, *best], search))


def headline(heard: Heard, search: Search) -> str:
    """How many trials ended, the best so far, the time."""
    if heard.facts.get("to_train"):
        words = f"winner and default trained anew: {heard.facts['trained']} of {heard.facts['to_train']}"
        return f"{heard.title}: {words}; {timedelta(seconds=round(search.seconds))}"
    best = search.best
    found = f", best {metric_words(search.metrics[0], best.values[0])} (trial {best.number})" if best else ""
    return f"{heard.title}: {heard.done} of {heard.total} trials{found}; {clock(heard)}"


def table(shown: Sequence[Tried], search: Search) -> Table:
    """A row for each trial; what the terminal has no room for is taken from the settings."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    for heading, share in (("trial", None), ("state", None), ("settings", 1)):
        grid.add_column(Text(heading), no_wrap=True, overflow="ellipsis", ratio=share)
    for each in shown:
        grid.add_row(str(each.number), Text(tried_words(each, search)), Text(setting_words(each.settings)))
    return grid
