"""A buyer holds no more unpaid tickets than one may, however many requests come at once."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from beanie import PydanticObjectId
from pymongo import AsyncMongoClient

from activities import reservations as module
from activities.orders import BeginPayment, CancelOrder, CompleteOrder, OrderActivities
from activities.reservations import Reservation, ReservationActivities, ReserveTicket
from ticketing.clock import utc_now
from ticketing.models import Order, Ticket
from ticketing.mongodb import BSONDocument
from ticketing.problem_codes import ProblemCode
from ticketing.statuses import CancelReason, TicketStatus

Mongo = AsyncMongoClient[BSONDocument]

MOST = 3
AT_ONCE = 12


@pytest.fixture
def reservations(mongodb: Mongo) -> ReservationActivities:
    return ReservationActivities(mongodb)


@pytest.fixture
def orders(mongodb: Mongo) -> OrderActivities:
    return OrderActivities(mongodb)


async def wish(buyer_id: PydanticObjectId, most: int = MOST) -> ReserveTicket:
    """The buyer's wish for a ticket that nobody else wants."""
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
        buyer_id=str(buyer_id),
        reserved_at=now,
        expires_at=now + timedelta(minutes=15),
        max_reservations=most,
    )


async def wishes(count: int, buyer_id: PydanticObjectId | None = None) -> list[ReserveTicket]:
    buyer_id = buyer_id or PydanticObjectId()
    return [await wish(buyer_id) for _ in range(count)]


async def all_at_once(
    reservations: ReservationActivities, requests: list[ReserveTicket]
) -> list[Reservation]:
    return await asyncio.gather(*(reservations.reserve_ticket(request) for request in requests))


async def slots_taken() -> list[int]:
    orders = await Order.find_all().to_list()
    return sorted(order.slot for order in orders if order.slot is not None)


async def status_of_ticket(request: ReserveTicket) -> TicketStatus:
    ticket = await Ticket.get(request.ticket_id)
    assert ticket is not None
    return ticket.status


def beginning(request: ReserveTicket) -> BeginPayment:
    return BeginPayment(
        order_id=request.order_id,
        ticket_id=request.ticket_id,
        charge_id=str(PydanticObjectId()),
        attempt=1,
        amount=2500,
        currency="usd",
        at=utc_now(),
        payment_method="pm_card_visa",
    )


async def test_of_many_reservations_at_once_the_buyer_gets_as_many_as_one_may_hold(
    reservations: ReservationActivities,
) -> None:
    requests = await wishes(AT_ONCE)

    answers = await all_at_once(reservations, requests)

    refused = {None: MOST, ProblemCode.TOO_MANY_RESERVATIONS: AT_ONCE - MOST}
    assert Counter(answer.refusal for answer in answers) == refused
    for request, answer in zip(requests, answers, strict=True):
        is_held = await status_of_ticket(request) is TicketStatus.RESERVED
        assert is_held == (answer.refusal is None)
    assert await Order.find_all().count() == MOST


@pytest.fixture
async def no_unique_slots(mongodb: Mongo) -> None:
    await Order.get_pymongo_collection().drop_index("one_unpaid_order_per_slot")


@pytest.mark.usefixtures("no_unique_slots")
async def test_control_without_unique_slots_the_buyer_gets_them_all(
    reservations: ReservationActivities,
) -> None:
    requests = [replace(request, slot=0) for request in await wishes(AT_ONCE)]

    answers = await all_at_once(reservations, requests)

    assert [answer.refusal for answer in answers] == [None] * AT_ONCE


async def test_all_who_were_told_of_the_same_free_slot_find_others_as_long_as_there_are(
    reservations: ReservationActivities,
) -> None:
    requests = [replace(request, slot=0) for request in await wishes(AT_ONCE)]

    answers = await all_at_once(reservations, requests)

    refused = {None: MOST, ProblemCode.TOO_MANY_RESERVATIONS: AT_ONCE - MOST}
    assert Counter(answer.refusal for answer in answers) == refused
    assert await slots_taken() == [0, 1, 2]


async def test_a_slot_that_somebody_was_told_of_in_vain_is_refused_at_the_limit(
    reservations: ReservationActivities,
) -> None:
    """The API looked before the others were reserved."""
    *held, one_more = await wishes(MOST + 1)
    for request in held:
        await reservations.reserve_ticket(request)

    late = await reservations.reserve_ticket(replace(one_more, slot=1))

    assert late.refusal is ProblemCode.TOO_MANY_RESERVATIONS
    assert await status_of_ticket(one_more) is TicketStatus.AVAILABLE


