"""The script of the live page, run by node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from server_process import ROOT, TIMEOUT_SECONDS

PAGE = ROOT / "http/observability/web/static/live.html"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")

# What the script needs of a browser: elements by id, which only keep what is written to them; a clock, frames and
# timers that stand until the test moves them.
BROWSER = """
const elements = {}, frames = [], intervals = {};
let now = 0, client = null;
const element = () => ({ replaceChildren() {}, append() {}, getContext: () => new Proxy({}, { get: () => () => {} }) });
globalThis.document = { getElementById: id => elements[id] ??= element(), createElement: element, body: {} };
globalThis.location = { hash: "", protocol: "http:", host: "localhost" };
globalThis.addEventListener = () => {};
globalThis.devicePixelRatio = 1;
globalThis.getComputedStyle = () => ({ getPropertyValue: () => "" });
globalThis.Stream = class { constructor(url, options) { client = options; } };
globalThis.performance = { now: () => now };
globalThis.requestAnimationFrame = frame => frames.push(frame);
globalThis.setInterval = (call, ms) => { intervals[ms] = call; };
const shownState = () => [elements.state.textContent, elements.state.className];
const update = pnl => client.onsnapshot({
  type: "metrics_update", timestamp: "", seq: 1, market_data: {}, execution: {}, system: {},
  strategy: { total_pnl: pnl, positions: [] },
});
"""


def run(steps: str, result: str) -> Any:
    """Runs the page's script and then the steps; returns the value of a JavaScript expression."""
    (script,) = re.findall(r'<script type="module">\nimport [^\n]*\n(.*)</script>', PAGE.read_text(), re.DOTALL)
    ran = subprocess.run(
        ["node", "-e", f"{BROWSER}{script}{steps};console.log(JSON.stringify({result}))"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def shown(replay: Any) -> tuple[str, str]:
    """Returns what the page says of a replay, and the class of that."""
    text, name = run(f"showReplay({json.dumps(replay)})", "[elements.replay.textContent, elements.replay.className]")
    return text, name


def replay(**changes: Any) -> dict[str, Any]:
    found = {"state": "running", "event_time": "2012-06-21T13:30:00.000Z", "progress": 0.5, "lap": 1, "events": 7}
    return {**found, "skipped_lines": 0, "bad_lines": 0, **changes}


def test_the_page_is_silent_about_a_replay_that_there_is_not() -> None:
    assert shown(None) == ("", "")


def test_the_page_shows_how_far_a_replay_is() -> None:
    assert shown(replay()) == ("replay 50 %", "")
    assert shown(replay(lap=3)) == ("replay lap 3, 50 %", "")


@pytest.mark.parametrize("state", ["ended", "failed"])
def test_the_page_shows_the_end_of_a_replay(state: str) -> None:
    assert shown(replay(state=state)) == (f"replay has {state} at 2012-06-21T13:30:00.000Z", "over")


def test_the_page_shows_that_a_replay_was_interrupted() -> None:
    nothing = dict.fromkeys(replay(), None)
    assert shown({**nothing, "state": "interrupted"}) == ("replay was interrupted", "over")


def test_the_page_shows_lines_that_could_not_be_used() -> None:
    assert shown(replay(skipped_lines=1200, bad_lines=3))[0] == "replay 50 % · 1,200 lines skipped · 3 unreadable lines"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (1, "1.00"),
        (0.5, "0.50"),
        (123456.789, "123,456.789"),
        (0.00001234, "0.00001234"),
        (1.25e-10, "0.000000000125"),
        (-1.2345e-12, "-0.0000000000012345"),
        (1e-18, "0.000000000000000001"),
        (None, "\u2013"),
    ],
)
def test_a_price_of_any_size_shows_its_digits(value: float | None, text: str) -> None:
    assert run("", f"price({json.dumps(value)})") == text


def test_a_small_volume_is_not_shown_as_zero() -> None:
    assert run("", "[count(1.5e-13), count(1200)]") == ["0.00000000000015", "1,200"]


def test_a_page_that_was_hidden_paints_once_and_has_the_whole_minute() -> None:
    steps = "for (let n = 0; n < 601; n++) update(n)"
    assert run(steps, "[frames.length, history.length, history[0], history.at(-1)]") == [1, 600, 1, 600]
    assert run(f"{steps}; frames.pop()(); update(7)", "frames.length") == 1


def test_a_page_that_gets_no_snapshot_says_for_how_long_until_one_comes() -> None:
    silence = 'client.onstate("live"); update(1); now = 2000; client.onstate("stale")'
    assert run(silence, "shownState()") == ["no update for 2 s", "lost"]
    assert run(f"{silence}; now = 5000; intervals[1000]()", "shownState()") == ["no update for 5 s", "lost"]
    assert run(f"{silence}; update(2); client.onstate('live')", "shownState()") == ["live", "live"]


@pytest.mark.parametrize(("state", "word"), [("lost", "trying again"), ("refused", "/#token=TOKEN")])
def test_a_page_without_a_connection_says_why(state: str, word: str) -> None:
    text, name = run(f"client.onstate('live'); client.onstate({state!r}); intervals[1000]()", "shownState()")
    assert word in text
    assert name == "lost"


def source(**changes: Any) -> dict[str, Any]:
    found = {"state": "connected", "age_seconds": 0.04, "rate": 12.5, "normal_rate": None, "messages": 1200}
    return {**found, "gaps": 0, "rejected": 0, "reconnects": 1, "error": None, **changes}


def test_the_page_shows_how_a_source_is_doing() -> None:
    name, state, age, *rest, error = run("", f"sourceCells('zmq://host:1', {json.dumps(source())})")
    assert (name, state, age, error) == ("zmq://host:1", ["connected", "up"], "0.0 s ago", ["\u2013", ""])
    assert rest == ["12.5", "\u2013", "1,200", ["0", ""], ["0", ""], "1"]


@pytest.mark.parametrize(("state", "colour"), [("silent", "down"), ("failed", "down"), ("connecting", "")])
def test_the_page_shows_that_a_source_brings_nothing(state: str, colour: str) -> None:
    shown_source = source(state=state, age_seconds=None, gaps=3, error="refused")
    cells = run("", f"sourceCells('a', {json.dumps(shown_source)})")
    assert (cells[1], cells[2], cells[6], cells[-1]) == ([state, colour], "\u2013", ["3", "down"], ["refused", "down"])


def test_the_page_has_no_list_of_sources_where_there_are_none() -> None:
    assert run("showSources({})", "elements['live-sources'].hidden") is True
    assert run("showSources(undefined)", "elements['live-sources'].hidden") is True
    assert run(f"showSources({json.dumps({'a': source()})})", "elements['live-sources'].hidden") is False
