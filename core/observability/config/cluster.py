"""The kinds of values that several machines need: the servers that connect them, and the names of desks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from observability.config.setting import Kind, accepted, shown
from observability.config.source_urls import MAX_URL_CHARACTERS, without_secrets

_URL = re.compile(r"nats://[!-~]+")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
# Of one aggregator. Each has a connection of its own.
MAX_SITES = 64


@dataclass(frozen=True, slots=True)
class EngineUrl(Kind):
    """The servers of one NATS cluster, and how to log in; None means that this host is alone."""

    metavar: ClassVar[str] = "URL"

    @property
    def expected(self) -> str:
        return "nats://HOST:PORT, further servers after commas, and ?creds=FILE or another login behind them"

    def parse(self, text: str) -> object:
        if not self.accepts(text):
            raise ValueError(self.shown(text))
        return text

    def accepts(self, value: object) -> bool:
        return value is None or (
            isinstance(value, str) and len(value) <= MAX_URL_CHARACTERS and _URL.fullmatch(value) is not None
        )

    def format(self, value: object) -> str:
        return "" if value is None else without_secrets(str(value))

    def shown(self, value: object) -> str:
        return shown(self.format(value))


@dataclass(frozen=True, slots=True)
class DeskName(Kind):
    """A name that is part of subjects and of names of streams."""

    metavar: ClassVar[str] = "NAME"

    @property
    def expected(self) -> str:
        return "1 to 32 letters, digits, _ and -"

    def parse(self, text: str) -> object:
        return accepted(self, text, text)

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and _NAME.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class DeskNames(Kind):
    """The names of desks, each once."""

    metavar: ClassVar[str] = "NAME,..."

    @property
    def expected(self) -> str:
        return f"up to {MAX_SITES} names of desks, each once, separated by commas"

    def parse(self, text: str) -> object:
        names = tuple(text.split(",")) if text else ()
        if not self.accepts(names):
            raise ValueError(shown(text))
        return names

    def accepts(self, value: object) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) <= MAX_SITES
            and len(set(value)) == len(value)
            and all(isinstance(name, str) and _NAME.fullmatch(name) for name in value)
        )

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(value)


def without_scheme(server: str) -> str:
    """Returns one server of an `EngineUrl` without `nats://`, which may stand before each."""
    return server.removeprefix("nats://")
