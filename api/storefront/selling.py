"""Pages of listing, editing and withdrawing one's own tickets."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api.dependencies import CurrentUser, Tickets
from api.http.etags import Precondition
from api.http.idempotency import derived_id
from api.http.pagination import PageQuery
from api.storefront.dependencies import Currency, Pages, Position, SignedInForm
from api.storefront.forms import Form, InvalidForm, StorefrontQuery, to_sentence, validate_form
from api.storefront.pages import PageRenderer, PageRoute, redirect_to
from api.tickets.routes import HIGHEST_PRICE, LOWEST_PRICE, TicketBody
from api.tickets.service import TicketFilter, TicketSort
from ticketing.errors import (
    IdempotencyKeyReused,
    NotTicketOwner,
    StaleTicket,
    TicketNotFound,
    TicketReserved,
    TicketSold,
)
from ticketing.models import Ticket
from ticketing.money import format_amount, parse_amount, plain_amount
from ticketing.statuses import TicketStatus

router = APIRouter(route_class=PageRoute)

PAGE_SIZE = 20

LIST_ROUTE = "POST /sell"
"""Part of the keys derived from forms: must never change."""

UNCHANGEABLE_MESSAGES = {
    TicketStatus.RESERVED: "A buyer has reserved this ticket. It can be changed again if the "
    "buyer does not pay in time.",
    TicketStatus.SOLD: "This ticket is sold, and cannot be changed any more.",
}
CHANGED_MEANWHILE = "You have changed this ticket elsewhere. This is how it is now."


class ShowListingsQuery(StorefrontQuery):
    cursor: str | None = Field(default=None, max_length=500)
    done: str = ""


@router.get("/sell")
async def show_listing_form(user: CurrentUser, currency: Currency, pages: Pages) -> Response:
    return pages.render(
        "sell.html", title="", price="", currency=currency, errors={}, form_id=uuid4().hex
    )


@router.post("/sell")
async def list_ticket(
    user: CurrentUser, form: SignedInForm, tickets: Tickets, currency: Currency, pages: Pages
) -> Response:
    try:
        wanted = _parse_ticket(form, currency)
    except InvalidForm as invalid:
        return pages.render(
            "sell.html",
            status=422,
            title=form.get("title", ""),
            price=form.get("price", ""),
            currency=currency,
            errors=invalid.errors,
            form_id=form.get("form_id") or uuid4().hex,
        )
    # Sent twice, the form lists one ticket. With other values, as after going back, it lists
    # another one.
    key = derived_id(LIST_ROUTE, user.id, form.get("form_id") or uuid4().hex)
    try:
        ticket = await tickets.create(user.id, wanted.title, wanted.price, key)
    except IdempotencyKeyReused:
        ticket = await tickets.create(user.id, wanted.title, wanted.price)
    return redirect_to(f"/tickets/{ticket.id}?done=listed")


@router.get("/listings")
async def show_listings(
    position: Position,
    user: CurrentUser,
    query: Annotated[ShowListingsQuery, Query()],
    tickets: Tickets,
    pages: Pages,
) -> Response:
    found = await tickets.find(
        TicketFilter(status=None, seller_id=user.id),
        TicketSort.NEWEST,
        PageQuery(limit=PAGE_SIZE, cursor=query.cursor),
    )
    next_page = f"/listings?cursor={found.next_cursor}" if found.next_cursor else None
    return pages.render(
        "listings.html",
        allowed_notices=("withdrawn",),
        tickets=found.items,
        next_page=next_page,
        is_first=query.cursor is None,
        position=position,
    )


@router.get("/listings/{ticket_id}/row")
async def show_row(user: CurrentUser, ticket_id: str, tickets: Tickets, pages: Pages) -> Response:
    """The ticket as its seller's list shows it, to update an open list."""
    try:
        ticket = await _get_own_ticket(tickets, ticket_id, user.id)
    except TicketNotFound:
        return pages.render("withdrawn_card.html", ticket_id=ticket_id)
    return pages.render("listing_row.html", ticket=ticket)


@router.get("/tickets/{ticket_id}/edit")
async def show_edit_form(
    user: CurrentUser, ticket_id: str, tickets: Tickets, pages: Pages
) -> Response:
    return _show_edit(pages, await _get_own_ticket(tickets, ticket_id, user.id))


