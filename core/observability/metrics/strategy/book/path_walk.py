"""The equity along its path once more, with the fills of one position as they are right.

    chunk --> state before it --> entry, entry, entry ... --> state before the next chunk ... --> the drawdowns of now
                                   ^ of the position: as the fold says

It makes the equity after each entry by the same arithmetic as the first time, so that what it ends with is what a run
without the fault would have.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from decimal import Decimal
from typing import Final

import msgspec

from observability.instruments.instrument import Terms
from observability.metrics.arithmetic.decimals import EXACT, ZERO
from observability.metrics.arithmetic.rates import Conversion
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.strategy.book.equity_path import (
    Booked,
    Capitals,
    Cash,
    Chunk,
    Divided,
    Entry,
    EquityPath,
    HeldState,
    Looked,
    Marked,
    Noted,
    Paid,
    PathState,
    Rated,
    Scaled,
    WalkedState,
    pack_entries,
    unpack_entries,
)
from observability.metrics.strategy.drawdown import Drawdown
from observability.metrics.strategy.position import AverageCostPosition
from observability.store.checkpoint import pack, unpack
from observability.store.schema import MAX_ROW_SEQ

ENTRIES_PER_STEP: Final = 100
"""Entries between two looks at the clock: about half a millisecond."""


class Step(msgspec.Struct):
    """What a fill or booking of the corrected position comes to without the fault."""

    seq: int
    ns: int
    quantity: Decimal
    """That of the position afterwards."""
    price: Decimal
    """That of its last fill."""
    lead: Cash
    """By how much the cash is ahead of that with the fault, from then on."""
    change: Cash
    """By how much it gets ahead here."""
    value: Decimal = ZERO
    """What the position is worth at that price, also after a split."""
    quantity_before: Decimal = ZERO
    """The quantity with the fault."""
    value_before: Decimal = ZERO
    is_gone: bool = False
    """Whether it is a fill that is busted."""
    is_split: bool = False


class Amendment:
    """The steps of one position from the corrected fill on, in order."""

    def __init__(self, account: str, place: str, symbol: str, terms: Terms) -> None:
        self.account = account
        self.place = place
        self.symbol = symbol
        self.terms = terms
        self.steps: list[Step] = []
        self.by_seq: dict[int, Step] = {}

    def add(self, step: Step) -> None:
        self.steps.append(step)
        self.by_seq[step.seq] = step

    def at(self, seq: int) -> Step | None:
        """Returns the newest step up to a moment; None before the first."""
        found = None
        for step in self.steps:
            if step.seq > seq:
                break
            found = step
        return found


class Walk:
    """A state of the path that moves on entry by entry."""

    def __init__(self, state: PathState, reporting: str) -> None:
        self.seq = state.seq
        self.marks = dict(state.marks)
        self.capitals = dict(state.capitals)
        self._conversions: dict[str, Conversion] = {}
        self._reporting = reporting
        for currency, (numerator, denominator) in state.factors.items():
            self._rate(currency, numerator, denominator)
        self.all = _Account("", {}, state.drawdown)
        self.accounts: dict[str, _Account] = {}
        self._holders: dict[str, dict[tuple[str, str], _Held]] = {}
        for each in state.accounts:
            account = self.accounts[each.name] = _Account(each.name, dict(each.cash), each.drawdown)
            for currency, amount in each.cash.items():
                self.all.add(currency, amount)
            for held in each.held:
                self._hold(account, _Held(held))

    def to_state(self) -> PathState:
        return PathState(
            self.seq,
            [account.to_state() for account in self.accounts.values()],
            self.all.drawdown,
            self.marks,
            {name: each.fraction for name, each in self._conversions.items()},
            self.capitals,
        )

    def amend(self, amendment: Amendment) -> None:
        """Makes the position what it is without the fault by now; its account's drawdown stays."""
        step = amendment.at(self.seq)
        if step is None:
            return
        account = self._account(amendment.account)
        self._book(account, amendment, step.quantity, step.price, step.lead)

    def apply(self, entry: Entry) -> None:
        """Moves on by one entry."""
        match entry:
            case Marked():
                self.marks[entry.symbol] = entry.price
                for held in self._holders.get(entry.symbol, {}).values():
                    held.scale = None
                    self._value(held)
                if not entry.is_joint:
                    for name in {name for name, _ in self._holders.get(entry.symbol, ())}:
                        self._look(self.accounts[name], entry.ns)
                    self._look(self.all, entry.ns)
            case Booked():
                self.seq = entry.seq
                account = self._account(entry.account)
                self._book(account, entry, entry.quantity, entry.price, entry.cash)
                for each in (account, self.all):
                    total = each.total(self._conversions, self._reporting)
                    if total is not None:
                        each.drawdown.observe(total, entry.ns)
            case Looked():
                for account in (*self.accounts.values(), self.all):
                    self._look(account, entry.ns)
            case Rated():
                self._rate(entry.currency, entry.numerator, entry.denominator)
            case Scaled():
                self.marks[entry.symbol] = entry.price
            case Divided():
                self.seq = entry.seq
                self._divide(entry)
            case Paid():
                self.seq = entry.seq
                account = self._account(entry.account) if entry.account else self.all
                total = account.total(self._conversions, self._reporting)
                if total is not None:
                    account.drawdown.add_flow(entry.value, total, entry.ns)
            case Capitals():
                self.capitals = dict(entry.capitals)
                for account in (self.all, *self.accounts.values()):
                    account.drawdown.set_capital(self.capitals.get(account.name))
            case Noted():
                self.seq = entry.seq

    # -- parts

    def _account(self, name: str) -> _Account:
        account = self.accounts.get(name)
        if account is None:
            drawdown = Drawdown()
            drawdown.set_capital(self.capitals.get(name))
            account = self.accounts[name] = _Account(name, {}, drawdown)
        return account

    def _book(
        self, account: _Account, of: Booked | Amendment, quantity: Decimal, price: Decimal | None, cash: Cash
    ) -> None:
        for currency, amount in cash.items():
            account.add(currency, amount)
            self.all.add(currency, amount)
        if not of.place or of.terms is None:
            return
        held = account.held.get(of.place)
        if held is None:
            held = _Held(HeldState(of.place, of.symbol, of.terms, ZERO, ZERO))
            self._hold(account, held)
        held.quantity = quantity
        if price is not None and (held.scale is None or of.symbol not in self.marks):
            held.price, held.scale = price, None
        self._value(held)
        if not quantity:
            del account.held[of.place]
            del self._holders[held.symbol][account.name, of.place]

    def _divide(self, entry: Divided) -> None:
        account = self.accounts.get(entry.account)
        held = None if account is None else account.held.get(entry.place)
        if held is not None:
            value = held.value
            held.quantity = entry.quantity
            if held.scale is None:
                held.price = self.marks.get(held.symbol, held.price)
            unscaled = held.unscaled(held.price)
            held.scale = Ratio(unscaled, value) if unscaled else None
            self._value(held)

    def _hold(self, account: _Account, held: _Held) -> None:
        held.account = account
        account.held[held.place] = held
        self._holders.setdefault(held.symbol, {})[account.name, held.place] = held
        self._value(held)

    def _value(self, held: _Held) -> None:
        if held.scale is not None:
            value = held.scale.of_price(held.unscaled(held.price))
        else:
            value = held.unscaled(self.marks.get(held.symbol, held.price))
        moved = EXACT.subtract(value, held.value)
        if moved:
            held.value = value
            currency = held.terms.currency
            held.account.add(currency, moved)
            self.all.add(currency, moved)

    def _look(self, account: _Account, ns: int) -> None:
        total = account.total(self._conversions, self._reporting)
        if total is not None:
            account.drawdown.look(total, ns)

    def _rate(self, currency: str, numerator: Decimal | None, denominator: Decimal) -> None:
        self._conversions.setdefault(currency, Conversion(currency)).put(numerator, denominator)


