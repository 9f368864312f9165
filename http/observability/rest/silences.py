"""`/api/system/silences`: alerts that are not delivered for a while."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_DAY
from observability.config.toml_tables import read_duration
from observability.events import MAX_NAME_LENGTH
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import NotFound, Unavailable, Unprocessable
from observability.monitoring.silencing import Silencer
from observability.notify.silences import MAX_SILENCES, Silence, new_silence_id
from observability.routing.parameters import TimeNs, parse_body
from observability.routing.router import Content, Parameter, RouteDescription, Router

MAX_SILENCE_NS: Final = 366 * NS_PER_DAY

Patterns = Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(max_length=100)]


class SilenceRequest(Struct, frozen=True):
    """What `POST /api/system/silences` takes."""

    author: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, description="who silences")]
    comment: Annotated[str, Meta(max_length=1000, description="why")] = ""
    rules: Annotated[Patterns, Meta(description="patterns for rules, or for keys of the engine; all if empty")] = []
    members: Annotated[Patterns, Meta(description="patterns for symbols, strategies, ...; all if empty")] = []
    duration: Annotated[str | None, Meta(description="such as 30m or 4h; or end_time")] = None
    end_time: Annotated[TimeNs | None, Meta(description="when the silence ends")] = None


class SilenceRoutes:
    """The handlers that change something; `GET` is a published document."""

    def __init__(self, silencer: Silencer, host_clock: Clock) -> None:
        self._silencer = silencer
        self._clock = host_clock

    def add_to(self, router: Router) -> None:
        router.add(
            "POST",
            "/api/system/silences",
            self.add,
            name="add_silence",
            content=Content(),
            description=RouteDescription(
                "Deliver no notices of some alerts for a while",
                tags=("system",),
                request_type=SilenceRequest,
                statuses=(201, 400, 415, 422, 503),
            ),
        )
        router.add(
            "DELETE",
            "/api/system/silences/{silence_id}",
            self.end,
            name="end_silence",
            description=RouteDescription(
                "End a silence",
                tags=("system",),
                statuses=(200, 404, 503),
                parameters=(
                    Parameter("silence_id", str, "as `GET /api/system/silences` gives it", required=True, where="path"),
                ),
            ),
        )

    async def add(self, request: Request) -> Response:
        wanted = parse_body(request, SilenceRequest)
        now_ns = self._clock.time_ns()
        silence = Silence(
            new_silence_id(),
            now_ns,
            _end_ns(wanted, now_ns),
            wanted.author,
            wanted.comment,
            tuple(wanted.rules),
            tuple(wanted.members),
        )
        added = await self._silencer.add_silence(silence)
        if added is None:
            raise Unavailable(f"there are {MAX_SILENCES} silences already")
        if not added.is_on_disk:
            raise Unavailable("silenced, but not on disk yet")
        return json_response(added.silence.to_json(), 201)

    async def end(self, request: Request, silence_id: str) -> Response:
        ended = await self._silencer.end_silence(silence_id)
        if ended is None:
            raise NotFound("no silence of that id, or it has ended")
        if not ended.is_on_disk:
            raise Unavailable("ended, but not on disk yet")
        return json_response(ended.silence.to_json())


def _end_ns(wanted: SilenceRequest, now_ns: int) -> int:
    if (wanted.duration is None) == (wanted.end_time is None):
        raise Unprocessable([{"parameter": "duration", "error": "expected either this or end_time"}])
    if wanted.end_time is not None:
        end_ns, name = int(wanted.end_time), "end_time"
    else:
        name = "duration"
        try:
            end_ns = now_ns + read_duration(wanted.duration)
        except ValueError:
            raise Unprocessable([{"parameter": name, "error": "expected a duration such as 30m or 4h"}]) from None
    if not now_ns < end_ns <= now_ns + MAX_SILENCE_NS:
        raise Unprocessable([{"parameter": name, "error": "expected an end in the future, within a year"}])
    return end_ns
