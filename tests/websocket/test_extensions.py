"""The negotiation of permessage-deflate: offers accepted, declined and refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from observability.http11.refusals import HeadTooLarge, Malformed, Refusal
from observability.websocket.extensions import MAX_OFFERS, MAX_VALUE_BYTES, DeflateParameters, negotiate

BASE = b"permessage-deflate; client_no_context_takeover"

ACCEPTED: list[tuple[bytes, bool, bytes]] = [
    (b"permessage-deflate", True, BASE),
    # What browsers send.
    (b"permessage-deflate; client_max_window_bits", True, BASE),
    (b"permessage-deflate;client_max_window_bits", True, BASE),
    (b"permessage-deflate; client_max_window_bits=8", True, BASE),
    (b"permessage-deflate; client_max_window_bits=15", True, BASE),
    (b"permessage-deflate; client_no_context_takeover", True, BASE),
    (b"permessage-deflate; server_no_context_takeover", False, BASE + b"; server_no_context_takeover"),
    (b"permessage-deflate; server_max_window_bits=15", True, BASE + b"; server_max_window_bits=15"),
    (
        b"permessage-deflate; server_max_window_bits=15; server_no_context_takeover; client_max_window_bits=10; "
        b"client_no_context_takeover",
        False,
        BASE + b"; server_no_context_takeover; server_max_window_bits=15",
    ),
    # RFC 6455 section 9.1: a value may be quoted, and its characters escaped.
    (b'permessage-deflate; server_max_window_bits="15"', True, BASE + b"; server_max_window_bits=15"),
    (b'permessage-deflate; server_max_window_bits="\\1\\5"', True, BASE + b"; server_max_window_bits=15"),
    (b'permessage-deflate; client_max_window_bits="1\\0"', True, BASE),
    # RFC 2616 section 2.1: whitespace around separators, empty elements of lists.
    (b" permessage-deflate \t; client_max_window_bits = 12 ", True, BASE),
    (b", ,permessage-deflate,,", True, BASE),
    # Other extensions are ignored, and the offer after a declined one is tried.
    (b"x-webkit-deflate-frame, permessage-deflate", True, BASE),
    (b'foo; bar="baz"; bar, permessage-deflate', True, BASE),
    (b"permessage-deflate; server_max_window_bits=10, permessage-deflate", True, BASE),
    (
        b"permessage-deflate; mux, permessage-deflate; server_no_context_takeover, permessage-deflate",
        False,
        BASE + b"; server_no_context_takeover",
    ),
    (b"permessage-deflate, permessage-deflate; server_no_context_takeover", True, BASE),
]

DECLINED: list[bytes] = [
    b"foo",
    b"permessage-bzip2",
    b"x-permessage-deflate",
    b"foo; permessage-deflate",
    # RFC 7692 section 7: unknown parameters
    b"permessage-deflate; unknown",
    b"permessage-deflate; Server_No_Context_Takeover",
    b"permessage-deflate; client_max_window_bits; unknown=1",
    # repeated ones
    b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    b"permessage-deflate; client_max_window_bits; client_max_window_bits=10",
    b"permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
    # invalid values: section 7.1.1.1 and 7.1.1.2
    b"permessage-deflate; server_no_context_takeover=1",
    b"permessage-deflate; client_no_context_takeover=true",
    # section 7.1.2.1 and 7.1.2.2
    b"permessage-deflate; server_max_window_bits",
    b"permessage-deflate; server_max_window_bits=16",
    b"permessage-deflate; server_max_window_bits=015",
    b"permessage-deflate; server_max_window_bits=+15",
    b"permessage-deflate; server_max_window_bits=1_5",
    b"permessage-deflate; client_max_window_bits=7",
    b"permessage-deflate; client_max_window_bits=16",
    b"permessage-deflate; client_max_window_bits=08",
    b"permessage-deflate; client_max_window_bits=0",
    b"permessage-deflate; client_max_window_bits=-9",
    b"permessage-deflate; client_max_window_bits=9.0",
    # windows smaller than that of the shared compressors
    b"permessage-deflate; server_max_window_bits=8",
    b"permessage-deflate; server_max_window_bits=14",
]

MALFORMED: list[bytes] = [
    b"",
    b" \t",
    b",",
    b", ,",
    b";",
    b"=",
    b"permessage-deflate;",
    b"permessage-deflate; ",
    b"permessage-deflate; ; client_max_window_bits",
    b"permessage-deflate; client_max_window_bits=",
    b"permessage-deflate; client_max_window_bits==9",
    b"permessage-deflate; client_max_window_bits=9=9",
    b"permessage-deflate; =9",
    b"permessage-deflate client_max_window_bits",
    b"permessage-deflate=1",
    b"permessage-deflate; client_max_window_bits 9",
    b'permessage-deflate; client_max_window_bits="9',
    b'permessage-deflate; client_max_window_bits=9"',
    b'permessage-deflate; client_max_window_bits=""',
    b'permessage-deflate; client_max_window_bits="1 0"',
    b'permessage-deflate; client_max_window_bits="1,0"',
    b'permessage-deflate; client_max_window_bits="1;0"',
    b'permessage-deflate; client_max_window_bits="1\\"0"',
    b'permessage-deflate; client_max_window_bits="10\\"',
    b'permessage-deflate; client_max_window_bits="1\\\\0"',
    b'permessage-deflate; client_max_window_bits="10"9',
    b'"permessage-deflate"',
    b"permessage-deflate\x00",
    b"permessage-deflate\r\n",
    b"permessage-deflate\x0b",
    b"permessage-deflate, f\xc3\xa9",
    b"permessage-deflate / foo",
]


@pytest.mark.parametrize(("value", "server_takeover", "response"), ACCEPTED)
def test_the_first_acceptable_offer_is_answered(value: bytes, server_takeover: bool, response: bytes) -> None:
    assert negotiate(value) == DeflateParameters(server_takeover, response)


@pytest.mark.parametrize("value", DECLINED)
def test_a_well_formed_offer_that_is_not_acceptable_is_declined(value: bytes) -> None:
    assert negotiate(value) is None


@pytest.mark.parametrize("value", DECLINED)
def test_the_offer_after_a_declined_one_is_tried(value: bytes) -> None:
    assert negotiate(value + b", permessage-deflate") == DeflateParameters(True, BASE)


@pytest.mark.parametrize("value", MALFORMED)
def test_a_value_that_is_not_a_list_of_extensions_is_refused_with_400(value: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        negotiate(value)
    assert caught.value.status == 400


def test_a_malformed_element_after_a_good_offer_is_refused() -> None:
    with pytest.raises(Malformed):
        negotiate(b"permessage-deflate, foo=")


def test_without_the_field_there_is_no_extension() -> None:
    assert negotiate(None) is None


def test_a_value_longer_than_the_limit_is_refused() -> None:
    filler = b"," * (MAX_VALUE_BYTES - len(b"permessage-deflate"))
    assert negotiate(filler + b"permessage-deflate") is not None
    with pytest.raises(HeadTooLarge):
        negotiate(filler + b",permessage-deflate")


def test_offers_beyond_the_limit_are_ignored() -> None:
    assert negotiate(b"foo," * (MAX_OFFERS - 1) + b"permessage-deflate") is not None
    assert negotiate(b"foo," * MAX_OFFERS + b"permessage-deflate") is None


@given(st.text(alphabet='permessage-dflt_cixwnob; ,="\\\t0158', max_size=80))
def test_no_value_raises_anything_but_a_refusal(text: str) -> None:
    for value in (text, "permessage-deflate; " + text):
        try:
            parameters = negotiate(value.encode())
        except Refusal:
            continue
        assert parameters is None or parameters.response.startswith(BASE)


@pytest.mark.parametrize("server_no_takeover", [False, True])
@pytest.mark.parametrize("client_no_takeover", [False, True])
@pytest.mark.parametrize("server_bits", [None, 15])
@pytest.mark.parametrize("client_bits", [None, True, 9, 15])
def test_the_websockets_package_agrees_to_every_answer(
    server_no_takeover: bool, client_no_takeover: bool, server_bits: int | None, client_bits: int | bool | None
) -> None:
    client = ClientPerMessageDeflateFactory(server_no_takeover, client_no_takeover, server_bits, client_bits)
    offer = build_extension([(client.name, list(client.get_request_params()))])
    parameters = negotiate(offer.encode())
    assert parameters is not None
    ((_, params),) = parse_extension(parameters.response.decode())
    extension = client.process_response_params(params, [])
    assert extension.local_no_context_takeover
    assert extension.remote_no_context_takeover is not parameters.server_takeover
    assert extension.remote_max_window_bits == 15
