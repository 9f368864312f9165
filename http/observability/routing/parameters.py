"""Parameters of requests: query strings and JSON bodies become Structs, and all faults are reported at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

import msgspec

from observability.clocks.timestamps import MAX_NS, parse_iso_ns
from observability.errors import MAX_FAULT_CHARACTERS, EventError
from observability.http11.messages import Request
from observability.http11.refusals import Refusal, Unprocessable
from observability.routing.router import Parameter

T = TypeVar("T", bound=msgspec.Struct)


_DIGITS = re.compile(r"[0-9]{1,19}")


class TimeNs(int):
    """A time in a parameter: ISO 8601 with an offset, or nanoseconds since the epoch as an integer."""


def parameters_of(kind: type[msgspec.Struct]) -> tuple[Parameter, ...]:
    """Describes the fields of `kind` as query parameters; their descriptions come from the fields' types."""
    return tuple(Parameter(field.encode_name, field.type, required=field.required) for field in _fields(kind))


def parse_query(request: Request, kind: type[T]) -> T:
    """Returns the query as a `kind`, without unknown parameters. Raises Unprocessable with all faults."""
    values: dict[str, Any] = {}
    repeated = []
    for name, value in request.query_parameters():
        if name in values:
            repeated.append({"parameter": name, "error": "given more than once"})
        values[name] = value
    return _build(values, kind, strict=False, faults=repeated)


def parse_body(request: Request, kind: type[T]) -> T:
    """Returns the JSON object in the body as a `kind`. Raises Refusal 400 for a body that is not JSON, and 422 with all
    faults of the object."""
    try:
        values = msgspec.json.decode(request.body)
    except msgspec.DecodeError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not JSON: it is not UTF-8") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None
    if not isinstance(values, dict):
        raise Unprocessable([{"parameter": "body", "error": "expected a JSON object"}])
    return _build(values, kind, strict=True, faults=[])


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Returns the fields of `kind`; msgspec evaluates all annotations on each call."""
    return msgspec.structs.fields(kind)


def _build(values: Mapping[str, Any], kind: type[T], *, strict: bool, faults: list[dict[str, Any]]) -> T:
    known: dict[str, Any] = {}
    for field in _fields(kind):
        if field.encode_name not in values:
            if field.required:
                faults.append({"parameter": field.encode_name, "error": "is required"})
            continue
        try:
            value = msgspec.convert(values[field.encode_name], field.type, strict=strict, dec_hook=_decode_custom)
        except msgspec.ValidationError as error:
            faults.append({"parameter": field.encode_name, "error": str(error)[:MAX_FAULT_CHARACTERS]})
            continue
        # A NaN cannot be compared, and no quantity is infinite.
        if isinstance(value, Decimal) and not value.is_finite():
            faults.append({"parameter": field.encode_name, "error": "expected a finite number"})
        known[field.name] = value
    if faults:
        raise Unprocessable(faults)
    return kind(**known)


def _decode_custom(kind: type, value: Any) -> Any:
    """Returns `value` as a `kind` that msgspec does not know. It reports a ValueError as a validation error."""
    if kind is TimeNs:
        return _parse_time(value)
    raise NotImplementedError(f"no decoding of {kind}")


def _parse_time(value: Any) -> TimeNs:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NS:
        return TimeNs(value)
    try:
        return TimeNs(parse_iso_ns(value if isinstance(value, str) else repr(value)))
    except EventError as error:
        raise ValueError(str(error)) from None
