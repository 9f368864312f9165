"""The CORS fields of answers and of preflights."""

from __future__ import annotations

from observability.http11.cors import CorsPolicy


def test_a_listed_origin_is_echoed_and_no_other() -> None:
    policy = CorsPolicy(["http://localhost:3000", "https://Dash.example/"])
    assert policy.allowed_origin(b"http://localhost:3000") == b"http://localhost:3000"
    assert policy.allowed_origin(b"https://dash.example") == b"https://dash.example"
    assert policy.allowed_origin(b"http://localhost:3001") is None
    assert policy.allowed_origin(b"null") is None
    assert policy.allowed_origin(None) is None


def test_a_star_allows_every_origin_and_is_itself_the_answer() -> None:
    assert CorsPolicy("*").allowed_origin(b"http://anybody") == b"*"


def test_a_preflight_of_an_unknown_origin_gets_no_fields() -> None:
    policy = CorsPolicy(["http://a"])
    assert policy.preflight_fields(b"http://b", b"GET") == ()
    assert dict(policy.preflight_fields(b"http://a", b"GET"))[b"Access-Control-Allow-Methods"] == b"GET"
