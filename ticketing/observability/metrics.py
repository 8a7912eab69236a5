"""The metrics of a process: those of Temporal's SDK and ours, at one address.

Each process has one meter, that of Temporal's SDK, which also serves `/metrics` and adds
Prometheus's suffixes to the names (`_total`, `_seconds`).
No label ever holds an id, a path or anything else that a client can choose.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache

from temporalio.client import Client
from temporalio.common import MetricMeter as MetricMeter  # for whoever measures
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from ticketing.statuses import CancelReason

SECONDS = "seconds"
"""The unit of our durations; the SDK's own histograms have a resolution of 1 ms."""

ORDERS = "holdfast_orders"
ORDERS_HELP = "Orders by how they ended, and why: refused, completed or cancelled"
ORDER_PAYMENT = "holdfast_order_payment"
HTTP_REQUEST_DURATION = "holdfast_http_request_duration"
STRIPE_REQUEST_DURATION = "holdfast_stripe_request_duration"

BUCKETS: Mapping[str, Sequence[float]] = {
    ORDER_PAYMENT: (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 86400),
    HTTP_REQUEST_DURATION: (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
    STRIPE_REQUEST_DURATION: (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15),
}
"""Upper bounds in seconds, where Temporal's own would be too coarse or too low."""


LOGGING = LoggingConfig(
    filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
    forwarding=LogForwardingConfig(
        logging.getLogger("temporalio.core"),
        append_target_to_name=False,
        prepend_target_on_message=False,
    ),
)
"""Forwards the log lines of the SDK's core to our log format."""


class CannotServeMetrics(RuntimeError):
    """The metrics address cannot be listened on."""


@cache
def runtime_without_metrics() -> Runtime:
    """The runtime of a process without metrics; one per process, since it has its own threads."""
    return Runtime(telemetry=TelemetryConfig(logging=LOGGING))


def runtime_with_metrics(address: str) -> Runtime:
    """A runtime whose metrics can be scraped at `host:port`.

    Raises:
        CannotServeMetrics: the address is taken, or is not this machine's.
    """
    prometheus = PrometheusConfig(
        bind_address=address,
        counters_total_suffix=True,
        unit_suffix=True,
        durations_as_seconds=True,
        histogram_bucket_overrides=BUCKETS,
    )
    try:
        return Runtime(
            telemetry=TelemetryConfig(
                logging=LOGGING, metrics=prometheus, attach_service_name=False
            )
        )
    except ValueError as error:
        raise CannotServeMetrics(f"METRICS_ADDRESS={address}: {error}") from None


def meter_of(client: Client) -> MetricMeter:
    """The meter of the client's process; one that does nothing if metrics are off."""
    runtime = client.service_client.config.runtime
    return runtime.metric_meter if runtime else MetricMeter.noop


class OrderMetrics:
    """Counts each order once when it is completed, and once when it is cancelled.

    Call it after the write that closed the order, and only if that write happened in this run.
    If the process dies in between, nothing is counted: the documents are exact, the counters not.
    """

    def __init__(self, meter: MetricMeter = MetricMeter.noop) -> None:
        orders = meter.create_counter(ORDERS, ORDERS_HELP)
        self._completed = orders.with_additional_attributes({"outcome": "completed", "reason": ""})
        self._cancelled = {
            reason: orders.with_additional_attributes(
                {"outcome": "cancelled", "reason": str(reason)}
            )
            for reason in CancelReason
        }
        self._payment = meter.create_histogram_float(
            ORDER_PAYMENT, "Time from the reservation of a ticket until it was paid", SECONDS
        )
        for counter in (self._completed, *self._cancelled.values()):
            counter.add(0)  # a series that begins with its first event has never increased

    def completed(self, *, paid_after: timedelta) -> None:
        """Count a completed order, and how long after its reservation it was paid."""
        self._completed.add(1)
        self._payment.record(max(paid_after.total_seconds(), 0.0))

    def cancelled(self, reason: CancelReason) -> None:
        """Count a cancelled order; a completed one is cancelled by its refund."""
        self._cancelled[reason].add(1)
