"""A span for each request, in a trace of its own or in that of a proxy that is trusted."""

from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    use_span,
)
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.client_address import Network, is_from_trusted_proxy
from api.http.metrics import method_of, route_of
from ticketing.observability.logs import order_id
from ticketing.observability.tracing import ORDER_ID, TraceContext

PROBES = frozenset({"/healthz", "/readyz"})


class RequestSpansMiddleware:
    """Traces each request until its answer begins: a stream of events goes on for hours."""

    def __init__(
        self, app: ASGIApp, tracer: Callable[[], Tracer], trusted_proxies: Sequence[Network]
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._trusted_proxies = trusted_proxies
        self._context = TraceContext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        span = self._begin(scope)

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start" and span.is_recording():
                status = message["status"]
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(StatusCode.ERROR)
                end()
            await send(message)

        def end() -> None:
            span.update_name(f"{method_of(scope)} {route_of(scope)}")
            span.set_attribute("http.request.method", method_of(scope))
            span.set_attribute("http.route", route_of(scope))
            if order := order_id.get():
                span.set_attribute(ORDER_ID, order)
            span.end()

        with use_span(span, record_exception=False, set_status_on_exception=False):
            try:
                await self._app(scope, receive, send_traced)
            finally:
                if span.is_recording():
                    end()

    def _begin(self, scope: Scope) -> Span:
        """Go on with a trusted proxy's trace, or begin one that is linked to the client's.

        Were a client's the parent, its flag would decide whether we sample, and its id would
        join whatever orders it likes in one trace.
        """
        tracer = self._tracer()
        connection = HTTPConnection(scope)
        theirs = self._context.extract(connection.headers)
        if is_from_trusted_proxy(connection, self._trusted_proxies):
            return tracer.start_span(method_of(scope), theirs, SpanKind.SERVER)
        named = get_current_span(theirs).get_span_context()
        links = [Link(named)] if named.is_valid else []
        return tracer.start_span(method_of(scope), Context(), SpanKind.SERVER, links=links)
