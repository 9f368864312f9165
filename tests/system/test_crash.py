"""A short storm of kills; for a long one: `PYTHONPATH=tests/support python -m storms.crash --kills 200`."""

from __future__ import annotations

from storms import crash


def test_what_was_acknowledged_survives_kills_and_counts_once() -> None:
    reported: list[str] = []
    crash.run(kills=8, seed=1, report=reported.append)
    assert reported[-1].endswith("nothing lost, nothing twice, equal")
