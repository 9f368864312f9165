"""The URL of a source, taken apart: `scheme://user:password@host:port/path?name=value&name=value`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import parse_qsl, unquote, urlsplit

from observability.config.setting import shown
from observability.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """The parts of a URL, decoded."""

    text: str
    scheme: str
    host: str
    """Empty if there is none; an IPv6 address without its brackets."""
    port: int | None
    path: str
    user: str
    password: str
    parameters: Mapping[str, str]

    @property
    def address(self) -> str:
        """Host and port, as they stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def words(self, name: str) -> tuple[str, ...]:
        """Returns the words of a parameter that is a list separated by commas; none if it is absent."""
        return tuple(word for word in self.parameters.get(name, "").split(",") if word)

    def switch(self, name: str) -> bool:
        """Returns whether a parameter is 1; it is 0 if it is absent. Raises ConfigError."""
        value = self.parameters.get(name, "0")
        if value not in ("0", "1"):
            raise ConfigError([f"{name}: {shown(value)}, expected 0 or 1"])
        return value == "1"

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Returns a parameter that is a whole number in a range. Raises ConfigError."""
        value = self.parameters.get(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit() and len(value) < 19 and low <= int(value) <= high):
            raise ConfigError([f"{name}: {shown(value)}, expected an integer from {low} to {high}"])
        return int(value)


def parse_url(text: str, parameters: Collection[str], *, needs_port: bool = False) -> SourceUrl:
    """Takes a URL apart. `parameters` are the names that it may have after its `?`. Raises ConfigError with every
    fault."""
    faults = []
    try:
        split = urlsplit(text)
    except ValueError:
        raise ConfigError(["brackets, expected only around an address such as [::1]; in a password [ is %5B"]) from None
    query = parse_qsl(split.query, keep_blank_values=True)
    if "@" in split.path + split.fragment or any("@" in name for name, _ in query):
        # Whatever is said of its parts might show the password.
        raise ConfigError(["an @ after the host; in a password / is %2F, ? is %3F and # is %23"])
    port = None
    try:
        port = split.port
    except ValueError:
        faults.append("expected a port from 1 to 65535")
    if not split.hostname:
        faults.append("no host, expected scheme://HOST")
    elif port is None and needs_port and not faults:
        faults.append("no port, expected scheme://HOST:PORT")
    given: dict[str, str] = {}
    for name, value in query:
        if name not in parameters:
            near = get_close_matches(name, parameters, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            faults.append(f"{shown(name)} is not a parameter, expected one of {', '.join(sorted(parameters))}{hint}")
        elif name in given:
            faults.append(f"{name} is given twice")
        given[name] = value
    if split.fragment:
        faults.append("expected no # in it")
    if faults:
        raise ConfigError(faults)
    return SourceUrl(
        text=text,
        scheme=split.scheme,
        host=split.hostname or "",
        port=port,
        path=unquote(split.path),
        user=unquote(split.username or ""),
        password=unquote(split.password or ""),
        parameters=given,
    )
