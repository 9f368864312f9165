"""Feeds against venues on loopback: what they subscribe to, what becomes of the answers, and of a connection's end."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable

import pytest

from exchange import Exchange, Session
from fake_clock import FakeClock
from ingest_desk import Desk
from observability.errors import ConfigError, SourceError
from observability.events import Print
from observability.sources.feeds.binance import BinanceDialect
from observability.sources.feeds.dialect import Heartbeat
from observability.sources.feeds.feed import Feed, from_url
from observability.sources.feeds.venues import VENUES
from observability.sources.health import MUTE_SECONDS
from observability.sources.runner import SourceRunner
from observability.sources.source import Batch

SYMBOLS = {
    "binance": "BTCUSDT",
    "binance-usdm": "BTCUSDT",
    "coinbase": "BTC-USD",
    "kraken": "BTC/USD",
    "bybit": "BTCUSDT",
    "okx": "BTC-USDT",
}
each_venue = pytest.mark.parametrize("venue", SYMBOLS)


def trade(venue: str, number: int, session: Session) -> str:
    """Returns a message with one trade, in the venue's form."""
    symbol, price, size = SYMBOLS[venue], "61837.63", "0.02"
    if venue.startswith("binance"):
        data = {"e": "trade", "s": symbol, "t": number, "p": price, "q": size, "T": 1723161255342, "m": True}
        return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data})
    if venue == "kraken":
        return (
            f'{{"channel":"trade","type":"update","data":[{{"symbol":"{symbol}","side":"sell","price":{price},'
            f'"qty":{size},"ord_type":"market","trade_id":{number},"timestamp":"2024-08-08T23:54:15.342Z"}}]}}'
        )
    if venue == "coinbase":
        each = {"trade_id": str(number), "product_id": symbol, "price": price, "size": size, "side": "BUY"}
        events = [{"type": "update", "trades": [{**each, "time": "2024-08-08T23:54:15.342Z"}]}]
        message = {"channel": "market_trades", "timestamp": "2024-08-08T23:54:15.4Z", "events": events}
        return json.dumps(session.numbered(message))
    if venue == "bybit":
        data = {"T": 1723161255342, "s": symbol, "S": "Sell", "v": size, "p": price, "i": str(number), "BT": False}
        return json.dumps({"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": 1723161255343, "data": [data]})
    data = {"instId": symbol, "tradeId": str(number), "px": price, "sz": size, "side": "sell", "ts": "1723161255342"}
    return json.dumps({"arg": {"channel": "trades", "instId": symbol}, "data": [{**data, "count": "1"}]})


def run(venue: Exchange, body: Callable[[Feed], Awaitable[None]], symbols: str = "", *, parameters: str = "") -> None:
    """Runs a test with a feed that is closed at the end."""
    feed = from_url(f"{venue.venue}:{symbols or SYMBOLS[venue.venue]}?url={venue.url}{parameters}")

    async def with_feed() -> None:
        try:
            async with asyncio.timeout(60):
                await body(feed)
        finally:
            await feed.close()

    asyncio.run(with_feed())


@each_venue
def test_a_trade_of_each_venue_arrives_as_a_print(venue: str) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        session.send(trade(venue, 7, session))
        batch = await feed.read()
        (event,) = batch.events
        assert isinstance(event, Print)
        assert (event.symbol, event.price, event.size, event.aggressor_side, event.venue) == (
            SYMBOLS[venue], 61837.63, 0.02, "sell", venue.upper(),
        )  # fmt: skip
        assert str(event.trade_id) == "7"
        assert (event.ts, batch.messages, batch.gaps, batch.rejected) == (1723161255342000000, 1, 0, [])
        assert event.ts_init > event.ts

    with Exchange(venue, {SYMBOLS[venue]}) as exchange:
        run(exchange, body)


@pytest.mark.parametrize("venue", ["coinbase", "kraken", "bybit", "okx"])
def test_a_symbol_that_a_venue_refuses_is_a_fault_with_what_it_said(venue: str) -> None:
    async def body(feed: Feed) -> None:
        with pytest.raises(SourceError, match=f"{venue.upper()} refuses the subscription: .+"):
            await feed.connect(None)

    with Exchange(venue, set()) as exchange:
        run(exchange, body, "NOPE/NOPE")


