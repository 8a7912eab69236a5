"""Stripe's routes that the sandbox has."""

from collections import Counter

from stripe_sandbox import charges, lists, payment_intents, payment_methods, refunds
from stripe_sandbox.api import Endpoint
from stripe_sandbox.calls import Call
from stripe_sandbox.errors import Json
from stripe_sandbox.parameters import Parameters


def retrieve_event(call: Call, id: str) -> Json:
    """The event as it was when it happened."""
    Parameters(call.form, ("expand",))
    return call.get("event", id, param="id").body


def list_events(call: Call) -> Json:
    """Events, newest first; of one `type` if it is named."""
    return lists.list_page(call, "event", "/v1/events", filters=("type",))


def retrieve_balance(call: Call) -> Json:
    """What was captured and not refunded, per currency; the sandbox takes no fees."""
    Parameters(call.form, ("expand",))
    sums: Counter[str] = Counter()
    for charge in call.ledger.objects("charge"):
        if charge.body["captured"]:
            left = charge.body["amount_captured"] - charge.body["amount_refunded"]
            sums[charge.body["currency"]] += left
    available = [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in (sums or {"usd": 0}).items()
    ]
    return {"object": "balance", "available": available, "livemode": False, "pending": []}


ENDPOINTS = (
    Endpoint("POST", "/v1/payment_methods", payment_methods.create, publishable=True),
    Endpoint("GET", "/v1/payment_methods/{id}", payment_methods.retrieve),
    Endpoint("POST", "/v1/payment_intents", payment_intents.create),
    Endpoint("GET", "/v1/payment_intents", payment_intents.list_all),
    Endpoint("GET", "/v1/payment_intents/search", payment_intents.search),
    Endpoint("GET", "/v1/payment_intents/{id}", payment_intents.retrieve, publishable=True),
    Endpoint("POST", "/v1/payment_intents/{id}", payment_intents.update),
    Endpoint("POST", "/v1/payment_intents/{id}/confirm", payment_intents.confirm),
    Endpoint("POST", "/v1/payment_intents/{id}/capture", payment_intents.capture),
    Endpoint("POST", "/v1/payment_intents/{id}/cancel", payment_intents.cancel),
    Endpoint("GET", "/v1/charges", charges.list_all),
    Endpoint("GET", "/v1/charges/{id}", charges.retrieve),
    Endpoint("POST", "/v1/refunds", refunds.create),
    Endpoint("GET", "/v1/refunds", refunds.list_all),
    Endpoint("GET", "/v1/refunds/{id}", refunds.retrieve),
    Endpoint("GET", "/v1/events", list_events),
    Endpoint("GET", "/v1/events/{id}", retrieve_event),
    Endpoint("GET", "/v1/balance", retrieve_balance),
)
