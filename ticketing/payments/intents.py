"""What the rest of the code knows of a payment intent: plain data, no `stripe`."""

from dataclasses import dataclass, field
from enum import StrEnum


class IntentStatus(StrEnum):
    """Stripe's words, in Stripe's spelling.

    Source: https://docs.stripe.com/payments/paymentintents/lifecycle
    """

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    """Declined, or the bank refused to authenticate the buyer."""
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    """The bank wants the buyer."""
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    """Authorized: the amount is set aside and nothing has moved."""
    SUCCEEDED = "succeeded"
    """Captured: the money has moved."""
    CANCELED = "canceled"


FINAL_STATUSES = frozenset({IntentStatus.SUCCEEDED, IntentStatus.CANCELED})
"""The statuses in which an intent stays."""


@dataclass(frozen=True)
class PaymentIntent:
    """The state of one payment intent when Stripe was last asked."""

    id: str
    status: IntentStatus
    amount: int
    """In the currency's minor unit."""
    amount_received: int
    """Captured so far, in the currency's minor unit."""
    currency: str
    order_id: str | None = None
    """As we wrote it into the metadata; an intent of somebody else's has none."""
    amount_refunded: int = 0
    """Given back after a capture; known only where refunds were asked for."""
    failure_code: str | None = None
    """Why the last confirmation failed: the decline code, or else the error code."""
    client_secret: str | None = field(default=None, repr=False)

    @property
    def is_ended(self) -> bool:
        """Whether it holds no money of the buyer's, and never will; needs its refunds."""
        if self.status is IntentStatus.SUCCEEDED:
            return not self.amount_kept
        return self.status is IntentStatus.CANCELED

    @property
    def amount_kept(self) -> int:
        """Captured and not given back, in the currency's minor unit."""
        return self.amount_received - self.amount_refunded


class PaymentRefused(Exception):
    """Stripe has refused a request for good: nothing was done, and a retry gets the same answer."""

    def __init__(self, code: str, *, is_replayed: bool = False) -> None:
        super().__init__(f"Stripe refused the request: {code}")
        self.code = code
        self.is_replayed = is_replayed
        """Whether Stripe replays an earlier refusal for the same key, which may be out of date."""


class PaymentOutcomeUnknown(Exception):
    """Stripe did not answer, or not with an outcome: it may or may not have done it.

    Only a retry under the same idempotency key shows which. The message holds Stripe's status,
    code and request id, and never a body: bodies hold client secrets.
    """
