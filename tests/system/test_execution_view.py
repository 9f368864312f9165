"""The view of execution quality in a browser: its figures are those of the server, for all orders or for some."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from accessibility import violations
from browser import Page
from desk_page import (
    browser,
    choose,
    cut_tables,
    desk,
    open_row,
    open_view,
    page,
    prefer,
    resize,
    saved_csv,
    table,
    texts,
    wait_for_text,
    width,
)
from server_process import Server

__all__ = ["browser", "desk", "page"]

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")


def figures(page: Page) -> dict[str, str]:
    return dict(zip(texts(page, ".figures.tiles dt"), texts(page, ".figures.tiles dd"), strict=True))


def quality(desk: Server, strategy: str) -> Any:
    """Returns the figures of a strategy of the busy session, which no longer trades."""
    return desk.get("/api/trades/execution/quality")["by_strategy"][strategy]


def test_the_figures_are_those_of_the_chosen_strategy(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution")
    choose(page, "group", "strategy:trend")
    page.wait_for("location.hash === '#/execution?of=strategy%3Atrend'")
    want = quality(desk, "trend")
    page.wait_for(f"document.querySelector('.figures.tiles dd').textContent === '{want['orders']}'")
    shown = figures(page)
    assert shown["Rejected"] == f"{100 * want['reject_rate']['value']:.1f} %"
    assert shown["Arrival slippage"] == f"{want['arrival_slippage_bps']['value']:.2f} bps"
    assert shown["Shortfall"] == f"{want['implementation_shortfall']['total_bps']:.2f} bps"


def test_the_parts_of_the_shortfall_have_bars_with_their_figures(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution?of=strategy:trend")
    parts = quality(desk, "trend")["implementation_shortfall"]
    wait_for_text(page, ".bars > .total", f"{parts['total_bps']:.2f} bps")
    names = ("delay", "trading", "opportunity", "fees", "total")
    assert texts(page, ".bars .num:nth-child(3)") == [f"{parts[f'{name}_bps']:,.2f} bps" for name in names]
    wide = page.evaluate("[...document.querySelectorAll('.bars .bar')].map(bar => parseFloat(bar.style.width))")
    assert max(wide) == 50
    assert wide[-1] == pytest.approx(50 * abs(parts["total_bps"]) / max(abs(parts[f"{name}_bps"]) for name in names))


def test_each_leg_and_each_horizon_has_its_sample_count(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution?of=strategy:mean")
    want = quality(desk, "mean")
    page.wait_for("document.querySelectorAll('[aria-label=\"Latency by leg\"] .row').length >= 6")
    rows = {row[0]: row for row in table(page, "Latency by leg")}
    assert rows["Send to acknowledgement"][1] == str(want["latency"]["send_to_ack"]["n"])
    counts = {row[0]: row[4] for row in table(page, "Markouts")}
    assert counts["50ms"] == str(want["markouts"]["50ms"]["n"])
    assert list(counts) == ["50ms", "1s", "10s", "1m", "5m"]


def test_the_heat_map_has_every_order_that_was_acknowledged(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution?of=strategy:trend&range=1h")
    listed = desk.get("/api/orders?strategy=trend&limit=1000")["orders"]
    acknowledged = sum(order["latency_ms"] is not None for order in listed)
    assert acknowledged > 20
    wait_for_text(page, ".chart .note", f"{acknowledged} orders: median")
    painted = page.evaluate("""(() => { const canvas = document.querySelector('canvas.heat');
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let n = 0; for (let at = 3; at < data.length; at += 4) n += data[at] > 0; return n; })()""")
    assert painted > 500
    assert page.evaluate("document.querySelector('canvas.heat').getAttribute('aria-label')").endswith("ms")


# Counts the moments that the view moves to, and holds back the answers about orders.
HOLD_ORDERS = """(() => {
    const { api } = app, get = api.get.bind(api);
    window.held = [];
    window.moments = new Set();
    api.get = (path, query) => {
        if (path.endsWith('/execution_quality')) moments.add(query.time);
        if (path !== '/api/orders') return get(path, query);
        return new Promise(answer => held.push(() => answer(get(path, query))));
    };
})()"""


def test_orders_of_the_past_are_asked_for_one_moment_after_the_other(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution?of=strategy:trend")
    wait_for_text(page, ".chart .note", "orders: median")
    page.wait_for("!app.scrubber.element.hidden")
    page.evaluate(HOLD_ORDERS)
    page.evaluate("app.scrubber.switch()")
    page.wait_for("app.feed.moment && app.scrubber.play.textContent === '▸'")
    page.evaluate("app.scrubber.playOrPause()")
    page.wait_for("moments.size > 3")
    assert page.evaluate("held.length") == 1
    page.evaluate("held[0]()")
    page.wait_for("held.length === 2")


def test_a_reason_of_rejects_leads_to_its_orders(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution")
    wait_for_text(page, "[aria-label=Rejects] .row", "insufficient margin")
    open_row(page, "Rejects", "insufficient margin")
    page.wait_for("location.hash.startsWith('#/orders?')")
    wait_for_text(page, "[aria-label=Orders] .row", "insufficient margin")


def test_a_group_is_chosen_from_the_comparison(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution?by=venue")
    wait_for_text(page, "[aria-label=Groups] .row", "BATS")
    open_row(page, "Groups", "BATS")
    page.wait_for("location.hash.includes('of=venue%3ABATS')")
    page.wait_for("document.querySelector('select[aria-label=group]').value === 'venue:BATS'")


def test_a_group_without_orders_is_said_to_have_none(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution?of=strategy:nothing")
    wait_for_text(page, ".fault", "There is no order of strategy nothing in this session.")


def test_the_csv_of_latencies_has_the_whole_figures(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution?of=strategy:mean")
    page.wait_for("document.querySelectorAll('[aria-label=\"Latency by leg\"] .row').length >= 6")
    head, *lines = saved_csv(page, "Save latencies as CSV")
    assert head == "leg,n,p50,p90,p95,p99,p999,max"
    want = quality(desk, "mean")["latency"]["send_to_ack"]
    assert next(line for line in lines if line.startswith("Send to ack")).split(",")[1] == str(want["n"])


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_view_of_execution_has_no_serious_finding_of_axe(page: Page, desk: Server, scheme: str) -> None:
    prefer(page, scheme)
    open_view(page, desk, "#/execution")
    wait_for_text(page, "[aria-label=Rejects] .row", "insufficient margin")
    assert violations(page) == []


def test_the_view_of_execution_fits_into_a_phone_of_320_pixels(page: Page, desk: Server) -> None:
    resize(page, 320, 640)
    open_view(page, desk, "#/execution")
    wait_for_text(page, "[aria-label=Rejects] .row", "insufficient margin")
    assert width(page) <= 320
    assert cut_tables(page) == []


def test_a_note_says_what_the_band_of_the_markouts_is(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution")
    wait_for_text(page, ".note", "Band: where the mean is with 95 % of chance, by the spread over orders.")
    page.wait_for("!!document.querySelector('.chart .u-over')")
    page.wait_for("document.querySelector('[aria-label=Markouts] .row').textContent.match(/ bps/g)?.length === 3")


def test_the_heat_map_shows_the_leg_that_is_chosen(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/execution")
    said = "document.querySelector('.heat + .note').textContent"
    page.wait_for(f"/^[0-9]/.test({said})")
    before = page.evaluate(said)
    page.evaluate(
        "{ const leg = document.querySelector('[aria-label=Leg]'); leg.value = 'send_to_complete'; "
        "leg.dispatchEvent(new Event('change')); }"
    )
    page.wait_for(f"{said} !== {json.dumps(before)}")
    assert page.evaluate("location.hash") == "#/execution?leg=send_to_complete"
    found = sum(
        order["latency"]["send_to_complete"] is not None for order in desk.get("/api/orders?limit=1000")["orders"]
    )
    page.wait_for(f"parseInt({said}) >= {found}")
