"""The one place that connects to MongoDB."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from beanie import init_beanie
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.monitoring import CommandListener
from pymongo.read_concern import ReadConcern
from pymongo.results import UpdateResult

from ticketing.models import DOCUMENT_MODELS
from ticketing.settings import MongoDBSettings

BSONDocument = dict[str, Any]
T = TypeVar("T")

SERVER_SELECTION_TIMEOUT_MS = 5_000
"""How long an operation waits for a primary: longer than an election, shorter than a caller.

With members that elect after 2 s of silence, a killed primary was replaced in 2.0 to 4.3 s; at
3 s, the slowest of these elections answered the requests of its first second with 503.
"""
CONNECT_TIMEOUT_MS = 3_000
HEARTBEAT_FREQUENCY_MS = 1_000
"""How often the members are looked at.

A primary that is frozen, or behind a network that drops everything, closes no connection; what
was sent to it waits for this long and `CONNECT_TIMEOUT_MS` on top, and is then retried. Requests
took at most 5.5 s with such a primary, and 8.6 s at the default of 10 s, where 13 s are possible.
A `socketTimeoutMS` of 5 s in its place made reads take 6.5 s, and would cut long queries short.
"""


async def connect_mongodb(
    settings: MongoDBSettings, listeners: Sequence[CommandListener] = ()
) -> AsyncMongoClient[BSONDocument]:
    """Connect, bind the documents to the database and create missing indexes.

    Writes are acknowledged by a majority and reads see only what a majority has, so nothing
    that was answered is rolled back by a failover. Listeners are notified of every command.

    Raises:
        PyMongoError: no primary answered in time.
    """
    client: AsyncMongoClient[BSONDocument] = AsyncMongoClient(
        settings.url.get_secret_value(),
        tz_aware=True,
        w="majority",
        readConcernLevel="majority",
        serverSelectionTimeoutMS=SERVER_SELECTION_TIMEOUT_MS,
        connectTimeoutMS=CONNECT_TIMEOUT_MS,
        heartbeatFrequencyMS=HEARTBEAT_FREQUENCY_MS,
        appname="holdfast",
        event_listeners=listeners,
    )
    try:
        await bind_documents(client[settings.database])
    except BaseException:
        await client.close()
        raise
    return client


async def in_transaction(
    mongo: AsyncMongoClient[BSONDocument],
    step: Callable[[AsyncClientSession], Awaitable[T]],
    *,
    read_concern: ReadConcern | None = None,
) -> T:
    """Run the step in a transaction; repeat it after a conflict with another transaction."""
    async with mongo.start_session() as session:
        return await session.with_transaction(step, read_concern=read_concern)


def has_matched(result: object) -> bool:
    """Whether a conditional update found its document, so that it happened."""
    return isinstance(result, UpdateResult) and result.matched_count == 1


async def bind_documents(database: AsyncDatabase[BSONDocument]) -> None:
    """Bind every document class to the database and create the indexes that are missing."""
    await init_beanie(database=database, document_models=DOCUMENT_MODELS)
