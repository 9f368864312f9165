"""Busts and corrections of our fills, applied at any time after the fill.

    booking --> which fill? --> none yet: it waits --> the fill comes --+
                            --> fold its position anew <----------------+    memory, else the store
                                --> accounts, execution, trade, rows, effect of the booking

Corrections are applied one after the other, in the order of their arrival. What takes more than a moment is done in
slices of the event loop; meanwhile the correction is pending. A checkpoint has all that are not applied.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Container, Mapping
from copy import copy
from decimal import Decimal
from typing import Any, Final

import msgspec

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_DAY, format_iso_ns
from observability.encoding import encode_json
from observability.errors import EventRefused, StoreError
from observability.events import Bust, Correct, Position, Settlement, Split
from observability.metrics.arithmetic.decimals import EXACT, ZERO
from observability.metrics.assembly import Collectors
from observability.metrics.durability.turns import AtOnce, InSlices, Turns, at_once
from observability.metrics.strategy.book.bookkeeper import is_first
from observability.metrics.strategy.book.fold import BOOKED, REALISED, Correction, Refold
from observability.metrics.strategy.book.path_walk import PathRun
from observability.metrics.strategy.position import AverageCostPosition
from observability.metrics.trades.booking import Booking
from observability.metrics.trades.correction import Change, Corrected, FillReference
from observability.metrics.trades.position_rows import flat_before, strategy_page, symbol_bookings, symbol_page
from observability.metrics.trades.position_side import held_side
from observability.metrics.trades.queries import find_trades
from observability.metrics.trades.rows import counted_columns
from observability.metrics.trades.stats import Outcomes
from observability.metrics.trades.trade import DEFAULT_STRATEGY, Trade
from observability.store import schema
from observability.store.checkpoint import pack, unpack
from observability.store.schema import MAX_ROW_SEQ
from observability.store.store import Store

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 1_000
"""Corrections that wait for their fill. Beyond them, the oldest is given up, visibly."""
# Fills that are folded at once: about two milliseconds.
SMALL_FOLD: Final = 100
# Entries of the path of the equity that are walked at once: about five milliseconds.
SMALL_PATH: Final = 1_000
# Fills between two looks at the clock.
FILLS_PER_STEP: Final = 20
DURABLE_SECONDS: Final = 5.0

NO_LONGER_KEPT: Final = (
    "earlier fills of the position are no longer kept: it was booked as an opposite fill, so the totals are right, and "
    "round trips and average price are as if it had been traded back"
)
CHANGED_SINCE: Final = "earlier fills of the position are no longer kept, and it was split or settled since"
OTHER_TERMS: Final = "fills of the position since it was flat have counted under other terms of the instrument"
BEYOND_ZERO: Final = (
    "later fills close more of this side of the position than it would then have held: correct or bust them first"
)
ORDER_NO_LONGER_KEPT: Final = (
    "its order, or what was measured of it, is no longer in memory: execution quality keeps it"
)
IN_PROGRESS: Final = "in progress"
BUSTED: Final = "the fill is busted, which is final"
UNKNOWN: Final = "no fill of that id, symbol, order, side and venue has arrived"
AMBIGUOUS: Final = "several fills of that id and symbol are known: name the order, the side and the venue"
IS_A_FILL: Final = "the fill that replaces it counts as a fill of its own"


class CorrectorState(msgspec.Struct):
    """What waits or is in progress, in a checkpoint: the bookings as they are stored."""

    waiting: list[Booking] = []
    applied: int = 0
    given_up: int = 0


class Corrector:
    """Applies the corrections of one hub. Call `take` after the row of a booking has been queued."""

    name = "corrections"

    def __init__(self, collectors: Collectors, store: Store | None, clock: Clock) -> None:
        self.waiting: dict[int, Booking] = {}
        """The corrections that are not applied, by number: of fills that are not known, and those in progress."""
        self.applied = 0
        self.given_up = 0
        """Corrections that waited for their fill until too many others did."""
        self.horizon_seq = MAX_ROW_SEQ
        """The newest record that has been published; a restart publishes the rows again one by one."""
        self._collectors = collectors
        self._trades = collectors.execution.trades
        self._store = store
        self._clock = clock
        self._lock: asyncio.Lock | None = None
        self._queue: deque[tuple[Booking, list[Trade]]] = deque()
        self._task: asyncio.Task[None] | None = None
        collectors.strategy.instruments.add_terms_listener(self._on_terms)

    def start(self, slices: asyncio.Lock | None = None) -> None:
        """Lets long work be done in slices from now on; `slices` is shared by everything that works in slices."""
        self._lock = asyncio.Lock() if slices is None else slices
        self.horizon_seq = MAX_ROW_SEQ
        self._run()

    async def stop(self) -> None:
        """Ends what is in progress; the next start continues it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def save(self) -> bytes:
        return pack(CorrectorState(list(self.waiting.values()), self.applied, self.given_up))

    def load(self, data: bytes) -> None:
        state = unpack(data, CorrectorState)
        self.applied, self.given_up = state.applied, state.given_up
        self.waiting = {booking.seq: booking for booking in state.waiting}
        self._collectors.strategy.note_corrections(self.applied, len(self.waiting))

    def resume(self) -> None:
        """Takes up what an earlier process had not applied, once its trades are restored."""
        for booking in list(self.waiting.values()):
            self.take(booking)

    def restore_path(self, connection: sqlite3.Connection, seq: int) -> None:
        """Restores the path of the equity, as of the checkpoint of record `seq`."""
        rows = connection.execute(schema.SELECT_PATH).fetchall()
        self._collectors.strategy.restore_path((state for (state,) in rows), seq)

    def as_counted(self, trade: Trade) -> Trade:
        """Takes off a trade of the store what corrections have made of it that are not applied yet."""
        if trade.corrected is not None:
            is_of_terms = trade.notional == self._amount(trade)
            trade.correct(trade.corrected.only(self._is_applied))
            if is_of_terms:
                trade.notional = self._amount(trade)
        return trade

    def _amount(self, trade: Trade) -> Decimal:
        """Returns the amount of a trade under the terms that its symbol has now."""
        terms = self._collectors.strategy.instruments.terms(trade.symbol)
        return AverageCostPosition.under(terms).amount(trade.quantity, trade.price).copy_abs()

    def take(self, booking: Booking) -> None:
        """Applies the correction of a fill, or lets it wait."""
        event = booking.event
        if not isinstance(event, Bust | Correct) or not (event.order_id or event.side):
            return
        try:
            trades = self._find(_reference(booking))
        except StoreError as error:
            self._wait(booking, str(error))
            return
        if not trades:
            self._wait(booking, UNKNOWN)
        elif _are_several(trades) or (len(trades) > 1 and isinstance(event, Correct) and event.quantity is not None):
            self._wait(booking, AMBIGUOUS)
        else:
            self._begin(booking, trades)

    def _on_terms(self, symbol: str) -> None:
        """Takes up what had to wait for other terms of the instrument."""
        self._take_waiting(symbol, OTHER_TERMS)

    def _take_waiting(self, symbol: str, reason: str) -> None:
        for booking in list(self.waiting.values()):
            if booking.symbol == symbol and booking.effect.get("reason") == reason:
                self.take(booking)

    def take_arrived(self) -> None:
        """Applies the corrections that have waited for fills that have come."""
        arrived = self._trades.take_awaited()
        for trade in arrived:
            for booking in list(self.waiting.values()):
                reference = _reference(booking)
                if reference.trade_id == trade.trade_id and reference.matches(trade):
                    self.take(booking)

    # -- which fill

    def _find(self, reference: FillReference) -> list[Trade]:
        """Returns the fill, in two trades if it is one through zero that came in two parts; all that may be meant if
        that is not certain."""
        found = self._trades.candidates(reference)
        if not found and self._trades.is_partial and self._store is not None:
            stored = self._store.reader.run_now(find_trades, reference.trade_id)
            # A restart has yet to publish the later ones.
            found = [
                self.as_counted(each) for each in stored if each.seq <= self.horizon_seq and reference.matches(each)
            ]
        newest_day = max((each.day for each in found), default=0)
        return [each for each in found if each.day == newest_day]

    def _wait(self, booking: Booking, reason: str) -> None:
        booking.effect = {"status": "pending", "reason": reason}
        self.waiting[booking.seq] = booking
        self._trades.await_fill(_reference(booking).trade_id)
        if len(self.waiting) > MAX_WAITING:
            seq = next(iter(self.waiting))
            dropped = self.waiting.pop(seq)
            self.given_up += 1
            dropped.effect = {"status": "given_up", "reason": f"{MAX_WAITING} others wait"}
            self._write_effect(dropped)
            logger.error(
                "correction %d of fill %r of %s is given up: its fill has not come, and %d others wait",
                seq, _reference(dropped).trade_id, dropped.symbol, MAX_WAITING,
            )  # fmt: skip
        self._write_effect(booking)

    # -- one after the other

    def _begin(self, booking: Booking, trades: list[Trade]) -> None:
        self.waiting[booking.seq] = booking
        booking.effect = {"status": "pending", "reason": IN_PROGRESS}
        self._queue.append((booking, trades))
        if self._lock is None or (self._task is None and self._is_small(trades)):
            self._run_at_once()
        else:
            self._run()

    def _is_small(self, trades: list[Trade]) -> bool:
        """Returns whether trades are corrected in a moment."""
        path = self._collectors.strategy.path
        number = path.chunk_of(min(each.seq for each in trades))
        return (
            len(self._trades) <= SMALL_FOLD
            and (number is not None or not path.chunks)
            and path.entries_since(path.number if number is None else number) <= SMALL_PATH
        )

    def _run_at_once(self) -> None:
        turns = AtOnce(None if self._store is None else self._store.reader)
        while self._queue:
            try:
                at_once(self._apply(*self._queue[0], turns))
            except (EventRefused, StoreError) as error:
                self._wait(self._queue[0][0], str(error))
            self._end(self._queue.popleft()[0])

    def _end(self, booking: Booking) -> None:
        """Takes up what may be possible now that a correction is applied."""
        if booking.seq not in self.waiting:
            self._take_waiting(booking.symbol, BEYOND_ZERO)

    def _run(self) -> None:
        if self._task is None and self._queue:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="corrections")

    async def _work(self) -> None:
        assert self._lock is not None, "started"
        reader = None if self._store is None else self._store.reader
        try:
            while self._queue:
                try:
                    async with InSlices(reader, self._lock) as turns:
                        await self._apply(*self._queue[0], turns)
                except (EventRefused, StoreError) as error:
                    self._wait(self._queue[0][0], str(error))
                except Exception:
                    booking, _ = self._queue[0]
                    logger.exception("correction %d of %s cannot be applied", booking.seq, booking.symbol)
                    self._wait(booking, "it cannot be applied; the log has the reason")
                self._end(self._queue.popleft()[0])
        finally:
            self._task = None

    async def _apply(self, booking: Booking, trades: list[Trade], turns: Turns) -> None:
        """Applies one correction to its fill."""
        shown = [await self._correct(booking, trade, turns) for trade in trades]
        self.waiting.pop(booking.seq, None)
        self.applied += 1
        booking.effect = shown[0] if len(shown) == 1 else {"status": shown[0]["status"], "legs": shown}
        since_ns = [_came_ns(trade) for trade, leg in zip(trades, shown, strict=True) if leg["before"] != leg["after"]]
        if since_ns:
            booking.effect["shown_since"] = format_iso_ns(min(since_ns))
            booking.effect["shown_until"] = format_iso_ns(self._now_ns(booking))
        self._write_effect(booking)

    def _now_ns(self, booking: Booking) -> int:
        """Returns when a correction that is being applied takes effect. A restart applies those after the checkpoint
        again: then it is the time of the newest record that it has published."""
        if self._lock is not None:
            return self._clock.time_ns()
        newest = self._trades.newer_than(self._trades.newest_seq - 1)
        return max([booking.event.ts_init, *map(_came_ns, newest)])

    async def _correct(self, booking: Booking, trade: Trade, turns: Turns) -> dict[str, Any]:
        """Makes one trade count as its corrections say; returns what that has changed."""
        corrected, reason = self._corrected(booking, trade)
        before, after = trade.counted, corrected.counted
        effect: dict[str, Any] = {
            "status": "applied",
            "trade": trade.seq,
            "strategy": trade.strategy,
            "before": None if before is None else before.to_json(),
            "after": None if after is None else after.to_json(),
            "reason": reason,
        }
        if before != after:
            refold, run = await self._refold(trade, Correction(trade.seq, before, after), turns)
            left = await self._replace(trade, corrected, refold, run, turns)
            effect["reason"] = "; ".join(filter(None, (reason, *left))) or None
        else:
            self._trades.correct(trade, corrected)
            if before is None:
                effect["status"] = "void"
                effect["reason"] = reason or BUSTED
        self._write(trade)
        return effect

    def _corrected(self, booking: Booking, trade: Trade) -> tuple[Corrected, str | None]:
        """Returns the corrections of a trade with this one, and what is to be said about it."""
        event = booking.event
        assert isinstance(event, Bust | Correct), "nothing else corrects a fill"
        if isinstance(event, Bust):
            change, reason = Change(booking.seq, booking.ts_ns, is_bust=True), None
        else:
            terms = event.quantity, event.price, event.commission
            is_fill = event.new_trade_id and self._is_a_fill(event.new_trade_id, trade)
            change = Change(booking.seq, booking.ts_ns, bool(is_fill), *terms, event.new_trade_id)
            reason = IS_A_FILL if is_fill else None
        return trade.with_change(change), reason

    def _is_a_fill(self, trade_id: str, trade: Trade) -> bool:
        """Returns whether the fill that takes a trade's place has come as a fill of its own."""
        reference = FillReference(trade_id, trade.symbol, trade.order_id, trade.side, trade.venue)
        return any(each.seq != trade.seq for each in self._find(reference))

    # -- the position anew

    async def _refold(self, trade: Trade, correction: Correction, turns: Turns) -> tuple[Refold, PathRun]:
        """Folds the position of a trade as it counts and as it should count, from the last moment before the trade at
        which it was flat; walks the path of the equity as far as the folds reach."""
        strategy, log = self._collectors.strategy, self._trades
        known_seq = strategy.path.seq
        account = strategy.account_of(trade.strategy)
        refold = Refold(strategy.amender.fold(account, trade), strategy.amender.fold(account, trade), correction)
        is_same = self._same_position(trade)
        recent = await self._recent(is_same, turns)
        start = next(
            (n for n in range(len(recent) - 1, -1, -1) if recent[n].seq < trade.seq and _is_flat(recent[n])), -1
        )
        refold.booked_seq = self._collectors.bookings.newest_seq
        refold.bookings.extend(await self._bookings(trade, recent[start].seq if start >= 0 else 0, turns))
        if start < 0 and log.is_partial and self._store is not None:
            await self._add_stored(refold, trade, is_same, turns)
        for number, each in enumerate(recent[start + 1 :]):
            refold.add(each)
            if number % FILLS_PER_STEP == 0:
                await turns.offer()
        if correction.after is None and trade.seq <= strategy.days_begun(account):
            refold.has_first = True
            refold.first = await self._first_after(account, trade, turns)
        run = PathRun(strategy.path, refold.amendment, trade.seq, strategy.rates.reporting)
        for _ in run.advance(min([known_seq, *(each.seq - 1 for each in refold.bookings)])):
            await turns.offer()
        return refold, run

    async def _first_after(self, account: str, trade: Trade, turns: Turns) -> tuple[int, int] | None:
        """Returns the day and number of the first fill or booking of an account that is P&L, other than a trade."""
        strategy, log = self._collectors.strategy, self._trades
        found: list[tuple[int, int]] = []
        if log.is_partial and self._store is not None:
            after_seq = 0
            while not found and (
                page := await turns.ask(strategy_page, account, after_seq, min(log.oldest_seq, self.horizon_seq))
            ):
                found = [_day_of(each) for each in page if not each.is_busted and each.seq != trade.seq][:1]
                after_seq = page[-1].seq
        for each in [] if found else log.newer_than(0):
            if strategy.account_of(each.strategy) == account and not each.is_busted and each.seq != trade.seq:
                found = [_day_of(each)]
                break
        for booking in self._collectors.bookings.newer_than(0):
            if account in booking.effect.get("strategies", ()) and is_first(booking.event):
                found.append((booking.event.ts_init // NS_PER_DAY, booking.seq))
                break
        return min(found, key=lambda each: each[1], default=None)

    async def _bookings(self, trade: Trade, after_seq: int, turns: Turns) -> list[Booking]:
        """Returns what has changed the position of a trade besides its fills, in order."""
        log = self._collectors.bookings
        if log.is_partial:
            await self._written(turns)
        found = [each for each in log.newer_than(after_seq) if self._is_of_position(each, trade)]
        if log.is_partial and self._store is not None:
            oldest_seq = log.newer_than(0)[0].seq
            stored = await turns.ask(symbol_bookings, trade.symbol, after_seq, min(oldest_seq, self.horizon_seq))
            found = [each for each in stored if self._is_of_position(each, trade)] + found
        return found

    def _is_of_position(self, booking: Booking, trade: Trade) -> bool:
        event = booking.event
        if not isinstance(event, BOOKED) or event.symbol != trade.symbol:
            return False
        if isinstance(event, Position):
            strategy = event.strategy or DEFAULT_STRATEGY
            return strategy == trade.strategy and held_side(event.position_side) == trade.position_side
        return getattr(event, "strategy", "") in ("", self._collectors.strategy.account_of(trade.strategy))

    def _same_position(self, trade: Trade) -> Callable[[Trade], bool]:
        """Returns the test for trades of the position that a trade is of."""
        account_of, symbol, side = self._collectors.strategy.account_of, trade.symbol, trade.position_side
        account = account_of(trade.strategy)
        return lambda other: (
            other.symbol == symbol and other.position_side == side and account_of(other.strategy) == account
        )

    async def _recent(self, is_same: Callable[[Trade], bool], turns: Turns) -> list[Trade]:
        """Returns the trades in memory of one position, oldest first."""
        steps = self._trades.those(is_same)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                found: list[Trade] = done.value
                return found
            await turns.offer()

    async def _add_stored(self, refold: Refold, trade: Trade, is_same: Callable[[Trade], bool], turns: Turns) -> None:
        """Adds the fills of a position that are no longer in memory."""
        assert self._store is not None, "there are fills that are not in memory"
        oldest_seq = self._trades.oldest_seq or MAX_ROW_SEQ
        account = self._collectors.strategy.account_of(trade.strategy)
        # What earlier corrections have changed in the rows must be there.
        await self._written(turns)
        flat_seq: int | None = None
        below: int | None = trade.seq
        # The account of all further strategies has no strategy to look for.
        while account == trade.strategy and below is not None and flat_seq is None:
            flat_seq, below = await turns.ask(flat_before, trade, below)
        after_seq = flat_seq or 0
        while page := await turns.ask(symbol_page, trade.symbol, after_seq, min(oldest_seq, self.horizon_seq)):
            for number, each in enumerate(page):
                if is_same(each):
                    refold.add(self.as_counted(each))
                if number % FILLS_PER_STEP == 0:
                    await turns.offer()
            after_seq = page[-1].seq

    async def _written(self, turns: Turns) -> None:
        """Waits until what has left memory is in the store."""
        if self._store is not None and turns.__class__ is InSlices:
            await self._store.durable(self._store.position, DURABLE_SECONDS)

    async def _replace(
        self, trade: Trade, corrected: Corrected, refold: Refold, run: PathRun, turns: Turns
    ) -> list[str]:
        """Makes everything as it would be without the fault; returns what could not be made so."""
        strategy, now_ns = self._collectors.strategy, self._clock.time_ns()
        account = strategy.account_of(trade.strategy)
        is_same = self._same_position(trade)
        # Fills and bookings may have come meanwhile. From here until everything is replaced nothing waits.
        newer = self._collectors.bookings.newer_than(refold.booked_seq)
        refold.bookings.extend(each for each in newer if self._is_of_position(each, trade))
        for each in self._trades.newer_than(refold.newest_seq):
            if is_same(each):
                refold.add(each)
        refold.finish()
        if refold.has_other_terms:
            raise EventRefused("symbol", OTHER_TERMS)
        if refold.is_beyond_zero:
            raise EventRefused("trade_id", BEYOND_ZERO)
        correction = refold.correction
        left: list[str] = []
        is_known = True
        if refold.is_of(strategy.amender.position_of(account, trade)):
            is_known = strategy.amender.replace(account, trade, refold, run, now_ns)
        elif self._has_changed_since(trade):
            raise EventRefused("trade_id", CHANGED_SINCE)
        else:
            left.append(NO_LONGER_KEPT)
            strategy.amender.offset(account, trade, correction, now_ns)
            amounts = next((each for each in refold.amended if each.seq == trade.seq), trade)
            # What it has realised stays.
            refold.amended = [copy(trade)]
            refold.amended[0].fee_value, refold.amended[0].notional = amounts.fee_value, amounts.notional
        self._trades.correct(trade, corrected)
        amended = {each.seq: each for each in refold.amended}
        for each in (trade, *self._trades.newer_than(min(amended, default=trade.seq) - 1)):
            if (counted := amended.get(each.seq)) is not None:
                for name in REALISED:
                    setattr(each, name, getattr(counted, name))
        of_order = self._trades.of_order(trade.symbol, trade.order_id)
        if not self._collectors.execution.correct(trade, correction.before, of_order):
            left.append(ORDER_NO_LONGER_KEPT)
        for each in refold.amended:
            if each.seq != trade.seq:
                self._write(each)
            await turns.offer()
        if not is_known:
            await self._find_extremes(account, amended, turns)
        return left

    async def _find_extremes(self, account: str, amended: Mapping[int, Trade], turns: Turns) -> None:
        """Finds the best and the worst outcome of an account among all of its trades."""
        strategy, log = self._collectors.strategy, self._trades
        settled = strategy.amender.settled(account)
        trips = RoundTrips(strategy.rates.reporting, settled)
        if log.is_partial and self._store is not None:
            after_seq = 0
            while page := await turns.ask(strategy_page, account, after_seq, min(log.oldest_seq, self.horizon_seq)):
                for each in page:
                    trips.add(amended.get(each.seq) or self.as_counted(each))
                after_seq = page[-1].seq
                await turns.offer()
        for number, each in enumerate(log.newer_than(0)):
            if strategy.account_of(each.strategy) == account:
                trips.add(each)
            if number % FILLS_PER_STEP == 0:
                await turns.offer()
        strategy.amender.set_extremes(account, trips.complete(strategy.amender.open_round_trips(account)))

    def _has_changed_since(self, trade: Trade) -> bool:
        """Returns whether a split or settlement has made something else of a fill's quantity."""
        return any(
            isinstance(each.event, Split | Settlement) and each.symbol == trade.symbol
            for each in self._collectors.bookings.newer_than(trade.seq)
        )

    # -- what it leaves

    def _is_applied(self, seq: int) -> bool:
        return seq <= self.horizon_seq and seq not in self.waiting

    def _write(self, trade: Trade) -> None:
        if self._store is not None:
            self._store.put(schema.UPDATE_COUNTED_FILL, counted_columns(trade))

    def _write_effect(self, booking: Booking) -> None:
        self._collectors.strategy.note_corrections(self.applied, len(self.waiting))
        if self._store is not None:
            self._store.put(schema.UPDATE_BOOKING, (encode_json(booking.effect).decode(), booking.seq))


class RoundTrips:
    """The outcomes of the round trips of some positions, from their trades in order."""

    def __init__(self, reporting: str, settled: Mapping[int, tuple[str, Decimal | None]]) -> None:
        """`reporting` is the currency of trades that name none; `settled` are the outcomes that are in no trade."""
        self._reporting = reporting
        self._settled = settled
        self._outcomes: dict[str, Outcomes] = {}
        self._current: dict[tuple[str, str, str], tuple[str, int | None, Decimal]] = {}

    def add(self, trade: Trade) -> None:
        if trade.is_busted or trade.pnl is None or trade.round_trip in self._settled:
            return
        position = trade.strategy, trade.symbol, trade.position_side
        _, trip, outcome = self._current.pop(position, (trade.currency, trade.round_trip, ZERO))
        if trip != trade.round_trip:
            self._add(trade.currency, outcome)
            outcome = ZERO
        outcome = EXACT.add(outcome, trade.pnl)
        if trade.is_flat or trade.round_trip is None:
            self._add(trade.currency, outcome)
        else:
            self._current[position] = trade.currency, trade.round_trip, outcome

    def complete(self, open_trips: Container[int]) -> Mapping[str, Outcomes]:
        """Returns the outcomes of the round trips that are not among the open ones, by currency."""
        for currency, trip, outcome in self._current.values():
            if trip not in open_trips:
                self._add(currency, outcome)
        for currency, settled in self._settled.values():
            if settled is not None:
                self._add(currency, settled)
        return self._outcomes

    def _add(self, currency: str, outcome: Decimal) -> None:
        self._outcomes.setdefault(currency or self._reporting, Outcomes()).add(outcome)


def _reference(booking: Booking) -> FillReference:
    event = booking.event
    assert isinstance(event, Bust | Correct), "nothing else corrects a fill"
    return FillReference(event.trade_id, event.symbol, event.order_id, event.side, event.venue)


def _are_several(trades: list[Trade]) -> bool:
    """Returns whether trades are of several fills."""
    return len({(each.venue, each.order_id, each.side) for each in trades}) > 1


def _came_ns(trade: Trade) -> int:
    return trade.ts_init_ns or trade.ts_ns


def _day_of(trade: Trade) -> tuple[int, int]:
    return _came_ns(trade) // NS_PER_DAY, trade.seq


def _is_flat(trade: Trade) -> bool:
    return trade.is_flat and not trade.is_busted
