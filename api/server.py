"""The HTTP server, and how it leaves: announced, and with everything answered that was asked."""

import asyncio
import logging
import socket
from datetime import timedelta

import uvicorn
from fastapi import FastAPI

from api.http.connections import BoundedProtocol, ConnectionState
from api.resources import resources_of
from api.temporal.orders import ANSWER_TIMEOUT
from ticketing.settings import ApiSettings

logger = logging.getLogger(__name__)

GRACE = timedelta(seconds=5)
"""For requests that are being answered when the process is told to stop, beyond the longest."""
TIME_TO_READ = timedelta(seconds=1)
"""For answers that are on their way then."""
KEEP_ALIVE = timedelta(seconds=75)
"""Longer than proxies keep idle connections (nginx and most clouds: 60 s), so that a proxy
closes first. One that sends a request while the server closes cannot tell if it was heard."""
TICK_SECONDS = 0.1


class ApiServer(uvicorn.Server):
    """Drains when it is told to stop, then answers what is in flight, and ends.

    While it drains it serves as before, but says that it is not ready, so that balancers send
    others elsewhere, and that connections end with their next answer, so that who keeps one
    open leaves it in a way that loses no request.
    """

    def __init__(self, app: FastAPI, settings: ApiSettings) -> None:
        super().__init__(_config(app, settings))
        self.server_state = ConnectionState()
        self._app = app
        self._drain_for = settings.drain

    async def main_loop(self) -> None:
        """Serve until told to stop, and through the drain after it."""
        await super().main_loop()
        await self._drain()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was asked, and end."""
        # The server waits for answers, and those of the streams would never end.
        await resources_of(self._app).ticket_feed.aclose()
        loop = asyncio.get_running_loop()
        loop.call_later(TIME_TO_READ.total_seconds(), self._drop_who_do_not_read)
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        if not self._drain_for:
            return
        logger.info("draining for %.0f s", self._drain_for.total_seconds())
        resources_of(self._app).draining.set()
        self.config.encoded_headers.append((b"connection", b"close"))
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._drain_for.total_seconds()
        while loop.time() < ends_at and not self.force_exit:
            await self.on_tick(0)  # keeps the Date header right
            await asyncio.sleep(TICK_SECONDS)

    def _drop_who_do_not_read(self) -> None:
        # Such as a machine that sleeps. It would be waited for as long as for the longest request.
        for connection in self.server_state.connections:
            if connection.transport.get_write_buffer_size():
                connection.transport.abort()


def _config(app: FastAPI, settings: ApiSettings) -> uvicorn.Config:
    longest_request = max(settings.purchase.payment_wait, ANSWER_TIMEOUT) + GRACE
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="off",
        http=BoundedProtocol,
        log_config=None,
        access_log=False,  # RequestLogMiddleware's lines leave out the query
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=int(KEEP_ALIVE.total_seconds()),
        timeout_graceful_shutdown=int(longest_request.total_seconds()),
    )
