"""Heartbeats, so that the death of a worker is noticed long before its activity times out."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

HEARTBEAT_TIMEOUT = timedelta(seconds=6)
"""After this time without a heartbeat, the activity is given to another worker."""

BEATS_PER_TIMEOUT = 3


class HeartbeatInterceptor(Interceptor):
    """Makes every activity that has a heartbeat timeout send heartbeats while it runs."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _HeartbeatInboundInterceptor(next)


class _HeartbeatInboundInterceptor(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: ANN401 - the activity's own result
        timeout = activity.info().heartbeat_timeout
        if not timeout:
            return await super().execute_activity(input)
        beating = asyncio.create_task(_beat(timeout / BEATS_PER_TIMEOUT))
        try:
            return await super().execute_activity(input)
        finally:
            beating.cancel()


async def _beat(interval: timedelta) -> None:
    while True:
        # Before the first one, too: most steps are over by then, and spare the server a request.
        await asyncio.sleep(interval.total_seconds())
        activity.heartbeat()
