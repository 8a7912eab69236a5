"""A database that tests share, one after the other, and that can be told to refuse writes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from beanie import Document
from pymongo import AsyncMongoClient

from ticketing.mongodb import BSONDocument
from ticketing.settings import MongoDBSettings


async def empty(settings: MongoDBSettings) -> None:
    """Delete all documents, through a client of its own.

    While other tests hold up the event loop, a client that lasts cannot look at its servers.
    It then gives its connections up just when it is used again, and `delete_many` is not retried.
    """
    url = settings.url.get_secret_value()
    async with AsyncMongoClient[BSONDocument](url) as mongo:
        database = mongo[settings.database]
        names = await database.list_collection_names()
        await asyncio.gather(*(database[name].delete_many({}) for name in names))


@asynccontextmanager
async def refusing(*models: type[Document]) -> AsyncIterator[None]:
    """Let the database refuse whatever is written to these collections."""
    await _validate(models, {"$expr": False})
    try:
        yield
    finally:
        await _validate(models, {})


async def _validate(models: tuple[type[Document], ...], validator: dict[str, object]) -> None:
    for model in models:
        collection = model.get_pymongo_collection()
        await collection.database.command("collMod", collection.name, validator=validator)
