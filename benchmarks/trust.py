"""How far a reader is to be trusted: what it refuses, how honest its confidence is, risk against coverage.

    GUARISMO_DATA=/folder/with/mnist python benchmarks/trust.py RUN [--photos FOLDER] [--card MODEL_FOLDER]

RUN is an evaluated run of recipe `reader`. Prints a table in Markdown beside what was promised. With --card it also
makes the reader that comes with the package: the network, and run.json with these figures as its model card.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from guarismo import evaluate, load
from guarismo.errors import DataError
from guarismo.reading.intake import Picture
from guarismo.reading.reader import Reader, open_reader, read, read_picture
from guarismo.reading.refusal import READ_FROM
from guarismo.results.scoring import Answer, Trust, read_labels, trust
from paper import KINDS, Scene, mark_photo, non_digits

OF_EACH = 800
"""Non-digits of each of two sources; photos of marks make up the rest to about 2,000."""
PHOTOS_OF_EACH = 60
LICENCE = "MIT; trained on MNIST (LeCun, Cortes, Burges; CC BY-SA 3.0)"


def digit_answers(reader: Reader, name: str, images: np.ndarray, labels: np.ndarray) -> tuple[str, Trust]:
    probabilities = reader.judge(images[..., 0])
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    return name, trust([Answer(float(p), bool(r), bool(p < READ_FROM)) for p, r in zip(sure, right, strict=True)])


def refused_marks(reader: Reader) -> dict[str, tuple[int, int]]:
    """Of what is no digit, by source: how much is refused, and how much there was."""
    counts = {}
    fashion = load("fashion_mnist").test.images[:OF_EACH, ..., 0]
    for name, images in (
        ("Fashion-MNIST test images", fashion),
        ("letters, shapes, noise", non_digits(OF_EACH, 12345)),
    ):
        counts[name] = int((reader.judge(images).max(axis=1) < READ_FROM).sum()), len(images)
    for kind in KINDS:
        empty = 0
        for seed in range(PHOTOS_OF_EACH):
            pixels = mark_photo(kind, Scene(), seed).pixels
            picture = Picture("", 1, pixels, 1.0, pixels.shape[1::-1])
            empty += not read_picture(picture, reader).text
        counts[f"photos: {kind.replace('_', ' ')}"] = empty, PHOTOS_OF_EACH
    return counts


def single_photos(reader: Reader, folder: Path) -> Trust:
    """The single digits of the labelled photos: refused where nothing, or more than one digit, was read."""
    answers = []
    for label in read_labels(folder / "labels.csv"):
        if label.kind == "single":
            try:
                digits = [digit for line in read(folder / label.file, reader)[0].digits for digit in line]
            except DataError:
                digits = []
            sure = max((digit.confidence for digit in digits), default=0.0)
            answers.append(Answer(sure, "".join(str(d.digit) for d in digits) == label.text, not digits))
    return trust(answers)


def row(name: str, measured: Trust) -> dict[str, Any]:
    refused = 1 - measured.accepted / measured.n
    halves = {f"risk at {share:.0%}": float(measured.risk[int(share * measured.n) - 1]) for share in (0.9, 0.99, 1.0)}
    return {"digits": name, "n": measured.n, "refused": refused, "ece": measured.ece, "aurc": measured.aurc, **halves}


def card(run: Path, place: Path, figures: dict[str, Any]) -> None:
    """The package's reader: the network as it is, run.json without the files that only training needs."""
    about = json.loads((run / "run.json").read_text())
    about["files"] = {"model.onnx": about["files"]["model.onnx"]}
    for name in ("test_opened", "other_data", "machine"):
        about.pop(name, None)
    about["machine"] = {}
    about["card"] = {
        "name": "Guarismo's reader of handwritten digits",
        "use": "Single digits of 28×28, white on black, as guarismo.data.normalise makes them of photos and drawings.",
        "not for": "Letters, printed type, amounts that nobody checks: read the confidence, and what was refused.",
        "training": "guarismo train mnist --recipe reader",
        "licence": LICENCE,
        "measured": {"on": date.today().isoformat(), "with": "benchmarks/trust.py", **figures},
    }
    place.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "model.onnx", place / "model.onnx")
    (place / "run.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def photos_folder(given: Path | None) -> Path:
    places = Path(os.environ.get("GUARISMO_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    return given or places / "photos"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--card", type=Path)
    chosen = parser.parse_args(arguments)
    reader = open_reader(chosen.run)
    test = load("mnist").test
    measured = [row(*digit_answers(reader, "MNIST test", test.images, test.labels))]
    evaluation = evaluate(reader.run.predict(test.images), test.labels)
    folder = photos_folder(chosen.photos)
    if folder.is_dir():
        measured.append(row("single photos and drawings (DEV)", single_photos(reader, folder)))
    marks = refused_marks(reader)
    print(f"accuracy on MNIST test {evaluation.accuracy:.2%}, temperature {reader.temperature}\n")
    print("| digits | n | refused | calibration error | risk at 90 % | at 99 % | at all | AURC |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for line in measured:
        shown = [f"{line[key]:.2%}" for key in ("refused", "ece", "risk at 90%", "risk at 99%", "risk at 100%")]
        print(f"| {line['digits']} | {line['n']:,} | {' | '.join(shown)} | {line['aurc']:.5f} |")
    print("\n| no digits | n | refused |\n|---|--:|--:|")
    for name, (refused, n) in marks.items():
        print(f"| {name} | {n:,} | {refused / n:.1%} |")
    refused, n = (sum(column) for column in zip(*marks.values(), strict=True))
    print(f"| all | {n:,} | {refused / n:.2%} |")
    if chosen.card:
        figures = {"mnist_test_accuracy": evaluation.accuracy, "digits": measured, "no_digits_refused": [refused, n]}
        card(chosen.run, chosen.card, figures)


if __name__ == "__main__":
    main()
