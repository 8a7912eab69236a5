"""A running market to measure: the embedded stack, people with sessions, and tickets for sale."""

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
from devstack.settings import Shape, StackSettings
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
RARE = "Zanzibar"
"""In one title of a thousand."""

ONE_OF_EACH = Shape()

Document = dict[str, Any]


@dataclass
class Market:
    """The stack, its database, and who may do what in it."""

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
        """A session of somebody new; hashing a password takes longer than most of what follows."""
        keys = self.stack.environment["JWT_KEYS"].split(",")
        settings = SessionSettings(jwt_keys=tuple(SecretStr(key) for key in keys))
        user_id = ObjectId()
        user = User.model_construct(id=user_id, email=f"{user_id}@example.com")
        return SessionTokens(settings).issue(user)

    def list_tickets(self, count: int) -> list[str]:
        """New tickets for sale, of many sellers, straight into the database."""
        now = datetime.now(UTC)
        sellers = [ObjectId() for _ in range(50)]
        chance = random.Random(count)
        tickets = [ticket(chance, chance.choice(sellers), now) for _ in range(count)]
        for first in range(0, count, BATCH):
            self.database["tickets"].insert_many(tickets[first : first + BATCH])
        return [str(one["_id"]) for one in tickets]

    @asynccontextmanager
    async def person(self, api: int = 0) -> AsyncIterator[HttpClient]:
        """Somebody signed in, with a connection of their own to one of the API's processes."""
        url = self.stack.api_urls[api % len(self.stack.api_urls)]
        async with http_client(url, {"Authorization": f"Bearer {self.session()}"}) as client:
            yield client


@contextmanager
def open_market(shape: Shape = ONE_OF_EACH, **environ: str) -> Iterator[Market]:
    """A stack of its own, in real processes, with an empty database."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        settings = StackSettings.on_free_ports(Path(directory), shape)
        ours = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
        # A payment that takes long is to be measured, and not to be answered with "not yet".
        ours |= {"LOG_LEVEL": "WARNING", "PAYMENT_WAIT": "120", **environ}
        with (
            Stack(settings, ours) as stack,
            MongoClient[Document](mongodb_url(*settings.mongodb_ports)) as mongo,
        ):
            yield Market(stack, mongo, Processes(stack), Path(directory))


def fill(market: Market, count: int) -> None:
    """Tickets of many sellers over the last year, in every state.

    Those that are reserved and sold have no orders, so nobody may come to put that right.
    """
    run(_leave_unchecked(market))
    chance = random.Random(1)
    now = datetime.now(UTC)
    sellers = [ObjectId() for _ in range(500)]
    tickets = market.database["tickets"]
    # Built once at the end, in a quarter of the time.
    indexes = tickets.index_information()
    tickets.drop_indexes()
    for first in range(0, count, BATCH):
        batch = range(first, min(first + BATCH, count))
        tickets.insert_many([older_ticket(chance, sellers, now) for _ in batch])
    tickets.create_indexes([_index(name, options) for name, options in indexes.items()])


def _index(name: str, information: Document) -> IndexModel:
    options = {key: value for key, value in information.items() if key not in ("v", "key", "ns")}
    return IndexModel(information["key"], name=name, **options)


async def _leave_unchecked(market: Market) -> None:
    temporal = await Client.connect(market.temporal_address)
    for scope in Scope:
        id = reconciliation_schedule_id(market.stack.environment["TASK_QUEUE"], scope)
        while True:
            try:
                await temporal.get_schedule_handle(id).pause()
                break
            except RPCError as error:  # the worker has just begun, and makes it
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise


def ticket(chance: random.Random, seller_id: ObjectId, listed: datetime) -> Document:
    """A ticket for sale as the API stores it."""
    town = RARE if chance.random() < 0.001 else chance.choice(TOWNS)
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
