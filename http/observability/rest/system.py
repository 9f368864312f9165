"""`/api/system` and `/health`: alerts, recent log lines, and whether the server is alive and ready."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import orjson
from msgspec import Meta, Struct

from observability.clocks.timestamps import MAX_NS
from observability.events import MAX_NAME_LENGTH, Name, Severity
from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import NotFound, Unavailable
from observability.logs.log_book import LogBook
from observability.metrics.alerts.book import Stage, select_alerts
from observability.metrics.alerts.occurrences import OccurrenceFilter, StoredOccurrences, page_of_memory
from observability.monitoring.acknowledgements import Acknowledger
from observability.monitoring.status import ServerStatus
from observability.rest.paging import DEFAULT_LIMIT, Cursor, Limit, plain, store_errors, until_ns
from observability.rest.published import Published
from observability.routing.parameters import TimeNs, parameters_of, parse_query
from observability.routing.router import Parameter, RouteDescription, Router

_STAGES: Final[dict[str, Stage | None]] = {
    "active": "active", "raised": "active", "acknowledged": "acknowledged", "resolved": "resolved", "all": None
}  # fmt: skip


class LogsQuery(Struct, frozen=True):
    """The query of `GET /api/system/logs/recent`."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        Meta(description="least severe lines wanted"),
    ] = "debug"
    limit: Annotated[int, Meta(ge=1, le=1000, description="lines wanted")] = 100


class AlertsQuery(Struct, frozen=True):
    """The query of `GET /api/system/alerts`."""

    state: Annotated[
        Literal["active", "raised", "acknowledged", "resolved", "all"],
        Meta(description="how far alerts have come; `raised` is `active`"),
    ] = "all"
    severity: Annotated[Severity | None, Meta(description="only this severity")] = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="alerts wanted")] = 1000


class OccurrencesQuery(Struct, frozen=True):
    """The query of `GET /api/system/alerts/history`."""

    alert_id: Annotated[Name | None, Meta(description="only occurrences of this alert")] = None
    rule: Annotated[Name | None, Meta(description="only of this rule")] = None
    severity: Annotated[Severity | None, Meta(description="only this severity")] = None
    start_time: Annotated[TimeNs | None, Meta(description="first moment wanted, of the beginning")] = None
    end_time: Annotated[TimeNs | None, Meta(description="first moment no longer wanted")] = None
    time: Annotated[TimeNs | None, Meta(description="leaves out what came later")] = None
    limit: Annotated[Limit | None, Meta(description="occurrences per page, 100 if absent")] = None
    cursor: Annotated[Cursor | None, Meta(description="`next_cursor` of the page before")] = None


class AcknowledgeQuery(Struct, frozen=True):
    """The query of `POST /api/system/alerts/acknowledge/{alert_id}`."""

    author: Annotated[Annotated[str, Meta(max_length=MAX_NAME_LENGTH)], Meta(description="who acknowledges")] = ""
    comment: Annotated[Annotated[str, Meta(max_length=1000)], Meta(description="what is being done")] = ""


