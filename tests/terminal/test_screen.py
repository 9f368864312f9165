"""The screen of `observability top`: what it shows of a stream, and what keys do."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from textual.pilot import Pilot

from observability.clients import ConnectionState, Stream
from observability.terminal.screen import AskDesk, TableView, Top

NARROW, WIDE = (80, 24), (170, 45)


def snapshot(seq: int, count: int = 3) -> dict[str, Any]:
    """Returns a snapshot of symbols with bids of 0, 10, 20, ..."""
    return {
        "type": "metrics_update",
        "seq": seq,
        "epoch": "e",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "market_data": {f"S{n}/USD": {"bid": n * 10.0} for n in range(count)},
        "strategy": {"total_pnl": 12.5},
    }


class FakeStream:
    """A stream whose snapshots and states are those that a test sets."""

    def __init__(self) -> None:
        self.state = ConnectionState.CONNECTING
        self.snapshot: dict[str, Any] | None = None
        self.fault: str | None = None
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> FakeStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> dict[str, Any]:
        return await self._messages.get()

    def send(self, message: dict[str, Any]) -> None:
        self.state, self.snapshot = ConnectionState.LIVE, message
        self._messages.put_nowait(message)


class Screen:
    """The application under test."""

    def __init__(self, stream: FakeStream, app: Top, pilot: Pilot[None]) -> None:
        self.stream, self.app, self.pilot = stream, app, pilot

    async def show(self) -> None:
        await self.pilot.pause()
        self.app.show_newest()
        await self.pilot.pause()

    def text(self) -> list[str]:
        """Returns the lines of the screen."""
        return [
            "".join(segment.text for segment in strip).rstrip() for strip in self.app.screen._compositor.render_strips()
        ]

    def column(self) -> list[str]:
        """Returns the first words of the rows of the market table."""
        rows = [line.strip("│ ") for line in self.text()]
        return [row.split()[0] for row in rows if row.startswith("S") and "/USD" in row]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.show()


def on_screen(
    size: tuple[int, int], run: Callable[[Screen], Coroutine[Any, Any, None]], ask_desk: AskDesk = lambda: None
) -> None:
    async def main() -> None:
        stream = FakeStream()
        app = Top(cast(Stream, stream), "http://desk", ask_desk)
        async with app.run_test(size=size) as pilot:
            await run(Screen(stream, app, pilot))

    asyncio.run(main())


def test_the_state_of_the_connection_stands_in_the_first_line() -> None:
    async def run(screen: Screen) -> None:
        screen.stream.fault = "refused"
        await screen.show()
        assert screen.text()[0].startswith("CONNECTING   nothing has come yet   refused")
        screen.stream.send(snapshot(7))
        await screen.show()
        assert screen.text()[0].startswith("LIVE   tick 7  03:04:05 UTC")
        assert screen.text()[2].startswith("P&L 12.50")

    on_screen(NARROW, run)


def test_the_second_line_says_which_hub_leads_the_desk_of_the_server() -> None:
    async def run(screen: Screen) -> None:
        while not screen.text()[1].startswith("desk "):
            await screen.show()
        assert screen.text()[1] == "desk main   this edge nyc-2   NO HUB LEADS   0 standing by   0 edges"

    desk = {"name": "main", "role": "edge", "host": "nyc-2", "leader": None, "standby": [], "edges": []}
    on_screen(NARROW, run, lambda: desk)


@pytest.mark.parametrize("state", [ConnectionState.STALE, ConnectionState.LOST])
def test_numbers_that_are_not_live_are_dimmed_and_their_age_is_told(state: ConnectionState) -> None:
    async def run(screen: Screen) -> None:
        screen.stream.send(snapshot(7))
        await screen.show()
        assert not dimmed(screen)
        screen.stream.state = state
        await screen.show()
        worth = rf"{state.upper()}   the numbers are \d+ s old, of 03:04:05 UTC   http://desk"
        assert re.fullmatch(worth, screen.text()[0])
        assert dimmed(screen)

    def dimmed(screen: Screen) -> bool:
        symbol = next(iter(screen.app.query_one("#market", TableView).render_line(1)))
        return bool(symbol.style and symbol.style.dim)

    on_screen(NARROW, run)


def test_a_column_is_sorted_in_both_directions() -> None:
    async def run(screen: Screen) -> None:
        screen.stream.send(snapshot(7))
        await screen.show()
        await screen.press("s", "s")
        assert screen.column() == ["S2/USD", "S1/USD", "S0/USD"]
        await screen.press("r")
        assert screen.column() == ["S0/USD", "S1/USD", "S2/USD"]

    on_screen(NARROW, run)


def test_a_filter_may_have_a_slash_and_escape_ends_it() -> None:
    async def run(screen: Screen) -> None:
        screen.stream.send(snapshot(7))
        await screen.press("slash", "1", "slash", "u")
        assert screen.column() == ["S1/USD"]
        await screen.press("escape")
        assert len(screen.column()) == 3

    on_screen(NARROW, run)


def test_a_narrow_terminal_shows_one_table_at_a_time_and_a_wide_one_all() -> None:
    async def narrow(screen: Screen) -> None:
        screen.stream.send(snapshot(7))
        await screen.show()
        assert titles(screen) == ["Market"]
        await screen.press("tab")
        assert titles(screen) == ["Positions"]
        await screen.press("4")
        assert titles(screen) == ["Execution"]

    async def wide(screen: Screen) -> None:
        screen.stream.send(snapshot(7))
        await screen.show()
        assert titles(screen) == [
            "Market",
            "Positions",
            "Strategies",
            "Execution",
            "System",
            "Sources",
            "Currencies",
            "Venues",
        ]

        screen.stream.send({**snapshot(8), "sites": {}})
        await screen.show()
        assert titles(screen)[-1] == "Sites"

    def titles(screen: Screen) -> list[str]:
        return [view.id.capitalize() for view in screen.app.query(TableView) if view.display and view.id]

    on_screen(NARROW, narrow)
    on_screen(WIDE, wide)


def test_a_thousand_symbols_can_be_scrolled_to_the_last() -> None:
    async def run(screen: Screen) -> None:
        screen.stream.send(snapshot(7, count=1000))
        await screen.show()
        assert screen.column()[0] == "S0/USD"
        await screen.press("end")
        assert screen.column()[-1] == "S999/USD"
        # The next snapshot leaves the reader where they are.
        screen.stream.send(copy.deepcopy(snapshot(8, count=1000)))
        await screen.show()
        assert screen.column()[-1] == "S999/USD"

    on_screen(NARROW, run)


def test_q_quits() -> None:
    async def run(screen: Screen) -> None:
        await screen.pilot.press("q")
        await screen.pilot.pause()
        assert not screen.app.is_running

    on_screen(NARROW, run)
