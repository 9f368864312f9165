"""Exact volume (total and by aggressor) and VWAP of prints whose prices and sizes arrive as doubles.

A double stands for the decimal it was written as: the shortest one that reads back as the same double, which is what
`repr` prints. The sums are integers in units of 10**-decimals, which are exact over any number of events.

    price  150.25 --> 15025 units at scale 100      notional units at scale 100 * 10
    size     37.5 -->   375 units at scale 10       vwap = notional / (volume * price scale)

A print with more than MAX_DECIMALS decimals (a price of 1.2345e-12, the noise of 0.1 + 0.2) is added up apart, at
scales of its own, so that it does not slow the others down. Sums that are read combine both.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from observability.errors import EventError
from observability.events import MAX_MAGNITUDE, MIN_MAGNITUDE, Side
from observability.metrics.arithmetic.decimals import EXACT, exact_decimal

# Prints with more decimals than these do not raise the scales of the others.
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
        return PrintSumsState(
            self.trades,
            _to_bytes(self.volume_units),
            _to_bytes(self.notional_units),
            _packed_scale(self.price_scale),
            _packed_scale(self.size_scale),
        )

    @classmethod
    def from_state(cls, state: PrintSumsState) -> PrintSums:
        return cls(
            state.trades,
            _from_bytes(state.volume_units),
            _from_bytes(state.notional_units),
            _unpacked_scale(state.price_scale),
            _unpacked_scale(state.size_scale),
        )

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


def sums_of(price: float, size: float) -> PrintSums:
    """Returns the sums of one print."""
    turnover = ExactTurnover()
    turnover.add(price, size)
    return turnover.sums()


class PrintSumsState(msgspec.Struct, array_like=True):
    """The sums in a checkpoint. MessagePack has no integers beyond 64 bits, so sums are stored as bytes, and a scale
    beyond 10**18 as the negative of its exponent."""

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


TurnoverFigures = tuple[float, float, float, float, float | None]
"""Volume in total and of buying, selling and unknown aggressors, and VWAP."""


class ExactTurnover:
    """Adds up prints, in total and by aggressor."""

    __slots__ = (
        "_buy_units", "_figures", "_figures_trades", "_fine", "_notional_units", "_price_scale",
        "_sell_units", "_size_scale", "_volume_units",
        "trades",
    )  # fmt: skip

    def __init__(self) -> None:
        self._price_scale = 1
        self._size_scale = 1
        self._volume_units = 0
        self._notional_units = 0
        self._buy_units = 0
        self._sell_units = 0
        # The prints with more than MAX_DECIMALS decimals; None without any.
        self._fine: _FineTurnover | None = None
        self.trades = 0
        """How many prints were added."""
        # The figures after so many prints; -1 if they must be computed.
        self._figures_trades = -1
        self._figures: TurnoverFigures = (0.0, 0.0, 0.0, 0.0, None)

    def add(self, price: float, size: float, aggressor_side: Side | None = None) -> None:
        """Adds one print. Raises EventError for a number that is not finite, at least MAX_MAGNITUDE, or below
        MIN_MAGNITUDE without being zero, and then adds nothing."""
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
            if aggressor_side == "buy":
                self._buy_units += size_units
            elif aggressor_side == "sell":
                self._sell_units += size_units
        else:
            self._add_decimal(price, size, aggressor_side)
        self.trades += 1

    def remove(self, price: float, size: float, aggressor_side: Side | None = None) -> None:
        """Takes back a print that was added."""
        self.add(price, -size, aggressor_side)
        self.trades -= 2
        self._figures_trades = -1

    def clear(self) -> None:
        """Sets all sums to zero; the scales stay."""
        self._volume_units = self._notional_units = self._buy_units = self._sell_units = 0
        self._fine = None
        self.trades = 0
        self._figures_trades = -1

    @property
    def figures(self) -> TurnoverFigures:
        """All volumes and the VWAP, which are computed again only after a print."""
        if self._figures_trades != self.trades:
            self._figures_trades = self.trades
            self._figures = self.volume, self.buy_volume, self.sell_volume, self.unknown_volume, self.vwap
        return self._figures

    def sums(self) -> PrintSums:
        """Returns the current sums; later ones minus these are the sums of the prints in between."""
        sums = PrintSums(self.trades, self._volume_units, self._notional_units, self._price_scale, self._size_scale)
        return sums if self._fine is None else sums.plus(self._fine.sums)

    @property
    def volume(self) -> float:
        """The double nearest to the exact volume."""
        return self._volume_units / self._size_scale if self._fine is None else self.sums().volume

    @property
    def buy_volume(self) -> float:
        """The double nearest to the exact volume of prints with a buying aggressor."""
        return self._buy_units / self._size_scale if self._fine is None else self._volumes_by_side()[0]

    @property
    def sell_volume(self) -> float:
        """The double nearest to the exact volume of prints with a selling aggressor."""
        return self._sell_units / self._size_scale if self._fine is None else self._volumes_by_side()[1]

    @property
    def unknown_volume(self) -> float:
        """The double nearest to the exact volume of prints without an aggressor, such as those of an auction."""
        if self._fine is not None:
            return self._volumes_by_side()[2]
        return (self._volume_units - self._buy_units - self._sell_units) / self._size_scale

    @property
    def vwap(self) -> float | None:
        """The double nearest to the exact quotient; None without volume."""
        if self._fine is not None:
            return self.sums().vwap
        if not self._volume_units:
            return None
        return self._notional_units / (self._volume_units * self._price_scale)

    def to_state(self) -> TurnoverState:
        sums = self.sums()
        buy_units, sell_units = self._side_units(sums.size_scale)
        return TurnoverState(sums.to_state(), _to_bytes(buy_units), _to_bytes(sell_units))

    def load_state(self, state: TurnoverState) -> None:
        self.clear()
        sums = PrintSums.from_state(state.amount)
        buy_units, sell_units = _from_bytes(state.buy_units), _from_bytes(state.sell_units)
        self.trades = sums.trades
        if max(sums.price_scale, sums.size_scale) > 10**MAX_DECIMALS:
            self._fine = _FineTurnover(sums._replace(trades=0), buy_units, sell_units)
            return
        _, self._volume_units, self._notional_units, self._price_scale, self._size_scale = sums
        self._buy_units, self._sell_units = buy_units, sell_units

    def _side_units(self, scale: int) -> tuple[int, int]:
        """Returns the volumes of buying and of selling aggressors in units of 1 / scale."""
        factor = scale // self._size_scale
        buy_units, sell_units = self._buy_units * factor, self._sell_units * factor
        if self._fine is not None:
            factor = scale // self._fine.sums.size_scale
            buy_units += self._fine.buy_units * factor
            sell_units += self._fine.sell_units * factor
        return buy_units, sell_units

    def _volumes_by_side(self) -> tuple[float, float, float]:
        """Returns the volumes of buying, selling and unknown aggressors."""
        sums = self.sums()
        buy_units, sell_units = self._side_units(sums.size_scale)
        unknown_units = sums.volume_units - buy_units - sell_units
        return buy_units / sums.size_scale, sell_units / sums.size_scale, unknown_units / sums.size_scale

    def _add_decimal(self, price: float, size: float, aggressor_side: Side | None) -> None:
        """Adds one print by way of Decimal, after growing the scales where they are too small for its decimals."""
        if not (_is_in_bounds(price) and _is_in_bounds(size)):
            raise EventError(
                f"print of {size!r} at {price!r}: expected numbers that are 0, or from {MIN_MAGNITUDE:g} to "
                f"{MAX_MAGNITUDE:g}"
            )
        exact_price, exact_size = exact_decimal(price), exact_decimal(size)
        if max(_decimals(exact_price), _decimals(exact_size)) > MAX_DECIMALS:
            if self._fine is None:
                self._fine = _FineTurnover()
            self._fine.add(exact_price, exact_size, aggressor_side)
            return
        factor = _growth(self._price_scale, exact_price)
        self._price_scale *= factor
        self._notional_units *= factor
        factor = _growth(self._size_scale, exact_size)
        self._size_scale *= factor
        self._notional_units *= factor
        self._volume_units *= factor
        self._buy_units *= factor
        self._sell_units *= factor
        size_units = _units(exact_size, self._size_scale)
        self._volume_units += size_units
        self._notional_units += _units(exact_price, self._price_scale) * size_units
        if aggressor_side == "buy":
            self._buy_units += size_units
        elif aggressor_side == "sell":
            self._sell_units += size_units


class _FineTurnover:
    """The sums of prints whose scales have no limit."""

    __slots__ = ("buy_units", "sell_units", "sums")

    def __init__(self, sums: PrintSums | None = None, buy_units: int = 0, sell_units: int = 0) -> None:
        self.sums = PrintSums() if sums is None else sums
        """Without a count of trades."""
        self.buy_units = buy_units
        self.sell_units = sell_units

    def add(self, price: Decimal, size: Decimal, aggressor_side: Side | None) -> None:
        price_scale, size_scale = 10 ** _decimals(price), 10 ** _decimals(size)
        size_units = _units(size, size_scale)
        notional_units = _units(price, price_scale) * size_units
        before = self.sums.size_scale
        self.sums = self.sums.plus(PrintSums(0, size_units, notional_units, price_scale, size_scale))
        factor = self.sums.size_scale // before
        self.buy_units *= factor
        self.sell_units *= factor
        size_units *= self.sums.size_scale // size_scale
        if aggressor_side == "buy":
            self.buy_units += size_units
        elif aggressor_side == "sell":
            self.sell_units += size_units


def _are_provable(price_units: int, size_units: int) -> bool:
    return -PROOF_LIMIT < price_units < PROOF_LIMIT and -PROOF_LIMIT < size_units < PROOF_LIMIT


def _to_bytes(units: int) -> bytes:
    return units.to_bytes(units.bit_length() // 8 + 1, "little", signed=True)


def _from_bytes(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _packed_scale(scale: int) -> int:
    return scale if scale <= 10**18 else 1 - len(str(scale))


def _unpacked_scale(packed: int) -> int:
    return packed if packed > 0 else int(10**-packed)


def _is_in_bounds(value: float) -> bool:
    return not value or MIN_MAGNITUDE <= abs(value) < MAX_MAGNITUDE


def _decimals(value: Decimal) -> int:
    """Returns how many digits the value has after the decimal point."""
    exponent = value.normalize(EXACT).as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _growth(scale: int, value: Decimal) -> int:
    """Returns the factor by which `scale` must grow to hold the decimals of `value`."""
    needed: int = 10 ** _decimals(value)
    return needed // scale if needed > scale else 1


def _units(value: Decimal, scale: int) -> int:
    """Returns the value in units of 1 / scale, which holds all of its decimals."""
    units = EXACT.multiply(value, scale)
    whole = int(units)
    assert whole == units, "the scale holds the decimals"
    return whole
