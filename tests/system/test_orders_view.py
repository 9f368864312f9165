"""The blotter in a browser: orders and trades live, filtered, paged, and the life of one order."""

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
    open_view,
    page,
    prefer,
    press,
    resize,
    saved_csv,
    table,
    texts,
    wait_for_text,
    width,
)
from hosts import post
from server_process import ROOT, Server, running

__all__ = ["browser", "desk", "page"]

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")


def order(ident: str, status: str, **further: Any) -> dict[str, Any]:
    common = {"type": "order", "order_id": ident, "symbol": "LIVE", "side": "buy", "quantity": "10", "price": "50"}
    return {**common, "strategy": "watched", "venue": "XNAS", "status": status, **further}


def fill(ident: str, quantity: str, price: str) -> dict[str, Any]:
    common = {"type": "fill", "trade_id": f"{ident}-{quantity}", "order_id": ident, "symbol": "LIVE", "side": "buy"}
    return {**common, "quantity": quantity, "price": price, "strategy": "watched", "venue": "XNAS"}


def test_an_order_appears_and_changes_as_its_reports_and_fills_come(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders?strategy=watched")
    post(desk, "/api/ingest", [order("live1", "pending_new"), order("live1", "new")])
    page.wait_for("document.querySelector('[aria-label=Orders] .row')?.textContent.includes('new')")
    post(desk, "/api/ingest", [fill("live1", "4", "49.5"), order("live1", "partially_filled")])
    wait_for_text(page, "[aria-label=Orders] .row", "partially filled")
    # What is filled, and at what average price, is the server's figure.
    wait_for_text(page, "[aria-label=Orders] .row", "49.50")
    post(desk, "/api/ingest", [fill("live1", "6", "50"), order("live1", "filled")])
    wait_for_text(page, "[aria-label=Orders] .row", "49.80")
    (row,) = table(page, "Orders")
    assert row[1:8] == ["LIVE", "buy", "10", "10", "50.00", "49.80", "filled"]


def test_an_old_order_that_changes_with_many_has_what_was_filled_of_it(page: Page, desk: Server) -> None:
    crowd = {"symbol": "CROWD", "strategy": "crowd"}
    post(desk, "/api/ingest", [order("old", "new", **crowd), {**fill("old", "4", "49.5"), **crowd}])
    post(desk, "/api/ingest", [order(f"young{number}", "new", **crowd) for number in range(220)])
    open_view(page, desk, "#/orders?strategy=crowd")
    wait_for_text(page, ".note[role=status]", "200 orders shown")
    later = [order(f"young{number}", "canceled", **crowd) for number in range(10)]
    post(desk, "/api/ingest", [*later, order("old", "partially_filled", **crowd)])
    wait_for_text(page, "[aria-label=Orders] .row", "partially filled")
    assert table(page, "Orders")[0][4] != "0"
    wait_for_text(page, "[aria-label=Orders] .row", "49.50")
    assert table(page, "Orders")[0][1:7] == ["CROWD", "buy", "10", "4", "50.00", "49.50"]


def test_a_trade_appears_as_it_happens(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders?tab=trades&symbol=ALONE")
    wait_for_text(page, ".note[role=status]", "0 trades shown, which is all")
    post(desk, "/api/ingest", [{**fill("live2", "3", "51.25"), "symbol": "ALONE"}])
    wait_for_text(page, "[aria-label=Trades] .row", "51.25")
    assert [row[1:5] for row in table(page, "Trades")] == [["ALONE", "buy", "3", "51.25"]]


def test_a_busted_trade_is_shown_as_busted_at_once(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders?tab=trades&symbol=LIVE")
    post(desk, "/api/ingest", [fill("live3", "2", "52.5")])
    wait_for_text(page, "[aria-label=Trades] .row", "52.5")
    bust = {
        "type": "bust",
        "trade_id": "live3-2",
        "order_id": "live3",
        "symbol": "LIVE",
        "side": "buy",
        "venue": "XNAS",
    }
    post(desk, "/api/ingest", bust)
    wait_for_text(page, "[aria-label=Trades] .row", "busted")


def test_filters_are_in_the_address_and_come_from_it(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders")
    choose(page, "status", "rejected")
    wait_for_text(page, "[aria-label=Orders] .row", "insufficient margin")
    choose(page, "venue", "BATS")
    page.wait_for(
        "[...document.querySelectorAll('[aria-label=Orders] .row')].every(row => row.textContent.includes('BATS'))"
    )
    address = page.evaluate("location.hash")
    assert address == "#/orders?status=rejected&venue=BATS"
    open_view(page, desk, address)
    wait_for_text(page, "[aria-label=Orders] .row", "rejected")
    rows = table(page, "Orders")
    assert rows
    assert all(row[7] == "rejected" and "BATS" in row for row in rows)
    press(page, "/")
    page.ask("Input.insertText", text="no such reason")
    wait_for_text(page, "[aria-label=Orders] .empty", "Nothing matches")


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_filter_by_side_leaves_only_that_side(page: Page, desk: Server, side: str) -> None:
    open_view(page, desk, f"#/orders?strategy=mean&side={side}")
    wait_for_text(page, "[aria-label=Orders] .row", "AAPL")
    assert {row[2] for row in table(page, "Orders")} == {side}


def test_a_time_gets_its_day_as_the_day_of_the_figures_becomes_another(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders?strategy=mean")
    wait_for_text(page, "[aria-label=Orders] .row", "AAPL")
    page.evaluate("Object.defineProperty(app.feed, 'now', { get: () => Date.parse('2001-01-01') })")
    page.wait_for("/^\\d\\d-\\d\\d /.test(document.querySelector('[aria-label=Orders] .row').textContent)")


def test_open_orders_alone_can_be_shown(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders?open=true&strategy=mean")
    wait_for_text(page, "[aria-label=Orders] .row", "AAPL")
    assert {row[7] for row in table(page, "Orders")} <= {"new", "partially filled"}


def test_a_link_to_an_order_shows_its_whole_life(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders/o0?of=AAPL")
    wait_for_text(page, ".detail .life", "fill 10 at 100.02, taker")
    steps = texts(page, ".detail .life li > span:last-child")
    assert steps == ["pending new", "new", "fill 10 at 100.02, taker", "filled"]
    figures = dict(zip(texts(page, ".detail dt"), texts(page, ".detail dd"), strict=True))
    assert figures["Filled"] == "10 of 10 (100 %)"
    assert figures["Slippage"] == "1.00 bps"
    assert figures["Client id"] == "c0"


def test_a_rejected_order_says_why(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders/o3?of=AMZN")
    wait_for_text(page, ".detail .fault", "insufficient margin")


def test_orders_that_replaced_one_another_lead_to_one_another(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders/r2?of=AAPL")
    wait_for_text(page, ".detail .note", "r1 → r2")
    page.evaluate("[...document.querySelectorAll('.detail .note button')].find(b => b.textContent === 'r1').click()")
    page.wait_for("location.hash.startsWith('#/orders/r1')")
    wait_for_text(page, ".detail dd", "replaced")


def test_an_unknown_order_is_said_to_be_unknown(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders/nothing")
    wait_for_text(page, ".detail .fault", "No order of this id is known.")
    # The browser notes the refusal.
    page.errors.clear()


def test_an_order_is_opened_with_the_keyboard(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders?strategy=trend&status=rejected")
    wait_for_text(page, "[aria-label=Orders] .row", "rejected")
    page.evaluate("document.querySelector('[aria-label=Orders] .body').focus()")
    press(page, "ArrowDown", "ArrowDown", "Enter")
    page.wait_for("/^#\\/orders\\/o\\d+/.test(location.hash)")
    wait_for_text(page, ".detail .life", "rejected")


def test_a_moment_of_the_past_has_the_orders_that_had_begun_by_then(page: Page, desk: Server) -> None:
    post(desk, "/api/ingest", [order("before", "new", symbol="PAST")])
    # A frame after the order, and before the next one.
    moment = desk.next_snapshot()["timestamp"]
    desk.next_snapshot()
    post(desk, "/api/ingest", [order("after", "new", symbol="PAST")])
    open_view(page, desk, "#/orders?symbol=PAST")
    wait_for_text(page, ".note[role=status]", "2 orders shown")
    page.evaluate(f"app.feed.travel({{ at: {json.dumps(moment)}, speed: 0 }})")
    wait_for_text(page, ".note[role=status]", "1 order shown, which is all; as of")
    page.evaluate("app.feed.travel(null)")
    wait_for_text(page, ".note[role=status]", "2 orders shown, which is all")


def test_older_orders_are_paged_from_the_server(page: Page, desk: Server) -> None:
    many = [order(f"old{number}", "rejected", symbol="OLDER", reason="too old") for number in range(450)]
    post(desk, "/api/ingest", many)
    open_view(page, desk, "#/orders?symbol=OLDER")
    wait_for_text(page, ".note[role=status]", "200 orders shown")
    page.evaluate("[...document.querySelectorAll('button')].find(b => b.textContent === 'Load older').click()")
    wait_for_text(page, ".note[role=status]", "400 orders shown")
    page.evaluate("document.querySelector('[aria-label=Orders] .body').scrollTop = 1e6")
    wait_for_text(page, ".note[role=status]", "450 orders shown, which is all")
    assert len(saved_csv(page, "Save orders as CSV")) == 451


def test_the_csv_has_the_whole_figures_of_what_is_shown(page: Page, desk: Server) -> None:
    open_view(page, desk, "#/orders?tab=trades&strategy=hedge")
    wait_for_text(page, "[aria-label=Trades] .row", "liquidation")
    head, *lines = saved_csv(page, "Save trades as CSV")
    assert head.startswith("timestamp,symbol,side,quantity,price,pnl,commission")
    assert len(lines) == 2
    assert ",HEDGED,sell,1,51," in lines[0]


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("fragment", ["#/orders", "#/orders?tab=trades", "#/orders/o0?of=AAPL"])
def test_the_blotter_has_no_serious_finding_of_axe(page: Page, desk: Server, fragment: str, scheme: str) -> None:
    prefer(page, scheme)
    open_view(page, desk, fragment)
    page.wait_for("!!document.querySelector('.row')")
    assert violations(page) == []


@pytest.mark.parametrize("fragment", ["#/orders", "#/orders?tab=trades", "#/orders/o0?of=AAPL"])
def test_the_blotter_fits_into_a_phone_of_320_pixels(page: Page, desk: Server, fragment: str) -> None:
    resize(page, 320, 640)
    open_view(page, desk, fragment)
    page.wait_for("!!document.querySelector('.row')")
    assert width(page) <= 320
    assert cut_tables(page) == []


LOBSTER = ROOT / "../shared/data/lobster"


@pytest.mark.skipif(not LOBSTER.is_dir(), reason="the recordings (../shared/data) are not here")
def test_views_show_what_a_strategy_does_on_a_recorded_market(page: Page) -> None:
    recording = LOBSTER / "AAPL_2012-06-21_34200000_57600000_message_1.csv.gz"
    with running("--demo", "--replay", str(recording), "--speed", "60") as server:
        open_view(page, server, "#/orders")
        wait_for_text(page, "[aria-label=Orders] .row", "filled")
        first = table(page, "Orders")[0]
        # The recording's own day, and prices of that market.
        assert first[0].startswith(("13:", "14:", "15:", "16:", "17:", "18:", "19:", "20:"))
        assert first[1] == "AAPL"
        assert float(first[5]) > 500
        open_view(page, server, "#/execution")
        wait_for_text(page, ".chart .note", "orders: median")
        wait_for_text(page, "[aria-label=Markouts] .row", "bps")
        open_view(page, server, "#/alerts")
        wait_for_text(page, "[aria-label=Rules] .row", "strategy.drawdown_pct")
