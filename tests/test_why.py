"""Why a run answers so: runs that look at one known place, lean on one known column, flip at two pixels."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import guarismo.results.why
from guarismo.data.dataset import UNKNOWN, Dataset, Mapped, Split
from guarismo.errors import DataError, RunError
from guarismo.models.runs import Run, commit
from guarismo.results.evaluation import evaluate_run
from guarismo.results.why import (
    FLIPS,
    Flip,
    Move,
    attribution,
    explain,
    extent,
    flip_words,
    fragility,
    moved,
    moves,
    named_or_hardest,
    nearest_examples,
    smallest_flip,
)
from tiny_run import bars_dataset, describe_run, make_run


def linear_run(folder, weights, sharpness=1.0, least=0.1) -> Run:
    """A finished run of two classes: 'yes' where the sum of image × weights (h, w, c), white = 1, exceeds `least`."""
    shape = weights.shape
    scores = np.stack([-weights, weights], axis=-1).reshape(-1, 2).astype(np.float32) * 50 * sharpness / 255
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "patch",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(scores, "weights"),
            numpy_helper.from_array(np.array([50, -50], dtype=np.float32) * least * sharpness, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True)
    blank = Split(np.zeros((2, *shape), np.uint8), np.arange(2))
    about = describe_run(Dataset("patches", blank, blank, blank, ("no", "yes")), "linear")
    return commit(Run(folder, about), {"model.onnx": model.SerializeToString()})


def looks_at(rows, columns, side=28, channels=1):
    """Weights (side, side, channels) of 1 in all over a patch, 0 elsewhere."""
    weights = np.zeros((side, side, channels))
    weights[rows, columns] = 1
    return weights / weights.sum()


CORNER = (slice(2, 8), slice(18, 24))


@pytest.fixture
def corner_run(tmp_path):
    """Answers 'yes' where the upper right corner is bright, and looks nowhere else."""
    return linear_run(tmp_path / "corner", looks_at(*CORNER), sharpness=0.2)


def clutter(n, channels=1, seed=0):
    """Images with bright pixels all over, on black."""
    images = np.random.default_rng(seed).integers(100, 256, (n, 28, 28, channels)).astype(np.uint8)
    images[:, [0, -1]] = 0
    images[:, :, [0, -1]] = 0
    return images


def share_inside(maps, rows, columns):
    """How much of all that maps (n, h, w) show lies in a patch."""
    return np.abs(maps[:, rows, columns]).sum(axis=(1, 2)) / np.abs(maps).sum(axis=(1, 2))


# Where it looked


def test_attribution_lies_where_the_run_looks_and_has_its_sign(corner_run):
    maps = attribution(corner_run, clutter(3), np.array([1, 1, 1]))
    assert maps.shape == (3, 28, 28) and maps.dtype == np.float32
    rows, columns = CORNER
    strongest = [np.unravel_index(each.argmax(), each.shape) for each in maps]
    assert all(rows.start <= y < rows.stop and columns.start <= x < columns.stop for y, x in strongest)
    assert (maps[:, 4:6, 20:22] > 0).all()
    outside = np.delete(maps.reshape(3, -1), np.flatnonzero(looks_at(*CORNER).ravel()), axis=1)
    assert maps[:, 4:6, 20:22].mean() > 10 * np.abs(outside).mean()
    against = attribution(corner_run, clutter(3), np.array([0, 0, 0]))
    np.testing.assert_allclose(against, -maps, atol=1e-5)  # two classes: what speaks for one speaks against the other


def test_a_run_that_looks_elsewhere_gets_another_map(corner_run, tmp_path):
    place = (slice(20, 26), slice(4, 10))
    other = linear_run(tmp_path / "other", looks_at(*place), sharpness=0.2)
    images, yes = clutter(2), np.array([1, 1])
    assert (share_inside(attribution(other, images, yes), *place) > 0.3).all()  # of 784 pixels 36: 0.05 by chance
    assert (share_inside(attribution(corner_run, images, yes), *place) < 0.1).all()


def test_what_is_background_gets_none(corner_run):
    images = clutter(1)
    images[:, 14:] = 0
    found = attribution(corner_run, images, np.array([1]))
    assert (found[:, 14:] == 0).all() and (found[:, 4, 20] > 0).all()


def test_a_white_background_is_covered_with_white(tmp_path):
    run = linear_run(tmp_path / "dark", -looks_at(*CORNER), sharpness=0.2)
    found = attribution(run, 255 - clutter(1), np.array([1]))  # dark clutter on white: darkness speaks for yes
    assert found[0, 4:6, 20:22].mean() > 0
    assert np.abs(found[0, [0, -1]]).max() == 0


def test_several_classes_at_once_are_the_same_as_one_by_one(corner_run):
    images = clutter(2)
    both = attribution(corner_run, images, np.array([[0, 1], [1, 0]]))
    assert both.shape == (2, 2, 28, 28)
    np.testing.assert_allclose(both[:, 0], attribution(corner_run, images, np.array([0, 1])), atol=2e-5)
    np.testing.assert_allclose(both[:, 1], attribution(corner_run, images, np.array([1, 0])), atol=2e-5)


@pytest.mark.parametrize("side, channels", [(8, 1), (64, 1), (28, 3)])
def test_attribution_of_other_sizes_and_of_colour(tmp_path, side, channels):
    patch = (slice(side // 8, side // 2), slice(side // 8, side // 2))
    run = linear_run(tmp_path / "patch", looks_at(*patch, side, channels), sharpness=0.2)
    images = np.random.default_rng(0).integers(100, 256, (1, side, side, channels)).astype(np.uint8)
    images[:, [0, -1]], images[:, :, [0, -1]] = 0, 0
    found = attribution(run, images, np.array([1]))
    inside = found[0, patch[0], patch[1]].mean()
    assert inside > 3 * np.abs(np.delete(found[0], np.arange(side // 8, side // 2), axis=0)).mean()


def test_masks_made_in_small_batches_give_the_same_map(corner_run, monkeypatch):
    images, yes = clutter(1), np.array([1])
    whole = attribution(corner_run, images, yes)
    sizes = []
    predict = Run.predict
    monkeypatch.setattr(Run, "predict", lambda run, images: sizes.append(images.nbytes) or predict(run, images))
    monkeypatch.setattr(guarismo.results.why, "MOST_BYTES", 2**18)
    few = attribution(corner_run, images, yes)
    assert max(sizes) <= 2**18 and len(sizes) > 5
    rows, columns = CORNER
    assert np.corrcoef(whole[0, rows, columns].ravel(), few[0, rows, columns].ravel())[0, 1] > 0.5


def test_progress_reaches_its_end(corner_run):
    seen = []
    attribution(corner_run, clutter(2), np.array([1, 0]), lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] and len(seen) == 2


@pytest.mark.parametrize("classes", [np.array([1, 2]), np.array([0, -1]), np.array([1]), np.array([0.5, 0.5])])
def test_classes_that_do_not_fit_are_refused(corner_run, classes):
    with pytest.raises(RunError, match="Expected a class 0…1 for each of 2 images"):
        attribution(corner_run, clutter(2), classes)


def test_images_of_another_size_are_refused(corner_run):
    with pytest.raises(RunError, match="Resize them"):
        attribution(corner_run, np.zeros((1, 8, 8, 1), np.uint8), np.array([0]))


def test_no_images_give_no_maps(corner_run):
    empty = np.empty((0, 28, 28, 1), np.uint8)
    assert attribution(corner_run, empty, np.empty(0, int)).shape == (0, 28, 28)
    assert smallest_flip(corner_run, empty) == []


@pytest.mark.parametrize("kind", ["network_run", "forest_run"])
def test_networks_and_forests_are_asked_alike(kind, bars, request):
    """The class is a row, so that its own row speaks for it more than the others do."""
    run = request.getfixturevalue(kind)
    labels, images = bars.test.labels, bars.test.images
    sure = np.flatnonzero(run.predict(images).argmax(axis=1) == labels)[:12]
    maps = attribution(run, images[sure], labels[sure])
    own = maps[np.arange(len(sure)), 2 * labels[sure] + 1].mean()
    others = np.mean([maps[np.arange(len(sure)), 2 * ((labels[sure] + k) % 3) + 1].mean() for k in (1, 2)])
    assert own > 0 and own > 2 * others


# The nearest training images


def planted_split(n=300, labels=None):
    """Random images, and at 5, 70 and 200 blurrier and blurrier likenesses of the last one."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (n, 28, 28, 1)).astype(np.uint8)
    for place, noise in ((5, 10), (70, 30), (200, 60)):
        images[place] = (images[-1] + rng.normal(0, noise, (28, 28, 1))).clip(0, 255)
    return Split(images, np.zeros(n, dtype=np.int64) if labels is None else labels)


