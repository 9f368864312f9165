"""The address of NATS servers: where they are, and how to log in, taken from a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from observability.config.setting import shown
from observability.sources.url import SourceUrl

DEFAULT_PORT: Final = 4222
LOGIN_PARAMETERS: Final = frozenset({"token", "creds", "tls", "ca", "cert", "key", "inbox"})
# What clients of NATS use unless they are told otherwise.
DEFAULT_INBOX: Final = "_INBOX"
# A hub answers nothing that wants its answer below `obs.`.
_INBOX: Final = re.compile(r"(?!obs\.)[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,3}")


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """A server, or several of one cluster, and how to log in."""

    url: str
    """`nats://HOST:PORT`, without a secret."""
    user: str | None = None
    password: str | None = None
    token: str | None = None
    credentials_file: str | None = None
    is_encrypted: bool = False
    """Whether a server that does not encrypt is refused, before it is told any secret."""
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    inbox: str = DEFAULT_INBOX
    """What the subjects begin with at which answers come. Who may read others' inboxes reads their answers."""
    further_urls: tuple[str, ...] = ()
    """Those of the other servers of its cluster."""


def address_of(url: SourceUrl, further: tuple[SourceUrl, ...] = ()) -> NatsAddress:
    """Returns the address that a URL describes, and those of other servers that take the same login."""
    return NatsAddress(
        url=_server(url),
        user=url.user or None,
        password=url.password or None,
        token=url.parameters.get("token"),
        credentials_file=url.parameters.get("creds"),
        is_encrypted=url.switch("tls") or "ca" in url.parameters or "cert" in url.parameters,
        ca_file=url.parameters.get("ca"),
        certificate_file=url.parameters.get("cert"),
        key_file=url.parameters.get("key"),
        inbox=url.parameters.get("inbox", DEFAULT_INBOX),
        further_urls=tuple(_server(each) for each in further),
    )


def faults_of_login(url: SourceUrl) -> list[str]:
    """Returns what is wrong with the way to log in."""
    faults = []
    if bool(url.user) != bool(url.password):
        faults.append("expected USER:PASSWORD@ before the host; a token is given as token=TOKEN")
    if sum((bool(url.user), "token" in url.parameters, "creds" in url.parameters)) > 1:
        faults.append("expected one of USER:PASSWORD@, token= and creds=")
    if "key" in url.parameters and "cert" not in url.parameters:
        faults.append("key: given without cert")
    inbox = url.parameters.get("inbox", DEFAULT_INBOX)
    if _INBOX.fullmatch(inbox) is None or inbox == "obs":
        faults.append(
            f"inbox: {shown(inbox)}, expected up to four words of letters, digits, _ and -, with dots between, the "
            "first one not obs"
        )
    faults += [
        f"{name}: no file {url.parameters[name]!r}"
        for name in ("creds", "ca", "cert", "key")
        if name in url.parameters and not Path(url.parameters[name]).is_file()
    ]
    return faults


def _server(url: SourceUrl) -> str:
    return f"nats://{url.address if url.port else f'{url.address}:{DEFAULT_PORT}'}"
