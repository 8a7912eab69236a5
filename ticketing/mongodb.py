"""The one place that connects to MongoDB."""

from typing import Any

from beanie import init_beanie
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from ticketing.models import DOCUMENT_MODELS
from ticketing.settings import MongoDBSettings

BSONDocument = dict[str, Any]

SERVER_SELECTION_TIMEOUT_MS = 3_000
"""How long an operation waits for a primary: longer than an election, shorter than a caller."""


async def connect_mongodb(settings: MongoDBSettings) -> AsyncMongoClient[BSONDocument]:
    """Connect, bind the documents to the database and create missing indexes.

    Writes are acknowledged by a majority and reads see only what a majority has, so nothing
    that was answered is rolled back by a failover.

    Raises:
        PyMongoError: no primary answered in time.
    """
    client: AsyncMongoClient[BSONDocument] = AsyncMongoClient(
        settings.url.get_secret_value(),
        tz_aware=True,
        w="majority",
        readConcernLevel="majority",
        serverSelectionTimeoutMS=SERVER_SELECTION_TIMEOUT_MS,
        connectTimeoutMS=SERVER_SELECTION_TIMEOUT_MS,
        appname="holdfast",
    )
    try:
        await bind_documents(client[settings.database])
    except BaseException:
        await client.close()
        raise
    return client


async def bind_documents(database: AsyncDatabase[BSONDocument]) -> None:
    """Bind every document class to the database and create the indexes that are missing."""
    await init_beanie(database=database, document_models=DOCUMENT_MODELS)
