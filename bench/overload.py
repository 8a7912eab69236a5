"""Overload: more and more unpaced buyers, who come again when they are turned away."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from bench.figures import Row, Target, absolute_row, relative_row
from bench.market import Market, open_market
from bench.purchases import buy
from bench.retries import TURNED_AWAY_P95, turned_away_rows
from bench.unpaced_buyers import Outcomes, UnpacedBuyers, refusal_rows
from ticketing.event_loops import run

LEVELS = (32, 128, 400, 1_000)
SECONDS = 45.0
STOCK = 20_000
WARM_UP = 64

THROUGHPUT = Target(">=", 0.9)
ZERO = Target("==", 0)


@dataclass(frozen=True)
class LevelResult:
    """What so many buyers were told."""

    buyers: int
    outcomes: Outcomes
    load: float
    """The share of a core that the buyers took themselves."""

    @property
    def per_second(self) -> float:
        """Orders told as completed in the time, per second; those told later do not count."""
        return self.outcomes.completed_between(0, SECONDS) / SECONDS


def rows() -> Iterator[Row]:
    """Measure each number of buyers on a stack of its own, with the default waiting time."""
    few: LevelResult | None = None
    for buyers in LEVELS:
        with open_market(payment_wait=None) as market:
            level = run(_measure(market, buyers))
        few = few or level
        yield from _rows(level, few)


async def _measure(market: Market, count: int) -> LevelResult:
    await buy(market, WARM_UP, 8)
    buyers = UnpacedBuyers(iter(market.list_tickets(STOCK)))
    with market.processes.cpu_times() as times:
        async with asyncio.TaskGroup() as group:
            group.create_task(buyers.run(market, count))
            await buyers.started.wait()
            await asyncio.sleep(SECONDS)
            buyers.stop()
    return LevelResult(count, buyers.outcomes, times.seconds["load"] / buyers.seconds)


def _rows(level: LevelResult, few: LevelResult) -> Iterator[Row]:
    name = f"overload, {level.buyers:,} buyers"
    title, outcomes = f"{name}: orders/s told as completed", level.outcomes
    if level is few:
        yield absolute_row(title, level.per_second, "1/s")
    else:
        yield relative_row(title, [level.per_second], [few.per_second], "1/s", THROUGHPUT)
    yield absolute_row(f"{name}: payments left undecided", outcomes.undecided, "", ZERO)
    yield from turned_away_rows(name, [outcomes.turned_away], TURNED_AWAY_P95)
    yield from refusal_rows(name, outcomes)
    yield absolute_row(f"{name}: CPU of the buyers", level.load, "cores")
