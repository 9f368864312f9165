"""The comparison of a value with a threshold."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, Literal, get_args

Comparison = Literal["above", "at_least", "below", "at_most", "equals"]
COMPARISONS: Final[tuple[Comparison, ...]] = get_args(Comparison)

Value = float | int | bool | str
"""The types of a metric's value; a metric without a value is None."""

_OPERATORS: Final[dict[Comparison, Callable[[Any, Any], bool]]] = {
    "above": operator.gt,
    "at_least": operator.ge,
    "below": operator.lt,
    "at_most": operator.le,
    "equals": operator.eq,
}


def is_beyond(comparison: Comparison, value: Value, threshold: Value) -> bool:
    """Returns whether a value is beyond a threshold."""
    # hot: once per rule and member per second
    return _OPERATORS[comparison](value, threshold)
