"""Card entry: Stripe's Payment Element, or a form for the Stripe sandbox.

Either way the browser sends the card number there, and only a payment method's id here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlencode

from ticketing.settings import STRIPE_API, StripeBrowserSettings

BASE_POLICY: Mapping[str, str] = MappingProxyType(
    {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
)
"""The content security policy of every page."""

STRIPE_JS = "https://js.stripe.com/v3/"

STRIPE_POLICY: Mapping[str, str] = MappingProxyType(
    {
        "script-src": "https://js.stripe.com https://*.js.stripe.com",
        "frame-src": "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com",
        "connect-src": "https://api.stripe.com",
        "img-src": "https://*.stripe.com",
    }
)
"""What Stripe.js needs. Source: https://docs.stripe.com/security/guide#content-security-content_security_policy"""


@dataclass(frozen=True)
class TestCard:
    """A test card of the sandbox."""

    number: str
    outcome: str


TEST_CARDS = (
    TestCard("4242 4242 4242 4242", "pays"),
    TestCard("4000 0000 0000 0002", "is declined"),
    TestCard("4000 0000 0000 9995", "is declined: insufficient funds"),
    TestCard("4000 0027 6000 3184", "asks you at your bank, then pays"),
    TestCard("4000 0084 0000 1629", "asks you at your bank, then is declined"),
)
"""Some of Stripe's test cards: https://docs.stripe.com/testing"""


@dataclass(frozen=True)
class CardEntry:
    """How the configured Stripe accepts cards."""

    publishable_key: str | None
    sandbox: str | None
    """The URL of the Stripe sandbox, if it is used in place of Stripe."""

    @classmethod
    def from_settings(cls, settings: StripeBrowserSettings) -> "CardEntry":
        is_stripe = settings.api_base == STRIPE_API
        return cls(settings.publishable_key, None if is_stripe else settings.api_base)

    @property
    def uses_stripe_js(self) -> bool:
        return self.sandbox is None and self.publishable_key is not None

    @property
    def content_security_policy(self) -> str:
        """The content security content_security_policy of a page with the card form."""
        if self.sandbox is not None:
            # `form-action` also covers redirects of a form: here the one to the bank's page.
            return content_security_policy(
                {"connect-src": self.sandbox, "form-action": self.sandbox}
            )
        return content_security_policy(STRIPE_POLICY if self.uses_stripe_js else {})

    def bank_page(self, client_secret: str, return_url: str) -> str | None:
        """The URL for authentication; None with Stripe.js, which embeds it in the page."""
        if self.sandbox is None:
            return None
        query = urlencode({"client_secret": client_secret, "return_url": return_url})
        return f"{self.sandbox}/authenticate?{query}"


def content_security_policy(more: Mapping[str, str] = MappingProxyType({})) -> str:
    """The content_security_policy of a page, with further sources for some of it."""
    names = dict.fromkeys([*BASE_POLICY, *more])
    sources = {name: f"{BASE_POLICY.get(name, '')} {more.get(name, '')}".strip() for name in names}
    return "; ".join(f"{name} {value}" for name, value in sources.items())
