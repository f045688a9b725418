"""Runs + Dataset → one self-contained HTML page. Every figure and sentence comes from the runs' own numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from gettext import NullTranslations
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset, data_uri, pick_samples
from guarismo.errors import RunError
from guarismo.models.runs import Run, write_out
from guarismo.models.settings import Settings
from guarismo.results.charts import as_svg, confusion_chart, learning_curves, reliability_chart
from guarismo.results.comparison import Comparison, advice, compare, verdict
from guarismo.results.diagnosis import overfitting
from guarismo.results.evaluation import Evaluation, saved_evaluation, train_confusion

MOST_TABLE_CLASSES = 20
"""A confusion matrix of more classes is drawn, not set as a table."""
MOST_SIDE = 48
"""Larger images are shrunk to this for the page: it stays below 3 MB even with colour noise in every image."""
MOST_SAMPLES = 100
MOST_ERRORS_SHOWN = 72
NARROW = "\u202f"
"""Narrow no-break space, between a number and its unit."""

Words = Callable[[str], str]


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with the words that stand for it."""

    uri: str
    words: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix to show: a table with shades in [0, 1] (k, k), or a drawing where `svg` is given."""

    title: str
    rows: list[list[int]]
    shades: list[list[float]]
    svg: str


@dataclass(frozen=True)
class Mistake:
    """One wrong answer to show."""

    picture: Picture
    label: str
    answer: str
    confidence: float


@dataclass(frozen=True)
class Chapter:
    """Everything the page says about one run."""

    run: Run
    evaluation: Evaluation
    train_accuracy: float
    sentences: list[str]
    curves: list[Picture]
    reliability: Picture
    matrices: list[Matrix]
    mistakes: list[Mistake]
    settings: list[tuple[str, Any, str, bool]]
    origin: list[tuple[str, str]]


def write_report(runs: Sequence[Run], dataset: Dataset, out: Path) -> Path:
    """Write the page of these evaluated runs to `out` and give its path back.

    `dataset` is the one that they were evaluated on. Raises RunError when it is not, when a run has
    no evaluation yet, or when `out` cannot be written.
    """
    page = render(runs, dataset)
    write_out(out, page.encode())
    return out


def render(runs: Sequence[Run], dataset: Dataset, translations: NullTranslations | None = None) -> str:
    """The page as text, in the language of `translations` (English without)."""
    if not runs:
        raise RunError("A report needs at least one run, received none.")
    check_same_images(runs, dataset)
    translations = translations or NullTranslations()
    _ = translations.gettext
    comparison = compare(runs) if len(runs) > 1 else None
    chapters = [chapter(run, dataset, len(runs), _) for run in in_order(runs, comparison)]
    return (
        environment(translations)
        .get_template("report.html.j2")
        .render(
            language="en",
            title=title(runs, dataset, _),
            written=datetime.now(UTC),
            summary=summary(chapters[0], comparison, _),
            dataset=dataset,
            samples=samples(dataset, _),
            comparison=comparison,
            chapters=chapters,
        )
    )


def check_same_images(runs: Sequence[Run], dataset: Dataset) -> None:
    """Raises RunError for a run whose own test images are others than those of `dataset`."""
    for run in runs:
        saved_evaluation(run)
        if run.about["test_opened"]["fingerprint"] != dataset.test.fingerprint:
            raise RunError(
                f"The test images of run {run.name} are those of '{run.about['test_opened']['source']}', not of "
                f"'{dataset.name}'. A report is of runs on one source."
            )


def in_order(runs: Sequence[Run], comparison: Comparison | None) -> list[Run]:
    """The runs as the comparison ranks them."""
    if comparison is None:
        return list(runs)
    places = {row.name: place for place, row in enumerate(comparison.rows)}
    return sorted(runs, key=lambda run: places.get(run.name, places.get(str(run.folder), 0)))


def environment(translations: NullTranslations) -> Environment:
    """Jinja with every value escaped, our number formats as filters, and its words going through gettext."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]
    made.filters.update(percent=percent, count=count, size=size, duration=duration)
    return made


def percent(share: float, digits: int = 2) -> str:
    """0.9906 → 99.06 %."""
    return f"{100 * share:.{digits}f}{NARROW}%"


def count(number: float) -> str:
    """10000 → 10,000."""
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Bytes in the unit that reads best, 1 kB = 1,000 bytes."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= least:
            return f"{number / least:.3g}{NARROW}{unit}"
    return f"{number:.0f}{NARROW}B"


