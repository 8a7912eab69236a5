"""Buying: a reservation, a payment, and a page that says how both stand."""

import json
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.dependencies import (
    CurrentUser,
    OrderLimits,
    Orders,
    Payments,
    Reservations,
    Tickets,
    Timelines,
)
from api.http.idempotency import derived_id
from api.http.models import path_id
from api.http.pagination import PageQuery
from api.orders.service import OrderWithCharges
from api.orders.timeline_words import FAILURES
from api.payments.routes import PaymentInput
from api.payments.service import PAY_ROUTE
from api.storefront.browsing import order_that_holds
from api.storefront.card_entry import TEST_CARDS, CardEntry
from api.storefront.dependencies import Cards, Page, Position, SignedInForm
from api.storefront.forms import AddressQuery, Form, InvalidForm, validated
from api.storefront.order_states import OrderPage, OrderState
from api.storefront.pages import PageRoute, go_to
from api.temporal.errors import TemporalOutcomeUnknown
from ticketing.clock import utc_now
from ticketing.errors import (
    CardDeclined,
    Conflict,
    IdempotencyKeyReused,
    OrderNotFound,
    OwnTicket,
    PriceChanged,
    RequestInProgress,
    TemporalUnavailable,
    TicketNotFound,
    TicketReserved,
    TicketSold,
    TooManyReservations,
)
from ticketing.models import Charge, Ticket
from ticketing.money import format_amount
from ticketing.statuses import ChargeStatus

router = APIRouter(route_class=PageRoute)

PAGE_SIZE = 20

RECEIPTS = (OrderState.COMPLETED, OrderState.REFUNDED)

CARD_ERRORS: Mapping[str, str] = {
    **FAILURES,
    "incomplete_number": "Type the number of the card.",
    "incomplete_expiry": "Type the expiry date of the card.",
    "incomplete_cvc": "Type the security code of the card.",
    "card_declined": "Only test cards are taken here; they are listed below.",
    "out_of_date": "The page was out of date, and this card was not charged.",
}
"""Why a card was refused where it was typed, by Stripe's codes and ours."""
UNTOLD_CARD_ERROR = "The card could not be taken; check its number, expiry date and code."


NOT_RESERVED = "Orders cannot be processed at the moment, and nothing was reserved."
PERHAPS_RESERVED = (
    "Orders cannot be processed at the moment. If the ticket was reserved for you all the same, "
    "it is among your orders."
)
"""Temporal may have heard of it, and a worker may make the reservation yet."""

NO_PRICE = 0
"""What a form that names no price is taken to have shown; no ticket has it."""
OUT_OF_DATE = "This page was out of date. This is the ticket as it is now."


class OrderQuery(AddressQuery):
    """How somebody comes to the page of an order."""

    payment_method: str | None = Field(default=None, alias="payment_method", max_length=255)
    """From the card form of the sandbox, where there are no scripts."""
    card_error: str | None = Field(default=None, alias="card_error", max_length=100)
    paying: str | None = Field(default=None, max_length=24)
    """The charge that was submitted a moment ago."""
    back: bool = False
    """From the bank."""
    seen: str | None = Field(default=None, max_length=100)
    """The version of the page that is shown; if it still is the newest, nothing is sent."""
    done: str = ""


class OrdersQuery(AddressQuery):
    cursor: str | None = Field(default=None, max_length=500)


@router.post("/tickets/{ticket_id}/reserve", dependencies=[OrderLimits])
async def reserve_ticket(
    user: CurrentUser,
    ticket_id: str,
    form: SignedInForm,
    tickets: Tickets,
    orders: Orders,
    reservations: Reservations,
    page: Page,
) -> Response:
    ticket = await tickets.get(ticket_id)
    assert ticket.id is not None  # noqa: S101 - it was read
    shown = _shown_price(form)
    try:
        reserved = await reservations.reserve(user.id, ticket.id, price=shown)
    except (TicketReserved, TicketSold, OwnTicket, PriceChanged, TooManyReservations) as error:
        now = await tickets.get(ticket_id)
        own_order = await order_that_holds(now, page.user, orders)
        return page.show(
            "ticket.html",
            status=int(error.status),
            ticket=now,
            own_order=own_order,
            position=None,
            alert=_why_not_at(shown, now) if isinstance(error, PriceChanged) else error.title,
        )
    except TemporalOutcomeUnknown:
        raise TemporalUnavailable(PERHAPS_RESERVED) from None
    except TemporalUnavailable:
        raise TemporalUnavailable(NOT_RESERVED) from None
    return go_to(f"/orders/{reserved.order.order.id}")


@router.get("/tickets/{ticket_id}/reserve")
async def look_at_ticket(ticket_id: str) -> Response:
    """Redirects GETs of the form's POST address."""
    return go_to(f"/tickets/{path_id(ticket_id, TicketNotFound)}")


@router.get("/orders")
async def show_orders(
    user: CurrentUser, query: Annotated[OrdersQuery, Query()], orders: Orders, page: Page
) -> Response:
    found = await orders.find(user.id, None, PageQuery(limit=PAGE_SIZE, cursor=query.cursor))
    now = utc_now()
    return page.show(
        "orders.html",
        orders=[OrderPage(order, now) for order in found.orders],
        next_page=f"/orders?cursor={found.next_cursor}" if found.next_cursor else None,
        is_first=query.cursor is None,
    )


