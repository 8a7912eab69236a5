"""A reservation is made at the price that its buyer was shown, or not at all."""

from dataclasses import replace
from datetime import timedelta

import pytest
from beanie import PydanticObjectId
from pymongo import AsyncMongoClient

from activities.reservations import Reservation, ReservationActivities, ReserveTicket
from ticketing.clock import utc_now
from ticketing.models import Order, Ticket
from ticketing.mongodb import BSONDocument
from ticketing.problem_codes import ProblemCode

Mongo = AsyncMongoClient[BSONDocument]


@pytest.fixture
def reservations(mongodb: Mongo) -> ReservationActivities:
    return ReservationActivities(mongodb)


@pytest.fixture
async def wish(mongodb: Mongo) -> ReserveTicket:
    """A wish for a ticket at the price that it has."""
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
        max_reservations=1,
        price=2500,
    )


def answer(wish: ReserveTicket, *, price: int) -> Reservation:
    return Reservation(price=price, currency="usd", reserved_at=wish.reserved_at, ticket_version=1)


async def set_price(wish: ReserveTicket, price: int) -> None:
    await Ticket.find_one({"_id": PydanticObjectId(wish.ticket_id)}).update(
        {"$set": {"price": price}}
    )


@pytest.mark.parametrize("price", [2500, None])
async def test_the_answer_is_what_the_order_says(
    reservations: ReservationActivities, wish: ReserveTicket, price: int | None
) -> None:
    wish = replace(wish, price=price)
    told = await reservations.reserve_ticket(wish)
    order = await Order.get(wish.order_id)
    assert order is not None
    assert told == answer(wish, price=2500)
    assert (order.ticket.price, order.ticket.currency) == (2500, "usd")
    assert await reservations.reserve_ticket(wish) == told


async def test_another_price_holds_nothing_and_is_told(
    reservations: ReservationActivities, wish: ReserveTicket
) -> None:
    await set_price(wish, 9900)
    refused = replace(answer(wish, price=9900), refusal=ProblemCode.PRICE_CHANGED)
    assert await reservations.reserve_ticket(wish) == refused

    ticket = await Ticket.get(wish.ticket_id)
    assert ticket is not None
    assert ticket.order_id is None
    assert await Order.find_all().count() == 0


async def test_control_without_a_price_whatever_the_ticket_costs_is_reserved(
    reservations: ReservationActivities, wish: ReserveTicket
) -> None:
    await set_price(wish, 9900)
    told = await reservations.reserve_ticket(replace(wish, price=None))
    assert told == answer(wish, price=9900)


async def test_a_ticket_that_is_held_or_sold_or_ones_own_is_told_before_its_price(
    reservations: ReservationActivities, wish: ReserveTicket
) -> None:
    ticket = await Ticket.get(wish.ticket_id)
    assert ticket is not None
    cheap = replace(wish, price=50)
    own = replace(cheap, buyer_id=str(ticket.user_id))
    assert (await reservations.reserve_ticket(own)).refusal is ProblemCode.OWN_TICKET

    await reservations.reserve_ticket(replace(wish, order_id=str(PydanticObjectId())))
    late = replace(cheap, buyer_id=str(PydanticObjectId()))
    assert (await reservations.reserve_ticket(late)).refusal is ProblemCode.TICKET_RESERVED

    await Ticket.find_one({"_id": ticket.id}).update({"$set": {"sold_at": utc_now()}})
    assert (await reservations.reserve_ticket(late)).refusal is ProblemCode.TICKET_SOLD
