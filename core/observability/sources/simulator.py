"""A simulator of quotes and trades, for a first look without a recording. All of its events have the venue "SIM".

The touch of each symbol moves by ticks, spread and sizes vary, and a trade takes from the touch and is followed by the
remaining quote. Arrivals are a Poisson process; no further realism is claimed. The same seed gives the same events,
however time is divided into steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from observability.clocks.clock import Clock, HostClock
from observability.clocks.timestamps import NS_PER_S
from observability.errors import ConfigError
from observability.events import Event, Print, Quote, Side

SIMULATED_VENUE = "SIM"

_MAX_SPREAD_TICKS = 6
_LOT = 100


@dataclass(frozen=True, slots=True)
class SimulatedInstrument:
    """An invented symbol; prices are multiples of the tick, of which `tick_denominator` make one unit of money."""

    symbol: str
    price: int
    tick_denominator: int = 100


INSTRUMENTS = (
    SimulatedInstrument("ALFA.SIM", 25),
    SimulatedInstrument("BRAVO.SIM", 80),
    SimulatedInstrument("CHARLIE.SIM", 150),
    SimulatedInstrument("DELTA.SIM", 320),
    SimulatedInstrument("ECHO.SIM", 550),
)


class _Market:
    """The touch of one symbol, in ticks and lots."""

    __slots__ = ("ask_lots", "bid_lots", "bid_ticks", "denominator", "spread_ticks", "symbol", "trade_count")

    def __init__(self, instrument: SimulatedInstrument, generator: random.Random) -> None:
        self.symbol = instrument.symbol
        self.denominator = instrument.tick_denominator
        self.bid_ticks = instrument.price * instrument.tick_denominator
        self.spread_ticks = 1
        self.bid_lots = generator.randint(1, 20)
        self.ask_lots = generator.randint(1, 20)
        self.trade_count = 0


class Simulator:
    """Generates on average `quotes_per_second` quotes and `prints_per_second` trades, over all symbols together."""

    def __init__(
        self,
        *,
        publish: Callable[[Sequence[Event]], None],
        clock: Clock | None = None,
        seed: int = 1,
        instruments: Sequence[SimulatedInstrument] = INSTRUMENTS,
        quotes_per_second: float = 200.0,
        prints_per_second: float = 40.0,
        longest_step_seconds: float = 1.0,
    ) -> None:
        """After a pause of more than `longest_step_seconds` (a suspended host), or a step of the host's clock, the
        simulation continues at the clock's time."""
        faults = []
        if not instruments:
            faults.append("instruments: none given, expected at least one")
        if not 0 < quotes_per_second <= 100_000:
            faults.append(f"quotes_per_second: {quotes_per_second!r}, expected more than 0, at most 100000")
        if not 0 <= prints_per_second <= quotes_per_second:
            # Each trade changes the touch and is followed by a quote.
            faults.append(f"prints_per_second: {prints_per_second!r}, expected 0 to quotes_per_second")
        if faults:
            raise ConfigError(faults)
        self._publish = publish
        self._clock = HostClock() if clock is None else clock
        self._random = random.Random(seed)
        self._markets = [_Market(instrument, self._random) for instrument in instruments]
        self._print_share = prints_per_second / quotes_per_second
        self._arrivals_per_ns = quotes_per_second / NS_PER_S
        self._longest_step_ns = round(longest_step_seconds * NS_PER_S)
        self._started_ns: int | None = None
        self._stepped_ns = 0
        self._due_ns = 0

    def poll(self) -> None:
        """Publishes the events until the clock's time."""
        events = self.step(self._clock.time_ns())
        if events:
            self._publish(events)

    def step(self, now_ns: int) -> list[Event]:
        """Returns the events since the last step, one of now if that was too long ago; the first step quotes every
        symbol once."""
        events: list[Event] = []
        if self._started_ns is None:
            self._started_ns = self._stepped_ns = self._due_ns = now_ns
            events.extend(self._quote(market, now_ns) for market in self._markets)
            self._plan_next()
        elif abs(now_ns - self._stepped_ns) > self._longest_step_ns:
            self._due_ns = now_ns
        while self._due_ns <= now_ns:
            self._happen(events, self._due_ns)
            self._plan_next()
        self._stepped_ns = now_ns
        return events

    def _below(self, limit: int) -> int:
        """Returns one of the integers from 0 to before `limit`, at a quarter of the cost of `randrange`."""
        return int(self._random.random() * limit)

    def _plan_next(self) -> None:
        self._due_ns += 1 + int(self._random.expovariate(self._arrivals_per_ns))

    def _happen(self, events: list[Event], at_ns: int) -> None:
        market = self._markets[self._below(len(self._markets))]
        if self._random.random() < self._print_share:
            events.append(self._trade(market, at_ns))
        else:
            self._move(market)
        events.append(self._quote(market, at_ns))

    def _move(self, market: _Market) -> None:
        """Changes only the sizes, or also the bid and the spread."""
        generator = self._random
        if generator.random() < 0.5:
            market.bid_ticks = max(1, market.bid_ticks + (-1, 1)[self._below(2)])
            change = (-1, 0, 0, 1)[self._below(4)]
            market.spread_ticks = min(max(1, market.spread_ticks + change), _MAX_SPREAD_TICKS)
        market.bid_lots = 1 + self._below(20)
        market.ask_lots = 1 + self._below(20)

    def _trade(self, market: _Market, at_ns: int) -> Print:
        """Takes from one side of the touch; an exhausted side moves away by a tick."""
        generator = self._random
        side: Side = "buy" if generator.random() < 0.5 else "sell"
        market.trade_count += 1
        if side == "buy":
            price_ticks = market.bid_ticks + market.spread_ticks
            lots = 1 + self._below(market.ask_lots)
            market.ask_lots -= lots
            if not market.ask_lots:
                market.ask_lots = 1 + self._below(20)
                market.bid_ticks += market.spread_ticks >= _MAX_SPREAD_TICKS
                market.spread_ticks = min(market.spread_ticks + 1, _MAX_SPREAD_TICKS)
        else:
            price_ticks = market.bid_ticks
            lots = 1 + self._below(market.bid_lots)
            market.bid_lots -= lots
            if not market.bid_lots:
                market.bid_lots = 1 + self._below(20)
                if market.bid_ticks > 1:
                    market.bid_ticks -= 1
                    market.spread_ticks = min(market.spread_ticks + 1, _MAX_SPREAD_TICKS)
        # The start time makes the ids of two runs differ.
        trade_id = f"{self._started_ns or 0:x}-{market.trade_count}"
        return Print(
            market.symbol, price_ticks / market.denominator, float(lots * _LOT), side, trade_id, SIMULATED_VENUE,
            ts=at_ns, ts_init=at_ns,
        )  # fmt: skip

    def _quote(self, market: _Market, at_ns: int) -> Quote:
        return Quote(
            market.symbol,
            market.bid_ticks / market.denominator,
            (market.bid_ticks + market.spread_ticks) / market.denominator,
            float(market.bid_lots * _LOT),
            float(market.ask_lots * _LOT),
            SIMULATED_VENUE,
            ts=at_ns,
            ts_init=at_ns,
        )