@each_venue
def test_a_message_that_cannot_be_read_costs_only_itself(venue: str) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        garbage = trade(venue, 2, session).replace("61837.63", "NaN" if venue == "kraken" else "one")
        session.send(trade(venue, 1, session), "{not JSON", garbage, trade(venue, 3, session))
        batches: list[Batch] = []
        while sum(batch.messages for batch in batches) < 4:
            batches.append(await feed.read())
        ids = [str(event.trade_id) for batch in batches for event in batch.events if isinstance(event, Print)]
        assert ids == ["1", "3"]
        assert len([why for batch in batches for why in batch.rejected]) == 2

    with Exchange(venue, {SYMBOLS[venue]}) as exchange:
        run(exchange, body)


@pytest.mark.parametrize("venue", ["binance", "binance-usdm", "kraken", "okx"])
def test_trades_missed_between_two_connections_are_counted(venue: str) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        session.send(trade(venue, 1, session))
        assert (await feed.read()).gaps == 0
        session.cut()
        with pytest.raises(EOFError):
            await feed.read()
        await feed.close()
        await feed.connect(None)
        session = exchange.next_session()
        session.send(trade(venue, 5, session))
        assert (await feed.read()).gaps == 3

    with Exchange(venue, {SYMBOLS[venue]}) as exchange:
        run(exchange, body)


def test_messages_of_coinbase_that_are_missing_are_counted() -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        # The other subscriptions are answered before anything is sent, or their numbers would be behind.
        for _ in range(3):
            session.next_request()
        session.send(trade("coinbase", 1, session))
        assert (await feed.read()).gaps == 0
        session.sequence += 2
        session.send(trade("coinbase", 9, session))
        assert (await feed.read()).gaps == 2

    with Exchange("coinbase", {"BTC-USD"}) as exchange:
        run(exchange, body)


@each_venue
def test_the_end_of_a_connection_is_told_with_the_venues_reason(venue: str) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        exchange.next_session().close(4004, "No data received in 30s.")
        with pytest.raises(EOFError, match=r"4004 No data received in 30s\."):
            await feed.read()

    with Exchange(venue, {SYMBOLS[venue]}) as exchange:
        run(exchange, body)


def test_a_message_in_several_frames_is_read_whole() -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        message = trade("binance", 1, session)
        session.send_in_pieces(message[:20], message[20:90], message[90:])
        session.send(trade("binance", 2, session))
        assert await ids_until(feed, "2", []) == ["1", "2"]

    with Exchange("binance", {"BTCUSDT"}) as exchange:
        run(exchange, body)


