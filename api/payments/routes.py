"""Payments: paying for a reserved ticket."""

from typing import Annotated

from fastapi import APIRouter, Response, status
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints

from api.dependencies import CurrentUser, IdempotencyKey, Payments
from api.http.models import Id, RequestModel
from api.http.problems import problems
from api.orders.routes import ChargeView, order_location
from ticketing.errors import (
    CardDeclined,
    ForeignOrigin,
    IdempotencyKeyReused,
    InvalidInput,
    MongoDBUnavailable,
    NotAuthenticated,
    OrderCancelled,
    OrderCompleted,
    OrderExpired,
    OrderNotFound,
    Overloaded,
    PaymentInProgress,
    RequestInProgress,
    TemporalUnavailable,
)
from ticketing.models import Charge
from ticketing.statuses import ChargeStatus

router = APIRouter(prefix="/api/payments", tags=["payments"])


class PaymentBody(RequestModel):
    """The order to pay, and the payment method."""

    order_id: Id
    payment_method: Annotated[
        str,
        StringConstraints(pattern=r"^pm_[A-Za-z0-9_]+$", max_length=255),
        Field(
            description="Stripe's id of a payment method, created by Stripe.js in the browser. "
            "Card numbers must not be sent here.",
            examples=["pm_card_visa"],
        ),
    ]


class PendingChargeView(ChargeView):
    """A charge whose outcome is not known yet."""

    client_secret: str | None = Field(
        default=None,
        description="Present if the bank requires authentication: pass it to Stripe.js. "
        "Absent while Stripe has not answered yet: poll the order, and if it stays "
        "`awaiting_payment`, submit the payment again to get the client secret.",
        examples=["pi_3Qx_secret_k2"],
    )


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=ChargeView,
    response_description="Paid: the order is completed.",
    responses={
        status.HTTP_202_ACCEPTED: {
            "model": PendingChargeView,
            "description": "Not decided yet: the bank requires authentication, or Stripe has not "
            "answered.",
        },
        **problems(
            NotAuthenticated,
            InvalidInput,
            IdempotencyKeyReused,
            CardDeclined,
            OrderNotFound,
            ForeignOrigin,
            OrderExpired,
            OrderCancelled,
            OrderCompleted,
            PaymentInProgress,
            RequestInProgress,
            MongoDBUnavailable,
            TemporalUnavailable,
            Overloaded,
        ),
    },
)
async def create_payment(
    user: CurrentUser,
    key: IdempotencyKey,
    body: PaymentBody,
    payments: Payments,
    response: Response,
) -> ChargeView | JSONResponse:
    """Pay for an order that is still reserved for the caller."""
    charge = await payments.submit(user.id, body.order_id, body.payment_method, key)
    response.headers["Location"] = order_location(charge.order_id)
    return ChargeView.of(charge) if charge.status is ChargeStatus.COMPLETED else _pending(charge)


def _pending(charge: Charge) -> JSONResponse:
    """The 202 as a response of its own: the `response_model` would drop the client secret."""
    view = PendingChargeView.of(charge).model_dump(mode="json", by_alias=True)
    if charge.client_secret is None:
        del view["clientSecret"]
    return JSONResponse(
        view,
        status.HTTP_202_ACCEPTED,
        headers={"Location": order_location(charge.order_id)},
    )
