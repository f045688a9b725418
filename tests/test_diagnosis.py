"""What the curves of a training tell, with planted faults."""

from guarismo.results.diagnosis import overfitting


def history(*validation_losses, losses=None):
    losses = losses or [1 / (epoch + 1) for epoch in range(len(validation_losses))]
    pairs = enumerate(zip(losses, validation_losses, strict=True), start=1)
    return [{"epoch": float(epoch), "loss": loss, "validation_loss": v} for epoch, (loss, v) in pairs]


def test_overfitting_is_found_with_its_epoch_and_its_losses():
    found = overfitting(history(0.5, 0.3, 0.35, 0.4, 0.5))
    assert (found.epoch, found.lowest, found.last_epoch, found.last) == (2, 0.3, 5, 0.5)
    assert (
        "over-fits from epoch 2: the validation loss rises from 0.3000 there to 0.5000 in epoch 5" in found.sentence()
    )
    assert "--patience" in found.remedy()


def test_a_healthy_training_is_passed_over_in_silence():
    assert overfitting(history(0.5, 0.4, 0.3, 0.29, 0.3)) is None
    assert overfitting(history(0.5, 0.3, 0.301, 0.302, 0.303)) is None
    assert overfitting([]) is None


def test_one_bad_last_epoch_is_no_turn():
    assert overfitting(history(0.5, 0.4, 0.3, 0.3, 0.31, 0.34)) is None


def test_a_training_that_went_astray_is_not_called_overfitting():
    assert overfitting(history(0.5, 0.3, 0.5, 0.6, 0.7, losses=[0.4, 0.3, 0.5, 0.6, 0.7])) is None
