"""Stripe's news, handed to the workflows that they concern."""

from beanie import PydanticObjectId
from pymongo.errors import DuplicateKeyError
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from api.services.orders import order_handle
from ticketing.clock import utc_now
from ticketing.models import StripeEvent
from ticketing.payments.webhooks import IntentEvent
from workflows.order import OrderWorkflow, PaymentIntentChanged


class StripeWebhookService:
    """Tells a workflow to look at its payment intent again; the workflow asks Stripe."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    async def take(self, event: IntentEvent) -> None:
        """Hand the event over once; a repeated, late or reordered one changes nothing."""
        if await StripeEvent.get(event.id) is not None:
            return
        # Signal first: a crash in between makes Stripe deliver again, and a second signal
        # changes nothing, while an event marked as seen but never signalled is lost.
        await self._signal(event)
        await self._remember(event)

    async def _signal(self, event: IntentEvent) -> None:
        handle = order_handle(self._temporal, PydanticObjectId(event.order_id))
        try:
            await handle.signal(
                OrderWorkflow.payment_intent_changed, PaymentIntentChanged(event.intent_id)
            )
        except RPCError as error:
            # The order is closed already, and waits for nothing any more.
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def _remember(self, event: IntentEvent) -> None:
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
