"""A bundle: a stretch of the past in one file, each part of it a link of a chain of hashes.

    FILE   zip, in this order
           configuration.json           the settings in force, without secrets
           logs.txt                     the lines of the log files
           observability.db             the rows of the store: fills, orders, alerts, bookings, minutes, bars
           recording/00000001.frames    frames, as they were recorded, and their index
           chain.json                   what the bundle is of, and its links

    link   SHA-256 of the link before it, the name of its part, and the bytes of its part; the first has what the bundle
           is of in place of a link before it. The frames of ten seconds are one link.

A change of any part breaks its link and all that follow. That somebody has written the chain anew as well is only found
out by the head of the chain, the last link, which is printed when a bundle is made.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Annotated, Any, Final

import msgspec

from observability.clocks.timestamps import format_iso_ms, parse_iso_ns
from observability.encoding import encode_json
from observability.errors import EventError, ObservabilityError
from observability.recorder.documents import Document, DocumentReader, DocumentWriter
from observability.recorder.layout import DIRECTORY_NAME, DOCUMENTS_SUFFIX, HEADER_BYTES, Header, segment_path
from observability.recorder.recording import Place, Recording
from observability.recorder.segment import repair
from observability.store.file import DATABASE_NAME, open_database
from observability.version import VERSION

FORMAT: Final = 1
CHAIN_NAME: Final = "chain.json"
CONFIGURATION_NAME: Final = "configuration.json"
LOGS_NAME: Final = "logs.txt"

# Tables with a time, and whether their rows have numbers of the sequence, by which lanes bring them.
_TABLES: Final = {
    "fills": True, "bookings": True, "order_reports": True, "equity_reports": True, "position_reports": True,
    "alert_transitions": True, "equity": False, "minutes": False, "bars": False,
}  # fmt: skip
# What belongs to rows of the time and came before it: reports and fills of orders that are reported in it, and how
# alerts began that were not over.
_OF_ORDERS: Final = (
    "(ts_ns < ? AND (order_id, symbol) IN (SELECT order_id, symbol FROM source.order_reports WHERE ts_ns >= ?))"
)
_EARLIER: Final = {
    "order_reports": _OF_ORDERS,
    "fills": _OF_ORDERS,
    "alert_transitions": (
        "seq IN (SELECT max(seq) FROM source.alert_transitions WHERE ts_ns < ? GROUP BY alert_id UNION "
        "SELECT max(seq) FROM source.alert_transitions WHERE ts_ns < ? AND action = 'raised' "
        "AND coalesce(json_extract(document, '$.count'), 1) = 1 GROUP BY alert_id)"
    ),
}
_TIME_IN_LINE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)")
_COPY_BYTES: Final = 1 << 20
# A month of frames has 40 MB.
_MAX_CHAIN_BYTES: Final = 100_000_000
# What a damaged or foreign zip file raises, and a member of it.
_UNREADABLE: Final = (
    LookupError, OSError, EOFError, RuntimeError, ValueError, ArithmeticError, MemoryError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, msgspec.DecodeError,
)  # fmt: skip


# What a bundle says of itself goes to terminals.
_Text = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]*\Z", max_length=1000)]


class BundleError(ObservabilityError):
    """A bundle cannot be made or opened."""


class BrokenChain(BundleError):
    """A part of a bundle is not what it was."""


class Link(msgspec.Struct, frozen=True):
    """One part of a bundle: the bytes of a member from an offset on."""

    name: _Text
    offset: int
    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str
    of: _Text = ""
    """What it is, for people."""


class Chain(msgspec.Struct, frozen=True):
    """What a bundle is of, and its links in order."""

    format: int
    version: _Text
    made: _Text
    start_time: _Text
    end_time: _Text
    frames: int
    links: list[Link]

    @property
    def head(self) -> str:
        return self.links[-1].sha256

    def first_link(self) -> str:
        """Returns what stands in place of the link before the first."""
        described = (self.format, self.version, self.made, self.start_time, self.end_time, self.frames)
        return hashlib.sha256(encode_json(described)).hexdigest()


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """What goes into a bundle."""

    data_dir: Path
    start_ns: int
    end_ns: int
    log_dir: Path | None
    configuration: Mapping[str, Any]


def make_bundle(request: BundleRequest, target: Path, made_ns: int) -> Chain:
    """Writes a bundle, whether or not a server runs in the directory. Raises BundleError, StoreError and OSError, and
    then leaves nothing behind."""
    part = target.with_name(f".{target.name}.part")
    if target.exists():
        raise BundleError(f"{target} exists already, and is not written over")
    try:
        with TemporaryDirectory(dir=target.absolute().parent, prefix=".bundle-") as name:
            chain = _gather(request, Path(name), made_ns)
            _write(Path(name), chain, part)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    return chain


def verify(path: Path) -> Chain:
    """Returns the chain of a bundle whose parts are what they were. Raises BrokenChain, which names the first part that
    is not, and BundleError for a file that is no bundle."""
    with _opened(path) as bundle:
        try:
            if bundle.getinfo(CHAIN_NAME).file_size > _MAX_CHAIN_BYTES:
                raise BundleError(f"{path}: this is no bundle: its chain has more than {_MAX_CHAIN_BYTES} bytes")
            chain = msgspec.json.decode(bundle.read(CHAIN_NAME), type=Chain)
        except _UNREADABLE as error:
            raise BundleError(f"{path}: this is no bundle, or its chain is damaged: {error}") from None
        if chain.format != FORMAT or not chain.links:
            raise BundleError(f"{path}: made by version {chain.version} in a form that this version does not know")
        _check_links(bundle, chain)
        known = {link.name for link in chain.links} | {CHAIN_NAME}
        further = sorted(set(bundle.namelist()) - known)
        if further:
            name = further[0].encode("unicode_escape").decode()
            raise BrokenChain(f"{name}: no link of the chain")
    return chain


def extract(path: Path, directory: Path) -> None:
    """Puts the parts of a bundle that `verify` has accepted into a directory, as those of a data directory."""
    with _opened(path) as bundle:
        # The size that a member says is the most that is read of it.
        size = sum(member.file_size for member in bundle.infolist())
        if size > shutil.disk_usage(directory).free:
            raise BundleError(f"{path}: {size / 1e6:.0f} MB are more than {directory} has room for")
        for name in bundle.namelist():
            target = directory / name
            if not target.resolve().is_relative_to(directory.resolve()):
                raise BundleError(f"{path}: {name} leads out of the bundle")
            target.parent.mkdir(exist_ok=True)
            with bundle.open(name) as source, target.open("wb") as copy:
                while data := source.read(_COPY_BYTES):
                    copy.write(data)


# -- making


def _gather(request: BundleRequest, folder: Path, made_ns: int) -> Chain:
    recording = folder / DIRECTORY_NAME
    recording.mkdir()
    frames = _copy_frames(request, recording)
    if not frames.count:
        raise BundleError("nothing is recorded in this stretch of time")
    _copy_rows(request, folder / DATABASE_NAME, frames)
    (folder / LOGS_NAME).write_text("".join(_log_lines(request)), encoding="utf-8")
    (folder / CONFIGURATION_NAME).write_bytes(encode_json(request.configuration))
    chain = Chain(
        FORMAT, VERSION, format_iso_ms(made_ns), format_iso_ms(request.start_ns), format_iso_ms(request.end_ns),
        frames.count, [],
    )  # fmt: skip
    before = chain.first_link()
    for name, offset, data, of in _parts(folder, frames):
        before = _hash(before, name, data)
        chain.links.append(Link(name, offset, len(data), before, of))
    return chain


@dataclass(slots=True)
class _Frames:
    """The frames of a bundle: how many, the numbers of the lanes' entries by the first and last, and where each group
    of ten seconds begins."""

    count: int = 0
    first_seq: int = 0
    last_seq: int = 0
    groups: list[tuple[str, int, int, str]] = field(default_factory=list)


def _copy_frames(request: BundleRequest, target: Path) -> _Frames:
    """Copies the groups of frames of which any is within the time, byte for byte."""
    recording = Recording(request.data_dir / DIRECTORY_NAME)
    recording.refresh()
    frames = _Frames()
    lane_seqs = []
    for source in recording.segments:
        numbers = [
            number
            for number, entry in enumerate(source.fulls)
            if entry.ts_ns <= request.end_ns
            # One whose full frame is damaged has no times.
            and (times := recording.group(Place(source.number, number, 0), newest=True).times)
            and times[-1] >= request.start_ns
        ]
        if not numbers:
            continue
        earlier = {} if frames.count else recording.documents_before(source.number)
        path = segment_path(target, source.number)
        with path.open("wb") as file:
            file.write(Header(source.epoch, source.number, source.made_ns).pack())
            for number in numbers:
                group = recording.group(Place(source.number, number, 0), newest=True)
                of = f"frames of {format_iso_ms(group.times[0])} to {format_iso_ms(group.times[-1])}"
                # Without what was being written just now.
                data = group.data[: group.end]
                frames.groups.append((f"{DIRECTORY_NAME}/{path.name}", file.tell(), len(data), of))
                file.write(data)
                frames.count += len(group.records)
                lane_seqs += [group.records[0].lane_seq, group.records[-1].lane_seq]
        repair(target, source.number)
        documents = recording.documents_of(source.number)
        if earlier or documents.names:
            with closing(DocumentWriter(target, source.number)) as writer:
                _copy_documents(documents, earlier, writer, request)
    frames.first_seq, frames.last_seq = min(lane_seqs, default=0), max(lane_seqs, default=0)
    return frames


def _copy_documents(
    source: DocumentReader, earlier: Mapping[str, Document], target: DocumentWriter, request: BundleRequest
) -> None:
    """Copies the documents of a segment within the time, and of each the newest version before it; `earlier` has those
    of the segments before, which the bundle lacks."""
    for name in dict.fromkeys((*earlier, *source.names)):
        if name in earlier:
            target.append(name, *earlier[name])
        for version in source.oldest_first(name, request.start_ns, request.end_ns):
            target.append(name, *version)


def _copy_rows(request: BundleRequest, target: Path, frames: _Frames) -> None:
    """Copies the rows of the time, and those that clients were sent within it."""
    source = request.data_dir / DATABASE_NAME
    with closing(open_database(target)) as connection:
        if source.exists():
            connection.execute("ATTACH ? AS source", (f"{source.absolute().as_uri()}?mode=ro",))
            for table, is_numbered in _TABLES.items():
                here, there = (
                    [row[1] for row in connection.execute(f"PRAGMA {schema}.table_info({table})")]
                    for schema in ("main", "source")
                )
                names = ", ".join(name for name in here if name in there)
                condition, values = "ts_ns BETWEEN ? AND ?", [request.start_ns, request.end_ns]
                if is_numbered:
                    condition += " OR seq BETWEEN ? AND ?"
                    values += [frames.first_seq + 1, frames.last_seq]
                if table in _EARLIER:
                    condition += f" OR {_EARLIER[table]}"
                    values += [request.start_ns] * _EARLIER[table].count("?")
                if names:
                    connection.execute(
                        f"INSERT INTO main.{table} ({names}) SELECT {names} FROM source.{table} WHERE {condition}",
                        values,
                    )
            connection.execute("DETACH source")
        connection.execute("PRAGMA journal_mode = DELETE")


def _log_lines(request: BundleRequest) -> Iterator[str]:
    """Yields the lines of the log files within the time; one without a time belongs to the one before it."""
    if request.log_dir is None or not request.log_dir.is_dir():
        return
    paths = sorted(
        (path for path in request.log_dir.iterdir() if path.is_file()), key=lambda path: path.stat().st_mtime
    )
    for path in paths:
        is_within = False
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                time_ns = _time_in(line)
                if time_ns is not None:
                    is_within = request.start_ns <= time_ns <= request.end_ns
                if is_within:
                    yield line


def _time_in(line: str) -> int | None:
    found = _TIME_IN_LINE.search(line)
    try:
        return None if found is None else parse_iso_ns(found[0])
    except EventError:
        return None


def _parts(folder: Path, frames: _Frames) -> Iterator[tuple[str, int, bytes, str]]:
    """Yields the name, the offset and the bytes of each link, and what it is."""
    for name in (CONFIGURATION_NAME, LOGS_NAME, DATABASE_NAME):
        yield name, 0, (folder / name).read_bytes(), ""
    for path in sorted((folder / DIRECTORY_NAME).iterdir()):
        name, data = f"{DIRECTORY_NAME}/{path.name}", path.read_bytes()
        groups = [group for group in frames.groups if group[0] == name]
        if not groups:
            yield name, 0, data, "documents" if path.suffix == DOCUMENTS_SUFFIX else "index"
            continue
        yield name, 0, data[:HEADER_BYTES], "header"
        for _, offset, size, of in groups:
            yield name, offset, data[offset : offset + size], of


def _write(folder: Path, chain: Chain, target: Path) -> None:
    with zipfile.ZipFile(target, "x") as bundle:
        for name in dict.fromkeys(link.name for link in chain.links):
            # Frames are compressed already.
            kind = zipfile.ZIP_STORED if name.startswith(DIRECTORY_NAME) else zipfile.ZIP_DEFLATED
            bundle.write(folder / name, name, kind)
        bundle.writestr(CHAIN_NAME, msgspec.json.encode(chain), zipfile.ZIP_DEFLATED)
    target.chmod(0o600)


# -- reading


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _UNREADABLE as error:
        raise BundleError(f"{path}: this is no bundle: {error}") from None


def _check_links(bundle: zipfile.ZipFile, chain: Chain) -> None:
    """Raises BrokenChain with the first part that is not what it was."""
    before, count = chain.first_link(), len(chain.links)
    for name, links in groupby(enumerate(chain.links, 1), lambda numbered: numbered[1].name):
        member = None
        for number, link in links:
            of = f"link {number} of {count}, {f'{name} ({link.of})' if link.of else name}"
            try:
                member = bundle.open(name) if member is None else member
                if member.tell() != link.offset:
                    raise BrokenChain(f"{of}: does not follow the part before it")
                before = _hash_member(before, name, member, link.size)
            except _UNREADABLE as error:
                raise BrokenChain(f"{of}: cannot be read: {error}") from None
            if before != link.sha256:
                raise BrokenChain(f"{of}: not what it was")
        assert member is not None
        with member:
            if member.read(1):
                raise BrokenChain(f"{name}: goes on after its last link")


def _hash(before: str, name: str, data: bytes) -> str:
    return hashlib.sha256(b"%b\0%b\0%b" % (before.encode(), name.encode(), data)).hexdigest()


def _hash_member(before: str, name: str, member: IO[bytes], size: int) -> str:
    """Returns the hash of the next bytes of a member, which may be more than the memory has room for."""
    digest = hashlib.sha256(b"%b\0%b\0" % (before.encode(), name.encode()))
    while size > 0 and (data := member.read(min(size, _COPY_BYTES))):
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()


def described(chain: Chain) -> str:
    """Returns a line about a bundle."""
    return f"{chain.frames:,} frames from {chain.start_time} to {chain.end_time}, {len(chain.links)} links"
