"""What counts towards rate limits; shared by all API processes."""

from datetime import datetime

from beanie import Document
from pydantic import Field
from pymongo import ASCENDING, IndexModel


class RateLimitWindow(Document):
    """The recent requests of one kind by one caller; its id is a digest."""

    id: str = Field(alias="_id")  # type: ignore[assignment] # Beanie types ids as ObjectId
    entries: list[datetime]
    """When it was done, oldest first; what has left the window is dropped by the next write."""
    expires_at: datetime
    """When the last entry has left the window, and nothing is left to count."""

    class Settings:
        name = "rate_limit_windows"
        indexes = [
            IndexModel(
                [("expires_at", ASCENDING)], name="forgotten_at_expiry", expireAfterSeconds=0
            ),
        ]
