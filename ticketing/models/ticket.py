"""Tickets: one thing for sale each."""

from datetime import datetime

from beanie import Document, PydanticObjectId
from pydantic import BaseModel, Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from ticketing.statuses import TicketStatus
from ticketing.title_words import words_of

RESERVED = {"order_id": {"$type": "objectId"}, "sold_at": None}
SOLD = {"sold_at": {"$type": "date"}}

NEWEST_FIRST = [("created_at", DESCENDING), ("_id", DESCENDING)]
CHEAPEST_FIRST = [("price", ASCENDING), ("_id", ASCENDING)]
HOLDER = [("order_id", ASCENDING), ("sold_at", ASCENDING)]


class ListingRequest(BaseModel):
    """What a seller asked for, so that the same request lists no second ticket."""

    key: PydanticObjectId
    """Follows from the seller and from what names the request: a key, or the form's id."""
    title: str
    price: int


class TicketFields(BaseModel):
    """What a ticket is, however it is read."""

    title: str
    price: int
    """In the currency's minor unit."""
    currency: str
    user_id: PydanticObjectId
    """The seller."""
    order_id: PydanticObjectId | None = None
    sold_at: datetime | None = None
    version: int = 1
    """Counts the seller's edits; the ETag."""
    created_at: datetime
    updated_at: datetime

    @property
    def status(self) -> TicketStatus:
        if self.sold_at is not None:
            return TicketStatus.SOLD
        return TicketStatus.AVAILABLE if self.order_id is None else TicketStatus.RESERVED


class ListedTicket(TicketFields):
    """One of a list, read without what makes a document."""

    id: PydanticObjectId = Field(alias="_id")


class Ticket(TicketFields, Document):
    """A listing. An id is never given again, so an id and a version name one offer for good.

    `order_id` is the lock: whoever sets it from null holds the ticket, and only the order
    that it names may clear it or sell the ticket.
    """

    words: list[str] = Field(default_factory=lambda ticket: words_of(ticket["title"]))
    """Of the title, for searches; written whenever it is."""
    listing_request: ListingRequest | None = None
    """The one that listed it, where it may come again; its key is free once the ticket is gone."""

    class Settings:
        name = "tickets"
        # One index for each way to list: a status or a seller, by date or by price, either way
        # round. Reserved and sold tickets have partial ones, because "not null" is a range and
        # a range in front would leave the order to a sort in memory. Their last keys only tell
        # them apart: of two indexes over the same set of fields, Beanie drops one.
        indexes = [
            IndexModel(NEWEST_FIRST, name="newest_first"),
            IndexModel(CHEAPEST_FIRST, name="cheapest_first"),
            IndexModel([("order_id", ASCENDING), *NEWEST_FIRST], name="available_newest_first"),
            IndexModel([("order_id", ASCENDING), *CHEAPEST_FIRST], name="available_cheapest_first"),
            IndexModel(
                [*NEWEST_FIRST, *HOLDER],
                name="reserved_newest_first",
                partialFilterExpression=RESERVED,
            ),
            IndexModel(
                [*CHEAPEST_FIRST, *HOLDER],
                name="reserved_cheapest_first",
                partialFilterExpression=RESERVED,
            ),
            IndexModel(
                [*NEWEST_FIRST, ("sold_at", ASCENDING)],
                name="sold_newest_first",
                partialFilterExpression=SOLD,
            ),
            IndexModel(
                [*CHEAPEST_FIRST, ("sold_at", ASCENDING)],
                name="sold_cheapest_first",
                partialFilterExpression=SOLD,
            ),
            IndexModel([("user_id", ASCENDING), *NEWEST_FIRST], name="of_a_seller_newest_first"),
            IndexModel(
                [("user_id", ASCENDING), *CHEAPEST_FIRST], name="of_a_seller_cheapest_first"
            ),
            # Not a text index: that one has no order, so each search would sort all it finds.
            IndexModel([("words", ASCENDING), *NEWEST_FIRST], name="with_a_word_newest_first"),
            IndexModel([("words", ASCENDING), *CHEAPEST_FIRST], name="with_a_word_cheapest_first"),
            IndexModel(
                [("listing_request.key", ASCENDING)],
                name="one_ticket_per_listing_request",
                unique=True,
                partialFilterExpression={"listing_request.key": {"$type": "objectId"}},
            ),
        ]
