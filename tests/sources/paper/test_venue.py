"""The paper venue, order by order: which orders it fills, at which price, and which it rejects."""

from __future__ import annotations

from decimal import Decimal

import pytest

from observability.events import Event, Fill, Order, Print, Quote, Side
from observability.sources.paper.venue import LatencyModel, PaperMarket, PaperVenue, VenueRules

MS_NS = 10**6
S_NS = 10**9
START_NS = 1_700_000_000 * S_NS


class Fixture:
    """A venue with one market quoted 99.98 x 100, 100.02 x 100."""

    def __init__(self) -> None:
        self.venue = PaperVenue(LatencyModel(seed=1), VenueRules(Decimal("0.5"), Decimal("1.5"), Decimal(20)))
        self.market = PaperMarket("XYZ", Decimal("0.01"), Decimal(1))
        self.quote()

    def quote(
        self, bid: float | None = 99.98, bid_size: float | None = 100.0, ask: float | None = 100.02,
        ask_size: float | None = 100.0, at_ns: int = START_NS,
    ) -> None:  # fmt: skip
        self.venue.advance(at_ns)
        self.venue.on_quote(self.market, Quote("XYZ", bid, ask, bid_size, ask_size, ts=at_ns, ts_init=at_ns))

    def trade(self, price: float, size: float, aggressor: Side | None, at_ns: int = START_NS + S_NS) -> None:
        self.venue.advance(at_ns)
        self.venue.on_print(self.market, Print("XYZ", price, size, aggressor, ts=at_ns, ts_init=at_ns))

    def order(self, side: Side, quantity: str, price: str, tif_ns: int = 5 * S_NS, at_ns: int = START_NS) -> None:
        """Sends an order and lets it arrive."""
        self.venue.submit(
            self.market, side, Decimal(quantity), Decimal(price), now_ns=at_ns, time_in_force_ns=tif_ns
        )  # fmt: skip
        self.venue.advance(at_ns + 100 * MS_NS)

    def of(self, kind: type[Event]) -> list[Event]:
        return [report for report in self.venue.reports if isinstance(report, kind)]

    @property
    def statuses(self) -> list[str]:
        return [report.status for report in self.venue.reports if isinstance(report, Order)]

    @property
    def fills(self) -> list[tuple[Decimal, Decimal, str]]:
        return [(r.quantity, r.price, r.liquidity) for r in self.venue.reports if isinstance(r, Fill)]

    @property
    def reason(self) -> str:
        last = self.venue.reports[-1]
        assert isinstance(last, Order)
        return last.reason


@pytest.fixture
def paper() -> Fixture:
    return Fixture()


def test_a_marketable_order_takes_the_displayed_size_and_rests(paper: Fixture) -> None:
    paper.order("buy", "150", "100.05")
    assert paper.statuses == ["pending_new", "new", "partially_filled"]
    assert paper.fills == [(Decimal(100), Decimal("100.02"), "taker")]
    paper.quote(ask=100.04, ask_size=500.0, at_ns=START_NS + S_NS)
    assert paper.statuses[-1] == "filled"
    assert paper.fills[-1] == (Decimal(50), Decimal("100.05"), "maker")


def test_displayed_size_is_taken_only_once_while_the_touch_is_unchanged(paper: Fixture) -> None:
    paper.order("sell", "80", "99.98")
    paper.quote(ask=100.03, at_ns=START_NS + S_NS)
    paper.order("sell", "80", "99.98", at_ns=START_NS + 2 * S_NS)
    assert [quantity for quantity, _, _ in paper.fills] == [Decimal(80), Decimal(20)]


def test_an_order_is_not_reported_before_it_arrives(paper: Fixture) -> None:
    paper.venue.submit(paper.market, "buy", Decimal(10), Decimal(101), now_ns=START_NS, time_in_force_ns=S_NS)
    arrival_ns = paper.venue.next_due_ns
    assert START_NS < arrival_ns < START_NS + 100 * MS_NS
    paper.venue.advance(arrival_ns - 1)
    assert paper.statuses == ["pending_new"]


def test_an_order_meets_the_book_at_its_arrival_not_at_its_decision(paper: Fixture) -> None:
    paper.venue.submit(paper.market, "buy", Decimal(10), Decimal("100.02"), now_ns=START_NS, time_in_force_ns=S_NS)
    paper.quote(ask=100.03, at_ns=START_NS + 1)
    paper.venue.advance(START_NS + 100 * MS_NS)
    assert paper.statuses == ["pending_new", "new"]


@pytest.mark.parametrize(
    ("price", "aggressor", "is_filled"),
    [
        (99.97, "buy", True),  # through the limit
        (99.98, "sell", True),
        (99.98, None, True),
        (99.98, "buy", False),  # lifted an ask at our price: no seller came to the bid
        (99.99, "sell", False),
    ],
)
def test_a_resting_order_fills_from_prints_at_or_through_its_price(
    paper: Fixture, price: float, aggressor: Side | None, is_filled: bool
) -> None:
    paper.order("buy", "10", "99.98")
    paper.trade(price, 50.0, aggressor)
    assert paper.fills == ([(Decimal(10), Decimal("99.98"), "maker")] if is_filled else [])


