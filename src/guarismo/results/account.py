"""Runs + Dataset → Account: everything that a report says, computed once, for every format that it is written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset, pick_samples
from guarismo.data.known import SOURCES
from guarismo.errors import RunError
from guarismo.language import ENGLISH, N_, Language
from guarismo.models.runs import Run, quoted
from guarismo.models.settings import Settings
from guarismo.progress import Progress, silent
from guarismo.results.charts import MEASURES, learning_curves, reliability_chart
from guarismo.results.comparison import Comparison, Disagreement, advice, compare, verdict
from guarismo.results.diagnosis import diagnose
from guarismo.results.evaluation import Evaluation, saved_evaluation, train_confusion
from guarismo.results.finding import Finding
from guarismo.results.html import isolated
from guarismo.results.why import Explanation, backgrounds, explain, flip_words, moved

MOST_SAMPLES = 100
"""Sample images in the table of classes; more classes than that keep their numbers only."""
MOST_ERRORS_SHOWN = 72
"""The surest errors, over all runs."""
MOST_EXPLAINED = 16
"""Errors explained one by one, over all runs: the surest, and those of each run's worst class."""
MOST_OF_A_CELL = 12
"""Images shown behind one cell of the confusion matrix."""
MOST_CONFUSIONS = 60
"""Cells with images, the fullest first, where there are more classes than a table shows."""
MOST_TABLE_CLASSES = 20
"""A confusion matrix of more classes is drawn, not set as a table; as many classes have a part of their own."""
MOST_FINDING_IMAGES = 9
MOST_DISPUTES = 3
"""Pairs of runs whose disagreements are shown."""
MOST_DISPUTED = 9
"""Images of each kind of disagreement."""
TOP = 3
"""How many answers of an image are told with their probabilities."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One image of a report: uint8 (h, w, c), which one it is, and what was answered how surely."""

    split: str
    index: int
    image: NDArray[np.uint8]
    label: str
    answer: str
    confidence: float
    words: str


@dataclass(frozen=True)
class Confusion:
    """One cell of the confusion matrix: images of class `label` answered `answer`, the surest first."""

    label: int
    answer: int
    count: int
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class ClassPart:
    """One class: its figures, what its images are taken for (the commonest first), and its errors, the surest first."""

    place: int
    name: str
    support: int
    found: int
    recall: float
    precision: float
    sentences: tuple[str, ...]
    taken_for: tuple[Confusion, ...]
    shots: tuple[Shot, ...]


