"""The Open Inference Protocol, asked by a client of another server: tritonclient, JSON and bytes."""

import numpy as np
import orjson
import pytest

from guarismo.data.sources import load
from guarismo.reading.reader import shipped_reader
from guarismo.serving.infer import asked_for
from guarismo.serving.problems import Problem

triton = pytest.importorskip("tritonclient.http", reason="tritonclient is in the [dev] extra")
from tritonclient.utils import InferenceServerException  # noqa: E402

SHAPE = (28, 28, 1)


@pytest.fixture
def client(served):
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
        yield client


def tensor(images: np.ndarray, binary: bool, name: str = "images", kind: str = "UINT8"):
    made = triton.InferInput(name, list(images.shape), kind)
    made.set_data_from_numpy(images, binary_data=binary)
    return made


def test_the_client_finds_the_server_and_its_model(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("reader")
    assert not client.is_model_ready("another")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    about = client.get_model_metadata("reader")
    assert about["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}]
    assert about["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("wanted", [True, False, None])
def test_infer_answers_what_the_reader_says(client, sent, wanted):
    images = load("digits").train.images[:3000:1000]
    outputs = None if wanted is None else [triton.InferRequestedOutput("probabilities", binary_data=wanted)]
    answer = client.infer("reader", [tensor(images, sent)], outputs=outputs, request_id="a-1")
    assert answer.get_response()["id"] == "a-1"
    assert answer.as_numpy("probabilities").dtype == np.float32
    assert np.allclose(answer.as_numpy("probabilities"), shipped_reader().judge(images), atol=1e-6)


def test_the_client_is_told_what_is_wrong_in_its_own_way(client):
    images = np.zeros((1, 28, 28, 1), np.uint8)
    with pytest.raises(InferenceServerException, match=r"no model 'another' here\. This server answers 'reader'"):
        client.infer("another", [tensor(images, True)])
    with pytest.raises(InferenceServerException, match="datatype UINT8"):
        client.infer("reader", [tensor(images.astype(np.float32), True, kind="FP32")])
    with pytest.raises(InferenceServerException, match="n,28,28,1"):
        client.infer("reader", [tensor(images[:, :14], True)])
    with pytest.raises(InferenceServerException, match="one input, 'images'"):
        client.infer("reader", [tensor(images, True), tensor(images, True)])
    with pytest.raises(InferenceServerException, match="no other output than 'probabilities'"):
        client.infer("reader", [tensor(images, True)], outputs=[triton.InferRequestedOutput("logits")])


def test_a_compressed_request_is_told_to_come_without(client):
    with pytest.raises(InferenceServerException, match="without Content-Encoding, received 'gzip'"):
        image = tensor(np.zeros((1, 28, 28, 1), np.uint8), True)
        client.infer("reader", [image], request_compression_algorithm="gzip")


@pytest.mark.parametrize("data", [[0] * 784, [[0] * 784], [[[0] * 28] * 28], [[[[0]] * 28] * 28]])
def test_numbers_may_be_nested_or_flat(data):
    body = {"inputs": [{"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": data}]}
    assert not asked_for(orjson.dumps(body), None, SHAPE).images.any()


GOOD = b'{"inputs":[{"name":"images","shape":[1,28,28],"datatype":"UINT8","parameters":{"binary_data_size":784}}]}'


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (GOOD + bytes(783), str(len(GOOD))),
        (GOOD + bytes(785), str(len(GOOD))),
        (GOOD + bytes(784), None),
        (GOOD + bytes(784), str(len(GOOD) - 1)),
        (GOOD + bytes(784), "99999999"),
        (GOOD + bytes(784), "-1"),
        (GOOD + bytes(784), "abc"),
        (GOOD.replace(b"784", b'"784"') + bytes(784), str(len(GOOD) + 2)),
        (GOOD.replace(b"784", b"true") + bytes(784), str(len(GOOD) + 1)),
        (GOOD.replace(b"[1,28,28]", b'"1,28,28"') + bytes(784), str(len(GOOD))),
        (b'{"inputs":[5]}', None),
        (b'{"inputs":{}}', None),
        (b'{"inputs":[{"name":"images","shape":[1,28,28],"datatype":"UINT8","data":[[0],5]}]}', None),
        (b'{"inputs":[{"name":"images","shape":[1,28,28],"datatype":"UINT8"}],"outputs":5}', None),
        (b"", "0"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(body, length):
    with pytest.raises(Problem) as told:
        asked_for(body, length, SHAPE)
    assert told.value.status in (400, 422)


def test_a_request_that_does_not_is_taken():
    asked = asked_for(GOOD + b"\x07" * 784, str(len(GOOD)), SHAPE)
    assert asked.images.shape == (1, 28, 28, 1) and (asked.images == 7).all() and not asked.binary
