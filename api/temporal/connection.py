"""The API's connection to Temporal: opened on first use, and retried until it succeeds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio.client import Client
from temporalio.service import RPCError

from ticketing.errors import TemporalUnavailable

logger = logging.getLogger(__name__)

HEALTH_CHECK_TIMEOUT = timedelta(seconds=1)
"""For a health check over an established connection."""
CONNECT_TIMEOUT = timedelta(seconds=10)
"""For one attempt: TLS over a long distance takes time."""


class TemporalConnection:
    """Makes one attempt to connect at a time, independent of the callers that wait for it.

    A caller that gives up leaves the attempt running, so the process gets connected even if
    connecting takes longer than every single caller waits.
    """

    def __init__(self, connect: Callable[[], Awaitable[Client]]) -> None:
        self._connect = connect
        self._connecting: asyncio.Task[Client] | None = None

    async def client(self) -> Client:
        """Wait for the connected client.

        Raises:
            TemporalUnavailable: connecting failed, so nothing has been sent.
        """
        if self._connecting is None or _has_failed(self._connecting):
            self._connecting = asyncio.create_task(self._connect_in_time())
        return await asyncio.shield(self._connecting)

    async def responds(self) -> bool:
        """Whether Temporal answers a health check."""
        try:
            client = await self.client()
            return await client.service_client.check_health(timeout=HEALTH_CHECK_TIMEOUT)
        except TemporalUnavailable:
            return False
        except RPCError as error:
            logger.warning("Temporal does not respond: %s", error.message)
            return False

    def start_connecting(self) -> None:
        """Connect in the background."""
        self._connecting = asyncio.create_task(self._connect_in_time())

    async def aclose(self) -> None:
        """Stop connecting."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)

    async def _connect_in_time(self) -> Client:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
                return await self._connect()
        except TimeoutError:
            logger.warning("Temporal does not respond: not connected in %s", CONNECT_TIMEOUT)
        except RuntimeError as error:
            # Logged, because a reason such as an untrusted certificate is visible nowhere else.
            logger.warning("Temporal does not respond: %s", error)
        raise TemporalUnavailable


def _has_failed(connecting: asyncio.Task[Client]) -> bool:
    return connecting.done() and (connecting.cancelled() or connecting.exception() is not None)
