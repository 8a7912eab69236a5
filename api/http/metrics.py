"""Metrics of requests: count, duration, status, and how many are in flight."""

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.paths import STATIC_PATH
from ticketing.observability.metrics import HTTP_REQUEST_DURATION, SECONDS, MetricMeter

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"


class RequestMetrics:
    """The instruments and the number of requests in flight."""

    def __init__(self, meter: MetricMeter) -> None:
        self._requests = meter.create_counter(
            "holdfast_http_requests", "Requests, by method, route and status"
        )
        self._durations = meter.create_histogram_float(
            HTTP_REQUEST_DURATION, "Time until an answer began, by method and route", SECONDS
        )
        self._waiting_gauge = meter.create_gauge(
            "holdfast_http_requests_in_flight", "Requests that wait for their answer to begin"
        )
        self._waiting = 0

    def begin(self) -> None:
        """A request has arrived."""
        self._waiting += 1
        self._waiting_gauge.set(self._waiting)

    def end(self, scope: Scope, status: int, duration: float) -> None:
        """The request's answer has begun; status 0 stands for no answer at all."""
        self._waiting -= 1
        self._waiting_gauge.set(self._waiting)
        where = {"method": method_of(scope), "route": route_of(scope)}
        self._requests.add(1, {**where, "status": str(status)})
        self._durations.record(duration, where)


class RequestMetricsMiddleware:
    """Measures each request until its answer begins, because event streams last for hours."""

    def __init__(self, app: ASGIApp, metrics: Callable[[], RequestMetrics]) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics = self._metrics()
        began = time.perf_counter()
        is_answered = False

        def finish(status: int) -> None:
            nonlocal is_answered
            is_answered = True
            metrics.end(scope, status, time.perf_counter() - began)

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_answered:
                finish(message["status"])
            await send(message)

        metrics.begin()
        try:
            await self._app(scope, receive, send_measured)
        finally:
            if not is_answered:
                finish(0)


def method_of(scope: Scope) -> str:
    """The request's method, or "other": clients may send anything, and each value is a series."""
    return scope["method"] if scope["method"] in KNOWN_METHODS else OTHER


def route_of(scope: Scope) -> str:
    """The path template of the matched route, such as `/api/orders/{order_id}`."""
    if (path := getattr(scope.get("route"), "path", None)) is not None:
        return str(path)
    return STATIC_PATH if scope["path"].startswith(f"{STATIC_PATH}/") else OTHER
