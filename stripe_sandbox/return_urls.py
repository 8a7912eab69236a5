"""Where a page may send a browser on to, and what it tells there."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


def is_loopback(url: str) -> bool:
    """Whether the URL leads to this very machine, in every browser's reading.

    Following any other one would let a link to our page lead anywhere (an open redirect).
    """
    # Browsers take a backslash for a slash: for them a host ends where Python reads on, and finds
    # another one behind an `@` or a `[`.
    if "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        host, is_plain = parts.hostname or "", parts.username is None
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or not is_plain:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def with_query(url: str, told: Mapping[str, str | None]) -> str:
    """The URL with these in its query, in place of any of their names; None only takes out."""
    parts = urlsplit(url)
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in told
    ]
    added = [(name, value) for name, value in told.items() if value is not None]
    return urlunsplit(parts._replace(query=urlencode([*kept, *added])))
