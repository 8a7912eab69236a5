"""Refunding a completed order, and relisting or withdrawing its ticket."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from beanie import PydanticObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from temporalio import activity

from ticketing.clock import to_milliseconds
from ticketing.models import Charge, Order, Ticket, append_to_timeline, timeline_entry
from ticketing.mongodb import BSONDocument, has_matched, in_transaction
from ticketing.observability.metrics import OrderMetrics
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.intents import PaymentRefused
from ticketing.payments.refunds import IntentRefunds, RefundStatus
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus, TimelineCode

BALANCE_INSUFFICIENT = "balance_insufficient"
"""Stripe's code for a refund that is possible later."""


MAX_TIMELINE_ENTRIES = 200
"""After this many entries, a timeline gets no more for refunds that fail.

Each request for one adds two, and a document of 16 MB could not even be cancelled any more.
"""


class RefundOutcome(StrEnum):
    """What Stripe says of giving a payment back."""

    REFUNDED = "refunded"
    """All of it has gone back."""
    PENDING = "pending"
    """All of it is on its way; Stripe or the bank is still at it."""
    BALANCE_SHORT = "balance_short"
    """Nothing was done: the account holds less than is to be given back."""
    NOT_REFUNDED = "not_refunded"
    """Some of it, or all, is still ours."""
    REFUSED = "refused"
    """Nothing was done, and asking again would get the same."""


@dataclass(frozen=True)
class RefundState:
    """What Stripe answered."""

    outcome: RefundOutcome
    refund_id: str | None = None
    """The newest refund that counts."""
    refunded_at: datetime | None = None
    """When that one was made."""
    refunded: int = 0
    """On its way back or there, in the currency's minor unit."""
    reason: str | None = None
    """Stripe's code for what keeps it from being done."""


@dataclass(frozen=True)
class OrderPayment:
    """The status of a closed order, and its payment."""

    order_status: OrderStatus
    ticket_id: str
    intent_id: str | None = None
    """The captured payment intent; absent where nothing was paid."""
    refund_id: str | None = None
    """Present once the refund is recorded."""


@dataclass(frozen=True)
class RefundPayment:
    """A request to refund whatever is left of an order's payment."""

    order_id: str
    intent_id: str


@dataclass(frozen=True)
class AddTimelineEntry:
    """A timeline entry of a completed order."""

    order_id: str
    code: TimelineCode
    at: datetime
    reason: str | None = None


@dataclass(frozen=True)
class RecordRefund:
    """A refund that Stripe has made."""

    order_id: str
    ticket_id: str
    refund_id: str
    relist: bool
    """Whether the ticket goes back on sale; else it is withdrawn."""
    at: datetime


class OrderStillOpen(Exception):
    """Its own workflow is about to close the order; retried until it has."""


def refund_key(order_id: str) -> str:
    """The idempotency key under which an order's refund is asked for first."""
    return f"order:{order_id}:refund"


