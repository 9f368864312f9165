"""Sites with real hubs behind them: what the merged snapshot shows of each, and what it says of one that is away."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from typing import Any

import orjson
import pytest
from msgspec import msgpack, structs

from desk_site import DeskSite
from fake_clock import FakeClock
from observability.bus import Bus
from observability.clocks.clock import EventClock
from observability.cluster.follower import Place
from observability.cluster.frame_message import pack_frame, unpack_frame
from observability.errors import SourceError
from observability.memory.counters import Counters
from observability.metrics.assembly import make_history
from observability.metrics.strategy.totals import SERIES_FIELDS as STRATEGY_FIELDS
from observability.metrics.system_collector import SystemCollector
from observability.sites.frame_check import decoded, type_of
from observability.sites.naming import merged_alerts, split_id
from observability.sites.sections import MergedSections, merged_sections
from observability.sites.system_section import SystemSection
from observability.snapshot.hub import Hub
from observability.sources.brokers.nats_connection import Message

D = Decimal


class Aggregator:
    """The sections of an aggregator over the hubs of some desks; `snapshot` is one tick of it."""

    def __init__(self, *names: str, **settings: Any) -> None:
        self.clock = FakeClock()
        self.desks = [DeskSite(name, self.clock, **settings) for name in names]
        self.history = history = make_history(8)
        event_clock = EventClock(self.clock)
        own = SystemCollector(bus=Bus(), clock=event_clock, history=history)
        self.alert_book = own.alert_book
        self.sections: MergedSections = merged_sections([each.site for each in self.desks], self.clock, own, history)
        self._system = SystemSection(own, self.sections.sites)
        sections = self.sections
        self.hub = Hub(
            0.1,
            Bus(),
            self.clock,
            event_clock,
            (sections.sites, sections.market, sections.strategy, sections.execution, self._system),
            {},
            Counters(),
        )

    def snapshot(self) -> dict[str, Any]:
        self.hub.tick()
        frame = self.hub.frames.latest()
        assert frame is not None
        found: dict[str, Any] = orjson.loads(frame.payload)
        return found


def test_names_of_two_sites_do_not_collide() -> None:
    aggregator = Aggregator("london", "tokyo")
    for desk in aggregator.desks:
        desk.trade(1, D(10), D(100))
        desk.publish()
    snapshot = aggregator.snapshot()
    strategy = snapshot["strategy"]
    assert list(snapshot["market_data"]) == ["london/AAPL", "tokyo/AAPL"]
    assert list(strategy["strategies"]) == ["london/mm", "tokyo/mm"]
    assert [position["key"] for position in strategy["positions"]] == ["london/mm/AAPL", "tokyo/mm/AAPL"]
    assert {(each["symbol"], each["strategy"]) for each in strategy["positions"]} == {
        ("london/AAPL", "london/mm"), ("tokyo/AAPL", "tokyo/mm")
    }  # fmt: skip


def test_totals_are_those_of_the_sites_whatever_they_trade() -> None:
    chance = random.Random(3)
    aggregator = Aggregator("london", "tokyo", "paris", starting_capital=D("1000.5"))
    for number in range(60):
        desk = chance.choice(aggregator.desks)
        price = D(chance.randrange(9_000, 11_000)) / 100
        desk.trade(number, D(chance.choice([-7, -3, 5, 11])), price, chance.choice(["AAPL", "MSFT", "NVDA"]))
    published = [desk.publish()["strategy"] for desk in aggregator.desks]
    strategy = aggregator.snapshot()["strategy"]
    for name in ("total_pnl", "realized_pnl", "fees", "gross_exposure", "net_exposure", "equity"):
        assert strategy[name] == float(sum(D(repr(each[name])) for each in published)), name
    assert strategy["fills"] == 60
    assert strategy["open_positions"] == len(strategy["positions"])
    assert strategy["missing_sites"] == []
    assert strategy["sites"]["tokyo"]["drawdown"] == published[1]["drawdown"]


def test_a_site_that_falls_silent_is_stale_and_in_no_total() -> None:
    aggregator = Aggregator("london", "tokyo")
    for desk in aggregator.desks:
        desk.trade(1, D(10), D(100))
        desk.publish()
    assert aggregator.snapshot()["strategy"]["fills"] == 2
    aggregator.clock.advance(3)
    aggregator.desks[0].publish()
    snapshot = aggregator.snapshot()
    assert {name: site["status"] for name, site in snapshot["sites"].items()} == {"london": "live", "tokyo": "stale"}
    assert snapshot["sites"]["tokyo"]["age_ms"] == 3000.0
    for section in ("strategy", "execution", "system"):
        assert snapshot[section]["missing_sites"] == ["tokyo"]
    assert snapshot["strategy"]["fills"] == 1
    # What it has sent last is still there, and says that it is old.
    assert snapshot["market_data"]["tokyo/AAPL"]["stale"]
    assert [(each["key"], each["stale"]) for each in snapshot["strategy"]["positions"]] == [
        ("london/mm/AAPL", False), ("tokyo/mm/AAPL", True)
    ]  # fmt: skip
    aggregator.desks[1].publish()
    snapshot = aggregator.snapshot()
    assert (snapshot["strategy"]["fills"], snapshot["strategy"]["missing_sites"]) == (2, [])
    assert not snapshot["market_data"]["tokyo/AAPL"]["stale"]


def test_a_site_that_was_never_seen_is_missing() -> None:
    aggregator = Aggregator("london", "tokyo")
    aggregator.desks[0].trade(1, D(10), D(100))
    aggregator.desks[0].publish()
    snapshot = aggregator.snapshot()
    assert snapshot["sites"]["tokyo"]["status"] == "missing"
    assert snapshot["sites"]["tokyo"]["reason"] == "not connected yet"
    assert snapshot["strategy"]["missing_sites"] == ["tokyo"]


def test_a_frame_that_was_kept_for_newcomers_is_as_old_as_it_is() -> None:
    aggregator = Aggregator("london")
    desk = aggregator.desks[0]
    desk.publish(stored_ns=aggregator.clock.time_ns() - 60_000_000_000)
    site = aggregator.snapshot()["sites"]["london"]
    assert (site["status"], site["age_ms"]) == ("stale", 60_000.0)


def test_a_part_that_is_gone_at_its_site_is_gone() -> None:
    aggregator = Aggregator("london", "tokyo")
    for desk in aggregator.desks:
        desk.trade(1, D(10), D(100))
        desk.publish()
    aggregator.snapshot()
    desk = aggregator.desks[0]
    desk.trade(2, D(-10), D(101))
    desk.publish()
    assert [each["key"] for each in aggregator.snapshot()["strategy"]["positions"]] == ["tokyo/mm/AAPL"]


def test_a_part_that_stays_the_same_is_not_sent_again() -> None:
    aggregator = Aggregator("london")
    desk = aggregator.desks[0]
    desk.trade(1, D(10), D(100))
    desk.publish()
    aggregator.snapshot()
    part = aggregator.sections.market.parts(None)["london/AAPL"]
    version = part.version
    desk.publish()
    aggregator.snapshot()
    assert part.version == version


def test_what_is_merged_tick_by_tick_is_what_the_newest_frames_say() -> None:
    chance = random.Random(7)
    aggregator = Aggregator("london", "tokyo")
    for number in range(80):
        desk = chance.choice(aggregator.desks)
        # Positions open and close, symbols are added, and some frames are never merged.
        desk.trade(number, D(chance.choice([-2, -1, 1, 2])), D(chance.randrange(90, 110)), chance.choice("ABCDE"))
        aggregator.clock.advance(0.05)
        for each in aggregator.desks:
            each.publish()
        if chance.random() < 0.7:
            aggregator.snapshot()
    fresh = Aggregator("london", "tokyo")
    fresh.clock.now_ns = aggregator.clock.now_ns
    for old, new in zip(aggregator.desks, fresh.desks, strict=True):
        new.site.take(old.sent, Place(1, aggregator.clock.time_ns(), 0))
    merged, expected = aggregator.snapshot(), fresh.snapshot()
    for section in ("market_data", "strategy", "execution"):
        assert merged[section] == expected[section]
    assert list(merged["strategy"]["strategies"]) == list(expected["strategy"]["strategies"])


def test_a_site_that_is_away_raises_an_alert_until_it_is_back() -> None:
    aggregator = Aggregator("london", "tokyo")
    aggregator.desks[0].publish()
    aggregator.snapshot()
    assert aggregator.alert_book.active() == []
    aggregator.clock.advance(6)
    aggregator.desks[0].publish()
    aggregator.snapshot()
    (alert,) = aggregator.alert_book.active()
    assert (alert.key, alert.severity, alert.title) == ("site_missing/tokyo", "critical", "Site tokyo is missing")
    aggregator.desks[1].publish()
    aggregator.snapshot()
    assert aggregator.alert_book.active() == []


def test_a_damaged_frame_is_counted_and_not_shown() -> None:
    aggregator = Aggregator("london")
    desk = aggregator.desks[0]
    desk.publish()
    before = aggregator.snapshot()["sites"]["london"]["seq"]
    desk.site.take(Message("", "", b"nonsense", {}), Place(9, 0, 0))
    assert aggregator.snapshot()["sites"]["london"]["seq"] == before
    assert desk.counters.total("cluster_site_frames_refused_total") == 1


def test_a_frame_whose_index_does_not_fit_its_shape_is_counted_and_not_shown() -> None:
    aggregator = Aggregator("london")
    desk = aggregator.desks[0]
    desk.publish()
    before = aggregator.snapshot()["sites"]["london"]["seq"]
    frame = unpack_frame(desk.sent.headers, desk.sent.data)
    payload, shape, numbers, removed = frame.parts
    headers, body = pack_frame(structs.replace(frame, seq=before + 1, parts=(payload, shape, numbers[:-8], removed)))
    desk.site.take(Message("", "", body, headers), Place(9, aggregator.clock.time_ns(), 0))
    assert aggregator.snapshot()["sites"]["london"]["seq"] == before
    assert desk.counters.total("cluster_site_frames_refused_total") == 1


def test_a_frame_whose_shape_has_keys_without_symbols_is_counted_and_not_shown() -> None:
    aggregator = Aggregator("london")
    (desk,) = aggregator.desks
    desk.trade(1, D(10), D(100))
    desk.publish()
    frame = unpack_frame(desk.sent.headers, desk.sent.data)
    payload, shape, *others = frame.parts
    sections, custom = msgpack.decode(shape)
    sections[0][3][0][3] = []
    parts = (payload, msgpack.encode([sections, custom]), *others)
    headers, body = pack_frame(structs.replace(frame, seq=frame.seq + 1, parts=parts))
    desk.site.take(Message("", "", body, headers), Place(9, desk.clock.time_ns(), 0))
    assert desk.counters.total("cluster_site_frames_refused_total") == 1
    assert aggregator.snapshot()["sites"]["london"]["seq"] == frame.seq


def test_counts_whose_sum_could_not_be_written_are_refused() -> None:
    part = b'{"trades":%d,"volume":1.0}'
    assert decoded(part % 2**53, type_of("market_data", None, "AAPL"))["trades"] == 2**53
    with pytest.raises(SourceError, match="trades"):
        decoded(part % (2**64 - 1), type_of("market_data", None, "AAPL"))
    fields = orjson.dumps({"orders_today": 2**64 - 1})
    with pytest.raises(SourceError, match="orders_today"):
        decoded(fields, type_of("execution", None, None))


def forge(desk: DeskSite, old: bytes, new: bytes, epoch: str | None = None) -> None:
    """Publishes the newest frame once more, with the right SHA-256, but other bytes in its snapshot."""
    assert len(old) == len(new)
    frame = unpack_frame(desk.sent.headers, desk.sent.data)
    payload, *index = frame.parts
    assert old in payload
    parts = (payload.replace(old, new, 1), *index)
    headers, body = pack_frame(structs.replace(frame, epoch=epoch or frame.epoch, seq=frame.seq + 1, parts=parts))
    desk.site.take(Message("", "", body, headers), Place(9, desk.clock.time_ns(), 0))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"AAPL":{"last_price"', b'"AAPL":["last_price"', "market_data/AAPL of frame 2 cannot be used"),
        (b'"symbol":"AAPL"', b'"symbol":"AA\xff\xff"', "strategy/positions/mm/AAPL of frame 2 cannot be used"),
        (b'"trades":', b'"tradez":', "missing required field `trades`"),
        (b'"last_signal":null', b'"last_signal":"no"', "Expected `object | null`, got `str`"),
        (b'"total_pnl":-0.1', b'"total_pnl":"-1"', "Expected `float | null`, got `str`"),
        (b'"reporting_currency":"USD"', b'"reporting_currency":12345', "Expected `str`, got `int`"),
        (b'"active_alerts":0', b'"active_alertz":0', "system of frame 2 cannot be used"),
    ],
)
def test_a_frame_whose_parts_cannot_be_used_costs_its_own_site_alone(
    old: bytes, new: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    aggregator = Aggregator("london", "tokyo")
    for desk in aggregator.desks:
        desk.trade(1, D(10), D(100))
        desk.publish()
    assert aggregator.snapshot()["strategy"]["fills"] == 2
    tokyo = aggregator.desks[1]
    for _ in range(3):
        # As of another hub: all of its parts are new.
        forge(tokyo, old, new, epoch="1")
    assert tokyo.counters.total("cluster_site_frames_refused_total") == 3
    assert aggregator.snapshot()["strategy"]["fills"] == 2
    aggregator.clock.advance(3)
    aggregator.desks[0].publish()
    snapshot = aggregator.snapshot()
    assert (snapshot["strategy"]["fills"], snapshot["strategy"]["missing_sites"]) == (1, ["tokyo"])
    tokyo.site.link.trouble = None
    site = aggregator.snapshot()["sites"]["tokyo"]
    assert (site["status"], site["seq"]) == ("stale", 1)
    assert said in site["reason"]
    assert caplog.text.count("a frame of site tokyo is not shown") == 1
    tokyo.publish()
    assert aggregator.snapshot()["strategy"]["fills"] == 2


def test_bytes_that_changed_against_their_index_cost_their_own_site_alone() -> None:
    aggregator = Aggregator("london", "tokyo")
    for desk in aggregator.desks:
        desk.trade(1, D(10), D(100))
        desk.publish()
    aggregator.snapshot()
    tokyo = aggregator.desks[1]
    tokyo.site.link.trouble = None
    forge(tokyo, b'"AAPL":{"last_price"', b'"AAPL":["last_price"')
    assert aggregator.snapshot()["strategy"]["missing_sites"] == []
    # Once it is stale, all of its parts are merged anew.
    aggregator.clock.advance(3)
    aggregator.desks[0].publish()
    assert aggregator.snapshot()["strategy"]["missing_sites"] == ["tokyo"]
    for _ in range(2):
        forge(tokyo, b'"AAPL":{"last_price"', b'"AAPL":["last_price"')
        site = aggregator.snapshot()["sites"]["tokyo"]
        assert site["status"] == "stale"
    assert "market_data/AAPL of frame 2 cannot be used" in site["reason"]
    tokyo.publish()
    tokyo.publish()
    assert aggregator.snapshot()["strategy"]["fills"] == 2


def test_a_frame_that_comes_again_is_not_shown_after_a_newer_one() -> None:
    aggregator = Aggregator("london")
    desk = aggregator.desks[0]
    desk.publish()
    old = desk.sent
    desk.publish()
    newest = aggregator.snapshot()["sites"]["london"]["seq"]
    desk.site.take(old, Place(1, aggregator.clock.time_ns(), 0))
    assert aggregator.snapshot()["sites"]["london"]["seq"] == newest == 2
    # Another hub takes over, and what its predecessor has sent comes once more.
    aggregator.clock.advance(0.1)
    next_hub = DeskSite("london", aggregator.clock)
    next_hub.publish()
    desk.site.take(next_hub.sent, Place(3, aggregator.clock.time_ns(), 0))
    desk.site.take(desk.sent, Place(2, aggregator.clock.time_ns(), 0))
    assert aggregator.snapshot()["sites"]["london"]["epoch"] == next_hub.hub.frames.epoch


def test_history_has_no_total_of_a_time_at_which_a_site_was_away() -> None:
    aggregator = Aggregator("london", "tokyo")
    for desk in aggregator.desks:
        desk.trade(1, D(10), D(100))
        desk.publish()
    total = aggregator.snapshot()["strategy"]["total_pnl"]
    aggregator.clock.advance(3)
    aggregator.desks[0].publish()
    assert aggregator.snapshot()["strategy"]["total_pnl"] is not None
    series = aggregator.history.open("strategy", "", STRATEGY_FIELDS)
    rows = series.rings[0].copy_rows(0, aggregator.clock.time_ns() + 1)
    assert [row.payload[0] for row in rows] == pytest.approx([total, math.nan], nan_ok=True)


def test_alerts_of_all_sites_stand_under_their_site() -> None:
    def alert(ident: str, first_seen: str, state: str = "active") -> dict[str, Any]:
        return {"alert_id": ident, "first_seen": first_seen, "state": state}

    found = merged_alerts(
        [alert("own", "2026-01-01T00:00:01.000Z")],
        {
            "london": b'{"alerts":[{"alert_id":"a","first_seen":"2026-01-01T00:00:03.000Z","state":"resolved"}]}',
            "tokyo": b'{"alerts":[{"alert_id":"a","first_seen":"2026-01-01T00:00:02.000Z","state":"active"}]}',
        },
    )
    assert [(each["alert_id"], each["site"]) for each in found] == [
        ("tokyo:a", "tokyo"), ("own", None), ("london:a", "london")
    ]  # fmt: skip
    assert [split_id(each["alert_id"]) for each in found] == [("tokyo", "a"), ("", "own"), ("london", "a")]
