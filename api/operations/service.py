"""The recorded violations of invariants, and checks on demand."""

from dataclasses import dataclass

from api.http.pagination import PageQuery, ResultPage, SortOrder, find_page
from api.temporal.reconciliation import ReconciliationClient
from ticketing.invariants import Scope
from ticketing.models import ReconciliationRun, ViolationRecord, ViolationStatus

NEWEST_VIOLATIONS_FIRST = SortOrder("found_at", descending=True)


@dataclass(frozen=True)
class InvariantService:
    """Reads the violations that reconciliation has recorded, and requests checks."""

    reconciliation: ReconciliationClient

    async def last_run(self) -> ReconciliationRun | None:
        """The run that was started last, finished or not."""
        return await ReconciliationRun.find_all().sort("-started_at").first_or_none()

    async def find(
        self, status: ViolationStatus | None, page: PageQuery
    ) -> ResultPage[ViolationRecord]:
        """A page of violations, newest first."""
        where = {"status": str(status)} if status else {}
        return await find_page(
            ViolationRecord, ViolationRecord.model_validate, where, NEWEST_VIOLATIONS_FIRST, page
        )

    async def check(self, scope: Scope) -> None:
        """Have the invariants checked now, or once more after the running check.

        Raises:
            TemporalUnavailable: no worker has ever run to create the schedules.
        """
        await self.reconciliation.trigger(scope)
