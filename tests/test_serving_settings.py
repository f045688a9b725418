"""ServeSettings: closed by default, and what opens it says how."""

import pytest

from guarismo.errors import RunError
from guarismo.serving.settings import ServeSettings, is_loopback

TOKEN = "a-token-of-some-length"


def test_by_default_only_this_machine_is_answered():
    assert is_loopback(ServeSettings().host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_loopback_needs_no_token(host):
    assert ServeSettings(host=host).token == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", "", "localhost.example.org"])
def test_an_address_that_others_reach_needs_a_token_or_a_proxy(host):
    with pytest.raises(RunError, match=r"--token is needed.*proxy"):
        ServeSettings(host=host)
    assert ServeSettings(host=host, token=TOKEN).host == host


@pytest.mark.parametrize(
    "token", ["short", "with a space in it", "semi;colon-semi;colon", "ñandú-ñandú-ñandú", "x" * 201]
)
def test_a_token_that_is_short_or_no_word_of_a_header_is_refused_with_a_way_to_make_one(token):
    with pytest.raises(RunError, match=r"secrets\.token_urlsafe"):
        ServeSettings(token=token)


def test_values_out_of_range_are_refused():
    with pytest.raises(RunError, match="port must lie between 0 and 65535"):
        ServeSettings(port=70_000)
    with pytest.raises(RunError, match="patience must lie between"):
        ServeSettings(patience=0)
