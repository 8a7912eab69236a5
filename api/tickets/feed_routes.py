"""Ticket events: changes of tickets as server-sent events."""

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

MAX_TICKETS = 100

EXAMPLE = """\
retry: 1000

id: 826740F3A2000000012B0229296E04

event: ticket
data: {"id":"6740f3a2c1b5d94e8f1a2b3c","title":"Radiohead, Berlin, row 4","price":5000, …}
id: 826740F3A9000000012B022C0100296E5A1004D61B6B771FA24A5F9D3DAB3B3224C523461E5F6964002B020004

"""


UNBUFFERED = {"X-Accel-Buffering": "no"}
"""Proxies would otherwise buffer the events."""


class EventStream(StreamingResponse):
    media_type = "text/event-stream"


STREAM_RESPONSE: Responses = {
    200: {
        "description": "The events, as they happen.",
        "content": {EventStream.media_type: {"example": EXAMPLE}},
    }
}


class TicketEventQuery(QueryModel):
    """Which events to send."""

    after: str | None = Field(
        default=None,
        description="The id of the last received event, after which the stream starts. "
        "For the first connection, on which an `EventSource` cannot send a header.",
    )
    ticket: list[Id] = Field(
        default_factory=list,
        max_length=MAX_TICKETS,
        description="Only the events of this ticket; repeatable.",
    )


async def _messages(
    feed: Feed,
    query: Annotated[TicketEventQuery, Query()],
    last_event_id: Annotated[
        str | None,
        Header(
            description="Sent by an `EventSource` that reconnects; takes precedence over `after`."
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
    responses={**STREAM_RESPONSE, **problems(InvalidInput, MongoDBUnavailable, TooManyStreams)},
)
async def stream_ticket_events(
    messages: Annotated[AsyncIterator[bytes], Depends(_messages)],
) -> EventStream:
    """Changes of tickets as soon as they happen: server-sent events for an `EventSource`.

    The stream continues until one side ends it. An `EventSource` reconnects by itself and sends the
    id of the last event it received; then it gets the missed events, in order.

    - `ticket`: a ticket was listed, edited, reserved, released or sold. The data are the current
      ticket, in the format of `GET /api/tickets/{ticket_id}`.
    - `ticket_withdrawn`: the seller withdrew the ticket. The data are `{"id": …}`.
    - `reset`: events may be missing, because the last received event is unknown or too old. Read
      the tickets again; from here on, the stream is complete.

    An `id` without data, every 15 seconds, only tells the stream's position.
    To show tickets and their changes without a gap, open the stream first, and read the tickets
    once it has started.
    """
    return EventStream(messages, headers=UNBUFFERED)
