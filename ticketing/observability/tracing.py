"""Traces: from a request through its order's workflow and its activities to MongoDB and Stripe.

Only the attributes on a list here leave the process, whichever library created the span. So no
trace holds a secret, an e-mail address, a header, a query or the message of an exception.
"""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from temporalio.api.common.v1 import Payload
from temporalio.contrib.opentelemetry import TracingInterceptor, TracingWorkflowInboundInterceptor
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from ticketing.observability.logs import current_trace_id, trace_id
from ticketing.settings import TracingSettings

API_SERVICE_NAME = "holdfast-api"
WORKER_SERVICE_NAME = "holdfast-worker"

ORDER_ID = "holdfast.order_id"
ALLOWED_ATTRIBUTES = frozenset(
    {
        ORDER_ID,
        "db.collection.name",
        "db.operation.name",
        "db.system.name",
        "error.type",
        "exception.type",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "server.address",
        "temporalActivityID",
        "temporalRunID",
        "temporalUpdateID",
        "temporalWorkflowID",
        "url.template",
    }
)
"""The attributes that may leave the process: ids, templates and our own names."""

FLUSH_TIMEOUT = timedelta(seconds=3)
"""How long a process that stops waits for its collector, which may be down."""


class TraceContext(TraceContextTextMapPropagator):
    """Propagates the parent span (`traceparent`) and nothing else.

    Baggage and `tracestate` hold whatever a client sends, and a workflow's history stores it.
    """

    def extract(self, carrier: Any, *arguments: Any, **named: Any) -> Context:  # noqa: ANN401 - any carrier
        """Read the parent, from keys in lower case."""
        known = {name: carrier[name] for name in ("traceparent",) if name in carrier}
        return super().extract(known, *arguments, **named)


class Tracing:
    """The traces of one process."""

    def __init__(self, exporter: SpanExporter, service: str) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: service}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(AttributeFilter(exporter)))
        self.tracer: Tracer = self._provider.get_tracer("holdfast")

    def interceptor(self) -> TracingInterceptor:
        """For Temporal's client, and for a worker that uses this client."""
        return _Interceptor(self.tracer)

    def flush(self) -> None:
        """Export what there is."""
        self._provider.force_flush()

    async def stop(self) -> None:
        """Export what is left, if the collector takes it in time."""
        stopping = threading.Thread(target=self._provider.shutdown, daemon=True)
        stopping.start()
        await asyncio.to_thread(stopping.join, FLUSH_TIMEOUT.total_seconds())


def start_tracing(settings: TracingSettings, service: str) -> Tracing | None:
    """Trace what the process does, if there is a collector to send it to."""
    if settings.endpoint is None:
        return None
    return Tracing(OTLPSpanExporter(endpoint=f"{settings.endpoint}/v1/traces"), service)


class AttributeFilter(SpanExporter):
    """Exports each span with the allowed attributes only."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans with the allowed attributes only."""
        return self._exporter.export([_filtered(span) for span in spans])

    def shutdown(self) -> None:
        """Stop exporting."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Export what the exporter has kept back."""
        return self._exporter.force_flush(timeout_millis)


class _WorkflowInterceptor(TracingWorkflowInboundInterceptor):
    """Reads the trace that a message belongs to, and ignores a header that it cannot read.

    Anybody can send a header, and an exception would fail every later task of the workflow.
    """

    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        super().__init__(next)
        self.text_map_propagator = TraceContext()

    async def handle_signal(self, input: HandleSignalInput) -> None:
        await super().handle_signal(replace(input, headers=self._readable(input.headers)))

    async def handle_query(self, input: HandleQueryInput) -> Any:  # noqa: ANN401 - the query's own result
        return await super().handle_query(replace(input, headers=self._readable(input.headers)))

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        super().handle_update_validator(replace(input, headers=self._readable(input.headers)))

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:  # noqa: ANN401 - the update's own result
        return await super().handle_update_handler(
            replace(input, headers=self._readable(input.headers))
        )

    def _readable(self, headers: Mapping[str, Payload]) -> Mapping[str, Payload]:
        header = headers.get(self.header_key)
        if header is None:
            return headers
        try:
            (carrier,) = self.payload_converter.from_payloads([header])
        except Exception:  # whatever a payload of an unknown encoding makes of its decoder
            carrier = None
        if isinstance(carrier, dict) and all(isinstance(v, str) for v in carrier.values()):
            return headers
        return {name: value for name, value in headers.items() if name != self.header_key}


class _TraceIdInterceptor(ActivityInboundInterceptor):
    """Keeps an activity's trace id for what is logged after its span, such as its failure."""

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: ANN401 - the activity's own result
        trace_id.set(current_trace_id())  # in the activity's own task: nobody needs it put back
        return await super().execute_activity(input)


class _Interceptor(TracingInterceptor):
    def __init__(self, tracer: Tracer) -> None:
        super().__init__(tracer)
        self.text_map_propagator = TraceContext()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return super().intercept_activity(_TraceIdInterceptor(next))

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[TracingWorkflowInboundInterceptor]:
        super().workflow_interceptor_class(input)
        return _WorkflowInterceptor


def _filtered(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_allowed(span.attributes),
        events=[Event(e.name, _allowed(e.attributes), e.timestamp) for e in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _allowed(attributes: Mapping[str, AttributeValue] | None) -> dict[str, AttributeValue]:
    return {name: value for name, value in (attributes or {}).items() if name in ALLOWED_ATTRIBUTES}
