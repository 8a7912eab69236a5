"""Refunds: a seller gives a buyer the money back."""

from fastapi import APIRouter, Response, status
from pydantic import Field, StrictBool

from api.dependencies import CurrentUser, IdempotencyKey, Refunds
from api.http.models import RequestModel
from api.http.problems import problems
from api.orders.routes import OrderView
from ticketing.errors import (
    ForeignOrigin,
    IdempotencyKeyReused,
    InvalidInput,
    MongoDBUnavailable,
    NotAuthenticated,
    NotTicketSeller,
    OrderNotCompleted,
    OrderNotFound,
    RefundRefused,
    RequestInProgress,
    TemporalUnavailable,
)
from ticketing.statuses import OrderStatus

router = APIRouter(prefix="/api/orders", tags=["orders"])


class RefundBody(RequestModel):
    """What happens to the ticket."""

    relist: StrictBool = Field(
        default=False,
        description="Whether the ticket is put on sale again; otherwise it is withdrawn. "
        "Among several requests for one refund, the first one decides.",
    )


@router.post(
    "/{order_id}/refund",
    response_description="Refunded: the order is cancelled, and its charge names the refund.",
    responses={
        status.HTTP_202_ACCEPTED: {
            "model": OrderView,
            "description": "Stripe has not made the refund yet. It continues in the background; "
            "repeat the request for its state.",
        },
        **problems(
            NotAuthenticated,
            InvalidInput,
            IdempotencyKeyReused,
            OrderNotFound,
            NotTicketSeller,
            ForeignOrigin,
            OrderNotCompleted,
            RefundRefused,
            RequestInProgress,
            MongoDBUnavailable,
            TemporalUnavailable,
        ),
    },
)
async def refund_order(
    user: CurrentUser,
    key: IdempotencyKey,
    order_id: str,
    body: RefundBody,
    refunds: Refunds,
    response: Response,
) -> OrderView:
    """Refund a sale of the caller's ticket; repeated, the answer is the same."""
    refunded = await refunds.refund(user.id, order_id, relist=body.relist, idempotency_key=key)
    if refunded.order.status is OrderStatus.COMPLETED:
        response.status_code = status.HTTP_202_ACCEPTED
    return OrderView.for_seller(refunded)
