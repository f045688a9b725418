"""The server as a process: how it begins, how it ends under load, and clients that behave badly."""

import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarismo.serving.server import MOST_CONNECTIONS
from served import Served, serving

BODY = orjson.dumps({"images": [[[0] * 28] * 28]})
HEAD = (
    "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
).encode()
HEALTH = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def own(tmp_path):
    """A server that the test may end."""
    with serving(tmp_path / "log", "--workers", 1) as server:
        yield server


def one_answer(line: socket.socket) -> tuple[int, bytes, bytes]:
    """Status, head and body of the next answer on a connection; status 0 where it was closed instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := line.recv(1 << 16)):
            return 0, data, b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    while len(body) < length:
        body += line.recv(1 << 16)
    return int(head.split(b" ", 2)[1]), head, body


def in_progress(server: Served) -> int:
    """How many requests the server is at, besides the one that asks."""
    text = server.get("/metrics").text
    return int(float(re.search(r"^guarismo_requests_in_progress (\S+)$", text, flags=re.MULTILINE)[1])) - 1


def test_it_says_where_it_is_once_it_answers_and_ends_without_fault_at_sigterm(own):
    assert own.get("/v2/health/ready").json() == {"ready": True}
    assert own.url == f"http://127.0.0.1:{own.port}"
    assert own.stop() == 0
    assert own.log.read_text() == ""


def test_ctrl_c_ends_it_as_well(own):
    own.process.send_signal(signal.SIGINT)
    assert own.process.wait(60) == 0
    assert own.log.read_text() == ""


def test_only_loopback_is_listened_at(own):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", own.port), timeout=10)


def test_a_port_that_is_taken_is_said_in_a_line(command, served):
    status, _, error = command("serve", "--port", served.port)
    assert status == 1
    assert error.startswith(f"guarismo: Cannot listen at 127.0.0.1, port {served.port}: Address already in use. Choose")


def test_an_open_address_without_a_token_is_refused_in_a_line(command):
    status, _, error = command("serve", "--host", "0.0.0.0")
    assert status == 1
    assert "--token is needed" in error


def test_what_is_no_run_is_refused_before_anything_is_answered(command, tmp_path):
    status, out, error = command("serve", tmp_path, "--port", 0)
    assert (status, out) == (1, "")
    assert "is not a run" in error


def test_no_training_framework_is_imported():
    code = "import sys, guarismo.serving.server; print({'keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def asks_until_the_end(server: Served, begun: threading.Semaphore) -> list[int]:
    """The statuses of request after request on one connection, until the server says that it closes it."""
    statuses = []
    with server.connect() as line:
        while True:
            line.sendall(HEAD + BODY)
            status, head, _ = one_answer(line)
            statuses.append(status)
            begun.release()
            if status != 200 or b"connection: close" in head:
                return statuses


def test_sigterm_under_load_leaves_no_request_without_an_answer(own):
    begun = threading.Semaphore(0)
    with ThreadPoolExecutor(16) as clients:
        lines = [clients.submit(asks_until_the_end, own, begun) for _ in range(16)]
        for _ in range(200):
            begun.acquire()
        assert own.stop() == 0
        statuses = [line.result() for line in lines]
    assert {status for each in statuses for status in each[:-1]} == {200}
    assert {each[-1] for each in statuses} <= {200, 503}, "a request was sent and not answered"


def test_who_asks_while_it_ends_is_told_so(own):
    """A request that is half way is waited for; on another connection nothing new is begun."""
    with own.connect() as begun, own.connect() as kept:
        kept.sendall(HEALTH)
        assert one_answer(kept)[0] == 200
        begun.sendall(HEAD + BODY[:100])
        while in_progress(own) < 1:
            continue
        own.process.terminate()
        kept.sendall(HEALTH)
        status, head, body = one_answer(kept)
        while status == 200:  # the signal is on its way still
            kept.sendall(HEALTH)
            status, head, body = one_answer(kept)
        assert status == 503
        assert b"retry-after: 1" in head and b"connection: close" in head
        assert b"stopping" in body
        begun.sendall(BODY[100:])
        assert one_answer(begun)[0] == 200
    assert own.process.wait(60) == 0


def test_clients_that_leave_half_way_leave_nothing_behind(own):
    for sent in (HEAD, HEAD + BODY[:100], HEAD + BODY, HEAD[:30], b""):
        for _ in range(20):
            with own.connect() as line:
                line.sendall(sent)
    while in_progress(own):
        continue
    assert own.post("/v1/predict", data=BODY, headers={"Content-Type": "application/json"}).status_code == 200
    assert own.log.read_text() == ""


def test_more_work_than_may_wait_is_told_to_come_again_and_harms_nobody_later(own):
    headers = {"Content-Type": "application/octet-stream", "X-Shape": "1024,28,28"}
    with ThreadPoolExecutor(12) as clients:
        lines = [clients.submit(own.post, "/v1/predict", data=bytes(1024 * 784), headers=headers) for _ in range(12)]
        answers = [line.result() for line in lines]
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert any(answer.status_code == 200 for answer in answers)
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
    assert own.post("/v1/predict", data=BODY, headers={"Content-Type": "application/json"}).status_code == 200


def test_more_connections_than_may_be_open_are_closed_and_the_next_is_answered(own):
    lines = [own.connect() for _ in range(MOST_CONNECTIONS)]
    with own.connect() as surplus:
        assert surplus.recv(1) == b""
    for line in lines:
        line.close()
    answered = False
    while not answered:  # until the server has noticed that they left
        with own.connect() as line:
            try:
                line.sendall(HEALTH)
                answered = one_answer(line)[0] == 200
            except ConnectionError:
                continue


def test_requests_that_come_at_once_on_one_connection_are_answered_in_order(served):
    second = HEALTH.replace(b"live", b"ready").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answers = served.say(HEAD + BODY + HEALTH + second)
    assert re.findall(rb'\{"(\w+)"', answers) == [b"probabilities", b"live", b"ready"]


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://localhost HTTP/1.1",
        b"CONNECT localhost:80 HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET /%ff%00 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"BREW /coffee HTTP/1.1",
        b"GET / HTTP/9.9",
        b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000,
    ],
)
def test_heads_that_nobody_sends_end_in_an_answer_and_no_traceback(served, line):
    answer = served.say(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer == b"" or 200 <= int(answer.split(b" ", 2)[1]) < 500
    assert "Traceback" not in served.log.read_text()


@settings(max_examples=150)
@given(st.binary(max_size=60), st.sampled_from([b"", b"GET / HTTP/1.1\r\n", HEAD[:60], HEAD]))
def test_noise_ends_in_an_answer_or_in_silence_and_the_next_is_answered(served, noise, before):
    with served.connect() as line:
        line.sendall(before + noise)
        line.shutdown(socket.SHUT_WR)
    with served.connect() as line:
        line.sendall(HEALTH)
        assert one_answer(line)[0] == 200
    assert "Traceback" not in served.log.read_text()


def test_one_bad_request_harms_no_neighbour(served):
    """Right and wrong ones at once; each right one has the answer that it has alone."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 1, 28, 28)).tolist()
    alone = [served.post("/v1/predict", json={"images": each}).json() for each in images]
    wrong = [{"images": [[[0] * 27] * 28]}, {"images": [[[256] * 28] * 28]}, {"images": "x"}, [], {}]
    with ThreadPoolExecutor(13) as clients:
        for _ in range(5):
            good = [clients.submit(served.post, "/v1/predict", json={"images": each}) for each in images]
            bad = [clients.submit(served.post, "/v1/predict", json=each) for each in wrong]
            assert [line.result().status_code for line in bad] == [422] * 5
            for line, expected in zip(good, alone, strict=True):
                answer = line.result().json()
                assert answer["labels"] == expected["labels"]
                assert np.allclose(answer["probabilities"], expected["probabilities"], atol=1e-6)
