"""Silences: alerts that are not delivered for a while, because somebody knows of them. They are shown all the same.

An alert that is raised during a silence and is still there at its end is delivered then.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import format_iso_ms
from observability.notify.route import Patterns, selects
from observability.store.schema import SELECT_SILENCES

MAX_SILENCES: Final = 1_000


class Silence(msgspec.Struct, frozen=True):
    """One silence. It holds for the alerts that its patterns select, from `start_ns` until `end_ns` by the host's
    clock."""

    silence_id: str
    start_ns: int
    end_ns: int
    author: str
    comment: str = ""
    rules: Patterns = ()
    members: Patterns = ()

    def holds(self, alert: Mapping[str, Any], now_ns: int) -> bool:
        return self.start_ns <= now_ns < self.end_ns and selects(alert, self.rules, self.members)

    def to_json(self) -> dict[str, Any]:
        return {
            "silence_id": self.silence_id,
            "start_time": format_iso_ms(self.start_ns),
            "end_time": format_iso_ms(self.end_ns),
            "author": self.author,
            "comment": self.comment,
            "rules": self.rules,
            "members": self.members,
        }


def new_silence_id() -> str:
    """Returns an id that no other silence has."""
    return secrets.token_hex(8)


class Silences:
    """The silences that have not ended, by id. `write` stores one, and again when it is ended early."""

    def __init__(self, write: Callable[[Silence], None] = lambda _: None) -> None:
        self._write = write
        self._silences: dict[str, Silence] = {}

    def restore(self, silences: Iterable[Silence]) -> None:
        """Continues with the silences of an earlier process."""
        self._silences.update((silence.silence_id, silence) for silence in silences)

    def add(self, silence: Silence, now_ns: int) -> bool:
        """Adds a silence; returns False if there are too many."""
        self._forget_ended(now_ns)
        if len(self._silences) >= MAX_SILENCES:
            return False
        self._silences[silence.silence_id] = silence
        self._write(silence)
        return True

    def end(self, silence_id: str, now_ns: int) -> Silence | None:
        """Ends a silence now; returns it, or None if there is none of that id that has not ended."""
        self._forget_ended(now_ns)
        silence = self._silences.pop(silence_id, None)
        if silence is None:
            return None
        ended = msgspec.structs.replace(silence, end_ns=now_ns)
        self._write(ended)
        return ended

    def end_ns(self, alert: Mapping[str, Any], now_ns: int) -> int | None:
        """Returns when the last silence that holds for an alert ends; None if none does."""
        return max((each.end_ns for each in self._silences.values() if each.holds(alert, now_ns)), default=None)

    def to_json(self, now_ns: int) -> list[dict[str, Any]]:
        """Returns the silences that have not ended, the newest first."""
        self._forget_ended(now_ns)
        return [silence.to_json() for silence in reversed(self._silences.values())]

    def _forget_ended(self, now_ns: int) -> None:
        self._silences = {ident: each for ident, each in self._silences.items() if each.end_ns > now_ns}


def silence_row(silence: Silence) -> tuple[str, int, int, str]:
    return silence.silence_id, silence.start_ns, silence.end_ns, msgspec.json.encode(silence).decode()


def stored_silences(connection: sqlite3.Connection, now_ns: int) -> list[Silence]:
    """Returns the silences that have not ended, oldest first."""
    rows = connection.execute(SELECT_SILENCES, (now_ns,)).fetchall()
    return [msgspec.json.decode(document, type=Silence) for (document,) in rows]
