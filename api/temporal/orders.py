"""The client of the order workflow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from beanie import PydanticObjectId
from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError

from activities.reservations import Reservation
from api.temporal.connection import TemporalConnection
from api.temporal.errors import WorkflowNotFound, translate_errors
from ticketing.errors import OrderCompleted, PaymentInProgress, TemporalUnavailable
from ticketing.problem_codes import ProblemCode
from ticketing.workflow_ids import order_workflow_id
from workflows.orders import (
    PAYMENT_INTENT_CHANGED,
    PAYMENT_SUBMITTED,
    OrderInput,
    OrderState,
    OrderWorkflow,
    PaymentDecision,
    PaymentIntentChanged,
    PaymentSubmitted,
)
from workflows.search_attributes import BUYER_ID, ORDER_STATUS, SELLER_ID, TICKET_ID

WORKER_ANSWER_TIMEOUT = timedelta(seconds=10)
"""How long a request waits for a worker: longer than a reservation may take (`RESERVE_TIMEOUT`)."""

WORKFLOW_TASK_TIMEOUT = timedelta(seconds=5)
"""After this another worker takes over from a crashed one, while the request still waits."""


@dataclass(frozen=True)
class Offer:
    """The ticket's seller and price, as shown to the buyer."""

    seller_id: str
    price: int
    """In the currency's minor unit."""
    currency: str


@dataclass(frozen=True)
class ReservationProgress:
    """The workflow's ticket, and whether its reservation is still to be recorded."""

    ticket_id: str | None
    is_reserving: bool


@dataclass(frozen=True)
class OrderWorkflowClient:
    """Starts, signals, updates and describes order workflows.

    Every method raises `TemporalUnavailable` if the request had no effect and will have none, and
    its subclass `TemporalOutcomeUnknown` if Temporal may have accepted it without an answer.
    """

    connection: TemporalConnection
    task_queue: str

    async def reserve(self, order: OrderInput, offer: Offer) -> Reservation:
        """Start the workflow and wait for its reservation.

        Raises:
            WorkflowAlreadyStarted: the same order was started before.
        """
        client = await self.connection.client()
        start = order_start(order, offer, self.task_queue)
        try:
            async with _answer_timeout():
                return await client.execute_update_with_start_workflow(
                    OrderWorkflow.reserve, start_workflow_operation=start
                )
        finally:
            await _consume_start_result(start)

    async def reservation_progress(self, order_id: PydanticObjectId) -> ReservationProgress:
        """How far the reservation has got.

        The search attribute of the order's status is set by the same workflow task that records
        the reservation. Until then an order in the database is not final: the worker that takes
        over from a crashed one may undo it.
        """
        handle = await self._handle(order_id)
        async with _answer_timeout():
            execution = await handle.describe()
        attributes = execution.typed_search_attributes
        is_running = execution.status is WorkflowExecutionStatus.RUNNING
        return ReservationProgress(
            attributes.get(TICKET_ID), is_running and attributes.get(ORDER_STATUS) is None
        )

    async def await_reservation(self, order_id: PydanticObjectId) -> Reservation:
        """Wait until a workflow that is already running has recorded its reservation."""
        handle = await self._handle(order_id)
        async with _answer_timeout():
            return await handle.execute_update(OrderWorkflow.reserve)

    async def reservation_refusal(self, order_id: PydanticObjectId) -> ProblemCode | None:
        """Why the reservation was refused; None if it was not, or the workflow was terminated."""
        handle = await self._handle(order_id)
        try:
            async with _answer_timeout():
                return (await handle.result()).refusal
        except WorkflowFailureError:
            return None

    async def submit_payment(self, order_id: PydanticObjectId, payment: PaymentSubmitted) -> None:
        """Signal the payment; Temporal stores the signal even while no worker runs.

        Raises:
            WorkflowNotFound: the order is closed.
        """
        handle = await self._handle(order_id)
        with translate_errors():
            await handle.signal(PAYMENT_SUBMITTED, payment)

    async def payment_decision(
        self, order_id: PydanticObjectId, charge_id: str, wait: timedelta
    ) -> PaymentDecision | None:
        """The workflow's decision on a payment; None if it is not known in time.

        Then the documents tell how the payment stands: the workflow may have closed by now, or
        Temporal may be unavailable.
        """
        try:
            handle = await self._handle(order_id)
            async with asyncio.timeout(wait.total_seconds()):
                with translate_errors():
                    return await handle.execute_update(
                        OrderWorkflow.await_payment_decision, charge_id
                    )
        except (TimeoutError, WorkflowUpdateFailedError, WorkflowNotFound, TemporalUnavailable):
            return None

    async def cancel(self, order_id: PydanticObjectId) -> None:
        """Request the cancellation and wait for it; the order's document tells the outcome.

        Raises:
            OrderCompleted: it was paid.
            PaymentInProgress: a payment is being decided.
        """
        handle = await self._handle(order_id)
        try:
            async with asyncio.timeout(WORKER_ANSWER_TIMEOUT.total_seconds()):
                with translate_errors():
                    await handle.execute_update(OrderWorkflow.cancel)
        except (TimeoutError, WorkflowNotFound):
            return  # too slow, or closed just now
        except WorkflowUpdateFailedError as error:
            match error.cause:
                case ApplicationError(type=ProblemCode.ORDER_COMPLETED):
                    raise OrderCompleted from None
                case ApplicationError(type=ProblemCode.PAYMENT_IN_PROGRESS):
                    raise PaymentInProgress from None

    async def notify_intent(self, order_id: PydanticObjectId, intent_id: str) -> None:
        """Signal that an intent has changed; a closed order needs no signal."""
        handle = await self._handle(order_id)
        try:
            with translate_errors():
                await handle.signal(PAYMENT_INTENT_CHANGED, PaymentIntentChanged(intent_id))
        except WorkflowNotFound:
            return

    async def _handle(
        self, order_id: PydanticObjectId
    ) -> WorkflowHandle[OrderWorkflow, OrderState]:
        client = await self.connection.client()
        return client.get_workflow_handle_for(OrderWorkflow.run, order_workflow_id(str(order_id)))


