"""Fixtures and steps of the tests of the page's views: one server with a demo and a busy session, one browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import busy_session
from browser import Page, browser_page
from server_process import Server, running


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A demo with a store, in which a busy session has been played too."""
    with running("--demo", "--data-dir", str(tmp_path_factory.mktemp("data"))) as server:
        busy_session.play(server)
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browser_page() as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """A wide page, which must not have had an error at the end of the test."""
    browser.errors.clear()
    resize(browser, 1400, 900)
    yield browser
    assert browser.errors == []


def resize(page: Page, width: int, height: int) -> None:
    mobile = width < 500
    page.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)


def width(page: Page) -> int:
    """Returns how wide the page is with what does not fit into the screen."""
    found: int = page.evaluate("document.documentElement.scrollWidth")
    return found


def cut_tables(page: Page) -> list[str]:
    """Returns the tables whose columns together are wider than they are, so that figures are cut off."""
    found: list[str] = page.evaluate("""[...document.querySelectorAll('.table')].filter(table =>
        [...table.querySelectorAll('.row')].some(row => row.scrollWidth > row.clientWidth)
    ).map(table => table.ariaLabel)""")
    return found


def prefer(page: Page, scheme: str) -> None:
    """Prefers `dark` or `light` colours, as a person does in the settings of a browser."""
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


def open_view(page: Page, server: Server, fragment: str) -> None:
    """Opens a view anew and waits until it is live and shows a snapshot."""
    page.open("about:blank")
    page.open(server.url(f"/{fragment}"))
    page.wait_for("window.app?.feed.connection === 'live'")
    page.wait_for("document.getElementById('main').dataset.view === location.hash")


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")
    return found


def wait_for_text(page: Page, selector: str, part: str) -> None:
    page.wait_for(
        f"[...document.querySelectorAll({json.dumps(selector)})].some(e => e.textContent.includes({json.dumps(part)}))"
    )


def table(page: Page, label: str) -> list[list[str]]:
    """Returns the texts of the rows in view of a table, in order."""
    rows: list[list[str]] = page.evaluate(
        f"""[...document.querySelectorAll('[role=table][aria-label={json.dumps(label)}] .row')]
        .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
        .map(row => [...row.children].map(cell => cell.textContent))"""
    )
    return rows


def wait_for_no_text(page: Page, selector: str, part: str) -> None:
    page.wait_for(
        f"![...document.querySelectorAll({json.dumps(selector)})].some(e => e.textContent.includes({json.dumps(part)}))"
    )


def choose(page: Page, name: str, value: str) -> None:
    """Chooses a value in a list of choices by its accessible name."""
    page.wait_for(
        f"!!document.querySelector('select[aria-label={json.dumps(name)}] option[value={json.dumps(value)}]')"
    )
    page.evaluate(
        f"""(() => {{ const field = document.querySelector('select[aria-label={json.dumps(name)}]');
        field.value = {json.dumps(value)}; field.dispatchEvent(new Event('change')); }})()"""
    )


def open_row(page: Page, label: str, part: str) -> None:
    """Clicks on the row of a table that has a text."""
    rows = f"[...document.querySelectorAll('[aria-label={json.dumps(label)}] .row')]"
    page.evaluate(f"{rows}.find(row => row.textContent.includes({json.dumps(part)})).click()")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=key if len(key) == 1 else "")
        page.ask("Input.dispatchKeyEvent", type="keyUp", key=key)


def saved_csv(page: Page, button: str) -> list[str]:
    """Returns the lines that a CSV button saves."""
    script: Any = f"""(async () => {{
        const made = URL.createObjectURL; let saved;
        URL.createObjectURL = blob => {{ saved = blob; return 'data:,'; }};
        document.querySelector('button[aria-label={json.dumps(button)}]').click();
        URL.createObjectURL = made;
        return saved.text();
    }})()"""
    text: str = page.evaluate(script)
    return text.split("\r\n")[:-1]
