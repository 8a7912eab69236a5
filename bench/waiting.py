"""Waiting: a thousand callers whose payments slow banks decide, and what others notice of them."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from time import perf_counter

from bench.client import HttpClient, http_client
from bench.figures import Row, Target, absolute_row, percentile, relative_row
from bench.market import Market, open_market
from bench.purchases import buy, reserve
from bench.retries import TurnedAway
from bench.timing import run_concurrently
from ticketing.event_loops import run

CALLERS = 1_000
AT_ONCE = 16
REQUESTS = 400
"""One after the other, while the callers wait."""
SETTLE_SECONDS = 2.0
"""After the last payment was begun, until requests are measured."""

LATENCY = Target("<=", 1.2)


def rows() -> Iterator[Row]:
    """Listings before anybody waits, and while all do."""
    with open_market() as market:
        yield from run(_compare(market))


async def _compare(market: Market) -> list[Row]:
    await buy(market, AT_ONCE, AT_ONCE)
    tickets = market.list_tickets(CALLERS)
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(market.signed_in_client()) for _ in tickets]
        orders = [""] * CALLERS

        async def reserve_one(number: int) -> None:
            orders[number] = await reserve(callers[number], tickets[number], TurnedAway())

        await run_concurrently(CALLERS, AT_ONCE, reserve_one)
        alone = await _list_tickets(market)
        sandbox = market.stack.settings.urls["stripe_sandbox"]
        async with http_client(sandbox) as stripe:
            fault = {
                "kind": "held",
                "match": {"method": "POST", "path": "/v1/payment_intents"},
                "times": None,
            }
            await stripe.post("/_sandbox/faults", fault)
            paying = [
                asyncio.create_task(_pay(caller, order_id))
                for caller, order_id in zip(callers, orders, strict=True)
            ]
            await _all_are_begun(market)
            await asyncio.sleep(SETTLE_SECONDS)
            with market.processes.cpu_times() as times:
                began = perf_counter()
                waiting = await _list_tickets(market)
            took = perf_counter() - began
        for task in paying:
            task.cancel()
        await asyncio.gather(*paying, return_exceptions=True)
    name = f"{CALLERS:,} callers wait for slow banks"
    return [
        *(
            relative_row(
                f"{name}: listing p{percent}",
                [percentile(waiting, percent) * 1000],
                [percentile(alone, percent) * 1000],
                "ms",
                LATENCY if percent == 50 else None,
            )
            for percent in (50, 95)
        ),
        *(
            absolute_row(f"{name}: CPU of {process}", seconds / took, "cores")
            for process, seconds in times.seconds.items()
        ),
    ]


async def _pay(caller: HttpClient, order_id: str) -> None:
    answer = None
    while answer is None or answer.status == 503:
        answer = await caller.post(
            "/api/payments", {"orderId": order_id, "paymentMethod": "pm_card_visa"}
        )
        if answer.status == 503:
            await asyncio.sleep(1)


async def _all_are_begun(market: Market) -> None:
    charges = market.database["charges"]
    while True:
        if charges.count_documents({"status": "created"}) == CALLERS:
            return
        await asyncio.sleep(0.2)


async def _list_tickets(market: Market) -> list[float]:
    """Seconds that each request took."""
    taken = []
    async with market.signed_in_client() as visitor:
        for _ in range(REQUESTS):
            began = perf_counter()
            answer = await visitor.get("/api/tickets", {"limit": 20})
            assert answer.status == 200, answer.content
            taken.append(perf_counter() - began)
    return taken
