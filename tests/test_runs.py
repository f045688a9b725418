"""Run folders: whole at every moment, checked on opening, nothing in them executed."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guarismo.errors import RunError
from guarismo.models import runs
from guarismo.models.runs import claimed, commit, new_folder, open_run, open_session
from guarismo.results.account import account
from guarismo.results.evaluation import evaluate_run
from tiny_run import bars_dataset, full_disk, linear_model, make_run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", bars_dataset())


def change(run, **parts) -> None:
    """Write these parts into run.json, as an editor would."""
    path = run.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


def test_a_run_opens_as_it_was_written(run):
    opened = open_run(run.folder)
    assert opened.about == run.about
    assert opened.settings.seed == 7
    assert [row["epoch"] for row in opened.history] == list(range(1, 9))


def test_predict_answers_grey_images_with_and_without_a_channel_axis(run):
    images = bars_dataset().test.images
    np.testing.assert_array_equal(run.predict(images), run.predict(images[..., 0]))
    assert run.predict(images[:0]).shape == (0, 3)


def test_large_images_are_answered_few_at_a_time_and_at_least_one(run):
    assert [runs.images_at_once((side, side, 3)) for side in (28, 56, 224, 4096)] == [256, 64, 4, 1]


def test_predict_answers_the_same_whatever_the_size_of_the_batch(run, monkeypatch):
    images = bars_dataset().test.images
    whole = run.predict(images)
    monkeypatch.setattr(runs, "PIXELS_AT_ONCE", 7 * 64)
    np.testing.assert_allclose(run.predict(images), whole, atol=1e-6)


@pytest.mark.parametrize(
    "images", [np.zeros((1, 9, 8, 1), np.uint8), np.zeros((1, 8, 8, 1)), np.zeros((8, 8), np.uint8)]
)
def test_predict_refuses_images_of_another_size_or_type(run, images):
    with pytest.raises(RunError, match=r"answers uint8 images \(n, 8, 8, 1\), received"):
        run.predict(images)


def test_a_missing_file_is_named(run):
    (run.folder / "history.csv").unlink()
    with pytest.raises(RunError, match=r"history\.csv is missing"):
        open_run(run.folder)


def test_one_altered_bit_is_found(run):
    content = bytearray((run.folder / "model.onnx").read_bytes())
    content[100] ^= 1
    (run.folder / "model.onnx").write_bytes(content)
    with pytest.raises(RunError, match=r"model\.onnx was altered"):
        open_run(run.folder)


def test_a_surplus_file_is_named(run):
    (run.folder / "weights.pickle").write_bytes(b"")
    with pytest.raises(RunError, match=r"weights\.pickle does not belong"):
        open_run(run.folder)


def test_a_link_in_place_of_a_file_is_not_followed(run, tmp_path):
    elsewhere = shutil.move(run.folder / "model.onnx", tmp_path / "elsewhere")
    (run.folder / "model.onnx").symlink_to(elsewhere)
    with pytest.raises(RunError, match="plain file"):
        open_run(run.folder)


@pytest.mark.parametrize(
    "parts",
    [
        {"format": 99},
        {"state": None},
        {"data": {"shape": [8, 8], "class_names": []}},
        {"data": {"shape": [8, 8, 10**9], "class_names": []}},
        {"data": {"shape": [8, 8, 1], "class_names": [1]}},
        {"files": {"../../outside": {"bytes": 1, "sha256": ""}}},
        {"files": {"model.onnx": {"bytes": "1", "sha256": ""}}},
        {"files": []},
    ],
)
def test_a_damaged_run_json_is_refused(run, parts):
    change(run, **parts)
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        open_run(run.folder)


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})


def places(value, path=()):
    """The path to every value inside nested dicts and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from places(part, (*path, key))


@given(data=st.data(), odd=ODD)
@settings(max_examples=100)
def test_whatever_value_is_changed_a_run_works_or_is_refused_in_words(tmp_path_factory, data, odd):
    """Opened, evaluated and reported: as far as a strange run.json comes, only RunError may come out."""
    dataset = bars_dataset()
    folder = tmp_path_factory.mktemp("runs") / "run"
    evaluate_run(make_run(folder, dataset), dataset)
    about = json.loads((folder / "run.json").read_text())
    *path, last = data.draw(st.sampled_from(sorted(places(about), key=str)))
    part = about
    for key in path:
        part = part[key]
    part[last] = odd
    (folder / "run.json").write_text(json.dumps(about))
    with suppress(RunError):
        opened = open_run(folder)
        opened.predict(dataset.test.images)
        evaluate_run(opened, dataset)
        account([opened], dataset)
        opened._repr_html_()


@given(content=st.binary(max_size=200) | st.just(b"[" * 100_000))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_run_json_are_refused_in_words(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunError):
        open_run(tmp_path)


