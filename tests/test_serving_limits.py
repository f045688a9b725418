"""Who may ask, how much and how slowly: each bound is met by somebody who breaks it."""

import asyncio
import re

import orjson
import pytest
import requests

from guarismo.serving.limits import JSON_BYTES, Bodies
from guarismo.serving.problems import Problem
from served import everything, serving

TOKEN = "open-sesame-open-sesame"
IMAGE = orjson.dumps({"images": [[[0] * 28] * 28]})


def request(path: str = "/v1/predict", *headers: str, body: bytes = b"", host: str = "localhost") -> bytes:
    """A POST, each of its lines as it is given."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with a token, and little patience."""
    folder = tmp_path_factory.mktemp("guarded")
    with serving(folder / "log", "--token", TOKEN, "--patience", 0.5, "--workers", 1) as server:
        yield server


@pytest.mark.parametrize("length", [JSON_BYTES + 1, 10**12, 10**18])
def test_a_body_that_says_that_it_is_too_large_is_refused_before_it_comes(served, length):
    """The client asks whether to go on, and is told no."""
    answer = served.say(request("/v1/predict", f"Content-Length: {length}", "Expect: 100-continue"))
    assert status(answer) == 413
    assert b"4 MiB" in answer


def test_a_body_that_is_too_large_is_refused_and_its_sender_reads_why(served):
    for send in ({"data": bytes(JSON_BYTES + 1)}, {"data": iter([bytes(2**20)] * 5)}):  # with a length, and in chunks
        answer = served.post("/v1/predict", headers={"Content-Type": "application/json"}, **send)
        assert answer.status_code == answer.json()["status"] == 413


def test_photos_may_be_larger(served):
    answer = served.post("/v1/read", data=bytes(JSON_BYTES + 1), headers={"Content-Type": "image/png"})
    assert answer.status_code == 415  # read, and found to be none
    answer = served.post("/v1/read", data=bytes(32 * 2**20 + 1), headers={"Content-Type": "image/png"})
    assert answer.status_code == 413


def test_a_chunked_body_is_read_like_any_other(served):
    assert status(served.say(request("/v1/predict", "Transfer-Encoding: chunked", body=chunked(IMAGE)))) == 200


def test_a_body_without_any_length_is_empty(served):
    assert status(served.say(request(body=IMAGE))) == 400


def test_a_length_that_is_too_short_cuts_the_body_off(served):
    assert status(served.say(request("/v1/predict", "Content-Length: 20", body=IMAGE))) == 400


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: -5"],
        ["Content-Length: five"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked, identity"],
    ],
)
def test_lengths_that_contradict_themselves_end_the_connection_with_a_problem(served, headers):
    answer = served.say(request("/v1/predict", *headers, body=IMAGE))
    assert status(answer) == 400
    assert b"application/problem+json" in answer


def test_a_length_that_is_too_long_is_waited_for_and_no_longer_than_said(guarded):
    head = request("/v1/predict", f"Content-Length: {len(IMAGE) + 1}", f"Authorization: Bearer {TOKEN}")
    answer = guarded.say(head + IMAGE)
    assert status(answer) == 408
    assert b"within 0.5 s" in answer


@pytest.mark.parametrize("begun", [b"", b"POST /v1/pre", b"POST /v1/predict HTTP/1.1\r\nHost: local"])
def test_a_head_that_does_not_come_is_not_waited_for(guarded, begun):
    with guarded.connect() as line:
        line.sendall(begun)
        answer = everything(line)
    assert status(answer) == 408
    assert b"application/problem+json" in answer


def test_a_second_head_on_a_kept_connection_is_not_waited_for_either(guarded):
    with guarded.connect() as line:
        line.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v2/hea")
        answers = everything(line)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"408"]


def test_all_bodies_together_are_bounded_and_room_is_given_back():
    """800 of 1,000 bytes are held by one request while another brings 300."""

    async def scene() -> list[int]:
        asked, may_end = asyncio.Event(), asyncio.Event()

        async def app(scope, receive, send):
            await receive()
            if scope["holds"]:
                asked.set()
                await may_end.wait()

        bodies = Bodies(app, 30, most=1000)

        async def ask(size: int, holds: bool) -> int:
            async def receive():
                return {"type": "http.request", "body": bytes(size), "more_body": False}

            try:
                await bodies({"type": "http", "path": "/", "headers": [], "holds": holds}, receive, None)
            except Problem as told:
                return told.status
            return 200

        first = asyncio.create_task(ask(800, True))
        await asked.wait()
        during = [await ask(300, False), await ask(200, False)]
        may_end.set()
        return [await first, *during, await ask(300, False), bodies.held]

    assert asyncio.run(scene()) == [200, 503, 200, 200, 0]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", ""]
)
def test_a_name_that_was_bent_to_this_address_is_refused(served, host):
    assert served.get("/v1/runs", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9999", "[::1]:80"])
def test_names_of_this_machine_are_answered_on_any_port(served, host):
    """Behind a forwarded port as well."""
    assert served.get("/v1/runs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://evil.example:80"])
def test_another_page_changes_nothing_here(served, origin):
    answer = served.post("/v1/predict", data=IMAGE, headers={"Origin": origin, "Content-Type": "application/json"})
    assert answer.status_code == 403


def test_our_own_page_does(served):
    headers = {"Origin": served.url, "Content-Type": "application/json"}
    assert served.post("/v1/predict", data=IMAGE, headers=headers).status_code == 200


def test_no_other_page_may_read_an_answer(served):
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    asked = requests.options(served.url + "/v1/predict", headers=preflight, timeout=60)
    assert asked.status_code == 405
    for answer in (asked, served.get("/v1/runs", headers=preflight)):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/v1/runs", "/nowhere", "/openapi.json"])
def test_every_answer_switches_the_protections_of_browsers_on(served, path):
    headers = served.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong-wrong-wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"Cookie": "guarismo_token=wrong"},
        {"Cookie": f"other={TOKEN}"},
        {"Cookie": "\xff;;;=;guarismo_token"},
    ],
)
def test_without_the_token_nothing_is_answered(guarded, headers):
    for path in ("/", "/v1/runs", "/openapi.json", "/metrics", "/page/style.css", "/nowhere"):
        answer = guarded.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text


def test_the_token_opens(guarded):
    assert guarded.get("/v1/runs", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/v1/runs", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


def test_the_page_takes_the_token_once_and_drops_it_from_its_address(guarded):
    with requests.Session() as browser:
        answer = browser.get(f"{guarded.url}/?token={TOKEN}", timeout=60)
        assert answer.url == f"{guarded.url}/"
        (cookie,) = browser.cookies
        assert cookie.has_nonstandard_attr("HttpOnly") and cookie.get_nonstandard_attr("SameSite") == "lax"
        assert browser.get(f"{guarded.url}/v1/runs", timeout=60).status_code == 200
    assert guarded.get("/?token=wrong-wrong-wrong").status_code == 401
    assert guarded.get(f"/v1/runs?token={TOKEN}").status_code == 401


def test_with_a_token_any_host_may_be_named_and_health_is_told(guarded):
    """A proxy calls the server by the name that people know."""
    headers = {"Host": "digits.example", "Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/v1/runs", headers=headers).status_code == 200
    assert guarded.get("/v2/health/live").status_code == 200


def test_the_token_is_never_in_the_log(guarded):
    guarded.get(f"/?token={TOKEN}")
    assert TOKEN not in guarded.log.read_text()
