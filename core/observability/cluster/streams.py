"""The streams of a desk: made with explicit limits by the hub, each message behind the one that the hub knows to be the
last."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from observability.cluster.link import Link, checked
from observability.errors import SourceError
from observability.snapshot.frames import FRAMES_KEPT
from observability.sources.brokers.nats_connection import NatsConnection, is_unanswered

logger = logging.getLogger(__name__)

_EXPECTED: Final = "Nats-Expected-Last-Sequence"
_NAME_IN_USE: Final = 10058
# Replicas without a cluster, and in one that has not enough servers.
_TOO_FEW_SERVERS: Final = frozenset({10005, 10074})


async def make_frame_stream(link: Link, connection: NatsConnection) -> dict[str, Any]:
    """Returns what the servers say of the stream of frames, which is made if there is none."""
    desk = link.desk
    limits = {"max_msgs": FRAMES_KEPT, "max_bytes": FRAMES_KEPT * connection.max_payload}
    return await make_stream(link, connection, desk.frame_stream, desk.frame_subject, storage="memory", **limits)


async def make_stream(
    link: Link, connection: NatsConnection, name: str, subject: str, *, storage: str, **limits: int
) -> dict[str, Any]:
    """Makes a stream, or finds it; one with other limits is left as it is. Returns what the servers say of it. Raises
    EOFError and SourceError."""
    config = {
        "name": name,
        "subjects": [subject],
        "storage": storage,
        "retention": "limits",
        "discard": "old",
        **limits,
        "num_replicas": link.desk.replicas,
        "allow_direct": True,
    }
    answer = await link.ask_engine(connection, f"$JS.API.STREAM.CREATE.{name}", config)
    if answer.get("error", {}).get("err_code") == _NAME_IN_USE:
        answer = await link.ask_engine(connection, f"$JS.API.STREAM.INFO.{name}")
        found = checked(answer, f"stream {name}")["config"]
        if found["subjects"] != config["subjects"]:
            raise SourceError(f"stream {name} takes {found['subjects']}, expected {config['subjects']}; remove it")
        other = {key: found.get(key) for key, value in config.items() if found.get(key) != value}
        if other:
            logger.warning(
                "stream %s is there with other limits, and used as it is: %s, where a new one has %s; `nats stream "
                "edit` changes them",
                name, other, {key: config[key] for key in other},
            )  # fmt: skip
    elif answer.get("error", {}).get("err_code") in _TOO_FEW_SERVERS:
        raise SourceError(
            f"stream {name}: {answer['error'].get('description')}; CLUSTER_REPLICAS is {link.desk.replicas}, which "
            "needs as many servers in one cluster"
        )
    return checked(answer, f"stream {name}")


async def append(
    connection: NatsConnection, subject: str, body: bytes, headers: Mapping[str, str], expected: int
) -> dict[str, Any]:
    """Publishes a message that belongs behind the message `expected` of its stream. Returns its number as `seq`; why it
    was refused as `error`; neither if the stream is gone. Raises EOFError and SourceError."""
    # hot: once per tick of a hub that publishes
    (ack,) = await connection.ask(subject, body, {**headers, _EXPECTED: str(expected)})
    answer: dict[str, Any] = {} if is_unanswered(ack) else msgspec.json.decode(ack.data)
    # A refusal may have a number, too, which is none.
    return {"error": answer["error"]} if "error" in answer else answer
