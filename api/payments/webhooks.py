"""Stripe's news, handed to the workflows that they concern."""

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
    """Tells a workflow that there is news at Stripe; the workflow asks which."""

    def __init__(self, orders: OrderWorkflowClient, refunds: RefundWorkflowClient) -> None:
        self._orders = orders
        self._refunds = refunds

    async def take(self, event: WebhookEvent) -> None:
        """Hand the event over once; a repeated, late or reordered one changes nothing.

        Of most payments Stripe's answer has told everything by the time its events come: nobody
        waits for these, and nothing is kept of them.
        """
        if isinstance(event, IntentEvent):
            bind_order_id(event.order_id)
        if isinstance(event, IntentEvent) and not await _is_authentication_pending(event):
            return
        if await StripeEvent.get(event.id) is not None:
            return
        # Signal first: a crash in between makes Stripe deliver again, and a second signal
        # changes nothing, while an event marked as seen but never signalled is lost.
        await self._signal(event)
        await self._remember(event)

    async def _signal(self, event: WebhookEvent) -> None:
        match event:
            case IntentEvent():
                await self._orders.notify_intent(PydanticObjectId(event.order_id), event.intent_id)
            case RefundEvent():
                await self._notify_refund(event)

    async def _notify_refund(self, event: RefundEvent) -> None:
        """Tell the order's refund, and start it where the refund was made at Stripe itself."""
        charge = await Charge.find_one({"stripe_id": event.intent_id})
        if charge is None or charge.status is ChargeStatus.FAILED:
            return  # nothing of ours, or an authorization that was given up
        bind_order_id(charge.order_id)
        if charge.stripe_refund_id is not None:
            _report_late_failure(event, charge)
            return
        order = await Order.get(charge.order_id)
        if order is None:
            return
        with suppress(WorkflowAlreadyStarted):  # recorded a moment ago
            await self._refunds.notify(order, event.intent_id)

    async def _remember(self, event: WebhookEvent) -> None:
        seen = StripeEvent(
            id=event.id,
            type=event.type,
            payment_intent_id=event.intent_id,
            received_at=utc_now(),
        )
        try:
            await seen.insert()
        except DuplicateKeyError:
            return  # delivered twice at the same time


async def _is_authentication_pending(event: IntentEvent) -> bool:
    """Whether the order waits for what its buyer does at the bank.

    Nobody can do anything there without the client secret, and it is stored before anybody has it;
    so an event that is not waited for now tells nothing that the workflow will not be answered.
    """
    waiting = {
        "stripe_id": event.intent_id,
        "order_id": PydanticObjectId(event.order_id),
        "status": ChargeStatus.CREATED,
        "client_secret": {"$ne": None},
    }
    return await Charge.get_pymongo_collection().find_one(waiting, {"_id": 1}) is not None


def _report_late_failure(event: RefundEvent, charge: Charge) -> None:
    """Log that a bank sent a recorded refund back; only a person can reach the buyer then."""
    if event.type == REFUND_FAILED:
        logger.error(
            "refund %s of order %s failed after it was recorded: the money is ours again",
            charge.stripe_refund_id,
            charge.order_id,
        )
