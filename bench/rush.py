"""The rush: many buyers at the same instant, and far fewer tickets."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import perf_counter

from bson import ObjectId
from temporalio.client import Client

from bench.client import HttpClient, Unanswered
from bench.figures import Row, Target, percentile, plain
from bench.market import Market, open_market
from bench.purchases import pay
from ticketing.event_loops import run

BUYERS = 500
TICKETS = (1, 50)
REPEATS = 3

LOSERS_P95 = Target("<=", 1.0)
STARTS_PER_TICKET = Target("<=", 2.0)
NOBODY = Target("==", 0)


@dataclass
class Rush:
    """What became of one rush."""

    sold: int = 0
    unanswered: int = 0
    losers: list[float] = field(default_factory=list)
    """Seconds until each was told that the ticket is gone."""
    started: int = 0
    """Workflows, whatever became of them."""


def rows() -> Iterator[Row]:
    """Each buyer wants one of the tickets; whoever gets one pays once all have been answered.

    Nobody types a card any faster.
    """
    with open_market() as market:
        for tickets in TICKETS:
            rushes = [run(_rush(market, tickets)) for _ in range(REPEATS)]
            name = f"rush, {BUYERS} buyers, {_tickets(tickets)}"
            yield plain(f"{name}: sold", [one.sold for one in rushes], "", Target("==", tickets))
            yield plain(f"{name}: unanswered", [one.unanswered for one in rushes], "", NOBODY)
            yield plain(
                f"{name}: loser told, p95",
                [percentile(one.losers, 95) for one in rushes],
                "s",
                LOSERS_P95,
            )
            yield plain(
                f"{name}: workflows started per ticket sold",
                [one.started / one.sold for one in rushes],
                "",
                STARTS_PER_TICKET,
            )


async def _rush(market: Market, count: int) -> Rush:
    temporal = await Client.connect(market.temporal_address)
    tickets = market.list_tickets(count)
    rush = Rush()
    async with AsyncExitStack() as stack:
        buyers = [await stack.enter_async_context(market.person()) for _ in range(BUYERS)]
        # Connected already, as browsers with the page open are.
        await asyncio.gather(*(buyer.get("/healthz") for buyer in buyers))
        before = await _workflows(temporal)
        orders = await asyncio.gather(
            *(_want(buyer, tickets[n % count], rush) for n, buyer in enumerate(buyers))
        )
        won = [(buyer, order) for buyer, order in zip(buyers, orders, strict=True) if order]
        await asyncio.gather(*(pay(buyer, order) for buyer, order in won))
    rush.started = await _settled(temporal) - before
    wanted = {"_id": {"$in": [ObjectId(ticket) for ticket in tickets]}}
    rush.sold = market.database["tickets"].count_documents({**wanted, "sold_at": {"$ne": None}})
    return rush


async def _want(buyer: HttpClient, ticket_id: str, rush: Rush) -> str | None:
    """The id of the order that holds the ticket; None for all but one."""
    began = perf_counter()
    try:
        answer = await buyer.post("/api/orders", {"ticketId": ticket_id})
    except Unanswered:
        rush.unanswered += 1
        return None
    if answer.status == 201:
        return str(answer.json()["id"])
    if answer.status == 409:
        rush.losers.append(perf_counter() - began)
    else:
        rush.unanswered += 1
    return None


async def _workflows(temporal: Client) -> int:
    return (await temporal.count_workflows("WorkflowType = 'OrderWorkflow'")).count


async def _settled(temporal: Client) -> int:
    """How many there are once Temporal's list, which lags behind, has stopped growing."""
    counted = -1
    while (now := await _workflows(temporal)) != counted:
        counted = now
        await asyncio.sleep(1)
    return counted


def _tickets(count: int) -> str:
    return "1 ticket" if count == 1 else f"{count} tickets"
