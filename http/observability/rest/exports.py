"""Exports: tables of any length as CSV, as an Arrow stream or as Parquet, made page by page while they are sent.

    pages of rows ─► encoder ─► pieces of the content ─► connection, as fast as the peer reads

Arrow and Parquet are made by pyarrow, which is loaded when it is first needed.
"""

from __future__ import annotations

import asyncio
import csv
import io
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final, Literal

from observability.clocks.clock import Clock
from observability.clocks.slices import Steps, in_slices
from observability.clocks.timestamps import NS_PER_S, format_iso_ms, format_iso_ns
from observability.events import QUANTUM
from observability.http11.messages import Request, Response
from observability.http11.refusals import Unavailable, Unsupported
from observability.routing.router import StreamedResponse

ExportFormat = Literal["csv", "arrow", "parquet"]
Kind = Literal["text", "decimal", "number", "integer", "time"]

MEDIA_TYPES: Final[dict[ExportFormat, bytes]] = {
    "csv": b"text/csv; charset=utf-8; header=present",
    "arrow": b"application/vnd.apache.arrow.stream",
    "parquet": b"application/vnd.apache.parquet",
}
EXPORT_TYPES: Final = tuple(value.partition(b";")[0].decode() for value in MEDIA_TYPES.values())
"""The media types, for the description of the API."""

# A peer may read as slowly as it likes, and each export of Parquet holds a row group meanwhile.
MAX_EXPORTS: Final = 16
# Less than half a millisecond of formatting.
CELLS_PER_STEP: Final = 800
RETRY_AFTER_SECONDS: Final = 5
# Pieces are at least this large, but for the last.
PIECE_BYTES: Final = 32 * 1024
# Of Parquet: what is held in memory until it is compressed, about 5 MB of trades.
ROW_GROUP_ROWS: Final = 32 * 1024
# Decimals of Arrow and Parquet: 20 digits before the point and 18 after it, as many as an event may have.
PRECISION: Final = 38
SCALE: Final = 18

