"""The workflow of an order: started, signalled, asked."""

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
from api.temporal.errors import WorkflowNotFound, translated
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

ANSWER_TIMEOUT = timedelta(seconds=10)
"""How long a request waits for a worker; longer than a reservation may take (`RESERVE_TIMEOUT`)."""

WORKFLOW_TASK_TIMEOUT = timedelta(seconds=5)
"""After this another worker takes over from one that died; the request still waits then."""


@dataclass(frozen=True)
class Offer:
    """What the buyer saw, and whose it is."""

    seller_id: str
    price: int
    """In the currency's minor unit."""
    currency: str


@dataclass(frozen=True)
class ReservationProgress:
    """Which ticket the workflow is about, and whether it has yet to record its reservation."""

    ticket_id: str | None
    is_reserving: bool


@dataclass(frozen=True)
class OrderWorkflowClient:
    """Every request that the API makes of an order's workflow.

    Each raises `TemporalUnavailable` where nothing has come of it and nothing will, and
    `TemporalOutcomeUnknown`, a kind of it, where Temporal may have taken it without an answer.
    """

    connection: TemporalConnection
    task_queue: str

    async def reserve(self, order: OrderInput, offer: Offer) -> Reservation:
        """Start the workflow, and wait for its reservation.

        Raises:
            WorkflowAlreadyStarted: the same order was started before.
        """
        client = await self.connection.client()
        start = order_start(order, offer, self.task_queue)
        try:
            async with _answered_in_time():
                return await client.execute_update_with_start_workflow(
                    OrderWorkflow.reserve, start_workflow_operation=start
                )
        finally:
            await _consume_start_result(start)

    async def reservation_progress(self, order_id: PydanticObjectId) -> ReservationProgress:
        """How far the reservation is.

        The order's status is set by the very task that records the reservation. Before that, an
        order in the database is no promise: whoever takes over from a lost worker may undo it.
        """
        handle = await self._handle(order_id)
        async with _answered_in_time():
            execution = await handle.describe()
        attributes = execution.typed_search_attributes
        is_running = execution.status is WorkflowExecutionStatus.RUNNING
        return ReservationProgress(
            attributes.get(TICKET_ID), is_running and attributes.get(ORDER_STATUS) is None
        )

    async def await_reservation(self, order_id: PydanticObjectId) -> Reservation:
        """Wait until a workflow that was started before has recorded its reservation."""
        handle = await self._handle(order_id)
        async with _answered_in_time():
            return await handle.execute_update(OrderWorkflow.reserve)

    async def refusal_of(self, order_id: PydanticObjectId) -> ProblemCode | None:
        """Why the reservation was refused; None where it was not, or its workflow terminated."""
        handle = await self._handle(order_id)
        try:
            with translated():
                return (await handle.result()).refusal
        except WorkflowFailureError:
            return None

    async def submit_payment(self, order_id: PydanticObjectId, payment: PaymentSubmitted) -> None:
        """Hand the payment over; Temporal keeps it even while no worker runs.

        Raises:
            WorkflowNotFound: the order is closed.
        """
        handle = await self._handle(order_id)
        with translated():
            await handle.signal(PAYMENT_SUBMITTED, payment)

    async def payment_decision(
        self, order_id: PydanticObjectId, charge_id: str, wait: timedelta
    ) -> PaymentDecision | None:
        """What the workflow says of a payment; None if that is not known in time.

        Then the documents say the rest: it may be closed by now, or Temporal away.
        """
        try:
            handle = await self._handle(order_id)
            async with asyncio.timeout(wait.total_seconds()):
                with translated():
                    return await handle.execute_update(
                        OrderWorkflow.await_payment_decision, charge_id
                    )
        except (TimeoutError, WorkflowUpdateFailedError, WorkflowNotFound, TemporalUnavailable):
            return None

    async def cancel(self, order_id: PydanticObjectId) -> None:
        """Ask for the order to be cancelled, and wait; its document says what became of it.

        Raises:
            OrderCompleted: it was paid.
            PaymentInProgress: a payment is being decided.
        """
        handle = await self._handle(order_id)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT.total_seconds()):
                with translated():
                    await handle.execute_update(OrderWorkflow.cancel)
        except (TimeoutError, WorkflowNotFound):
            return  # too slow, or just closed
        except WorkflowUpdateFailedError as error:
            match error.cause:
                case ApplicationError(type=ProblemCode.ORDER_COMPLETED):
                    raise OrderCompleted from None
                case ApplicationError(type=ProblemCode.PAYMENT_IN_PROGRESS):
                    raise PaymentInProgress from None

    async def notify_intent(self, order_id: PydanticObjectId, intent_id: str) -> None:
        """Have the workflow look at an intent; a closed order waits for nothing any more."""
        handle = await self._handle(order_id)
        try:
            with translated():
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
    """The start of one order's one workflow; it cannot be used twice."""
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
async def _answered_in_time() -> AsyncIterator[None]:
    """Wait a while for a reservation's answer, and no longer.

    Raises:
        TemporalUnavailable: there is none, and will be none: a worker that comes later makes no
            reservation that nobody waits for, and an operator may have terminated the workflow.
        TemporalOutcomeUnknown: Temporal itself did not answer.
    """
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT.total_seconds()):
            with translated():
                yield
    except (TimeoutError, WorkflowUpdateFailedError, WorkflowNotFound):
        raise TemporalUnavailable from None


async def _consume_start_result(
    start: WithStartWorkflowOperation[OrderWorkflow, OrderState],
) -> None:
    """Take the start's own outcome, or asyncio complains that nobody retrieved its exception."""
    outcome = asyncio.ensure_future(start.workflow_handle())
    await asyncio.wait([outcome], timeout=0.1)
    if not outcome.cancel() and not outcome.cancelled():
        outcome.exception()
