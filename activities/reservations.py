"""Reserving a ticket for an order."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from beanie import PydanticObjectId, UpdateResponse
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.orders import release_ticket
from ticketing.clock import to_milliseconds, utc_now
from ticketing.models import Order, Ticket, TicketSnapshot, timeline_entry
from ticketing.mongodb import BSONDocument, in_transaction
from ticketing.problem_codes import ProblemCode
from ticketing.statuses import UNPAID_STATUSES, CancelReason, OrderStatus, TimelineCode

MAJORITY_READ_LAG = timedelta(milliseconds=20)
"""How long to wait before asking again for a slot that was refused and still looks free.

A read shows only what a majority of MongoDB's members has, so it lags behind the refusal.
"""


@dataclass(frozen=True)
class ReserveTicket:
    """A request to reserve one ticket for one order."""

    order_id: str
    ticket_id: str
    buyer_id: str
    reserved_at: datetime
    expires_at: datetime
    max_reservations: int
    """How many unpaid tickets the buyer may hold."""
    slot: int | None = None
    """One of the buyer's slots that was free when it was looked up; if None, one is looked up."""
    time_left: timedelta | None = None
    """Counted from when the step is first scheduled; after that, the reservation is abandoned."""
    price: int | None = None
    """The price that the buyer was shown; if None, any price is accepted."""


@dataclass(frozen=True)
class Reservation:
    """The price, which stands while the ticket is held, or the reason for a refusal."""

    refusal: ProblemCode | None = None
    price: int = 0
    """In the currency's minor unit."""
    currency: str = ""
    reserved_at: datetime | None = None
    ticket_version: int | None = None
    """The version of the ticket that was reserved: who has read it knows what was ordered."""


HeldSlot = Mapping[str, int | None]
"""The `slot` of an unpaid order."""


class ReservationActivities:
    """The ticket's lock."""

    def __init__(self, mongo: AsyncMongoClient[BSONDocument]) -> None:
        self._mongo = mongo

    @activity.defn
    async def reserve_ticket(self, input: ReserveTicket) -> Reservation:
        """Reserve the ticket for the order, or say why not.

        Safe to run twice: the lock on the ticket *is* the order's id and is set in the same
        transaction as the order is written, so a second run finds both and changes nothing, and
        is not refused for the limit.

        Raises:
            ApplicationError: it is too late, or the order's id is taken; nothing is held by this.
        """
        refused = set[int | None]()
        while True:
            if input.slot is None:
                slot = await free_slot(input.buyer_id, input.max_reservations, input.order_id)
                if slot is None:
                    return await _outcome_without_lock(input)
                if slot in refused:  # and not seen by a majority yet
                    await wait_for_majority_read()
                input = replace(input, slot=slot)
            try:
                return await self._lock_ticket_and_create_order(input)
            except DuplicateKeyError as error:
                if _is_duplicate_of(error, "_id"):
                    raise _not_reserved(
                        "an order of this id was made or abandoned before"
                    ) from None
                if not _is_duplicate_of(error, "slot"):
                    raise
                refused.add(input.slot)
                input = replace(input, slot=None)  # taken since somebody looked

    async def _lock_ticket_and_create_order(self, input: ReserveTicket) -> Reservation:
        async def reserve(session: AsyncClientSession) -> Reservation:
            reservation = await lock_ticket(input, session)
            if _is_late(input):
                raise _not_reserved("it is too late")
            return reservation

        return await in_transaction(self._mongo, reserve)

    @activity.defn
    async def abandon_reservation(self, input: ReserveTicket) -> None:
        """Undo a reservation that may have been made, or may still be under way elsewhere.

        The cancelled order that it leaves behind takes the order's id, so that a worker which
        was frozen in the middle of `reserve_ticket` cannot make the reservation afterwards.
        Safe to run twice: the second run finds the order cancelled.
        """

        async def abandon(session: AsyncClientSession) -> None:
            await _abandon(input, session)

        await in_transaction(self._mongo, abandon)


async def lock_ticket(input: ReserveTicket, session: AsyncClientSession) -> Reservation:
    """Hold the ticket for the order and create the order, or say why not."""
    # The filter is the rule: the second order to get here matches nothing.
    agreed = {} if input.price is None else {"price": input.price}
    ticket = await Ticket.find_one(
        {
            "_id": PydanticObjectId(input.ticket_id),
            "order_id": None,
            "user_id": {"$ne": PydanticObjectId(input.buyer_id)},
            **agreed,
        },
        session=session,
    ).update(
        {"$set": {"order_id": PydanticObjectId(input.order_id)}},
        response_type=UpdateResponse.NEW_DOCUMENT,
    )
    if not isinstance(ticket, Ticket):
        return await _outcome_without_lock(input, session)
    order = created_order(input, ticket)
    order.slot = input.slot
    order.timeline.append(timeline_entry(TimelineCode.TICKET_RESERVED, order.created_at))
    await order.insert(session=session)
    return _reservation_of(ticket, input)


