"""Stripe's webhooks: verified, and reduced to what is acted on."""

from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True)
class IntentEvent:
    """Something happened to the payment intent of an order."""

    id: str
    type: str
    intent_id: str
    order_id: str


def read_event(payload: bytes, signature: str, secret: SecretStr) -> IntentEvent | None:
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
    if event.type not in ACTED_ON:
        return None
    intent = event.data.object.to_dict() if hasattr(event.data.object, "to_dict") else {}
    order_id = (intent.get("metadata") or {}).get("order_id", "")
    if not ObjectId.is_valid(order_id):
        return None
    return IntentEvent(event.id, event.type, str(intent["id"]), order_id)
