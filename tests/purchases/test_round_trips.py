"""What one purchase asks of MongoDB and of Temporal, counted, so that it cannot grow unnoticed.

A count that changes is no mistake by itself: say in docs/performance.md what it is spent on.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.service import ServiceClient

from api.resources import resources_of
from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually

PURCHASES = 3
COMMANDS = ("find", "aggregate", "insert", "update", "findAndModify", "commitTransaction")

RESERVE = Counter(find=1, aggregate=1, findAndModify=1, insert=1, commitTransaction=1)
"""The session; the ticket and the buyer's slots; the ticket's lock and the order, in one
transaction."""
PAY = Counter(find=2, aggregate=1, insert=1, update=3, findAndModify=2, commitTransaction=2)
"""The session and the order; the order's status and the charge, which begin the payment; the mark
of the capture, and order and ticket after it; and the sale."""

EVENTS = 25
WORKFLOW_TASKS = 3
"""The reservation, the payment, and the sale."""


async def _mongodb_commands(market: Marketplace) -> Counter[str]:
    status = await market.mongo.admin.command("serverStatus")
    commands = status["metrics"]["commands"]
    return Counter({name: int(commands[name]["total"]) for name in COMMANDS})


async def _counted(market: Marketplace, step: Callable[[], Awaitable[Any]]) -> Counter[str]:
    before = await _mongodb_commands(market)
    for _ in range(PURCHASES):
        await step()
    after = await _mongodb_commands(market)
    return Counter({name: (after[name] - before[name]) // PURCHASES for name in COMMANDS})


async def test_a_purchase_asks_mongodb_no_more_than_it_did(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    tickets = [await seller.list_ticket() for _ in range(PURCHASES)]
    orders = []
    # The first purchase of a process opens its change stream, and looks what it missed.
    await buyer.buy(await buyer.reserve(await seller.list_ticket()))
    await market.webhooks_are_delivered()

    async def reserve() -> None:
        orders.append(await buyer.reserve(tickets.pop()))

    async def pay() -> None:
        await buyer.buy(orders.pop())
        await market.webhooks_are_delivered()

    assert await _counted(market, reserve) == RESERVE
    assert await _counted(market, pay) == PAY


async def test_an_event_of_our_own_request_is_not_looked_up(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    await buyer.buy(await buyer.reserve(await seller.list_ticket()))
    await market.webhooks_are_delivered()
    (event,) = market.events("payment_intent.succeeded")
    key = event["request"]["idempotency_key"]

    async def finds(request: object) -> int:
        before = await _mongodb_commands(market)
        assert (await market.deliver(event | {"request": request})).status_code == 200
        return ((await _mongodb_commands(market)) - before)["find"]

    assert await finds({"id": "req_1", "idempotency_key": key}) == 0
    assert await finds({"id": "req_1", "idempotency_key": f"{key}:2"}) == 0
    # Controls: caused by somebody else, by nobody, or told as before Stripe's version 2017-05-25.
    for other in (
        {"id": "req_1", "idempotency_key": "3f0c1c1e-6f0e-4b8e-9d0e-2a5b7c8d9e0f"},
        {"id": "req_1", "idempotency_key": None},
        {"id": None, "idempotency_key": None},
        {"id": "req_1"},
        "req_1",
        None,
    ):
        assert await finds(other) == 1, other


async def test_a_purchase_asks_temporal_for_two_things(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    client = await resources_of(market.app).temporal.client()
    service = type(client.service_client)
    assert issubclass(service, ServiceClient)
    call = service._rpc_call

    async def count_and_call(client: Any, rpc: str, *args: Any, **more: Any) -> Any:
        asked[rpc] += 1
        return await call(client, rpc, *args, **more)

    ticket = await seller.list_ticket()
    monkeypatch.setattr(service, "_rpc_call", count_and_call)
    await buyer.buy(await buyer.reserve(ticket))

    assert asked == {
        "execute_multi_operation": 1,
        "signal_workflow_execution": 1,
    }


async def test_a_purchase_leaves_no_more_events_than_it_did(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.buy(order)

    async def is_over() -> bool:
        history = await market.history(order)
        last = history.events[-1].event_type
        return last == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED

    await eventually(is_over)
    events = (await market.history(order)).events
    types = Counter(EventType.Name(event.event_type) for event in events)
    assert len(events) == EVENTS, types
    assert types["EVENT_TYPE_WORKFLOW_TASK_COMPLETED"] == WORKFLOW_TASKS
    assert types["EVENT_TYPE_WORKFLOW_TASK_FAILED"] == 0
    assert types["EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED"] == 1
