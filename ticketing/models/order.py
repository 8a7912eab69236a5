"""Orders: one purchase of one ticket each."""

from datetime import datetime

from beanie import Document, PydanticObjectId
from pydantic import BaseModel
from pymongo import ASCENDING, DESCENDING, IndexModel

from ticketing.models.timeline import TimelineEntry
from ticketing.statuses import HOLDING_STATUSES, UNPAID_STATUSES, CancelReason, OrderStatus


class TicketSnapshot(BaseModel):
    """What the buyer was offered; the price that is charged, whatever happens to the listing."""

    title: str
    price: int
    """In the currency's minor unit."""
    currency: str


class Order(Document):
    """Written by activities only; its id names its workflow."""

    user_id: PydanticObjectId
    """The buyer."""
    seller_id: PydanticObjectId
    ticket_id: PydanticObjectId
    ticket: TicketSnapshot
    status: OrderStatus
    slot: int | None = None
    """The buyer's place for an unpaid order that it takes, from 0; an abandoned one has none."""
    submitted_attempt: int | None = None
    """A payment attempt that Temporal holds for a worker to begin; nothing once it is begun."""
    cancel_reason: CancelReason | None = None
    expires_at: datetime
    created_at: datetime
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None
    timeline: list[TimelineEntry] = []
    """What happened, oldest first."""

    @property
    def was_abandoned(self) -> bool:
        """Whether the reservation was abandoned: its buyer got a 503 and no order.

        An order that expired after all has reached its deadline.
        """
        return (
            self.cancel_reason is CancelReason.EXPIRED
            and self.cancelled_at is not None
            and self.cancelled_at < self.expires_at
        )

    class Settings:
        name = "orders"
        indexes = [
            # The database's own proof that a ticket is never sold twice.
            IndexModel(
                [("ticket_id", ASCENDING)],
                name="one_holding_order_per_ticket",
                unique=True,
                partialFilterExpression={"status": {"$in": [str(s) for s in HOLDING_STATUSES]}},
            ),
            # And that no buyer holds more unpaid tickets than allowed.
            IndexModel(
                [("user_id", ASCENDING), ("slot", ASCENDING)],
                name="one_unpaid_order_per_slot",
                unique=True,
                partialFilterExpression={
                    "status": {"$in": [str(s) for s in UNPAID_STATUSES]},
                    "slot": {"$type": "int"},
                },
            ),
            IndexModel(
                [("user_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="orders_of_a_buyer_newest_first",
            ),
            IndexModel(
                [
                    ("user_id", ASCENDING),
                    ("status", ASCENDING),
                    ("created_at", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="orders_of_a_buyer_by_status_newest_first",
            ),
            # For reconciliation: everything that was made lately, and whatever is still open.
            IndexModel([("created_at", DESCENDING), ("_id", DESCENDING)], name="newest_first"),
            IndexModel(
                [("created_at", DESCENDING), ("_id", DESCENDING), ("status", ASCENDING)],
                name="open_newest_first",
                partialFilterExpression={"status": {"$in": [str(s) for s in UNPAID_STATUSES]}},
            ),
        ]
