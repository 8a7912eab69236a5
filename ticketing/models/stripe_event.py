"""Stripe events that were acted on."""

from datetime import datetime, timedelta

from beanie import Document
from pydantic import Field
from pymongo import ASCENDING, IndexModel

EVENT_RETENTION = timedelta(days=30)
"""Stripe resends an event for three days, and lists events for thirty."""


class StripeEvent(Document):
    """One event that was signalled to its workflow; its id is Stripe's."""

    id: str = Field(alias="_id")  # type: ignore[assignment] # Beanie types ids as ObjectId
    type: str
    payment_intent_id: str
    received_at: datetime

    class Settings:
        name = "stripe_events"
        indexes = [
            IndexModel(
                [("received_at", ASCENDING)],
                name="forgotten_after_a_month",
                expireAfterSeconds=int(EVENT_RETENTION.total_seconds()),
            ),
        ]
