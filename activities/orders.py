"""Moving an order, its ticket and its charges from one state to the next, together."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from beanie import PydanticObjectId, UpdateResponse
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError
from temporalio import activity

from ticketing.clock import to_milliseconds
from ticketing.models import (
    Charge,
    Order,
    Ticket,
    TimelineEntry,
    append_to_timeline,
    timeline_entry,
)
from ticketing.mongodb import BSONDocument, has_matched, in_transaction
from ticketing.observability.metrics import OrderMetrics
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus, TimelineCode


@dataclass(frozen=True)
class BeginPayment:
    """A submitted payment that is about to be authorized."""

    order_id: str
    ticket_id: str
    charge_id: str
    attempt: int
    amount: int
    """In the currency's minor unit."""
    currency: str
    at: datetime
    payment_method: str
    """Stripe's id of what the buyer pays with."""


@dataclass(frozen=True)
class UndecidedPayment:
    """The payment that an order awaits, which a workflow that was reset does not know of."""

    charge_id: str
    attempt: int
    payment_method: str


@dataclass(frozen=True)
class BegunPayment:
    """Whether the attempt is the order's current one, and the order's status."""

    is_begun: bool
    order_status: OrderStatus
    undecided: UndecidedPayment | None = None
    """The attempt that is the current one instead."""
    is_ticket_held: bool = True
    """Without its ticket, at the price to be paid, the order cannot be paid at all."""
    is_new: bool = False
    """Whether it was begun by this very call, so that Stripe cannot have been asked before."""


@dataclass(frozen=True)
class FailedCharge:
    """An attempt that ended without money, and why."""

    charge_id: str
    failure_code: str
    ended_intent_id: str | None = None
    """The intent of the attempt, where Stripe says that nothing can be captured any more."""


@dataclass(frozen=True)
class FailPayment:
    """A failed attempt after which the order still has another one."""

    order_id: str
    failed_charge: FailedCharge
    at: datetime


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
    """A paid order does not hold its ticket: the data was changed by hand."""


