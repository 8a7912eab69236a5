"""Holding a ticket for an order."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from beanie import PydanticObjectId, UpdateResponse
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.results import UpdateResult
from temporalio import activity

from activities.orders import release_ticket
from ticketing.clock import to_milliseconds
from ticketing.models import Buyer, Order, Ticket, TicketSnapshot, TimelineEntry
from ticketing.mongodb import BSONDocument, in_transaction
from ticketing.statuses import UNPAID_STATUSES, CancelReason, OrderStatus, TimelineCode


@dataclass(frozen=True)
class ReserveTicket:
    """One order's wish to hold one ticket."""

    order_id: str
    ticket_id: str
    buyer_id: str
    reserved_at: datetime
    expires_at: datetime
    max_reservations: int | None = None
    """How many unpaid tickets the buyer may hold; orders of before this was limited have none."""


class Refusal(StrEnum):
    """Why a ticket could not be reserved; the API's problem codes."""

    TICKET_NOT_FOUND = "ticket_not_found"
    TICKET_RESERVED = "ticket_reserved"
    TICKET_SOLD = "ticket_sold"
    OWN_TICKET = "own_ticket"
    TOO_MANY_RESERVATIONS = "too_many_reservations"
    UNAVAILABLE = "unavailable"
    """It was not done in time; the buyer has been told to try again."""


@dataclass(frozen=True)
class Reservation:
    """The answer: a price that stands while the ticket is held, or the reason for a refusal."""

    refusal: Refusal | None = None
    price: int = 0
    """In the currency's minor unit."""
    currency: str = ""
    ticket_version: int | None = None
    """Of the ticket that the order keeps a copy of; workers of before this was told do not."""
    reserved_at: datetime | None = None
    expires_at: datetime | None = None
    """As the order's document has them; the workflow adds them to what it answers."""


class _UnknownBuyer(Exception):
    """The buyer has never reserved anything, and has no document to take turns on."""


class ReservationActivities:
    """The ticket's lock."""

    def __init__(self, mongo: AsyncMongoClient[BSONDocument]) -> None:
        self._mongo = mongo

    @activity.defn
    async def reserve_ticket(self, input: ReserveTicket) -> Reservation:
        """Reserve the ticket for the order, or say why not.

        Safe to run twice: the lock on the ticket *is* the order's id and is set in the same
        transaction as the order is written, so a second run finds both and changes nothing.
        The limit is looked at after the lock, so it refuses neither a second run nor a buyer
        who holds the ticket already.
        """

        async def reserve(session: AsyncClientSession) -> Reservation:
            return await _reserve(input, session)

        try:
            return await in_transaction(self._mongo, reserve)
        except _UnknownBuyer:
            await _make_known(PydanticObjectId(input.buyer_id))
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


async def _reserve(input: ReserveTicket, session: AsyncClientSession) -> Reservation:
    order_id = PydanticObjectId(input.order_id)
    ticket_id = PydanticObjectId(input.ticket_id)
    buyer_id = PydanticObjectId(input.buyer_id)

    if input.max_reservations is not None:
        await _take_turn(buyer_id, session)
    # The filter is the rule: whoever gets here second matches nothing.
    ticket = await Ticket.find_one(
        {"_id": ticket_id, "order_id": None, "user_id": {"$ne": buyer_id}}, session=session
    ).update({"$set": {"order_id": order_id}}, response_type=UpdateResponse.NEW_DOCUMENT)
    if not isinstance(ticket, Ticket):
        return await _reservation_or_refusal(ticket_id, order_id, session)
    most = input.max_reservations
    if most is not None and await holds_too_many(buyer_id, most, session):
        await release_ticket(ticket_id, order_id, session)
        return Reservation(refusal=Refusal.TOO_MANY_RESERVATIONS)

    order = order_for(input, ticket)
    order.timeline.append(TimelineEntry(at=order.created_at, code=TimelineCode.TICKET_RESERVED))
    await order.insert(session=session)
    return _reservation_of(ticket)


async def holds_too_many(
    buyer_id: PydanticObjectId, most: int, session: AsyncClientSession | None = None
) -> bool:
    """Whether the buyer holds as many unpaid tickets as one may."""
    unpaid = {"user_id": buyer_id, "status": {"$in": UNPAID_STATUSES}}
    orders = Order.get_pymongo_collection()
    # A find, since a count is an aggregation to MongoDB, and takes half as long again.
    held = await orders.find(unpaid, {"_id": 1}, limit=most, session=session).to_list()
    return len(held) >= most


async def _make_known(buyer_id: PydanticObjectId) -> None:
    """Write the document of a buyer who reserves for the first time.

    Outside the transaction: in it, one of two first reservations would fail on the key that the
    other one has just inserted.
    """
    await Buyer.get_pymongo_collection().update_one(
        {"_id": buyer_id}, {"$setOnInsert": {"turns": 0}}, upsert=True
    )


async def _take_turn(buyer_id: PydanticObjectId, session: AsyncClientSession) -> None:
    """Conflict with every other reservation of the buyer that is under way."""
    turn = await Buyer.find_one({"_id": buyer_id}, session=session).update({"$inc": {"turns": 1}})
    if not (isinstance(turn, UpdateResult) and turn.matched_count):
        raise _UnknownBuyer


async def _abandon(input: ReserveTicket, session: AsyncClientSession) -> None:
    order_id = PydanticObjectId(input.order_id)
    ticket = await Ticket.get(PydanticObjectId(input.ticket_id), session=session)
    if ticket is None or ticket.id is None:
        return
    order = await Order.get(order_id, session=session) or order_for(input, ticket)
    if order.status is not OrderStatus.CREATED:
        return  # Cancelled before, or paid for: then it is no reservation any more.
    at, reason = to_milliseconds(input.reserved_at), CancelReason.EXPIRED
    order.status, order.cancel_reason, order.cancelled_at = OrderStatus.CANCELLED, reason, at
    order.timeline.append(TimelineEntry(at=at, code=TimelineCode.ORDER_CANCELLED, reason=reason))
    await order.save(session=session)
    await release_ticket(ticket.id, order_id, session)


def order_for(input: ReserveTicket, ticket: Ticket) -> Order:
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


async def _reservation_or_refusal(
    ticket_id: PydanticObjectId, order_id: PydanticObjectId, session: AsyncClientSession
) -> Reservation:
    ticket = await Ticket.get(ticket_id, session=session)
    if ticket is None:
        return Reservation(refusal=Refusal.TICKET_NOT_FOUND)
    if ticket.order_id == order_id:
        return _reservation_of(ticket)
    if ticket.sold_at is not None:
        return Reservation(refusal=Refusal.TICKET_SOLD)
    if ticket.order_id is not None:
        return Reservation(refusal=Refusal.TICKET_RESERVED)
    return Reservation(refusal=Refusal.OWN_TICKET)


def _reservation_of(ticket: Ticket) -> Reservation:
    return Reservation(price=ticket.price, currency=ticket.currency, ticket_version=ticket.version)
