"""URLs that a page may redirect to, and their query parameters."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


def is_loopback(url: str) -> bool:
    """Whether the URL leads to this machine, as every browser parses it.

    Redirecting to any other one would be an open redirect.
    """
    # Browsers read a backslash as a slash, which ends the host; Python reads on, and finds
    # another host behind an `@` or a `[`.
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


def with_query(url: str, params: Mapping[str, str | None]) -> str:
    """The URL with these query parameters set; None removes one."""
    parts = urlsplit(url)
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in params
    ]
    added = [(name, value) for name, value in params.items() if value is not None]
    return urlunsplit(parts._replace(query=urlencode([*kept, *added])))
