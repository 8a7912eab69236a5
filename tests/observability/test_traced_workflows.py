"""Tracing changes no path, and leaves in a history nothing but its header."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from google.protobuf.message import Message
from opentelemetry import baggage, context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pymongo import AsyncMongoClient
from temporalio.api.common.v1 import Header, Payload
from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from stripe_sandbox.testing import RunningSandbox
from tests.market import Market
from tests.timeskipping import time_skipping_server
from ticketing.mongodb import BSONDocument
from ticketing.observability.tracing import WORKER_SERVICE_NAME, Tracing
from ticketing.payments.gateway import StripeGateway
from worker import create_worker, workflow_runner
from workflows import WORKFLOWS

HEADER = "_tracer-data"
RECORDED = {
    file.stem: WorkflowHistory.from_json(file.stem, file.read_text())
    for file in sorted((Path(__file__).parents[1] / "replay" / "histories").glob("*.json"))
}

Working = Callable[[Client], AbstractAsyncContextManager[None]]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def tracing(exporter: InMemorySpanExporter) -> AsyncIterator[Tracing]:
    tracing = Tracing(exporter, WORKER_SERVICE_NAME)
    yield tracing
    await tracing.stop()


@pytest.fixture
async def plain() -> AsyncIterator[Client]:
    """A client that traces nothing, of a server of the test's own."""
    async with time_skipping_server() as env:
        yield env.client


@pytest.fixture
def traced(plain: Client, tracing: Tracing) -> Client:
    """A client of the same server, with spans for whatever it and its worker do."""
    config = plain.config()
    config["interceptors"] = [tracing.interceptor()]
    return Client(**config)


@pytest.fixture
def market(plain: Client, sandbox: RunningSandbox) -> Market:
    return Market(WorkflowEnvironment.from_client(plain), f"orders-{uuid4().hex}", sandbox)


@pytest.fixture
def working(
    market: Market, mongodb: AsyncMongoClient[BSONDocument], gateway: StripeGateway
) -> Working:
    """Carry orders out over a client as long as a block runs."""

    @asynccontextmanager
    async def work(client: Client) -> AsyncIterator[None]:
        task_queue = market.task_queue
        async with create_worker(client, task_queue=task_queue, mongo=mongodb, gateway=gateway):
            yield

    return work


def names(tracing: Tracing, exporter: InMemorySpanExporter) -> set[str]:
    tracing.flush()
    return {span.name for span in exporter.get_finished_spans()}


def headers(history: WorkflowHistory) -> dict[str, list[Payload]]:
    """Every header that the history holds, of whatever event."""
    found: dict[str, list[Payload]] = {}
    for event in history.events:
        for header in _headers_in(event):
            for name, payload in header.fields.items():
                found.setdefault(name, []).append(payload)
    return found


def _headers_in(message: Message) -> Iterator[Header]:
    for field, value in message.ListFields():
        if isinstance(value, Header):
            yield value
        elif field.message_type is not None and isinstance(value, Message):
            yield from _headers_in(value)


async def replay(history: WorkflowHistory, tracing: Tracing | None = None) -> None:
    replayer = Replayer(
        workflows=WORKFLOWS,
        workflow_runner=workflow_runner(),
        data_converter=pydantic_data_converter,
        interceptors=[tracing.interceptor()] if tracing else [],
    )
    await replayer.replay_workflow(history)


@pytest.mark.parametrize("name", RECORDED)
async def test_what_was_recorded_without_traces_is_replayed_with_them(
    name: str, tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    await replay(RECORDED[name], tracing)

    assert names(tracing, exporter) == set()


async def test_a_traced_history_holds_only_the_parent_and_is_replayed_untraced(
    market: Market, traced: Client, working: Working, tracing: Tracing
) -> None:
    traced_market = replace(market, env=WorkflowEnvironment.from_client(traced))
    token = context.attach(baggage.set_baggage("note", "what somebody wants to be handed on"))
    async with working(traced):
        purchase = await traced_market.sell()
        refund = await traced_market.refund(purchase)
        await refund.result()
    context.detach(token)

    for handle in (purchase.handle, refund):
        history = await handle.fetch_history()
        await replay(history)
        await replay(history, tracing)
        found = headers(history)
        assert found.keys() == {HEADER}
        assert len(found[HEADER]) > 1
        for payload in found[HEADER]:
            assert json.loads(payload.data).keys() == {"traceparent"}


async def test_each_step_of_an_order_is_in_the_trace_of_its_start(
    market: Market,
    traced: Client,
    working: Working,
    tracing: Tracing,
    exporter: InMemorySpanExporter,
) -> None:
    traced_market = replace(market, env=WorkflowEnvironment.from_client(traced))
    with tracing.tracer.start_as_current_span("a request") as request:
        async with working(traced):
            await traced_market.sell()

    assert names(tracing, exporter) > {
        "RunActivity:reserve_ticket",
        "RunActivity:take_payment",
        "RunActivity:complete_order",
    }
    traces = {span.context.trace_id for span in exporter.get_finished_spans() if span.context}
    assert traces == {request.get_span_context().trace_id}
