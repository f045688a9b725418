"""Adapting: labelled photos become samples or a reason, and a hand is learnt only where nothing is lost by it."""

import doctest
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import guarismo
from guarismo.data.images import Pixels
from guarismo.data.normalise import normalise
from guarismo.errors import DataError, RunError
from guarismo.models.runs import open_run
from guarismo.reading import adaptation
from guarismo.reading.adaptation import (
    HELD_MARKS,
    MARKS,
    MOST_PER_DIGIT,
    REHEARSED,
    STEPS,
    VARIANTS,
    Guard,
    Samples,
    adapt,
    collect_samples,
    digit_images,
    folds_of,
    guarded,
    held_out,
    main_glyph,
    open_network,
    rehearsal,
    softmax_of,
    varied,
)
from guarismo.reading.page import find_ink
from guarismo.reading.reader import SHIPPED, open_reader, read, shipped_reader
from guarismo.results.evaluation import evaluate_run
from paper import Scene, photograph
from test_sheet import filled, photo, rendered
from tiny_run import bars_dataset, full_disk, make_run


def slanted(count: int, seed: int = 0, lean: float = 0.9) -> Samples:
    """`count` of each digit in a hand that leans far over: MNIST's shapes, sheared."""
    split = guarismo.load("digits").validation
    images, labels = [], []
    for digit in range(10):
        chosen = np.random.default_rng([seed, digit]).permutation(np.flatnonzero(split.labels == digit))[:count]
        for image in split.images[chosen, ..., 0]:
            wide = cv2.copyMakeBorder(image, 0, 0, 28, 28, cv2.BORDER_CONSTANT, value=0)
            shear = np.array([[1, lean, -lean * 13.5], [0, 1, 0]], np.float32)
            images.append(normalise(cv2.warpAffine(wide, shear, (84, 28), flags=cv2.INTER_LINEAR)))
            labels.append(digit)
    return Samples(np.stack(images), np.array(labels), tuple(f"sample {n}" for n in range(len(labels))))


