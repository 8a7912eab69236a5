"""Refunds through the API: asked for by the seller, made once, told the same to all who ask."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from api.refunds.service import RefundService
from tests.api.conftest import assert_problem
from tests.purchases import careless
from tests.purchases.contract import Json, assert_order, instant
from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually
from ticketing.models import Order, Ticket
from ticketing.mongodb import in_transaction
from ticketing.statuses import TimelineCode

REFUNDS = "/v1/refunds"
LOST = "http://127.0.0.1:1/"
CROWD = 8


@pytest.fixture
async def ticket(seller: Person) -> Json:
    return await seller.list_ticket()


@pytest.fixture
async def order(market: Marketplace, buyer: Person, ticket: Json) -> Json:
    """A completed order; Stripe has been heard to the end."""
    order = await buyer.reserve(ticket)
    await buyer.buy(order)
    await market.webhooks_are_delivered()
    return order


async def timeline_of(order: Json) -> list[tuple[TimelineCode, str | None]]:
    """What the order's timeline tells of its refund."""
    found = await Order.get(order["id"])
    assert found is not None
    codes = [entry.code for entry in found.timeline]
    since = codes.index(TimelineCode.ORDER_COMPLETED) + 1
    return [(entry.code, entry.reason) for entry in found.timeline[since:]]


async def test_a_refunded_order_is_cancelled_and_its_charge_names_the_refund(
    market: Marketplace, seller: Person, buyer: Person, order: Json, ticket: Json
) -> None:
    answer = await seller.refund(order)

    assert answer.status_code == 200, answer.text
    refunded = assert_order(answer.json())
    assert (refunded["status"], refunded["cancelReason"]) == ("cancelled", "refunded")
    assert instant(refunded["completedAt"]) <= instant(refunded["cancelledAt"])
    (charge,) = refunded["charges"]
    (refund,) = market.sandbox.refunds(charge["stripeId"])
    assert (charge["status"], charge["stripeRefundId"]) == ("completed", refund["id"])
    assert refund["amount"] == ticket["price"]
    assert await buyer.order(order) == refunded
    assert await Ticket.get(ticket["id"]) is None
    assert await timeline_of(order) == [
        (TimelineCode.REFUND_REQUESTED, None),
        (TimelineCode.ORDER_CANCELLED, "refunded"),
    ]
    await market.is_consistent()


async def test_the_seller_is_not_told_why_an_earlier_card_was_declined(
    market: Marketplace, seller: Person, buyer: Person, ticket: Json
) -> None:
    market.set_rules(payment_attempts=2)
    order = await buyer.reserve(ticket)
    await buyer.pay(order, "pm_card_chargeDeclinedInsufficientFunds")
    await buyer.buy(order)

    answers = [await seller.refund(order) for _ in range(2)]

    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert "funds" not in answer.text
        charges = answer.json()["charges"]
        assert [(charge["status"], charge["failureCode"]) for charge in charges] == [
            ("failed", None),
            ("completed", None),
        ]
    (declined, _) = (await buyer.order(order))["charges"]
    assert declined["failureCode"] == "insufficient_funds"


async def test_stripe_is_asked_under_the_orders_own_key(
    market: Marketplace, seller: Person, order: Json
) -> None:
    await seller.refund(order)

    asked = [request for request in market.sandbox.requests if request.path == REFUNDS]
    keys = [request.idempotency_key for request in asked if request.method == "POST"]
    assert keys == [f"order:{order['id']}:refund"]


async def test_the_seller_may_put_the_ticket_on_sale_again(
    market: Marketplace, seller: Person, other_buyer: Person, order: Json, ticket: Json
) -> None:
    answer = await seller.refund(order, relist=True)

    assert answer.status_code == 200, answer.text
    again = await seller.ticket(ticket)
    assert (again["status"], again["orderId"]) == ("available", None)
    changed, listed = (datetime.fromisoformat(seen["updatedAt"]) for seen in (again, ticket))
    assert changed > listed
    await other_buyer.buy(await other_buyer.reserve(again))
    await market.is_consistent()


async def test_a_refund_is_answered_again_and_made_no_more(
    market: Marketplace, seller: Person, other_buyer: Person, order: Json, ticket: Json
) -> None:
    first = await seller.refund(order, relist=True)
    resold = await other_buyer.reserve(ticket)
    await other_buyer.buy(resold)
    before = await market.written()

    again = await seller.refund(order, relist=False)

    assert (again.status_code, again.json()) == (200, first.json())
    assert await market.written() == before
    assert market.sandbox.count("POST", REFUNDS) == 1
    await market.is_consistent()


