"""Log lines, for people and for collectors."""

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext
from temporalio import activity, workflow
from temporalio.testing import ActivityEnvironment

from ticketing.observability.logs import (
    JsonFormatter,
    TextFormatter,
    bind_order_id,
    configure_logging,
    order_id,
    request_id,
)
from ticketing.settings import LogSettings

ORDER = "6b035d412918cbe232ed5d85"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def record(message: str = "Reserved %s", *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("api.orders", logging.INFO, "", 0, message, arguments, None)


@pytest.fixture
def named_request() -> Iterator[None]:
    token = request_id.set("abc-123")
    yield
    request_id.reset(token)


@pytest.fixture
def concerned_order() -> Iterator[None]:
    token = order_id.set(ORDER)
    yield
    order_id.reset(token)


@pytest.fixture
def span() -> Iterator[None]:
    """Somebody's span, of a trace that is known."""
    context = SpanContext(int(TRACE, 16), 7, is_remote=True)
    with trace.use_span(NonRecordingSpan(context)):
        yield


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
    fields = json.loads(JsonFormatter().format(record("Started")))
    assert fields.keys() == {"time", "level", "logger", "message"}


def test_a_line_names_order_and_trace_for_people_in_short(
    named_request: None, concerned_order: None, span: None
) -> None:
    line = TextFormatter().format(record())

    assert line.endswith(f"api.orders [abc-123 order={ORDER} trace=4bf92f35]: Reserved %s")


def test_a_line_names_order_and_trace_for_collectors_in_full(
    concerned_order: None, span: None
) -> None:
    fields = json.loads(JsonFormatter().format(record()))

    assert (fields["orderId"], fields["traceId"]) == (ORDER, TRACE)


@pytest.mark.parametrize(
    ("workflow_id", "named"),
    [
        (f"order:{ORDER}", ORDER),
        (f"refund:{ORDER}", ORDER),
        ("reconciliation:recent:orders-2026-11-26", None),
    ],
)
async def test_what_an_activity_logs_names_the_order_of_its_workflow(
    workflow_id: str, named: str | None
) -> None:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, workflow_id=workflow_id)

    async def log() -> Any:
        return json.loads(JsonFormatter().format(record()))

    assert (await environment.run(log)).get("orderId") == named


async def test_what_an_activity_about_many_logs_names_the_one_that_it_says() -> None:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, workflow_id="reconciliation:recent:orders")

    async def log() -> Any:
        bind_order_id(ORDER)
        return json.loads(JsonFormatter().format(record()))

    assert (await environment.run(log))["orderId"] == ORDER


def test_the_sdks_own_loggers_append_nothing_to_messages(root_logger: logging.Logger) -> None:
    configure_logging(LogSettings())

    assert not activity.logger.activity_info_on_message
    assert not workflow.logger.workflow_info_on_message


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
