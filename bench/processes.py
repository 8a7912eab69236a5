"""Several processes of each kind, compared with one of each under the same load."""

from collections.abc import Iterator

from bench.figures import Row, Target, absolute_row, relative_row
from bench.market import SINGLE_PROCESSES, Market, open_market
from bench.purchases import buy
from bench.violations import violations
from devstack.settings import ProcessCounts
from ticketing.event_loops import run

SEVERAL_PROCESSES = ProcessCounts(mongodb=3, api=2, workers=2)
AT_ONCE = 32
PURCHASES = 300
REPEATS = 3

ZERO = Target("==", 0)


def rows() -> Iterator[Row]:
    """Measure both stacks alternately; then check the invariants of each."""
    with open_market(SINGLE_PROCESSES) as one, open_market(SEVERAL_PROCESSES) as several:
        pairs = run(_compare(one, several))
        broken = [violations(several), violations(one)]
    name = "two APIs, two workers, three MongoDB members"
    yield relative_row(f"{name}: orders/s", [p[0] for p in pairs], [p[1] for p in pairs], "1/s")
    yield absolute_row(f"{name}: violated invariants", broken, "", ZERO)


async def _compare(one: Market, several: Market) -> list[tuple[float, float]]:
    for market in (one, several):
        await buy(market, PURCHASES, AT_ONCE)
    return [
        (
            (await buy(several, PURCHASES, AT_ONCE)).per_second,
            (await buy(one, PURCHASES, AT_ONCE)).per_second,
        )
        for _ in range(REPEATS)
    ]
