"""Purchases: reserve a ticket and pay for it, compared with the bare purchase (bench/bare.py)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from time import perf_counter
from typing import Protocol

from bson import ObjectId
from temporalio.client import Client

from bench.bare import BareBuyer
from bench.bare_worker import running_bare_worker
from bench.client import HttpClient
from bench.figures import Row, Target, absolute_row, relative_row
from bench.market import Market, open_market
from bench.retries import RESERVED_STATUSES, TurnedAway, post_until_admitted
from bench.timing import Timings, run_concurrently
from bench.usage import Processes
from ticketing.event_loops import run

REPEATS = 3
PURCHASES = {1: 60, 8: 160, 32: 320}
"""Purchases per repeat, by the number of concurrent buyers."""
PATIENCE = 60.0
"""For how many seconds a buyer who is turned away comes again; the waits count as latency."""

ORDERS_PER_SECOND = Target(">=", 0.45)
RESERVE_LATENCY = Target("<=", 1.5)


def rows() -> Iterator[Row]:
    """Measure product and bare purchase alternately on one stack, for each number of buyers."""
    with (
        open_market() as market,
        running_bare_worker(market.temporal_address, market.directory) as bare,
    ):
        assert bare.pid is not None
        processes = Processes(market.stack, {"bare": bare.pid})
        run(_warm_up(market))
        for at_once in PURCHASES:
            yield from run(_compare(market, processes, at_once))


async def _warm_up(market: Market) -> None:
    await buy(market, 64, 8)
    await _buy_bare(market, 64, 8)


async def _compare(market: Market, processes: Processes, at_once: int) -> list[Row]:
    count = PURCHASES[at_once]
    bought: list[Timings] = []
    bare: list[Timings] = []
    cpu: list[dict[str, float]] = []
    bare_cpu: list[dict[str, float]] = []
    for _ in range(REPEATS):
        with processes.cpu_times() as times:
            bought.append(await buy(market, count, at_once))
        cpu.append(times.per(count))
        with processes.cpu_times() as times:
            bare.append(await _buy_bare(market, count, at_once))
        bare_cpu.append(times.per(count))
    name = f"purchase, {at_once} at once"
    return [
        relative_row(
            f"{name}: orders/s",
            [one.per_second for one in bought],
            [one.per_second for one in bare],
            "1/s",
            ORDERS_PER_SECOND if at_once == max(PURCHASES) else None,
        ),
        *_latencies(name, bought, bare, RESERVE_LATENCY if at_once == 1 else None),
        absolute_row(
            f"{name}: requests turned away", [len(one.turned_away.waits) for one in bought], ""
        ),
        *_cpu_rows(name, cpu, bare_cpu),
    ]


def _latencies(
    name: str, bought: Sequence[Timings], bare: Sequence[Timings], target: Target | None
) -> Iterator[Row]:
    for step in ("reserve", "pay"):
        for percent in (50, 95):
            yield relative_row(
                f"{name}: {step} p{percent}",
                [one.milliseconds(step, percent) for one in bought],
                [one.milliseconds(step, percent) for one in bare],
                "ms",
                target if (step, percent) == ("reserve", 50) else None,
            )


def _cpu_rows(
    name: str, cpu: Sequence[dict[str, float]], bare_cpu: Sequence[dict[str, float]]
) -> Iterator[Row]:
    yield relative_row(
        f"{name}: CPU per order",
        [sum(times.values()) for times in cpu],
        [sum(times.values()) for times in bare_cpu],
        "ms",
    )
    for process in cpu[0]:
        if process != "bare":
            yield absolute_row(f"{name}: CPU per order, {process}", [t[process] for t in cpu], "ms")


class Shop(Protocol):
    """Where clients who have signed in buy."""

    def signed_in_client(self, number: int = 0) -> AbstractAsyncContextManager[HttpClient]: ...


async def buy(market: Market, count: int, at_once: int) -> Timings:
    """Make `count` purchases by `at_once` concurrent buyers; the times of their steps."""
    return await buy_tickets(market, market.list_tickets(count), at_once)


async def buy_tickets(shop: Shop, tickets: Sequence[str], at_once: int) -> Timings:
    """Buy each of the tickets, by `at_once` concurrent buyers."""
    timings = Timings()
    async with AsyncExitStack() as stack:
        free = [await stack.enter_async_context(shop.signed_in_client(n)) for n in range(at_once)]

        async def purchase(number: int) -> None:
            buyer = free.pop()
            await _purchase(buyer, tickets[number], timings)
            free.append(buyer)

        timings.total_seconds = await run_concurrently(len(tickets), at_once, purchase)
    return timings


async def reserve(buyer: HttpClient, ticket_id: str, turned_away: TurnedAway) -> str:
    """Reserve the ticket, again when turned away; the id of the order."""
    body = {"ticketId": ticket_id}
    answer = await post_until_admitted(buyer, "/api/orders", body, turned_away, _patience())
    assert answer.status in RESERVED_STATUSES, answer.content
    return str(answer.json()["id"])


async def pay(buyer: HttpClient, order_id: str, turned_away: TurnedAway) -> None:
    """Pay for the order with a card that works, again when turned away."""
    body = {"orderId": order_id, "paymentMethod": "pm_card_visa"}
    answer = await post_until_admitted(buyer, "/api/payments", body, turned_away, _patience())
    assert answer.status == 201, answer.content


def _patience() -> Callable[[], bool]:
    """Whether a buyer who began now still comes again."""
    ends = perf_counter() + PATIENCE
    return lambda: perf_counter() < ends


async def _purchase(buyer: HttpClient, ticket_id: str, timings: Timings) -> None:
    began = perf_counter()
    order_id = await reserve(buyer, ticket_id, timings.turned_away)
    reserved = perf_counter()
    await pay(buyer, order_id, timings.turned_away)
    timings.add(reserved - began, perf_counter() - reserved)


async def _buy_bare(market: Market, count: int, at_once: int) -> Timings:
    timings = Timings()
    buyer = BareBuyer(await Client.connect(market.temporal_address))

    async def purchase(_: int) -> None:
        timings.add(*await buyer.buy(str(ObjectId())))

    timings.total_seconds = await run_concurrently(count, at_once, purchase)
    return timings
