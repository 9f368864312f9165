"""Clients of the server for Python programs: `Stream` reads snapshots and lanes, `Sender` sends events, `Rest` asks.
They import nothing else of the project."""

from observability.clients.blocking import BlockingStream
from observability.clients.connection import ConnectionState, Refused
from observability.clients.messages import Alert, Message, Snapshot, Trade
from observability.clients.rest import Rest, RestError
from observability.clients.sender import Sender, SenderStats
from observability.clients.spool import SpoolError
from observability.clients.stream import Stream

__all__ = [
    "Alert",
    "BlockingStream",
    "ConnectionState",
    "Message",
    "Refused",
    "Rest",
    "RestError",
    "Sender",
    "SenderStats",
    "Snapshot",
    "SpoolError",
    "Stream",
    "Trade",
]
