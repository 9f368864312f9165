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

# What the script needs of a browser: elements by id, which only keep what is written to them.
BROWSER = """
const elements = {};
const element = () => ({ replaceChildren() {}, append() {}, getContext: () => new Proxy({}, { get: () => () => {} }) });
globalThis.document = { getElementById: id => elements[id] ??= element(), createElement: element, body: {} };
globalThis.location = { hash: "", protocol: "http:", host: "localhost" };
globalThis.devicePixelRatio = 1;
globalThis.getComputedStyle = () => ({ getPropertyValue: () => "" });
globalThis.WebSocket = class {};
globalThis.setInterval = () => {};
"""


def shown(replay: Any) -> tuple[str, str]:
    """Returns what the page says of a replay, and the class of that."""
    (script,) = re.findall(r"<script>(.*)</script>", PAGE.read_text(), re.DOTALL)
    ask = f"showReplay({json.dumps(replay)});"
    ask += "console.log(JSON.stringify([elements.replay.textContent, elements.replay.className]))"
    ran = subprocess.run(
        ["node", "-e", f"{BROWSER}{script}{ask}"], capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert ran.returncode == 0, ran.stderr
    text, name = json.loads(ran.stdout)
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
