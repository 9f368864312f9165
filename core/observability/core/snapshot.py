"""The serializer: all sections in, one encoded snapshot out, once per tick for everybody.

No collecting here and no sending. Nothing else in the project encodes what is broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from observability.core.parts import Group, Part, Section
from observability.core.timestamps import NS_PER_MS, format_iso_ms

RESERVED_NAMES = frozenset({"type", "seq", "epoch", "timestamp", "mono_ns", "age_ms"})

_OPTIONS = orjson.OPT_NON_STR_KEYS


def encode_json(value: Any) -> bytes:
    """Encodes one JSON document; a NaN becomes null."""
    return orjson.dumps(value, option=_OPTIONS)


class _Encoded:
    """The bytes of one part, and the version they belong to."""

    __slots__ = ("data", "version")

    def __init__(self) -> None:
        self.version: int | None = None
        self.data = b""

    def refresh(self, part: Part) -> bytes:
        # hot: once per part per tick (benchmarks/bench_tick.py)
        version = part.version
        if version != self.version:
            self.data = encode_json(part.to_json())
            self.version = version
        return self.data


class _GroupEncoder:
    """Joins the parts of one group; what did not change keeps its bytes."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._members: dict[str, tuple[bytes, _Encoded]] = {}

    def encode(self) -> bytes:
        """Returns `"name":{...}`, `"name":[...]` or, for a group without a name, the bare members."""
        group, members = self._group, self._members
        parts = group.parts
        if len(members) > len(parts):
            self._members = members = {key: member for key, member in members.items() if key in parts}
        pieces = []
        for key, part in parts.items():
            member = members.get(key)
            if member is None:
                prefix = b"" if group.as_list else encode_json(key) + b":"
                member = members[key] = (prefix, _Encoded())
            pieces.append(member[0] + member[1].refresh(part))
        joined = b",".join(pieces)
        if group.name is None:
            return joined
        template = b"%b:[%b]" if group.as_list else b"%b:{%b}"
        return template % (encode_json(group.name), joined)


class _SectionEncoder:
    def __init__(self, section: Section) -> None:
        self.section = section
        self._prefix = encode_json(section.name) + b":{"
        self._fields = _Encoded()
        self._groups = [_GroupEncoder(group) for group in section.groups]

    def encode(self) -> bytes:
        """Returns `"name":{fields, groups}`."""
        members = []
        if self.section.fields is not None:
            members.append(self._fields.refresh(self.section.fields)[1:-1])
        members.extend(group.encode() for group in self._groups)
        return self._prefix + b",".join(member for member in members if member) + b"}"


class Serializer:
    """Encodes each snapshot once; parts whose version did not change keep the bytes they had."""

    def __init__(self, epoch: str, sections: Sequence[Section]) -> None:
        self.epoch = epoch
        self._encoders = [_SectionEncoder(section) for section in sections]
        self.snapshots_encoded = 0

    def encode(self, seq: int, now_ns: int, mono_ns: int, custom: Mapping[str, bytes]) -> bytes:
        """Returns the snapshot of one tick.

        now_ns is the tick's time (event clock), mono_ns the host's monotonic clock; custom holds the already encoded
        metrics of custom collectors by name.
        """
        ages = {encoder.section.name: _age_ms(encoder.section, now_ns) for encoder in self._encoders}
        head = encode_json(
            {
                "type": "metrics_update",
                "seq": seq,
                "epoch": self.epoch,
                "timestamp": format_iso_ms(now_ns),
                "mono_ns": mono_ns,
                "age_ms": ages,
            }
        )
        members = [head[1:-1]]
        members.extend(encoder.encode() for encoder in self._encoders)
        members.extend(encode_json(name) + b":" + data for name, data in custom.items())
        self.snapshots_encoded += 1
        return b"{" + b",".join(members) + b"}"


def _age_ms(section: Section, now_ns: int) -> float | None:
    if section.last_input_ns is None:
        return None
    return (now_ns - section.last_input_ns) / NS_PER_MS
