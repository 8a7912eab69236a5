"""Tickets put straight into the database, for tests of lists."""

from datetime import UTC, datetime, timedelta
from typing import Any

from beanie import PydanticObjectId

from ticketing.clock import utc_now
from ticketing.models import Ticket

START = datetime(2026, 1, 1, tzinfo=UTC)


def ticket(number: int, **changes: Any) -> Ticket:
    """The nth ticket, a second after the one before; every third costs the same."""
    at = START + timedelta(seconds=number)
    values: dict[str, Any] = {
        "title": f"Ticket {number}",
        "price": 100 * (1 + number % 3),
        "currency": "usd",
        "user_id": PydanticObjectId(f"{number % 2:024x}"),
        "created_at": at,
        "updated_at": at,
    }
    return Ticket(**{**values, **changes})


HELD = {"order_id": PydanticObjectId()}
GONE = {**HELD, "sold_at": START}


async def insert(*tickets: Ticket) -> list[str]:
    await Ticket.insert_many(list(tickets))
    return [ticket.title for ticket in tickets]


SOME_ID = "6740f3a2c1b5d94e8f1a2b3c"


async def hold(ticket: dict[str, Any], *, sold: bool = False) -> PydanticObjectId:
    """What an order does to its ticket."""
    order_id = PydanticObjectId()
    await Ticket.get_pymongo_collection().update_one(
        {"_id": PydanticObjectId(ticket["id"])},
        {"$set": {"order_id": order_id, "sold_at": utc_now() if sold else None}},
    )
    return order_id
