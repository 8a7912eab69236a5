"""Requests of a client who comes again when the server says so."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from bench.client import Answer, HttpClient
from bench.figures import Row, Target, absolute_row, percentile

RESERVED_STATUSES = (200, 201)
"""Reserved now, or by an earlier request of the same buyer whose answer was another."""

TURNED_AWAY_P95 = Target("<=", 0.5)


@dataclass
class TurnedAway:
    """Requests that were answered with `Retry-After`."""

    waits: list[float] = field(default_factory=list)
    """Seconds until each of them was answered."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How many there were of each reason."""


async def post_until_admitted(
    client: HttpClient,
    path: str,
    body: Mapping[str, Any],
    turned_away: TurnedAway,
    goes_on: Callable[[], bool] = lambda: True,
) -> Answer:
    """Send the request, and again after each `Retry-After` as long as the client goes on."""
    while True:
        began = perf_counter()
        answer = await client.post(path, body)
        if not answer.is_turned_away or answer.retry_after is None:
            return answer
        turned_away.waits.append(perf_counter() - began)
        turned_away.reasons[answer.reason] += 1
        await asyncio.sleep(answer.retry_after)
        if not goes_on():
            return answer


def turned_away_rows(
    name: str, repeats: Sequence[TurnedAway], target: Target | None = None
) -> Iterator[Row]:
    """How many requests were turned away and, if any were, why and how soon."""
    waits = [one.waits for one in repeats]
    yield absolute_row(f"{name}: requests turned away", [len(one) for one in waits], "")
    for reason in sum((one.reasons for one in repeats), Counter[str]()):
        counts = [one.reasons[reason] for one in repeats]
        yield absolute_row(f"{name}: requests turned away, {reason}", counts, "")
    if any(waits):
        slow = [percentile(one, 95) for one in waits if one]
        yield absolute_row(f"{name}: turned away, told p95", slow, "s", target)
        slowest = [max(one) for one in waits if one]
        yield absolute_row(f"{name}: turned away, told at the latest", slowest, "s")
