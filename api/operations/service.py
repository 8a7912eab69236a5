"""The invariants, as operators see them."""

from dataclasses import dataclass

from api.http.pagination import FoundPage, Order, PageQuery, find_page
from api.temporal.reconciliation import ReconciliationClient
from ticketing.invariants import Scope
from ticketing.models import ReconciliationRun, ViolationRecord, ViolationStatus

NEWEST_FIRST = Order("found_at", descending=True)


@dataclass(frozen=True)
class InvariantService:
    """Reads what the reconciliation has found, and asks it to look again."""

    reconciliation: ReconciliationClient

    async def last_run(self) -> ReconciliationRun | None:
        """The run that began last, finished or not."""
        return await ReconciliationRun.find_all().sort("-started_at").first_or_none()

    async def find(
        self, status: ViolationStatus | None, page: PageQuery
    ) -> FoundPage[ViolationRecord]:
        """A page of violations, newest first."""
        where = {"status": str(status)} if status else {}
        return await find_page(
            ViolationRecord, ViolationRecord.model_validate, where, NEWEST_FIRST, page
        )

    async def check(self, scope: Scope) -> None:
        """Have the invariants checked now, or once more after the check that runs.

        Raises:
            TemporalUnavailable: no worker has ever been there to schedule it.
        """
        await self.reconciliation.trigger(scope)
