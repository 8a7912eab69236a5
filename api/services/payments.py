"""Payments: submitted as a fact, decided by the order's workflow."""

import asyncio
from datetime import timedelta

from beanie import PydanticObjectId, UpdateResponse
from pymongo.errors import PyMongoError
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from api.services.orders import closed_order_error, order_handle, order_of
from ticketing.clock import utc_now
from ticketing.errors import CardDeclined, OrderExpired, PaymentInProgress, TemporalUnavailable
from ticketing.models import Charge, Order
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus
from workflows.order import OrderState, OrderWorkflow, PaymentDecision, PaymentSubmitted


class PaymentService:
    """Takes payments to the order's workflow and waits a while for what becomes of them."""

    def __init__(self, temporal: Client, *, wait: timedelta) -> None:
        self._temporal = temporal
        self._wait = wait

    async def submit(
        self, buyer_id: PydanticObjectId, order_id: PydanticObjectId, payment_method: str
    ) -> Charge:
        """Pay for an order; the charge is completed, or still open if the answer is not known.

        The signal is stored by Temporal even while no worker runs, so a payment that was taken
        is never lost; waiting for the decision is a second, separate step that may give up.

        Raises:
            OrderNotFound: there is none, or it is somebody else's.
            CardDeclined: nothing was charged.
            OrderExpired, OrderCancelled, OrderCompleted: the order is closed.
            PaymentInProgress: another payment is being decided. But where the bank wants the
                buyer and Stripe was too slow for the first answer to say so, this one does.
            TemporalUnavailable: the payment could not be handed over.
        """
        order = await order_of(buyer_id, order_id)
        if order.status is OrderStatus.AWAITING_PAYMENT:
            return await _show_client_secret(order_id)
        _refuse_unpayable(order)
        handle = order_handle(self._temporal, order_id)
        charge_id = PydanticObjectId()
        try:
            await handle.signal(
                OrderWorkflow.payment_submitted,
                PaymentSubmitted(charge_id=str(charge_id), payment_method=payment_method),
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            # The workflow has just closed, and the order's document says how.
            _refuse_closed(await order_of(buyer_id, order_id))
            raise TemporalUnavailable from None
        decision = await self._decision(handle, charge_id)
        try:
            return await _outcome(order_id, order, charge_id, decision)
        except PyMongoError:
            # The payment is on record at Temporal, whatever MongoDB can say of it now.
            return _not_taken_up_yet(charge_id, order)

    async def _decision(
        self, handle: WorkflowHandle[OrderWorkflow, OrderState], charge_id: PydanticObjectId
    ) -> PaymentDecision | None:
        """What the workflow says of the payment, or None if that is not known in time."""
        try:
            async with asyncio.timeout(self._wait.total_seconds()):
                return await handle.execute_update(
                    OrderWorkflow.await_payment_decision, str(charge_id)
                )
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
            return None
        except (WorkflowUpdateFailedError, RPCError):
            # Closed before it could answer, or Temporal is away: the documents say the rest.
            return None


async def _outcome(
    order_id: PydanticObjectId,
    order: Order,
    charge_id: PydanticObjectId,
    decision: PaymentDecision | None,
) -> Charge:
    """The submitted payment's charge, or why there is none."""
    charge = await Charge.get(charge_id)
    if charge is not None and charge.status is not ChargeStatus.FAILED:
        if charge.client_secret is not None:
            await Charge.find_one({"_id": charge_id}).update(
                {"$set": {"client_secret_shown": True}}
            )
        return charge
    order = await order_of(order.user_id, order_id)
    if charge is not None:
        if order.cancel_reason not in (None, CancelReason.PAYMENT_FAILED):
            raise closed_order_error(order)  # not the card's fault: somebody cancelled
        raise CardDeclined(charge.failure_code or "generic_decline")
    _refuse_closed(order)
    if decision is PaymentDecision.REFUSED:
        raise PaymentInProgress
    return _not_taken_up_yet(charge_id, order)


async def _show_client_secret(order_id: PydanticObjectId) -> Charge:
    """The charge for which the bank wants the buyer, once: whoever asks second is refused."""
    charge = await Charge.find_one(
        {"order_id": order_id, "client_secret": {"$ne": None}, "client_secret_shown": {"$ne": True}}
    ).update({"$set": {"client_secret_shown": True}}, response_type=UpdateResponse.NEW_DOCUMENT)
    if not isinstance(charge, Charge):
        raise PaymentInProgress
    return charge


def _refuse_closed(order: Order) -> None:
    if order.status.is_closed:
        raise closed_order_error(order)


def _refuse_unpayable(order: Order) -> None:
    """Refuse what the workflow would refuse too, without asking it."""
    _refuse_closed(order)
    if order.expires_at <= utc_now():
        raise OrderExpired


def _not_taken_up_yet(charge_id: PydanticObjectId, order: Order) -> Charge:
    """The charge that the workflow will make; Temporal holds the payment until then."""
    return Charge(
        id=charge_id,
        order_id=order.id,
        attempt=1,
        status=ChargeStatus.CREATED,
        amount=order.ticket.price,
        currency=order.ticket.currency,
        created_at=utc_now(),
    )
