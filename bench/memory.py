"""Memory of the API and the worker over many purchases."""

from collections.abc import Iterator

from bench.figures import Curve, Row, Spread, Target, absolute_row
from bench.market import Market, open_market
from bench.purchases import buy
from ticketing.event_loops import run

FIRST = 1_000
LAST = 10_000
STEP = 500
AT_ONCE = 32
PROCESSES = ("api", "worker")

FLAT = Target("<=", 1.1)


def rows() -> Iterator[Row | Curve]:
    """Resident memory after the last purchase, compared with that after the first thousand."""
    with open_market() as market:
        sizes = run(_grow(market))
        peaks = market.processes.peak_memory()
    early, late = sizes[FIRST], sizes[LAST]
    for name in PROCESSES:
        points = [(bought, memory[name]) for bought, memory in sizes.items()]
        yield Curve(f"memory of {name}", "purchases", "MiB", points)
        yield Row(
            f"memory of {name} after {LAST:,} purchases",
            Spread.of([late[name]]),
            "MiB",
            Spread.of([early[name]]),
            Spread.of([late[name] / early[name]]),
            FLAT,
        )
    for name, peak in peaks.items():
        yield absolute_row(f"peak memory of {name}", peak, "MiB")


async def _grow(market: Market) -> dict[int, dict[str, float]]:
    """The memory of each process, by the number of purchases."""
    sizes = {}
    for bought in range(STEP, LAST + STEP, STEP):
        await buy(market, STEP, AT_ONCE)
        sizes[bought] = market.processes.memory()
    return sizes
