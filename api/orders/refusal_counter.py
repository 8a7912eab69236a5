"""How many orders are refused, and why: told where they are refused, also without a workflow."""

from ticketing.errors import (
    OwnTicket,
    PriceChanged,
    TemporalUnavailable,
    TicketingError,
    TicketNotFound,
    TicketReserved,
    TicketSold,
    TooManyReservations,
)
from ticketing.observability.metrics import ORDERS, ORDERS_HELP, MetricMeter

REASONS: tuple[type[TicketingError], ...] = (
    TicketNotFound,
    OwnTicket,
    TicketReserved,
    TicketSold,
    PriceChanged,
    TooManyReservations,
    TemporalUnavailable,
)


class RefusedOrders:
    """Counts each refusal once; not the same answer that a repeated request is given again."""

    def __init__(self, meter: MetricMeter = MetricMeter.noop) -> None:
        orders = meter.create_counter(ORDERS, ORDERS_HELP)
        self._counters = {
            error.code: orders.with_additional_attributes(
                {"outcome": "refused", "reason": error.code}
            )
            for error in REASONS
        }
        for counter in self._counters.values():
            counter.add(0)  # a series that begins with its first event has never increased

    def count(self, refusal: TicketingError) -> None:
        """An order was refused."""
        if counter := self._counters.get(refusal.code):
            counter.add(1)
