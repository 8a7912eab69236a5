"""Refunds: asked for by the ticket's seller, carried out by a workflow of their own."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

from beanie import PydanticObjectId
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from api.http.idempotency import derived_id
from api.http.models import path_id
from api.orders.service import OrderWithCharges, with_charges
from api.orders.timeline_words import refusal_words
from api.temporal.orders import WORKFLOW_TASK_TIMEOUT
from ticketing.errors import (
    IdempotencyKeyReused,
    NotTicketSeller,
    OrderNotCompleted,
    OrderNotFound,
    RefundRefused,
    RequestInProgress,
    TemporalUnavailable,
)
from ticketing.models import Order
from ticketing.observability.logs import bind_order_id
from ticketing.statuses import CancelReason, OrderStatus
from ticketing.workflow_ids import refund_workflow_id
from workflows.refunds import (
    ORDER_NOT_COMPLETED,
    REFUND_CHANGED,
    REFUND_REFUSED,
    REFUND_REQUESTED,
    RefundChanged,
    RefundInput,
    RefundRecorded,
    RefundRequested,
    RefundWorkflow,
)
from workflows.search_attributes import BUYER_ID, SELLER_ID, TICKET_ID

logger = logging.getLogger(__name__)

RELIST = "relist"
REQUEST_NAME = "request_name"
"""Keys of the workflow's memo."""


@dataclass(frozen=True)
class _Wish:
    """One request of a seller's."""

    relist: bool
    name: str | None
    """The same whenever it is repeated under its key."""


class RefundService:
    """What a seller can do for a buyer who has paid."""

    def __init__(self, temporal: Client, *, task_queue: str, wait: timedelta) -> None:
        self._temporal = temporal
        self._task_queue = task_queue
        self._wait = wait

    async def sale(self, seller_id: PydanticObjectId, order_id: str) -> Order:
        """An order of one of the seller's tickets.

        Raises:
            OrderNotFound: there is none, or the caller has nothing to do with it.
            NotTicketSeller: the caller is its buyer.
        """
        return await _order_of_seller(seller_id, path_id(order_id, OrderNotFound))

    async def refund(
        self,
        seller_id: PydanticObjectId,
        order_id: str,
        *,
        relist: bool,
        idempotency_key: str | None = None,
    ) -> OrderWithCharges:
        """Refund a completed order; still completed if Stripe has not answered in time.

        Whoever asks again joins the refund that is under way, and its ticket goes where the
        first request said. The key of the request that started it is kept with the workflow.

        Raises:
            OrderNotFound: there is none, or the caller has nothing to do with it.
            NotTicketSeller: the caller is its buyer.
            OrderNotCompleted: nothing was paid that could go back.
            RefundRefused: Stripe said no; the order stays completed.
            IdempotencyKeyReused: the key came first with another wish for the ticket.
            RequestInProgress: the first request with the key is not decided yet.
            TemporalUnavailable: the request could not be handed over.
        """
        order = await _order_of_seller(seller_id, path_id(order_id, OrderNotFound))
        wish = _Wish(relist, _name_of(order, idempotency_key))
        await self._refuse_repetition(order, wish)
        if not is_refunded(order):
            if order.status is not OrderStatus.COMPLETED:
                raise OrderNotCompleted
            await self._ask_for_refund(order, wish)
            order = await _order_of_seller(seller_id, path_id(order_id, OrderNotFound))
        return (await with_charges([order]))[0]

    async def _refuse_repetition(self, order: Order, wish: _Wish) -> None:
        """Tell a repeated request what the first one is told, where its order does not say it."""
        handle = self._handle(order)
        match await self._status_of(handle, wish):
            case WorkflowExecutionStatus.RUNNING if not is_refunded(order):
                raise RequestInProgress
            case WorkflowExecutionStatus.FAILED:
                try:
                    async with asyncio.timeout(self._wait.total_seconds()):
                        await handle.result()
                except TimeoutError:
                    raise RequestInProgress from None  # another one has been started meanwhile
                except WorkflowFailureError as failure:
                    raise _refusal(failure) from None

    async def _status_of(
        self, handle: WorkflowHandle[RefundWorkflow, RefundRecorded], wish: _Wish
    ) -> WorkflowExecutionStatus | None:
        """How the refund stands that this very request has started, if one has.

        Raises:
            IdempotencyKeyReused: one with the same key has, and it was another request.
        """
        if wish.name is None:
            return None
        try:
            refund = await handle.describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        memo = await refund.memo()
        if memo.get(REQUEST_NAME) != wish.name:
            return None
        if memo.get(RELIST) != wish.relist:
            raise IdempotencyKeyReused
        return refund.status

    async def _ask_for_refund(self, order: Order, wish: _Wish) -> None:
        """Hand the request over, and wait a while for what becomes of it."""
        try:
            handle = await start_refund(
                self._temporal, self._task_queue, order, RefundRequested(wish.relist), wish.name
            )
        except WorkflowAlreadyStartedError:
            return  # done a moment ago, and the order says so
        await self._status_of(handle, wish)  # another request's, if both came at once
        try:
            async with asyncio.timeout(self._wait.total_seconds()):
                await handle.result()
        except WorkflowFailureError as failure:
            raise _refusal(failure) from None
        except (TimeoutError, RPCError):
            # Temporal has the request, whatever it can say of it now.
            return

    def _handle(self, order: Order) -> WorkflowHandle[RefundWorkflow, RefundRecorded]:
        return self._temporal.get_workflow_handle_for(
            RefundWorkflow.run, refund_workflow_id(str(order.id))
        )