@router.post("/tickets/{ticket_id}/edit")
async def edit_ticket(
    user: CurrentUser, ticket_id: str, form: SignedInForm, tickets: Tickets, pages: Pages
) -> Response:
    ticket = await _get_own_ticket(tickets, ticket_id, user.id)
    try:
        wanted = _parse_ticket(form, ticket.currency)
        await tickets.edit(
            ticket_id, user.id, _version(form), title=wanted.title, price=wanted.price
        )
    except InvalidForm as invalid:
        return _show_edit(pages, ticket, 422, form=form, errors=invalid.errors)
    except (TicketReserved, TicketSold, StaleTicket) as error:
        now = await _get_own_ticket(tickets, ticket_id, user.id)
        if (now.title, now.price) == (wanted.title, wanted.price) and now.order_id is None:
            return redirect_to(f"/tickets/{ticket_id}?done=saved")  # sent twice
        return _show_edit(pages, now, int(error.status), alert=_unchangeable_message(now))
    return redirect_to(f"/tickets/{ticket_id}?done=saved")


@router.get("/tickets/{ticket_id}/withdraw")
async def show_withdrawal(
    user: CurrentUser, ticket_id: str, tickets: Tickets, pages: Pages
) -> Response:
    return pages.render("withdraw.html", ticket=await _get_own_ticket(tickets, ticket_id, user.id))


@router.post("/tickets/{ticket_id}/withdraw")
async def withdraw_ticket(
    user: CurrentUser, ticket_id: str, form: SignedInForm, tickets: Tickets, pages: Pages
) -> Response:
    try:
        await tickets.withdraw(ticket_id, user.id, _version(form))
    except (TicketReserved, TicketSold, StaleTicket) as error:
        now = await _get_own_ticket(tickets, ticket_id, user.id)
        return pages.render(
            "withdraw.html", status=int(error.status), ticket=now, alert=_unchangeable_message(now)
        )
    except TicketNotFound:
        return redirect_to("/listings")  # withdrawn already, for example by sending twice
    return redirect_to("/listings?done=withdrawn")


async def _get_own_ticket(tickets: Tickets, ticket_id: str, user_id: object) -> Ticket:
    """One of the user's own tickets.

    Raises:
        TicketNotFound, NotTicketOwner
    """
    ticket = await tickets.get(ticket_id)
    if ticket.user_id != user_id:
        raise NotTicketOwner
    return ticket


def _show_edit(
    pages: PageRenderer,
    ticket: Ticket,
    status: int = 200,
    *,
    form: Form | None = None,
    errors: dict[str, str] | None = None,
    alert: str | None = None,
) -> Response:
    """The form with the ticket's values, or with those that were typed."""
    typed = form or {}
    return pages.render(
        "edit.html",
        status=status,
        ticket=ticket,
        title=typed.get("title", ticket.title),
        price=typed.get("price", plain_amount(ticket.price, ticket.currency)),
        version=typed.get("version", ticket.version),
        unchangeable=UNCHANGEABLE_MESSAGES.get(ticket.status),
        errors=errors or {},
        alert=alert,
    )


def _unchangeable_message(ticket: Ticket) -> str:
    return UNCHANGEABLE_MESSAGES.get(ticket.status, CHANGED_MEANWHILE)


def _version(form: Form) -> Precondition:
    """The ticket's version in the form; without one, no version matches."""
    version = form.get("version", "")
    return Precondition((int(version),) if version.isdecimal() and len(version) < 16 else ())


def _parse_ticket(form: Form, currency: str) -> TicketBody:
    """The ticket in the form.

    Raises:
        InvalidForm: with messages for the invalid fields.
    """
    errors: dict[str, str] = {}
    price = LOWEST_PRICE
    try:
        price = _parse_price(form.get("price", ""), currency)
    except ValueError as error:
        errors["price"] = str(error)
    try:
        wanted = validate_form(TicketBody, {"title": form.get("title", ""), "price": price})
    except InvalidForm as invalid:
        raise InvalidForm(invalid.errors | errors) from None
    if errors:
        raise InvalidForm(errors)
    return wanted


def _parse_price(text: str, currency: str) -> int:
    if not text.strip():
        raise ValueError("Fill this in.")
    try:
        price = parse_amount(text, currency)
    except ValueError as error:
        raise ValueError(to_sentence(error)) from None
    if price < LOWEST_PRICE:
        raise ValueError(f"The lowest price is {format_amount(LOWEST_PRICE, currency)}.")
    if price > HIGHEST_PRICE:
        raise ValueError(f"The highest price is {format_amount(HIGHEST_PRICE, currency)}.")
    return price
