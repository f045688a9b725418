"""The page's files: what lies in the folder, with its type and its mark, and nothing beside it."""

import pytest

from guarismo.serving.pagefiles import FOLDER


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_each_file_is_answered_with_its_content_and_type(served, path):
    answer = served.get(f"/page/{path.name}")
    assert answer.content == path.read_bytes()
    expected = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
    assert answer.headers["content-type"].startswith(expected.get(path.suffix, "application/json"))


def test_the_address_itself_is_the_page(served):
    answer = served.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == (FOLDER / "index.html").read_bytes()


def test_a_browser_that_has_a_file_is_not_sent_it_again(served):
    mark = served.get("/").headers["etag"]
    answer = served.get("/", headers={"If-None-Match": mark})
    assert (answer.status_code, answer.content) == (304, b"")
    assert served.get("/", headers={"If-None-Match": '"another"'}).status_code == 200


@pytest.mark.parametrize("name", ["../api.py", "..%2fapi.py", "%2e%2e/api.py", "nothing.js", "", ".", "index.html/x"])
def test_nothing_beside_the_page_can_be_had(served, name):
    with served.connect() as line:
        line.sendall(f"GET /page/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert line.recv(100).startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
