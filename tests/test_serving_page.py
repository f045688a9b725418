"""The page in a real browser: what is written with mouse, pen, finger and keys is read, photos, lessons, languages."""

import html
import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import requests

import guarismo
from guarismo.language import LANGUAGES
from guarismo.reading.reader import SAMPLES, UNSURE
from guarismo.results.evaluation import evaluate_run
from served import serving
from tiny_run import bars_dataset, make_run

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
PAGE = Path(guarismo.__file__).parent / "serving" / "page"
VIEWS = ("draw", "photo", "teach", "look", "runs")
PATIENCE = 60_000
"""Milliseconds that a lesson or a photo may take on a busy machine."""
expect = sync_api.expect


# How the digits are written: strokes of points, x and y from 0 to 1


def arc(x, y, wide, high, begin, end):
    """A piece of an ellipse; angles in degrees, from the right side on downwards."""
    angles = [math.radians(begin + (end - begin) * k / 24) for k in range(25)]
    return [(x + wide * math.cos(angle), y + high * math.sin(angle)) for angle in angles]


DIGITS = {
    "0": [arc(0.5, 0.5, 0.3, 0.48, -90, 270)],
    "1": [[(0.52, 0.02), (0.48, 0.98)]],
    "2": [[*arc(0.5, 0.28, 0.28, 0.26, 190, 370), (0.6, 0.6), (0.2, 0.97), (0.82, 0.95)]],
    "3": [[*arc(0.45, 0.26, 0.3, 0.24, 200, 440), *arc(0.45, 0.74, 0.33, 0.25, -80, 160)]],
    "4": [[(0.45, 0.02), (0.15, 0.62), (0.85, 0.6)], [(0.65, 0.25), (0.62, 0.98)]],
    "5": [[(0.3, 0.05), (0.26, 0.45), *arc(0.46, 0.7, 0.3, 0.27, -110, 140)], [(0.3, 0.05), (0.8, 0.04)]],
    "6": [[(0.65, 0.03), (0.4, 0.3), *arc(0.48, 0.7, 0.25, 0.27, 190, 540)]],
    "7": [[(0.18, 0.06), (0.82, 0.05), (0.42, 0.98)]],
    "8": [[*arc(0.5, 0.26, 0.24, 0.24, 90, 450), *arc(0.5, 0.75, 0.28, 0.25, -90, 270)]],
    "9": [[*arc(0.5, 0.3, 0.26, 0.27, -20, -380), (0.74, 0.4), (0.66, 0.98)]],
}
SCRIBBLE = [[(k / 12, k % 2) for k in range(13)]]


def placed(strokes, sheet, middle=0.5, high=0.6):
    """Strokes in pixels of the window, close points, on a sheet whose `middle` of the width they stand in."""
    box = sheet.bounding_box()
    tall = high * box["height"]
    left, top = box["x"] + middle * box["width"] - 0.36 * tall, box["y"] + (box["height"] - tall) / 2
    return [close([(left + 0.72 * tall * x, top + tall * y) for x, y in stroke]) for stroke in strokes]


def close(points, apart=6):
    """The same line with points no further than `apart` pixels from each other, as a pointer tells them."""
    dense = [points[0]]
    for one, other in pairwise(points):
        parts = max(1, math.ceil(math.dist(one, other) / apart))
        dense += [
            (one[0] + (other[0] - one[0]) * k / parts, one[1] + (other[1] - one[1]) * k / parts)
            for k in range(1, parts + 1)
        ]
    return dense


def by_mouse(view, points):
    view.mouse.move(*points[0])
    view.mouse.down()
    for point in points[1:]:
        view.mouse.move(*point)
    view.mouse.up()


def by_pen(view, points):
    line = view.context.new_cdp_session(view)
    kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 2), "mouseReleased"]
    for kind, (x, y) in zip(kinds, points, strict=False):
        pen = {"pointerType": "pen", "button": "left", "buttons": 1, "clickCount": 1, "force": 0.5}
        line.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **pen})