class SystemRoutes:
    """The handlers."""

    def __init__(
        self,
        published: Published,
        status: ServerStatus,
        acknowledger: Acknowledger,
        log_book: LogBook,
        occurrences: StoredOccurrences | None = None,
    ) -> None:
        """`occurrences` is None without a store."""
        self._published = published
        self._occurrences = occurrences
        self._status = status
        self._acknowledger = acknowledger
        self._log_book = log_book
        # Alerts as they are in one version of their document: reading it costs milliseconds, once per tick at most.
        self._alerts_read_from: ReadyDocument | None = None
        self._alerts: dict[str, Any] = {}

    def add_to(self, router: Router) -> None:
        router.add(
            "GET",
            "/api/system/alerts",
            self.alerts,
            name="system_alerts",
            description=RouteDescription(
                "Alerts, those not acknowledged first",
                tags=("system",),
                parameters=parameters_of(AlertsQuery),
                statuses=(200, 304, 400, 422),
            ),
        )
        router.add(
            "GET",
            "/api/system/alerts/history",
            self.occurrences,
            name="alert_history",
            description=RouteDescription(
                "Every occurrence of alerts, newest first",
                tags=("system",),
                parameters=parameters_of(OccurrencesQuery),
                statuses=(200, 400, 422, 503),
            ),
        )
        router.add(
            "GET",
            "/api/system/logs/recent",
            self.recent_logs,
            name="recent_logs",
            description=RouteDescription(
                "Recent log lines, newest first",
                tags=("system",),
                parameters=parameters_of(LogsQuery),
                statuses=(200, 400, 422),
            ),
        )
        router.add(
            "POST",
            "/api/system/alerts/acknowledge/{alert_id}",
            self.acknowledge,
            name="acknowledge_alert",
            description=RouteDescription(
                "Acknowledge an alert; again is no error",
                tags=("system",),
                statuses=(200, 404, 422, 503),
                parameters=(
                    *parameters_of(AcknowledgeQuery),
                    Parameter("alert_id", str, "as `GET /api/system/alerts` gives it", required=True, where="path"),
                ),
            ),
        )
        router.add(
            "GET",
            "/health",
            self.health,
            name="health",
            role="open",
            description=RouteDescription("This server answers", tags=("health",)),
        )
        router.add(
            "GET",
            "/health/ready",
            self.ready,
            name="ready",
            role="open",
            description=RouteDescription("Every collector runs", tags=("health",), statuses=(200, 503)),
        )
        router.add(
            "GET",
            "/health/live",
            self.live,
            name="live",
            role="open",
            description=RouteDescription("Alive, and how long", tags=("health",)),
        )

    def health(self, request: Request) -> Response:
        return replace(json_response({"status": "healthy", "service": "observability"}), is_lasting=True)

    def ready(self, request: Request) -> Response:
        missing = self._status.not_ready()
        if missing:
            return json_response({"status": "not ready", "not_ready": missing}, 503)
        return json_response({"status": "ready"})

    def live(self, request: Request) -> Response:
        return json_response(self._status.live())

    def alerts(self, request: Request) -> ReadyDocument | Awaitable[Response | ReadyDocument]:
        if not request.query_parameters():
            return self._published.answer(request, "system_alerts")
        wanted = parse_query(request, AlertsQuery)
        return self._selected_alerts(self._published.document("system_alerts"), wanted)

    async def _selected_alerts(
        self, everything: ReadyDocument | Awaitable[ReadyDocument], wanted: AlertsQuery
    ) -> Response:
        stage = _STAGES[wanted.state]
        document = await self._read_alerts(everything)
        found = select_alerts(document["alerts"], stage, wanted.severity, wanted.limit)
        return json_response({**document, "alerts": found, "count": len(found)})

    async def _read_alerts(self, everything: ReadyDocument | Awaitable[ReadyDocument]) -> dict[str, Any]:
        if not isinstance(everything, ReadyDocument):
            everything = await everything
        if everything is not self._alerts_read_from:
            self._alerts_read_from, self._alerts = everything, orjson.loads(everything.body)
        return self._alerts

    async def occurrences(self, request: Request) -> Response:
        wanted = parse_query(request, OccurrencesQuery)
        matching = OccurrenceFilter(
            wanted.alert_id,
            wanted.rule,
            wanted.severity,
            plain(wanted.start_time),
            plain(wanted.end_time),
            until_ns(wanted.time) or MAX_NS,
        )
        limit = wanted.limit or DEFAULT_LIMIT
        if self._occurrences is None:
            page, next_seq = page_of_memory(
                (await self._read_alerts(self._published.document("system_alerts")))["alerts"], matching, limit
            )
        else:
            with store_errors():
                page, next_seq = await self._occurrences.page(matching, limit, plain(wanted.cursor))
        return json_response(
            {
                "occurrences": page,
                "count": len(page),
                "limit": limit,
                "next_cursor": None if next_seq is None else str(next_seq),
            }
        )

    async def recent_logs(self, request: Request) -> Response:
        wanted = parse_query(request, LogsQuery)
        lines = await self._log_book.recent(wanted.level, wanted.limit)
        return json_response({"logs": lines, "count": len(lines)})

    async def acknowledge(self, request: Request, alert_id: str) -> Response:
        wanted = parse_query(request, AcknowledgeQuery)
        acknowledged = await self._acknowledger.acknowledge(alert_id, wanted.author, wanted.comment)
        if acknowledged is None:
            raise NotFound("no alert of that id")
        if not acknowledged.is_on_disk:
            raise Unavailable("acknowledged, but not on disk yet; again is no error")
        return json_response({"status": "acknowledged", **acknowledged.alert.to_json()})
