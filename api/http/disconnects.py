"""Clients that leave while their request is being processed.

The server does not cancel a request whose client has disconnected; it only says so to whoever asks.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request


@asynccontextmanager
async def ends_when_client_leaves(request: Request) -> AsyncIterator[None]:
    """Cancel what the block awaits when the client disconnects; the body must have been read.

    Raises:
        ClientDisconnect: the client has left; there is nobody to answer.
    """
    try:
        # A timeout without a deadline until the client leaves: it cancels the block, and tells
        # that from a cancellation of the whole task.
        async with asyncio.timeout(None) as waiting:
            watching = asyncio.create_task(_expire_at_disconnect(request, waiting))
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
    except TimeoutError:
        if waiting.expired():
            raise ClientDisconnect from None
        raise


async def _expire_at_disconnect(request: Request, waiting: asyncio.Timeout) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    waiting.reschedule(asyncio.get_running_loop().time())
