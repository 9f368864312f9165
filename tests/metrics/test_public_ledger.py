"""The balances of a real account: a ledger that the exchange itself has added up is compared row by row.

A ledger of Kraken has deposits, withdrawals, trades and fees with the balance of the asset after each. The rows below
are made up. An export of a real account is read too where `KRAKEN_LEDGER` names one; such files are personal, and stay
out of the repository.
"""

from __future__ import annotations

import csv
import os
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from observability.events import Cash, Fill, Instrument, Rate
from strategy_desk import D, Desk

QUOTE = "GBP"
MADE_UP = """\
txid,refid,time,type,asset,amount,fee,balance
L1,F1,2024-11-01 10:00:00,deposit,GBP,1000.0000,0,1023.3730
L2,T1,2024-11-02 10:00:00,trade,GBP,-778.1404,1.5563,243.6763
L3,T1,2024-11-02 10:00:00,trade,USDT,1005.00000000,0,1005.00000000
L4,F2,2024-11-03 10:00:00,withdrawal,USDT,-500.00000000,4.00000000,501.00000000
L5,T2,2024-11-04 10:00:00,trade,USDT,-300.12345678,0.60024691,200.27629631
L6,T2,2024-11-04 10:00:00,trade,GBP,235.5967,0,479.2730
L7,T3,2024-11-05 10:00:00,trade,GBP,-79.0000,0,400.2730
L8,T3,2024-11-05 10:00:00,trade,USDT,99.87654321,0.19975309,299.95308643
"""


class Account:
    """The strategy section, which takes the rows of a ledger."""

    def __init__(self) -> None:
        self._desk = Desk()
        # Money that is paid in needs a rate; no balance depends on it.
        self._desk.accept(Rate(QUOTE, "USD", D("1.27")))
        self._desk.accept(Instrument("PAIR", "spot", QUOTE, base_currency="USDT"))

    def pay(self, asset: str, amount: Decimal, reason: Any) -> None:
        if amount:
            self._desk.accept(Cash(amount, reason, asset, f"c{self._desk.now}"))

    def trade(self, legs: dict[str, dict[str, str]]) -> None:
        """Adds a trade of two legs; a fee in the other asset than the quote is taken from what was bought."""
        base, quote = legs["USDT"], legs[QUOTE]
        quantity, cost = D(base["amount"]), D(quote["amount"]).copy_abs()
        price = (cost / quantity.copy_abs()).quantize(Decimal("1e-18"))
        fees = [(asset, D(legs[asset]["fee"])) for asset in ("USDT", QUOTE) if D(legs[asset]["fee"])] or [("", D(0))]
        # The exchange may take a fee in both assets.
        (asset, fee), *rest = fees
        side: Any = "buy" if quantity > 0 else "sell"
        self._desk.accept(
            Fill(
                f"t{self._desk.now}", "PAIR", side, quantity.copy_abs(), price, commission=fee, commission_asset=asset
            )
        )  # fmt: skip
        for other, amount in rest:
            self.pay(other, amount.copy_negate(), "fee")

    def balances(self) -> dict[str, Fraction]:
        self._desk.tick()
        currencies = self._desk.strategy.fields.to_json()["currencies"]
        held = sum(Fraction(repr(each["quantity"])) for each in self._desk.positions())
        return {
            name: Fraction(repr(currencies.get(name, {}).get("cash", 0.0))) + (held if name == "USDT" else 0)
            for name in (QUOTE, "USDT")
        }


def compare(rows: list[dict[str, str]]) -> int:
    """Returns how many balances were compared."""
    account, known = Account(), set()
    by_reference: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        by_reference.setdefault(row["refid"], {})[row["asset"]] = row
    compared = 0
    done: set[str] = set()
    for row in rows:
        asset, amount, fee = row["asset"], D(row["amount"]), D(row["fee"])
        if asset not in known:
            # What the account held before the ledger begins.
            known.add(asset)
            account.pay(asset, D(row["balance"]) - amount + fee, "transfer")
        legs = by_reference[row["refid"]]
        if row["type"] == "trade" and len(legs) == 2:
            if row["refid"] not in done:
                done.add(row["refid"])
                continue
            account.trade(legs)
        else:
            account.pay(asset, amount, row["type"] if row["type"] in ("deposit", "withdrawal") else "transfer")
            account.pay(asset, fee.copy_negate(), "fee")
        balances = account.balances()
        for leg in legs.values():
            digits = len(leg["balance"].partition(".")[2])
            assert round(balances[leg["asset"]], digits) == Fraction(leg["balance"]), leg
            compared += 1
    return compared


def test_the_balances_are_those_that_the_exchange_has_added_up() -> None:
    assert compare(list(csv.DictReader(MADE_UP.splitlines()))) == 8
    path = os.environ.get("KRAKEN_LEDGER")
    if path:
        with Path(path).open(encoding="utf-8", newline="") as file:
            assert compare(list(csv.DictReader(file)))
