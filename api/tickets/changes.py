"""Changes of tickets, as MongoDB's change streams tell them.

A change is named by its resume token: hexadecimal digits, which since MongoDB 4.2 sort as the
changes did. Every process reads the same tokens, so any of them can continue for another.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from beanie import PydanticObjectId
from bson import ObjectId
from fastapi.sse import format_sse_event
from pydantic import ValidationError
from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.errors import OperationFailure

from api.tickets.view import TicketView
from ticketing.models import Ticket
from ticketing.mongodb import BSONDocument

logger = logging.getLogger(__name__)

Tickets = frozenset[PydanticObjectId]
"""Those somebody wants to hear of; none for all."""

POLL = timedelta(seconds=1)
"""How long MongoDB waits for a change before it says how far it has looked."""
QUICK_POLL = timedelta(milliseconds=50)
"""Likewise, for somebody who waits."""

BATCH = 100
"""Changes that are taken at once. In between, those who listen get a turn to send them."""

MOST_MISSED = 1_000
"""Changes that a client is told afterwards; reading anew costs it less than hearing of more."""
LONGEST_LOOK_BACK = timedelta(seconds=5)

INVALIDATE = "invalidate"
"""The collection was dropped or renamed, and what became of its tickets is not told."""

# The same for everybody: MongoDB finds no token again whose change the pipeline leaves out.
PIPELINE: list[dict[str, Any]] = [
    {"$match": {"operationType": {"$in": ["insert", "update", "replace", "delete", INVALIDATE]}}},
    {"$project": {"operationType": 1, "documentKey": 1, "fullDocument": 1}},
]


class HistoryLost(Exception):
    """MongoDB does not tell what changed since: it has forgotten, or never knew the token."""


@dataclass(frozen=True)
class TicketChange:
    """One change, as it is sent."""

    id: str
    """Its resume token. Of two changes, the later one's is greater."""
    ticket_id: ObjectId
    message: bytes
    """Written once, whoever hears of it."""


class TicketChanges:
    """The changes from some moment on, one after the other."""

    def __init__(self, stream: AsyncChangeStream[BSONDocument]) -> None:
        self._stream = stream

    @property
    def position(self) -> str:
        """The token up to which everything has been told; empty before the first is known."""
        token = self._stream.resume_token
        return token["_data"] if token else ""

    async def next(self) -> TicketChange | None:
        """The next change; None if there is none for now, or none that can be shown."""
        change = await self._stream.try_next()
        if change is None:
            return None
        if change["operationType"] == INVALIDATE:
            raise HistoryLost("the tickets were dropped")
        return _told(change)


@asynccontextmanager
async def watch_tickets(after: str = "", *, poll: timedelta = POLL) -> AsyncIterator[TicketChanges]:
    """The changes after a token, or from now on.

    Raises:
        HistoryLost: MongoDB cannot continue from there; within the block, likewise.
        ConnectionFailure: MongoDB does not respond, not even after an election.
    """
    try:
        stream = await Ticket.get_pymongo_collection().watch(
            PIPELINE,
            full_document="updateLookup",
            resume_after={"_data": after} if after else None,
            max_await_time_ms=int(poll.total_seconds() * 1000),
            batch_size=BATCH,
        )
        async with stream:
            yield TicketChanges(stream)
    except OperationFailure as error:
        # A dozen codes: a malformed token fails wherever its parser happens to stumble.
        raise HistoryLost(str(error)) from error


def is_among(tickets: Tickets, change: TicketChange) -> bool:
    return not tickets or change.ticket_id in tickets


async def missed_changes(after: str, until: str, tickets: Tickets) -> list[TicketChange]:
    """What changed from one token up to another, or somewhat further.

    Raises:
        HistoryLost: MongoDB does not know any more, or it is too much to tell.
        ConnectionFailure: MongoDB does not respond.
    """
    missed: list[TicketChange] = []
    try:
        async with (
            asyncio.timeout(LONGEST_LOOK_BACK.total_seconds()),
            watch_tickets(after, poll=QUICK_POLL) as changes,
        ):
            # Not until there is none for now: after a failover, the new primary may see less.
            while changes.position < until:
                change = await changes.next()
                if change and is_among(tickets, change):
                    missed.append(change)
                if len(missed) > MOST_MISSED:
                    raise HistoryLost("more changes than are told")
    except TimeoutError:
        raise HistoryLost("it takes too long to look them up") from None
    return missed


def joined(changes: Iterable[TicketChange]) -> bytes:
    """Several changes, sent as one piece."""
    return b"".join(change.message for change in changes)


def _told(change: Mapping[str, Any]) -> TicketChange | None:
    """The change as it is sent; None for that of a ticket which is gone, as the next one tells."""
    token, ticket_id = change["_id"]["_data"], change["documentKey"]["_id"]
    if change["operationType"] == "delete":
        message = format_sse_event(
            event="ticket_withdrawn", data_str=f'{{"id":"{ticket_id}"}}', id=token
        )
        return TicketChange(token, ticket_id, message)
    if change.get("fullDocument") is None:
        return None
    try:
        ticket = TicketView.model_validate(Ticket.model_validate(change["fullDocument"]))
    except ValidationError:
        logger.exception("the ticket %s cannot be shown", ticket_id)
        return None
    shown = ticket.model_dump_json(by_alias=True)
    return TicketChange(
        token, ticket_id, format_sse_event(event="ticket", data_str=shown, id=token)
    )
