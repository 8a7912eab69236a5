"""`make bench-pages`: how long the server takes for each page of the storefront.

One client asks for one page after the other, on loopback, of the real stack; the market is large.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from bson import ObjectId
from pymongo import MongoClient

from devstack.mongodb import mongodb_url
from devstack.settings import StackSettings
from devstack.stack import Stack
from ticketing.title_words import words_of

TARGET_MS = 50.0
"""The 95th percentile that no page may be above."""

ACTS = "Amber Lanterns|Velvet Foxes|North Pier|Glass Orchard|Paper Tigers|Slow Comet|Iron Lilies"
TOWNS = ["Berlin", "Lyon", "Porto", "Gdansk", "Turin", "Leeds", "Ghent", "Malmo", "Graz", "Cork"]
RARE = "Zanzibar"
"""In one title of a thousand."""
BATCH = 10_000


@dataclass(frozen=True)
class Measured:
    """One page's times, in milliseconds, and its size."""

    page: str
    times: list[float]
    size: int

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.times, n=20)[18]


def main() -> int:
    """Fill a market, ask for every page, tell; 1 if a page is slower than it may be."""
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        settings = StackSettings.on_free_ports(Path(directory))
        environ = {name: v for name, v in os.environ.items() if name != "STRIPE_API_KEY"}
        with Stack(settings, environ) as stack:
            began = time.perf_counter()
            _fill(settings, arguments.tickets)
            print(f"{arguments.tickets:,} tickets in {time.perf_counter() - began:.0f} s")
            measured = list(_measure(stack, arguments.requests))
    print(_table(measured))
    return int(any(one.p95 > TARGET_MS for one in measured))


def _fill(settings: StackSettings, count: int) -> None:
    """Tickets of many sellers over a year; one in ten is reserved and three are sold."""
    chance = random.Random(1)
    now = datetime.now(UTC)
    with MongoClient[dict[str, Any]](mongodb_url(*settings.mongodb_ports)) as mongo:
        tickets = mongo["holdfast"]["tickets"]
        sellers = [ObjectId() for _ in range(500)]
        for first in range(0, count, BATCH):
            batch = range(first, min(first + BATCH, count))
            tickets.insert_many([_ticket(chance, sellers, now) for _ in batch])


def _ticket(chance: random.Random, sellers: list[ObjectId], now: datetime) -> dict[str, Any]:
    state = chance.choices(("available", "reserved", "sold"), (6, 1, 3))[0]
    town = RARE if chance.random() < 0.001 else chance.choice(TOWNS)
    title = f"{chance.choice(ACTS.split('|'))}, {town}, row {chance.randint(1, 60)}"
    listed = now - timedelta(seconds=chance.uniform(0, 365 * 86_400))
    return {
        "title": title,
        "words": words_of(title),
        "price": chance.randint(8, 420) * 100,
        "currency": "usd",
        "user_id": chance.choice(sellers),
        "order_id": None if state == "available" else ObjectId(),
        "sold_at": now if state == "sold" else None,
        "version": 1,
        "created_at": listed,
        "updated_at": listed,
    }


def _measure(stack: Stack, requests: int) -> Iterator[Measured]:
    with closing(_client(stack)) as seller, closing(_client(stack)) as buyer:
        order = _reserve(seller, buyer)
        for page, path in _pages(seller, order):
            who = seller if path == "/listings" else buyer
            yield _time(who, page, path, requests)
        buyer.cookies.clear()
        yield _time(buyer, "signing in", "/signin", requests)


def _client(stack: Stack) -> httpx.Client:
    """Somebody who has signed up."""
    client = httpx.Client(base_url=stack.urls["api"], timeout=60, trust_env=False)
    user = {"email": f"{ObjectId()}@example.com", "password": "correct horse battery"}
    client.post("/api/users/signup", json=user).raise_for_status()
    return client


def _reserve(seller: httpx.Client, buyer: httpx.Client) -> dict[str, Any]:
    """An order to pay, of a ticket that has just been listed."""
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
    yield "a word of one title in a thousand", f"/?q={RARE.lower()}"
    yield "a word, available, by price", "/?q=lyon&show=available&sort=price"
    yield "a ticket", f"/tickets/{order['ticketId']}"
    yield "a card", f"/tickets/{order['ticketId']}/card"
    yield "my listings", "/listings"
    yield "my orders", "/orders"
    yield "an order to pay", f"/orders/{order['id']}"


def _deep(client: httpx.Client, pages: int) -> str:
    """The address of a page far behind the first."""
    cursor = ""
    for _ in range(pages):
        query = {"status": "all", "limit": "100", **({"cursor": cursor} if cursor else {})}
        cursor = client.get("/api/tickets", params=query).json()["nextCursor"]
    return f"/?cursor={cursor}"


def _time(client: httpx.Client, page: str, path: str, requests: int) -> Measured:
    headers = {"Accept": "text/html"}
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200, (path, answer.status_code)
    times = []
    for _ in range(requests):
        began = time.perf_counter()
        client.get(path, headers=headers)
        times.append((time.perf_counter() - began) * 1000)
    return Measured(page, times, len(answer.content))


def _table(measured: list[Measured]) -> str:
    lines = ["| page | p50 ms | p95 ms | max ms | KB |", "| --- | --- | --- | --- | --- |"]
    for one in measured:
        p50, most = statistics.median(one.times), max(one.times)
        lines.append(
            f"| {one.page} | {p50:.1f} | {one.p95:.1f} | {most:.1f} | {one.size / 1000:.1f} |"
        )
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-pages", description=__doc__)
    parser.add_argument("--tickets", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=200, help="of each page")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
