"""Accounts."""

from datetime import datetime

from beanie import Document
from pymongo import ASCENDING, IndexModel
from pymongo.collation import Collation, CollationStrength

CASE_INSENSITIVE = Collation(locale="en", strength=CollationStrength.SECONDARY)
"""Letters compare equal whatever their case; a query must name it to use the index."""


class User(Document):
    """Somebody who can buy and sell."""

    email: str
    """As it was typed at sign-up, its domain in lower case; compared case-insensitively."""
    password_hash: str
    """argon2id, in PHC string format."""
    created_at: datetime

    class Settings:
        name = "users"
        indexes = [
            IndexModel(
                [("email", ASCENDING)],
                name="email_unique",
                unique=True,
                collation=CASE_INSENSITIVE,
            ),
        ]
