"""Pages of buying: reserving, paying, and the state of an order."""

import json
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.dependencies import (
    CurrentUser,
    EarlyRefusal,
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
from api.orders.timeline_messages import PAYMENT_FAILURE_MESSAGES
from api.payments.routes import PaymentBody
from api.payments.service import PAY_ROUTE
from api.storefront.browsing import find_own_order
from api.storefront.card_entry import TEST_CARDS, CardEntry
from api.storefront.dependencies import Cards, Pages, Position, SignedInForm
from api.storefront.forms import Form, InvalidForm, StorefrontQuery, validate_form
from api.storefront.order_states import OrderPage, OrderPageState
from api.storefront.pages import PageRoute, redirect_to
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

STATES_WITH_RECEIPT = (OrderPageState.COMPLETED, OrderPageState.REFUNDED)

CARD_ERROR_MESSAGES: Mapping[str, str] = {
    **PAYMENT_FAILURE_MESSAGES,
    "incomplete_number": "Type the number of the card.",
    "incomplete_expiry": "Type the expiry date of the card.",
    "incomplete_cvc": "Type the security code of the card.",
    "card_declined": "Only test cards are taken here; they are listed below.",
    "out_of_date": "The page was out of date, and this card was not charged.",
}
"""Why the card form was refused, by Stripe's error codes and ours."""
OTHER_CARD_ERROR = "The card could not be taken; check its number, expiry date and code."


NOT_RESERVED = "Orders cannot be processed at the moment, and nothing was reserved."
PERHAPS_RESERVED = (
    "Orders cannot be processed at the moment. If the ticket was reserved for you all the same, "
    "it is among your orders."
)
"""Temporal may have accepted the request, and a worker may still make the reservation."""

NO_PRICE = 0
"""Stands for a form without a valid price; no ticket has this price."""
OUT_OF_DATE = "This page was out of date. This is the ticket as it is now."


class ShowOrderQuery(StorefrontQuery):
    """The query of an order's page."""

    payment_method: str | None = Field(default=None, alias="payment_method", max_length=255)
    """Set by the sandbox's card form, where there are no scripts."""
    card_error: str | None = Field(default=None, alias="card_error", max_length=100)
    paying: str | None = Field(default=None, max_length=24)
    """The id of the charge that was just submitted."""
    back: bool = False
    """Whether the buyer returns from the bank's page."""
    seen: str | None = Field(default=None, max_length=100)
    """The version of the page in the browser; if it is current, the answer is 204."""
    done: str = ""


class ShowOrdersQuery(StorefrontQuery):
    cursor: str | None = Field(default=None, max_length=500)


@router.post("/tickets/{ticket_id}/reserve", dependencies=[EarlyRefusal, OrderLimits])
async def reserve_ticket(
    user: CurrentUser,
    ticket_id: str,
    form: SignedInForm,
    tickets: Tickets,
    orders: Orders,
    reservations: Reservations,
    pages: Pages,
) -> Response:
    ticket = await tickets.get(ticket_id)
    assert ticket.id is not None  # noqa: S101 - it was read
    shown = _shown_price(form)
    try:
        reserved = await reservations.reserve(user.id, ticket.id, price=shown)
    except (TicketReserved, TicketSold, OwnTicket, PriceChanged, TooManyReservations) as error:
        now = await tickets.get(ticket_id)
        own_order = await find_own_order(now, pages.user, orders)
        return pages.render(
            "ticket.html",
            status=int(error.status),
            ticket=now,
            own_order=own_order,
            position=None,
            alert=_price_message(shown, now) if isinstance(error, PriceChanged) else error.title,
        )
    except TemporalOutcomeUnknown:
        raise TemporalUnavailable(PERHAPS_RESERVED) from None
    except TemporalUnavailable:
        raise TemporalUnavailable(NOT_RESERVED) from None
    return redirect_to(f"/orders/{reserved.order.order.id}")


@router.get("/tickets/{ticket_id}/reserve")
async def redirect_reserve(ticket_id: str) -> Response:
    """Redirects GETs of the form's POST address."""
    return redirect_to(f"/tickets/{path_id(ticket_id, TicketNotFound)}")


@router.get("/orders")
async def show_orders(
    user: CurrentUser, query: Annotated[ShowOrdersQuery, Query()], orders: Orders, pages: Pages
) -> Response:
    found = await orders.find(user.id, None, PageQuery(limit=PAGE_SIZE, cursor=query.cursor))
    now = utc_now()
    return pages.render(
        "orders.html",
        orders=[OrderPage(order, now) for order in found.items],
        next_page=f"/orders?cursor={found.next_cursor}" if found.next_cursor else None,
        is_first=query.cursor is None,
    )


@router.get("/orders/{order_id}")
async def show_order(
    request: Request,
    position: Position,
    user: CurrentUser,
    order_id: str,
    query: Annotated[ShowOrderQuery, Query()],
    orders: Orders,
    timelines: Timelines,
    cards: Cards,
    pages: Pages,
) -> Response:
    found = await orders.get(user.id, order_id)
    order = OrderPage(found, utc_now(), paying=query.paying, is_back=query.back)
    if query.seen == order.version:
        return _unchanged(order)
    return pages.render(
        "order.html",
        content_policy=cards.content_security_policy,
        allowed_notices=("cancelled",) if order.is_cancelled_by_buyer else (),
        order=order,
        cards=cards,
        test_cards=TEST_CARDS,
        timeline=await timelines.read(user.id, order_id),
        payment_method=_payment_method(query),
        card_error=_card_error(query),
        position=position,
        poll_query=_poll_query(order),
        bank_page=_bank_page(request, cards, order_id, order.client_secret),
        return_url=_absolute_url(request, f"/orders/{order_id}"),
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
    """Submit a payment and redirect to the page that shows its outcome.

    Pressed twice, sent again, or sent from another tab, it is the same payment: its idempotency key
    is derived from the order and the number of payments that the page showed.
    """
    id = path_id(order_id, OrderNotFound)
    address = f"/orders/{id}"
    key = f"storefront {id} {form.get('attempt', '')}"
    charge_id = derived_id(PAY_ROUTE, user.id, key)
    try:
        body = validate_form(
            PaymentBody, {"orderId": id, "paymentMethod": form.get("payment_method", "")}
        )
        charge = await payments.submit(user.id, id, body.payment_method, key)
    except InvalidForm:
        return redirect_to(f"{address}?card_error=incomplete_number")
    except (RequestInProgress, TemporalUnavailable):
        # Whether the payment was submitted is not known; the page says so and polls.
        return redirect_to(f"{address}?paying={charge_id}")
    except IdempotencyKeyReused:
        # This attempt was already made with another card, whose outcome must not be shown as the
        # outcome of this one.
        return redirect_to(f"{address}?card_error=out_of_date")
    except (CardDeclined, Conflict):
        return redirect_to(address)
    if charge.status is ChargeStatus.COMPLETED:
        return redirect_to(address)
    bank_page = _bank_page(request, cards, id, charge.client_secret)
    return redirect_to(bank_page or f"{address}?paying={charge_id}")


@router.get("/orders/{order_id}/pay")
@router.get("/orders/{order_id}/cancel")
async def redirect_order_form(order_id: str) -> Response:
    """Redirects GETs of the forms' POST addresses."""
    return redirect_to(f"/orders/{path_id(order_id, OrderNotFound)}")


@router.get("/orders/{order_id}/back")
async def return_from_bank(order_id: str) -> Response:
    """Redirects from the bank's page, and drops the parameters that the bank adds."""
    return redirect_to(f"/orders/{path_id(order_id, OrderNotFound)}?back=true")


@router.post("/orders/{order_id}/cancel")
async def cancel_order(
    user: CurrentUser, order_id: str, _form: SignedInForm, orders: Orders
) -> Response:
    try:
        await orders.cancel(user.id, order_id)
    except Conflict:
        return redirect_to(f"/orders/{order_id}")  # its page says why not
    return redirect_to(f"/orders/{order_id}?done=cancelled")


@router.get("/orders/{order_id}/receipt")
async def show_receipt(user: CurrentUser, order_id: str, orders: Orders, pages: Pages) -> Response:
    """The receipt of a paid order; otherwise a redirect to the order."""
    order = OrderPage(await orders.get(user.id, order_id), utc_now())
    if order.state not in STATES_WITH_RECEIPT:
        return redirect_to(f"/orders/{order_id}")
    return pages.render("receipt.html", order=order, charge=_completed_charge(order.found))


def _shown_price(form: Form) -> int:
    """The price that the form was shown with, in minor units."""
    price = form.get("price", "")
    return int(price) if price.isdecimal() and len(price) < 16 else NO_PRICE


def _price_message(shown: int, ticket: Ticket) -> str:
    """The alert for a changed price; by now the ticket may have its old price again."""
    if shown in (NO_PRICE, ticket.price):
        return OUT_OF_DATE
    was, now = (format_amount(price, ticket.currency) for price in (shown, ticket.price))
    return f"The price has changed from {was} to {now}."


def _bank_page(
    request: Request, cards: CardEntry, order_id: object, client_secret: str | None
) -> str | None:
    """The bank's page for authentication, if one is needed and it is not embedded."""
    if client_secret is None:
        return None
    return cards.bank_page(client_secret, _absolute_url(request, f"/orders/{order_id}/back"))


def _poll_query(order: OrderPage) -> dict[str, str]:
    """The query with which the open page polls."""
    paying = {"paying": order.paying} if order.paying else {}
    return {"seen": order.version, **paying, **({"back": "true"} if order.is_back else {})}


def _absolute_url(request: Request, path: str) -> str:
    return str(request.base_url).rstrip("/") + path


def _unchanged(order: OrderPage) -> Response:
    """Leaves the page as it is, but sets its countdown."""
    clock = json.dumps({"clock": {"seconds": order.time_left.total_seconds()}})
    return Response(status_code=204, headers={"HX-Trigger": clock})


def _payment_method(query: ShowOrderQuery) -> str | None:
    method = query.payment_method or ""
    return method if method.startswith("pm_") else None


def _card_error(query: ShowOrderQuery) -> str | None:
    if query.card_error is None:
        return None
    return CARD_ERROR_MESSAGES.get(query.card_error, OTHER_CARD_ERROR)


def _completed_charge(found: OrderWithCharges) -> Charge:
    (charge,) = [charge for charge in found.charges if charge.status is ChargeStatus.COMPLETED]
    return charge
