"""The view of alerts in a browser: the list, one alert against its threshold, what people do about it, its history."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import busy_session
from accessibility import violations
from browser import Page
from desk_page import (
    browser,
    choose,
    cut_tables,
    open_view,
    page,
    prefer,
    press,
    resize,
    saved_csv,
    table,
    texts,
    wait_for_no_text,
    wait_for_text,
    width,
)
from hosts import post, wait_until
from server_process import Server, running

__all__ = ["browser", "page"]

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")

RULES = """
[queue]
metric = "metric.queue_depth"
above = 10
severity = "warning"
title = "the queue has {value:g} entries"
labels = {team = "desk"}
links = {runbook = "https://wiki.example.com/queue"}

[[route]]
name = "desk"
to = "http://127.0.0.1:9/alerts"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a store, one rule and a route that nothing answers."""
    folder: Path = tmp_path_factory.mktemp("alerts")
    (folder / "alerts.toml").write_text(RULES)
    with running("--data-dir", str(folder / "data"), "--alerts", str(folder / "alerts.toml")) as found:
        busy_session.play(found)
        # Rules are evaluated at their own pace.
        wait_until(lambda: "queue" in [each["rule"] for each in found.get("/api/system/alerts")["alerts"]])
        yield found


def alert(key: str, state: str = "raised", severity: str = "warning", **further: Any) -> dict[str, Any]:
    return {
        "type": "alert",
        "key": key,
        "title": f"trouble with {key}",
        "severity": severity,
        "state": state,
        **further,
    }


def ident(server: Server, key: str) -> str:
    (found,) = [each["alert_id"] for each in server.get("/api/system/alerts")["alerts"] if each["key"] == key]
    return str(found)


def open_new_alert(page: Page, server: Server, key: str) -> str:
    """Raises an alert and opens its page; returns its id."""
    post(server, "/api/ingest", alert(key))
    server.next_snapshot()
    found = ident(server, key)
    open_view(page, server, f"#/alerts/{found}")
    wait_for_text(page, ".detail .life-title", f"trouble with {key}")
    return found


def write(page: Page, field: str, text: str) -> None:
    page.evaluate(f"document.getElementById({json.dumps(field)}).value = {json.dumps(text)}")


def click(page: Page, selector: str) -> None:
    page.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


def test_an_alert_appears_and_is_resolved_as_it_happens(page: Page, server: Server) -> None:
    open_view(page, server, "#/alerts")
    post(server, "/api/ingest", alert("live"))
    wait_for_text(page, "[aria-label=Alerts] .row", "trouble with live")
    page.wait_for("document.title.startsWith('(')")
    post(server, "/api/ingest", alert("live", "resolved"))
    wait_for_no_text(page, "[aria-label=Alerts] .row", "with live")
    choose(page, "state", "resolved")
    wait_for_text(page, "[aria-label=Alerts] .row", "trouble with live")
    assert page.evaluate("location.hash") == "#/alerts?state=resolved"


def test_the_value_of_a_rule_is_shown_against_its_threshold(page: Page, server: Server) -> None:
    found = next(each for each in server.get("/api/system/alerts")["alerts"] if each["rule"] == "queue")
    open_view(page, server, f"#/alerts/{found['alert_id']}")
    wait_for_text(page, ".detail .life-title", "the queue has 12 entries")
    shown = dict(zip(texts(page, ".detail .figures dt"), texts(page, ".detail .figures dd"), strict=True))
    assert (shown["Value when raised"], shown["Threshold"], shown["Labels"]) == ("12", "> 10", "team=desk")
    assert page.evaluate("document.querySelector('.detail .links a').href") == "https://wiki.example.com/queue"
    assert page.evaluate("document.querySelector('.detail .links a').rel") == "noopener noreferrer"
    bar, mark = page.evaluate(
        "[...document.querySelectorAll('.gauge span')].map(e => parseFloat(e.style.width || e.style.left))"
    )
    assert bar / mark == pytest.approx(12 / 10)


def test_an_alert_is_acknowledged_with_a_name_and_a_comment(page: Page, server: Server) -> None:
    found = open_new_alert(page, server, "mine")
    write(page, "alert-author", "ana")
    write(page, "alert-comment", "I look into it")
    click(page, ".take button[value=acknowledge]")
    wait_for_text(page, ".take .note", "Acknowledged.")
    wait_for_text(page, ".detail dd", "I look into it")
    (after,) = [each for each in server.get("/api/system/alerts")["alerts"] if each["key"] == "mine"]
    assert (after["state"], after["acknowledged_by"], after["comment"]) == ("acknowledged", "ana", "I look into it")
    # The next alert is acknowledged by the same person.
    open_view(page, server, f"#/alerts/{found}")
    assert page.evaluate("document.getElementById('alert-author').value") == "ana"


def test_an_alert_is_silenced_and_the_silence_is_ended(page: Page, server: Server) -> None:
    open_new_alert(page, server, "loud [1]*")
    write(page, "alert-author", "ben")
    write(page, "alert-comment", "known")
    choose(page, "duration", "1h")
    click(page, ".take button[value=silence]")
    wait_for_text(page, ".take .note", "Silent until")
    wait_for_text(page, "[aria-label=Silences] .row", "ben")
    (silence,) = [each for each in server.get("/api/system/silences")["silences"] if each["author"] == "ben"]
    # What would match more than this alert is taken by the letter.
    assert silence["rules"] == ["loud [[]1][*]"]
    click(page, "[aria-label='End the silence of ben']")
    wait_for_no_text(page, "[aria-label=Silences] .row", "ben")


def test_an_alert_without_a_name_is_not_acknowledged(page: Page, server: Server) -> None:
    open_new_alert(page, server, "anonymous")
    write(page, "alert-author", "")
    click(page, ".take button[value=acknowledge]")
    assert page.evaluate("document.querySelector('.take').checkValidity()") is False
    (after,) = [each for each in server.get("/api/system/alerts")["alerts"] if each["key"] == "anonymous"]
    assert after["state"] == "active"


def test_every_occurrence_of_an_alert_is_listed(page: Page, server: Server) -> None:
    for _ in range(3):
        post(server, "/api/ingest", [alert("again"), alert("again", "resolved")])
    server.next_snapshot()
    open_view(page, server, f"#/alerts/{ident(server, 'again')}?state=all")
    page.wait_for("document.querySelectorAll('.occurrences li').length === 3")
    assert all("resolved" in each for each in texts(page, ".occurrences li"))
    rows = "[...document.querySelectorAll('[aria-label=History] .row')]"
    page.wait_for(f"{rows}.filter(row => row.textContent.includes('with again')).length === 3")


def test_filters_are_in_the_address_and_come_from_it(page: Page, server: Server) -> None:
    open_view(page, server, "#/alerts?severity=critical")
    wait_for_text(page, "[aria-label=Alerts] .row", "no quotes from XNAS")
    assert {row[0] for row in table(page, "Alerts")} == {"critical"}
    press(page, "/")
    page.ask("Input.insertText", text="XNAS")
    page.wait_for("location.hash === '#/alerts?severity=critical&q=XNAS'")
    assert [row[2] for row in table(page, "Alerts")] == ["no quotes from XNAS"]


def test_the_delivery_of_each_route_is_shown(page: Page, server: Server) -> None:
    open_view(page, server, "#/alerts")
    wait_for_text(page, "[aria-label=Delivery] .row", "desk")
    wait_for_text(page, "[aria-label=Delivery] .row", "failing")


def test_a_critical_alert_sounds_only_where_that_was_switched_on(page: Page, server: Server) -> None:
    open_view(page, server, "#/orders")
    page.evaluate("""window.notes = 0; const made = AudioContext.prototype.createOscillator;
        AudioContext.prototype.createOscillator = function () { window.notes++; return made.call(this); };""")
    post(server, "/api/ingest", alert("quiet", severity="critical"))
    wait_for_text(page, "#announcer", "critical alert: trouble with quiet")
    assert page.evaluate("window.notes") == 0
    page.evaluate("app.settings.set('sound', true)")
    post(server, "/api/ingest", alert("noisy", severity="critical"))
    page.wait_for("window.notes === 3")
    page.evaluate("app.settings.set('sound', false)")


def test_the_csv_has_the_alerts_that_are_shown(page: Page, server: Server) -> None:
    open_view(page, server, "#/alerts?q=no+quotes")
    wait_for_text(page, "[aria-label=Alerts] .row", "no quotes from XNAS")
    head, *lines = saved_csv(page, "Save alerts as CSV")
    assert head == "severity,state,title,member,value,threshold,first_seen,lasted,count,acknowledged_by,comment"
    assert len(lines) == 1


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("part", ["list", "detail"])
def test_the_view_of_alerts_has_no_serious_finding_of_axe(page: Page, server: Server, part: str, scheme: str) -> None:
    prefer(page, scheme)
    open_view(page, server, "#/alerts" if part == "list" else f"#/alerts/{ident(server, 'venue/XNAS')}")
    wait_for_text(page, "[aria-label=Alerts] .row", "no quotes from XNAS")
    assert violations(page) == []


def test_the_view_of_alerts_fits_into_a_phone_of_320_pixels(page: Page, server: Server) -> None:
    resize(page, 320, 640)
    open_view(page, server, f"#/alerts/{ident(server, 'venue/XNAS')}")
    wait_for_text(page, ".detail .life-title", "no quotes from XNAS")
    assert width(page) <= 320
    assert cut_tables(page) == []