def by_finger(view, points):
    line = view.context.new_cdp_session(view)
    for kind, (x, y) in zip(["touchStart", *["touchMove"] * (len(points) - 1)], points, strict=True):
        line.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    line.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def write(view, sheet, digits, hand=by_mouse):
    """Digits side by side; one fills the sheet's middle."""
    for place, digit in enumerate(digits):
        high = 0.6 if len(digits) == 1 else 0.4
        for stroke in placed(DIGITS[digit], sheet, (place + 0.5) / len(digits), high):
            hand(view, stroke)


@pytest.fixture
def visit(browser, served):
    """Opens the page in a window of its own. At the end nothing was asked of others, and no error been reported."""
    contexts, asked, errors = [], [], []

    def open_page(view="draw", width=1280, server=served, allowed=(), **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **{"locale": "en-GB", **options})
        contexts.append(context)
        window = context.new_page()
        window.set_default_timeout(PATIENCE)
        window.on("request", lambda request: asked.append((server.url, request.url)))
        window.on("console", lambda message: message.text in allowed or errors.append(message.text))
        window.on("pageerror", lambda error: errors.append(str(error)))
        window.goto(f"{server.url}/#{view}")
        window.locator("nav a[aria-current]").wait_for()
        return window

    expect.set_options(timeout=PATIENCE)
    yield open_page
    for context in contexts:
        context.close()
    assert not [url for server, url in asked if not url.startswith((server, "data:", f"blob:{server}"))]
    assert not errors


def read_text(view):
    return view.locator("#draw-answer .read")


# Draw


@pytest.mark.parametrize("digit", DIGITS)
def test_each_digit_is_read_as_it_is_written(visit, digit):
    view = visit()
    write(view, view.locator("#draw canvas"), digit)
    expect(read_text(view)).to_have_text(digit)
    card = view.locator("#draw-answer .glyph")
    expect(card).to_have_count(1)
    expect(card.locator(".bar")).to_have_count(10)
    expect(card.locator(".bar.chosen")).to_have_text(digit)
    assert card.locator("img.seen").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [28, 28]
    expect(view.locator("#said")).to_contain_text(f"I read {digit}.")


@pytest.mark.parametrize(("hand", "width"), [(by_pen, 1280), (by_finger, 360)])
def test_pen_and_finger_write_as_the_mouse_does_and_the_page_stays_where_it_is(visit, hand, width):
    view = visit(width=width, has_touch=True)
    write(view, view.locator("#draw canvas"), "4", hand)
    expect(read_text(view)).to_have_text("4")
    assert view.evaluate("scrollY") == 0


@pytest.mark.parametrize("width", [360, 1280])
def test_a_whole_number_is_read_digit_by_digit(visit, width):
    view = visit(width=width)
    write(view, view.locator("#draw canvas"), "4072")
    expect(read_text(view)).to_have_text("4072")
    expect(view.locator("#draw-answer .verdict b")).to_have_text(list("4072"))


def test_it_answers_before_the_pen_is_lifted(visit):
    view = visit()
    (stroke,) = placed(DIGITS["3"], view.locator("#draw canvas"))
    view.mouse.move(*stroke[0])
    view.mouse.down()
    for point in stroke[1:]:
        view.mouse.move(*point)
    expect(read_text(view)).to_have_text("3")
    assert view.locator("#said").text_content() == ""  # a screen reader hears the end of the stroke, not each move
    view.mouse.up()
    expect(view.locator("#said")).to_contain_text("I read 3.")


def test_the_keyboard_writes_undoes_and_clears(visit):
    view = visit()
    sheet = view.locator("#draw canvas")
    sheet.focus()
    for key in [*["ArrowUp"] * 12, "Space", *["ArrowDown"] * 24, "Space"]:
        sheet.press(key)
    expect(read_text(view)).to_have_text("1")
    sheet.press("Backspace")
    expect(view.locator("#draw-answer .empty")).to_be_visible()
    write(view, sheet, "71")
    expect(read_text(view)).to_have_text("71")
    view.get_by_role("button", name="Undo stroke").click()
    expect(read_text(view)).to_have_text("7")
    sheet.press("Delete")
    expect(view.locator("#draw-answer .empty")).to_be_visible()
    expect(view.get_by_role("button", name="Clear")).to_be_disabled()


