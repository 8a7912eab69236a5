"""Parts that are away: a clear answer in bounded time, and never a half-made order."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from httpx import Response
from pydantic import SecretStr
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, RetryConfig
from temporalio.common import SearchAttributeUpdate
from temporalio.contrib.pydantic import pydantic_data_converter

from api.temporal import orders
from tests.api.conftest import assert_problem
from tests.purchases.contract import Json
from tests.purchases.lines import Line, line_to
from tests.purchases.marketplace import Marketplace, Person
from tests.resources import connected, exchange
from tests.waiting import eventually
from workflows import orders as order_workflow

AUTHORIZE = "/v1/payment_intents"
CAPTURE = "/v1/payment_intents/*/capture"

IMPATIENT = timedelta(seconds=0.4)
"""How long a request waits for a worker here, instead of ten seconds."""
NO_LONGER = timedelta(seconds=0.3)
"""How late a worker may come here to make a reservation, instead of eight seconds."""


def be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits as long from now on as they would in production."""
    monkeypatch.setattr(orders, "WORKER_ANSWER_TIMEOUT", IMPATIENT)
    monkeypatch.setattr(order_workflow, "RESERVE_TIMEOUT", NO_LONGER)


@pytest.fixture
async def temporal_line(idle_market: Marketplace, temporal_address: str) -> AsyncIterator[Line]:
    """The line by which the API reaches Temporal; the worker has its own."""
    async with line_to(temporal_address) as line:
        client = await Client.connect(
            line.address,
            data_converter=pydantic_data_converter,
            retry_config=RetryConfig(max_retries=2, max_elapsed_time_millis=500),
        )
        exchange(idle_market.app, temporal=connected(client))
        yield line