class OrderActivities:
    """Each method is one transaction, so a reader never sees half of a step.

    Each is safe to run twice, even long after and beside its successors, for one reason: a
    charge is made once and failed once, an order is closed once, and every step begins with
    the write that can happen only once.
    """

    def __init__(
        self, mongo: AsyncMongoClient[BSONDocument], order_metrics: OrderMetrics | None = None
    ) -> None:
        self._mongo = mongo
        self._order_metrics = order_metrics or OrderMetrics()

    @activity.defn
    async def begin_payment(self, input: BeginPayment) -> BegunPayment:
        """Record the attempt and take the order to `awaiting_payment`, if it may be paid.

        Not begun if the documents say otherwise than the caller: an order that is closed, or
        awaits another payment, must not be charged, even if its workflow was reset. Nor is an
        attempt begun twice, which such a workflow may count anew; its next one is. Nor may an
        order be paid with another order's charge, as a client asks for that sends one
        idempotency key with both.
        """

        async def begin(session: AsyncClientSession) -> bool:
            if not await _set_awaiting_payment(input, session):
                return False
            await Charge(
                id=PydanticObjectId(input.charge_id),
                order_id=PydanticObjectId(input.order_id),
                attempt=input.attempt,
                status=ChargeStatus.CREATED,
                amount=input.amount,
                currency=input.currency,
                payment_method=input.payment_method,
                created_at=to_milliseconds(input.at),
            ).insert(session=session)
            return True

        with suppress(DuplicateKeyError):  # this payment was begun before, or another one with it
            if await in_transaction(self._mongo, begin):
                return BegunPayment(True, OrderStatus.AWAITING_PAYMENT, is_new=True)
        return await in_transaction(self._mongo, partial(_recorded_payment, input))

    @activity.defn
    async def fail_payment(self, input: FailPayment) -> None:
        """Record why the attempt failed and let the order wait for the next one."""

        async def fail(session: AsyncClientSession) -> None:
            failure = await _fail_charge(input.failed_charge, input.at, session)
            if not failure:
                return
            await Order.find_one(
                {
                    "_id": PydanticObjectId(input.order_id),
                    "status": OrderStatus.AWAITING_PAYMENT,
                },
                session=session,
            ).update({"$set": {"status": OrderStatus.CREATED}, **append_to_timeline(*failure)})

        await in_transaction(self._mongo, fail)

    @activity.defn
    async def complete_order(self, input: CompleteOrder) -> OrderStatus:
        """Sell the ticket to the order that holds it; its charge and itself are completed.

        An order that was sold, paid back and given up since stays cancelled, and says so.

        Raises:
            TicketNotHeld: retried until an operator repairs it, since the money has moved.
        """

        async def complete(session: AsyncClientSession) -> tuple[OrderStatus, Order | None]:
            order_id = PydanticObjectId(input.order_id)
            at = to_milliseconds(input.at)
            held = {"_id": PydanticObjectId(input.ticket_id), "order_id": order_id}
            if not await _sell(held, at, session):
                if await _was_refunded(order_id, session):
                    return OrderStatus.CANCELLED, None
                raise TicketNotHeld(f"order {order_id} is paid but does not hold its ticket")
            await Charge.find_one(
                {"_id": PydanticObjectId(input.charge_id), "status": ChargeStatus.CREATED},
                session=session,
            ).update(
                {
                    "$set": {
                        "status": ChargeStatus.COMPLETED,
                        "client_secret": None,
                        "capturing": None,
                    }
                }
            )
            order = await Order.find_one(
                {"_id": order_id, "status": OrderStatus.AWAITING_PAYMENT}, session=session
            ).update(
                {
                    "$set": {"status": OrderStatus.COMPLETED, "completed_at": at},
                    **append_to_timeline(timeline_entry(TimelineCode.ORDER_COMPLETED, at)),
                },
                response_type=UpdateResponse.NEW_DOCUMENT,
            )
            if isinstance(order, Order):
                return OrderStatus.COMPLETED, order
            if await _status_of(order_id, session) is not OrderStatus.COMPLETED:
                raise TicketNotHeld(f"order {order_id} is paid but was closed without it")
            return OrderStatus.COMPLETED, None

        status, completed = await in_transaction(self._mongo, complete)
        if completed is not None:
            self._order_metrics.completed(paid_after=input.at - completed.created_at)
        return status

    @activity.defn
    async def cancel_order(self, input: CancelOrder) -> OrderStatus:
        """Cancel the order and release its ticket; returns the order's status then.

        Cancels an order only in the state that the caller saw: unpaid, or with the payment that
        has failed. An order that was completed stays completed, and says so, and one for which a
        capture is under way stays as it is until Stripe has ended the intent.
        """

        async def cancel(session: AsyncClientSession) -> tuple[OrderStatus, bool]:
            order_id = PydanticObjectId(input.order_id)
            failed = input.failed_charge
            if failed and (failure := await _fail_charge(failed, input.at, session)):
                is_new = await _close(input, OrderStatus.AWAITING_PAYMENT, failure, session)
            else:
                # A charge that was failed before leaves the order unpaid, as a task that was
                # lost may have; unless another payment is under way by now.
                is_new = await _close(input, OrderStatus.CREATED, [], session)
            status = OrderStatus.CANCELLED if is_new else await _status_of(order_id, session)
            if status is OrderStatus.CANCELLED:
                await release_ticket(PydanticObjectId(input.ticket_id), order_id, session)
            return status, is_new

        status, is_new = await in_transaction(self._mongo, cancel)
        if is_new:
            self._order_metrics.cancelled(input.reason)
        return status


async def _sell(held: Mapping[str, object], at: datetime, session: AsyncClientSession) -> bool:
    """Sell the ticket that is held; whether it is held, and sold by now or before."""
    sold = await Ticket.find_one({**held, "sold_at": None}, session=session).update(
        {"$set": {"sold_at": at, "updated_at": at}}
    )
    return has_matched(sold) or await Ticket.find_one(held, session=session) is not None


async def _close(
    input: CancelOrder,
    seen: OrderStatus,
    failure: list[TimelineEntry],
    session: AsyncClientSession,
) -> bool:
    """Cancel the order, if it is still in the state that was seen; whether it was."""
    at = to_milliseconds(input.at)
    end = timeline_entry(TimelineCode.ORDER_CANCELLED, at, reason=input.reason)
    result = await Order.find_one(
        {"_id": PydanticObjectId(input.order_id), "status": seen}, session=session
    ).update(
        {
            "$set": {
                "status": OrderStatus.CANCELLED,
                "cancel_reason": input.reason,
                "cancelled_at": at,
            },
            **append_to_timeline(*failure, end),
        }
    )
    return has_matched(result)


