"""The compressions that a recording's file may have, each recognised by the first bytes of its data."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol

from observability.errors import MissingPackage

_GZIP_MAGIC: Final = b"\x1f\x8b"  # RFC 1952 section 2.3.1
_GZIP_WBITS: Final = 31
# RFC 8878: a frame (section 3.1.1), or one that is to be skipped (section 3.1.2).
_ZSTD_MAGIC: Final = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)


class Decompressor(Protocol):
    """Decompresses one member of a file: a gzip member, a zstd frame."""

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""

    @property
    def unused_data(self) -> bytes:
        """What came after the end of the member."""

    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Compression:
    """One kind of compression."""

    name: str
    make: Callable[[], Decompressor]
    error: type[Exception]
    """Raised by a decompressor for damaged data."""
    piece_bytes: int
    """How much a decompressor is given at a time, so that no piece becomes more than 17 MB."""
    padding: bytes = b""
    """Bytes that may follow a member and mean nothing."""


def compression_of(data: bytes) -> Compression | None:
    """Returns the compression of a file that begins with `data`; None if it has none. Raises MissingPackage for one
    that this installation does not read."""
    if data.startswith(_GZIP_MAGIC):
        # Deflate expands at most 1032 times. Zeros may follow a member, as for `gzip -d`.
        return Compression("gzip", lambda: zlib.decompressobj(_GZIP_WBITS), zlib.error, 16 * 1024, b"\0")
    if _ZSTD_MAGIC.match(data):
        return _zstd()
    return None


def _zstd() -> Compression:
    """Returns zstd, of which a block of 4 bytes may become 128 KiB."""
    module: Any
    try:
        module = import_module("compression.zstd")  # the standard library's, from Python 3.14 on
        make: Callable[[], Decompressor] = module.ZstdDecompressor
    except ModuleNotFoundError:
        try:
            module = import_module("zstandard")
        except ModuleNotFoundError:
            raise MissingPackage("compressed by zstd, which needs: pip install zstandard") from None
        make = module.ZstdDecompressor().decompressobj
    return Compression("zstd", make, module.ZstdError, 512)