@dataclass(frozen=True, eq=False)
class Why:
    """What stands behind one error.

    answers: (class, probability), the likeliest first; heats: (class, how much each pixel speaks for it, in [0, 1],
    float32 (h, w)) for the answer and for the true class; nearest: training images; flip: the smallest move that
    changes the answer, in words, and `flipped`: the image so moved, or None where no move does.
    """

    shot: Shot
    answers: tuple[tuple[str, float], ...]
    heats: tuple[tuple[str, NDArray[np.float32]], ...]
    nearest: tuple[Shot, ...]
    flip: str
    flipped: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure, the words that stand for it, and its stops: along x, with a height on each line, and in words."""

    figure: Figure
    title: str
    words: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    points: tuple[tuple[float, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Shown:
    """A finding in words, with the images that show it."""

    name: str
    sentence: str
    remedy: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True, eq=False)
class Chapter:
    """Everything a report says about one run."""

    run: Run
    evaluation: Evaluation
    training: NDArray[np.int64]
    train_accuracy: float
    sentences: tuple[str, ...]
    findings: tuple[Shown, ...]
    curves: tuple[Chart, ...]
    reliability: Chart
    confusions: tuple[Confusion, ...]
    classes: tuple[ClassPart, ...]
    worst: ClassPart | None
    untested: str
    errors: tuple[Shot, ...]
    whys: tuple[Why, ...]
    settings: tuple[tuple[str, Any, str, bool], ...]
    origin: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Case:
    """Test images that two runs answer alike in this: which, how many, and the first of them."""

    title: str
    count: int
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Dispute:
    """Where two runs disagree."""

    title: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, eq=False)
class Account:
    """Everything a report says, in one language."""

    language: Language
    title: str
    summary: tuple[str, ...]
    dataset: Dataset
    class_names: tuple[str, ...]
    samples: tuple[tuple[str, tuple[NDArray[np.uint8], ...], tuple[int, ...]], ...]
    comparison: Comparison | None
    disputes: tuple[Dispute, ...]
    chapters: tuple[Chapter, ...]


def account(runs: Sequence[Run], dataset: Dataset, _: Language = ENGLISH, progress: Progress = silent) -> Account:
    """Everything that a report says about these evaluated runs on the dataset that they were evaluated on.

    Raises RunError for no run, one that is unfinished, not evaluated, or evaluated on other images.
    """
    if not runs:
        raise RunError("A report needs at least one run, received none.")
    check_same_images(runs, dataset)
    names = shown_names(dataset.class_names, _)
    comparison = compare(runs) if len(runs) > 1 else None
    chapters = tuple(chapter(run, dataset, names, len(runs), _, progress) for run in in_order(runs, comparison))
    return Account(
        language=_,
        title=title(runs, dataset, _),
        summary=summary(chapters[0], comparison, _),
        dataset=dataset,
        class_names=names,
        samples=samples(dataset, names),
        comparison=comparison,
        disputes=disputes(comparison, chapters, dataset, names, _) if comparison else (),
        chapters=chapters,
    )


def check_same_images(runs: Sequence[Run], dataset: Dataset) -> None:
    """Raises RunError for an unfinished run, and for one whose test images are others than those of `dataset`."""
    for run in runs:
        if not run.finished:
            raise RunError(
                f"The training of run {run.name} was cut off after {len(run.history)} epochs. "
                f"Finish it with: guarismo train --resume {quoted(run.folder)}"
            )
        saved_evaluation(run)
        opened = run.about["test_opened"]
        if opened["fingerprint"] != dataset.test.fingerprint:
            raise RunError(
                f"The test images of run {run.name} are those of '{opened['source']}' ({opened['fingerprint'][:8]}), "
                f"not of '{dataset.name}' ({dataset.test.fingerprint[:8]}). A report is of runs on one source."
            )


def shown_names(class_names: Sequence[str], _: Language) -> tuple[str, ...]:
    """The names of the classes in the reader's language, where they are those of a published set; else as they are."""
    for source in SOURCES.values():
        if tuple(class_names) == source.class_names["en"]:
            return source.class_names.get(_.code, source.class_names["en"])
    return tuple(map(isolated, class_names))


def disputes(
    comparison: Comparison, chapters: Sequence[Chapter], dataset: Dataset, names: tuple[str, ...], _: Language
) -> tuple[Dispute, ...]:
    """The images that divide the best run from each of the next ones."""
    answers = [chapter.run.arrays("test")["probabilities"].argmax(axis=1) for chapter in chapters]
    found = []
    for place, each in enumerate(comparison.disagreements[:MOST_DISPUTES]):
        pair = (answers[0], answers[place + 1])
        cases = (
            (_("Only {name} is right", name=each.best), each.only_best),
            (_("Only {name} is right", name=each.other), each.only_other),
            (_("Both are wrong"), each.both_wrong),
        )
        shown = tuple(
            Case(title, len(indices), disputed(indices[:MOST_DISPUTED], pair, each, dataset, names, _))
            for title, indices in cases
        )
        found.append(Dispute(_("Where {best} and {other} disagree", best=each.best, other=each.other), shown))
    return tuple(found)


def disputed(
    indices: NDArray[np.int64],
    pair: tuple[NDArray[np.int64], NDArray[np.int64]],
    runs: Disagreement,
    dataset: Dataset,
    names: tuple[str, ...],
    _: Language,
) -> tuple[Shot, ...]:
    """Test images with the answers of both runs."""
    shots = []
    for index in map(int, indices):
        label, (one, other) = names[dataset.test.labels[index]], (names[answers[index]] for answers in pair)
        words = _(
            "Test image {index}: {label}; {best} answers {one}, {other} {two}",
            index=index, label=label, best=runs.best, one=one, other=runs.other, two=other,
        )  # fmt: skip
        wrong = " / ".join(dict.fromkeys(answer for answer in (one, other) if answer != label))
        shots.append(Shot("test", index, dataset.test.images[index], label, wrong, 0.0, words))
    return tuple(shots)


def in_order(runs: Sequence[Run], comparison: Comparison | None) -> list[Run]:
    """The runs as the comparison ranks them."""
    if comparison is None:
        return list(runs)
    places = {row.name: place for place, row in enumerate(comparison.rows)}
    return sorted(runs, key=lambda run: places.get(run.name, places.get(str(run.folder), 0)))


