"""The address that a request comes from."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from observability.access.addresses import MAX_HOPS, TrustedProxies, is_loopback, limited_as

PROXY = "10.0.0.1"


@pytest.fixture
def proxies() -> TrustedProxies:
    return TrustedProxies([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        (b"192.0.2.7", "192.0.2.7"),
        (b"192.0.2.7, 10.2.3.4", "192.0.2.7"),
        (b"203.0.113.9, 192.0.2.7", "192.0.2.7"),
        (b"203.0.113.9,192.0.2.7,2001:db8::1", "192.0.2.7"),
        (b"10.9.9.9, 10.2.3.4", "10.9.9.9"),
        (b"2001:DB8:0::5,2001:0:0:0:0:0:0:1", "2001::1"),
        (b"::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(
    proxies: TrustedProxies, forwarded_for: bytes, client: str
) -> None:
    assert proxies.client_address(PROXY, forwarded_for) == client


@pytest.mark.parametrize(
    "forwarded_for",
    [None, b"", b"unknown", b"192.0.2.7, ", b"192.0.2.7:80", b"192.0.2.7, x", b"192.0.2.7 10.0.0.2", b"\xff", b"1"],
)
def test_the_client_is_the_proxy_itself_if_the_list_is_malformed(
    proxies: TrustedProxies, forwarded_for: bytes | None
) -> None:
    assert proxies.client_address(PROXY, forwarded_for) == PROXY


def test_members_to_the_left_of_the_client_are_ignored(proxies: TrustedProxies) -> None:
    assert proxies.client_address(PROXY, b"<script>, 127.0.0.1, 192.0.2.7") == "192.0.2.7"


def test_a_chain_of_proxies_is_followed_for_a_limited_number_of_hops(proxies: TrustedProxies) -> None:
    chain = b"192.0.2.7" + b",10.0.0.2" * (MAX_HOPS - 1)
    assert proxies.client_address(PROXY, chain) == "192.0.2.7"
    assert proxies.client_address(PROXY, chain + b",10.0.0.2") == "10.0.0.2"


def test_only_configured_proxies_are_trusted(proxies: TrustedProxies) -> None:
    assert proxies.trusts("10.1.2.3")
    assert proxies.trusts("::ffff:10.1.2.3")
    assert not proxies.trusts("192.0.2.1")
    assert not proxies.trusts("")
    assert not TrustedProxies().trusts("127.0.0.1")


def test_all_addresses_of_an_ipv6_site_count_as_one() -> None:
    assert limited_as("2001:db8:1:2::1") == limited_as("2001:db8:1:2:ffff::2") != limited_as("2001:db8:1:3::1")
    assert limited_as("192.0.2.1") == limited_as("::ffff:192.0.2.1") != limited_as("192.0.2.2")
    assert limited_as("") == ""


@pytest.mark.parametrize("name", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "localhost"])
def test_every_form_of_a_loopback_name_is_loopback(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize("name", ["192.0.2.1", "localhost.example", "127.0.0.1.example", "0.0.0.0", ""])
def test_other_names_are_not_loopback(name: str) -> None:
    assert not is_loopback(name)
