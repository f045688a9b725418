"""The commands read, adapt and sheet as a user meets them: what they print, what they refuse, what they leave."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fpdf import FPDF
from PIL import Image

from foreign import png, write
from guarismo.models.runs import open_run
from paper import Scene, mark_photo, photograph
from tiny_run import bars_dataset, make_run

PAGE = ["file", "page", "text", "lines", "digits", "refused", "seconds"]
DIGIT = ["digit", "confidence", "box", "alternatives"]
PHOTOS = {"3052.png": ("3052", 0), "68.png": ("68", 1), "714.png": ("714", 0)}
"""File → what is written on it, and the seed."""


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    pens = Scene(height=60, pen="felt")
    return {file: png(photograph(text, pens, seed).pixels) for file, (text, seed) in PHOTOS.items()}


@pytest.fixture
def desk(places, contents, monkeypatch) -> Path:
    """A working folder with three photos in `photos`, and a blank one beside them."""
    monkeypatch.chdir(places)
    for file, content in contents.items():
        (places / "photos").mkdir(exist_ok=True)
        write(places / "photos" / file, content)
    write(places / "blank.png", png(mark_photo("blank", Scene(height=60), 1).pixels))
    return places


@pytest.fixture
def command(command):
    """As everywhere, and nobody is ever shown a traceback."""

    def call(*words: object) -> tuple[int, str, str]:
        status, out, err = command(*words)
        assert "Traceback" not in err and "unexpected" not in err, err
        return status, out, err

    return call


def labels(place: Path, *rows: str) -> Path:
    return write(place, "\n".join(["file,text,kind,medium", *rows, ""]).encode())


# read


def test_read_prints_what_one_photo_says(desk, command):
    assert command("read", "photos/714.png") == (0, "714\n", "")


def test_several_are_printed_with_their_names_parted_by_a_tab(desk, command):
    assert command("read", "photos") == (
        0,
        "photos/68.png\t68\nphotos/714.png\t714\nphotos/3052.png\t3052\n",
        "",
    )


def test_every_line_of_a_photo_is_a_line(desk, command):
    write(desk / "two.png", png(photograph("30\n52", Scene(height=60, pen="felt"), 0).pixels))
    assert command("read", "two.png")[1] == "30\n52\n"
    assert command("read", "two.png", "photos/68.png")[1] == "two.png\t30\ntwo.png\t52\nphotos/68.png\t68\n"


def test_a_file_name_is_printed_as_it_is(desk, command, contents):
    """Neither markup nor an emoji is meant by it."""
    names = ["[bold]a.png", ":smile:.png", "año 1.png"]
    for name in names:
        write(desk / name, contents["68.png"])
    status, out, _ = command("read", *names)
    assert status == 0
    assert [re.split(r"\s{2,}|\t", line)[0] for line in out.splitlines()] == names


def test_json_is_one_object_for_each_page_with_exactly_the_promised_keys(desk, command):
    document = FPDF(format=(120, 60))
    for file in ("3052.png", "714.png"):
        document.add_page()
        document.image(desk / "photos" / file, x=10, y=8, w=80)
    write(desk / "two.pdf", bytes(document.output()))
    status, out, _ = command("read", "photos/68.png", "two.pdf", "--json")
    pages = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [(page["file"], page["page"], page["text"]) for page in pages] == [
        ("photos/68.png", 1, "68"),
        ("two.pdf", 1, "3052"),
        ("two.pdf", 2, "714"),
    ]
    for page in pages:
        assert list(page) == PAGE
        assert all(list(digit) == DIGIT for digit in page["digits"])
        assert "".join(str(digit["digit"]) for digit in page["digits"]) == page["text"] == "".join(page["lines"])


@pytest.mark.parametrize("fault", ["empty", "text", "gone"])
def test_one_that_cannot_be_read_does_not_stop_the_other(desk, command, fault):
    if fault != "gone":
        write(desk / "bad.jpg", {"empty": b"", "text": b"two apples, three pears\n" * 9}[fault])
    status, out, err = command("read", "bad.jpg", "photos/714.png", "--json")
    assert status == 1
    assert json.loads(out)["text"] == "714"
    problem, last = err.splitlines()
    assert problem.startswith("guarismo: ") and "bad.jpg" in problem
    assert last == "guarismo: 1 of 2 could not be read."


def test_a_blank_photo_is_no_error(desk, command):
    assert command("read", "blank.png") == (0, "", "blank.png: no ink was found\n")
    status, out, err = command("read", "blank.png", "--json")
    page = json.loads(out)
    assert (status, list(page), page["text"], page["lines"], page["digits"]) == (0, PAGE, "", [], [])
    assert err == ""


def test_why_nothing_was_read_is_said(desk, command):
    write(desk / "scrawl.png", png(mark_photo("scribble", Scene(height=60, pen="felt"), 0).pixels))
    status, out, err = command("read", "scrawl.png")
    assert (status, out) == (0, "")
    assert re.fullmatch(r"scrawl\.png: no digit was found among (\d+ marks|the one mark) \(not a digit.*\)\n", err)


def test_what_is_refused_stands_in_json_with_its_reason(desk, command):
    write(desk / "scrawl.png", png(mark_photo("scribble", Scene(height=60, pen="felt"), 0).pixels))
    refused = json.loads(command("read", "scrawl.png", "--json")[1])["refused"]
    assert refused and all(list(refusal) == ["box", "reason"] for refusal in refused)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "Name photos to read: files, folders or patterns."),
        (("nowhere.jpg",), "'nowhere.jpg' does not exist."),
        (("empty",), "empty holds no picture."),
        (("photos/*.gif",), "No file matches photos/*.gif."),
        (("photos", "--jobs", "-1"), "--jobs must be 0 or more, received -1."),
        (("photos", "--jobs", "two"), "unable to convert"),
        (("photos", "--run", "nowhere"), "nowhere is not a run"),
        (("photos", "--score", "nowhere.csv"), "nowhere.csv cannot be read"),
        (("photos", "--annotate", "one.png"), "names one picture, and there are 3 photos. Name a folder."),
        (
            ("photos", "--stages", "blank.txt"),
            "--stages blank.txt is no folder to write in (File exists). Name another.",
        ),
    ],
)
def test_a_mistake_gets_a_line_that_helps(desk, command, words, expected):
    (desk / "empty").mkdir()
    write(desk / "blank.txt", b"mine")
    status, out, err = command("read", *words)
    assert status != 0 and out == ""
    assert expected in err and len(err.splitlines()) <= 2


def test_a_run_that_reads_no_digits_is_refused_with_the_remedy(desk, command):
    make_run(desk / "bars", bars_dataset())
    status, out, err = command("read", "photos", "--run", "bars")
    assert (status, out) == (1, "")
    assert err.startswith("guarismo: bars answers 3 classes of 8×8×1")
    assert err.endswith("guarismo train mnist --recipe reader\n")


def test_pictures_are_written_where_asked(desk, command):
    assert command("read", "photos/68.png", "--annotate", "seen.jpg", "--stages", "steps")[:2] == (0, "68\n")
    for path in ("seen.jpg", "steps/68-stages.png"):
        with Image.open(path) as image:
            assert min(image.size) > 100


def test_what_was_read_is_printed_though_its_picture_cannot_be_written(desk, command):
    """And the remedy names an option that `read` has."""
    (desk / "seen" / "68-read.jpg").mkdir(parents=True)
    status, out, err = command("read", "photos/68.png", "--annotate", "seen")
    assert (status, out) == (1, "68\n")
    assert err.startswith("guarismo: Cannot write seen/68-read.jpg") and "--out" not in err


def test_a_folder_for_pictures_that_cannot_be_is_refused_before_anything_is_read(desk, command):
    write(desk / "notes.txt", b"mine")
    status, out, err = command("read", "photos/68.png", "--annotate", "notes.txt/in")
    assert (status, out) == (1, "")
    assert err == "guarismo: --annotate notes.txt/in is no folder to write in (Not a directory). Name another.\n"


def test_a_picture_of_a_kind_that_is_not_drawn_is_refused(desk, command):
    """It shall not become a folder of that name."""
    status, _, err = command("read", "photos/68.png", "--annotate", "seen.webp")
    assert status == 1 and ".png" in err
    assert not Path("seen.webp").exists()


# read --score


ROWS = ("3052.png,3052,line,photo", "68.png,68,line,drawn", "714.png,715,line,photo")


def test_score_without_photos_reads_all_that_are_labelled(desk, command):
    labels(desk / "photos" / "labels.csv", *ROWS)
    status, out, err = command("read", "--score", "photos/labels.csv")
    lines = [re.split(r"\s{2,}|\t", line.strip()) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert lines[:4] == [
        ["photos/3052.png", "3052"],
        ["photos/68.png", "68"],
        ["photos/714.png", "714"],
        ["photos", "files", "exact", "95 % interval", "digits", "digit accuracy"],
    ]
    assert ["line photo", "2", "50.00 %", "9.45 – 90.55 %", "7", "85.71 %"] in lines
    assert lines[-2] == ["all", "3", "66.67 %", "20.77 – 93.85 %", "9", "88.89 %"]
    assert out.splitlines()[-1] == "714.png: 715, read as 714"


def test_score_as_json_comes_last(desk, command):
    labels(desk / "photos" / "labels.csv", *ROWS)
    status, out, _ = command("read", "--score", "photos/labels.csv", "--json")
    *pages, last = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [list(page) for page in pages] == [PAGE] * 3
    assert list(last) == ["score"] and list(last["score"]) == ["rows", "wrong"]
    assert (last["score"]["rows"][-1]["right"], last["score"]["rows"][-1]["files"]) == (2, 3)
    assert last["score"]["wrong"] == [{"file": "714.png", "truth": "715", "read": "714"}]


def test_only_the_photos_named_are_scored(desk, command):
    labels(desk / "photos" / "labels.csv", *ROWS)
    status, out, _ = command("read", desk / "photos" / "68.png", "--score", "photos/labels.csv", "--json")
    assert status == 0
    assert json.loads(out.splitlines()[-1])["score"]["rows"][-1]["files"] == 1


def test_labels_that_do_not_fit_are_refused(desk, command):
    labels(desk / "photos" / "labels.csv", *ROWS)
    labels(desk / "photos" / "absent.csv", "gone.png,7,line,photo")
    assert command("read", "--score", "photos/absent.csv")[:2] == (1, "")
    assert "1 of 1 labels name absent files: gone.png." in command("read", "--score", "photos/absent.csv")[2]
    status, _, err = command("read", "blank.png", "--score", "photos/labels.csv")
    assert status == 1 and "None of the photos that were read is named in the labels." in err


# sheet


@pytest.mark.parametrize("paper", ["a4", "letter"])
def test_sheet_writes_a_page_to_print(desk, command, paper):
    status, out, err = command("sheet", "--paper", paper, "--samples", 2, "--out", "new/my sheet.pdf")
    assert (status, err) == (0, "") and out.startswith("new/my sheet.pdf: print it")
    assert Path("new/my sheet.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--samples", 9), "Expected 1 to 5 boxes for each digit, got 9."),
        (("--samples", 0), "Expected 1 to 5 boxes for each digit, got 0."),
        (("--paper", "lettr"), "Unknown paper 'lettr'. Choose from a4, letter. Did you mean 'letter'?"),
        (("--out", "photos"), "The sheet is a PDF. Name a file that ends in .pdf, not 'photos'."),
        (("--out", "sheet.png"), "The sheet is a PDF. Name a file that ends in .pdf, not 'sheet.png'."),
        (("--out", "photos/in.pdf"), "Cannot write photos/in.pdf: Is a directory."),
    ],
)
def test_a_sheet_that_cannot_be_is_refused_and_nothing_is_written(desk, command, words, expected):
    (desk / "photos" / "in.pdf").mkdir()
    status, out, err = command("sheet", *words)
    assert (status, out) == (1, "") and expected in err
    assert not list(desk.glob("sheet.*")) and not list((desk / "photos" / "in.pdf").iterdir())


# adapt


@pytest.fixture(scope="module")
def hand(tmp_path_factory) -> Path:
    """Class folders with one photo each of 3, 4 and 7, and one with two digits that cannot be a sample."""
    place = tmp_path_factory.mktemp("hand")
    for digit in (3, 4, 7):
        (place / str(digit)).mkdir()
        write(place / str(digit) / "one.png", png(photograph(str(digit), Scene(height=80, pen="felt"), digit).pixels))
    write(place / "7" / "two.png", png(photograph("77", Scene(height=60, pen="felt"), 0).pixels))
    return place


@pytest.fixture(scope="module")
def adapted(hand, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The folder of a run adapted to that hand, and what the command said: in a process of its own."""
    place = tmp_path_factory.mktemp("adapted")
    env = {key: value for key, value in os.environ.items() if key != "GUARISMO_DATA"}
    env["GUARISMO_CACHE"] = str(place / "cache")
    words = [sys.executable, "-m", "guarismo", "adapt", str(hand), "--json"]
    return place, subprocess.run(words, env=env, cwd=place, capture_output=True, text=True, check=False)