class RefundActivities:
    """Every method may run twice, also long after the ticket was sold to somebody else."""

    def __init__(
        self,
        mongo: AsyncMongoClient[BSONDocument],
        gateway: StripeGateway,
        order_metrics: OrderMetrics | None = None,
    ) -> None:
        self._mongo = mongo
        self._gateway = gateway
        self._order_metrics = order_metrics or OrderMetrics()

    @activity.defn
    async def find_payment(self, order_id: str) -> OrderPayment:
        """Find what paid for the order. Safe to run twice: it only reads.

        Raises:
            OrderStillOpen: retried, since a payment is captured a moment before its order is
                completed, and news of a refund may come in between.
        """
        order = await Order.get(PydanticObjectId(order_id))
        if order is None:  # somebody deleted it by hand
            return OrderPayment(order_status=OrderStatus.CANCELLED, ticket_id="")
        if not order.status.is_closed:
            raise OrderStillOpen(f"order {order_id} is {order.status}")
        charge = await Charge.find_one({"order_id": order.id, "status": ChargeStatus.COMPLETED})
        return OrderPayment(
            order_status=order.status,
            ticket_id=str(order.ticket_id),
            intent_id=charge.stripe_id if charge else None,
            refund_id=charge.stripe_refund_id if charge else None,
        )

    @activity.defn
    async def refund_payment(self, input: RefundPayment) -> RefundState:
        """Give back what is left of the payment.

        Safe to run twice: the gateway looks before it asks, Stripe gives nothing back beyond
        what it captured, and the keys are the same at each try of this step.
        """
        step = activity.info()
        key = refund_key(input.order_id)
        try:
            refunds = await self._gateway.refund(
                input.intent_id,
                idempotency_key=key,
                later_key=f"{key}:{step.workflow_run_id}:{step.activity_id}",
            )
        except PaymentRefused as refused:
            short = refused.code == BALANCE_INSUFFICIENT
            outcome = RefundOutcome.BALANCE_SHORT if short else RefundOutcome.REFUSED
            return RefundState(outcome, reason=refused.code)
        state = _state_of(refunds)
        if state.outcome is RefundOutcome.NOT_REFUNDED:
            return replace(state, outcome=RefundOutcome.REFUSED)  # it failed as soon as made
        return state

    @activity.defn
    async def read_refunds(self, intent_id: str) -> RefundState:
        """Ask Stripe what of the payment went back. Safe to run twice: it only reads."""
        return _state_of(await self._gateway.refunds_of(intent_id))

    @activity.defn(name="tell_order")
    async def add_timeline_entry(self, input: AddTimelineEntry) -> None:
        """Add an entry to the order's timeline, unless that is very long.

        Safe to run twice: an entry with the same code and instant is not added again.
        """
        same = {"code": input.code, "at": to_milliseconds(input.at)}
        await Order.find_one(
            {
                "_id": PydanticObjectId(input.order_id),
                "timeline": {"$not": {"$elemMatch": same}},
                f"timeline.{MAX_TIMELINE_ENTRIES - 1}": {"$exists": False},
            }
        ).update(append_to_timeline(timeline_entry(input.code, input.at, reason=input.reason)))

    @activity.defn
    async def record_refund(self, input: RecordRefund) -> None:
        """Cancel the completed order, and put its ticket on sale again or withdraw it.

        Safe to run twice: it begins with the write that can happen only once, completed to
        cancelled, and touches the ticket only while this order holds it.
        """

        async def record(session: AsyncClientSession) -> bool:
            order_id = PydanticObjectId(input.order_id)
            at = to_milliseconds(input.at)
            end = timeline_entry(TimelineCode.ORDER_CANCELLED, at, reason=CancelReason.REFUNDED)
            cancelled = await Order.find_one(
                {"_id": order_id, "status": OrderStatus.COMPLETED}, session=session
            ).update(
                {
                    "$set": {
                        "status": OrderStatus.CANCELLED,
                        "cancel_reason": CancelReason.REFUNDED,
                        "cancelled_at": at,
                    },
                    **append_to_timeline(end),
                }
            )
            if not has_matched(cancelled):
                return False
            await Charge.find_one(
                {"order_id": order_id, "status": ChargeStatus.COMPLETED}, session=session
            ).update({"$set": {"stripe_refund_id": input.refund_id}})
            await _relist_or_withdraw(input, at, session)
            return True

        if await in_transaction(self._mongo, record):
            self._order_metrics.cancelled(CancelReason.REFUNDED)


async def _relist_or_withdraw(
    input: RecordRefund, at: datetime, session: AsyncClientSession
) -> None:
    sold_to_it = {
        "_id": PydanticObjectId(input.ticket_id),
        "order_id": PydanticObjectId(input.order_id),
        "sold_at": {"$ne": None},
    }
    if input.relist:
        await Ticket.find_one(sold_to_it, session=session).update(
            {"$set": {"order_id": None, "sold_at": None, "updated_at": at}}
        )
    else:
        await Ticket.get_pymongo_collection().delete_one(sold_to_it, session=session)


def _state_of(refunds: IntentRefunds) -> RefundState:
    counting = [refund for refund in refunds.refunds if refund.is_effective]
    if refunds.left or not counting:
        given_up = next((refund for refund in refunds.refunds if not refund.is_effective), None)
        return RefundState(
            RefundOutcome.NOT_REFUNDED,
            refunded_at=counting[0].created_at if counting else None,
            refunded=refunds.captured - refunds.left,
            reason=given_up.reason or given_up.status if given_up else None,
        )
    waiting = [refund for refund in counting if refund.status is not RefundStatus.SUCCEEDED]
    return RefundState(
        RefundOutcome.PENDING if waiting else RefundOutcome.REFUNDED,
        refund_id=counting[0].id,
        refunded_at=counting[0].created_at,
        refunded=refunds.captured,
        reason=waiting[0].reason or waiting[0].status if waiting else None,
    )
