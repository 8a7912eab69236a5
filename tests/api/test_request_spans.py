"""Whose trace a request belongs to."""

import pytest
from httpx import ASGITransport, AsyncClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_OFF, DEFAULT_ON, Sampler
from opentelemetry.trace import format_trace_id
from starlette.applications import Starlette

from api.http.spans import RequestSpansMiddleware
from ticketing.settings import RateLimitSettings

PROXY = "10.0.0.1"
STRANGER = "192.0.2.1"

THEIRS = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{THEIRS}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{THEIRS}-00f067aa0ba902b7-00"


async def spans_of(
    peer: str,
    traceparent: str | None = None,
    *,
    sampler: Sampler = DEFAULT_ON,
    forwarded_for: str | None = None,
) -> tuple[ReadableSpan, ...]:
    """What is exported of a request that the peer sends to an API behind the proxy."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    named = {"traceparent": traceparent, "X-Forwarded-For": forwarded_for}
    headers = {name: value for name, value in named.items() if value is not None}
    app = Starlette()
    tracer = provider.get_tracer("tests")
    trusted = RateLimitSettings(trusted_proxies="10.0.0.0/8").trusted_proxies
    app.add_middleware(RequestSpansMiddleware, tracer=lambda: tracer, trusted_proxies=trusted)
    transport = ASGITransport(app, client=(peer, 4711))
    async with AsyncClient(transport=transport, base_url="http://api", headers=headers) as http:
        await http.get("/")
    return exporter.get_finished_spans()


def trace_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return format_trace_id(context.trace_id)


async def test_a_trusted_proxys_trace_is_gone_on_with() -> None:
    (span,) = await spans_of(PROXY, SAMPLED)

    assert trace_of(span) == THEIRS
    assert span.parent is not None
    assert not span.links


async def test_a_trusted_proxy_decides_whether_a_request_is_traced() -> None:
    assert await spans_of(PROXY, NOT_SAMPLED) == ()
    assert await spans_of(PROXY, SAMPLED, sampler=DEFAULT_OFF) != ()


@pytest.mark.parametrize("theirs", [SAMPLED, NOT_SAMPLED])
async def test_a_strangers_trace_is_linked_to_and_not_joined(theirs: str) -> None:
    (span,) = await spans_of(STRANGER, theirs)

    assert span.parent is None
    assert trace_of(span) != THEIRS
    assert [format_trace_id(link.context.trace_id) for link in span.links] == [THEIRS]


async def test_a_stranger_who_claims_to_be_forwarded_by_a_proxy_is_still_one() -> None:
    (span,) = await spans_of(STRANGER, SAMPLED, forwarded_for=PROXY)

    assert trace_of(span) != THEIRS


async def test_a_stranger_cannot_make_us_trace_what_we_do_not_sample() -> None:
    assert await spans_of(STRANGER, SAMPLED, sampler=DEFAULT_OFF) == ()


@pytest.mark.parametrize("peer", [PROXY, STRANGER])
async def test_a_request_that_names_no_trace_begins_one(peer: str) -> None:
    for theirs in (None, "nonsense"):
        (span,) = await spans_of(peer, theirs)

        assert span.parent is None
        assert not span.links
