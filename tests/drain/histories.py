"""What Temporal has written down about the tasks of workers that were stopped."""

from collections import Counter
from collections.abc import Iterable

from temporalio.api.enums.v1 import EventType, PendingActivityState, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from devstack.stack import Stack
from devstack.temporal import run_in_thread

LOST = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
}

BEGUN_AGAIN = "activity that was begun again"
STEPS = {EventType.Name(type) for type in LOST if "ACTIVITY" in EventType.Name(type)} | {
    BEGUN_AGAIN
}
UNHANDLED_COMMAND = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND


def lost_tasks(stack: Stack, order_ids: Iterable[str]) -> Counter[str]:
    """Tasks of the orders that a worker began and did not end, and steps that were begun again."""
    return run_in_thread(_lost_tasks(stack, order_ids))


def begun_again(stack: Stack, order_ids: Iterable[str]) -> int:
    """How many steps of the orders a worker began and another one had to do."""
    lost = lost_tasks(stack, order_ids)
    return sum(count for what, count in lost.items() if what in STEPS)


def is_at_stripe(stack: Stack, order_id: str) -> bool:
    """Whether a worker is asking Stripe for the order at this moment."""
    return run_in_thread(_is_at_stripe(stack, order_id))


def holder_of(stack: Stack, order_id: str) -> str:
    """The name of the worker that has the order in its memory."""
    return run_in_thread(_holder_of(stack, order_id))


async def _lost_tasks(stack: Stack, order_ids: Iterable[str]) -> Counter[str]:
    client = await Client.connect(stack.environment["TEMPORAL_ADDRESS"])
    lost: Counter[str] = Counter()
    for order_id in order_ids:
        handle = client.get_workflow_handle(f"order:{order_id}")
        async for event in handle.fetch_history_events():
            if _is_lost(event):
                lost[EventType.Name(event.event_type)] += 1
            if event.activity_task_started_event_attributes.attempt > 1:
                lost[BEGUN_AGAIN] += 1
    return lost


def _is_lost(event: HistoryEvent) -> bool:
    # A message that comes while a workflow closes has it decide once more, by the same worker.
    cause = event.workflow_task_failed_event_attributes.cause
    return event.event_type in LOST and cause != UNHANDLED_COMMAND


async def _is_at_stripe(stack: Stack, order_id: str) -> bool:
    client = await Client.connect(stack.environment["TEMPORAL_ADDRESS"])
    description = await client.get_workflow_handle(f"order:{order_id}").describe()
    pending = description.raw_description.pending_activities
    started = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    return any(activity.state == started for activity in pending)


async def _holder_of(stack: Stack, order_id: str) -> str:
    client = await Client.connect(stack.environment["TEMPORAL_ADDRESS"])
    handle = client.get_workflow_handle(f"order:{order_id}")
    identity = ""
    async for event in handle.fetch_history_events():
        identity = event.workflow_task_started_event_attributes.identity or identity
    # Its holder answers this, and asks Temporal for work again: one that has not asked for ten
    # seconds is taken for gone, and its orders go to others at once.
    await handle.query("state")
    (name,) = [part.name for part in stack.parts.values() if identity.startswith(f"{part.pid}@")]
    return name
