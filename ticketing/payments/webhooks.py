"""Stripe's webhooks: verified, and reduced to the ids that an order's workflow needs."""

import json
from dataclasses import dataclass
from typing import Any, Final

import stripe
from bson import ObjectId
from pydantic import SecretStr

from ticketing.errors import InvalidSignature
from ticketing.payments.idempotency_keys import is_payment_key

INTENT_EVENTS: Final = frozenset(
    {
        "payment_intent.amount_capturable_updated",
        "payment_intent.canceled",
        "payment_intent.payment_failed",
        "payment_intent.succeeded",
    }
)
"""After these, the state of a payment may differ from what its order's workflow knows."""

REFUND_FAILED: Final = "refund.failed"
REFUND_EVENTS: Final = frozenset(
    {"charge.refunded", "refund.created", "refund.updated", REFUND_FAILED}
)
"""After these, money may have gone back, whoever requested the refund."""

ENABLED_EVENTS: Final = INTENT_EVENTS | REFUND_EVENTS
"""What the webhook endpoint is to be enabled for at Stripe; anything else is acknowledged."""


@dataclass(frozen=True)
class IntentEvent:
    """Something happened to the payment intent of an order."""

    id: str
    type: str
    intent_id: str
    order_id: str
    is_of_own_request: bool
    """Whether a request of the order's own payment caused it, and so got an answer about it."""


@dataclass(frozen=True)
class RefundEvent:
    """Something happened to a refund of a payment intent; perhaps not one of ours."""

    id: str
    type: str
    intent_id: str


Json = dict[str, Any]
WebhookEvent = IntentEvent | RefundEvent


def read_event(payload: bytes, signature: str, secret: SecretStr) -> WebhookEvent | None:
    """Verify a delivery; the event, or None if there is nothing to do about it.

    Source: https://docs.stripe.com/webhooks#verify-official-libraries; deliveries that were
    signed more than five minutes ago are refused, so a recorded one cannot be replayed.

    Raises:
        InvalidSignature: it is not from Stripe, or not as Stripe sent it.
    """
    if not signature.isascii():  # the official client compares it only with ASCII
        raise InvalidSignature
    try:
        # Not `construct_event`, which makes an object of every part of it, for four words.
        text = payload.decode()
        stripe.WebhookSignature.verify_header(
            text, signature, secret.get_secret_value(), stripe.Webhook.DEFAULT_TOLERANCE
        )
        event: Json = json.loads(text)
    except (ValueError, stripe.SignatureVerificationError):
        raise InvalidSignature from None
    if event.get("type") in INTENT_EVENTS:
        return _intent_event(event, event["data"]["object"])
    if event.get("type") in REFUND_EVENTS:
        return _refund_event(event, event["data"]["object"])
    return None


def _intent_event(event: Json, intent: Json) -> IntentEvent | None:
    order_id = (intent.get("metadata") or {}).get("order_id", "")
    if not ObjectId.is_valid(order_id):
        return None
    return IntentEvent(
        id=str(event["id"]),
        type=event["type"],
        intent_id=str(intent["id"]),
        order_id=order_id,
        is_of_own_request=is_payment_key(_request_key(event), order_id),
    )


def _request_key(event: Json) -> str:
    """The idempotency key of the API request that caused the event; empty if none is named.

    Null for the bank's news; before Stripe's version 2017-05-25, `request` is its id alone.
    Source: https://docs.stripe.com/api/events/object#event_object-request
    """
    request = event.get("request")
    key = request.get("idempotency_key") if isinstance(request, dict) else None
    return key if isinstance(key, str) else ""


def _refund_event(event: Json, subject: Json) -> RefundEvent | None:
    """The event, unless it is no refund: Stripe reports a released authorization the same way."""
    intent_id = subject.get("payment_intent")
    if not isinstance(intent_id, str) or subject.get("captured") is False:
        return None
    return RefundEvent(str(event["id"]), event["type"], intent_id)
