"""An independent implementation of the book, to compare the server with: plain fractions, and nothing of the product.

It reads events as a sender writes them, in the order in which they count, and knows every rule of docs/accounting.md
that a sum depends on. It is slow and simple: a correction computes everything again from the first event on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Event = dict[str, Any]
Place = tuple[str, str, str]
"""Strategy, symbol and position side."""

EXTERNAL = ("deposit", "withdrawal", "transfer")
PAID_KINDS = ("equity", "spot", "option", "fx", "")
TIMES = ("ts",)


def number(value: Any) -> Fraction:
    """Returns the number that a decimal text or a JSON number says, digit by digit."""
    return Fraction(str(value))


@dataclass
class Contract:
    """What a symbol stands for."""

    currency: str
    multiplier: Fraction = Fraction(1)
    is_inverse: bool = False
    base: str = ""
    is_paid: bool = True

    def amount(self, quantity: Fraction, price: Fraction) -> Fraction:
        if self.is_inverse:
            return -quantity * self.multiplier / price
        return quantity * price * self.multiplier


@dataclass
class Held:
    """One position at average cost."""

    contract: Contract
    quantity: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)
    carried: Fraction = Fraction(0)
    """The opening fees of what is open."""
    gross: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)
    last_fill: Fraction = Fraction(0)
    outcome: Fraction | None = None
    """What the round trip has realised so far; None if it has closed nothing."""
    adopted: Fraction = Fraction(0)

    @property
    def average(self) -> Fraction | None:
        if not self.quantity:
            return None
        if self.contract.is_inverse:
            return -self.quantity * self.contract.multiplier / self.cost
        return self.cost / (self.quantity * self.contract.multiplier)


@dataclass
class Sums:
    """The money of one strategy in one currency."""

    gross: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)
    income: Fraction = Fraction(0)
    flows: Fraction = Fraction(0)
    unrealized: Fraction = Fraction(0)
    value: Fraction = Fraction(0)
    """The value of positions that were paid for, at their marks."""
    exposure: Fraction = Fraction(0)
    """The absolute values of all positions."""

    @property
    def realized(self) -> Fraction:
        return self.gross - self.fees + self.income

    @property
    def total(self) -> Fraction:
        return self.realized + self.unrealized

    @property
    def equity(self) -> Fraction:
        return self.total + self.flows

    def plus(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


@dataclass
class Market:
    """The prices of one symbol. What comes later is newer."""

    bid: Fraction | None = None
    ask: Fraction | None = None
    last: Fraction | None = None
    quoted_ns: int = -1
    printed_ns: int = -1

    def price(self, now_ns: int, stale_ns: int) -> Fraction | None:
        """Returns the mid of a quote that is fresh or newer than any print, else the last price, else the mid."""
        is_current = now_ns - self.quoted_ns <= stale_ns or self.quoted_ns >= self.printed_ns
        if self.bid is not None and self.ask is not None and (is_current or self.last is None):
            return (self.bid + self.ask) / 2
        return self.last


@dataclass
class Trade:
    """One fill as it counts: what it realised, and how its round trip ended with it."""

    event: Event
    place: Place
    gross: Fraction | None = None
    pnl: Fraction | None = None
    is_busted: bool = False


@dataclass
class State:
    """Everything that the events add up to."""

    held: dict[Place, Held] = field(default_factory=dict)
    sums: dict[tuple[str, str], Sums] = field(default_factory=dict)
    """By strategy and currency; flows of the account as a whole are under the empty name."""
    markets: dict[str, Market] = field(default_factory=dict)
    rates: dict[tuple[str, str], tuple[Fraction, int]] = field(default_factory=dict)
    contracts: dict[str, Contract] = field(default_factory=dict)
    outcomes: dict[str, list[Fraction]] = field(default_factory=dict)
    """The outcomes of complete round trips, by strategy."""
    order_strategies: dict[tuple[str, str], str] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    now_ns: int = 0
    is_beyond: bool = False
    """Whether a side of a hedged position has gone through zero."""


class Book:
    """The book of everything that was taken. `take` says what becomes of an event."""

    def __init__(
        self, reporting: str = "USD", multipliers: dict[str, str] | None = None, stale_ns: int = 5_000_000_000
    ) -> None:
        self.reporting = reporting
        self._multipliers = multipliers or {}
        self._stale_ns = stale_ns
        self._log: list[Event] = []
        """What counts, in order; fills as they are corrected, without those that are busted."""
        self._fills: dict[tuple[str, ...], list[Event]] = {}
        """By key: the fill as it was delivered first, and its corrections."""
        self._corrections: list[Event] = []
        self._blocked: list[tuple[tuple[str, ...], Event]] = []
        """Corrections that would take a side through zero, until another one makes room for them."""
        self._bookings: dict[tuple[str, ...], Any] = {}
        self.state = State()

    # -- what comes in

    def take(self, event: Event) -> str:
        """Takes one event; returns `accepted`, `duplicate`, `conflict` or `refused`."""
        kind = event["type"]
        if kind == "fill":
            return self._take_fill(event)
        if kind in ("bust", "correct"):
            return self._take_correction(event)
        if kind == "position" and not event.get("adopt"):
            return "accepted"
        key = booking_key(event)
        if key is not None:
            content = {name: content_of(value) for name, value in event.items() if name not in TIMES}
            known = self._bookings.get(key)
            if known is not None:
                return "duplicate" if known == content else "conflict"
            if kind == "position" and self._place(event) in self.state.held:
                return "refused"
            self._bookings[key] = content
        if kind == "funding" and not event.get("strategy"):
            # A payment is made to whom it is found to belong when it comes: no later correction moves it.
            holders = {place[0] for place, _ in self._holding(self.state, event["symbol"])}
            event = {**event, "strategy": holders.pop() if len(holders) == 1 else "default"}
        self._log.append(event)
        self._apply(self.state, event)
        return "accepted"

    def _take_fill(self, event: Event) -> str:
        key = fill_key(event)
        known = self._fills.get(key)
        if known is not None:
            return "duplicate" if is_same_fill(known[0], event) else "conflict"
        place = self._place(event)
        if is_reducing(event):
            held = self.state.held.get(place)
            if number(event["quantity"]) > abs(held.quantity if held else Fraction(0)):
                return "refused"
        counted = {**event, "strategy": place[0]}
        waiting = [each for each in self._corrections if names_fill(each, key)]
        self._fills[key] = [event]
        self._log.append(counted)
        self._apply(self.state, counted)
        for each in waiting:
            self._correct(key, each)
        return "accepted"

    def _take_correction(self, event: Event) -> str:
        if event in self._corrections:
            return "duplicate"
        self._corrections.append(event)
        matching = [key for key in self._fills if names_fill(event, key)]
        assert len(matching) <= 1, "the random year names its fills well enough"
        for key in matching:
            self._correct(key, event)
        # Of a fill that has not come, it waits.
        return "accepted"

    def _correct(self, key: tuple[str, ...], event: Event) -> None:
        """Applies a correction, and then those that have waited for one like it."""
        due = [(key, event)]
        while due:
            key, event = due.pop(0)
            self._fills[key].append(event)
            if self._compute_again(key):
                again = [each for each in self._blocked if each[0][1] == key[1]]
                self._blocked = [each for each in self._blocked if each[0][1] != key[1]]
                due += again
            else:
                self._fills[key].remove(event)
                self._compute_again(key)
                self._blocked.append((key, event))

    def _compute_again(self, key: tuple[str, ...]) -> bool:
        """Adds up everything again; returns False if a side of a position would go through zero."""
        first, *changes = self._fills[key]
        number_of = next(i for i, each in enumerate(self._log) if each["type"] == "fill" and fill_key(each) == key)
        counted = {**self._log[number_of]}
        counted.update({name: first[name] for name in ("quantity", "price")}, commission=first.get("commission", "0"))
        counted["busted"] = any(change["type"] == "bust" for change in changes)
        for change in sorted(changes, key=lambda each: each["ts"]):
            counted.update({name: change[name] for name in ("quantity", "price", "commission") if name in change})
        self._log[number_of] = counted
        state = State()
        for event in self._log:
            self._apply(state, event)
        self.state = state
        return not state.is_beyond

    # -- what it changes

    def _apply(self, state: State, event: Event) -> None:
        state.now_ns = max(state.now_ns, event.get("ts", 0))
        getattr(self, f"_apply_{event['type']}")(state, event)

    def _apply_order(self, state: State, event: Event) -> None:
        if event.get("strategy"):
            state.order_strategies.setdefault((event["symbol"], event["order_id"]), event["strategy"])

    def _apply_quote(self, state: State, event: Event) -> None:
        market = state.markets.setdefault(event["symbol"], Market())
        market.bid = None if event["bid"] is None else number(event["bid"])
        market.ask = None if event["ask"] is None else number(event["ask"])
        market.quoted_ns = event["ts"]

    def _apply_print(self, state: State, event: Event) -> None:
        market = state.markets.setdefault(event["symbol"], Market())
        market.last, market.printed_ns = number(event["price"]), event["ts"]

    def _apply_instrument(self, state: State, event: Event) -> None:
        kind, contract = event["kind"], event.get("contract", "linear")
        base, quote = event.get("base_currency", ""), event["quote_currency"]
        currency = event.get("settlement_currency") or (base if contract == "inverse" else quote)
        multiplier = number(event.get("multiplier", 1))
        is_amount = kind in ("spot", "fx") and contract == "linear" and multiplier == 1
        state.contracts[event["symbol"]] = Contract(
            currency, multiplier, contract == "inverse", base if is_amount else "",
            kind in PAID_KINDS and contract == "linear",
        )  # fmt: skip

    def _apply_rate(self, state: State, event: Event) -> None:
        state.rates[event["base"], event["quote"]] = number(event["rate"]), event["ts"]

    def _apply_fill(self, state: State, event: Event) -> None:
        if event["strategy"] != "default" and event.get("order_id"):
            state.order_strategies.setdefault((event["symbol"], event["order_id"]), event["strategy"])
        place = self._place(event)
        trade = Trade(event, place, is_busted=event.get("busted", False))
        state.trades.append(trade)
        if trade.is_busted:
            return
        held = state.held.setdefault(place, Held(self._contract(state, place[1])))
        signed = number(event["quantity"]) * (1 if event["side"] == "buy" else -1)
        price, fee = number(event["price"]), number(event.get("commission", "0"))
        currency, asset = held.contract.currency, event.get("commission_asset") or held.contract.currency
        if asset != currency and asset == held.contract.base:
            signed, fee, asset = signed - fee, fee * price, currency
        own = fee if asset == currency else self._valued(state, fee, asset, currency)
        gross, trade.pnl = self._trade(state, place, held, signed, price, own)
        held.last_fill = price
        side = place[2]
        state.is_beyond |= bool(side) and held.quantity * (1 if side == "long" else -1) < 0
        held.fees += own
        self._sums(state, place[0], currency).gross += gross or 0
        trade.gross = gross
        self._sums(state, place[0], asset).fees += fee

    def _trade(
        self, state: State, place: Place, held: Held, signed: Fraction, price: Fraction, fee: Fraction
    ) -> tuple[Fraction | None, Fraction | None]:
        """Adds a quantity at a price; returns what it realised before fees, and net of the fees of what it closed."""
        contract = held.contract
        if not held.quantity or (held.quantity > 0) == (signed > 0):
            held.quantity += signed
            held.cost += contract.amount(signed, price)
            held.carried += fee
            return None, None
        closed = -held.quantity if abs(signed) > abs(held.quantity) else signed
        left = (held.quantity + closed) / held.quantity
        closing_fee = fee * closed / signed
        gross = -contract.amount(closed, price) - held.cost * (1 - left)
        pnl = gross - closing_fee - held.carried * (1 - left)
        held.gross += gross
        held.cost *= left
        held.carried *= left
        held.quantity += closed
        held.outcome = (held.outcome or 0) + pnl
        if not held.quantity:
            state.outcomes.setdefault(place[0], []).append(held.outcome)
            held.outcome = None
        if signed != closed:
            self._trade(state, place, held, signed - closed, price, fee - closing_fee)
        return gross, pnl

    def _apply_position(self, state: State, event: Event) -> None:
        place = self._place(event)
        held = state.held[place] = Held(self._contract(state, place[1]))
        quantity, price = number(event["quantity"]), number(event["avg_price"])
        held.quantity = -abs(quantity) if place[2] == "short" else quantity
        held.cost = held.adopted = held.contract.amount(held.quantity, price)
        held.last_fill = price
        if held.contract.is_paid:
            self._sums(state, place[0], held.contract.currency).flows += held.cost

    def _apply_cash(self, state: State, event: Event) -> None:
        amount = number(event["amount"])
        if event["reason"] == "withdrawal":
            amount = -abs(amount)
        currency = event.get("currency") or self.reporting
        if event["reason"] in EXTERNAL:
            self._sums(state, event.get("strategy", ""), currency).flows += amount
        else:
            self._sums(state, event.get("strategy") or "default", currency).income += amount

    def _apply_funding(self, state: State, event: Event) -> None:
        currency = event.get("currency") or self._contract(state, event["symbol"]).currency
        self._sums(state, event["strategy"], currency).income += number(event["amount"])

    def _apply_dividend(self, state: State, event: Event) -> None:
        for place, held in self._holding(state, event["symbol"]):
            if event.get("strategy", "") in ("", place[0]):
                amount = held.quantity * number(event["amount_per_share"])
                currency = event.get("currency") or held.contract.currency
                self._sums(state, place[0], currency).income += amount

    def _apply_split(self, state: State, event: Event) -> None:
        factor = number(event["numerator"]) / number(event.get("denominator", 1))
        for place, held in state.held.items():
            if place[1] == event["symbol"]:
                held.quantity *= factor
                held.last_fill /= factor
        market = state.markets.get(event["symbol"])
        if market is not None:
            market.bid, market.ask, market.last = (
                None if price is None else price / factor for price in (market.bid, market.ask, market.last)
            )

    def _apply_settlement(self, state: State, event: Event) -> None:
        for place, held in self._holding(state, event["symbol"]):
            price = number(event["price"])
            gross, _ = self._trade(state, place, held, -held.quantity, price, Fraction(0))
            self._sums(state, place[0], held.contract.currency).gross += gross or 0

    # -- what is asked for

    def mark(self, place: Place) -> Fraction:
        held, market = self.state.held[place], self.state.markets.get(place[1])
        price = None if market is None else market.price(self.state.now_ns, self._stale_ns)
        return held.last_fill if price is None else price

    def unrealized(self, place: Place) -> Fraction:
        held = self.state.held[place]
        return held.contract.amount(held.quantity, self.mark(place)) - held.cost if held.quantity else Fraction(0)

    def strategies(self) -> list[str]:
        return sorted(
            {strategy for strategy, _ in self.state.sums if strategy} | {place[0] for place in self.state.held}
        )

    def money(self, strategy: str | None = None) -> dict[str, Sums]:
        """Returns the sums of a strategy, or of all, by currency."""
        found: dict[str, Sums] = {}
        for (name, currency), sums in self.state.sums.items():
            if strategy in (None, name):
                found[currency] = found.get(currency, Sums()).plus(sums)
        for place, held in self.state.held.items():
            if strategy in (None, place[0]) and held.quantity:
                contract = held.contract
                value = contract.amount(held.quantity, self.mark(place))
                # A long position in an inverse contract is worth less than nothing in its own currency.
                exposure = -value if contract.is_inverse else value
                part = Sums(unrealized=self.unrealized(place), exposure=abs(exposure))
                part.value = exposure if contract.is_paid else part.unrealized
                found[contract.currency] = found.get(contract.currency, Sums()).plus(part)
        return found

    def converted(self, amounts: Iterable[tuple[str, Fraction]]) -> Fraction | None:
        """Returns the sum of amounts in the reporting currency; None if a rate that it needs is missing."""
        total = Fraction(0)
        for currency, amount in amounts:
            rate = self._rate(self.state, currency, self.reporting)
            if rate is None and amount:
                return None
            total += amount * (rate or 0)
        return total

    def total(self, name: str, strategy: str | None = None) -> Fraction | None:
        """Returns one of the sums of a strategy, or of all, in the reporting currency."""
        return self.converted((currency, getattr(sums, name)) for currency, sums in self.money(strategy).items())

    def trades(self) -> Iterator[Trade]:
        return iter(self.state.trades)

    def outcomes(self, strategy: str) -> list[Fraction]:
        """Returns the outcomes of all round trips that have closed anything."""
        open_ones = [
            held.outcome for place, held in self.state.held.items() if place[0] == strategy and held.outcome is not None
        ]
        return [*self.state.outcomes.get(strategy, []), *open_ones]

    # -- parts

    def _place(self, event: Event) -> Place:
        strategy = event.get("strategy") or ""
        if not strategy and event.get("order_id"):
            strategy = self.state.order_strategies.get((event["symbol"], event["order_id"]), "")
        return strategy or "default", event["symbol"], side_of(event)

    def _contract(self, state: State, symbol: str) -> Contract:
        known = state.contracts.get(symbol)
        return known or Contract(self.reporting, number(self._multipliers.get(symbol, 1)))

    def _sums(self, state: State, strategy: str, currency: str) -> Sums:
        return state.sums.setdefault((strategy, currency), Sums())

    def _holding(self, state: State, symbol: str) -> list[tuple[Place, Held]]:
        return [(place, held) for place, held in state.held.items() if place[1] == symbol and held.quantity]

    def _valued(self, state: State, amount: Fraction, currency: str, into: str) -> Fraction:
        rate = self._rate(state, currency, into)
        return amount * (rate or 0)

    def _rate(self, state: State, base: str, quote: str) -> Fraction | None:
        """Returns the newest rate of a pair: direct, inverse, or over one other currency."""
        if base == quote:
            return Fraction(1)
        found = self._leg(state, base, quote)
        if found is not None:
            return found
        names = {name for pair in state.rates for name in pair}
        for name in ("USD", "USDT", "USDC", "EUR", "BTC", "ETH", *sorted(names)):
            if name in names - {base, quote}:
                first, second = self._leg(state, base, name), self._leg(state, name, quote)
                if first is not None and second is not None:
                    return first * second
        return None

    def _leg(self, state: State, base: str, quote: str) -> Fraction | None:
        direct, inverse = state.rates.get((base, quote)), state.rates.get((quote, base))
        if direct is not None and (inverse is None or direct[1] >= inverse[1]):
            return direct[0]
        return None if inverse is None else 1 / inverse[0]


def fill_key(event: Event) -> tuple[str, ...]:
    return tuple(str(event.get(name) or "") for name in ("venue", "symbol", "trade_id", "side", "order_id"))


def is_same_fill(one: Event, other: Event) -> bool:
    terms = [[number(each.get(name, "0")) for name in ("quantity", "price", "commission")] for each in (one, other)]
    return terms[0] == terms[1]


def names_fill(event: Event, key: tuple[str, ...]) -> bool:
    named = fill_key(event)
    return all(wanted in ("", known) for wanted, known in zip(named, key, strict=True)) and named[2] == key[2]


def side_of(event: Event) -> str:
    """Returns the side that an event keeps apart: `long` or `short`; empty for the position that has both."""
    side = str(event.get("position_side") or "").lower()
    return "" if side == "both" else side


def is_reducing(event: Event) -> bool:
    return side_of(event) == ("long" if event["side"] == "sell" else "short")


def booking_key(event: Event) -> tuple[str, ...] | None:
    """Returns what identifies a booking; None for an event that is none."""
    kind = event["type"]
    if kind == "position":
        return kind, event.get("strategy") or "default", event["symbol"], side_of(event)
    if kind in ("cash", "funding", "dividend", "split", "settlement"):
        return kind, event.get("venue", ""), event.get("symbol", ""), event[f"{kind}_id"]
    return None


def content_of(value: Any) -> Any:
    try:
        return number(value)
    except (ValueError, TypeError):
        return value
