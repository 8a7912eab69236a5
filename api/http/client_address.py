"""The network that a request came from: what limits per address count by.

uvicorn's own `proxy_headers` stays off. It puts the client in the place of the connection's peer,
by which a trusted proxy's trace context is told from a client's. It does not take
`::ffff:10.0.0.1` for 10.0.0.1, and takes a hop such as `unknown` for a client, so that all whom
such a proxy forwards for would share one limit.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import HTTPConnection, Request

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

IPV6_SITE = 64
"""Bits of an IPv6 address that its owner does not choose: one host may use all of a /64."""

WITH_PORT = re.compile(r"(?P<ipv4>[0-9.]+):\d+|\[(?P<ipv6>[^]]+)\](:\d+)?")
"""How some proxies write an address."""


def is_from_trusted_proxy(connection: HTTPConnection, trusted: Sequence[Network]) -> bool:
    """Whether the connection comes from a trusted proxy, whoever its client is."""
    address = _peer(connection)
    return address is not None and _is_within(address, trusted)


def client_network(request: Request, trusted: Sequence[Network]) -> str:
    """The network that the request came from: an IPv4 address, or the /64 of an IPv6 address.

    Each proxy appends its client's address to `X-Forwarded-For`, so the header is read from the
    right, up to the first address that is no trusted proxy's; a client can forge all before it.
    """
    hops = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    address = _peer(request)
    while address is not None and hops and _is_within(address, trusted):
        said = _parse(hops.pop())
        if said is None:
            break
        address = said
    return "" if address is None else _network_of(address)


def _peer(connection: HTTPConnection) -> Address | None:
    return _parse(connection.client.host) if connection.client else None


def _parse(text: str) -> Address | None:
    text = text.strip()
    if match := WITH_PORT.fullmatch(text):
        text = match["ipv4"] or match["ipv6"]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _network_of(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, IPV6_SITE), strict=False))
