"""A running market to measure: the embedded stack, signed-in clients, and tickets for sale."""

import os
import random
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bson import ObjectId
from pydantic import SecretStr
from pymongo import IndexModel, MongoClient
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from api.users.sessions import SessionTokens
from bench.client import HttpClient, http_client
from bench.usage import Processes
from devstack.environment import DATABASE
from devstack.mongodb import mongodb_url
from devstack.settings import ProcessCounts, StackSettings
from devstack.stack import Stack
from ticketing.event_loops import run
from ticketing.invariants import Scope
from ticketing.models import User
from ticketing.settings import SessionSettings
from ticketing.title_words import words_of
from workflows.reconciliation_schedules import reconciliation_schedule_id

BATCH = 10_000
ACTS = "Amber Lanterns|Velvet Foxes|North Pier|Glass Orchard|Paper Tigers|Slow Comet|Iron Lilies"
TOWNS = ["Berlin", "Lyon", "Porto", "Gdansk", "Turin", "Leeds", "Ghent", "Malmo", "Graz", "Cork"]
RARE_TOWN = "Zanzibar"
"""The town in one title of a thousand."""

SINGLE_PROCESSES = ProcessCounts()

PATIENT_PAYMENT_WAIT = timedelta(minutes=2)
"""A slow payment should be measured, not answered with "still processing"."""

Document = dict[str, Any]


@dataclass
class Market:
    """The stack, its database, and sessions for its API."""

    stack: Stack
    mongo: MongoClient[Document]
    processes: Processes
    directory: Path

    @property
    def database(self) -> Any:  # noqa: ANN401 - a Database, whose type argument mypy cannot infer
        return self.mongo[DATABASE]

    @property
    def temporal_address(self) -> str:
        return self.stack.settings.temporal_address

    def session(self) -> str:
        """A session token of a new user, without the cost of hashing a password."""
        keys = self.stack.environment["JWT_KEYS"].split(",")
        settings = SessionSettings(jwt_keys=tuple(SecretStr(key) for key in keys))
        user_id = ObjectId()
        user = User.model_construct(id=user_id, email=f"{user_id}@example.com")
        return SessionTokens(settings).issue(user)

    def list_tickets(self, count: int) -> list[str]:
        """Insert new tickets of many sellers directly into the database; their ids."""
        now = datetime.now(UTC)
        sellers = [ObjectId() for _ in range(50)]
        chance = random.Random(count)
        tickets = [ticket(chance, chance.choice(sellers), now) for _ in range(count)]
        for first in range(0, count, BATCH):
            self.database["tickets"].insert_many(tickets[first : first + BATCH])
        return [str(one["_id"]) for one in tickets]

    @asynccontextmanager
    async def signed_in_client(self, number: int = 0) -> AsyncIterator[HttpClient]:
        """A client with a session of its own; the API's processes take turns with the numbers."""
        url = self.stack.api_urls[number % len(self.stack.api_urls)]
        async with http_client(url, {"Authorization": f"Bearer {self.session()}"}) as client:
            yield client


@contextmanager
def open_market(
    process_counts: ProcessCounts = SINGLE_PROCESSES,
    payment_wait: timedelta | None = PATIENT_PAYMENT_WAIT,
) -> Iterator[Market]:
    """Start a stack with an empty database, for the duration of the block.

    With no `payment_wait` the API waits for a payment as long as it does by default.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        settings = StackSettings.on_free_ports(Path(directory), process_counts)
        ours = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
        ours["LOG_LEVEL"] = "WARNING"
        ours.pop("PAYMENT_WAIT", None)
        if payment_wait:
            ours["PAYMENT_WAIT"] = f"{payment_wait.total_seconds():.0f}"
        with (
            Stack(settings, ours) as stack,
            MongoClient[Document](mongodb_url(*settings.mongodb_ports)) as mongo,
        ):
            yield Market(stack, mongo, Processes(stack), Path(directory))


def insert_tickets(market: Market, count: int) -> None:
    """Insert tickets of many sellers over the last year, in every state.

    The reserved and sold ones have no orders, so reconciliation, which would repair them, pauses.
    """
    run(_pause_reconciliation(market))
    chance = random.Random(1)
    now = datetime.now(UTC)
    sellers = [ObjectId() for _ in range(500)]
    tickets = market.database["tickets"]
    # Building the indexes once at the end takes a quarter of the time.
    indexes = tickets.index_information()
    tickets.drop_indexes()
    for first in range(0, count, BATCH):
        batch = range(first, min(first + BATCH, count))
        tickets.insert_many([older_ticket(chance, sellers, now) for _ in batch])
    tickets.create_indexes([_index(name, options) for name, options in indexes.items()])


def _index(name: str, information: Document) -> IndexModel:
    options = {key: value for key, value in information.items() if key not in ("v", "key", "ns")}
    return IndexModel(information["key"], name=name, **options)


async def _pause_reconciliation(market: Market) -> None:
    temporal = await Client.connect(market.temporal_address)
    for scope in Scope:
        id = reconciliation_schedule_id(market.stack.environment["TASK_QUEUE"], scope)
        while True:
            try:
                await temporal.get_schedule_handle(id).pause()
                break
            except RPCError as error:  # the worker has just started, and is about to create it
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise


def ticket(chance: random.Random, seller_id: ObjectId, listed: datetime) -> Document:
    """A ticket for sale as the API stores it."""
    town = RARE_TOWN if chance.random() < 0.001 else chance.choice(TOWNS)
    title = f"{chance.choice(ACTS.split('|'))}, {town}, row {chance.randint(1, 60)}"
    return {
        "_id": ObjectId(),
        "title": title,
        "words": words_of(title),
        "price": chance.randint(8, 420) * 100,
        "currency": "usd",
        "user_id": seller_id,
        "order_id": None,
        "sold_at": None,
        "version": 1,
        "created_at": listed,
        "updated_at": listed,
    }


def older_ticket(chance: random.Random, sellers: list[ObjectId], now: datetime) -> Document:
    """A ticket of the last year; one in ten is reserved and three are sold."""
    listed = now - timedelta(seconds=chance.uniform(0, 365 * 86_400))
    document = ticket(chance, chance.choice(sellers), listed)
    state = chance.choices(("available", "reserved", "sold"), (6, 1, 3))[0]
    if state != "available":
        document["order_id"] = ObjectId()
    if state == "sold":
        document["sold_at"] = now
    return document
