"""The modules of the page that need no browser, run by node: figures, times, honest states, links."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from node_program import run_node
from server_process import ROOT

MODULES = ROOT / "http/observability/web/static/js"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def run(module: str, expression: str) -> Any:
    """Returns the value of an expression, in which the module's exports are names of `m`."""
    program = f"const m = await import(process.argv[1]); console.log(JSON.stringify({expression}));"
    return run_node(program, MODULES / module)


def state(connection: str = "live", age: float = 0.1, **changes: Any) -> dict[str, Any]:
    """Returns what the page says of a feed whose newest snapshot has these members of `system`."""
    past = changes.pop("past", False)
    snapshot = changes.pop("snapshot", {"timestamp": "2025-10-21T22:00:00.000Z", "system": changes})
    asked = {"connection": connection, "age": age, "snapshot": snapshot, "past": past}
    found: dict[str, Any] = run("honest.js", f"m.stateOf({json.dumps(asked)})")
    return found


def replay(**changes: Any) -> dict[str, Any]:
    found = {"state": "running", "event_time": "2012-06-21T13:30:00.000Z", "progress": 0.5, "lap": 1, "events": 7}
    return {**found, "skipped_lines": 0, "bad_lines": 0, **changes}


def test_a_feed_that_is_on_time_is_live_and_needs_no_banner() -> None:
    assert state() == {"name": "live", "word": "live", "tone": "good", "isCurrent": True, "sentence": ""}


@pytest.mark.parametrize(
    ("connection", "name", "words"),
    [
        ("stale", "stale", "sends no update. Figures are as of 2025-10-21 22:00:00, 1 min 5 s ago."),
        ("lost", "lost", "lost; trying again. Figures are as of 2025-10-21 22:00:00, 1 min 5 s ago."),
        ("refused", "refused", "needs a token"),
        ("connecting", "connecting", "Connecting. Figures are as of"),
    ],
)
def test_a_feed_that_is_not_on_time_says_so_with_its_age(connection: str, name: str, words: str) -> None:
    found = state(connection, age=65.0)
    assert (found["name"], found["isCurrent"]) == (name, False)
    assert words in found["sentence"]


def test_a_feed_without_any_snapshot_is_connecting() -> None:
    assert state(snapshot=None)["name"] == "connecting"


def test_demo_and_past_are_never_called_live() -> None:
    assert (state(demo=True)["name"], state(past=True)["name"]) == ("demo", "past")
    assert "2025-10-21 22:00:00" in state(past=True)["sentence"]


def test_totals_without_a_site_are_called_incomplete() -> None:
    found = state(missing_sites=["tokyo"], demo=True)
    assert (found["word"], found["isCurrent"]) == ("incomplete", True)
    assert found["sentence"] == "No total has the figures of tokyo: this site is not live."
    assert state(missing_sites=[])["name"] == "live"


def test_a_replay_says_how_far_it_is() -> None:
    found = state(replay=replay(lap=3))
    assert (found["name"], found["isCurrent"]) == ("replay", True)
    assert found["sentence"] == "Replay of a recording: lap 3, 50 %."


@pytest.mark.parametrize(("end", "verb"), [("ended", "has"), ("failed", "has"), ("interrupted", "was")])
def test_figures_of_a_replay_that_is_over_are_not_current(end: str, verb: str) -> None:
    found = state(replay=replay(state=end))
    assert (found["word"], found["isCurrent"]) == ("replay over", False)
    assert f"The replay {verb} {end} at 2012-06-21 13:30:00" in found["sentence"]


def test_a_replay_shows_lines_that_could_not_be_used() -> None:
    sentence = state(replay=replay(skipped_lines=1200, bad_lines=3))["sentence"]
    assert sentence.endswith("50 %; 1,200 lines skipped, 3 unreadable lines.")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (1, "1.00"),
        (123456.789, "123,456.79"),
        (0.004, "0.004"),
        (-0.0000123, "-0.000012"),
        (None, "\u2013"),
    ],
)
def test_a_figure_reads_as_zero_only_if_it_is(value: float | None, text: str) -> None:
    assert run("format.js", f"m.number({json.dumps(value)})") == text