def duration(seconds: float) -> str:
    """Seconds as one reads them aloud: 0.42 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.2g}{NARROW}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NARROW}min {rest}{NARROW}s"
    return f"{minutes // 60}{NARROW}h {minutes % 60}{NARROW}min"


def title(runs: Sequence[Run], dataset: Dataset, _: Words) -> str:
    if len(runs) == 1:
        return _("{model} on {data}").format(model=runs[0].settings.model, data=dataset.name)
    return _("{n} models on {data}").format(n=len(runs), data=dataset.name)


def summary(best: Chapter, comparison: Comparison | None, _: Words) -> list[str]:
    """What a hurried reader should take away."""
    if comparison is None:
        return [score_sentence(best.run, best.evaluation, _)]
    return [score_sentence(best.run, best.evaluation, _), verdict(comparison, _), advice(comparison, _)]


def score_sentence(run: Run, evaluation: Evaluation, _: Words) -> str:
    low, high = evaluation.interval
    return _(
        "{name} answers {right} of {n} images that it never saw in training right: {accuracy}, "
        "and with 95 % confidence between {low} and {high}."
    ).format(
        name=run.name,
        right=count(evaluation.n - evaluation.errors),
        n=count(evaluation.n),
        accuracy=percent(evaluation.accuracy),
        low=percent(low),
        high=percent(high),
    )


def chapter(run: Run, dataset: Dataset, runs: int, _: Words) -> Chapter:
    """Gather what the page says about one run."""
    evaluation, training = saved_evaluation(run), train_confusion(run)
    train_accuracy = float(training.trace() / max(1, training.sum()))
    return Chapter(
        run=run,
        evaluation=evaluation,
        train_accuracy=train_accuracy,
        sentences=[
            *other_data_sentences(run, _),
            *fitting_sentences(run, evaluation, train_accuracy, _),
            *class_sentences(evaluation, _),
        ],
        curves=curves(run, _),
        reliability=reliability(run, evaluation, _),
        matrices=[
            matrix(_("Test images"), evaluation.confusion, run, _),
            matrix(_("Training images"), training, run, _),
        ],
        mistakes=mistakes(evaluation, dataset, max(6, min(24, MOST_ERRORS_SHOWN // runs)), _),
        settings=settings_rows(run),
        origin=origin_rows(run, _),
    )


def other_data_sentences(run: Run, _: Words) -> list[str]:
    """How the run did on data that it was not trained on, where that was measured."""
    return [
        _("On {source}, other data than its own, it answers {accuracy} of {n} test images right.").format(
            source=other["source"], accuracy=percent(other["accuracy"]), n=count(other["n"])
        )
        for other in run.about.get("other_data", [])
    ]


def fitting_sentences(run: Run, evaluation: Evaluation, train_accuracy: float, _: Words) -> list[str]:
    """Training against test, and where the validation loss turns."""
    said = [
        _("It answers {train} of the training images right and {test} of the test images.").format(
            train=percent(train_accuracy), test=percent(evaluation.accuracy)
        )
    ]
    found, kept = overfitting(run.history), kept_epoch(run)
    if found:
        said.append(f"{found.sentence(_)} {found.remedy(_)}")
    if kept is not None:
        said.append(_("The weights of epoch {kept} of {n} became the model.").format(kept=kept, n=len(run.history)))
    return said


def class_sentences(evaluation: Evaluation, _: Words) -> list[str]:
    """The weakest class and the commonest confusion; nothing where nothing is wrong."""
    if not evaluation.errors:
        return []
    names = evaluation.class_names
    weakest = int(np.where(evaluation.support > 0, evaluation.recall, np.inf).argmin())
    wrong = evaluation.confusion * ~np.eye(len(names), dtype=bool)
    label, answer = divmod(int(wrong.argmax()), len(names))
    return [
        _("The class that it misses most is {name}: it finds {recall} of its images.").format(
            name=names[weakest], recall=percent(float(evaluation.recall[weakest]))
        ),
        _("Its commonest error is to take {label} for {answer}: {times} of {n} times.").format(
            label=names[label],
            answer=names[answer],
            times=count(wrong[label, answer]),
            n=count(evaluation.support[label]),
        ),
    ]


def kept_epoch(run: Run) -> int | None:
    """The epoch whose weights became the model, where there are epochs."""
    kept = run.about.get("facts", {}).get("kept_epoch")
    return int(kept) if kept is not None and any(row["epoch"] == kept for row in run.history) else None


def curves(run: Run, _: Words) -> list[Picture]:
    """Loss and accuracy over the epochs, or nothing for a model that knows no epochs."""
    if not run.history:
        return []
    kept, found = kept_epoch(run), overfitting(run.history)
    first, last = run.history[0], run.history[-1]
    drawn = []
    for measure in ("loss", "accuracy"):
        words = _(
            "{measure} over {n} epochs: training from {a:.4f} to {b:.4f}, validation from {c:.4f} to {d:.4f}."
        ).format(
            measure=_(measure).capitalize(),
            n=len(run.history),
            a=first[measure],
            b=last[measure],
            c=first[f"validation_{measure}"],
            d=last[f"validation_{measure}"],
        )
        svg = as_svg(learning_curves(run.history, measure, kept, found.epoch if found else None, _), str(run.folder))
        drawn.append(Picture(svg, words))
    return drawn


def reliability(run: Run, evaluation: Evaluation, _: Words) -> Picture:
    """The reliability chart, and in words how sure the answers are on average."""
    bins = evaluation.reliability
    said = float((bins.counts * bins.confidence).sum() / bins.counts.sum())
    words = _("Its answers claim {said} on average and {right} of them are right.").format(
        said=percent(said), right=percent(evaluation.accuracy)
    )
    return Picture(as_svg(reliability_chart(bins, _), str(run.folder)), words)


def matrix(name: str, confusion: NDArray[np.int64], run: Run, _: Words) -> Matrix:
    if len(confusion) <= MOST_TABLE_CLASSES:
        return Matrix(name, confusion.tolist(), shades(confusion).round(3).tolist(), "")
    drawing = as_svg(confusion_chart(confusion, run.class_names, _), f"{run.folder} {name}")
    return Matrix(name, [], [], drawing)


def shades(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """How deep to colour each cell, in [0, 1]: a right answer by its share of the class, an error against the commonest
    error (square root, so that single errors are seen)."""
    right = np.eye(len(confusion), dtype=bool)
    of_class = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    of_errors = np.sqrt(confusion / max(1, int(np.where(right, 0, confusion).max())))
    return np.asarray(np.where(right, of_class, of_errors))


def mistakes(evaluation: Evaluation, dataset: Dataset, most: int, _: Words) -> list[Mistake]:
    """The most confident errors with their images."""
    wrong, names = evaluation.mistakes, evaluation.class_names
    shown = []
    for index, label, answer, confidence in zip(
        wrong.indices[:most], wrong.labels, wrong.answers, wrong.confidences, strict=False
    ):
        words = _("Test image {index}: {label}, taken for {answer}").format(
            index=index, label=names[label], answer=names[answer]
        )
        picture = Picture(data_uri(dataset.test.images[index], MOST_SIDE), words)
        shown.append(Mistake(picture, names[label], names[answer], float(confidence)))
    return shown


def settings_rows(run: Run) -> list[tuple[str, Any, str, bool]]:
    """Name, value, help, and whether it differs from the default; without epochs only those that had a say."""
    values, changed = asdict(run.settings), run.settings.changes()
    shown = set(values) if run.history else {"model", "seed", *changed}
    rows = [item for item in fields(Settings) if item.name in shown]
    return [(item.name, values[item.name], item.metadata["help"], item.name in changed) for item in rows]


def origin_rows(run: Run, _: Words) -> list[tuple[str, str]]:
    """How long each step took, with what and on what, as run.json has it."""
    about = run.about
    times = [
        (_("time to {step}").format(step=step), duration(value)) for step, value in about.get("seconds", {}).items()
    ]
    rest = [*about.get("facts", {}).items(), *about.get("versions", {}).items(), *about.get("machine", {}).items()]
    return times + [
        (name.replace("_", " "), f"{value:.2g}" if isinstance(value, float) else str(value)) for name, value in rest
    ]


def samples(dataset: Dataset, _: Words) -> list[tuple[str, list[str], list[int]]]:
    """Of each class its name, some training images as data URIs, and how many images each split holds."""
    classes = len(dataset.class_names)
    each = max(1, min(10, MOST_SAMPLES // classes))
    picked = pick_samples(dataset.train, classes, each)
    # Beyond MOST_SAMPLES classes the page would grow past its size: those rows keep their numbers only.
    picked[MOST_SAMPLES:] = -1
    counts = [np.bincount(part.labels[part.labels >= 0], minlength=classes) for part in dataset.splits.values()]
    return [
        (
            name,
            [data_uri(dataset.train.images[i], MOST_SIDE) for i in picked[k] if i >= 0],
            [int(column[k]) for column in counts],
        )
        for k, name in enumerate(dataset.class_names)
    ]