def test_the_nearest_examples_are_the_likenesses_in_their_order():
    split = planted_split()
    indices, distances = nearest_examples(split.images[-1:], split, count=4)
    assert indices.tolist() == [[299, 5, 70, 200]]
    assert indices.dtype == np.int64 and distances.dtype == np.float32
    assert distances[0, 0] == pytest.approx(0, abs=1e-3) and (np.diff(distances[0]) > 0).all()


def test_brightness_and_contrast_do_not_hide_a_likeness():
    split = planted_split()
    dim = (60 + split.images[5:6] * 0.3).astype(np.uint8)
    indices, _ = nearest_examples(dim, split, count=1)
    assert indices[0, 0] == 5


def test_a_negative_is_as_far_as_can_be():
    image = planted_split().images[:1]
    _, distances = nearest_examples(255 - image, Split(image, np.zeros(1, dtype=np.int64)), count=1)
    assert distances[0, 0] == pytest.approx(2, abs=1e-3)


def test_unlabelled_images_are_left_out():
    labels = np.zeros(300, dtype=np.int64)
    labels[[299, 5]] = UNKNOWN
    indices, _ = nearest_examples(planted_split().images[-1:], planted_split(labels=labels), count=2)
    assert indices.tolist() == [[70, 200]]


@pytest.mark.parametrize("most", [2**10, 2**14, 2**20])
def test_images_on_disk_are_searched_in_parts_with_the_same_outcome(tmp_path, monkeypatch, most):
    monkeypatch.setattr(guarismo.results.why, "NEAREST_BYTES", most)
    split = planted_split()
    np.save(tmp_path / "images.npy", split.images)
    store = np.load(tmp_path / "images.npy", mmap_mode="r")
    mapped = Watched(store, np.arange(300)[::-1].copy())
    mapped.asked.clear()
    indices, _ = nearest_examples(split.images[[-1, 7]], replace(split, images=mapped), count=3)
    assert indices.tolist()[0] == [0, 294, 229] and indices[1, 0] == 292
    assert max(mapped.asked) <= max(1, most // 784) and sum(mapped.asked) == 300


class Watched(Mapped):
    """Images on disk that note how many are read at once."""

    asked: list[int] = []  # noqa: RUF012

    def __getitem__(self, index):
        images = super().__getitem__(index)
        self.asked.append(len(images))
        return images


def test_larger_images_are_compared_as_well():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (20, 8, 8, 3))
    images = coarse.repeat(12, axis=1).repeat(12, axis=2).astype(np.uint8)
    grainy = (images[4:5] + rng.normal(0, 40, images[4:5].shape)).clip(0, 255).astype(np.uint8)
    indices, _ = nearest_examples(grainy, Split(images, np.zeros(20, dtype=np.int64)), count=1)
    assert indices[0, 0] == 4


