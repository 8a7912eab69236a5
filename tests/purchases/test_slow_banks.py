"""Where the bank wants the buyer, and Stripe is too slow to say so in the first answer."""

import asyncio
from datetime import timedelta

import pytest
from httpx import AsyncClient

from api.resources import resources_of
from tests.api.event_stream import serving
from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually
from ticketing.models import Charge, Order
from ticketing.payments import gateway
from ticketing.statuses import OrderStatus

MANY = 110
"""More than the SDK's default of activities, and than httpx's of connections."""


async def test_paying_again_tells_once_what_the_first_answer_could_not(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    market.set_rules(payment_wait=timedelta(seconds=0.2))
    market.sandbox.set_fault("held", path="/v1/payment_intents")

    first = await buyer.pay(order, "pm_card_authenticationRequired")
    assert first.status_code == 202
    assert "clientSecret" not in first.json()
    market.sandbox.clear_faults()
    await eventually(_a_client_secret_is_kept)
    second = await buyer.pay(order, "pm_card_authenticationRequired")
    third = await buyer.pay(order, "pm_card_authenticationRequired")

    assert second.status_code == 202
    assert second.json()["id"] == first.json()["id"]
    assert second.json()["clientSecret"].startswith("pi_")
    assert third.json()["code"] == "payment_in_progress"
    assert len(market.sandbox.payment_intents()) == 1


async def test_a_wait_for_a_slow_bank_ends_when_its_client_leaves_and_the_payment_does_not(
    market: Marketplace, seller: Person
) -> None:
    (buyer,) = market.crowd(1)
    order = await buyer.reserve(await seller.list_ticket())
    market.sandbox.set_fault("held", path="/v1/payment_intents")
    feed = resources_of(market.app).charge_feed
    async with serving(market.app) as url, AsyncClient(base_url=url) as http:
        http.headers = buyer.http.headers
        paying = asyncio.create_task(Person(http).pay(order))
        await eventually(lambda: market.sandbox.count("POST", "/v1/payment_intents"))
        assert feed.is_listened_to

        paying.cancel()
        await asyncio.gather(paying, return_exceptions=True)

        await eventually(lambda: not feed.is_listened_to)
    market.sandbox.clear_faults()
    await buyer.sees(order, "completed")
    await market.is_consistent()


@pytest.fixture
def patient_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stops waiting for Stripe before the test does."""
    monkeypatch.setattr(gateway, "HTTP_TIMEOUT_SECONDS", 120.0)


@pytest.mark.long
@pytest.mark.usefixtures("patient_gateway")
async def test_many_slow_banks_keep_nobody_else_from_paying(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    crowd = market.crowd(MANY)
    orders = [await person.reserve(await seller.list_ticket()) for person in crowd]
    order = await buyer.reserve(await seller.list_ticket())
    rules = market.settings.purchase
    market.set_rules(payment_wait=timedelta(seconds=0.01))
    market.sandbox.set_fault("held", method="POST", path="/v1/payment_intents", times=MANY)
    for person, slow in zip(crowd, orders, strict=True):
        assert (await person.pay(slow)).status_code == 202
    await eventually(lambda: market.sandbox.count("POST", "/v1/payment_intents") == MANY)

    market.set_rules(payment_wait=rules.payment_wait)
    await buyer.buy(order)
    market.sandbox.clear_faults()
    await eventually(_all_orders_are_completed)
    assert len(market.captured()) == MANY + 1
    await market.is_consistent()


async def _all_orders_are_completed() -> bool:
    return await Order.find({"status": {"$ne": OrderStatus.COMPLETED}}).count() == 0


async def _a_client_secret_is_kept() -> bool:
    return await Charge.find({"client_secret": {"$ne": None}}).count() > 0
