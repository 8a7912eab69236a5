"""Where the bank wants the buyer, and Stripe is too slow to say so in the first answer."""

from datetime import timedelta

from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually
from ticketing.models import Charge


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


async def _a_client_secret_is_kept() -> bool:
    return await Charge.find({"client_secret": {"$ne": None}}).count() > 0