@router.get("/orders/{order_id}")
async def show_order(
    request: Request,
    position: Position,
    user: CurrentUser,
    order_id: str,
    query: Annotated[OrderQuery, Query()],
    orders: Orders,
    timelines: Timelines,
    cards: Cards,
    page: Page,
) -> Response:
    found = await orders.get(user.id, order_id)
    order = OrderPage(found, utc_now(), paying=query.paying, is_back=query.back)
    if query.seen == order.version:
        return _nothing_new(order)
    return page.show(
        "order.html",
        content_policy=cards.policy,
        may_be_done=("cancelled",) if order.is_cancelled_by_buyer else (),
        order=order,
        cards=cards,
        test_cards=TEST_CARDS,
        timeline=await timelines.read(user.id, order_id),
        payment_method=_payment_method(query),
        card_error=_card_error(query),
        position=position,
        follow=_follow(order),
        bank_page=_bank_page(request, cards, order_id, order.client_secret),
        return_url=_absolute(request, f"/orders/{order_id}"),
    )


@router.post("/orders/{order_id}/pay")
async def pay(
    request: Request,
    user: CurrentUser,
    order_id: str,
    form: SignedInForm,
    payments: Payments,
    cards: Cards,
) -> Response:
    """Submit a payment, and go where it says what is true by then.

    Pressed twice, sent again, or sent from another tab, it is the same payment: its key follows
    from the order and from how many payments of it the buyer was shown.
    """
    id = path_id(order_id, OrderNotFound)
    address = f"/orders/{id}"
    key = f"storefront {id} {form.get('attempt', '')}"
    charge_id = derived_id(PAY_ROUTE, user.id, key)
    try:
        wanted = validated(
            PaymentInput, {"orderId": id, "paymentMethod": form.get("payment_method", "")}
        )
        charge = await payments.submit(user.id, id, wanted.payment_method, key)
    except InvalidForm:
        return go_to(f"{address}?card_error=incomplete_number")
    except (RequestInProgress, TemporalUnavailable):
        # Whether it arrived is not known; the page says so, and follows what is recorded of it.
        return go_to(f"{address}?paying={charge_id}")
    except IdempotencyKeyReused:
        # The attempt that the page showed was made with another card, and that one's outcome
        # must not pass for this one's.
        return go_to(f"{address}?card_error=out_of_date")
    except (CardDeclined, Conflict):
        return go_to(address)
    if charge.status is ChargeStatus.COMPLETED:
        return go_to(address)
    bank_page = _bank_page(request, cards, id, charge.client_secret)
    return go_to(bank_page or f"{address}?paying={charge_id}")


@router.get("/orders/{order_id}/pay")
@router.get("/orders/{order_id}/cancel")
async def look_at_order(order_id: str) -> Response:
    """Redirects GETs of the forms' POST addresses."""
    return go_to(f"/orders/{path_id(order_id, OrderNotFound)}")


@router.get("/orders/{order_id}/back")
async def come_back(order_id: str) -> Response:
    """From the bank's page, whose address carries more than an address of ours should."""
    return go_to(f"/orders/{path_id(order_id, OrderNotFound)}?back=true")


@router.post("/orders/{order_id}/cancel")
async def cancel_order(
    user: CurrentUser, order_id: str, _form: SignedInForm, orders: Orders
) -> Response:
    try:
        await orders.cancel(user.id, order_id)
    except Conflict:
        return go_to(f"/orders/{order_id}")  # which says why not
    return go_to(f"/orders/{order_id}?done=cancelled")


@router.get("/orders/{order_id}/receipt")
async def show_receipt(user: CurrentUser, order_id: str, orders: Orders, page: Page) -> Response:
    """For whoever has paid; whoever has not is shown the order instead."""
    order = OrderPage(await orders.get(user.id, order_id), utc_now())
    if order.state not in RECEIPTS:
        return go_to(f"/orders/{order_id}")
    return page.show("receipt.html", order=order, charge=_paid(order.found))


def _shown_price(form: Form) -> int:
    """The price that the page showed, in minor units."""
    price = form.get("price", "")
    return int(price) if price.isdecimal() and len(price) < 16 else NO_PRICE


def _why_not_at(shown: int, ticket: Ticket) -> str:
    """What is said above the ticket as it is now; it may have its old price again."""
    if shown in (NO_PRICE, ticket.price):
        return OUT_OF_DATE
    was, now = (format_amount(price, ticket.currency) for price in (shown, ticket.price))
    return f"The price has changed from {was} to {now}."


def _bank_page(
    request: Request, cards: CardEntry, order_id: object, client_secret: str | None
) -> str | None:
    """Where the bank wants the buyer, if it does and has a page of its own."""
    if client_secret is None:
        return None
    return cards.bank_page(client_secret, _absolute(request, f"/orders/{order_id}/back"))


def _follow(order: OrderPage) -> dict[str, str]:
    """What the page asks with when it looks again."""
    paying = {"paying": order.paying} if order.paying else {}
    return {"seen": order.version, **paying, **({"back": "true"} if order.is_back else {})}


def _absolute(request: Request, path: str) -> str:
    return str(request.base_url).rstrip("/") + path


def _nothing_new(order: OrderPage) -> Response:
    """Leaves the page as it is, but sets its clock."""
    clock = json.dumps({"clock": {"seconds": order.time_left.total_seconds()}})
    return Response(status_code=204, headers={"HX-Trigger": clock})


def _payment_method(query: OrderQuery) -> str | None:
    method = query.payment_method or ""
    return method if method.startswith("pm_") else None


def _card_error(query: OrderQuery) -> str | None:
    if query.card_error is None:
        return None
    return CARD_ERRORS.get(query.card_error, UNTOLD_CARD_ERROR)


def _paid(found: OrderWithCharges) -> Charge:
    (charge,) = [charge for charge in found.charges if charge.status is ChargeStatus.COMPLETED]
    return charge
