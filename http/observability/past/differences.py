"""What differs between two snapshots: figures, symbols, positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

# Of one answer; a snapshot of a thousand symbols has thirty thousand figures.
MAX_CHANGES: Final = 2_000

# What differs between any two snapshots, and says nothing.
_HEAD: Final = frozenset({"type", "seq", "epoch", "timestamp", "mono_ns", "age_ms"})
_LISTED: Final = frozenset({("strategy", "positions")})


class Differences:
    """The differences between two snapshots, up to a number of them."""

    def __init__(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        self._left = MAX_CHANGES
        self.is_truncated = False
        self.changes = self._taken(_changed(_sections(before), _sections(after), ()))
        """Those of all figures but symbols and positions."""
        self.positions = self._of_parts(_positions(before), _positions(after), _position_name)
        self.symbols = self._of_parts(
            before.get("market_data") or {}, after.get("market_data") or {}, lambda key: {"symbol": key}
        )

    def _of_parts(
        self, before: Mapping[Any, Any], after: Mapping[Any, Any], name: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        changed = [
            {**name(key), "changes": changes}
            for key in before
            if key in after and (changes := self._taken(_changed(before[key], after[key], ())))
        ]
        return {
            "added": [name(key) for key in after if key not in before],
            "removed": [name(key) for key in before if key not in after],
            "changed": changed,
        }

    def _taken(self, changes: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        taken = []
        for change in changes:
            if not self._left:
                self.is_truncated = True
                break
            self._left -= 1
            taken.append(change)
        return taken


def _sections(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in snapshot.items() if name not in _HEAD and name != "market_data"}


def _changed(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yields the values that differ. A member that is missing on one side is null there."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            if (*path, name) not in _LISTED:
                yield from _changed(before.get(name), after.get(name), (*path, name))
    elif before != after:
        yield {"path": list(path), "before": before, "after": after}


def _positions(snapshot: Mapping[str, Any]) -> dict[tuple[Any, ...], Any]:
    found = (snapshot.get("strategy") or {}).get("positions") or []
    return {(each.get("strategy"), each.get("symbol"), each.get("position_side")): each for each in found}


def _position_name(key: tuple[Any, ...]) -> dict[str, Any]:
    strategy, symbol, side = key
    return {"strategy": strategy, "symbol": symbol, "position_side": side}
