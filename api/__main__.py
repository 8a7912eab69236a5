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

EXIT_WRONG_SETTINGS = 2
EXIT_CANNOT_START = 1

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    try:
        settings = read_api_settings()
    except SettingsError as error:
        return _fail(EXIT_WRONG_SETTINGS, str(error))
    configure_logging(settings.log)
    app = create_app(settings)
    server = ApiServer(app, settings)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        try:
            runner.run(_serve(app, server))
        except asyncio.CancelledError:
            return 0  # told to stop before it was ready
        except PyMongoError as error:
            reason = str(error).partition(" (configured timeouts")[0].partition(", Timeout")[0]
            return _fail(EXIT_CANNOT_START, f"MONGODB_URL: MongoDB cannot be used: {reason}")
        except CannotServeMetrics as error:
            return _fail(EXIT_CANNOT_START, str(error))
    return 0


async def _serve(app: FastAPI, server: uvicorn.Server) -> None:
    starting = asyncio.current_task()
    assert starting is not None  # noqa: S101 - this is it
    for stop in STOP_SIGNALS:
        # As process 1 of a container, it gets only the signals that it has a handler for.
        asyncio.get_running_loop().add_signal_handler(stop, starting.cancel)
    # uvicorn's own lifespan handling would report a failed start with a traceback.
    async with app.router.lifespan_context(app):
        tune_gc_after_startup()
        for stop in STOP_SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(stop)
            # uvicorn raises the signals again after its shutdown, when only closing is left to do.
            signal.signal(stop, lambda *_: None)
        await server.serve()


def _fail(status: int, message: str) -> int:
    print(f"holdfast api: {message}", file=sys.stderr)  # noqa: T201 - the program's output
    return status


if __name__ == "__main__":
    sys.exit(main())
