"""What a sandbox is told when it starts."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

API_VERSION = "2026-10-28.endive"
"""The one version of Stripe's API whose objects the sandbox makes."""

EVERY_EVENT = frozenset({"*"})
"""Stripe's own sign for it."""

DEFAULT_RETRY_DELAYS = (0.2, 1.0, 5.0, 30.0, 60.0, 300.0)
"""Seconds before each further delivery of a webhook; the last one repeats.

Stripe waits for minutes, then hours; nobody at a keyboard does.
"""


@dataclass(frozen=True, kw_only=True)
class SandboxConfig:
    """One sandbox: where it keeps its state and where it reports events."""

    database: Path | None = None
    """The SQLite file; None keeps everything in memory."""

    webhook_urls: tuple[str, ...] = ()
    """Where events are posted, each to one of them; none delivers none."""

    webhook_secret: str | None = field(default=None, repr=False)
    """The endpoint's signing secret (`whsec_…`), required with `webhook_urls`."""

    enabled_events: frozenset[str] = EVERY_EVENT
    """The types of events that the endpoint is for."""

    webhook_retry_delays: tuple[float, ...] = DEFAULT_RETRY_DELAYS
    """Seconds to wait after the first, second, … failed delivery; the last one repeats."""

    merchant: str = "Test merchant"
    """Who takes the payments: the bank's page names it to the buyer."""

    allow_faults: bool = True
    """Whether `/_sandbox/faults` takes rules and `/_sandbox/refunds` settles refunds."""

    def __post_init__(self) -> None:
        """Refuse what could only fail later.

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