_ROUNDING: Final = Context(prec=200, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Column:
    """One column. A value may be None; a time is in nanoseconds."""

    name: str
    kind: Kind


class Encoder(ABC):
    """Turns pages of rows into the pieces of a file."""

    @abstractmethod
    def add(self, rows: Sequence[Sequence[Any]]) -> Steps[None]:
        """Takes a page of rows."""

    @abstractmethod
    async def take(self) -> bytes:
        """Returns what is ready to be sent; often nothing."""

    @abstractmethod
    async def finish(self) -> bytes:
        """Returns the rest of the file."""


class CsvEncoder(Encoder):
    """CSV as in RFC 4180, with a header. What is null is empty."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._text = io.StringIO()
        self._formats = [_CSV_FORMATS[column.kind] for column in columns]
        self._rows_per_step = max(1, CELLS_PER_STEP // len(columns))
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self._writer.writerow([column.name for column in columns])

    def add(self, rows: Sequence[Sequence[Any]]) -> Steps[None]:
        formats = self._formats
        for start in range(0, len(rows), self._rows_per_step):
            self._writer.writerows(
                [None if value is None else to_text(value) for to_text, value in zip(formats, row, strict=True)]
                for row in rows[start : start + self._rows_per_step]
            )
            yield

    async def take(self) -> bytes:
        return await self.finish() if self._text.tell() >= PIECE_BYTES else b""

    async def finish(self) -> bytes:
        data = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        return data


class ArrowEncoder(Encoder):
    """The streaming format of Arrow, one record batch per page."""

    def __init__(self, columns: Sequence[Column], pyarrow: Any) -> None:
        self.pa = pyarrow
        self.schema = pyarrow.schema([(column.name, _arrow_type(pyarrow, column.kind)) for column in columns])
        self.sink = _Sink()
        self._writer = self.make_writer()

    def make_writer(self) -> Any:
        return self.pa.ipc.new_stream(self.sink, self.schema)

    def add(self, rows: Sequence[Sequence[Any]]) -> Steps[None]:
        batch = yield from self._batch(rows)
        self._writer.write_batch(batch)

    async def take(self) -> bytes:
        return self.sink.take() if self.sink.size >= PIECE_BYTES else b""

    async def finish(self) -> bytes:
        self._writer.close()
        return self.sink.take()

    def _batch(self, rows: Sequence[Sequence[Any]]) -> Steps[Any]:
        columns = list(zip(*rows, strict=True)) or [()] * len(self.schema)
        arrays = []
        for values, field in zip(columns, self.schema, strict=True):
            arrays.append(self.pa.array(values, field.type))
            yield
        return self.pa.record_batch(arrays, schema=self.schema)


class ParquetEncoder(ArrowEncoder):
    """Parquet, compressed by zstd. A row group is compressed in a thread, as Arrow leaves the interpreter to others
    meanwhile."""

    def __init__(self, columns: Sequence[Column], pyarrow: Any) -> None:
        super().__init__(columns, pyarrow)
        self._batches: list[Any] = []
        self._rows = 0

    def make_writer(self) -> Any:
        return self.pa.parquet.ParquetWriter(self.sink, self.schema, compression="zstd")

    def add(self, rows: Sequence[Sequence[Any]]) -> Steps[None]:
        self._batches.append((yield from self._batch(rows)))
        self._rows += len(rows)

    async def take(self) -> bytes:
        if self._rows < ROW_GROUP_ROWS:
            return b""
        await asyncio.to_thread(self._write_group)
        return self.sink.take()

    async def finish(self) -> bytes:
        await asyncio.to_thread(self._write_group)
        return await super().finish()

    def _write_group(self) -> None:
        if self._rows:
            self._writer.write_table(self.pa.Table.from_batches(self._batches, self.schema))
        self._batches.clear()
        self._rows = 0


class _Sink(io.RawIOBase):
    """A file that gives what was written to it away."""

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self.size += len(part)
        return len(part)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return data


class Exports:
    """The exports that are being made in this process."""

    def __init__(self, clock: Clock, slices: asyncio.Lock, max_exports: int = MAX_EXPORTS) -> None:
        """`clock` names the files; `slices` is shared by everything that works in slices."""
        self._clock = clock
        self._slices = slices
        self._max_exports = max_exports
        self._being_made = 0

    async def answer(
        self,
        request: Request,
        name: str,
        kind: ExportFormat,
        columns: Sequence[Column],
        pages: AsyncGenerator[Sequence[Sequence[Any]], None],
    ) -> Response | StreamedResponse:
        """Returns the answer with a table named `name`. Raises Unsupported if its format needs a library that is not
        there, Unavailable if too many are being made, and what the first page raises."""
        pyarrow = None if kind == "csv" else await _load_pyarrow(kind)
        now_ns = self._clock.time_ns()
        stamp = format_iso_ms(now_ns - now_ns % NS_PER_S).replace("-", "").replace(":", "").replace(".000", "")
        disposition = f'attachment; filename="{name}-{stamp}.{kind}"'.encode()
        head = Response(
            content_type=MEDIA_TYPES[kind],
            headers=((b"Content-Disposition", disposition), (b"Cache-Control", b"no-store")),
            has_length=False,
        )
        if request.method == "HEAD":
            return head
        # What cannot be read at all is a refusal, and not a file without rows.
        first = await anext(pages, None)
        if self._being_made >= self._max_exports:
            raise Unavailable(f"{self._max_exports} exports are being made", RETRY_AFTER_SECONDS)
        if kind == "csv":
            encoder: Encoder = CsvEncoder(columns)
        else:
            encoder = (ArrowEncoder if kind == "arrow" else ParquetEncoder)(columns, pyarrow)
        return StreamedResponse(head, self._pieces(encoder, first, pages))

    async def _pieces(
        self,
        encoder: Encoder,
        page: Sequence[Sequence[Any]] | None,
        pages: AsyncGenerator[Sequence[Sequence[Any]], None],
    ) -> AsyncGenerator[bytes, None]:
        self._being_made += 1
        try:
            async with aclosing(pages):
                while page is not None:
                    if page:
                        await in_slices(encoder.add(page), self._slices)
                        yield await encoder.take()
                    page = await anext(pages, None)
                yield await encoder.finish()
        finally:
            self._being_made -= 1


async def _load_pyarrow(kind: ExportFormat) -> Any:
    try:
        return await asyncio.to_thread(_import_pyarrow)
    except ImportError:
        raise Unsupported(f"format={kind} needs pyarrow here: pip install 'observability[arrow]'") from None


def _import_pyarrow() -> Any:
    import pyarrow
    import pyarrow.parquet

    # pyarrow imports pandas, if it is there, for its first array: a second that is not spent on the loop.
    pyarrow.array([Decimal(0)])
    return pyarrow


def _arrow_type(pyarrow: Any, kind: Kind) -> Any:
    match kind:
        case "text":
            return pyarrow.string()
        case "decimal":
            return pyarrow.decimal128(PRECISION, SCALE)
        case "number":
            return pyarrow.float64()
        case "integer":
            return pyarrow.int64()
        case "time":
            return pyarrow.timestamp("ns", tz="UTC")


def at_scale(value: Decimal | None) -> Decimal | None:
    """Returns an amount with at most `SCALE` digits after the point: a quotient may have more than an event."""
    if value is None or value.as_tuple().exponent >= -SCALE:  # type: ignore[operator]  # it is finite
        return value
    return value.quantize(QUANTUM, context=_ROUNDING)


_CSV_FORMATS: Final[dict[Kind, Callable[[Any], Any]]] = {
    "text": str,
    "decimal": lambda value: format(value, "f"),
    "number": repr,
    "integer": str,
    "time": format_iso_ns,
}
