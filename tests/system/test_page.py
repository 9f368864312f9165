"""The live page in a browser: what it shows, how honest it is, and what it survives."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import example_source
from accessibility import violations
from browser import Page
from desk_page import browser, cut_tables, open_view, press, resize, saved_csv, width
from example_source import EventFile
from observability.clients import Sender
from server_process import NO_RULES, ROOT, TIMEOUT_SECONDS, Server, free_port

__all__ = ["browser"]

StartServer = Callable[..., Server]

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")

# Links of all views of the navigation, and pages of one thing within a view.
VIEWS = "[...document.querySelectorAll('#nav a')].map(a => a.hash)"
PAGES = ("#/market/ALFA.SIM", "#/strategies/paper_mean_reversion")
DATA = ROOT / "../shared/data"
STATE = "document.getElementById('state').textContent"
BANNER = "document.getElementById('banner').textContent"


@pytest.fixture
def page(browser: Page) -> Page:
    """A page of a browser that all tests share; its errors are those of the test."""
    # The page of the test before may still look for its server.
    browser.open("about:blank")
    browser.errors.clear()
    resize(browser, 1400, 900)
    return browser


def show(page: Page, view: str) -> None:
    """Goes to a view by its link, and waits until it has shown a snapshot."""
    page.evaluate(f"location.hash = {json.dumps(view)}")
    page.wait_for(f"document.getElementById('main').dataset.view === {json.dumps(view)}")


def send_quotes(sender: Sender, round_: int) -> None:
    """Sends a quote of each of 1,000 symbols, the spread of each wider than that of the one before."""
    for number in range(1000):
        bid = 100 + round_ / 100
        sender.quote(f"S{number:04}", bid=bid, ask=round(bid + (number + 1) / 1000, 3))
    sender.flush(timeout=TIMEOUT_SECONDS)


# A table of 30 rows in the page, of which a test changes any number at once; `shown` counts the cells of a text.
MOVING_TABLE = """(async () => {
    const { Table } = await import(document.querySelector("script[type=module]").src.replace("app.js", "js/table.js"));
    const rows = Array.from({ length: 30 }, (_, at) => ({ at, word: "old", version: 0, edition: 0 }));
    const column = { id: "word", title: "Word", isPlain: true, value: row => row.word };
    const table = new Table({ label: "Moving", key: row => row.at, maxRows: 30,
        columns: [{ ...column, text: row => row.word + row.edition },
            { ...column, id: "slow", isSlow: true, text: row => `slow ${row.word}` }] });
    const shown = word => [...table.element.querySelectorAll(".row > div")].filter(e => e.textContent === word).length;
    const change = (first, last, changes) => {
        for (const row of rows.slice(first, last)) Object.assign(row, changes, { version: row.version + 1 });
        table.set(rows);
    };
    document.getElementById("main").append(table.element);
    table.set(rows);
    Object.assign(app, { table, rows, shown, change });
})()"""


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


def test_the_charts_of_a_strategy_fill_their_panel(page: Page, demo_server: Server) -> None:
    open_view(page, demo_server, PAGES[1])
    page.wait_for("document.querySelectorAll('.chart canvas').length === 2")
    # Beside the ratios, which are higher than the charts at their least.
    below = """(panel => panel.getBoundingClientRect().bottom - panel.lastChild.getBoundingClientRect().bottom)(
        document.querySelector('.chart').closest('.panel'))"""
    page.wait_for(f"{below} < 20")
    plots, place = "[...document.querySelectorAll('.chart .u-wrap')]", "getBoundingClientRect().height"
    assert page.evaluate(f"{plots}.every(each => each.{place} >= each.closest('.chart').clientHeight - 1)")


def test_the_page_reconnects_to_a_server_that_comes_back(page: Page, start_server: StartServer) -> None:
    server = start_server("--demo", "--port", str(free_port()))
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
    page.wait_for("window.app?.feed.connection === 'live' && app.feed.renders > 0")
    with page.hidden():
        before = page.evaluate("[app.feed.renders, app.feed.snapshot.seq]")
        page.wait_for(f"app.feed.snapshot.seq > {before[1] + 20}")
        assert page.evaluate("app.feed.renders") <= before[0] + 1
        # The first two frames that are painted when the page is shown again.
        page.evaluate(
            "document.addEventListener('visibilitychange', () => {"
            "  const { renders } = app.feed;"
            "  const note = () => { app.inTwoFrames = app.feed.renders - renders; };"
            "  requestAnimationFrame(() => requestAnimationFrame(note));"
            "}, { once: true })"
        )
    page.wait_for("app.inTwoFrames !== undefined")
    assert page.evaluate("app.inTwoFrames") <= 2
    assert page.errors == []


def test_the_page_says_stale_while_the_hub_stands_still(page: Page, start_server: StartServer) -> None:
    server = start_server("--demo", "--workers", "2")
    page.open(server.url("/"))
    page.wait_for(f"{STATE} === 'demo'")
    hub = server.get("/api/system/components")["components"]["hub"]["pid"]
    os.kill(hub, signal.SIGSTOP)
    try:
        page.wait_for(f"{STATE} === 'stale' && {BANNER}.includes('Figures are as of')")
        assert page.evaluate("document.documentElement.dataset.current") == "false"
        assert "stale" in page.evaluate("document.title")
    finally:
        os.kill(hub, signal.SIGCONT)
    page.wait_for(f"{STATE} === 'demo'")


@pytest.mark.skipif(not DATA.is_dir(), reason="the recordings (../shared/data) are not here")
def test_every_view_shows_a_recorded_day(page: Page, start_server: StartServer) -> None:
    recordings = [str(DATA / name) for name in ("lobster", "order_latency")]
    server = start_server("--demo", "--replay", *recordings, "--speed", "20", "--loop")
    page.open(server.url("/"))
    page.wait_for(f"{STATE} === 'replay' && {BANNER}.startsWith('Replay of a recording')")
    for view, selector, word in (
        ("#/market", ".row", "AAPL"),
        ("#/market/AAPL", ".figures", "Time-weighted spread"),
        ("#/strategies", ".row", "paper_mean_reversion"),
        ("#/system", ".row", "Fan-out"),
        ("#/overview", ".row", "paper_mean_reversion"),
    ):
        show(page, view)
        page.wait_for(f"{text(selector)}.includes({json.dumps(word)})")
    assert page.errors == []


def test_a_thousand_symbols_cost_no_more_than_those_in_view(page: Page, start_server: StartServer) -> None:
    server = start_server(**NO_RULES)
    with Sender(server.url("")) as sender:
        send_quotes(sender, 1)
        page.open(server.url("/#/market"))
        page.wait_for(f"{text('.note')}.includes('1,000 of 1,000 symbols')")
        asked = "Object.keys(app.feed.snapshot?.market_data ?? {}).length"
        page.wait_for(f"{asked} > 10 && {asked} < 60")
        nodes = page.evaluate("document.querySelectorAll('*').length")
        for round_ in range(2, 12):
            seq = page.evaluate("app.feed.snapshot.seq")
            send_quotes(sender, round_)
            page.wait_for(f"app.feed.snapshot.seq > {seq + 1}")
        assert page.evaluate("document.querySelectorAll('*').length") == nodes
        # The widest spread is first, although it was not in view.
        page.evaluate("[...document.querySelectorAll('.head button')].find(b => b.textContent === 'Spread').click()")
        page.wait_for("document.querySelector('[aria-rowindex=\"2\"]').textContent.includes('S0999')")
        page.wait_for("'S0999' in app.feed.snapshot.market_data")
        page.evaluate("document.querySelector('[type=search]').value = '012'")
        page.evaluate("document.querySelector('[type=search]').dispatchEvent(new Event('input'))")
        page.wait_for(f"{text('.note')}.includes('11 of 1,000 symbols')")
        assert page.evaluate("location.hash") == "#/market?sort=spread&desc=1&q=012"
    assert page.errors == []


@pytest.fixture
def moving_table(page: Page, demo_server: Server) -> Page:
    """A page with `app.table`; see MOVING_TABLE."""
    open_view(page, demo_server, "#/system")
    page.evaluate(MOVING_TABLE)
    return page


def test_many_rows_that_move_at_once_are_written_in_three_turns(moving_table: Page) -> None:
    assert moving_table.evaluate("[app.change(0, 30, { word: 'new' }), app.shown('new0')][1]") == 12
    assert moving_table.evaluate("[app.table.set(app.rows), app.shown('new0')][1]") == 24
    assert moving_table.evaluate("[app.table.set(app.rows), app.shown('new0')][1]") == 30


def test_rows_that_wait_are_written_although_no_update_follows(moving_table: Page) -> None:
    moving_table.evaluate("app.change(0, 30, { word: 'new' })")
    moving_table.wait_for("app.shown('new0') === 30 && app.shown('slow new') === 30")


def test_a_dozen_rows_that_move_are_written_at_once(moving_table: Page) -> None:
    assert moving_table.evaluate("[app.change(18, 30, { word: 'new' }), app.shown('new0')][1]") == 12


def test_rows_out_of_view_are_written_when_they_come_into_view(moving_table: Page) -> None:
    moving_table.evaluate("app.table.setMaxRows(10)")
    written = "[app.change(0, 30, { word: 'new' }), app.shown('old0'), app.shown('new0')].slice(1)"
    assert moving_table.evaluate(written) == [4, 11]
    moving_table.evaluate("app.table.element.querySelector('.body').scrollTop = 4 * 26")
    moving_table.wait_for("app.shown('new0') === 19")
    assert moving_table.evaluate("app.shown('old0')") == 0


def test_cells_of_a_row_in_a_new_edition_are_written_though_values_are_the_same(moving_table: Page) -> None:
    assert moving_table.evaluate("[app.change(0, 1, { edition: 1 }), app.shown('old1')][1]") == 1


def test_a_selection_survives_updates_and_ends_with_escape(page: Page, demo_server: Server) -> None:
    page.open(demo_server.url("/#/market"))
    page.wait_for("document.querySelectorAll('.row').length === 5")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.row'))")
    page.wait_for("!document.querySelector('.held').hidden")
    selected, seq = page.evaluate("[getSelection().toString(), app.feed.snapshot.seq]")
    page.wait_for(f"app.feed.snapshot.seq > {seq + 10}")
    assert page.evaluate("getSelection().toString()") == selected
    page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }))")
    page.wait_for("document.querySelector('.held').hidden")


def test_a_table_is_saved_as_csv_with_whole_figures(page: Page, demo_server: Server) -> None:
    page.open(demo_server.url("/#/market"))
    page.wait_for("document.querySelectorAll('.row').length === 5")
    rows = list(csv.DictReader(saved_csv(page, "Save market as CSV")))
    assert [row["symbol"] for row in rows] == [f"{name}.SIM" for name in ("ALFA", "BRAVO", "CHARLIE", "DELTA", "ECHO")]
    assert all(float(row["bid"]) > 0 for row in rows)


def test_keys_lead_to_views_and_to_the_search(page: Page, demo_server: Server) -> None:
    open_view(page, demo_server, "")
    press(page, "g", "m")
    page.wait_for("location.hash === '#/market' && document.querySelector('[type=search]') !== null")
    press(page, "/")
    page.wait_for("document.activeElement.type === 'search'")
    press(page, "Escape", "?")
    page.wait_for("document.querySelector('dialog[open]')?.textContent.includes('Go to Market')")


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
    assert answer["uncertainty_ms"] > 0
    assert 0 < answer["tick_to_eye_ms"] < answer["event_to_eye_ms"]
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


@pytest.mark.parametrize("name", ["constructor", "__proto__", "toString"])
def test_what_every_object_has_is_no_word_of_an_address(page: Page, demo_server: Server, name: str) -> None:
    open_view(page, demo_server, "")
    asked = "&".join(
        f"{each}={name}" for each in ("range", "tab", "leg", "by", "scope", "sort", "state", "level", "only")
    )
    for view in page.evaluate(VIEWS):
        show(page, f"{view}?{asked}&of=strategy:{name}")
        assert page.evaluate("document.querySelectorAll('#main .panel').length") > 0
    for view in ("market", "strategies"):
        show(page, f"#/{view}/{name}")
        page.wait_for(f"document.querySelector('#main h2').textContent === {json.dumps(name)}")
    # The server refuses what it does not know, and the browser notes that.
    assert [error for error in page.errors if "exception" in error or "TypeError" in error] == []


# Questions about one subject, which are answered by hand; `asked` and `shown` have those that were.
QUESTIONS = """(() => {
    const asked = [], shown = [], answers = [], isPast = { value: false };
    Object.defineProperty(app.feed, "isPast", { get: () => isPast.value });
    const ask = name => app.ask("test", () => new Promise(answer => {
        asked.push(name);
        answers.push(() => answer(name));
    }), answer => shown.push(answer));
    Object.assign(window, { asked, shown, answers, isPast, ask });
})()"""


def test_answers_about_one_subject_come_in_order_and_none_piles_up(page: Page, demo_server: Server) -> None:
    open_view(page, demo_server, "#/system")
    page.evaluate(QUESTIONS)
    assert page.evaluate("['a', 'b', 'c'].forEach(ask), asked.join()") == "a"
    page.evaluate("answers.shift()()")
    assert page.evaluate("[asked.join(), shown.join()]") == ["a,c", "a"]
    page.evaluate("answers.shift()()")
    assert page.evaluate("[asked.join(), shown.join()]") == ["a,c", "a,c"]


def test_an_answer_of_the_present_is_not_shown_in_the_past(page: Page, demo_server: Server) -> None:
    open_view(page, demo_server, "#/system")
    page.evaluate(QUESTIONS)
    page.evaluate("ask('a'), isPast.value = true, answers.shift()()")
    assert page.evaluate("[asked.join(), shown.join()]") == ["a,a", ""]
    page.evaluate("answers.shift()()")
    assert page.evaluate("shown.join()") == "a"


def test_a_question_without_an_answer_holds_up_no_later_one(page: Page, demo_server: Server) -> None:
    open_view(page, demo_server, "#/overview")
    page.evaluate("""(() => {
        const { fetch } = window, timers = [], said = [];
        AbortSignal.timeout = () => {
            const timer = new AbortController();
            timers.push(() => timer.abort(new DOMException("late", "TimeoutError")));
            return timer.signal;
        };
        window.fetch = (path, options) => path !== "/lost" ? fetch(path, options)
            : new Promise((_, fail) => options.signal.addEventListener("abort", () => fail(options.signal.reason)));
        const say = text => said.push(text);
        const ask = path => app.ask("test", () => app.api.get(path), () => say(path), error => say(error.message));
        ask("/lost");
        ask("/api/system/stats");
        timers[0]();
        window.said = said;
    })()""")
    page.wait_for("said.join() === 'the server does not answer,/api/system/stats'")


def test_that_there_is_no_history_is_said_until_there_is_a_figure(page: Page, start_server: StartServer) -> None:
    server = start_server(**NO_RULES)
    said = f"{text('.fault')}.includes('There is no history of')"
    with Sender(server.url("")) as sender:
        open_view(page, server, "#/strategies/late")
        page.wait_for(said)
        sender.fill("t1", "", "LATE", "buy", 1, 10, strategy="late")
        page.wait_for(f"!{said}")
        open_view(page, server, "#/market/LATE")
        page.wait_for(said)
        sender.quote("LATE", bid=9, ask=10)
        page.wait_for(f"!{said}")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_serious_in_any_view(page: Page, demo_server: Server, theme: str) -> None:
    open_view(page, demo_server, "")
    page.evaluate(f"app.settings.set('theme', {json.dumps(theme)})")
    for view in [*page.evaluate(VIEWS), *PAGES]:
        show(page, view)
        assert violations(page) == [], view


@pytest.mark.parametrize("screen", [320, 390, 1400])
def test_no_view_is_wider_than_the_screen(page: Page, demo_server: Server, screen: int) -> None:
    resize(page, screen, 844)
    open_view(page, demo_server, "")
    for view in [*page.evaluate(VIEWS), *PAGES]:
        show(page, view)
        assert width(page) <= screen, view
        assert cut_tables(page) == [], view
