"""The screen of `observability top`: a headline that says what the numbers are worth, and tables that scroll.

    stream ─► newest snapshot ─► every half second: headline, tables ─► lines of the visible rows

In a narrow terminal one table is shown at a time, in a wide one all of them. Numbers that are not live are dimmed, and
the headline says how old they are.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Footer, Input, Static

from observability.clients import ConnectionState, Refused, RestError, Stream
from observability.terminal.layout import GAP, aligned, joined, widths
from observability.terminal.tables import TABLES, Document, Row, Table, desk_words, duration, headlines, time_of

REFRESH_SECONDS: Final = 0.5
DESK_SECONDS: Final = 2.0
# From this size on there is room for all tables at once.
WIDE_COLUMNS: Final = 150
WIDE_ROWS: Final = 36

# What has no style at all cannot be shown without colours.
_PLAIN: Final = Style()
_MARKS: Final = {"": _PLAIN, "good": Style(color="green"), "bad": Style(color="red"), "dim": Style(dim=True)}
_HEAD: Final = Style(bold=True)
_DIMMED: Final = Style(dim=True)


AskDesk = Callable[[], Document | None]
"""Returns the desk as the server sees it; None if that is alone. Raises RestError."""


class TableView(ScrollView, can_focus=True):
    """One table. Only the visible rows are rendered, so a thousand symbols cost no more than twenty."""

    def __init__(self, name: str) -> None:
        super().__init__(id=name.casefold(), classes="table")
        self._title = name
        self._given: Table | None = None
        self._shown: Table | None = None
        self._widths: list[int] = []
        self._filter = ""
        self._is_live = False
        self.sort_column: int | None = None
        self.is_descending = True
        self.border_title = name

    def show(self, table: Table, words: str, *, is_live: bool) -> None:
        """Shows a table, as far as its rows match a filter."""
        self._given, self._filter, self._is_live = table, words, is_live
        self._arrange()

    def sort_by_next(self) -> None:
        """Sorts by the next column; after the last one, by none."""
        if self._given is not None:
            at = 0 if self.sort_column is None else self.sort_column + 1
            self.sort_column = at if at < len(self._given.columns) else None
            self._arrange()

    def reverse(self) -> None:
        self.is_descending = not self.is_descending
        self._arrange()

    def _arrange(self) -> None:
        table = self._given
        if table is None:
            return
        shown = table.filtered(self._filter)
        if self.sort_column is not None:
            shown = shown.sorted(self.sort_column, is_descending=self.is_descending)
        self._shown = shown
        self._widths = widths(shown, None)
        counted = f" {len(shown.rows)} of {len(table.rows)}" if self._filter else f" {len(table.rows)}"
        self.border_title = self._title + (counted if len(table.columns) > 2 else "")
        self.virtual_size = Size(sum(self._widths) + GAP * (len(self._widths) - 1), len(shown.rows) + _heads(shown))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        table = self._shown
        scroll_x, scroll_y = self.scroll_offset
        if table is None:
            return Strip.blank(self.size.width, _PLAIN)
        heads = _heads(table)
        if y < heads:
            segments = self._segments(self._titles(table), [_HEAD] * len(table.columns))
        elif not table.rows:
            empty = "nothing matches" if self._filter and self._given and self._given.rows else table.empty
            segments = [Segment(empty if y == heads else "", _DIMMED)]
        elif y + scroll_y >= len(table.rows) + heads:
            return Strip.blank(self.size.width, _PLAIN)
        else:
            row = table.rows[y + scroll_y - heads]
            segments = self._segments([one.text for one in row.cells], self._styles(row))
        return Strip(segments).crop_extend(scroll_x, scroll_x + self.size.width, _PLAIN)

    def _titles(self, table: Table) -> list[str]:
        arrow = "▼" if self.is_descending else "▲"
        return [
            f"{column.title}{arrow}" if at == self.sort_column else column.title
            for at, column in enumerate(table.columns)
        ]

    def _styles(self, row: Row) -> list[Style]:
        return [_MARKS[one.mark] if self._is_live else _DIMMED for one in row.cells]

    def _segments(self, texts: Sequence[str], styles: Sequence[Style]) -> list[Segment]:
        assert self._shown is not None
        segments = []
        for text, style in zip(aligned(texts, self._shown, self._widths), styles, strict=False):
            segments += [Segment(text, style), Segment(" " * GAP, _PLAIN)]
        return segments


def _heads(table: Table) -> int:
    """The lines of a table's head: none if no column has a title."""
    return 1 if any(column.title for column in table.columns) else 0


