"""The line of time under every view of the page: from live into the past, and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from accessibility import violations
from browser import Page, browser_page
from hosts import post, wait_until
from server_process import Server

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")

SHOWN = "app.feed.snapshot?.timestamp"
STATE = "document.getElementById('state').textContent"
CLICK = "document.querySelector('#scrubber button[aria-label^={}]').click()"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server("--demo", DATA_DIR=str(tmp_path_factory.mktemp("data")))
    wait_until(lambda: server.get("/api/recordings")["frames"] > 30)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browser_page() as page:
        yield page


@pytest.fixture
def page(browser: Page, recorded: Server) -> Page:
    browser.open("about:blank")
    browser.errors.clear()
    browser.ask("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)
    browser.open(recorded.url("/#/overview"))
    browser.wait_for("!document.getElementById('scrubber').hidden && app.feed.snapshot")
    return browser


def click(page: Page, label: str) -> None:
    page.evaluate(CLICK.format(json.dumps(label)))


def enter_the_past(page: Page) -> str:
    """Goes into the past; returns the time that is shown."""
    click(page, "Look at the past")
    page.wait_for(f"{STATE} === 'past' && app.feed.snapshot")
    shown: str = page.wait_for(SHOWN)
    return shown


def test_a_button_leads_into_the_past_and_back_and_the_page_says_which_it_is(page: Page) -> None:
    live = page.evaluate(SHOWN)
    assert enter_the_past(page) < live
    assert "This is the past" in page.evaluate("document.getElementById('banner').textContent")
    click(page, "Back to the present")
    page.wait_for(f"{STATE} === 'demo' && {SHOWN} > {json.dumps(live)}")
    assert page.errors == []


def test_steps_show_the_frame_before_and_after(page: Page) -> None:
    first = enter_the_past(page)
    click(page, "One tick further")
    page.wait_for(f"{SHOWN} > {json.dumps(first)}")
    click(page, "One tick back")
    page.wait_for(f"{SHOWN} === {json.dumps(first)}")
    # A past that stands still is no broken connection.
    assert page.evaluate(STATE) == "past"


def test_the_past_plays_and_pauses(page: Page) -> None:
    first = enter_the_past(page)
    click(page, "Play")
    page.wait_for(f"Date.parse({SHOWN}) >= Date.parse({json.dumps(first)}) + 500")
    click(page, "Pause")
    page.wait_for("document.querySelector('#scrubber button[aria-label=Play]') && true")


def test_dragging_the_handle_shows_the_frame_of_the_time(page: Page, recorded: Server) -> None:
    enter_the_past(page)
    wanted = recorded.get("/api/recordings")["start_time"]
    for event in ("input", "change"):
        page.evaluate(
            f"(() => {{ const handle = document.querySelector('#scrubber [type=range]'); handle.value = Date.parse("
            f"{json.dumps(wanted)}); handle.dispatchEvent(new Event('{event}')); }})()"
        )
    page.wait_for(f"Math.abs(Date.parse({SHOWN}) - Date.parse({json.dumps(wanted)})) <= 200")


def test_a_link_with_a_time_opens_the_page_in_the_past(page: Page, recorded: Server) -> None:
    wanted = recorded.get("/api/recordings")["start_time"]
    page.open(recorded.url(f"/?at={wanted}#/market"))
    page.wait_for(f"{STATE} === 'past' && {SHOWN} === {json.dumps(wanted)}")


def test_a_link_with_what_is_no_time_says_so_and_opens_the_present(page: Page, recorded: Server) -> None:
    page.open(recorded.url("/?at=garbage#/market"))
    page.wait_for(f"['live', 'demo'].includes({STATE})")
    page.wait_for("document.getElementById('banner').textContent.includes('“garbage”, which is no time')")
    enter_the_past(page)
    assert "garbage" not in page.evaluate("document.getElementById('banner').textContent")


def test_fills_and_alerts_are_drawn_on_the_line(page: Page, recorded: Server) -> None:
    blank = page.evaluate("document.querySelector('#scrubber canvas').toDataURL()")
    post(recorded, "/api/ingest", {"type": "alert", "key": "k", "severity": "critical", "title": "Halt"})
    page.open(recorded.url("/?marks#/overview"))
    page.wait_for(f"document.querySelector('#scrubber canvas')?.toDataURL() !== {json.dumps(blank)}")


def test_the_line_asks_for_marks_every_five_seconds_of_the_present(page: Page) -> None:
    page.evaluate("performance.clearResourceTimings()")
    start, renders = page.evaluate("[performance.now(), app.feed.renders]")
    page.wait_for(f"app.feed.renders > {renders + 30}")
    asked, end = page.evaluate(
        "[performance.getEntriesByType('resource').filter(e => e.name.includes('/marks')).length, performance.now()]"
    )
    # Those of every fifth second, and those of every fifteenth, in which the length of the recording is asked for.
    assert asked <= 2 + (end - start) / 5000 + (end - start) / 15000


@pytest.mark.parametrize("width", [1400, 390, 320])
def test_the_line_fits_on_the_screen_and_has_names_for_everyone(page: Page, width: int) -> None:
    page.ask("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=False)
    enter_the_past(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []


def test_the_curve_of_a_past_moment_ends_there(page: Page) -> None:
    page.evaluate(
        "app.asked = [];"
        "const { history } = Object.getPrototypeOf(app.api);"
        "app.api.history = question => {"
        "  app.asked.push({ ...question, moment: app.feed.moment });"
        "  return history.call(app.api, question);"
        "};"
    )
    page.evaluate("app.go('strategies', { name: 'paper_mean_reversion' })")
    page.wait_for("app.asked.some(question => question.time_range === '1h')")
    enter_the_past(page)
    page.evaluate("app.go('overview')")
    page.wait_for("app.asked.some(question => question.end_time && question.metric_types.includes('strategy'))")
    # Until the first frame has come, the moment is the one that was asked for, which may be somewhat later.
    beyond = page.evaluate(
        "app.asked.filter(question => question.end_time)"
        ".map(question => Date.parse(question.end_time) - Date.parse(question.moment))"
    )
    assert max(beyond) <= 2


def test_a_server_that_records_nothing_has_no_line(browser: Page, demo_server: Server) -> None:
    browser.open(demo_server.url("/#/overview"))
    browser.wait_for("app.feed.snapshot")
    assert browser.evaluate("document.getElementById('scrubber').hidden") is True
