"""The expiry storm: reservations that all end in the same second."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId
from temporalio.client import Client

from bench.figures import Curve, Row, Target, plain
from bench.market import Market, open_market
from bench.reservations import reserve_directly
from ticketing.clock import utc_now
from ticketing.event_loops import run
from ticketing.models.ticket import RESERVED

RESERVATIONS = 2_000
REPEATS = 3
LEAD = timedelta(seconds=100)
"""Time to make them all in, before the first ends."""
LOOK_EVERY = 0.1
GIVE_UP = timedelta(minutes=5)

ALL_FREE = Target("<=", 30.0)
NONE = Target("==", 0)


@dataclass(frozen=True)
class Storm:
    """How the tickets came free: at each look, the seconds since the deadline and how many."""

    looks: list[tuple[float, int]]
    lost: int
    """Orders that did not expire, and tickets that are not free."""

    def freed_after(self, share: float) -> float:
        """Seconds after the deadline until this share of the tickets was free."""
        wanted = RESERVATIONS * share
        return next((at for at, freed in self.looks if freed >= wanted), float("inf"))


def rows() -> Iterator[Row | Curve]:
    """Reserved over minutes, each for as long as is left until one deadline."""
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
        yield plain(f"{name}: {what}", seconds, "s", target)
    yield plain(f"{name}: lost", [storm.lost for storm in storms], "", NONE)
    yield plain(f"{name}: peak memory of the worker", peak, "MiB")
    points = [(at, float(freed)) for at, freed in storms[-1].looks]
    yield Curve(name, "seconds after the deadline", "free tickets", points)


async def _storm(market: Market) -> Storm:
    tickets = market.list_tickets(RESERVATIONS)
    deadline = utc_now() + LEAD
    await reserve_directly(market, tickets, lambda: deadline - utc_now())
    assert utc_now() < deadline, "the reservations were not made in time"
    looks = [look async for look in _looks(market, deadline)]
    await _all_closed(market)
    ours = {"ticket_id": {"$in": [ObjectId(ticket) for ticket in tickets]}}
    expired = {**ours, "status": "cancelled", "cancel_reason": "expired"}
    unexpired = RESERVATIONS - market.database["orders"].count_documents(expired)
    return Storm(looks, lost=unexpired + _held(market))


async def _looks(market: Market, deadline: datetime) -> AsyncIterator[tuple[float, int]]:
    await asyncio.sleep((deadline - utc_now()).total_seconds())
    freed = 0
    while freed < RESERVATIONS and utc_now() < deadline + GIVE_UP:
        freed = RESERVATIONS - _held(market)
        yield (utc_now() - deadline).total_seconds(), freed
        await asyncio.sleep(LOOK_EVERY)


async def _all_closed(market: Market) -> None:
    """Wait until no workflow has anything left to do, which the next storm would pay for."""
    temporal = await Client.connect(market.temporal_address)
    query = "WorkflowType = 'OrderWorkflow' AND ExecutionStatus = 'Running'"
    until = utc_now() + GIVE_UP
    running = RESERVATIONS
    while running and utc_now() < until:
        await asyncio.sleep(1)
        running = (await temporal.count_workflows(query)).count


def _held(market: Market) -> int:
    return int(market.database["tickets"].count_documents(RESERVED))
