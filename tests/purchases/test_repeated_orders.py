"""Orders asked for more than once under one Idempotency-Key."""

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from beanie import PydanticObjectId
from httpx import Response
from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

from activities.reservations import ReservationActivities, ReserveTicket
from api.temporal import orders
from api.temporal.orders import OrderWorkflowClient, ReservationProgress
from tests.api.conftest import assert_problem
from tests.purchases.contract import Json, assert_order
from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually
from ticketing.clock import utc_now
from ticketing.models import Order
from workflows import orders as order_workflow

CROWD = 20
PATIENCE = timedelta(seconds=0.3)
"""How late a worker may come here to make a reservation, instead of eight seconds."""


@pytest.fixture
def key() -> str:
    return f'"{uuid4()}"'


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits as long as they would in production."""
    monkeypatch.setattr(orders, "WORKER_ANSWER_TIMEOUT", timedelta(seconds=0.4))
    monkeypatch.setattr(order_workflow, "RESERVE_TIMEOUT", PATIENCE)


async def test_the_same_key_gets_the_first_answer_again_and_makes_one_order(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    ticket = await seller.list_ticket()
    first = await buyer.ask_for(ticket, key=key)
    before = await market.written()
    again = await buyer.ask_for(ticket, key=key)

    assert first.status_code == 201, first.text
    assert (again.status_code, again.json()) == (201, assert_order(first.json()))
    assert again.headers["Location"] == first.headers["Location"]
    assert await market.written() == before
    await market.is_consistent()


async def test_without_a_key_the_second_request_is_one_of_its_own(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    assert (await buyer.ask_for(ticket)).status_code == 200
    await buyer.cancel(order)
    assert (await buyer.reserve(ticket))["id"] != order["id"]


@pytest.mark.parametrize("end", ["cancelled", "completed", "expired"])
async def test_whatever_became_of_the_order_its_key_gets_the_first_answer_again(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person, key: str, end: str
) -> None:
    if end == "expired":
        market.set_rules(reservation_ttl=timedelta(seconds=1))
    ticket = await seller.list_ticket()
    first = await buyer.ask_for(ticket, key=key)
    match end:
        case "cancelled":
            assert (await buyer.cancel(first.json())).status_code == 200
            await other_buyer.reserve(ticket)
        case "completed":
            await buyer.buy(first.json())
        case "expired":
            await buyer.sees(first.json(), "cancelled", "expired")
            assert (await seller.withdraw(ticket)).status_code == 204

    before = await market.written()
    await market.lose_temporal()
    again = await buyer.ask_for(ticket, key=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert await market.written() == before


async def test_twenty_requests_at_once_under_one_key_make_one_order(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    elsewhere = buyer.at(market.visit(await market.open_api()))
    ticket = await seller.list_ticket()
    doors = [buyer, elsewhere] * (CROWD // 2)
    answers = await asyncio.gather(*(door.ask_for(ticket, key=key) for door in doors))

    granted = [answer.json() for answer in answers if answer.status_code == 201]
    assert granted
    for answer in answers:
        if answer.status_code == 201:
            assert answer.json() == granted[0]
        else:
            assert_problem(answer, 409, "request_in_progress")
            assert int(answer.headers["Retry-After"]) > 0
    assert [str(order["_id"]) for order in (await market.written())["orders"]] == [granted[0]["id"]]
    again = await elsewhere.ask_for(ticket, key=key)
    assert (again.status_code, again.json()) == (201, granted[0])
    await market.is_consistent()


async def test_control_without_a_key_no_answer_tells_which_request_was_first(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    answers = await asyncio.gather(*(buyer.ask_for(ticket) for _ in range(CROWD)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: CROWD - 1}


async def test_the_same_key_with_another_ticket_is_refused_and_reserves_nothing(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    order = (await buyer.ask_for(await seller.list_ticket(), key=key)).json()
    other = await seller.list_ticket()
    before = await market.written()
    assert_problem(await buyer.ask_for(other, key=key), 422, "idempotency_key_reused")
    await buyer.buy(order)
    assert_problem(await buyer.ask_for(other, key=key), 422, "idempotency_key_reused")
    assert_problem(await buyer.ask_for({"id": "0" * 24}, key=key), 422, "idempotency_key_reused")
    assert (await market.written())["tickets"][1] == before["tickets"][1]
    assert len((await market.written())["orders"]) == 1


async def test_two_tickets_at_once_under_one_key_make_one_order(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    tickets = [await seller.list_ticket() for _ in range(2)]
    answers = await asyncio.gather(*(buyer.ask_for(ticket, key=key) for ticket in tickets))
    first, second = sorted(answers, key=lambda answer: answer.status_code)
    assert first.status_code == 201, first.text
    assert_problem(second, 422, "idempotency_key_reused")
    assert len((await market.written())["orders"]) == 1
    await market.is_consistent()


async def test_the_keys_of_two_people_do_not_meet(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person, key: str
) -> None:
    first = await buyer.ask_for(await seller.list_ticket(), key=key)
    second = await other_buyer.ask_for(await seller.list_ticket(), key=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


async def test_a_request_whose_api_dies_before_the_answer_is_answered_when_it_is_repeated(
    idle_market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    elsewhere = buyer.at(idle_market.visit(await idle_market.open_api()))
    ticket = await seller.list_ticket()
    asked = asyncio.create_task(buyer.ask_for(ticket, key=key))
    order_id = await _started_order(idle_market)
    asked.cancel()
    assert_problem(await elsewhere.ask_for(ticket, key=key), 409, "request_in_progress")

    async with idle_market.working():
        made = await _eventually_granted(elsewhere, ticket, key)
        assert made["id"] == order_id
        assert len((await idle_market.written())["orders"]) == 1
        await idle_market.is_consistent()


@pytest.fixture
def dies(impatience: None, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set it, and the worker dies that has reserved the first ticket, before Temporal knows it."""
    upsert, dies, crashes = workflow.upsert_search_attributes, threading.Event(), iter([True])

    def crash_once(attributes: Sequence[SearchAttributeUpdate[Any]]) -> None:
        if next(crashes, False):
            dies.wait(1.5)
            raise RuntimeError("the worker is killed")
        upsert(attributes)

    monkeypatch.setattr(workflow, "upsert_search_attributes", crash_once)
    return dies


