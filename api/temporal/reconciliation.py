"""The check of all invariants, run on demand."""

from dataclasses import dataclass

from api.temporal.connection import TemporalConnection
from api.temporal.errors import WorkflowNotFound, translated
from ticketing.errors import TemporalUnavailable
from ticketing.invariants import Scope
from workflows.reconciliation_schedules import trigger_reconciliation


@dataclass(frozen=True)
class ReconciliationClient:
    """Asks for a check besides those that are scheduled."""

    connection: TemporalConnection
    task_queue: str

    async def trigger(self, scope: Scope) -> None:
        """Have the invariants checked now, or once more after the check that runs.

        Raises:
            TemporalUnavailable: no worker has ever been there to schedule it.
        """
        client = await self.connection.client()
        try:
            with translated():
                await trigger_reconciliation(client, self.task_queue, scope)
        except WorkflowNotFound:
            raise TemporalUnavailable from None
