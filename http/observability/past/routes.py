"""The routes of the past: any recorded frame, and what is recorded."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, Final

import msgspec
import orjson
from msgspec import Meta, Struct

from observability.clocks.slices import in_slices
from observability.clocks.timestamps import MAX_NS, NS_PER_S, format_iso_ms, iso_or_none
from observability.config.config import LOG_LEVELS
from observability.encoding import encode_json
from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import NotFound, Refusal, Unavailable, Unprocessable
from observability.memory.layout import ALERTS_LANE, TRADES_LANE
from observability.metrics.trades.booking_queries import BookingSource
from observability.past.differences import Differences
from observability.past.marks import read_marks
from observability.past.playback import Shown
from observability.past.reader import RecordingReader
from observability.recorder.documents import LOGS, Document
from observability.recorder.recording import Cursor, Gap, Recording, Stretch
from observability.rest.bookings import LaterCorrections
from observability.rest.paging import store_errors
from observability.rest.published import RECORDED
from observability.rest.system import LogsQuery
from observability.routing.parameters import TimeNs, parameters_of, parse_query
from observability.routing.router import Parameter, RouteDescription, Router
from observability.snapshot.frames import Frame
from observability.store.reader import StoreReader
from observability.stream.lanes import Entry, LaneArchive

# Those asked for last, for clients that ask for the same.
DOCUMENTS_KEPT: Final = 16
# Of each kind, between the two frames of `around`.
MAX_EVENTS: Final = 500
# Of a second of the log each.
MAX_LOG_READS: Final = 2_000


class AtQuery(Struct, frozen=True):
    """The query of `GET /api/metrics/at`."""

    time: Annotated[TimeNs, Meta(description="the newest snapshot at or before this time is returned")]


class RangeQuery(Struct, frozen=True):
    """The query of `GET /api/recordings`."""

    start_time: Annotated[TimeNs | None, Meta(description="leaves out what ends before")] = None
    end_time: Annotated[TimeNs | None, Meta(description="leaves out what begins after")] = None


class MarksQuery(Struct, frozen=True):
    """The query of `GET /api/recordings/marks`."""

    start_time: Annotated[TimeNs, Meta(description="the earliest time")]
    end_time: Annotated[TimeNs, Meta(description="the latest time")]
    points: Annotated[int, Meta(ge=1, le=5000, description="the intervals that the time is divided into")] = 500


class AroundQuery(Struct, frozen=True):
    """The query of `GET /api/recordings/around`."""

    time: Annotated[TimeNs, Meta(description="such as that of an alert")]
    seconds: Annotated[int, Meta(ge=1, le=86_400, description="how long before and after it the snapshots are")] = 30


class DocumentQuery(Struct, frozen=True):
    """The query of `GET /api/recordings/documents/{name}`."""

    time: Annotated[TimeNs, Meta(description="the newest version at or before this time is returned")]


class PastLogsQuery(LogsQuery, frozen=True):
    """The query of `GET /api/recordings/logs`."""

    time: Annotated[TimeNs, Meta(description="no later line is returned")] = TimeNs(MAX_NS)


def without_playback(recordings: bytes) -> bytes:
    """Returns what a hub says of its recordings as an edge says it, which has the documents of the past and plays
    nothing."""
    return encode_json({**orjson.loads(recordings), "playback": False})


class PastRoutes:
    """The handlers."""

    def __init__(
        self,
        reader: RecordingReader,
        slices: asyncio.Lock,
        store: StoreReader | None,
        archives: Mapping[str, LaneArchive],
        bookings: BookingSource,
    ) -> None:
        """`archives` are those of the lanes."""
        self._reader = reader
        self._store = store
        self._archives = archives
        self._slices = slices
        self._bookings = bookings
        self._documents: OrderedDict[tuple[str, int, bytes], ReadyDocument] = OrderedDict()

    def add_to(self, router: Router) -> None:
        router.add(
            "GET",
            "/api/metrics/at",
            self.at,
            name="metrics_at",
            description=RouteDescription(
                "A past snapshot: the bytes that clients got",
                tags=("past",),
                parameters=parameters_of(AtQuery),
                statuses=(200, 304, 404, 503),
            ),
        )
        router.add(
            "GET",
            "/api/recordings",
            self.recordings,
            name="recordings",
            description=RouteDescription(
                "What is recorded: from when until when, and where frames are missing",
                tags=("past",),
                parameters=parameters_of(RangeQuery),
                statuses=(200, 503),
            ),
        )
        router.add(
            "GET",
            "/api/recordings/marks",
            self.marks,
            name="recording_marks",
            description=RouteDescription(
                "Fills and alerts in a stretch of time, as marks for a scrubber",
                tags=("past",),
                parameters=parameters_of(MarksQuery),
                statuses=(200, 503),
            ),
        )
        router.add(
            "GET",
            "/api/recordings/around",
            self.around,
            name="recording_around",
            description=RouteDescription(
                "What changed around a time: figures, symbols, positions; alerts and fills between",
                tags=("past",),
                parameters=parameters_of(AroundQuery),
                statuses=(200, 404, 503),
            ),
        )

        router.add(
            "GET",
            "/api/recordings/documents/{name}",
            self.document,
            name="recorded_document",
            description=RouteDescription(
                "A document as it was, recorded about every ten seconds",
                tags=("past",),
                parameters=(
                    Parameter("name", str, f"one of {', '.join(RECORDED)}", required=True, where="path"),
                    *parameters_of(DocumentQuery),
                ),
                statuses=(200, 404, 503),
            ),
        )
        router.add(
            "GET",
            "/api/recordings/logs",
            self.logs,
            name="recorded_logs",
            description=RouteDescription(
                "Recorded lines of the log by a time, newest first",
                tags=("past",),
                parameters=parameters_of(PastLogsQuery),
                statuses=(200, 503),
            ),
        )

    async def at(self, request: Request) -> ReadyDocument:
        query = parse_query(request, AtQuery)
        if not self._reader.exists:
            raise not_recorded(None, None)
        frame, start_ns, end_ns = await self._reader.run(_frame_at, query.time)
        if frame is None:
            raise not_recorded(start_ns, end_ns)
        # A snapshot has all that came before its time.
        later = await LaterCorrections.find(self._bookings, frame.ts_ns, frame.ts_ns + 1)
        document = self._document(frame, later.header)
        if document.must_be_compressed(request):
            await in_slices(document.compressing(), self._slices)
        return document

    async def recordings(self, request: Request) -> Response:
        query = parse_query(request, RangeQuery)
        content = await self._reader.run(_describe, query) if self._reader.exists else _NOTHING
        return json_response(
            {
                "recording": self._reader.is_recorded,
                "live": self._reader.is_live,
                "playback": self._reader.exists,
                **content,
            }
        )

    async def marks(self, request: Request) -> Response:
        query = parse_query(request, MarksQuery)
        if query.end_time < query.start_time:
            raise Unprocessable([{"parameter": "end_time", "error": "is before start_time"}])
        if self._store is None:
            raise Unavailable("this server has no store: it runs without DATA_DIR")
        with store_errors():
            return json_response(await read_marks(self._store, query.start_time, query.end_time, query.points))

    async def around(self, request: Request) -> Response:
        query = parse_query(request, AroundQuery)
        if not self._reader.exists:
            raise not_recorded(None, None)
        found, start_ns, end_ns = await self._reader.run(_frames_around, query.time, query.seconds * NS_PER_S)
        if found is None:
            raise not_recorded(start_ns, end_ns)
        first, last = found
        events, is_truncated = {}, False
        with store_errors():
            for name, archive in self._archives.items():
                if name in (TRADES_LANE, ALERTS_LANE):
                    page = await archive.read_page(first.lane_seq, None, MAX_EVENTS + 1)
                    entries = [entry for entry in page.entries if entry.seq <= last.lane_seq]
                    is_truncated |= len(entries) > MAX_EVENTS
                    events[name] = [_entry(entry) for entry in entries[:MAX_EVENTS]]
        document = await asyncio.to_thread(_differences, first.frame.payload, last.frame.payload)
        return json_response(
            {
                "time": format_iso_ms(query.time),
                "from": _named(first.frame),
                "to": _named(last.frame),
                **document,
                "alerts": events.get(ALERTS_LANE, []),
                "fills": events.get(TRADES_LANE, []),
                "truncated": document["truncated"] or is_truncated,
            }
        )

    async def document(self, request: Request, name: str) -> Response:
        query = parse_query(request, DocumentQuery)
        if name not in RECORDED:
            raise NotFound(f"no document of that name is recorded, expected one of {', '.join(RECORDED)}")
        found = await self._reader.run(_document_at, name, query.time) if self._reader.exists else None
        return json_response(
            {
                "name": name,
                "recorded": None if found is None else format_iso_ms(found.ts_ns),
                "document": None if found is None else orjson.Fragment(found.body),
                "reason": NOT_RECORDED if found is None else None,
            }
        )

    async def logs(self, request: Request) -> Response:
        query = parse_query(request, PastLogsQuery)
        lines = await self._reader.run(_lines_by, query) if self._reader.exists else []
        return json_response({"logs": lines, "count": len(lines)})

    def _document(self, frame: Frame, later: tuple[bytes, bytes]) -> ReadyDocument:
        key = frame.epoch, frame.seq, later[1]
        document = self._documents.pop(key, None)
        if document is None:
            document = ReadyDocument(frame.payload, f'"{frame.epoch}-{frame.seq}"'.encode(), headers=(later,))
        self._documents[key] = document
        while len(self._documents) > DOCUMENTS_KEPT:
            self._documents.popitem(last=False)
        return document


_NOTHING: Final[dict[str, Any]] = {
    "start_time": None, "end_time": None, "frames": 0, "size_bytes": 0, "stretches": [], "gaps": []
}  # fmt: skip


_decode_lines: Final = msgspec.json.Decoder(list[dict[str, Any]]).decode
NOT_RECORDED: Final = "nothing of it was recorded at or before this time"


def not_recorded(start_ns: int | None, end_ns: int | None) -> Refusal:
    """Returns the refusal of a time of which nothing is recorded."""
    detail = "nothing is recorded" if start_ns is None else "nothing is recorded at or before this time"
    return Refusal(404, detail, start_time=iso_or_none(start_ns), end_time=iso_or_none(end_ns))


def _frames_around(
    recording: Recording, time_ns: int, span_ns: int
) -> tuple[tuple[Shown, Shown] | None, int | None, int | None]:
    start_ns, end_ns = recording.start_ns(), recording.end_ns()
    place = recording.find(time_ns)
    if place is None:
        return None, start_ns, end_ns
    first = recording.find(time_ns - span_ns) or recording.first_place()
    last = recording.find_after(place, time_ns + span_ns) or place
    assert first is not None
    cursor = Cursor(recording)
    shown = [Shown(cursor.go(each), recording.record(each).lane_seq) for each in (first, last)]
    return (shown[0], shown[1]), start_ns, end_ns


def _differences(before: bytes, after: bytes) -> dict[str, Any]:
    found = Differences(orjson.loads(before), orjson.loads(after))
    return {
        "changes": found.changes,
        "symbols": found.symbols,
        "positions": found.positions,
        "truncated": found.is_truncated,
    }


def _named(frame: Frame) -> dict[str, Any]:
    return {"timestamp": format_iso_ms(frame.ts_ns), "epoch": frame.epoch, "seq": frame.seq}


def _entry(entry: Entry) -> dict[str, Any]:
    members: dict[str, Any] = orjson.loads(b"{%b}" % entry.members)
    return {"seq": entry.seq, **members}


def _frame_at(recording: Recording, time_ns: int) -> tuple[Frame | None, int | None, int | None]:
    place = recording.find(time_ns)
    if place is None:
        return None, recording.start_ns(), recording.end_ns()
    return Cursor(recording).go(place), None, None


def _document_at(recording: Recording, name: str, time_ns: int) -> Document | None:
    return recording.document(name, time_ns)


def _lines_by(recording: Recording, query: PastLogsQuery) -> list[Any]:
    """Returns lines of the level that is wanted or worse, newest first."""
    levels = LOG_LEVELS[LOG_LEVELS.index(query.level.upper()) :]
    lines: list[Any] = []
    for found in islice(recording.documents_back(LOGS, query.time), MAX_LOG_READS):
        recorded = (line for line in reversed(_decode_lines(found.body)) if line.get("level") in levels)
        lines += islice(recorded, query.limit - len(lines))
        if len(lines) == query.limit:
            break
    return lines


def _describe(recording: Recording, query: RangeQuery) -> dict[str, Any]:
    stretches = [each for each in recording.stretches() if _is_within(each, query)]
    return {
        "start_time": iso_or_none(min((each.start_ns for each in stretches), default=None)),
        "end_time": iso_or_none(max((each.end_ns for each in stretches), default=None)),
        "frames": sum(each.frames for each in stretches),
        "size_bytes": recording.size_bytes,
        "stretches": [
            {
                "start_time": format_iso_ms(each.start_ns),
                "end_time": format_iso_ms(each.end_ns),
                "epoch": each.epoch,
                "frames": each.frames,
            }
            for each in stretches
        ],
        "gaps": [
            {
                "start_time": format_iso_ms(each.start_ns),
                "end_time": format_iso_ms(each.end_ns),
                "frames": each.frames,
                "reason": "stopped" if each.frames is None else "dropped",
            }
            for each in recording.gaps()
            if _is_within(each, query)
        ],
    }


def _is_within(each: Stretch | Gap, query: RangeQuery) -> bool:
    return (query.start_time is None or each.end_ns >= query.start_time) and (
        query.end_time is None or each.start_ns <= query.end_time
    )
