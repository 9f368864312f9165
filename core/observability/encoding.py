"""JSON encoding, with the same options everywhere."""

from __future__ import annotations

from typing import Any

import orjson

_OPTIONS = orjson.OPT_NON_STR_KEYS


def encode_json(value: Any) -> bytes:
    """Encodes `value` as JSON; NaN becomes null."""
    return orjson.dumps(value, option=_OPTIONS)
