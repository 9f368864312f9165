"""A random year of everything that a book can meet, from a seed: events as a sender writes them, in time order.

`features` names what may happen besides fills and prices, so that a part of the product can be tried by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from math import ceil
from random import Random
from typing import Any, Final

Event = dict[str, Any]

START_NS: Final = 1_735_689_600_000_000_000  # 2025-01-01T00:00:00Z
S: Final = 1_000_000_000
YEAR_NS: Final = 365 * 86_400 * S

MULTIPLIERS: Final = {"ESZ5": "50", "CL": "1000"}
ONE_WAY: Final = ("ACME", "BOLT", "ESZ5", "CL")
HEDGED: Final = ("PERP",)
FOREIGN: Final = {
    "SAP": {"kind": "equity", "quote_currency": "EUR"},
    "7203": {"kind": "equity", "quote_currency": "JPY"},
    "COIN-SPOT": {"kind": "spot", "base_currency": "XCN", "quote_currency": "USD"},
    "INV": {"kind": "perpetual", "base_currency": "YCN", "quote_currency": "USD", "contract": "inverse",
            "multiplier": "100"},
    "QTO": {"kind": "future", "base_currency": "YCN", "quote_currency": "USD", "settlement_currency": "EUR",
            "contract": "quanto", "multiplier": "0.5"},
}  # fmt: skip
RATES: Final = {("EUR", "USD"): "1.08", ("USD", "JPY"): "151.3", ("YCN", "EUR"): "41.7", ("FEE", "USD"): "577.1"}
STRATEGIES: Final = ("mean", "carry", "grid", "")
FEATURES: Final = (
    "hedge", "adopt", "no_order", "orders", "duplicates", "conflicts", "currencies", "funding", "cash", "dividend",
    "split", "settlement", "corrections", "instruments",
)  # fmt: skip


class RandomYear:
    """Makes the events of a year. `n` is how many, about."""

    def __init__(self, seed: int, n: int, features: frozenset[str] = frozenset(FEATURES)) -> None:
        self._random = Random(seed)
        self._n = n
        self._features = features
        self._now_ns = START_NS
        self._keyed: list[Event] = []
        self._fills: list[Event] = []
        self._prices = {
            name: Fraction(self._random.randint(500, 500_000), 100) for name in (*ONE_WAY, *HEDGED, *FOREIGN)
        }
        self._number = 0
        self._corrected: set[str] = set()
        self._orders: list[tuple[str, str, str]] = []
        self._listed: list[str] = []

    def events(self) -> Iterator[Event]:
        """Yields the events."""
        if "currencies" in self._features:
            for symbol, terms in FOREIGN.items():
                yield self._stamped({"type": "instrument", "symbol": symbol, **terms})
            for pair in RATES:
                yield self._stamped(self._rate(pair))
        makers = self._makers()
        while self._number < self._n:
            weights = [weight for weight, _ in makers]
            _, make = self._random.choices(makers, weights)[0]
            event = make()
            if event is None:
                continue
            yield self._stamped(event)
            if self._keyed and "duplicates" in self._features and self._random.random() < 0.08:
                # As it was; its time is its own.
                yield {**self._pick(self._keyed[-200:])}

    def closing_quotes(self) -> Iterator[Event]:
        """Yields a quote of every symbol, so that every mark is known."""
        for symbol in self._symbols():
            yield self._stamped(self._quote(symbol))

    def _makers(self) -> list[tuple[int, Callable[[], Event | None]]]:
        optional: dict[str, list[tuple[int, Callable[[], Event | None]]]] = {
            "hedge": [(14, self._hedged_fill)],
            "adopt": [(2, self._adopt)],
            "no_order": [(3, self._liquidation)],
            "orders": [(6, self._order), (6, self._fill_of_order)],
            "conflicts": [(1, self._conflict)],
            "currencies": [(18, lambda: self._fill(self._pick(tuple(FOREIGN)))), (4, self._any_rate)],
            "funding": [(4, self._funding)],
            "cash": [(4, self._cash)],
            "dividend": [(2, self._dividend)],
            "split": [(1, self._split)],
            "settlement": [(1, self._settlement)],
            "corrections": [(2, self._correction)],
            "instruments": [(1, self._instrument), (4, self._fill_of_listed)],
        }
        makers: list[tuple[int, Callable[[], Event | None]]] = [
            (30, lambda: self._fill(self._pick(ONE_WAY))),
            (20, lambda: self._quote(self._pick(self._symbols()))),
            (8, self._print),
        ]
        return makers + [each for name in FEATURES if name in self._features for each in optional.get(name, [])]

    # -- fills

    def _fill(self, symbol: str, **changes: Any) -> Event:
        event = {
            "type": "fill", "trade_id": self._id("t"), "order_id": self._id("o"), "symbol": symbol,
            "side": self._pick(("buy", "sell")), "quantity": self._decimal(1, 40, 3),
            "price": self._price(symbol), "strategy": self._pick(STRATEGIES), "venue": "V",
        }  # fmt: skip
        if self._random.random() < 0.8:
            event["commission"] = self._decimal(-1, 4, 5)
        # From FEE to YCN it takes two crosses, so such a fee has no value in an inverse contract.
        if "currencies" in self._features and symbol != "INV" and self._random.random() < 0.2:
            event["commission_asset"] = "XCN" if symbol == "COIN-SPOT" else "FEE"
            event["commission"] = self._decimal(0, 1, 6)
        return event | changes

    def _hedged_fill(self) -> Event:
        side = self._pick(("long", "short", "LONG", "both"))
        return self._fill(self._pick(HEDGED), position_side=side)

    def _liquidation(self) -> Event:
        event = self._fill(self._pick((*ONE_WAY, *HEDGED)), reason="liquidation")
        del event["order_id"]
        return event

    def _order(self) -> Event:
        symbol, strategy = self._pick(ONE_WAY), self._pick(("mean", "grid"))
        side = self._pick(("buy", "sell"))
        order_id = self._id("o")
        self._orders.append((symbol, order_id, side))
        return {
            "type": "order", "order_id": order_id, "symbol": symbol, "side": side, "quantity": "100", "status": "new",
            "strategy": strategy,
        }  # fmt: skip

    def _fill_of_order(self) -> Event | None:
        if not self._orders:
            return None
        symbol, order_id, side = self._pick(self._orders[-5:])
        return self._fill(symbol, order_id=order_id, side=side, strategy="", quantity=self._decimal(1, 5, 2))

    def _conflict(self) -> Event | None:
        if not self._fills:
            return None
        fill = self._pick(self._fills[-50:])
        return {**fill, "price": f"{ceil(Fraction(fill['price']))}.5"}

    # -- instruments

    def _instrument(self) -> Event:
        """Lists a further symbol, in any currency."""
        symbol = f"NEW{len(self._listed)}"
        self._listed.append(symbol)
        self._prices[symbol] = Fraction(self._random.randint(500, 500_000), 100)
        terms = self._pick((FOREIGN["SAP"], FOREIGN["7203"], FOREIGN["QTO"]))
        return {"type": "instrument", "symbol": symbol, **terms}

    def _fill_of_listed(self) -> Event | None:
        return self._fill(self._pick(self._listed)) if self._listed else None

    # -- prices

    def _quote(self, symbol: str) -> Event:
        price = self._move(symbol)
        return {
            "type": "quote", "symbol": symbol, "bid": float(price) - 0.25, "ask": float(price) + 0.25, "bid_size": 1,
            "ask_size": 2,
        }  # fmt: skip

    def _print(self) -> Event:
        symbol = self._pick(self._symbols())
        return {
            "type": "print",
            "symbol": symbol,
            "price": float(self._move(symbol)),
            "size": 1,
            "trade_id": self._id("p"),
        }

    def _any_rate(self) -> Event:
        return self._rate(self._pick(tuple(RATES)))

    def _rate(self, pair: tuple[str, str]) -> Event:
        rate = Fraction(RATES[pair]) * Fraction(self._random.randint(9_000, 11_000), 10_000)
        return {"type": "rate", "base": pair[0], "quote": pair[1], "rate": _text(rate, 5)}

    # -- bookings

    def _adopt(self) -> Event:
        symbol = self._pick((*ONE_WAY, *HEDGED))
        event = {
            "type": "position", "adopt": True, "symbol": symbol, "quantity": self._decimal(1, 30, 2),
            "avg_price": self._price(symbol), "strategy": self._pick((*STRATEGIES, f"s{self._random.randrange(20)}")),
        }  # fmt: skip
        if symbol in HEDGED:
            event["position_side"] = self._pick(("long", "short"))
        return event

    def _funding(self) -> Event:
        return {
            "type": "funding", "funding_id": self._id("f"), "symbol": self._pick(HEDGED),
            "amount": self._decimal(-9, 9, 6), "strategy": self._pick(STRATEGIES),
        }  # fmt: skip

    def _cash(self) -> Event:
        reason = self._pick(("deposit", "withdrawal", "transfer", "interest", "rebate", "fee", "other"))
        low, high = {"deposit": (1, 999), "withdrawal": (1, 99), "rebate": (0, 9), "fee": (-9, 0)}.get(
            reason, (-50, 50)
        )
        event = {
            "type": "cash", "cash_id": self._id("c"), "reason": reason, "amount": self._decimal(low, high, 4),
            "strategy": self._pick(("", *STRATEGIES[:2])),
        }  # fmt: skip
        if "currencies" in self._features:
            event["currency"] = self._pick(("USD", "EUR", "JPY"))
        return event

    def _dividend(self) -> Event:
        return {
            "type": "dividend", "dividend_id": self._id("d"), "symbol": self._pick(("ACME", "BOLT")),
            "amount_per_share": self._decimal(0, 2, 4),
        }  # fmt: skip

    def _split(self) -> Event:
        # Of factors whose quotients end both ways, so that quantities and prices after it are decimals: the prices of a
        # feed are doubles, and a new position after a split of 3:2 is marked to the rounded one.
        numerator, denominator = self._pick((("2", "1"), ("5", "1"), ("1", "2"), ("5", "4"), ("1", "10")))
        return {
            "type": "split", "split_id": self._id("x"), "symbol": self._pick(("ACME", "BOLT")), "numerator": numerator,
            "denominator": denominator,
        }  # fmt: skip

    def _settlement(self) -> Event:
        symbol = self._pick(("ESZ5", "CL", "PERP"))
        return {"type": "settlement", "settlement_id": self._id("e"), "symbol": symbol, "price": self._price(symbol)}

    def _correction(self) -> Event | None:
        fills = [each for each in self._fills[-400:] if each["trade_id"] not in self._corrected]
        if not fills:
            return None
        fill = self._pick(fills)
        self._corrected.add(fill["trade_id"])
        names = ("trade_id", "order_id", "symbol", "side", "venue")
        event = {name: fill[name] for name in names if fill.get(name)}
        if self._random.random() < 0.4:
            return {"type": "bust", **event}
        change = self._pick(
            ({"price": self._price(fill["symbol"])}, {"quantity": self._decimal(1, 9, 2)}, {"commission": "0.125"})
        )
        return {"type": "correct", **event, **change}

    # -- parts

    def _symbols(self) -> tuple[str, ...]:
        return (*ONE_WAY, *HEDGED, *(FOREIGN if "currencies" in self._features else ()), *self._listed)

    def _pick(self, choices: Any) -> Any:
        return self._random.choice(choices)

    def _id(self, prefix: str) -> str:
        return f"{prefix}{self._random.getrandbits(40):x}"

    def _decimal(self, low: int, high: int, digits: int) -> str:
        digits = self._random.randint(0, digits)
        scale = 10**digits
        found = self._random.randint(low * scale + 1, high * scale)
        return _text(Fraction(found, scale), digits)

    def _move(self, symbol: str) -> Fraction:
        moved = self._prices[symbol] * Fraction(self._random.randint(9_900, 10_100), 10_000)
        self._prices[symbol] = max(Fraction(round(moved * 4), 4), Fraction(1))
        return self._prices[symbol]

    def _price(self, symbol: str) -> str:
        off = Fraction(self._random.randint(-200, 200), 1_000)
        return _text(self._prices[symbol] + off, 3)

    def _stamped(self, event: Event) -> Event:
        self._number += 1
        # Often within the same second, sometimes a weekend later.
        gap = self._random.choice((1, 3 * S, 60 * S, 3_600 * S, 2 * YEAR_NS // max(self._n, 1)))
        self._now_ns += 1 + self._random.randrange(gap)
        event = {**event, "ts": self._now_ns}
        if event["type"] not in ("quote", "print", "order", "instrument", "rate", "position") or event.get("adopt"):
            self._keyed.append(event)
        if event["type"] == "fill":
            self._fills.append(event)
        return event


def _text(value: Fraction, digits: int) -> str:
    """Returns a fraction whose decimals end as text, rounded to that many."""
    scaled = round(value * 10**digits)
    sign, scaled = ("-" if scaled < 0 else ""), abs(scaled)
    whole, rest = divmod(scaled, 10**digits)
    return f"{sign}{whole}.{rest:0{digits}d}" if digits else f"{sign}{whole}"
