"""The dialect of the engine: each of its messages, as its serializer writes them, and the fills it does not send."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from observability.events import Event, Fill, Heartbeat, Log, Order, Position, Print, Quote, Signal
from observability.ingest.decoder import EventDecoder
from observability.sources.brokers import engine as engine_module
from observability.sources.brokers.engine import EngineDialect, EngineState

TIME = "2025-10-21T22:00:00.123456789Z"
LEVEL = {"timestamp": TIME}


def read(kind: str, dialect: EngineDialect | None = None, **fields: Any) -> list[Event]:
    dialect = dialect or EngineDialect()
    return dialect.read(json.dumps({"type": kind, **fields}).encode())[0]


def order(**fields: Any) -> dict[str, Any]:
    usual = {
        "order_id": "o1", "client_order_id": "c1", "symbol": "BTCUSDT", "side": "Bid", "order_type": "StopLimit",
        "quantity": 3.0, "price": 100.1, "stop_price": None, "status": "Pending", "filled_quantity": 0.0,
        "average_price": None, "created_at": TIME, "updated_at": TIME,
    }  # fmt: skip
    return {**usual, **fields}


def test_a_book_becomes_the_best_of_the_levels_that_have_a_quantity() -> None:
    levels = [(100.0, 1.0), (101.5, 0.0), (101.0, 2.0)]
    bids = [{"price": price, "quantity": quantity, **LEVEL} for price, quantity in levels]
    asks = [{"price": price + 10, "quantity": quantity + 1, **LEVEL} for price, quantity in levels]
    (quote,) = read("OrderBookUpdate", symbol="BTCUSDT", bids=bids, asks=asks, timestamp=TIME, sequence=9)
    assert quote == Quote("BTCUSDT", 101.0, 110.0, 2.0, 2.0, ts=TIME)


def test_the_gate_reads_the_times_and_rounds_nothing_that_is_kept() -> None:
    (report,) = read("OrderRequest", **order(quantity=1e-7))
    checked = EventDecoder().check_decoded(report, 0, 1)
    assert isinstance(checked, Order)
    assert (checked.ts, checked.quantity) == (1761084000123456789, Decimal("1E-7"))


def test_a_number_with_too_many_digits_is_rounded_like_a_senders() -> None:
    (report,) = read("OrderRequest", **order(quantity=0.30000000000000004e-3))
    assert isinstance(report, Order)
    assert report.quantity == Decimal("0.000300000000000000")


def test_a_side_without_levels_is_null() -> None:
    (quote,) = read("OrderBookUpdate", symbol="X", bids=[], asks=[], timestamp=TIME, sequence=1)
    assert quote == Quote("X", None, None, ts=TIME)


@pytest.mark.parametrize(("side", "aggressor"), [("Bid", "buy"), ("Ask", "sell")])
def test_a_trade_becomes_a_print(side: str, aggressor: str) -> None:
    (found,) = read("TradeUpdate", symbol="X", price=1.5, quantity=2.0, side=side, timestamp=TIME, trade_id="7")
    assert found == Print("X", 1.5, 2.0, aggressor, "7", ts=TIME)  # type: ignore[arg-type]


def test_a_signal_has_the_name_of_the_strategy_that_is_known() -> None:
    fields = {"symbol": "X", "action": "Buy", "confidence": 0.75, "features": [1.0], "timestamp": TIME}
    assert read("SignalGenerated", **fields) == [Signal("engine", "X", "buy", 0.75, ts=TIME)]
    assert read("SignalGenerated", EngineDialect("momentum"), **fields) == [
        Signal("momentum", "X", "buy", 0.75, ts=TIME)
    ]


def test_a_signal_of_the_python_bridge_is_read_too() -> None:
    (signal,) = read(
        "SignalGenerated", symbol="X", direction="short", strength=0.5, timestamp=1761084000123, features=None,
        metadata={"strategy": "pairs"},
    )  # fmt: skip
    assert signal == Signal("pairs", "X", "sell", 0.5, ts=1761084000123000000)


def test_an_order_keeps_every_digit_and_its_ids() -> None:
    (report,) = read("OrderRequest", **order(quantity=0.123456789012345))
    assert report == Order(
        "o1", "BTCUSDT", "buy", Decimal("0.123456789012345"), "pending_new", Decimal("100.1"), "stop_limit",
        client_order_id="c1", ts=TIME,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Pending", "pending_new"),
        ("PartiallyFilled", "partially_filled"),
        ("Filled", "filled"),
        ("Cancelled", "canceled"),
        ("Rejected", "rejected"),
    ],
)
def test_every_status_of_an_order_has_its_own(theirs: str, ours: str) -> None:
    (report,) = read("OrderRequest", **order(status=theirs, side="Ask"))
    assert isinstance(report, Order)
    assert (report.status, report.side) == (ours, "sell")


def fills(dialect: EngineDialect, **fields: Any) -> list[tuple[str, Decimal, Decimal]]:
    found = read("OrderRequest", dialect, **order(**fields))
    return [(event.trade_id, event.quantity, event.price) for event in found if isinstance(event, Fill)]


def test_a_fill_is_what_an_order_has_gained() -> None:
    dialect = EngineDialect("s")
    assert fills(dialect, filled_quantity=1.0, average_price=100.0) == [("o1:1", Decimal(1), Decimal(100))]
    assert fills(dialect, filled_quantity=1.0, average_price=100.0) == []
    # 1 at 100 and 2 at 101 are on average 100.666...
    (last,) = fills(dialect, status="Filled", filled_quantity=3.0, average_price=100.66666666666667)
    assert last == ("o1:3", Decimal(2), Decimal(101))
    assert dialect.state.filled == {}


def test_no_fill_is_made_again_by_what_is_said_of_an_order_after_its_last() -> None:
    dialect = EngineDialect()
    fills(dialect, filled_quantity=1, average_price=100)
    fills(dialect, filled_quantity=3, average_price=100)
    assert fills(dialect, filled_quantity=3, average_price=100) == []
    assert fills(dialect, filled_quantity=2, average_price=100) == []
    assert fills(dialect, quantity=5, filled_quantity=4, average_price=100) == [("o1:4", Decimal(1), Decimal(100))]
    assert dialect.state.filled == {"o1": (Decimal(4), Decimal(400))}


def test_a_message_that_was_lost_merges_two_fills_into_one() -> None:
    dialect = EngineDialect()
    fills(dialect, filled_quantity=1.0, average_price=100.0)
    assert fills(dialect, filled_quantity=2.5, average_price=100.6) == [("o1:2.5", Decimal("1.5"), Decimal(101))]


def test_no_fill_is_made_again_from_the_state_of_another_process() -> None:
    before, after = EngineDialect(), EngineDialect()
    fills(before, filled_quantity=1.0, average_price=100.0)
    after.state = EngineState(dict(before.state.filled))
    assert fills(after, filled_quantity=1.0, average_price=100.0) == []
    assert fills(after, filled_quantity=2.0, average_price=100.0) == [("o1:2", Decimal(1), Decimal(100))]


def test_a_fill_without_a_price_is_refused() -> None:
    with pytest.raises(ValueError, match="no average price"):
        read("OrderRequest", **order(filled_quantity=1.0))


def test_the_orders_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_ORDERS", 2)
    dialect = EngineDialect()
    for number in range(4):
        fills(dialect, order_id=f"o{number}", filled_quantity=1.0, average_price=1.0)
    assert list(dialect.state.filled) == ["o2", "o3"]


def test_a_response_reports_the_order_that_was_requested() -> None:
    dialect = EngineDialect()
    read("OrderRequest", dialect, **order())
    (accepted,) = read("OrderResponse", dialect, order_id="b1", client_order_id="c1", success=True, error=None)
    (refused,) = read("OrderResponse", dialect, order_id="b1", client_order_id="c1", success=False, error="no funds")
    assert isinstance(accepted, Order) and isinstance(refused, Order)
    assert (accepted.order_id, accepted.quantity, accepted.status) == ("o1", Decimal(3), "new")
    assert (refused.order_id, refused.status, refused.reason) == ("o1", "rejected", "no funds")


def test_a_text_that_is_too_long_is_cut_and_the_report_about_the_order_taken() -> None:
    dialect = EngineDialect()
    read("OrderRequest", dialect, **order())
    (report,) = read("OrderResponse", dialect, order_id="o1", client_order_id="c1", success=False, error="x" * 5_000)
    (refusal,) = read("RiskCheckResult", approved=False, reason="x" * 5_000)
    for event in (report, refusal):
        assert isinstance(EventDecoder().check_decoded(event, 0, 10**18), type(event))


def test_a_response_to_an_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match="no request of order b1"):
        read("OrderResponse", order_id="b1", client_order_id="c1", success=True, error=None)


def test_a_position_is_negative_if_its_side_is_ask() -> None:
    fields = {"symbol": "X", "quantity": 2.0, "entry_price": 1.25, "current_price": 1.5, "unrealized_pnl": 0.5,
              "realized_pnl": 0.0, "opened_at": TIME, "updated_at": TIME}  # fmt: skip
    long, short = (read("PositionUpdate", side=side, **fields)[0] for side in ("Bid", "Ask"))
    assert long == Position("X", Decimal(2), Decimal("1.25"), ts=TIME)
    assert short == Position("X", Decimal(-2), Decimal("1.25"), ts=TIME)


def test_a_refused_risk_check_is_a_line_in_the_log_and_a_passed_one_nothing() -> None:
    (line,) = read("RiskCheckResult", approved=False, reason="daily loss limit")
    assert isinstance(line, Log)
    assert (line.level, line.logger, line.message) == ("warning", "risk", "risk check refused: daily loss limit")
    assert read("RiskCheckResult", approved=True, reason=None) == []


def test_a_heartbeat_is_a_heartbeat() -> None:
    assert read("Heartbeat", component="signal-bridge", timestamp=TIME) == [Heartbeat("signal-bridge", ts=TIME)]
    assert read("Heartbeat", component="python", timestamp=1761084000123) == [
        Heartbeat("python", ts=1761084000123000000)
    ]


def test_bars_and_requests_of_risk_checks_become_nothing_and_a_shutdown_a_line() -> None:
    bar = {"symbol": "X", "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0, "timestamp": TIME}
    assert read("BarUpdate", **bar) == read("RiskCheck", order=order()) == []
    (line,) = read("Shutdown")
    assert isinstance(line, Log)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("TradeUpdate", {"symbol": "X", "price": 1.0, "quantity": 1.0, "side": "Buy"}),
        ("OrderRequest", order(side="up")),
        ("OrderRequest", order(quantity=None)),
        ("OrderRequest", order(status="Odd")),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"side|quantity|status"):
        read(kind, **fields)


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-Infinity", "1e40"])
@pytest.mark.parametrize("field", ["quantity", "price", "filled_quantity", "average_price"])
def test_a_number_that_is_none_is_refused(field: str, number: str) -> None:
    with pytest.raises(ValueError, match=r"number|digits"):
        read("OrderRequest", **order(**{"filled_quantity": "2", "average_price": "5", field: number}))


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity"])
def test_a_position_without_a_number_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="number"):
        read("PositionUpdate", symbol="X", quantity=number, entry_price=1)


def test_a_message_that_is_nested_too_deep_is_refused() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(ValueError, match="nested too deep"):
        EngineDialect().read(b'{"type":"Heartbeat","component":"x","more":' + deep + b"}")


def test_what_a_refused_fill_would_have_told_the_next_message_tells() -> None:
    dialect = EngineDialect()
    with pytest.raises(ValueError, match="digits"):
        fills(dialect, filled_quantity=1, average_price="1e40")
    assert fills(dialect, filled_quantity=2, average_price=5) == [("o1:2", Decimal(2), Decimal(5))]


def test_a_response_without_the_clients_id_is_about_the_order_it_names() -> None:
    dialect = EngineDialect()
    for order_id in ("o1", "o2"):
        read("OrderRequest", dialect, **order(order_id=order_id, client_order_id=""))
    (report,) = read("OrderResponse", dialect, order_id="o1", success=False, error="no")
    assert isinstance(report, Order)
    assert (report.order_id, report.status) == ("o1", "rejected")
