"""The steps of a refund may run twice, also late, when the ticket is somebody else's by then."""

from dataclasses import replace
from datetime import timedelta

import pytest
from beanie import PydanticObjectId
from pymongo import AsyncMongoClient
from temporalio.testing import ActivityEnvironment

from activities import refunds as refund_activities
from activities.orders import CompleteOrder, OrderActivities
from activities.refunds import (
    AddTimelineEntry,
    OrderPayment,
    OrderStillOpen,
    RecordRefund,
    RefundActivities,
    RefundOutcome,
    RefundPayment,
)
from stripe_sandbox.testing import RunningSandbox
from ticketing.clock import utc_now
from ticketing.models import Charge, Order, Ticket, TicketSnapshot
from ticketing.mongodb import BSONDocument
from ticketing.payments.gateway import StripeGateway
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus, TimelineCode

REFUNDS = "/v1/refunds"


@pytest.fixture
def refunds(mongodb: AsyncMongoClient[BSONDocument], gateway: StripeGateway) -> RefundActivities:
    return RefundActivities(mongodb, gateway)


@pytest.fixture
async def intent_id(gateway: StripeGateway) -> str:
    """A captured payment of 2500."""
    intent = await gateway.authorize(
        order_id="1",
        attempt=1,
        amount=2500,
        currency="usd",
        payment_method="pm_card_visa",
        begun_at=utc_now(),
        idempotency_key="authorize",
    )
    return (await gateway.capture(intent.id, idempotency_key="capture")).id


@pytest.fixture
async def ticket(mongodb: AsyncMongoClient[BSONDocument]) -> Ticket:
    now = utc_now()
    return await Ticket(
        title="Front row",
        price=2500,
        currency="usd",
        user_id=PydanticObjectId(),
        order_id=PydanticObjectId(),
        sold_at=now,
        created_at=now,
        updated_at=now,
    ).insert()


@pytest.fixture
async def order(ticket: Ticket, intent_id: str) -> Order:
    """A completed order, with the charge that paid for it."""
    return await sell(ticket, intent_id)


async def sell(ticket: Ticket, intent_id: str) -> Order:
    """The completed order that the ticket names."""
    now = utc_now()
    assert ticket.order_id is not None
    assert ticket.id is not None
    await Charge(
        order_id=ticket.order_id,
        attempt=1,
        status=ChargeStatus.COMPLETED,
        amount=2500,
        currency="usd",
        stripe_id=intent_id,
        created_at=now,
    ).insert()
    return await Order(
        id=ticket.order_id,
        user_id=PydanticObjectId(),
        seller_id=ticket.user_id,
        ticket_id=ticket.id,
        ticket=TicketSnapshot(title=ticket.title, price=2500, currency="usd"),
        status=OrderStatus.COMPLETED,
        expires_at=now + timedelta(minutes=15),
        created_at=now,
        completed_at=now,
    ).insert()


def recording(order: Order, *, relist: bool = False) -> RecordRefund:
    return RecordRefund(
        order_id=str(order.id),
        ticket_id=str(order.ticket_id),
        refund_id="re_1",
        relist=relist,
        at=utc_now(),
    )


async def everything(order: Order) -> list[object]:
    """The order, its charges and its ticket, as they are stored."""
    charges = await Charge.find({"order_id": order.id}).to_list()
    return [await Order.get(order.id), charges, await Ticket.get(order.ticket_id)]


async def test_the_payment_of_a_completed_order_is_found(
    refunds: RefundActivities, order: Order, intent_id: str
) -> None:
    assert await refunds.find_payment(str(order.id)) == OrderPayment(
        OrderStatus.COMPLETED, str(order.ticket_id), intent_id
    )


async def test_an_order_that_is_not_closed_has_no_payment_to_refund_yet(
    refunds: RefundActivities, order: Order
) -> None:
    await order.set({"status": OrderStatus.AWAITING_PAYMENT})

    with pytest.raises(OrderStillOpen):
        await refunds.find_payment(str(order.id))


async def test_a_refund_made_twice_is_one_refund(
    refunds: RefundActivities, order: Order, intent_id: str, sandbox: RunningSandbox
) -> None:
    step = ActivityEnvironment()
    wish = RefundPayment(str(order.id), intent_id)

    first = await step.run(refunds.refund_payment, wish)
    assert await step.run(refunds.refund_payment, wish) == first

    assert first.outcome is RefundOutcome.REFUNDED
    (refund,) = sandbox.refunds(intent_id)
    assert (refund["id"], refund["amount"]) == (first.refund_id, 2500)


