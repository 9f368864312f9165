"""Posts to services: who is asked with which password, and what is told of a refusal."""

from __future__ import annotations

from base64 import b64encode

import pytest

from http_sink import sink
from observability.notify.delivery import DeliveryFailed, post_json


def test_user_and_password_of_a_url_are_basic_authentication() -> None:
    with sink() as service:
        post_json(f"http://ana:p%40ss@127.0.0.1:{service.port}/hook", b"{}", {})
        posted = service.take()
    assert posted.headers["authorization"] == f"Basic {b64encode(b'ana:p@ss').decode()}"
    assert (posted.path, posted.headers["host"]) == ("/hook", f"127.0.0.1:{service.port}")


@pytest.mark.parametrize("answer", [b"Cannot POST {path}", b'{"hook": "T0SECRET"}', b"no key SECRET/Q", b"no SECRETPW"])
def test_a_secret_that_a_service_repeats_is_in_no_reason(answer: bytes) -> None:
    with sink() as service:
        service.statuses, service.answer = [404], answer
        with pytest.raises(DeliveryFailed) as failed:
            post_json(f"http://ana:SECRETPW@127.0.0.1:{service.port}/services/T0SECRET?key=SECRET%2FQ", b"{}", {})
    reason = str(failed.value)
    assert reason.startswith("HTTP 404 ")
    assert "***" in reason and "SECRET" not in reason
    assert failed.value.is_final
