"""The repairs: each is safe to run twice, and while a workflow runs."""

from collections.abc import Iterable

from beanie import PydanticObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession

from activities.orders import (
    CancelOrder,
    CompleteOrder,
    FailedCharge,
    OrderActivities,
    TicketNotHeld,
    release_ticket,
)
from activities.refunds import RecordRefund, RefundActivities, RefundOutcome
from ticketing.clock import utc_now
from ticketing.invariants import (
    CANCELLABLE_STATUSES,
    ChargeFacts,
    OrderFacts,
    OrderStateSnapshot,
    TicketFacts,
)
from ticketing.models import Charge, Order
from ticketing.mongodb import BSONDocument, in_transaction
from ticketing.observability.metrics import OrderMetrics
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.intents import PaymentIntent, PaymentRefused
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus


class Repairs:
    """Each method returns whether the violation is repaired.

    None is called for an order whose workflow runs, and none harms one that an operator has just
    restarted: an order is closed only by a write that expects the state in the snapshot, and
    Stripe either captures an intent or cancels it, never both.
    """

    def __init__(
        self,
        mongo: AsyncMongoClient[BSONDocument],
        gateway: StripeGateway,
        order_metrics: OrderMetrics | None = None,
    ) -> None:
        self._mongo = mongo
        self._gateway = gateway
        self._orders = OrderActivities(mongo, order_metrics)
        self._refunds = RefundActivities(mongo, gateway, order_metrics)

    async def release(self, ticket: TicketFacts) -> bool:
        """Release a ticket that is locked by an order which will never sell it.

        Safe to run twice, and late: an order that is cancelled or gone never holds a ticket
        again, and a lock that names another order by now is left alone.
        """
        ticket_id, order_id = PydanticObjectId(ticket.id), PydanticObjectId(ticket.order_id)

        async def release(session: AsyncClientSession) -> bool:
            order = await Order.get(order_id, session=session)
            if order is not None and order.status is not OrderStatus.CANCELLED:
                return False
            await release_ticket(ticket_id, order_id, session)
            return True

        return await in_transaction(self._mongo, release)

    async def cancel_intent(self, intent_id: str) -> PaymentIntent:
        """Cancel an intent at Stripe; returns it as it is then, also where Stripe refuses.

        Safe to run twice: a canceled intent stays canceled, and a captured one captured.
        """
        try:
            return await self._gateway.cancel(
                intent_id, idempotency_key=f"intent:{intent_id}:reconciliation:cancel"
            )
        except PaymentRefused:
            return await self._gateway.read(intent_id)

    async def close_order(self, snapshot: OrderStateSnapshot) -> bool:
        """Close an open order that has no workflow: completed if it was paid, else cancelled.

        Its intents are cancelled first, so that nothing can be paid for a cancelled order. While
        a capture is under way, the order stays open until Stripe has ended the intent. Safe to
        run twice: the second run finds the intents ended and the order closed.
        """
        assert snapshot.order is not None  # noqa: S101 - it is open
        intents = [await self._cancel_if_open(intent) for intent in snapshot.intents or ()]
        captured = [intent for intent in intents if intent.amount_kept]
        if captured:
            return await self._complete(snapshot, snapshot.order, captured)
        ended = {intent.id for intent in intents if intent.is_ended}
        if len(ended) < len(intents):
            return False
        return await self._cancel(snapshot, snapshot.order, ended)

    async def record_refund(self, order: OrderFacts, intent_id: str) -> bool:
        """Cancel a completed order whose money has gone back, and withdraw its ticket.

        The seller did not request the refund here, so did not ask to relist the ticket. Safe to
        run twice, and while a refund starts: an order is recorded as refunded once.
        """
        state = await self._refunds.read_refunds(intent_id)
        if state.outcome is not RefundOutcome.REFUNDED or state.refund_id is None:
            return False
        await self._refunds.record_refund(
            RecordRefund(
                order_id=order.id,
                ticket_id=order.ticket_id,
                refund_id=state.refund_id,
                relist=False,
                at=utc_now(),
            )
        )
        return True

    async def _cancel_if_open(self, intent: PaymentIntent) -> PaymentIntent:
        return (
            await self.cancel_intent(intent.id) if intent.status in CANCELLABLE_STATUSES else intent
        )

    async def _complete(
        self, snapshot: OrderStateSnapshot, order: OrderFacts, captured: list[PaymentIntent]
    ) -> bool:
        """Complete the order that the captured intent has paid for."""
        charges = _undecided(snapshot.charges)
        paid = [(intent.amount_received, intent.currency) for intent in captured]
        if len(charges) != 1 or paid != [(order.price, order.currency)]:
            return False
        (charge,) = charges
        if charge.intent_id not in (None, captured[0].id):
            return False
        await Charge.find_one(
            {"_id": PydanticObjectId(charge.id), "status": ChargeStatus.CREATED}
        ).update({"$set": {"stripe_id": captured[0].id}})
        request = CompleteOrder(
            order_id=order.id, ticket_id=order.ticket_id, charge_id=charge.id, at=utc_now()
        )
        try:
            await self._orders.complete_order(request)
        except TicketNotHeld:
            return False
        return True

    async def _cancel(
        self, snapshot: OrderStateSnapshot, order: OrderFacts, ended: set[str]
    ) -> bool:
        charges = _undecided(snapshot.charges)
        if len(charges) != (order.status is OrderStatus.AWAITING_PAYMENT):
            return False
        now = utc_now()
        reason = CancelReason.CANCELLED_BY_OPERATOR
        if now >= order.expires_at:
            reason = CancelReason.EXPIRED
        failed = [
            FailedCharge(charge.id, reason, charge.intent_id if charge.intent_id in ended else None)
            for charge in charges
        ]
        status = await self._orders.cancel_order(
            CancelOrder(
                order_id=order.id,
                ticket_id=order.ticket_id,
                reason=reason,
                at=now,
                failed_charge=failed[0] if failed else None,
            )
        )
        return status is OrderStatus.CANCELLED


def _undecided(charges: Iterable[ChargeFacts]) -> list[ChargeFacts]:
    return [charge for charge in charges if charge.status is ChargeStatus.CREATED]
