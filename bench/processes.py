"""Several processes: two of each, under the same load as one of each."""

from collections.abc import Iterator

from bench.figures import Row, Target, compared, plain
from bench.market import ONE_OF_EACH, Market, open_market
from bench.purchases import buy
from bench.violations import violations
from devstack.settings import Shape
from ticketing.event_loops import run

SEVERAL = Shape(mongodb=3, api=2, workers=2)
AT_ONCE = 32
PURCHASES = 300
REPEATS = 3

NONE = Target("==", 0)


def rows() -> Iterator[Row]:
    """Both shapes take turns; then the invariants of each are checked."""
    with open_market(ONE_OF_EACH) as one, open_market(SEVERAL) as several:
        pairs = run(_compare(one, several))
        broken = [violations(several), violations(one)]
    name = "two APIs, two workers, three MongoDB members"
    yield compared(f"{name}: orders/s", [p[0] for p in pairs], [p[1] for p in pairs], "1/s")
    yield plain(f"{name}: violated invariants", broken, "", NONE)


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