def test_what_is_no_digit_is_refused_with_its_reason(visit):
    view = visit(locale="pt-BR")
    for stroke in placed(SCRIBBLE, view.locator("#draw canvas")):
        by_mouse(view, stroke)
    expect(read_text(view)).to_have_text("Nenhum dígito")
    expect(view.locator("#draw-answer .refused small").first).to_contain_text("não é um dígito")


# Photo


@pytest.mark.parametrize("width", [360, 1280])
def test_a_photo_is_read_boxed_and_told_stage_by_stage(visit, width):
    view = visit("photo", width)
    view.set_input_files("#file", SAMPLES / "ruled-shadow.jpg")
    expect(view.locator("#photo-answer .read")).to_have_text("407")
    boxes = view.locator(".box:not(.refused)")
    assert [box.get_attribute("aria-label")[0] for box in boxes.all()] == list("407")
    expect(view.locator(".stages figure")).to_have_count(6)
    expect(view.locator(".seen-list img")).to_have_count(view.locator(".box").count())
    boxes.nth(2).press("Enter")
    expect(view.locator("#photo-answer .verdict b")).to_have_text("7")


def test_the_boxes_stand_on_the_digits(visit, served):
    """Each box lies where the API says, in shares of the picture that is shown."""
    photo = SAMPLES / "pencil-page.jpg"
    reading = served.post("/v1/read", data=photo.read_bytes(), headers={"Content-Type": "image/jpeg"}).json()
    view = visit("photo")
    view.set_input_files("#file", photo)
    view.locator(".box").first.wait_for()
    picture = view.locator(".boxed img").bounding_box()
    for digit, box in zip(reading["digits"], view.locator(".box:not(.refused)").all(), strict=True):
        found, scale = box.bounding_box(), picture["width"] / reading["size"][0]
        assert abs(found["x"] - picture["x"] - scale * digit["box"][0]) < 2
        assert abs(found["y"] - picture["y"] - scale * digit["box"][1]) < 2
        assert ("unsure" in box.get_attribute("class")) == (digit["confidence"] < UNSURE)


def test_a_photo_may_be_dropped_and_pasted(visit):
    view = visit("photo")
    content = (SAMPLES / "ruled-shadow.jpg").read_bytes()
    carry = """(target, [name, bytes, kind]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
      const options = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
      target.dispatchEvent(kind === "drop" ? new DragEvent("drop", options) : new ClipboardEvent("paste", options));
    }"""
    view.locator("#drop").evaluate(carry, ["photo.jpg", list(content), "drop"])
    expect(view.locator("#photo-answer .read")).to_have_text("407")
    view.goto(view.url.replace("#photo", "#draw"))
    view.locator("body").evaluate(carry, ["photo.jpg", list(content), "paste"])
    expect(view.locator("#photo")).to_be_visible()
    expect(view.locator("#photo-answer .read")).to_have_text("407")


def test_the_phone_is_asked_for_its_camera(visit):
    view = visit("photo", 360)
    shot = view.locator("#shot")
    assert shot.get_attribute("capture") == "environment"
    with view.expect_file_chooser() as chooser:
        view.get_by_role("button", name="Take a photo").click()
    chooser.value.set_files(SAMPLES / "ruled-shadow.jpg")
    expect(view.locator("#photo-answer .read")).to_have_text("407")


REFUSED = "Failed to load resource: the server responded with a status of {}"


def test_what_is_no_photo_is_told_in_the_readers_language(visit):
    view = visit("photo", locale="es-MX", allowed=[REFUSED.format("415 (Unsupported Media Type)")])
    view.set_input_files("#file", {"name": "note.txt", "mimeType": "image/png", "buffer": b"no picture at all"})
    expect(view.locator("#fault")).to_have_text(re.compile("Esto no es una foto ni un PDF"))


