"""What the name of a symbol certainly says about its currencies, and that any other name says nothing."""

from __future__ import annotations

import pytest

from observability.instruments.currencies import pair_of


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [
        ("USDJPY", ("USD", "JPY")),
        ("eur/jpy", ("EUR", "JPY")),
        ("ETH-BTC", ("ETH", "BTC")),
        ("ETHBTC", ("ETH", "BTC")),
        ("BTCUSDT", ("BTC", "USDT")),
        ("NEWCOIN_USD", ("NEWCOIN", "USD")),
        ("NEWCOINUSDT", ("NEWCOIN", "USDT")),
        # A part of the base is no part of the quote.
        ("BNBUSD", ("BNB", "USD")),
        ("BNBBUSD", ("BNB", "BUSD")),
        ("SHIBUSD", ("SHIB", "USD")),
        ("ARBUSD", ("ARB", "USD")),
        ("DOTUSD", ("DOT", "USD")),
        ("USDTUSD", ("USDT", "USD")),
        ("XBT/USD", ("XBT", "USD")),
        ("XBTUSDT", ("XBT", "USDT")),
    ],
)
def test_a_name_that_is_certainly_a_pair_says_so(symbol: str, pair: tuple[str, str]) -> None:
    assert pair_of(symbol) == pair


@pytest.mark.parametrize(
    "symbol", ["AAPL", "GBTC", "BRK-ALL", "NEWCOINUSD", "USD/USD", "USDT", "ESZ5", "BTC-PERPETUAL", "XBTUSD", ""]
)
def test_any_other_name_says_nothing(symbol: str) -> None:
    assert pair_of(symbol) is None
