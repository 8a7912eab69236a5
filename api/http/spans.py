"""A span for each request: in a trusted proxy's trace, otherwise in a new one."""

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
    """Traces each request until its answer begins, because event streams last for hours."""

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
        span = self._start_span(scope)

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

    def _start_span(self, scope: Scope) -> Span:
        """Continue a trusted proxy's trace, or start a new one with a link to the client's.

        With a client's span as the parent, the client would decide whether the request is sampled,
        and could put any number of orders into one trace.
        """
        tracer = self._tracer()
        connection = HTTPConnection(scope)
        remote_context = self._context.extract(connection.headers)
        if is_from_trusted_proxy(connection, self._trusted_proxies):
            return tracer.start_span(method_of(scope), remote_context, SpanKind.SERVER)
        remote_span = get_current_span(remote_context).get_span_context()
        links = [Link(remote_span)] if remote_span.is_valid else []
        return tracer.start_span(method_of(scope), Context(), SpanKind.SERVER, links=links)
