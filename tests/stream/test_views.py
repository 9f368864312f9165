"""Views: each has exactly the filtered content of the snapshot, whole or as deltas."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from observability.memory.counters import Counters
from observability.snapshot.frames import Frame, FrameRing
from observability.snapshot.sections import Group, Part
from observability.snapshot.serializer import Serializer
from observability.stream.views import EVERYTHING, View, ViewKey, ViewLimits, Views
from observability.websocket.deflate import DeflateCounters


class Thing:
    """A part with one number."""

    def __init__(self, symbol: str | None = None) -> None:
        self.symbol = symbol
        self.version = 0
        self.value = 0

    def set(self, value: int) -> None:
        self.value = value
        self.version += 1

    def to_json(self) -> dict[str, Any]:
        return {"symbol": self.symbol, "value": self.value}


class Thingbox:
    """A section with a group of symbols, or with fields and a list."""

    def __init__(self, name: str, fields: Part | None, groups: tuple[Group, ...]) -> None:
        self.name = name
        self.fields = fields
        self.groups = groups
        self.last_input_ns: int | None = None

    @property
    def is_touched(self) -> bool:
        """Any part may have changed on every tick."""
        return True

    @is_touched.setter
    def is_touched(self, value: bool) -> None: ...

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None: ...


class World:
    """Two sections like the real ones, and a serializer that tests tick."""

    def __init__(self) -> None:
        self.symbols: dict[str, Part] = {}
        self.positions: dict[str, Part] = {}
        self.total = Thing()
        market = Thingbox("market_data", None, (Group(None, self.symbols),))
        strategy = Thingbox("strategy", self.total, (Group("positions", self.positions, as_list=True),))
        self.serializer = Serializer("e", [market, strategy])
        self.frames = FrameRing("e")
        self.custom = {"mine": b'{"depth":0}'}

    def tick(self) -> Frame:
        seq = self.frames.latest_seq + 1
        payload, index = self.serializer.encode(seq, seq * 100_000_000, seq, self.custom)
        return self.frames.publish(payload, index, seq, seq, {})

    def set(self, name: str, value: int) -> None:
        group, _, key = name.partition(":")
        parts = self.symbols if group == "symbol" else self.positions
        part = parts.setdefault(key, Thing(key))
        assert isinstance(part, Thing)
        part.set(value)


def view(world: World, **key: Any) -> View:
    return View(ViewKey(**key), DeflateCounters(Counters()))


def decode(payload: bytes) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(payload)
    return document


NAMES = [f"{group}:{key}" for group in ("symbol", "position") for key in ("AAPL", "AMZN", "MSFT")]
STEPS = st.lists(
    st.dictionaries(st.sampled_from(NAMES), st.none() | st.integers(0, 9), max_size=4), min_size=1, max_size=12
)


def change(world: World, step: dict[str, int | None]) -> None:
    for name, value in step.items():
        group, _, key = name.partition(":")
        if value is None:
            (world.symbols if group == "symbol" else world.positions).pop(key, None)
        else:
            world.set(name, value)


def filtered(
    snapshot: dict[str, Any], channels: frozenset[str] | None, symbols: frozenset[str] | None
) -> dict[str, Any]:
    """Returns what a view must hold, computed from the decoded snapshot."""
    head = {k: v for k, v in snapshot.items() if k in ("type", "seq", "epoch", "timestamp", "mono_ns", "age_ms")}
    body = {k: v for k, v in snapshot.items() if k not in head and (channels is None or k in channels)}
    if symbols is not None:
        if "market_data" in body:
            body["market_data"] = {k: v for k, v in body["market_data"].items() if k in symbols}
        if "strategy" in body:
            positions = [p for p in body["strategy"]["positions"] if p["symbol"] in symbols]
            body["strategy"] = {**body["strategy"], "positions": positions}
    return {**head, **body}


@given(
    STEPS,
    st.none() | st.frozensets(st.sampled_from(["market_data", "strategy", "mine"]), min_size=1),
    st.none() | st.frozensets(st.sampled_from(["AAPL", "AMZN", "ZZZ"]), min_size=1),
)
def test_a_full_view_is_the_filtered_snapshot(
    steps: list[dict[str, int | None]], channels: frozenset[str] | None, symbols: frozenset[str] | None
) -> None:
    world = World()
    mine = view(world, channels=channels, symbols=symbols)
    for step in steps:
        change(world, step)
        frame = world.tick()
        assert decode(mine.full(frame).payload) == filtered(decode(frame.payload), channels, symbols)


def apply(state: dict[str, Any], delta: dict[str, Any]) -> None:
    """Applies a delta as a client does."""
    for *path, key in delta["removed"]:
        target = state
        for name in path:
            target = target[name]
        if isinstance(target, list):
            target[:] = [member for member in target if member["symbol"] != key]
        else:
            target.pop(key, None)
    for name, value in delta.items():
        if name == "removed":
            continue
        if name == "market_data":
            state[name].update(value)
        elif name == "strategy":
            for position in value.pop("positions", []):
                known = state[name]["positions"]
                index = next((i for i, p in enumerate(known) if p["symbol"] == position["symbol"]), len(known))
                known[index : index + 1] = [position]
            state[name].update(value)
        else:
            state[name] = value


def test_a_view_can_be_cut_out_of_any_frame_that_is_still_held() -> None:
    world = World()
    frames = []
    for number in range(20):
        world.set(f"symbol:{'ABCD'[number % 4]}", 10**number)
        if number % 7 == 6:
            world.symbols.pop("B")
        frames.append(world.tick())
    for frame in reversed(frames):
        for symbols in (None, frozenset({"A", "B"})):
            mine = view(world, channels=frozenset({"market_data"}), symbols=symbols)
            wanted = filtered(decode(frame.payload), mine.key.channels, symbols)
            assert decode(mine.full(frame).payload) == wanted
            assert decode(mine.delta(frame).payload)["seq"] == frame.seq


@given(STEPS, st.none() | st.frozensets(st.sampled_from(["AAPL", "AMZN"]), min_size=1))
def test_deltas_add_up_to_the_full_view(steps: list[dict[str, int | None]], symbols: frozenset[str] | None) -> None:
    world = World()
    mine = view(world, symbols=symbols, is_delta=True)
    state = decode(mine.full(world.tick()).payload)
    for number, step in enumerate(steps):
        change(world, step)
        world.total.set(number // 2)
        frame = world.tick()
        delta = decode(mine.delta(frame).payload)
        assert (delta["type"], delta["prev_seq"]) == ("metrics_delta", frame.seq - 1)
        apply(state, delta)
        state.pop("prev_seq")
        want = decode(mine.full(frame).payload)
        got = {**state, "type": "metrics_update"}
        for document in (want, got):
            document["strategy"]["positions"].sort(key=lambda position: position["symbol"])
        assert got == want


def test_a_delta_holds_only_what_changed() -> None:
    world = World()
    world.set("symbol:AAPL", 1)
    world.set("symbol:AMZN", 1)
    mine = view(world, is_delta=True)
    world.tick()
    world.set("symbol:AMZN", 2)
    delta = decode(mine.delta(world.tick()).payload)
    assert delta["market_data"] == {"AMZN": {"symbol": "AMZN", "value": 2}}
    assert "strategy" not in delta
    assert "mine" not in delta


def test_a_custom_collector_that_becomes_null_is_in_the_delta() -> None:
    world = World()
    mine = view(world, is_delta=True)
    world.tick()
    world.custom["mine"] = b"null"
    assert decode(mine.delta(world.tick()).payload)["mine"] is None


def test_all_clients_of_a_view_get_the_same_message() -> None:
    world = World()
    mine = view(world, channels=frozenset({"strategy"}))
    frame = world.tick()
    assert mine.full(frame) is mine.full(frame)
    assert mine.full(world.tick()) is not mine.full(frame)


def test_the_view_of_everything_is_the_frame_itself() -> None:
    world = World()
    frame = world.tick()
    message = view(world).full(frame)
    assert message.buffer is frame.buffer


def make_views(**limits: int) -> Views:
    return Views(World().frames, DeflateCounters(Counters()), ViewLimits(**limits))


def of_symbol(name: str) -> ViewKey:
    return ViewKey(symbols=frozenset({name}))


def test_views_are_bounded_and_free_again_without_clients() -> None:
    views = make_views(views=1)
    first = views.enter(of_symbol("A"), "a")
    assert first is not None
    assert views.enter(of_symbol("B"), "b") is None
    assert views.enter(of_symbol("A"), "b") is first
    views.leave(first)
    assert views.enter(of_symbol("B"), "b") is None
    views.leave(first)
    assert views.enter(of_symbol("B"), "b") is not None


def test_an_address_with_all_its_views_keeps_no_other_from_its_own() -> None:
    views = make_views(views=3, views_per_address=2)
    held = [views.enter(of_symbol(name), "greedy") for name in "ABC"]
    assert [view is not None for view in held] == [True, True, False]
    assert views.enter(of_symbol("D"), "modest") is not None
    assert views.enter(of_symbol("E"), "modest") is None
    assert held[0] is not None
    views.leave(held[0])
    assert views.enter(of_symbol("F"), "greedy") is not None


def test_a_view_without_symbols_is_free_whatever_others_have() -> None:
    views = make_views(views=1, channel_views=2)
    assert views.enter(of_symbol("A"), "a") is not None
    assert views.enter(EVERYTHING, "a") is views.everything
    by_channel = [views.enter(ViewKey(channels=frozenset({name})), "a") for name in ("one", "two", "three")]
    assert [view is not None for view in by_channel] == [True, True, False]
    assert by_channel[0] is not None
    views.leave(by_channel[0])
    assert views.enter(ViewKey(channels=frozenset({"three"})), "b") is not None


def test_the_channels_are_the_sections_and_custom_collectors() -> None:
    world = World()
    world.tick()
    assert Views(world.frames, DeflateCounters(Counters())).channels == ("market_data", "strategy", "mine")
