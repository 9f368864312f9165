"""Parameters of requests: query strings and JSON bodies become Structs, and all faults are reported at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from observability.clocks.timestamps import parse_iso_ns
from observability.errors import MAX_FAULT_CHARACTERS, EventError
from observability.http11.messages import Request
from observability.http11.refusals import Refusal, Unprocessable
from observability.ingest.dialects import read_ns, read_word
from observability.routing.router import Parameter

T = TypeVar("T", bound=msgspec.Struct)


KNOWN_EVERYWHERE: Final = frozenset({"token", "_"})
"""Query parameters that every route has: a token, and what some clients add so that no cache answers them."""
MAX_NAME_CHARACTERS: Final = 64
# Comparing a name with the known ones takes a tenth of a millisecond.
MAX_UNKNOWN_LISTED: Final = 10

_DIGITS = re.compile(r"[0-9]{1,19}")


class TimeNs(int):
    """A time in a parameter: ISO 8601 with an offset, or nanoseconds since the epoch as an integer. 0 is the epoch; any
    other number that cannot be nanoseconds is refused."""


def parameters_of(kind: type[msgspec.Struct]) -> tuple[Parameter, ...]:
    """Describes the fields of `kind` as query parameters; their descriptions come from the fields' types."""
    return tuple(Parameter(field.encode_name, field.type, required=field.required) for field in _fields(kind))


def parse_query(request: Request, kind: type[T]) -> T:
    """Returns the query as a `kind`. Raises Unprocessable with all faults, unknown parameters among them."""
    values: dict[str, Any] = {}
    repeated = []
    for name, value in request.query_parameters():
        if name in KNOWN_EVERYWHERE:
            continue
        if name in values:
            repeated.append({"parameter": name[:MAX_NAME_CHARACTERS], "error": "given more than once"})
        values[name] = value
    return _build(values, kind, strict=False, faults=repeated)


def check_no_query(request: Request) -> None:
    """Raises Unprocessable if `request` has parameters, of a route that has none."""
    given = dict.fromkeys(name for name, _ in request.query_parameters() if name not in KNOWN_EVERYWHERE)
    if given:
        raise Unprocessable(_unknown(given, ()))


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


@cache
def _words(kind: Any) -> tuple[str, ...]:
    """Returns the words that a field may have; none if it is no choice of words."""
    described = msgspec.inspect.type_info(kind)
    if isinstance(described, msgspec.inspect.Metadata):
        described = described.type
    alternatives = described.types if isinstance(described, msgspec.inspect.UnionType) else (described,)
    found = [word for each in alternatives if isinstance(each, msgspec.inspect.LiteralType) for word in each.values]
    return tuple(word for word in found if isinstance(word, str))


def _unknown(given: Collection[str], known: Collection[str]) -> list[dict[str, Any]]:
    """Returns the faults of unknown parameters, with what may have been meant."""
    faults = []
    for name in islice(given, MAX_UNKNOWN_LISTED):
        shown = name[:MAX_NAME_CHARACTERS]
        near = get_close_matches(shown.lower(), known, n=1)
        if near:
            hint = f"did you mean {near[0]}?"
        else:
            hint = f"expected one of {', '.join(known)}" if known else "this path has no parameters"
        faults.append({"parameter": shown, "error": f"unknown; {hint}"})
    if len(given) > MAX_UNKNOWN_LISTED:
        further = len(given) - MAX_UNKNOWN_LISTED
        faults.append({"parameter": "...", "error": f"{further} further unknown parameters"})
    return faults


def _build(values: Mapping[str, Any], kind: type[T], *, strict: bool, faults: list[dict[str, Any]]) -> T:
    known: dict[str, Any] = {}
    names = [field.encode_name for field in _fields(kind)]
    unknown = [name for name in values if name not in names]
    if unknown:
        faults += _unknown(unknown, names)
    for field in _fields(kind):
        if field.encode_name not in values:
            if field.required:
                faults.append({"parameter": field.encode_name, "error": "is required"})
            continue
        given = values[field.encode_name]
        words = _words(field.type)
        if words and isinstance(given, str):
            word = read_word(field.encode_name, given, words)
            if word is None:
                error = f"Invalid enum value {given[:MAX_NAME_CHARACTERS]!r}, expected one of {', '.join(words)}"
                faults.append({"parameter": field.encode_name, "error": error})
                continue
            given = word
        try:
            value = msgspec.convert(given, field.type, strict=strict, dec_hook=decode_custom)
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


def decode_custom(kind: type, value: Any) -> Any:
    """Returns `value` as a `kind` that msgspec does not know. It reports a ValueError as a validation error."""
    assert kind is TimeNs, kind
    return _parse_time(value)


def _parse_time(value: Any) -> TimeNs:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return TimeNs(value and read_ns(value))
    try:
        return TimeNs(parse_iso_ns(value if isinstance(value, str) else repr(value)))
    except EventError as error:
        raise ValueError(str(error)) from None
