"""Payment intents and their state machine. Stripe: "How PaymentIntents work".

requires_payment_method ─► requires_confirmation ─► requires_action ─► requires_capture ─► succeeded
           ▲                        │                     │                   │
           └────────────────────────┴── failed attempt ───┘                   ▼
                          every state but succeeded ───────────────────► canceled
"""

from stripe_sandbox import attempts, charges, intent_parameters, lists, payment_methods
from stripe_sandbox.attempts import Confirmation
from stripe_sandbox.calls import Call
from stripe_sandbox.errors import InvalidParameter, Json, ResourceMissing, UnexpectedState
from stripe_sandbox.intent_fields import PUBLIC_FIELDS, new_intent
from stripe_sandbox.ledger import StoredObject
from stripe_sandbox.parameters import Parameters

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)

MISSING_RETURN_URL = (
    "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. "
    "Because some of these payment methods might redirect your customer off of your page, you "
    "must provide a `return_url`. If you don't want to accept redirect-based payment methods, "
    "set `automatic_payment_methods[enabled]` to `true` and "
    "`automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
    "Payment Intents."
)
MISSING_PAYMENT_METHOD = (
    "You cannot confirm this PaymentIntent because it's missing a payment method. You can either "
    "update the PaymentIntent with a payment method and then confirm it again, or confirm it "
    "again directly with a payment method or ConfirmationToken."
)


def create(call: Call) -> Json:
    """Create a payment intent, and confirm it at once with `confirm=true`.

    Raises:
        InvalidParameter: a parameter is missing, unknown, malformed or out of place.
        CardDeclined: it was confirmed and the bank declined; the payment intent exists.
    """
    params = Parameters(call.form, intent_parameters.CREATE)
    confirm = params.boolean("confirm") or False
    intent_parameters.reject_confirm_only(params, confirm=confirm)
    intent = StoredObject(new_intent(call, intent_parameters.new_fields(params)))
    confirmation = _confirmation(params)
    method = _payment_method(call, params)
    if confirm:
        _require_confirmable(intent, method, confirmation)
    if method is not None:
        intent.body |= {"payment_method": method.id, "status": "requires_confirmation"}
    call.ledger.insert(intent.body)
    call.emit("payment_intent.created", intent.body)
    if confirm and method is not None:
        attempts.attempt_payment(call, intent, method, confirmation)
    return intent.body


def update(call: Call, id: str) -> Json:
    """Change a payment intent; its amount, currency and payment method only while it is open."""
    params = Parameters(call.form, intent_parameters.UPDATE)
    intent = call.get("payment_intent", id, param="intent")
    for name in intent_parameters.FIXED_ONCE_AUTHORIZED:
        if name in params and intent.body["status"] not in OPEN:
            raise UnexpectedState(
                f"This PaymentIntent's {name} could not be updated because it has a status of "
                f"{intent.body['status']}. You may only update the {name} of a PaymentIntent "
                f"with one of the following statuses: {', '.join(OPEN)}.",
                intent.body,
            )
    intent.body |= intent_parameters.changed_fields(params, intent.body)
    method = _payment_method(call, params)
    if method is not None:
        intent.body |= {"payment_method": method.id, "status": "requires_confirmation"}
        intent.body["next_action"] = None
    call.ledger.update(intent)
    return intent.body


def confirm(call: Call, id: str) -> Json:
    """Confirm the payment intent, which attempts the payment.

    Raises:
        UnexpectedState: its status allows no confirmation, or it has no payment method.
        CardDeclined: the bank declined; the payment intent needs another payment method.
    """
    params = Parameters(call.form, intent_parameters.CONFIRM)
    intent = call.get("payment_intent", id, param="intent")
    if intent.body["status"] not in OPEN:
        raise UnexpectedState(_not_confirmable(intent.body["status"]), intent.body)
    intent.body |= intent_parameters.changed_fields(params, intent.body)
    method = _payment_method(call, params)
    if method is None and intent.body["payment_method"] is not None:
        method = payment_methods.get_usable(call, intent.body["payment_method"])
    confirmation = _confirmation(params)
    _require_confirmable(intent, method, confirmation)
    if method is not None:
        attempts.attempt_payment(call, intent, method, confirmation)
    return intent.body


