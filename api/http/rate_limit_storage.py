"""The rate limits' counters: kept in MongoDB, shared by all API processes."""

from datetime import UTC, datetime
from typing import Any

from limits.aio.storage import MovingWindowSupport, Storage
from pymongo import ReturnDocument, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from ticketing.models import RateLimitWindow
from ticketing.mongodb import BSONDocument


class MongoDBRateLimitStorage(Storage, MovingWindowSupport):
    """Moving windows for the library `limits`, on PyMongo's async client (docs/adr/0012)."""

    STORAGE_SCHEME = None

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Add the entries if they still fit into the window.

        One write, by the database's clock, so that any number of processes, whose clocks may
        differ, let exactly `limit` requests pass.
        """
        window = await self._windows().find_one_and_update(
            {"_id": key},
            [
                {"$set": {"entries": _entries_within(expiry)}},
                {"$set": {"fits": {"$lte": [{"$size": "$entries"}, limit - amount]}}},
                {
                    "$set": {
                        "entries": {
                            "$cond": [
                                "$fits",
                                {"$concatArrays": ["$entries", ["$$NOW"] * amount]},
                                "$entries",
                            ]
                        },
                        "expires_at": {
                            "$cond": ["$fits", {"$add": ["$$NOW", expiry * 1000]}, "$expires_at"]
                        },
                    }
                },
            ],
            projection=["fits"],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        assert window is not None  # noqa: S101 - it was upserted
        return bool(window["fits"])

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """The time of the oldest entry in the window, and the number of entries."""
        window = await self._windows().find_one({"_id": key}, {"entries": _entries_within(expiry)})
        entries: list[datetime] = window["entries"] if window else []
        oldest = entries[0] if entries else datetime.now(UTC)
        return oldest.timestamp(), len(entries)

    async def check(self) -> bool:
        """Whether the database responds."""
        try:
            await self._windows().database.command("ping")
        except PyMongoError:
            return False
        return True

    async def clear(self, key: str) -> None:
        """Delete the window."""
        await self._windows().delete_one({"_id": key})

    async def reset(self) -> int:
        """Delete every window; returns how many there were."""
        return (await self._windows().delete_many({})).deleted_count

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Not supported: fixed windows let twice the limit pass around their edges."""
        raise NotImplementedError

    async def get(self, key: str) -> int:
        """Not supported, see `incr`."""
        raise NotImplementedError

    async def get_expiry(self, key: str) -> float:
        """Not supported, see `incr`."""
        raise NotImplementedError

    @property
    def base_exceptions(self) -> type[Exception]:
        """Raised when the database is lost; not caught here, so it is answered as everywhere."""
        return PyMongoError

    @staticmethod
    def _windows() -> AsyncCollection[BSONDocument]:
        # A failover may lose the last few entries; waiting for a majority would slow every request.
        collection: AsyncCollection[BSONDocument] = RateLimitWindow.get_pymongo_collection()
        return collection.with_options(
            write_concern=WriteConcern(w=1), read_concern=ReadConcern("local")
        )


def _entries_within(seconds: int) -> dict[str, Any]:
    since = {"$subtract": ["$$NOW", seconds * 1000]}
    return {"$filter": {"input": {"$ifNull": ["$entries", []]}, "cond": {"$gt": ["$$this", since]}}}
