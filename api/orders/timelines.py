"""What happened to an order, for the two whom it concerns."""

from dataclasses import dataclass
from datetime import datetime

from beanie import PydanticObjectId

from api.http.models import path_id
from api.orders.timeline_words import Reader, reason_for, words_for
from ticketing.errors import OrderNotFound
from ticketing.models import Order, TimelineEntry
from ticketing.observability.logs import bind_order_id
from ticketing.statuses import TimelineCode


@dataclass(frozen=True)
class ToldEntry:
    """One thing that happened, as its reader is told it."""

    at: datetime
    code: TimelineCode
    attempt: int | None
    reason: str | None
    message: str


class TimelineService:
    """Reads timelines; the activities that change an order write them."""

    async def read(self, user_id: PydanticObjectId, order_id: str) -> list[ToldEntry]:
        """What happened to an order that the user buys or sells, oldest first.

        Raises:
            OrderNotFound: there is none, or it is between others.
        """
        wanted = path_id(order_id, OrderNotFound)
        bind_order_id(wanted)
        order = await Order.find_one(
            {
                "_id": wanted,
                "$or": [{"user_id": user_id}, {"seller_id": user_id}],
            }
        )
        if order is None:
            raise OrderNotFound
        reader = Reader.BUYER if order.user_id == user_id else Reader.SELLER
        return [_tell(reader, entry) for entry in order.timeline]


def _tell(reader: Reader, entry: TimelineEntry) -> ToldEntry:
    return ToldEntry(
        at=entry.at,
        code=entry.code,
        attempt=entry.attempt,
        reason=reason_for(reader, entry),
        message=words_for(reader, entry),
    )
