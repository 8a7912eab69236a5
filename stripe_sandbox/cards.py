"""Stripe's published test cards and what each one does.

Stripe: "Testing", https://docs.stripe.com/testing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Authentication(StrEnum):
    """When the card's bank asks the buyer for authentication."""

    NEVER = "never"
    ALWAYS = "always"
    """On every payment; off session it is refused with `authentication_required`."""
    ON_SESSION = "on_session"
    """Only with the buyer present; the card is set up for payments off session."""


@dataclass(frozen=True)
class Decline:
    """How a bank declines, in Stripe's words."""

    code: str
    message: str
    decline_code: str | None = None
    """Only with code `card_declined`, as in Stripe's table of test cards."""
    param: str | None = None
    advice_code: str | None = None


GENERIC = Decline(
    "card_declined", "Your card was declined.", "generic_decline", advice_code="try_again_later"
)
INSUFFICIENT_FUNDS = Decline(
    "card_declined",
    "Your card has insufficient funds.",
    "insufficient_funds",
    advice_code="try_again_later",
)
LOST_CARD = Decline(
    "card_declined", "Your card was declined.", "lost_card", advice_code="do_not_try_again"
)
STOLEN_CARD = Decline(
    "card_declined", "Your card was declined.", "stolen_card", advice_code="do_not_try_again"
)
EXPIRED = Decline(
    "expired_card", "Your card has expired.", param="exp_month", advice_code="do_not_try_again"
)
INCORRECT_CVC = Decline(
    "incorrect_cvc",
    "Your card's security code is incorrect.",
    param="cvc",
    advice_code="confirm_card_data",
)
PROCESSING_ERROR = Decline(
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
    advice_code="try_again_later",
)
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "authentication_required",
)


@dataclass(frozen=True)
class Card:
    """One test card, and how its bank behaves."""

    number: str
    summary: str
    tokens: tuple[str, ...] = ()
    """Generic payment method ids that stand for it, such as `pm_card_visa`."""
    brand: str = "visa"
    country: str = "US"
    decline: Decline | None = None
    authentication: Authentication = Authentication.NEVER
    pending_refunds: bool = False
    """A refund waits until the bank has settled it."""
    disputed: bool = False
    """Every payment is disputed, so none can be refunded."""

    @property
    def last4(self) -> str:
        """The part of the number that is stored."""
        return self.number[-4:]


def _declined(number: str, suffix: str, decline: Decline) -> Card:
    tokens = (f"pm_card_chargeDeclined{suffix}", f"pm_card_visa_chargeDeclined{suffix}")
    reason = decline.decline_code or decline.code
    return Card(number, f"declined: {reason}", tokens, decline=decline)


def _authenticated(
    number: str,
    token: str,
    summary: str,
    decline: Decline | None = None,
    authentication: Authentication = Authentication.ALWAYS,
) -> Card:
    return Card(
        number, summary, (token,), country="IE", decline=decline, authentication=authentication
    )


CARDS: tuple[Card, ...] = (
    Card("4242424242424242", "succeeds", ("pm_card_visa",)),
    Card("4000056655665556", "succeeds (debit)", ("pm_card_visa_debit",)),
    Card("5555555555554444", "succeeds", ("pm_card_mastercard",), brand="mastercard"),
    Card("378282246310005", "succeeds", ("pm_card_amex",), brand="amex"),
    Card("6011111111111117", "succeeds", ("pm_card_discover",), brand="discover"),
    _declined("4000000000000002", "", GENERIC),
    _declined("4000000000009995", "InsufficientFunds", INSUFFICIENT_FUNDS),
    _declined("4000000000009987", "LostCard", LOST_CARD),
    _declined("4000000000009979", "StolenCard", STOLEN_CARD),
    _declined("4000000000000069", "ExpiredCard", EXPIRED),
    _declined("4000000000000127", "IncorrectCvc", INCORRECT_CVC),
    _declined("4000000000000119", "ProcessingError", PROCESSING_ERROR),
    _authenticated(
        "4000002760003184", "pm_card_authenticationRequired", "asks the buyer, then succeeds"
    ),
    _authenticated(
        "4000000000003220", "pm_card_threeDSecure2Required", "asks the buyer, then succeeds"
    ),
    _authenticated(
        "4000002500003155",
        "pm_card_authenticationRequiredOnSetup",
        "asks the buyer, then succeeds",
    ),
    _authenticated(
        "4000003800000446",
        "pm_card_authenticationRequiredSetupForOffSession",
        "asks the buyer, then succeeds; off session succeeds at once",
        authentication=Authentication.ON_SESSION,
    ),
    _authenticated(
        "4000008260003178",
        "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
        "asks the buyer, then declined: insufficient_funds",
        INSUFFICIENT_FUNDS,
    ),
    _authenticated(
        "4000008400001629",
        "pm_card_threeDSecureRequiredChargeDeclined",
        "asks the buyer, then declined: generic_decline",
        GENERIC,
    ),
    Card("4000000000003055", "succeeds; the bank could ask", ("pm_card_threeDSecureOptional",)),
    Card(
        "4000000000007726",
        "succeeds; refunds stay pending",
        ("pm_card_pendingRefund",),
        pending_refunds=True,
    ),
    Card(
        "4000000000000259",
        "succeeds, then is disputed",
        ("pm_card_createDispute",),
        disputed=True,
    ),
)


def _by_token(cards: Iterable[Card]) -> dict[str, Card]:
    return {token: card for card in cards for token in card.tokens}


CARDS_BY_NUMBER = {card.number: card for card in CARDS}
CARDS_BY_TOKEN = _by_token(CARDS)
CARDS_BY_LAST4 = {card.last4: card for card in CARDS}
"""The last four digits tell the test cards apart, so nothing more needs keeping."""


def is_card_number(number: str) -> bool:
    """Whether the digits could be a card: length and the Luhn checksum."""
    if not (number.isascii() and number.isdigit() and 12 <= len(number) <= 19):
        return False
    total = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