def test_images_of_one_colour_are_like_nothing():
    split = planted_split()
    _, distances = nearest_examples(np.full((1, 28, 28, 1), 90, np.uint8), split, count=1)
    assert distances[0, 0] == pytest.approx(2**0.5)


def test_neighbours_that_cannot_be_had_are_refused():
    split = planted_split()
    with pytest.raises(DataError, match=r"Expected images of \(28, 28, 1\)"):
        nearest_examples(np.zeros((1, 8, 8, 1), np.uint8), split)
    with pytest.raises(DataError, match="1 to 300 neighbours"):
        nearest_examples(split.images[:1], split, count=301)


def test_most_neighbours_of_digits_have_their_label():
    digits = guarismo.load("digits")
    indices, _ = nearest_examples(digits.test.images[:200], digits.train)
    assert (digits.train.labels[indices] == digits.test.labels[:200, None]).mean() > 0.85


# What would change the answer


@pytest.fixture
def column_run(tmp_path):
    """Answers 'yes' where column 14 of 28 is bright."""
    return linear_run(tmp_path / "column", looks_at(slice(4, 24), slice(14, 15)))


def line(column, width=3):
    image = np.zeros((1, 28, 28, 1), np.uint8)
    image[:, 4:24, column : column + width] = 255
    return image


