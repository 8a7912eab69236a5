"""The record of invariant violations, and of the runs that looked for them."""

from datetime import datetime, timedelta
from enum import StrEnum

from beanie import Document, PydanticObjectId
from pydantic import BaseModel, Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from ticketing.invariants import Invariant, Scope, ViolationCode

RUN_RETENTION = timedelta(days=30)


class ViolationStatus(StrEnum):
    """open → resolved, or repaired at once."""

    OPEN = "open"
    """Somebody has to look at it."""
    REPAIRED = "repaired"
    """There was one right thing to do, and it was done."""
    RESOLVED = "resolved"
    """It was open, and is no longer so."""


class ViolationRecord(Document):
    """A violation of one invariant by one ticket or order; seen again, it is the same record."""

    key: str
    """Made of the invariant, the code and the candidate: the same each time it is seen."""
    candidate: str
    """`ticket:{id}` or `order:{id}`."""
    invariant: Invariant
    code: ViolationCode
    detail: str
    """In plain words, as it was last seen."""
    ticket_id: PydanticObjectId | None = None
    order_id: PydanticObjectId | None = None
    intent_id: str | None = None
    status: ViolationStatus
    found_at: datetime
    """When it was first seen, or seen again after it was gone."""
    last_seen_at: datetime
    resolved_at: datetime | None = None
    """When it was repaired, or no longer seen."""

    class Settings:
        name = "findings"
        indexes = [
            IndexModel([("key", ASCENDING)], name="one_finding_per_anomaly", unique=True),
            IndexModel([("candidate", ASCENDING), ("status", ASCENDING)], name="of_a_candidate"),
            IndexModel([("found_at", DESCENDING), ("_id", DESCENDING)], name="newest_first"),
            IndexModel(
                [("status", ASCENDING), ("found_at", DESCENDING), ("_id", DESCENDING)],
                name="by_status_newest_first",
            ),
        ]


class CheckedCounts(BaseModel):
    """How many of each a run has scanned."""

    tickets: int = 0
    orders: int = 0
    workflows: int = 0
    intents: int = 0


class ReconciliationRun(Document):
    """One run of the reconciliation; its id is the first run id of its workflow."""

    id: str = Field(alias="_id")  # type: ignore[assignment] # Beanie types ids as ObjectId
    scope: Scope
    started_at: datetime
    finished_at: datetime | None = None
    checked: CheckedCounts = CheckedCounts()
    reported: int = 0
    repaired: int = 0
    unexamined: int = 0
    """Candidates and pages that could not be read, since Stripe or Temporal did not answer."""

    class Settings:
        name = "reconciliation_runs"
        indexes = [
            IndexModel(
                [("started_at", DESCENDING)],
                name="newest_first",
                expireAfterSeconds=int(RUN_RETENTION.total_seconds()),
            ),
        ]