async def test_a_payment_that_was_never_captured_is_refused(
    refunds: RefundActivities, order: Order, gateway: StripeGateway
) -> None:
    intent = await gateway.authorize(
        order_id="2",
        attempt=1,
        amount=2500,
        currency="usd",
        payment_method="pm_card_visa",
        begun_at=utc_now(),
        idempotency_key="authorize another",
    )

    state = await ActivityEnvironment().run(
        refunds.refund_payment, RefundPayment(str(order.id), intent.id)
    )

    assert (state.outcome, state.refunded) == (RefundOutcome.REFUSED, 0)


async def test_a_refund_whose_answer_was_lost_is_found_and_not_made_again(
    refunds: RefundActivities, order: Order, intent_id: str, sandbox: RunningSandbox
) -> None:
    step = ActivityEnvironment()
    wish = RefundPayment(str(order.id), intent_id)
    sandbox.set_fault("lost_answer", method="POST", path=REFUNDS)
    with pytest.raises(Exception, match="Stripe"):
        await step.run(refunds.refund_payment, wish)

    state = await step.run(refunds.refund_payment, wish)

    assert state.outcome is RefundOutcome.REFUNDED
    assert sandbox.count("POST", REFUNDS) == 1


@pytest.mark.parametrize("relist", [True, False])
async def test_a_refund_recorded_twice_is_recorded_once(
    refunds: RefundActivities, order: Order, relist: bool
) -> None:
    input = recording(order, relist=relist)
    await refunds.record_refund(input)
    before = await everything(order)

    await refunds.record_refund(replace(input, refund_id="re_2", relist=not relist, at=utc_now()))

    assert await everything(order) == before
    recorded = await Order.get(order.id)
    assert recorded is not None
    assert (recorded.status, recorded.cancel_reason) == (
        OrderStatus.CANCELLED,
        CancelReason.REFUNDED,
    )
    (charge,) = await Charge.find({"order_id": order.id}).to_list()
    assert charge.stripe_refund_id == "re_1"
    assert (await Ticket.get(order.ticket_id) is not None) == relist


async def test_an_old_retry_leaves_the_next_buyers_ticket_alone(
    refunds: RefundActivities, order: Order, ticket: Ticket
) -> None:
    await refunds.record_refund(recording(order, relist=True))
    next_id = PydanticObjectId()
    await ticket.set({"order_id": next_id, "sold_at": utc_now()})
    resold = await Ticket.get(ticket.id)
    assert resold is not None
    next_order = await sell(resold, "pi_of_somebody_else")
    before = [await everything(order), await everything(next_order)]

    for relist in (True, False):
        await refunds.record_refund(recording(order, relist=relist))

    assert [await everything(order), await everything(next_order)] == before


@pytest.mark.parametrize("relist", [True, False])
async def test_a_completion_repeated_after_the_refund_changes_nothing(
    refunds: RefundActivities,
    mongodb: AsyncMongoClient[BSONDocument],
    order: Order,
    relist: bool,
) -> None:
    await refunds.record_refund(recording(order, relist=relist))
    (charge,) = await Charge.find({"order_id": order.id}).to_list()
    before = await everything(order)

    await OrderActivities(mongodb).complete_order(
        CompleteOrder(
            order_id=str(order.id),
            ticket_id=str(order.ticket_id),
            charge_id=str(charge.id),
            at=utc_now(),
        )
    )

    assert await everything(order) == before


async def test_a_ticket_that_the_order_does_not_hold_stays_where_it_is(
    refunds: RefundActivities, order: Order, ticket: Ticket
) -> None:
    """Somebody has changed the data by hand: the money is back, the ticket another's."""
    await ticket.set({"order_id": PydanticObjectId()})
    before = await Ticket.get(ticket.id)

    await refunds.record_refund(recording(order))

    assert await Ticket.get(ticket.id) == before


async def test_what_is_told_of_an_instant_is_told_once(
    refunds: RefundActivities, order: Order
) -> None:
    at = utc_now()
    entry = AddTimelineEntry(str(order.id), TimelineCode.REFUND_DELAYED, at, "balance_insufficient")

    for _ in range(2):
        await refunds.add_timeline_entry(entry)
    await refunds.add_timeline_entry(replace(entry, at=at + timedelta(seconds=1)))

    told = await Order.get(order.id)
    assert told is not None
    assert [told_entry.at for told_entry in told.timeline] == [at, at + timedelta(seconds=1)]


async def test_a_seller_who_asks_for_ever_does_not_fill_the_order(
    refunds: RefundActivities, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refund_activities, "MAX_TIMELINE_ENTRIES", 3)
    entry = AddTimelineEntry(
        str(order.id), TimelineCode.REFUND_REFUSED, utc_now(), "charge_disputed"
    )

    for number in range(5):
        await refunds.add_timeline_entry(replace(entry, at=entry.at + timedelta(seconds=number)))

    told = await Order.get(order.id)
    assert told is not None
    assert len(told.timeline) == 3
