"""The epoch loop: what it decides from the history alone, and what it does."""

import numpy as np
import pytest

from guarismo.errors import RunError
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