def saved(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def photo_of(text: str, seed: int = 0) -> Pixels:
    return photograph(text, Scene(), seed=seed).pixels


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.fixture(autouse=True)
def alone(places, monkeypatch):
    """The embedded digits guard, wherever the tests run, and runs go into the test's own folder."""
    monkeypatch.chdir(places)


@pytest.fixture
def quick(monkeypatch):
    """A tenth of what is rehearsed and guarded by: the road is the same."""
    digits, others, marks = rehearsal()
    source, images, labels = held_out()
    monkeypatch.setattr(adaptation, "rehearsal", lambda: (digits[::10], others[::10], marks[::10]))
    monkeypatch.setattr(adaptation, "held_out", lambda: (source, images[::10], labels[::10]))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """(run, adaptation, samples, what the base's folder held before): two samples of each digit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GUARISMO_DATA", raising=False)
        patch.setenv("GUARISMO_CACHE", str(tmp_path_factory.mktemp("cache")))
        samples, before = slanted(2), content_of(SHIPPED)
        run, brought = adapt(samples, folder=tmp_path_factory.mktemp("runs") / "mine")
        return run, brought, samples, before


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(adaptation).failed == 0


# Samples


def test_a_photographed_sheet_labels_itself(tmp_path):
    page, written = filled(2)
    samples = collect_samples([saved(tmp_path / "sheet.png", photo(page))])
    assert samples.labels.tolist() == np.repeat(np.arange(10), 2).tolist()
    assert samples.names[3].endswith("sheet.png, 1 in box 2")
    assert samples.skipped == ()
    alike = [
        np.corrcoef(cv2.GaussianBlur(a, (0, 0), 1.5).ravel(), cv2.GaussianBlur(normalise(b), (0, 0), 1.5).ravel())[0, 1]
        for a, b in zip(samples.images, written, strict=True)
    ]
    assert min(alike) > 0.7
    assert np.mean(alike) > 0.9


def test_empty_boxes_of_a_sheet_are_left_out(tmp_path):
    page, empty = filled(2)[0], rendered(2, "a4")
    half = page.shape[0] // 2
    page[half:] = empty[half:]
    samples = collect_samples([saved(tmp_path / "sheet.png", photo(page))])
    assert 0 < len(samples) < 20
    assert max(samples.labels) < 9
    with pytest.raises(DataError, match="No labelled digit was found"):
        collect_samples([saved(tmp_path / "empty.png", photo(empty))])


def test_class_folders_names_and_labels_tell_the_digit(tmp_path):
    saved(tmp_path / "hand" / "3" / "1.png", photo_of("3", 1))
    saved(tmp_path / "hand" / "3" / "note.png", photo_of("3", 2))
    saved(tmp_path / "8_2.png", photo_of("8", 3))
    line = saved(tmp_path / "line.png", photo_of("204", 4))
    samples = collect_samples([tmp_path / "hand", tmp_path / "8_2.png"], [(line, "20 4")])
    assert sorted(samples.labels.tolist()) == [0, 2, 3, 3, 4, 8]
    assert samples.images.shape == (6, 28, 28)
    assert samples.names[0].endswith("line.png, 1")


def test_a_photo_with_two_digits_named_as_one_is_skipped_with_the_reason(tmp_path):
    saved(tmp_path / "7.png", photo_of("71"))
    saved(tmp_path / "4.png", photo_of("4"))
    samples = collect_samples([tmp_path])
    assert samples.labels.tolist() == [4]
    ((name, reason),) = samples.skipped
    assert name.endswith("7.png")
    assert "expected 1 (7), found 2" in reason


@pytest.mark.parametrize("name", ["IMG_7.png", "2026-11-20.png", "7up.png"])
def test_a_photo_that_does_not_tell_its_digit_is_skipped(tmp_path, name):
    with pytest.raises(DataError, match=r"neither its folder nor its name tells.*Expected photos of the filled sheet"):
        collect_samples([saved(tmp_path / name, photo_of("7"))])


def test_a_blank_photo_and_a_broken_one_are_skipped(tmp_path):
    saved(tmp_path / "5.png", np.full((300, 300, 3), 240, np.uint8))
    (tmp_path / "6.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    saved(tmp_path / "4.png", photo_of("4"))
    samples = collect_samples([tmp_path, tmp_path / "absent.png"])
    reasons = {Path(name).name: reason for name, reason in samples.skipped}
    assert "found 0" in reasons["5.png"]
    assert set(reasons) == {"5.png", "6.jpg", ""}
    assert "does not exist" in reasons[""]


def test_the_same_image_counts_once_and_no_digit_too_often(tmp_path):
    saved(tmp_path / "4.png", photo_of("4"))
    saved(tmp_path / "4_2.png", photo_of("4"))
    samples = collect_samples([tmp_path])
    assert len(samples) == 1
    assert "same digit image as" in samples.skipped[0][1]
    many = [(str(n), np.full((28, 28), n, np.uint8), 1) for n in range(MOST_PER_DIGIT + 2)]
    surplus = adaptation.without_surplus(many, [])
    assert len(surplus) == MOST_PER_DIGIT
    assert [name for name, _ in surplus.skipped] == ["50", "51"]


def test_a_digit_that_the_reader_refuses_is_a_sample_all_the_same():
    """Those are what adapting is for."""
    reader = shipped_reader()

    class Unsure:
        judge = staticmethod(lambda images: np.full((len(images), 10), 0.1, np.float32))

    (image,) = digit_images(photo_of("3"), 1, Unsure())
    assert reader.judge(image[None]).argmax() == 3


def test_a_blank_crop_has_no_glyph():
    blank = np.full((102, 102, 3), 230, np.uint8)
    assert main_glyph(find_ink(blank, light_ink=False, breadth=0.25)) is None
    speck = blank.copy()
    speck[50:54, 50:54] = 20
    assert main_glyph(find_ink(speck, light_ink=False, breadth=0.25)) is None


@pytest.mark.parametrize(
    "parts",
    [
        {"images": np.zeros((1, 8, 8), np.uint8)},
        {"images": np.zeros((1, 28, 28))},
        {"names": ()},
        {"labels": np.array([10])},
        {"labels": np.array([-1])},
    ],
)
def test_samples_of_another_form_are_refused(parts):
    whole = {"images": np.zeros((1, 28, 28), np.uint8), "labels": np.array([3]), "names": ("a",)}
    with pytest.raises(DataError, match="Expected"):
        Samples(**{**whole, **parts})


# Learning


def test_an_adapted_run_opens_reads_and_answers_as_it_learnt(adapted):
    run, brought, samples, _ = adapted
    reader = open_reader(run.folder)
    assert open_run(run.folder).about == json.loads((run.folder / "run.json").read_text())
    right = (reader.run.predict(samples.images).argmax(axis=1) == samples.labels).sum()
    assert right >= brought.left_out[0]
    assert read_text(reader, "2046") == read_text(shipped_reader(), "2046")
    assert reader.temperature == shipped_reader().temperature
    assert run.about["facts"]["onnx_difference"] < 1e-4


def read_text(reader, text: str) -> str:
    buffer = cv2.imencode(".png", cv2.cvtColor(photo_of(text), cv2.COLOR_RGB2BGR))[1].tobytes()
    return read(buffer, reader)[0].text


def test_an_adapted_run_can_be_evaluated(adapted, tmp_path):
    copy = shutil.copytree(adapted[0].folder, tmp_path / "copy")
    run, evaluation = evaluate_run(open_run(copy), guarismo.load("digits"))
    assert evaluation.accuracy > 0.95
    assert run.about["adapted"] == adapted[0].about["adapted"]


def test_what_adapting_brought_is_told_and_kept(adapted):
    run, brought, samples, _ = adapted
    told = run.about["adapted"]
    assert told == json.loads(json.dumps({"from": told["from"], **brought.as_json()}))
    assert told["samples"] == {str(digit): 2 for digit in range(10)}
    assert told["leave_one_out"]["n"] == len(samples) == len(brought.answers)
    assert brought.left_out[1] >= brought.left_out[0]
    assert brought.mnist[0] - brought.mnist[1] <= 0.001 * brought.mnist[2]
    assert brought.marks[2] == HELD_MARKS
    assert brought.step in STEPS
    assert told["from"]["sha256"] == shipped_reader().run.about["files"]["model.onnx"]["sha256"]


def test_only_the_last_layer_changes_and_the_base_not_at_all(adapted):
    run, _, _, before = adapted
    assert content_of(SHIPPED) == before
    old, new = open_network(shipped_reader().run), open_network(run)
    others = [{t.name: t for t in network.model.graph.initializer} for network in (old, new)]
    changed = {name for name in others[0] if others[0][name] != others[1][name]}
    assert changed == {old.kernel.name, old.bias.name}
    assert old.model.graph.node == new.model.graph.node


def test_the_same_samples_give_the_same_run(quick, tmp_path):
    samples = slanted(1)
    (run, brought), (again, too) = (adapt(samples, folder=tmp_path / name) for name in ("one", "two"))
    assert too == brought
    # BLAS may add up in another order
    np.testing.assert_allclose(again.predict(samples.images), run.predict(samples.images), atol=1e-4)


def test_an_adapted_run_goes_on_from_where_it_came_with_all_samples(adapted, quick, tmp_path):
    run, _, samples, _ = adapted
    one = Samples(samples.images[::-1][:1].copy()[:, :, ::-1].copy(), np.array([9]), ("new",))
    further, brought = adapt(one, open_reader(run.folder), tmp_path / "further")
    assert sum(brought.counts.values()) == len(samples) + 1
    assert further.about["adapted"]["from"] == run.about["adapted"]["from"]
    np.testing.assert_array_equal(further.arrays("samples")["weights"], run.arrays("samples")["weights"])
    np.testing.assert_array_equal(further.arrays("samples")["images"][:-1], samples.images)


def test_one_sample_of_one_digit_is_enough(quick, tmp_path):
    samples = slanted(1)
    one = Samples(samples.images[4:5], samples.labels[4:5], samples.names[4:5])
    run, brought = adapt(one, folder=tmp_path / "one")
    assert brought.counts == {"4": 1}
    assert brought.left_out[0] == brought.left_out[1]  # without it there is nothing to learn from
    assert run.finished


def test_without_a_folder_the_run_gets_a_numbered_one(quick):
    samples = slanted(1)
    run, _ = adapt(Samples(samples.images[:1], samples.labels[:1], samples.names[:1]))
    assert run.folder == Path("runs/adapted_reader_1")


# Guarding


def test_the_guards_digits_are_not_rehearsed():
    source, images, labels = held_out()
    known = {image.tobytes() for image in rehearsal()[0]}
    assert source == "digits"
    assert len(images) == len(labels) >= 1000  # a tenth of a point is one image at least
    assert not any(image.tobytes() in known for image in images)


def test_with_mnist_at_hand_its_validation_images_guard(shared_data, monkeypatch):
    monkeypatch.setenv("GUARISMO_DATA", str(shared_data))
    source, images, _ = held_out()
    known = {image.tobytes() for image in rehearsal()[0]}
    assert source == "mnist"
    assert 5000 < len(images) < 6000  # some of them are rehearsed
    assert not any(image.tobytes() in known for image in images)


def test_rehearsal_has_digits_variants_and_marks():
    digits, others, marks = rehearsal()
    assert (len(digits), len(others), len(marks)) == (REHEARSED, REHEARSED + MARKS, HELD_MARKS)


def test_the_guard_takes_smaller_steps_before_it_refuses():
    """One feature and a bias: right as long as the layer has not turned over."""
    rows, labels = np.float32([[1, 1]] * 100), np.zeros(100, dtype=np.int64)
    before, wanted = np.zeros((2, 10), np.float32), np.zeros((2, 10), np.float32)
    before[1, 0], wanted[1, 0], wanted[0, 1] = 1, 1, 3
    assert guarded(before, wanted, Guard("digits", rows, labels))[1] == 0.25
    with pytest.raises(RunError, match=r"Not kept: of 100 held-out MNIST digits it would read 0\.00% instead of 100"):
        guarded(before, wanted * [[9], [1]], Guard("digits", rows, labels))


def test_wrong_labels_are_refused_and_nothing_is_left(quick, tmp_path):
    """All taken for their neighbours: a hand that could be learnt, if the reader did not know better."""
    samples = slanted(2, lean=0.2)
    wrong = replace(samples, labels=(samples.labels + 1) % 10)
    with pytest.raises(RunError, match=r"Not kept: \d+ of 20 samples are surely other digits.*Check the labels"):
        adapt(wrong, folder=tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_one_wrong_label_shows_in_the_answers(quick, tmp_path):
    samples = slanted(2, lean=0.2)
    labels = samples.labels.copy()
    labels[6] = 8
    _, brought = adapt(replace(samples, labels=labels), folder=tmp_path / "mixed")
    assert brought.answers[6] == (3, 3)
    assert brought.left_out[1] < len(samples)


def test_samples_left_out_that_are_read_worse_refuse_the_run():
    brought = adaptation.Adaptation({"1": 2}, (2, 1, 2), (9, 9, 9), (0, 0, 9), "digits", 1.0, ((1, 1), (1, 7)))
    samples = Samples(np.zeros((2, 28, 28), np.uint8), np.array([1, 1]), ("good", "bad"))
    with pytest.raises(RunError, match=r"1 of 2 samples would be read right instead of 2.*first that of bad"):
        adaptation.check_gain(brought, samples)


def test_no_sample_is_no_lesson(tmp_path):
    nothing = Samples(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int64), ())
    with pytest.raises(DataError, match=r"no sample to learn from.*filled sheet"):
        adapt(nothing, folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_another_network_is_refused(tmp_path):
    run = make_run(tmp_path / "other", bars_dataset())
    with pytest.raises(RunError, match=r"is a cnn.*Adapting needs the network `reader`.*--recipe reader"):
        adapt(slanted(1), replace(shipped_reader(), run=run), tmp_path / "new")


def test_a_reader_that_ends_otherwise_is_refused(tmp_path):
    run = make_run(tmp_path / "other", bars_dataset(), model="reader")
    with pytest.raises(RunError, match="Adapting needs the network `reader`"):
        open_network(run)


# Keeping


def test_a_taken_folder_is_refused_before_any_work(adapted, tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation, "open_network", lambda _: pytest.fail("worked first"))
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RunError, match=r"not empty: it holds .*Choose another --out"):
        adapt(adapted[2], folder=adapted[0].folder)
    with pytest.raises(RunError, match="not empty"):
        adapt(adapted[2], folder=tmp_path)


def test_a_full_disk_leaves_nothing(adapted, tmp_path):
    run = adapted[0]
    files = {name: (run.folder / name).read_bytes() for name in run.about["files"]}
    with full_disk(), pytest.raises(RunError, match="Cannot write into"):
        adaptation.keep(tmp_path / "full", {**run.about, "files": {}}, files)
    assert not (tmp_path / "full").exists()


def test_a_killed_writing_is_no_run_and_its_folder_serves_again(adapted, tmp_path):
    run, folder = adapted[0], tmp_path / "killed"
    folder.mkdir()
    (folder / "model.onnx.new").write_bytes(b"half")
    with pytest.raises(RunError, match="is not a run"):
        open_run(folder)
    files = {name: (run.folder / name).read_bytes() for name in run.about["files"]}
    again = adaptation.keep(folder, {**run.about, "files": {}}, files)
    assert content_of(again.folder) == content_of(run.folder)
    open_reader(folder)


def test_damaged_samples_of_an_adapted_run_are_refused(adapted):
    run, _, samples, _ = adapted
    with pytest.raises(RunError, match="is not of an adapted run"):
        adaptation.with_earlier(samples, run, np.zeros((3, 10), np.float32))


# Parts


def test_variants_are_digits_and_always_the_same():
    image = slanted(1).images[3]
    made = varied(image, [7])
    assert made.shape == (VARIANTS, 28, 28)
    np.testing.assert_array_equal(made, varied(image, [7]))
    np.testing.assert_array_equal(made[0], image)
    assert len({one.tobytes() for one in made}) == VARIANTS


def test_features_and_last_layer_are_the_network():
    network, images = open_network(shipped_reader().run), slanted(1).images
    ours = softmax_of(network.features(images) @ network.weights)
    np.testing.assert_allclose(ours, shipped_reader().run.predict(images), atol=1e-5)


@pytest.mark.parametrize("count", [1, 7, 50, 120])
def test_every_sample_is_left_out_once(count):
    folds = folds_of(np.arange(count) % 10)
    assert sorted(np.concatenate(folds).tolist()) == list(range(count))
    assert len(folds) == min(count, 50)


def test_adapting_imports_no_training_framework():
    check = (
        "import sys; from guarismo.reading import adaptation; from guarismo.reading.reader import shipped_reader; "
        "adaptation.open_network(shipped_reader().run); "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'torch', 'jax')))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
