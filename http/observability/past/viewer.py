"""One client that looks at the past: a subscriber of the stream to which frames of a recording are sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Protocol

import msgspec

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S, format_iso_ms, iso_or_none
from observability.encoding import encode_json
from observability.errors import StoreError
from observability.memory.counters import Counters
from observability.past.playback import MAX_STEP, Outcome, Playback, Shown, State
from observability.recorder.recording import Recording
from observability.routing.parameters import TimeNs, decode_custom
from observability.snapshot.frames import Documents, Frame
from observability.stream.broadcast import Receiver
from observability.stream.lanes import Lane, LaneArchive, Page, SymbolFilter
from observability.stream.state import StreamState
from observability.stream.subscriber import Subscriber
from observability.stream.subscriptions import (
    MAX_PAST_SPEED,
    ClientMessage,
    Subscription,
    SubscriptionError,
    WebSocketQuery,
    parse_message,
)
from observability.websocket.close_codes import CloseCode
from observability.websocket.connection import Accepted

logger = logging.getLogger(__name__)

PAGE_ENTRIES: Final = 500
# Of each lane; what is older is in the store.
ENTRIES_KEPT: Final = 1_000


class PastMessage(ClientMessage, frozen=True):
    """A message of a client that looks at the past."""

    time: TimeNs | None = None
    speed: Annotated[float, msgspec.Meta(gt=0, le=MAX_PAST_SPEED)] | None = None
    count: Annotated[int, msgspec.Meta(ge=-MAX_STEP, le=MAX_STEP)] = 1


_decoder: Final = msgspec.json.Decoder(PastMessage, dec_hook=decode_custom)


class Player(Protocol):
    """What a viewer needs from the player."""

    def add(self, viewer: Viewer) -> None: ...

    def kick(self) -> None:
        """Reads what viewers have asked for, soon."""

    def discard(self, viewer: Viewer) -> None: ...


class _Frames:
    """The frame that a viewer sees, as the only one of a source of frames."""

    def __init__(self) -> None:
        self.frame: Frame | None = None
        self.documents = Documents("", 0, {})

    @property
    def epoch(self) -> str:
        return "" if self.frame is None else self.frame.epoch

    @property
    def latest_seq(self) -> int:
        return 0 if self.frame is None else self.frame.seq

    def latest(self) -> Frame | None:
        return self.frame

    def find(self, seq: int) -> Frame | None:
        return self.frame if self.frame is not None and self.frame.seq == seq else None


class _Clock:
    """The time of the frame that a viewer sees."""

    def __init__(self, frames: _Frames, host_clock: Clock) -> None:
        self._frames = frames
        self._host_clock = host_clock

    def time_ns(self) -> int:
        frame = self._frames.frame
        return 0 if frame is None else frame.ts_ns

    def mono_ns(self) -> int:
        return self._host_clock.mono_ns()


class _PastFeed:
    """What the stream of a viewer comes from."""

    def __init__(self, host_clock: Clock, live: Mapping[str, Lane]) -> None:
        """`live` are the lanes of the live stream, whose archives are read."""
        self.frames = _Frames()
        self.event_clock: Clock = _Clock(self.frames, host_clock)
        self.lanes: dict[str, Lane] = {}
        self.lane_seq = 0
        """The newest entry that clients had by the frame."""
        self._live = live
        for name in live:
            self.restart_lane(name)

    def catch_up(self) -> None: ...

    def restart_lane(self, name: str) -> None:
        """Empties a lane, which continues after the entries that clients had by the frame."""
        live = self._live[name]
        archive = None if live.archive is None else _ArchiveUpTo(live.archive, lambda: lane.seq)
        lane = Lane(live.name, ENTRIES_KEPT, archive)
        lane.seq = self.lane_seq
        self.lanes[name] = lane

    async def follow(self, names: frozenset[str]) -> None:
        """Appends to lanes what clients had by the frame. Raises StoreError."""
        until = self.lane_seq
        for name in names:
            archive, lane = self._live[name].archive, self.lanes[name]
            while archive is not None and lane.seq < until and self.lanes[name] is lane:
                page = await archive.read_page(lane.seq, None, PAGE_ENTRIES)
                for entry in page.entries:
                    if lane.seq < entry.seq <= until:
                        lane.append(entry)
                if len(page.entries) < PAGE_ENTRIES or page.entries[-1].seq >= until:
                    lane.seq = max(lane.seq, until)


class _ArchiveUpTo:
    """The entries of an archive that the past has reached."""

    def __init__(self, archive: LaneArchive, newest_seq: Callable[[], int]) -> None:
        self._archive = archive
        self._newest_seq = newest_seq

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        newest = self._newest_seq()
        page = await self._archive.read_page(after_seq, symbols, limit)
        return Page(page.prev, [entry for entry in page.entries if entry.seq <= newest])


class _Alone:
    """The broadcast of a viewer, which the player sends to."""

    def __init__(self) -> None:
        self.clients_behind = 0
        self.clients: tuple[Receiver, ...] = ()

    def add(self, client: Receiver) -> None: ...

    def discard(self, client: Receiver) -> None: ...

    def leave_cohort(self, client: Receiver) -> None: ...

    def ping(self, client: Receiver) -> bool:
        return False

    def catch_up(self) -> None: ...


class PastState(StreamState):
    """The state of a stream that one viewer has for itself, and where in the past it is."""

    def __init__(self, live: StreamState, counters: Counters) -> None:
        self.past = _PastFeed(live.host_clock, live.feed.lanes)
        super().__init__(self.past, live.settings, _Alone(), live.host_clock, counters)
        self.state: State = "playing"
        self.speed = 1.0
        self.start_ns: int | None = None
        self.end_ns: int | None = None

    def describe(self, subscription: Subscription) -> dict[str, Any]:
        return {**super().describe(subscription), "past": self.to_json()}

    def to_json(self) -> dict[str, Any]:
        return {
            "time": iso_or_none(self.feed.event_clock.time_ns()),
            "state": self.state,
            "speed": self.speed,
            "start_time": iso_or_none(self.start_ns),
            "end_time": iso_or_none(self.end_ns),
        }


class Viewer(Subscriber):
    """A subscriber that is sent recorded frames, uncompressed: no other client is at the same place."""

    __slots__ = (
        "_anchor_mono_ns",
        "_anchor_ns",
        "_commands",
        "_follows",
        "_has_greeted",
        "_past",
        "_player",
        "playback",
    )

    def __init__(
        self, past: PastState, accepted: Accepted, query: WebSocketQuery, subscription: Subscription, player: Player
    ) -> None:
        super().__init__(past, accepted, query, subscription)
        assert query.at is not None
        self.deflate = None
        self.playback = Playback(round(past.settings.interval_seconds * NS_PER_S))
        self._past = past
        self._player = player
        self._follows: asyncio.Task[None] | None = None
        self._has_greeted = False
        self._anchor_ns, self._anchor_mono_ns = int(query.at), 0
        self._commands: list[PastMessage] = [PastMessage(type="seek", time=query.at)]
        if query.speed is not None:
            past.speed = query.speed or 1.0
            past.state = "playing" if query.speed else "paused"

    # -- the player

    def next_reads(self) -> list[Callable[[Recording], Outcome]]:
        """Returns what has to be read for this viewer now: what it has asked for, or the frames that are due."""
        if self._commands:
            return [self._read_of(command, at) for at, command in enumerate(self._commands)]
        past = self._past
        if past.state == "paused" or self.is_closing or not self._has_greeted or self.buffered_bytes():
            return []
        if self._follows is not None or self.lane_backlog:
            return []
        until_ns = None if past.state == "end" else self._now_past_ns()
        is_every = past.speed <= 1 or until_ns is None
        return [lambda recording: self.playback.play(recording, until_ns, is_every=is_every)]

    def take(self, outcomes: list[Outcome], start_ns: int | None, end_ns: int | None) -> int:
        """Sends what was read; returns the number of frames."""
        past = self._past
        past.start_ns, past.end_ns = start_ns, end_ns
        if self.is_closing:
            return 0
        commands, self._commands = self._commands[: len(outcomes)], self._commands[len(outcomes) :]
        if not commands:
            (outcome,) = outcomes
            return self._play(outcome)
        for command, outcome in zip(commands, outcomes, strict=True):
            self._carry_out(command, outcome)
        return 1

    def fail(self) -> None:
        """Tells the client that the recording cannot be read now."""
        for command in self._commands:
            self._send_error("unreadable", "the recording cannot be read now", command)
        self._commands.clear()
        if not self._has_greeted:
            self.close(CloseCode.TRY_AGAIN_LATER, "the recording cannot be read now")

    def _read_of(self, command: PastMessage, at: int) -> Callable[[Recording], Outcome]:
        is_replaced = any(later.type == "seek" for later in self._commands[at + 1 :])
        if command.type == "seek" and not is_replaced:
            assert command.time is not None
            time_ns = int(command.time)
            return lambda recording: self.playback.seek(recording, time_ns)
        if command.type == "step" and not is_replaced:
            return lambda recording: self.playback.step(recording, command.count)
        return _read_nothing

    def _carry_out(self, command: PastMessage, outcome: Outcome) -> None:
        past = self._past
        if command.type in ("seek", "step") and not outcome.shown and past.frames.latest() is None:
            self._send_error("no_recording", "nothing is recorded", command)
            self.close(CloseCode.TRY_AGAIN_LATER, "nothing is recorded")
            return
        if command.type == "play":
            past.speed = command.speed or past.speed
            past.state = "playing"
        elif command.type in ("pause", "step"):
            past.state = "paused"
        elif past.state == "end":
            past.state = "playing"
        if not self._has_greeted:
            self._has_greeted = True
            self._move_to(outcome.shown[-1])
            self._restart_lanes()
            super().on_open(b"")
            self._anchor(None)
            self.hold(False)
            return
        if outcome.shown:
            self._move_to(outcome.shown[-1])
        self._anchor(command.time if command.type == "seek" else None)
        self._send_past(id=command.id)
        if outcome.shown:
            self._restart_lanes()
            if self.view is not None:
                self._send_newest()

    def _play(self, outcome: Outcome) -> int:
        past = self._past
        if past.state == "paused":
            return 0
        if outcome.is_end and past.state != "end":
            past.state = "end"
            self._send_past()
        if outcome.skipped is not None:
            self._move_to(outcome.shown[-1])
            self._anchor(None)
            # Whole, whatever its number is.
            self.last_seq = -1
            start_ns, end_ns = outcome.skipped
            self._send_past(skipped={"start_time": format_iso_ms(start_ns), "end_time": format_iso_ms(end_ns)})
        for shown in outcome.shown:
            self._move_to(shown)
            self.send_frame(shown.frame)
        if outcome.shown:
            self._follow_lanes()
        return len(outcome.shown)

    def _move_to(self, shown: Shown) -> None:
        past = self._past.past
        if shown.frame.epoch != past.frames.epoch:
            # The numbers of two epochs have nothing to do with each other: a delta would be taken for the next.
            self.last_seq = -1
        past.frames.frame = shown.frame
        past.lane_seq = shown.lane_seq

    # -- time

    def _anchor(self, time_ns: int | None) -> None:
        """Lets the past go on from a time, or from that of the frame, now."""
        frame_ns = self._past.feed.event_clock.time_ns()
        self._anchor_ns = frame_ns if time_ns is None else max(frame_ns, time_ns)
        self._anchor_mono_ns = self._past.host_clock.mono_ns()

    def _now_past_ns(self) -> int:
        passed_ns = self._past.host_clock.mono_ns() - self._anchor_mono_ns
        return self._anchor_ns + round(passed_ns * self._past.speed)

    # -- lanes

    def _enter_lanes(self, since: dict[str, int | None]) -> None:
        feed = self._past.past
        for name in since:
            feed.restart_lane(name)
        super()._enter_lanes({name: feed.lane_seq if seq is None else seq for name, seq in since.items()})

    def _restart_lanes(self) -> None:
        """Lets the lanes continue after what clients had by the frame."""
        names = frozenset(self._lanes)
        self._leave_lanes(names)
        self._enter_lanes(dict.fromkeys(names))
        self.send_lanes()

    def _follow_lanes(self) -> None:
        feed, names = self._past.past, frozenset(self._lanes)
        if self._follows is None and any(feed.lanes[name].seq < feed.lane_seq for name in names):
            self._follows = self.loop.create_task(feed.follow(names), name="lanes of the past")
            self._follows.add_done_callback(self._on_followed)

    def _on_followed(self, follows: asyncio.Task[None]) -> None:
        self._follows = None
        if follows.cancelled():
            return
        error = follows.exception()
        if isinstance(error, StoreError):
            self.close(CloseCode.TRY_AGAIN_LATER, "the store cannot be read")
        elif error is not None:
            raise error
        elif not self.is_closing:
            self.send_lanes()

    # -- callbacks

    def on_open(self, answer: bytes) -> None:
        self.transport.write(answer)
        # Nothing can be answered before the first frame is read.
        self.is_held = True
        self._player.add(self)

    def on_closing(self) -> None:
        self._player.discard(self)
        super().on_closing()

    def on_closed(self) -> None:
        if self._follows is not None:
            self._follows.cancel()
        super().on_closed()

    def parse(self, message: bytes) -> ClientMessage:
        return parse_message(message, _decoder)  # type: ignore[arg-type]  # a decoder of a kind of ClientMessage

    def _answer(self, message: ClientMessage) -> None:
        if isinstance(message, PastMessage) and message.type in ("pause", "play", "seek", "step"):
            if message.type == "seek" and message.time is None:
                raise SubscriptionError("bad_message", "expected a time to seek")
            self._commands.append(message)
            self._player.kick()
        else:
            super()._answer(message)

    def _send_past(self, **members: Any) -> None:
        timestamp = self._stream.timestamp()
        past = self._past.to_json()
        self.send_text(encode_json({"type": "past", "id": None, "timestamp": timestamp, **members, "past": past}))

    def _send_error(self, code: str, message: str, command: PastMessage) -> None:
        self.send_text(encode_json({"type": "error", "id": command.id, "code": code, "message": message}))


def _read_nothing(recording: Recording) -> Outcome:
    return Outcome()
