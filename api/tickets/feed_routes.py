"""Ticket events: what changes on the market, as it changes."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from api.dependencies import Feed
from api.http.models import Id, QueryModel
from api.http.problems import Responses, problems
from ticketing.errors import InvalidInput, MongoDBUnavailable, TooManyStreams

router = APIRouter(prefix="/api/tickets/events", tags=["tickets"])

MOST_TICKETS = 100

EXAMPLE = """\
retry: 1000

id: 826740F3A2000000012B0229296E04

event: ticket
data: {"id":"6740f3a2c1b5d94e8f1a2b3c","title":"Radiohead, Berlin, row 4","price":5000, …}
id: 826740F3A9000000012B022C0100296E5A1004D61B6B771FA24A5F9D3DAB3B3224C523461E5F6964002B020004

"""


UNBUFFERED = {"X-Accel-Buffering": "no"}
"""For proxies, which would collect events until there are enough of them."""


class EventStream(StreamingResponse):
    media_type = "text/event-stream"


STREAM: Responses = {
    200: {
        "description": "The events, as they happen.",
        "content": {EventStream.media_type: {"example": EXAMPLE}},
    }
}


class TicketEventQuery(QueryModel):
    """Which events."""

    after: str | None = Field(
        default=None,
        description="Where to begin: the id of the last event that was heard. "
        "For a first connection, on which an `EventSource` can send no header.",
    )
    ticket: list[Id] = Field(
        default_factory=list,
        max_length=MOST_TICKETS,
        description="Hear of these tickets only; repeat it for several.",
    )


async def _messages(
    feed: Feed,
    query: Annotated[TicketEventQuery, Query()],
    last_event_id: Annotated[
        str | None,
        Header(
            description="What an `EventSource` sends when it comes back; then it is what counts."
        ),
    ] = None,
) -> AsyncIterator[AsyncIterator[bytes]]:
    after = last_event_id or query.after or ""
    async with (
        feed.listen(after, frozenset(query.ticket)) as listener,
        aclosing(feed.messages(listener)) as messages,
    ):
        yield messages


@router.get(
    "",
    response_class=EventStream,
    responses={**STREAM, **problems(InvalidInput, MongoDBUnavailable, TooManyStreams)},
)
async def stream_ticket_events(
    messages: Annotated[AsyncIterator[bytes], Depends(_messages)],
) -> EventStream:
    """Changes of tickets, as soon as they happen: server-sent events, for an `EventSource`.

    The stream goes on until one side ends it. An `EventSource` comes back by itself and says which
    event it heard last; it is told what it missed, in order.

    - `ticket`: a ticket was listed, edited, reserved, released or sold. The data are the ticket as
      it is now, as `GET /api/tickets/{ticket_id}` shows it.
    - `ticket_withdrawn`: its seller took the ticket off the market. The data are `{"id": …}`.
    - `reset`: changes may be missing, because what the client heard last is unknown or too long
      ago. Read anew what you show; from here on, the stream is complete again.

    An `id` without data, every 15 seconds, says only how far the stream is.
    To show tickets and then their changes, without a gap: open the stream, and read the tickets
    when it has begun.
    """
    return EventStream(messages, headers=UNBUFFERED)
