"""The addresses of servers that clients are given."""

from __future__ import annotations

import pytest

from observability.clients.connection import server_url, stream_url


def test_an_address_may_lack_its_scheme() -> None:
    assert server_url("localhost:8000").geturl() == "http://localhost:8000"
    assert stream_url("localhost:8000") == "ws://localhost:8000/ws/metrics"


def test_the_stream_of_a_server_with_tls_has_tls() -> None:
    assert stream_url("https://desk.example") == "wss://desk.example/ws/metrics"


@pytest.mark.parametrize(
    "url", ["localhost:port", "http://localhost:99999", "http://localhost:0", "ftp://x", "http://"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    for read in (server_url, stream_url):
        with pytest.raises(ValueError, match="expected an address like http://localhost:8000"):
            read(url)
