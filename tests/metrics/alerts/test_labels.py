"""Labels and links of alerts: what is filled in for each kind of metric, and how it is quoted."""

from __future__ import annotations

import msgspec
import pytest

from observability.events import Alert
from observability.metrics.alerts.labels import fields_of, fill, fill_links, subject_of
from observability.metrics.alerts.metric_paths import MetricPath


@pytest.mark.parametrize(
    ("path", "member", "subject"),
    [
        ("market_data.*.stale", "BRK.B", {"symbol": "BRK.B"}),
        ("market_data.BRK.B.stale", "", {"symbol": "BRK.B"}),
        ("strategy.strategies.*.total_pnl", "alpha", {"strategy": "alpha"}),
        ("strategy.positions.*.quantity", "alpha/BTC/USD:long", {"strategy": "alpha", "symbol": "BTC/USD"}),
        ("strategy.drawdown", "", {}),
        ("metric.depth", 'venue="X"', {}),
        ("server.ticks", "", {}),
    ],
)
def test_an_alert_is_about_the_symbol_and_strategy_of_its_member(
    path: str, member: str, subject: dict[str, str]
) -> None:
    assert subject_of(MetricPath.parse(path), member) == subject


def test_what_is_filled_into_a_link_stays_one_part_of_it() -> None:
    fields = fields_of("wide", MetricPath.parse("market_data.*.spread_bps"), "critical", "BTC/USD?#&%")
    assert fill_links((("book", "https://wiki/{rule}/{symbol}?s={severity}"),), fields) == {
        "book": "https://wiki/wide/BTC%2FUSD%3F%23%26%25?s=critical"
    }
    assert fill((("what", "{symbol} {{}}"),), fields) == {"what": "BTC/USD?#&% {}"}


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://", "ftp://x", "https://x/ y", "https://x/\n", "//x"])
def test_an_event_with_a_link_that_is_no_page_is_refused(link: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="links: runbook: expected http:// or https:// and a host"):
        msgspec.convert({"severity": "info", "title": "t", "links": {"runbook": link}, "type": "alert"}, Alert)
