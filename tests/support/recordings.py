"""Recordings of our own events, written for a test. No tests here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def record(path: Path, *events: dict[str, Any]) -> str:
    """Writes a recording of a line per event; returns its path as an argument."""
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return str(path)
