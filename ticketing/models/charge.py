"""Charges: our record of each payment attempt."""

from datetime import datetime

from beanie import Document, PydanticObjectId
from pymongo import ASCENDING, IndexModel

from ticketing.statuses import ChargeStatus


class Charge(Document):
    """One attempt to pay for an order; written by activities only."""

    order_id: PydanticObjectId
    attempt: int
    """Counted from 1 in each order."""
    status: ChargeStatus
    amount: int
    """In the currency's minor unit."""
    currency: str
    payment_method: str | None = None
    """Stripe's id of what the buyer pays with; None if an operator has entered the charge."""
    stripe_id: str | None = None
    """The payment intent."""
    stripe_refund_id: str | None = None
    asked_at: datetime | None = None
    """When the payment last passed the fence, before Stripe was asked for money."""
    capturing: str | None = None
    """The intent whose capture has begun: until Stripe has ended it, nobody may cancel."""
    failure_code: str | None = None
    """Stripe's decline code where there is one, else its error code."""
    client_secret: str | None = None
    """Lets the buyer's browser authenticate the payment; kept only while the bank wants it."""
    client_secret_shown: bool = False
    """Whether the buyer has been given the client secret; set by the API that gives it."""
    created_at: datetime

    class Settings:
        name = "charges"
        indexes = [
            IndexModel(
                [("order_id", ASCENDING), ("attempt", ASCENDING)],
                name="one_charge_per_attempt",
                unique=True,
            ),
            # Stripe's refund events name the payment intent and no order.
            IndexModel([("stripe_id", ASCENDING)], name="by_payment_intent", sparse=True),
        ]
