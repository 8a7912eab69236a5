"""Pages of tickets: the list and the single ticket."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api.dependencies import OptionalUser, Orders, Tickets
from api.http.pagination import PageQuery, ResultPage
from api.orders.service import OrderService
from api.storefront.dependencies import Currency, Pages, Position
from api.storefront.forms import StorefrontQuery, to_sentence
from api.storefront.pages import PageRoute
from api.tickets.routes import TicketStatusFilter
from api.tickets.service import TicketFilter, TicketSort
from api.users.sessions import SignedInUser
from ticketing.errors import OrderNotFound, TicketNotFound
from ticketing.models import ListedTicket, Order, Ticket
from ticketing.money import parse_amount

router = APIRouter(route_class=PageRoute)

PAGE_SIZE = 24

SORT_LABELS = {
    TicketSort.NEWEST: "Newest first",
    TicketSort.OLDEST: "Oldest first",
    TicketSort.CHEAPEST: "Lowest price first",
    TicketSort.DEAREST: "Highest price first",
}


STATUS_LABELS = {
    TicketStatusFilter.ALL: "All tickets",
    TicketStatusFilter.AVAILABLE: "Available",
    TicketStatusFilter.RESERVED: "Reserved",
    TicketStatusFilter.SOLD: "Sold",
}


class BrowseQuery(StorefrontQuery):
    """The search form; prices are amounts as people write them."""

    q: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    min: str = ""
    max: str = ""
    show: TicketStatusFilter = TicketStatusFilter.ALL
    sort: TicketSort = TicketSort.NEWEST
    cursor: str | None = Field(default=None, max_length=500)
    done: str = ""

    def address(self, **changes: object) -> str:
        """The address of this search, with changes."""
        asked = self.model_dump(exclude_defaults=True, exclude={"done"}) | changes
        asked = {name: value for name, value in asked.items() if value is not None}
        return f"/?{urlencode(asked)}" if asked else "/"


@router.get("/")
async def browse(
    position: Position,  # taken before the list is read, so that no change is missed
    query: Annotated[BrowseQuery, Query()],
    tickets: Tickets,
    currency: Currency,
    pages: Pages,
) -> Response:
    prices, errors = _prices(query, currency)
    found: ResultPage[ListedTicket] = ResultPage([], None)
    if not errors:
        found = await tickets.find(
            TicketFilter(
                words=query.q or None,
                status=query.show.ticket_status,
                min_price=prices.get("min"),
                max_price=prices.get("max"),
            ),
            query.sort,
            PageQuery(limit=PAGE_SIZE, cursor=query.cursor),
        )
    return pages.render(
        "browse.html",
        status=422 if errors else 200,
        allowed_notices=() if pages.user else ("signed-out",),
        query=query,
        tickets=found.items,
        next_page=query.address(cursor=found.next_cursor) if found.next_cursor else None,
        errors=errors,
        sort_labels=SORT_LABELS,
        status_labels=STATUS_LABELS,
        position=position,
    )


@router.get("/tickets/{ticket_id}")
async def show_ticket(
    position: Position, ticket_id: str, tickets: Tickets, orders: Orders, pages: Pages
) -> Response:
    try:
        ticket = await tickets.get(ticket_id)
    except TicketNotFound:
        if not pages.is_htmx_request:
            raise
        return pages.render("withdrawn_ticket.html")  # withdrawn while its page was open
    is_own = pages.user is not None and pages.user.id == ticket.user_id
    return pages.render(
        "ticket.html",
        allowed_notices=("listed", "saved") if is_own and ticket.order_id is None else (),
        ticket=ticket,
        own_order=await find_own_order(ticket, pages.user, orders),
        position=position,
    )


@router.get("/tickets/{ticket_id}/card")
async def show_card(ticket_id: str, tickets: Tickets, user: OptionalUser, pages: Pages) -> Response:
    """The ticket as a list shows it, to update an open list."""
    try:
        ticket = await tickets.get(ticket_id)
    except TicketNotFound:
        return pages.render("withdrawn_card.html", ticket_id=ticket_id)
    return pages.render("card.html", ticket=ticket)


async def find_own_order(
    ticket: Ticket, user: SignedInUser | None, orders: OrderService
) -> Order | None:
    """The order with which the user holds the ticket, if there is one."""
    if user is None or ticket.order_id is None:
        return None
    try:
        return (await orders.get(user.id, str(ticket.order_id))).order
    except OrderNotFound:
        return None


def _prices(query: BrowseQuery, currency: str) -> tuple[dict[str, int], dict[str, str]]:
    """The price bounds in minor units, and the errors of those that are not amounts."""
    prices: dict[str, int] = {}
    errors: dict[str, str] = {}
    for name, text in (("min", query.min), ("max", query.max)):
        try:
            if text.strip():
                prices[name] = parse_amount(text, currency)
        except ValueError as error:
            errors[name] = to_sentence(error)
    if prices.get("min", 0) > prices.get("max", prices.get("min", 0)):
        errors["max"] = "The highest price is below the lowest."
    return prices, errors
