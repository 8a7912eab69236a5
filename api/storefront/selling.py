"""Listing tickets, and changing what one has listed."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api.dependencies import CurrentUser, Tickets
from api.http.etags import Precondition
from api.http.idempotency import derived_id
from api.http.pagination import PageQuery
from api.storefront.dependencies import Currency, Page, Position, SignedInForm
from api.storefront.forms import AddressQuery, Form, InvalidForm, sentence, validated
from api.storefront.pages import PageRoute, Pages, go_to
from api.tickets.routes import HIGHEST_PRICE, LOWEST_PRICE, TicketInput
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
"""Part of the keys that follow from a form."""

UNCHANGEABLE = {
    TicketStatus.RESERVED: "A buyer has reserved this ticket. It can be changed again if the "
    "buyer does not pay in time.",
    TicketStatus.SOLD: "This ticket is sold, and cannot be changed any more.",
}
CHANGED_MEANWHILE = "You have changed this ticket elsewhere. This is how it is now."


class ListingsQuery(AddressQuery):
    cursor: str | None = Field(default=None, max_length=500)
    done: str = ""


@router.get("/sell")
async def show_listing_form(user: CurrentUser, currency: Currency, page: Page) -> Response:
    return page.show(
        "sell.html", title="", price="", currency=currency, errors={}, form_id=uuid4().hex
    )


@router.post("/sell")
async def list_ticket(
    user: CurrentUser, form: SignedInForm, tickets: Tickets, currency: Currency, page: Page
) -> Response:
    try:
        wanted = _read(form, currency)
    except InvalidForm as invalid:
        return page.show(
            "sell.html",
            status=422,
            title=form.get("title", ""),
            price=form.get("price", ""),
            currency=currency,
            errors=invalid.errors,
            form_id=form.get("form_id") or uuid4().hex,
        )
    # Pressed twice, the form lists one ticket; filled in anew, as after going back, another one.
    key = derived_id(LIST_ROUTE, user.id, form.get("form_id") or uuid4().hex)
    try:
        ticket = await tickets.create(user.id, wanted.title, wanted.price, key)
    except IdempotencyKeyReused:
        ticket = await tickets.create(user.id, wanted.title, wanted.price)
    return go_to(f"/tickets/{ticket.id}?done=listed")


@router.get("/listings")
async def show_listings(
    position: Position,
    user: CurrentUser,
    query: Annotated[ListingsQuery, Query()],
    tickets: Tickets,
    page: Page,
) -> Response:
    found = await tickets.find(
        TicketFilter(status=None, seller_id=user.id),
        TicketSort.NEWEST,
        PageQuery(limit=PAGE_SIZE, cursor=query.cursor),
    )
    next_page = f"/listings?cursor={found.next_cursor}" if found.next_cursor else None
    return page.show(
        "listings.html",
        may_be_done=("withdrawn",),
        tickets=found.documents,
        next_page=next_page,
        is_first=query.cursor is None,
        position=position,
    )


@router.get("/listings/{ticket_id}/row")
async def show_row(user: CurrentUser, ticket_id: str, tickets: Tickets, page: Page) -> Response:
    """The ticket as its seller's list shows it: for a list that follows what happens."""
    try:
        ticket = await _own(tickets, ticket_id, user.id)
    except TicketNotFound:
        return page.show("withdrawn_card.html", ticket_id=ticket_id)
    return page.show("listing_row.html", ticket=ticket)


@router.get("/tickets/{ticket_id}/edit")
async def show_edit_form(
    user: CurrentUser, ticket_id: str, tickets: Tickets, page: Page
) -> Response:
    return _show_edit(page, await _own(tickets, ticket_id, user.id))


