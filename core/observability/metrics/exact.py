"""Exact volume, notional and VWAP of prints whose prices and sizes arrive as doubles.

No prices of a session (see `symbol_state.py`) and no money of ours (see `money.py`).

A double is taken for the decimal it was written as: the shortest one that reads back as the same double, which is what
`repr` prints. The sums are integers in units of 10**-decimals, which are exact over any number of events.

    price  150.25 --> 15025 units at scale 100      notional units at scale 100 * 10
    size     37.5 -->   375 units at scale 10       vwap = notional / (volume * price scale)
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from observability.core.errors import EventError
from observability.metrics.money import EXACT, MAX_MAGNITUDE, exact_decimal

# More decimals than this are rounded and counted in `rounded`. No exchange has that many; float noise has.
MAX_DECIMALS = 12

# n / scale == x proves that x was written as n / scale only while the double's spacing is finer than the decimals':
# 1 / scale > ulp(x), which holds for every |n| < 2**52.
PROOF_LIMIT: Final = 2**52


class ExactTurnover:
    """Adds up prints."""

    __slots__ = ("_notional_units", "_price_scale", "_size_scale", "_volume_units", "rounded")

    def __init__(self) -> None:
        self._price_scale = 1
        self._size_scale = 1
        self._volume_units = 0
        self._notional_units = 0
        self.rounded = 0
        """Prices and sizes that had more than MAX_DECIMALS decimals."""

    def add(self, price: float, size: float) -> None:
        """Adds one print. Raises EventError for numbers not finite or beyond MAX_MAGNITUDE; nothing is added then."""
        # hot: once per print (benchmarks/bench_intake.py)
        price_scale = self._price_scale
        size_scale = self._size_scale
        try:
            price_units = round(price * price_scale)
            size_units = round(size * size_scale)
        except (ValueError, OverflowError):
            raise EventError(f"print of {size!r} at {price!r}: expected finite numbers") from None
        # True division of integers is correctly rounded, so equality is the proof; a failed one is not yet a misfit,
        # because the product above may have been rounded.
        if (
            price_units / price_scale == price
            and size_units / size_scale == size
            and -PROOF_LIMIT < price_units < PROOF_LIMIT
            and -PROOF_LIMIT < size_units < PROOF_LIMIT
        ):
            self._volume_units += size_units
            self._notional_units += price_units * size_units
        else:
            self._add_decimal(price, size)

    def clear(self) -> None:
        """Starts new sums; the scales found so far are kept."""
        self._volume_units = 0
        self._notional_units = 0

    @property
    def volume(self) -> float:
        """The double nearest to the exact volume."""
        return self._volume_units / self._size_scale

    @property
    def notional(self) -> float:
        """The double nearest to the exact notional."""
        return self._notional_units / (self._price_scale * self._size_scale)

    @property
    def vwap(self) -> float | None:
        """The double nearest to the exact quotient; None without volume."""
        if not self._volume_units:
            return None
        return self._notional_units / (self._volume_units * self._price_scale)

    def _add_decimal(self, price: float, size: float) -> None:
        """Adds one print by way of Decimal, after growing the scales to its decimals where they do not hold them."""
        if not (abs(price) < MAX_MAGNITUDE and abs(size) < MAX_MAGNITUDE):
            raise EventError(f"print of {size!r} at {price!r}: expected numbers below {MAX_MAGNITUDE:g}")
        exact_price = exact_decimal(price)
        price_units = _units(exact_price, self._price_scale)
        if price_units is None:
            exact_price = self._at_most_max_decimals(exact_price)
            factor = _growth(self._price_scale, exact_price)
            self._price_scale *= factor
            self._notional_units *= factor
            price_units = _units(exact_price, self._price_scale)
        exact_size = exact_decimal(size)
        size_units = _units(exact_size, self._size_scale)
        if size_units is None:
            exact_size = self._at_most_max_decimals(exact_size)
            factor = _growth(self._size_scale, exact_size)
            self._size_scale *= factor
            self._notional_units *= factor
            self._volume_units *= factor
            size_units = _units(exact_size, self._size_scale)
        assert price_units is not None and size_units is not None, "the scales were grown to hold both"
        self._volume_units += size_units
        self._notional_units += price_units * size_units

    def _at_most_max_decimals(self, value: Decimal) -> Decimal:
        if _decimals(value) <= MAX_DECIMALS:
            return value
        self.rounded += 1
        return Decimal(f"{value:.{MAX_DECIMALS}f}")


def _decimals(value: Decimal) -> int:
    """Returns how many digits behind the point the value needs."""
    exponent = value.normalize(EXACT).as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _growth(scale: int, value: Decimal) -> int:
    """Returns the factor that makes `scale` hold the decimals of `value`."""
    wanted: int = 10 ** _decimals(value)
    return wanted // scale if wanted > scale else 1


def _units(value: Decimal, scale: int) -> int | None:
    """Returns the value in units of 1 / scale; None if it has more decimals than that."""
    units = EXACT.multiply(value, scale)
    whole = int(units)
    return whole if whole == units else None
