"""Currencies by their codes, and what the name of a symbol certainly says about its currencies.

A name says so if it is a pair of two known codes: `USDJPY`, `EUR/JPY`, `ETH-BTC`, `ETHBTC`, `BTCUSDT`. A coin whose
code is not known is a base, too, before a stablecoin, and with a separator before `USD`, `BTC` and `ETH`. Any other
name says nothing: `GBTC` is a share, and whether `XBTUSD` is a spot pair or an inverse contract only an instrument
knows.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ISO 4217, the codes of money in circulation, and the precious metals that are quoted like it.
ISO_CODES: Final = _codes(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
    CLP CNH CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL
    HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL
    MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON
    RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH
    UGX USD UYU UZS VES VND VUV WST XAF XAG XAU XCD XOF XPD XPF XPT YER ZAR ZMW ZWL
    """
)

USD_STABLECOINS: Final = frozenset({"BUSD", "DAI", "FDUSD", "GUSD", "PYUSD", "TUSD", "USDC", "USDP", "USDT"})
"""Tokens that are issued at one US dollar each."""

_COINS: Final = _codes(
    """
    1INCH AAVE ADA ALGO APE APT AR ARB ATOM AVAX AXS BAT BCH BNB BSV BTC CAKE CHZ COMP CRO CRV DASH DOGE DOT DYDX
    EGLD ENA ENJ EOS ETC ETH FET FIL FLOW FTM GALA GRT HBAR ICP IMX INJ IOTA JUP KAS KAVA KSM LDO LINK LTC LUNA MANA
    MATIC MINA MKR NEAR NEO OKB OM ONDO ONE OP ORDI PAXG PEPE POL PYTH QNT QTUM RENDER RNDR ROSE RUNE SAND SEI SHIB
    SNX SOL STX SUI SUSHI THETA TIA TON TRX TWT UNI VET WBTC WIF WLD XBT XDG XEC XLM XMR XRP XTZ YFI ZEC ZIL ZRX
    """
)

_CODES: Final = ISO_CODES | USD_STABLECOINS | _COINS
# What pairs are quoted in without a separator. The name ends in one of them, and no share's name does by chance: either
# it is of a stablecoin, or what stands before it is a known code too.
_QUOTES: Final = tuple(sorted(ISO_CODES | USD_STABLECOINS | {"BTC", "ETH", "BNB", "XBT"}, key=len))
# DAI ends words.
_COIN_QUOTES: Final = tuple(sorted(USD_STABLECOINS - {"DAI"}, key=len, reverse=True))
_PAIR: Final = re.compile(r"([A-Z0-9]{2,15})[/_-]([A-Z0-9]{3,6})")
_COIN: Final = re.compile(r"[A-Z0-9]{3,15}")


@lru_cache(maxsize=8192)
def pair_of(symbol: str) -> tuple[str, str] | None:
    """Returns base and quote currency if the name of the symbol is certainly a pair; None if it may be anything."""
    name = symbol.upper()
    pair = _PAIR.fullmatch(name)
    if pair is not None:
        base, quote = pair.groups()
        # With a separator a known quote is enough for a coin that came last week, but not for BRK-ALL.
        is_known = quote in _CODES and (base in _CODES or quote in USD_STABLECOINS or quote in ("BTC", "ETH", "USD"))
        return (base, quote) if is_known and base != quote else None
    # The longest known base first: ARBUSD is ARB/USD and not AR/BUSD.
    for quote in _QUOTES:
        base = name.removesuffix(quote)
        # XBTUSD is an inverse contract at one venue and a pair at another.
        if base != name and base in _CODES and base != quote and (base, quote) != ("XBT", "USD"):
            return base, quote
    for quote in _COIN_QUOTES:
        base = name.removesuffix(quote)
        if base != name and base not in _CODES and _COIN.fullmatch(base):
            return base, quote
    return None
