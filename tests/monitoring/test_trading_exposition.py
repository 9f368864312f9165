"""The trading figures that Prometheus scrapes: of one snapshot, in its units, and none that are unknown."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from observability.clocks.timestamps import NS_PER_S
from observability.monitoring.trading_exposition import MAX_AGE_NS, TradingFigures, TradingLabels

QUALITY: dict[str, Any] = {
    "orders": 12,
    "fill_rate_orders": {"value": 0.5, "n": 10},
    "reject_rate": {"value": None, "n": 0},
    "cancel_rate": {"value": 0.25, "n": 12},
    "arrival_slippage_bps": {"value": 3.0, "n": 4},
    "vwap_deviation_bps": {"value": None, "n": 0},
    "implementation_shortfall": {"delay_bps": 1.0, "trading_bps": None, "opportunity_bps": 0.0, "fees_bps": 0.5},
    "markouts": {"1s": {"bps": -2.0}, "5m": {"bps": None}},
}
REJECTS: list[dict[str, Any]] = [{"reason": 'no "money"', "venue": "V", "orders": 3}]
EXECUTION: dict[str, Any] = {
    "quality": {
        **QUALITY,
        "reject_reasons": REJECTS,
        "by_strategy": {"s": QUALITY},
        "by_symbol": {},
        "by_venue": {"V": QUALITY},
    },
    "latencies": {"send_to_ack": [3.0, 5, [0] * 10 + [2] * 6, {"10": ["o-1", "X", 0.2, 1_700_000_000.5]}]},
}


def snapshot(**strategy: Any) -> dict[str, Any]:
    return {
        "strategy": {
            "total_pnl": 1.5, "drawdown_pct": 12.0, "strategies": {}, "symbols": {}, "positions": [], **strategy
        },
        "market_data": {"X": {"bid": 1.0, "ask": None, "spread_bps": 5.0, "stale": True}},
        "execution": {"open_orders": 2, "rejected": None, "fills_today": 7},
    }  # fmt: skip


def samples(figures: TradingFigures) -> dict[str, float]:
    """Returns every sample by name and labels, as they are written."""
    text = b"".join(figures.families()).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_units_are_those_of_prometheus() -> None:
    found = samples(TradingFigures(snapshot(), EXECUTION, 2 * NS_PER_S))
    assert found["trading_snapshot_age_seconds"] == 2
    assert found["trading_pnl"] == 1.5
    assert found["trading_drawdown_ratio"] == pytest.approx(0.12)
    assert found["market_spread_ratio{symbol=X}"] == pytest.approx(0.0005)
    assert found["market_stale{symbol=X}"] == 1
    assert found["execution_arrival_slippage_ratio"] == pytest.approx(0.0003)


def test_rejected_orders_are_counted_by_reason_and_venue() -> None:
    found = samples(TradingFigures(snapshot(), EXECUTION, 0))
    assert found['execution_session_rejects{reason=no "money",venue=V}'] == 3


def test_what_is_unknown_has_no_sample() -> None:
    found = samples(TradingFigures(snapshot(), EXECUTION, 0))
    assert "market_bid_price{symbol=X}" in found
    assert "market_ask_price{symbol=X}" not in found
    assert "execution_reject_ratio" not in found
    assert "execution_session_orders{status=rejected}" not in found
    assert found["execution_session_orders{status=open}"] == 2


def test_an_old_snapshot_is_not_shown_as_the_present() -> None:
    assert set(samples(TradingFigures(snapshot(), EXECUTION, MAX_AGE_NS + 1))) == {"trading_snapshot_age_seconds"}


def test_totals_that_lack_a_site_and_what_it_has_sent_last_have_no_sample() -> None:
    strategies = {"london/mm": {"total_pnl": 1.0}, "tokyo/mm": {"total_pnl": 2.0}}
    whole = samples(TradingFigures(snapshot(strategies=strategies, missing_sites=[]), None, 0))
    assert (whole["trading_pnl"], whole["trading_strategy_pnl{strategy=tokyo/mm}"]) == (1.5, 2.0)
    lacking = samples(TradingFigures(snapshot(strategies=strategies, missing_sites=["tokyo"]), None, 0))
    assert lacking["trading_strategy_pnl{strategy=london/mm}"] == 1.0
    gone = {name.partition("{")[0] for name in whole.keys() - lacking.keys()}
    assert gone == {
        "trading_pnl", "trading_drawdown_ratio", "trading_strategy_pnl", "execution_session_fills",
        "execution_session_orders",
    }  # fmt: skip


def test_without_the_hub_what_it_alone_knows_is_missing() -> None:
    found = samples(TradingFigures(snapshot(), None, 0))
    assert "trading_pnl" in found
    assert not any(name.startswith(("execution_orders", "execution_latency")) for name in found)


def test_groups_have_their_label() -> None:
    found = samples(TradingFigures(snapshot(), EXECUTION, 0))
    assert found["execution_strategy_fill_ratio{strategy=s}"] == 0.5
    assert found["execution_venue_markout_ratio{horizon=1s,venue=V}"] == pytest.approx(-0.0002)
    assert "execution_venue_markout_ratio{horizon=5m,venue=V}" not in found


def test_latencies_are_histograms_with_cumulative_buckets() -> None:
    found = samples(TradingFigures(snapshot(), EXECUTION, 0))
    leg = "leg=send_to_ack"
    assert found[f"execution_latency_seconds_count{{{leg}}}"] == 5
    assert found[f"execution_latency_seconds_sum{{{leg}}}"] == 3
    assert found[f"execution_latency_seconds_bucket{{le=0.25,{leg}}}"] == 2
    assert found[f"execution_latency_seconds_bucket{{le=+Inf,{leg}}}"] == 5


def test_the_sides_of_a_hedged_position_are_different_series() -> None:
    sides = [
        {"strategy": "s", "symbol": "X", "position_side": side, "quantity": quantity}
        for side, quantity in (("long", 1.0), ("short", -2.0))
    ]
    found = samples(TradingFigures(snapshot(positions=sides), None, 0))
    assert found["trading_position_quantity{side=long,strategy=s,symbol=X}"] == 1
    assert found["trading_position_quantity{side=short,strategy=s,symbol=X}"] == -2


def test_money_of_a_position_in_another_currency_is_a_series_of_its_own() -> None:
    positions = [
        {"strategy": "s", "symbol": symbol, "currency": currency, "unrealized_pnl": 1.0}
        for symbol, currency in (("AAPL", "USD"), ("ETHBTC", "BTC"))
    ]
    found = samples(TradingFigures(snapshot(positions=positions, reporting_currency="USD"), None, 0))
    assert found["trading_position_unrealized_pnl{strategy=s,symbol=AAPL}"] == 1
    assert found["trading_position_unrealized_pnl{currency=BTC,strategy=s,symbol=ETHBTC}"] == 1


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "ü{},="])
def test_any_name_is_a_label(name: str) -> None:
    found = samples(TradingFigures(snapshot(strategies={name: {"total_pnl": 1.0}}), None, 0))
    assert found[f"trading_strategy_pnl{{strategy={name}}}"] == 1


# -- exemplars


def test_a_slow_bucket_names_an_order_in_openmetrics_alone() -> None:
    text = b"".join(TradingFigures(snapshot(), EXECUTION, 0, has_exemplars=True).families()).decode()
    (bucket,) = (
        sample
        for family in openmetrics_families(text + "# EOF\n")
        for sample in family.samples
        if sample.exemplar is not None
    )
    assert bucket.labels == {"leg": "send_to_ack", "le": "0.25"}
    exemplar = bucket.exemplar
    assert (exemplar.labels, exemplar.value) == ({"order_id": "o-1", "symbol": "X"}, 0.2)
    assert float(exemplar.timestamp) == 1_700_000_000.5
    assert b"order_id" not in b"".join(TradingFigures(snapshot(), EXECUTION, 0).families())


def test_an_id_that_is_too_long_for_an_exemplar_is_left_out() -> None:
    long = {**EXECUTION, "latencies": {"send_to_ack": [3.0, 5, [5] * 16, {"0": ["o" * 200, "X", 0.2, 1.0]}]}}
    assert b" # {" not in b"".join(TradingFigures(snapshot(), long, 0, has_exemplars=True).families())


# -- labels

MARKET = {
    f"S{number}": {"bid": 1.0, "venues": {"A": {"bid": 1.0}, "B": {"bid": None, "stale": True}}} for number in range(4)
}


def many() -> dict[str, Any]:
    position = {"strategy": "s", "symbol": "S3", "quantity": 1.0}
    found = snapshot(strategies={"s": {"fees": 1.0}}, symbols={"S3": {"fees": 1.0}}, positions=[position])
    return {**found, "market_data": MARKET}


@pytest.mark.parametrize("unwanted", ["strategy", "symbol", "venue"])
def test_a_label_that_is_not_wanted_is_in_no_sample(unwanted: str) -> None:
    labels = TradingLabels(frozenset({"strategy", "symbol", "venue"} - {unwanted}))
    every, fewer = (samples(TradingFigures(many(), EXECUTION, 0, *given)) for given in ((), (labels,)))
    with_label = {name for name in every if f"{unwanted}=" in name} | {
        f"trading_label_values_left_out{{label={unwanted}}}"
    }
    assert len(with_label) > 5
    assert every.keys() - fewer.keys() == with_label
    # Of the rejects only the label goes.
    assert all("rejects" in name for name in fewer.keys() - every.keys())


def test_rejects_of_venues_that_are_not_shown_stay_in_the_sum() -> None:
    rejects = [{"reason": "r", "venue": venue, "orders": 2} for venue in ("V", "W")]
    execution = {**EXECUTION, "quality": {**EXECUTION["quality"], "reject_reasons": rejects}}
    for labels, expected in (
        (TradingLabels(frozenset()), {"execution_session_rejects{reason=r}": 4}),
        (TradingLabels(max_values=1), {
            "execution_session_rejects{reason=r,venue=V}": 2, "execution_session_rejects{reason=r,venue=(other)}": 2,
        }),
    ):  # fmt: skip
        found = samples(TradingFigures(snapshot(), execution, 0, labels))
        assert {name: value for name, value in found.items() if "rejects" in name} == expected


def test_beyond_the_limit_symbols_with_positions_are_shown_and_the_others_counted() -> None:
    found = samples(TradingFigures(many(), EXECUTION, 0, TradingLabels(max_values=2)))
    assert {name for name in found if name.startswith("market_bid_price")} == {
        "market_bid_price{symbol=S3}", "market_bid_price{symbol=S0}"
    }  # fmt: skip
    assert found["trading_label_values_left_out{label=symbol}"] == 2
    assert found["trading_label_values_left_out{label=strategy}"] == 0


def test_each_venue_of_a_symbol_has_figures_of_its_own() -> None:
    found = samples(TradingFigures(many(), EXECUTION, 0))
    assert found["market_venue_bid_price{symbol=S0,venue=A}"] == 1
    assert found["market_venue_stale{symbol=S0,venue=B}"] == 1
    assert "market_venue_bid_price{symbol=S0,venue=B}" not in found
