"""Open reservations: how 20,000 waiting orders slow down a purchase."""

from collections.abc import Iterator
from datetime import timedelta

from bench.figures import Row, Target, absolute_row, relative_row
from bench.market import Market, open_market
from bench.purchases import buy
from bench.reservations import reserve_directly
from ticketing.event_loops import run

OPEN = 20_000
TTL = timedelta(days=1)
AT_ONCE = 8
PURCHASES = 160
REPEATS = 4

LATENCY = Target("<=", 1.2)


def rows() -> Iterator[Row]:
    """Purchases in two markets alternately, one of them with many open orders."""
    with open_market() as empty, open_market() as full:
        yield from run(_compare(empty, full))
        peak = full.processes.peak_memory()["worker"]
    yield absolute_row(f"peak memory of the worker with {OPEN:,} open orders", peak, "MiB")


async def _compare(empty: Market, full: Market) -> list[Row]:
    await reserve_directly(full, full.list_tickets(OPEN), lambda: TTL)
    for market in (empty, full):
        await buy(market, PURCHASES, AT_ONCE)
    pairs = [
        (await buy(full, PURCHASES, AT_ONCE), await buy(empty, PURCHASES, AT_ONCE))
        for _ in range(REPEATS)
    ]
    still_open = full.database["orders"].count_documents({"status": "created"})
    assert still_open == OPEN, still_open
    return [
        relative_row(
            f"purchase with {OPEN:,} open orders: {step} p{percent}",
            [loaded.milliseconds(step, percent) for loaded, _ in pairs],
            [unloaded.milliseconds(step, percent) for _, unloaded in pairs],
            "ms",
            LATENCY if percent == 50 else None,
        )
        for step in ("reserve", "pay")
        for percent in (50, 95)
    ]
