"""The record of violations: each is logged and counted once, and kept until it is gone."""

import logging
from dataclasses import dataclass
from datetime import datetime

from beanie import PydanticObjectId
from pymongo import ReturnDocument
from temporalio.common import MetricMeter

from ticketing.clock import utc_now
from ticketing.invariants import Invariant, Violation
from ticketing.models import ViolationRecord, ViolationStatus

logger = logging.getLogger("holdfast.reconciliation")

VIOLATIONS_COUNTER = "holdfast_invariant_findings"
OPEN_GAUGE = "holdfast_invariant_findings_open"
REPORTED, REPAIRED = OUTCOMES = ("reported", "repaired")


@dataclass(frozen=True)
class Candidate:
    """A ticket or an order that may violate an invariant."""

    kind: str
    """`ticket` or `order`."""
    id: str
    intent_ids: tuple[str, ...] = ()
    """Intents at Stripe whose metadata name this order."""

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.id}"


class ViolationLog:
    """Stores violations; logs and counts each when it is new, not while it lasts."""

    def __init__(self, meter: MetricMeter) -> None:
        self._found = meter.create_counter(
            VIOLATIONS_COUNTER, "Invariant violations that were found, each once while it lasts"
        )
        self._open = meter.create_gauge(OPEN_GAUGE, "Open violations, for an operator to look at")
        for invariant in Invariant:
            for outcome in OUTCOMES:
                # A series that begins with its first violation has never increased.
                self._found.add(0, {"invariant": str(invariant), "outcome": outcome})

    async def keep(self, candidate: Candidate, violations: dict[Violation, bool]) -> None:
        """Store a candidate's violations, each with whether it was repaired; resolve all others."""
        now = utc_now()
        seen = [
            await self._store(candidate, violation, is_repaired, now)
            for violation, is_repaired in violations.items()
        ]
        await ViolationRecord.find(
            {"candidate": candidate.name, "status": ViolationStatus.OPEN, "key": {"$nin": seen}}
        ).update({"$set": {"status": ViolationStatus.RESOLVED, "resolved_at": now}})

    async def measure_open(self) -> None:
        """Set the gauge: open violations of each invariant, 0 included."""
        groups = await ViolationRecord.get_pymongo_collection().aggregate(
            [
                {"$match": {"status": ViolationStatus.OPEN}},
                {"$group": {"_id": "$invariant", "count": {"$sum": 1}}},
            ]
        )
        found = {group["_id"]: group["count"] async for group in groups}
        for invariant in Invariant:
            self._open.set(found.get(invariant, 0), {"invariant": str(invariant)})

    async def _store(
        self, candidate: Candidate, violation: Violation, is_repaired: bool, now: datetime
    ) -> str:
        status = ViolationStatus.REPAIRED if is_repaired else ViolationStatus.OPEN
        key = ":".join(
            filter(None, (violation.invariant, violation.code, candidate.name, violation.intent_id))
        )
        resolved_at = now if is_repaired else None
        before = await ViolationRecord.get_pymongo_collection().find_one_and_update(
            {"key": key},
            {
                "$set": {
                    "detail": violation.detail,
                    "status": status,
                    "last_seen_at": now,
                    "resolved_at": resolved_at,
                },
                "$setOnInsert": {
                    "candidate": candidate.name,
                    "invariant": violation.invariant,
                    "code": violation.code,
                    f"{candidate.kind}_id": PydanticObjectId(candidate.id),
                    "intent_id": violation.intent_id,
                    "found_at": now,
                },
            },
            upsert=True,
            return_document=ReturnDocument.BEFORE,
        )
        if before is None or before["status"] != ViolationStatus.OPEN or is_repaired:
            self._tell(candidate, violation, is_repaired)
        if before is not None and before["status"] != ViolationStatus.OPEN:
            await ViolationRecord.find_one({"key": key}).update({"$set": {"found_at": now}})
        return key

    def _tell(self, candidate: Candidate, violation: Violation, is_repaired: bool) -> None:
        outcome = REPAIRED if is_repaired else REPORTED
        logger.log(
            logging.INFO if is_repaired else logging.WARNING,
            "%s %s %s, %s: %s",
            outcome,
            violation.invariant,
            violation.code,
            candidate.name,
            violation.detail,
        )
        self._found.add(1, {"invariant": str(violation.invariant), "outcome": outcome})
