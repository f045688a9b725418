import re
from collections import Counter
from dataclasses import replace
from gettext import NullTranslations
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from guarismo.data.dataset import Dataset, Split
from guarismo.errors import GuarismoError, RunError
from guarismo.language import ENGLISH, Language
from guarismo.results.account import account
from guarismo.results.comparison import compare
from guarismo.results.evaluation import evaluate_run
from guarismo.results.report import MOST_TILES, page, shades, write_report
from tiny_run import HISTORY, bars, bars_dataset, make_run


class Page(HTMLParser):
    """The page as a list of (tag, attributes), and its visible text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.hidden = [], [], 0
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.hidden += tag in ("style", "script")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("style", "script")

    def handle_data(self, data):
        if not self.hidden:
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"[ \n]+", " ", " ".join(self.texts))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def render(runs, dataset, _=ENGLISH):
    return page(account(runs, dataset, _))


percent = ENGLISH.percent


def evaluated(folder, dataset, **options):
    return evaluate_run(make_run(folder, dataset, **options), dataset)[0]


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    dataset = bars_dataset()
    sharpness = {"good": 30.0, "vague": 1.0, "wrong": -30.0}
    return [evaluated(folder / name, dataset, sharpness=value) for name, value in sharpness.items()], dataset


def test_the_page_stands_alone(three_runs, tmp_path):
    out = write_report(*three_runs, tmp_path / "new" / "report.html")
    written = out.read_text(encoding="utf-8")
    parsed = Page(written)
    assert not parsed.all("link") and not any("src" in script for script in parsed.all("script"))
    assert not re.search(r"https?://|@import|fetch\(|url\((?!#|data:image/webp;base64,)", written)
    assert all(image["src"].startswith("data:image/") for image in parsed.all("img"))
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_the_page_can_be_heard_as_well_as_seen(three_runs):
    parsed = Page(render(*three_runs))
    assert parsed.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("scope" in header for header in parsed.all("th"))
    assert all("alt" in image for image in parsed.all("img"))
    tiles = [attributes for attributes in parsed.all("span") if "tile" in attributes.get("class", "")]
    assert tiles and all(tile.get("aria-label") or "sample" in tile["class"] for tile in tiles)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert max(Counter(ids).values()) == 1
    assert {link["href"][1:] for link in parsed.all("a")} <= set(ids)
    assert {button["popovertarget"] for button in parsed.all("button")} <= set(ids)
    assert all(button.get("type") == "button" for button in parsed.all("button"))


def test_tags_are_closed(three_runs):
    written = render(*three_runs).split("<script>")[0]
    for tag in ("section", "table", "div", "figure", "dl", "ul", "li", "button", "details", "svg", "p"):
        assert len(re.findall(rf"<{tag}[ >]", written)) == written.count(f"</{tag}>"), tag


def test_figures_of_the_run_stand_on_the_page(three_runs):
    runs, dataset = three_runs
    run, evaluation = evaluate_run(runs[1], dataset)
    text = Page(render([run], dataset)).text
    low, high = evaluation.interval
    for figure in (evaluation.accuracy, low, high, evaluation.ece, *evaluation.precision, *evaluation.recall):
        assert percent(figure) in text
    assert f"answers {90 - evaluation.errors} of 90 images that it never saw" in text
    assert "cnn on bars" in text
    assert "The weights of epoch 3 of 8 became the model." in text
    assert run.about["data"]["fingerprint"][:16] in text
    assert "time to train 12\u202fs" in text
    assert "onnx difference 0.00000012" in text


def test_several_runs_are_compared_and_the_best_comes_first(three_runs):
    runs, dataset = three_runs
    comparison, text = compare(runs), Page(render(runs[::-1], dataset)).text
    assert comparison.sentence in text
    assert comparison.recommendation in text
    assert "3 models on bars" in text
    order = [text.rindex(f"{name} It answers") for name in ("good", "vague", "wrong")]
    assert order == sorted(order)


def test_names_are_shown_and_never_run(tmp_path):
    names = ("<script>alert(1)</script>", 'a" onload="x', "R&D $x$")
    dataset = bars_dataset(names=names, notes=("<i>note</i>",))
    runs = [evaluated(tmp_path / name, dataset, sharpness=5.0) for name in ("<b>run", "other")]
    parsed = Page(render(runs, dataset))
    assert len(parsed.all("script")) == 1 and not parsed.all("b")
    assert all(set(italic) == {"style"} for italic in parsed.all("i"))  # the bars of probabilities
    assert not any("onload" in attributes for _, attributes in parsed.tags)
    assert all(name in parsed.text for name in (*names, "<i>note</i>", "<b>run"))


def test_a_planted_over_fit_is_called_so(tmp_path):
    dataset = bars_dataset()
    text = Page(render([evaluated(tmp_path / "run", dataset)], dataset)).text
    assert "It over-fits from epoch 3: the validation loss rises from 0.5000 there to 1.0000 in epoch 8" in text


def test_a_run_that_only_improves_is_not_called_over_fitted(tmp_path):
    dataset = bars_dataset()
    rows = [f"{e},{1 / e},0.9,{1.2 / e},0.9,0.001,1" for e in range(1, 7)]
    run = evaluated(tmp_path / "run", dataset, history=HISTORY + "\n".join(rows) + "\n")
    assert "over-fits" not in Page(render([run], dataset)).text


def test_a_forest_has_no_curves_and_says_so(tmp_path):
    dataset = bars_dataset()
    parsed = Page(render([evaluated(tmp_path / "run", dataset, model="forest", history=HISTORY)], dataset))
    assert "not trained in epochs" in parsed.text
    assert len(parsed.all("svg")) == 1  # confidence only
    assert "became the model" not in parsed.text
    assert "learning rate" not in parsed.text


def test_every_error_of_a_hopeless_model_is_a_picture_with_words(three_runs):
    runs, dataset = three_runs
    parsed = Page(render([runs[2]], dataset))
    words = [tile["aria-label"] for tile in parsed.all("span") if "tile run-1" in tile.get("class", "")]
    worst = evaluate_run(runs[2], dataset)[1].mistakes
    for index, label, answer in zip(worst.indices[:24], worst.labels, worst.answers, strict=False):
        assert any(said.startswith(f"Test image {index}: row {label}, taken for row {answer}") for said in words)


def test_every_wrong_cell_of_the_matrix_opens_its_images(three_runs):
    runs, dataset = three_runs
    parsed = Page(render([runs[2]], dataset))
    confusion = evaluate_run(runs[2], dataset)[1].confusion
    wrong = {(k, j) for k in range(3) for j in range(3) if k != j and confusion[k, j]}
    targets = {button["popovertarget"] for button in parsed.all("button")}
    assert {f"run-1-{k}-{j}" for k, j in wrong} <= targets
    assert not {f"run-1-{k}-{k}" for k in range(3)} & targets


def test_a_cell_says_how_many_of_its_images_it_shows(three_runs):
    runs, dataset = three_runs
    confusion = evaluate_run(runs[2], dataset)[1].confusion
    most = max(confusion[k, j] for k in range(3) for j in range(3) if k != j)
    assert f"The first 12 of {most} images, the surest first." in Page(render([runs[2]], dataset)).text


def test_the_summary_leads_to_the_worst_class(three_runs):
    runs, dataset = three_runs
    parsed = Page(render([runs[1]], dataset))
    evaluation = evaluate_run(runs[1], dataset)[1]
    worst = int(evaluation.recall.argmin())
    (link,) = [link for link in parsed.all("a") if link.get("id") == "worst"]
    assert link["href"] == f"#run-1-class-{worst}"
    assert f"The worst class: row {worst}, {percent(evaluation.recall[worst])} found" in parsed.text


def test_a_flawless_model_has_no_gallery(tmp_path):
    clear = np.zeros((30, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(30) % 3
    clear[np.arange(30), 2 * labels + 1] = 255
    dataset = replace(bars_dataset(), test=Split(clear, labels))
    text = Page(render([evaluated(tmp_path / "run", dataset)], dataset)).text
    assert "every test image is answered right" in text
    assert "misses most" not in text


def test_many_classes_are_drawn_instead_of_tabled(tmp_path):
    dataset = bars_dataset(classes=25, side=52)
    parsed = Page(render([evaluated(tmp_path / "run", dataset)], dataset))
    assert not [table for table in parsed.all("table") if "matrix" in table.get("class", "")]
    assert len(parsed.all("svg")) == 5
    assert "Its commonest errors" in parsed.text


def test_the_worst_page_stays_below_three_megabytes(tmp_path):
    dataset = bars_dataset(classes=25, side=64, channels=3)  # colour noise: nothing for PNG to save
    runs = [evaluated(tmp_path / f"run {k}", dataset, sharpness=-30.0) for k in range(4)]
    assert len(render(runs, dataset).encode()) < 3e6


def test_many_runs_share_the_room_for_images(tmp_path):
    dataset = bars_dataset(classes=18, side=48)
    runs = [evaluated(tmp_path / f"run {k}", dataset, sharpness=-1.0) for k in range(3)]
    parsed = Page(render(runs, dataset))
    tiles = [tile for tile in parsed.all("span") if "tile run-" in tile.get("class", "")]
    assert 0 < len(tiles) < 2 * MOST_TILES
    assert len(render(runs, dataset).encode()) < 3e6


def test_a_thousand_classes_fit_on_a_page(tmp_path):
    labels = np.arange(2000) % 1000
    images = np.random.default_rng(0).integers(0, 100, (2000, 32, 32, 1), dtype=np.uint8)
    images.reshape(2000, 1024)[np.arange(2000), labels] += 155
    split = Split(images, labels)
    mislabelled = Split(images, np.where(np.arange(2000) < 5, 999, labels))
    names = tuple(f"class {k}" for k in range(1000))
    dataset = Dataset("thousand", split, split, mislabelled, names, origin={"source": "thousand"})
    written = render([evaluated(tmp_path / "run", dataset, sharpness=30.0)], dataset)
    assert len(written.encode()) < 3e6
    assert "class 999, taken for class 4" in written


def test_how_it_did_on_other_data_is_told(tmp_path):
    dataset = bars_dataset()
    other = replace(dataset, name="others", test=bars(30, seed=5), origin={"source": "others"})
    run, found = evaluate_run(evaluated(tmp_path / "run", dataset), other)
    text = Page(render([run], dataset)).text
    assert f"On others, other data than its own, it answers {percent(found.accuracy)} of 30 test images right." in text


def test_what_cannot_be_reported_says_what_to_do(three_runs, tmp_path):
    (run, *_), dataset = three_runs
    with pytest.raises(RunError, match="Cannot write"):
        write_report([run], dataset, (tmp_path / "report.html").mkdir() or tmp_path / "report.html")
    with pytest.raises(GuarismoError, match=r"report 'doc'.*html, pdf, md, ipynb"):
        write_report([run], dataset, tmp_path / "report.doc")


def test_a_page_that_cannot_be_made_leaves_the_old_one(three_runs, tmp_path):
    runs, dataset = three_runs
    out = write_report(runs, dataset, tmp_path / "report.html")
    before = out.read_bytes()
    with pytest.raises(RunError):
        write_report(runs, replace(dataset, test=bars(9)), out)
    assert out.read_bytes() == before


class Marked(NullTranslations):
    """A language in which every sentence stands between « and »."""

    def gettext(self, message):
        return f"«{message}»"


def without_translated(text):
    while (shorter := re.sub(r"«[^«»]*»", "", text)) != text:
        text = shorter
    return text


def test_every_sentence_passes_through_translation(three_runs):
    runs, dataset = three_runs
    parsed = Page(render(runs, dataset, Language("es", Marked())))
    spoken = [value for _, traits in parsed.tags for name, value in traits.items() if name in ("aria-label", "title")]
    texts = [text for text in [*parsed.texts, *spoken] if not re.fullmatch(r"\d+ de \w+ de \d+", text)]
    assert "«Recall»" in texts
    assert not re.findall(r"[a-z]+ [a-z]+ [a-z]+", without_translated("\n".join(texts)))


def test_shades_tell_share_of_class_and_share_of_errors():
    found = shades(np.array([[75, 25], [0, 0]]))
    np.testing.assert_allclose(found, [[0.75, 1], [0, 0]])
    assert shades(np.diag([3, 4])).tolist() == [[1, 0], [0, 1]]
