"""The report as PDF, Markdown and notebook: the same words and figures as the page."""

import json
import re
from dataclasses import replace
from urllib.parse import unquote

import pypdfium2
import pytest
from PIL import Image

from guarismo.data.sources import load
from guarismo.language import ENGLISH, Language
from guarismo.models.runs import commit
from guarismo.results.account import account
from guarismo.results.evaluation import evaluate_run
from guarismo.results.html import isolated
from guarismo.results.notebook import loading, write_notebook
from guarismo.results.paper import grid, plain, with_breaks, writable, write_markdown, write_pdf
from guarismo.results.report import FORMATS, page, write_report
from tiny_run import bars_dataset, make_run

HOSTILE = ("<b>bold</b> | `x` $y$ #let z", "שבע", "سبعة", "お o", "n" * 200, "Pantalón", "Calça_*", 'a"]\\n#panic()')


def evaluated(folder, dataset, **options):
    return evaluate_run(make_run(folder, dataset, **options), dataset)[0]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    dataset = bars_dataset()
    return account([evaluated(tmp_path_factory.mktemp("runs") / "vague", dataset, sharpness=1.0)], dataset)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    dataset = bars_dataset(classes=len(HOSTILE), side=20, names=HOSTILE, notes=("a note with | and <i>tags</i>",))
    runs = [evaluated(tmp_path_factory.mktemp("runs") / name, dataset, sharpness=-9.0) for name in ("#x", "a b")]
    return account(runs, dataset)


def text_of(path):
    pdf = pypdfium2.PdfDocument(path)
    text = "\n".join(page.get_textpage().get_text_range() for page in pdf)
    pdf.close()
    return re.sub(r"\s+", " ", text.replace("\u200b", ""))


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_suffix_chooses_the_format(told, suffix, tmp_path):
    runs = [chapter.run for chapter in told.chapters]
    out = write_report(runs, told.dataset, tmp_path / f"new folder/report.{suffix}")
    start = {"html": b"<!doctype html>", "pdf": b"%PDF-1.", "md": b"# cnn on bars", "ipynb": b'{\n "cells"'}
    assert out.read_bytes().startswith(start[suffix])


def test_a_given_format_goes_before_the_suffix(told, tmp_path):
    runs = [chapter.run for chapter in told.chapters]
    out = write_report(runs, told.dataset, tmp_path / "report.txt", format="md")
    assert out.read_text(encoding="utf-8").startswith("# cnn on bars")


def test_the_command_writes_any_format_in_any_language(tmp_path, command):
    run = evaluated(tmp_path / "run", load("digits")).folder
    status, out, _ = command("report", run, "--lang", "es", "--out", tmp_path / "informe.md")
    assert status == 0 and out == f"Report: {tmp_path / 'informe.md'}\n"
    assert re.search(r"\d,\d\d\s%", (tmp_path / "informe.md").read_text(encoding="utf-8"))
    for words, said in (
        (("--out", tmp_path / "a.doc"), "html, pdf, md, ipynb"),
        (("--format", "doc"), "html, pdf, md, ipynb"),
        (("--lang", "de"), "en, es, pt"),
    ):
        status, _, err = command("report", run, *words)
        assert status == 1 and said in err


def test_several_seeds_are_told_as_mean_and_spread(tmp_path):
    dataset = bars_dataset()
    runs = []
    for seed, sharpness in ((1, 2.0), (2, 3.0)):
        run = make_run(tmp_path / f"seed {seed}", dataset, sharpness)
        run = commit(run, {}, settings={**run.about["settings"], "seed": seed})
        runs.append(evaluate_run(run, dataset)[0])
    other = evaluated(tmp_path / "other", dataset, sharpness=30.0, model="mlp")
    told = account([*runs, other], dataset)
    group = next(group for group in told.comparison.groups if len(group.runs) == 2)
    said = f"{ENGLISH.percent(group.accuracy)} ± {ENGLISH.decimal(100 * group.spread, 2)}"
    write_markdown(told, tmp_path / "report.md")
    assert said in page(told)
    assert said in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_pdf_and_markdown_say_what_the_page_says(told, tmp_path):
    write_pdf(told, tmp_path / "report.pdf")
    write_markdown(told, tmp_path / "report.md")
    (chapter,) = told.chapters
    figures = [ENGLISH.percent(chapter.evaluation.accuracy), *map(ENGLISH.percent, chapter.evaluation.recall)]
    sentences = [*told.summary, *chapter.sentences, *chapter.worst.sentences]
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    pdf = text_of(tmp_path / "report.pdf")
    for said in [*figures, *sentences]:
        assert plain(said) in markdown
        assert re.sub(r"[\s\u202f]+", "", said) in re.sub(r"[\s\u202f]+", "", pdf)


