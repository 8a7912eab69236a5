"""How every process logs: one line per event to standard error, as text or as JSON.

Each line says by itself which request, order and trace it belongs to, where it does.
Log ids, never e-mail addresses, tokens, card data or the bodies that carry them.
"""

import json
import logging
import logging.config
from contextvars import ContextVar
from datetime import UTC, datetime

from opentelemetry import trace
from temporalio import activity, workflow

from ticketing.settings import LogSettings
from ticketing.workflow_ids import order_id_in

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The HTTP request that is being answered."""

order_id: ContextVar[str | None] = ContextVar("order_id", default=None)
"""The order that the HTTP request is about, or an activity whose workflow is about many."""

trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""The trace of an activity, for what is logged after its span has ended."""

MINIMUM_LEVELS = {
    "pymongo": "INFO",  # its DEBUG lines hold whole commands, e-mail addresses included
    "stripe": "WARNING",  # its DEBUG lines likewise, and its INFO lines say nothing new
    "httpcore": "WARNING",
    "httpx": "WARNING",
    "urllib3": "INFO",  # one DEBUG line for each batch of spans
}
SHORT_TRACE_ID_LENGTH = 8
"""How many characters of a trace's id the text format shows."""


def bind_order_id(order: object) -> None:
    """Add the order's id to all further lines of this request or activity."""
    order_id.set(str(order))


def current_order_id() -> str | None:
    """The order that was bound, or else the one of this workflow or activity."""
    if order := order_id.get():
        return order
    if activity.in_activity():
        return order_id_in(activity.info().workflow_id or "")
    if workflow.in_workflow():
        return order_id_in(workflow.info().workflow_id)
    return None


def current_trace_id() -> str | None:
    """The trace that the current span belongs to, as OpenTelemetry writes it."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else trace_id.get()


class TextFormatter(logging.Formatter):
    """For people: time, level, logger, request, order, trace, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s%(place)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        order, trace = current_order_id(), current_trace_id()
        place = (
            request_id.get(),
            order and f"order={order}",
            trace and f"trace={trace[:SHORT_TRACE_ID_LENGTH]}",
        )
        said = " ".join(filter(None, place))
        record.place = f" [{said}]" if said else ""
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """For log collectors: one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        place = {
            "requestId": request_id.get(),
            "orderId": current_order_id(),
            "traceId": current_trace_id(),
        }
        line |= {name: id for name, id in place.items() if id}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(settings: LogSettings) -> None:
    """Set up logging for the whole process; called once, by a composition root."""
    formatter = JsonFormatter if settings.format == "json" else TextFormatter
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"lines": {"()": formatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
            "root": {"level": settings.level, "handlers": ["stderr"]},
            "loggers": {
                name: {"level": max(level, settings.level, key=_severity)}
                for name, level in MINIMUM_LEVELS.items()
            },
        }
    )
    logging.captureWarnings(True)
    # What these would append to each message is in the line already, and not as a Python dict.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False


def _severity(level: str) -> int:
    return logging.getLevelNamesMapping()[level]
