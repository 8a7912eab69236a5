"""A database that many tests share, one after the other."""

import asyncio

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
