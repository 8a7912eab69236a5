"""Orders that are traced for a part of their life are carried on like any other."""

from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.client import Client

from tests.purchases.marketplace import Marketplace, Person
from ticketing.observability.tracing import WORKER_SERVICE_NAME, Tracing
from ticketing.temporal import connect_temporal


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def tracing(exporter: InMemorySpanExporter) -> AsyncIterator[Tracing]:
    tracing = Tracing(exporter, WORKER_SERVICE_NAME)
    yield tracing
    await tracing.stop()


@pytest.fixture
async def traced(idle_market: Marketplace, tracing: Tracing) -> Client:
    """A client with spans for whatever it and its worker do."""
    interceptors = [tracing.interceptor()]
    return await connect_temporal(idle_market.settings.temporal, interceptors=interceptors)


def names(tracing: Tracing, exporter: InMemorySpanExporter) -> list[str]:
    tracing.flush()
    return [span.name for span in exporter.get_finished_spans()]


async def test_an_order_of_before_tracing_is_carried_on_with_it(
    idle_market: Marketplace,
    seller: Person,
    buyer: Person,
    traced: Client,
    tracing: Tracing,
    exporter: InMemorySpanExporter,
) -> None:
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
    idle_market.temporal = traced
    async with idle_market.working():
        await buyer.buy(order)
        await idle_market.is_consistent()

    told = names(tracing, exporter)
    assert "RunActivity:take_payment" in told
    assert "RunWorkflow:OrderWorkflow" not in told


async def test_a_traced_order_is_carried_on_without_tracing(
    idle_market: Marketplace,
    seller: Person,
    buyer: Person,
    traced: Client,
    tracing: Tracing,
    exporter: InMemorySpanExporter,
) -> None:
    plain = idle_market.temporal
    idle_market.temporal = traced
    idle_market.find_temporal()
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
    assert "RunWorkflow:OrderWorkflow" in names(tracing, exporter)
    exporter.clear()
    idle_market.temporal = plain
    idle_market.find_temporal()
    async with idle_market.working():
        await buyer.buy(order)
        await idle_market.is_consistent()

    assert names(tracing, exporter) == []
