"""Exact volume (total and by aggressor) and VWAP of prints whose prices and sizes arrive as doubles.

A double stands for the decimal it was written as: the shortest one that reads back as the same double, which is what
`repr` prints. The sums are integers in units of 10**-decimals, which are exact over any number of events.

    price  150.25 --> 15025 units at scale 100      notional units at scale 100 * 10
    size     37.5 -->   375 units at scale 10       vwap = notional / (volume * price scale)
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from observability.errors import EventError
from observability.events import Side
from observability.metrics.arithmetic.decimals import EXACT, MAX_MAGNITUDE, exact_decimal

# Further decimals are rounded away. No exchange has that many; the noise of float arithmetic does.
MAX_DECIMALS: Final = 12

# n / scale == x proves that x was written as n / scale only while the double's spacing is finer than the decimals':
# 1 / scale > ulp(x), which holds for every |n| < 2**52.
PROOF_LIMIT: Final = 2**52


class PrintSums(NamedTuple):
    """The exact sums of some prints. Sums can be added to each other and subtracted from each other."""

    trades: int = 0
    volume_units: int = 0
    notional_units: int = 0
    price_scale: int = 1
    size_scale: int = 1

    @property
    def volume(self) -> float:
        """The double nearest to the exact volume."""
        return self.volume_units / self.size_scale

    @property
    def vwap(self) -> float | None:
        """The double nearest to the exact quotient; None without volume."""
        if not self.volume_units:
            return None
        return self.notional_units / (self.volume_units * self.price_scale)

    def plus(self, other: PrintSums) -> PrintSums:
        """Returns the sums of all prints of both."""
        return self._combine(other, 1)

    def minus(self, other: PrintSums) -> PrintSums:
        """Returns the sums of the prints that are not in `other`."""
        return self._combine(other, -1)

    def to_state(self) -> PrintSumsState:
        volume_units, notional_units = _to_bytes(self.volume_units), _to_bytes(self.notional_units)
        return PrintSumsState(self.trades, volume_units, notional_units, self.price_scale, self.size_scale)

    @classmethod
    def from_state(cls, state: PrintSumsState) -> PrintSums:
        volume_units, notional_units = _from_bytes(state.volume_units), _from_bytes(state.notional_units)
        return cls(state.trades, volume_units, notional_units, state.price_scale, state.size_scale)

    def _combine(self, other: PrintSums, sign: int) -> PrintSums:
        # Scales are powers of ten, so the larger one holds the decimals of both.
        price_scale = max(self.price_scale, other.price_scale)
        size_scale = max(self.size_scale, other.size_scale)
        ours, theirs = size_scale // self.size_scale, size_scale // other.size_scale
        ours_price, theirs_price = price_scale // self.price_scale, price_scale // other.price_scale
        return PrintSums(
            self.trades + sign * other.trades,
            self.volume_units * ours + sign * other.volume_units * theirs,
            self.notional_units * ours * ours_price + sign * other.notional_units * theirs * theirs_price,
            price_scale,
            size_scale,
        )


class PrintSumsState(msgspec.Struct, array_like=True):
    """The sums in a checkpoint. MessagePack has no integers beyond 64 bits, so sums are stored as bytes."""

    trades: int
    volume_units: bytes
    notional_units: bytes
    price_scale: int
    size_scale: int


class TurnoverState(msgspec.Struct):
    """A turnover in a checkpoint."""

    amount: PrintSumsState
    buy_units: bytes = b""
    sell_units: bytes = b""


class ExactTurnover:
    """Adds up prints, in total and by aggressor."""

    __slots__ = (
        "_buy_units", "_notional_units", "_price_scale", "_sell_units", "_size_scale", "_volume_units", "trades"
    )  # fmt: skip

    def __init__(self) -> None:
        self._price_scale = 1
        self._size_scale = 1
        self._volume_units = 0
        self._notional_units = 0
        self._buy_units = 0
        self._sell_units = 0
        self.trades = 0
        """How many prints were added."""

    def add(self, price: float, size: float, aggressor_side: Side | None = None) -> None:
        """Adds one print. Raises EventError for a number that is not finite or at least MAX_MAGNITUDE, and then adds
        nothing."""
        # hot: once per print (benchmarks/bench_intake.py)
        price_scale = self._price_scale
        size_scale = self._size_scale
        try:
            price_units = round(price * price_scale)
            size_units = round(size * size_scale)
        except (ValueError, OverflowError):
            raise EventError(f"print of {size!r} at {price!r}: expected finite numbers") from None
        # True division of integers is correctly rounded, so equality proves that the units are exact. A failure proves
        # nothing, because the product above may have been rounded. If the notional is within the limit, so are both
        # factors.
        notional_units = price_units * size_units
        if (
            price_units / price_scale == price
            and size_units / size_scale == size
            and (0 < notional_units < PROOF_LIMIT or _are_provable(price_units, size_units))
        ):
            self._volume_units += size_units
            self._notional_units += notional_units
        else:
            size_units = self._add_decimal(price, size)
        self.trades += 1
        if aggressor_side == "buy":
            self._buy_units += size_units
        elif aggressor_side == "sell":
            self._sell_units += size_units

    def clear(self) -> None:
        """Sets all sums to zero; the scales stay."""
        self._volume_units = self._notional_units = self._buy_units = self._sell_units = 0
        self.trades = 0

    def sums(self) -> PrintSums:
        """Returns the current sums; later ones minus these are the sums of the prints in between."""
        return PrintSums(self.trades, self._volume_units, self._notional_units, self._price_scale, self._size_scale)

    @property
    def volume(self) -> float:
        """The double nearest to the exact volume."""
        return self._volume_units / self._size_scale

    @property
    def buy_volume(self) -> float:
        """The double nearest to the exact volume of prints with a buying aggressor."""
        return self._buy_units / self._size_scale

    @property
    def sell_volume(self) -> float:
        """The double nearest to the exact volume of prints with a selling aggressor."""
        return self._sell_units / self._size_scale

    @property
    def unknown_volume(self) -> float:
        """The double nearest to the exact volume of prints without an aggressor, such as those of an auction."""
        return (self._volume_units - self._buy_units - self._sell_units) / self._size_scale

    @property
    def vwap(self) -> float | None:
        """The double nearest to the exact quotient; None without volume."""
        if not self._volume_units:
            return None
        return self._notional_units / (self._volume_units * self._price_scale)

    def to_state(self) -> TurnoverState:
        buy_units, sell_units = _to_bytes(self._buy_units), _to_bytes(self._sell_units)
        return TurnoverState(self.sums().to_state(), buy_units, sell_units)

    def load_state(self, state: TurnoverState) -> None:
        sums = PrintSums.from_state(state.amount)
        self.trades, self._volume_units, self._notional_units, self._price_scale, self._size_scale = sums
        self._buy_units = _from_bytes(state.buy_units)
        self._sell_units = _from_bytes(state.sell_units)

    def _add_decimal(self, price: float, size: float) -> int:
        """Adds one print by way of Decimal, after growing the scales where they are too small for its decimals; returns
        its size in units."""
        if not (abs(price) < MAX_MAGNITUDE and abs(size) < MAX_MAGNITUDE):
            raise EventError(f"print of {size!r} at {price!r}: expected numbers below {MAX_MAGNITUDE:g}")
        exact_price = exact_decimal(price)
        price_units = _units(exact_price, self._price_scale)
        if price_units is None:
            exact_price = _at_most_max_decimals(exact_price)
            factor = _growth(self._price_scale, exact_price)
            self._price_scale *= factor
            self._notional_units *= factor
            price_units = _units(exact_price, self._price_scale)
        exact_size = exact_decimal(size)
        size_units = _units(exact_size, self._size_scale)
        if size_units is None:
            exact_size = _at_most_max_decimals(exact_size)
            factor = _growth(self._size_scale, exact_size)
            self._size_scale *= factor
            self._notional_units *= factor
            self._volume_units *= factor
            self._buy_units *= factor
            self._sell_units *= factor
            size_units = _units(exact_size, self._size_scale)
        assert price_units is not None and size_units is not None, "the scales were grown to hold both"
        self._volume_units += size_units
        self._notional_units += price_units * size_units
        return size_units


def _are_provable(price_units: int, size_units: int) -> bool:
    return -PROOF_LIMIT < price_units < PROOF_LIMIT and -PROOF_LIMIT < size_units < PROOF_LIMIT


def _to_bytes(units: int) -> bytes:
    return units.to_bytes(units.bit_length() // 8 + 1, "little", signed=True)


def _from_bytes(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _decimals(value: Decimal) -> int:
    """Returns how many digits the value has after the decimal point."""
    exponent = value.normalize(EXACT).as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _growth(scale: int, value: Decimal) -> int:
    """Returns the factor by which `scale` must grow to hold the decimals of `value`."""
    needed: int = 10 ** _decimals(value)
    return needed // scale if needed > scale else 1


def _at_most_max_decimals(value: Decimal) -> Decimal:
    return value if _decimals(value) <= MAX_DECIMALS else Decimal(f"{value:.{MAX_DECIMALS}f}")


def _units(value: Decimal, scale: int) -> int | None:
    """Returns the value in units of 1 / scale; None if it has more decimals than that."""
    units = EXACT.multiply(value, scale)
    whole = int(units)
    return whole if whole == units else None
