"""What tests ask the sandbox for through Stripe's official client, and how to read its answers."""

from typing import Any

import pytest
import stripe

CARD = {"payment_method_types": ["card"]}

PAYMENT = {
    "amount": 2000,
    "currency": "usd",
    "payment_method": "pm_card_visa",
    "payment_method_types": ["card"],
    "confirm": True,
    "capture_method": "manual",
}


async def pay(client: Any, method: str = "pm_card_visa", *, amount: int = 2000, **more: Any) -> Any:
    params = {
        "amount": amount,
        "currency": "usd",
        "payment_method": method,
        "confirm": True,
        "capture_method": "manual",
        **CARD,
        **more,
    }
    return await client.payment_intents.create_async(params)


async def card(client: Any, number: str = "4242424242424242", **details: Any) -> Any:
    expiry = {"exp_month": 12, "exp_year": 2040, "cvc": "123"}
    params = {"type": "card", "card": {"number": number, **expiry, **details}}
    return await client.payment_methods.create_async(params)


def authorize(client: Any, key: str = "authorize", **more: Any) -> Any:
    return client.payment_intents.create_async({**PAYMENT, **more}, {"idempotency_key": key})


def error_of(caught: pytest.ExceptionInfo[stripe.StripeError]) -> Any:
    return caught.value.error


def headers_of(caught: pytest.ExceptionInfo[stripe.StripeError]) -> dict[str, str]:
    return caught.value.headers or {}


def replayed(answer: Any) -> bool:
    headers: dict[str, str] = answer.last_response.headers
    return headers.get("Idempotent-Replayed") == "true"