def test_adapt_makes_a_run_and_tells_as_json_what_it_brought(adapted):
    place, ran = adapted
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert list(told) == ["run", "samples", "leave_one_out", "mnist", "marks", "step"]
    assert told["samples"] == {"3": 1, "4": 1, "7": 1}
    assert list(told["leave_one_out"]) == ["before", "after", "n"] and told["leave_one_out"]["n"] == 3
    assert open_run(place / told["run"]).finished
    assert Path(told["run"]).parent == Path("runs")


def test_adapt_names_what_it_could_not_use(adapted, hand):
    _, ran = adapted
    assert ran.stderr == (f"{hand / '7' / 'two.png'}: expected 1 (7), found 2: one photo for each digit is safest\n")


def test_adapt_names_what_it_could_not_use_before_it_learns(desk, command, hand):
    status, out, err = command("adapt", hand / "7", "--out", "photos")
    assert (status, out) == (1, "")
    first, last = err.splitlines()
    assert first.startswith(f"{hand / '7' / 'two.png'}: expected 1 (7), found 2") and "photos is not empty" in last


def test_an_adapted_run_reads(adapted, desk, command):
    place, ran = adapted
    run = place / json.loads(ran.stdout)["run"]
    assert command("read", "photos/3052.png", "--run", run)[:2] == (0, "3052\n")


