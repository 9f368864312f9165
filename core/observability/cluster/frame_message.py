"""A frame as a message: its bytes, its index and the documents of its tick, packed and compressed once.

headers   Obs-Epoch, Obs-Seq           the frame's own
          Obs-Sha256                   of the snapshot, as every client of every edge gets it
body      zlib of MessagePack of `FrameMessage`
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec

from observability.errors import SourceError

EPOCH: Final = "Obs-Epoch"
SEQ: Final = "Obs-Seq"
SHA256: Final = "Obs-Sha256"

# A snapshot becomes a quarter in a fortieth of a millisecond per 8 KB; higher levels take longer for little.
_LEVEL: Final = 1
# No frame of ours is larger; what claims to be is not unpacked.
MAX_UNPACKED_BYTES: Final = 512 * 1024 * 1024


class FrameMessage(msgspec.Struct, array_like=True, frozen=True):
    """What an edge needs of one tick."""

    epoch: str
    seq: int
    ts_ns: int
    clock_ns: int
    """What workers show as the time; 0 for that of their host."""
    published_ns: int
    """When the hub published it, by the clock of the NATS servers."""
    interval_ns: int
    """The time between two ticks of the hub."""
    parts: tuple[bytes, ...]
    """The snapshot; shape, numbers and removed keys of its index."""
    documents: Mapping[str, bytes | None]
    """The documents that are sent with this tick; None stands for one that an earlier message has, or the hub."""
    old: tuple[str, ...]
    """The names of the documents of which the hub has a newer version."""


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(FrameMessage).decode


def pack_frame(message: FrameMessage) -> tuple[dict[str, str], bytes]:
    """Returns the headers and the body of a message."""
    # hot: once per tick of a hub that publishes
    headers = {EPOCH: message.epoch, SEQ: str(message.seq), SHA256: sha256(message.parts[0]).hexdigest()}
    return headers, zlib.compress(_encode(message), _LEVEL)


def unpack_frame(headers: Mapping[str, str] | None, body: bytes) -> FrameMessage:
    """Returns a message whose snapshot is the one that was published. Raises SourceError."""
    # hot: once per tick and edge
    unpacker = zlib.decompressobj()
    try:
        message = _decode(unpacker.decompress(body, MAX_UNPACKED_BYTES))
    except (zlib.error, msgspec.DecodeError) as error:
        raise SourceError(f"a message of frames cannot be read: {error}") from None
    expected = (headers or {}).get(SHA256)
    if len(message.parts) != 4 or sha256(message.parts[0]).hexdigest() != expected:
        raise SourceError(f"frame {message.seq} is not the one that was published: its SHA-256 differs")
    return message
