"""The OpenAPI description, made from the routing table and the Structs the handlers take.

No path or parameter is described anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from observability.core.version import VERSION
from observability.http.parameters import TimeNs
from observability.http.router import Parameter, Route, Router

PROBLEM = {"$ref": "#/components/schemas/Problem"}
_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}


def describe(router: Router) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document."""
    bodies = [route.request_type for route in router.routes if route.request_type is not None]
    _, schemas = _schemas(bodies)
    paths: dict[str, dict[str, Any]] = {}
    for route in router.routes:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "observability", "version": VERSION},
        "paths": paths,
        "components": {"schemas": {**schemas, "Problem": _PROBLEM_SCHEMA}},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": list(route.tags),
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": {str(status): _response(status) for status in route.statuses},
    }
    if route.request_type is not None:
        ((schema,), _) = _schemas([route.request_type])
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    ((schema,), _) = _schemas([parameter.kind])
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required,
        "description": parameter.description or schema.pop("description", ""),
        "schema": schema,
    }


def _response(status: int) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    if status < 400:
        return {"description": phrase}
    return {"description": phrase, "content": {"application/problem+json": {"schema": PROBLEM}}}


def _schemas(kinds: Sequence[Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    return msgspec.json.schema_components(
        kinds, schema_hook=_schema_of_custom, ref_template="#/components/schemas/{name}"
    )


def _schema_of_custom(kind: type) -> dict[str, Any]:
    if kind is TimeNs:
        return {
            "oneOf": [
                {"type": "string", "format": "date-time"},
                {"type": "integer", "description": "nanoseconds since the epoch"},
            ]
        }
    raise NotImplementedError(f"no schema of {kind}")
