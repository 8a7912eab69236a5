"""The client of the refund workflow."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, auto

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
from temporalio.exceptions import ApplicationError

from api.temporal.connection import TemporalConnection
from api.temporal.errors import WorkflowNotFound, translate_errors
from api.temporal.orders import WORKFLOW_TASK_TIMEOUT
from ticketing.errors import OrderNotCompleted, RefundRefused, TemporalUnavailable
from ticketing.models import Order
from ticketing.problem_codes import ProblemCode
from ticketing.workflow_ids import refund_workflow_id
from workflows.refunds import (
    REFUND_CHANGED,
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


class RefundProgress(StrEnum):
    """The state of a refund's workflow."""

    RUNNING = auto()
    REFUSED = auto()
    CLOSED = auto()
    """The refund is recorded, or an operator ended the workflow."""


@dataclass(frozen=True)
class StartedRefund:
    """The order's latest refund workflow, and the request that started it."""

    progress: RefundProgress
    request_name: str | None
    """Stands for the request's idempotency key; None without a key, or if made at Stripe."""
    relist: bool | None


@dataclass(frozen=True)
class RefundWorkflowClient:
    """Starts, signals and describes refund workflows.

    Every method raises `TemporalUnavailable` if Temporal does not respond.
    """

    connection: TemporalConnection
    task_queue: str

    async def find(self, order: Order) -> StartedRefund | None:
        """The order's latest refund workflow, or None."""
        handle = _handle(await self.connection.client(), order)
        try:
            with translate_errors():
                execution = await handle.describe()
        except WorkflowNotFound:
            return None
        memo = await execution.memo()
        return StartedRefund(_progress(execution.status), memo.get(REQUEST_NAME), memo.get(RELIST))

    async def request(self, order: Order, *, relist: bool, request_name: str | None) -> None:
        """Signal a seller's request to the running refund workflow, or start one.

        Raises:
            WorkflowAlreadyStarted: the order is refunded already.
        """
        client = await self.connection.client()
        with translate_errors():
            await start_refund(
                client, self.task_queue, order, RefundRequested(relist), request_name
            )

    async def notify(self, order: Order, intent_id: str) -> None:
        """Signal that a refund changed at Stripe; starts the workflow if it was made there.

        Raises:
            WorkflowAlreadyStarted: the order is refunded already.
        """
        client = await self.connection.client()
        with translate_errors():
            await start_refund(client, self.task_queue, order, RefundChanged(intent_id))

    async def wait_for_result(self, order: Order, wait: timedelta) -> None:
        """Wait until the order's refund is recorded.

        Raises:
            RefundRefused: Stripe refused the refund; `detail` is its code.
            OrderNotCompleted: the order is not paid.
            TimeoutError: it is not decided yet.
            TemporalUnavailable: the workflow was terminated.
        """
        handle = _handle(await self.connection.client(), order)
        try:
            async with asyncio.timeout(wait.total_seconds()):
                with translate_errors():
                    await handle.result()
        except WorkflowFailureError as failure:
            raise _refusal(failure) from None


async def start_refund(
    temporal: Client,
    task_queue: str,
    order: Order,
    message: RefundRequested | RefundChanged,
    request_name: str | None = None,
) -> WorkflowHandle[RefundWorkflow, RefundRecorded]:
    """Signal the order's refund workflow, and start it if it is not running.

    Signal and start are one request, which Temporal stores even while no worker runs.
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
    """The memo: the request that started the refund, if a seller did."""
    if isinstance(message, RefundChanged):
        return {}
    name = {} if request_name is None else {REQUEST_NAME: request_name}
    return {RELIST: message.relist, **name}


def _handle(client: Client, order: Order) -> WorkflowHandle[RefundWorkflow, RefundRecorded]:
    return client.get_workflow_handle_for(RefundWorkflow.run, refund_workflow_id(str(order.id)))


def _progress(status: WorkflowExecutionStatus | None) -> RefundProgress:
    match status:
        case WorkflowExecutionStatus.RUNNING:
            return RefundProgress.RUNNING
        case WorkflowExecutionStatus.FAILED:
            return RefundProgress.REFUSED
    return RefundProgress.CLOSED


def _refusal(failure: WorkflowFailureError) -> Exception:
    match failure.cause:
        case ApplicationError(type=ProblemCode.REFUND_REFUSED, details=[str(code)]):
            return RefundRefused(code)
        case ApplicationError(type=ProblemCode.ORDER_NOT_COMPLETED):
            return OrderNotCompleted()
    # For example terminated by an operator: the outcome of the refund is unknown.
    logger.error("a refund ended without an answer: %r", failure.cause)
    return TemporalUnavailable("The refund was interrupted; ask again.")
