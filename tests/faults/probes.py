"""`python -m tests.faults.probes TEMPORAL_ADDRESS RECORD`: measures how slow the machine is.

Writes a line into the record whenever a probe has ended. A process of its own, so that it is
slow only where the machine is; it goes on while Temporal is away.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TextIO, TypeVar
from uuid import uuid4

from temporalio import workflow
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.faults.pace import TIMER, WORK, Probe

QUIET = Runtime(telemetry=TelemetryConfig(logging=None))
"""Does not tell of each request that it repeats."""
TASK_QUEUE = "harness-probes"
TRY_AGAIN_SECONDS = 0.2

T = TypeVar("T")


@workflow.defn
class WaitASecond:
    """Needs what an order's deadline needs: a timer, and a worker that hears of it."""

    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(1)


async def main() -> None:
    """Measure until killed."""
    _, address, record = sys.argv
    with Path(record).open("a", buffering=1) as lines:  # noqa: ASYNC230 - before anything runs
        await asyncio.gather(_work(lines), _wait_for_timers(address, lines))


async def _work(lines: TextIO) -> None:
    async def compute() -> None:
        total = 0
        for number in range(400_000):
            total += number * number

    await _repeat(WORK, compute, lines)


async def _wait_for_timers(address: str, lines: TextIO) -> None:
    client = await _until_answered(lambda: _connect(address))

    async def wait_for_timer() -> None:
        await client.execute_workflow(
            WaitASecond.run,
            id=f"probe:{uuid4()}",
            task_queue=TASK_QUEUE,
            task_timeout=timedelta(seconds=5),
        )

    worker = Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[WaitASecond],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        await _repeat(TIMER, lambda: _until_answered(wait_for_timer), lines)


async def _connect(address: str) -> Client:
    client = await Client.connect(address, runtime=QUIET)
    # A fresh server answers before it has made its namespace.
    await client.count_workflows()
    return client


async def _repeat(probe: Probe, measured: Callable[[], Awaitable[None]], lines: TextIO) -> None:
    while True:
        lines.write(f"{probe.name} {time.time()}\n")
        await asyncio.sleep(probe.pause)
        await measured()


async def _until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask for as long as Temporal is away; a bare RuntimeError is a connection never made."""
    while True:
        try:
            return await ask()
        except (RPCError, RuntimeError):
            await asyncio.sleep(TRY_AGAIN_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
