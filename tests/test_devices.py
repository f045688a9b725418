"""Several devices that share a training: one processor taken for two, in a process of its own, as JAX counts once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from guarismo.errors import RunError
from guarismo.models.settings import Settings

pytest.importorskip("keras", reason="training is the [train] extra")

from guarismo.models.devices import devices_for, evenly
from guarismo.models.training import train

TWO = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from guarismo.data.dataset import Dataset
from guarismo.errors import RunError
from guarismo.models.devices import Shared, devices_for, shared_by
from guarismo.models.fitting import compiled, keras, one_epoch, weight_names
from guarismo.models.runs import open_run
from guarismo.models.settings import Settings
from guarismo.models.training import resume, train
from guarismo.progress import silent
from tiny_run import bars, bars_dataset

out, whole = Path(sys.argv[1]), bars_dataset()
odd = replace(whole, train=bars(175), validation=bars(59))  # 5 · 32 + 15: the last batch is of no even number
one = Settings(model="mlp", width=0.1, epochs=2, batch_size=32, precision="float32", keep="last")
two = replace(one, devices=2)

def refusal(settings):
    try:
        train(odd, settings, out / "refused")
    except RunError as error:
        return str(error)

def stop_after_first(done, total, **facts):
    if facts["epoch"] == 2:
        raise KeyboardInterrupt

with shared_by(devices_for(two)):
    _, trainer = compiled(odd, two)
    holders = len(trainer.weights[0].value.sharding.device_set)
keras.utils.set_random_seed(one.seed)
network, trainer = compiled(odd, one)
alone = []
for epoch in range(one.epochs):
    alone.append(one_epoch(trainer, odd, one, alone, silent))
try:
    train(odd, two, out / "two", stop_after_first)
except KeyboardInterrupt:
    together = resume(open_run(out / "two"), odd)
weights = dict(zip(weight_names(network), network.get_weights(), strict=True)), together.arrays("weights")
shared = Shared(devices=["cpu:0", "cpu:1"])
print(json.dumps({
    "refused": [refusal(replace(one, devices=3)), refusal(replace(two, batch_size=33)), (out / "refused").exists()],
    "all": devices_for(replace(one, devices=0)),
    "holders": holders,
    "shares": [list(shared.get_data_layout((rows, 8)).backend_layout.shard_shape((rows, 8))) for rows in (32, 15)],
    "losses": [[[row["loss"], row["validation_loss"]] for row in rows] for rows in (alone, together.history)],
    "difference": max(float(np.abs(weights[0][name] - weights[1][name]).max()) for name in weights[0]),
    "moved": max(float(np.abs(array).max()) for array in weights[0].values()),
    "devices": together.about["facts"]["devices"],
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the process above says, where JAX takes the processor for two."""
    pytest.importorskip("jax", reason="the backend that shares a batch")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling is what takes the time
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    }
    words = [sys.executable, "-c", TWO, str(tmp_path_factory.mktemp("devices"))]
    ran = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])


def test_two_devices_learn_what_one_does_though_cut_off_between(found):
    """Sums in another order are rounded otherwise; the weights themselves are up to 1 and more."""
    assert found["devices"] == 2
    assert found["losses"][1] == [pytest.approx(row, rel=1e-4) for row in found["losses"][0]]
    assert found["difference"] < 1e-4 < 0.1 < found["moved"]


def test_both_hold_the_network_and_half_of_each_batch(found):
    assert found["holders"] == 2
    assert found["shares"] == [[16, 8], [15, 8]]  # a batch that cannot be halved is computed whole by both


def test_nought_takes_every_device(found):
    assert found["all"] == ["cpu:0", "cpu:1"]


def test_too_few_devices_and_a_batch_that_cannot_be_shared_are_refused_before_a_folder_is_made(found):
    few, uneven, made = found["refused"]
    assert few == "Expected 3 devices, JAX finds 2: cpu:0, cpu:1. Ask for fewer, or for all with --devices 0."
    assert uneven.endswith("by 2 devices. Take --batch-size 32 or another multiple of 2.")
    assert not made


def test_another_backend_says_which_one_can(bars, tmp_path):
    with pytest.raises(RunError, match="train together with JAX; Keras computes with tensorflow here"):
        train(bars, Settings(model="linear", devices=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_on_one_device_nothing_comes_apart(bars):
    assert devices_for(Settings()) == ["one"]
    whole = (bars.train.images, bars.train.labels)
    assert list(evenly([whole], 32)) == [whole]
