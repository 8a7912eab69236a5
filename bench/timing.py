"""Durations of the steps of many purchases."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import perf_counter

from bench.figures import percentile
from bench.retries import TurnedAway


@dataclass
class Timings:
    """Seconds that each purchase took to reserve and to pay, and for all together."""

    reserve: list[float] = field(default_factory=list)
    pay: list[float] = field(default_factory=list)
    total_seconds: float = 0.0
    """Seconds from the first start to the last end."""
    turned_away: TurnedAway = field(default_factory=TurnedAway)

    def add(self, reserve: float, pay: float) -> None:
        self.reserve.append(reserve)
        self.pay.append(pay)

    @property
    def per_second(self) -> float:
        return len(self.reserve) / self.total_seconds

    def milliseconds(self, step: str, percent: int) -> float:
        return percentile(getattr(self, step), percent) * 1000


async def run_concurrently(
    count: int, at_once: int, step: Callable[[int], Awaitable[None]]
) -> float:
    """Run the step `count` times, `at_once` of them concurrently; the seconds it took."""
    numbers = iter(range(count))

    async def run_steps() -> None:
        for number in numbers:
            await step(number)

    began = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(run_steps())
    return perf_counter() - began
