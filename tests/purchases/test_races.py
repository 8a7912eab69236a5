"""Two want the same at the same instant, through different instances of the API.

After each race comes its control: the same race with the guard off, lost on purpose.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from datetime import datetime, timedelta
from typing import Any

import pytest
from httpx import Response

from activities import reservations
from activities.reservations import Reservation
from api.orders.service import OrderService
from api.payments import service as payments
from api.payments.service import PaymentService
from api.temporal.orders import Offer, OrderWorkflowClient
from tests.api.conftest import assert_problem
from tests.purchases import careless
from tests.purchases.contract import Json
from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually, until
from ticketing.models import Order
from ticketing.mongodb import in_transaction
from ticketing.statuses import CancelReason
from workflows.orders import OrderInput

CROWD = 50
FEW = 5
ROUNDS = 12


@pytest.fixture(autouse=True)
def one_buyer_takes_part_in_every_round(market: Marketplace) -> None:
    market.set_rules(max_reservations=ROUNDS)


@pytest.fixture
async def other_door(market: Marketplace, buyer: Person) -> Person:
    """The buyer, at another instance of the API."""
    app = await market.open_api()
    return buyer.at(market.visit(app))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many workflows were started for each ticket."""
    counted = Counter[str]()
    reserve = OrderWorkflowClient.reserve

    async def count_and_reserve(
        client: OrderWorkflowClient, order: OrderInput, offer: Offer
    ) -> Reservation:
        counted[order.ticket_id] += 1
        return await reserve(client, order, offer)

    monkeypatch.setattr(OrderWorkflowClient, "reserve", count_and_reserve)
    return counted


@pytest.fixture
def no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    careless.let_everybody_ahead(monkeypatch)


@pytest.fixture
async def no_unique_index(market: Marketplace) -> AsyncIterator[None]:
    """The database itself does not mind a ticket being sold twice."""
    orders = Order.get_pymongo_collection()
    await orders.drop_index("one_holding_order_per_ticket")
    yield
    await orders.delete_many({})
    await market.bind_documents()


async def test_of_fifty_buyers_at_the_same_instant_exactly_one_gets_the_ticket(
    market: Marketplace, seller: Person
) -> None:
    ticket = await seller.list_ticket()
    crowd = market.crowd(CROWD, market.app, await market.open_api())
    answers = await asyncio.gather(*(person.ask_for(ticket) for person in crowd))

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: CROWD - 1}
    for answer in answers:
        if answer.status_code == 409:
            assert_problem(answer, 409, "ticket_reserved")
    (granted,) = (answer.json() for answer in answers if answer.status_code == 201)
    (stored,) = (await market.written())["orders"]
    assert str(stored["_id"]) == granted["id"]
    assert (await seller.ticket(ticket))["orderId"] == granted["id"]
    await eventually(lambda: _is_one_workflow_running(market, ticket))
    await market.is_consistent()


async def test_a_rush_starts_one_workflow_for_a_ticket_in_each_process(
    market: Marketplace, seller: Person, started: Counter[str]
) -> None:
    tickets = [await seller.list_ticket(), await seller.list_ticket()]
    crowd = market.crowd(CROWD, market.app, await market.open_api())
    asking = [person.ask_for(tickets[number % 2]) for number, person in enumerate(crowd)]
    *answers, own = await asyncio.gather(*asking, seller.ask_for(tickets[0]))

    assert_problem(own, 403, "own_ticket")
    assert Counter(answer.status_code for answer in answers) == {201: 2, 409: CROWD - 2}
    assert {started[ticket["id"]] for ticket in tickets} <= {1, 2}
    await market.is_consistent()


@pytest.mark.usefixtures("no_turns")
async def test_control_without_turns_a_rush_starts_many_workflows(
    market: Marketplace, seller: Person, started: Counter[str]
) -> None:
    ticket = await seller.list_ticket()
    answers = await asyncio.gather(*(person.ask_for(ticket) for person in market.crowd(CROWD)))

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: CROWD - 1}
    assert started[ticket["id"]] > 2