def capture(call: Call, id: str) -> Json:
    """Capture the authorized amount, or `amount_to_capture` of it; the rest is released.

    Raises:
        UnexpectedState: nothing is authorized, or it has been captured.
        InvalidParameter: more than is authorized.
    """
    params = Parameters(call.form, intent_parameters.CAPTURE)
    amount = params.positive("amount_to_capture")
    if params.boolean("final_capture") is False:
        raise InvalidParameter("The sandbox has no multicapture.", param="final_capture")
    intent = call.get("payment_intent", id, param="intent")
    status = intent.body["status"]
    if status == "succeeded":
        raise UnexpectedState(
            "This PaymentIntent could not be captured because it has already been captured.",
            intent.body,
        )
    if status != "requires_capture":
        raise UnexpectedState(
            f"This PaymentIntent could not be captured because it has a status of {status}. Only "
            "a PaymentIntent with one of the following statuses may be captured: "
            "requires_capture.",
            intent.body,
        )
    capturable = intent.body["amount_capturable"]
    amount = capturable if amount is None else amount
    if amount > capturable:
        raise InvalidParameter(
            f"The provided amount_to_capture ({amount}) is greater than the amount that can be "
            f"captured ({capturable}).",
            code="amount_too_large",
            param="amount_to_capture",
        )
    intent.body |= intent_parameters.changed_fields(params, intent.body)
    charges.capture(call, _latest_charge(call, intent), amount)
    intent.body |= {"amount_capturable": 0, "amount_received": amount, "status": "succeeded"}
    call.ledger.update(intent)
    call.emit("payment_intent.succeeded", intent.body)
    return intent.body


def cancel(call: Call, id: str) -> Json:
    """Cancel the payment intent; an authorization is released.

    Raises:
        UnexpectedState: it has succeeded or is canceled already.
    """
    params = Parameters(call.form, intent_parameters.CANCEL)
    reason = params.choice("cancellation_reason", intent_parameters.CANCELLATION_REASONS)
    intent = call.get("payment_intent", id, param="intent")
    status = intent.body["status"]
    if status not in CANCELABLE:
        raise UnexpectedState(
            f"You cannot cancel this PaymentIntent because it has a status of {status}. Only a "
            "PaymentIntent with one of the following statuses may be canceled: "
            f"{', '.join(CANCELABLE)}.",
            intent.body,
        )
    if status == "requires_capture":
        charges.release(call, _latest_charge(call, intent))
    intent.body |= {
        "amount_capturable": 0,
        "canceled_at": call.now,
        "cancellation_reason": reason,
        "next_action": None,
        "status": "canceled",
    }
    call.ledger.update(intent)
    call.emit("payment_intent.canceled", intent.body)
    return intent.body


def retrieve(call: Call, id: str) -> Json:
    """The payment intent; a publishable key needs its client secret and sees less."""
    params = Parameters(call.form, ("client_secret", "expand"))
    intent = call.get("payment_intent", id, param="intent")
    secret = params.required("client_secret") if call.publishable else params.text("client_secret")
    if secret is not None and secret != intent.body["client_secret"]:
        raise ResourceMissing("payment_intent", id, param="intent")
    if call.publishable:
        return {name: intent.body[name] for name in PUBLIC_FIELDS}
    return intent.body


def list_all(call: Call) -> Json:
    """Payment intents, newest first."""
    return lists.list_page(call, "payment_intent", "/v1/payment_intents")


def search(call: Call) -> Json:
    """Payment intents by metadata, status, currency or amount."""
    return lists.search(call, "payment_intent", "/v1/payment_intents/search")


def _confirmation(params: Parameters) -> Confirmation:
    return Confirmation(
        off_session=params.text("off_session") in {"true", "one_off", "recurring"},
        error_on_requires_action=params.boolean("error_on_requires_action") or False,
        return_url=params.url("return_url"),
        use_stripe_sdk=params.boolean("use_stripe_sdk") or False,
    )


def _payment_method(call: Call, params: Parameters) -> StoredObject | None:
    id = params.text("payment_method")
    return None if id is None else payment_methods.get_usable(call, id)


def _require_confirmable(
    intent: StoredObject, method: StoredObject | None, confirmation: Confirmation
) -> None:
    if method is None:
        raise UnexpectedState(MISSING_PAYMENT_METHOD, intent.body)
    automatic = intent.body["automatic_payment_methods"] or {}
    redirects = automatic.get("allow_redirects") == "always"
    if redirects and not confirmation.return_url and not confirmation.use_stripe_sdk:
        raise InvalidParameter(MISSING_RETURN_URL, param="return_url")


def _not_confirmable(status: str) -> str:
    if status == "succeeded":
        return (
            "You cannot confirm this PaymentIntent because it has already succeeded after being "
            "previously confirmed."
        )
    return (
        f"You cannot confirm this PaymentIntent because it has a status of {status}. Only a "
        "PaymentIntent with one of the following statuses may be confirmed: "
        "requires_confirmation, requires_action."
    )


def _latest_charge(call: Call, intent: StoredObject) -> StoredObject:
    return call.get("charge", intent.body["latest_charge"], param="charge")
