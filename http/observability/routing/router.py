"""The routing table: the handler of a method and a path.

There are no redirects: `/a/` and `/a` are different paths.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from observability.access.authorization import Role
from observability.http11.documents import ReadyDocument
from observability.http11.messages import JSON, Request, Response
from observability.http11.parser import DEFAULT_MAX_BODY_BYTES
from observability.http11.refusals import MethodNotAllowed, NotFound, Unsupported, UpgradeRequired


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """An answer whose content is made piece by piece while the peer reads it."""

    head: Response
    """Its status and fields."""
    pieces: AsyncGenerator[bytes, None]
    """An exception cuts the connection, so that the peer does not take what it has for the whole."""


Answer = Response | ReadyDocument | StreamedResponse
# Gives the transport of an HTTP connection to another protocol, with what followed the request, and returns None; or
# returns or raises a refusal.
TakeTransport = Callable[[Request, asyncio.Transport, bytes, asyncio.Protocol], Response | None]

# RFC 9110 section 9.1 and RFC 5789. One of these that a path lacks is answered with 405, any other method with 501.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
API_PREFIX: Final = "/api/"
_DOT_SEGMENTS: Final = frozenset({".", ".."})
_NO_PARAMS: Final[dict[str, str]] = {}


@dataclass(frozen=True, slots=True)
class HandOver:
    """An answer whose content another protocol writes, which takes the connection's transport."""

    head: Response
    """Its status and fields."""
    take: Callable[[bytes, Request, asyncio.Transport, bytes, asyncio.Protocol], Response | None]
    """Called as a `TakeTransport`, with the encoded head before its arguments; it sends that first."""


