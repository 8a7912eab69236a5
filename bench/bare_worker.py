"""The worker of bare purchases, in a process of its own: `python -m bench.bare_worker ADDRESS`."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from temporalio.client import Client

from bench.bare import QUEUE, bare_worker
from devstack.process import REPOSITORY, Part
from devstack.temporal import is_polled_by
from ticketing.event_loops import run


@contextmanager
def running_bare_worker(address: str, directory: Path) -> Iterator[Part]:
    """Run the worker in a process during the block."""
    part = Part(
        name="bare",
        command=[sys.executable, "-m", "bench.bare_worker", address],
        log=directory / "bare.log",
        is_ready=lambda: is_polled_by(address, QUEUE, part.pid),
        environ=os.environ,
        cwd=REPOSITORY,
    )
    part.start()
    try:
        part.wait_until_ready()
        yield part
    finally:
        part.stop()


async def main() -> None:
    """Run the worker until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with bare_worker(await Client.connect(sys.argv[1])):
        await stop.wait()


if __name__ == "__main__":
    run(main())
