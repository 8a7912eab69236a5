"""One attempt to pay a payment intent, and how the card's bank decides it."""

from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlencode

from stripe_sandbox import charges, payment_methods
from stripe_sandbox.calls import Call
from stripe_sandbox.cards import AUTHENTICATION_REQUIRED, Authentication, Decline
from stripe_sandbox.errors import CardDeclined, Json, doc_url
from stripe_sandbox.ids import new_id
from stripe_sandbox.ledger import StoredObject

_AUTHENTICATION_FAILED = {
    "code": "payment_intent_authentication_failure",
    "doc_url": doc_url("payment_intent_authentication_failure"),
    "message": (
        "The provided PaymentMethod has failed authentication. You can provide "
        "payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent "
        "again."
    ),
    "type": "invalid_request_error",
}


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """How a payment intent is confirmed."""

    off_session: bool = False
    """The buyer is not present, so the bank cannot ask for authentication."""
    error_on_requires_action: bool = False
    """Fail rather than ask the buyer."""
    return_url: str | None = None
    """Where the bank's page sends the buyer afterwards."""
    use_stripe_sdk: bool = False
    """Stripe.js shows the bank's page itself."""


def attempt_payment(
    call: Call, intent: StoredObject, method: StoredObject, confirmation: Confirmation
) -> None:
    """Charge the payment method, or require the buyer's authentication first.

    Raises:
        CardDeclined: the bank declined; the failed attempt is recorded.
    """
    intent.body |= {
        "last_payment_error": None,
        "next_action": None,
        "payment_method": method.id,
    }
    if not _requires_authentication(intent.body, method, confirmation):
        _charge(call, intent, method, authenticated=False)
    elif confirmation.off_session or confirmation.error_on_requires_action:
        _fail(call, intent, method, AUTHENTICATION_REQUIRED, authenticated=False)
    else:
        _require_action(call, intent, confirmation)


def finish_authentication(call: Call, intent: StoredObject, *, approve: bool) -> None:
    """Apply the buyer's decision to a payment intent that waits for it.

    Raises:
        CardDeclined: the buyer approved, then the bank declined; the attempt is recorded.
    """
    method = call.get("payment_method", intent.body["payment_method"], param="payment_method")
    intent.body["next_action"] = None
    if approve:
        _charge(call, intent, method, authenticated=True)
        return
    error = _AUTHENTICATION_FAILED | {"payment_method": method.body}
    _require_new_payment_method(call, intent, error)


def _requires_authentication(
    intent: Json, method: StoredObject, confirmation: Confirmation
) -> bool:
    card = payment_methods.card_of(method)
    options = intent["payment_method_options"].get("card")
    asked_for = isinstance(options, dict) and options.get("request_three_d_secure") in {
        "any",
        "challenge",
    }
    if asked_for and card.brand != "amex":
        return True
    if card.authentication is Authentication.ON_SESSION:
        return not confirmation.off_session
    return card.authentication is Authentication.ALWAYS


def _require_action(call: Call, intent: StoredObject, confirmation: Confirmation) -> None:
    secret = {"client_secret": intent.body["client_secret"]}
    page = f"{call.base_url}/authenticate?{urlencode(secret)}"
    if confirmation.return_url and not confirmation.use_stripe_sdk:
        action: Json = {
            "redirect_to_url": {"return_url": confirmation.return_url, "url": page},
            "type": "redirect_to_url",
        }
    else:
        action = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {
                "source": new_id("src"),
                "stripe_js": page,
                "type": "three_d_secure_redirect",
            },
        }
    intent.body |= {"next_action": action, "status": "requires_action"}
    intent.hidden["return_url"] = confirmation.return_url
    call.ledger.update(intent)
    call.emit("payment_intent.requires_action", intent.body)


def _charge(call: Call, intent: StoredObject, method: StoredObject, *, authenticated: bool) -> None:
    decline = payment_methods.decline_of(method)
    if decline is not None:
        _fail(call, intent, method, decline, authenticated=authenticated)
    charge = charges.create(call, intent.body, method, decline=None, authenticated=authenticated)
    payment_methods.mark_used(call, method)
    amount = intent.body["amount"]
    intent.body["latest_charge"] = charge.id
    if intent.body["capture_method"] == "manual":
        intent.body |= {"amount_capturable": amount, "status": "requires_capture"}
        type = "payment_intent.amount_capturable_updated"
    else:
        intent.body |= {"amount_received": amount, "status": "succeeded"}
        type = "payment_intent.succeeded"
    call.ledger.update(intent)
    call.emit(type, intent.body)


def _fail(
    call: Call, intent: StoredObject, method: StoredObject, decline: Decline, *, authenticated: bool
) -> NoReturn:
    charge = charges.create(call, intent.body, method, decline=decline, authenticated=authenticated)
    intent.body["latest_charge"] = charge.id
    details: Json = {"charge": charge.id}
    if decline.decline_code:
        details["decline_code"] = decline.decline_code
    if decline.advice_code:
        details["advice_code"] = decline.advice_code
    error: Json = details | {
        "code": decline.code,
        "doc_url": doc_url(decline.code),
        "message": decline.message,
        "payment_method": method.body,
        "type": "card_error",
    }
    if decline.param:
        error["param"] = decline.param
    _require_new_payment_method(call, intent, error)
    details |= {"payment_intent": intent.body, "payment_method": method.body}
    raise CardDeclined(decline.message, code=decline.code, param=decline.param, details=details)


def _require_new_payment_method(call: Call, intent: StoredObject, error: Json) -> None:
    # Stripe detaches the method that failed: another attempt names one again.
    intent.body |= {
        "last_payment_error": error,
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    call.ledger.update(intent)
    call.emit("payment_intent.payment_failed", intent.body)