async def test_a_reservation_that_a_dying_worker_has_not_recorded_is_not_promised(
    market: Marketplace, seller: Person, buyer: Person, key: str, dies: threading.Event
) -> None:
    ticket = await seller.list_ticket()
    first = asyncio.create_task(buyer.ask_for(ticket, key=key))
    await eventually(Order.find().count)
    (undone,) = (await market.written())["orders"]
    assert_problem(await buyer.ask_for(ticket, key=key), 409, "request_in_progress")
    assert_problem(await first, 503, "temporal_unavailable")
    dies.set()

    made = await _eventually_granted(buyer, ticket, key)
    assert made["id"] != str(undone["_id"])
    assert (await buyer.order({"id": str(undone["_id"])}))["status"] == "cancelled"
    await market.is_consistent()


async def test_a_reservation_that_is_not_recorded_is_not_promised_without_a_key_either(
    market: Marketplace, seller: Person, buyer: Person, dies: threading.Event
) -> None:
    ticket = await seller.list_ticket()
    first = asyncio.create_task(buyer.ask_for(ticket))
    await eventually(Order.find().count)
    assert_problem(await buyer.ask_for(ticket), 503, "temporal_unavailable")
    dies.set()
    assert_problem(await first, 503, "temporal_unavailable")
    await eventually(lambda: _is_undone(buyer))
    await market.is_consistent()


async def test_a_reservation_that_is_terminated_before_it_is_made_is_unavailable(
    idle_market: Marketplace, seller: Person, buyer: Person
) -> None:
    asked = asyncio.create_task(buyer.ask_for(await seller.list_ticket()))
    await idle_market.terminate({"id": await _started_order(idle_market)})

    assert_problem(await asked, 503, "temporal_unavailable")


