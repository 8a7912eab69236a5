"""The API's connection to Temporal: made with its first use, and made again until it succeeds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Self

from temporalio.client import Client
from temporalio.service import RPCError

from ticketing.errors import TemporalUnavailable

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT = timedelta(seconds=1)
"""For the answer to a health check, over a connection that is there."""
CONNECT_TIMEOUT = timedelta(seconds=10)
"""For one attempt: TLS to far away takes time."""


class TemporalConnection:
    """One attempt to connect at a time, which outlives whoever waits for it.

    A caller that gives up leaves the attempt running. So a process whose callers wait for less
    time than connecting takes is connected in the end.
    """

    def __init__(self, connect: Callable[[], Awaitable[Client]]) -> None:
        self._connect = connect
        self._connecting: asyncio.Task[Client] | None = None

    @classmethod
    def of(cls, client: Client) -> Self:
        """A connection that is there already."""

        async def connected() -> Client:
            return client

        return cls(connected)

    async def client(self) -> Client:
        """The client, once it is connected.

        Raises:
            TemporalUnavailable: it cannot be connected, so nothing has been sent.
        """
        if self._connecting is None or _has_failed(self._connecting):
            self._connecting = asyncio.create_task(self._connected())
        return await asyncio.shield(self._connecting)

    async def responds(self) -> bool:
        """Whether Temporal answers a health check."""
        try:
            client = await self.client()
            return await client.service_client.check_health(timeout=ANSWER_TIMEOUT)
        except TemporalUnavailable:
            return False
        except RPCError as error:
            logger.warning("Temporal does not respond: %s", error.message)
            return False

    def begin(self) -> None:
        """Connect in the background."""
        self._connecting = asyncio.create_task(self._connected())

    async def aclose(self) -> None:
        """Stop connecting."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)

    async def _connected(self) -> Client:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
                return await self._connect()
        except TimeoutError:
            logger.warning("Temporal does not respond: not connected in %s", CONNECT_TIMEOUT)
        except RuntimeError as error:
            # Such as a certificate that is not trusted, which nothing else would tell.
            logger.warning("Temporal does not respond: %s", error)
        raise TemporalUnavailable


def _has_failed(connecting: asyncio.Task[Client]) -> bool:
    return connecting.done() and (connecting.cancelled() or connecting.exception() is not None)
