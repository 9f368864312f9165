"""`GET /api/system/logs/recent`: lines of all rings in one list, none of which can hide or imitate another's."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson

from observability.clocks.timestamps import NS_PER_S as S
from observability.events import Log
from observability.http11.parser import RequestParser
from observability.logs.log_book import LogBook
from observability.logs.log_ring import LogRing
from observability.memory.counters import Counters
from observability.memory.layout import LOG_ENTRIES
from observability.memory.mapping import SharedMapping
from observability.metrics.system_collector import SystemCollector
from observability.monitoring.acknowledgements import Acknowledger
from observability.monitoring.status import ServerStatus
from observability.rest.published import Published
from observability.rest.system import SystemRoutes

NOW_NS = 1_700_000_000 * S


class Logs:
    """The log rings of one process or of a host, and the route that shows them."""

    def __init__(self, mapping: SharedMapping | None = None) -> None:
        self.own = LogRing()
        self.system = SystemCollector()
        book = LogBook({"": self.own}, self.system.engine_log) if mapping is None else LogBook.of_host(mapping)
        self._routes = SystemRoutes(cast(Published, None), cast(ServerStatus, None), cast(Acknowledger, None), book)

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
        answer: dict[str, Any] = orjson.loads(asyncio.run(self._routes.recent_logs(request)).body)
        lines: list[dict[str, Any]] = answer["logs"]
        assert answer["count"] == len(lines)
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


def test_the_level_applies_to_both_rings() -> None:
    logs = Logs()
    logs.ours("fine", 1)
    logs.ours("bad", 2, "ERROR")
    logs.engine("fine too", 3)
    logs.engine("bad too", 4, level="critical")
    assert [(line["level"], line["message"]) for line in logs.recent("level=error")] == [
        ("CRITICAL", "bad too"),
        ("ERROR", "bad"),
    ]


def test_an_engine_line_from_the_future_does_not_hide_server_lines() -> None:
    logs = Logs()
    logs.engine("I am from 2055", 10**9, received=1)
    logs.ours("written after it arrived", 2)
    assert [line["message"] for line in logs.recent("limit=1")] == ["written after it arrived"]


def test_an_engine_line_cannot_imitate_a_server_line() -> None:
    logs = Logs()
    logs.system.on_log(
        Log("info", "x\n2023 ERROR store: gone", "store", {"source": "observability"}, ts=NOW_NS, ts_init=NOW_NS)
    )
    (line,) = logs.recent()
    assert (line["source"], line["message"]) == ("engine", "x\\x0a2023 ERROR store: gone")


def test_each_line_names_its_process_if_there_are_several() -> None:
    mapping = SharedMapping(3, 1)
    for name, entries in mapping.logs().items():
        LogRing(entries).write(NOW_NS, "INFO", "x", name)
    shown = [(line["source"], line.get("process"), line["message"]) for line in Logs(mapping).recent()]
    processes = ("supervisor", "hub", "worker-1", "worker-2")
    assert shown == [*(("observability", name, name) for name in processes), ("engine", None, "engine")]


def test_a_single_process_is_not_named() -> None:
    logs = Logs()
    logs.ours("fine", 1)
    assert logs.recent() == [
        {
            "timestamp": "2023-11-14T22:13:21.000Z", "level": "INFO", "logger": "store", "message": "fine",
            "source": "observability",
        }
    ]  # fmt: skip


def test_lines_overwritten_while_a_worker_reads_them_are_counted() -> None:
    async def main() -> None:
        mapping, counters = SharedMapping(3, 1), Counters()
        ring = LogRing(mapping.logs()["worker-1"])
        for number in range(LOG_ENTRIES):
            ring.write(number, "INFO", "x", "old")
        lost = counters.counter("lost", "")
        reading = asyncio.create_task(LogBook.of_host(mapping, lost).recent("debug", LOG_ENTRIES))
        # A thousand lines take more than one slice.
        while not reading.done():
            await asyncio.sleep(0)
            ring.write(0, "INFO", "x", "new")
        assert 0 < lost.value == LOG_ENTRIES - len(reading.result())

    asyncio.run(main())
