"""The configuration of a sandbox."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

API_VERSION = "2026-10-28.endive"
"""The one version of Stripe's API whose objects the sandbox makes."""

ALL_EVENTS = frozenset({"*"})
"""Stripe's notation for every type of event."""

DEFAULT_RETRY_DELAYS = (0.2, 1.0, 5.0, 30.0, 60.0, 300.0)
"""Seconds before each further delivery of a webhook; the last one repeats.

Stripe waits for minutes, then hours, which is too long for development.
"""


@dataclass(frozen=True, kw_only=True)
class SandboxConfig:
    """Where a sandbox keeps its state, where it posts events, and what it allows."""

    database: Path | None = None
    """The SQLite file; None keeps everything in memory."""

    webhook_urls: tuple[str, ...] = ()
    """Where events are posted, each to one of the URLs; empty: no webhooks."""

    webhook_secret: str | None = field(default=None, repr=False)
    """The endpoint's signing secret (`whsec_…`), required with `webhook_urls`."""

    enabled_events: frozenset[str] = ALL_EVENTS
    """The types of events that are posted."""

    webhook_retry_delays: tuple[float, ...] = DEFAULT_RETRY_DELAYS
    """Seconds to wait after the first, second, … failed delivery; the last one repeats."""

    merchant: str = "Test merchant"
    """The merchant's name on the bank's page."""

    allow_faults: bool = True
    """Whether `/_sandbox/faults` takes rules and `/_sandbox/refunds` settles refunds."""

    def __post_init__(self) -> None:
        """Reject what could only fail later.

        Raises:
            ValueError: a webhook URL without a secret or that is not http(s), or no delays.
        """
        if self.webhook_urls and not self.webhook_secret:
            raise ValueError("webhook_secret is required with webhook_urls: events are signed")
        for url in self.webhook_urls:
            require_http_url(url)
        if not self.webhook_retry_delays or min(self.webhook_retry_delays) < 0:
            raise ValueError("webhook_retry_delays needs at least one delay of zero or more")


def require_http_url(url: str) -> str:
    """The same URL, if it is an absolute http(s) one.

    Raises:
        ValueError: it is anything else.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"not an http(s) URL: {url!r}")
    return url
