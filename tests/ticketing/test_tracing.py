"""Only what is known to be harmless leaves the process, whoever made the span."""

import asyncio
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id
from pymongo import AsyncMongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from ticketing.models import User
from ticketing.mongodb import connect_mongodb
from ticketing.observability.metrics import CannotServeMetrics
from ticketing.observability.mongodb_spans import SPAN_TIMEOUT, MongoDBSpans
from ticketing.observability.telemetry import start_telemetry
from ticketing.observability.tracing import API_SERVICE_NAME, TraceContext, Tracing
from ticketing.settings import MetricsSettings, MongoDBSettings, TracingSettings

SECRET = "marker-of-a-secret@example.com"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def tracing(exporter: InMemorySpanExporter) -> Tracing:
    return Tracing(exporter, API_SERVICE_NAME)


def test_words_of_exceptions_and_unknown_attributes_stay_here(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    attributes = {"http.route": "/api/orders", "http.url": SECRET, "db.statement": SECRET}

    def fail() -> None:
        with tracing.tracer.start_as_current_span("a step", attributes=attributes) as span:
            span.add_event("said", {"body": SECRET})
            raise ValueError(SECRET)

    with pytest.raises(ValueError, match=SECRET):
        fail()
    tracing.flush()

    (told,) = exporter.get_finished_spans()
    assert SECRET not in told.to_json()
    assert told.attributes == {"http.route": "/api/orders"}
    assert [dict(event.attributes or {}) for event in told.events] == [
        {},
        {"exception.type": "ValueError"},
    ]
    assert not told.status.is_ok


def test_of_a_clients_headers_only_the_parent_is_taken() -> None:
    headers = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": f"vendor={SECRET}",
        "baggage": f"note={SECRET}",
    }
    carried: dict[str, str] = {}
    context = TraceContext().extract(headers)
    TraceContext().inject(carried, context)

    assert carried == {"traceparent": headers["traceparent"]}


async def test_commands_to_mongodb_are_spans_of_what_sends_them_and_tell_no_values(
    mongodb_settings: MongoDBSettings,
    mongodb: AsyncMongoClient[dict[str, object]],
    tracing: Tracing,
    exporter: InMemorySpanExporter,
) -> None:
    client = await connect_mongodb(mongodb_settings, [MongoDBSpans(tracing.tracer)])
    try:
        await User.find_one({"email": SECRET})
        with tracing.tracer.start_as_current_span("a request") as request:
            await User.find_one({"email": SECRET})
    finally:
        await client.close()
    tracing.flush()

    command, _ = exporter.get_finished_spans()
    assert (command.name, command.kind) == ("find users", SpanKind.CLIENT)
    assert command.parent is not None
    parent_id = format_span_id(request.get_span_context().span_id)
    assert format_span_id(command.parent.span_id) == parent_id
    assert SECRET not in command.to_json()


class Canceller(CommandListener):
    """Cancels whoever sends a command, while it is under way."""

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find" and (task := asyncio.current_task()):
            task.cancel()

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """It came to nobody."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nor did this."""


async def test_a_command_that_was_cancelled_is_told_of_as_unanswered(
    mongodb_settings: MongoDBSettings,
    mongodb: AsyncMongoClient[dict[str, object]],
    tracing: Tracing,
    exporter: InMemorySpanExporter,
) -> None:
    now = timedelta()
    spans = MongoDBSpans(tracing.tracer, lambda: now.total_seconds())
    client = await connect_mongodb(mongodb_settings, [spans, Canceller()])

    def timeline_of() -> dict[str, object]:
        tracing.flush()
        finished = exporter.get_finished_spans()
        return {span.name: (span.attributes or {}).get("error.type") for span in finished}

    async def read() -> None:
        with tracing.tracer.start_as_current_span("a request"):
            await User.find_one({"email": SECRET})

    try:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(read())
        now += SPAN_TIMEOUT / 2
        await client.admin.command("ping")
        assert "find users" not in timeline_of()

        now += SPAN_TIMEOUT
        await client.admin.command("ping")
        assert timeline_of()["find users"] == "no_answer"
    finally:
        await client.close()


def test_unless_a_setting_asks_for_it_nothing_is_watched() -> None:
    telemetry = start_telemetry(
        MetricsSettings.model_construct(), TracingSettings.model_construct(), API_SERVICE_NAME
    )

    assert not telemetry.is_scraped
    assert telemetry.interceptors() == []
    assert telemetry.mongodb_listeners() == []
    assert not telemetry.tracer.start_span("a step").is_recording()


def test_an_address_that_is_not_ours_to_listen_on_is_named() -> None:
    elsewhere = MetricsSettings.model_construct(address="192.0.2.1:9464")

    with pytest.raises(CannotServeMetrics, match=r"METRICS_ADDRESS=192\.0\.2\.1:9464: "):
        start_telemetry(elsewhere, TracingSettings.model_construct(), API_SERVICE_NAME)