@router.post("/tickets/{ticket_id}/edit")
async def edit_ticket(
    user: CurrentUser, ticket_id: str, form: SignedInForm, tickets: Tickets, page: Page
) -> Response:
    ticket = await _own(tickets, ticket_id, user.id)
    try:
        wanted = _read(form, ticket.currency)
        await tickets.edit(
            ticket_id, user.id, _version(form), title=wanted.title, price=wanted.price
        )
    except InvalidForm as invalid:
        return _show_edit(page, ticket, 422, form=form, errors=invalid.errors)
    except (TicketReserved, TicketSold, StaleTicket) as error:
        now = await _own(tickets, ticket_id, user.id)
        if (now.title, now.price) == (wanted.title, wanted.price) and now.order_id is None:
            return go_to(f"/tickets/{ticket_id}?done=saved")  # pressed twice
        return _show_edit(page, now, int(error.status), alert=_why_not(now))
    return go_to(f"/tickets/{ticket_id}?done=saved")


@router.get("/tickets/{ticket_id}/withdraw")
async def show_withdrawal(
    user: CurrentUser, ticket_id: str, tickets: Tickets, page: Page
) -> Response:
    return page.show("withdraw.html", ticket=await _own(tickets, ticket_id, user.id))


@router.post("/tickets/{ticket_id}/withdraw")
async def withdraw_ticket(
    user: CurrentUser, ticket_id: str, form: SignedInForm, tickets: Tickets, page: Page
) -> Response:
    try:
        await tickets.withdraw(ticket_id, user.id, _version(form))
    except (TicketReserved, TicketSold, StaleTicket) as error:
        now = await _own(tickets, ticket_id, user.id)
        return page.show("withdraw.html", status=int(error.status), ticket=now, alert=_why_not(now))
    except TicketNotFound:
        return go_to("/listings")  # withdrawn already, as by pressing twice
    return go_to("/listings?done=withdrawn")


async def _own(tickets: Tickets, ticket_id: str, user_id: object) -> Ticket:
    """One of the user's own tickets.

    Raises:
        TicketNotFound, NotTicketOwner
    """
    ticket = await tickets.get(ticket_id)
    if ticket.user_id != user_id:
        raise NotTicketOwner
    return ticket


def _show_edit(
    page: Pages,
    ticket: Ticket,
    status: int = 200,
    *,
    form: Form | None = None,
    errors: dict[str, str] | None = None,
    alert: str | None = None,
) -> Response:
    """The form with what the ticket is, or with what was typed into it."""
    typed = form or {}
    return page.show(
        "edit.html",
        status=status,
        ticket=ticket,
        title=typed.get("title", ticket.title),
        price=typed.get("price", plain_amount(ticket.price, ticket.currency)),
        version=typed.get("version", ticket.version),
        unchangeable=UNCHANGEABLE.get(ticket.status),
        errors=errors or {},
        alert=alert,
    )


def _why_not(ticket: Ticket) -> str:
    return UNCHANGEABLE.get(ticket.status, CHANGED_MEANWHILE)


def _version(form: Form) -> Precondition:
    """The version that the form was filled in for; a form without one builds on none."""
    version = form.get("version", "")
    return Precondition((int(version),) if version.isdecimal() and len(version) < 16 else ())


def _read(form: Form, currency: str) -> TicketInput:
    """What the seller offers.

    Raises:
        InvalidForm: saying what is wrong with which field.
    """
    errors: dict[str, str] = {}
    price = LOWEST_PRICE
    try:
        price = _read_price(form.get("price", ""), currency)
    except ValueError as error:
        errors["price"] = str(error)
    try:
        wanted = validated(TicketInput, {"title": form.get("title", ""), "price": price})
    except InvalidForm as invalid:
        raise InvalidForm(invalid.errors | errors) from None
    if errors:
        raise InvalidForm(errors)
    return wanted


def _read_price(text: str, currency: str) -> int:
    if not text.strip():
        raise ValueError("Fill this in.")
    try:
        price = parse_amount(text, currency)
    except ValueError as error:
        raise ValueError(sentence(error)) from None
    if price < LOWEST_PRICE:
        raise ValueError(f"The lowest price is {format_amount(LOWEST_PRICE, currency)}.")
    if price > HIGHEST_PRICE:
        raise ValueError(f"The highest price is {format_amount(HIGHEST_PRICE, currency)}.")
    return price