def test_a_line_that_leaves_its_column_after_two_pixels(column_run):
    assert column_run.predict(line(14)).argmax() == 1
    (flip,) = smallest_flip(column_run, line(14, width=2))  # columns 14 and 15: one to the right leaves it
    assert flip == Flip(Move(dx=1), answer=0)
    (flip,) = smallest_flip(column_run, line(13, width=3))  # columns 13 to 15: two either way
    assert flip.move.degrees == 0 and abs(flip.move.dx) == 2 and flip.answer == 0


def test_a_line_that_comes_in_from_the_left_or_from_above(tmp_path):
    column = linear_run(tmp_path / "column", looks_at(slice(4, 24), slice(14, 15)), least=0.9)
    assert smallest_flip(column, line(9, width=3))[0] == Flip(Move(dx=3), answer=1)
    row = linear_run(tmp_path / "row", looks_at(slice(14, 15), slice(4, 24)), least=0.9)
    flat = line(9, width=3).swapaxes(1, 2)
    assert smallest_flip(row, flat)[0] == Flip(Move(dy=3), answer=1)


def test_a_turn_that_changes_the_answer(tmp_path):
    """Two dots on the middle row's ends leave it when turned, and stay on it when shifted along."""
    weights = np.zeros((28, 28, 1))
    weights[11:17] = 1
    run = linear_run(tmp_path / "band", weights / 40)
    image = np.zeros((1, 28, 28, 1), np.uint8)
    image[:, 13:15, [0, 1, 2, 25, 26, 27]] = 255
    (flip,) = smallest_flip(run, image)
    assert flip.move.degrees != 0 and flip.answer == 0
    before = Move(degrees=flip.move.degrees - int(np.sign(flip.move.degrees)))
    if before.degrees:
        unturned = moved(image, before, np.zeros((1, 1), np.uint8))
        assert run.predict(unturned).argmax() == 1  # a degree less does not yet


def test_what_no_move_changes_says_so(column_run):
    blank = np.zeros((2, 28, 28, 1), np.uint8)
    assert smallest_flip(column_run, blank) == [None, None]
    assert flip_words(None, column_run) == "No shift by up to 4 px and no turn by up to 30° changes the answer."


def test_the_moves_are_tried_from_the_smallest_on():
    tried = moves((28, 28, 1))
    sizes = [extent(move, 28) for move in tried]
    assert sizes == sorted(sizes) and len(set(tried)) == len(tried)
    assert {Move(dx=4), Move(dy=-4), Move(dx=1, dy=1), Move(degrees=30), Move(degrees=-1)} <= set(tried)
    assert len(moves((224, 224, 3))) < 150  # large images are shifted in steps