async def test_whoever_comes_behind_a_refused_buyer_gets_the_ticket(
    market: Marketplace, seller: Person
) -> None:
    market.set_rules(max_reservations=1)
    (eager,) = market.crowd(1)
    await eager.reserve(await seller.list_ticket())
    told = set[str]()
    for _ in range(ROUNDS):
        ticket = await seller.list_ticket()
        first, *others = await asyncio.gather(
            *(person.ask_for(ticket) for person in (eager, *market.crowd(2)))
        )
        assert sorted(answer.status_code for answer in others) == [201, 409]
        told.add(first.json()["code"])
        if "too_many_reservations" in told:  # nobody was ahead of the eager one
            break
    assert told <= {"too_many_reservations", "ticket_reserved"}
    assert "too_many_reservations" in told


async def test_who_waits_behind_somebody_while_no_worker_runs_is_told_no_later(
    market: Marketplace, seller: Person
) -> None:
    ticket = await seller.list_ticket()
    await market.lose_temporal()
    answers = await asyncio.gather(*(person.ask_for(ticket) for person in market.crowd(FEW)))
    for answer in answers:
        assert_problem(answer, 503, "temporal_unavailable")

    market.find_temporal()
    assert (await market.crowd(1)[0].ask_for(ticket)).status_code == 201


async def test_of_many_buyers_who_pay_at_once_only_one_pays(
    market: Marketplace, seller: Person
) -> None:
    ticket = await seller.list_ticket(price=3100)
    crowd = market.crowd(FEW, market.app, await market.open_api())

    async def buy(person: Person) -> int:
        answer = await person.ask_for(ticket)
        return (await person.pay(answer.json())).status_code if answer.is_success else 0

    assert Counter(await asyncio.gather(*map(buy, crowd))) == {201: 1, 0: FEW - 1}
    assert market.captured() == [3100]
    await market.is_consistent()


