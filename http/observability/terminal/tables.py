"""Tables of text that are made of a snapshot: strategies, positions, symbols, execution, system, sources, sites.

    snapshot ─► Table(title, columns, rows)     a row: key and cells     a cell: its text, and the value it sorts by

A value that is not there is a dash. The columns stand in the order of their importance: a narrow terminal shows the
first ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Document = Mapping[str, Any]
Format = Callable[[Any], str]

ABSENT: Final = "-"
_BINARY_UNITS: Final = ("B", "KB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `mark` is `good`, `bad`, `dim` or empty."""

    text: str
    value: Any = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column; text stands on the left and numbers on the right."""

    title: str
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `key` is what a filter looks in."""

    key: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `empty` stands in place of the rows where there are none."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    empty: str = ""

    def filtered(self, words: str) -> Table:
        """Returns the rows whose keys contain `words`, in any case."""
        wanted = words.casefold()
        return self._with(row for row in self.rows if wanted in row.key.casefold()) if wanted else self

    def sorted(self, column: int, *, is_descending: bool) -> Table:
        """Returns the rows by the values of a column; those without a value come last."""

        def value(row: Row) -> Any:
            return row.cells[column].value

        there = sorted((row for row in self.rows if value(row) is not None), key=value, reverse=is_descending)
        return self._with((*there, *(row for row in self.rows if value(row) is None)))

    def _with(self, rows: Iterable[Row]) -> Table:
        return Table(self.title, self.columns, tuple(rows), self.empty)


# -- formats


def money(value: float) -> str:
    return f"{value:,.2f}"


def number(value: float) -> str:
    """All digits, as the server has them."""
    return f"{value:,.10g}"


def average(value: float) -> str:
    """Eight digits of a quotient that has no end."""
    return f"{value:,.8g}"


def stale_number(value: float) -> str:
    return f"{number(value)}*"


def count(value: float) -> str:
    return f"{value:,.0f}"


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(share: float) -> str:
    """A share from 0 to 1."""
    return f"{share * 100:.1f}%"


def size(value: float) -> str:
    for unit in _BINARY_UNITS:
        if value < 1000 or unit == _BINARY_UNITS[-1]:
            return f"{value:.3g} {unit}"
        value /= 1000
    return ABSENT


