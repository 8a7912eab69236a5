"""Every activity may run twice, also late and beside its successors, and changes things once."""

from dataclasses import replace
from datetime import timedelta

import pytest
from beanie import PydanticObjectId
from pymongo import AsyncMongoClient
from temporalio.exceptions import ApplicationError

from activities.orders import (
    BeginPayment,
    CancelOrder,
    CompleteOrder,
    FailedCharge,
    FailPayment,
    OrderActivities,
    TicketNotHeld,
)
from activities.reservations import ReservationActivities, ReserveTicket
from ticketing.clock import utc_now
from ticketing.models import Charge, Order, Ticket
from ticketing.mongodb import BSONDocument
from ticketing.problem_codes import ProblemCode
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus, TicketStatus

Mongo = AsyncMongoClient[BSONDocument]


@pytest.fixture
def reservations(mongodb: Mongo) -> ReservationActivities:
    return ReservationActivities(mongodb)


@pytest.fixture
def orders(mongodb: Mongo) -> OrderActivities:
    return OrderActivities(mongodb)


@pytest.fixture
async def request_(mongodb: Mongo) -> ReserveTicket:
    """A wish for a ticket that is there."""
    return await wish()


async def wish() -> ReserveTicket:
    now = utc_now()
    ticket = await Ticket(
        title="Front row, Friday",
        price=2500,
        currency="usd",
        user_id=PydanticObjectId(),
        created_at=now,
        updated_at=now,
    ).insert()
    return ReserveTicket(
        order_id=str(PydanticObjectId()),
        ticket_id=str(ticket.id),
        buyer_id=str(PydanticObjectId()),
        reserved_at=now,
        expires_at=now + timedelta(minutes=15),
        max_reservations=8,
    )


async def order(request_: ReserveTicket) -> Order:
    found = await Order.get(request_.order_id)
    assert found is not None
    return found


async def timeline_of(request_: ReserveTicket) -> list[str]:
    """The order's timeline: each entry's code, attempt and reason."""
    return [
        " ".join(str(part) for part in (entry.code, entry.attempt, entry.reason) if part)
        for entry in (await order(request_)).timeline
    ]


async def ticket(request_: ReserveTicket) -> Ticket:
    found = await Ticket.get(request_.ticket_id)
    assert found is not None
    return found


def beginning(request_: ReserveTicket, attempt: int = 1) -> BeginPayment:
    return BeginPayment(
        order_id=request_.order_id,
        ticket_id=request_.ticket_id,
        charge_id=str(PydanticObjectId()),
        attempt=attempt,
        amount=2500,
        currency="usd",
        at=utc_now(),
        payment_method="pm_card_visa",
    )


def cancelling(request_: ReserveTicket) -> CancelOrder:
    return CancelOrder(
        order_id=request_.order_id,
        ticket_id=request_.ticket_id,
        reason=CancelReason.EXPIRED,
        at=utc_now(),
    )


def completing(request_: ReserveTicket, payment: BeginPayment) -> CompleteOrder:
    return CompleteOrder(
        order_id=request_.order_id,
        ticket_id=request_.ticket_id,
        charge_id=payment.charge_id,
        at=utc_now(),
    )


async def test_a_reservation_made_twice_is_one_order_and_the_same_answer(
    reservations: ReservationActivities, request_: ReserveTicket
) -> None:
    first = await reservations.reserve_ticket(request_)
    before = await order(request_)

    assert await reservations.reserve_ticket(request_) == first

    assert await order(request_) == before
    assert await Order.find_all().count() == 1


