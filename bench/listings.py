"""Listing pages of a large market, beside a small one and beside a bare query."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from bench.bare_listing import bare_listing
from bench.client import HttpClient, http_client
from bench.figures import Row, Target, compared
from bench.market import Market, fill, open_market
from bench.timing import side_by_side
from ticketing.event_loops import run

LARGE = 1_000_000
SMALL = 1_000
REPEATS = 7
REQUESTS = 200
AT_ONCE = 4

LATENCY = Target("<=", 1.2)
THROUGHPUT = Target(">=", 0.7)


@dataclass(frozen=True)
class Pages:
    """One market's pages, by what they are, and the same as the bare server is asked for them."""

    api: dict[str, dict[str, Any]]
    bare: dict[str, dict[str, Any]]


def rows() -> Iterator[Row]:
    """Both markets take turns, and so do the API and the bare server over the large one."""
    with open_market() as small, open_market() as large:
        fill(small, SMALL)
        fill(large, LARGE)
        with bare_listing(large) as bare_url:
            yield from run(_compare(small, large, bare_url))


async def _compare(small: Market, large: Market, bare_url: str) -> list[Row]:
    rows = []
    async with (
        small.person() as in_small,
        large.person() as in_large,
        http_client(bare_url) as bare,
    ):
        few, many = await _pages(in_small, SMALL), await _pages(in_large, LARGE)
        for name in many.api:
            pairs = [
                (
                    await _latency(in_large, "/api/tickets", many.api[name]),
                    await _latency(in_small, "/api/tickets", few.api[name]),
                )
                for _ in range(REPEATS)
            ]
            large_ones, small_ones = [p[0] for p in pairs], [p[1] for p in pairs]
            title = f"listing, {name}, {LARGE:,} tickets"
            rows.append(compared(f"{title}: p50", large_ones, small_ones, "ms", LATENCY))
            rates = [
                (
                    await _rate(in_large, "/api/tickets", many.api[name]),
                    await _rate(bare, "/tickets", many.bare[name]),
                )
                for _ in range(REPEATS)
            ]
            ours, bares = [r[0] for r in rates], [r[1] for r in rates]
            rows.append(compared(f"{title}: requests/s", ours, bares, "1/s", THROUGHPUT))
    return rows


async def _pages(client: HttpClient, tickets: int) -> Pages:
    """The first page, one far behind it, and one that was searched for."""
    deep: dict[str, Any] = {}
    for _ in range(min(100, tickets // 400)):
        page = (await client.get("/api/tickets", {"limit": 100, **deep})).json()
        deep = {"cursor": page["nextCursor"]}
    before = page["items"][-1]["createdAt"]
    return Pages(
        api={"first": {}, "deep": deep, "searched": {"q": "berlin"}},
        bare={"first": {}, "deep": {"before": before}, "searched": {"word": "berlin"}},
    )


async def _latency(client: HttpClient, path: str, params: dict[str, Any]) -> float:
    times = []
    for _ in range(REQUESTS // 4):
        began = perf_counter()
        await _get(client, path, params)
        times.append((perf_counter() - began) * 1000)
    return sorted(times)[len(times) // 2]


async def _rate(client: HttpClient, path: str, params: dict[str, Any]) -> float:
    async def ask(_: int) -> None:
        await _get(client, path, params)

    return REQUESTS / await side_by_side(REQUESTS, AT_ONCE, ask)


async def _get(client: HttpClient, path: str, params: dict[str, Any]) -> None:
    answer = await client.get(path, params)
    assert answer.status == 200, answer.content
    assert len(answer.json()["items"]) == 20
