"""The metric of refused orders, counted in the API because most refusals start no workflow."""

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

COUNTED_REFUSALS: tuple[type[TicketingError], ...] = (
    TicketNotFound,
    OwnTicket,
    TicketReserved,
    TicketSold,
    PriceChanged,
    TooManyReservations,
    TemporalUnavailable,
)


class RefusalCounter:
    """Counts each refusal once, not its repetitions to a repeated request."""

    def __init__(self, meter: MetricMeter = MetricMeter.noop) -> None:
        orders = meter.create_counter(ORDERS, ORDERS_HELP)
        self._counters = {
            error.code: orders.with_additional_attributes(
                {"outcome": "refused", "reason": error.code}
            )
            for error in COUNTED_REFUSALS
        }
        for counter in self._counters.values():
            counter.add(
                0
            )  # Prometheus sees no increase in a series that starts with its first event

    def count(self, refusal: TicketingError) -> None:
        if counter := self._counters.get(refusal.code):
            counter.add(1)
