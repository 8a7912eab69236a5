"""Refuses a burst of reservations before anything else is done for them."""

import re
from collections.abc import Callable

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import Render
from api.temporal.admission import Admission
from ticketing.errors import Overloaded

RESERVE_PATH = "/api/orders"
RESERVE_FORM_PATH = re.compile("/tickets/([0-9a-f]{24})/reserve")


class _Request(BaseModel):
    """What names the ticket in the body of `POST /api/orders`."""

    ticketId: str  # noqa: N815 - as it is sent


class EarlyRefusalMiddleware:
    """Lets in only so many requests for different tickets as can be served in time.

    A thousand at once would each be looked up before the first of them is refused. Requests for
    one ticket count once, since they wait for the same reservation.
    """

    def __init__(self, app: ASGIApp, admission: Callable[[], Admission], render: Render) -> None:
        self._app = app
        self._admission = admission
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        ticket_id, receive = await _requested_ticket(scope, receive)
        if ticket_id is None:
            await self._app(scope, receive, send)
            return
        try:
            admitted = self._admission().let_in(ticket_id)
        except Overloaded as error:
            await self._render(scope, error, None)(scope, receive, send)
            return
        with admitted:
            await self._app(scope, receive, send)


async def _requested_ticket(scope: Scope, receive: Receive) -> tuple[str | None, Receive]:
    """The ticket to be reserved, if there is one, and what gives the body again."""
    if found := RESERVE_FORM_PATH.fullmatch(scope["path"]):
        return found[1], receive
    if scope["path"] != RESERVE_PATH:
        return None, receive
    messages: list[Message | HTTPException] = []
    body = b""
    is_complete = False
    while not is_complete:
        try:
            message = await receive()
        except HTTPException as refusal:  # too large or too slow: refused where the body is read
            messages.append(refusal)
            break
        messages.append(message)
        body += message.get("body", b"")
        is_complete = not message.get("more_body", False)

    async def receive_again() -> Message:
        if not messages:
            return await receive()
        message = messages.pop(0)
        if isinstance(message, HTTPException):
            raise message
        return message

    try:
        return _Request.model_validate_json(body).ticketId, receive_again
    except ValidationError:
        return None, receive_again
