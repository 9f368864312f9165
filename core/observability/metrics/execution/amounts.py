"""Sums of money in several currencies: each has a name of its own, and they become one when somebody reads them.

    slippage_money        in the reporting currency, as almost all are
    slippage_money@BTC    in another

A sum that needs a rate which is not known is missing from then on, so that no figure is made of the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from observability.metrics.arithmetic.decimals import EXACT, ZERO, to_float_or_none
from observability.metrics.arithmetic.rates import Rates

_IN: Final = "@"


def is_money(name: str) -> bool:
    """Returns whether an amount is money, and not a quantity or a price."""
    return name.startswith("money_") or name.endswith(("_money", "_notional")) or name == "commission"


def name_in(name: str, currency: str) -> str:
    """Returns the name of a sum in a currency that is not the reporting one."""
    return f"{name}{_IN}{currency}"


def are_in_several(amounts: Mapping[str, Decimal]) -> bool:
    """Returns whether some sums are in other currencies than the reporting one."""
    return any(_IN in name for name in amounts)


class Sums(dict[str, Decimal]):
    """Sums in the reporting currency, by name."""

    def __init__(self, amounts: Mapping[str, Decimal], rates: Rates | None = None) -> None:
        """Converts what is in other currencies; without `rates` it is missing."""
        super().__init__(amounts)
        self.missing: dict[str, set[str]] = {}
        """The currencies without a rate, by the name of the sum that needs it."""
        for full_name in [name for name in amounts if _IN in name]:
            name, _, currency = full_name.partition(_IN)
            amount = self.pop(full_name)
            converted = None if rates is None else rates.conversion(currency).convert(amount)
            if converted is None:
                self.missing.setdefault(name, set()).add(currency)
            else:
                self[name] = EXACT.add(self.get(name, ZERO), converted)

    def money(self, name: str) -> Decimal | None:
        """Returns a sum; None if it is missing."""
        return None if name in self.missing else self.get(name, ZERO)

    def money_json(self, name: str) -> float | None:
        return to_float_or_none(self.money(name))

    @property
    def currencies_missing(self) -> set[str]:
        return set().union(*self.missing.values())