class _Held:
    """An open position."""

    __slots__ = ("account", "place", "position", "price", "quantity", "scale", "symbol", "terms", "value")

    def __init__(self, state: HeldState) -> None:
        self.place = state.place
        self.symbol = state.symbol
        self.terms = state.terms
        self.quantity = state.quantity
        self.price = state.price
        self.scale = None if state.scale is None else Ratio(*state.scale)
        self.value = ZERO
        self.account: _Account
        self.position = AverageCostPosition.under(state.terms)

    def unscaled(self, mark: Decimal) -> Decimal:
        return self.position.amount(self.quantity, mark)


class _Account:
    """Cash and values by currency."""

    __slots__ = ("drawdown", "held", "name", "sums")

    def __init__(self, name: str, cash: Cash, drawdown: Drawdown) -> None:
        self.name = name
        self.sums = cash
        """Cash and the values of positions together."""
        self.drawdown = drawdown
        self.held: dict[str, _Held] = {}

    def add(self, currency: str, amount: Decimal) -> None:
        self.sums[currency] = EXACT.add(self.sums.get(currency, ZERO), amount)

    def total(self, conversions: dict[str, Conversion], reporting: str) -> Decimal | None:
        total = self.sums.get(reporting, ZERO)
        for currency, amount in self.sums.items():
            if currency != reporting:
                converted = (conversions.get(currency) or Conversion(currency)).convert(amount)
                if converted is None:
                    return None
                total = EXACT.add(total, converted)
        return total

    def to_state(self) -> WalkedState:
        cash = dict(self.sums)
        for held in self.held.values():
            currency = held.terms.currency
            cash[currency] = EXACT.subtract(cash[currency], held.value)
        return WalkedState(
            self.name,
            cash,
            self.drawdown,
            [
                HeldState(
                    each.place, each.symbol, each.terms, each.quantity, each.price,
                    None if each.scale is None else (each.scale.numerator, each.scale.denominator),
                )
                for each in self.held.values()
            ],
        )  # fmt: skip


