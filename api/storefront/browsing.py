"""Looking at what is for sale."""

from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api.dependencies import OptionalUser, Orders, Tickets
from api.http.pagination import FoundPage, PageQuery
from api.orders.service import OrderService
from api.storefront.dependencies import Currency, Page, Position
from api.storefront.forms import AddressQuery, sentence
from api.storefront.pages import PageRoute
from api.tickets.service import TicketFilter, TicketSort
from api.users.sessions import SignedInUser
from ticketing.errors import OrderNotFound, TicketNotFound
from ticketing.models import ListedTicket, Order, Ticket
from ticketing.money import parse_amount
from ticketing.statuses import TicketStatus

router = APIRouter(route_class=PageRoute)

PAGE_SIZE = 24

SORTS = {
    TicketSort.NEWEST: "Newest first",
    TicketSort.OLDEST: "Oldest first",
    TicketSort.CHEAPEST: "Lowest price first",
    TicketSort.DEAREST: "Highest price first",
}


class Show(StrEnum):
    """Which tickets, by what can be done with them."""

    ALL = "all"
    AVAILABLE = "available"
    RESERVED = "reserved"
    SOLD = "sold"

    @property
    def status(self) -> TicketStatus | None:
        return None if self is Show.ALL else TicketStatus(self)


SHOWN = {
    Show.ALL: "All tickets",
    Show.AVAILABLE: "Available",
    Show.RESERVED: "Reserved",
    Show.SOLD: "Sold",
}


class BrowseQuery(AddressQuery):
    """What the form above the list asks for; amounts are as people write them."""

    q: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    min: str = ""
    max: str = ""
    show: Show = Show.ALL
    sort: TicketSort = TicketSort.NEWEST
    cursor: str | None = Field(default=None, max_length=500)
    done: str = ""

    def address(self, **changes: object) -> str:
        """The same question, or another one that differs a little."""
        asked = self.model_dump(exclude_defaults=True, exclude={"done"}) | changes
        asked = {name: value for name, value in asked.items() if value is not None}
        return f"/?{urlencode(asked)}" if asked else "/"


@router.get("/")
async def browse(
    position: Position,  # before the list is read, so that no change falls in between
    query: Annotated[BrowseQuery, Query()],
    tickets: Tickets,
    currency: Currency,
    page: Page,
) -> Response:
    prices, errors = _prices(query, currency)
    found: FoundPage[ListedTicket] = FoundPage([], None)
    if not errors:
        found = await tickets.find(
            TicketFilter(
                words=query.q or None,
                status=query.show.status,
                min_price=prices.get("min"),
                max_price=prices.get("max"),
            ),
            query.sort,
            PageQuery(limit=PAGE_SIZE, cursor=query.cursor),
        )
    return page.show(
        "browse.html",
        status=422 if errors else 200,
        may_be_done=() if page.user else ("signed-out",),
        query=query,
        tickets=found.documents,
        next_page=query.address(cursor=found.next_cursor) if found.next_cursor else None,
        errors=errors,
        sorts=SORTS,
        shown=SHOWN,
        position=position,
    )


@router.get("/tickets/{ticket_id}")
async def show_ticket(
    position: Position, ticket_id: str, tickets: Tickets, orders: Orders, page: Page
) -> Response:
    try:
        ticket = await tickets.get(ticket_id)
    except TicketNotFound:
        if not page.is_part:
            raise
        return page.show("withdrawn_ticket.html")  # while its page was open
    is_own = page.user is not None and page.user.id == ticket.user_id
    return page.show(
        "ticket.html",
        may_be_done=("listed", "saved") if is_own and ticket.order_id is None else (),
        ticket=ticket,
        own_order=await order_that_holds(ticket, page.user, orders),
        position=position,
    )


@router.get("/tickets/{ticket_id}/card")
async def show_card(ticket_id: str, tickets: Tickets, user: OptionalUser, page: Page) -> Response:
    """The ticket as lists show it: for a list that follows what happens."""
    try:
        ticket = await tickets.get(ticket_id)
    except TicketNotFound:
        return page.show("withdrawn_card.html", ticket_id=ticket_id)
    return page.show("card.html", ticket=ticket)


async def order_that_holds(
    ticket: Ticket, user: SignedInUser | None, orders: OrderService
) -> Order | None:
    """The order under which whoever looks holds the ticket, if they do."""
    if user is None or ticket.order_id is None:
        return None
    try:
        return (await orders.get(user.id, str(ticket.order_id))).order
    except OrderNotFound:
        return None


def _prices(query: BrowseQuery, currency: str) -> tuple[dict[str, int], dict[str, str]]:
    """The bounds in minor units, and what is wrong with those that are none."""
    prices: dict[str, int] = {}
    errors: dict[str, str] = {}
    for name, text in (("min", query.min), ("max", query.max)):
        try:
            if text.strip():
                prices[name] = parse_amount(text, currency)
        except ValueError as error:
            errors[name] = sentence(error)
    if prices.get("min", 0) > prices.get("max", prices.get("min", 0)):
        errors["max"] = "The highest price is below the lowest."
    return prices, errors
