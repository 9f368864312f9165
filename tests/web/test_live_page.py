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
const elements = {}, frames = [], intervals = {}, timeouts = [];
let now = 0, socket = null;
const element = () => ({ replaceChildren() {}, append() {}, getContext: () => new Proxy({}, { get: () => () => {} }) });
globalThis.document = { getElementById: id => elements[id] ??= element(), createElement: element, body: {} };
globalThis.location = { hash: "", protocol: "http:", host: "localhost" };
globalThis.devicePixelRatio = 1;
globalThis.getComputedStyle = () => ({ getPropertyValue: () => "" });
globalThis.WebSocket = class { constructor() { socket = this; } };
globalThis.performance = { now: () => now };
globalThis.requestAnimationFrame = frame => frames.push(frame);
globalThis.setInterval = (call, ms) => { intervals[ms] = call; };
globalThis.setTimeout = (call, ms) => { timeouts.push(ms); };
const state = () => [elements.state.textContent, elements.state.className];
const send = message => socket.onmessage({ data: JSON.stringify(message) });
const update = pnl => send({
  type: "metrics_update", timestamp: "", seq: 1, market_data: {}, execution: {}, system: {},
  strategy: { total_pnl: pnl, positions: [] },
});
"""


def run(steps: str, result: str) -> Any:
    """Runs the page's script and then the steps; returns the value of a JavaScript expression."""
    (script,) = re.findall(r"<script>(.*)</script>", PAGE.read_text(), re.DOTALL)
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


def test_a_page_that_gets_no_snapshot_says_so_until_one_comes() -> None:
    silence = 'socket.onopen(); update(1); now = 5000; send({ type: "stale" }); intervals[1000]()'
    assert run(silence, "state()") == ["no update for 5 s", "lost"]
    assert run(f"{silence}; update(2)", "state()") == ["live", "live"]
    assert run("socket.onopen(); update(1); now = 2000; intervals[1000]()", "state()") == ["live", "live"]


def test_a_slow_beat_is_no_silence() -> None:
    slow = 'send({ type: "connected", update_frequency_hz: 0.1 }); update(1); now = 20000; intervals[1000]()'
    assert run(slow, "state()[1]") == "live"


def test_pages_that_lost_a_server_come_back_at_different_times() -> None:
    waits = "Math.random = () => {0}; socket.onclose(); intervals[1000]()"
    assert run(waits.replace("{0}", "0"), "[...timeouts, ...state()]") == [
        250, "connection lost, next try in 0.3 s", "lost"
    ]  # fmt: skip
    assert run(waits.replace("{0}", "0.5"), "timeouts") == [375]
