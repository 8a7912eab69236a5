"""Orders: each is one purchase of one ticket."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, Response, status
from pydantic import Field

from api.dependencies import (
    CurrentUser,
    EarlyRefusal,
    IdempotencyKey,
    OrderLimits,
    Orders,
    Reservations,
)
from api.http.models import ApiModel, Id, RequestModel
from api.http.pagination import Page, PageQuery
from api.http.problems import problems
from api.orders.service import OrderWithCharges
from api.tickets.routes import Price
from ticketing.errors import (
    ForeignOrigin,
    IdempotencyKeyReused,
    InvalidInput,
    MongoDBUnavailable,
    NotAuthenticated,
    OrderCompleted,
    OrderNotFound,
    Overloaded,
    OwnTicket,
    PaymentInProgress,
    PriceChanged,
    RequestInProgress,
    TemporalUnavailable,
    TicketNotFound,
    TicketReserved,
    TicketSold,
    TooManyRequests,
    TooManyReservations,
)
from ticketing.models import Charge
from ticketing.payments.failure_codes import ShownFailureCode
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus

router = APIRouter(prefix="/api/orders", tags=["orders"])


class OrderBody(RequestModel):
    """Which ticket to buy, and at which price."""

    ticket_id: Id
    price: Price | None = Field(
        default=None,
        description="The price that the buyer was shown, in the currency's minor unit: if the "
        "ticket has another price by now, it is not reserved (`price_changed`). Without it, the "
        "ticket is reserved at any price.",
    )


class OrderedTicket(ApiModel):
    """The ticket as it was when it was reserved."""

    id: Id
    title: str = Field(examples=["Radiohead, Berlin, row 4"])
    price: int = Field(description="In the currency's minor unit.", examples=[5000])
    currency: str = Field(examples=["usd"])


class ChargeView(ApiModel):
    """One attempt to pay for an order."""

    id: Id
    order_id: Id
    status: ChargeStatus = Field(examples=["completed"])
    amount: int = Field(description="In the currency's minor unit.", examples=[5000])
    currency: str = Field(examples=["usd"])
    stripe_id: str | None = Field(description="Stripe's payment intent.", examples=["pi_3Qx"])
    stripe_refund_id: str | None = Field(examples=[None])
    failure_code: ShownFailureCode | None = Field(description="Why it failed.", examples=[None])
    created_at: datetime

    @classmethod
    def of(cls, charge: Charge) -> Self:
        return cls.model_validate(charge)


class OrderView(ApiModel):
    """An order as its buyer sees it."""

    id: Id
    user_id: Id = Field(description="The buyer.")
    status: OrderStatus
    cancel_reason: CancelReason | None
    ticket_id: Id
    ticket: OrderedTicket
    expires_at: datetime = Field(description="If unpaid by then, the ticket is released.")
    created_at: datetime
    completed_at: datetime | None
    cancelled_at: datetime | None
    charges: list[ChargeView] = Field(description="All attempts to pay, oldest first.")

    @classmethod
    def of(cls, found: OrderWithCharges) -> Self:
        order = found.order
        return cls(
            **order.model_dump(include=cls.model_fields.keys() - {"ticket", "charges"}),
            ticket=OrderedTicket(id=order.ticket_id, **order.ticket.model_dump()),
            charges=[ChargeView.of(charge) for charge in found.charges],
        )

    @classmethod
    def for_seller(cls, found: OrderWithCharges) -> Self:
        """Without failure codes, which concern only the buyer and the bank."""
        view = cls.of(found)
        charges = [charge.model_copy(update={"failure_code": None}) for charge in view.charges]
        return view.model_copy(update={"charges": charges})


class OrderListQuery(PageQuery):
    """Which of the caller's orders to list."""

    status: OrderStatus | None = None


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[EarlyRefusal, OrderLimits],
    response_description="The ticket is reserved for the caller until `expiresAt`.",
    responses={
        status.HTTP_200_OK: {
            "model": OrderView,
            "description": "The caller already holds this ticket with this order.",
        },
        **problems(
            NotAuthenticated,
            InvalidInput,
            IdempotencyKeyReused,
            TicketNotFound,
            OwnTicket,
            ForeignOrigin,
            TicketReserved,
            TicketSold,
            PriceChanged,
            TooManyReservations,
            RequestInProgress,
            TooManyRequests,
            MongoDBUnavailable,
            TemporalUnavailable,
            Overloaded,
        ),
    },
)
async def create_order(
    user: CurrentUser,
    key: IdempotencyKey,
    body: OrderBody,
    reservations: Reservations,
    response: Response,
) -> OrderView:
    """Reserve a ticket for the caller, who can pay the answered price until `expiresAt`."""
    reserved = await reservations.reserve(user.id, body.ticket_id, key, price=body.price)
    if not reserved.is_new:
        response.status_code = status.HTTP_200_OK
    response.headers["Location"] = order_location(reserved.order.order.id)
    return OrderView.of(reserved.order)


@router.get("", responses=problems(NotAuthenticated, InvalidInput))
async def list_orders(
    user: CurrentUser, query: Annotated[OrderListQuery, Query()], orders: Orders
) -> Page[OrderView]:
    """List the caller's orders, newest first."""
    found = await orders.find(user.id, query.status, query)
    return Page(items=[OrderView.of(order) for order in found.items], next_cursor=found.next_cursor)


@router.get("/{order_id}", responses=problems(NotAuthenticated, OrderNotFound))
async def get_order(user: CurrentUser, order_id: str, orders: Orders) -> OrderView:
    """Get one of the caller's orders, with all attempts to pay for it."""
    return OrderView.of(await orders.get(user.id, order_id))


@router.delete(
    "/{order_id}",
    responses=problems(
        NotAuthenticated,
        OrderNotFound,
        ForeignOrigin,
        OrderCompleted,
        PaymentInProgress,
        MongoDBUnavailable,
        TemporalUnavailable,
    ),
)
async def cancel_order(user: CurrentUser, order_id: str, orders: Orders) -> OrderView:
    """Cancel an unpaid order and release its ticket; repeated, the answer is the same."""
    return OrderView.of(await orders.cancel(user.id, order_id))


def order_location(order_id: object) -> str:
    """The path of the order."""
    return f"{router.prefix}/{order_id}"
