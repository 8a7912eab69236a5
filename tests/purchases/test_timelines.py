"""What happened to an order, told over HTTP to the two whom it concerns."""

from datetime import datetime, timedelta

from tests.api.conftest import assert_problem
from tests.purchases.contract import INSTANT, Json
from tests.purchases.marketplace import Marketplace, Person
from ticketing.models import Order

ENTRY = {"at", "code", "attempt", "reason", "message"}


async def timeline(person: Person, order: Json) -> list[Json]:
    answer = await person.http.get(f"/api/orders/{order['id']}/timeline")
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"items"}
    items: list[Json] = answer.json()["items"]
    for item in items:
        assert item.keys() == ENTRY
        assert INSTANT.fullmatch(item["at"])
    instants = [datetime.fromisoformat(item["at"]) for item in items]
    assert instants == sorted(instants)
    return items


def timeline_of(items: list[Json]) -> list[tuple[str, int | None, str | None]]:
    return [(item["code"], item["attempt"], item["reason"]) for item in items]


async def test_a_purchase_is_told_from_the_reservation_to_the_sale(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.buy(order)

    read = await timeline(buyer, order)

    assert timeline_of(read) == [
        ("ticket_reserved", None, None),
        ("payment_submitted", 1, None),
        ("order_completed", None, None),
    ]
    completed = await buyer.order(order)
    assert (read[0]["at"], read[2]["at"]) == (completed["createdAt"], completed["completedAt"])
    assert read[2]["message"] == "Your payment went through and the ticket is yours."
    sold = (await timeline(seller, order))[2]
    assert sold["message"] == "The payment went through and the ticket is sold."


async def test_a_declined_card_is_explained_to_its_holder_and_not_to_the_seller(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.set_rules(payment_attempts=2)
    order = await buyer.reserve(await seller.list_ticket())
    for card in ("pm_card_chargeDeclinedInsufficientFunds", "pm_card_chargeDeclinedExpiredCard"):
        assert (await buyer.pay(order, card)).status_code == 402

    read = await timeline(buyer, order)
    assert timeline_of(read) == [
        ("ticket_reserved", None, None),
        ("payment_submitted", 1, None),
        ("payment_failed", 1, "insufficient_funds"),
        ("payment_submitted", 2, None),
        ("payment_failed", 2, "expired_card"),
        ("order_cancelled", None, "payment_failed"),
    ]
    assert read[2]["message"] == "Your bank declined the card: insufficient funds."
    for item, seen in zip(read, await timeline(seller, order), strict=True):
        assert (item["at"], item["code"], item["attempt"]) == (
            seen["at"],
            seen["code"],
            seen["attempt"],
        )
        assert seen["reason"] == (None if item["code"] == "payment_failed" else item["reason"])
        assert "funds" not in seen["message"]
        assert "expired" not in seen["message"]


async def test_a_bank_that_wants_the_buyer_is_told_once(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    charge = await buyer.pay_through_the_bank(order)
    market.sandbox.authenticate(charge["stripeId"], approve=True)
    await buyer.sees(order, "completed")

    codes = [item["code"] for item in await timeline(buyer, order)]
    assert codes == [
        "ticket_reserved",
        "payment_submitted",
        "authentication_required",
        "order_completed",
    ]


async def test_an_abandoned_authentication_is_told_as_a_payment_that_was_not_confirmed(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.set_rules(reservation_ttl=timedelta(seconds=5))
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.pay_through_the_bank(order)
    await buyer.sees(order, "cancelled", "expired")

    read = await timeline(buyer, order)
    assert timeline_of(read)[3:] == [
        ("payment_failed", 1, "expired"),
        ("order_cancelled", None, "expired"),
    ]
    assert read[3]["message"] == "The payment was not confirmed in time; nothing was charged."


async def test_a_cancellation_is_told_to_each_side_in_its_own_words(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    assert (await buyer.cancel(order)).status_code == 200

    assert (await timeline(buyer, order))[-1]["message"] == "You cancelled the order."
    assert (await timeline(seller, order))[-1]["message"] == "The buyer cancelled the order."


async def test_nobody_else_is_told_anything(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.buy(order)
    path = f"/api/orders/{order['id']}/timeline"

    assert_problem(await other_buyer.http.get(path), 404, "order_not_found")
    assert_problem(await market.visit().get(path), 401, "not_authenticated")
    for nothing in ("0" * 24, "not-an-id"):
        answer = await buyer.http.get(f"/api/orders/{nothing}/timeline")
        assert_problem(answer, 404, "order_not_found")


async def test_an_order_of_before_timelines_were_kept_has_an_empty_one(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await Order.get_pymongo_collection().update_one({}, {"$unset": {"timeline": ""}})

    assert await timeline(buyer, order) == []
    assert (await buyer.orders())["items"] == [order]


async def test_a_list_of_orders_does_not_read_their_timelines(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    unreadable = {"$set": {"timeline": "would not even be a timeline"}}
    await Order.get_pymongo_collection().update_one({}, unreadable)

    assert (await buyer.orders())["items"] == [order]
