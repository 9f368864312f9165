"""The OpenAPI description and the server that serves it: requests made from the description alone, valid and invalid,
are answered as described."""

from __future__ import annotations

import http.client
import json
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server_process import TIMEOUT_SECONDS, Server

EXAMPLES: Final = 25
# Times that stay within the years of the description at every offset.
FIRST_SECOND: Final = int(datetime(1980, 1, 2, tzinfo=UTC).timestamp())
LAST_SECOND: Final = int(datetime(2259, 12, 30, tzinfo=UTC).timestamp())
Schema = dict[str, Any]

# Values that match no schema, and many that almost match one.
JUNK: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(["NaN", "1_0", "+5", " 5", "\u0665", "1e999", "0x5", "-1", "18446744073709551616", "null", ""]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


@dataclass(frozen=True)
class Answer:
    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True)
class Operation:
    """One method of one path, as described."""

    method: str
    path: str
    parameters: list[dict[str, Any]]
    body: Schema | None
    responses: dict[str, Any]


class Description:
    """The description of one server, and requests made from it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._document = server.get("/openapi.json")

    def operations(self) -> Iterator[Operation]:
        for path, methods in self._document["paths"].items():
            for method, operation in methods.items():
                content = operation.get("requestBody", {}).get("content", {})
                body = content.get("application/json", {}).get("schema")
                yield Operation(method.upper(), path, operation["parameters"], body, operation["responses"])

    def values(self, schema: Schema) -> st.SearchStrategy[Any]:
        """Returns values that a schema allows. It knows only the keywords that the description uses."""
        if "$ref" in schema:
            return self.values(self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return st.one_of([self.values(alternative) for alternative in schema[keyword]])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        match schema["type"]:
            case "null":
                return st.none()
            case "boolean":
                return st.booleans()
            case "integer":
                return st.integers(schema.get("minimum"), schema.get("maximum"))
            case "number":
                low, high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
                return st.floats(
                    schema.get("minimum") if low is None else float(low),
                    None if high is None else float(high),
                    exclude_min=low is not None,
                    exclude_max=high is not None,
                    allow_nan=False,
                    allow_infinity=False,
                )
            case "array":
                return st.lists(
                    self.values(schema["items"]),
                    min_size=schema.get("minItems", 0),
                    max_size=min(schema.get("maxItems", 3), 3),
                )
            case "string":
                return _texts(schema)
            case "object":
                required = schema.get("required", [])
                if "properties" not in schema:
                    values = self.values(schema.get("additionalProperties", {"type": "string"}))
                    return st.dictionaries(st.text(max_size=5), values, max_size=3)
                fields = {name: self.values(of) for name, of in schema["properties"].items()}
                return st.fixed_dictionaries(
                    {name: fields[name] for name in required},
                    optional={name: of for name, of in fields.items() if name not in required},
                )
            case other:
                raise AssertionError(f"type {other!r} is not known to this test")

    def ask(self, operation: Operation, parameters: dict[str, Any], body: Any = None) -> Answer:
        path = operation.path
        query = []
        fields = {} if operation.body is None else {"Content-Type": "application/json"}
        for parameter in operation.parameters:
            if parameter["name"] not in parameters:
                continue
            value = parameters[parameter["name"]]
            text = value if isinstance(value, str) else json.dumps(value)
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(text, safe=""))
            elif parameter["in"] == "header":
                fields[parameter["name"]] = quote(text)
            elif value is not None:
                query.append((parameter["name"], text))
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(
                operation.method,
                f"{path}?{urlencode(query)}" if query else path,
                None if operation.body is None else json.dumps(body),
                fields,
            )
            with connection.getresponse() as response:
                media_type = (response.getheader("Content-Type") or "").partition(";")[0]
                # An event stream has no end.
                content = b"" if media_type == "text/event-stream" else response.read()
                return Answer(response.status, media_type, content)
        finally:
            connection.close()


def _texts(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        seconds = st.integers(FIRST_SECOND, LAST_SECOND)
        return st.builds(
            lambda s, hours: datetime.fromtimestamp(s, timezone(timedelta(hours=hours))).isoformat(),
            seconds,
            st.integers(-12, 14),
        )
    if "pattern" in schema and not schema["pattern"].startswith("^[^"):
        return st.from_regex(schema["pattern"], fullmatch=True, alphabet=string.printable)
    letters = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
    sizes = {"min_size": max(schema.get("minLength", 1), 1), "max_size": min(schema.get("maxLength", 20), 20)}
    # Dot segments are never values of a path parameter.
    return st.text(letters, **sizes).filter(lambda text: text not in (".", ".."))


@pytest.fixture(scope="module")
def description(demo_server: Server) -> Description:
    return Description(demo_server)


def assert_as_described(operation: Operation, answer: Answer) -> None:
    said = f"{operation.method} {operation.path} answered {answer.status} {answer.media_type} {answer.body[:300]!r}"
    assert answer.status < 500 or str(answer.status) in operation.responses, said
    described = operation.responses.get(str(answer.status))
    assert described is not None, f"{said}, which is not described"
    assert answer.media_type in described["content"], f"{said}, which is not described"
    if answer.media_type.endswith("json"):
        document = json.loads(answer.body)
        assert answer.status < 400 or document["status"] == answer.status, said


def draw_request(
    description: Description, operation: Operation, data: st.DataObject, values: st.SearchStrategy[Any] | None = None
) -> tuple[dict[str, Any], Any]:
    """Returns the parameters and the body of a request, with allowed values or with `values`."""
    parameters = {
        parameter["name"]: data.draw(
            description.values(parameter["schema"]) if values is None else values, label=parameter["name"]
        )
        for parameter in operation.parameters
        if parameter["required"] or data.draw(st.booleans())
    }
    if operation.body is None:
        return parameters, None
    body = data.draw(description.values(operation.body), label="body")
    if values is not None and body:
        places = range(len(body)) if isinstance(body, list) else sorted(body)
        body[data.draw(st.sampled_from(places))] = data.draw(values, label="junk")
    return parameters, body


example_requests = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def for_examples(operation: Operation, check: Callable[[Operation, st.DataObject], None]) -> None:
    @example_requests
    @given(data=st.data())
    def check_example(data: st.DataObject) -> None:
        check(operation, data)

    check_example()


def test_allowed_requests_are_answered_as_described(description: Description) -> None:
    def check(operation: Operation, data: st.DataObject) -> None:
        parameters, body = draw_request(description, operation, data)
        answer = description.ask(operation, parameters, body)
        assert_as_described(operation, answer)
        # No schema says that two times may contradict each other, that a quantity must not be 0, how many digits a
        # number may have, that an event needs one of two values, or that a price may be 0 but not almost; nor which
        # channels there are and which currencies a rate may have.
        contradictions = (
            b"time", b"xpected more than 0", b"xpected less than 0", b"xpected either", b"xpected another",
            b"xpected a quantity", b"at least 1e-18", b"no channel", b"cannot be converted",
            b"digits before the point", b"digits after the point", b"xpected 0 or",
        )  # fmt: skip
        is_allowed = answer.status != 422 or any(text in answer.body for text in contradictions)
        assert is_allowed, f"refused {parameters} {body}: {answer.body!r}"

    for operation in description.operations():
        for_examples(operation, check)


def test_requests_that_are_not_allowed_are_refused_as_described(description: Description) -> None:
    def check(operation: Operation, data: st.DataObject) -> None:
        parameters, body = draw_request(description, operation, data, JUNK)
        assert_as_described(operation, description.ask(operation, parameters, body))

    for operation in description.operations():
        if operation.parameters or operation.body is not None:
            for_examples(operation, check)


def test_every_operation_answers_a_request_without_parameters(description: Description) -> None:
    operations = list(description.operations())
    assert len(operations) > 15
    for operation in operations:
        parameters = {parameter["name"]: "x" for parameter in operation.parameters if parameter["in"] == "path"}
        answer = description.ask(operation, parameters, {})
        assert_as_described(operation, answer)
        # An object without a type is a rejected event, not a bad request; a silence needs an author.
        assert answer.status in (200, 404) or b'"rejected"' in answer.body or b"is required" in answer.body


def test_a_value_out_of_bounds_is_refused(description: Description) -> None:
    for operation in description.operations():
        for parameter in operation.parameters:
            for bound, step in (("minimum", -1), ("maximum", 1)):
                if bound in parameter["schema"]:
                    beyond = {parameter["name"]: parameter["schema"][bound] + step}
                    answer = description.ask(operation, beyond)
                    assert answer.status == 422, f"{operation.path} takes {beyond}"
