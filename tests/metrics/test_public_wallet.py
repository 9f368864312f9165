"""The wallet of a real account in perpetuals: an exchange's own balance after each funding payment, fee, realised P&L,
spot trade and transfer is compared with ours, to the last unit.

A wallet history of BitMEX (`/api/v1/user/walletHistory`) has amounts in units of each currency, net of their fees, and
the balance after each. The rows below are made up. The history of a real account, of which some are public, is read too
where `BITMEX_WALLET` names one. Realised P&L of derivatives is booked as the exchange reports it.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from observability.events import Cash, Fill, Funding, Instrument, Rate, code_of
from strategy_desk import D, Desk

DIGITS: Final = {"XBt": 8, "USDt": 6, "BMEx": 6}
SPOT: Final = {"XBT_USDT": ("XBt", "USDt"), "BMEX_USDT": ("BMEx", "USDt")}
MADE_UP: Final = """\
timestamp,transactTime,transactType,transactStatus,currency,amount,fee,walletBalance,address
2024-10-01T00:00:00Z,2024-10-01T00:00:00Z,Deposit,Completed,XBt,150000001,,150000001,
2024-10-02T12:00:00Z,2024-10-02T12:00:00Z,RealisedPNL,Completed,XBt,-1234567,4567,148654321,XBTUSD
2024-10-02T12:00:00Z,2024-10-02T12:00:00Z,RealisedPNL,Completed,XBt,-111113,0,148654321,ETHUSD
2024-10-02T20:00:00Z,2024-10-02T20:00:00Z,Funding,Completed,XBt,260059,-260059,148914380,XBTUSD
2024-10-03T04:00:00Z,2024-10-03T04:00:00Z,Funding,Completed,XBt,-16624,16624,148897756,DOGEUSD
2024-10-03T05:00:00Z,2024-10-03T05:00:00Z,Conversion,Completed,XBt,-100000000,,48897756,XBTUSDT
2024-10-03T05:00:01Z,2024-10-03T05:00:01Z,Conversion,Completed,USDt,61234567891,,61234567891,XBTUSDT
2024-10-03T06:00:00Z,2024-10-03T05:59:59Z,SpotTrade,Completed,USDt,-7000003,7003,61227567888,BMEX_USDT
2024-10-03T06:00:00Z,2024-10-03T05:59:59Z,SpotTrade,Completed,BMEx,31000000,0,31000000,BMEX_USDT
2024-10-03T07:00:00Z,2024-10-03T06:59:59Z,SpotTrade,Completed,XBt,-3000000,0,45897756,XBT_USDT
2024-10-03T07:00:00Z,2024-10-03T06:59:59Z,SpotTrade,Completed,USDt,1834000001,0,63061567889,XBT_USDT
2024-10-04T00:00:00Z,2024-10-03T20:00:00Z,Withdrawal,Canceled,XBt,-45000000,20000,45897756,tb1
2024-10-05T00:00:00Z,2024-10-04T20:00:00Z,Withdrawal,Completed,XBt,-40020000,20000,5877756,tb1
2024-10-06T00:00:00Z,2024-10-06T00:00:00Z,Transfer,Completed,USDt,-1,0,63061567888,
"""

Row = dict[str, str]


class Wallet:
    """The strategy section, which takes the rows of a wallet."""

    def __init__(self) -> None:
        self._desk = Desk()
        # Money that is paid in needs a rate; no balance depends on it.
        for currency, rate in {"XBT": "60000", "USDT": "1", "BMEX": "0.3"}.items():
            self._desk.accept(Rate(currency, "USD", D(rate)))
        for symbol, (base, quote) in SPOT.items():
            self._desk.accept(Instrument(symbol, "spot", quote.upper(), base_currency=base.upper()))

    def take(self, rows: Iterable[Row]) -> None:
        """Takes rows of one moment."""
        legs: dict[str, list[Row]] = {}
        for row in rows:
            if row["transactType"] == "SpotTrade":
                legs.setdefault(row["currency"], []).append(row)
            else:
                self._book(row)
        quotes = iter(legs.pop("USDt", ()))
        for base in (row for rows_of_base in legs.values() for row in rows_of_base):
            self._trade(base, next(quotes))
        assert not list(quotes), "a leg without the other"

    def balance(self, currency: str) -> Fraction:
        """Returns what the wallet holds of a currency: its cash, and what was bought of it."""
        self._desk.tick()
        cash = self._desk.strategy.fields.to_json()["currencies"].get(code_of(currency.upper()), {"cash": 0.0})["cash"]
        bought = {symbol for symbol, (base, _) in SPOT.items() if base == currency}
        held = (each["quantity"] for each in self._desk.positions() if each["symbol"] in bought)
        return Fraction(repr(cash)) + sum(Fraction(repr(each)) for each in held)

    def _book(self, row: Row) -> None:
        kind, amount, fee = row["transactType"], amount_of(row), amount_of(row, "fee")
        if kind == "Funding":
            self._desk.accept(
                Funding(row["address"], amount, f"f{self._desk.now}", row["currency"].upper()),
            )
            return
        if kind == "Conversion":
            fee = Decimal(0)
        self._pay(
            row, amount + fee, {"Deposit": "deposit", "Withdrawal": "withdrawal", "Transfer": "transfer"}.get(kind)
        )
        self._pay(row, fee.copy_negate(), "rebate" if fee < 0 else "fee")

    def _pay(self, row: Row, amount: Decimal, reason: Any) -> None:
        if amount:
            self._desk.accept(Cash(amount, reason or "other", row["currency"].upper(), f"c{self._desk.now}"))

    def _trade(self, base: Row, quote: Row) -> None:
        assert (base["address"], base["transactTime"]) == (quote["address"], quote["transactTime"])
        charged = base if amount_of(base, "fee") else quote
        quantity, cost = (amount_of(row) + amount_of(row, "fee") for row in (base, quote))
        self._desk.accept(
            Fill(
                f"t{self._desk.now}", base["address"], "buy" if quantity > 0 else "sell", abs(quantity),
                (abs(cost) / abs(quantity)).quantize(Decimal("1e-18")), commission=amount_of(charged, "fee"),
                commission_asset=charged["currency"].upper(),
            )
        )  # fmt: skip


def amount_of(row: Row, name: str = "amount") -> Decimal:
    return D(row[name] or "0").scaleb(-DIGITS[row["currency"]])


def compare(rows: Iterable[Row]) -> Counter[str]:
    """Returns how many rows were compared, by type. Rows of one moment may all show the balance after the last."""
    wallet, compared = Wallet(), Counter[str]()
    completed = (row for row in rows if row["transactStatus"] == "Completed")
    for _, moment in groupby(completed, key=lambda row: row["timestamp"]):
        together = list(moment)
        wallet.take(together)
        for currency in {row["currency"] for row in together}:
            digits = DIGITS[currency]
            ours = round(wallet.balance(currency) * 10**digits)
            assert ours in {int(row["walletBalance"]) for row in together if row["currency"] == currency}, together
        compared.update(row["transactType"] for row in together)
    return compared


def test_the_wallet_has_the_balance_of_the_exchange_after_each_payment() -> None:
    assert compare(csv.DictReader(MADE_UP.splitlines())) == {
        "Deposit": 1, "RealisedPNL": 2, "Funding": 2, "Conversion": 2, "SpotTrade": 4, "Withdrawal": 1, "Transfer": 1,
    }  # fmt: skip
    path = os.environ.get("BITMEX_WALLET")
    if path:
        with Path(path).open(encoding="utf-8", newline="") as file:
            assert compare(csv.DictReader(file))["Funding"]