class PathRun:
    """Walks the path from the chunk of a corrected fill on. Nothing has changed until `install`."""

    def __init__(self, path: EquityPath, amendment: Amendment, seq: int, reporting: str) -> None:
        self._path = path
        self._amendment = amendment
        number = path.chunk_of(seq)
        self.is_reaching = number is not None
        """Whether the path has the fill."""
        oldest = path.chunks[0].number if path.chunks else path.number
        self._number = oldest if number is None else number
        self._chunks: list[Chunk] = []
        self._entries: list[Entry] = []
        self._position = 0
        self._amended: list[Entry] = []
        self._due: Step | None = None
        base = self._open()
        self.walk = Walk(unpack(base, PathState) if base else PathState(), reporting)
        self.walk.amend(amendment)
        self._base = pack(self.walk.to_state())
        self._base_seq = self.walk.seq

    def advance(self, limit_seq: int = MAX_ROW_SEQ) -> Iterator[None]:
        """Walks up to the newest entry, or the last one before a fill or booking above `limit_seq`; yields after each
        few entries."""
        while True:
            entries = self._entries
            while self._position < len(entries):
                entry = entries[self._position]
                if getattr(entry, "seq", 0) > limit_seq:
                    return
                self._position += 1
                self._take(entry)
                if self._position % ENTRIES_PER_STEP == 0:
                    yield
            if self._number == self._path.number:
                return
            self._end_chunk()
            yield

    def install(self) -> None:
        """Makes the path that of a run without the fault."""
        self._end_step()
        path = self._path
        path.replace(self._chunks)
        path.base, path.base_seq, path.entries = self._base, self._base_seq, self._amended

    # -- parts

    def _open(self) -> bytes:
        """Begins the chunk of the current number; returns the state before it."""
        self._position, self._amended = 0, []
        for chunk in self._path.chunks:
            if chunk.number == self._number:
                self._entries = unpack_entries(chunk.entries)
                return chunk.base
        self._number = self._path.number
        self._entries = self._path.entries
        return self._path.base

    def _end_chunk(self) -> None:
        self._end_step()
        self._chunks.append(Chunk(self._number, self._base_seq, self._base, pack_entries(self._amended)))
        self._base, self._base_seq = pack(self.walk.to_state()), self.walk.seq
        self._number += 1
        self._open()

    def _take(self, entry: Entry) -> None:
        """Walks on by one entry as it is without the fault. A booking may have changed the position only without it, or
        only with it; its note is in both."""
        if self._due is not None and getattr(entry, "seq", 0) != self._due.seq:
            self._end_step()
        amendment = self._amendment
        if isinstance(entry, Noted):
            self._due = amendment.by_seq.get(entry.seq)
        elif isinstance(entry, Booked | Divided) and entry.account == amendment.account:
            step = amendment.by_seq.get(entry.seq)
            if step is not None and entry.place in ("", amendment.place):
                # The path has the booking, also if nothing of it changes: added once more, a later correction would
                # change both.
                self._due = None
                if step.is_gone:
                    return
                if entry.place or step.change:
                    entry = _replaced(entry, step, amendment.place)
                    if self._is_nothing(entry):
                        return
        self._add(entry)

    def _is_nothing(self, entry: Booked | Divided) -> bool:
        """Returns whether a booking has nothing left to change: the position is not open without the fault."""
        account = self.walk.accounts.get(entry.account)
        is_open = account is not None and entry.place in account.held
        return not (is_open or entry.quantity or (isinstance(entry, Booked) and any(entry.cash.values())))

    def _end_step(self) -> None:
        """Adds what a booking changes that has not changed the position with the fault."""
        step, self._due = self._due, None
        if step is None:
            return
        amendment = self._amendment
        if step.is_split:
            self._add(Divided(step.ns, step.seq, amendment.account, amendment.place, step.quantity))
            return
        account = self.walk.accounts.get(amendment.account)
        # Only a fill marks a position that is open already.
        price = None if account is not None and amendment.place in account.held else step.price
        self._add(
            Booked(
                step.ns, step.seq, amendment.account, amendment.place, amendment.symbol, amendment.terms,
                step.quantity, price, step.change,
            )
        )  # fmt: skip

    def _add(self, entry: Entry) -> None:
        self.walk.apply(entry)
        self._amended.append(entry)


def _replaced(entry: Booked | Divided, step: Step, place: str) -> Booked | Divided:
    """Returns what an entry is without the fault."""
    changed = copy(entry)
    if isinstance(changed, Booked):
        changed.cash = dict(changed.cash)
        for currency, amount in step.change.items():
            changed.cash[currency] = EXACT.add(changed.cash.get(currency, ZERO), amount)
    if changed.place == place:
        changed.quantity = step.quantity
        if isinstance(changed, Booked) and changed.price is not None:
            changed.price = step.price
    return changed
