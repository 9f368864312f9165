"""A trading engine for the crash tests: the same orders and fills for the same number, in batches.

No server here (see `crash.py`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

SYMBOLS = ("AAPL", "AMZN", "BTCUSDT", "ES")
STRATEGIES = ("mean", "momentum", "")
VENUES = ("NASDAQ", "SIM")
START_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
STEP_NS = 7_000_000

Event = dict[str, Any]


class Engine:
    """Makes events one after the other; money has up to eight decimals, as on real venues."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._now_ns = START_NS
        self._orders = 0
        self._trades = 0

    def batches(self, count: int, orders_per_batch: int = 3) -> Iterator[list[Event]]:
        yield [self._stamped({"type": "equity", "value": "250000.50"})]
        for _ in range(count):
            yield [event for _ in range(orders_per_batch) for event in self._order()]

    def quotes(self) -> list[Event]:
        """The touch that everything is marked to in the end."""
        return [
            self._stamped({"type": "quote", "symbol": symbol, "bid": 99.75 + number, "ask": 100.5 + number})
            for number, symbol in enumerate(SYMBOLS)
        ]

    def _order(self) -> Iterator[Event]:
        rng = self._rng
        self._orders += 1
        quantity = rng.randrange(1, 5_000)
        order = {
            "type": "order",
            "order_id": f"o{self._orders}",
            "symbol": rng.choice(SYMBOLS),
            "side": rng.choice(("buy", "sell")),
            "quantity": f"{quantity / 100:.2f}",
            "strategy": rng.choice(STRATEGIES),
            "venue": rng.choice(VENUES),
            "arrival_price": self._price(),
        }
        yield self._stamped({**order, "status": "pending_new"})
        if rng.random() < 0.1:
            yield self._stamped({**order, "status": "rejected", "reason": "risk"})
            return
        yield self._stamped({**order, "status": "new"})
        left = quantity
        while left and rng.random() < 0.8:
            part = rng.randrange(1, left + 1)
            left -= part
            self._trades += 1
            yield self._stamped(
                {
                    "type": "fill",
                    "trade_id": f"t{self._trades}",
                    "order_id": order["order_id"],
                    "symbol": order["symbol"],
                    "side": order["side"],
                    "quantity": f"{part / 100:.2f}",
                    "price": self._price(),
                    "commission": f"{rng.randrange(0, 99_999_999) / 1e8:.8f}",
                    "strategy": order["strategy"],
                    "venue": order["venue"],
                }
            )
        yield self._stamped({**order, "status": "canceled" if left else "filled"})

    def _price(self) -> str:
        return f"{self._rng.randrange(9_000_000_000, 11_000_000_000) / 1e8:.8f}"

    def _stamped(self, event: Event) -> Event:
        self._now_ns += STEP_NS
        return {**event, "ts": self._now_ns}


def encode(batch: list[Event]) -> bytes:
    return json.dumps(batch).encode()


def trade_ids(batch: list[Event]) -> list[str]:
    return [event["trade_id"] for event in batch if event["type"] == "fill"]
