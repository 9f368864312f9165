"""The live page in a browser: what it shows, how honest it is, and what it survives."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import example_source
from browser import Page, browser_page
from example_source import EventFile
from server_process import Server

StartServer = Callable[..., Server]

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")

STATE = "document.getElementById('state').textContent"
BANNER = "document.getElementById('banner').textContent"


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browser_page() as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Page:
    """A page of a browser that all tests share; its errors are those of the test."""
    browser.errors.clear()
    browser.ask("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)
    return browser


def text(selector: str) -> str:
    """Returns the expression of all texts of a selector, joined by lines."""
    return f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent).join('\\n')"


def test_the_overview_shows_the_equity_of_the_past_hour_after_a_reload(page: Page, demo_server: Server) -> None:
    page.open(demo_server.url("/#/overview"))
    page.wait_for("app.feed.snapshot?.strategy.fills > 0")
    page.open(demo_server.url("/?again#/overview"))
    page.wait_for(f"{text('.figures dd')}.includes(app.feed.snapshot?.execution.fills_today)")
    page.wait_for("document.querySelectorAll('.chart canvas').length === 2")
    page.wait_for(f"{text('[role=row]')}.includes('paper_mean_reversion')")
    assert page.errors == []


def test_the_page_reconnects_to_a_server_that_comes_back(page: Page, start_server: StartServer) -> None:
    server = start_server("--demo")
    page.open(server.url("/"))
    page.wait_for("app.feed.connection === 'live'")
    epoch = page.evaluate("app.feed.snapshot.epoch")
    server.stop()
    page.wait_for(f"{STATE} === 'lost' && {BANNER}.includes('Figures are as of')")
    assert page.evaluate("document.documentElement.dataset.current") == "false"
    start_server("--demo", "--port", str(server.port))
    page.wait_for(f"app.feed.connection === 'live' && app.feed.snapshot.epoch !== {json.dumps(epoch)}")
    page.wait_for("document.documentElement.dataset.current === 'true'")


def test_a_token_is_asked_for_kept_for_the_tab_and_not_in_the_address(page: Page, start_server: StartServer) -> None:
    server = start_server(API_TOKENS="read:secret-of-the-reader")
    page.open(server.url("/"))
    page.wait_for("!!document.querySelector('dialog[open] input[type=password]')")
    page.evaluate("document.getElementById('token').value = 'secret-of-the-reader'")
    page.evaluate("document.querySelector('dialog[open] .primary').click()")
    page.wait_for("app.feed.connection === 'live'")
    page.open(server.url("/?reloaded"))
    page.wait_for("window.app?.feed.connection === 'live'")
    page.evaluate("sessionStorage.clear()")
    page.ask("Page.navigate", url=server.url("/?linked#token=secret-of-the-reader"))
    page.wait_for("location.search === '?linked' && window.app?.feed.connection === 'live'")
    assert "secret" not in page.evaluate("location.href")


def test_a_page_that_was_hidden_renders_once_and_has_no_backlog(page: Page, demo_server: Server) -> None:
    page.open(demo_server.url("/"))
    page.wait_for("app.feed.connection === 'live'")
    # A hidden page gets no animation frames; they are withheld here, as Chromium without a window does not hide pages.
    page.evaluate("window.requestAnimationFrame = frame => (window.frames_ ??= []).push(frame)")
    page.wait_for("window.frames_?.length === 1")
    before = page.evaluate("[app.feed.renders, app.feed.snapshot.seq]")
    page.wait_for(f"app.feed.snapshot.seq > {before[1] + 20}")
    assert page.evaluate("[app.feed.renders, frames_.length]") == [before[0], 1]
    assert page.evaluate("frames_.pop()(), app.feed.renders") == before[0] + 1


def test_the_overview_lists_sources_with_their_states(page: Page, start_server: StartServer, tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.append({"type": "quote", "symbol": "A", "bid": 1, "ask": 2})
    absent = f"file:{tmp_path / '<b>absent'}"
    path = example_source.install(tmp_path / "package")
    server = start_server("--source", file.url, "--source", absent, PYTHONPATH=path)
    page.open(server.url("/#/overview"))
    table = "document.querySelectorAll('[aria-label=\"Sources and components\"] .row')"
    rows = f"[...{table}].map(row => [...row.children].map(cell => cell.textContent))"
    page.wait_for(f"{rows}.some(([name, state]) => name === {json.dumps(file.url)} && state === 'connected')")
    failed = f"{rows}.find(([name, state]) => name === {json.dumps(absent)} && state === 'failed')"
    assert "No such file" in page.wait_for(failed)[-1]
    assert page.errors == []


def test_the_latency_to_the_eye_is_on_the_page_and_in_the_metrics(page: Page, demo_server: Server) -> None:
    page.open(demo_server.url("/#/system"))
    page.wait_for("app.feed.eyes.length > 1")
    answer = page.evaluate("app.feed.eyes.at(-1)")
    assert 0 < answer["uncertainty_ms"] < answer["tick_to_eye_ms"] < answer["event_to_eye_ms"]
    row = "[...document.querySelectorAll('[aria-label=\"Latency along the path\"] .row')]"
    page.wait_for(f"{row}.find(row => row.textContent.startsWith('Event to eye'))?.textContent.includes('ms')")
    exposed = demo_server.get_bytes("/metrics").decode()
    assert re.search(r"^event_to_eye_seconds_count [1-9]", exposed, re.MULTILINE)
    assert page.errors == []


def test_a_view_asks_only_for_what_it_shows(page: Page, demo_server: Server) -> None:
    page.open(demo_server.url("/#/system"))
    page.wait_for("window.app?.feed.snapshot !== null && !('market_data' in app.feed.snapshot)")
    page.evaluate("app.go('market')")
    page.wait_for("'market_data' in app.feed.snapshot && !('strategy' in app.feed.snapshot)")
    page.evaluate("app.go('market', { name: 'ALFA.SIM' })")
    page.wait_for("Object.keys(app.feed.snapshot.market_data).join() === 'ALFA.SIM'")
    page.evaluate("app.go('strategies')")
    page.wait_for("'strategy' in app.feed.snapshot && !('market_data' in app.feed.snapshot)")
    assert page.errors == []


@pytest.mark.parametrize("width", [320, 390, 1400])
def test_no_view_is_wider_than_the_screen(page: Page, demo_server: Server, width: int) -> None:
    page.ask("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 700)
    page.open(demo_server.url("/"))
    page.wait_for("window.app?.feed.connection === 'live'")
    for view in page.evaluate("[...document.querySelectorAll('#nav a')].map(a => a.hash)"):
        page.evaluate(f"location.hash = {json.dumps(view)}")
        page.wait_for(f"document.querySelector('#nav [aria-current]').hash === {json.dumps(view)}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