async def test_many_requests_at_once_are_one_refund(
    market: Marketplace, seller: Person, order: Json
) -> None:
    other_door = seller.at(market.visit(await market.open_api()))
    doors = [seller, other_door] * (CROWD // 2)

    answers = await asyncio.gather(*(door.refund(order) for door in doors))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    (charge,) = answers[0].json()["charges"]
    assert len(market.sandbox.refunds(charge["stripeId"])) == 1
    assert market.sandbox.count("POST", REFUNDS) == 1
    assert await timeline_of(order) == [
        (TimelineCode.REFUND_REQUESTED, None),
        (TimelineCode.ORDER_CANCELLED, "refunded"),
    ]
    await market.is_consistent()


async def test_who_may_ask_and_for_what(
    market: Marketplace,
    seller: Person,
    buyer: Person,
    other_buyer: Person,
    order: Json,
) -> None:
    unpaid = await buyer.reserve(await seller.list_ticket())
    expired = await buyer.reserve(await seller.list_ticket())
    await buyer.cancel(expired)
    nobody = Person(market.visit())
    nowhere = {"id": "0" * 24}

    assert_problem(await nobody.refund(order, relist="x"), 401, "not_authenticated")
    assert_problem(await other_buyer.refund(order, relist="x"), 422, "validation_error")
    assert_problem(await seller.refund(nowhere, relist=None), 422, "validation_error")
    assert_problem(await seller.refund(order, relisted=True), 422, "validation_error")
    assert_problem(await seller.refund(nowhere), 404, "order_not_found")
    assert_problem(await seller.refund({"id": "x"}), 404, "order_not_found")
    assert_problem(await other_buyer.refund(order), 404, "order_not_found")
    assert_problem(await buyer.refund(order), 403, "not_ticket_seller")
    assert_problem(await buyer.refund(unpaid), 403, "not_ticket_seller")
    assert_problem(await seller.refund(unpaid), 409, "order_not_completed")
    assert_problem(await seller.refund(expired), 409, "order_not_completed")
    assert market.sandbox.count("POST", REFUNDS) == 0


async def test_a_refund_that_stripe_is_slow_to_make_is_pending_and_comes_by_itself(
    market: Marketplace, seller: Person, buyer: Person, order: Json
) -> None:
    market.set_rules(payment_wait=timedelta(seconds=0.2))
    market.sandbox.set_fault("lost_request", method="POST", path=REFUNDS, times=None)

    answer = await seller.refund(order)

    assert answer.status_code == 202, answer.text
    assert assert_order(answer.json())["status"] == "completed"
    assert (await seller.refund(order)).status_code == 202
    market.sandbox.clear_faults()
    await buyer.sees(order, "cancelled", "refunded")
    assert (await seller.refund(order)).status_code == 200
    await market.is_consistent()


async def test_a_refund_that_nobody_works_on_yet_is_not_lost(
    idle_market: Marketplace, seller: Person, buyer: Person
) -> None:
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
        await buyer.buy(order)
    idle_market.set_rules(payment_wait=timedelta(seconds=0.2))

    answer = await seller.refund(order, relist=True)

    assert answer.status_code == 202, answer.text
    async with idle_market.working():
        await buyer.sees(order, "cancelled", "refunded")
    assert await (await idle_market.refund_of(order).describe()).memo() == {"relist": True}
    await idle_market.is_consistent()


async def test_a_refund_goes_on_when_its_worker_is_replaced(
    idle_market: Marketplace, seller: Person, buyer: Person
) -> None:
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
        await buyer.buy(order)
        idle_market.set_rules(payment_wait=timedelta(seconds=1))
        idle_market.sandbox.set_fault("lost_request", method="POST", path=REFUNDS, times=None)
        assert (await seller.refund(order, relist=True)).status_code == 202
        await eventually(lambda: idle_market.sandbox.count("POST", REFUNDS))
    idle_market.sandbox.clear_faults()

    async with idle_market.working():
        await buyer.sees(order, "cancelled", "refunded")

    assert (await seller.refund(order)).status_code == 200
    await idle_market.is_consistent()


async def test_what_stripe_refuses_is_told_and_the_order_stays_completed(
    market: Marketplace, seller: Person, buyer: Person, ticket: Json
) -> None:
    order = await buyer.reserve(ticket)
    assert (await buyer.pay(order, "pm_card_createDispute")).status_code == 201

    for _ in range(2):
        answer = await seller.refund(order)
        assert_problem(answer, 409, "refund_refused")
        assert "disputed the payment" in answer.json()["detail"]

    assert (await buyer.order(order))["status"] == "completed"
    assert (await seller.ticket(ticket))["status"] == "sold"
    assert (
        await timeline_of(order)
        == [
            (TimelineCode.REFUND_REQUESTED, None),
            (TimelineCode.REFUND_REFUSED, "charge_disputed"),
        ]
        * 2
    )
    await market.is_consistent()


async def test_a_refusal_that_holds_no_more_is_forgotten(
    market: Marketplace, seller: Person, order: Json
) -> None:
    """Stripe repeats its first no to the key; asked again, it has to say something new."""
    market.sandbox.set_fault("refused", method="POST", path="/v1/refunds")
    assert_problem(await seller.refund(order), 409, "refund_refused")

    assert (await seller.refund(order)).status_code == 200
    await market.is_consistent()


async def test_without_temporal_nothing_is_refunded(
    market: Marketplace, seller: Person, order: Json
) -> None:
    await market.lose_temporal()
    assert_problem(await seller.refund(order), 503, "temporal_unavailable")

    market.find_temporal()
    assert (await seller.refund(order)).status_code == 200
    await market.is_consistent()


async def test_an_operator_finds_the_refund_by_its_ticket_and_its_people(
    market: Marketplace, seller: Person, buyer: Person, order: Json
) -> None:
    await seller.refund(order)

    refund = await market.refund_of(order).describe()
    attributes = {pair.key.name: pair.value for pair in refund.typed_search_attributes}
    found_by = {
        "TicketId": order["ticketId"],
        "BuyerId": await buyer.id(),
        "SellerId": await seller.id(),
        "OrderStatus": "cancelled",
        "PaymentIntentId": (await buyer.order(order))["charges"][0]["stripeId"],
    }
    assert found_by.items() <= attributes.items()
    assert await refund.static_summary() == "Refund of 5000 usd (minor units)"


async def test_a_buyer_who_withdraws_from_a_refunded_order_finds_it_cancelled(
    market: Marketplace, seller: Person, buyer: Person, order: Json
) -> None:
    await seller.refund(order)

    assert (await buyer.cancel(order)).status_code == 200
    assert_problem(await buyer.pay(order), 409, "order_cancelled")
    assert Counter(market.captured()) == {5000: 1}


async def test_a_refund_made_at_stripe_cancels_the_order_and_withdraws_its_ticket(
    market: Marketplace, buyer: Person, seller: Person, order: Json, ticket: Json
) -> None:
    refund = await market.refund_at_stripe(order)

    refunded = await buyer.sees(order, "cancelled", "refunded")
    assert refunded["charges"][0]["stripeRefundId"] == refund["id"]
    assert await Ticket.get(ticket["id"]) is None
    assert await timeline_of(order) == [(TimelineCode.ORDER_CANCELLED, "refunded")]
    assert (await seller.refund(order)).status_code == 200
    await market.webhooks_are_delivered()
    await market.is_consistent()


async def test_a_refund_made_at_stripe_a_moment_before_ours_is_recorded_as_the_one(
    market: Marketplace, seller: Person, buyer: Person, order: Json
) -> None:
    market.set_webhook_secret("whsec_of_somebody_else")  # its news are late
    refund = await market.refund_at_stripe(order)

    answer = await seller.refund(order, relist=True)

    assert answer.status_code == 200, answer.text
    assert answer.json()["charges"][0]["stripeRefundId"] == refund["id"]
    assert market.sandbox.count("POST", REFUNDS) == 1
    await market.is_consistent()


async def test_a_part_that_went_back_at_stripe_is_told_and_the_order_stays_completed(
    market: Marketplace, seller: Person, buyer: Person, order: Json
) -> None:
    await market.refund_at_stripe(order, amount=1500)

    async def is_told() -> bool:
        return await timeline_of(order) == [(TimelineCode.REFUNDED_IN_PART, "1500")]

    await eventually(is_told)
    await market.webhooks_are_delivered()
    assert await is_told()
    assert (await buyer.order(order))["status"] == "completed"

    answer = await seller.refund(order)

    assert answer.status_code == 200, answer.text
    (charge,) = answer.json()["charges"]
    amounts = [refund["amount"] for refund in market.sandbox.refunds(charge["stripeId"])]
    assert amounts == [3500, 1500]
    await market.is_consistent()


async def test_giving_up_an_authorization_is_no_refund(
    market: Marketplace, buyer: Person, ticket: Json
) -> None:
    order = await buyer.reserve(ticket)
    charge = await buyer.pay_through_the_bank(order)
    await buyer.cancel(order)
    await market.webhooks_are_delivered()
    released = {"payment_intent": charge["stripeId"], "metadata": {"order_id": order["id"]}}

    for kind, captured in (("charge.refunded", False), ("refund.created", None)):
        subject = released | {"object": kind.partition(".")[0], "captured": captured}
        event = {"id": f"evt_{kind}", "object": "event", "type": kind, "data": {"object": subject}}
        assert (await market.deliver(event)).status_code == 200

    with pytest.raises(RPCError, match="not found"):
        await market.refund_of(order).describe()
    await market.is_consistent()


async def test_news_of_a_refund_that_stripe_did_not_sign_are_refused(
    market: Marketplace, buyer: Person, order: Json
) -> None:
    market.sandbox.deliver_webhooks_to(LOST, "whsec_lost")
    await market.refund_at_stripe(order)
    (event,) = market.events("refund.created")

    for answer in (
        await market.deliver(event, secret="whsec_of_somebody_else"),
        await market.deliver(event, age_seconds=6 * 60),
        await market.post(json.dumps(event), None),
    ):
        assert_problem(answer, 400, "invalid_signature")

    assert not await market.remembers(event)
    assert (await buyer.order(order))["status"] == "completed"


async def test_news_of_a_refund_that_come_often_at_once_and_late_are_acted_on_once(
    market: Marketplace, buyer: Person, order: Json
) -> None:
    market.sandbox.deliver_webhooks_to(LOST, "whsec_lost")
    await market.refund_at_stripe(order)
    news = [*market.events("refund.created"), *market.events("charge.refunded")] * 3

    answers = await asyncio.gather(*map(market.deliver, news))

    assert {answer.status_code for answer in answers} == {200}
    await buyer.sees(order, "cancelled", "refunded")
    before = await market.written()
    for event in news:
        assert await market.remembers(event)
        assert (await market.deliver(event | {"id": f"{event['id']}_late"})).status_code == 200
    assert await market.written() == before
    await market.is_consistent()


async def test_news_of_a_forged_refund_change_nothing_for_stripe_is_asked(
    market: Marketplace, buyer: Person, order: Json
) -> None:
    completed = await buyer.order(order)
    (charge,) = completed["charges"]
    subject = {"object": "refund", "payment_intent": charge["stripeId"], "status": "succeeded"}
    event = {
        "id": "evt_claim",
        "object": "event",
        "type": "refund.created",
        "data": {"object": subject},
    }

    assert (await market.deliver(event)).status_code == 200

    with pytest.raises(WorkflowFailureError):
        await market.refund_of(order).result()
    assert await buyer.order(order) == completed
    await market.is_consistent()


async def test_news_of_a_refund_that_cannot_be_handed_over_are_delivered_again(
    market: Marketplace, buyer: Person, order: Json
) -> None:
    await market.lose_temporal()
    await market.refund_at_stripe(order)
    await eventually(lambda: any(owed.failures for owed in market.sandbox.ledger.deliveries()))
    assert (await buyer.order(order))["status"] == "completed"

    market.find_temporal()

    await buyer.sees(order, "cancelled", "refunded")
    await market.webhooks_are_delivered()
    await market.is_consistent()


async def test_a_payment_that_goes_back_before_its_order_is_completed_is_refunded_after_it(
    market: Marketplace,
    seller: Person,
    buyer: Person,
    ticket: Json,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody is very fast in the dashboard: captured, refunded, and only then completed."""
    is_refunded = asyncio.Event()

    async def complete_late(mongo: Any, step: Callable[..., Any]) -> Any:
        if step.__qualname__.startswith("OrderActivities.complete_order"):
            await is_refunded.wait()
        return await in_transaction(mongo, step)

    monkeypatch.setattr("activities.orders.in_transaction", complete_late)
    order = await buyer.reserve(ticket)
    paying = asyncio.create_task(buyer.pay(order))
    await eventually(lambda: market.captured())
    await market.refund_at_stripe(order)
    await market.webhooks_are_delivered()
    assert (await buyer.order(order))["status"] == "awaiting_payment"

    is_refunded.set()

    assert (await paying).status_code == 201
    await buyer.sees(order, "cancelled", "refunded")
    assert await Ticket.get(ticket["id"]) is None
    await market.is_consistent()


async def test_a_refund_that_the_bank_sends_back_too_late_is_reported(
    market: Marketplace, seller: Person, order: Json, caplog: pytest.LogCaptureFixture
) -> None:
    (charge,) = (await seller.refund(order)).json()["charges"]

    market.sandbox.settle_refund(charge["stripeRefundId"], succeeds=False)

    await market.webhooks_are_delivered()
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors == [
        f"refund {charge['stripeRefundId']} of order {order['id']} "
        "failed after it was recorded: the money is ours again"
    ]


async def test_control_without_the_workflow_the_second_of_two_requests_fails(
    market: Marketplace, seller: Person, order: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_looked = asyncio.Barrier(2)
    refund = careless.refund(both_have_looked.wait, market.sandbox.url)
    monkeypatch.setattr(RefundService, "refund", refund)

    answers = await asyncio.gather(seller.refund(order), seller.refund(order))

    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 1}
    assert market.sandbox.count("POST", REFUNDS) == 2
