"""The snapshot that a client holds: replaced by whole snapshots, and kept up to date by deltas.

    whole     {"type":"metrics_update","seq":7,...,"strategy":{"total_pnl":..,"positions":[{"key":"a/X",..}]}}
    delta     {"type":"metrics_delta","prev_seq":7,"seq":8,...,"strategy":{"positions":[{"key":"a/X",..}]},"removed":[]}

Members of groups (symbols, strategies, positions, ...) are merged by key; everything else in a delta replaces what the
client had. The server's `connected` message names the groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Document = dict[str, Any]

# Where the members of lists have their keys.
_KEY = "key"


class HeldSnapshot:
    """The newest snapshot of one view. The documents it returns are never changed afterwards."""

    def __init__(self) -> None:
        self.document: Document | None = None
        self._groups: frozenset[tuple[str, ...]] = frozenset()

    @property
    def position(self) -> tuple[str, int] | None:
        """Epoch and number of the snapshot; None before the first one."""
        return None if self.document is None else (self.document["epoch"], self.document["seq"])

    def set_groups(self, groups: Iterable[Sequence[str]]) -> None:
        """Takes the paths of the groups, such as `["strategy", "positions"]`; a path of one name is a section of which
        every entry is a member."""
        self._groups = frozenset(map(tuple, groups))

    def forget(self) -> None:
        """Drops the snapshot: it is none of the view that is in force."""
        self.document = None

    def apply(self, message: Document) -> Document | None:
        """Applies a `metrics_update` or `metrics_delta`; returns the snapshot now held, or None if the message is
        older than it, or is the delta of another one."""
        held = self.document
        if message["type"] == "metrics_update":
            if held is not None and held["epoch"] == message["epoch"] and message["seq"] < held["seq"]:
                return None
            self.document = message
        else:
            if held is None or (message["epoch"], message["prev_seq"]) != (held["epoch"], held["seq"]):
                return None
            self.document = self._merged(held, message)
        return self.document

    def _merged(self, held: Document, delta: Document) -> Document:
        merged = {**held, **{name: value for name, value in delta.items() if name not in ("prev_seq", "removed")}}
        merged["type"] = "metrics_update"
        for name, value in delta.items():
            if isinstance(value, dict) and isinstance(held.get(name), dict):
                if (name,) in self._groups:
                    merged[name] = {**held[name], **value}
                elif groups := [path[1] for path in self._groups if len(path) == 2 and path[0] == name]:
                    merged[name] = _merged_section(held[name], value, groups)
        for path in delta["removed"]:
            _remove(merged, path)
        return merged


def _merged_section(held: Document, changed: Document, groups: list[str]) -> Document:
    """Fields come first and all together, so that one that is gone is not kept, and their order is the server's."""
    fields = changed if changed.keys() - groups else held
    merged = {name: value for name, value in fields.items() if name not in groups}
    for name in (*held, *changed):
        if name in groups and name not in merged:
            merged[name] = _merged_group(held.get(name), changed.get(name))
    return merged


def _merged_group(held: Any, changed: Any) -> Any:
    if changed is None or held is None:
        return held if changed is None else changed
    if isinstance(changed, dict):
        return {**held, **changed}
    members = {member[_KEY]: member for member in held}
    members.update((member[_KEY], member) for member in changed)
    return list(members.values())


def _remove(document: Document, path: Sequence[str]) -> None:
    """Removes the member at a path, if there is one: a view does not hold all of them."""
    *parents, key = path
    for name in parents:
        value = document.get(name)
        if not isinstance(value, dict | list):
            return
        # Held documents are not changed, so the way down is copied.
        document[name] = copied = value.copy()
        if isinstance(copied, list):
            copied[:] = [member for member in copied if member[_KEY] != key]
            return
        document = copied
    document.pop(key, None)
