"""The state of an order's page, derived from the documents without I/O."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from api.orders.service import OrderWithCharges
from api.orders.timeline_messages import (
    CANCELLATION_MESSAGES,
    MESSAGES,
    PAYMENT_FAILURE_MESSAGES,
    Reader,
)
from ticketing.models import Charge
from ticketing.payments.failure_codes import shown_failure_code
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus, TimelineCode


class OrderPageState(StrEnum):
    """What an order's page shows and offers."""

    PAYABLE = "payable"
    """The ticket is reserved, and the card form is shown."""
    EXPIRING = "expiring"
    """The deadline is over, and the order is being cancelled."""
    CHECKING = "checking"
    """A payment was submitted, and its outcome is not known yet."""
    AT_THE_BANK = "at-the-bank"
    """The bank requires the buyer's authentication."""
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


ABANDONED = "The ticket could not be reserved in time."
"""For an order whose reservation was never confirmed, so that nobody could have paid it."""


@dataclass(frozen=True)
class OrderPage:
    """An order as its page shows it."""

    found: OrderWithCharges
    now: datetime
    paying: str | None = None
    """The id of the charge that was just submitted; it may not be recorded yet."""
    is_back: bool = False
    """Whether the buyer has just returned from the bank, whose event may not have arrived yet."""

    @property
    def state(self) -> OrderPageState:
        order = self.found.order
        match order.status:
            case OrderStatus.COMPLETED:
                return OrderPageState.COMPLETED
            case OrderStatus.CANCELLED if order.cancel_reason is CancelReason.REFUNDED:
                return OrderPageState.REFUNDED
            case OrderStatus.CANCELLED:
                return OrderPageState.CANCELLED
        if self.client_secret and not self.is_back:
            return OrderPageState.AT_THE_BANK
        if order.status is OrderStatus.AWAITING_PAYMENT or self._has_open_charge:
            return OrderPageState.CHECKING
        if order.submitted_attempt == self.attempt:
            return OrderPageState.CHECKING
        return OrderPageState.PAYABLE if self.time_left > timedelta(0) else OrderPageState.EXPIRING

    @property
    def may_be_lost(self) -> bool:
        """Whether it is unknown if the payment that was just submitted reached the workflow."""
        is_open = self.state in (OrderPageState.PAYABLE, OrderPageState.EXPIRING)
        recorded = {str(charge.id) for charge in self.found.charges}
        return is_open and self.paying is not None and self.paying not in recorded

    @property
    def version(self) -> str:
        """Changes whenever the contents of the page change."""
        seen = (len(self.found.charges), len(self.found.order.timeline), self.may_be_lost)
        return "-".join(map(str, (self.state, *seen)))

    @property
    def time_left(self) -> timedelta:
        """The time until the reservation ends, by this server's clock."""
        return max(self.found.order.expires_at - self.now, timedelta(0))

    @property
    def attempt(self) -> int:
        """The number of the order's next payment."""
        return len(self.found.charges) + 1

    @property
    def client_secret(self) -> str | None:
        """Stripe's client secret for authentication; only while the bank requires it."""
        return self._last.client_secret if self._last else None

    @property
    def failure(self) -> str | None:
        """Why the last payment failed, if it failed."""
        if self._last is None or self._last.status is not ChargeStatus.FAILED:
            return None
        code = shown_failure_code(self._last.failure_code or "")
        return PAYMENT_FAILURE_MESSAGES.get(
            code, MESSAGES[Reader.BUYER][TimelineCode.PAYMENT_FAILED]
        )

    @property
    def is_cancelled_by_buyer(self) -> bool:
        return self.found.order.cancel_reason is CancelReason.CANCELLED_BY_BUYER

    @property
    def cancellation(self) -> str:
        """Why the order is cancelled."""
        if self.found.order.was_abandoned:
            return ABANDONED
        reason = self.found.order.cancel_reason or ""
        return CANCELLATION_MESSAGES[Reader.BUYER].get(
            reason, MESSAGES[Reader.BUYER][TimelineCode.ORDER_CANCELLED]
        )

    @property
    def _last(self) -> Charge | None:
        return self.found.charges[-1] if self.found.charges else None

    @property
    def _has_open_charge(self) -> bool:
        """Whether a payment was begun after the order was read."""
        return self._last is not None and self._last.status is ChargeStatus.CREATED
