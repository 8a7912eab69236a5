"""A span for each request, in the trace of whoever sent it or in one of its own."""

from opentelemetry.trace import SpanKind, StatusCode, Tracer, use_span
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.request_metrics import method_of, route_of
from ticketing.logs import order_id
from ticketing.tracing import ORDER_ID, TraceContext

PROBES = frozenset({"/healthz", "/readyz"})


class RequestSpansMiddleware:
    """Traces each request until its answer begins: a stream of events goes on for hours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._context = TraceContext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        tracer: Tracer = scope["app"].state.tracer
        parent = self._context.extract(Headers(scope=scope))
        span = tracer.start_span(method_of(scope), parent, SpanKind.SERVER)

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