async def _fail_charge(
    failed: FailedCharge, at: datetime, session: AsyncClientSession
) -> list[TimelineEntry]:
    """Fail the charge; returns its timeline entry, or none if it is failed or may yet be paid."""
    charge = await Charge.find_one(
        {
            "_id": PydanticObjectId(failed.charge_id),
            "status": ChargeStatus.CREATED,
            "capturing": {"$in": [None, failed.ended_intent_id]},
        },
        session=session,
    ).update(
        {
            "$set": {
                "status": ChargeStatus.FAILED,
                "failure_code": failed.failure_code,
                "client_secret": None,
                "capturing": None,
            }
        },
        response_type=UpdateResponse.NEW_DOCUMENT,
    )
    if not isinstance(charge, Charge):
        return []
    code, reason = TimelineCode.PAYMENT_FAILED, failed.failure_code
    return [timeline_entry(code, at, attempt=charge.attempt, reason=reason)]


async def _recorded_payment(input: BeginPayment, session: AsyncClientSession) -> BegunPayment:
    """What the documents say of a payment that cannot be begun now."""
    order_id = PydanticObjectId(input.order_id)
    charge = await _charge_of_attempt(input, session)
    return BegunPayment(
        charge is not None and is_begun(charge, input),
        await _status_of(order_id, session),
        undecided=await _undecided_payment(order_id, session),
        is_ticket_held=await _holds_ticket(input, session)
        and await Order.find_one(_at_price(input), session=session) is not None,
    )


def _at_price(input: BeginPayment) -> dict[str, object]:
    return {
        "_id": PydanticObjectId(input.order_id),
        "ticket.price": input.amount,
        "ticket.currency": input.currency,
    }


async def _charge_of_attempt(input: BeginPayment, session: AsyncClientSession) -> Charge | None:
    """The charge of this payment, or else the one that has taken its attempt."""
    charge_id = PydanticObjectId(input.charge_id)
    attempt = {"order_id": PydanticObjectId(input.order_id), "attempt": input.attempt}
    found = await Charge.find({"$or": [{"_id": charge_id}, attempt]}, session=session).to_list()
    return min(found, key=lambda charge: charge.id != charge_id, default=None)


def is_begun(charge: Charge, input: BeginPayment) -> bool:
    """Whether the charge is this very payment, and undecided."""
    is_this = (str(charge.id), str(charge.order_id)) == (input.charge_id, input.order_id)
    return is_this and charge.status is ChargeStatus.CREATED


async def _set_awaiting_payment(input: BeginPayment, session: AsyncClientSession) -> bool:
    """Take an unpaid order of this price to `awaiting_payment`.

    An unpaid order holds its ticket, unless somebody has taken it by hand. Then nothing is
    captured (`PaymentFence.before_capture`).
    """
    result = await Order.find_one(
        {**_at_price(input), "status": OrderStatus.CREATED}, session=session
    ).update(
        {
            "$set": {"status": OrderStatus.AWAITING_PAYMENT},
            **append_to_timeline(
                timeline_entry(TimelineCode.PAYMENT_SUBMITTED, input.at, attempt=input.attempt)
            ),
        }
    )
    return has_matched(result)


async def _holds_ticket(input: BeginPayment, session: AsyncClientSession) -> bool:
    held = {
        "_id": PydanticObjectId(input.ticket_id),
        "order_id": PydanticObjectId(input.order_id),
        "sold_at": None,
    }
    return await Ticket.find_one(held, session=session) is not None


async def _undecided_payment(
    order_id: PydanticObjectId, session: AsyncClientSession
) -> UndecidedPayment | None:
    """The payment that is under way for the order, if it awaits one."""
    order = await Order.get(order_id, session=session)
    if order is None or order.status is not OrderStatus.AWAITING_PAYMENT:
        return None
    charge = await Charge.find_one(
        {"order_id": order_id, "status": ChargeStatus.CREATED}, session=session
    )
    if charge is None:
        return None
    return UndecidedPayment(str(charge.id), charge.attempt, charge.payment_method or "")


async def _status_of(order_id: PydanticObjectId, session: AsyncClientSession) -> OrderStatus:
    """The order's status; one that was deleted by hand counts as cancelled."""
    order = await Order.get(order_id, session=session)
    return OrderStatus.CANCELLED if order is None else order.status


async def _was_refunded(order_id: PydanticObjectId, session: AsyncClientSession) -> bool:
    refunded = {"_id": order_id, "cancel_reason": CancelReason.REFUNDED}
    return await Order.find_one(refunded, session=session) is not None


async def release_ticket(
    ticket_id: PydanticObjectId, order_id: PydanticObjectId, session: AsyncClientSession
) -> None:
    """Unlock the ticket if the order still holds it, unsold."""
    await Ticket.find_one(
        {"_id": ticket_id, "order_id": order_id, "sold_at": None}, session=session
    ).update({"$set": {"order_id": None}})
