"""Stripe's webhook events, signalled to the workflows that they concern."""

import logging
from contextlib import suppress

from beanie import PydanticObjectId
from pymongo.errors import DuplicateKeyError

from api.temporal.errors import WorkflowAlreadyStarted
from api.temporal.orders import OrderWorkflowClient
from api.temporal.refunds import RefundWorkflowClient
from ticketing.clock import utc_now
from ticketing.models import Charge, Order, StripeEvent
from ticketing.observability.logs import bind_order_id
from ticketing.payments.webhooks import REFUND_FAILED, IntentEvent, RefundEvent, WebhookEvent
from ticketing.statuses import ChargeStatus

logger = logging.getLogger(__name__)


class StripeWebhookService:
    """Signals that something changed at Stripe; the workflow then reads Stripe's state itself."""

    def __init__(self, orders: OrderWorkflowClient, refunds: RefundWorkflowClient) -> None:
        self._orders = orders
        self._refunds = refunds

    async def take(self, event: WebhookEvent) -> None:
        """Signal the event once; a repeated, late or reordered event changes nothing.

        An event of a payment's own request tells no more than its answer, so it costs no read.
        Any other event that no order waits for is ignored as well, and neither is stored.
        """
        if isinstance(event, IntentEvent):
            bind_order_id(event.order_id)
            if event.is_of_own_request or not await _is_authentication_pending(event):
                return
        if await StripeEvent.get(event.id) is not None:
            return
        # Signal first: a crash in between makes Stripe deliver again, and a second signal
        # changes nothing, while an event marked as seen but never signalled is lost.
        await self._signal(event)
        await self._mark_seen(event)

    async def _signal(self, event: WebhookEvent) -> None:
        match event:
            case IntentEvent():
                await self._orders.notify_intent(PydanticObjectId(event.order_id), event.intent_id)
            case RefundEvent():
                await self._notify_refund(event)

    async def _notify_refund(self, event: RefundEvent) -> None:
        """Signal the order's refund workflow; start it if the refund was made at Stripe itself."""
        charge = await Charge.find_one({"stripe_id": event.intent_id})
        if charge is None or charge.status is ChargeStatus.FAILED:
            return  # not one of our charges, or a cancelled authorization
        bind_order_id(charge.order_id)
        if charge.stripe_refund_id is not None:
            _report_late_failure(event, charge)
            return
        order = await Order.get(charge.order_id)
        if order is None:
            return
        with suppress(WorkflowAlreadyStarted):  # the refund was recorded meanwhile
            await self._refunds.notify(order, event.intent_id)

    async def _mark_seen(self, event: WebhookEvent) -> None:
        seen = StripeEvent(
            id=event.id,
            type=event.type,
            payment_intent_id=event.intent_id,
            received_at=utc_now(),
        )
        try:
            await seen.insert()
        except DuplicateKeyError:
            return  # delivered twice concurrently


async def _is_authentication_pending(event: IntentEvent) -> bool:
    """Whether the order waits for its buyer's authentication at the bank.

    The buyer cannot authenticate without the client secret, which is stored before it is shown. So
    an event without a stored secret tells nothing that the API response does not tell the workflow.
    """
    waiting = {
        "stripe_id": event.intent_id,
        "order_id": PydanticObjectId(event.order_id),
        "status": ChargeStatus.CREATED,
        "client_secret": {"$ne": None},
    }
    return await Charge.get_pymongo_collection().find_one(waiting, {"_id": 1}) is not None


def _report_late_failure(event: RefundEvent, charge: Charge) -> None:
    """Log that a recorded refund failed afterwards; only an operator can resolve that."""
    if event.type == REFUND_FAILED:
        logger.error(
            "refund %s of order %s failed after it was recorded: the money is ours again",
            charge.stripe_refund_id,
            charge.order_id,
        )
