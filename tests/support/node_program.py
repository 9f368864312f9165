"""Programs of node that import a module of the page."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from server_process import TIMEOUT_SECONDS


def run_node(program: str, module: Path, *arguments: Any) -> Any:
    """Returns what a program prints as JSON. The first of its arguments is the URL of the module, the others are JSON.
    Raises AssertionError if it fails."""
    ran = subprocess.run(
        ["node", "--input-type=module", "-e", program, module.as_uri(), *map(json.dumps, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
