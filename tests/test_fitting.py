"""The epoch loop: what it decides from the history alone, and what it does."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from guarismo.data import dataset as dataset_file
from guarismo.data.sources import load
from guarismo.errors import RunError
from guarismo.models.runs import open_run
from guarismo.models.settings import Settings

pytest.importorskip("keras", reason="training is the [train] extra")

from guarismo.models import fitting
from guarismo.models.training import new_run


def history(*losses: float) -> list[dict[str, float]]:
    """Epochs with these validation losses; the accuracy falls as the loss rises."""
    rows = enumerate(losses, start=1)
    return [{"epoch": float(epoch), "validation_loss": loss, "validation_accuracy": 1 - loss} for epoch, loss in rows]


def test_the_best_epoch_is_the_first_with_the_lowest_loss():
    assert fitting.best_epoch(history(0.5, 0.2, 0.3, 0.2), Settings()) == 2


def test_the_last_epoch_is_kept_where_that_was_asked():
    assert fitting.best_epoch(history(0.5, 0.2, 0.3), Settings(keep="last")) == 3


@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy"])
def test_training_stops_once_patience_is_used_up(monitor):
    settings = Settings(patience=2, epochs=99, monitor=monitor)
    assert not fitting.done(history(0.5, 0.2, 0.3), settings)
    assert fitting.done(history(0.5, 0.2, 0.3, 0.25), settings)


def test_without_patience_only_the_epochs_end_it():
    assert not fitting.done(history(*[0.5] * 98), Settings(epochs=99))
    assert fitting.done(history(*[0.5] * 99), Settings(epochs=99))


def test_plateau_halves_the_step_size_and_waits_again():
    settings = Settings(schedule="plateau", plateau_patience=2, learning_rate=0.008)
    assert fitting.plateau_step_size(history(0.5, 0.4, 0.4), settings) == 0.008
    assert fitting.plateau_step_size(history(0.5, 0.4, 0.4, 0.4), settings) == 0.004
    assert fitting.plateau_step_size(history(0.5, 0.4, 0.4, 0.4, 0.4, 0.4), settings) == 0.002
    assert fitting.plateau_step_size(history(0.4, *[0.5] * 200), settings) == 1e-5


def test_one_cycle_rises_to_the_peak_and_falls_to_nothing():
    size = fitting.step_size(Settings(epochs=10, learning_rate=0.01), steps_per_epoch=10)
    values = [float(size(step)) for step in range(101)]
    assert np.argmax(values) == 30
    assert max(values) == pytest.approx(0.01)
    assert values[0] < 0.001 and values[100] == pytest.approx(0, abs=1e-6)


def test_a_loss_that_is_no_number_ends_the_training_with_a_remedy():
    with pytest.raises(RunError, match=r"no longer a number in epoch 3.*smaller --learning-rate"):
        fitting.check_finite({"epoch": 3.0, "loss": float("nan")}, Settings())


def test_a_checkpoint_of_another_network_is_refused(bars, tmp_path):
    small, large = Settings(model="linear"), Settings(model="poly-modality-mlp")
    network, trainer = fitting.compiled(bars, small)
    with new_run(tmp_path / "run", bars, small) as run:
        run = fitting.save_checkpoint(run, trainer, fitting.State(history(0.5), network.get_weights()))
    assert fitting.load_checkpoint(run, trainer, network).history == history(0.5)
    network, trainer = fitting.compiled(bars, large)
    with pytest.raises(RunError, match="another network"):
        fitting.load_checkpoint(run, trainer, network)


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_precision_is_as_asked(asked):
    assert fitting.wants_bfloat16(Settings(precision=asked)) == (asked == "bfloat16")


def test_an_epoch_in_parts_shows_the_same_images_in_the_same_order(bars, monkeypatch):
    settings = Settings(batch_size=4)
    ((images, labels),) = fitting.epoch_chunks(bars.train, settings, 1)
    monkeypatch.setattr(dataset_file, "MOST_CHUNK_BYTES", 5_000)  # 64 images of 64 bytes, and 78 do not fill a call
    parts = list(fitting.epoch_chunks(bars.train, settings, 1))
    assert [len(part) for part, _ in parts] == [64, 64, 52]
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), images)
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), labels)


def test_an_epoch_in_parts_has_the_figures_of_the_whole(bars, monkeypatch):
    """Without anything learnt, so that the order of the steps does not count."""
    rows = []
    for most in (2**28, 5_000):
        monkeypatch.setattr(dataset_file, "MOST_CHUNK_BYTES", most)
        settings = Settings(model="linear", batch_size=4, learning_rate=1e-9, schedule="constant", precision="float32")
        fitting.keras.utils.set_random_seed(0)
        network, trainer = fitting.compiled(bars, settings)
        seen = []
        rows.append(
            fitting.one_epoch(
                trainer, bars, settings, [], lambda done, total, seen=seen, **_: seen.append((done, total))
            )
        )
        assert seen[-1][0] == 45 and seen == sorted(seen)
        np.testing.assert_allclose(fitting.predicted(network, bars.test.images).sum(axis=1), 1, rtol=1e-5)
    for name in ("loss", "accuracy", "validation_loss", "validation_accuracy"):
        assert rows[0][name] == pytest.approx(rows[1][name], rel=1e-5)


def test_what_keras_is_given_holds_every_image_in_order_and_the_last_few_too(bars):
    images, wanted = bars.train.images[:10], fitting.targets(bars.train.labels[:10], 2)
    batches = list(fitting.fed(images, wanted, 4)["x"])
    assert [len(part) for part, _ in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([part for part, _ in batches]), images)
    np.testing.assert_array_equal(np.concatenate([answers for _, answers in batches]), wanted)


def test_what_keras_is_given_does_not_tune_itself(bars):
    """A dataset that does may hold up the end of an epoch for as long as the epoch took."""
    given = fitting.fed(bars.train.images[:10], fitting.targets(bars.train.labels[:10], 2), 4)["x"]
    assert given.options().autotune.enabled is False


MEMORY = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from guarismo.data import dataset
    from guarismo.data.dataset import Dataset, Mapped, Split
    from guarismo.models import fitting
    from guarismo.models.settings import Settings

    dataset.MOST_CHUNK_BYTES = 2**24
    count = 20_000  # 600 MB
    store = np.lib.format.open_memmap(sys.argv[1], "w+", np.uint8, (count, 100, 100, 3))  # sparse: no room on the disk
    labels = np.arange(count) % 2
    store[labels == 1, 50] = 200
    train = Split(Mapped(store, np.arange(count)), labels)
    few = train.take(np.arange(200))
    data = Dataset("large", train, few, few, ("dark", "bright"))
    settings = Settings(model="linear", schedule="constant", precision="float32")
    network, trainer = fitting.compiled(data, settings)
    trainer.fit(few.images[:], fitting.targets(few.labels, 2), verbose=0)  # what TensorFlow needs for itself
    used = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line).split()[1])
    resource.setrlimit(resource.RLIMIT_DATA, (used * 1024 + 400 * 2**20,) * 2)
    try:
        np.asarray(train.images)
    except MemoryError:
        print("more than memory")
    row = fitting.one_epoch(trainer, data, settings, [], lambda *counts, **facts: None)
    print(len(fitting.predicted(network, train.images)), row["validation_accuracy"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are measured in /proc")
def test_data_larger_than_memory_are_trained_on(tmp_path):
    """600 MB of images where 400 MB of memory are left: too much for an array, not for an epoch and its answers."""
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY), str(tmp_path / "images.npy")],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert ran.stdout.splitlines() == ["more than memory", "20000 1.0"], ran.stderr[-2000:]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_with_another_backend_of_keras_a_run_answers_all_the_same(tmp_path, backend):
    """Trained by that backend, written as ONNX by TensorFlow: train checks that both answer alike."""
    pytest.importorskip(backend, reason="a backend that Keras may be told to use")
    words = [
        "train",
        "digits",
        "--model",
        "cnn",
        "--epochs",
        "1",
        "--limit",
        "500",
        "--shift",
        "0.1",
        "--neighbours",
        "--out",
    ]
    environment = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(
        [sys.executable, "-m", "guarismo", *words, str(tmp_path / "run")],
        env=environment,
        check=True,
        capture_output=True,
    )
    run = open_run(tmp_path / "run")
    assert run.about["facts"]["backend"] == backend
    assert run.predict(load("digits").test.images[:5]).shape == (5, 10)
