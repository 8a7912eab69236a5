"""When the reconciliation runs: often over what is recent, and daily over everything."""

from collections.abc import Callable
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from ticketing.invariants import Scope
from workflows.reconciliation import ReconciliationInput, ReconciliationWorkflow

INTERVALS = {Scope.RECENT: timedelta(minutes=5), Scope.FULL: timedelta(days=1)}
OFFSETS = {Scope.RECENT: timedelta(0), Scope.FULL: timedelta(hours=3)}
"""The full check runs when the fewest people buy."""

LONGEST_RUNS = {Scope.RECENT: timedelta(hours=1), Scope.FULL: timedelta(hours=20)}
"""A run that lasts longer hangs because of a fault; it is ended, so that the next one can start."""

CATCH_UP = timedelta(minutes=1)
"""Runs that were missed during an outage are not made up for: the next one sees the same."""


def reconciliation_schedule_id(task_queue: str, scope: Scope) -> str:
    """The id of a schedule; a task queue is one installation, and a namespace may hold several."""
    return f"reconciliation:{scope}:{task_queue}"


async def schedule_reconciliation(client: Client, task_queue: str) -> None:
    """Create the schedules, or bring those that exist up to date.

    Several workers may do so at once, and an operator who has paused one finds it paused.
    """
    for scope in Scope:
        id = reconciliation_schedule_id(task_queue, scope)
        try:
            await client.create_schedule(id, _schedule(scope, task_queue))
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(id).update(_updated_to(_schedule(scope, task_queue)))


async def trigger_reconciliation(client: Client, task_queue: str, scope: Scope) -> None:
    """Run a check now; where one runs already, once more when it is through.

    Raises:
        RPCError: among others, NOT_FOUND where no worker has ever made the schedule.
    """
    handle = client.get_schedule_handle(reconciliation_schedule_id(task_queue, scope))
    # One that runs may have passed what the caller wants to be checked.
    await handle.trigger(overlap=ScheduleOverlapPolicy.BUFFER_ONE)


def _schedule(scope: Scope, task_queue: str) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            ReconciliationWorkflow.run,
            ReconciliationInput(scope=scope),
            id=f"reconciliation:{scope}:{task_queue}",
            task_queue=task_queue,
            execution_timeout=LONGEST_RUNS[scope],
            static_summary=f"Check the invariants: {scope}",
        ),
        spec=ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=INTERVALS[scope], offset=OFFSETS[scope])]
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
    )


def _updated_to(wanted: Schedule) -> Callable[[ScheduleUpdateInput], ScheduleUpdate]:
    def update(found: ScheduleUpdateInput) -> ScheduleUpdate:
        wanted.state = found.description.schedule.state
        return ScheduleUpdate(wanted)

    return update
