"""The client of the reconciliation workflow."""

from dataclasses import dataclass

from api.temporal.connection import TemporalConnection
from api.temporal.errors import WorkflowNotFound, translate_errors
from ticketing.errors import TemporalUnavailable
from ticketing.invariants import Scope
from workflows.reconciliation_schedules import trigger_reconciliation


@dataclass(frozen=True)
class ReconciliationClient:
    """Requests checks in addition to the scheduled ones."""

    connection: TemporalConnection
    task_queue: str

    async def trigger(self, scope: Scope) -> None:
        """Have the invariants checked now, or once more after the running check.

        Raises:
            TemporalUnavailable: no worker has ever run to create the schedules.
        """
        client = await self.connection.client()
        try:
            with translate_errors():
                await trigger_reconciliation(client, self.task_queue, scope)
        except WorkflowNotFound:
            raise TemporalUnavailable from None