async def test_a_slot_above_a_limit_that_was_lowered_counts_as_well(
    reservations: ReservationActivities,
) -> None:
    buyer_id = PydanticObjectId()
    slots = (MOST, MOST + 1)
    for slot in slots:
        await reservations.reserve_ticket(replace(await wish(buyer_id, most=MOST + 2), slot=slot))

    left = MOST - len(slots)
    offered = {
        await module.free_slot(str(buyer_id), MOST, str(PydanticObjectId())) for _ in range(AT_ONCE)
    }
    assert len(offered) == left  # however many look at once

    answers = await all_at_once(reservations, await wishes(AT_ONCE, buyer_id))

    refused = {None: left, ProblemCode.TOO_MANY_RESERVATIONS: AT_ONCE - left}
    assert Counter(answer.refusal for answer in answers) == refused


async def test_a_slot_that_looks_free_after_it_was_refused_is_asked_for_in_peace(
    reservations: ReservationActivities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A majority has not seen yet who has taken it."""
    buyer_id = PydanticObjectId()
    await reservations.reserve_ticket(replace(await wish(buyer_id), slot=0))
    seen = iter([0, 0, 0, 1])
    pauses = []

    async def look_too_early(*_: object) -> int:
        return next(seen)

    async def pause() -> None:
        pauses.append(True)

    monkeypatch.setattr(module, "free_slot", look_too_early)
    monkeypatch.setattr(module, "wait_for_majority_read", pause)
    answer = await reservations.reserve_ticket(await wish(buyer_id))

    assert answer.refusal is None
    assert len(pauses) == 2  # the first look is believed


async def test_a_lower_limit_counts_what_was_reserved_under_a_higher_one(
    reservations: ReservationActivities,
) -> None:
    buyer_id = PydanticObjectId()
    for slot in range(MOST):
        await reservations.reserve_ticket(replace(await wish(buyer_id), slot=slot))

    refused = await reservations.reserve_ticket(await wish(buyer_id, most=MOST - 1))

    assert refused.refusal is ProblemCode.TOO_MANY_RESERVATIONS


async def test_buyers_do_not_wait_for_one_another(reservations: ReservationActivities) -> None:
    requests = [await wish(PydanticObjectId()) for _ in range(AT_ONCE)]

    answers = await all_at_once(reservations, requests)

    assert [answer.refusal for answer in answers] == [None] * AT_ONCE


async def test_a_reservation_run_again_at_the_limit_is_the_same_answer(
    reservations: ReservationActivities,
) -> None:
    requests = await wishes(MOST)
    first = [await reservations.reserve_ticket(request) for request in requests]

    assert [await reservations.reserve_ticket(request) for request in requests] == first
    assert await all_at_once(reservations, [*requests, *requests]) == [*first, *first]

    assert await Order.find_all().count() == MOST


async def test_a_ticket_that_the_buyer_holds_is_told_as_reserved_and_not_as_one_too_many(
    reservations: ReservationActivities,
) -> None:
    held, *others = await wishes(MOST)
    for request in (held, *others):
        await reservations.reserve_ticket(request)

    again = ReserveTicket(
        order_id=str(PydanticObjectId()),
        ticket_id=held.ticket_id,
        buyer_id=held.buyer_id,
        reserved_at=held.reserved_at,
        expires_at=held.expires_at,
        max_reservations=MOST,
    )

    assert (await reservations.reserve_ticket(again)).refusal is ProblemCode.TICKET_RESERVED


async def test_a_payment_under_way_counts_and_an_order_that_is_closed_does_not(
    reservations: ReservationActivities, orders: OrderActivities
) -> None:
    buyer_id = PydanticObjectId()
    paid, cancelled, paying = await wishes(MOST, buyer_id)
    for request in (paid, cancelled, paying):
        await reservations.reserve_ticket(request)
    await orders.begin_payment(beginning(paying))
    one_more, last, too_many = await wishes(3, buyer_id)
    refused = await reservations.reserve_ticket(one_more)
    assert refused.refusal is ProblemCode.TOO_MANY_RESERVATIONS

    payment = beginning(paid)
    await orders.begin_payment(payment)
    await orders.complete_order(
        CompleteOrder(paid.order_id, paid.ticket_id, payment.charge_id, utc_now())
    )
    await orders.cancel_order(
        CancelOrder(cancelled.order_id, cancelled.ticket_id, CancelReason.EXPIRED, utc_now())
    )

    answers = [await reservations.reserve_ticket(r) for r in (one_more, last, too_many)]
    assert [a.refusal for a in answers] == [None, None, ProblemCode.TOO_MANY_RESERVATIONS]
