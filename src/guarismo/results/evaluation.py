"""Run + test images → Evaluation: numbers only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from safetensors.numpy import save

from guarismo.data.dataset import UNKNOWN, Dataset
from guarismo.errors import DataError, RunError
from guarismo.language import ENGLISH
from guarismo.markup import named, table
from guarismo.models.runs import Run, claimed, commit, open_run, quoted

BINS = 15
MOST_MISTAKES = 200
SMALLEST = 1e-7
"""Where probabilities are cut for the loss: one answer of 0 would make it infinite."""
Z95 = 1.959963984540054


@dataclass(frozen=True, eq=False)
class Reliability:
    """Answers by confidence, in bins of equal width: counts int64 (bins,), and the mean confidence and the
    accuracy of each, float64 (bins,), 0 in an empty bin."""

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Wrong answers, the most confident first, at most `MOST_MISTAKES`: int64 (m,), confidences float64 (m,)."""

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    answers: NDArray[np.int64]
    confidences: NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How well answers fit the labels.

    confusion: int64 (k, k), row = true class, column = answer; loss: mean negative log-likelihood;
    interval: of the accuracy, 95 % (Wilson 1927); ece: expected calibration error (Guo et al. 2017).
    A figure that would divide by zero (precision of a class never answered) is 0, as in scikit-learn.
    """

    split: str
    n: int
    loss: float
    accuracy: float
    interval: tuple[float, float]
    ece: float
    class_names: tuple[str, ...]
    confusion: NDArray[np.int64]
    reliability: Reliability
    mistakes: Mistakes

    @property
    def errors(self) -> int:
        """How many answers are wrong."""
        return self.n - int(self.confusion.trace())

    @property
    def hardest(self) -> NDArray[np.int64]:
        """Indices of the wrong answers, the most confident first."""
        return self.mistakes.indices

    @property
    def support(self) -> NDArray[np.int64]:
        """Images of each class, int64 (k,)."""
        return np.asarray(self.confusion.sum(axis=1), dtype=np.int64)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Of the answers 'class k', the share that is right, (k,)."""
        return ratio(self.confusion.diagonal(), self.confusion.sum(axis=0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Of the images of class k, the share that is found, (k,)."""
        return ratio(self.confusion.diagonal(), self.support)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall, (k,)."""
        return ratio(2 * self.confusion.diagonal(), self.confusion.sum(axis=0) + self.support)

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"Evaluation({self.split}: {self.n - self.errors:,} of {self.n:,} right, "
            f"{self.accuracy:.2%} [{low:.2%}, {high:.2%}]; loss {self.loss:.4f}, ece {self.ece:.4f})"
        )

    def _repr_html_(self) -> str:
        """In a notebook: the figures, each class, and which classes are taken for which."""
        return str(headline(self) + class_table(self) + confusion_table(self))

    def as_json(self) -> dict[str, Any]:
        """Plain values for json.dumps; `from_json` reads them back."""
        per_class = {name: getattr(self, name).tolist() for name in ("precision", "recall", "f1", "support")}
        return {
            "split": self.split,
            "n": self.n,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "ece": self.ece,
            "class_names": list(self.class_names),
            "confusion": self.confusion.tolist(),
            "per_class": per_class,
            "reliability": {name: column.tolist() for name, column in vars(self.reliability).items()},
            "mistakes": {name: column.tolist() for name, column in vars(self.mistakes).items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Evaluation:
        """The Evaluation that `as_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        names = tuple(str(name) for name in values["class_names"])
        bins, wrong = values["reliability"], values["mistakes"]
        low, high = values["interval"]
        evaluation = cls(
            split=str(values["split"]),
            n=int(values["n"]),
            loss=float(values["loss"]),
            accuracy=float(values["accuracy"]),
            interval=(float(low), float(high)),
            ece=float(values["ece"]),
            class_names=names,
            confusion=np.array(values["confusion"], dtype=np.int64).reshape(len(names), len(names)),
            reliability=Reliability(whole(bins["counts"]), real(bins["confidence"]), real(bins["accuracy"])),
            mistakes=Mistakes(
                whole(wrong["indices"]), whole(wrong["labels"]), whole(wrong["answers"]), real(wrong["confidences"])
            ),
        )
        check_consistent(evaluation)
        return evaluation


MOST_CLASSES = 20
"""Classes that a notebook shows one by one."""


def headline(evaluation: Evaluation) -> Markup:
    low, high = map(ENGLISH.percent, evaluation.interval)
    words = Markup(
        "<p><b>{}</b> of {:,} {} images right (95 % interval {} – {}), loss {:.4f}, calibration error {}</p>"
    )
    accuracy, ece = ENGLISH.percent(evaluation.accuracy), ENGLISH.percent(evaluation.ece)
    return words.format(accuracy, evaluation.n, evaluation.split, low, high, evaluation.loss, ece)


def class_table(evaluation: Evaluation) -> Markup:
    """Precision, recall and F1 of each class; of many classes the weakest."""
    classes = len(evaluation.class_names)
    order = np.arange(classes) if classes <= MOST_CLASSES else np.argsort(evaluation.f1, kind="stable")[:MOST_CLASSES]
    columns = (evaluation.precision, evaluation.recall, evaluation.f1)
    rows = [
        [
            named(evaluation.class_names[k]),
            *(ENGLISH.percent(column[k]) if evaluation.support[k] else "–" for column in columns),
            f"{evaluation.support[k]:,}",
        ]
        for k in order
    ]
    words = (
        Markup()
        if classes <= MOST_CLASSES
        else Markup("<p>The {} weakest of {:,} classes</p>").format(*(len(order), classes))
    )
    return words + table(("class", "precision", "recall", "F1", "images"), rows)


def confusion_table(evaluation: Evaluation) -> Markup:
    """Row: true class, column: answer, the deeper the more; of many classes the commonest confusions."""
    if len(evaluation.class_names) > MOST_CLASSES:
        return commonest_confusions(evaluation)
    names = [named(each, 12) for each in evaluation.class_names]
    errors = evaluation.confusion - np.diag(evaluation.confusion.diagonal())
    worst = max(1, int(errors.max()))
    rows = [
        [names[k], *(shaded(int(n), k == answer, worst) for answer, n in enumerate(line))]
        for k, line in enumerate(evaluation.confusion)
    ]
    return Markup("<p>Confusion (row: true class, column: answer)</p>") + table(("", *names), rows)


def shaded(count: int, right: bool, worst: int) -> Markup | str:
    """A cell of the confusion matrix: right answers on blue, errors on orange, the deeper the more.

    The colours are thin enough for black and for white text on them.
    """
    if not count:
        return "·"
    colour = "0,114,178,.25" if right else f"213,94,0,{0.12 + 0.38 * sqrt(count / worst):.2f}"
    return Markup('<span style="display:block;padding:0 .4em;background:rgba({})">{:,}</span>').format(colour, count)


def commonest_confusions(evaluation: Evaluation) -> Markup:
    """The pairs of classes that are confused most often."""
    errors = evaluation.confusion - np.diag(evaluation.confusion.diagonal())
    order = np.argsort(-errors, axis=None, kind="stable")[:MOST_CLASSES]
    pairs = [np.unravel_index(place, errors.shape) for place in order if errors.flat[place]]
    rows = [
        [named(evaluation.class_names[label]), named(evaluation.class_names[answer]), f"{errors[label, answer]:,}"]
        for label, answer in pairs
    ]
    return Markup("<p>Commonest confusions</p>") + table(("true class", "answer", "images"), rows) if rows else Markup()


def whole(column: Sequence[int]) -> NDArray[np.int64]:
    return np.array(column, dtype=np.int64).reshape(len(column))


def real(column: Sequence[float]) -> NDArray[np.float64]:
    return np.array(column, dtype=np.float64).reshape(len(column))


def check_consistent(evaluation: Evaluation) -> None:
    """Raises ValueError where the parts of an Evaluation contradict each other."""
    wrong, classes = evaluation.mistakes, len(evaluation.class_names)
    if int(evaluation.confusion.sum()) != evaluation.n:
        raise ValueError(f"the confusion matrix does not count {evaluation.n} images")
    if len({len(column) for column in vars(wrong).values()}) != 1:
        raise ValueError("the columns of 'mistakes' differ in length")
    for column, most in ((wrong.indices, evaluation.n), (wrong.labels, classes), (wrong.answers, classes)):
        if len(column) and not (column.min() >= 0 and column.max() < most):
            raise ValueError("'mistakes' names an image or a class that does not exist")


def evaluate(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    class_names: Sequence[str] | None = None,
    split: str = "test",
) -> Evaluation:
    """Measure probabilities float (n, k) against labels int (n,).

    Raises DataError for shapes that do not fit, unlabelled images, and rows that are not probabilities.

    >>> evaluate(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]), ["cat", "dog"])
    Evaluation(test: 1 of 2 right, 50.00% [9.45%, 90.55%]; loss 0.5108, ece 0.3500)
    """
    names = tuple(class_names) if class_names is not None else tuple(map(str, range(np.shape(probabilities)[-1])))
    check_answers(probabilities, labels, names)
    answers, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1).astype(np.float64)
    right = answers == labels
    reliability = reliability_of(confidences, right)
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Evaluation(
        split=split,
        n=len(labels),
        loss=float(-np.log(given.clip(SMALLEST, 1)).mean()) + 0.0,  # + 0.0: a perfect loss reads 0, not -0
        accuracy=float(right.mean()),
        interval=wilson(int(right.sum()), len(labels)),
        ece=calibration_error(reliability),
        class_names=names,
        confusion=confusion_matrix(labels, answers, len(names)),
        reliability=reliability,
        mistakes=worst_mistakes(labels, answers, confidences),
    )


def check_answers(probabilities: NDArray[Any], labels: NDArray[Any], names: Sequence[str]) -> None:
    """Raises DataError for the first thing that `evaluate` cannot measure."""
    if probabilities.ndim != 2 or probabilities.shape != (len(labels), len(names)) or labels.ndim != 1:
        raise DataError(
            f"Expected probabilities ({len(labels)} images, {len(names)} classes) and one label each, "
            f"received {probabilities.shape} and labels {labels.shape}. Give the answers to these very images."
        )
    if not len(labels):
        raise DataError("There are no images to evaluate. Give a source that has test images.")
    if (labels == UNKNOWN).any():
        raise DataError(
            f"{int((labels == UNKNOWN).sum())} images have no label. Leave them out: they cannot be scored."
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(names):
        raise DataError(
            f"Expected whole labels 0…{len(names) - 1}, received {labels.dtype} {labels.min()}…{labels.max()}. "
            "Check that these labels belong to these classes."
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    # 0.01: softmax in bfloat16 sums to 1 within 0.004
    bad = ~(np.abs(sums - 1) < 0.01) | (probabilities < 0).any(axis=1)
    if bad.any():
        first = int(bad.argmax())
        raise DataError(
            f"Row {first} is no set of probabilities: its least is {probabilities[first].min():g} and its sum "
            f"{sums[first]:g}, not 1. Apply softmax to the model's output first."
        )


def confusion_matrix(labels: NDArray[Any], answers: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """int64 (k, k): row = true class, column = answer. (scikit-learn's takes 1 s to import.)"""
    return np.bincount(labels * classes + answers, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def ratio(part: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    """part / total, 0 where total is 0."""
    return np.asarray(np.divide(part, total, out=np.zeros(len(part)), where=total > 0))


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): holds its promise near 100 %, where ± 1.96 standard errors do not."""
    share, spread = right / n, Z95**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = Z95 * sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def reliability_of(confidences: NDArray[np.float64], right: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Confidence against accuracy in equal-width bins; confidences float64 (n,) in [0, 1], right bool (n,)."""
    # A bin holds (low, high], as in Guo et al.; the first one also holds 0.
    place = np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins).astype(np.int64)
    filled = np.maximum(counts, 1)
    confidence = np.bincount(place, weights=confidences, minlength=bins) / filled
    return Reliability(counts, confidence, np.bincount(place, weights=right, minlength=bins) / filled)


def calibration_error(reliability: Reliability) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy (Guo et al. 2017, arXiv:1706.04599)."""
    gaps = np.abs(reliability.confidence - reliability.accuracy)
    return float((gaps * reliability.counts).sum() / reliability.counts.sum())


def worst_mistakes(
    labels: NDArray[Any], answers: NDArray[Any], confidences: NDArray[np.float64], most: int = MOST_MISTAKES
) -> Mistakes:
    """The wrong answers, the most confident first; equal ones in the order of the images."""
    wrong = np.flatnonzero(answers != labels)
    wrong = wrong[np.argsort(-confidences[wrong], kind="stable")][:most].astype(np.int64)
    return Mistakes(wrong, labels[wrong].astype(np.int64), answers[wrong].astype(np.int64), confidences[wrong])


def evaluate_run(run: Run, dataset: Dataset) -> tuple[Run, Evaluation]:
    """Open the test images once: answer them, measure, and write both into the run with the date of opening.

    A second call with the run's own test images gives back the saved Evaluation and opens nothing. On other data the
    Evaluation is handed over and the opening recorded, but the saved one stays that of the run's own test images.
    Raises RunError when the data does not fit the run or changed since training.
    """
    check_fit(run, dataset)
    if opened_on(run, dataset):
        return run, saved_evaluation(run)
    with claimed(run.folder, timeout=60):
        run = open_run(run.folder)
        if opened_on(run, dataset):  # by another process, while this one waited
            return run, saved_evaluation(run)
        probabilities, labels = run.predict(dataset.test.images), dataset.test.labels
        evaluation = evaluate(probabilities, labels, run.class_names)
        if not same_data(run, dataset):
            others = [*run.about.get("other_data", []), {**opening(dataset), "accuracy": evaluation.accuracy}]
            return commit(run, {}, other_data=others), evaluation
        files = {
            "test.safetensors": save({"probabilities": probabilities.astype(np.float32), "labels": labels}),
            "evaluation.json": json.dumps(evaluation.as_json(), allow_nan=False, ensure_ascii=False).encode(),
        }
        return commit(run, files, test_opened=opening(dataset)), evaluation


def opened_on(run: Run, dataset: Dataset) -> bool:
    """Whether the run's saved evaluation is of these test images."""
    return bool(run.about.get("test_opened", {}).get("fingerprint") == dataset.test.fingerprint)


def check_fit(run: Run, dataset: Dataset) -> None:
    """Raises RunError when the run cannot be measured on the test images of `dataset`."""
    if not dataset.test.labelled:
        raise RunError(f"Data '{dataset.name}' has no labelled test images. Name a source that has: RUN SOURCE.")
    for what, ours, theirs in (
        ("classes", run.class_names, dataset.class_names),
        ("images of (h, w, c)", run.shape, dataset.shape),
    ):
        if ours != theirs:
            raise RunError(
                f"Run {run.name} answers {what} {short(ours)}, data '{dataset.name}' has {short(theirs)}. "
                "Evaluate it on data of its own kind."
            )
    if source_of(run.about["data"].get("origin", {})) == source_of(dataset.origin) is not None and not same_data(
        run, dataset
    ):
        raise RunError(
            f"Data '{dataset.name}' changed since run {run.name} was trained, so that its test images may now be among "
            "those it learned from. Restore the data and its options, or train again."
        )


def source_of(origin: Mapping[str, Any]) -> str | None:
    source = origin.get("source")
    return None if source is None else str(source)


def same_data(run: Run, dataset: Dataset) -> bool:
    """Whether the run was trained on this very Dataset."""
    return bool(run.about["data"]["fingerprint"] == dataset.fingerprint)


def short(values: Sequence[object]) -> str:
    """The first values, separated by commas."""
    return ", ".join(map(str, values[:12])) + (f", … ({len(values)})" if len(values) > 12 else "")


def opening(dataset: Dataset) -> dict[str, Any]:
    """What run.json keeps of test images being opened."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": source_of(dataset.origin) or dataset.name,
        "fingerprint": dataset.test.fingerprint,
        "n": len(dataset.test),
    }


def saved_evaluation(run: Run) -> Evaluation:
    """The Evaluation in the run's folder. Raises RunError when there is none, or when it is damaged."""
    path = run.folder / "evaluation.json"
    if not path.is_file():
        raise RunError(f"Run {run.name} has not been evaluated. Do it with: guarismo evaluate {quoted(run.folder)}")
    try:
        return Evaluation.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}). Copy the run again from where it came.") from None


def train_confusion(run: Run) -> NDArray[np.int64]:
    """The confusion matrix of the training images, int64 (k, k), as `train` left their answers."""
    arrays = run.arrays("train")
    return confusion_matrix(arrays["labels"], arrays["answers"], len(run.class_names))
