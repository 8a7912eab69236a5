"""The expiry storm: reservations that all expire at the same time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId
from temporalio.client import Client

from bench.figures import Curve, Row, Target, absolute_row
from bench.market import Market, open_market
from bench.reservations import reserve_directly
from ticketing.clock import utc_now
from ticketing.event_loops import run
from ticketing.models.ticket import RESERVED

RESERVATIONS = 2_000
REPEATS = 3
LEAD = timedelta(seconds=100)
"""Time to make all reservations before they expire."""
SAMPLE_INTERVAL = 0.1
TIMEOUT = timedelta(minutes=5)

ALL_FREE = Target("<=", 10.0)
ZERO = Target("==", 0)


@dataclass(frozen=True)
class ExpiryStorm:
    """The number of free tickets over time: seconds after the deadline, and count, per sample."""

    samples: list[tuple[float, int]]
    lost: int
    """Orders that did not expire, plus tickets that are not free."""

    def freed_after(self, share: float) -> float:
        """Seconds after the deadline until a share of the tickets was free."""
        wanted = RESERVATIONS * share
        return next((at for at, freed in self.samples if freed >= wanted), float("inf"))


def rows() -> Iterator[Row | Curve]:
    """Make reservations one after another, with one common deadline; measure their expiry."""
    with open_market() as market:
        storms = [run(_storm(market)) for _ in range(REPEATS)]
        peak = market.processes.peak_memory()["worker"]
    name = f"expiry storm, {RESERVATIONS:,} reservations"
    for share, what, target in (
        (1.0, "all free after the deadline", ALL_FREE),
        (0.5, "free after the deadline, p50", None),
        (0.95, "free after the deadline, p95", None),
    ):
        seconds = [storm.freed_after(share) for storm in storms]
        yield absolute_row(f"{name}: {what}", seconds, "s", target)
    yield absolute_row(f"{name}: lost", [storm.lost for storm in storms], "", ZERO)
    yield absolute_row(f"{name}: peak memory of the worker", peak, "MiB")
    points = [(at, float(freed)) for at, freed in storms[-1].samples]
    yield Curve(name, "seconds after the deadline", "free tickets", points)


async def _storm(market: Market) -> ExpiryStorm:
    tickets = market.list_tickets(RESERVATIONS)
    deadline = utc_now() + LEAD
    await reserve_directly(market, tickets, lambda: deadline - utc_now())
    assert utc_now() < deadline, "the reservations were not made in time"
    samples = [sample async for sample in _sample(market, deadline)]
    await _all_closed(market)
    ours = {"ticket_id": {"$in": [ObjectId(ticket) for ticket in tickets]}}
    expired = {**ours, "status": "cancelled", "cancel_reason": "expired"}
    unexpired = RESERVATIONS - market.database["orders"].count_documents(expired)
    return ExpiryStorm(samples, lost=unexpired + _count_reserved(market))


async def _sample(market: Market, deadline: datetime) -> AsyncIterator[tuple[float, int]]:
    await asyncio.sleep((deadline - utc_now()).total_seconds())
    freed = 0
    while freed < RESERVATIONS and utc_now() < deadline + TIMEOUT:
        freed = RESERVATIONS - _count_reserved(market)
        yield (utc_now() - deadline).total_seconds(), freed
        await asyncio.sleep(SAMPLE_INTERVAL)


async def _all_closed(market: Market) -> None:
    """Wait until all workflows are closed, so that they do not slow down the next storm."""
    temporal = await Client.connect(market.temporal_address)
    query = "WorkflowType = 'OrderWorkflow' AND ExecutionStatus = 'Running'"
    until = utc_now() + TIMEOUT
    running = RESERVATIONS
    while running and utc_now() < until:
        await asyncio.sleep(1)
        running = (await temporal.count_workflows(query)).count


def _count_reserved(market: Market) -> int:
    return int(market.database["tickets"].count_documents(RESERVED))
