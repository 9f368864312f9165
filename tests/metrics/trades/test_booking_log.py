"""The log of bookings: each counts once, whatever is delivered again, in whatever order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.bus import Bus
from observability.errors import EventRefused
from observability.events import Funding, Instrument
from observability.ingest.gate import Verdict
from observability.metrics.trades.booking import Booking, BookingFilter, booking_of, booking_row
from observability.metrics.trades.booking_log import BookingLog

NOON = 1_340_280_000_000_000_000
S = 10**9
D = Decimal


def funding(number: int | None = 1, amount: str = "-5", **changes: Any) -> Funding:
    fields: dict[str, Any] = {"symbol": "BTCUSDT", "ts": NOON, "ts_init": NOON + S}
    return Funding(amount=D(amount), funding_id="" if number is None else f"f{number}", **(fields | changes))


class Desk:
    """A log on a bus, and what it lets through."""

    def __init__(self, **limits: int) -> None:
        self.bus = Bus()
        self.log = BookingLog(self.bus, **limits)
        self.taken: list[Booking] = []
        self.bus.subscribe(Funding, self._on_funding)

    def verdict(self, event: Funding) -> Verdict:
        self.bus.publish(event)
        return self.log.verdict

    def _on_funding(self, event: Funding) -> None:
        booking = self.log.booking_of(event)
        if booking is not None:
            self.taken.append(booking)


def test_a_second_delivery_is_a_duplicate_whatever_its_time() -> None:
    desk = Desk()
    event = funding()
    verdicts = [desk.verdict(each) for each in (event, event, funding(ts=NOON + S), funding(amount="-5.00"))]
    assert verdicts == [Verdict.ACCEPTED, *[Verdict.DUPLICATE] * 3]
    assert (len(desk.taken), len(desk.log), desk.log.duplicates) == (1, 1, 3)


def test_other_content_under_a_known_id_is_kept_apart() -> None:
    desk = Desk()
    assert desk.verdict(funding()) is Verdict.ACCEPTED
    assert [desk.verdict(funding(amount="-6")) for _ in range(2)] == [Verdict.CONFLICT] * 2
    (found,) = desk.log.breaks()
    assert (found["counted"]["amount"], found["delivered"]["amount"]) == (-5.0, -6.0)
    assert (len(desk.taken), desk.log.conflicts) == (1, 1)


@pytest.mark.parametrize("changes", [{"symbol": "ETHUSDT"}, {"venue": "BYBIT"}])
def test_the_same_id_of_another_symbol_or_venue_is_another_booking(changes: dict[str, str]) -> None:
    desk = Desk()
    assert [desk.verdict(each) for each in (funding(), funding(**changes))] == [Verdict.ACCEPTED] * 2


def test_without_an_id_its_own_time_and_content_stand_for_it() -> None:
    desk = Desk()
    events = (funding(None), funding(None), funding(None, amount="-6"), funding(None, ts=NOON + 1))
    assert [desk.verdict(each).value for each in events] == ["accepted", "duplicate", "accepted", "accepted"]
    assert desk.bus.remark is None


def test_without_an_id_and_a_time_the_sender_is_told_that_it_counts_again() -> None:
    desk = Desk()
    assert desk.verdict(funding(None, ts=NOON, ts_init=NOON)) is Verdict.ACCEPTED
    assert desk.bus.remark is not None
    assert "counts again" in desk.bus.remark.text
    assert not desk.bus.remark.is_refusal


def test_a_refused_booking_is_new_when_it_comes_again() -> None:
    desk = Desk()
    refusals = [EventRefused("symbol", "no room")]

    def check(_: Funding) -> None:
        if refusals:
            raise refusals.pop()

    desk.log.add_check(Funding, check)
    desk.bus.publish(funding())
    assert len(desk.taken) == 0
    assert desk.verdict(funding()) is Verdict.ACCEPTED
    assert len(desk.taken) == 1


def test_a_key_that_has_left_the_memory_is_looked_up() -> None:
    desk = Desk(max_bookings=2, max_keys=2)
    for number in (1, 2, 3):
        desk.bus.publish(funding(number))
    (first,) = [each for each in desk.taken if each.event.funding_id == "f1"]
    desk.log.archive = lambda key: first if key == (first.kind, first.key) else None
    assert desk.verdict(funding(1)) is Verdict.DUPLICATE
    assert desk.verdict(funding(1, "-6")) is Verdict.CONFLICT
    assert desk.verdict(funding(4)) is Verdict.ACCEPTED


def test_a_booking_made_from_its_row_equals_the_original() -> None:
    desk = Desk()
    desk.bus.publish(funding(amount="-0.10", strategy="alpha", currency="USDT"))
    (booking,) = desk.taken
    booking.effect = {"amount": -0.1}
    assert booking_of(booking_row(booking)) == booking


def test_the_booking_of_an_instrument_is_shown_with_both_kinds() -> None:
    shown = Booking.from_event(1, Instrument("BTCUSDT", "spot", "USDT", ts=NOON, ts_init=NOON)).to_json()
    assert (shown["kind"], shown["instrument_kind"]) == ("instrument", "spot")


def test_pages_lead_from_the_newest_booking_to_the_oldest() -> None:
    desk = Desk()
    for number in range(5):
        desk.bus.publish(funding(number, symbol="A" if number % 2 else "B", ts=NOON + number))
    wanted = BookingFilter(kind="funding", symbol="B", start_ns=NOON + 1)
    page, total = desk.log.query(wanted, 1)
    assert ([each.event.funding_id for each in page], total) == (["f4"], 2)
    page, total = desk.log.query(wanted, 1, page[-1].seq)
    assert ([each.event.funding_id for each in page], total) == (["f2"], 2)
    assert desk.log.query(wanted, 1, page[-1].seq) == ([], 2)


@given(st.permutations([(number, str(number)) for number in range(6)] * 3))
def test_any_order_of_repeated_deliveries_counts_each_once(deliveries: list[tuple[int, str]]) -> None:
    desk = Desk()
    for number, amount in deliveries:
        desk.bus.publish(funding(number, amount))
    assert sorted(str(each.event.amount) for each in desk.taken) == ["0", "1", "2", "3", "4", "5"]
