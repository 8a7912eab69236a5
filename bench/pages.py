"""Pages of the storefront: response times with many tickets.

One client requests one page after the other, on loopback.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
from bson import ObjectId

from bench.figures import Row, Target, absolute_row, percentile
from bench.market import RARE_TOWN, Market, insert_tickets, open_market

TICKETS = 100_000
REQUESTS = 100
REPEATS = 3

P95 = Target("<=", 50.0)


def rows() -> Iterator[Row]:
    """The response time of every page, requested by a user who may see it."""
    with open_market() as market:
        insert_tickets(market, TICKETS)
        with closing(_client(market)) as seller, closing(_client(market)) as buyer:
            order = _reserve(seller, buyer)
            for page, path in _pages(seller, order):
                yield _row(seller if path == "/listings" else buyer, page, path)
            buyer.cookies.clear()
            yield _row(buyer, "signing in", "/signin")


def _client(market: Market) -> httpx.Client:
    """A client that has signed up."""
    client = httpx.Client(base_url=market.stack.urls["api"], timeout=60, trust_env=False)
    user = {"email": f"{ObjectId()}@example.com", "password": "correct horse battery"}
    client.post("/api/users/signup", json=user).raise_for_status()
    return client


def _reserve(seller: httpx.Client, buyer: httpx.Client) -> dict[str, Any]:
    """An unpaid order for a new ticket."""
    ticket = seller.post("/api/tickets", json={"title": "Row 4", "price": 5000}).json()
    order: dict[str, Any] = buyer.post("/api/orders", json={"ticketId": ticket["id"]}).json()
    return order


def _pages(client: httpx.Client, order: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "first page", "/"
    yield "available, first page", "/?show=available"
    yield "a page half-way", _deep(client, 40)
    yield "sold, first page", "/?show=sold"
    yield "lowest price first", "/?sort=price&show=available"
    yield "prices from 50 to 60", "/?min=50&max=60"
    yield "a word of one title in ten", "/?q=berlin"
    yield "two such words", "/?q=berlin+velvet"
    yield "a word of one title in a thousand", f"/?q={RARE_TOWN.lower()}"
    yield "a word, available, by price", "/?q=lyon&show=available&sort=price"
    yield "a ticket", f"/tickets/{order['ticketId']}"
    yield "a card", f"/tickets/{order['ticketId']}/card"
    yield "my listings", "/listings"
    yield "my orders", "/orders"
    yield "an order to pay", f"/orders/{order['id']}"


def _deep(client: httpx.Client, pages: int) -> str:
    """The path of a page far behind the first."""
    cursor = ""
    for _ in range(pages):
        query = {"status": "all", "limit": "100", **({"cursor": cursor} if cursor else {})}
        cursor = client.get("/api/tickets", params=query).json()["nextCursor"]
    return f"/?cursor={cursor}"


def _row(client: httpx.Client, page: str, path: str) -> Row:
    repeats = [percentile(_times(client, path), 95) for _ in range(REPEATS)]
    return absolute_row(f"page, {TICKETS:,} tickets, {page}: p95", repeats, "ms", P95)


def _times(client: httpx.Client, path: str) -> list[float]:
    times = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        answer = client.get(path, headers={"Accept": "text/html"})
        times.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, (path, answer.status_code)
    return times
