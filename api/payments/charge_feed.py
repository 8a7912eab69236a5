"""The feed of payments: one MongoDB change stream per process, for the requests that wait."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from datetime import timedelta
from typing import Any

from beanie import PydanticObjectId
from pydantic import ValidationError
from pymongo.errors import PyMongoError

from ticketing.models import Charge, Order
from ticketing.statuses import OrderStatus

logger = logging.getLogger(__name__)

WATCH_RETRY_INTERVAL = timedelta(seconds=0.5)
"""Between two attempts to open the stream; without MongoDB each attempt takes seconds anyway."""


class OrderListener:
    """The charges of one order, each time that one is begun or decided."""

    def __init__(self) -> None:
        self._charges = asyncio.Queue[Charge | None]()

    async def next(self) -> Charge | None:
        """The next charge; None if the documents have to be read.

        The order was cancelled, or the stream has just been opened and what came before is unknown.
        """
        return await self._charges.get()

    def tell(self, charge: Charge | None) -> None:
        self._charges.put_nowait(charge)


class ChargeFeed:
    """Tells waiting requests of their order's charges.

    Waiting costs neither Temporal nor MongoDB anything, however long a bank takes. The stream is
    opened on first use. When it breaks, it is opened again, and then everybody has to look.
    """

    def __init__(self) -> None:
        self._listeners: defaultdict[PydanticObjectId, set[OrderListener]] = defaultdict(set)
        self._watching: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def is_listened_to(self) -> bool:
        """Whether a request waits."""
        return bool(self._listeners)

    @asynccontextmanager
    async def listen(self, order_id: PydanticObjectId) -> AsyncIterator[OrderListener]:
        """Listen to an order's charges; what is read afterwards misses none."""
        if self._watching is None and not self._closed:
            # In a new context, so that its log lines carry no request id.
            self._watching = asyncio.create_task(self._keep_watching(), context=Context())
        listener = OrderListener()
        self._listeners[order_id].add(listener)
        try:
            yield listener
        finally:
            self._listeners[order_id].discard(listener)
            if not self._listeners[order_id]:
                del self._listeners[order_id]

    async def aclose(self) -> None:
        """Stop watching; nobody is told anything any more."""
        self._closed = True
        if self._watching:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def _keep_watching(self) -> None:
        while True:
            try:
                await self._watch()
            except PyMongoError as error:
                logger.warning("cannot watch payments: %s", type(error).__name__)
            await asyncio.sleep(WATCH_RETRY_INTERVAL.total_seconds())

    async def _watch(self) -> None:
        database = Charge.get_pymongo_collection().database
        async with await database.watch(_pipeline(), full_document="updateLookup") as stream:
            for listeners in self._listeners.values():
                for listener in listeners:
                    listener.tell(None)
            async for change in stream:
                self._tell(change)

    def _tell(self, change: Mapping[str, Any]) -> None:
        document = change.get("charge")
        order_id = change["documentKey"]["_id"] if document is None else document.get("order_id")
        for listener in self._listeners.get(order_id, ()):
            listener.tell(_charge_of(document))


def _charge_of(document: Mapping[str, Any] | None) -> Charge | None:
    """The charge; None if somebody has made it unreadable by hand, so that each reader finds it."""
    try:
        return None if document is None else Charge.model_validate(document)
    except ValidationError:
        return None


def _pipeline() -> list[dict[str, Any]]:
    """Charges that are begun or decided, whole, and the keys of orders that are cancelled."""
    charges, orders = Charge.get_collection_name(), Order.get_collection_name()
    updated = "updateDescription.updatedFields"
    is_decided = {
        "operationType": "update",
        "$or": [
            {f"{updated}.status": {"$exists": True}},
            {f"{updated}.client_secret": {"$type": "string"}},
        ],
    }
    return [
        {
            "$match": {
                "$or": [
                    {"ns.coll": charges, "$or": [{"operationType": "insert"}, is_decided]},
                    {"ns.coll": orders, f"{updated}.status": OrderStatus.CANCELLED},
                ]
            }
        },
        {
            "$project": {
                "documentKey": 1,
                "charge": {"$cond": [{"$eq": ["$ns.coll", charges]}, "$fullDocument", "$$REMOVE"]},
            }
        },
    ]
