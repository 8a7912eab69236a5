"""Run the Stripe sandbox: `python -m stripe_sandbox --port 12111`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from stripe_sandbox.app import create_sandbox
from stripe_sandbox.config import EVERY_EVENT, SandboxConfig
from stripe_sandbox.server import SandboxServer, listen, url_of
from ticketing.event_loops import run


def main() -> None:
    """Serve until SIGTERM or SIGINT; exit with 2 and a reason if that cannot be."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="stripe-sandbox %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        config = SandboxConfig(
            database=options.database,
            webhook_urls=tuple(options.webhook_urls),
            enabled_events=frozenset(options.enabled_events) or EVERY_EVENT,
            webhook_secret=os.environ.get("STRIPE_WEBHOOK_SECRET") or None,
            allow_faults=not options.no_faults,
        )
    except ValueError as error:
        sys.exit(f"stripe-sandbox: {error} (the secret is read from STRIPE_WEBHOOK_SECRET)")
    run(_serve(config, options.host, options.port))


async def _serve(config: SandboxConfig, host: str, port: int) -> None:
    try:
        listener = listen(host, port)
    except OSError as error:
        sys.exit(f"stripe-sandbox: cannot listen on {host}:{port}: {error.strerror}")
    if config.database is not None:
        config.database.parent.mkdir(parents=True, exist_ok=True)
    server = SandboxServer(create_sandbox(config))
    loop = asyncio.get_running_loop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    logging.getLogger(__name__).info("listening on %s", url_of(listener))
    await server.serve(sockets=[listener])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stripe_sandbox", description="A Stripe that runs here."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=12111)
    parser.add_argument("--database", type=Path, help="SQLite file; in memory without")
    parser.add_argument(
        "--webhook-url",
        dest="webhook_urls",
        action="append",
        default=[],
        help="where events go, signed with STRIPE_WEBHOOK_SECRET; given several times, "
        "each event goes to the first of them that takes it",
    )
    parser.add_argument(
        "--enabled-event",
        dest="enabled_events",
        action="append",
        default=[],
        help="a type of event that goes there; all do without",
    )
    parser.add_argument("--no-faults", action="store_true", help="no faults on demand")
    return parser


if __name__ == "__main__":
    main()
