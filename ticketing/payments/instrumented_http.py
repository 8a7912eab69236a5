"""Stripe's HTTP client with metrics and spans for each request."""

import re
import ssl
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
import stripe
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from stripe import HTTPXClient
from temporalio.common import MetricMeter

from ticketing.observability.metrics import SECONDS, STRIPE_REQUEST_DURATION

CALLS = (
    ("POST", re.compile(r"/v1/payment_intents"), "authorize"),
    ("GET", re.compile(r"/v1/payment_intents"), "list_intents"),
    ("GET", re.compile(r"/v1/payment_intents/[^/]+"), "read"),
    ("POST", re.compile(r"/v1/payment_intents/[^/]+/capture"), "capture"),
    ("POST", re.compile(r"/v1/payment_intents/[^/]+/cancel"), "cancel"),
    ("POST", re.compile(r"/v1/refunds"), "refund"),
    ("GET", re.compile(r"/v1/refunds"), "list_refunds"),
)
OTHER = "other"
ID = re.compile(r"/[a-z]+_\w*\d\w*")
"""Of an object of Stripe's, in an address."""

NO_ANSWER = "no_answer"
KINDS = {
    401: "unauthorized",
    402: "declined",
    403: "unauthorized",
    409: "conflict",
    429: "rate_limited",
}


def api_call(method: str, url: str) -> str:
    """The name of an API call, without the ids in its address."""
    path = urlsplit(url).path
    return next(
        (call for verb, pattern, call in CALLS if verb == method and pattern.fullmatch(path)),
        OTHER,
    )


def error_kind(status: int) -> str | None:
    """The kind of error that an answer's status says; None for a success."""
    if status < 400:
        return None
    return KINDS.get(status, "server_error" if status >= 500 else "refused")


class InstrumentedHTTPXClient(HTTPXClient):
    """Measures and traces every request to Stripe, each page of a list by itself."""

    def __init__(
        self, *, timeout: float, max_connections: int, meter: MetricMeter, tracer: Tracer
    ) -> None:
        super().__init__(timeout=timeout)
        # Stripe's client has no parameter for it, and httpx's default is 100: what found no
        # connection within the timeout would look like a request that was not answered.
        self._client_async = httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=stripe.ca_bundle_path),
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=20),
        )
        self._tracer = tracer
        self._durations = meter.create_histogram_float(
            STRIPE_REQUEST_DURATION, "Time that a request to Stripe took, answered or not", SECONDS
        )
        self._errors = meter.create_counter(
            "holdfast_stripe_errors", "Requests to Stripe that were not answered with a yes"
        )

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: object = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request, measure and trace it."""
        call = api_call(method.upper(), url)
        began = time.perf_counter()
        kind: str | None = NO_ANSWER
        with self._tracer.start_as_current_span(
            f"Stripe {call}", kind=SpanKind.CLIENT, record_exception=False
        ) as span:
            try:
                answer = await super().request_async(method, url, headers, post_data)
                kind = error_kind(answer[1])
                span.set_attribute("http.response.status_code", answer[1])
            finally:
                _describe(span, method, url, kind)
                self._durations.record(time.perf_counter() - began, {"call": call})
                if kind is not None:
                    self._errors.add(1, {"call": call, "kind": kind})
        return answer


def _describe(span: Span, method: str, url: str, kind: str | None) -> None:
    if not span.is_recording():
        return
    address = urlsplit(url)
    span.set_attribute("http.request.method", method.upper())
    span.set_attribute("server.address", address.hostname or "")
    span.set_attribute("url.template", ID.sub("/{id}", address.path))
    if kind is not None:
        span.set_attribute("error.type", kind)
        span.set_status(StatusCode.ERROR)