class Top(App[None]):
    """The application. It follows the server until the user quits, or the server refuses this client."""

    CSS = """
    Screen { layout: vertical; }
    #state { height: 1; text-style: bold; color: $error; }
    #state.live { color: $success; }
    #health, #account, #desk { height: 1; color: $text-muted; }
    #tables { height: 1fr; }
    .table {
        border: round $surface-lighten-2; border-title-color: $text; background: $background;
        scrollbar-size-horizontal: 0; scrollbar-size-vertical: 1; display: none; height: 1fr;
    }
    .table:focus { border: round $accent; display: block; }
    .active { display: block; }
    .wide #tables { layout: grid; grid-size: 2 3; grid-columns: 3fr 2fr; grid-rows: 1fr 1fr 1fr; }
    .wide .table { display: block; }
    .wide .absent { display: none; }
    #filter { height: 1; border: none; padding: 0; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "Quit"),
        Binding("tab,right_square_bracket", "turn(1)", "Next table", priority=True),
        Binding("shift+tab,left_square_bracket", "turn(-1)", "Previous", show=False, priority=True),
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse"),
        Binding("slash", "filter", "Filter", priority=True),
        Binding("escape", "clear", "Clear", show=False, priority=True),
        *(Binding(str(n), f"show({n - 1})", show=False) for n in range(1, len(TABLES) + 1)),
    ]

    def __init__(self, stream: Stream, url: str, ask_desk: AskDesk = lambda: None) -> None:
        """`ask_desk` is called in a thread."""
        # In the terminal's own colours textual leaves out every colour for NO_COLOR, in its own it makes them grey.
        super().__init__(ansi_color="NO_COLOR" in os.environ)
        self._stream = stream
        self._url = url
        # Held here, because a timer may come while the screen is taken down and has them no more.
        self._state = Static(id="state", markup=False)
        self._ask_desk = ask_desk
        self._desk = Static(id="desk", markup=False)
        self._desk.display = False
        self._headlines = [Static(id=name, markup=False) for name in ("health", "account")]
        self._box = Input(placeholder="symbol, strategy or source; Enter keeps the filter, Esc ends it", id="filter")
        self._box.display = False
        self._views = [TableView(make({}).title) for make in TABLES]
        self._active = 0
        self._filter = ""
        self._arrived: float | None = None
        self._seq: tuple[str, int] | None = None
        self.refusal: Refused | None = None
        """Why the server does not let this client read; None if it does."""

    def compose(self) -> ComposeResult:
        yield self._state
        yield self._desk
        yield from self._headlines
        with Container(id="tables"):
            yield from self._views
        yield self._box
        yield Footer()

    def on_mount(self) -> None:
        self._follow_size(self.size)
        self._activate(0)
        self.run_worker(self._follow(), exit_on_error=True)
        self.run_worker(self._follow_desk(), exit_on_error=True)
        self.set_interval(REFRESH_SECONDS, self.show_newest)
        self.show_newest()

    def on_resize(self, event: events.Resize) -> None:
        self._follow_size(event.size)

    async def _follow(self) -> None:
        try:
            async with self._stream as stream:
                async for snapshot in stream:
                    if self._arrived is None:
                        self._note(snapshot)
                        self.show_newest()
                    self._note(snapshot)
        except Refused as refusal:
            self.refusal = refusal
            self.exit()

    async def _follow_desk(self) -> None:
        """Asks for the hosts of the desk, again and again unless the server is alone."""
        while True:
            try:
                desk = await asyncio.to_thread(self._ask_desk)
                if desk is None:
                    return
                self._desk.update(joined(desk_words(desk), self.size.width))
                self._desk.display = True
            except RestError as error:
                # Shown in the place of what is known no more; a server that is alone has nothing there.
                self._desk.update(joined([f"the hosts of the desk are not known: {error}"], self.size.width))
            await asyncio.sleep(DESK_SECONDS)

    def _note(self, snapshot: Mapping[str, Any]) -> None:
        # A snapshot that comes again, after a lost connection, is as old as it was.
        seq = (snapshot["epoch"], snapshot["seq"])
        if seq != self._seq:
            self._seq, self._arrived = seq, time.monotonic()

    def show_newest(self) -> None:
        """Shows the newest snapshot and what it is worth."""
        snapshot, state = self._stream.snapshot, self._stream.state
        is_live = state is ConnectionState.LIVE
        self._state.update(self._state_line(snapshot))
        self._state.set_class(is_live, "live")
        if snapshot is None:
            return
        for line, words in zip(self._headlines, headlines(snapshot), strict=True):
            line.update(joined(words, self.size.width))
        # Only an aggregator has sites; beside the other tables theirs would be empty.
        self._views[-1].set_class("sites" not in snapshot, "absent")
        for view, make in zip(self._views, TABLES, strict=True):
            if view.display:
                view.show(make(snapshot), self._filter, is_live=is_live)

    def _state_line(self, snapshot: Mapping[str, Any] | None) -> str:
        state = self._stream.state
        words = [state.upper()]
        if snapshot is None:
            words.append("nothing has come yet")
        elif state is ConnectionState.LIVE:
            words.append(f"tick {snapshot['seq']}  {time_of(snapshot['timestamp'])} UTC")
        else:
            age = 0.0 if self._arrived is None else time.monotonic() - self._arrived
            words.append(f"the numbers are {duration(age)} old, of {time_of(snapshot['timestamp'])} UTC")
        if self._stream.fault is not None:
            words.append(self._stream.fault)
        if self._filter:
            words.append(f"filter {self._filter!r}")
        return joined([*words, self._url], self.size.width)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Lets a slash be typed into the filter: it is a part of symbols such as BTC/USDT."""
        return action != "filter" or not self._box.has_focus

    def action_turn(self, by: int) -> None:
        self._activate((self._active + by) % len(self._views))

    def action_show(self, number: int) -> None:
        self._activate(number)

    def action_sort(self) -> None:
        self._views[self._active].sort_by_next()

    def action_reverse(self) -> None:
        self._views[self._active].reverse()

    def action_filter(self) -> None:
        self._box.display = True
        # At once: what is typed next is for the filter.
        self.screen.set_focus(self._box)

    def action_clear(self) -> None:
        self._box.value = ""
        self._set_filter("")
        self._end_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._set_filter(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._end_filter()

    def _set_filter(self, words: str) -> None:
        self._filter = words
        self.show_newest()

    def _end_filter(self) -> None:
        self._box.display = False
        self.screen.set_focus(self._views[self._active])

    def _activate(self, number: int) -> None:
        self._active = number
        for at, view in enumerate(self._views):
            view.set_class(at == number, "active")
        self._end_filter()
        self.show_newest()

    def _follow_size(self, size: Size) -> None:
        self.screen.set_class(size.width >= WIDE_COLUMNS and size.height >= WIDE_ROWS, "wide")
