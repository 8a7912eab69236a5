"""The bare purchase: the least that Temporal can be asked to do for one, as a yardstick.

One workflow that is started with an update, waits 15 minutes for a signal, and runs a local
activity for the reservation and one for the sale; no HTTP, no MongoDB, no Stripe.
`bench/bare_worker.py` runs its worker.

It never follows the product, neither its workflow nor the settings of its worker, and imports
neither: a yardstick that is our own workflow gets cheaper when the workflow does, and the ratio to
it hides what was gained or lost.
Whoever changes this file makes every earlier ratio incomparable.
"""

from datetime import timedelta
from time import perf_counter

from temporalio import activity, workflow
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import PollerBehaviorAutoscaling, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

QUEUE = "bare"
RESERVATION_TTL = timedelta(minutes=15)
LOCAL_TIMEOUT = timedelta(seconds=10)
MAX_CACHED_WORKFLOWS = 2_500


@activity.defn(name="bare_reserve_ticket")
async def reserve_ticket(order_id: str) -> int:
    return 5000


@activity.defn(name="bare_sell_ticket")
async def sell_ticket() -> None:
    pass


@workflow.defn
class BareOrder:
    """Reserved by an update, completed by a signal, or expired by a timer."""

    def __init__(self) -> None:
        self._price: int | None = None
        self._payment_method: str | None = None

    @workflow.run
    async def run(self, order_id: str) -> str:
        self._price = await workflow.execute_local_activity(
            reserve_ticket, order_id, start_to_close_timeout=LOCAL_TIMEOUT
        )
        try:
            await workflow.wait_condition(
                lambda: self._payment_method is not None, timeout=RESERVATION_TTL
            )
        except TimeoutError:
            return "expired"
        await workflow.execute_local_activity(sell_ticket, start_to_close_timeout=LOCAL_TIMEOUT)
        return "completed"

    @workflow.update
    async def reserve(self) -> int:
        await workflow.wait_condition(lambda: self._price is not None)
        assert self._price is not None
        return self._price

    @workflow.signal
    def payment_submitted(self, payment_method: str) -> None:
        self._payment_method = payment_method


def bare_workflow_id(order_id: str) -> str:
    return f"bare:{order_id}"


class BareBuyer:
    """Makes the three requests to Temporal that a purchase takes."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def buy(self, order_id: str) -> tuple[float, float]:
        """Reserve, then pay and wait for the workflow's close; the seconds that each took."""
        began = perf_counter()
        start = WithStartWorkflowOperation(
            BareOrder.run,
            order_id,
            id=bare_workflow_id(order_id),
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
        await self._client.execute_update_with_start_workflow(
            BareOrder.reserve, start_workflow_operation=start
        )
        reserved = perf_counter()
        handle = await start.workflow_handle()
        await handle.signal(BareOrder.payment_submitted, "pm_card_visa")
        assert await handle.result() == "completed"
        return reserved - began, perf_counter() - reserved


def bare_worker(client: Client) -> Worker:
    """The worker, with settings of its own."""
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=[BareOrder],
        activities=[reserve_ticket, sell_ticket],
        workflow_runner=SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_all_modules()
        ),
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        max_cached_workflows=MAX_CACHED_WORKFLOWS,
    )
