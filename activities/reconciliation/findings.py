"""The reconciliation's memory: what it found, said once and kept until it is gone."""

import logging
from dataclasses import dataclass
from datetime import datetime

from beanie import PydanticObjectId
from pymongo import ReturnDocument
from temporalio.common import MetricMeter

from ticketing.clock import utc_now
from ticketing.invariants import Anomaly, Invariant
from ticketing.models import Finding, FindingStatus

logger = logging.getLogger("holdfast.reconciliation")

FINDINGS_COUNTER = "holdfast_invariant_findings"
OPEN_GAUGE = "holdfast_invariant_findings_open"
REPORTED, REPAIRED = OUTCOMES = ("reported", "repaired")


@dataclass(frozen=True)
class Subject:
    """A ticket or an order that may be broken."""

    kind: str
    """`ticket` or `order`."""
    id: str
    intent_ids: tuple[str, ...] = ()
    """Intents at Stripe that say that they are this order's."""

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.id}"


class FindingLog:
    """Keeps findings, logs and counts each when it is new; one that lasts is told once."""

    def __init__(self, meter: MetricMeter) -> None:
        self._found = meter.create_counter(
            FINDINGS_COUNTER, "Broken invariants that were found, each once until it is gone"
        )
        self._open = meter.create_gauge(OPEN_GAUGE, "Findings that somebody has to look at")
        for invariant in Invariant:
            for outcome in OUTCOMES:
                # A series that begins with its first finding has never increased.
                self._found.add(0, {"invariant": str(invariant), "outcome": outcome})

    async def keep(self, subject: Subject, anomalies: dict[Anomaly, bool]) -> None:
        """Store what was found of a subject, and whether it was repaired; the rest is resolved."""
        now = utc_now()
        seen = [
            await self._store(subject, anomaly, is_repaired, now)
            for anomaly, is_repaired in anomalies.items()
        ]
        await Finding.find(
            {"subject": subject.name, "status": FindingStatus.OPEN, "key": {"$nin": seen}}
        ).update({"$set": {"status": FindingStatus.RESOLVED, "resolved_at": now}})

    async def measure_open(self) -> None:
        """Set the gauge: open findings of each invariant, those without any included."""
        groups = await Finding.get_pymongo_collection().aggregate(
            [
                {"$match": {"status": FindingStatus.OPEN}},
                {"$group": {"_id": "$invariant", "count": {"$sum": 1}}},
            ]
        )
        found = {group["_id"]: group["count"] async for group in groups}
        for invariant in Invariant:
            self._open.set(found.get(invariant, 0), {"invariant": str(invariant)})

    async def _store(
        self, subject: Subject, anomaly: Anomaly, is_repaired: bool, now: datetime
    ) -> str:
        status = FindingStatus.REPAIRED if is_repaired else FindingStatus.OPEN
        key = ":".join(
            filter(None, (anomaly.invariant, anomaly.code, subject.name, anomaly.intent_id))
        )
        resolved_at = now if is_repaired else None
        before = await Finding.get_pymongo_collection().find_one_and_update(
            {"key": key},
            {
                "$set": {
                    "detail": anomaly.detail,
                    "status": status,
                    "last_seen_at": now,
                    "resolved_at": resolved_at,
                },
                "$setOnInsert": {
                    "subject": subject.name,
                    "invariant": anomaly.invariant,
                    "code": anomaly.code,
                    f"{subject.kind}_id": PydanticObjectId(subject.id),
                    "intent_id": anomaly.intent_id,
                    "found_at": now,
                },
            },
            upsert=True,
            return_document=ReturnDocument.BEFORE,
        )
        if before is None or before["status"] != FindingStatus.OPEN or is_repaired:
            self._tell(subject, anomaly, is_repaired)
        if before is not None and before["status"] != FindingStatus.OPEN:
            await Finding.find_one({"key": key}).update({"$set": {"found_at": now}})
        return key

    def _tell(self, subject: Subject, anomaly: Anomaly, is_repaired: bool) -> None:
        outcome = REPAIRED if is_repaired else REPORTED
        logger.log(
            logging.INFO if is_repaired else logging.WARNING,
            "%s %s %s, %s: %s",
            outcome,
            anomaly.invariant,
            anomaly.code,
            subject.name,
            anomaly.detail,
        )
        self._found.add(1, {"invariant": str(anomaly.invariant), "outcome": outcome})