def test_adapt_without_photos_explains(desk, command):
    status, out, err = command("adapt")
    assert (status, out) == (1, "")
    assert err == "guarismo: Name photos to learn from. `guarismo sheet` makes a page to write samples on.\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("nowhere",), "'nowhere' does not exist."),
        (("photos/68.png",), "neither its folder nor its name tells which digit it shows"),
        (("--labels", "nowhere.csv"), "nowhere.csv cannot be read"),
        (("photos", "--base", "bars"), "bars answers 3 classes of 8×8×1"),
        (("{hand}/3", "--out", "photos"), "photos is not empty"),
    ],
)
def test_adapt_refuses_with_a_line_that_helps_and_makes_no_run(desk, command, hand, words, expected):
    make_run(desk / "bars", bars_dataset())
    status, out, err = command("adapt", *(word.format(hand=hand) for word in words))
    assert (status, out) == (1, "")
    assert expected in err and len(err.splitlines()) == 1
    assert not (desk / "runs").exists()


# What is imported


@pytest.mark.parametrize("line", ["--help", "data list", "read --help", "adapt --help", "sheet --help"])
def test_what_reads_nothing_imports_neither_opencv_nor_onnxruntime(line):
    program = (
        "import sys; from guarismo.cli import main; main(sys.argv[1:])\n"
        "found = {'cv2', 'onnxruntime', 'PIL', 'scipy'} & set(sys.modules); assert not found, found"
    )
    ran = subprocess.run([sys.executable, "-c", program, *line.split()], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_a_sheet_needs_no_network(desk):
    program = (
        "import sys; from guarismo.cli import main; main(['sheet'])\n"
        "found = {'onnxruntime', 'scipy', 'sklearn'} & set(sys.modules); assert not found, found"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_a_program_sees_the_same_bytes_as_a_test(desk):
    """Through a pipe of a process of its own: stdout holds the tab, and nothing but what was read."""
    words = [sys.executable, "-m", "guarismo", "read", "photos/68.png", "blank.png"]
    ran = subprocess.run(words, capture_output=True, check=False)
    assert ran.returncode == 0
    assert ran.stdout == b"photos/68.png\t68\nblank.png\t\n"
    assert ran.stderr == b"blank.png: no ink was found\n"