def duration(seconds: float) -> str:
    """Two units: `5 s`, `3 min 20 s`, `2 h 5 min`, `4 d 1 h`."""
    whole = int(seconds)
    for unit, name, smaller, smaller_name in (
        (86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"),
    ):  # fmt: skip
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"


def time_of(timestamp: str) -> str:
    """The time of day of an ISO 8601 timestamp."""
    return timestamp[11:19]


def cell(value: Any, form: Format, mark: str = "") -> Cell:
    return Cell(ABSENT, None, "dim") if value is None else Cell(form(value), value, mark)


def _signed(value: Any, form: Format = money) -> Cell:
    """A cell in the colour of profit or loss."""
    return cell(value, form, "" if not value else "good" if value > 0 else "bad")


def _text(value: Any, mark: str = "") -> Cell:
    return Cell(str(value), str(value), mark) if value else Cell(ABSENT, None, "dim")


# -- tables


def _strategies(snapshot: Document) -> Table:
    columns = ("strategy", "total P&L", "daily", "unrealized", "realized", "positions", "exposure", "drawdown",
               "fills", "win rate", "fees")  # fmt: skip
    rows = (
        Row(
            name,
            (
                _text(name),
                _signed(one["total_pnl"]),
                _signed(one["daily_pnl"]),
                _signed(one["unrealized_pnl"]),
                _signed(one["realized_pnl"]),
                cell(one["open_positions"], count),
                cell(one["gross_exposure"], money),
                cell(one["drawdown"], money),
                cell(one["fills"], count),
                cell(one["win_rate"], percent),
                cell(one["fees"], money),
            ),
        )
        for name, one in _members(_section(snapshot, "strategy").get("strategies"))
    )
    return Table("Strategies", _columns(columns, 1), tuple(rows), "no fill yet")


def _positions(snapshot: Document) -> Table:
    columns = ("symbol", "strategy", "quantity", "unrealized", "mark", "avg price", "realized", "difference", "mark of")
    rows = (
        Row(
            f"{_held(one)} {one['strategy']}",
            (
                _text(_held(one)),
                _text(one["strategy"]),
                cell(one["quantity"], number),
                _signed(one["unrealized_pnl"]),
                # A mark of an old price is no mark of now.
                cell(one["mark"], stale_number if one["stale"] else number),
                cell(one["avg_price"], average),
                _signed(one["realized_pnl"]),
                cell(one["difference"], number, "bad" if one["difference"] else ""),
                _text(time_of(one["mark_updated"]) if one["mark_updated"] else None, "bad" if one["stale"] else ""),
            ),
        )
        for one in map(_Fields, _section(snapshot, "strategy").get("positions", ()))
    )
    return Table("Positions", _columns(columns, 2), tuple(rows), "no position")


def _currencies(snapshot: Document) -> Table:
    """The money of the account by currency, and the rate that it is converted at."""
    strategy = _section(snapshot, "strategy")
    reporting, missing = strategy.get("reporting_currency"), strategy.get("unconverted") or {}
    rates: dict[str, Document] = {}
    for one in strategy.get("rates") or ():
        base, _, quote = one["pair"].partition("/")
        rates[quote if base == reporting else base] = one
    columns = ("currency", "equity", "cash", "realized", "unrealized", "fees", "income", "rate", "pair", "rate of")
    rows = (
        Row(
            currency,
            (
                _text(currency, "bad" if currency in missing else ""),
                cell(one["equity"], money),
                cell(one["cash"], money),
                _signed(one["realized"]),
                _signed(one["unrealized"]),
                cell(one["fees"], money),
                _signed(one["income"]),
                cell(rate.get("rate"), stale_number if rate.get("stale") else number),
                _text(rate.get("pair")),
                _text(time_of(rate["updated"]) if rate.get("updated") else None, "bad" if rate.get("stale") else ""),
            ),
        )
        for currency, one in _members(strategy.get("currencies"))
        for rate in (rates.get(currency, {}),)
    )
    return Table("Currencies", _columns(columns, 1), tuple(rows), "no fill yet")


def _venues(snapshot: Document) -> Table:
    """What several venues say of one symbol."""
    columns = ("symbol", "venue", "bid", "ask", "last", "volume", "trades", "vwap", "updated", "feed p99 ms", "late")
    rows = (
        Row(
            f"{symbol} {venue}",
            (
                _text(symbol),
                _text(venue, "bad" if one["stale"] else ""),
                cell(one["bid"], number, "dim" if one["stale"] else ""),
                cell(one["ask"], number, "dim" if one["stale"] else ""),
                cell(one["last_price"], number),
                cell(one["volume"], number),
                cell(one["trades"], count),
                cell(one["vwap"], average),
                _text(time_of(one["updated"]) if one["updated"] else None, "bad" if one["stale"] else ""),
                cell(one["feed_latency_p99_ms"], short),
                cell(one["late"], count),
            ),
        )
        for symbol, market in _members(_section(snapshot, "market_data"))
        for venue, one in _members(market["venues"])
    )
    return Table("Venues", _columns(columns, 2), tuple(rows), "no symbol has several venues")


def _held(position: Mapping[str, Any]) -> str:
    """Returns the symbol of a position, and in hedge mode its side."""
    return f"{position['symbol']} {position['position_side'] or ''}".rstrip()


def _market(snapshot: Document) -> Table:
    columns = ("symbol", "bid", "ask", "last", "spread bps", "rate/s", "quoted", "volume", "trades", "bid size",
               "ask size", "vwap", "high", "low", "feed p99 ms", "late")  # fmt: skip
    rows = (
        Row(
            symbol,
            (
                _text(symbol, "bad" if one["stale"] else ""),
                cell(one["bid"], number, "dim" if one["quote_stale"] else ""),
                cell(one["ask"], number, "dim" if one["quote_stale"] else ""),
                cell(one["last_price"], number, "dim" if one["print_stale"] else ""),
                cell(one["spread_bps"], short),
                cell(one["update_rate"], short),
                _quoted(one),
                cell(one["volume"], number),
                cell(one["trades"], count),
                cell(one["bid_size"], number),
                cell(one["ask_size"], number),
                cell(one["vwap"], average),
                cell(one["high"], number),
                cell(one["low"], number),
                cell(one["feed_latency_p99_ms"], short),
                cell(one["late"], count),
            ),
        )
        for symbol, one in _members(_section(snapshot, "market_data"))
    )
    return Table("Market", _columns(columns, 1), tuple(rows), "no quote and no print yet")


def _quoted(one: Document) -> Cell:
    """When the newest quote (without any: print) arrived, and whether that is too long ago."""
    updated = one["quote_updated"] or one["print_updated"]
    if updated is None:
        return Cell(ABSENT, None, "dim")
    state = " closed" if one["closed"] else " stale" if one["stale"] else ""
    return Cell(time_of(updated) + state, updated, "bad" if one["stale"] else "")


_EXECUTION: Final[tuple[tuple[str, str, Format], ...]] = (
    ("orders", "orders_today", count),
    ("fills", "fills_today", count),
    ("open orders", "open_orders", count),
    ("fill rate", "fill_rate", percent),
    ("reject rate", "reject_rate", percent),
    ("cancel rate", "cancel_rate", percent),
    ("latency p50 ms", "latency_p50_ms", short),
    ("latency p95 ms", "latency_p95_ms", short),
    ("latency p99 ms", "latency_p99_ms", short),
    ("latency max ms", "latency_max_ms", short),
    ("slippage bps", "avg_slippage_bps", short),
    ("shortfall bps", "shortfall_bps", short),
    ("commission", "commission", money),
    ("late reports", "late_reports", count),
    ("missing reports", "missing_reports", count),
    ("conflicting fills", "conflicting_fills", count),
)


def _execution(snapshot: Document) -> Table:
    return _listed("Execution", _EXECUTION, _section(snapshot, "execution"))


_SYSTEM: Final[tuple[tuple[str, str, Format], ...]] = (
    ("uptime", "uptime_seconds", duration),
    ("cpu", "cpu_percent", lambda value: f"{value:.1f}%"),
    ("memory", "memory_percent", lambda value: f"{value:.1f}%"),
    ("disk", "disk_percent", lambda value: f"{value:.1f}%"),
    ("tick late by ms", "event_loop_lag_ms", short),
    ("server cpu", "process_cpu_percent", lambda value: f"{value:.1f}%"),
    ("server memory", "process_rss_bytes", size),
    ("open files", "num_fds", count),
)


def _system(snapshot: Document) -> Table:
    system = _section(snapshot, "system")
    table = _listed("System", _SYSTEM, system)
    more = []
    replay = system.get("replay")
    if replay is not None:
        more.append(_line("replay", Cell(f"{replay['state']} {percent(replay['progress'])}", replay["state"])))
    more += [_line(key, cell(one["value"], number)) for key, one in _members(system.get("metrics"))]
    return Table(table.title, table.columns, (*table.rows, *more), table.empty)


def _sources(snapshot: Document) -> Table:
    columns = ("source", "state", "rate/s", "age", "messages", "gaps", "rejected", "reconnects", "error")
    rows = (
        Row(
            name,
            (
                _text(name),
                _text(one["state"], "good" if one["state"] == "connected" else "bad"),
                cell(one["rate"], short),
                cell(one["age_seconds"], duration),
                cell(one["messages"], count),
                cell(one["gaps"], count, "bad" if one["gaps"] else ""),
                cell(one["rejected"], count, "bad" if one["rejected"] else ""),
                cell(one["reconnects"], count),
                _text(one["error"], "bad"),
            ),
        )
        for name, one in _members(_section(snapshot, "system").get("sources"))
    )
    return Table("Sources", _columns(columns, 2), tuple(rows), "none")


def _sites(snapshot: Document) -> Table:
    columns = ("site", "status", "age ms", "P&L", "currency", "positions", "health", "why not live")
    accounts = _section(snapshot, "strategy").get("sites") or {}
    hosts = _section(snapshot, "system").get("sites") or {}
    rows = []
    for name, one in _members(_section(snapshot, "sites")):
        account, host = _Fields(accounts.get(name) or {}), _Fields(hosts.get(name) or {})
        rows.append(
            Row(
                name,
                (
                    _text(name),
                    _text(one["status"], "good" if one["status"] == "live" else "bad"),
                    cell(one["age_ms"], short),
                    _signed(account["total_pnl"]),
                    _text(account["reporting_currency"]),
                    cell(account["open_positions"], count),
                    _text(host["health"], "good" if host["health"] == "healthy" else "bad"),
                    _text(one["reason"], "bad"),
                ),
            )
        )
    return Table("Sites", _columns(columns, 2), tuple(rows), "none: this is no aggregator")


TABLES: Final[tuple[Callable[[Document], Table], ...]] = (
    _market, _positions, _strategies, _execution, _system, _sources, _currencies, _venues, _sites
)  # fmt: skip
"""What makes each table, in the order in which they are shown."""


def _listed(title: str, fields: Sequence[tuple[str, str, Format]], section: Document) -> Table:
    """A table of one row per field."""
    rows = tuple(_line(name, cell(section.get(field), form)) for name, field, form in fields)
    return Table(title, (Column("", is_text=True), Column("")), rows)


def _line(name: str, value: Cell) -> Row:
    return Row(name, (Cell(name, name), value))


def _columns(titles: Sequence[str], n_text: int) -> tuple[Column, ...]:
    return tuple(Column(title, is_text=at < n_text) for at, title in enumerate(titles))


def _section(snapshot: Document, name: str) -> Document:
    found: Document = snapshot.get(name) or {}
    return found


class _Fields(dict[str, Any]):
    """The fields of an object. One that the server does not send, because it is older, is None."""

    def __missing__(self, name: str) -> None:
        return None


def _members(group: Mapping[str, Any] | None) -> Iterable[tuple[str, _Fields]]:
    return ((name, _Fields(one)) for name, one in (group or {}).items())


# -- headlines


def desk_words(desk: Document) -> list[str]:
    """Returns the words of one line about the hosts of a desk: this host, what leads, what stands by, edges."""
    leader, standby, edges = desk["leader"], desk["standby"], desk["edges"]
    words = [f"desk {desk['name']}", f"this {desk['role']} {desk['host']}"]
    if leader is None:
        words.append("NO HUB LEADS")
    else:
        words.append(f"{leader['host']} leads since {leader['since'][:19].replace('T', ' ')} UTC")
    behind = max((each["records_behind"] or 0 for each in standby), default=0)
    late = max((each["seconds_behind"] or 0 for each in standby), default=0)
    words.append(
        f"{len(standby)} standing by" + (f", {count(behind)} records and {duration(late)} behind" if behind else "")
    )
    lacking = max((each["frames_behind"] for each in edges), default=0)
    lags = [each["lag_ms"] for each in edges if each["lag_ms"] is not None]
    words.append(
        f"{len(edges)} edges"
        + (f", lag up to {short(max(lags))} ms" if lags else "")
        + (f", {count(lacking)} frames behind" if lacking else "")
    )
    return words


def headlines(snapshot: Document) -> tuple[list[str], list[str]]:
    """Returns the words of two lines: alerts and health; and the account. The most important ones come first."""
    system, strategy = _Fields(_section(snapshot, "system")), _Fields(_section(snapshot, "strategy"))
    alerts = f"alerts {cell(system['active_alerts'], count).text}"
    if system["critical_alerts"]:
        alerts += f", {system['critical_alerts']} CRITICAL"
    lag = f"lag {cell(system['event_loop_lag_ms'], short).text} ms"
    health = [f"health {system['health'] or ABSENT}", *(system["health_reasons"] or ())]
    account = (
        ("P&L", "total_pnl"), ("daily", "daily_pnl"), ("unrealized", "unrealized_pnl"), ("equity", "equity"),
        ("drawdown", "drawdown"), ("exposure", "gross_exposure"), ("fees", "fees"),
    )  # fmt: skip
    missing = [f"WITHOUT {', '.join(strategy['missing_sites'])}"] if strategy["missing_sites"] else []
    figures = [f"{name} {cell(strategy[field], money).text}" for name, field in account]
    return [alerts, lag, *health], [*missing, *figures]
