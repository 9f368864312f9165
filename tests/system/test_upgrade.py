"""An upgrade under clients loses none of them (`storms/upgrade.py`, which can have a thousand)."""

from __future__ import annotations

import pytest

from storms import upgrade


def test_no_client_misses_a_snapshot_while_workers_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    assert upgrade.upgraded("workers", clients=60, workers=2, rounds=2) == []
    assert "60 clients" in capsys.readouterr().out


def test_no_client_misses_a_trade_over_a_restart() -> None:
    assert upgrade.upgraded("restart", clients=60, workers=2, rounds=1) == []
