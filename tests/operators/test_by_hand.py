"""Workflows that are started by hand, and documents that are edited under a payment."""

import asyncio
from dataclasses import asdict
from uuid import uuid4

import pytest
from beanie import PydanticObjectId
from pymongo.errors import AutoReconnect

from tests.api.conftest import assert_problem
from tests.market import TTL, Market, Purchase
from tests.operators.operator import Handle, Operator
from tests.purchases.contract import Json
from tests.purchases.marketplace import Marketplace, Person
from tests.purchases.older_worker import reserve_as_an_older_worker
from tests.waiting import eventually
from ticketing.models import Order, Ticket
from ticketing.statuses import OrderStatus
from workflows.orders import PAYMENT_SUBMITTED, OrderInput, OrderWorkflow, PaymentSubmitted

AUTHORIZE = "/v1/payment_intents"


async def start_by_hand(market: Market, purchase: Purchase, **changes: object) -> Handle:
    """Start a second workflow for an order, as the Web UI can."""
    order = await purchase.order()
    given = OrderInput(
        order_id=str(order.id),
        ticket_id=str(order.ticket_id),
        buyer_id=str(order.user_id),
        reservation_ttl=TTL,
        payment_attempts=1,
        max_reservations=8,
    )
    return await market.env.client.start_workflow(
        OrderWorkflow.run,
        OrderInput(**{**asdict(given), **changes}),
        id=f"by-hand-{uuid4().hex}",
        task_queue=market.task_queue,
    )


async def pay(handle: Handle, operator: Operator) -> None:
    payment = PaymentSubmitted(str(PydanticObjectId()), "pm_card_visa")
    await handle.signal(PAYMENT_SUBMITTED, payment)
    await operator.comes_to_rest(handle)


async def test_a_second_workflow_of_an_order_charges_at_most_once(
    market: Market, operator: Operator
) -> None:
    purchase = await market.reserve()
    second = await start_by_hand(market, purchase)

    await asyncio.gather(pay(second, operator), purchase.submit_payment())
    await operator.end(purchase.handle)
    await operator.end(second)

    await operator.nobody_paid_for_nothing()
    assert (await purchase.order()).status is OrderStatus.COMPLETED


async def test_a_workflow_of_an_order_whose_ticket_was_resold_charges_nothing(
    market: Market, operator: Operator
) -> None:
    purchase = await market.reserve()
    await purchase.cancel()
    other = await market.reserve(await purchase.ticket())
    await other.pay()

    second = await start_by_hand(market, purchase)
    await operator.comes_to_rest(second)
    await operator.end(second)

    await operator.nobody_paid_for_nothing()
    await other.is_completed()


@pytest.mark.parametrize("what", ["ticket_id", "buyer_id"])
async def test_a_workflow_with_another_ticket_or_buyer_leaves_the_order_alone(
    market: Market, operator: Operator, what: str
) -> None:
    purchase, free = await market.reserve(), await market.list_ticket()
    wrong = {"ticket_id": str(free.id), "buyer_id": str(PydanticObjectId())}

    second = await start_by_hand(market, purchase, **{what: wrong[what]})
    await operator.comes_to_rest(second)

    assert (await purchase.order()).status is OrderStatus.CREATED
    assert (await purchase.ticket()).order_id == purchase.order_id
    assert (await market.look_at(free)).order_id is None
    await purchase.pay()
    await purchase.is_completed()
    await operator.end(second)
    await purchase.is_completed()


async def test_a_ticket_taken_away_during_a_payment_is_not_paid_for(
    marketplace: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket: Json = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    marketplace.sandbox.set_fault("held", method="POST", path=AUTHORIZE)
    paying = asyncio.create_task(buyer.pay(order))
    await eventually(lambda: marketplace.sandbox.count("POST", AUTHORIZE))
    await Ticket.find_one({"_id": PydanticObjectId(ticket["id"])}).update(
        {"$set": {"order_id": None}}
    )
    marketplace.sandbox.clear_faults()

    assert_problem(await paying, 409, "order_cancelled")

    await buyer.sees(order, "cancelled", "cancelled_by_operator")
    assert marketplace.captured() == []
    (intent,) = marketplace.sandbox.payment_intents()
    assert intent["status"] == "canceled"


async def test_an_order_cancelled_by_hand_during_a_payment_is_not_paid_for(
    marketplace: Marketplace, operator: Operator, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    marketplace.sandbox.set_fault("held", method="POST", path=AUTHORIZE)
    paying = asyncio.create_task(buyer.pay(order))
    await eventually(lambda: marketplace.sandbox.count("POST", AUTHORIZE))
    await Order.find_one({"_id": PydanticObjectId(order["id"])}).update(
        {"$set": {"status": OrderStatus.CANCELLED, "cancel_reason": "cancelled_by_operator"}}
    )
    marketplace.sandbox.clear_faults()

    assert_problem(await paying, 409, "order_cancelled")

    await operator.workflow_of(order["id"]).result()
    assert marketplace.captured() == []


async def test_an_order_that_has_lost_its_ticket_is_cancelled_by_its_next_payment(
    seller: Person, buyer: Person, marketplace: Marketplace
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    await Ticket.find_one({"_id": PydanticObjectId(ticket["id"])}).update(
        {"$set": {"order_id": None}}
    )

    assert_problem(await buyer.pay(order), 409, "order_cancelled")

    await buyer.sees(order, "cancelled", "cancelled_by_operator")
    (intent,) = marketplace.sandbox.payment_intents()
    assert (intent["status"], intent["amount_received"]) == ("canceled", 0)


async def test_a_reservation_whose_order_cannot_be_read_is_given_back(
    marketplace: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await seller.list_ticket()
    with monkeypatch.context() as patch:
        reserve_as_an_older_worker(patch)
        patch.setattr("ticketing.models.Order.get", _lose_the_connection)
        assert_problem(await buyer.ask_for(ticket), 503, "mongodb_unavailable")

    assert (await seller.ticket(ticket))["status"] == "available"
    assert (await buyer.ask_for(ticket)).status_code == 201


async def _lose_the_connection(_order_id: PydanticObjectId) -> Order:
    raise AutoReconnect("the primary is gone")
