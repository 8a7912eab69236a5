"""Charges: one attempt to move a payment intent's money."""

from stripe_sandbox.calls import Call
from stripe_sandbox.cards import Decline
from stripe_sandbox.errors import Json
from stripe_sandbox.ids import new_id
from stripe_sandbox.ledger import StoredObject
from stripe_sandbox.lists import list_page
from stripe_sandbox.parameters import Parameters

AUTHORIZATION_SECONDS = 7 * 24 * 60 * 60
"""How long an authorization is valid without a capture."""


def retrieve(call: Call, id: str) -> Json:
    """The charge."""
    Parameters(call.form, ("expand",))
    return call.get("charge", id, param="id").body


def list_all(call: Call) -> Json:
    """Charges, newest first; of one payment intent if it is named."""
    return list_page(call, "charge", "/v1/charges", filters=("payment_intent",))


def create(
    call: Call,
    intent: Json,
    payment_method: StoredObject,
    *,
    decline: Decline | None,
    authenticated: bool,
) -> StoredObject:
    """Create the charge of a payment intent: authorized, captured at once, or failed."""
    manual = intent["capture_method"] == "manual"
    captured = decline is None and not manual
    amount: int = intent["amount"]
    id = new_id("ch")
    body: Json = {
        "id": id,
        "object": "charge",
        "amount": amount,
        "amount_captured": amount if captured else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": new_id("txn") if captured else None,
        "billing_details": payment_method.body["billing_details"],
        "calculated_statement_descriptor": "STRIPE SANDBOX",
        "captured": captured,
        "created": call.now,
        "currency": intent["currency"],
        "customer": None,
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": decline.code if decline else None,
        "failure_message": decline.message if decline else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": _outcome(decline),
        "paid": decline is None,
        "payment_intent": intent["id"],
        "payment_method": payment_method.id,
        "payment_method_details": {
            "card": _card_details(call, intent, payment_method, decline, authenticated),
            "type": "card",
        },
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "refunds": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/charges/{id}/refunds",
        },
        "review": None,
        "shipping": intent["shipping"],
        "source": None,
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": "failed" if decline else "succeeded",
        "transfer_data": None,
        "transfer_group": intent["transfer_group"],
    }
    stored = call.ledger.insert(body)
    call.emit("charge.failed" if decline else "charge.succeeded", body)
    return stored


def capture(call: Call, charge: StoredObject, amount: int) -> None:
    """Capture the authorized amount, or a part of it; the rest is released."""
    charge.body |= {
        "amount_captured": amount,
        "captured": True,
        "balance_transaction": new_id("txn"),
    }
    charge.body["payment_method_details"]["card"].pop("capture_before", None)
    call.ledger.update(charge)
    call.emit("charge.captured", charge.body)


def release(call: Call, charge: StoredObject) -> None:
    """Release an authorization; Stripe shows it as a refund of an uncaptured charge."""
    charge.body |= {"amount_refunded": charge.body["amount"], "refunded": True}
    call.ledger.update(charge)
    call.emit("charge.refunded", charge.body)


def _outcome(decline: Decline | None) -> Json:
    return {
        "advice_code": decline.advice_code if decline else None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "declined_by_network" if decline else "approved_by_network",
        "reason": (decline.decline_code or decline.code) if decline else None,
        "risk_level": "normal",
        "seller_message": (
            f"The bank returned the decline code `{decline.decline_code or decline.code}`."
            if decline
            else "Payment complete."
        ),
        "type": "issuer_declined" if decline else "authorized",
    }


def _card_details(
    call: Call,
    intent: Json,
    payment_method: StoredObject,
    decline: Decline | None,
    authenticated: bool,
) -> Json:
    card = payment_method.body["card"]
    details: Json = {
        name: card[name]
        for name in (
            "brand",
            "checks",
            "country",
            "exp_month",
            "exp_year",
            "fingerprint",
            "funding",
            "last4",
            "regulated_status",
            "wallet",
        )
    }
    details |= {
        "amount_authorized": None if decline else intent["amount"],
        "authorization_code": None if decline else "123456",
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {
            "maximum_amount_capturable": intent["amount"],
            "status": "unavailable",
        },
        "three_d_secure": _three_d_secure() if authenticated else None,
        "transaction_link_id": None,
    }
    if intent["capture_method"] == "manual" and decline is None:
        details["capture_before"] = call.now + AUTHORIZATION_SECONDS
    return details


def _three_d_secure() -> Json:
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": new_id("3ds"),
        "version": "2.2.0",
    }
