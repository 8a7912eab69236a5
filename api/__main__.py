"""`python -m api` serves the API until it is told to stop."""

import asyncio
import signal
import sys

import uvicorn
from fastapi import FastAPI
from pymongo.errors import PyMongoError

from api.app import create_app
from api.server import ApiServer
from ticketing.garbage import tune_gc_after_startup
from ticketing.observability.logs import configure_logging
from ticketing.observability.metrics import CannotServeMetrics
from ticketing.settings import SettingsError, read_api_settings

WRONG_SETTINGS = 2
CANNOT_START = 1

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    try:
        settings = read_api_settings()
    except SettingsError as error:
        return _give_up(WRONG_SETTINGS, str(error))
    configure_logging(settings.log)
    app = create_app(settings)
    server = ApiServer(app, settings)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        try:
            runner.run(_serve(app, server))
        except asyncio.CancelledError:
            return 0  # told to stop before it served
        except PyMongoError as error:
            reason = str(error).partition(" (configured timeouts")[0].partition(", Timeout")[0]
            return _give_up(CANNOT_START, f"MONGODB_URL: MongoDB cannot be used: {reason}")
        except CannotServeMetrics as error:
            return _give_up(CANNOT_START, str(error))
    return 0


async def _serve(app: FastAPI, server: uvicorn.Server) -> None:
    starting = asyncio.current_task()
    assert starting is not None  # noqa: S101 - this is it
    for stop in STOP_SIGNALS:
        # The first process of a container hears no signal that it has not asked for.
        asyncio.get_running_loop().add_signal_handler(stop, starting.cancel)
    # Not uvicorn's own handling of the lifespan, which tells a failed start by a traceback.
    async with app.router.lifespan_context(app):
        tune_gc_after_startup()
        for stop in STOP_SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(stop)
            # uvicorn hands signals back after it has shut down, when only closing is left.
            signal.signal(stop, lambda *_: None)
        await server.serve()


def _give_up(status: int, message: str) -> int:
    print(f"holdfast api: {message}", file=sys.stderr)  # noqa: T201 - to whoever starts it
    return status


if __name__ == "__main__":
    sys.exit(main())
