"""Tickets: listed, edited, withdrawn and searched."""

import unicodedata
from enum import StrEnum
from typing import Annotated, Self

from beanie import PydanticObjectId
from fastapi import APIRouter, Depends, Query, Request, Response, status
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from api.dependencies import CurrentUser, IdempotencyKey, Tickets
from api.http.etags import IfMatch, etag
from api.http.idempotency import derived_id
from api.http.models import RequestModel
from api.http.pagination import Page, PageQuery
from api.http.problems import problems
from api.resources import resources_of
from api.tickets.service import TicketFilter, TicketSort
from api.tickets.view import TicketView
from ticketing.errors import (
    ForeignOrigin,
    IdempotencyKeyReused,
    InvalidInput,
    NotAuthenticated,
    NotTicketOwner,
    StaleTicket,
    TicketNotFound,
    TicketReserved,
    TicketSold,
)
from ticketing.models import Ticket
from ticketing.statuses import TicketStatus

router = APIRouter(prefix="/api/tickets", tags=["tickets"])

CREATE_ROUTE = "POST /api/tickets"
"""Part of the ids derived from idempotency keys: must never change."""

LOWEST_PRICE = 50
HIGHEST_PRICE = 99_999_999
"""Stripe's limits for most currencies, in their minor units."""

CHANGE_REFUSALS = (
    NotAuthenticated,
    InvalidInput,
    TicketNotFound,
    NotTicketOwner,
    ForeignOrigin,
    TicketReserved,
    TicketSold,
    StaleTicket,
)


def _refuse_control_characters(title: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in title):
        raise ValueError("must not contain control characters or line breaks")
    return title


Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_refuse_control_characters),
    Field(examples=["Radiohead, Berlin, row 4"]),
]
Price = Annotated[int, Field(strict=True, ge=LOWEST_PRICE, le=HIGHEST_PRICE, examples=[5000])]
PriceBound = Annotated[int, Field(ge=0, le=HIGHEST_PRICE)]


class TicketBody(RequestModel):
    """A ticket to sell."""

    title: Title
    price: Price = Field(description="In the currency's minor unit: 5000 is 50.00.")


class TicketStatusFilter(StrEnum):
    AVAILABLE = "available"
    RESERVED = "reserved"
    SOLD = "sold"
    ALL = "all"

    @property
    def ticket_status(self) -> TicketStatus | None:
        return None if self is TicketStatusFilter.ALL else TicketStatus(self)


class TicketQuery(PageQuery):
    """Which tickets to list, and their order."""

    q: str | None = Field(
        default=None,
        max_length=200,
        description="Words that must all occur in the title; case and accents are ignored.",
    )
    status: TicketStatusFilter = TicketStatusFilter.AVAILABLE
    seller: str | None = Field(
        default=None,
        pattern="^(me|[0-9a-fA-F]{24})$",
        description="A seller's id, or `me` for the caller's own tickets, which needs a session.",
    )
    min_price: PriceBound | None = None
    max_price: PriceBound | None = None
    sort: TicketSort = TicketSort.NEWEST

    @model_validator(mode="after")
    def _check_price_bounds(self) -> Self:
        bounds = [price for price in (self.min_price, self.max_price) if price is not None]
        if bounds != sorted(bounds):
            raise ValueError("minPrice must not be above maxPrice")
        return self

    def filter(self, me: PydanticObjectId | None) -> TicketFilter:
        return TicketFilter(
            words=self.q,
            status=self.status.ticket_status,
            seller_id=me or (PydanticObjectId(self.seller) if self.seller else None),
            min_price=self.min_price,
            max_price=self.max_price,
        )


async def _me(request: Request) -> PydanticObjectId | None:
    """The caller, if `seller=me`; other lists need no session and do not read it."""
    if request.query_params.get("seller") != "me":
        return None
    return (await resources_of(request.app).sessions.require_user(request)).id


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problems(NotAuthenticated, ForeignOrigin, InvalidInput, IdempotencyKeyReused),
)
async def create_ticket(
    user: CurrentUser, key: IdempotencyKey, body: TicketBody, tickets: Tickets, response: Response
) -> TicketView:
    """List a ticket for sale."""
    listing_key = derived_id(CREATE_ROUTE, user.id, key) if key else None
    ticket = await tickets.create(user.id, body.title, body.price, listing_key)
    response.headers["Location"] = f"{router.prefix}/{ticket.id}"
    return _ticket_view(ticket, response)


@router.get("", responses=problems(NotAuthenticated, InvalidInput))
async def list_tickets(
    me: Annotated[PydanticObjectId | None, Depends(_me)],
    query: Annotated[TicketQuery, Query()],
    tickets: Tickets,
) -> Page[TicketView]:
    """List tickets; by default those that can be bought."""
    found = await tickets.find(query.filter(me), query.sort, query)
    items = [TicketView.model_validate(ticket) for ticket in found.items]
    return Page(items=items, next_cursor=found.next_cursor)


@router.get("/{ticket_id}", responses=problems(TicketNotFound))
async def get_ticket(ticket_id: str, tickets: Tickets, response: Response) -> TicketView:
    """Get one ticket. Its `ETag` is for the `If-Match` of an edit."""
    return _ticket_view(await tickets.get(ticket_id), response)


@router.put("/{ticket_id}", responses=problems(*CHANGE_REFUSALS))
async def edit_ticket(
    user: CurrentUser,
    ticket_id: str,
    body: TicketBody,
    if_match: IfMatch,
    tickets: Tickets,
    response: Response,
) -> TicketView:
    """Edit a ticket, as long as no order holds it.

    With `If-Match`, only if the ticket has not been edited since.
    """
    ticket = await tickets.edit(ticket_id, user.id, if_match, title=body.title, price=body.price)
    return _ticket_view(ticket, response)


@router.delete(
    "/{ticket_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(*CHANGE_REFUSALS),
)
async def withdraw_ticket(
    user: CurrentUser, ticket_id: str, if_match: IfMatch, tickets: Tickets
) -> None:
    """Withdraw a ticket from sale, as long as no order holds it."""
    await tickets.withdraw(ticket_id, user.id, if_match)


def _ticket_view(ticket: Ticket, response: Response) -> TicketView:
    response.headers["ETag"] = etag(ticket.version)
    return TicketView.model_validate(ticket)
