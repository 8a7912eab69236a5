"""The states of a ticket, an order and a charge: plain enums that a workflow may import."""

from enum import StrEnum


class TicketStatus(StrEnum):
    """Derived from a ticket's `order_id` and `sold_at`; never stored."""

    AVAILABLE = "available"
    RESERVED = "reserved"
    SOLD = "sold"


class OrderStatus(StrEnum):
    """created → awaiting_payment → completed | cancelled; a refund takes completed to cancelled."""

    CREATED = "created"
    """The ticket is reserved and nobody has submitted a payment yet."""
    AWAITING_PAYMENT = "awaiting_payment"
    """A payment was submitted and its outcome is not known yet."""
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def is_closed(self) -> bool:
        """Whether the purchase is over; only a refund can still follow, of a completed one."""
        return self in (OrderStatus.COMPLETED, OrderStatus.CANCELLED)


UNPAID_STATUSES = (OrderStatus.CREATED, OrderStatus.AWAITING_PAYMENT)
"""The states in which an order holds its ticket without having paid for it."""

HOLDING_STATUSES = (*UNPAID_STATUSES, OrderStatus.COMPLETED)
"""The states in which an order holds its ticket; a ticket has at most one such order."""


class CancelReason(StrEnum):
    """Why an order was cancelled."""

    EXPIRED = "expired"
    PAYMENT_FAILED = "payment_failed"
    CANCELLED_BY_BUYER = "cancelled_by_buyer"
    CANCELLED_BY_OPERATOR = "cancelled_by_operator"
    """A workflow cancellation that was requested through Temporal's own tools."""
    REFUNDED = "refunded"
    """Completed once; the money went back to the buyer."""


class ChargeStatus(StrEnum):
    """One payment attempt: created → completed | failed."""

    CREATED = "created"
    COMPLETED = "completed"
    FAILED = "failed"


class TimelineCode(StrEnum):
    """What happened to an order, for programs; the words for people are made from it."""

    TICKET_RESERVED = "ticket_reserved"
    PAYMENT_SUBMITTED = "payment_submitted"
    AUTHENTICATION_REQUIRED = "authentication_required"
    PAYMENT_FAILED = "payment_failed"
    """Its `reason` is the charge's failure code."""
    ORDER_COMPLETED = "order_completed"
    ORDER_CANCELLED = "order_cancelled"
    """Its `reason` is a `CancelReason`."""
    REFUND_REQUESTED = "refund_requested"
    REFUND_DELAYED = "refund_delayed"
    """Its `reason` is why Stripe could not do it yet."""
    REFUND_REFUSED = "refund_refused"
    """Its `reason` is Stripe's code; the order stays completed."""
    REFUNDED_IN_PART = "refunded_in_part"
    """Somebody gave a part back in Stripe's own dashboard; the order stays completed."""