@pytest.mark.parametrize(
    "move, place", [(Move(dx=2), (3, 5)), (Move(dx=-3), (3, 0)), (Move(dy=2, dx=1), (5, 4)), (Move(dy=-3), (0, 3))]
)
def test_a_shift_moves_the_pixel_and_background_comes_in(move, place):
    image = np.full((1, 8, 8, 3), 40, np.uint8)
    image[0, 3, 3] = 200
    wanted = np.full((1, 8, 8, 3), 40, np.uint8)
    wanted[0, place[0], place[1]] = 200
    np.testing.assert_array_equal(moved(image, move, np.full((1, 3), 40, np.uint8)), wanted)


def test_a_turn_is_counter_clockwise_and_a_quarter_is_exact():
    image = clutter(1)
    ground = np.zeros((1, 1), np.uint8)
    np.testing.assert_array_equal(moved(image, Move(degrees=90), ground), np.rot90(image, axes=(1, 2)))


def test_a_turn_equals_scipy():
    from scipy.ndimage import gaussian_filter, rotate

    image = gaussian_filter(clutter(1)[0, ..., 0], 2)
    ours = moved(image[None, ..., None], Move(degrees=17), np.zeros((1, 1), np.uint8))[0, 4:-4, 4:-4, 0]
    theirs = rotate(image, 17, reshape=False, order=1)[4:-4, 4:-4]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("signs", FLIPS)
def test_every_direction_has_its_sentence(signs):
    dx, dy, degrees = signs
    said = Flip(Move(2 * dx, 3 * dy, 7 * degrees), answer=1).sentence(("a", "b"))
    assert said.endswith("the answer becomes b.")
    words = {"right": dx == 1 or degrees == -1, "left": dx == -1 or degrees == 1, "down": dy == 1, "up": dy == -1}
    assert all((f" {word}" in said) == there for word, there in words.items())
    assert ("2 px" in said, "3 px" in said, "7°" in said) == (dx != 0, dy != 0, degrees != 0)


def test_fragility_counts_what_one_pixel_turns_over(column_run):
    thin, wide = line(14, width=1), line(12, width=5)
    images = np.concatenate([thin] * 3 + [wide] * 6 + [np.zeros_like(thin)])
    labels = np.array([1] * 9 + [1])  # the last, black, is answered wrongly: it does not count
    found = fragility(column_run, images, labels)
    assert found.n == 9 and found.shifted == pytest.approx(3 / 9)
    assert "Of 9 right answers, a shift by one pixel turns over 33.33" in found.sentence()


def test_fragility_takes_a_sample_of_many_and_nothing_of_none(column_run):
    many = np.repeat(line(12, width=5), 700, axis=0)
    assert fragility(column_run, many, np.ones(700, dtype=np.int64)).n == 500
    assert fragility(column_run, many, np.zeros(700, dtype=np.int64)) is None


# All of it


def clear_bars(n=90):
    """Images of one white row on black, which is the class."""
    labels = np.arange(n) % 3
    images = np.zeros((n, 8, 8, 1), np.uint8)
    images[np.arange(n), 2 * labels + 1] = 255
    return Split(images, labels)


@pytest.fixture
def evaluated(tmp_path):
    """A run evaluated on clear bars, of which number 5, a row 2, is labelled 0; and the Dataset."""
    test = clear_bars()
    test.labels[5] = 0
    dataset = replace(bars_dataset(), test=test)
    run, _ = evaluate_run(make_run(tmp_path / "run", dataset, sharpness=5.0), dataset)
    return run, dataset


