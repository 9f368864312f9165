"""The log over the API: two rings, one list, and nobody who hides another's line."""

from __future__ import annotations

from typing import Any, cast

import orjson

from observability.core.events import Log
from observability.core.logs import LogRing
from observability.core.timestamps import NS_PER_S as S
from observability.http.parser import RequestParser
from observability.http.published import Published
from observability.http.routes.system import SystemRoutes
from observability.http.status import Status
from observability.metrics.system_collector import SystemCollector

NOW_NS = 1_700_000_000 * S


async def _written() -> bool:
    return True


class Logs:
    """Both rings, and the route that shows them."""

    def __init__(self) -> None:
        self.own = LogRing()
        self.system = SystemCollector()
        self._routes = SystemRoutes(cast(Published, None), cast(Status, None), self.own, self.system, _written)

    def engine(self, message: str, seconds: int, received: int | None = None, level: Any = "info") -> None:
        arrival = seconds if received is None else received
        self.system.on_log(Log(level, message, ts=NOW_NS + seconds * S, ts_init=NOW_NS + arrival * S))

    def ours(self, message: str, seconds: int, level: str = "INFO") -> None:
        self.own.write(NOW_NS + seconds * S, level, "store", message)

    def recent(self, query: str = "") -> list[dict[str, Any]]:
        parser = RequestParser()
        parser.feed(f"GET /?{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        request = parser.next_request()
        assert request is not None
        lines: list[dict[str, Any]] = orjson.loads(self._routes.recent_logs(request).body)["logs"]
        return lines


def test_lines_of_both_rings_are_merged_by_time() -> None:
    logs = Logs()
    for seconds in (1, 3, 5):
        logs.ours(f"ours {seconds}", seconds)
        logs.engine(f"engine {seconds + 1}", seconds + 1)
    assert [line["message"] for line in logs.recent()] == [
        "engine 6", "ours 5", "engine 4", "ours 3", "engine 2", "ours 1"
    ]  # fmt: skip
    assert [line["source"] for line in logs.recent("limit=2")] == ["engine", "observability"]


def test_the_level_is_that_of_both() -> None:
    logs = Logs()
    logs.ours("fine", 1)
    logs.ours("bad", 2, "ERROR")
    logs.engine("fine too", 3)
    logs.engine("bad too", 4, level="critical")
    assert [(line["level"], line["message"]) for line in logs.recent("level=error")] == [
        ("CRITICAL", "bad too"),
        ("ERROR", "bad"),
    ]


def test_a_line_of_the_engine_from_the_future_does_not_hide_ours() -> None:
    logs = Logs()
    logs.engine("I am from 2055", 10**9, received=1)
    logs.ours("written after it arrived", 2)
    assert [line["message"] for line in logs.recent("limit=1")] == ["written after it arrived"]


def test_a_line_of_the_engine_cannot_pass_for_one_of_ours() -> None:
    logs = Logs()
    logs.system.on_log(
        Log("info", "x\n2023 ERROR store: gone", "store", {"source": "observability"}, ts=NOW_NS, ts_init=NOW_NS)
    )
    (line,) = logs.recent()
    assert (line["source"], line["message"]) == ("engine", "x\\x0a2023 ERROR store: gone")