# Teach


MIRRORED_3 = [[(1 - x, y) for x, y in stroke] for stroke in DIGITS["3"]]
"""As children write it, and as the reader has never seen it: it says 8."""


def write_mirrored_3(view, sheet, high=0.6):
    for stroke in placed(MIRRORED_3, sheet, high=high):
        by_mouse(view, stroke)


def test_a_tap_corrects_a_wrong_answer_and_undo_takes_it_back(visit):
    view = visit()
    write_mirrored_3(view, view.locator("#draw canvas"))
    expect(read_text(view)).to_have_text("8")
    view.get_by_role("button", name="Teach that it is 3").click()
    expect(read_text(view)).to_have_text("3")
    expect(view.locator("#draw-answer .note")).to_contain_text("Taught that it is 3. Before: 8")
    strip = view.locator("#hand")
    expect(strip).to_contain_text("1 digit of your hand taught. It reads with them.")
    strip.get_by_role("button", name="Undo").click()
    expect(read_text(view)).to_have_text("8")
    expect(strip).to_be_hidden()


def test_a_tap_on_a_photo_teaches_and_the_photo_is_read_anew(visit):
    view = visit("photo")
    view.set_input_files("#file", SAMPLES / "ruled-shadow.jpg")
    expect(view.locator("#photo-answer .read")).to_have_text("407")
    view.get_by_role("button", name="Teach that it is 4").click()
    expect(view.locator("#photo-answer .note")).to_contain_text("Taught that it is 4. Before: 4")
    expect(view.locator("#photo-answer .read")).to_have_text("407")


def test_a_lesson_is_written_learnt_told_and_kept(visit, tmp_path):
    """What it misreads is chosen, written and learnt, then read right; it is kept as a run that the list shows."""
    with serving(tmp_path / "log", "--runs", tmp_path / "runs", "--workers", 1) as server:
        view = visit("teach", server=server)
        sheet, samples, lesson = view.locator("#teach canvas"), view.locator(".samples li"), view.locator("#lesson")
        for count, high in ((1, 0.6), (2, 0.45)):
            view.get_by_role("button", name=re.compile("^3, ")).click()
            write_mirrored_3(view, sheet, high)
            view.get_by_role("button", name="Add").click()
            expect(samples).to_have_count(count)
            expect(samples.last).to_contain_text("3, read as 8")
        view.get_by_role("button", name="Learn these 2 digits").click()
        expect(lesson.locator(".scores dd").first).to_have_text("0 of 2")
        lesson.get_by_role("button", name="Keep as a run").click()
        expect(view.locator("#said")).to_contain_text("Kept as ")
        (kept,) = (tmp_path / "runs").iterdir()
        view.locator("nav a[href='#draw']").click()
        write_mirrored_3(view, view.locator("#draw canvas"))
        expect(read_text(view)).to_have_text("3")
        view.locator("nav a[href='#runs']").click()
        expect(view.locator("tbody th")).to_have_text(kept.name)


def test_a_hand_that_the_server_has_forgotten_is_told_and_let_go(visit, served):
    view = visit(allowed=[REFUSED.format("404 (Not Found)")])
    write(view, view.locator("#draw canvas"), "7")
    view.locator("#draw-answer .bar", has_text="7").click()
    expect(view.locator("#hand")).to_contain_text("1 digit of your hand taught.")
    hand = view.evaluate("JSON.parse(sessionStorage.getItem('guarismo.hand')).id")
    assert requests.delete(f"{served.url}/v1/hands/{hand}", timeout=60).ok
    view.locator("#draw-answer .bar", has_text="7").click()
    expect(view.locator("#fault")).to_contain_text("The server has forgotten your hand")
    expect(view.locator("#hand")).to_be_hidden()
    expect(read_text(view)).to_have_text("7")


