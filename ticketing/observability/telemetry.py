"""The metrics and traces of a process, each off unless a setting turns it on."""

from collections.abc import Sequence

from opentelemetry.trace import NoOpTracer, Tracer
from pymongo.monitoring import CommandListener
from temporalio.client import Interceptor
from temporalio.common import MetricMeter
from temporalio.runtime import Runtime

from ticketing.observability.metrics import runtime_with_metrics, runtime_without_metrics
from ticketing.observability.mongodb_spans import MongoDBSpans
from ticketing.observability.tracing import Tracing, start_tracing
from ticketing.settings import MetricsSettings, TracingSettings


class Telemetry:
    """What a composition root passes to the parts that are measured and traced."""

    def __init__(self, runtime: Runtime, tracing: Tracing | None, *, is_scraped: bool) -> None:
        self.runtime = runtime
        """For Temporal's client; it serves the metrics, its own and ours."""
        self._tracing = tracing
        self.is_scraped = is_scraped
        """Whether metrics are served."""

    @property
    def meter(self) -> MetricMeter:
        """For our own metrics."""
        return self.runtime.metric_meter

    @property
    def tracer(self) -> Tracer:
        """For our own spans."""
        return self._tracing.tracer if self._tracing else NoOpTracer()

    def interceptors(self) -> Sequence[Interceptor]:
        """For Temporal's client, and through it for a worker."""
        return [self._tracing.interceptor()] if self._tracing else []

    def mongodb_listeners(self) -> Sequence[CommandListener]:
        """For the client of MongoDB."""
        return [MongoDBSpans(self._tracing.tracer)] if self._tracing else []

    async def stop(self) -> None:
        """Export the spans that are left."""
        if self._tracing:
            await self._tracing.stop()


def start_telemetry(metrics: MetricsSettings, tracing: TracingSettings, service: str) -> Telemetry:
    """Start the metrics and traces that the settings turn on.

    Raises:
        CannotServeMetrics: the metrics address cannot be listened on.
    """
    is_scraped = metrics.address is not None
    runtime = (
        runtime_with_metrics(metrics.address) if metrics.address else runtime_without_metrics()
    )
    return Telemetry(runtime, start_tracing(tracing, service), is_scraped=is_scraped)
