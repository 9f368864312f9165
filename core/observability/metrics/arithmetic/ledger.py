"""Money by currency: exact sums per currency, and what they come to in the reporting currency.

One currency, the reporting one, has a place of its own (`own`); an account that has no other never looks further.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from observability.events import code_of
from observability.metrics.arithmetic.decimals import ZERO, add, exact_sum, subtract, to_float, to_float_or_none
from observability.metrics.arithmetic.rates import Conversion, Rates

NO_RATE: Final = "no rate into {reporting} is known for {missing}"


class AmountsState(msgspec.Struct):
    """The sums of one currency in a checkpoint."""

    currency: str = ""
    realized_gross: Decimal = ZERO
    fees: Decimal = ZERO
    income: Decimal = ZERO
    flows: Decimal = ZERO

    def plus(self, other: AmountsState) -> AmountsState:
        pairs = [(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__[1:]]
        return AmountsState(self.currency, *(add(*pair) for pair in pairs))


class Amounts:
    """The sums of one account in one currency. The last four are of the open positions, at their marks."""

    __slots__ = (
        "_booked", "_shown", "conversion", "currency", "fees", "flows", "gross_exposure", "income", "margined",
        "net_exposure", "realized", "realized_gross", "unrealized",
    )  # fmt: skip

    def __init__(self, conversion: Conversion) -> None:
        self.conversion = conversion
        self.currency = conversion.currency
        self.realized_gross = ZERO
        """P&L of closed quantities, before fees."""
        self.fees = ZERO
        self.income = ZERO
        """P&L that is of no fill: funding, dividends, interest."""
        self.flows = ZERO
        """What was brought in less what was taken out, which is no P&L."""
        self.realized = ZERO
        """P&L of closed quantities and income, less fees."""
        self.unrealized = ZERO
        self.gross_exposure = ZERO
        self.net_exposure = ZERO
        self.margined = ZERO
        """The part of net exposure less unrealised P&L that was not paid, because its positions are margined."""
        # The sums that no mark changes, as they were shown last.
        self._booked: tuple[Decimal, ...] = ()
        self._shown: dict[str, float] = {}

    def book(self, gross: Decimal, fee: Decimal) -> None:
        """Adds what a fill realised before fees, and its fee."""
        # hot: twice per fill (benchmarks/bench_intake.py)
        if gross is not ZERO:
            self.realized_gross = add(self.realized_gross, gross)
            self.realized = add(self.realized, gross)
        if fee:
            self.fees = add(self.fees, fee)
            self.realized = subtract(self.realized, fee)

    def earn(self, income: Decimal) -> None:
        """Adds P&L that is of no fill."""
        self.income = add(self.income, income)
        self.realized = add(self.realized, income)

    @property
    def total(self) -> Decimal:
        return add(self.realized, self.unrealized)

    @property
    def equity(self) -> Decimal:
        """Cash and the value of the positions."""
        return add(self.total, self.flows) if self.flows else self.total

    def clear_positions(self) -> None:
        """Sets what the positions add up to to zero, before they are added up again."""
        self.unrealized = self.gross_exposure = self.net_exposure = self.margined = ZERO

    def add(self, other: Amounts) -> None:
        """Adds the sums of another account in the same currency."""
        self.realized_gross = add(self.realized_gross, other.realized_gross)
        self.fees = add(self.fees, other.fees)
        self.realized = add(self.realized, other.realized)
        if other.income is not ZERO:
            self.income = add(self.income, other.income)
        if other.flows is not ZERO:
            self.flows = add(self.flows, other.flows)
        self.unrealized = add(self.unrealized, other.unrealized)
        self.gross_exposure = add(self.gross_exposure, other.gross_exposure)
        self.net_exposure = add(self.net_exposure, other.net_exposure)
        if other.margined is not ZERO:
            self.margined = add(self.margined, other.margined)

    def to_state(self) -> AmountsState:
        return AmountsState(self.currency, self.realized_gross, self.fees, self.income, self.flows)

    def load_state(self, state: AmountsState) -> None:
        self.realized_gross, self.fees = state.realized_gross, state.fees
        # `add` skips what is nothing.
        self.income, self.flows = state.income or ZERO, state.flows or ZERO
        self.realized = add(subtract(self.realized_gross, self.fees), self.income)

    def booked(self) -> tuple[Decimal, ...]:
        """Returns the sums that no mark changes: the same object while they stay the same."""
        booked = (self.realized_gross, self.fees, self.income, self.realized, self.flows)
        if booked != self._booked:
            self._booked = booked
            self._shown = {
                "realized_gross": to_float(self.realized_gross),
                "fees": to_float(self.fees),
                "income": to_float(self.income),
                "realized": to_float(self.realized),
            }
        return self._booked

    def to_json(self) -> dict[str, float]:
        # hot: once per account per tick in which it moved (benchmarks/bench_tick.py)
        self.booked()
        json = self._shown.copy()
        equity = self.equity
        json["unrealized"] = to_float(self.unrealized)
        # Held in this currency itself: all but the value of what was paid for, and the P&L of what was not.
        json["cash"] = to_float(subtract(equity, subtract(self.net_exposure, self.margined)))
        json["equity"] = to_float(equity)
        return json


class Ledger:
    """The sums of one account in every currency. A sum in the reporting currency is None while a rate that it needs is
    missing: never the sum of the rest."""

    __slots__ = ("_rates", "by_currency", "foreign", "own")

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self.own = Amounts(rates.conversion(rates.reporting))
        self.foreign: tuple[Amounts, ...] = ()
        """Those in other currencies than the reporting one."""
        self.by_currency = {rates.reporting: self.own}

    @property
    def reporting(self) -> str:
        return self._rates.reporting

    def of(self, currency: str) -> Amounts:
        """Returns the sums in a currency."""
        amounts = self.by_currency.get(currency)
        if amounts is None:
            amounts = self.by_currency[currency] = Amounts(self._rates.conversion(currency))
            self.foreign = (*self.foreign, amounts)
        return amounts

    @property
    def realized_gross(self) -> Decimal | None:
        return self._converted("realized_gross") if self.foreign else self.own.realized_gross

    @property
    def fees(self) -> Decimal | None:
        return self._converted("fees") if self.foreign else self.own.fees

    @property
    def income(self) -> Decimal | None:
        return self._converted("income") if self.foreign else self.own.income

    @property
    def flows(self) -> Decimal | None:
        return self._converted("flows") if self.foreign else self.own.flows

    @property
    def realized(self) -> Decimal | None:
        return self._converted("realized") if self.foreign else self.own.realized

    @property
    def unrealized(self) -> Decimal | None:
        return self._converted("unrealized") if self.foreign else self.own.unrealized

    @property
    def gross_exposure(self) -> Decimal | None:
        return self._converted("gross_exposure") if self.foreign else self.own.gross_exposure

    @property
    def net_exposure(self) -> Decimal | None:
        return self._converted("net_exposure") if self.foreign else self.own.net_exposure

    @property
    def total(self) -> Decimal | None:
        """All P&L."""
        # hot: once per fill, and per event that moves the mark of an open position (benchmarks/bench_intake.py)
        return self._converted("total") if self.foreign else self.own.total

    def unconverted(self) -> dict[str, Decimal]:
        """Returns the P&L in each currency that has no rate, unless there is nothing in it to be converted."""
        return {
            each.currency: each.total
            for each in self.foreign
            if each.conversion.numerator is None
            and (each.total or each.fees or each.realized_gross or each.unrealized or each.flows or each.gross_exposure)
        }

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever booked, or all of it was taken back."""
        return not any(
            each.realized_gross or each.fees or each.income or each.flows for each in self.by_currency.values()
        )

    def clear_positions(self) -> None:
        self.own.clear_positions()
        for each in self.foreign:
            each.clear_positions()

    def set_sum(self, ledgers: Iterable[Ledger]) -> None:
        """Makes this one the sum of others."""
        for each in self.by_currency.values():
            each.realized_gross = each.fees = each.income = each.flows = each.realized = ZERO
            each.clear_positions()
        for ledger in ledgers:
            self.own.add(ledger.own)
            for each in ledger.foreign:
                self.of(each.currency).add(each)

    def set_marked_sum(self, ledgers: Iterable[Ledger]) -> None:
        """Makes the sums of open positions those of other ledgers, which have the reporting currency only."""
        # hot: once per tick in which something moved (benchmarks/bench_tick.py)
        unrealized = gross_exposure = net_exposure = margined = ZERO
        for ledger in ledgers:
            own = ledger.own
            unrealized = add(unrealized, own.unrealized)
            gross_exposure = add(gross_exposure, own.gross_exposure)
            net_exposure = add(net_exposure, own.net_exposure)
            if own.margined is not ZERO:
                margined = add(margined, own.margined)
        own = self.own
        own.unrealized, own.margined = unrealized, margined
        own.gross_exposure, own.net_exposure = gross_exposure, net_exposure

    def to_state(self) -> list[AmountsState]:
        return [each.to_state() for each in self.by_currency.values()]

    def load_state(self, states: Iterable[AmountsState]) -> None:
        sums: dict[str, AmountsState] = {}
        for state in states:
            # An earlier version kept one currency under each of its codes.
            code = code_of(state.currency)
            known = sums.get(code)
            sums[code] = state if known is None else known.plus(state)
        for code, state in sums.items():
            self.of(code).load_state(state)

    def shown_pnl(self) -> dict[str, Any]:
        """Returns the P&L in the reporting currency, as JSON."""
        # hot: once per symbol with open positions per tick in which something moved (benchmarks/bench_tick.py)
        if not self.foreign:
            own = self.own
            return {
                "total_pnl": to_float(add(own.realized, own.unrealized)),
                "realized_pnl": to_float(own.realized),
                "realized_gross_pnl": to_float(own.realized_gross),
                "unrealized_pnl": to_float(own.unrealized),
                "fees": to_float(own.fees),
                "income": to_float(own.income),
                "unconverted": {},
            }
        return {
            "total_pnl": to_float_or_none(self.total),
            "realized_pnl": to_float_or_none(self.realized),
            "realized_gross_pnl": to_float_or_none(self.realized_gross),
            "unrealized_pnl": to_float_or_none(self.unrealized),
            "fees": to_float_or_none(self.fees),
            "income": to_float_or_none(self.income),
            "unconverted": {currency: to_float(amount) for currency, amount in self.unconverted().items()},
        }

    def shown(self) -> dict[str, Any]:
        """Returns every sum in the reporting currency and by currency, as JSON."""
        # hot: once per account per tick in which it moved (benchmarks/bench_tick.py)
        if not self.foreign:
            own = self.own
            json = own.to_json()
            return {
                "total_pnl": to_float(own.total) if own.flows else json["equity"],
                "realized_pnl": json["realized"],
                "realized_gross_pnl": json["realized_gross"],
                "unrealized_pnl": json["unrealized"],
                "fees": json["fees"],
                "income": json["income"],
                "gross_exposure": to_float(own.gross_exposure),
                "net_exposure": to_float(own.net_exposure),
                "currencies": {own.currency: json},
                "unconverted": {},
                "unconverted_reason": None,
            }
        return self.shown_pnl() | {
            "gross_exposure": to_float_or_none(self.gross_exposure),
            "net_exposure": to_float_or_none(self.net_exposure),
            "currencies": {currency: each.to_json() for currency, each in sorted(self.by_currency.items())},
            "unconverted_reason": why_missing(self.unconverted(), self.reporting),
        }

    def _converted(self, name: str) -> Decimal | None:
        """Returns a sum in the reporting currency; None without a rate that it needs."""
        total: Decimal = getattr(self.own, name)
        for amounts in self.foreign:
            converted = amounts.conversion.convert(getattr(amounts, name))
            if converted is None:
                return None
            # Most accounts and symbols have one currency.
            total = converted if total is ZERO else add(total, converted)
        return total


def why_missing(missing: Iterable[str], reporting: str) -> str | None:
    """Returns why sums are None, if a rate is missing for some currencies."""
    names = ", ".join(sorted(missing))
    return NO_RATE.format(reporting=reporting, missing=names) if names else None


def sum_or_none(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Returns the sum; None if one of them is not known."""
    known = list(amounts)
    return None if None in known else exact_sum(amount for amount in known if amount is not None)
