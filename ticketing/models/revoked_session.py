"""Sessions that were signed out before they expired."""

from datetime import datetime

from beanie import Document
from pydantic import Field
from pymongo import ASCENDING, IndexModel


class RevokedSession(Document):
    """One signed-out session; its id is the token's `jti`."""

    id: str = Field(alias="_id")  # type: ignore[assignment] # Beanie types ids as ObjectId
    expires_at: datetime
    """When the token ends by itself; after that there is nothing left to refuse."""

    class Settings:
        name = "revoked_sessions"
        indexes = [
            IndexModel(
                [("expires_at", ASCENDING)], name="forgotten_at_expiry", expireAfterSeconds=0
            ),
        ]
