"""Where an order stands, as its buyer is told it. No I/O: decided from what is recorded."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from api.orders.service import OrderWithCharges
from api.orders.timeline_words import CANCELLATIONS, FAILURES, WORDS, Reader
from ticketing.models import Charge
from ticketing.payments.failure_codes import shown_failure_code
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus, TimelineCode


class OrderState(StrEnum):
    """What the page of an order says and offers."""

    PAYABLE = "payable"
    """The ticket is held; the card form is shown."""
    EXPIRING = "expiring"
    """The time is over, and the order is being cancelled."""
    CHECKING = "checking"
    """A payment was submitted, and what became of it is not known yet."""
    AT_THE_BANK = "at-the-bank"
    """The bank wants the buyer."""
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


ABANDONED = "The ticket could not be reserved in time."
"""Of an order that its buyer was never promised: nobody could have paid it."""


@dataclass(frozen=True)
class OrderPage:
    """What the page of an order is made from."""

    found: OrderWithCharges
    now: datetime
    paying: str | None = None
    """The charge that was submitted a moment ago, perhaps not recorded yet."""
    is_back: bool = False
    """Whether the buyer has just come back from the bank, whose news may still be on its way."""

    @property
    def state(self) -> OrderState:
        order = self.found.order
        match order.status:
            case OrderStatus.COMPLETED:
                return OrderState.COMPLETED
            case OrderStatus.CANCELLED if order.cancel_reason is CancelReason.REFUNDED:
                return OrderState.REFUNDED
            case OrderStatus.CANCELLED:
                return OrderState.CANCELLED
        if self.client_secret and not self.is_back:
            return OrderState.AT_THE_BANK
        if order.status is OrderStatus.AWAITING_PAYMENT or self._has_open_charge:
            return OrderState.CHECKING
        if order.submitted_attempt == self.attempt:
            return OrderState.CHECKING
        return OrderState.PAYABLE if self.time_left > timedelta(0) else OrderState.EXPIRING

    @property
    def may_be_lost(self) -> bool:
        """Whether the payment that was submitted a moment ago is not known to have arrived."""
        is_open = self.state in (OrderState.PAYABLE, OrderState.EXPIRING)
        recorded = {str(charge.id) for charge in self.found.charges}
        return is_open and self.paying is not None and self.paying not in recorded

    @property
    def version(self) -> str:
        """Changes whenever the page would say something else."""
        seen = (len(self.found.charges), len(self.found.order.timeline), self.may_be_lost)
        return "-".join(map(str, (self.state, *seen)))

    @property
    def time_left(self) -> timedelta:
        """Until the reservation ends, by this server's clock."""
        return max(self.found.order.expires_at - self.now, timedelta(0))

    @property
    def attempt(self) -> int:
        """Counts the payments of the order, the next one included."""
        return len(self.found.charges) + 1

    @property
    def client_secret(self) -> str | None:
        """Lets the buyer's browser confirm the payment; there only while the bank wants that."""
        return self._last.client_secret if self._last else None

    @property
    def failure(self) -> str | None:
        """Why the last payment failed, if it did."""
        if self._last is None or self._last.status is not ChargeStatus.FAILED:
            return None
        code = shown_failure_code(self._last.failure_code or "")
        return FAILURES.get(code, WORDS[Reader.BUYER][TimelineCode.PAYMENT_FAILED])

    @property
    def is_cancelled_by_buyer(self) -> bool:
        return self.found.order.cancel_reason is CancelReason.CANCELLED_BY_BUYER

    @property
    def cancellation(self) -> str:
        """Why the order is cancelled."""
        if self.found.order.was_abandoned:
            return ABANDONED
        reason = self.found.order.cancel_reason or ""
        return CANCELLATIONS[Reader.BUYER].get(
            reason, WORDS[Reader.BUYER][TimelineCode.ORDER_CANCELLED]
        )

    @property
    def _last(self) -> Charge | None:
        return self.found.charges[-1] if self.found.charges else None

    @property
    def _has_open_charge(self) -> bool:
        """Whether a payment was begun since the order was read."""
        return self._last is not None and self._last.status is ChargeStatus.CREATED
