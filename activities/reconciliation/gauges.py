"""Gauges for Prometheus: open reservations and open violations."""

import asyncio
import logging
from datetime import timedelta

from pymongo.errors import PyMongoError
from temporalio.common import MetricMeter

from activities.reconciliation.violations import ViolationLog
from ticketing.models import Order
from ticketing.statuses import UNPAID_STATUSES, OrderStatus

INTERVAL = timedelta(seconds=15)

logger = logging.getLogger("holdfast.worker")


class Gauges:
    """Every worker measures all of them, so take their maximum and not their sum."""

    def __init__(self, meter: MetricMeter) -> None:
        self._reservations = meter.create_gauge(
            "holdfast_open_reservations", "Orders that hold a ticket and are not paid, by status"
        )
        self._open_violations = ViolationLog(meter)

    async def measure_forever(self) -> None:
        """Measure at intervals; while MongoDB does not answer, the last values stay."""
        while True:
            try:
                await self.measure()
            except PyMongoError as error:
                logger.warning("the gauges were not measured: %s", type(error).__name__)
            await asyncio.sleep(INTERVAL.total_seconds())

    async def measure(self) -> None:
        """Count open orders, in the index that holds them alone, and open violations."""
        found = await count_open_orders()
        for status in UNPAID_STATUSES:
            self._reservations.set(found.get(status, 0), {"status": str(status)})
        await self._open_violations.measure_open()


async def count_open_orders() -> dict[str, int]:
    """How many open orders there are of each status that occurs."""
    open_orders = {"status": {"$in": [str(status) for status in UNPAID_STATUSES]}}
    groups = await Order.get_pymongo_collection().aggregate(
        [{"$match": open_orders}, {"$group": {"_id": "$status", "count": {"$sum": 1}}}],
        hint="open_newest_first",
    )
    return {OrderStatus(group["_id"]): group["count"] async for group in groups}
