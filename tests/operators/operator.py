"""What an operator can do to a workflow, and what must hold whatever was done."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from beanie import PydanticObjectId
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.reconciliation.activities import ReconciliationActivities, ViolationCounts
from activities.reconciliation.snapshots import StillChanging
from activities.reconciliation.violations import Candidate
from tests.market import Market
from tests.purchases.marketplace import Marketplace
from tests.waiting import eventually
from ticketing.models import Order, Ticket
from ticketing.statuses import HOLDING_STATUSES, OrderStatus
from ticketing.workflow_ids import order_workflow_id

Handle = WorkflowHandle[Any, Any]


def market_of(marketplace: Marketplace) -> Market:
    """The marketplace without the API in front, for paths that workflows take."""
    return Market(
        env=WorkflowEnvironment.from_client(marketplace.temporal),
        task_queue=marketplace.settings.task_queue,
        sandbox=marketplace.sandbox,
    )


@dataclass
class Operator:
    """Somebody with Temporal's Web UI, and the reconciliation at hand."""

    market: Marketplace

    def workflow_of(self, order_id: object) -> Handle:
        """The newest run of an order's workflow."""
        return self.market.temporal.get_workflow_handle(order_workflow_id(str(order_id)))

    async def resettable_tasks(self, handle: Handle) -> list[int]:
        """The events to which a workflow can be reset: the end of each of its tasks."""
        history = await handle.fetch_history()
        ends = (
            EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
            EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
            EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        )
        return [event.event_id for event in history.events if event.event_type in ends]

    async def reset(self, workflow_id: str, run_id: str, event_id: int) -> Handle:
        """Run the workflow again from the task, with what came later applied again."""
        await self.market.temporal.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=self.market.temporal.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
                reason="tried by an operator",
                workflow_task_finish_event_id=event_id,
                request_id=str(uuid4()),
            )
        )
        return self.market.temporal.get_workflow_handle(workflow_id)

    async def comes_to_rest(self, handle: Handle) -> None:
        """Wait until the workflow is closed, or waits for a message or the clock."""

        async def is_at_rest() -> bool:
            found = await handle.describe()
            if found.status is not WorkflowExecutionStatus.RUNNING:
                return True
            raw = found.raw_description
            return not raw.pending_activities and not raw.HasField("pending_workflow_task")

        await eventually(is_at_rest, timeout=60)

    async def end(self, handle: Handle) -> None:
        """Let the workflow come to rest, and ask for its cancellation if it is still open."""
        await self.comes_to_rest(handle)
        if (await handle.describe()).status is WorkflowExecutionStatus.RUNNING:
            await handle.cancel()
        with suppress(WorkflowFailureError):
            await handle.result()

    async def reconcile(self, order_id: PydanticObjectId, ticket_id: PydanticObjectId) -> None:
        """Put right what can be, and assert that nothing is left that cannot."""
        for candidate in (Candidate("order", str(order_id)), Candidate("ticket", str(ticket_id))):
            await self.examine_candidate(candidate)
        for candidate in (Candidate("order", str(order_id)), Candidate("ticket", str(ticket_id))):
            assert await self.examine_candidate(candidate) == ViolationCounts()

    async def examine_candidate(self, candidate: Candidate) -> ViolationCounts:
        """Examine it, as often as its workflow would: a step may still be running."""
        market = self.market
        checks = ReconciliationActivities(market.mongo, market.gateway, market.temporal)

        async def examine() -> ViolationCounts | None:
            with suppress(StillChanging):
                return await ActivityEnvironment().run(checks.examine_candidate, candidate)
            return None

        counts = await eventually(examine)
        assert counts is not None
        return counts

    async def nobody_paid_for_nothing(self) -> None:
        """Assert that Stripe has captured just the prices of orders that have their ticket.

        What was given back, all of it, does not count.
        """
        captured = Counter[str]()
        for intent in self.market.sandbox.summary():
            if intent["refunded"] < intent["captured"]:
                captured[intent["metadata"]["order_id"]] += intent["captured"]
        orders = await Order.find_all().to_list()
        sold_to = {str(ticket.order_id) for ticket in await Ticket.find_all().to_list()}
        due = {
            str(order.id): order.ticket.price
            for order in orders
            if order.status is OrderStatus.COMPLETED and str(order.id) in sold_to
        }
        assert dict(captured) == due
        holding = Counter(o.ticket_id for o in orders if o.status in HOLDING_STATUSES)
        assert not {ticket_id for ticket_id, count in holding.items() if count > 1}
