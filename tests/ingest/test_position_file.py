"""The file of opening positions: both forms say the same, and every fault is told at once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from observability.errors import ConfigError
from observability.events import Position
from observability.ingest.position_file import load_positions

EXPECTED = (
    Position("AAPL", Decimal("100.5"), Decimal("187.250"), "mean", adopt=True),
    Position("BTC", Decimal(-2), Decimal(61000), position_side="short", adopt=True),
)


def written(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def test_toml_and_json_lines_say_the_same(tmp_path: Path) -> None:
    toml = """
        [[position]]
        symbol = "AAPL"
        quantity = 100.5
        avg_price = "187.250"
        strategy = "mean"
        [[position]]
        symbol = "BTC"
        quantity = 2
        avg_price = 61000
        position_side = "SHORT"
    """
    lines = """
        {"symbol": "AAPL", "quantity": "100.5", "avg_price": 187.250, "strategy": "mean"}

        {"type": "position", "symbol": "BTC", "quantity": -2, "avg_price": "61000", "position_side": "short"}
    """
    assert load_positions(written(tmp_path, "p.toml", toml)) == EXPECTED
    assert load_positions(written(tmp_path, "p.jsonl", lines)) == EXPECTED
    assert load_positions(None) == ()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("p.jsonl", '{"symbol": "A", "quantity": 0, "avg_price": 1}', "p.jsonl:1: Expected other than 0"),
        ("p.jsonl", '{"symbol": "A", "quantity": 1}', "missing required field `avg_price`"),
        ("p.jsonl", '{"symbol": "A", "quantity": 1, "avg_price": 1, "startegy": "x"}', "unknown field .*strategy"),
        ("p.jsonl", "[1]", "p.jsonl:1: .*expected an object"),
        ("p.toml", "[position]\nsymbol = 'A'", r"expected \[\[position\]\], got \[position\]"),
        ("p.toml", "[[positions]]\nsymbol = 'A'", "unknown table 'positions'"),
        ("p.toml", "symbol", "expected TOML"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, name: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_positions(written(tmp_path, name, text))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "p.jsonl", '{"symbol": "A"}\n{"symbol": "A", "quantity": "1", "avg_price": "1"}\n{}\n')
    with pytest.raises(ConfigError) as raised:
        load_positions(path)
    assert len(raised.value.faults) == 2
