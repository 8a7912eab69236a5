"""Temporal's development server, with the configuration that orders need."""

import asyncio
import shutil
import sys
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.service import RPCError

from devstack.ports import LOOPBACK, free_ports
from devstack.process import Part, StackError
from ticketing.worker_health import polling_workers
from workflows.register_search_attributes import register_search_attributes

# By default the server limits itself to 20 polls a second, so after a short burst every step
# waits for 50 ms; and with several partitions per task queue a burst waits for seconds.
DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": 2000,
    "history.timerProcessorMaxPollRPS": 2000,
    "history.visibilityProcessorMaxPollRPS": 2000,
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
}
# SQLite's default journal makes it four times slower; data written with these survive a crash.
SQLITE_PRAGMAS = {"journal_mode": "WAL", "synchronous": "NORMAL"}

T = TypeVar("T")


def find_temporal() -> Path:
    """The `temporal` CLI: this environment's, or else one on PATH."""
    beside_python = Path(sys.executable).with_name("temporal")
    if beside_python.exists():
        return beside_python
    on_path = shutil.which("temporal")
    if on_path:
        return Path(on_path)
    raise StackError("no temporal CLI: install the packages of requirements.lock")


def temporal_part(database: Path, port: int, log: Path, ui_port: int | None = None) -> Part:
    """The server, with its state in an SQLite file; without a UI port it serves no Web UI."""
    database.parent.mkdir(parents=True, exist_ok=True)
    command = [str(find_temporal()), "server", "start-dev"]
    command += ["--ip", LOOPBACK, "--port", str(port), "--db-filename", str(database)]
    command += ["--headless"] if ui_port is None else ["--ui-port", str(ui_port)]
    command += ["--ui-disable-news-fetch", "--disable-config-file", "--log-level", "warn"]
    for pragma, setting in SQLITE_PRAGMAS.items():
        command += ["--sqlite-pragma", f"{pragma}={setting}"]
    for key, value in DYNAMIC_CONFIG.items():
        command += ["--dynamic-config-value", f"{key}={value}"]
    return Part(
        name="temporal",
        command=command,
        log=log,
        is_ready=lambda: ensure_search_attributes(f"{LOOPBACK}:{port}"),
    )


def ensure_search_attributes(address: str) -> bool:
    """Register missing search attributes; whether the server has them all.

    The server's own flag for this has no effect on an existing database.
    """
    return run_in_thread(_register(address))


def is_polled_by(address: str, task_queue: str, pid: int | None) -> bool:
    """Whether the worker with this process id polls the task queue."""
    return pid is not None and run_in_thread(_is_polled_by(address, task_queue, pid))


def run_in_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new event loop in a thread, even where a loop is running."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


@contextmanager
def running_temporal_dev_server(directory: Path) -> Iterator[str]:
    """A server on free ports for as long as the block runs; gives its address."""
    (port,) = free_ports(1)
    part = temporal_part(directory / "temporal.db", port, log=directory / "temporal.log")
    part.start()
    try:
        part.wait_until_ready()
        yield f"{LOOPBACK}:{port}"
    finally:
        part.stop()


async def _register(address: str) -> bool:
    try:
        client = await Client.connect(address)
        await register_search_attributes(client)
    except (RuntimeError, RPCError):
        return False  # not listening yet, or its namespace is still being made
    return True


async def _is_polled_by(address: str, task_queue: str, pid: int) -> bool:
    try:
        client = await Client.connect(address)
        workers = await polling_workers(client, task_queue)
    except (RuntimeError, RPCError):
        return False
    return any(identity.startswith(f"{pid}@") for identity in workers)