def title(runs: Sequence[Run], dataset: Dataset, _: Language) -> str:
    if len(runs) == 1:
        return _("{model} on {data}", model=runs[0].settings.model, data=dataset.name)
    return _("{n:count} models on {data}", n=len(runs), data=dataset.name)


def summary(best: Chapter, comparison: Comparison | None, _: Language) -> tuple[str, ...]:
    """What a hurried reader should take away."""
    if comparison is None:
        gravest = tuple(f"{found.sentence} {found.remedy}" for found in best.findings[:1])
        return (score_sentence(best.run, best.evaluation, _), *gravest)
    return (score_sentence(best.run, best.evaluation, _), verdict(comparison, _), advice(comparison, _))


def score_sentence(run: Run, evaluation: Evaluation, _: Language) -> str:
    low, high = evaluation.interval
    return _(
        "{name} answers {right:count} of {n:count} images that it never saw in training right: {accuracy:percent}, "
        "and with 95 % confidence between {low:percent} and {high:percent}.",
        name=run.name,
        right=evaluation.n - evaluation.errors,
        n=evaluation.n,
        accuracy=evaluation.accuracy,
        low=low,
        high=high,
    )


def chapter(run: Run, dataset: Dataset, names: tuple[str, ...], runs: int, _: Language, progress: Progress) -> Chapter:
    """What a report says about one run; `names` are those of the classes as shown, `runs` how many it has to share."""
    evaluation, training = replace(saved_evaluation(run), class_names=names), train_confusion(run)
    train_accuracy = float(training.trace() / max(1, training.sum()))
    answered = answers_of(run, dataset, names, _)
    confusions = confusions_of(evaluation, answered)
    classes = class_parts(evaluation, confusions, answered, _)
    findings = diagnose(run, dataset, "test", progress)
    return Chapter(
        run=run,
        evaluation=evaluation,
        training=training,
        train_accuracy=train_accuracy,
        sentences=(
            *other_data_sentences(run, _),
            *fitting_sentences(run, evaluation, train_accuracy, _),
            *confusion_sentences(evaluation, _),
        ),
        findings=tuple(show_finding(found, dataset, answered, _) for found in findings),
        curves=curves(run, findings, _),
        reliability=reliability(evaluation, _),
        confusions=confusions,
        classes=classes,
        worst=classes[0] if classes and classes[0].recall < 1 else None,
        untested=", ".join(name for name, support in zip(names, evaluation.support, strict=True) if not support),
        errors=answered.shots(answered.wrong[: max(6, min(24, MOST_ERRORS_SHOWN // runs))]),
        whys=whys(run, dataset, answered, to_explain(answered, classes, max(3, MOST_EXPLAINED // runs)), progress),
        settings=settings_rows(run, _),
        origin=origin_rows(run, _),
    )


@dataclass(frozen=True, eq=False)
class Answers:
    """What a run answered to the test images: probabilities float32 (n, k), and the errors, the surest first."""

    dataset: Dataset
    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    answers: NDArray[np.int64]
    wrong: NDArray[np.int64]
    language: Language

    def shot(self, index: int) -> Shot:
        """One test image with its label, its answer and how sure that was."""
        _, test = self.language, self.dataset.test
        given, confidence = int(self.answers[index]), float(self.probabilities[index].max())
        label, answer = self.names[test.labels[index]], self.names[given]
        if given == test.labels[index]:
            words = _(
                "Test image {index}: {label}, answered right, {share:percent} sure",
                index=index, label=label, share=confidence,
            )  # fmt: skip
        else:
            words = _(
                "Test image {index}: {label}, taken for {answer}, {share:percent} sure",
                index=index, label=label, answer=answer, share=confidence,
            )  # fmt: skip
        return Shot("test", index, self.dataset.test.images[index], label, answer, confidence, words)

    def shots(self, indices: NDArray[np.int64]) -> tuple[Shot, ...]:
        return tuple(self.shot(int(index)) for index in indices)


def answers_of(run: Run, dataset: Dataset, names: tuple[str, ...], _: Language) -> Answers:
    probabilities = run.arrays("test")["probabilities"]
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != dataset.test.labels)
    wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1, initial=0), kind="stable")]
    return Answers(dataset, names, probabilities, answers, wrong, _)


def confusions_of(evaluation: Evaluation, answered: Answers) -> tuple[Confusion, ...]:
    """The cells that hold errors, the fullest first; of many classes only the first of them."""
    counts = evaluation.confusion * ~np.eye(len(evaluation.confusion), dtype=bool)
    order = np.argsort(-counts, axis=None, kind="stable")[: int((counts > 0).sum())]
    if len(counts) > MOST_TABLE_CLASSES:
        order = order[:MOST_CONFUSIONS]
    labels, given = answered.dataset.test.labels[answered.wrong], answered.answers[answered.wrong]
    found = []
    for label, answer in (divmod(int(cell), len(counts)) for cell in order):
        members = answered.wrong[(labels == label) & (given == answer)][:MOST_OF_A_CELL]
        found.append(Confusion(label, answer, int(counts[label, answer]), answered.shots(members)))
    return tuple(found)


def class_parts(
    evaluation: Evaluation, confusions: Sequence[Confusion], answered: Answers, _: Language
) -> tuple[ClassPart, ...]:
    """The classes that have test images, the worst found first; of many classes the worst ones only."""
    labels = answered.dataset.test.labels[answered.wrong]
    tested = np.flatnonzero(evaluation.support > 0)
    order = tested[np.argsort(evaluation.recall[tested], kind="stable")][:MOST_TABLE_CLASSES]
    parts = []
    for place in map(int, order):
        taken_for = tuple(cell for cell in confusions if cell.label == place)
        parts.append(
            ClassPart(
                place=place,
                name=evaluation.class_names[place],
                support=int(evaluation.support[place]),
                found=int(evaluation.confusion[place, place]),
                recall=float(evaluation.recall[place]),
                precision=float(evaluation.precision[place]),
                sentences=class_sentences(evaluation, place, _),
                taken_for=taken_for,
                shots=answered.shots(answered.wrong[labels == place][:MOST_OF_A_CELL]),
            )
        )
    return tuple(parts)


def class_sentences(evaluation: Evaluation, place: int, _: Language) -> tuple[str, ...]:
    """How many of a class's images are found, and how far its name can be relied on."""
    confusion, name = evaluation.confusion, evaluation.class_names[place]
    found, answered = int(confusion[place, place]), int(confusion[:, place].sum())
    said = [
        _(
            "Of {n:count} images of {name} it finds {found:count}.",
            n=evaluation.support[place], name=name, found=found,
        )
    ]  # fmt: skip
    if answered:
        said.append(
            _(
                "Where it answers {name}, it is right {right:count} of {n:count} times.",
                name=name, right=found, n=answered,
            )
        )  # fmt: skip
    else:
        said.append(_("It never answers {name}.", name=name))
    return tuple(said)


def other_data_sentences(run: Run, _: Language) -> list[str]:
    """How the run did on data that it was not trained on, where that was measured."""
    return [
        _(
            "On {source}, other data than its own, it answers {accuracy:percent} of {n:count} test images right.",
            source=other["source"],
            accuracy=other["accuracy"],
            n=other["n"],
        )
        for other in run.about.get("other_data", [])
    ]


def fitting_sentences(run: Run, evaluation: Evaluation, train_accuracy: float, _: Language) -> list[str]:
    """Training against test, and which epoch the weights are of."""
    said = [
        _(
            "It answers {train:percent} of the training images right and {test:percent} of the test images.",
            train=train_accuracy,
            test=evaluation.accuracy,
        )
    ]
    kept = kept_epoch(run)
    if kept is not None:
        said.append(_("The weights of epoch {kept} of {n} became the model.", kept=kept, n=len(run.history)))
    return said


def confusion_sentences(evaluation: Evaluation, _: Language) -> list[str]:
    """The weakest class and the commonest confusion; nothing where nothing is wrong."""
    if not evaluation.errors:
        return []
    names = evaluation.class_names
    weakest = int(np.where(evaluation.support > 0, evaluation.recall, np.inf).argmin())
    wrong = evaluation.confusion * ~np.eye(len(names), dtype=bool)
    label, answer = divmod(int(wrong.argmax()), len(names))
    return [
        _(
            "The class that it misses most is {name}: it finds {recall:percent} of its images.",
            name=names[weakest],
            recall=float(evaluation.recall[weakest]),
        ),
        _(
            "Its commonest error is to take {label} for {answer}: {times:count} of {n:count} times.",
            label=names[label],
            answer=names[answer],
            times=wrong[label, answer],
            n=evaluation.support[label],
        ),
    ]


def show_finding(found: Finding, dataset: Dataset, answered: Answers, _: Language) -> Shown:
    """A finding in words, class names in the reader's language, and its images."""
    translated = dict(zip(dataset.class_names, answered.names, strict=True))
    values = {
        key: translated.get(value, value) if isinstance(value, str) else value for key, value in found.values.items()
    }
    found = replace(found, values=values)
    images = found.images[:MOST_FINDING_IMAGES]
    shots = answered.shots(images) if found.split == "test" else split_shots(dataset, found.split, images, answered)
    return Shown(found.name, found.sentence(_), found.remedy(_), shots)


def split_shots(dataset: Dataset, split: str, images: NDArray[np.int64], answered: Answers) -> tuple[Shot, ...]:
    """Images of training or validation, with their label."""
    if split not in ("train", "validation"):
        return ()
    part, made = dataset.splits[split], {"train": training_shot, "validation": validation_shot}[split]
    return tuple(
        made(int(index), part.images[index], answered.names[part.labels[index]], answered.language) for index in images
    )


def training_shot(index: int, image: NDArray[np.uint8], label: str, _: Language) -> Shot:
    return Shot("train", index, image, label, "", 0.0, _("Training image {index}: {label}", index=index, label=label))


def validation_shot(index: int, image: NDArray[np.uint8], label: str, _: Language) -> Shot:
    words = _("Validation image {index}: {label}", index=index, label=label)
    return Shot("validation", index, image, label, "", 0.0, words)


def kept_epoch(run: Run) -> int | None:
    """The epoch whose weights became the model, where there are epochs."""
    kept = run.about.get("facts", {}).get("kept_epoch")
    return int(kept) if kept is not None and any(row["epoch"] == kept for row in run.history) else None


CURVE_WORDS = {
    "loss": N_("Loss over {n:count} epochs: training from {a:.4} to {b:.4}, validation from {c:.4} to {d:.4}."),
    "accuracy": N_(
        "Accuracy over {n:count} epochs: training from {a:percent} to {b:percent}, "
        "validation from {c:percent} to {d:percent}."
    ),
}
ONE_EPOCH = {
    "loss": N_("Loss after the only epoch: {b:.4} in training, {d:.4} in validation."),
    "accuracy": N_("Accuracy after the only epoch: {b:percent} in training, {d:percent} in validation."),
}


def curves(run: Run, findings: Sequence[Finding], _: Language) -> tuple[Chart, ...]:
    """Loss and accuracy over the epochs, or nothing for a model that knows no epochs."""
    history = run.history
    if not history:
        return ()
    turn = next((found.epochs[0] for found in findings if found.name == "over-fitting" and found.epochs), None)
    drawn = []
    for measure, write in (("loss", lambda value: _.decimal(value, 4)), ("accuracy", _.percent)):
        train, validation = MEASURES[measure][:2]
        pairs = [(row[train], row[validation]) for row in history]
        (a, c), (b, d) = pairs[0], pairs[-1]
        drawn.append(
            Chart(
                figure=learning_curves(history, measure, kept_epoch(run), turn, _),
                title=_("Loss") if measure == "loss" else _("Accuracy"),
                words=_((CURVE_WORDS if len(history) > 1 else ONE_EPOCH)[measure], n=len(history), a=a, b=b, c=c, d=d),
                columns=(_("Epoch"), _("Training"), _("Validation")),
                rows=tuple(
                    (str(int(row["epoch"])), *(write(value) if isfinite(value) else "–" for value in pair))
                    for row, pair in zip(history, pairs, strict=True)
                ),
                points=tuple((row["epoch"], pair) for row, pair in zip(history, pairs, strict=True)),
            )
        )
    return tuple(drawn)


def reliability(evaluation: Evaluation, _: Language) -> Chart:
    """The reliability chart, and in words how sure the answers are on average."""
    bins = evaluation.reliability
    filled = np.flatnonzero(bins.counts)
    said = float((bins.counts * bins.confidence).sum() / bins.counts.sum())
    return Chart(
        figure=reliability_chart(bins, _),
        title=_("Confidence"),
        words=_(
            "Its answers claim {said:percent} on average and {right:percent} of them are right.",
            said=said,
            right=evaluation.accuracy,
        ),
        columns=(_("Confidence"), _("Right answers"), _("Answers")),
        rows=tuple(
            (_.percent(bins.confidence[k]), _.percent(bins.accuracy[k]), _.count(bins.counts[k])) for k in filled
        ),
        points=tuple((float(bins.confidence[k]), (float(bins.accuracy[k]),)) for k in filled),
    )


def to_explain(answered: Answers, classes: Sequence[ClassPart], most: int) -> NDArray[np.int64]:
    """The surest errors of all, two thirds of `most`, then the surest of the worst class; filled up with the former."""
    surest = answered.wrong[:most].tolist()
    worst = [shot.index for shot in classes[0].shots] if classes else []
    others = [index for index in worst if index not in surest[: most * 2 // 3]][: most // 3]
    return np.array([*dict.fromkeys([*surest[: most * 2 // 3], *others, *surest])][:most], dtype=np.int64)


def whys(
    run: Run, dataset: Dataset, answered: Answers, images: NDArray[np.int64], progress: Progress
) -> tuple[Why, ...]:
    """What stands behind each of these errors."""
    if not len(images):
        return ()
    return tuple(why(run, answered, explanation) for explanation in explain(run, dataset, images, progress))


def why(run: Run, answered: Answers, found: Explanation) -> Why:
    _, names, chances = answered.language, answered.names, answered.probabilities[found.index]
    likeliest = np.argsort(-chances, kind="stable")[:TOP]
    near = zip(found.neighbours, found.neighbour_images, found.neighbour_labels, strict=True)
    ground = backgrounds(found.image[None])
    return Why(
        shot=answered.shot(found.index),
        answers=tuple((names[k], float(chances[k])) for k in likeliest),
        heats=((names[found.answer], heat(found.map)), (names[found.other], heat(found.other_map))),
        nearest=tuple(training_shot(int(index), image, names[label], _) for index, image, label in near),
        flip=found.flip.sentence(names, _) if found.flip else flip_words(None, run, _),
        flipped=moved(found.image[None], found.flip.move, ground)[0] if found.flip else None,
    )


def heat(slopes: NDArray[np.float32]) -> NDArray[np.float32]:
    """What speaks for a class, the most of it 1."""
    return np.clip(slopes, 0, None) / max(float(slopes.max()), 1e-9)


def settings_rows(run: Run, _: Language) -> tuple[tuple[str, Any, str, bool], ...]:
    """Name, value, help, and whether it differs from the default; without epochs only those that had a say."""
    values, changed = asdict(run.settings), run.settings.changes()
    shown = set(values) if run.history else {"model", "seed", *changed}
    rows = [item for item in fields(Settings) if item.name in shown]
    helps = {item.name: item.metadata["help"] for item in rows}
    return tuple((name, values[name], _(text), name in changed) for name, text in helps.items())


def origin_rows(run: Run, _: Language) -> tuple[tuple[str, str], ...]:
    """How long each step took, with what and on what, as run.json has it."""
    about = run.about
    times = [(_("time to {step}", step=step), _.duration(value)) for step, value in about.get("seconds", {}).items()]
    rest = [*about.get("facts", {}).items(), *about.get("versions", {}).items(), *about.get("machine", {}).items()]
    return (*times, *((name.replace("_", " "), fact(value, _)) for name, value in rest))


def fact(value: object, _: Language) -> str:
    """What run.json has for a fact, numbers in two digits."""
    return _.significant(value, 2) if isinstance(value, float) and isfinite(value) else str(value)


def samples(
    dataset: Dataset, names: tuple[str, ...]
) -> tuple[tuple[str, tuple[NDArray[np.uint8], ...], tuple[int, ...]], ...]:
    """Of each class its name, some training images, and how many images each split holds."""
    classes = len(names)
    each = max(1, min(10, MOST_SAMPLES // classes))
    picked = pick_samples(dataset.train, classes, each)
    picked[MOST_SAMPLES:] = -1
    counts = [np.bincount(part.labels[part.labels >= 0], minlength=classes) for part in dataset.splits.values()]
    return tuple(
        (
            name,
            tuple(dataset.train.images[i] for i in picked[k] if i >= 0),
            tuple(int(column[k]) for column in counts),
        )
        for k, name in enumerate(names)
    )
