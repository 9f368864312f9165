"""`observability check --alerts FILE --replay RECORDING`: what would have fired, and when."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from observability.clocks.timestamps import parse_iso_ns
from observability.config.config import Config
from observability.metrics.alerts.rule_file import parse_rules
from observability.server import backtest
from observability.server.backtest import Backtest, OnTransition
from recordings import record
from server_process import run_command

# 2024-08-09T00:00:00Z
START_NS = 1_723_161_600_000_000_000
S = 1_000_000_000

RULES = """
[wide]
metric = "market_data.*.spread_bps"
above = 50
clear = 10
for = "3s"
clear_for = "2s"
severity = "critical"
title = "{member}: {value:.0f} bps"

[odd]
metric = "market_data.*.spread_bps"
deviation_over = "6h"
above = 100

[cpu]
metric = "system.cpu_percent"
at_least = 0
"""


def files(tmp_path: Path, events: list[dict[str, Any]], rules: str = RULES) -> list[str]:
    """Writes rules and a recording; returns the arguments that name them."""
    (tmp_path / "alerts.toml").write_text(rules)
    return ["--alerts", str(tmp_path / "alerts.toml"), "--replay", record(tmp_path / "day.jsonl", *events)]


def quote(symbol: str, seconds: float, bps: float) -> dict[str, Any]:
    return {
        "type": "quote", "symbol": symbol, "bid": 100 - bps / 200, "ask": 100 + bps / 200,
        "ts": START_NS + round(seconds * S),
    }  # fmt: skip


def test_a_test_of_rules_raises_and_resolves_at_the_seconds_of_the_recording(tmp_path: Path) -> None:
    rng = random.Random(3)
    spreads = [rng.choice([5, 20, 80]) for _ in range(400)]
    spreads[60:70], spreads[90:95] = [80] * 10, [5] * 5
    arguments = files(tmp_path, [quote("AAPL", n + 0.5, spread) for n, spread in enumerate(spreads)])
    ran = run_command("check", *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    # A value is seen at the end of its second.
    wanted: list[list[int | None]] = []
    is_raised, since = False, None
    for second, spread in enumerate(spreads[:-1], 1):
        is_other = spread <= 10 if is_raised else spread > 50
        since = (second if since is None else since) if is_other else None
        if since is not None and second - since >= (2 if is_raised else 3):
            is_raised, since = not is_raised, None
            if is_raised:
                wanted.append([second, None])
            else:
                wanted[-1][1] = second
    assert len(wanted) >= 1
    alerts = [alert for alert in found["alerts"] if alert["rule"] == "wide"]
    assert [[offset(alert["first_seen"]), offset(alert["resolved"])] for alert in alerts] == wanted
    assert (alerts[0]["value"], alerts[0]["threshold"], alerts[0]["occurrence"]) == (80.0, 50, 1)
    assert found["count"] == len(wanted)
    assert found["left_out"] == ["cpu"]
    (odd,) = (rule for rule in found["rules"] if rule["rule"] == "odd")
    assert (odd["fired"], odd["waiting"]) == (0, "8 of 30 samples of its history, one per 1m (1 of 1)")


def offset(iso: str | None) -> int | None:
    """Returns the seconds since the start of the recording."""
    return None if iso is None else (parse_iso_ns(iso) - START_NS) // S


def test_a_test_of_rules_is_printed_as_it_runs_and_writes_nothing(tmp_path: Path) -> None:
    arguments = files(tmp_path, [quote("AAPL", n, 80 if 5 <= n < 20 else 5) for n in range(40)])
    ran = run_command("check", *arguments, DATA_DIR=str(tmp_path / "data"))
    assert ran.returncode == 0, ran.stderr
    lines = [line.split(maxsplit=4) for line in ran.stdout.splitlines() if "wide/AAPL" in line]
    assert [line[:4] for line in lines] == [
        ["2024-08-09T00:00:08.000Z", "raised", "critical", "wide/AAPL"],
        ["2024-08-09T00:00:22.000Z", "resolved", "critical", "wide/AAPL"],
    ]
    assert lines[0][4] == "80 > 50  AAPL: 80 bps"
    assert lines[1][4] == "after 14s"
    assert "40 events from 2024-08-09T00:00:00.000Z to 2024-08-09T00:00:39.000Z" in ran.stdout
    assert "left out, as a recording says nothing about them: cpu" in ran.stdout
    assert not (tmp_path / "data").exists()


def test_a_night_without_events_is_over_at_once_and_counts(tmp_path: Path) -> None:
    rules = '[stuck]\nmetric = "market_data.*.last_price"\nunchanged_for = "8h"\n'
    prints = [
        {"type": "print", "symbol": "AAPL", "price": price, "size": 1, "ts": START_NS + hour * 3600 * S}
        for price, hour in ((100.0, 0), (101.0, 60))
    ]
    ran = run_command("check", *files(tmp_path, prints, rules), "--json")
    found = json.loads(ran.stdout)
    assert [alert["first_seen"][:16] for alert in found["alerts"]] == ["2024-08-09T08:00"]
    # Seconds of the first hour, then minutes.
    assert found["evaluations"] < 3_700 + 60 * 60


def test_the_paper_strategy_trades_in_a_test_of_rules(tmp_path: Path) -> None:
    rules = '[fills]\nmetric = "execution.orders_today"\nabove = 0\n'
    rng, price, quotes = random.Random(1), 100.0, []
    for n in range(3_000):
        price *= 1 + rng.gauss(0, 0.001)
        quotes.append({**quote("AAPL", n, 2), "bid": round(price, 2), "ask": round(price + 0.02, 2)})
    arguments = files(tmp_path, quotes, rules)
    assert json.loads(run_command("check", *arguments, "--json").stdout)["count"] == 0
    assert json.loads(run_command("check", *arguments, "--demo", "--json").stdout)["count"] == 1


def test_a_damaged_recording_and_misplaced_flags_have_exit_codes(tmp_path: Path) -> None:
    arguments = files(tmp_path, [quote("AAPL", n, 80) for n in range(10)])
    whole = gzip.compress((tmp_path / "day.jsonl").read_bytes())
    (tmp_path / "day.jsonl.gz").write_bytes(whole[:-12])
    damaged = run_command("check", *arguments[:3], str(tmp_path / "day.jsonl.gz"))
    assert damaged.returncode == 1
    assert "only the events before this were replayed" in damaged.stderr
    misplaced = run_command("check", "--json")
    assert misplaced.returncode == 2
    assert "expected --alerts and --replay" in misplaced.stderr
    (tmp_path / "alerts.toml").write_text("[route]\n")
    faulty = run_command("check", *arguments, "--json")
    assert (faulty.returncode, faulty.stdout) == (2, "")
    assert "one pair of brackets" in faulty.stderr


def gap_backtest(tmp_path: Path, on_transition: OnTransition = lambda *_: None) -> Backtest:
    """Returns the test of a rule on two quotes that are ten years apart; each second of the first hour is evaluated."""
    rules = '[stale]\nmetric = "market_data.*.stale"\nequals = true\n'
    files(tmp_path, [quote("AAPL", 0.5, 5), quote("AAPL", 3_650 * 86_400, 5)])
    return Backtest(Config(replay=(tmp_path / "day.jsonl",)), parse_rules(rules, ""), on_transition)


def test_years_without_events_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest, "SETTLED_NS", 2 * backtest.IDLE_NS)
    found = gap_backtest(tmp_path)
    asyncio.run(found.run())
    assert found.evaluations < 4_000
    assert found.fired == 1


def test_a_test_of_rules_can_be_stopped_within_a_gap(tmp_path: Path) -> None:
    stopped = gap_backtest(tmp_path, lambda *_: stopped.stop())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped.run())
    assert stopped.fired == 1
    assert stopped.evaluations < 100