async def free_slot(buyer_id: str, most: int, order_id: str) -> int | None:
    """A slot that the order can take; None if the buyer holds as many tickets as allowed."""
    held = await Order.get_pymongo_collection().aggregate(find_held_slots(buyer_id, most))
    return choose_slot(await held.to_list(), most, order_id)


def find_held_slots(buyer_id: str, most: int) -> list[dict[str, Any]]:
    """The pipeline over orders that finds the slots of a buyer's unpaid ones."""
    unpaid = {"user_id": PydanticObjectId(buyer_id), "status": {"$in": UNPAID_STATUSES}}
    return [{"$match": unpaid}, {"$limit": most}, {"$project": {"_id": 0, "slot": 1}}]


def choose_slot(held: Sequence[HeldSlot], most: int, order_id: str) -> int | None:
    """Choose among the slots that are not held.

    The order's id chooses, so that simultaneous orders of one buyer seldom choose the same.
    """
    if len(held) >= most:
        return None
    free = sorted(set(range(most)) - {order.get("slot") for order in held})
    # No more of them than tickets: a slot above a limit that was lowered counts as well.
    return free[int(order_id, 16) % (most - len(held))]


async def wait_for_majority_read() -> None:
    """Wait until a write that was just acknowledged is seen by reads."""
    await asyncio.sleep(MAJORITY_READ_LAG.total_seconds())


def _is_duplicate_of(error: DuplicateKeyError, field: str) -> bool:
    """Whether it was the field's value that is taken."""
    return field in (error.details or {}).get("keyPattern", ())


def _is_late(input: ReserveTicket) -> bool:
    """Whether the buyer's waiting time is over, by this worker's clock."""
    if input.time_left is None:
        return False
    return utc_now() > activity.info().scheduled_time + input.time_left


def _not_reserved(why: str) -> ApplicationError:
    return ApplicationError(f"not reserved: {why}", type="not_reserved", non_retryable=True)


async def _abandon(input: ReserveTicket, session: AsyncClientSession) -> None:
    order_id = PydanticObjectId(input.order_id)
    ticket = await Ticket.get(PydanticObjectId(input.ticket_id), session=session)
    if ticket is None or ticket.id is None:
        return
    order = await Order.get(order_id, session=session) or created_order(input, ticket)
    if order.status is not OrderStatus.CREATED:
        return  # Cancelled before, or paid for: then it is no reservation any more.
    if (str(order.ticket_id), str(order.user_id)) != (input.ticket_id, input.buyer_id):
        return  # Another reservation's: somebody has started a workflow by hand.
    at, reason = to_milliseconds(input.reserved_at), CancelReason.EXPIRED
    order.status, order.cancel_reason, order.cancelled_at = OrderStatus.CANCELLED, reason, at
    order.timeline.append(timeline_entry(TimelineCode.ORDER_CANCELLED, at, reason=reason))
    await order.save(session=session)
    await release_ticket(ticket.id, order_id, session)


def created_order(input: ReserveTicket, ticket: Ticket) -> Order:
    """The order as it is when the ticket has just been reserved for it."""
    return Order(
        id=PydanticObjectId(input.order_id),
        user_id=PydanticObjectId(input.buyer_id),
        seller_id=ticket.user_id,
        ticket_id=PydanticObjectId(input.ticket_id),
        ticket=TicketSnapshot(title=ticket.title, price=ticket.price, currency=ticket.currency),
        status=OrderStatus.CREATED,
        created_at=to_milliseconds(input.reserved_at),
        expires_at=to_milliseconds(input.expires_at),
    )


async def _outcome_without_lock(
    input: ReserveTicket, session: AsyncClientSession | None = None
) -> Reservation:
    """The outcome for an order that could not lock the ticket: mostly why not."""
    ticket = await Ticket.get(PydanticObjectId(input.ticket_id), session=session)
    if ticket is None:
        return Reservation(refusal=ProblemCode.TICKET_NOT_FOUND)
    if ticket.order_id == PydanticObjectId(input.order_id):
        return _reservation_of(ticket, input)
    if ticket.sold_at is not None:
        return Reservation(refusal=ProblemCode.TICKET_SOLD)
    if ticket.order_id is not None:
        return Reservation(refusal=ProblemCode.TICKET_RESERVED)
    if ticket.user_id == PydanticObjectId(input.buyer_id):
        return Reservation(refusal=ProblemCode.OWN_TICKET)
    if input.price not in (None, ticket.price):
        return replace(_reservation_of(ticket, input), refusal=ProblemCode.PRICE_CHANGED)
    return Reservation(refusal=ProblemCode.TOO_MANY_RESERVATIONS)


def _reservation_of(ticket: Ticket, input: ReserveTicket) -> Reservation:
    return Reservation(
        price=ticket.price,
        currency=ticket.currency,
        reserved_at=input.reserved_at,
        ticket_version=ticket.version,
    )
