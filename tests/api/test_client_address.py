"""Whose word about an address counts."""

import pytest
from pydantic import ValidationError
from starlette.requests import Request

from api.http.client_address import client_network
from ticketing.settings import RateLimitSettings

PROXIES = "10.0.0.0/8, 2001:db8:ffff::1"


def asked(peer: str | None, *forwarded: str) -> Request:
    return Request(
        {
            "type": "http",
            "client": None if peer is None else (peer, 4711),
            "headers": [(b"x-forwarded-for", hops.encode()) for hops in forwarded],
        }
    )


def network(
    peer: str | None, *forwarded: str, trusted: str = "10.0.0.0/8, 2001:db8:ffff::1"
) -> str:
    settings = RateLimitSettings(trusted_proxies=trusted)
    return client_network(asked(peer, *forwarded), settings.trusted_proxies)


def test_a_stranger_is_not_believed() -> None:
    assert network("192.0.2.1", "198.51.100.7") == "192.0.2.1"


def test_nobody_is_believed_unless_a_setting_says_so() -> None:
    assert network("127.0.0.1", "198.51.100.7", trusted="") == "127.0.0.1"


def test_a_trusted_proxy_is_believed() -> None:
    assert network("10.0.0.1", "198.51.100.7") == "198.51.100.7"
    assert network("2001:db8:ffff::1", "198.51.100.7") == "198.51.100.7"
    assert network("::ffff:10.0.0.1", "198.51.100.7") == "198.51.100.7"


def test_what_a_client_says_of_itself_through_a_proxy_is_not_believed() -> None:
    assert network("10.0.0.1", "203.0.113.1, 198.51.100.7") == "198.51.100.7"
    assert network("10.0.0.1", "203.0.113.1", "198.51.100.7") == "198.51.100.7"
    assert network("10.0.0.1", "10.9.9.9, 198.51.100.7") == "198.51.100.7"


def test_a_chain_of_trusted_proxies_is_followed() -> None:
    assert network("10.0.0.1", "203.0.113.1, 198.51.100.7, 10.0.0.3, 10.0.0.2") == "198.51.100.7"
    assert network("10.0.0.1", "10.0.0.3, 10.0.0.2") == "10.0.0.3"


@pytest.mark.parametrize("hops", ["", ",", "unknown", "_hidden", "1.2.3", "198.51.100.7, nonsense"])
def test_a_proxy_that_names_nobody_stands_for_its_client(hops: str) -> None:
    assert network("10.0.0.1", hops) == "10.0.0.1"


@pytest.mark.parametrize("hop", ["198.51.100.7:8080", " 198.51.100.7 ", "::ffff:198.51.100.7"])
def test_an_address_is_understood_as_proxies_write_it(hop: str) -> None:
    assert network("10.0.0.1", hop) == "198.51.100.7"


@pytest.mark.parametrize(
    "hop", ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "[2001:db8:1:2::1]:443", "[2001:db8:1:2::1]"]
)
def test_the_addresses_of_one_ipv6_host_count_together(hop: str) -> None:
    assert network("10.0.0.1", hop) == "2001:db8:1:2::/64"
    assert network("10.0.0.1", "2001:db8:1:3::1") == "2001:db8:1:3::/64"


def test_a_peer_without_an_address_counts_as_one() -> None:
    assert network(None, "198.51.100.7") == network("testclient", "198.51.100.7") == ""


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33", "*"])
def test_a_proxy_that_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        RateLimitSettings(trusted_proxies=wrong)