def test_an_error_is_explained_with_both_classes(evaluated):
    run, dataset = evaluated
    (error,) = explain(run, dataset, [5])
    assert error.wrong and (error.label, error.answer, error.other) == (0, 2, 0)
    probabilities = run.predict(dataset.test.images[[5]])[0]
    assert (error.confidence, error.other_confidence) == (probabilities[2], probabilities[0])
    assert (error.map[5] > 0).all() and (error.other_map[5] < 0).all()  # the white row speaks for 2, and against 0
    assert (np.delete(error.map, 5, axis=0) == 0).all()
    np.testing.assert_array_equal(error.image, dataset.test.images[5])
    np.testing.assert_array_equal(error.neighbour_images, dataset.train.images[error.neighbours])
    np.testing.assert_array_equal(error.neighbour_labels, dataset.train.labels[error.neighbours])
    assert error.flip.answer != 2


def test_a_right_answer_is_set_against_the_next_likely_class(evaluated):
    run, dataset = evaluated
    first, second = explain(run, dataset, [8, 0])
    assert (first.index, first.answer, second.index, second.answer) == (8, 2, 0, 0)
    assert not first.wrong and first.other != first.answer
    assert first.other_confidence == np.sort(run.predict(dataset.test.images[[8]])[0])[-2]


def test_test_images_are_never_opened(tmp_path):
    dataset = bars_dataset()
    run = make_run(tmp_path / "run", dataset)
    with pytest.raises(RunError, match="has not been evaluated"):
        explain(run, dataset, [0])
    run, _ = evaluate_run(run, dataset)
    other = replace(dataset, test=dataset.validation)
    with pytest.raises(RunError, match=f"{dataset.test.fingerprint[:8]}, those of 'bars' are"):
        explain(run, other, [0])


def test_numbers_that_are_no_test_image_are_refused(evaluated):
    run, dataset = evaluated
    for index in (90, -1):
        with pytest.raises(RunError, match=f"no test image {index}. Name numbers from 0 to 89"):
            explain(run, dataset, [0, index])


@pytest.fixture
def evaluated_digits(tmp_path, command):
    """A quick run on digits, evaluated."""
    pytest.importorskip("skl2onnx", reason="training is the [train] extra")
    folder = tmp_path / "forest"
    assert command("train", "digits", "--model", "forest", "--limit", "1000", "--out", folder)[0] == 0
    assert command("evaluate", folder)[0] == 0
    return folder


def test_the_command_draws_and_tells(evaluated_digits, tmp_path, command):
    status, out, _ = command("why", evaluated_digits, "--out", tmp_path / "why.png")
    assert status == 0
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")
    assert len(re.findall(r"^Test image \d+: \d, taken for \d \(", out, flags=re.MULTILINE)) == 8
    assert "right answers, a shift by one pixel turns over" in out


def test_the_command_as_json(evaluated_digits, tmp_path, command):
    status, out, _ = command("why", evaluated_digits, "3", "1", "--out", tmp_path / "why.svg", "--json")
    first, second, last = (json.loads(text) for text in out.splitlines())
    assert status == 0 and (first["index"], second["index"]) == (3, 1)
    assert len(first["nearest"]) == 3 and {"index", "label", "distance"} == set(first["nearest"][0])
    assert 0 <= first["looked_at"][0] < 28 and first["sentence"]
    assert 0 <= last["fragility"]["shifted"] <= 1


def test_a_file_that_is_no_picture_is_refused_before_anything_is_read(tmp_path, command):
    status, _, err = command("why", tmp_path / "missing", "--out", tmp_path / "why.txt")
    assert status == 1 and "must end in .png" in err


def test_without_numbers_the_most_confident_errors_are_meant(evaluated):
    run, _ = evaluated
    assert named_or_hardest(run, ()).tolist() == [5]
    assert named_or_hardest(run, (4, 2)).tolist() == [4, 2]


def test_a_run_without_errors_asks_for_numbers(tmp_path):
    dataset = replace(bars_dataset(), test=clear_bars())
    run, _ = evaluate_run(make_run(tmp_path / "run", dataset), dataset)
    with pytest.raises(RunError, match="Name images by number"):
        named_or_hardest(run, ())
