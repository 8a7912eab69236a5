"""Buyers: one document for each user who has asked for a ticket."""

from beanie import Document


class Buyer(Document):
    """What the reservations of one buyer take turns on; its id is the user's.

    Two transactions that write one document cannot both be committed, so of two reservations
    at once the second is run again, and counts what the first has left. Written by activities.
    """

    turns: int = 0
    """Says nothing but that a turn was taken: a write that changes nothing is no write."""

    class Settings:
        name = "buyers"
