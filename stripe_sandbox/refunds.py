"""Refunds: captured money that goes back."""

from stripe_sandbox import payment_methods
from stripe_sandbox.calls import Call
from stripe_sandbox.cards import Card
from stripe_sandbox.currencies import format_amount
from stripe_sandbox.errors import InvalidParameter, InvalidRequest, Json
from stripe_sandbox.ids import new_id
from stripe_sandbox.ledger import StoredObject
from stripe_sandbox.lists import list_page
from stripe_sandbox.parameters import Parameters

_REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def create(call: Call) -> Json:
    """Refund a charge or a payment intent: `amount` minor units, or all that is left.

    Raises:
        InvalidParameter: neither or both are named, or the amount is more than is left.
        InvalidRequest: nothing was captured, all of it has been refunded
            (`charge_already_refunded`), or the buyer disputes it (`charge_disputed`).
    """
    names = ("payment_intent", "charge", "amount", "reason", "metadata", "expand")
    params = Parameters(call.form, names)
    reason = params.choice("reason", _REASONS)
    metadata = params.metadata()
    amount = params.positive("amount")
    charge = _charge(call, params)
    card = _card(call, charge)
    if card.disputed:
        raise InvalidRequest(
            f"Charge {charge.id} has been charged back; cannot issue a refund.",
            code="charge_disputed",
        )
    left = charge.body["amount_captured"] - charge.body["amount_refunded"]
    if left == 0:
        raise InvalidRequest(
            f"Charge {charge.id} has already been refunded.", code="charge_already_refunded"
        )
    amount = left if amount is None else amount
    currency = charge.body["currency"]
    if amount > left:
        raise InvalidParameter(
            f"Refund amount ({format_amount(amount, currency)}) is greater than unrefunded amount "
            f"on charge ({format_amount(left, currency)})",
            param="amount",
        )
    refund = _new_refund(call, charge, amount, reason, metadata)
    if card.pending_refunds:
        refund |= {"status": "pending", "pending_reason": "processing"}
    call.ledger.insert(refund)
    charge.body["refunds"]["data"].insert(0, refund)
    _add_to_refunded(call, charge, amount)
    call.emit("refund.created", refund)
    call.emit("charge.refunded", charge.body)
    return refund


def settle(call: Call, refund: StoredObject, *, succeeds: bool) -> None:
    """Complete the refund, or fail it, even after it has succeeded.

    Stripe: "Handle failed refunds": the money returns to the merchant, and the charge is updated.
    """
    refund.body.pop("pending_reason", None)
    if succeeds:
        refund.body["status"] = "succeeded"
        call.ledger.update(refund)
        call.emit("refund.updated", refund.body)
        return
    refund.body |= {
        "failure_balance_transaction": new_id("txn"),
        "failure_reason": "expired_or_canceled_card",
        "status": "failed",
    }
    call.ledger.update(refund)
    charge = call.get("charge", refund.body["charge"], param="charge")
    _add_to_refunded(call, charge, -refund.body["amount"])
    call.emit("refund.updated", refund.body)
    call.emit("refund.failed", refund.body)


def retrieve(call: Call, id: str) -> Json:
    """The refund."""
    Parameters(call.form, ("expand",))
    return call.get("refund", id, param="refund").body


def list_all(call: Call) -> Json:
    """Refunds, newest first; of one charge or payment intent if it is named."""
    return list_page(call, "refund", "/v1/refunds", filters=("charge", "payment_intent"))


def _card(call: Call, charge: StoredObject) -> Card:
    method = call.get("payment_method", charge.body["payment_method"], param="payment_method")
    return payment_methods.card_of(method)


def _add_to_refunded(call: Call, charge: StoredObject, amount: int) -> None:
    """Add to the refunded amount of the charge; a failed refund subtracts its amount."""
    refunded = charge.body["amount_refunded"] + amount
    charge.body |= {
        "amount_refunded": refunded,
        "refunded": refunded == charge.body["amount_captured"],
    }
    call.ledger.update(charge)


def _charge(call: Call, params: Parameters) -> StoredObject:
    charge_id, intent_id = params.text("charge"), params.text("payment_intent")
    if (charge_id is None) == (intent_id is None):
        raise InvalidParameter(
            "One of the following params should be provided for this request: payment_intent or "
            "charge.",
            code="parameter_missing" if charge_id is None else None,
            param="payment_intent",
        )
    if intent_id is not None:
        intent = call.get("payment_intent", intent_id, param="payment_intent")
        charge_id = intent.body["latest_charge"]
    charge = call.get("charge", charge_id, param="charge") if charge_id else None
    if charge is None or not charge.body["captured"]:
        id = intent_id or (charge.body["payment_intent"] if charge else None)
        raise InvalidRequest(
            f"This PaymentIntent ({id}) does not have a successful charge to refund.",
            param="payment_intent" if intent_id else "charge",
        )
    return charge


def _new_refund(
    call: Call, charge: StoredObject, amount: int, reason: str | None, metadata: dict[str, str]
) -> Json:
    return {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": new_id("txn"),
        "charge": charge.id,
        "created": call.now,
        "currency": charge.body["currency"],
        "customer": None,
        "customer_account": None,
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": metadata,
        "payment_intent": charge.body["payment_intent"],
        "payment_method": charge.body["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
