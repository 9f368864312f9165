"""Exports by themselves: how many are made at a time, and what their columns do with amounts that are too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

from fake_clock import FakeClock
from observability.http11.heads import parse_head
from observability.http11.messages import Request
from observability.http11.refusals import Unavailable
from observability.rest.exports import MAX_EXPORTS, Column, ExportFormat, Exports, at_scale
from observability.routing.router import StreamedResponse

REQUEST = Request(parse_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), b"")
COLUMNS = (Column("amount", "decimal"),)


async def pages(*rows: Any) -> AsyncGenerator[list[tuple[Any, ...]], None]:
    yield [(row,) for row in rows]


def make_exports(max_exports: int = MAX_EXPORTS) -> Exports:
    return Exports(FakeClock(10**18), asyncio.Lock(), max_exports)


async def start(exports: Exports, kind: ExportFormat = "csv", *rows: Any) -> AsyncGenerator[bytes, None]:
    answer = await exports.answer(REQUEST, "table", kind, COLUMNS, pages(*rows))
    assert isinstance(answer, StreamedResponse)
    return answer.pieces


@pytest.mark.parametrize("ends_by", ["reading", "leaving"])
def test_so_many_exports_are_made_at_a_time_until_one_has_ended(ends_by: str) -> None:
    async def fill_up() -> None:
        exports = make_exports(2)
        running = [await start(exports, "csv", Decimal(1)) for _ in range(2)]
        for pieces in running:
            await anext(pieces)
        with pytest.raises(Unavailable):
            await start(exports)
        if ends_by == "leaving":
            await running[0].aclose()
        else:
            assert [piece async for piece in running[0]] == [b"amount\r\n1\r\n"]
        await anext(await start(exports))

    asyncio.run(fill_up())


def test_an_export_that_was_never_read_takes_no_place() -> None:
    async def leave() -> None:
        exports = make_exports(1)
        await (await start(exports)).aclose()
        await start(exports)

    asyncio.run(leave())


@pytest.mark.parametrize(
    ("amount", "exported"),
    [
        (Decimal("1.10"), "1.10"),
        (Decimal("1e-18"), "0.000000000000000001"),
        (Decimal(10) / Decimal(3), "3.333333333333333333"),
        (Decimal("1E+3"), "1000"),
    ],
)
def test_csv_rounds_nothing_but_what_no_event_can_have(amount: Decimal, exported: str) -> None:
    async def read() -> bytes:
        return b"".join([piece async for piece in await start(make_exports(), "csv", at_scale(amount))])

    assert asyncio.run(read()) == b"amount\r\n" + exported.encode() + b"\r\n"


def test_an_amount_that_arrow_cannot_hold_fails_and_is_not_another_number() -> None:
    async def read() -> bytes:
        return b"".join([piece async for piece in await start(make_exports(), "arrow", Decimal(10) ** 21)])

    with pytest.raises(ValueError, match=r"data loss|precision"):
        asyncio.run(read())