@pytest.mark.parametrize(
    ("prices", "value", "text"),
    [
        ([585.25, 585.3], 585.3, "585.30"),
        ([0.00001234, 0.0000124], 0.0000124, "0.00001240"),
        ([64000.1, 64000.15], 64000, "64,000.00"),
        ([1e-9], 1e-9, "0.000000001"),
        ([150.0], 0.0000123, "0.000012"),
        ([0.1, 0.1 + 0.2], 0.3, "0.29999999999999999"),
        ([1.005, 1.0], 1.0, "1.000"),
        ([], 1.5, "1.50"),
        ([], 200.0458064516129, "200.0458065"),
        ([], 1.2e-9, "0.0000000012"),
        ([1.5], None, "\u2013"),
    ],
)
def test_a_price_has_as_many_decimals_as_its_symbol(prices: list[float], value: float | None, text: str) -> None:
    noted = ", ".join(json.dumps(each) for each in ["A", *prices])
    made = f"(p => {{ p.note({noted}); return p.price('A', {json.dumps(value)}); }})(new m.Precision())"
    assert run("format.js", made if prices else f"new m.Precision().price('A', {json.dumps(value)})") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00026, "0.26 \u00b5s"), (0, "0 ms"), (0.042, "0.042 ms"), (1.31, "1.31 ms"), (1400, "1.40 s")],
)
def test_a_duration_has_a_unit_in_which_it_is_short(value: float, text: str) -> None:
    assert run("format.js", f"m.milliseconds({value})") == text


def test_one_thing_is_no_plural() -> None:
    assert run("format.js", "[0, 1, 1200].map(n => m.things(n, 'order'))") == ["0 orders", "1 order", "1,200 orders"]


def test_a_small_volume_is_not_shown_as_zero() -> None:
    assert run("format.js", "[m.quantity(1.5e-13), m.quantity(1200)]") == ["0.00000000000015", "1,200"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0078, "0.0 s"),
        (0.42, "0.4 s"),
        (59.9, "59 s"),
        (125, "2 min 5 s"),
        (7260, "2 h 1 min"),
        (273600, "3 d 4 h"),
        (None, "\u2013"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert run("format.js", f"m.duration({json.dumps(seconds)})") == text


def test_times_are_those_of_the_chosen_zone() -> None:
    times = run(
        "format.js",
        "['UTC', 'America/New_York'].map(z => m.dateTime('2025-10-21T02:03:04.056Z', z, { hasMs: true }))",
    )
    assert times == ["2025-10-21 02:03:04.056", "2025-10-20 22:03:04.056"]


def test_a_link_leads_back_to_its_view_and_parameters() -> None:
    params = {"name": "a/b?c", "q": "BTC&=%", "sort": "volume"}
    assert run("router.js", f"m.parse(m.link('market', {json.dumps(params)}))") == {"id": "market", "params": params}


def test_a_broken_link_leads_to_what_it_says() -> None:
    assert run("router.js", "m.parse('#/market/%E0%A4%A')") == {"id": "market", "params": {"name": "%E0%A4%A"}}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-cmd|'/C calc'!A0", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_text_that_a_spreadsheet_would_run_is_no_formula_in_a_csv(text: str) -> None:
    assert run("table.js", f"m.csvField({json.dumps(text)})").strip('"').startswith("'" + text[0])


def test_figures_and_other_texts_are_themselves_in_a_csv() -> None:
    values = [-1.5, 0, None, True, "AAPL", "a-b", 'say "x", y']
    assert run("table.js", f"{json.dumps(values)}.map(m.csvField)") == [
        "-1.5", "0", "", "true", "AAPL", "a-b", '"say ""x"", y"'
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-05T10:31:07Z", "2026-01-05T10:31:07.000Z"),
        ("2026-01-05T11:31:07.25 01:00", "2026-01-05T10:31:07.250Z"),
        ("1767609067000000000", "2026-01-05T10:31:07.000Z"),
        *(
            (text, None)
            for text in ("garbage", "2026-01-05", "2026-01-05T10:31:07", "2026-99-05T10:31:07Z", "-1", "1e9")
        ),
    ],
)
def test_a_time_in_the_address_is_read_as_the_server_reads_it(text: str, moment: str | None) -> None:
    assert run("router.js", f"m.momentOf({json.dumps(text)})") == moment
