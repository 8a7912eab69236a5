"""Refunds: asked for by the ticket's seller, carried out by a workflow of their own."""

import asyncio
import logging
from datetime import timedelta

from beanie import PydanticObjectId
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError

from api.models import path_id
from api.services.orders import WORKFLOW_TASK_TIMEOUT, OrderWithCharges, with_charges
from ticketing.errors import (
    NotTicketSeller,
    OrderNotCompleted,
    OrderNotFound,
    RefundRefused,
    TemporalUnavailable,
)
from ticketing.models import Order
from ticketing.statuses import CancelReason, OrderStatus
from workflows.refund import (
    ORDER_NOT_COMPLETED,
    REFUND_REFUSED,
    RefundChanged,
    RefundInput,
    RefundRecorded,
    RefundRequested,
    RefundWorkflow,
    refund_workflow_id,
)
from workflows.search_attributes import BUYER_ID, SELLER_ID, TICKET_ID

logger = logging.getLogger(__name__)


class RefundService:
    """What a seller can do for a buyer who has paid."""

    def __init__(self, temporal: Client, *, task_queue: str, wait: timedelta) -> None:
        self._temporal = temporal
        self._task_queue = task_queue
        self._wait = wait

    async def refund(
        self, seller_id: PydanticObjectId, order_id: str, *, relist: bool
    ) -> OrderWithCharges:
        """Refund a completed order; still completed if Stripe has not answered in time.

        Whoever asks again joins the refund that is under way, and its ticket goes where the
        first request said.

        Raises:
            OrderNotFound: there is none, or the caller has nothing to do with it.
            NotTicketSeller: the caller is its buyer.
            OrderNotCompleted: nothing was paid that could go back.
            RefundRefused: Stripe said no; the order stays completed.
            TemporalUnavailable: the request could not be handed over.
        """
        order = await _order_of_seller(seller_id, path_id(order_id, OrderNotFound))
        if not is_refunded(order):
            if order.status is not OrderStatus.COMPLETED:
                raise OrderNotCompleted
            await self._ask_for_refund(order, relist=relist)
            order = await _order_of_seller(seller_id, path_id(order_id, OrderNotFound))
        return (await with_charges([order]))[0]

    async def _ask_for_refund(self, order: Order, *, relist: bool) -> None:
        """Hand the request over, and wait a while for what becomes of it."""
        try:
            handle = await start_refund(
                self._temporal, self._task_queue, order, RefundRequested(relist)
            )
        except WorkflowAlreadyStartedError:
            return  # done a moment ago, and the order says so
        try:
            async with asyncio.timeout(self._wait.total_seconds()):
                await handle.result()
        except WorkflowFailureError as failure:
            raise _refusal(failure) from None
        except (TimeoutError, RPCError):
            # Temporal has the request, whatever it can say of it now.
            return


async def start_refund(
    temporal: Client, task_queue: str, order: Order, message: RefundRequested | RefundChanged
) -> WorkflowHandle[RefundWorkflow, RefundRecorded]:
    """Send the message to the order's refund, which is started if it does not run.

    Start and message are one request, stored by Temporal even while no worker runs.

    Raises:
        WorkflowAlreadyStartedError: the order was refunded; that happens once.
    """
    is_request = isinstance(message, RefundRequested)
    signal = RefundWorkflow.refund_requested if is_request else RefundWorkflow.refund_changed
    return await temporal.start_workflow(
        RefundWorkflow.run,
        RefundInput(str(order.id)),
        id=refund_workflow_id(str(order.id)),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        start_signal=signal.__name__,
        start_signal_args=[message],
        task_timeout=WORKFLOW_TASK_TIMEOUT,
        memo={"relist": message.relist} if isinstance(message, RefundRequested) else None,
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(TICKET_ID, str(order.ticket_id)),
                SearchAttributePair(BUYER_ID, str(order.user_id)),
                SearchAttributePair(SELLER_ID, str(order.seller_id)),
            ]
        ),
        static_summary=(
            f"Refund of {order.ticket.price} {order.ticket.currency} (minor units)"
            + ("" if is_request else ", made at Stripe")
        ),
        static_details=(
            f"Seller {order.seller_id} gives buyer {order.user_id} the money back.\n\n"
            f"The order is `{order.id}` in the `orders` collection."
        ),
    )


def is_refunded(order: Order) -> bool:
    """Whether the order was completed once, and its money has gone back."""
    return order.cancel_reason is CancelReason.REFUNDED


async def _order_of_seller(seller_id: PydanticObjectId, order_id: PydanticObjectId) -> Order:
    order = await Order.get(order_id)
    if order is None or seller_id not in (order.seller_id, order.user_id):
        raise OrderNotFound
    if order.seller_id != seller_id:
        raise NotTicketSeller
    return order


def _refusal(failure: WorkflowFailureError) -> Exception:
    match failure.cause:
        case ApplicationError(type=kind, details=[str(code)]) if kind == REFUND_REFUSED:
            return RefundRefused(f"Stripe refuses the refund: {code}.")
        case ApplicationError(type=kind) if kind == ORDER_NOT_COMPLETED:
            return OrderNotCompleted()
    # Terminated by an operator, or some such: nothing is known to have been decided.
    logger.error("a refund ended without an answer: %r", failure.cause)
    return TemporalUnavailable("The refund was interrupted; ask again.")
