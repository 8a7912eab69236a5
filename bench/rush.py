"""The rush: many concurrent buyers for few tickets."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import perf_counter

from bson import ObjectId
from temporalio.client import Client

from bench.client import NO_ANSWER_ERRORS, HttpClient
from bench.figures import Row, Target, absolute_row, percentile
from bench.market import Market, open_market
from bench.purchases import pay
from bench.retries import (
    RESERVED_STATUSES,
    TURNED_AWAY_P95,
    TurnedAway,
    post_until_admitted,
    turned_away_rows,
)
from ticketing.event_loops import run

BUYERS = 500
TICKETS = (1, 50)
REPEATS = 3

LOSERS_P95 = Target("<=", 0.8)
STARTS_PER_TICKET = Target("<=", 2.0)
ZERO = Target("==", 0)


@dataclass
class RushResult:
    """The outcome of one rush."""

    sold: int = 0
    unanswered: int = 0
    losers: list[float] = field(default_factory=list)
    """Seconds until each buyer without a ticket was refused, with the waits for `Retry-After`."""
    turned_away: TurnedAway = field(default_factory=TurnedAway)
    started: int = 0
    """The number of workflows that were started."""


def rows() -> Iterator[Row]:
    """All buyers reserve at the same time; those who succeed pay once all have an answer."""
    with open_market() as market:
        for tickets in TICKETS:
            rushes = [run(_rush(market, tickets)) for _ in range(REPEATS)]
            name = f"rush, {BUYERS} buyers, {_tickets(tickets)}"
            yield absolute_row(
                f"{name}: sold", [one.sold for one in rushes], "", Target("==", tickets)
            )
            yield absolute_row(f"{name}: unanswered", [one.unanswered for one in rushes], "", ZERO)
            yield absolute_row(
                f"{name}: loser told, p95",
                [percentile(one.losers, 95) for one in rushes],
                "s",
                LOSERS_P95,
            )
            yield from turned_away_rows(name, [one.turned_away for one in rushes], TURNED_AWAY_P95)
            yield absolute_row(
                f"{name}: workflows started per ticket sold",
                [one.started / one.sold for one in rushes],
                "",
                STARTS_PER_TICKET,
            )


async def _rush(market: Market, count: int) -> RushResult:
    temporal = await Client.connect(market.temporal_address)
    tickets = market.list_tickets(count)
    rush = RushResult()
    async with AsyncExitStack() as stack:
        buyers = [await stack.enter_async_context(market.signed_in_client()) for _ in range(BUYERS)]
        # Connect beforehand, as browsers with an open page have.
        await asyncio.gather(*(buyer.get("/healthz") for buyer in buyers))
        before = await _workflows(temporal)
        orders = await asyncio.gather(
            *(_try_to_reserve(buyer, tickets[n % count], rush) for n, buyer in enumerate(buyers))
        )
        won = [(buyer, order) for buyer, order in zip(buyers, orders, strict=True) if order]
        await asyncio.gather(*(pay(buyer, order, rush.turned_away) for buyer, order in won))
    rush.started = await _final_count(temporal) - before
    wanted = {"_id": {"$in": [ObjectId(ticket) for ticket in tickets]}}
    rush.sold = market.database["tickets"].count_documents({**wanted, "sold_at": {"$ne": None}})
    return rush


async def _try_to_reserve(buyer: HttpClient, ticket_id: str, rush: RushResult) -> str | None:
    """Reserve the ticket; the id of the order, or None if it was refused."""
    began = perf_counter()
    try:
        body = {"ticketId": ticket_id}
        answer = await post_until_admitted(buyer, "/api/orders", body, rush.turned_away)
    except NO_ANSWER_ERRORS:
        rush.unanswered += 1
        return None
    if answer.status in RESERVED_STATUSES:
        return str(answer.json()["id"])
    if answer.status == 409:
        rush.losers.append(perf_counter() - began)
    else:
        rush.unanswered += 1
    return None


async def _workflows(temporal: Client) -> int:
    return (await temporal.count_workflows("WorkflowType = 'OrderWorkflow'")).count


async def _final_count(temporal: Client) -> int:
    """The number of workflows, once Temporal's list, which lags behind, stops growing."""
    counted = -1
    while (now := await _workflows(temporal)) != counted:
        counted = now
        await asyncio.sleep(1)
    return counted


def _tickets(count: int) -> str:
    return "1 ticket" if count == 1 else f"{count} tickets"
