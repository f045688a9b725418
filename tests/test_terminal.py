"""The terminal: what people see of a reading, a score and an adaptation; values in, text out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from guarismo.data.exploration import explore
from guarismo.data.leaks import find_leaks
from guarismo.data.sources import load
from guarismo.reading.adaptation import Adaptation
from guarismo.results.diagnosis import diagnose
from guarismo.results.finding import Finding
from guarismo.results.scoring import Label, score
from guarismo.terminal import (
    print_adaptation,
    print_exploration,
    print_findings,
    print_leaks,
    print_page,
    print_run,
    print_score,
    why_nothing,
    written,
)
from tiny_run import bars_dataset, make_run


def digit(value: int, confidence: float = 0.99, *alternatives: tuple[int, float]) -> dict:
    return {"digit": value, "confidence": confidence, "box": [0, 0, 9, 9], "alternatives": list(alternatives)}


def refusal(side: int, reason: str) -> dict:
    return {"box": [0, 0, side, side], "reason": reason}


def page(*lines: str, number: int = 1, digits: tuple = (), refused: tuple = ()) -> dict:
    """What `Reading.as_json` gives."""
    digits = digits or tuple(digit(int(each)) for each in "".join(lines))
    told = {"file": "a.png", "page": number, "text": " ".join(lines), "lines": list(lines)}
    return {**told, "digits": list(digits), "refused": list(refused), "seconds": 0.1}


def test_a_page_alone_is_its_lines(capsys):
    print_page(page("30", "52"), alone=True)
    assert capsys.readouterr() == ("30\n52\n", "")


def test_among_others_a_name_and_a_tab_stand_before_each_line(capsys):
    print_page(page("30", "52"), alone=False)
    print_page(page("7", number=2), alone=False)
    assert capsys.readouterr() == ("a.png\t30\na.png\t52\na.png page 2\t7\n", "")


@pytest.mark.parametrize("alone", [True, False])
def test_a_page_without_digits_says_why_on_stderr(capsys, alone):
    print_page(page(refused=(refusal(9, "not a digit: 0.10"),)), alone)
    out, err = capsys.readouterr()
    assert out.split() == ([] if alone else ["a.png"])
    assert err == "a.png: no digit was found among the one mark (not a digit: 0.10)\n"


def test_one_mark_is_not_marks():
    told = why_nothing([refusal(9, "not a digit: 0.10")])
    assert told == "no digit was found among the one mark (not a digit: 0.10)"


def test_the_reasons_named_are_those_of_the_largest_each_once():
    refused = [refusal(2, "small"), refusal(90, "a blot"), refusal(50, "scrawl"), refusal(60, "a blot")]
    assert why_nothing(refused) == "no digit was found among 4 marks (a blot; scrawl)"
    assert why_nothing([]) == "no ink was found"


def test_an_unsure_digit_is_named_with_what_else_it_may_be(capsys):
    digits = (digit(1), digit(7, 0.62, (1, 0.31), (2, 0.05)), digit(4, 0.89), digit(3, 0.9))
    print_page(page("17", "43", digits=digits), alone=True)
    out, err = capsys.readouterr()
    assert out == "17\n43\n"
    assert err == "a.png: digit 2 is unsure: 7 (62%), or 1 (31%)\na.png: digit 3 is unsure: 4 (89%)\n"


def test_a_score_is_a_row_for_each_group_and_a_line_for_each_error(capsys):
    labels = [
        Label(Path("in/a.png"), "12 34", "line", "photo"),
        Label(Path("in/b.png"), "5", "single", "scan"),
        Label(Path("[b].png"), "6", "single", "scan"),
    ]
    print_score(score(labels, {Path("in/a.png"): "124", Path("in/b.png"): "5", Path("[b].png"): ""}))
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == "" and lines[0].split()[:3] == ["photos", "files", "exact"]
    names = [line.split("  ")[0] for line in lines[1:-2]]
    assert names == ["line photo", "single scan", "in", "all"]  # "." is no folder to tell apart
    assert lines[4].split()[:3] == ["all", "3", "33.33"]
    assert lines[-2:] == ["in/a.png: 12 34, read as 124", "[b].png: 6, read as nothing"]


def test_a_perfect_score_names_no_file(capsys):
    print_score(score([Label(Path("a.png"), "7")], {Path("a.png"): "7"}))
    assert "read as" not in capsys.readouterr().out


def test_an_adaptation_tells_before_and_after_and_the_next_command(capsys, tmp_path):
    run = make_run(tmp_path / "my hand", bars_dataset())
    brought = Adaptation({"7": 20}, (15, 19, 20), (1496, 1495, 1500), (9, 8, 500), "digits", 1.0, ())
    print_adaptation(run, brought)
    samples, others, place, following = capsys.readouterr().out.splitlines()
    assert samples == "20 samples, each read by a reader that did not learn it: 15 right before, 19 after"
    assert others == "Other people's digits (digits): 1,496 of 1,500 right before, 1,495 after"
    assert place == f"Run: {run.folder}"
    assert following == f"Next: guarismo read PHOTO --run '{run.folder}'"


def test_facts_are_one_line_and_unknown_ones_are_left_out():
    facts = {"epoch": 3.0, "file": "a.png", "validation_accuracy": 0.98, "doing": "guard"}
    assert written(facts) == "epoch 3 · a.png · validation 98.00 %"


# What is in the data


def leaking(**facts: str):
    """The bars, of which the test has an exact copy, a darker copy and 4 images of a group of training."""
    dataset = bars_dataset(**facts)
    images = dataset.test.images.copy()
    images[0], images[7] = dataset.train.images[5], dataset.train.images[3] // 2
    groups = np.arange(90) + 1000
    groups[:4] = 17
    train = replace(dataset.train, groups=np.arange(180))
    return replace(dataset, train=train, test=replace(dataset.test, images=images, groups=groups))


def test_each_leak_is_a_line_and_says_what_to_do(capsys):
    print_leaks(find_leaks(leaking(grouped_by="writer")))
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "validation: no copy of an image in train, exact or nearly so (60 of 60 looked at)"
    assert out[1] == "Leak: test: exact copies of images in train: 1"
    assert out[2] == "Leak: test: near copies of images in train: 1 (89 of 90 looked at),"
    assert out[3].startswith("  most alike, by number, with the largest difference: 7 of 3 (")
    assert out[4] == "Leak: test: 1 of 87 writers are also in train (4 images)"
    assert out[-1] == "--group writer keeps each writer in one part, where the source has no parts of its own."


def test_groups_that_are_apart_are_said_to_be_apart(capsys):
    dataset = bars_dataset(grouped_by="original")
    parts = {
        name: replace(split, groups=np.arange(len(split)) + 1000 * number)
        for number, (name, split) in enumerate(dataset.splits.items())
    }
    print_leaks(find_leaks(replace(dataset, **parts)))
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3 and "Leak" not in "".join(out)
    assert out[0].endswith("exact or nearly so (60 of 60 looked at), and none of its 60 originals is there")


def test_where_no_groups_are_known_that_is_said(capsys):
    print_leaks(find_leaks(bars_dataset()))
    assert capsys.readouterr().out.splitlines()[-1].startswith("Writers and originals were not compared")


def test_an_exploration_counts_modalities_where_there_are_any(capsys):
    dataset = bars_dataset()
    names = np.array([f"test/m{row // 45}/{row % 45}.{row % 3}.png" for row in range(90)])
    print_exploration(explore(replace(dataset, test=replace(dataset.test, names=names))))
    out = capsys.readouterr().out.splitlines()
    start = out.index("test: images of each modality and digit")
    assert out[start + 1].split() == ["modality", *"0123456789"]
    assert out[start + 2].split() == ["m0", "15", "15", "15", *"0000000"]
    assert out[start + 3].split() == ["m1", "15", "15", "15", *"0000000"]
    print_exploration(explore(dataset))
    assert "modality" not in capsys.readouterr().out


def test_an_exploration_sums_up_how_each_class_varies(capsys):
    dataset = load("digits")
    split = replace(
        dataset.train, images=np.where(dataset.train.labels[:, None, None, None] == 4, 0, dataset.train.images)
    )
    found = explore(replace(dataset, train=split, test=replace(dataset.test, groups=None)))
    print_exploration(found)
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["class", "train", "validation", "test", "slant", "stroke", "holes", "aspect", "ink"]
    slant, holed = found.variation["slant"][8].median, found.variation["holes"][8].holed
    assert out[9].split()[:5] == ["8", "350", "50", "100", f"{slant:.0f}°"] and f" {100 * holed:.0f} % " in out[9]
    assert out[5].split() == ["4", "350", "50", "100", *"–––––"]
    assert "  of the 90.00 % of images whose ink can be told from an even ground" in out
    assert any(line.endswith("; blank: 350") for line in out)


def test_an_exploration_tells_what_lies_between_writers(capsys):
    dataset = bars_dataset(grouped_by="writer")
    print_exploration(explore(dataset))
    assert "writers; of the variance" not in capsys.readouterr().out
    digits = load("digits")
    train = replace(digits.train, groups=np.arange(3500) // 7)
    print_exploration(explore(replace(digits, train=train, grouped_by="writer")))
    assert "500 writers; of the variance inside a class lies between them: slant " in capsys.readouterr().out


def test_a_training_that_over_fits_is_told_with_its_remedy(tmp_path, capsys):
    run = make_run(tmp_path / "run", bars_dataset())
    print_run(run, diagnose(run))
    out = capsys.readouterr().out
    assert "over-fits from epoch 3" in out and "--patience" in out
    print_run(run, ())
    assert "over-fits" not in capsys.readouterr().out


def findings(count: int) -> list[Finding]:
    return [
        Finding(f"fault {k}", 1.0, f"Fault {k} is [bold]{{share:percent}}[/bold].", "Mend it.", {"share": 0.5})
        for k in range(count)
    ]


def test_after_a_training_the_gravest_findings_are_told(tmp_path, capsys):
    run = make_run(tmp_path / "run", bars_dataset())
    print_run(run, findings(5))
    out = capsys.readouterr().out
    assert [f"Fault {k} is" in out for k in range(5)] == [True, True, True, False, False]
    assert f"2 more: guarismo diagnose {run.folder}" in out


def test_findings_are_told_as_they_are_with_their_first_images(tmp_path, capsys):
    run = make_run(tmp_path / "run", bars_dataset())
    shown = replace(findings(1)[0], split="validation", images=np.arange(1_200))
    print_findings(run, "validation", [shown], ("leaks", "over-fitting"))
    assert capsys.readouterr().out.splitlines() == [
        "Fault 0 is [bold]50.00 %[/bold].",
        "  Mend it.",
        "  Images of validation, counted from 0: 0, 1, 2, 3, 4, 5, 6, 7, … (1,200)",
        "",
        "run, validation images: looked for leaks, over-fitting.",
    ]
    print_findings(run, "test", [], ("leaks",))
    assert capsys.readouterr().out == "Nothing wrong was found. run, test images: looked for leaks.\n"
