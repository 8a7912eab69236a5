"""What the rest of the code knows of refunds: plain data, no `stripe`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RefundStatus(StrEnum):
    """Stripe's words, in Stripe's spelling.

    Source: https://docs.stripe.com/api/refunds/object#refund_object-status
    """

    PENDING = "pending"
    """Stripe or the bank is still at it, or the balance is short."""
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The bank sent the money back; it may do so long after `succeeded`."""
    CANCELED = "canceled"


UNSUCCESSFUL = (RefundStatus.FAILED, RefundStatus.CANCELED)


@dataclass(frozen=True)
class Refund:
    """One refund of a payment intent, as it stood when Stripe was last asked."""

    id: str
    status: RefundStatus
    amount: int
    """In the currency's minor unit."""
    created_at: datetime
    reason: str | None = None
    """Why it is pending, or why it failed."""

    @property
    def is_effective(self) -> bool:
        """Whether its amount goes back, or has gone."""
        return self.status not in UNSUCCESSFUL


@dataclass(frozen=True)
class IntentRefunds:
    """A payment intent's captured money and the way that it went back."""

    captured: int
    """In the currency's minor unit."""
    refunds: tuple[Refund, ...]
    """Newest first."""

    @property
    def left(self) -> int:
        """What was captured and is not on its way back."""
        return self.captured - sum(refund.amount for refund in self.refunds if refund.is_effective)
