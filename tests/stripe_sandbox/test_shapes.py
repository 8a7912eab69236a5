"""The sandbox's objects have Stripe's fields, with Stripe's types."""

import httpx
import pytest

from stripe_sandbox.errors import Json
from stripe_sandbox.testing import running_sandbox

# name:type as in Stripe's OpenAPI fixtures; a question mark says that null is possible.
FIELDS = {
    "payment_intent": """
        amount:int amount_capturable:int amount_details:object amount_received:int
        application:str? application_fee_amount:str? automatic_payment_methods:object?
        canceled_at:int? cancellation_reason:str? capture_method:str client_secret:str
        confirmation_method:str created:int currency:str customer:str? customer_account:str?
        description:str? excluded_payment_method_types:str? id:str last_payment_error:object?
        latest_charge:str? livemode:bool managed_payments:object? metadata:object
        next_action:object? object:str on_behalf_of:str? payment_method:str?
        payment_method_configuration_details:object? payment_method_options:object
        payment_method_types:list processing:object? receipt_email:str? review:str?
        setup_future_usage:str? shipping:object? source:str? statement_descriptor:str?
        statement_descriptor_suffix:str? status:str transfer_data:object? transfer_group:str?
    """,
    "charge": """
        amount:int amount_captured:int amount_refunded:int application:str? application_fee:str?
        application_fee_amount:str? balance_transaction:str? billing_details:object
        calculated_statement_descriptor:str? captured:bool created:int currency:str
        customer:str? description:str? disputed:bool failure_balance_transaction:str?
        failure_code:str? failure_message:str? fraud_details:object id:str livemode:bool
        metadata:object object:str on_behalf_of:str? outcome:object paid:bool
        payment_intent:str? payment_method:str? payment_method_details:object receipt_email:str?
        receipt_number:str? receipt_url:str? refunded:bool refunds:object review:str?
        shipping:object? source:object? source_transfer:str? statement_descriptor:str?
        statement_descriptor_suffix:str? status:str transfer_data:object? transfer_group:str?
    """,
    "refund": """
        amount:int balance_transaction:str? charge:str? created:int currency:str customer:str?
        customer_account:str? destination_details:object? id:str metadata:object object:str
        payment_intent:str? payment_method:str? reason:str? receipt_number:str?
        source_transfer_reversal:str? status:str transfer_reversal:str?
    """,
    "payment_method": """
        allow_redisplay:str billing_details:object card:object created:int customer:str?
        customer_account:str? id:str livemode:bool metadata:object object:str type:str
    """,
    "event": """
        api_version:str created:int data:object id:str livemode:bool object:str
        pending_webhooks:int request:object type:str
    """,
    "charge.outcome": """
        advice_code:str? network_advice_code:str? network_decline_code:str? network_status:str?
        reason:str? seller_message:str? type:str
    """,
    "charge.payment_method_details.card": """
        amount_authorized:int? authorization_code:str? brand:str checks:object country:str?
        exp_month:int exp_year:int extended_authorization:object? fingerprint:str? funding:str?
        incremental_authorization:object? installments:object? last4:str mandate:str?
        multicapture:object network:str? network_token:object? network_transaction_id:str?
        overcapture:object regulated_status:str? three_d_secure:object? transaction_link_id:str?
        wallet:object?
    """,
    "payment_method.card": """
        brand:str checks:object country:str? display_brand:str? exp_month:int exp_year:int
        fingerprint:str? funding:str? generated_from:object? last4:str networks:object
        regulated_status:str? three_d_secure_usage:object? wallet:object?
    """,
    "payment_method.billing_details": """
        address:object email:str? name:str? phone:str? tax_id:str?
    """,
    "refund.destination_details": """
        card:object type:str
    """,
}

TYPES = {"int": int, "str": str, "bool": bool, "object": dict, "list": list}

# Fields that Stripe sends only sometimes, so its fixtures lack them.
SOMETIMES = {
    "charge.outcome": {"risk_level"},
    "charge.payment_method_details.card": {"capture_before"},
}

PAYMENT = {
    "amount": "2000",
    "currency": "usd",
    "payment_method_types[]": "card",
    "confirm": "true",
    "metadata[order_id]": "o1",
    "description": "A ticket",
}


@pytest.fixture(scope="module")
async def objects() -> dict[str, list[Json]]:
    """Objects of every kind and in every state, by kind."""
    async with (
        running_sandbox() as sandbox,
        httpx.AsyncClient(
            base_url=sandbox.url, headers={"Authorization": "Bearer sk_test_x"}
        ) as http,
    ):
        for method in ("automatic", "manual"):
            for card in ("visa", "chargeDeclined", "authenticationRequired"):
                form = {**PAYMENT, "capture_method": method, "payment_method": f"pm_card_{card}"}
                await http.post("/v1/payment_intents", data=form)
        await http.post("/v1/payment_intents", data={"amount": "2000", "currency": "usd"})
        for intent in sandbox.payment_intents():
            if intent["status"] == "requires_action":
                sandbox.authenticate(intent["id"], approve=intent["capture_method"] == "manual")
            if intent["status"] == "succeeded":
                await http.post("/v1/refunds", data={"payment_intent": intent["id"]})
            if intent["status"] == "requires_capture":
                await http.post(f"/v1/payment_intents/{intent['id']}/cancel")
        form = {"type": "card", "card[number]": "4242424242424242", "card[cvc]": "123"}
        expiry = {"card[exp_month]": "1", "card[exp_year]": "2040"}
        await http.post("/v1/payment_methods", data=form | expiry)
        kinds = ("payment_intent", "charge", "refund", "payment_method", "event")
        return {kind: [found.body for found in sandbox.ledger.objects(kind)] for kind in kinds}


@pytest.mark.parametrize("path", FIELDS)
async def test_an_object_has_the_fields_that_stripe_shows(
    objects: dict[str, list[Json]], path: str
) -> None:
    kind, *inner = path.split(".")
    spec = dict(field.split(":") for field in FIELDS[path].split())
    assert objects[kind]
    for made in objects[kind]:
        for name in inner:
            made = made[name]
        assert set(made) - SOMETIMES.get(path, set()) == set(spec)
        for name, type in spec.items():
            value = made[name]
            if not (value is None and type.endswith("?")):
                assert isinstance(value, TYPES[type.rstrip("?")]), (path, name, value)


async def test_every_status_was_seen(objects: dict[str, list[Json]]) -> None:
    """The control: the comparison above is about payments in every state."""
    assert {intent["status"] for intent in objects["payment_intent"]} == {
        "requires_payment_method",
        "requires_capture",
        "succeeded",
        "canceled",
    }
    assert {charge["status"] for charge in objects["charge"]} == {"succeeded", "failed"}
