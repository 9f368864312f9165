"""What an aggregator needs of the frames and lane entries of a site: JSON, and the types of the fields that it reads.

The SHA-256 of a frame says that it came as its hub has sent it, and nothing of what that is. A hub of another version,
or one with a fault, must cost its own site alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import orjson

from observability.errors import SourceError
from observability.metrics.alerts.book import Stage
from observability.sites.totals import EXECUTION, STRATEGY, SectionTotals

# orjson reads 1,024 levels and writes 254.
_SURELY_WRITTEN: Final = 250

# JSON has larger numbers, of which there is no sum, or one that cannot be written.
_Amount = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
_Count = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]


class Part(msgspec.Struct):
    """Any object."""


class AlertPart(msgspec.Struct):
    """An alert, or a transition of one."""

    alert_id: str


class _ListedAlert(AlertPart):
    first_seen: str
    state: Stage


class AlertsPart(msgspec.Struct):
    """The document of a site's alerts."""

    alerts: list[_ListedAlert]


class _SymbolPart(msgspec.Struct):
    trades: _Count
    volume: _Amount
    venues: dict[str, Part] | None = None


class _StrategyPart(msgspec.Struct):
    last_signal: Part | None = None


class _SystemFields(msgspec.Struct):
    active_alerts: _Count
    critical_alerts: _Count
    demo: bool
    health: str | None


def _fields_of(name: str, totals: SectionTotals, *further: tuple[str, Any]) -> type[msgspec.Struct]:
    """Returns the type of a section's own fields at one site."""
    fields: list[tuple[str, Any, Any]] = [
        *((field, _Amount | None, None) for field in (*totals.amounts, *totals.largest)),
        *((field, _Count | None, None) for field in totals.counts),
        *((field, str | None, None) for field in totals.texts),
    ]
    return msgspec.defstruct(name, [*further, *fields])


# By section and group, the type of its parts; None stands for a section's own fields.
_FIELDS: Final[dict[str, type[msgspec.Struct]]] = {
    "strategy": _fields_of(
        "StrategyFields",
        STRATEGY,
        ("reporting_currency", str),
        ("currencies", dict[str, dict[str, _Amount | None]]),
        ("unconverted", dict[str, _Amount | None]),
        ("rates", list[dict[str, Any]]),
    ),
    "execution": _fields_of("ExecutionFields", EXECUTION),
    "system": _SystemFields,
}
_PARTS: Final[dict[tuple[str, str | None], type[msgspec.Struct]]] = {
    ("market_data", None): _SymbolPart,
    ("strategy", "strategies"): _StrategyPart,
}
SECTIONS: Final = ("market_data", "strategy", "execution", "system")


def type_of(section: str, group: str | None, key: str | None) -> type[msgspec.Struct]:
    """Returns the type of a part; without a key, of the section's own fields."""
    return _FIELDS.get(section, Part) if key is None else _PARTS.get((section, group), Part)


def decoded(data: bytes, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Returns a JSON object that has the fields of a type, and possibly others. Raises SourceError."""
    # hot: once per part of a site that has changed
    try:
        found: dict[str, Any] = orjson.loads(data)
        # Most parts need nothing but to be objects.
        if kind is not Part or type(found) is not dict:
            msgspec.convert(found, kind)
        if data.count(b"{") + data.count(b"[") > _SURELY_WRITTEN:
            orjson.dumps(found)
    except (orjson.JSONDecodeError, msgspec.ValidationError, orjson.JSONEncodeError) as error:
        raise SourceError(str(error)) from None
    return found
