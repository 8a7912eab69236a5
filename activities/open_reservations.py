"""How many orders are open, for Prometheus."""

import asyncio
import logging
from datetime import timedelta

from pymongo.errors import PyMongoError
from temporalio.common import MetricMeter

from ticketing.models import Order
from ticketing.statuses import UNPAID_STATUSES, OrderStatus

INTERVAL = timedelta(seconds=15)

logger = logging.getLogger("holdfast.worker")


class OpenReservations:
    """A gauge that every worker sets to the same number: the maximum counts, not the sum."""

    def __init__(self, meter: MetricMeter) -> None:
        self._gauge = meter.create_gauge(
            "holdfast_open_reservations", "Orders that hold a ticket and are not paid, by status"
        )

    async def measure_forever(self) -> None:
        """Count now and then; while MongoDB does not answer, the last number stays."""
        while True:
            try:
                await self.measure()
            except PyMongoError as error:
                logger.warning("open reservations not counted: %s", type(error).__name__)
            await asyncio.sleep(INTERVAL.total_seconds())

    async def measure(self) -> None:
        """Count them, in the index that holds open orders alone."""
        found = await count_open()
        for status in UNPAID_STATUSES:
            self._gauge.set(found.get(status, 0), {"status": str(status)})


async def count_open() -> dict[str, int]:
    """How many open orders there are of each status that occurs."""
    open_orders = {"status": {"$in": [str(status) for status in UNPAID_STATUSES]}}
    groups = await Order.get_pymongo_collection().aggregate(
        [{"$match": open_orders}, {"$group": {"_id": "$status", "count": {"$sum": 1}}}],
        hint="open_newest_first",
    )
    return {OrderStatus(group["_id"]): group["count"] async for group in groups}
