"""Where buyers type their card: in Stripe's own element, or in a form for the Stripe sandbox.

Either way the number goes from the browser to there, and only a payment method's id comes here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlencode

from ticketing.settings import STRIPE_API, StripeBrowserSettings

PAGE_POLICY: Mapping[str, str] = MappingProxyType(
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
"""What a page of the storefront may run, show and send, and where."""

STRIPE_JS = "https://js.stripe.com/v3/"

STRIPE_POLICY: Mapping[str, str] = MappingProxyType(
    {
        "script-src": "https://js.stripe.com https://*.js.stripe.com",
        "frame-src": "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com",
        "connect-src": "https://api.stripe.com",
        "img-src": "https://*.stripe.com",
    }
)
"""What Stripe.js needs. Source: https://docs.stripe.com/security/guide#content-security-policy"""


@dataclass(frozen=True)
class TestCard:
    """A card that the sandbox takes."""

    number: str
    outcome: str


TEST_CARDS = (
    TestCard("4242 4242 4242 4242", "pays"),
    TestCard("4000 0000 0000 0002", "is declined"),
    TestCard("4000 0000 0000 9995", "is declined: insufficient funds"),
    TestCard("4000 0027 6000 3184", "asks you at your bank, then pays"),
    TestCard("4000 0084 0000 1629", "asks you at your bank, then is declined"),
)
"""Of Stripe's published ones: https://docs.stripe.com/testing"""


@dataclass(frozen=True)
class CardEntry:
    """How cards are taken under these settings."""

    publishable_key: str | None
    sandbox: str | None
    """The address of the Stripe sandbox, where it stands in for Stripe."""

    @classmethod
    def of(cls, settings: StripeBrowserSettings) -> "CardEntry":
        is_stripe = settings.api_base == STRIPE_API
        return cls(settings.publishable_key, None if is_stripe else settings.api_base)

    @property
    def uses_stripe_js(self) -> bool:
        return self.sandbox is None and self.publishable_key is not None

    @property
    def policy(self) -> str:
        """The content security policy of a page with the card form."""
        if self.sandbox is not None:
            # A form's redirect counts as well: the one to the bank's page.
            return policy({"connect-src": self.sandbox, "form-action": self.sandbox})
        return policy(STRIPE_POLICY if self.uses_stripe_js else {})

    def bank_page(self, client_secret: str, return_url: str) -> str | None:
        """Where the buyer confirms a payment; Stripe.js shows it within the page instead."""
        if self.sandbox is None:
            return None
        query = urlencode({"client_secret": client_secret, "return_url": return_url})
        return f"{self.sandbox}/authenticate?{query}"


def policy(more: Mapping[str, str] = MappingProxyType({})) -> str:
    """The policy of a page, with further sources for some of it."""
    names = dict.fromkeys([*PAGE_POLICY, *more])
    sources = {name: f"{PAGE_POLICY.get(name, '')} {more.get(name, '')}".strip() for name in names}
    return "; ".join(f"{name} {value}" for name, value in sources.items())
