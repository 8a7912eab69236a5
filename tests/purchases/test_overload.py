"""More buyers than Temporal can serve: refused at once, told when to return, nothing half-made."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from httpx import AsyncClient

from api.resources import resources_of
from api.temporal import admission as admissions
from api.temporal import orders
from api.temporal.admission import Admission, Operation, Permit
from api.temporal.concurrency_limit import MIN_LIMIT, ConcurrencyLimit
from tests.api.conftest import assert_problem
from tests.api.event_stream import serving
from tests.purchases.marketplace import Marketplace, Person
from tests.resources import exchange
from tests.waiting import eventually


def slow_process(market: Marketplace) -> Admission:
    """From now on the API may do one thing at a time, and is taken to need a second for it."""
    admission = Admission(limit=ConcurrencyLimit(1))
    admission._average_duration = 1.0
    exchange(market.app, admission=admission)
    return admission


@pytest.fixture
def admission(idle_market: Marketplace) -> Admission:
    return slow_process(idle_market)


@pytest.fixture
async def busy(admission: Admission) -> AsyncIterator[Permit]:
    """Somebody holds the only slot."""
    async with admission.payment() as permit:
        yield permit


@asynccontextmanager
async def full_queue(admission: Admission) -> AsyncIterator[None]:
    """Somebody else waits behind who holds the slot, and in time the queue serves nobody more."""

    async def wait() -> None:
        async with admission.payment():
            raise AssertionError("it was never its turn")

    waiting = asyncio.create_task(wait())
    await eventually(lambda: not admission.has_room(Operation.RESERVATION))
    try:
        yield
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def queued(admission: Admission) -> None:
    """Wait until a reservation waits for its turn."""
    await eventually(lambda: admission._queues[Operation.RESERVATION])


@pytest.mark.usefixtures("busy")
async def test_with_the_queue_full_a_reservation_is_refused_at_once(
    market: Marketplace, seller: Person, buyer: Person, admission: Admission
) -> None:
    ticket = await seller.list_ticket()
    before = await market.written()
    async with full_queue(admission):
        answer = await buyer.ask_for(ticket)
        # Not even the session is looked at.
        assert_problem(await Person(market.visit()).ask_for(ticket), 503, "overloaded")
    problem = assert_problem(answer, 503, "overloaded")
    assert "this request reserved nothing" in problem["detail"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 2
    assert await market.written() == before


@pytest.mark.usefixtures("busy")
async def test_of_a_burst_for_many_tickets_only_some_are_looked_at_and_of_one_ticket_all(
    market: Marketplace, seller: Person, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admissions, "MAX_LOOKING", 0)
    monkeypatch.setitem(admissions.MAX_WAIT_SECONDS, Operation.RESERVATION, 60)
    ticket, another = await seller.list_ticket(), await seller.list_ticket()
    first, second = market.crowd(2)
    asking = [asyncio.create_task(first.ask_for(ticket))]
    await queued(admission)
    asking.append(asyncio.create_task(second.ask_for(ticket)))

    # Not even the session is looked at.
    assert_problem(await Person(market.visit()).ask_for(another), 503, "overloaded")
    assert not any(task.done() for task in asking)

    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert not admission._let_in


async def test_who_waited_in_vain_is_refused_and_may_return(
    market: Marketplace, seller: Person, buyer: Person, busy: Permit
) -> None:
    ticket = await seller.list_ticket()
    asked_at = time.monotonic()
    assert_problem(await buyer.ask_for(ticket, key="first-of-mine"), 503, "overloaded")
    waited = time.monotonic() - asked_at
    assert waited > admissions.MAX_WAIT_SECONDS[Operation.RESERVATION] * 0.9
    busy.release()
    assert (await buyer.ask_for(ticket, key="first-of-mine")).status_code == 201
    await market.is_consistent()


async def test_who_waits_gets_the_next_free_slot(
    market: Marketplace, seller: Person, buyer: Person, admission: Admission, busy: Permit
) -> None:
    ticket = await seller.list_ticket()
    asked = asyncio.create_task(buyer.ask_for(ticket))
    await queued(admission)
    busy.release()
    assert (await asked).status_code == 201
    await market.is_consistent()


async def test_a_payment_is_admitted_before_a_reservation_that_came_earlier(
    market: Marketplace, seller: Person, buyer: Person, admission: Admission, busy: Permit
) -> None:
    async def pay() -> str:
        async with admission.payment():
            return "admitted" if not asked.done() else "too late"

    asked = asyncio.create_task(buyer.ask_for(await seller.list_ticket()))
    await queued(admission)
    paid = asyncio.create_task(pay())
    await eventually(lambda: admission._queues[Operation.PAYMENT])
    busy.release()
    assert await paid == "admitted"
    assert (await asked).status_code == 201


async def test_what_needs_no_temporal_is_told_however_full_the_queue_is(
    market: Marketplace,
    seller: Person,
    buyer: Person,
    other_buyer: Person,
) -> None:
    taken, sold, free = [await seller.list_ticket() for _ in range(3)]
    mine = await other_buyer.reserve(taken)
    await other_buyer.buy(await other_buyer.reserve(sold))

    admission = slow_process(market)
    async with admission.payment(), full_queue(admission):
        assert_problem(await buyer.ask_for(free), 503, "overloaded")
        assert_problem(await buyer.ask_for(taken), 409, "ticket_reserved")
        assert_problem(await buyer.ask_for(sold), 409, "ticket_sold")
        assert_problem(await buyer.ask_for({"id": "0" * 24}), 404, "ticket_not_found")
        assert (await other_buyer.ask_for(taken)).json()["id"] == mine["id"]
        assert (await buyer.http.post("/api/orders", json={"ticketId": "x"})).status_code == 422
        # Nor is turned away who ends what was begun.
        assert (await other_buyer.cancel(mine)).status_code == 200


async def test_who_waits_behind_a_buyer_that_is_turned_away_hears_it_with_them(
    market: Marketplace,
    seller: Person,
    admission: Admission,
    busy: Permit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(admissions.MAX_WAIT_SECONDS, Operation.RESERVATION, 2.0)
    ticket = await seller.list_ticket()
    crowd = market.crowd(20)
    asked_at = time.monotonic()
    answers = await asyncio.gather(*(person.ask_for(ticket) for person in crowd))
    # One of them waits, and not one after the other.
    assert time.monotonic() - asked_at < 10 * admissions.MAX_WAIT_SECONDS[Operation.RESERVATION]
    for answer in answers:
        assert_problem(answer, 503, "overloaded")
    assert {answer.headers["Retry-After"] for answer in answers} > {"1"}


async def test_a_reservation_whose_client_leaves_the_queue_is_never_made(
    market: Marketplace, seller: Person, admission: Admission, busy: Permit
) -> None:
    ticket = await seller.list_ticket()
    (buyer,) = market.crowd(1)
    async with serving(market.app) as url, AsyncClient(base_url=url) as http:
        http.headers = buyer.http.headers
        asked = asyncio.create_task(Person(http).ask_for(ticket))
        await queued(admission)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await eventually(lambda: not admission._queues[Operation.RESERVATION])
        busy.release()
        assert admission._in_use == 0
        # Whoever stays is served, and nobody was before.
        assert (await Person(http).ask_for(ticket)).status_code == 201
    assert len((await market.written())["orders"]) == 1


async def test_who_joined_a_client_that_leaves_takes_its_place(
    market: Marketplace,
    seller: Person,
    other_buyer: Person,
    admission: Admission,
    busy: Permit,
) -> None:
    ticket = await seller.list_ticket()
    (buyer,) = market.crowd(1)
    async with serving(market.app) as url, AsyncClient(base_url=url) as http:
        http.headers = buyer.http.headers
        asked = asyncio.create_task(Person(http).ask_for(ticket))
        await queued(admission)
        (first,) = admission._queues[Operation.RESERVATION]
        joined = asyncio.create_task(other_buyer.ask_for(ticket))
        asked.cancel()
        await eventually(lambda: first not in admission._queues[Operation.RESERVATION])
        busy.release()
        assert (await joined).status_code == 201
        await asyncio.gather(asked, return_exceptions=True)


async def test_without_answers_the_limit_falls_and_it_recovers_with_them(
    idle_market: Marketplace, seller: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = ConcurrencyLimit(16)
    exchange(idle_market.app, admission=Admission(limit=limit))
    with monkeypatch.context() as impatient:
        impatient.setattr(orders, "WORKER_ANSWER_TIMEOUT", timedelta(seconds=0.4))
        for person in idle_market.crowd(3):
            answer = await person.ask_for(await seller.list_ticket())
            assert_problem(answer, 503, "temporal_unavailable")
    assert limit.slots == MIN_LIMIT

    async with idle_market.working():
        for round in range(20):
            tickets = [await seller.list_ticket() for _ in range(limit.slots)]
            crowd = idle_market.crowd(len(tickets))
            asking = (p.ask_for(t) for p, t in zip(crowd, tickets, strict=True))
            answers = await asyncio.gather(*asking)
            assert {answer.status_code for answer in answers} == {201}, round
            if limit.slots > MIN_LIMIT:
                break
    assert limit.slots > MIN_LIMIT
    assert resources_of(idle_market.app).admission._in_use == 0
