"""Fuzz target: the subscriptions that clients of the stream ask for, without a server.

Whatever a message is, it is refused as documented, or it makes a subscription within the limits that can be described
to the client, applied again without change, and revoked. `messages.py` sends such messages to a real server.

    PYTHONPATH=tests/support python -m fuzz.subscriptions --inputs 10000000
"""

from __future__ import annotations

import random
from typing import Final

from fuzz import messages
from fuzz.fuzzing import main
from observability.encoding import encode_json
from observability.events import MAX_SYMBOL_LENGTH
from observability.memory.layout import LANES
from observability.stream.subscriptions import (
    DEFAULT,
    MAX_SYMBOLS,
    ClientMessage,
    SubscriptionError,
    parse_message,
    subscribed,
    unsubscribed,
)

SEEDS: Final = messages.SEEDS
DICTIONARY: Final = messages.DICTIONARY
KNOWN: Final = ("market_data", "strategy", "execution", "system", "mine")
CODES: Final = frozenset({"bad_message", "unknown_channel"})
MAX_ERROR_LENGTH: Final = 400


def check(data: bytes, rng: random.Random) -> None:
    """Raises AssertionError if a message does more than it may."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return  # closed with 1007 before it is a message
    try:
        message = parse_message(data)
        wanted = subscribed(DEFAULT, message, KNOWN)
    except SubscriptionError as error:
        refusal, wanted = error, None
    if wanted is None:
        assert refusal.code in CODES
        assert len(str(refusal)) < MAX_ERROR_LENGTH
        return
    encode_json({"id": message.id, **wanted.describe(KNOWN)})
    assert wanted.channels is None or wanted.channels <= frozenset(KNOWN)
    assert wanted.lanes <= frozenset(LANES)
    if wanted.symbols is not None:
        assert 0 < len(wanted.symbols) <= MAX_SYMBOLS
        assert all(0 < len(symbol) <= MAX_SYMBOL_LENGTH for symbol in wanted.symbols)
    assert subscribed(wanted, message, KNOWN) == wanted
    nothing = unsubscribed(wanted, ClientMessage(type="unsubscribe"), KNOWN)
    assert nothing.view_key is None
    assert not nothing.lanes
    hash(wanted.view_key)


if __name__ == "__main__":
    main(check, SEEDS, DICTIONARY, __doc__, inputs=100_000)
