"""Account → a Jupyter notebook that makes the report again from the runs, with the public functions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guarismo.data.sources import LoadSettings
from guarismo.models.runs import write_out
from guarismo.results.account import Account
from guarismo.results.paper import plain


def write_notebook(told: Account, out: Path) -> None:
    """The report as a notebook (nbformat 4.5): its words as text, everything else computed again by running it."""
    cells: list[dict[str, Any]] = [
        {"id": f"cell-{number}", "cell_type": kind, "metadata": {}, "source": source}
        | ({"outputs": [], "execution_count": None} if kind == "code" else {})
        for number, (kind, source) in enumerate(cells_of(told, out.parent))
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    write_out(out, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def cells_of(told: Account, folder: Path) -> Iterator[tuple[str, str]]:
    """Kind and source of each cell; the runs are named as seen from `folder`."""
    _ = told.language
    yield "markdown", f"# {plain(told.title)}\n\n" + "\n\n".join(map(plain, told.summary))
    yield "code", IMPORTS.format(code=_.code)
    yield "code", opening(told, folder)
    if told.comparison is not None:
        yield "markdown", f"## {_('Comparison')}"
        yield "code", COMPARISON
    for place, chapter in enumerate(told.chapters):
        yield "markdown", f"## {plain(chapter.run.name)}\n\n{plain(' '.join(chapter.sentences))}"
        yield "code", EVALUATION.format(place=place)
        yield "markdown", f"### {_('What was found, and what to do')}"
        yield "code", FINDINGS
        yield "markdown", f"### {_('How it learnt, and whether it keeps its word')}"
        if chapter.curves:
            yield "code", CURVES
        yield "code", "guarismo.reliability_chart(evaluation.reliability, _)"
        yield "markdown", f"### {_('What it takes for what')}"
        yield "code", "guarismo.confusion_chart(evaluation.confusion, evaluation.class_names, _)"
        if chapter.errors:
            yield "markdown", f"### {_('Its most confident errors')}"
            yield "code", ERRORS
        if chapter.whys:
            yield "code", WHY


IMPORTS = """\
import guarismo
from guarismo.language import language
from guarismo.results.comparison import advice, verdict

_ = language("{code}")"""

COMPARISON = """\
comparison = guarismo.compare(runs)
print(verdict(comparison, _))
print(advice(comparison, _))
comparison.rows"""

EVALUATION = """\
run = runs[{place}]
run, evaluation = guarismo.evaluate_run(run, dataset)
evaluation"""

FINDINGS = """\
for found in guarismo.diagnose(run, dataset, "test"):
    print("•", found.sentence(_))
    print("  ", found.remedy(_))"""

CURVES = """\
display(guarismo.learning_curves(run.history, "loss", _=_))
display(guarismo.learning_curves(run.history, "accuracy", _=_))"""

ERRORS = """\
surest = evaluation.hardest[:10]
for index in surest:
    label, answer = dataset.test.labels[index], run.predict(dataset.test.images[[index]])[0].argmax()
    print(f"{index}: {evaluation.class_names[label]} → {evaluation.class_names[answer]}")
guarismo.sample_grid(dataset.test.images[surest][None], [""])"""

WHY = """\
explanations = guarismo.explain(run, dataset, evaluation.hardest[:3])
guarismo.why_figure(explanations, run, _)"""


def opening(told: Account, folder: Path) -> str:
    """The cell that opens the runs and loads their data."""
    lines = ["runs = ["]
    lines += [f"    guarismo.open_run({seen_from(folder, chapter.run.folder)!r})," for chapter in told.chapters]
    return "\n".join([*lines, "]", f"dataset = {loading(told.dataset.origin)}", "dataset"])


def seen_from(folder: Path, run: Path) -> str:
    """The way from the notebook's folder to the run's; the whole path where they are on different drives."""
    try:
        return Path(os.path.relpath(run.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return run.resolve().as_posix()


def loading(origin: Mapping[str, Any]) -> str:
    """The call that loads the data again, from the origin that it carries."""
    default = asdict(LoadSettings())
    changed = {name: value for name, value in origin.items() if name != "source" and value != default.get(name)}
    options = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    return f"guarismo.load({str(origin['source'])!r}" + (f", guarismo.LoadSettings({options}))" if options else ")")