def test_a_print_fills_at_most_its_size_and_the_best_price_first(paper: Fixture) -> None:
    paper.order("buy", "10", "99.97")
    paper.order("buy", "10", "99.98", at_ns=START_NS + MS_NS)
    paper.trade(99.90, 15.0, "sell")
    assert paper.fills == [(Decimal(10), Decimal("99.98"), "maker"), (Decimal(5), Decimal("99.97"), "maker")]


def test_a_time_in_force_ends_in_a_cancel(paper: Fixture) -> None:
    paper.order("buy", "10", "99.98", tif_ns=S_NS)
    paper.venue.advance(START_NS + 2 * S_NS)
    assert paper.statuses == ["pending_new", "new", "canceled"]
    assert paper.market.resting == [] and paper.market.live_orders == 0
    paper.trade(99.90, 50.0, "sell", START_NS + 3 * S_NS)
    assert paper.fills == []


def test_the_cancel_of_a_filled_order_does_nothing(paper: Fixture) -> None:
    paper.order("buy", "10", "100.02")
    paper.venue.advance(START_NS + 60 * S_NS)
    assert paper.statuses == ["pending_new", "new", "filled"]


@pytest.mark.parametrize(
    ("side", "quantity", "price", "reason"),
    [
        ("buy", "10", "100.23", "collar"),
        ("sell", "10", "99.77", "collar"),
        ("buy", "10", "99.985", "tick"),
        ("buy", "10.5", "99.98", "lot"),
        ("sell", "31", "99.98", "position limit"),
    ],
)
def test_a_rejection_names_the_rule_that_the_order_breaks(
    paper: Fixture, side: Side, quantity: str, price: str, reason: str
) -> None:
    paper.market.position_limit = Decimal(30)
    paper.order(side, quantity, price)
    assert paper.statuses == ["pending_new", "rejected"]
    assert reason in paper.reason
    assert paper.market.live_orders == 0


@pytest.mark.parametrize("side", ["bid", "ask"])
def test_an_order_that_meets_a_one_sided_book_is_rejected(paper: Fixture, side: str) -> None:
    paper.quote(**{side: None})  # type: ignore[arg-type]
    paper.order("buy", "10", "99.98")
    assert paper.statuses == ["pending_new", "rejected"]
    assert "one side" in paper.reason


def test_open_orders_count_towards_the_position_limit(paper: Fixture) -> None:
    paper.market.position_limit = Decimal(30)
    paper.order("buy", "20", "99.98")
    paper.order("buy", "20", "99.97", at_ns=START_NS + MS_NS)
    paper.order("sell", "20", "100.02", at_ns=START_NS + 2 * MS_NS)
    assert paper.statuses.count("rejected") == 1 and paper.statuses.count("new") == 2


def test_a_side_without_a_size_displays_nothing(paper: Fixture) -> None:
    paper.quote(ask_size=None)
    paper.order("buy", "10", "100.02")
    assert paper.fills == []


def test_commission_is_the_fee_of_the_liquidity_to_8_decimals(paper: Fixture) -> None:
    paper.order("buy", "7", "100.02")
    paper.order("buy", "7", "99.98", at_ns=START_NS + MS_NS)
    paper.trade(99.98, 7.0, "sell")
    taker, maker = paper.of(Fill)
    assert isinstance(taker, Fill) and taker.commission == Decimal("0.10502100")
    assert isinstance(maker, Fill) and maker.commission == Decimal("0.03499300")


def test_reports_have_the_mid_and_the_time_of_the_decision(paper: Fixture) -> None:
    paper.order("buy", "10", "100.02")
    for report in paper.of(Order):
        assert isinstance(report, Order)
        assert (report.arrival_price, report.decision_ts) == (Decimal("100.00"), START_NS)
        assert (report.price, report.venue, report.order_type) == (Decimal("100.02"), "PAPER", "limit")


def test_latency_is_the_event_time_from_decision_to_acknowledgement(paper: Fixture) -> None:
    paper.order("buy", "10", "100.02")
    acknowledged = next(r for r in paper.venue.reports if isinstance(r, Order) and r.status == "new")
    fill = paper.of(Fill)[0]
    assert isinstance(fill, Fill) and isinstance(acknowledged.ts, int)
    assert fill.latency_ms == (acknowledged.ts - START_NS) / MS_NS
    assert fill.ts == acknowledged.ts


def test_the_fill_comes_before_the_report_that_ends_the_order(paper: Fixture) -> None:
    paper.order("buy", "10", "100.02")
    assert [type(report) for report in paper.venue.reports[-2:]] == [Fill, Order]


def test_a_report_has_the_times_it_happened_and_became_known(paper: Fixture) -> None:
    paper.order("buy", "10", "99.98", tif_ns=S_NS)
    paper.venue.advance(START_NS + 3_600 * S_NS)
    cancel = paper.venue.reports[-1]
    assert isinstance(cancel.ts, int) and S_NS < cancel.ts - START_NS < 2 * S_NS
    assert cancel.ts_init == START_NS + 3_600 * S_NS


def test_latencies_repeat_with_the_seed_and_stay_within_bounds() -> None:
    first, second = LatencyModel(5), LatencyModel(5)
    draws = [first.draw_ns() for _ in range(2000)]
    assert draws == [second.draw_ns() for _ in range(2000)]
    assert sorted(draws)[1000] == pytest.approx(MS_NS, rel=0.1)
    assert min(draws) >= 0.05 * MS_NS and max(draws) <= 100 * MS_NS
