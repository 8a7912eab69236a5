"""How every process logs: one line per event to standard error, as text or as JSON.

Log ids, never e-mail addresses, tokens, card data or the bodies that carry them.
"""

import json
import logging
import logging.config
from contextvars import ContextVar
from datetime import UTC, datetime

from ticketing.settings import LogSettings

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The HTTP request that is being answered."""

TALKATIVE = {
    "pymongo": "INFO",  # its DEBUG lines hold whole commands, e-mail addresses included
    "stripe": "WARNING",  # its DEBUG lines likewise, and its INFO lines say nothing new
    "httpcore": "WARNING",
    "httpx": "WARNING",
}


class TextFormatter(logging.Formatter):
    """For people: time, level, logger, request, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s%(request)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        name = request_id.get()
        record.request = f" [{name}]" if name else ""
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
        if name := request_id.get():
            line["requestId"] = name
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
                for name, level in TALKATIVE.items()
            },
        }
    )
    logging.captureWarnings(True)


def _severity(level: str) -> int:
    return logging.getLevelNamesMapping()[level]