@pytest.mark.parametrize("pieces", [1, 50])
def test_a_message_that_is_too_long_costs_the_connection(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        exchange.next_session().send_in_pieces(*["x" * (5000 // pieces)] * pieces)
        with pytest.raises(EOFError, match="message of more than 4000 bytes" if pieces > 1 else "."):
            await feed.read()

    monkeypatch.setattr("observability.sources.feeds.websocket.MAX_MESSAGE_BYTES", 4000)
    with Exchange("binance", {"BTCUSDT"}) as exchange:
        run(exchange, body)


def test_what_came_before_the_end_of_a_connection_is_read_first() -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        session.send(*(trade("binance", number, session) for number in range(1000)))
        session.close()
        numbers: list[object] = []
        while len(numbers) < 1000:
            numbers += [event.trade_id for event in (await feed.read()).events if isinstance(event, Print)]
        assert numbers == list(range(1000))
        with pytest.raises(EOFError):
            await feed.read()

    with Exchange("binance", {"BTCUSDT"}) as exchange:
        run(exchange, body)


def test_a_venue_that_confirms_nothing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(feed: Feed) -> None:
        with pytest.raises(SourceError, match="OKX has not confirmed 2 subscriptions"):
            await feed.connect(None)

    monkeypatch.setattr("observability.sources.feeds.feed.CONFIRM_SECONDS", 0.1)
    with Exchange("okx", {"BTC-USDT"}, is_mute=True) as exchange:
        run(exchange, body)


def test_a_venue_that_sends_much_and_confirms_nothing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(feed: Feed) -> None:
        connecting = asyncio.ensure_future(feed.connect(None))
        session = await asyncio.to_thread(exchange.next_session)
        session.send(*(trade("okx", number, session) for number in range(9)))
        with pytest.raises(SourceError, match="OKX sends much and does not confirm"):
            await connecting

    monkeypatch.setattr("observability.sources.feeds.feed.MAX_WAITING_MESSAGES", 8)
    with Exchange("okx", {"BTC-USDT"}, is_mute=True) as exchange:
        run(exchange, body)


def test_heartbeats_alone_are_not_read_as_messages() -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        session.send({"channel": "heartbeat"}, {"channel": "heartbeat"}, trade("kraken", 1, session))
        assert (await feed.read()).messages == 1

    with Exchange("kraken", {"BTC/USD"}) as exchange:
        run(exchange, body)


LEAVING = {
    "binance": '{"e":"serverShutdown","E":1770123456789}',
    "okx": '{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade."}',
}


async def ids_until(feed: Feed, last: str, batches: list[Batch]) -> list[str]:
    """Returns the ids of the trades up to the one with id `last`."""
    ids: list[str] = []
    while last not in ids:
        batches.append(await feed.read())
        ids += [str(event.trade_id) for event in batches[-1].events if isinstance(event, Print)]
    return ids


@pytest.mark.parametrize("venue", LEAVING)
def test_a_venue_that_announces_its_leave_is_connected_to_before_that(venue: str) -> None:
    async def body(feed: Feed) -> None:
        batches: list[Batch] = []
        await feed.connect(None)
        old = exchange.next_session()
        old.send(trade(venue, 1, old), LEAVING[venue], trade(venue, 2, old))
        assert await ids_until(feed, "2", batches) == ["1", "2"]
        old.send(trade(venue, 3, old), trade(venue, 4, old))
        reading = asyncio.ensure_future(ids_until(feed, "5", batches))
        new = await asyncio.to_thread(exchange.next_session)
        new.send(trade(venue, 4, new), trade(venue, 5, new))
        assert sorted(set(await reading)) == ["3", "4", "5"]
        assert sum(batch.gaps for batch in batches) == 0
        assert await asyncio.to_thread(old.ended.wait, 60)

    with Exchange(venue, {SYMBOLS[venue]}) as exchange:
        run(exchange, body)


def test_a_connection_that_is_replaced_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        old = exchange.next_session()
        old.send(trade("okx", 1, old), LEAVING["okx"], *(trade("okx", number, old) for number in range(2, 9)))
        # A pong is behind everything that was sent before the ping.
        assert await asyncio.to_thread(old.ping)
        assert await ids_until(feed, "2", []) == ["1", "2"]
        new = await asyncio.to_thread(exchange.next_session)
        assert await asyncio.to_thread(new.ping)
        assert await ids_until(feed, "8", []) == ["3", "4", "5", "6", "7", "8"]

    monkeypatch.setattr("observability.sources.feeds.websocket.MAX_TAKEN", 1)
    with Exchange("okx", {"BTC-USDT"}) as exchange:
        run(exchange, body)


def test_a_connection_is_replaced_before_it_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        monkeypatch.undo()
        old = exchange.next_session()
        reading = asyncio.ensure_future(ids_until(feed, "1", []))
        # The old one says nothing more.
        new = await asyncio.to_thread(exchange.next_session)
        new.send(trade("binance", 1, new))
        assert await reading == ["1"]
        assert await asyncio.to_thread(old.ended.wait, 60)

    monkeypatch.setattr(BinanceDialect, "max_age_seconds", 0.0)
    with Exchange("binance", {"BTCUSDT"}) as exchange:
        run(exchange, body)


def test_a_connection_that_cannot_be_replaced_is_read_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        old = exchange.next_session()
        exchange.symbols.clear()
        old.send(LEAVING["okx"], trade("okx", 1, old))
        assert await ids_until(feed, "1", []) == ["1"]
        reading = asyncio.ensure_future(ids_until(feed, "2", []))
        new = await asyncio.to_thread(exchange.next_session)
        assert await asyncio.to_thread(new.ended.wait, 60)
        old.send(trade("okx", 2, old))
        assert await reading == ["2"]
        old.cut()
        with pytest.raises(EOFError):
            await feed.read()

    with Exchange("okx", {"BTC-USDT"}) as exchange:
        run(exchange, body)
    assert "no new connection in place of this one: OKX refuses the subscription" in caplog.text


@pytest.mark.parametrize(
    ("venue", "heartbeat"), [("okx", "ping"), ("bybit", '{"op":"ping"}'), ("kraken", '{"method":"ping"}')]
)
def test_each_venue_gets_the_heartbeats_that_it_wants(
    venue: str, heartbeat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        while await asyncio.to_thread(session.next_request) != heartbeat:
            pass

    dialect = VENUES[venue]
    monkeypatch.setattr(dialect, "heartbeat", Heartbeat(0.05, dialect.heartbeat.text))
    with Exchange(venue, {SYMBOLS[venue]}) as exchange:
        run(exchange, body)


def test_a_venue_that_answers_no_heartbeat_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        exchange.is_mute = True
        with pytest.raises(EOFError, match="peer has not replied"):
            await feed.read()

    monkeypatch.setattr(VENUES["bybit"], "heartbeat", Heartbeat(0.2, b'{"op":"ping"}'))
    with Exchange("bybit", {"BTCUSDT"}) as exchange:
        run(exchange, body)


def test_a_ping_of_the_venue_is_answered() -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        assert await asyncio.to_thread(exchange.next_session().ping)

    with Exchange("binance", {"BTCUSDT"}) as exchange:
        run(exchange, body)


def test_a_feed_that_is_not_read_takes_no_more_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    count, bound, within_one_buffer = 6000, 100, 2000
    padding = " " * 4000

    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        messages = [trade("binance", number, session) + padding for number in range(count)]
        sender = threading.Thread(target=session.send, args=messages)
        sender.start()
        # All of it could be here by then, and on a slow machine at least too much.
        await asyncio.to_thread(sender.join, 0.5)
        numbers: list[object] = []
        while len(numbers) < count:
            batch = await feed.read()
            assert batch.messages <= bound + within_one_buffer
            numbers += [event.trade_id for event in batch.events if isinstance(event, Print)]
        assert numbers == list(range(count))
        sender.join(60)

    monkeypatch.setattr("observability.sources.feeds.websocket.MAX_WAITING_MESSAGES", bound)
    monkeypatch.setattr("observability.sources.feeds.websocket.MAX_TAKEN", count)
    with Exchange("binance", {"BTCUSDT"}) as exchange:
        run(exchange, body)


def test_a_symbol_of_which_nothing_comes_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        for number in range(2):
            session.send(trade("binance", number, session))
            await feed.read()

    monkeypatch.setattr("observability.sources.feeds.feed.UNHEARD_SECONDS", 0.0)
    with Exchange("binance", ()) as exchange:
        run(exchange, body, "BTCUSDT,NOPE,NEVER")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"source binance:BTCUSDT,NOPE,NEVER@127.0.0.1:{exchange.port}: nothing has come of NEVER,NOPE for 0 s: "
        "does BINANCE have it?"
    ]


def test_a_refused_connection_is_told_without_the_password() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def play() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
            feed = from_url(f"okx:BTC-USDT?url=ws://user:secret@{address}")
            try:
                with pytest.raises(SourceError, match=f"^{address} refuses the connection: HTTP status 403$"):
                    await feed.connect(None)
            finally:
                await feed.close()

    asyncio.run(asyncio.wait_for(play(), 60))


def test_a_venue_that_is_not_there_is_an_error() -> None:
    async def body(feed: Feed) -> None:
        with pytest.raises(OSError, match="Connect call failed"):
            await feed.connect(None)

    with Exchange("okx", ()) as exchange:
        pass
    run(exchange, body)


def test_a_venue_that_sends_heartbeats_alone_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(feed: Feed) -> None:
        is_read, clock, read = asyncio.Event(), FakeClock(), feed.read

        async def read_as_seen() -> Batch:
            is_read.set()
            return await read()

        monkeypatch.setattr(feed, "read", read_as_seen)
        runner = SourceRunner(feed, Desk().gate, clock)
        running = asyncio.ensure_future(runner.run())
        await is_read.wait()
        session = exchange.next_session()
        session.send({"channel": "heartbeat"}, {"channel": "heartbeat"})
        assert await asyncio.to_thread(session.ping)
        clock.advance(MUTE_SECONDS + 1)
        runner.health.refresh()
        assert runner.health.state == "silent"
        is_read.clear()
        session.send(trade("kraken", 1, session))
        await is_read.wait()
        assert runner.health.state == "connected"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with Exchange("kraken", {"BTC/USD"}) as exchange:
        run(exchange, body)


def test_events_get_the_name_that_the_url_gives() -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        session.send(trade("okx", 1, session))
        (event,) = (await feed.read()).events
        assert isinstance(event, Print) and event.symbol == "BTC"

    with Exchange("okx", {"BTC-USDT"}) as exchange:
        run(exchange, body, "BTC/USDT=BTC")


def test_more_topics_than_bybit_takes_in_a_request_are_sent_in_several() -> None:
    async def body(feed: Feed) -> None:
        await feed.connect(None)
        session = exchange.next_session()
        sent = [json.loads(session.next_request())["args"] for _ in range(3)]
        assert [len(args) for args in sent] == [10, 10, 4]
        assert len({topic for args in sent for topic in args}) == 24

    symbols = [f"S{number}USDT" for number in range(12)]
    with Exchange("bybit", symbols) as exchange:
        run(exchange, body, ",".join(symbols))


@pytest.mark.parametrize(
    ("venue", "own"),
    [("binance", "BTCUSDT"), ("binance-usdm", "BTCUSDT"), ("bybit", "BTCUSDT"), ("okx", "BTC-USDT"),
     ("coinbase", "BTC-USDT"), ("kraken", "BTC/USDT")],
)  # fmt: skip
@pytest.mark.parametrize("text", ["BTC/USDT", "btc/usdt"])
def test_a_pair_is_written_in_the_venues_own_way(venue: str, own: str, text: str) -> None:
    assert from_url(f"{venue}:{text}").name == f"{venue}:{own}"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("binance:", "symbol '', expected binance:SYMBOL,SYMBOL or SYMBOL=NAME"),
        ("binance:BTCUSDT,", "symbol '', expected"),
        ("binance:BTCUSDT,BTC/USDT", "symbol 'BTC/USDT' is there twice"),
        ("okx:BTC-USDT=X,ETH-USDT=X", "symbol 'ETH-USDT=X' is there twice"),
        ("okx:BTC-USDT=", "symbol 'BTC-USDT=', expected"),
        ("okx:BTC-USDT?uri=ws://x", "'uri' is not a parameter, expected url"),
        ("okx:BTC-USDT?url=http://x", "url: 'http://x', expected ws://HOST:PORT or wss://HOST"),
        ("okx:BTC%USDT", "symbol 'BTC%USDT', expected"),
        ("okx:BTC-USDT?url=ws://[::", "url: 'ws://[::', expected"),
        ("okx:BTC-USDT?url=http://user:secret@x", "url: 'http://user:***@x', expected"),
        ("okx:user:secret@x", "symbol 'user:***@x', expected"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_its_fault(url: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_url(url)
    assert fault in str(caught.value)


def test_the_name_of_a_feed_of_many_symbols_is_short() -> None:
    symbols = [f"S{number}" for number in range(9)]
    assert from_url(f"binance:{','.join(symbols)}?url=ws://localhost:1").name == "binance:S0,S1,S2,S3,S4,+4@localhost:1"
