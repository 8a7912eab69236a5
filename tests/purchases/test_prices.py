"""Nobody is charged a price that they were not told, or told one that is not charged."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from httpx import Response

from activities.reservations import Reservation
from api.temporal.orders import Offer, OrderWorkflowClient
from tests.api.conftest import assert_problem
from tests.purchases import careless
from tests.purchases.contract import assert_order
from tests.purchases.marketplace import Marketplace, Person
from tests.purchases.older_worker import reserve_as_an_older_worker
from workflows.orders import OrderInput

ROUNDS = 8
KEY = '"the-same-request"'

BeforeTheLock = Callable[[Callable[[], Awaitable[Response]]], None]


@pytest.fixture
def before_the_lock(market: Marketplace, monkeypatch: pytest.MonkeyPatch) -> BeforeTheLock:
    """Let something happen once between the API's look at the ticket and the ticket's lock."""

    def set_up(step: Callable[[], Awaitable[Response]]) -> None:
        reserve, steps = OrderWorkflowClient.reserve, iter([step])

        async def step_and_reserve(
            client: OrderWorkflowClient, order: OrderInput, offer: Offer
        ) -> Reservation:
            for step in steps:
                assert (await step()).is_success
            return await reserve(client, order, offer)

        monkeypatch.setattr(OrderWorkflowClient, "reserve", step_and_reserve)

    return set_up


async def test_a_ticket_is_reserved_at_the_price_that_the_buyer_was_shown(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket(price=5000)
    answer = await buyer.ask_for(ticket, price=5000)
    assert answer.status_code == 201, answer.text
    assert assert_order(answer.json())["ticket"]["price"] == 5000
    assert (await buyer.buy(answer.json()))["amount"] == 5000


async def test_another_price_is_refused_with_the_one_that_it_is_now(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket(price=5000)
    assert (await seller.edit(ticket, price=99_900)).status_code == 200
    before = await market.written()

    for shown in (5000, 99_901):
        problem = assert_problem(await buyer.ask_for(ticket, price=shown), 409, "price_changed")
        assert problem["price"] == 99_900
    assert await market.written() == before

    answer = await buyer.ask_for(ticket, price=problem["price"])
    assert answer.json()["ticket"]["price"] == 99_900


async def test_a_price_that_is_plainly_another_starts_no_workflow(
    idle_market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket(price=5000)
    await idle_market.lose_temporal()
    assert_problem(await buyer.ask_for(ticket, price=5001), 409, "price_changed")


@pytest.mark.parametrize("price", [49, 100_000_000, -5000, "5000", 5000.0, True, [5000], {}])
async def test_what_no_ticket_can_cost_is_a_fault_of_the_request(
    idle_market: Marketplace, seller: Person, buyer: Person, price: object
) -> None:
    ticket = await seller.list_ticket()
    answer = await buyer.http.post("/api/orders", json={"ticketId": ticket["id"], "price": price})
    problem = assert_problem(answer, 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == ["price"]


async def test_whatever_else_is_in_the_way_is_told_before_the_price(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    ticket = await seller.list_ticket(price=5000)
    assert_problem(await buyer.ask_for({"id": "0" * 24}, price=50), 404, "ticket_not_found")
    assert_problem(await seller.ask_for(ticket, price=50), 403, "own_ticket")
    order = await buyer.reserve(ticket)
    assert_problem(await other_buyer.ask_for(ticket, price=50), 409, "ticket_reserved")
    await buyer.buy(order)
    assert_problem(await other_buyer.ask_for(ticket, price=50), 409, "ticket_sold")


async def test_who_holds_the_ticket_is_told_at_which_price(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket(price=5000)
    order = await buyer.reserve(ticket)
    for price in (None, 5000):
        again = await buyer.ask_for(ticket, price=price)
        assert (again.status_code, again.json()) == (200, order)
    problem = assert_problem(await buyer.ask_for(ticket, price=4000), 409, "price_changed")
    assert problem["price"] == 5000
    assert (await buyer.order(order))["status"] == "created"


async def test_an_edit_just_before_the_lock_is_told_and_charged(
    market: Marketplace, seller: Person, buyer: Person, before_the_lock: BeforeTheLock
) -> None:
    ticket = await seller.list_ticket(price=5000)
    before_the_lock(lambda: seller.edit(ticket, price=99_900))
    told = await buyer.reserve(ticket)
    assert told == await buyer.order(told)
    charge = await buyer.buy(told)
    assert told["ticket"]["price"] == charge["amount"] == 99_900
    assert market.captured() == [99_900]


async def test_at_a_price_an_edit_just_before_the_lock_is_refused(
    market: Marketplace, seller: Person, buyer: Person, before_the_lock: BeforeTheLock
) -> None:
    ticket = await seller.list_ticket(price=5000)
    before_the_lock(lambda: seller.edit(ticket, price=99_900))
    problem = assert_problem(await buyer.ask_for(ticket, price=5000), 409, "price_changed")
    assert problem["price"] == 99_900
    written = await market.written()
    assert written["orders"] == []
    assert [ticket["order_id"] for ticket in written["tickets"]] == [None]


async def test_control_a_lock_without_the_price_reserves_at_one_that_was_not_agreed(
    market: Marketplace,
    seller: Person,
    buyer: Person,
    before_the_lock: BeforeTheLock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    careless.reserve_at_any_price(monkeypatch)
    ticket = await seller.list_ticket(price=5000)
    before_the_lock(lambda: seller.edit(ticket, price=99_900))
    answer = await buyer.ask_for(ticket, price=5000)
    assert (answer.status_code, answer.json()["ticket"]["price"]) == (201, 99_900)


async def test_a_race_of_reservation_and_edit_ends_at_the_shown_price_or_not_at_all(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.set_rules(max_reservations=ROUNDS)

    async def race(round: int) -> None:
        ticket = await seller.list_ticket(price=1000)
        asking = asyncio.create_task(buyer.ask_for(ticket, price=1000))
        for _ in range(round):  # from round to round the edit comes a bit later
            await asyncio.sleep(0)
        edited = await seller.edit(ticket, price=9000)
        asked = await asking
        if asked.status_code == 201:
            assert_problem(edited, 409, "ticket_reserved")
            order = asked.json()
            assert order["ticket"]["price"] == (await buyer.buy(order))["amount"] == 1000
        else:
            assert assert_problem(asked, 409, "price_changed")["price"] == 9000
            assert edited.status_code == 200, edited.text

    await asyncio.gather(*map(race, range(ROUNDS)))
    await market.is_consistent()


async def test_a_repeated_request_gets_the_first_answer_at_its_price(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket(price=5000)
    first = await buyer.ask_for(ticket, price=5000, key=KEY)
    assert (await buyer.cancel(first.json())).status_code == 200
    assert (await seller.edit(ticket, price=99_900)).status_code == 200

    again = await buyer.ask_for(ticket, price=5000, key=KEY)
    assert (again.status_code, again.json()) == (201, first.json())
    other = await buyer.ask_for(ticket, price=99_900, key=KEY)
    assert_problem(other, 422, "idempotency_key_reused")


@pytest.mark.parametrize("refused_by_the_lock", [False, True])
async def test_a_request_that_was_refused_for_its_price_is_looked_at_anew(
    market: Marketplace,
    seller: Person,
    buyer: Person,
    before_the_lock: BeforeTheLock,
    refused_by_the_lock: bool,
) -> None:
    ticket = await seller.list_ticket(price=5000)

    async def edit(price: int) -> Response:
        return await seller.edit(ticket, price=price)

    async def is_told(price: int) -> None:
        answer = await buyer.ask_for(ticket, price=5000, key=KEY)
        assert assert_problem(answer, 409, "price_changed")["price"] == price

    if refused_by_the_lock:
        before_the_lock(lambda: edit(9000))
    else:
        await edit(9000)
    await is_told(9000)
    await edit(8000)
    await is_told(8000)

    await edit(5000)
    made = await buyer.ask_for(ticket, price=5000, key=KEY)
    assert (made.status_code, made.json()["ticket"]["price"]) == (201, 5000)
    again = await buyer.ask_for(ticket, price=5000, key=KEY)
    assert again.json() == made.json()
    assert len((await market.written())["orders"]) == 1
    await market.is_consistent()


async def test_an_order_that_cannot_be_read_yet_is_no_answer_but_made(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a primary that was elected a moment ago."""
    ticket = await seller.list_ticket()

    async def nothing_yet(*_: object) -> None:
        return None

    with monkeypatch.context() as elected:
        reserve_as_an_older_worker(elected)
        elected.setattr("ticketing.models.Order.get", nothing_yet)
        answer = await buyer.ask_for(ticket, key=KEY)
    assert_problem(answer, 503, "mongodb_unavailable")
    again = await buyer.ask_for(ticket, key=KEY)
    (order,) = (await market.written())["orders"]
    assert (again.status_code, again.json()["id"]) == (201, str(order["_id"]))
