"""`python -m api` serves the API until it is told to stop."""

import asyncio
import signal
import socket
import sys
from datetime import timedelta

import uvicorn
from fastapi import FastAPI
from pymongo.errors import PyMongoError

from api.app import create_app
from ticketing.logs import configure_logging
from ticketing.metrics import CannotServeMetrics
from ticketing.settings import ApiSettings, SettingsError, read_api_settings

WRONG_SETTINGS = 2
CANNOT_START = 1

GRACE = timedelta(seconds=5)
"""For requests that are being answered when the process is told to stop, beyond the longest."""
TIME_TO_READ = timedelta(seconds=1)
"""For answers that are on their way then."""


class ApiServer(uvicorn.Server):
    """Ends the streams when it stops: it waits for answers, and they would never end."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was asked, and end."""
        await self._app.state.ticket_feed.aclose()
        loop = asyncio.get_running_loop()
        loop.call_later(TIME_TO_READ.total_seconds(), self._drop_who_do_not_read)
        await super().shutdown(sockets)

    def _drop_who_do_not_read(self) -> None:
        # Such as a machine that sleeps. It would be waited for as long as for the longest request.
        for connection in self.server_state.connections:
            if connection.transport.get_write_buffer_size():
                connection.transport.abort()


def main() -> int:
    try:
        settings = read_api_settings()
    except SettingsError as error:
        return _give_up(WRONG_SETTINGS, str(error))
    configure_logging(settings.log)
    app = create_app(settings)
    server = ApiServer(app, _server_config(app, settings))
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        try:
            runner.run(_serve(app, server))
        except PyMongoError as error:
            reason = str(error).partition(" (configured timeouts")[0].partition(", Timeout")[0]
            return _give_up(CANNOT_START, f"MONGODB_URL: MongoDB cannot be used: {reason}")
        except CannotServeMetrics as error:
            return _give_up(CANNOT_START, str(error))
    return 0


def _server_config(app: FastAPI, settings: ApiSettings) -> uvicorn.Config:
    longest_request = settings.purchase.payment_wait + GRACE
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="off",
        log_config=None,
        access_log=False,  # RequestLogMiddleware's lines leave out the query
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=int(longest_request.total_seconds()),
    )


async def _serve(app: FastAPI, server: uvicorn.Server) -> None:
    # Not uvicorn's own handling of the lifespan, which tells a failed start by a traceback.
    async with app.router.lifespan_context(app):
        for stop in (signal.SIGINT, signal.SIGTERM):
            # uvicorn hands signals back after it has shut down, when only closing is left.
            signal.signal(stop, lambda *_: None)
        await server.serve()


def _give_up(status: int, message: str) -> int:
    print(f"holdfast api: {message}", file=sys.stderr)  # noqa: T201 - to whoever starts it
    return status


if __name__ == "__main__":
    sys.exit(main())
