"""Changes of tickets, read from MongoDB's change streams.

A change is identified by its resume token: hexadecimal digits, which since MongoDB 4.2 sort in the
order of the changes. The tokens are the same in every process, so a client can continue at another.
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

TicketIds = frozenset[PydanticObjectId]
"""The tickets that a client has selected; empty for all."""

POLL_INTERVAL = timedelta(seconds=1)
"""How long MongoDB waits for a change before it reports its current position."""
QUICK_POLL_INTERVAL = timedelta(milliseconds=50)
"""The same, while a client waits for the result."""

BATCH = 100
"""Changes that are read at once. Listeners get a turn to send them in between."""

MAX_MISSED = 1_000
"""Changes that a client is sent to catch up; with more, reading the tickets again costs less."""
HISTORY_READ_TIMEOUT = timedelta(seconds=5)

INVALIDATE = "invalidate"
"""The collection was dropped or renamed; MongoDB does not report its tickets' deletion."""

# The same for every stream: MongoDB cannot resume at a change that the pipeline filters out.
PIPELINE: list[dict[str, Any]] = [
    {"$match": {"operationType": {"$in": ["insert", "update", "replace", "delete", INVALIDATE]}}},
    {"$project": {"operationType": 1, "documentKey": 1, "fullDocument": 1}},
]


class HistoryLost(Exception):
    """The changes since the token cannot be read: they are too old, or the token is unknown."""


@dataclass(frozen=True)
class TicketChange:
    """One change and its message."""

    id: str
    """The resume token; a later change has a greater one."""
    ticket_id: ObjectId
    message: bytes
    """The server-sent event, encoded once for all listeners."""


class TicketChanges:
    """An open change stream."""

    def __init__(self, stream: AsyncChangeStream[BSONDocument]) -> None:
        self._stream = stream

    @property
    def position(self) -> str:
        """The token up to which all changes have been read; empty before the first is known."""
        token = self._stream.resume_token
        return token["_data"] if token else ""

    async def next(self) -> TicketChange | None:
        """The next change; None if there is none yet, or if it cannot be shown."""
        change = await self._stream.try_next()
        if change is None:
            return None
        if change["operationType"] == INVALIDATE:
            raise HistoryLost("the tickets were dropped")
        return _to_ticket_change(change)


@asynccontextmanager
async def watch_tickets(
    after: str = "", *, poll: timedelta = POLL_INTERVAL
) -> AsyncIterator[TicketChanges]:
    """Open a change stream after a token, or from now on.

    Raises:
        HistoryLost: MongoDB cannot resume there; also raised within the block.
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
        # Any code: malformed tokens fail with a dozen different ones.
        raise HistoryLost(str(error)) from error


def is_selected(tickets: TicketIds, change: TicketChange) -> bool:
    return not tickets or change.ticket_id in tickets


async def missed_changes(after: str, until: str, tickets: TicketIds) -> list[TicketChange]:
    """The changes from one token up to another, and perhaps a few more.

    Raises:
        HistoryLost: MongoDB no longer has them, or there are too many.
        ConnectionFailure: MongoDB does not respond.
    """
    missed: list[TicketChange] = []
    try:
        async with (
            asyncio.timeout(HISTORY_READ_TIMEOUT.total_seconds()),
            watch_tickets(after, poll=QUICK_POLL_INTERVAL) as changes,
        ):
            # Not only until there is none: after a failover, the new primary may lag behind.
            while changes.position < until:
                change = await changes.next()
                if change and is_selected(tickets, change):
                    missed.append(change)
                if len(missed) > MAX_MISSED:
                    raise HistoryLost("too many changes")
    except TimeoutError:
        raise HistoryLost("reading them takes too long") from None
    return missed


def join_messages(changes: Iterable[TicketChange]) -> bytes:
    return b"".join(change.message for change in changes)


def _to_ticket_change(change: Mapping[str, Any]) -> TicketChange | None:
    """The change to send; None if the ticket is gone, which the next change will tell."""
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
    data = ticket.model_dump_json(by_alias=True)
    return TicketChange(token, ticket_id, format_sse_event(event="ticket", data_str=data, id=token))