def test_the_pdf_can_be_read_aloud(told, tmp_path):
    write_pdf(replace(told, language=Language("pt")), tmp_path / "report.pdf")
    content = (tmp_path / "report.pdf").read_bytes()
    assert b"/MarkInfo" in content and b"/StructTreeRoot" in content
    assert re.search(rb"/Lang\s*\(pt\)", content)
    pdf = pypdfium2.PdfDocument(tmp_path / "report.pdf")
    assert next(pdf.get_toc()).get_title() == "vague"
    pdf.close()


def test_names_are_written_and_never_run(hostile, tmp_path):
    write_pdf(hostile, tmp_path / "report.pdf")
    text = text_of(tmp_path / "report.pdf").replace(" ", "")
    for name in ("<b>bold</b>", "#letz", "Pantalón", "Calça_*", "#panic()", "n" * 30):
        assert name in text
    write_markdown(hostile, tmp_path / "report.md")
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<b>" not in markdown.replace("\\<b\\>", "") and "<i>" not in markdown.replace("\\<i\\>", "")


def test_tables_of_markdown_stay_tables_whatever_the_names(hostile, tmp_path):
    write_markdown(hostile, tmp_path / "report.md")
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\|\n)+", markdown, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_markdown_finds_its_pictures(hostile, tmp_path):
    write_markdown(hostile, tmp_path / "my report.md")
    markdown = (tmp_path / "my report.md").read_text(encoding="utf-8")
    named = re.findall(r"!\[(?:[^\]\\]|\\.)+\]\(([^)]+)\)", markdown)
    written = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "my report_files").iterdir()}
    assert set(map(unquote, named)) == written
    assert all(Image.open(tmp_path / path).size[0] >= 60 for path in written)


def test_a_letter_without_a_font_is_written_as_its_number():
    private = "\U0010fffd"
    text, missing = writable(f"ñ ç ש س → {private}")
    assert (text, missing) == ("ñ ç ש س → [U+10FFFD]", private)


def test_marks_around_a_name_from_right_to_left_are_no_missing_letters():
    assert writable(isolated("שלום")) == ("\u2068שלום\u2069", "")


def test_long_words_may_be_broken_and_others_not():
    plain_words = {"caption": ["entrenamiento", "a" * 24]}
    assert with_breaks(plain_words) == plain_words
    (broken,) = with_breaks(["b" * 200])
    assert broken.replace("\u200b", "") == "b" * 200 and max(map(len, broken.split("\u200b"))) == 12


def test_two_hundred_letters_leave_the_matrix_on_its_page(tmp_path):
    dataset = bars_dataset(names=("a" * 200, "b", "c"))
    write_pdf(account([evaluated(tmp_path / "run", dataset, sharpness=1.0)], dataset), tmp_path / "report.pdf")
    assert "a" * 23 + "…" in text_of(tmp_path / "report.pdf")


def test_a_pdf_tells_of_letters_that_it_could_not_write(tmp_path):
    dataset = bars_dataset(names=("one", "two", "\U0010fffd"))
    write_pdf(account([evaluated(tmp_path / "run", dataset)], dataset), tmp_path / "report.pdf")
    text = text_of(tmp_path / "report.pdf")
    assert "[U+10FFFD]" in text
    assert "no font of the computer that wrote this has them" in text


def test_markdown_shows_a_text_as_it_stands():
    assert plain("a*b_c | <i> `x`\n[y]") == "a\\*b\\_c \\| \\<i\\> \\`x\\` \\[y\\]"
    assert grid(("a", "b"), [("x|y", "1")]).splitlines() == ["| a | b |", "| :-- | --: |", "| x\\|y | 1 |"]


def test_a_notebook_is_valid_and_runs_from_front_to_back(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    dataset = load("digits")
    runs = [evaluated(tmp_path / name, dataset, sharpness=value) for name, value in (("one", 9.0), ("two", -9.0))]
    write_notebook(account(runs, dataset), tmp_path / "out" / "report.ipynb")
    notebook = nbformat.read(tmp_path / "out" / "report.ipynb", as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path / "out")}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = json.dumps(outputs)
    evaluation = evaluate_run(runs[0], dataset)[1]
    assert f"{evaluation.accuracy:.2%}" in shown
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 10
    assert not [output for output in outputs if output["output_type"] == "error"]


def test_a_notebook_names_its_data_as_they_were_loaded():
    assert loading({"source": "digits"}) == "guarismo.load('digits')"
    assert loading({"source": "/a b", "seed": 3, "split": None}).startswith("guarismo.load('/a b'")
    assert "seed=3" in loading({"source": "/a b", "seed": 3})
