"""A collector of traces: a real HTTP server that takes what OTLP's exporter sends."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from devstack.ports import LOOPBACK


@dataclass(frozen=True)
class Span:
    """What the collector was told of one step."""

    service: str
    name: str
    trace_id: str
    id: str
    parent_id: str
    attributes: dict[str, str]
    linked: tuple[str, ...]
    """Traces that this span says it has to do with."""


class Collector:
    """Keeps everything that it is sent, decoded and as it came."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_port}"

    def spans(self) -> list[Span]:
        """Every span so far."""
        return [span for body in list(self.bodies) for span in _spans(body)]

    def trace(self, trace_id: str) -> dict[str, Span]:
        """The spans of one trace, by their ids."""
        return {span.id: span for span in self.spans() if span.trace_id == trace_id}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector for as long as the block runs."""
    collector = Collector()
    thread = Thread(target=collector.serve)
    thread.start()
    try:
        yield collector
    finally:
        collector.stop()
        thread.join()


def _spans(body: bytes) -> Iterator[Span]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service=service,
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    attributes=_attributes(span.attributes),
                    linked=tuple(link.trace_id.hex() for link in span.links),
                )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    return {pair.key: str(pair.value.string_value or pair.value.int_value) for pair in pairs}