async def start_refund(
    temporal: Client,
    task_queue: str,
    order: Order,
    message: RefundRequested | RefundChanged,
    request_name: str | None = None,
) -> WorkflowHandle[RefundWorkflow, RefundRecorded]:
    """Send the message to the order's refund, which is started if it does not run.

    Start and message are one request, stored by Temporal even while no worker runs.

    Raises:
        WorkflowAlreadyStartedError: the order was refunded; that happens once.
    """
    is_request = isinstance(message, RefundRequested)
    return await temporal.start_workflow(
        RefundWorkflow.run,
        RefundInput(str(order.id)),
        id=refund_workflow_id(str(order.id)),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        start_signal=REFUND_REQUESTED if is_request else REFUND_CHANGED,
        start_signal_args=[message],
        task_timeout=WORKFLOW_TASK_TIMEOUT,
        memo=_memo_of(message, request_name),
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


def _memo_of(
    message: RefundRequested | RefundChanged, request_name: str | None
) -> dict[str, object]:
    """What is remembered of the request that starts a refund."""
    if isinstance(message, RefundChanged):
        return {}
    name = {} if request_name is None else {REQUEST_NAME: request_name}
    return {RELIST: message.relist, **name}


def _name_of(order: Order, idempotency_key: str | None) -> str | None:
    """What stands for the key in the memo; the same key names another request elsewhere."""
    if idempotency_key is None:
        return None
    route = f"POST /api/orders/{order.id}/refund"
    return str(derived_id(route, order.seller_id, idempotency_key))


def is_refunded(order: Order) -> bool:
    """Whether the order was completed once, and its money has gone back."""
    return order.cancel_reason is CancelReason.REFUNDED


async def _order_of_seller(seller_id: PydanticObjectId, order_id: PydanticObjectId) -> Order:
    bind_order_id(order_id)
    order = await Order.get(order_id)
    if order is None or seller_id not in (order.seller_id, order.user_id):
        raise OrderNotFound
    if order.seller_id != seller_id:
        raise NotTicketSeller
    return order


def _refusal(failure: WorkflowFailureError) -> Exception:
    match failure.cause:
        case ApplicationError(type=kind, details=[str(code)]) if kind == REFUND_REFUSED:
            return RefundRefused(refusal_words(code))
        case ApplicationError(type=kind) if kind == ORDER_NOT_COMPLETED:
            return OrderNotCompleted()
    # Terminated by an operator, or some such: nothing is known to have been decided.
    logger.error("a refund ended without an answer: %r", failure.cause)
    return TemporalUnavailable("The refund was interrupted; ask again.")
