"""Recovery: Temporal's server is killed while many unpaced buyers shop, and starts again."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.figures import Curve, Row, Target, absolute_row, relative_row
from bench.market import Market, open_market
from bench.purchases import buy
from bench.retries import turned_away_rows
from bench.unpaced_buyers import Outcomes, UnpacedBuyers, refusal_rows
from bench.violations import violations
from ticketing.event_loops import run

BUYERS = 400
SECONDS_BEFORE = 30.0
SECONDS_AFTER = 60.0
START_TIMEOUT = 120.0
WINDOW = 5.0
RECOVERED = 0.9
"""The share of the orders per second before the kill."""
STOCK = 20_000
WARM_UP = 64

SECONDS_TO_RECOVER = 15.0
RECOVERS_WITHIN = Target("<=", SECONDS_TO_RECOVER)
STAYS_RECOVERED = Target(">=", RECOVERED)
ZERO = Target("==", 0)


@dataclass(frozen=True)
class Recovery:
    """What the buyers were told; all times in seconds since they started."""

    outcomes: Outcomes
    killed_at: float
    returned_at: float
    ended_at: float

    def rates(self, start: float, end: float) -> list[float]:
        """Orders told as completed per second, in one window after the other."""
        count = int((end - start) / WINDOW)
        return [self.rate(start + number * WINDOW) for number in range(count)]

    def rate(self, start: float) -> float:
        """Orders told as completed per second, in the window that starts then."""
        return self.outcomes.completed_between(start, start + WINDOW) / WINDOW

    @property
    def rate_before(self) -> float:
        return median(self.rates(0, self.killed_at))

    @property
    def rate_afterwards(self) -> float:
        """Orders told as completed per second, from when it should have recovered to the end."""
        start = self.returned_at + SECONDS_TO_RECOVER
        return self.outcomes.completed_between(start, self.ended_at) / (self.ended_at - start)

    @property
    def seconds_to_recover(self) -> float:
        """Seconds from the return to the end of the first window that is as good as before."""
        if self.rate_before == 0:
            return float("inf")
        seconds = range(int(self.ended_at - self.returned_at - WINDOW) + 1)
        return next(
            (
                second + WINDOW
                for second in seconds
                if self.rate(self.returned_at + second) >= RECOVERED * self.rate_before
            ),
            float("inf"),
        )


def rows() -> Iterator[Row | Curve]:
    """Kill the server under load, start it again at once, and check the invariants at the end."""
    with open_market(payment_wait=None) as market:
        recovery = run(_measure(market))
        violated = violations(market)
    name = f"recovery, {BUYERS} buyers"
    outcomes = recovery.outcomes
    yield absolute_row(f"{name}: orders/s before the kill", recovery.rate_before, "1/s")
    yield absolute_row(
        f"{name}: back at {RECOVERED:g} of it after the return",
        recovery.seconds_to_recover,
        "s",
        RECOVERS_WITHIN,
    )
    yield relative_row(
        f"{name}: orders/s later than {SECONDS_TO_RECOVER:g} s after the return",
        [recovery.rate_afterwards],
        [recovery.rate_before],
        "1/s",
        STAYS_RECOVERED,
    )
    down = recovery.returned_at - recovery.killed_at
    yield absolute_row(f"{name}: server away for", down, "s")
    after = recovery.rates(recovery.returned_at, recovery.ended_at)
    yield absolute_row(f"{name}: orders/s after the return", after, "1/s")
    yield absolute_row(f"{name}: payments left undecided", outcomes.undecided, "")
    yield from turned_away_rows(name, [outcomes.turned_away])
    yield from refusal_rows(name, outcomes)
    yield absolute_row(f"{name}: violated invariants", violated, "", ZERO)
    yield Curve(name, "seconds", "orders/s told as completed", _points(recovery))


def _points(recovery: Recovery) -> Sequence[tuple[float, float]]:
    """The end of each window, and its orders per second."""
    rates = recovery.rates(0, recovery.ended_at)
    return [((number + 1) * WINDOW, rate) for number, rate in enumerate(rates)]


async def _measure(market: Market) -> Recovery:
    await buy(market, WARM_UP, 8)
    buyers = UnpacedBuyers(iter(market.list_tickets(STOCK)))
    async with asyncio.TaskGroup() as group:
        group.create_task(buyers.run(market, BUYERS))
        await buyers.started.wait()
        await asyncio.sleep(SECONDS_BEFORE)
        killed_at = buyers.seconds
        await _restart_temporal(market)
        returned_at = buyers.seconds
        await asyncio.sleep(SECONDS_AFTER)
        ended_at = buyers.seconds
        buyers.stop()
    return Recovery(buyers.outcomes, killed_at, returned_at, ended_at)


async def _restart_temporal(market: Market) -> None:
    """Kill the server and start it again, while the buyers go on."""
    market.stack.kill("temporal")
    temporal = market.stack.parts["temporal"]
    # In this thread, with which the server dies; only the waiting is done in another.
    temporal.start()
    await asyncio.to_thread(temporal.wait_until_ready, START_TIMEOUT)
