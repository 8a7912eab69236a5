"""Run the Stripe sandbox: `python -m stripe_sandbox --help` lists its options."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from stripe_sandbox.app import create_sandbox
from stripe_sandbox.config import ALL_EVENTS, SandboxConfig
from stripe_sandbox.server import SandboxServer, listen, url_of


def main() -> None:
    """Serve until SIGTERM or SIGINT; exit with an error message if that is impossible."""
    options = _parse_options()
    logging.basicConfig(level=logging.INFO, format="stripe-sandbox %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        config = SandboxConfig(
            database=options.database,
            webhook_urls=tuple(options.webhook_urls),
            enabled_events=frozenset(options.enabled_events) or ALL_EVENTS,
            webhook_secret=os.environ.get("STRIPE_WEBHOOK_SECRET") or None,
            merchant=options.merchant,
            allow_faults=not options.no_faults,
        )
    except ValueError as error:
        sys.exit(f"stripe-sandbox: {error} (the secret is read from STRIPE_WEBHOOK_SECRET)")
    try:
        listener = listen(options.host, options.port)
    except OSError as error:
        address = f"{options.host}:{options.port}"
        sys.exit(f"stripe-sandbox: cannot listen on {address}: {error.strerror}")
    if config.database is not None:
        config.database.parent.mkdir(parents=True, exist_ok=True)
    server = SandboxServer(create_sandbox(config))
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(_serve(server, listener))


async def _serve(server: SandboxServer, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    logging.getLogger(__name__).info("listening on %s", url_of(listener))
    await server.serve(sockets=[listener])


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m stripe_sandbox",
        description="A stateful Stripe for development and tests, on this machine.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=12111, help="port to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--database", type=Path, help="SQLite file that keeps the state (default: in memory)"
    )
    parser.add_argument(
        "--webhook-url",
        dest="webhook_urls",
        metavar="URL",
        action="append",
        default=[],
        help="post events there, signed with the secret in STRIPE_WEBHOOK_SECRET; given several "
        "times, the URLs take turns, and the next one stands in for one that fails",
    )
    parser.add_argument(
        "--enabled-event",
        dest="enabled_events",
        metavar="TYPE",
        action="append",
        default=[],
        help="post only events of this type, and of others given the same way (default: all)",
    )
    parser.add_argument(
        "--merchant",
        default=SandboxConfig.merchant,
        help="name that the bank's page shows to the buyer (default: %(default)s)",
    )
    parser.add_argument(
        "--no-faults",
        action="store_true",
        help="serve neither /_sandbox/faults nor /_sandbox/refunds",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
