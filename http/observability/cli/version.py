"""`observability version`: what a report of a fault should name."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sqlite3
import ssl
from collections.abc import Sequence
from typing import Final

from observability.version import VERSION

PACKAGES: Final = ("uvloop", "picows", "orjson", "msgspec", "psutil", "prometheus-client")


def version(arguments: Sequence[str]) -> int:
    """Prints one line per part; returns the exit code."""
    parser().parse_args(arguments)
    lines = {
        "observability": VERSION,
        platform.python_implementation(): platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "SQLite": sqlite3.sqlite_version,
        "OpenSSL": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "),
        platform.system(): f"{platform.release()} {platform.machine()}",
    }
    width = max(map(len, lines))
    print("\n".join(f"{name:{width}}  {value}" for name, value in lines.items()))
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    return argparse.ArgumentParser(
        prog="observability version", description="Prints the versions of this program and of what it runs on."
    )