def order_start(
    order: OrderInput, offer: Offer, task_queue: str
) -> WithStartWorkflowOperation[OrderWorkflow, OrderState]:
    """The operation that starts the order's workflow; it cannot be used twice."""
    return WithStartWorkflowOperation(
        OrderWorkflow.run,
        order,
        id=order_workflow_id(order.order_id),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        task_timeout=WORKFLOW_TASK_TIMEOUT,
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(TICKET_ID, order.ticket_id),
                SearchAttributePair(BUYER_ID, order.buyer_id),
                SearchAttributePair(SELLER_ID, offer.seller_id),
            ]
        ),
        static_summary=(
            f"Ticket {order.ticket_id} for {offer.price} {offer.currency} (minor units)"
        ),
        static_details=(
            f"Buyer {order.buyer_id} buys ticket {order.ticket_id} "
            f"of seller {offer.seller_id}.\n\n"
            f"The order is `{order.order_id}` in the `orders` collection."
        ),
    )


@asynccontextmanager
async def _answer_timeout() -> AsyncIterator[None]:
    """Limit the time that a request waits for Temporal and a worker.

    Raises:
        TemporalUnavailable: no worker answered, and no reservation will be made: a worker that
            starts later makes none that nobody waits for. Or the workflow was terminated.
        TemporalOutcomeUnknown: Temporal itself did not answer.
    """
    try:
        async with asyncio.timeout(WORKER_ANSWER_TIMEOUT.total_seconds()):
            with translate_errors():
                yield
    except (TimeoutError, WorkflowUpdateFailedError, WorkflowNotFound):
        raise TemporalUnavailable from None


async def _consume_start_result(
    start: WithStartWorkflowOperation[OrderWorkflow, OrderState],
) -> None:
    """Retrieve the start's result, or asyncio logs that its exception was never retrieved."""
    result = asyncio.ensure_future(start.workflow_handle())
    await asyncio.wait([result], timeout=0.1)
    if not result.cancel() and not result.cancelled():
        result.exception()
