"""Log lines, for people and for collectors."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ticketing.logs import JsonFormatter, TextFormatter, configure_logging, request_id
from ticketing.settings import LogSettings


def record(message: str = "Reserved %s", *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("api.orders", logging.INFO, "", 0, message, arguments, None)


@pytest.fixture
def named_request() -> Iterator[None]:
    token = request_id.set("abc-123")
    yield
    request_id.reset(token)


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger as it is, put back afterwards."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    yield root
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.captureWarnings(False)


def test_a_line_for_people_names_the_request(named_request: None) -> None:
    line = TextFormatter().format(record("Reserved %s", "a ticket"))

    assert line.endswith("INFO    api.orders [abc-123]: Reserved a ticket")


def test_a_line_outside_of_a_request_names_none() -> None:
    assert "[" not in TextFormatter().format(record("Started"))
    assert "requestId" not in json.loads(JsonFormatter().format(record("Started")))


def test_a_line_for_collectors_is_one_json_object(named_request: None) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        failure = record("Failed\nbadly")
        failure.exc_info = sys.exc_info()

    line = JsonFormatter().format(failure)

    assert "\n" not in line
    fields = json.loads(line)
    assert fields.keys() == {"time", "level", "logger", "message", "requestId", "exception"}
    assert fields["message"] == "Failed\nbadly"
    assert "ValueError" in fields["exception"]


@pytest.mark.parametrize("level", ["DEBUG", "WARNING", "ERROR"])
def test_what_a_driver_says_about_its_commands_is_never_logged(
    root_logger: logging.Logger, level: Any
) -> None:
    configure_logging(LogSettings(level=level))

    assert root_logger.level == logging.getLevelNamesMapping()[level]
    for name in ("pymongo.command", "stripe", "httpx"):
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)
