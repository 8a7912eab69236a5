"""Stripe's webhooks: verified, and reduced to what is acted on."""

from dataclasses import dataclass
from typing import Any, Final

import stripe
from bson import ObjectId
from pydantic import SecretStr

from ticketing.errors import InvalidSignature

ACTED_ON: Final = frozenset(
    {
        "payment_intent.amount_capturable_updated",
        "payment_intent.canceled",
        "payment_intent.payment_failed",
        "payment_intent.succeeded",
    }
)
"""After these a payment may stand elsewhere than the order's workflow last heard."""

REFUND_FAILED: Final = "refund.failed"
REFUNDS: Final = frozenset({"charge.refunded", "refund.created", "refund.updated", REFUND_FAILED})
"""After these money may have gone back, whoever asked Stripe for it."""

ENABLED_EVENTS: Final = ACTED_ON | REFUNDS
"""What the webhook endpoint is to be enabled for at Stripe; anything else is acknowledged."""


@dataclass(frozen=True)
class IntentEvent:
    """Something happened to the payment intent of an order."""

    id: str
    type: str
    intent_id: str
    order_id: str


@dataclass(frozen=True)
class RefundEvent:
    """Something happened to a refund of a payment intent; perhaps not one of ours."""

    id: str
    type: str
    intent_id: str


StripeNews = IntentEvent | RefundEvent


def read_event(payload: bytes, signature: str, secret: SecretStr) -> StripeNews | None:
    """Verify a delivery; the event, or None if there is nothing to do about it.

    Source: https://docs.stripe.com/webhooks#verify-official-libraries; deliveries that were
    signed more than five minutes ago are refused, so a recorded one cannot be replayed.

    Raises:
        InvalidSignature: it is not from Stripe, or not as Stripe sent it.
    """
    try:
        event = stripe.Webhook.construct_event(payload, signature, secret.get_secret_value())
    except (ValueError, stripe.SignatureVerificationError):
        raise InvalidSignature from None
    subject = event.data.object.to_dict() if hasattr(event.data.object, "to_dict") else {}
    if event.type in ACTED_ON:
        return _intent_event(event, subject)
    if event.type in REFUNDS:
        return _refund_event(event, subject)
    return None


def _intent_event(event: stripe.Event, intent: dict[str, Any]) -> IntentEvent | None:
    order_id = (intent.get("metadata") or {}).get("order_id", "")
    if not ObjectId.is_valid(order_id):
        return None
    return IntentEvent(event.id, event.type, str(intent["id"]), order_id)


def _refund_event(event: stripe.Event, subject: dict[str, Any]) -> RefundEvent | None:
    """The event, unless it is no refund: a released authorization is told in the same words."""
    intent_id = subject.get("payment_intent")
    if not isinstance(intent_id, str) or subject.get("captured") is False:
        return None
    return RefundEvent(event.id, event.type, intent_id)