async def test_a_reservation_that_comes_back_after_its_order_was_cancelled_holds_nothing(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    await orders.cancel_order(cancelling(request_))

    with pytest.raises(ApplicationError, match="made or abandoned before"):
        await reservations.reserve_ticket(request_)

    assert (await ticket(request_)).status is TicketStatus.AVAILABLE
    assert (await order(request_)).status is OrderStatus.CANCELLED


async def test_a_reservation_that_comes_after_it_was_abandoned_holds_nothing(
    reservations: ReservationActivities, request_: ReserveTicket
) -> None:
    await reservations.abandon_reservation(request_)

    with pytest.raises(ApplicationError, match="made or abandoned before"):
        await reservations.reserve_ticket(request_)

    assert (await ticket(request_)).status is TicketStatus.AVAILABLE


async def test_an_abandoned_reservation_that_had_been_made_is_undone(
    reservations: ReservationActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)

    for _ in range(2):
        await reservations.abandon_reservation(request_)

    assert (await ticket(request_)).status is TicketStatus.AVAILABLE
    assert (await order(request_)).status is OrderStatus.CANCELLED


async def test_abandoning_never_touches_the_next_buyers_reservation(
    reservations: ReservationActivities, request_: ReserveTicket
) -> None:
    next_buyers = ReserveTicket(
        order_id=str(PydanticObjectId()),
        ticket_id=request_.ticket_id,
        buyer_id=str(PydanticObjectId()),
        reserved_at=request_.reserved_at,
        expires_at=request_.expires_at,
        max_reservations=8,
    )
    await reservations.abandon_reservation(request_)
    await reservations.reserve_ticket(next_buyers)

    await reservations.abandon_reservation(request_)

    assert str((await ticket(request_)).order_id) == next_buyers.order_id


async def test_a_payment_begun_twice_is_one_charge(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    payment = beginning(request_)

    for _ in range(2):
        await orders.begin_payment(payment)

    assert (await order(request_)).status is OrderStatus.AWAITING_PAYMENT
    assert await Charge.find_all().count() == 1


async def test_a_payment_is_not_begun_with_the_charge_of_another_order(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    other = await wish()
    for request in (request_, other):
        await reservations.reserve_ticket(request)
    payment = beginning(request_)
    await orders.begin_payment(payment)

    begun = await orders.begin_payment(replace(beginning(other), charge_id=payment.charge_id))

    assert (begun.is_begun, begun.order_status) == (False, OrderStatus.CREATED)
    assert (await order(other)).status is OrderStatus.CREATED
    assert [charge.order_id for charge in await Charge.find_all().to_list()] == [
        (await order(request_)).id
    ]


@pytest.mark.parametrize("end", ["cancelled", "completed"])
async def test_a_closed_order_cannot_be_paid_whatever_its_workflow_believes(
    reservations: ReservationActivities,
    orders: OrderActivities,
    request_: ReserveTicket,
    end: str,
) -> None:
    await reservations.reserve_ticket(request_)
    if end == "completed":
        payment = beginning(request_)
        await orders.begin_payment(payment)
        await orders.complete_order(completing(request_, payment))
    else:
        await orders.cancel_order(cancelling(request_))

    begun = await orders.begin_payment(beginning(request_, attempt=2))

    assert (begun.is_begun, begun.order_status) == (False, end)
    assert await Charge.find({"attempt": 2}).count() == 0


async def test_an_order_with_a_payment_is_not_cancelled_as_an_unpaid_one(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    await orders.begin_payment(beginning(request_))

    status = await orders.cancel_order(cancelling(request_))

    assert status is OrderStatus.AWAITING_PAYMENT
    assert (await ticket(request_)).status is TicketStatus.RESERVED


async def test_abandoning_late_leaves_a_sale_alone(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    payment = beginning(request_)
    await orders.begin_payment(payment)
    await reservations.abandon_reservation(request_)
    assert (await order(request_)).status is OrderStatus.AWAITING_PAYMENT
    await orders.complete_order(completing(request_, payment))

    await reservations.abandon_reservation(request_)

    assert (await order(request_)).status is OrderStatus.COMPLETED
    assert (await ticket(request_)).status is TicketStatus.SOLD


async def test_a_payment_begun_late_does_not_take_a_failed_order_back_to_awaiting(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    payment = beginning(request_)
    await orders.begin_payment(payment)
    failed = FailedCharge(payment.charge_id, "generic_decline")
    failure = FailPayment(request_.order_id, failed, utc_now())
    await orders.fail_payment(failure)

    await orders.begin_payment(payment)

    assert (await order(request_)).status is OrderStatus.CREATED


async def test_a_failure_told_late_does_not_disturb_the_next_attempt(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    first = beginning(request_)
    await orders.begin_payment(first)
    failed = FailedCharge(first.charge_id, "generic_decline")
    failure = FailPayment(request_.order_id, failed, utc_now())
    await orders.fail_payment(failure)
    await orders.begin_payment(beginning(request_, attempt=2))

    await orders.fail_payment(failure)

    assert (await order(request_)).status is OrderStatus.AWAITING_PAYMENT


async def test_an_order_completed_twice_is_sold_once(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    payment = beginning(request_)
    await orders.begin_payment(payment)
    await orders.complete_order(completing(request_, payment))
    before = (await order(request_), await ticket(request_))

    await orders.complete_order(completing(request_, payment))
    await orders.cancel_order(cancelling(request_))

    assert (await order(request_), await ticket(request_)) == before
    assert before[0].status is OrderStatus.COMPLETED
    assert before[1].status is TicketStatus.SOLD


async def test_an_order_that_does_not_hold_its_ticket_is_not_completed(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    payment = beginning(request_)
    await orders.begin_payment(payment)
    await (await ticket(request_)).set({"order_id": None})

    with pytest.raises(TicketNotHeld):
        await orders.complete_order(completing(request_, payment))

    charge = await Charge.get(payment.charge_id)
    assert charge is not None
    assert charge.status is ChargeStatus.CREATED
    assert (await order(request_)).status is OrderStatus.AWAITING_PAYMENT


async def test_a_cancellation_told_twice_leaves_the_next_buyer_alone(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    cancellation = cancelling(request_)
    await orders.cancel_order(cancellation)
    before = await order(request_)
    next_order = PydanticObjectId()
    await (await ticket(request_)).set({"order_id": next_order})

    await orders.cancel_order(cancellation)

    assert (await ticket(request_)).order_id == next_order
    assert await order(request_) == before


async def test_a_late_cancellation_for_a_failed_payment_spares_the_next_payment(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    first, second = beginning(request_), beginning(request_, attempt=2)
    failed = FailedCharge(first.charge_id, "expired_card")
    await reservations.reserve_ticket(request_)
    await orders.begin_payment(first)
    await orders.fail_payment(FailPayment(request_.order_id, failed, utc_now()))
    await orders.begin_payment(second)

    status = await orders.cancel_order(
        CancelOrder(
            order_id=request_.order_id,
            ticket_id=request_.ticket_id,
            reason=CancelReason.PAYMENT_FAILED,
            at=utc_now(),
            failed_charge=failed,
        )
    )

    assert status is OrderStatus.AWAITING_PAYMENT
    assert str((await ticket(request_)).order_id) == request_.order_id


async def test_a_cancellation_closes_an_order_whose_failure_a_lost_task_recorded(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    payment = beginning(request_)
    failed = FailedCharge(payment.charge_id, "expired_card")
    await reservations.reserve_ticket(request_)
    await orders.begin_payment(payment)
    await orders.fail_payment(FailPayment(request_.order_id, failed, utc_now()))

    status = await orders.cancel_order(
        CancelOrder(
            order_id=request_.order_id,
            ticket_id=request_.ticket_id,
            reason=CancelReason.CANCELLED_BY_OPERATOR,
            at=utc_now(),
            failed_charge=failed,
        )
    )

    assert status is OrderStatus.CANCELLED
    assert (await ticket(request_)).status is TicketStatus.AVAILABLE
    assert await timeline_of(request_) == [
        "ticket_reserved",
        "payment_submitted 1",
        "payment_failed 1 expired_card",
        "order_cancelled cancelled_by_operator",
    ]


async def test_an_attempt_that_was_made_before_is_refused_and_the_next_one_is_begun(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    first, second = beginning(request_), beginning(request_)
    failed = FailedCharge(first.charge_id, "expired_card")
    await reservations.reserve_ticket(request_)
    await orders.begin_payment(first)
    await orders.fail_payment(FailPayment(request_.order_id, failed, utc_now()))

    begun = await orders.begin_payment(second)  # its workflow was reset, and counts anew

    assert (begun.is_begun, begun.order_status) == (False, OrderStatus.CREATED)
    assert (await orders.begin_payment(replace(second, attempt=2))).is_begun


async def test_each_step_run_twice_is_told_once(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    first, second = beginning(request_), beginning(request_, attempt=2)
    failed = FailedCharge(first.charge_id, "insufficient_funds")
    for _ in range(2):
        await reservations.reserve_ticket(request_)
    for _ in range(2):
        await orders.begin_payment(first)
    for _ in range(2):
        await orders.fail_payment(FailPayment(request_.order_id, failed, utc_now()))
    for _ in range(2):
        await orders.begin_payment(second)
    for _ in range(2):
        await orders.complete_order(completing(request_, second))
    await orders.fail_payment(FailPayment(request_.order_id, failed, utc_now()))
    await orders.cancel_order(cancelling(request_))

    assert await timeline_of(request_) == [
        "ticket_reserved",
        "payment_submitted 1",
        "payment_failed 1 insufficient_funds",
        "payment_submitted 2",
        "order_completed",
    ]


async def test_a_cancellation_run_twice_is_told_once_with_the_payment_that_failed(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    payment = beginning(request_)
    await orders.begin_payment(payment)
    cancellation = CancelOrder(
        order_id=request_.order_id,
        ticket_id=request_.ticket_id,
        reason=CancelReason.PAYMENT_FAILED,
        at=utc_now(),
        failed_charge=FailedCharge(payment.charge_id, "expired_card"),
    )

    for _ in range(2):
        await orders.cancel_order(cancellation)

    assert await timeline_of(request_) == [
        "ticket_reserved",
        "payment_submitted 1",
        "payment_failed 1 expired_card",
        "order_cancelled payment_failed",
    ]


@pytest.mark.parametrize("was_made", [True, False])
async def test_an_abandoned_reservation_is_told_once_for_what_it_was(
    reservations: ReservationActivities, request_: ReserveTicket, was_made: bool
) -> None:
    if was_made:
        await reservations.reserve_ticket(request_)

    for _ in range(2):
        await reservations.abandon_reservation(request_)

    reserved = ["ticket_reserved"] if was_made else []
    assert await timeline_of(request_) == [*reserved, "order_cancelled expired"]


async def test_a_payment_begun_keeps_what_the_buyer_pays_with(
    reservations: ReservationActivities, orders: OrderActivities, request_: ReserveTicket
) -> None:
    await reservations.reserve_ticket(request_)
    payment = replace(beginning(request_), payment_method="pm_card_visa")

    await orders.begin_payment(payment)

    charge = await Charge.get(payment.charge_id)
    assert charge is not None
    assert charge.payment_method == "pm_card_visa"


async def test_a_ticket_that_is_gone_is_refused(
    reservations: ReservationActivities, request_: ReserveTicket
) -> None:
    await (await ticket(request_)).delete()

    refused = await reservations.reserve_ticket(request_)

    assert refused.refusal is ProblemCode.TICKET_NOT_FOUND
    await reservations.abandon_reservation(request_)
    assert await Order.find_all().count() == 0
