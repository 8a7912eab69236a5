"""Whether Temporal responds: one question at a time, which outlives whoever waits for it."""

import asyncio
import logging
from datetime import timedelta

from temporalio.client import Client
from temporalio.service import RPCError

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT = timedelta(seconds=1)
"""For the answer over a connection that is there."""
CONNECT_TIMEOUT = timedelta(seconds=10)
"""For all of it: a lazy client connects with the first question, and TLS to far away takes time."""


class TemporalProbe:
    """Asks whether Temporal responds.

    A client that is cancelled while it connects begins anew the next time, so that where connecting
    takes longer than a probe waits it would never be connected.
    """

    def __init__(self) -> None:
        self._asking: asyncio.Task[bool] | None = None

    def ask(self, client: Client) -> asyncio.Future[bool]:
        """The answer to the question that is asked now, or already; cancelling it is harmless."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(_responds(client))
        return asyncio.shield(self._asking)

    async def aclose(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)


async def _responds(client: Client) -> bool:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
            return await client.service_client.check_health(timeout=ANSWER_TIMEOUT)
    except TimeoutError:
        logger.warning("temporal does not respond: not connected in %s", CONNECT_TIMEOUT)
    except (RPCError, RuntimeError) as error:
        # Such as a certificate that is not trusted, which nothing else would tell.
        logger.warning("temporal does not respond: %s", error)
    return False
