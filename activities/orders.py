"""Moving an order, its ticket and its charges from one state to the next, together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from beanie import PydanticObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.results import UpdateResult
from temporalio import activity

from ticketing.clock import to_milliseconds
from ticketing.models import Charge, Order, Ticket
from ticketing.mongodb import BSONDocument
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus

T = TypeVar("T")


@dataclass(frozen=True)
class BeginPayment:
    """A submitted payment that is about to be authorized."""

    order_id: str
    charge_id: str
    attempt: int
    amount: int
    """In the currency's minor unit."""
    currency: str
    at: datetime


@dataclass(frozen=True)
class FailedCharge:
    """An attempt that ended without money, and why."""

    charge_id: str
    failure_code: str


@dataclass(frozen=True)
class FailPayment:
    """A failed attempt after which the order still has another one."""

    order_id: str
    failed_charge: FailedCharge


@dataclass(frozen=True)
class CompleteOrder:
    """A captured payment that makes the ticket the buyer's."""

    order_id: str
    ticket_id: str
    charge_id: str
    at: datetime


@dataclass(frozen=True)
class CancelOrder:
    """The end of an order that was not paid."""

    order_id: str
    ticket_id: str
    reason: CancelReason
    at: datetime
    failed_charge: FailedCharge | None = None


class TicketNotHeld(Exception):
    """A paid order does not hold its ticket: somebody changed the data by hand."""


class OrderActivities:
    """Each method is one transaction, so a reader never sees half of a step.

    Each is safe to run twice, even long after and beside its successors, for one reason: a
    charge is made once and failed once, an order is closed once, and every step begins with
    the write that can happen only once.
    """

    def __init__(self, mongo: AsyncMongoClient[BSONDocument]) -> None:
        self._mongo = mongo

    @activity.defn
    async def begin_payment(self, input: BeginPayment) -> None:
        """Record the attempt and take the order to `awaiting_payment`."""

        async def begin(session: AsyncClientSession) -> None:
            order_id = PydanticObjectId(input.order_id)
            charge_id = PydanticObjectId(input.charge_id)
            if await Charge.get(charge_id, session=session) is not None:
                return
            await Charge(
                id=charge_id,
                order_id=order_id,
                attempt=input.attempt,
                status=ChargeStatus.CREATED,
                amount=input.amount,
                currency=input.currency,
                created_at=to_milliseconds(input.at),
            ).insert(session=session)
            await Order.find_one(
                {"_id": order_id, "status": OrderStatus.CREATED}, session=session
            ).update({"$set": {"status": OrderStatus.AWAITING_PAYMENT}})

        await self._in_transaction(begin)

    @activity.defn
    async def fail_payment(self, input: FailPayment) -> None:
        """Record why the attempt failed and let the order wait for the next one."""

        async def fail(session: AsyncClientSession) -> None:
            if not await _fail_charge(input.failed_charge, session):
                return
            await Order.find_one({"_id": PydanticObjectId(input.order_id)}, session=session).update(
                {"$set": {"status": OrderStatus.CREATED}}
            )

        await self._in_transaction(fail)

    @activity.defn
    async def complete_order(self, input: CompleteOrder) -> None:
        """Sell the ticket to the order that holds it; its charge and itself are completed.

        Raises:
            TicketNotHeld: retried until somebody has looked, since the money has moved.
        """

        async def complete(session: AsyncClientSession) -> None:
            order_id = PydanticObjectId(input.order_id)
            at = to_milliseconds(input.at)
            held = {"_id": PydanticObjectId(input.ticket_id), "order_id": order_id}
            await Ticket.find_one({**held, "sold_at": None}, session=session).update(
                {"$set": {"sold_at": at, "updated_at": at}}
            )
            if await Ticket.find_one(held, session=session) is None:
                raise TicketNotHeld(f"order {order_id} is paid but does not hold its ticket")
            await Charge.find_one(
                {"_id": PydanticObjectId(input.charge_id), "status": ChargeStatus.CREATED},
                session=session,
            ).update({"$set": {"status": ChargeStatus.COMPLETED, "client_secret": None}})
            await Order.find_one(
                {"_id": order_id, "status": OrderStatus.AWAITING_PAYMENT}, session=session
            ).update({"$set": {"status": OrderStatus.COMPLETED, "completed_at": at}})

        await self._in_transaction(complete)

    @activity.defn
    async def cancel_order(self, input: CancelOrder) -> None:
        """Cancel the order and release its ticket.

        Also right where the reservation may or may not have happened: what does not exist
        is not changed.
        """

        async def cancel(session: AsyncClientSession) -> None:
            order_id = PydanticObjectId(input.order_id)
            at = to_milliseconds(input.at)
            if input.failed_charge is not None:
                await _fail_charge(input.failed_charge, session)
            await Order.find_one(
                {
                    "_id": order_id,
                    "status": {"$in": [OrderStatus.CREATED, OrderStatus.AWAITING_PAYMENT]},
                },
                session=session,
            ).update(
                {
                    "$set": {
                        "status": OrderStatus.CANCELLED,
                        "cancel_reason": input.reason,
                        "cancelled_at": at,
                    }
                }
            )
            await Ticket.find_one(
                {
                    "_id": PydanticObjectId(input.ticket_id),
                    "order_id": order_id,
                    "sold_at": None,
                },
                session=session,
            ).update({"$set": {"order_id": None, "updated_at": at}})

        await self._in_transaction(cancel)

    async def _in_transaction(self, step: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
        async with self._mongo.start_session() as session:
            return await session.with_transaction(step)


async def _fail_charge(failed: FailedCharge, session: AsyncClientSession) -> bool:
    """Whether this call failed the charge, rather than an earlier run of the same step."""
    result = await Charge.find_one(
        {"_id": PydanticObjectId(failed.charge_id), "status": ChargeStatus.CREATED},
        session=session,
    ).update(
        {
            "$set": {
                "status": ChargeStatus.FAILED,
                "failure_code": failed.failure_code,
                "client_secret": None,
            }
        }
    )
    return isinstance(result, UpdateResult) and result.modified_count == 1
