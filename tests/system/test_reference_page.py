"""The page of the reference in a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from accessibility import violations
from browser import Page
from desk_page import browser, page, prefer, press, resize, width
from server_process import Server, running

__all__ = ["browser", "page"]

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running("--demo") as found:
        yield found


def open_at(page: Page, server: Server, fragment: str) -> None:
    page.open("about:blank")
    page.open(server.url(f"/docs{fragment}"))
    page.wait_for("!!document.querySelector('main h2')")


def text(page: Page, selector: str) -> str:
    found: str = page.evaluate(f"document.querySelector('{selector}').textContent")
    return found


def fill_in(page: Page, field: str, value: str) -> None:
    page.evaluate(f"document.getElementById('try-{field}').value = {json.dumps(value)}")


def submit(page: Page) -> None:
    page.evaluate("document.querySelector('.try form').requestSubmit()")


def wait_for_status(page: Page, start: str) -> None:
    page.wait_for(f"document.querySelector('.try [role=status]').textContent.startsWith({json.dumps(start)})")


def test_a_deep_link_leads_to_a_field_and_marks_it(page: Page, server: Server) -> None:
    open_at(page, server, "#event/fill/commission")
    assert text(page, "main h2") == "fill"
    assert text(page, "tr.marked td").startswith("commission")
    assert page.evaluate("document.querySelector('tr.marked').getBoundingClientRect().top < innerHeight")
    assert page.evaluate("document.title") == "fill · observability API"


@pytest.mark.parametrize("fragment", ["#schema/Nothing", "#%"])
def test_a_link_that_leads_nowhere_says_so(page: Page, server: Server, fragment: str) -> None:
    open_at(page, server, fragment)
    assert text(page, "main h2") == "Not found"


def test_the_contents_lead_to_a_page_of_everything(page: Page, server: Server) -> None:
    open_at(page, server, "")
    links = page.evaluate("[...document.querySelectorAll('#contents a')].map(link => link.getAttribute('href'))")
    assert len(links) == len(set(links)) > 150
    # Chromium lets a page navigate 200 times in 10 seconds, so only every other schema is looked at.
    wrong = page.evaluate("""(async () => {
        const wrong = [], links = [...document.querySelectorAll('#contents a')].map(link => link.getAttribute('href'));
        for (const [place, link] of links.entries()) {
            if (link.startsWith('#schema') && place % 2) continue;
            const changed = new Promise(resolve => addEventListener('hashchange', resolve, { once: true }));
            location.hash = link;
            await changed;
            const heading = document.querySelector('main h2')?.textContent;
            if (!heading || heading === 'Not found' || !document.querySelector('main h3')) wrong.push(link);
        }
        return wrong;
    })()""")
    assert wrong == []


def test_a_search_finds_a_field_by_its_meaning(page: Page, server: Server) -> None:
    open_at(page, server, "")
    press(page, "/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.ask("Input.insertText", text="implementation shortfall")
    page.wait_for("document.querySelector('main h2').textContent.startsWith('Search')")
    links = page.evaluate("[...document.querySelectorAll('.results a')].map(link => link.getAttribute('href'))")
    assert "#schema/ExecutionSection" in links
    assert page.evaluate("location.hash") == "#search/implementation%20shortfall"


def test_a_request_can_be_tried(page: Page, server: Server) -> None:
    open_at(page, server, "#operation/trades")
    fill_in(page, "limit", "1")
    submit(page)
    wait_for_status(page, "200")
    assert '"limit": 1' in text(page, ".try pre[aria-label=Answer]")


def test_a_request_with_a_bad_parameter_shows_the_problem(page: Page, server: Server) -> None:
    open_at(page, server, "#operation/trades")
    fill_in(page, "limit", "many")
    submit(page)
    wait_for_status(page, "422")
    assert '"parameter": "limit"' in text(page, ".try pre[aria-label=Answer]")
    # The browser itself notes every refusal.
    page.errors.clear()


def test_history_can_be_tried(page: Page, server: Server) -> None:
    open_at(page, server, "#operation/metrics_history")
    submit(page)
    wait_for_status(page, "200")
    assert '"tiers"' in text(page, ".try pre[aria-label=Answer]")


def test_the_stream_can_be_watched(page: Page, server: Server) -> None:
    open_at(page, server, "#message/MetricsDelta")
    submit(page)
    page.wait_for("document.querySelector('.try pre').textContent.includes('metrics_delta')")
    submit(page)
    wait_for_status(page, "closed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fragment", ["", "#operation/orders", "#event/fill/commission", "#search/price"])
def test_the_reference_has_no_serious_finding_of_axe(page: Page, server: Server, fragment: str, scheme: str) -> None:
    prefer(page, scheme)
    open_at(page, server, fragment)
    assert violations(page) == []


@pytest.mark.parametrize("fragment", ["", "#operation/orders", "#schema/StrategySection", "#search/price"])
def test_the_reference_fits_into_a_phone_of_320_pixels(page: Page, server: Server, fragment: str) -> None:
    resize(page, 320, 640)
    open_at(page, server, fragment)
    assert width(page) <= 320
