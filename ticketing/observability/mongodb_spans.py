"""A span for each command to MongoDB within a trace."""

import time
from collections.abc import Callable
from datetime import timedelta

from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, get_current_span
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

Key = tuple[int, object]

SPAN_TIMEOUT = timedelta(minutes=1)
"""After this time without an answer, the command's span is ended."""


class MongoDBSpans(CommandListener):
    """Records the command and its collection, never its filter, documents or answer.

    A command outside a request or an activity, such as those of a change stream, starts no trace.
    """

    def __init__(self, tracer: Tracer, clock: Callable[[], float] = time.monotonic) -> None:
        self._tracer = tracer
        self._clock = clock
        self._spans: dict[Key, tuple[float, Span]] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """A command is being sent."""
        self._end_unanswered()
        if not get_current_span().is_recording():
            return
        command = event.command_name
        collection = event.command.get(command)
        attributes = {"db.system.name": "mongodb", "db.operation.name": command}
        name = command
        if isinstance(collection, str):
            attributes["db.collection.name"] = collection
            name = f"{command} {collection}"
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        self._spans[_key(event)] = self._clock(), span

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """It was answered."""
        if span := self._take(event):
            span.end()

    def failed(self, event: CommandFailedEvent) -> None:
        """It was refused, or its connection broke."""
        if span := self._take(event):
            _end_as_error(span, str(event.failure.get("codeName", "unknown")))

    def _take(self, event: CommandSucceededEvent | CommandFailedEvent) -> Span | None:
        _, span = self._spans.pop(_key(event), (0, None))
        return span

    def _end_unanswered(self) -> None:
        """End what was never answered: PyMongo says nothing of a command that was cancelled."""
        began_before = self._clock() - SPAN_TIMEOUT.total_seconds()
        while self._spans:
            oldest = next(iter(self._spans))
            began, span = self._spans[oldest]
            if began > began_before:
                return
            del self._spans[oldest]
            _end_as_error(span, "no_answer")


def _end_as_error(span: Span, kind: str) -> None:
    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", kind)
    span.end()


def _key(event: CommandStartedEvent | CommandSucceededEvent | CommandFailedEvent) -> Key:
    return event.request_id, event.connection_id
