"""How long each step of many purchases took."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import perf_counter

from bench.figures import percentile


@dataclass
class Timings:
    """Seconds that each purchase took to reserve and to pay."""

    reserve: list[float] = field(default_factory=list)
    pay: list[float] = field(default_factory=list)
    lasted: float = 0.0
    """Seconds for all of them."""

    def add(self, reserve: float, pay: float) -> None:
        self.reserve.append(reserve)
        self.pay.append(pay)

    @property
    def per_second(self) -> float:
        return len(self.reserve) / self.lasted

    def milliseconds(self, step: str, percent: int) -> float:
        return percentile(getattr(self, step), percent) * 1000


async def side_by_side(count: int, at_once: int, step: Callable[[int], Awaitable[None]]) -> float:
    """Do the step so many times, some of them at once; the seconds that it took."""
    numbers = iter(range(count))

    async def go_on() -> None:
        for number in numbers:
            await step(number)

    began = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(go_on())
    return perf_counter() - began
