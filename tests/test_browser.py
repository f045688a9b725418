"""The page in a real browser: what opens, sorts, answers to the pointer and the keyboard, and stays inside the page."""

import re

import numpy as np
import pytest

from guarismo.data.known import SOURCES
from guarismo.language import LANGUAGES, language
from guarismo.results.account import account
from guarismo.results.evaluation import evaluate_run
from guarismo.results.report import page as report_page
from tiny_run import bars_dataset, make_run

FASHION = SOURCES["fashion_mnist"].class_names["en"]
HOSTILE = ("<b>bold</b>", "سبعة وثلاثون", "n" * 200, "お o")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Writes a page of runs on bars, once for each kind, and gives its place and the account that it tells."""
    folder, pages = tmp_path_factory.mktemp("pages"), {}

    def write(code="en", names=FASHION, runs=1):
        key = (code, names, runs)
        if key not in pages:
            dataset = bars_dataset(classes=len(names), side=2 * len(names) + 2, names=names)
            made = [folder / f"{len(pages)}" / f"run-{k}" for k in range(runs)]
            opened = [evaluate_run(make_run(place, dataset, 9.0 - 20 * k), dataset)[0] for k, place in enumerate(made)]
            told = account(opened, dataset, language(code))
            place = folder / f"{len(pages)}.html"
            place.write_text(report_page(told), encoding="utf-8")
            pages[key] = (place, told)
        return pages[key]

    return write


@pytest.fixture
def visit(browser):
    """Opens a page in a window of its own. At the end nothing may have been fetched, and no error been reported."""
    contexts, fetched, errors = [], [], []

    def open_page(place, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        view = context.new_page()
        view.on("request", lambda request: fetched.append(request.url))
        view.on("console", lambda message: errors.append(message.text))
        view.on("pageerror", lambda error: errors.append(str(error)))
        view.goto(place.as_uri())
        return view

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in fetched if not re.match("file:|data:", url)]
    assert not errors


def spill(view):
    """By how many pixels the page is wider than the window."""
    return view.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def brightness(view, tile):
    """The greatest difference between two pixels that are drawn at a place: 0 where there is no image."""
    import io

    from PIL import Image

    tile.scroll_into_view_if_needed()
    pixels = np.asarray(Image.open(io.BytesIO(tile.screenshot())).convert("L"), dtype=int)
    return pixels.max() - pixels.min()


def test_a_cell_opens_its_images_and_escape_closes_them(visit, written):
    place, told = written()
    view = visit(place)
    cell = told.chapters[0].confusions[0]
    opened = view.locator(f"#run-1-{cell.label}-{cell.answer}")
    assert not opened.is_visible()
    view.locator(f"td button[popovertarget='run-1-{cell.label}-{cell.answer}']").click()
    assert opened.is_visible()
    assert opened.locator(".tile").count() == len(cell.shots)
    first = opened.locator(".tile").first
    assert first.get_attribute("aria-label") == cell.shots[0].words
    assert brightness(view, first) > 100
    view.keyboard.press("Escape")
    assert not opened.is_visible()


def test_a_cell_opens_by_the_keyboard_and_a_click_beside_it_closes_it(visit, written):
    view = visit(written()[0])
    button = view.locator("td button").first
    button.focus()
    view.keyboard.press("Enter")
    opened = view.locator(f"#{button.get_attribute('popovertarget')}")
    assert opened.is_visible()
    view.mouse.click(5, 5)
    assert not opened.is_visible()


def test_a_heading_sorts_its_table_both_ways(visit, written):
    place, told = written()
    view = visit(place)
    heading = view.locator("table.sorts th", has_text="Recall").first
    table = heading.locator("xpath=ancestor::table")

    def recalls():
        return [
            float(v)
            for v in table.locator("tbody td:nth-child(3)").evaluate_all("cells => cells.map(c => c.dataset.v)")
        ]

    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert recalls() == sorted(told.chapters[0].evaluation.recall, reverse=True)
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert recalls() == sorted(told.chapters[0].evaluation.recall)


def test_a_curve_tells_the_values_under_the_pointer_and_by_arrow_keys(visit, written):
    place, told = written()
    view = visit(place)
    curve, rows = view.locator(".stops").first, told.chapters[0].curves[0].rows
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    said = view.locator(".said").first
    view.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 50)
    assert said.text_content() == "Epoch {} · Training {} · Validation {}".format(*rows[0])
    curve.focus()
    view.keyboard.press("ArrowRight")
    assert said.text_content() == "Epoch {} · Training {} · Validation {}".format(*rows[1])
    assert curve.get_attribute("aria-valuetext") == said.text_content()
    view.keyboard.press("End")
    assert curve.get_attribute("aria-valuenow") == str(len(rows))


def test_the_mark_of_a_stop_stands_on_its_point(visit, written):
    """Where Matplotlib drew the last point of a line, there the circle stands."""
    view = visit(written()[0])
    view.locator(".stops").first.focus()
    gap = view.evaluate("""() => {
      const chart = document.querySelector(".stops"), dots = [...chart.querySelectorAll("svg:not(.pointer) use")];
      const circles = [...chart.querySelectorAll("svg.pointer circle")].map(c => c.getBoundingClientRect());
      const middle = box => [box.x + box.width / 2, box.y + box.height / 2];
      return Math.max(...circles.map(circle => Math.min(...dots.map(dot => {
        const [a, b] = [middle(circle), middle(dot.getBoundingClientRect())];
        return Math.hypot(a[0] - b[0], a[1] - b[1]);
      }))));
    }""")
    assert gap < 2


def test_the_worst_class_is_understood_in_three_clicks(visit, written):
    place, told = written()
    view = visit(place)
    worst = told.chapters[0].worst
    view.locator("#worst").click()
    part = view.locator(f"#run-1-class-{worst.place}")
    assert part.is_visible() and part.locator("h4").text_content() == worst.name
    assert worst.sentences[0] in part.text_content()
    view.wait_for_function(
        "id => document.getElementById(id).getBoundingClientRect().top < 300", arg=part.get_attribute("id")
    )
    part.locator(".choices button").first.click()
    commonest = worst.taken_for[0]
    cell = view.locator(f"#run-1-{commonest.label}-{commonest.answer}")
    assert cell.is_visible() and cell.locator(".tile").count() == len(commonest.shots)
    cell.locator(".look").first.click()
    why = view.locator("[popover]:popover-open .chances")
    assert why.locator("dt").first.text_content() == commonest.shots[0].answer


def test_a_link_to_a_closed_class_opens_it(visit, written):
    place, told = written()
    best = told.chapters[0].classes[-1]
    view = visit(place)
    view.evaluate("hash => { location.hash = hash }", f"run-1-class-{best.place}")
    view.wait_for_selector(f"#run-1-class-{best.place}[open]")


def test_an_error_opens_with_its_reasons(visit, written):
    place, told = written()
    view = visit(place)
    why = told.chapters[0].whys[0]
    view.locator(f".gallery:not(.small) button[popovertarget='run-1-error-{why.shot.index}']").click()
    opened = view.locator(f"#run-1-error-{why.shot.index}")
    labels = opened.locator(".tile").evaluate_all("tiles => tiles.map(tile => tile.ariaLabel)")
    assert labels[0] == why.shot.words
    assert [label for label in labels if label.startswith("Heat map")] == [
        f"Heat map: what spoke for {name}" for name, heat in why.heats
    ]
    assert labels[-3:] == [shot.words for shot in why.nearest]
    assert why.flip in opened.text_content()
    assert all(brightness(view, opened.locator(".tile").nth(k)) > 30 for k in range(3))


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("width", [360, 1280, 1920])
def test_nothing_is_wider_than_the_window(visit, written, code, width):
    try:
        place, _ = written(code, runs=2)
    except FileNotFoundError:
        pytest.skip(f"there is no catalogue {code}.po yet")
    view = visit(place, width)
    assert view.locator("html").get_attribute("lang") == code
    assert spill(view) <= 0
    view.locator("td.opens button").last.click()
    box = view.locator("[popover]:popover-open").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width


@pytest.mark.parametrize("width", [360, 1280])
def test_names_of_any_kind_neither_run_nor_break_the_page(visit, written, width):
    view = visit(written(names=HOSTILE)[0], width)
    assert spill(view) <= 0
    assert view.locator("main b").count() == 0
    assert view.locator("h4", has_text="<b>bold</b>").count() == 1


FAINT = """() => {
  const rgb = (colour) => { const [r, g, b, a] = colour.match(/[\\d.]+/g).map(Number); return [r, g, b, a ?? 1]; };
  const over = (top, below) => [0, 1, 2].map((k) => top[k] * top[3] + below[k] * (1 - top[3]));
  const linear = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = (colour) => { const [r, g, b] = colour.map(linear); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (node) => {
    const colour = rgb(getComputedStyle(node).backgroundColor);
    return colour[3] === 1 || !node.parentElement ? colour : [...over(colour, behind(node.parentElement)), 1];
  };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement, words = walk.currentNode.data.trim();
    if (!words || !node.checkVisibility() || node.closest("svg, script, style")) continue;
    const paper = behind(node), ink = over(rgb(getComputedStyle(node).color), paper);
    const [less, more] = [light(ink), light(paper)].sort((one, other) => one - other);
    if ((more + 0.05) / (less + 0.05) < 4.5) found.push(words);
  }
  return found;
}"""
"""The visible texts whose contrast with what is behind them is below 4.5 : 1."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_paper(visit, written, scheme):
    """WCAG 2.2 AA: every text has 4.5 times the luminance of what is behind it, or the other way round."""
    view = visit(written()[0], color_scheme=scheme)
    assert not view.evaluate(FAINT)


def test_print_shows_what_matters_and_hides_what_only_a_screen_can_do(visit, written):
    view = visit(written()[0])
    view.emulate_media(media="print")
    assert not view.locator("nav").is_visible()
    assert not view.locator(".said").first.is_visible()
    assert view.locator("table.matrix").first.is_visible()
    assert view.pdf().startswith(b"%PDF")


def test_without_scripts_the_images_still_open(visit, written):
    view = visit(written()[0], java_script_enabled=False)
    button = view.locator("td button").first
    button.click()
    assert view.locator(f"#{button.get_attribute('popovertarget')}").is_visible()
