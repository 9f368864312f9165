"""The JavaScript client, run by node: its deltas, and how it comes back."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from delta_cases import CASES, GROUPS, delta, whole
from node_program import run_node
from server_process import ROOT

CLIENT = ROOT / "http/observability/web/static/client.js"
PROGRAM = """
const { applyDelta } = await import(process.argv[1]);
const [groups, cases] = JSON.parse(process.argv[2]);
console.log(JSON.stringify(cases.map(([held, delta]) => [applyDelta(held, delta, groups), held])));
"""

# Opens and loses a connection several times, with timers that stand still.
LOSSES = """
const sockets = [], delays = [];
globalThis.WebSocket = class { constructor() { sockets.push(this); } close() {} };
globalThis.setTimeout = (call, ms) => { delays.push(ms); if (ms < 60000) call(); };
Math.random = () => +process.argv[2];
const { Stream } = await import(process.argv[1]);
new Stream("http://localhost");
for (let n = 0; n < 8; n++) {
  sockets.at(-1).onopen();
  sockets.at(-1).onclose();
}
console.log(JSON.stringify(delays.filter(ms => ms < 60000)));
"""

# Asks to connect at once, twice, while the next attempt is due later; timers run once all is over.
RETRIES = """
const sockets = [], timers = new Map();
globalThis.WebSocket = class { constructor() { this.readyState = 0; sockets.push(this); } close() {} };
let last = 0;
globalThis.setTimeout = (call, ms) => { last++; if (ms < 60000) timers.set(last, call); return last; };
globalThis.clearTimeout = id => timers.delete(id);
const { Stream } = await import(process.argv[1]);
const stream = new Stream("http://localhost");
sockets[0].onopen();
sockets[0].onclose();
stream.retry();
stream.retry();
for (const call of timers.values()) call();
console.log(sockets.length);
"""

# Messages that a change of the view makes, of a client that has `before` and then wants `after`.
VIEWS = """
const sent = [];
let socket;
globalThis.WebSocket = class {
  constructor() { this.readyState = 1; socket = this; }
  send(text) { sent.push(JSON.parse(text)); }
  close() {}
};
globalThis.setTimeout = () => 0;
const { Stream } = await import(process.argv[1]);
const [before, after] = JSON.parse(process.argv[2]);
const stream = new Stream("http://localhost", before);
socket.onopen();
sent.length = 0;
stream.subscribe(after);
console.log(JSON.stringify(sent.map(({ type, channels, symbols }) => [type, channels, symbols ?? null])));
"""

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@pytest.mark.parametrize("chosen", [0.25, 1.0])
def test_clients_that_lost_a_server_come_back_at_different_times(chosen: float) -> None:
    assert run_node(LOSSES, CLIENT, chosen) == [chosen * min(15_000, 200 * 2**losses) for losses in range(8)]


def test_a_delta_makes_the_servers_next_snapshot_and_leaves_the_last_one() -> None:
    cases = [(whole(1, case.held), delta(2, case.changed, case.removed)) for case in CASES.values()]
    ran = run_node(PROGRAM, CLIENT, [GROUPS, cases])
    for (name, case), (made, held) in zip(CASES.items(), ran, strict=True):
        assert json.dumps(made) == json.dumps(whole(2, case.expected)), name
        assert json.dumps(held) == json.dumps(whole(1, case.held)), name


def test_a_client_that_is_told_to_retry_connects_once() -> None:
    assert run_node(RETRIES, CLIENT) == 2


@pytest.mark.parametrize(
    ("before", "after", "sent"),
    [
        (["strategy"], ["market_data"], [["subscribe", ["market_data"], []], ["unsubscribe", ["strategy"], None]]),
        (["system"], ["system", "trades"], [["subscribe", ["system", "trades"], []]]),
        (["system", "trades"], ["system"], [["subscribe", ["system"], []], ["unsubscribe", ["trades"], None]]),
        # The first sections replace all of them.
        (["metrics"], ["system"], [["subscribe", ["system"], []]]),
        (["system"], ["metrics"], [["subscribe", ["metrics"], []]]),
        (["metrics"], ["trades"], [["subscribe", ["trades"], []], ["unsubscribe", ["metrics"], None]]),
    ],
)
def test_a_change_of_the_view_asks_for_what_is_new_and_leaves_the_rest(
    before: list[str], after: list[str], sent: list[Any]
) -> None:
    assert run_node(VIEWS, CLIENT, [{"channels": before}, {"channels": after}]) == sent
