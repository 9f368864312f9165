"""`POST /api/ingest`: batches of events over HTTP; and the webhook of an Alertmanager."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, Literal

import msgspec

from observability.encoding import encode_json
from observability.errors import EventError
from observability.events import AnyEvent
from observability.http11.messages import Request, Response, json_response, problem_response
from observability.http11.refusals import Headers, Refusal
from observability.ingest import alertmanager
from observability.ingest.answers import IngestAnswer
from observability.ingest.gate import MAX_EVENTS, MAX_KEY_CHARACTERS, Gate
from observability.routing.router import Content, RouteDescription, Router

# Holds the largest batch, of fills with every field.
MAX_BODY_BYTES: Final = 4 * 1024 * 1024

# No media type for lines of JSON is registered; these are in use.
_IS_LINES: Final = {
    b"application/json": False,
    b"application/x-ndjson": True,
    b"application/ndjson": True,
    b"application/jsonl": True,
    b"application/x-jsonlines": True,
}
# About two milliseconds of work.
_ALERTS_PER_SLICE: Final = 100
# draft-ietf-httpapi-idempotency-key-header section 2.1: a String of RFC 8941 section 3.3.3. Many clients send it bare.
_KEY: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])+)"|([!#-+\--\[\]-~]+)')
_ESCAPED: Final = re.compile(r"\\(.)")
_REPLAYED: Final = (b"Idempotent-Replayed", b"true")


class AlertmanagerMessage(msgspec.Struct):
    """What `POST /api/alertmanager/webhook` takes, of which it reads this."""

    alerts: list[AlertmanagerAlert]


class AlertmanagerAlert(msgspec.Struct):
    """One alert of an Alertmanager's message."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str]
    fingerprint: str
    startsAt: str  # noqa: N815
    endsAt: str  # noqa: N815
    generatorURL: str = ""  # noqa: N815


class IngestRoutes:
    """The handlers."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def add_to(self, router: Router) -> None:
        router.add(
            "POST",
            "/api/ingest",
            self.ingest,
            name="ingest",
            content=Content(tuple(_IS_LINES), MAX_BODY_BYTES),
            description=RouteDescription(
                f"Take events: one, an array, or lines of JSON as application/x-ndjson; at most {MAX_EVENTS}. "
                "Answered once what must be durable is on disk; again with the same Idempotency-Key, answered the same",
                tags=("ingest",),
                request_type=AnyEvent | list[AnyEvent],
                statuses=(200, 400, 409, 413, 415, 422, 503),
            ),
        )

        router.add(
            "POST",
            "/api/alertmanager/webhook",
            self.alertmanager,
            name="alertmanager_webhook",
            content=Content((b"application/json",), MAX_BODY_BYTES),
            description=RouteDescription(
                "Take the alerts that an Alertmanager sends to a webhook (version 4), as `alert` events",
                tags=("ingest",),
                request_type=AlertmanagerMessage,
                statuses=(200, 400, 413, 415, 422, 503),
            ),
        )

    async def alertmanager(self, request: Request) -> Response:
        try:
            alerts = alertmanager.alerts_of(request.body)
        except EventError as error:
            raise Refusal(422, str(error)) from None
        if len(alerts) > MAX_EVENTS:
            raise Refusal(413, f"expected at most {MAX_EVENTS} alerts")
        events: list[Any] = []
        for start in range(0, len(alerts), _ALERTS_PER_SLICE):
            events += alertmanager.events_of(alerts[start : start + _ALERTS_PER_SLICE])
            # So that no tick waits for all of them.
            await asyncio.sleep(0)
        if not events:
            return json_response({"accepted": 0})
        return _to_response(await asyncio.shield(self._gate.take(encode_json(events), source="http", is_lines=False)))

    async def ingest(self, request: Request) -> Response:
        # The head has been checked, so the media type is one of these.
        is_lines, key = _IS_LINES[request.media_type()], _idempotency_key(request)
        # A peer that disconnects cancels its request, but must not stop a batch half way.
        taking = self._gate.take(request.body, source="http", is_lines=is_lines, key=key)
        return _to_response(await asyncio.shield(taking))


def _idempotency_key(request: Request) -> str | None:
    value = request.header(b"idempotency-key")
    if value is None:
        return None
    match = _KEY.fullmatch(value.strip())
    if match is None or len(value) > MAX_KEY_CHARACTERS:
        raise Refusal(
            400, f"Idempotency-Key: expected one key of 1 to {MAX_KEY_CHARACTERS} characters, in quotes or bare"
        )
    quoted, bare = match.groups()
    return str(bare.decode("ascii")) if quoted is None else _ESCAPED.sub(r"\1", quoted.decode("ascii"))


def _to_response(answer: IngestAnswer) -> Response:
    headers: Headers = (_REPLAYED,) if answer.is_replayed else ()
    if answer.status < 400:
        return Response(answer.status, answer.body, headers=headers)
    if answer.retry_after_seconds is not None:
        headers += ((b"Retry-After", b"%d" % answer.retry_after_seconds),)
    members: dict[str, Any] = msgspec.json.decode(answer.body)
    return problem_response(Refusal(answer.status, members.pop("detail"), headers=headers, **members))
