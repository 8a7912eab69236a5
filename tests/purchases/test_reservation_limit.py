"""A buyer holds at most `MAX_RESERVATIONS` unpaid tickets."""

import asyncio
from collections import Counter

import pytest

from api.orders import reservations
from tests.api.conftest import assert_problem
from tests.purchases.marketplace import Marketplace, Person

MOST = 2


@pytest.fixture(autouse=True)
def limit(market: Marketplace) -> None:
    market.set_rules(max_reservations=MOST)


@pytest.fixture
def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API starts a workflow without a look at what the buyer holds."""
    monkeypatch.setattr(reservations, "choose_slot", lambda *_: 0)


async def test_one_ticket_too_many_is_refused_without_asking_temporal(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    for _ in range(MOST):
        await buyer.reserve(await seller.list_ticket())
    ticket = await seller.list_ticket()
    before = await market.written()

    await market.lose_temporal()
    assert_problem(await buyer.ask_for(ticket), 409, "too_many_reservations")

    assert await market.written() == before


@pytest.mark.usefixtures("no_look")
async def test_the_reservation_itself_refuses_one_ticket_too_many(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    for _ in range(MOST):
        await buyer.reserve(await seller.list_ticket())
    ticket = await seller.list_ticket()

    assert_problem(await buyer.ask_for(ticket), 409, "too_many_reservations")

    assert (await seller.ticket(ticket))["status"] == "available"
    assert len((await buyer.orders())["items"]) == MOST
    await market.is_consistent()


async def test_many_requests_at_once_through_two_doors_get_no_more_than_one_may_hold(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    other_door = buyer.at(market.visit(await market.open_api(market.settings)))
    tickets = [await seller.list_ticket() for _ in range(8)]

    answers = await asyncio.gather(
        *(person.ask_for(t) for t, person in zip(tickets, [buyer, other_door] * 4, strict=True))
    )

    assert Counter(answer.status_code for answer in answers) == {201: MOST, 409: 8 - MOST}
    for answer in answers:
        if answer.status_code == 409:
            assert_problem(answer, 409, "too_many_reservations")
    await market.is_consistent()


@pytest.mark.usefixtures("no_look")
async def test_at_the_limit_the_ticket_that_one_holds_is_still_answered_with_its_order(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    orders = [await buyer.reserve(await seller.list_ticket()) for _ in range(MOST)]

    again = await buyer.ask_for(orders[0]["ticket"])

    assert (again.status_code, again.json()) == (200, orders[0])


async def test_a_double_click_for_the_last_ticket_that_one_may_hold_makes_one_order(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.set_rules(max_reservations=1)
    for _ in range(5):
        ticket = await seller.list_ticket()
        answers = await asyncio.gather(*(buyer.ask_for(ticket) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 201]
        assert (await buyer.cancel(answers[0].json())).status_code == 200


async def test_who_pays_or_cancels_may_reserve_again(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    first, second = [await buyer.reserve(await seller.list_ticket()) for _ in range(MOST)]
    await buyer.buy(first)
    assert (await buyer.cancel(second)).status_code == 200

    for _ in range(MOST):
        await buyer.reserve(await seller.list_ticket())

    assert_problem(await buyer.ask_for(await seller.list_ticket()), 409, "too_many_reservations")


async def test_one_buyers_limit_is_not_anothers(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    for _ in range(MOST):
        await buyer.reserve(await seller.list_ticket())

    await other_buyer.reserve(await seller.list_ticket())


async def test_at_the_limit_a_repeated_request_is_answered_as_it_first_was(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.set_rules(max_reservations=1)
    ticket = await seller.list_ticket()

    first = await buyer.ask_for(ticket, key="the-last-one")

    assert first.status_code == 201, first.text
    again = await buyer.ask_for(ticket, key="the-last-one")
    assert (again.status_code, again.json()) == (201, first.json())
    other = await seller.list_ticket()
    assert_problem(await buyer.ask_for(other, key="one-more"), 409, "too_many_reservations")
