"""`/api/system` and `/health`: alerts, recent log lines, and whether the server is alive and ready."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import orjson
from msgspec import Meta, Struct

from observability.events import MAX_NAME_LENGTH, Severity
from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import NotFound, Unavailable
from observability.logs.log_book import LogBook
from observability.metrics.alerts.book import Stage, select_alerts
from observability.monitoring.acknowledgements import Acknowledger
from observability.monitoring.status import ServerStatus
from observability.rest.published import Published
from observability.routing.parameters import parameters_of, parse_query
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


class AcknowledgeQuery(Struct, frozen=True):
    """The query of `POST /api/system/alerts/acknowledge/{alert_id}`."""

    author: Annotated[Annotated[str, Meta(max_length=MAX_NAME_LENGTH)], Meta(description="who acknowledges")] = ""
    comment: Annotated[Annotated[str, Meta(max_length=1000)], Meta(description="what is being done")] = ""


class SystemRoutes:
    """The handlers."""

    def __init__(
        self, published: Published, status: ServerStatus, acknowledger: Acknowledger, log_book: LogBook
    ) -> None:
        self._published = published
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
        if not isinstance(everything, ReadyDocument):
            everything = await everything
        stage = _STAGES[wanted.state]
        if everything is not self._alerts_read_from:
            self._alerts_read_from, self._alerts = everything, orjson.loads(everything.body)
        document = self._alerts
        found = select_alerts(document["alerts"], stage, wanted.severity, wanted.limit)
        return json_response({**document, "alerts": found, "count": len(found)})

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
