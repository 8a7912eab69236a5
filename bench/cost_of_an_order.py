"""`python -m bench.cost_of_an_order`: the storage that one order takes in Temporal and MongoDB.

It creates orders of each kind in the real stack, and measures the events and bytes of their
histories as Temporal counts them, the bytes of their documents (the ticket's included), and
their share of the indexes on MongoDB's disk.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database
from temporalio.client import Client

from devstack.mongodb import mongodb_url
from devstack.settings import StackSettings
from devstack.stack import Stack
from ticketing.mongodb import BSONDocument

Json = dict[str, Any]

ORDERS = 300
"""Orders of each kind; with fewer, an index on disk is mostly its first page."""
RESERVATION_TTL = 3
TIMEOUT_SECONDS = 120

CARDS = {"completed": "pm_card_visa", "declined": "pm_card_chargeDeclined", "expired": None}
"""The kinds of orders, and the payment method of each; an expired one is not paid."""

COLLECTIONS = ("orders", "charges", "tickets")


@dataclass(frozen=True)
class Cost:
    """The storage of one order of a kind: medians, and the mean share of the indexes."""

    kind: str
    events: float
    history: float
    documents: float
    indexes: float


def main() -> int:
    """Create the orders, measure them, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost_of_an_order")
    parser.add_argument("--orders", type=int, default=ORDERS, help="of each kind")
    count: int = parser.parse_args().orders
    environ = {
        **os.environ,
        "STRIPE_API_KEY": "",
        "RESERVATION_TTL": str(RESERVATION_TTL),
        "PAYMENT_WAIT": "60",
        "MAX_RESERVATIONS": "10000",
    }
    with tempfile.TemporaryDirectory(prefix="holdfast-cost-") as directory:
        settings = StackSettings.on_free_ports(Path(directory))
        with Stack(settings, environ) as stack:
            made = _make_orders(stack.urls["api"], count)
            url = mongodb_url(*settings.mongodb_ports)
            with MongoClient[BSONDocument](url) as mongo:
                database = mongo[stack.environment["MONGODB_DATABASE"]]
                _await_closed(database, sum(map(len, made.values())))
                costs = asyncio.run(_costs(settings.temporal_address, database, made))
    sys.stdout.write(_table(costs, count))
    return 0


def _make_orders(url: str, count: int) -> dict[str, list[Json]]:
    with _signed_up_client(url, "sam") as seller, _signed_up_client(url, "bea") as buyer:
        return {
            kind: [_make_order(seller, buyer, card) for _ in range(count)]
            for kind, card in CARDS.items()
        }


def _make_order(seller: httpx.Client, buyer: httpx.Client, card: str | None) -> Json:
    offer = {"title": "Radiohead, Berlin, row 4 seat 12", "price": 5000}
    ticket = _answer(seller.post("/api/tickets", json=offer), 201)
    order = _answer(buyer.post("/api/orders", json={"ticketId": ticket["id"]}), 201)
    if card is not None:
        payment = {"orderId": order["id"], "paymentMethod": card}
        _answer(buyer.post("/api/payments", json=payment), 201, 402)
    return order


@contextmanager
def _signed_up_client(url: str, name: str) -> Iterator[httpx.Client]:
    user = {"email": f"{name}@example.com", "password": "correct horse battery"}
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        _answer(client.post("/api/users/signup", json=user), 201)
        yield client


def _answer(response: httpx.Response, *statuses: int) -> Json:
    if response.status_code not in statuses:
        raise RuntimeError(f"{response.request.url} is answered {response.text}")
    body: Json = response.json()
    return body


def _await_closed(database: Database[BSONDocument], count: int) -> None:
    """Wait until every order is closed; the last ones expire."""
    closed = {"status": {"$in": ["completed", "cancelled"]}}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while database["orders"].count_documents(closed) < count:
        if time.monotonic() > deadline:
            raise TimeoutError("some orders are still open")
        time.sleep(0.2)


async def _costs(
    address: str, database: Database[BSONDocument], made: dict[str, list[Json]]
) -> list[Cost]:
    client = await Client.connect(address)
    shares = {name: _index_bytes(database, name) for name in COLLECTIONS}
    found = []
    for kind, orders in made.items():
        histories = [await _history(client, order["id"]) for order in orders]
        documents = [_documents(database, order) for order in orders]
        found.append(
            Cost(
                kind=kind,
                events=statistics.median(events for events, _ in histories),
                history=statistics.median(size for _, size in histories),
                documents=statistics.median(size for size, _ in documents),
                indexes=sum(
                    shares[name] * statistics.mean(counts[name] for _, counts in documents)
                    for name in COLLECTIONS
                ),
            )
        )
    return found


async def _history(client: Client, order_id: str) -> tuple[int, int]:
    """Events and bytes of the history, once the workflow is closed."""
    handle = client.get_workflow_handle(f"order:{order_id}")
    await handle.result()
    info = (await handle.describe()).raw_description.workflow_execution_info
    return info.history_length, info.history_size_bytes


def _documents(database: Database[BSONDocument], order: Json) -> tuple[int, dict[str, int]]:
    """Bytes of all documents of an order, and how many there are in each collection."""
    whose = {
        "orders": {"_id": ObjectId(order["id"])},
        "charges": {"order_id": ObjectId(order["id"])},
        "tickets": {"_id": ObjectId(order["ticketId"])},
    }
    sizes = {
        name: [
            found["size"]
            for found in database[name].aggregate(
                [{"$match": whose[name]}, {"$project": {"size": {"$bsonSize": "$$ROOT"}}}]
            )
        ]
        for name in COLLECTIONS
    }
    counts = {name: len(found) for name, found in sizes.items()}
    return sum(map(sum, sizes.values())), counts


def _index_bytes(database: Database[BSONDocument], name: str) -> float:
    """The bytes of the collection's indexes on disk, per document."""
    database.client.admin.command("fsync")
    stats = database.command("collStats", name)
    return float(stats["totalIndexSize"] / stats["count"])


def _table(costs: list[Cost], count: int) -> str:
    lines = [
        f"{count} orders of each kind; a ticket, an order and its charges, per order:",
        "",
        "| order | history events | history bytes | document bytes | index bytes on disk |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {cost.kind} | {cost.events:.0f} | {cost.history:,.0f} | {cost.documents:,.0f} "
        f"| {cost.indexes:,.0f} |"
        for cost in costs
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
