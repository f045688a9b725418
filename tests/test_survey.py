"""Survey: the page of an exploration says what is in the data, shows it, and names what to mend."""

import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import numpy as np
import pytest

from guarismo.data.dataset import UNKNOWN, Dataset, Split
from guarismo.data.exploration import explore
from guarismo.data.sources import load
from guarismo.errors import RunError
from guarismo.language import Language
from guarismo.results.survey import MEASURES, MOST_CLASSES, find_in_data, survey, write_survey
from tiny_run import bars, bars_dataset

VOID = {"meta", "img", "br", "link", "input", "path", "line"}


class Page(HTMLParser):
    """What a page holds: its text, its tiles' and pictures' words, and whether every tag is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attributes)
        self.words += [values["aria-label"]] if "tile" in (values.get("class") or "").split() else []
        self.links += [values[name] for name in ("href", "src") if name in values]
        self.ids |= {values["id"]} if "id" in values else set()

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def page_of(dataset: Dataset) -> Page:
    return Page(survey(explore(dataset), dataset))


def names_of(dataset: Dataset) -> list[str]:
    return [found.name for found in find_in_data(explore(dataset))]


def changed(split: Split, places, images=None, labels=None) -> Split:
    """The split with other images or labels at these places."""
    pixels, numbers = split.images.copy(), split.labels.copy()
    if images is not None:
        pixels[places] = images
    if labels is not None:
        numbers[places] = labels
    return replace(split, images=pixels, labels=numbers)


# Findings


def test_healthy_data_has_no_findings(digits):
    assert names_of(digits) == []
    assert names_of(bars_dataset()) == []
    assert "Nothing was found that would stand in the way" in page_of(digits).text


def test_images_under_two_labels_are_found(digits):
    twice = changed(digits.test, [5], digits.train.images[0], 9)
    (found, leak) = find_in_data(explore(replace(digits, test=twice)))
    assert (found.name, found.number, leak.name) == ("contradictions", 2, "leak-copies")
    assert found.sentence() == "2 images occur with different labels: the same pixels, another class."


def test_copies_between_two_parts_are_found_and_shown(digits):
    test = changed(digits.test, np.arange(30), digits.train.images[1000:1030], digits.train.labels[1000:1030])
    test = changed(test, np.arange(30, 40), (digits.train.images[1100:1110] * 0.7).astype(np.uint8))
    dataset = replace(digits, test=test)
    exact, near = find_in_data(explore(dataset))
    assert exact.sentence() == "30 of 1,000 test images are exact copies of training images."
    assert near.sentence() == "10 of 970 test images are nearly the same as a training image."
    assert set(near.images.tolist()) == set(range(30, 40))
    page = page_of(dataset)
    assert "Exact copies" in page.headings and "Nearly the same, in two parts" in page.headings
    assert "2 · training image 1000" in page.words and any(word.endswith("test image 30") for word in page.words)


def test_shared_writers_are_found(digits):
    def written_by(split: Split, first: int) -> Split:
        return replace(split, groups=first + np.arange(len(split)) // 10)

    apart = {"train": written_by(digits.train, 0), "validation": written_by(digits.validation, 1000)}
    shared = replace(digits, **apart, test=written_by(digits.test, 340), grouped_by="writer")
    (found,) = find_in_data(explore(shared))
    assert found.sentence() == "10 of the 100 writers of the test images also wrote training images."
    assert found.number == 0.1
    assert "350 writers have 10 to 10 images each, half of them 10 or more." in page_of(shared).text
    assert find_in_data(explore(replace(shared, test=written_by(digits.test, 2000)))) == []
    (found,) = find_in_data(explore(replace(shared, grouped_by="group")))
    assert "groups" in found.sentence()


def test_a_class_that_is_missing_rare_or_untested_is_found(digits):
    train = digits.train.take(np.flatnonzero((digits.train.labels != 4) & rare(digits.train, 7, 15)))
    test = digits.test.take(np.flatnonzero(digits.test.labels != 2))
    dataset = replace(digits, train=train, test=test)
    missing, untested, unbalanced, few = find_in_data(explore(dataset))
    assert (missing.sentence(), missing.classes) == ("Classes without training images: 4.", (4,))
    assert (untested.sentence(), untested.classes) == ("Classes without test images: 2.", (2,))
    assert unbalanced.number == pytest.approx(350 / 15)
    assert unbalanced.sentence() == (
        "The classes are unbalanced: “0” has 350 training images, “7” 15: 23.3 times as many."
    )
    assert few.sentence() == "Classes with fewer than 20 training images: 7."
    assert "4" in page_of(dataset).text


def rare(split: Split, label: int, number: int) -> np.ndarray:
    """All images but those of a class beyond its first few."""
    kept = np.ones(len(split), dtype=bool)
    kept[np.flatnonzero(split.labels == label)[number:]] = False
    return kept


def test_of_many_classes_a_few_are_named(digits):
    names = tuple(f"class {number}" for number in range(1000))
    found = find_in_data(explore(replace(digits, class_names=names)))
    missing = next(each for each in found if each.name == "missing-classes")
    assert missing.sentence() == (
        "Classes without training images: class 10, class 11, class 12, class 13 … class 999."
    )


def test_blank_unlabelled_and_repeated_images_are_found(digits):
    train = changed(digits.train, [3, 4], 0)
    train = changed(train, [10], digits.train.images[11])
    dataset = replace(digits, train=train, test=changed(digits.test, [0, 1, 2], labels=UNKNOWN))
    blank, unlabelled, repeats = find_in_data(explore(dataset))
    assert (blank.number, blank.split, blank.images.tolist()) == (2, "train", [3, 4])
    assert unlabelled.sentence() == "3 images have no label."
    assert repeats.number == 2  # the second blank one, and the planted one


# The page


def test_the_page_shows_every_part(digits):
    page = page_of(digits)
    assert page.headings == [
        "What is in digits",
        "The classes",
        "Pixels",
        "How a class varies",
        *(words.name for words in MEASURES.values()),
        "Copies and leaks",
        "A map of the images",
    ]
    assert "5,000 grey images of 28 × 28 pixels, in 10 classes." in page.text
    assert {"#classes", "#variation", "#copies", "#map"} == set(page.links)
    assert {"classes", "variation", "copies", "map"} <= page.ids
    assert len(page.words) > 10 * 5 * 16


def test_the_page_needs_nothing_from_outside(digits):
    text = survey(explore(digits), digits)
    assert not re.findall(r"https?://|@import|<link", text)
    assert set(re.findall(r"url\((\w+):", text)) == {"data"}


def test_what_it_says_of_a_measure_is_measured(digits):
    found, text = explore(digits), page_of(digits).text
    medians = [each.median for each in found.variation["slant"]]
    high, low = int(np.argmax(medians)), int(np.argmin(medians))
    assert f"“{high}” leans furthest to the right, with a median of {max(medians):.0f}°; “{low}” least" in text
    share = found.variation["holes"][8].holed
    assert f"“8” has a hole in {100 * share:.0f} % of its images" in text


def test_the_furthest_of_a_measure_is_that_of_all_classes():
    """A square on black in every image; the largest in a class beyond those that are shown."""
    dataset = bars_dataset(classes=MOST_CLASSES + 5, side=64)
    images = dataset.train.images // 16
    images[:, 20:30, 20:30] = 255
    images[dataset.train.labels == MOST_CLASSES + 2, 20:40, 20:40] = 255
    squares = replace(dataset, train=replace(dataset.train, images=images))
    assert f"“row {MOST_CLASSES + 2}” takes the most ink" in page_of(squares).text


def test_names_of_files_are_told(digits):
    names = np.array([f"scans/{number:04}.png" for number in range(len(digits.train))])
    page = page_of(replace(digits, train=replace(digits.train, names=names)))
    assert any(re.fullmatch(r"7 · scans/\d{4}\.png", words) for words in page.words)


NAMES = ("<script>alert(1)</script>", "مرحبا", "x" * 200, "a & b 'c' \"d\"", "{n}", "100 %", "six", "7", "8", "9")


def test_odd_names_of_classes_stay_text(digits):
    named = replace(digits, class_names=NAMES)
    text = survey(explore(named), named)
    page = Page(text)
    assert "<script>alert" not in text and page.tags & {"script"} == {"script"}
    for name in (NAMES[0], NAMES[2], NAMES[3], NAMES[4], NAMES[5], "\u2068مرحبا\u2069"):
        assert name in page.text


def test_of_a_thousand_classes_the_first_are_shown_with_images():
    train = bars(4000)
    dataset = Dataset(
        "many",
        replace(train, labels=np.arange(4000) % 1000),
        bars(0),
        bars(0),
        tuple(f"class {number}" for number in range(1000)),
    )
    text = survey(explore(dataset), dataset)
    page = Page(text)
    assert "class 999" in page.text and f"The first {MOST_CLASSES} classes are shown with images." in page.text
    assert any(words.startswith("class 19 ·") for words in page.words)
    assert len(text) < 3_000_000


@pytest.mark.parametrize("channels", (1, 3))
def test_pages_of_noise_stay_small(channels):
    """Noise cannot be compressed; round it, an even border so that there is ink everywhere."""
    images = np.random.default_rng(0).integers(60, 256, (600, 80, 80, channels), dtype=np.uint8)
    images[:, [0, -1]] = images[:, :, [0, -1]] = 0
    split = Split(images, np.arange(600) % 20)
    dataset = Dataset("noise", split, split.take(np.arange(0)), split.take(np.arange(0)), tuple(map(str, range(20))))
    found = explore(dataset)
    assert found.shaped == 1
    assert len(survey(found, dataset)) < 3_000_000


def test_images_without_classes_have_a_page(digits):
    unlabelled = replace(digits.test, labels=np.full(1000, UNKNOWN))
    nothing = unlabelled.take(np.arange(0))
    page = page_of(Dataset("photos", nothing, nothing, unlabelled, ()))
    assert "The images" in page.headings and "How the images vary" in page.headings
    assert "1,000 grey images of 28 × 28 pixels, without classes." in page.text
    assert "All images" in page.text and "test image" in page.words[0]


def test_one_image_blank_ones_and_none_have_a_page(digits):
    nothing = digits.train.take(np.arange(0))
    one = digits.train.take(np.arange(1))
    assert "A map of the images" not in page_of(replace(digits, train=one, validation=nothing, test=nothing)).headings
    black = replace(digits.train.take(np.arange(9)), images=np.zeros((9, 28, 28, 1), dtype=np.uint8))
    assert "How a class varies" not in page_of(replace(digits, train=black)).headings
    assert "0 grey images" in page_of(Dataset("nothing", nothing, nothing, nothing, ())).text


def test_photographs_are_shown_without_shapes():
    noise = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    split = Split(noise, np.arange(60) % 2)
    page = page_of(Dataset("noise", split, split.take(np.arange(0)), split.take(np.arange(0)), ("a", "b")))
    assert "How a class varies" not in page.headings and "A map of the images" in page.headings


def test_views_side_by_side_are_shown_wide(digits):
    def side_by_side(split: Split) -> Split:
        return replace(split, images=np.concatenate([split.images] * 4, axis=2))

    views = {name: side_by_side(split) for name, split in digits.splits.items()}
    dataset = replace(digits, **views, origin={"views": True})
    text = survey(explore(dataset), dataset)
    assert "--stretch: 4.00" in text and "How a class varies" not in Page(text).headings
    assert sum(words.startswith("3 · training") for words in Page(text).words) >= 2


def test_every_sentence_goes_through_the_language(digits):
    """A language that puts brackets around all it says: outside of them are only names, numbers and the date."""

    class Bracketed(Language):
        def __call__(self, text, **values):
            return f"⟦{super().__call__(text, **values)}⟧"

    leaky = replace(digits, test=changed(digits.test, np.arange(9), digits.train.images[:9], 1))
    rest = Page(survey(explore(leaky), leaky, Bracketed())).text
    while "⟦" in rest:
        rest = re.sub("⟦[^⟦⟧]*⟧", "", rest)
    assert set(re.findall("[^\\W\\d_]{2,}", rest)) <= {"Guarismo", f"{date.today():%B}"}


def test_the_page_is_written_and_a_place_that_cannot_be_is_refused(tmp_path, command):
    place = tmp_path / "pages" / "digits.html"
    status, out, _ = command("explore", "digits", "--out", place)
    assert status == 0 and f"Page: {place}" in out
    assert "What is in digits" in Page(place.read_text()).headings
    (tmp_path / "file").write_text("")
    dataset = bars_dataset()
    with pytest.raises(RunError, match="Cannot write"):
        write_survey(explore(dataset), dataset, tmp_path / "file" / "page.html")


@pytest.mark.parametrize("option, name, said", [("--out", "page.pdf", ".html"), ("--picture", "samples.gif", ".png")])
def test_a_file_of_another_kind_is_refused_before_anything_is_read(option, name, said, tmp_path, command):
    status, _, err = command("explore", tmp_path / "missing", option, tmp_path / name)
    assert status == 1 and said in err and name in err


def test_a_language_that_is_none_is_refused_before_anything_is_read(tmp_path, command):
    status, _, err = command("explore", tmp_path / "missing", "--lang", "xx")
    assert status == 1 and "language" in err