# Look inside, runs


def test_each_layer_shows_what_it_answers_to_the_drawn_digit(visit):
    view = visit()
    write(view, view.locator("#draw canvas"), "27")
    expect(read_text(view)).to_have_text("27")
    view.get_by_role("link", name="Look inside").click()
    expect(view.locator(".layers .chosen")).to_have_text("2")
    assert view.locator(".mosaic").count() >= 4
    assert all(view.locator(".mosaic").evaluate_all("images => images.map(image => image.naturalWidth > 1)"))
    view.get_by_role("button", name="Digit 2: 7").click()
    expect(view.locator(".layers .chosen")).to_have_text("7")


def test_runs_stand_in_a_table_that_sorts_with_links_to_their_reports(visit, tmp_path):
    dataset = bars_dataset()
    evaluate_run(make_run(tmp_path / "runs" / "measured", dataset), dataset)
    make_run(tmp_path / "runs" / "new", dataset)
    with serving(tmp_path / "log", "--runs", tmp_path / "runs", "--workers", 1) as server:
        view = visit("runs", server=server)
        names = view.locator("tbody th")
        expect(names).to_have_text(["measured", "new"])
        view.get_by_role("button", name="Run").click()
        expect(names).to_have_text(["new", "measured"])
        expect(view.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")
        view.get_by_role("button", name="Test accuracy").click()
        expect(names).to_have_text(["measured", "new"])  # what was not measured stands last
        report = view.locator("td a")
        expect(report).to_have_count(1)
        expect(report).to_have_attribute("href", re.compile("v1/runs/measured/report$"))


# Languages


@pytest.mark.parametrize(
    ("locale", "title"),
    [
        ("en-US", "Teach it your hand"),
        ("es-AR", "Enseñarle la letra propia"),
        ("pt-PT", "Ensinar a própria letra"),
        ("fr-FR", "Teach it your hand"),
    ],
)
def test_the_page_speaks_the_browsers_language_where_it_can(visit, locale, title):
    view = visit("teach", locale=locale)
    expect(view.locator("#teach h1")).to_have_text(title)


def test_the_language_is_switched_with_the_drawing_kept_and_remembered(visit):
    view = visit()
    write(view, view.locator("#draw canvas"), "5")
    expect(read_text(view)).to_have_text("5")
    view.get_by_label("Language").select_option("es")
    expect(view.locator("#draw h1")).to_have_text("Un dígito o un número entero, a mano")
    expect(view.locator("html")).to_have_attribute("lang", "es")
    expect(read_text(view)).to_have_text("5")
    view.reload()
    expect(view.locator("#draw h1")).to_have_text("Un dígito o un número entero, a mano")


def texts():
    """Every text that the page may show, in English: of index.html, of calls, and those that stand in lists."""
    index = (PAGE / "index.html").read_text()
    found = {html.unescape(text) for text in re.findall(r"data-t>([^<]+)<", index)}
    found |= set(re.findall(r'data-t-label="([^"]+)"', index))
    lists = {
        "told.js": r'^  (?:\[".+", )?"(.+)"\]?,$',
        "runs.js": r'^  \["([^"]+)", "\w+"',
        "look.js": r'^  \w+: \["([^"]+)", "([^"]+)"\],$',
        "photo.js": r'^  "(.+)",$',
        "glyphs.js": r'\? "(\{[^"]+)" : "(\{[^"]+)"',
    }
    for path in sorted(PAGE.glob("*.js")):
        code = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
        calls = (r'\bt\("([^"]+)"', r'\bplural\([^"]*"([^"]+)", "([^"]+)"', r'Failure\("([^"]+)"')
        for pattern in (*calls, *([lists[path.name]] if path.name in lists else [])):
            for text in re.findall(pattern, code, flags=re.MULTILINE):
                found |= {text} if isinstance(text, str) else set(text)
    return found


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_every_text_is_translated_and_none_too_many(code):
    words = json.loads((PAGE / f"{code}.json").read_text())
    assert set(words) == texts()
    for text, translated in words.items():
        assert set(re.findall(r"\{\w+\}", translated)) <= set(re.findall(r"\{\w+\}", text)), text


@pytest.mark.parametrize("file", ["refusal.py", "reader.py"])
def test_every_reason_to_refuse_is_known_to_the_page(file):
    """Reasons are what the functions of refusal return and what reader refuses with."""
    source = (Path(guarismo.__file__).parent / "reading" / file).read_text()
    reasons = re.findall(r'^ +return f?"([a-z][^"]+)"$', source, flags=re.MULTILINE)
    reasons += re.findall(r'\(glyph, "([a-z][^"]+)"\)', source)
    assert reasons
    for reason in reasons:
        assert re.sub(r"\{[^}]+\}", "{share}", reason) in texts()


# Sizes, colours, accessibility


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("width", [360, 1280])
def test_no_view_is_wider_than_the_window(visit, code, width):
    view = visit(width=width, locale=code)
    write(view, view.locator("#draw canvas"), "40")
    expect(read_text(view)).to_have_text("40")
    for name in VIEWS:
        view.locator(f"nav a[href='#{name}']").click()
        expect(view.locator(f"#{name}")).to_be_visible()
        assert view.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


@pytest.mark.parametrize(
    ("width", "scheme", "code"), [(360, "dark", "es"), (1280, "light", "en"), (1280, "dark", "pt")]
)
def test_axe_finds_nothing(visit, width, scheme, code):
    """axe-core in every view with something in it: names, roles, contrast, targets, headings, landmarks."""
    axe = pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python")
    rules = (Path(axe.__file__).parent / "axe.min.js").read_text()
    view = visit(width=width, color_scheme=scheme, locale=code, bypass_csp=True)
    write(view, view.locator("#draw canvas"), "47")
    expect(read_text(view)).to_have_text("47")
    view.set_input_files("#file", SAMPLES / "pencil-page.jpg")
    view.locator(".stages").wait_for()
    view.evaluate(rules)
    for name in VIEWS:
        view.locator(f"nav a[href='#{name}']").click()
        expect(view.locator(f"#{name} h1")).to_be_visible()
        if name == "teach":
            write(view, view.locator("#teach canvas"), "4")
            view.locator("#teach .tools .chief").click()
            view.locator(".samples li").wait_for()
        expect(view.locator(f"#{name} [aria-busy]")).to_have_count(0)
        found = view.evaluate("axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'] })")
        faults = [(fault["id"], node["html"][:120]) for fault in found["violations"] for node in fault["nodes"]]
        assert not faults, (name, faults)


def test_all_is_reached_by_the_tab_key(visit):
    view = visit()
    write(view, view.locator("#draw canvas"), "8")
    expect(read_text(view)).to_have_text("8")
    view.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    met = []
    for _ in range(30):
        view.keyboard.press("Tab")
        met.append(
            view.evaluate("(({ localName, textContent }) => `${localName} ${textContent}`)(document.activeElement)")
        )
    for wanted in ("a Skip to the content", "a Draw", "canvas ", "button Undo stroke", "button 8"):
        assert wanted in met


def test_the_skip_link_passes_the_views(visit):
    view = visit("photo")
    view.get_by_role("link", name="Skip to the content").focus()
    view.keyboard.press("Enter")
    view.keyboard.press("Tab")
    expect(view.get_by_role("button", name="Choose a photo")).to_be_focused()


def test_the_page_is_small_and_names_no_other_place():
    files = sorted(PAGE.iterdir())
    assert sum(path.stat().st_size for path in files) <= 150_000
    for path in files:
        addresses = set(re.findall(r"https?://[^\s\"')]+", path.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name  # a name, not an address


def test_nothing_stands_in_the_page_that_its_policy_forbids():
    index = (PAGE / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", index)
    for name in re.findall(r'(?:src|href)="page/([^"]+)"', index):
        assert (PAGE / name).is_file()
