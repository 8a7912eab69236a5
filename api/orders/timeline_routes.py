"""Timelines of orders: what happened, when and why."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import Field

from api.dependencies import CurrentUser, Timelines
from api.http.models import ApiModel
from api.http.problems import problems
from ticketing.errors import NotAuthenticated, OrderNotFound
from ticketing.statuses import TimelineCode

router = APIRouter(prefix="/api/orders/{order_id}/timeline", tags=["orders"])


class TimelineEntryView(ApiModel):
    """One event of an order."""

    at: datetime
    code: TimelineCode = Field(
        description="What happened, for programs.", examples=["payment_failed"]
    )
    attempt: int | None = Field(
        description="The number of the payment that it concerns.", examples=[1]
    )
    reason: str | None = Field(
        description="Why, for programs: a decline code or a cancel reason. Sellers do not see why "
        "a payment failed.",
        examples=["insufficient_funds"],
    )
    message: str = Field(
        description="What happened and why, for people.",
        examples=["Your bank declined the card: insufficient funds."],
    )


class TimelineView(ApiModel):
    """All events of an order, oldest first."""

    items: list[TimelineEntryView]


@router.get("", responses=problems(NotAuthenticated, OrderNotFound))
async def get_timeline(user: CurrentUser, order_id: str, timelines: Timelines) -> TimelineView:
    """What happened to an order, when and why, for its buyer or seller."""
    entries = await timelines.read(user.id, order_id)
    return TimelineView(items=[TimelineEntryView.model_validate(entry) for entry in entries])
