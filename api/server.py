"""The HTTP server and its graceful shutdown: drain, answer open requests, stop."""

import asyncio
import logging
import socket
from datetime import timedelta

import uvicorn
from fastapi import FastAPI

from api.http.connections import BoundedProtocol, ConnectionState
from api.resources import resources_of
from api.temporal.orders import WORKER_ANSWER_TIMEOUT
from ticketing.settings import ApiSettings

logger = logging.getLogger(__name__)

ANSWER_GRACE = timedelta(seconds=5)
"""Beyond the longest request, for requests that are open when the process is told to stop."""
SLOW_CLIENT_TIMEOUT = timedelta(seconds=1)
"""How long a client may take to read its answer while the server shuts down."""
HTTP_KEEP_ALIVE = timedelta(seconds=75)
"""Longer than proxies keep idle connections (nginx and most clouds: 60 s), so that the proxy
closes first. If the server closed while a proxy sends a request, the proxy could not tell
whether the request arrived."""
TICK_SECONDS = 0.1


class ApiServer(uvicorn.Server):
    """Drains when it is told to stop, then answers the open requests and ends.

    While it drains, it still serves requests. But its readiness probe fails, so that balancers
    route new requests elsewhere, and its answers carry `Connection: close`, so that clients
    with open connections leave without losing a request.
    """

    def __init__(self, app: FastAPI, settings: ApiSettings) -> None:
        super().__init__(_config(app, settings))
        self.server_state = ConnectionState()
        self._app = app
        self._drain_for = settings.drain

    async def main_loop(self) -> None:
        """Serve until told to stop, then drain."""
        await super().main_loop()
        await self._drain()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the open requests and stop."""
        # The server waits for open answers, and event streams never end by themselves.
        await resources_of(self._app).ticket_feed.aclose()
        loop = asyncio.get_running_loop()
        loop.call_later(SLOW_CLIENT_TIMEOUT.total_seconds(), self._abort_slow_clients)
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
            await self.on_tick(0)  # keeps the Date header current
            await asyncio.sleep(TICK_SECONDS)

    def _abort_slow_clients(self) -> None:
        # Such as a sleeping laptop. The shutdown would wait for it as for the longest request.
        for connection in self.server_state.connections:
            if connection.transport.get_write_buffer_size():
                connection.transport.abort()


def _config(app: FastAPI, settings: ApiSettings) -> uvicorn.Config:
    longest_request = max(settings.purchase.payment_wait, WORKER_ANSWER_TIMEOUT) + ANSWER_GRACE
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="off",
        http=BoundedProtocol,
        log_config=None,
        access_log=False,  # RequestLogMiddleware logs without the query
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=int(HTTP_KEEP_ALIVE.total_seconds()),
        timeout_graceful_shutdown=int(longest_request.total_seconds()),
    )
