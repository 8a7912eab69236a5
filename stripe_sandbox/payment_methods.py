"""Payment methods; of a card only the last four digits are stored, never its number."""

import hashlib
from datetime import UTC, datetime

from stripe_sandbox import cards
from stripe_sandbox.calls import Call
from stripe_sandbox.errors import InvalidCard, InvalidParameter, InvalidRequest, Json
from stripe_sandbox.ids import new_id
from stripe_sandbox.ledger import StoredObject
from stripe_sandbox.parameters import Parameters

_ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
_BILLING = ("address", "email", "name", "phone", "tax_id")
_CARD = ("number", "exp_month", "exp_year", "cvc")
_TOKEN_EXPIRY_YEARS = 5

ALREADY_USED = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer "
    "attachment, shared with a connected account without Customer attachment, or was detached "
    "from a Customer. It may not be used again. To use a PaymentMethod multiple times, you must "
    "attach it to a Customer first."
)


def create(call: Call) -> Json:
    """Create a payment method from a test card's details.

    Raises:
        InvalidParameter: a parameter is missing, unknown or not for a card.
        InvalidCard: the number, expiry or security code is wrong, or it is no test card.
    """
    params = Parameters(
        call.form, ("type", "card", "billing_details", "metadata", "allow_redisplay", "expand")
    )
    if params.required("type") != "card":
        raise InvalidParameter(
            f"Invalid payment method type: {params.text('type')!r}; the sandbox has only `card`",
            param="type",
        )
    details = params.nested("card", (*_CARD, "token"))
    if details is None:
        raise InvalidParameter(
            "Missing required param: card.", code="parameter_missing", param="card"
        )
    billing = _billing_details(params)
    metadata = params.metadata()
    redisplay = params.choice("allow_redisplay", ("always", "limited", "unspecified"))
    if details.text("token") is not None:
        raise InvalidParameter("The sandbox takes no card tokens.", param="card[token]")

    card, month, year = _checked_card(details)
    body = _payment_method(call, card, month, year, checked_cvc="cvc" in details)
    body |= {"billing_details": billing, "metadata": metadata}
    body["allow_redisplay"] = redisplay or "unspecified"
    # Stripe: this card is declined for its security code only when one was given.
    ignores_decline = card.decline is cards.INCORRECT_CVC and "cvc" not in details
    hidden = {"ignores_decline": True} if ignores_decline else {}
    return call.ledger.insert(body, hidden).body


def retrieve(call: Call, id: str) -> Json:
    """The payment method."""
    Parameters(call.form, ("expand",))
    return call.get("payment_method", id, param="payment_method").body


def get_usable(call: Call, id: str) -> StoredObject:
    """The payment method to pay with; a generic test id such as `pm_card_visa` creates one.

    Raises:
        ResourceMissing: there is no such payment method.
        InvalidRequest: it has paid before and cannot be used again.
    """
    card = cards.CARDS_BY_TOKEN.get(id)
    if card is not None:
        year = datetime.now(UTC).year + _TOKEN_EXPIRY_YEARS
        return call.ledger.insert(_payment_method(call, card, 8, year, checked_cvc=True))
    stored = call.get("payment_method", id, param="payment_method")
    if stored.hidden.get("used"):
        raise InvalidRequest(ALREADY_USED, param="payment_method")
    return stored


def mark_used(call: Call, stored: StoredObject) -> None:
    """Mark it as used: without a customer it pays only once."""
    stored.hidden["used"] = True
    call.ledger.update(stored)


def card_of(stored: StoredObject) -> cards.Card:
    """The test card that a payment method was made from."""
    return cards.CARDS_BY_LAST4[stored.body["card"]["last4"]]


def decline_of(stored: StoredObject) -> cards.Decline | None:
    """How its bank declines a payment, once authenticated; None: it approves."""
    return None if stored.hidden.get("ignores_decline") else card_of(stored).decline


def _checked_card(details: Parameters) -> tuple[cards.Card, int, int]:
    number = details.required("number").replace(" ", "").replace("-", "")
    month, year = details.integer("exp_month"), details.integer("exp_year")
    for name, value in (("exp_month", month), ("exp_year", year)):
        if value is None:
            details.required(name)
    if not cards.is_card_number(number):
        raise InvalidCard("Your card number is incorrect.", code="incorrect_number", param="number")
    today = datetime.now(UTC)
    month, year = month or 0, year or 0
    year += 2000 if 0 <= year < 100 else 0
    past = year == today.year and month < today.month
    if not 1 <= month <= 12 or past:
        raise InvalidCard(
            "Your card's expiration month is invalid.",
            code="invalid_expiry_month",
            param="exp_month",
        )
    if not today.year <= year <= today.year + 50:
        raise InvalidCard(
            "Your card's expiration year is invalid.", code="invalid_expiry_year", param="exp_year"
        )
    card = cards.CARDS_BY_NUMBER.get(number)
    cvc = details.text("cvc")
    lengths = (3, 4) if card is None or card.brand == "amex" else (3,)
    if cvc is not None and not (cvc.isascii() and cvc.isdigit() and len(cvc) in lengths):
        raise InvalidCard("Your card's security code is invalid.", code="invalid_cvc", param="cvc")
    if card is None:
        raise InvalidCard(
            "Your card was declined. Your request was in test mode, but used a non test (live) "
            "card. For a list of valid test cards, visit: https://stripe.com/docs/testing.",
            code="card_declined",
            details={"decline_code": "test_mode_live_card"},
        )
    return card, month, year


def _billing_details(params: Parameters) -> Json:
    billing = params.nested("billing_details", _BILLING)
    address = billing.nested("address", _ADDRESS) if billing else None
    return {
        "address": {name: address.text(name) if address else None for name in _ADDRESS},
        **{name: billing.text(name) if billing else None for name in _BILLING[1:]},
    }


def _payment_method(
    call: Call, card: cards.Card, month: int, year: int, *, checked_cvc: bool
) -> Json:
    passes = card.decline is not cards.INCORRECT_CVC
    checks = {
        "address_line1_check": None,
        "address_postal_code_check": None,
        "cvc_check": ("pass" if passes else "fail") if checked_cvc else "unchecked",
    }
    return {
        "id": new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": dict.fromkeys(_ADDRESS),
            **dict.fromkeys(_BILLING[1:]),
        },
        "card": {
            "brand": card.brand,
            "checks": checks,
            "country": card.country,
            "display_brand": card.brand,
            "exp_month": month,
            "exp_year": year,
            "fingerprint": _fingerprint(card),
            "funding": "debit" if "debit" in card.summary else "credit",
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": card.brand != "amex"},
            "wallet": None,
        },
        "created": call.now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }


def _fingerprint(card: cards.Card) -> str:
    """The same for the same card, as merchants compare it."""
    return hashlib.sha256(f"sandbox:{card.last4}".encode()).hexdigest()[:16]