def test_a_model_of_another_shape_than_run_json_says_is_refused(run):
    other = linear_model(4, (8, 8, 1), 1.0)
    run = commit(run, {"model.onnx": other})
    with pytest.raises(RunError, match=r"model\.onnx is not of the shape"):
        open_run(run.folder).predict(bars_dataset().test.images)


def test_unknown_settings_are_refused_on_opening(run):
    change(run, settings={"model": "cnn", "callback": "os.system"})
    with pytest.raises(RunError, match="Unknown setting 'callback'"):
        open_run(run.folder)


def test_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(RunError, match=r"no run\.json"):
        open_run(tmp_path / "nowhere")


def test_a_model_that_names_files_of_the_disk_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx", reason="training is the [train] extra")
    weights = onnx.numpy_helper.from_array(np.ones((64, 3), np.float32), "weights")
    onnx.external_data_helper.set_external_data(weights, "secret.bin")
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    node = onnx.helper.make_node("MatMul", ["images", "weights"], ["probabilities"])
    float_info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "stranger",
        [float_info("images", onnx.TensorProto.FLOAT, ["n", 64])],
        [float_info("probabilities", onnx.TensorProto.FLOAT, ["n", 3])],
        [weights],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    content = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    (tmp_path / "secret.bin").write_bytes(np.ones(192, np.float32).tobytes())
    with pytest.raises(RunError, match="cannot be opened"):
        open_session(content)


def test_commit_adds_a_file_and_changes_run_json_together(run):
    changed = commit(run, {"model.skops": b"trees"}, note="grown")
    assert open_run(run.folder).about == changed.about
    assert changed.about["note"] == "grown"


def test_commit_removes_a_file_and_its_entry_together(run):
    changed = commit(run, {}, remove=("history.csv",))
    assert "history.csv" not in changed.about["files"]
    assert open_run(run.folder).history == []


def test_a_commit_onto_a_full_disk_leaves_nothing_behind(run):
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    with full_disk(), pytest.raises(RunError, match=r"Cannot write into .*What was there is unharmed"):
        commit(run, {"model.skops": bytes(5000)})
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


@pytest.mark.parametrize("name", ["evaluation.json.new", "run.json.new"])
def test_a_link_laid_by_a_stranger_is_not_written_through(run, tmp_path, name):
    (tmp_path / "victim").write_text("mine")
    (run.folder / name).symlink_to(tmp_path / "victim")
    evaluate_run(open_run(run.folder), bars_dataset())
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (run.folder / "run.json").is_symlink()


def test_run_json_may_not_be_a_link(run, tmp_path):
    shutil.move(run.folder / "run.json", tmp_path / "elsewhere")
    (run.folder / "run.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="not a plain file"):
        open_run(run.folder)


@pytest.mark.parametrize("stop", ["before run.json", "after run.json"])
def test_a_commit_killed_at_any_step_leaves_a_whole_run(run, monkeypatch, stop):
    """The power goes off: at the second write, or at the move that follows it."""

    def power_off(*_):
        raise KeyboardInterrupt

    if stop == "before run.json":
        monkeypatch.setattr(runs, "write_json", power_off)
    else:
        move = Path.replace
        monkeypatch.setattr(Path, "replace", lambda a, b: move(a, b) if b.name == "run.json" else power_off())
    with pytest.raises(KeyboardInterrupt):
        commit(run, {"history.csv": b"epoch\n"}, note="new")
    monkeypatch.undo()
    opened = open_run(run.folder)
    assert ("note" in opened.about) == (stop == "after run.json")
    assert len(opened.history) == (0 if stop == "after run.json" else 8)


def test_numbered_folders_are_never_shared(tmp_path):
    names = [new_folder(tmp_path, "mnist", model).name for model in ("cnn", "cnn", "mnist-cnn")]
    assert names == ["mnist_cnn_1", "mnist_cnn_2", "mnist_mnist-cnn_1"]


def test_strange_names_make_plain_folders(tmp_path):
    assert new_folder(tmp_path, "../my photos/ä b", "cnn").parent == tmp_path


def test_two_trainings_cannot_hold_one_folder(tmp_path):
    with claimed(tmp_path), pytest.raises(RunError, match="Another process is writing"), claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass


def test_opening_a_model_writes_nothing_anywhere_and_tells_nobody(tmp_path):
    """ONNX Runtime would note its device in the cache, and what it will send in the folder for temporary files."""
    program = "from guarismo.reading.reader import shipped_reader; shipped_reader().run.session"
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", program], env={**environment, **places}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_model_answers_with_as_many_threads_as_are_asked_for(tmp_path, monkeypatch):
    content = linear_model(3, (8, 8, 1), 1.0)
    monkeypatch.setenv("GUARISMO_THREADS", "1")
    assert open_session(content).get_session_options().intra_op_num_threads == 1
    monkeypatch.delenv("GUARISMO_THREADS")
    assert open_session(content).get_session_options().intra_op_num_threads == 0
