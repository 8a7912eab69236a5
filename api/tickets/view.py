"""The ticket in answers and events."""

from datetime import datetime

from pydantic import Field

from api.http.models import ApiModel, Id
from ticketing.statuses import TicketStatus


class TicketView(ApiModel):
    """A ticket, as anybody may see it."""

    id: Id
    title: str = Field(examples=["Radiohead, Berlin, row 4"])
    price: int = Field(description="In the currency's minor unit.", examples=[5000])
    currency: str = Field(description="ISO 4217, in lower case.", examples=["usd"])
    user_id: Id = Field(description="The seller.")
    order_id: Id | None = Field(description="The order that holds the ticket.")
    status: TicketStatus
    version: int = Field(description="Counts the seller's edits; the `ETag`.", examples=[1])
    created_at: datetime
    updated_at: datetime
