"""The OpenAPI description, made from the routing table, from the Structs that requests are decoded to, and from the
schemas of answers."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc
from typing import Any

import msgspec

from observability.clocks.timestamps import MAX_NS
from observability.events import EVENT_TYPES, AnyEvent
from observability.http11.refusals import REASONS
from observability.routing.parameters import TimeNs
from observability.routing.router import API_PREFIX, Parameter, Route, RouteDescription, Router
from observability.schemas.answers import ANSWERS, PROBLEM
from observability.schemas.builders import Schema, components, example_of
from observability.schemas.event_fields import event_field
from observability.version import VERSION

_PROBLEM_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of API_TOKENS. Writing needs one with the role write once there are any; until then it "
        "is taken from programs of the server's own host and user only. Reading needs one once there is any with the "
        "role read.",
    },
    "query": {"type": "apiKey", "in": "query", "name": "token", "description": "The same, where no field can be sent."},
}
# What a role adds to an operation: the schemes that may be used, where the empty one stands for no token, and statuses.
_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "open": [],
    "read": [{}, {"bearer": []}, {"query": []}],
    "write": [{}, {"bearer": []}, {"query": []}],
}
_STATUSES = {"open": {421, 429}, "read": {400, 401, 421, 429}, "write": {400, 401, 403, 421, 429}}
# Of unknown parameters.
_API_STATUSES = {400, 422}
_DECIMAL_PATTERN = r"^-?[0-9]+(\.[0-9]+)?$"
_NO_CONTROLS_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]*$"
# The years of which 8 bytes of nanoseconds can express every moment, at any offset.
_YEAR_PATTERN = r"^(19[89][0-9]|2[01][0-9]{2}|22[0-5][0-9])-"
# Fields of events that are times; their type is a string (`observability.events` decodes it).
_TIME_FIELDS = ("ts", "decision_ts")
_NAMES = {kind.__name__: kind for kind in EVENT_TYPES}


def describe(router: Router) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document."""
    bodies = [kind for route in router.routes if (kind := route.description.request_type) is not None]
    schemas = _body_schemas(bodies)
    components(PROBLEM, schemas)
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(router.routes, key=lambda route: route.pattern):
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "observability", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def event_schemas() -> dict[str, Schema]:
    """Returns the schema of each type of event, by the name of its Struct."""
    return _body_schemas([AnyEvent])


def _operation(route: Route, schemas: dict[str, Schema]) -> dict[str, Any]:
    description = route.description
    answer = ANSWERS.get(route.name)
    content = {} if answer is None else {"schema": components(answer, schemas), "example": example_of(answer)}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": description.summary,
        "tags": list(description.tags),
        "parameters": [_parameter(parameter) for parameter in description.parameters],
        "responses": {
            str(status): _describe_response(status, description, content)
            for status in sorted(
                {*description.statuses, *_STATUSES[route.role]}
                | (_API_STATUSES if route.pattern.startswith(API_PREFIX) else set())
            )
        },
        "security": _SECURITY[route.role],
    }
    if description.request_type is not None:
        ((schema,), _) = _schemas([description.request_type])
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    ((schema,), _) = _schemas([parameter.kind])
    for alternative in (schema, *schema.get("anyOf", ())):
        _restrict(alternative)
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required,
        "description": parameter.description or schema.pop("description", ""),
        "schema": schema,
    }


def _refine(schema: dict[str, Any]) -> None:
    """Adds to a body's schema what msgspec leaves out: the form of decimals, and which strings are times. Takes away
    that an object has no further fields: those of an event are taken with a warning."""
    if schema.get("additionalProperties") is False:
        del schema["additionalProperties"]
    for name, field in schema.get("properties", {}).items():
        for alternative in (field, *field.get("anyOf", ())):
            if alternative.get("format") == "decimal":
                alternative["pattern"] = _DECIMAL_PATTERN
            elif alternative.get("type") == "string" and name in _TIME_FIELDS:
                alternative.update({"format": "date-time", "pattern": _YEAR_PATTERN})


def _restrict(schema: dict[str, Any]) -> None:
    """Adds to a parameter's schema what msgspec leaves out: the form of decimals, and that no string in a URL has
    control characters."""
    if schema.get("type") == "string" and "pattern" not in schema:
        is_decimal = schema.get("format") == "decimal"
        schema["pattern"] = _DECIMAL_PATTERN if is_decimal else _NO_CONTROLS_PATTERN


def _describe_response(status: int, description: RouteDescription, answer: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": REASONS[status]}
    content: dict[str, Any] = {}
    # A 503 may be a handler's document (`/health/ready`) or a problem of a server that is full.
    if status < 400 or status == 503:
        for media_type in description.media_types:
            content[media_type] = answer if media_type == "application/json" else {}
    if status >= 400:
        content["application/problem+json"] = {"schema": _PROBLEM_REFERENCE}
    # RFC 9110 section 15.4.5: a 304 has no content.
    if status != 304:
        response["content"] = content
    return response


def _body_schemas(kinds: Sequence[Any]) -> dict[str, Schema]:
    """Returns the schemas that bodies of these kinds refer to, by name."""
    _, schemas = _schemas(kinds)
    for name, schema in schemas.items():
        _refine(schema)
        if name in _NAMES:
            _explain(schema)
    return schemas


def _explain(schema: Schema) -> None:
    """Adds meanings, units and examples to the schema of an event."""
    kind = schema["properties"]["type"]["enum"][0]
    schema["description"] = cleandoc(schema["description"])
    schema["properties"]["type"]["description"] = "Tells the kind of event."
    for name, field in schema["properties"].items():
        found = event_field(kind, name)
        if found is not None:
            field["description"] = found.meaning
            if found.unit:
                field["x-unit"] = found.unit
            if found.example is not None:
                field["examples"] = [found.example]


def _schemas(kinds: Sequence[Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    return msgspec.json.schema_components(
        kinds, schema_hook=_schema_of_custom, ref_template="#/components/schemas/{name}"
    )


def _schema_of_custom(kind: type) -> dict[str, Any]:
    assert kind is TimeNs, kind
    return {
        "oneOf": [
            {"type": "string", "format": "date-time", "pattern": _YEAR_PATTERN},
            {"type": "integer", "minimum": 0, "maximum": MAX_NS, "description": "nanoseconds since the epoch"},
        ]
    }
