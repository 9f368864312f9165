"""The source of docs/sources.md, as a package that is installed in a folder.

No tests here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from documents import document


def install(folder: Path) -> str:
    """Makes the package; returns the PYTHONPATH with which a server finds it."""
    blocks = document("docs/sources.md").blocks()
    (code,) = [block.text for block in blocks if block.text.startswith("# file_source.py")]
    info = folder / "file_source-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: file-source\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[observability.sources]\nfile = file_source:from_url\n")
    (folder / "file_source.py").write_text(code)
    return str(folder)


class EventFile:
    """The file that the source follows, written by an engine."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "events.jsonl"
        self.path.touch()
        self.url = f"file:{self.path}"

    def append(self, *events: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)

    def append_text(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)


def fill(number: int, **fields: object) -> dict[str, Any]:
    usual = {"order_id": "o", "symbol": "A", "side": "buy", "quantity": "1", "price": "2"}
    return {"type": "fill", "trade_id": f"t{number}", **usual, **fields}
