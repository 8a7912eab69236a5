"""Somebody who posts webhooks that Stripe never sent, and some that it never meant."""

import asyncio
import json
import random
import time
from typing import Any
from uuid import uuid4

import httpx

from stripe_sandbox.webhooks import sign
from tests.faults.journeys import Market

PAUSE_SECONDS = 0.5
CLAIMS = (
    "payment_intent.succeeded",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
)


async def post_false_webhooks(market: Market, secret: str, seed: int, accepted: list[str]) -> None:
    """Until cancelled, claim things about orders that are not so.

    Half of the claims carry a forged signature and have to be refused. The others are signed as
    Stripe signs, as a late or repeated delivery is, and must change nothing either: a webhook
    is a reason to ask Stripe, and nothing more.
    """
    dice = random.Random(seed)
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        orders = list(market.promises.reserved)
        if not orders:
            continue
        is_forged = dice.random() < 0.5
        payload = json.dumps(_claim(dice.choice(CLAIMS), dice.choice(orders)))
        key = f"whsec_{uuid4()}" if is_forged else secret
        headers = {"Stripe-Signature": sign(payload, key, int(time.time()))}
        try:
            answer = await dice.choice(market.shop.doors).post(
                "/api/webhooks/stripe", content=payload, headers=headers
            )
        except httpx.TransportError:
            continue
        if is_forged and answer.is_success:
            accepted.append("a webhook with a forged signature was accepted")


def _claim(type: str, order_id: str) -> dict[str, Any]:
    intent = {
        "id": f"pi_{uuid4().hex[:24]}",
        "object": "payment_intent",
        "metadata": {"order_id": order_id, "attempt": "1"},
    }
    return {
        "id": f"evt_{uuid4().hex[:24]}",
        "object": "event",
        "type": type,
        "api_version": "2026-10-28.endive",
        "created": int(time.time()),
        "data": {"object": intent},
        "livemode": False,
        "pending_webhooks": 1,
        "request": None,
    }
