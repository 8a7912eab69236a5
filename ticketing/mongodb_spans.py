"""A span for each command to MongoDB that is part of something that is traced."""

from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, get_current_span
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

Key = tuple[int, object]


class MongoDBSpans(CommandListener):
    """Names the command and its collection, never what is asked for or answered.

    A command that nobody's request or activity sends, as a change stream does every second,
    begins no trace of its own.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._spans: dict[Key, Span] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """A command is being sent."""
        if not get_current_span().is_recording():
            return
        command = event.command_name
        collection = event.command.get(command)
        attributes = {"db.system.name": "mongodb", "db.operation.name": command}
        name = command
        if isinstance(collection, str):
            attributes["db.collection.name"] = collection
            name = f"{command} {collection}"
        self._spans[_key(event)] = self._tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes=attributes
        )

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """It was answered."""
        if span := self._spans.pop(_key(event), None):
            span.end()

    def failed(self, event: CommandFailedEvent) -> None:
        """It was refused, or its connection broke."""
        if span := self._spans.pop(_key(event), None):
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", str(event.failure.get("codeName", "unknown")))
            span.end()


def _key(event: CommandStartedEvent | CommandSucceededEvent | CommandFailedEvent) -> Key:
    return event.request_id, event.connection_id
