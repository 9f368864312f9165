"""The routing table: which route a method and a path have, and the refusal where there is none."""

from __future__ import annotations

import pytest

from observability.http11.messages import Response
from observability.http11.refusals import MethodNotAllowed, NotFound, Refusal
from observability.routing.router import RouteDescription, Router


def handler(request: object, **params: str) -> Response:
    return Response()


@pytest.fixture
def router() -> Router:
    router = Router()
    router.add(
        "GET",
        "/api/trades",
        handler,
        name="trades",
        description=RouteDescription("Trade history"),
    )
    router.add("GET", "/api/trades/{trade_id}", handler)
    router.add("GET", "/api/trades/stats/summary", handler)
    router.add("POST", "/api/alerts/{alert_id}/acknowledge", handler)
    router.add_websocket("/ws/metrics")
    return router


def match(router: Router, method: str, path: str) -> tuple[str, dict[str, str]]:
    route, params = router.match(method, path, tuple(path[1:].split("/")))
    return route.pattern, params


def test_a_static_path_is_found(router: Router) -> None:
    assert match(router, "GET", "/api/trades/stats/summary") == ("/api/trades/stats/summary", {})


def test_a_parameter_matches_one_segment(router: Router) -> None:
    assert match(router, "GET", "/api/trades/T-1") == ("/api/trades/{trade_id}", {"trade_id": "T-1"})
    assert match(router, "POST", "/api/alerts/7/acknowledge")[1] == {"alert_id": "7"}


def test_head_has_the_route_of_get(router: Router) -> None:
    assert match(router, "HEAD", "/api/trades")[0] == "/api/trades"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/trades/",
        "/api//trades",
        "/api/trades/a/b",
        "/api/trades/..",
        "/api/trades/.",
        "/../api/trades",
    ],
)
def test_an_unknown_path_is_not_found(router: Router, path: str) -> None:
    with pytest.raises(NotFound):
        match(router, "GET", path)


def test_an_escaped_slash_does_not_reach_a_longer_path(router: Router) -> None:
    route, params = router.match("GET", "/api/trades/stats%2Fsummary", ("api", "trades", "stats/summary"))
    assert (route.pattern, params) == ("/api/trades/{trade_id}", {"trade_id": "stats/summary"})


def test_a_405_lists_the_methods_of_the_path(router: Router) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        match(router, "POST", "/api/trades")
    assert caught.value.headers == ((b"Allow", b"GET, HEAD, OPTIONS"),)


@pytest.mark.parametrize(("method", "path", "status"), [
    ("BREW", "/api/trades", 501), ("GET", "/ws/metrics", 426), ("POST", "/ws/metrics", 405), ("DELETE", "/none", 404),
])  # fmt: skip
def test_each_reason_for_no_route_has_its_status(router: Router, method: str, path: str, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        match(router, method, path)
    assert caught.value.status == status


def test_routes_are_listed_with_their_descriptions(router: Router) -> None:
    assert len(router.routes) == 4
    assert (router.routes[0].name, router.routes[0].description.summary) == ("trades", "Trade history")


def test_adding_a_route_twice_is_an_error(router: Router) -> None:
    with pytest.raises(AssertionError, match="twice"):
        router.add("GET", "/api/trades", handler)
