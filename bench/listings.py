"""Listing pages of a large market, compared with a small one and with a bare query."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from bench.bare_listing import bare_listing
from bench.client import HttpClient, http_client
from bench.figures import Row, Target, relative_row
from bench.market import Market, insert_tickets, open_market
from bench.timing import run_concurrently
from ticketing.event_loops import run

LARGE = 1_000_000
SMALL = 1_000
REPEATS = 7
REQUESTS = 200
AT_ONCE = 4

LATENCY = Target("<=", 1.2)
THROUGHPUT = Target(">=", 0.7)


@dataclass(frozen=True)
class ListingQueries:
    """The query parameters of each kind of page, for the API and for the bare server."""

    api: dict[str, dict[str, Any]]
    bare: dict[str, dict[str, Any]]


def rows() -> Iterator[Row]:
    """Measure both markets alternately, then the API and the bare server over the large one."""
    with open_market() as small, open_market() as large:
        insert_tickets(small, SMALL)
        insert_tickets(large, LARGE)
        with bare_listing(large) as bare_url:
            yield from run(_compare(small, large, bare_url))


async def _compare(small: Market, large: Market, bare_url: str) -> list[Row]:
    rows = []
    async with (
        small.signed_in_client() as in_small,
        large.signed_in_client() as in_large,
        http_client(bare_url) as bare,
    ):
        few, many = await _listing_queries(in_small, SMALL), await _listing_queries(in_large, LARGE)
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
            rows.append(relative_row(f"{title}: p50", large_ones, small_ones, "ms", LATENCY))
            rates = [
                (
                    await _rate(in_large, "/api/tickets", many.api[name]),
                    await _rate(bare, "/tickets", many.bare[name]),
                )
                for _ in range(REPEATS)
            ]
            ours, bares = [r[0] for r in rates], [r[1] for r in rates]
            rows.append(relative_row(f"{title}: requests/s", ours, bares, "1/s", THROUGHPUT))
    return rows


async def _listing_queries(client: HttpClient, tickets: int) -> ListingQueries:
    """The first page, a page far behind it, and a search."""
    deep: dict[str, Any] = {}
    for _ in range(min(100, tickets // 400)):
        page = (await client.get("/api/tickets", {"limit": 100, **deep})).json()
        deep = {"cursor": page["nextCursor"]}
    before = page["items"][-1]["createdAt"]
    return ListingQueries(
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

    return REQUESTS / await run_concurrently(REQUESTS, AT_ONCE, ask)


async def _get(client: HttpClient, path: str, params: dict[str, Any]) -> None:
    answer = await client.get(path, params)
    assert answer.status == 200, answer.content
    assert len(answer.json()["items"]) == 20