async def test_without_temporal_nothing_is_reserved_paid_or_cancelled_but_all_can_be_read(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    ticket = await seller.list_ticket()
    before = await market.written()
    await market.lose_temporal()

    for answer in (await buyer.ask_for(ticket), await buyer.pay(order), await buyer.cancel(order)):
        _assert_unavailable(answer, "temporal_unavailable")
    assert await market.written() == before
    assert (await seller.ticket(ticket))["status"] == "available"
    assert (await buyer.orders())["items"] == [order]
    assert market.sandbox.requests == []

    market.find_temporal()
    await buyer.buy(order)
    await buyer.reserve(ticket)
    await market.is_consistent()


async def test_a_temporal_that_is_lost_after_it_was_there_is_told_and_found_again(
    market: Marketplace, seller: Person, buyer: Person, temporal_line: Line
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    ticket = await seller.list_ticket()
    before = await market.written()
    await temporal_line.cut()

    answers = await asyncio.gather(buyer.ask_for(ticket), buyer.pay(order), buyer.cancel(order))
    for answer in answers:
        _assert_unavailable(answer, "temporal_unavailable")
    assert await market.written() == before

    await temporal_line.mend()

    async def is_back() -> bool:
        return (await buyer.ask_for(ticket)).status_code in {200, 201}

    await eventually(is_back)
    await buyer.buy(order)
    await market.is_consistent()


async def test_without_a_worker_a_reservation_is_refused_in_time_and_never_made(
    idle_market: Marketplace,
    seller: Person,
    buyer: Person,
    other_buyer: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticket = await seller.list_ticket()
    otherwise = orders.WORKER_ANSWER_TIMEOUT.total_seconds()
    with monkeypatch.context() as impatient:
        be_impatient(impatient)
        asked_at = time.monotonic()
        answer = await buyer.ask_for(ticket)
        assert time.monotonic() - asked_at < otherwise
        _assert_unavailable(answer, "temporal_unavailable")
        assert (await idle_market.written())["orders"] == []
        async with idle_market.working():
            await eventually(lambda: _are_all_workflows_closed(idle_market))

    async with idle_market.working():
        assert (await seller.ticket(ticket))["status"] == "available"
        assert (await buyer.orders(status="created"))["items"] == []
        await other_buyer.reserve(ticket)
        await idle_market.is_consistent()


async def test_without_a_worker_a_cancellation_is_not_promised(
    idle_market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
    be_impatient(monkeypatch)
    _assert_unavailable(await buyer.cancel(order), "temporal_unavailable")
    assert (await buyer.order(order))["status"] == "created"


async def test_a_payment_submitted_without_a_worker_waits_for_one(
    idle_market: Marketplace, seller: Person, buyer: Person
) -> None:
    idle_market.set_rules(payment_wait=timedelta(seconds=0.2))
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
    answer = await buyer.pay(order)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "created"

    async with idle_market.working():
        completed = await buyer.sees(order, "completed")
        assert [charge["id"] for charge in completed["charges"]] == [answer.json()["id"]]
        await idle_market.is_consistent()


async def test_a_reservation_that_a_lost_worker_may_have_made_is_undone_or_goes_on(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(monkeypatch)
    upsert, crashes = workflow.upsert_search_attributes, iter([True])

    def crash_once(attributes: Sequence[SearchAttributeUpdate[Any]]) -> None:
        # The ticket is reserved by now; the task is lost, as with a worker that is killed,
        # and done anew after nobody waits for it any more.
        if next(crashes, False):
            time.sleep(NO_LONGER.total_seconds() + 0.2)
            raise RuntimeError("the worker is killed")
        upsert(attributes)

    monkeypatch.setattr(workflow, "upsert_search_attributes", crash_once)
    ticket = await seller.list_ticket()
    _assert_unavailable(await buyer.ask_for(ticket), "temporal_unavailable")
    (order,) = (await market.written())["orders"]
    await eventually(lambda: _has_gone_on(market, {"id": str(order["_id"])}))
    await market.is_consistent()


@pytest.mark.parametrize(
    ("fault", "path"),
    [
        ("lost_answer", AUTHORIZE),
        ("lost_answer", CAPTURE),
        ("lost_request", AUTHORIZE),
        ("error", CAPTURE),
        ("error_stored", CAPTURE),
    ],
)
async def test_a_payment_that_stripe_did_not_answer_completes_and_is_charged_once(
    market: Marketplace, seller: Person, buyer: Person, fault: str, path: str
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    market.sandbox.set_fault(fault, method="POST", path=path)
    charge = await buyer.buy(order)
    assert market.captured() == [order["ticket"]["price"]]
    assert [intent["id"] for intent in market.sandbox.payment_intents()] == [charge["stripeId"]]
    await market.is_consistent()


async def test_a_capture_whose_answer_stays_lost_is_read_and_not_made_again(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    market.sandbox.set_fault("lost_answer", method="POST", path=CAPTURE, times=None)

    await buyer.buy(order)

    assert market.sandbox.count("POST", CAPTURE) == 1
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_a_payment_whose_answer_stays_lost_is_pending_and_never_failed(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    market.set_rules(payment_wait=timedelta(seconds=0.2), reservation_ttl=timedelta(seconds=3))
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    market.sandbox.set_fault("lost_answer", method="POST", path=AUTHORIZE, times=None)
    answer = await buyer.pay(order)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "created"

    await eventually(lambda: market.sandbox.count("POST", AUTHORIZE) >= 2)
    assert (await buyer.order(order))["status"] == "awaiting_payment"
    assert_problem(await other_buyer.ask_for(ticket), 409, "ticket_reserved")
    market.sandbox.clear_faults()
    await buyer.sees(order, "completed")
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_without_mongodb_every_request_is_told_so_and_nothing_is_half_made(
    idle_market: Marketplace, mongodb_url: str, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
    before = await idle_market.written()
    async with line_to(mongodb_url.partition("//")[2].partition("/")[0]) as line:
        url = SecretStr(f"mongodb://{line.address}/?directConnection=true")
        near = idle_market.settings.mongodb.model_copy(update={"url": url})
        app = await idle_market.open_api(
            idle_market.settings.model_copy(update={"mongodb": near}), bind=False
        )
        person = buyer.at(idle_market.visit(app))
        assert await person.order(order) == order
        await line.cut()
        answers = await asyncio.gather(
            person.ask_for(ticket),
            person.pay(order),
            person.cancel(order),
            person.http.get("/api/orders"),
            person.http.get(f"/api/orders/{order['id']}"),
        )
        for answer in answers:
            _assert_unavailable(answer, "mongodb_unavailable")
    await idle_market.bind_documents()
    assert await idle_market.written() == before
    assert await idle_market.times_signalled(order, "payment_submitted") == 0


def _assert_unavailable(answer: Response, code: str) -> Json:
    problem: Json = assert_problem(answer, 503, code)
    assert int(answer.headers["Retry-After"]) > 0
    return problem


async def _has_gone_on(market: Marketplace, order: Json) -> bool:
    """Whether a worker has finished a task of the order's workflow, and what that has begun."""
    seen = Counter(event.event_type for event in (await market.history(order)).events)
    begun = seen[EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    finished = seen[EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED]
    return bool(seen[EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]) and begun == finished


async def _are_all_workflows_closed(market: Marketplace) -> bool:
    queue = f'TaskQueue = "{market.settings.task_queue}"'
    running = f'{queue} AND ExecutionStatus = "Running"'
    started = await market.temporal.count_workflows(queue)
    open_still = await market.temporal.count_workflows(running)
    return bool(started.count) and not open_still.count
