"""Corrections of fills: afterwards everything is as in a run that never had the fault."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub_run import NOON, D, HubRun, S, fill, in_data_directory, order
from observability.events import (
    AnyEvent,
    Bust,
    Cash,
    Correct,
    Dividend,
    Equity,
    Fill,
    Funding,
    Instrument,
    Order,
    Position,
    Quote,
    Rate,
    Settlement,
    Split,
)
from observability.metrics.execution import markouts
from observability.metrics.execution.quality import NOT_OBSERVED
from observability.metrics.strategy.book import equity_path
from observability.metrics.trades.queries import StoredTrades
from observability.metrics.trades.trade import TradeFilter

ALL = TradeFilter()


def bust(of: Fill, number: int = 0) -> Bust:
    ts = NOON + (1_000 + number) * S
    return Bust(of.trade_id, of.symbol, of.order_id, of.side, of.venue, ts=ts, ts_init=ts + S)


def correct(of: Fill, number: int = 0, **changes: Any) -> Correct:
    ts = NOON + (1_000 + number) * S
    return Correct(of.trade_id, of.symbol, of.order_id, of.side, of.venue, ts=ts, ts_init=ts + S, **changes)


def quote(number: int, bid: int, symbol: str = "AAPL") -> Quote:
    ts = NOON + number * S
    return Quote(symbol, bid / 4, bid / 4 + 0.25, 1.0, 1.0, "XNAS", ts=ts, ts_init=ts)


def figures(run: HubRun, now_ns: int = NOON + 5_000 * S) -> dict[str, Any]:
    """Returns everything that must be as in a run without the fault."""
    run.clock.now_ns = now_ns
    shown = run.tick()
    strategy, execution = run.collectors.strategy, run.collectors.execution
    trades, _ = execution.trades.query(ALL, 1_000)
    return {
        "strategy": in_use(without(shown["strategy"], "bookings", "corrections", "pending_corrections", "rates")),
        "strategies": {name: in_use(account) for name, account in shown["strategies"].items() if account["fills"]},
        "positions": {
            key: without(dict(part.to_json()), "updated", "mark_updated")
            for key, part in strategy.groups[1].parts.items()
        },
        "symbols": {
            name: dict(part.to_json()) for name, part in strategy.groups[2].parts.items() if part.to_json()["fills"]
        },
        "performance": without(strategy.performance(), "session"),
        "trades": [
            {
                name: value
                for name, value in trade.to_json().items()
                if name not in ("round_trip", "status", "corrected_by", "original")
            }
            for trade in trades
            if not trade.is_busted
        ],
        "stats": execution.trades.stats(ALL).to_json(strategy.rates),
        "execution": without(shown["execution"], "late_reports"),
        "quality": execution.quality(),
        "orders": {
            key: (order.status, order.filled, order.notional, order.fees, order.ended_ns, order.end_mid)
            for key, order in {**execution._orders.open, **execution._orders._recent}.items()
        },
    }


def in_use(shown: dict[str, Any]) -> dict[str, Any]:
    """Returns sums without the currencies in which nothing is left."""
    return shown | {"currencies": {name: sums for name, sums in shown["currencies"].items() if any(sums.values())}}


def without(figures: dict[str, Any], *names: str) -> dict[str, Any]:
    return {
        name: value
        for name, value in figures.items()
        if not any(name == each or name.startswith(f"{each}_") for each in names)
    }


def run_of(events: Sequence[AnyEvent], run: HubRun) -> HubRun:
    for event in events:
        run.bus.publish(event, "test")
    assert run.bus.handler_errors == 0
    return run


async def started(directory: Path | None = None) -> HubRun:
    run = HubRun(directory)
    await run.start()
    return run


def known_rate(base: str, rate: str, number: int = -1) -> Rate:
    return Rate(base, "USD", D(rate), ts=NOON + number * S, ts_init=NOON + number * S)


FILLS = st.builds(
    fill,
    st.integers(1, 30),
    side=st.sampled_from(("buy", "sell")),
    quantity=st.integers(1, 300).map(lambda n: D(n) / 100),
    price=st.integers(90_000_000, 110_000_000).map(lambda n: D(n) / 10**6),
    commission=st.integers(-100, 300).map(lambda n: D(n) / 1_000),
    strategy=st.sampled_from(("alpha", "")),
    symbol=st.sampled_from(("AAPL", "ES")),
    latency_ms=st.sampled_from((None, 1.5, 0.25)),
)
EVENTS = st.lists(
    st.one_of(
        FILLS,
        st.builds(
            order,
            st.integers(1, 30),
            st.sampled_from(("pending_new", "new", "partially_filled", "filled", "canceled")),
            quantity=st.integers(1, 3).map(D),
        ),
        st.builds(quote, st.integers(1, 30), st.integers(360, 440), st.sampled_from(("AAPL", "ES"))),
    ),
    min_size=1,
    max_size=40,
)  # fmt: skip


def numbered(events: Sequence[AnyEvent], step_ns: int = S) -> list[AnyEvent]:
    """Gives every event the time of its place, every fill a key of its own, and every order one strategy and side."""
    known: set[str] = set()
    result: list[AnyEvent] = []
    for number, event in enumerate(events):
        if isinstance(event, Cash | Dividend):
            # Each is another one.
            name = "cash_id" if isinstance(event, Cash) else "dividend_id"
            event = msgspec.structs.replace(event, **{name: str(number)})
        if isinstance(event, Fill):
            if event.trade_id in known:
                continue
            known.add(event.trade_id)
        event.ts = event.ts_init = NOON + number * step_ns
        if isinstance(event, Order):
            event.decision_ts = None
        if isinstance(event, Fill | Order) and (event.strategy or isinstance(event, Order)):
            event.strategy = ("alpha", "beta")[int(event.order_id[1:]) % 2]
        if isinstance(event, Fill | Order):
            event.side = ("buy", "sell")[int(event.order_id[1:]) // 2 % 2]  # type: ignore[assignment]
        result.append(event)
    return result


def replaced(of: Fill, terms: dict[str, Any]) -> Fill:
    changed = fill(1)
    for name in of.__struct_fields__:
        setattr(changed, name, terms.get(name, getattr(of, name)))
    return changed


# Everything that daily figures and the drawdown depend on, hours apart.
DAYS = st.lists(
    st.one_of(
        FILLS,
        FILLS,
        st.builds(
            fill,
            st.integers(31, 60),
            side=st.sampled_from(("buy", "sell")),
            quantity=st.integers(1, 4).map(D),
            price=st.integers(90, 110).map(D),
            commission=st.integers(0, 2).map(D),
            commission_asset=st.sampled_from(("", "BNB")),
            strategy=st.sampled_from(("alpha", "beta")),
            symbol=st.sampled_from(("SAP", "INV")),
        ),
        st.builds(quote, st.just(1), st.integers(360, 440), st.sampled_from(("AAPL", "ES", "SAP", "INV"))),
        st.builds(Rate, st.just("EUR"), st.just("USD"), st.integers(100, 120).map(lambda n: D(n) / 100)),
        st.builds(Rate, st.just("USD"), st.just("YCN"), st.integers(1, 7).map(D)),
        st.builds(
            Cash,
            st.integers(1, 90).map(D),
            st.sampled_from(("deposit", "interest")),
            strategy=st.sampled_from(("", "alpha")),
        ),
        st.builds(Dividend, st.sampled_from(("AAPL", "SAP")), st.just(D("0.5"))),
        st.builds(Split, st.just("AAPL"), st.just(D(2)), split_id=st.just("1")),
        st.builds(Settlement, st.just("ES"), st.just(D(101)), settlement_id=st.just("1")),
    ),
    min_size=1,
    max_size=30,
)  # fmt: skip
HOUR = 3_600 * S
CAPITAL = Equity(D(1_000), ts=NOON - 2 * S, ts_init=NOON - 2 * S)
FOREIGN: list[AnyEvent] = [
    Instrument("SAP", "equity", quote_currency="EUR", ts=NOON - S, ts_init=NOON - S),
    Instrument(
        "INV", "perpetual", base_currency="YCN", quote_currency="USD", contract="inverse", multiplier=D(100),
        ts=NOON - S, ts_init=NOON - S,
    ),
    known_rate("EUR", "1.1"), known_rate("YCN", "3"), known_rate("BNB", "600"),
]  # fmt: skip


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(DAYS, st.data())
def test_days_returns_and_drawdown_are_those_of_a_run_without_the_fault(
    events: list[AnyEvent], data: st.DataObject
) -> None:
    events = numbered(events, data.draw(st.sampled_from((S, HOUR, 7 * HOUR, 30 * HOUR))))
    fills = [event for event in events if isinstance(event, Fill)]
    if not fills:
        return
    corrections = corrections_of(data, fills)
    sent = [CAPITAL, *FOREIGN, *events]
    for each in corrections:
        came = next(number for number, event in enumerate(sent) if getattr(event, "trade_id", None) == each.trade_id)
        sent.insert(data.draw(st.integers(came + 1, len(sent))), each)
    # Sessions end with the next event.
    last = quote(3_600 * 990, 400, "OTHER")

    async def script() -> None:
        right = run_of([CAPITAL, *FOREIGN, *right_of(events, corrections), last], await started())
        with small_chunks(data.draw(st.sampled_from((3, 4_096)))):
            run = run_of([*sent, last], await started())
        assert path_figures(run) == path_figures(right)

    asyncio.run(script())


@pytest.mark.parametrize("numerator", [2, 3])
def test_what_is_opened_after_a_split_is_walked_at_the_mark_that_it_had(numerator: int) -> None:
    """A chunk of the path begins between the split and the next price; a third of a price is rounded."""

    async def script() -> None:
        held, wrong = fill(1, strategy="held"), fill(2, strategy="new", price=D(46))
        sent = [quote(0, 360), held, Split("AAPL", D(numerator), split_id="1", ts=NOON + S, ts_init=NOON + S), wrong]
        correction = correct(wrong, price=D(45))
        right = run_of(right_of(sent, [correction]), await started())
        with small_chunks(3):
            run = run_of([*sent, correction], await started())
        assert run.collectors.strategy.path.chunks
        assert figures(run) == figures(right)

    asyncio.run(script())


@pytest.mark.parametrize("is_in_market", [True, False])
@pytest.mark.parametrize("later", [fill(8, price=D(50)), Dividend("AAPL", D("0.5"))])
def test_a_split_while_flat_by_a_fault_is_no_drawdown(later: Fill | Dividend, is_in_market: bool) -> None:
    async def script() -> None:
        wrong = fill(2, side="sell")
        sent = numbered([fill(4), wrong, Split("AAPL", D(2), split_id="1"), later])
        before = [quote(-1, 360)] * is_in_market
        right = run_of([*before, *right_of(sent, [bust(wrong)])], await started())
        run = run_of([*before, *sent, bust(wrong)], await started())
        assert path_figures(run) == path_figures(right)

    asyncio.run(script())


@pytest.mark.parametrize("symbol", ["AAPL", "SAP"])
def test_a_bust_after_a_correction_takes_a_dividend_out_of_the_drawdown_once(symbol: str) -> None:
    async def script() -> None:
        wrong = fill(1, symbol=symbol, commission=D(0))
        sent = [wrong, *numbered([fill(2, symbol="ES"), Dividend(symbol, D("0.5"))]), quote(4, 440)]
        right = run_of([CAPITAL, *FOREIGN, *right_of(sent, [bust(wrong)])], await started())
        run = run_of([CAPITAL, *FOREIGN, *sent, correct(wrong, price=D(90)), bust(wrong, 1)], await started())
        assert run.collectors.strategy.corrections == 2
        assert path_figures(run) == path_figures(right)

    asyncio.run(script())


def test_a_bust_of_an_order_that_is_kept_no_longer_leaves_no_error_of_markouts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(markouts, "MAX_OBSERVED", 1)

    async def script() -> None:
        sent = [quote(0, 400), fill(1), fill(2), fill(3), quote(4, 404)]
        run = run_of(sent, await started())
        assert markout_1s(run)["standard_error_bps"] is not None
        run_of([bust(sent[1])], run)
        found = markout_1s(run)
        assert (found["n"], found["orders"], found["standard_error_bps"]) == (2, 3, None)
        assert found["standard_error_reason"] == NOT_OBSERVED

    asyncio.run(script())


def markout_1s(run: HubRun) -> dict[str, Any]:
    quality: dict[str, Any] = figures(run)["quality"]
    found: dict[str, Any] = quality["markouts"]["1s"]
    return found


def path_figures(run: HubRun) -> dict[str, Any]:
    """Returns what must be as in a run without the fault, also of days that have ended."""
    shown = without(figures(run, NOON + 1_000 * HOUR), "quality", "execution")
    return shown | {"strategy": without(shown["strategy"], "duplicate_bookings")}


@contextmanager
def small_chunks(n_entries: int) -> Iterator[None]:
    """Lets the path of the equity have chunks of so many entries."""
    before = equity_path.CHUNK_ENTRIES
    equity_path.CHUNK_ENTRIES = n_entries  # type: ignore[misc]
    try:
        yield
    finally:
        equity_path.CHUNK_ENTRIES = before  # type: ignore[misc]


@pytest.mark.parametrize("is_clean", [True, False])
def test_the_path_is_there_after_a_restart(is_clean: bool) -> None:
    wrong, day = fill(2, price=D(120)), 86_400
    before = [CAPITAL, fill(1), wrong, *(quote(n, 380 + 7 * n % 40) for n in range(3, 12)), quote(day, 420)]
    after = [quote(day + 1, 390), fill(day + 2, side="sell"), quote(2 * day, 400)]

    async def script(directory: Path) -> None:
        right = run_of([event for event in [*before, *after] if event is not wrong], await started())
        with small_chunks(3):
            run = run_of(before, await started(directory))
            if not is_clean:
                run.journal.checkpoint()
            await run.written()
            await run.stop(is_clean=is_clean)
            run = await started(directory)
            assert len(run.collectors.strategy.path.chunks) > 2
            run.clock.now_ns = NOON + day * S
            run.tick()
            run_of([*after, bust(wrong)], run)
            assert run.collectors.strategy.corrections == 1
            assert path_figures(run)["strategy"] == path_figures(right)["strategy"]
            assert (
                run.collectors.strategy.performance()["account"] == right.collectors.strategy.performance()["account"]
            )
            await run.stop(is_clean=True)

    in_data_directory(script)


def test_a_path_of_many_chunks_keeps_the_newest() -> None:
    async def script() -> None:
        wrong = fill(1, price=D(120))
        with small_chunks(2):
            run = run_of([CAPITAL, wrong, *(quote(n, 380 + n % 9) for n in range(2, 600))], await started())
            path = run.collectors.strategy.path
            assert len(path.chunks) == equity_path.MAX_CHUNKS
            run_of([bust(wrong)], run)
            assert run.journal.corrector._task is not None
            await run.journal.corrector._task
        section = run.tick()["strategy"]
        assert section["total_pnl"] == 0.0
        assert section["max_drawdown"] > 0.0
        assert section["path_reason"].endswith("stays in drawdown")

    asyncio.run(script())


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(EVENTS, st.data())
def test_a_busted_fill_has_never_been(events: list[AnyEvent], data: st.DataObject) -> None:
    events = numbered(events)
    fills = [event for event in events if isinstance(event, Fill)]
    if not fills:
        return
    wrong = data.draw(st.sampled_from(fills))
    later = data.draw(st.integers(events.index(wrong) + 1, len(events)))

    async def script() -> None:
        right = run_of([event for event in events if event is not wrong], await started())
        run = run_of([*events[:later], bust(wrong), *events[later:]], await started())
        assert figures(run) == figures(right)

    asyncio.run(script())


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(EVENTS, st.data())
def test_a_corrected_fill_was_always_right(events: list[AnyEvent], data: st.DataObject) -> None:
    events = numbered(events)
    fills = [event for event in events if isinstance(event, Fill)]
    if not fills:
        return
    wrong = data.draw(st.sampled_from(fills))
    terms = data.draw(
        st.fixed_dictionaries(
            {"price": st.integers(90, 110).map(D)},
            optional={"quantity": st.integers(1, 4).map(D), "commission": st.integers(0, 2).map(D)},
        )
    )
    later = data.draw(st.integers(events.index(wrong) + 1, len(events)))

    async def script() -> None:
        right = run_of([replaced(wrong, terms) if event is wrong else event for event in events], await started())
        run = run_of([*events[:later], correct(wrong, **terms), *events[later:]], await started())
        assert figures(run) == figures(right)

    asyncio.run(script())


def corrections_of(data: st.DataObject, fills: Sequence[Fill]) -> list[Bust | Correct]:
    """Draws corrections of some fills, each with a time of its own, so that their order is certain."""
    drawn: list[Bust | Correct] = []
    for number in range(data.draw(st.integers(1, 4))):
        wrong = data.draw(st.sampled_from(fills))
        price = data.draw(st.none() | st.integers(90, 110))
        drawn.append(bust(wrong, number) if price is None else correct(wrong, number, price=D(price)))
    return drawn


def right_of(events: Sequence[AnyEvent], corrections: Sequence[Bust | Correct]) -> list[AnyEvent]:
    """Returns the events of a run that never had the faults."""
    result: list[AnyEvent] = []
    for event in events:
        of_event = [each for each in corrections if isinstance(event, Fill) and each.trade_id == event.trade_id]
        if any(isinstance(each, Bust) for each in of_event):
            continue
        prices = [each.price for each in of_event if isinstance(each, Correct)]
        result.append(replaced(event, {"price": prices[-1]}) if prices and isinstance(event, Fill) else event)
    return result


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(EVENTS, st.data())
def test_neither_order_nor_repetition_of_corrections_matters(events: list[AnyEvent], data: st.DataObject) -> None:
    events = numbered(events)
    fills = [event for event in events if isinstance(event, Fill)]
    if not fills:
        return
    corrections = corrections_of(data, fills)
    delivered = data.draw(st.permutations([*corrections, *corrections, *fills]))

    async def script() -> None:
        right = run_of(right_of(events, corrections), await started())
        run = run_of([*events, *delivered], await started())
        assert without(figures(run), "strategy", "execution") == without(figures(right), "strategy", "execution")
        assert run.journal.corrector.waiting == {}

    asyncio.run(script())


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(EVENTS, st.data())
def test_corrections_survive_any_restart_before_and_after_their_fill(
    events: list[AnyEvent], data: st.DataObject
) -> None:
    events = numbered(events)
    fills = [event for event in events if isinstance(event, Fill)]
    if not fills:
        return
    corrections = corrections_of(data, fills)
    sent = list(events)
    for each in corrections:
        sent.insert(data.draw(st.integers(0, len(sent))), each)
    actions = data.draw(
        st.lists(st.sampled_from(("continue", "checkpoint", "stop", "kill")), min_size=len(sent), max_size=len(sent))
    )

    async def script(directory: Path) -> None:
        right = run_of(right_of(events, corrections), await started())
        run = await started(directory)
        newest: dict[str, Quote] = {}
        for event, action in zip(sent, actions, strict=True):
            run_of([event], run)
            if isinstance(event, Quote):
                newest[event.symbol] = event
            if action == "checkpoint":
                run.journal.checkpoint()
            elif action != "continue":
                await run.stop(is_clean=action == "stop")
                run = await started(directory)
                # Prices are not durable.
                run_of(list(newest.values()), run)
        await run.written()
        shown, expected = figures(run), figures(right)
        for part in ("positions", "symbols", "trades", "stats"):
            assert shown[part] == expected[part], part
        # Of prices that came after the newest checkpoint a kill has left nothing.
        for name, account in expected["strategies"].items():
            path = ("drawdown", "max_drawdown")
            assert without(shown["strategies"][name], *path) == without(account, *path), name
        stats = await StoredTrades(run.persistence.store.reader).stats(ALL)  # type: ignore[union-attr]
        assert stats.to_json(run.collectors.strategy.rates) == expected["stats"]
        await run.stop(is_clean=True)

    in_data_directory(script)


BOOKED = {
    "a split": Split("AAPL", D(2), split_id="1", ts=NOON, ts_init=NOON),
    "a dividend": Dividend("AAPL", D("0.5"), dividend_id="1", ts=NOON, ts_init=NOON),
    "a settlement": Settlement("AAPL", D(120), settlement_id="1", ts=NOON, ts_init=NOON),
    "all of them": None,
}


@pytest.mark.parametrize("name", BOOKED)
@pytest.mark.parametrize("is_adopted", [False, True])
def test_what_is_booked_between_the_fills_is_booked_anew(name: str, is_adopted: bool) -> None:
    booked = [each for each in BOOKED.values() if each is not None] if name == "all of them" else [BOOKED[name]]
    adoption = [Position("AAPL", D(7), D(90), "alpha", adopt=True, ts=NOON - S, ts_init=NOON - S)] * is_adopted
    first, wrong, last = fill(1), fill(2, quantity=D(3)), fill(3, side="sell", quantity=D(4))

    async def script() -> None:
        for correction, replacement in (
            (bust(wrong), []),
            (correct(wrong, quantity=D(5)), [replaced(wrong, {"quantity": D(5)})]),
        ):
            right = run_of([*adoption, first, *replacement, *booked, last], await started())  # type: ignore[list-item]
            run = run_of([*adoption, first, wrong, *booked, last, correction], await started())  # type: ignore[list-item]
            assert figures(run) == figures(right)
            assert run.collectors.strategy.corrections == 1

    asyncio.run(script())


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_position_whose_fills_are_all_busted_can_be_adopted(is_alone: bool) -> None:
    other, wrong, again = fill(1, symbol="ES"), fill(2), fill(3, side="sell", quantity=D(4))
    adoption = Position("AAPL", D(7), D(90), "alpha", adopt=True, ts=NOON + 9 * S, ts_init=NOON + 9 * S)
    before = [] if is_alone else [other]

    async def script() -> None:
        right = run_of([*before, adoption], await started())
        run = run_of([*before, wrong, again, bust(wrong), bust(again), adoption], await started())
        assert run.bus.remark is None
        assert figures(run) == figures(right)
        assert run.collectors.strategy._n_positions == right.collectors.strategy._n_positions

    asyncio.run(script())


def test_a_position_that_was_closed_before_cannot_be_adopted_once_later_fills_are_busted() -> None:
    adoption = Position("AAPL", D(7), D(90), "alpha", adopt=True, ts=NOON + 9 * S, ts_init=NOON + 9 * S)
    closed = [fill(1, commission=D(0)), fill(2, side="sell", commission=D(0))]

    async def script() -> None:
        run = run_of([*closed, fill(3), bust(fill(3)), adoption], await started())
        assert run.bus.remark is not None and "has had fills" in run.bus.remark.text

    asyncio.run(script())


def test_a_payment_stays_with_the_strategy_that_it_was_found_to_be_of() -> None:
    wrong = fill(1, strategy="mean")
    payment = Funding("AAPL", D(5), "f", ts=NOON + 2 * S, ts_init=NOON + 2 * S)

    async def script() -> None:
        run = run_of([wrong, payment, bust(wrong)], await started())
        (booking, _) = run.collectors.bookings.newer_than(0)
        shown = run.tick()["strategies"]["mean"]
        assert (shown["income"], shown["fills"], booking.strategy) == (5.0, 0, "mean")

    asyncio.run(script())


def test_figures_of_a_path_that_is_no_longer_kept_stay_and_say_so() -> None:
    async def script() -> None:
        today, wrong = await started(), fill(1, price=D(90))
        run_of([wrong, fill(2, price=D(100))], today)
        today.collectors.strategy.path.clear()
        run_of([correct(wrong, price=D(95))], today)
        assert today.tick()["strategy"]["daily_pnl"] == 49.8
        assert str(today.collectors.strategy.left_by_faults.reason).endswith("stays in drawdown")
        later = await started()
        tomorrow = Fill("t3", "AAPL", "buy", D(1), D(100), ts=NOON + 86_400 * S, ts_init=NOON + 86_400 * S)
        run_of([wrong, tomorrow], later)
        later.collectors.strategy.path.clear()
        later.collectors.strategy.closings.clear(later.collectors.strategy.path.seq)
        run_of([correct(wrong, price=D(95))], later)
        reason = str(later.collectors.strategy.left_by_faults.reason)
        assert reason.endswith("stays in drawdown, daily P&L, daily returns")

    asyncio.run(script())


ADOPTED = Position("AAPL", D(7), D(90), "alpha", adopt=True, ts=NOON, ts_init=NOON)


def test_a_symbol_stays_while_it_is_held_when_its_only_fill_is_busted() -> None:
    async def script() -> None:
        wrong = fill(1, commission=D(0))
        run = run_of([ADOPTED, quote(2, 440), wrong, bust(wrong)], await started())
        total = run.tick()["strategy"]["total_pnl"]
        symbol = run.collectors.strategy.groups[2].parts["AAPL"].to_json()
        assert symbol["total_pnl"] == total == 7 * (110.125 - 90)

    asyncio.run(script())


BNB: Any = {"commission": D("0.01"), "commission_asset": "BNB"}


def test_a_fee_that_had_no_rate_has_none_when_another_fill_is_corrected() -> None:
    async def script() -> None:
        first, wrong, last = fill(1, **BNB), fill(2, price=D(120)), fill(4, side="sell", quantity=D(4))
        right = run_of([first, known_rate("BNB", "600", 3), last], await started())
        run = run_of([first, wrong, known_rate("BNB", "600", 3), last, bust(wrong)], await started())
        assert figures(run) == figures(right)

    asyncio.run(script())


def test_fees_without_a_rate_of_earlier_round_trips_stay_when_a_fill_is_busted() -> None:
    async def script() -> None:
        earlier, wrong = [fill(1, **BNB), fill(2, side="sell"), fill(3, **BNB)], fill(4, **BNB)
        right, run = run_of(earlier, await started()), run_of([*earlier, wrong, bust(wrong)], await started())
        assert figures(run) == figures(right)
        (position,) = figures(run)["positions"].values()
        assert (position["realized_pnl"], position["unvalued_fees"]) == (None, {"BNB": 0.02})

    asyncio.run(script())


def test_a_fee_that_a_correction_brings_counts_at_the_rate_of_the_correction() -> None:
    async def script() -> None:
        wrong = fill(2, commission=D(0), commission_asset="BNB")
        run = run_of([known_rate("BNB", "600", 1), wrong, correct(wrong, commission=D("0.01"))], await started())
        (position,) = figures(run)["positions"].values()
        assert (position["realized_pnl"], figures(run)["strategy"]["fees"]) == (-6.0, 6.0)

    asyncio.run(script())


@pytest.mark.parametrize("terms", [{"multiplier": D(50)}, {"contract": "inverse", "base_currency": "BTC"}])
def test_a_fill_from_before_other_terms_is_not_corrected_under_them(terms: dict[str, Any]) -> None:
    async def script() -> None:
        wrong = fill(2, side="sell", price=D(110), commission=D(0))
        known = Instrument("AAPL", "future", "USD", **terms, ts=NOON + 3 * S, ts_init=NOON + 3 * S)
        earlier = [fill(1, commission=D(0)), wrong, known]
        right = run_of(earlier, await started())
        run = run_of([*earlier, correct(wrong, price=D(120))], await started())
        assert figures(run) == figures(right)
        (waiting,) = run.journal.corrector.waiting.values()
        assert waiting.effect["status"] == "pending" and "other terms" in waiting.effect["reason"]

    asyncio.run(script())


def test_the_amount_of_a_fill_is_corrected_where_its_position_cannot_be_added_up() -> None:
    async def script() -> None:
        opening, wrong = fill(1), fill(2, **BNB)
        terms = Instrument("AAPL", "future", "USD", multiplier=D(50), ts=NOON, ts_init=NOON)
        run = await started()
        run.collectors.execution.trades._max_trades = 1
        run_of([terms, known_rate("BNB", "600", 1), opening, wrong, correct(wrong, price=D(110))], run)
        run_of([correct(wrong, 1, price=D(120), commission=D("0.02"))], run)
        stats = run.collectors.execution.trades.stats(ALL).to_json(run.collectors.strategy.rates)
        assert (stats["notional"], stats["commission"]) == (10 * 120 * 50, 12.0)
        assert run.collectors.strategy.corrections == 2
        assert figures(run)["strategy"]["fees"] == 12.1

    asyncio.run(script())


@pytest.mark.parametrize("forgotten", ["the fill", "what was adopted before it"])
def test_a_fill_is_corrected_although_memory_has_lost(forgotten: str) -> None:
    async def script(directory: Path) -> None:
        wrong, last = fill(1, commission=D(0)), fill(2, side="sell", quantity=D(3))
        right, run = run_of([ADOPTED, last], await started()), await started(directory)
        if forgotten == "the fill":
            run.collectors.execution.trades._max_trades = 1
        else:
            run.collectors.bookings._bookings = deque(maxlen=1)
        run_of([ADOPTED, wrong, last], run)
        await run.written()
        run_of([bust(wrong)], run)
        assert run.collectors.strategy.corrections == 1
        for part in ("strategies", "positions", "symbols"):
            assert figures(run)[part] == figures(right)[part], part
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_a_bust_from_before_its_fill_waits_for_it_again_in_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("observability.metrics.durability.recovery.MAX_TRADES", 0)

    async def script(directory: Path) -> None:
        first, wrong, last = fill(1), fill(2, quantity=D(3)), fill(3, side="sell", quantity=D(4))
        right, run = run_of([first, last], await started()), await started(directory)
        run_of([first, bust(wrong), last, wrong], run)
        await run.stop(is_clean=False)
        run = await started(directory)
        for part in ("strategies", "positions", "symbols"):
            assert figures(run)[part] == figures(right)[part], part
        await run.stop(is_clean=True)

    in_data_directory(script)


@pytest.mark.parametrize("fee", ["0.02", "0"])
def test_a_corrected_fee_in_a_third_currency_is_that_of_the_order_too(fee: str) -> None:
    async def script() -> None:
        wrong = fill(2, **BNB)
        right = run_of([known_rate("BNB", "600", 1), replaced(wrong, {"commission": D(fee)})], await started())
        run = run_of([known_rate("BNB", "600", 1), wrong, correct(wrong, commission=D(fee))], await started())
        assert figures(run) == figures(right)

    asyncio.run(script())


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_kill_leaves_a_corrected_fill_at_its_rate_and_terms(is_stored: bool) -> None:
    async def script(directory: Path) -> None:
        wrong, terms = fill(2, **BNB), Instrument("AAPL", "future", "USD", multiplier=D(50), ts=NOON, ts_init=NOON)
        changes = {"commission": D("0.03"), "price": D(110)}
        right = run_of([terms, known_rate("BNB", "600", 1), replaced(wrong, changes)], await started())
        run = run_of([terms, known_rate("BNB", "600", 1), wrong], await started(directory))
        if is_stored:
            run.journal.checkpoint()
        run_of([correct(wrong, **changes)], run)
        await run.written()
        await run.stop(is_clean=False)
        run = await started(directory)
        for part in ("strategies", "positions", "symbols", "trades", "stats"):
            assert figures(run)[part] == figures(right)[part], part
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_what_busts_take_out_of_latencies_stays_in_the_counters_over_a_restart() -> None:
    def counters(run: HubRun) -> dict[str, Any]:
        return {leg: figures[:3] for leg, figures in run.collectors.execution.latencies().items()}

    async def script() -> None:
        run = run_of([order(1, "pending_new"), order(1, "new"), wrong := fill(1, latency_ms=1.5)], await started())
        before = counters(run)
        assert {leg for leg, (_, n, _) in before.items() if n} > {"send_to_first_fill", "reported_by_fills"}
        run_of([bust(wrong)], run)
        assert counters(run) == before
        assert run.collectors.execution.quality()["latency_total"]["send_to_first_fill"]["n"] == 0
        again = await started()
        again.collectors.execution.load(run.collectors.execution.save())
        assert counters(again) == before

    asyncio.run(script())


LONG: Any = {"position_side": "long", "commission": D(0)}


def test_a_bust_that_would_take_a_side_through_zero_waits_for_its_closing_fills() -> None:
    async def script() -> None:
        kept, wrong = fill(1, quantity=D(1), **LONG), fill(2, quantity=D(9), **LONG)
        closing = fill(3, side="sell", quantity=D(4), **LONG)
        run = run_of([kept, wrong, closing, bust(wrong)], await started())
        (booking,) = run.collectors.bookings.newer_than(0)
        assert booking.effect["status"] == "pending"
        assert "close more of this side" in booking.effect["reason"]
        assert run.tick()["strategy"]["pending_corrections"] == 1
        assert [each["quantity"] for each in run.collectors.strategy.positions()] == [6.0]
        run_of([bust(closing, 1)], run)
        right = run_of([kept], await started())
        assert figures(run) == figures(right)
        assert run.collectors.strategy.pending_corrections == 0

    asyncio.run(script())


def test_a_correction_that_waits_for_other_terms_is_applied_when_they_come() -> None:
    def instrument(number: int, multiplier: int) -> Instrument:
        ts = NOON + number * S
        return Instrument("ES", "future", "USD", multiplier=D(multiplier), ts=ts, ts_init=ts)

    async def script() -> None:
        first, wrong, last = (
            fill(2, symbol="ES"),
            fill(3, symbol="ES"),
            fill(4, symbol="ES", side="sell", quantity=D(20)),
        )
        before = [instrument(1, 50), first, wrong, last, instrument(5, 20)]
        run = run_of([*before, correct(wrong, price=D(120))], await started())
        assert run.collectors.strategy.pending_corrections == 1
        run_of([instrument(6, 50)], run)
        assert run.collectors.strategy.pending_corrections == 0
        fills = [first, replaced(wrong, {"price": D(120)}), last]
        right = run_of([instrument(1, 50), *fills, instrument(5, 20), instrument(6, 50)], await started())
        assert figures(run) == figures(right)

    asyncio.run(script())