@pytest.mark.usefixtures("no_unique_index", "no_turns")
async def test_control_without_the_guards_one_ticket_is_sold_to_everybody(
    market: Marketplace, seller: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_have_looked = asyncio.Barrier(FEW)
    monkeypatch.setattr(reservations, "lock_ticket", careless.reserve(all_have_looked.wait))
    ticket = await seller.list_ticket()
    crowd = market.crowd(FEW)
    answers = await asyncio.gather(*(person.ask_for(ticket) for person in crowd))
    assert [answer.status_code for answer in answers] == [201] * FEW
    assert len((await market.written())["orders"]) == FEW


@pytest.mark.usefixtures("no_turns")
async def test_the_unique_index_alone_keeps_a_ticket_from_being_ordered_twice(
    market: Marketplace, seller: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_have_looked = asyncio.Barrier(FEW)
    monkeypatch.setattr(reservations, "lock_ticket", careless.reserve(all_have_looked.wait))
    ticket = await seller.list_ticket()
    answers = await asyncio.gather(*(person.ask_for(ticket) for person in market.crowd(FEW)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: FEW - 1}
    assert len((await market.written())["orders"]) == 1


async def test_the_price_that_is_charged_is_the_tickets_price_whoever_came_first(
    market: Marketplace, seller: Person, buyer: Person, other_door: Person
) -> None:
    async def race(round: int) -> str:
        ticket = await seller.list_ticket(price=1000)
        asked, edited = await _at_once(
            round, other_door.ask_for(ticket), seller.edit(ticket, price=9000)
        )
        assert asked.status_code == 201, asked.text
        order = asked.json()
        charge = await buyer.buy(order)
        sold = await seller.ticket(ticket)
        assert charge["amount"] == order["ticket"]["price"] == sold["price"]
        assert order["ticket"]["title"] == sold["title"]
        assert market.intent_of(charge)["amount_received"] == sold["price"]
        if edited.status_code != 200:
            assert_problem(edited, 409, "ticket_reserved")
        return f"{edited.status_code} at {sold['price']}"

    outcomes = await asyncio.gather(*map(race, range(ROUNDS)))
    assert set(outcomes) <= {"200 at 9000", "409 at 1000"}
    await market.is_consistent()


async def test_control_without_the_guard_an_edit_changes_the_price_of_the_order(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await seller.list_ticket(price=1000)

    async def edit() -> None:
        assert (await seller.edit(ticket, price=9000)).status_code == 200

    monkeypatch.setattr(reservations, "lock_ticket", careless.reserve(edit))
    order = await buyer.reserve(ticket)
    charge = await buyer.buy(order)
    assert charge["amount"] == 1000
    assert (await seller.ticket(ticket))["price"] == 9000


async def test_a_ticket_is_either_withdrawn_or_reserved(
    market: Marketplace, seller: Person, other_door: Person
) -> None:
    async def race(round: int) -> None:
        ticket = await seller.list_ticket()
        asked, withdrawn = await _at_once(
            round, other_door.ask_for(ticket), seller.withdraw(ticket)
        )
        if asked.status_code == 201:
            assert_problem(withdrawn, 409, "ticket_reserved")
            assert (await seller.ticket(ticket))["orderId"] == asked.json()["id"]
        else:
            assert_problem(asked, 404, "ticket_not_found")
            assert withdrawn.status_code == 204

    await asyncio.gather(*map(race, range(ROUNDS)))
    await market.is_consistent()


async def test_control_without_the_guard_an_order_holds_a_ticket_that_is_gone(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await seller.list_ticket()

    async def withdraw() -> None:
        assert (await seller.withdraw(ticket)).status_code == 204

    monkeypatch.setattr(reservations, "lock_ticket", careless.reserve(withdraw))
    await buyer.reserve(ticket)
    assert (await market.written())["tickets"] == []


async def test_an_order_is_either_paid_or_cancelled(
    market: Marketplace, seller: Person, buyer: Person, other_door: Person
) -> None:
    async def race(round: int) -> None:
        order = await buyer.reserve(await seller.list_ticket())
        paid, cancelled = await _at_once(round, buyer.pay(order), other_door.cancel(order))
        if paid.status_code == 201:
            assert cancelled.status_code == 409, cancelled.text
            assert cancelled.json()["code"] in {"payment_in_progress", "order_completed"}
        else:
            assert_problem(paid, 409, "order_cancelled")
            assert cancelled.status_code == 200, cancelled.text
            assert cancelled.json()["cancelReason"] == "cancelled_by_buyer"

    await asyncio.gather(*map(race, range(ROUNDS)))
    await market.is_consistent()


async def test_a_payment_while_its_buyer_releases_the_ticket_is_refused(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    payment = _pay_while_the_ticket_is_being_released(market, buyer, order, monkeypatch)
    cancelled = await buyer.cancel(order)
    assert cancelled.status_code == 200, cancelled.text
    assert_problem(await payment, 409, "order_cancelled")
    assert market.captured() == []
    await market.is_consistent()


async def test_a_payment_while_the_deadline_releases_the_ticket_is_refused(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.set_rules(reservation_ttl=timedelta(seconds=3))
    monkeypatch.setattr(payments, "require_payable", lambda order: None)
    order = await buyer.reserve(await seller.list_ticket())
    payment = _pay_while_the_ticket_is_being_released(market, buyer, order, monkeypatch)
    await buyer.sees(order, "cancelled", "expired")
    assert_problem(await payment, 409, "order_expired")
    assert market.captured() == []
    await market.is_consistent()


async def test_control_a_cancellation_past_the_workflow_keeps_the_buyers_money(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await buyer.reserve(await seller.list_ticket(price=2600))
    monkeypatch.setattr(OrderService, "cancel", careless.cancel(lambda: buyer.buy(order)))
    assert (await buyer.cancel(order)).status_code == 200
    assert (await buyer.order(order))["status"] == "cancelled"
    assert market.captured() == [2600]
    with pytest.raises(AssertionError):
        await market.is_consistent()


async def test_two_payments_for_one_order_are_one_capture(
    market: Marketplace, seller: Person, buyer: Person, other_door: Person
) -> None:
    async def race(round: int) -> None:
        order = await buyer.reserve(await seller.list_ticket())
        answers = await _at_once(
            round, buyer.pay(order), other_door.pay(order, "pm_card_mastercard")
        )
        first, second = sorted(answers, key=lambda answer: answer.status_code)
        assert (first.status_code, second.status_code) == (201, 409), second.text
        assert second.json()["code"] in {"payment_in_progress", "order_completed"}
        assert (await buyer.order(order))["charges"] == [first.json()]

    await asyncio.gather(*map(race, range(ROUNDS)))
    assert market.captured() == [5000] * ROUNDS
    assert len(market.sandbox.payment_intents()) == ROUNDS
    await market.is_consistent()


async def test_the_workflow_alone_refuses_a_second_payment(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payments, "require_payable", lambda order: None)
    order = await buyer.reserve(await seller.list_ticket())
    answers = await asyncio.gather(*(buyer.pay(order) for _ in range(FEW)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: FEW - 1}
    assert_problem(await buyer.pay(order), 409, "order_completed")
    assert market.captured() == [5000]
    assert len(market.sandbox.payment_intents()) == 1
    await market.is_consistent()


async def test_control_payments_that_do_not_ask_the_workflow_are_captured_twice(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_looked = asyncio.Barrier(2)
    monkeypatch.setattr(
        PaymentService, "submit", careless.submit(both_have_looked.wait, market.gateway)
    )
    order = await buyer.reserve(await seller.list_ticket())
    answers = await asyncio.gather(buyer.pay(order), buyer.pay(order))
    assert [answer.status_code for answer in answers] == [201, 201]
    assert market.captured() == [5000, 5000]


async def test_a_payment_at_the_deadline_either_completes_the_order_or_finds_it_expired(
    market: Marketplace, seller: Person, buyer: Person, other_door: Person
) -> None:
    market.set_rules(reservation_ttl=timedelta(seconds=1.5))

    async def race(round: int) -> str:
        order = await buyer.reserve(await seller.list_ticket())
        early = timedelta(milliseconds=10 * (ROUNDS - round))
        await until(datetime.fromisoformat(order["expiresAt"]) - early)
        answer = await (buyer if round % 2 else other_door).pay(order)
        if answer.status_code == 201:
            return str((await buyer.order(order))["status"])
        assert_problem(answer, 409, "order_expired")
        return str((await buyer.sees(order, "cancelled", "expired"))["status"])

    outcomes = Counter(await asyncio.gather(*map(race, range(ROUNDS))))
    assert outcomes.keys() <= {"completed", "cancelled"}
    assert market.captured() == [5000] * outcomes["completed"]
    await market.is_consistent()


async def test_control_a_deadline_that_does_not_wait_for_stripe_sells_the_ticket_twice(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    market.sandbox.set_fault("held", path="/v1/payment_intents/*/capture")
    late = asyncio.create_task(buyer.pay(order))
    await eventually(lambda: market.sandbox.count("POST", "/v1/payment_intents/*/capture"))
    found = await Order.get(order["id"])
    assert found is not None
    await careless.release(found, CancelReason.EXPIRED)
    await other_buyer.buy(await other_buyer.reserve(ticket))
    market.sandbox.clear_faults()
    await eventually(lambda: market.captured() == [5000, 5000])
    # What cannot be put right is repeated until somebody has looked.
    await market.terminate(order)
    await late


def _pay_while_the_ticket_is_being_released(
    market: Marketplace, buyer: Person, order: Json, monkeypatch: pytest.MonkeyPatch
) -> asyncio.Future[Response]:
    """The answer to a payment that reaches the workflow in the middle of `cancel_order`."""
    answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    payments_made: list[asyncio.Task[None]] = []
    signalled = asyncio.Event()
    submit = OrderWorkflowClient.submit_payment

    async def submit_and_note(client: OrderWorkflowClient, *payment: Any) -> None:
        await submit(client, *payment)
        signalled.set()

    async def pay() -> None:
        answer.set_result(await buyer.pay(order))

    async def run_step_with_payment(mongo: Any, step: Any) -> Any:
        if step.__name__ == "cancel" and not payments_made:
            payments_made.append(asyncio.create_task(pay()))
            await signalled.wait()
        return await in_transaction(mongo, step)

    monkeypatch.setattr("activities.orders.in_transaction", run_step_with_payment)
    monkeypatch.setattr(OrderWorkflowClient, "submit_payment", submit_and_note)
    return answer


async def _at_once(
    round: int, first: Coroutine[Any, Any, Response], second: Coroutine[Any, Any, Response]
) -> tuple[Response, Response]:
    """The answers of both requests; from round to round the second one starts a bit earlier."""
    if round % 2:
        earlier = asyncio.create_task(second)
        for _ in range(round):
            await asyncio.sleep(0)
        return await first, await earlier
    return await asyncio.gather(first, second)


async def _is_one_workflow_running(market: Marketplace, ticket: Json) -> bool:
    running = f'TicketId = "{ticket["id"]}" AND ExecutionStatus = "Running"'
    return (await market.temporal.count_workflows(running)).count == 1