async def test_a_reservation_that_ends_while_its_other_half_waits_for_it_is_unavailable(
    idle_market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await seller.list_ticket()
    first = asyncio.create_task(buyer.ask_for(ticket))
    order_id = await _started_order(idle_market)
    await _reserve_unrecorded(idle_market, order_id, ticket, buyer)
    progress, seen = OrderWorkflowClient.reservation_progress, asyncio.Event()

    async def look(client: OrderWorkflowClient, order_id: PydanticObjectId) -> ReservationProgress:
        found = await progress(client, order_id)
        seen.set()
        return found

    monkeypatch.setattr(OrderWorkflowClient, "reservation_progress", look)
    elsewhere = buyer.at(idle_market.visit(await idle_market.open_api()))
    second = asyncio.create_task(elsewhere.ask_for(ticket))
    await seen.wait()
    await idle_market.terminate({"id": order_id})

    for asked in (first, second):
        assert_problem(await asked, 503, "temporal_unavailable")


async def test_control_without_asking_temporal_a_reservation_is_promised_and_undone(
    market: Marketplace,
    seller: Person,
    buyer: Person,
    dies: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never_reserving(_: object, order_id: PydanticObjectId) -> ReservationProgress:
        return ReservationProgress(str(order_id), is_reserving=False)

    monkeypatch.setattr(OrderWorkflowClient, "reservation_progress", never_reserving)
    elsewhere = buyer.at(market.visit(await market.open_api()))
    ticket = await seller.list_ticket()
    first = asyncio.create_task(buyer.ask_for(ticket))
    await eventually(Order.find().count)
    assert (await elsewhere.ask_for(ticket)).status_code == 200
    await first
    dies.set()
    await eventually(lambda: _is_undone(buyer))


@pytest.mark.usefixtures("impatience")
async def test_a_request_that_was_abandoned_is_carried_out_when_it_is_repeated(
    idle_market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    ticket, other = await seller.list_ticket(), await seller.list_ticket()
    assert_problem(await buyer.ask_for(ticket, key=key), 503, "temporal_unavailable")
    assert_problem(await buyer.ask_for(ticket, key=key), 409, "request_in_progress")
    assert_problem(await buyer.ask_for(other, key=key), 422, "idempotency_key_reused")

    async with idle_market.working():
        made = await _eventually_granted(buyer, ticket, key)
        again = await buyer.ask_for(ticket, key=key)
        assert (again.status_code, again.json()) == (201, made)
        assert_problem(await buyer.ask_for(other, key=key), 422, "idempotency_key_reused")
        (abandoned,) = (await buyer.orders(status="cancelled"))["items"]
        assert (await buyer.orders(status="created"))["items"] == [made]
        assert (abandoned["cancelReason"], abandoned["ticketId"]) == ("expired", ticket["id"])
        await idle_market.is_consistent()


async def test_a_request_whose_workflow_was_terminated_is_carried_out_when_it_is_repeated(
    idle_market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    ticket = await seller.list_ticket()
    asked = asyncio.create_task(buyer.ask_for(ticket, key=key))
    order_id = await _started_order(idle_market)
    asked.cancel()
    await idle_market.terminate({"id": order_id})
    async with idle_market.working():
        made = await buyer.ask_for(ticket, key=key)
        assert made.status_code == 201, made.text
        assert (await buyer.ask_for(ticket, key=key)).json() == made.json()
        await idle_market.is_consistent()


async def test_a_refusal_of_the_workflows_is_repeated_though_the_ticket_is_free_again(
    idle_market: Marketplace, seller: Person, buyer: Person, other_buyer: Person, key: str
) -> None:
    ticket = await seller.list_ticket()
    # Both have looked before either is served, at two processes, so both start a workflow.
    elsewhere = other_buyer.at(idle_market.visit(await idle_market.open_api()))
    people = [buyer, elsewhere]
    asked = [asyncio.create_task(person.ask_for(ticket, key=key)) for person in people]
    await eventually(lambda: _are_started(idle_market, len(people)))
    async with idle_market.working():
        answers = [await answer for answer in asked]
        winner, loser = people if answers[0].status_code == 201 else people[::-1]
        order = next(answer.json() for answer in answers if answer.status_code == 201)
        assert_problem(max(answers, key=lambda a: a.status_code), 409, "ticket_reserved")

        await winner.cancel(order)
        assert_problem(await loser.ask_for(ticket, key=key), 409, "ticket_reserved")
        other = await seller.list_ticket()
        assert_problem(await loser.ask_for(other, key=key), 422, "idempotency_key_reused")
        await loser.reserve(ticket)
        await idle_market.is_consistent()


async def test_a_refusal_without_a_workflow_leaves_no_trace(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person, key: str
) -> None:
    ticket = await seller.list_ticket()
    order = await other_buyer.reserve(ticket)
    assert_problem(await buyer.ask_for(ticket, key=key), 409, "ticket_reserved")
    await other_buyer.cancel(order)
    assert (await buyer.ask_for(ticket, key=key)).status_code == 201


async def test_somebody_who_holds_the_ticket_without_the_key_gets_that_order(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    for _ in range(2):
        answer = await buyer.ask_for(ticket, key=key)
        assert (answer.status_code, answer.json()) == (200, order)


async def _eventually_granted(buyer: Person, ticket: Json, key: str) -> Json:
    """The order, once the request is no longer in progress."""

    async def granted() -> Response | None:
        answer = await buyer.ask_for(ticket, key=key)
        if answer.status_code == 201:
            return answer
        assert_problem(answer, 409, "request_in_progress")
        return None

    answer = await eventually(granted)
    assert answer is not None
    return assert_order(answer.json())


async def _reserve_unrecorded(
    market: Marketplace, order_id: str, ticket: Json, buyer: Person
) -> None:
    """What a worker leaves that dies between its step in MongoDB and the end of its task."""
    now = utc_now()
    await ReservationActivities(market.mongo).reserve_ticket(
        ReserveTicket(
            order_id=order_id,
            ticket_id=ticket["id"],
            buyer_id=await buyer.id(),
            reserved_at=now,
            expires_at=now + timedelta(minutes=15),
            max_reservations=8,
        )
    )


async def _is_undone(buyer: Person) -> bool:
    return [order["status"] for order in (await buyer.orders())["items"]] == ["cancelled"]


async def _started(market: Marketplace) -> list[str]:
    """The ids of the orders whose workflows were started, though no worker may have seen them."""
    query = f'TaskQueue = "{market.settings.task_queue}"'
    started = [workflow.id async for workflow in market.temporal.list_workflows(query)]
    return [workflow_id.removeprefix("order:") for workflow_id in started]


async def _are_started(market: Marketplace, number: int) -> bool:
    return len(await _started(market)) == number


async def _started_order(market: Marketplace) -> str:
    (order_id,) = await eventually(partial(_started, market))
    return order_id