Handler = Callable[..., Answer | HandOver | Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query or path parameter, as the description of the API shows it."""

    name: str
    kind: Any = str
    description: str = ""
    required: bool = False
    where: str = "query"


@dataclass(frozen=True, slots=True)
class Content:
    """The content that the requests of a route may have."""

    media_types: tuple[bytes, ...] = (JSON,)
    """The first one is assumed if a request names none."""
    max_bytes: int = DEFAULT_MAX_BODY_BYTES
    """Before and after decompression."""


@dataclass(frozen=True, slots=True, eq=False)
class RouteDescription:
    """What the description of the API says about a route. Routing does not depend on it."""

    summary: str = ""
    tags: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    request_type: Any = None
    statuses: tuple[int, ...] = (200,)
    media_types: tuple[str, ...] = ("application/json",)
    """The media types of answers other than refusals, which are problem documents."""


UNDESCRIBED: Final = RouteDescription()


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One method of one path."""

    method: str
    pattern: str
    handler: Handler
    name: str
    """Unique; the operation's id in the description of the API."""
    role: Role
    content: Content | None
    """None if requests have none: what they send nevertheless is dropped as it arrives."""
    description: RouteDescription
    refuses_query: bool
    """Whether it has no query parameters, and says so to those that send some."""


@dataclass(slots=True, eq=False)
class Resource:
    """Everything that one path pattern has."""

    pattern: str
    segments: tuple[str, ...]
    routes: dict[str, Route] = field(default_factory=dict)
    websocket_role: Role | None = None
    """The role that an upgrade of this path needs; None if it has no WebSocket."""

    @property
    def is_websocket(self) -> bool:
        return self.websocket_role is not None

    @property
    def allow(self) -> str:
        """The value of Allow: the methods of this path, including those answered without a route."""
        methods = set(self.routes) | {"OPTIONS"}
        if self.is_websocket:
            methods.add("GET")
        if "GET" in methods:
            methods.add("HEAD")
        return ", ".join(sorted(methods))

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """Returns the parameters of a path with these segments, None if it does not match the pattern."""
        params = {}
        for mine, theirs in zip(self.segments, segments, strict=True):
            if mine[:1] == "{":
                # A dot segment is not a parameter, so that no path reaches another one through it.
                if not theirs or theirs in _DOT_SEGMENTS:
                    return None
                params[mine[1:-1]] = theirs
            elif mine != theirs:
                return None
        return params


class Router:
    """The routing table. Paths without parameters are in a dictionary, the others in a list in the order added."""

    def __init__(self) -> None:
        self._static: dict[str, Resource] = {}
        self._dynamic: list[Resource] = []

    @property
    def routes(self) -> list[Route]:
        """All routes; those of one path in the order added."""
        return [route for resource in self.resources for route in resource.routes.values()]

    @property
    def resources(self) -> list[Resource]:
        return [*self._static.values(), *self._dynamic]

    def add(
        self,
        method: str,
        pattern: str,
        handler: Handler,
        *,
        name: str = "",
        role: Role | None = None,
        content: Content | None = None,
        description: RouteDescription = UNDESCRIBED,
    ) -> Route:
        """Adds a route for a pattern such as `/a/{name}/b`; HEAD and OPTIONS are answered without one.

        The role that a request needs is by default `read` for GET and `write` for any other method.
        """
        assert method in METHODS - {"HEAD", "OPTIONS"}, f"method {method!r}: expected one that a route can have"
        resource = self._resource(pattern)
        assert method not in resource.routes, f"{method} {pattern}: added twice"
        route = Route(
            method,
            pattern,
            handler,
            name or getattr(handler, "__name__", pattern),
            role or ("read" if method == "GET" else "write"),
            content,
            description,
            _refuses_query(pattern, description),
        )
        resource.routes[method] = route
        return route

    def replace_handler(self, name: str, handler: Handler, further: Sequence[Parameter] = ()) -> None:
        """Lets another handler answer the requests of a route, which may have further parameters then."""
        (resource, route) = next(
            (resource, route) for resource in self.resources for route in resource.routes.values() if route.name == name
        )
        description = route.description
        if further:
            description = replace(description, parameters=(*description.parameters, *further))
        resource.routes[route.method] = replace(
            route, handler=handler, description=description, refuses_query=_refuses_query(route.pattern, description)
        )

    def add_websocket(self, path: str, role: Role = "read") -> None:
        """Offers upgrades of `path` to `Application.upgrade`. A plain GET is answered with 426, unless the path has a
        route for it."""
        resource = self._resource(path)
        assert path in self._static, f"{path}: a WebSocket path has no parameters"
        resource.websocket_role = role

    def is_websocket(self, path: str) -> bool:
        return self.websocket_role(path) is not None

    def websocket_role(self, path: str) -> Role | None:
        """Returns the role that an upgrade of `path` needs, None if it has no WebSocket."""
        resource = self._static.get(path)
        return None if resource is None else resource.websocket_role

    def find(self, path: str, segments: tuple[str, ...]) -> tuple[Resource, dict[str, str]]:
        """Returns the resource of a path, and the path's parameters; raises NotFound."""
        resource = self._static.get(path)
        if resource is not None:
            return resource, _NO_PARAMS
        count = len(segments)
        for candidate in self._dynamic:
            if len(candidate.segments) == count:
                params = candidate.match(segments)
                if params is not None:
                    return candidate, params
        raise NotFound

    def match(self, method: str, path: str, segments: tuple[str, ...]) -> tuple[Route, dict[str, str]]:
        """Returns the route of a method and a path, and the path's parameters; HEAD has the route of GET. Raises
        NotFound, MethodNotAllowed, UpgradeRequired or Unsupported."""
        # RFC 9110 section 15.6.2: 501 when the method is not recognized for any resource.
        if method not in METHODS:
            raise Unsupported("this method is not implemented")
        resource, params = self.find(path, segments)
        route = resource.routes.get("GET" if method == "HEAD" else method)
        if route is not None:
            return route, params
        if resource.is_websocket and method in ("GET", "HEAD"):
            raise UpgradeRequired
        raise MethodNotAllowed(resource.allow)

    def fixed_route(self, method: str, path: str) -> Route | None:
        """Returns the route of a path without parameters; None if there is none."""
        resource = self._static.get(path)
        return None if resource is None else resource.routes.get("GET" if method == "HEAD" else method)

    def _resource(self, pattern: str) -> Resource:
        assert pattern[:1] == "/" and "%" not in pattern, f"pattern {pattern!r}: expected a decoded path"
        segments = tuple(pattern[1:].split("/"))
        if not any(segment[:1] == "{" for segment in segments):
            return self._static.setdefault(pattern, Resource(pattern, segments))
        for resource in self._dynamic:
            if resource.pattern == pattern:
                return resource
        resource = Resource(pattern, segments)
        self._dynamic.append(resource)
        return resource


def _refuses_query(pattern: str, description: RouteDescription) -> bool:
    return pattern.startswith(API_PREFIX) and all(each.where != "query" for each in description.parameters)
