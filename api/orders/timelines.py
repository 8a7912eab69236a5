"""An order's timeline, for its buyer and its seller."""

from dataclasses import dataclass
from datetime import datetime

from beanie import PydanticObjectId

from api.http.models import path_id
from api.orders.timeline_messages import Reader, message_for, shown_reason
from ticketing.errors import OrderNotFound
from ticketing.models import Order, TimelineEntry
from ticketing.observability.logs import bind_order_id
from ticketing.statuses import TimelineCode


@dataclass(frozen=True)
class RenderedTimelineEntry:
    """A timeline entry with its message for the reader."""

    at: datetime
    code: TimelineCode
    attempt: int | None
    reason: str | None
    message: str


class TimelineService:
    """Reads timelines; activities write them."""

    async def read(self, user_id: PydanticObjectId, order_id: str) -> list[RenderedTimelineEntry]:
        """The timeline of an order that the user buys or sells, oldest entry first.

        Raises:
            OrderNotFound: there is no such order, or the user is neither buyer nor seller.
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
        return [_render(reader, entry) for entry in order.timeline]


def _render(reader: Reader, entry: TimelineEntry) -> RenderedTimelineEntry:
    return RenderedTimelineEntry(
        at=entry.at,
        code=entry.code,
        attempt=entry.attempt,
        reason=shown_reason(reader, entry),
        message=message_for(reader, entry),
    )
