"""Orders over HTTP: made, read, listed and cancelled."""

import asyncio
from datetime import timedelta

import pytest
from httpx import Response
from pymongo.asynchronous.client_session import AsyncClientSession

from activities import reservations
from activities.reservations import Reservation, ReserveTicket
from tests.api.conftest import assert_problem
from tests.purchases.contract import Json, assert_order, instant
from tests.purchases.marketplace import Marketplace, Person


async def test_a_ticket_is_listed_reserved_paid_for_and_then_sold(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket(price=12_345)
    order = await buyer.reserve(ticket)
    charge = await buyer.buy(order)

    completed = await buyer.order(order)
    assert completed["status"] == "completed"
    assert completed["charges"] == [charge]
    assert (charge["status"], charge["amount"], charge["currency"]) == ("completed", 12_345, "usd")
    sold = await seller.ticket(ticket)
    assert (sold["status"], sold["orderId"]) == ("sold", order["id"])
    assert market.captured() == [12_345]
    await market.is_consistent()


async def test_a_new_order_is_answered_with_201_its_place_and_all_that_the_contract_names(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket(price=4200, title="Front row")
    answer = await buyer.ask_for(ticket)

    assert answer.status_code == 201
    order = assert_order(answer.json())
    assert answer.headers["Location"] == f"/api/orders/{order['id']}"
    assert (await buyer.http.get(answer.headers["Location"])).json() == order
    reserved_for = instant(order["expiresAt"]) - instant(order["createdAt"])
    assert reserved_for == timedelta(minutes=15)
    assert order == {
        "id": order["id"],
        "userId": await buyer.id(),
        "status": "created",
        "cancelReason": None,
        "ticketId": ticket["id"],
        "ticket": {"id": ticket["id"], "title": "Front row", "price": 4200, "currency": "usd"},
        "expiresAt": order["expiresAt"],
        "createdAt": order["createdAt"],
        "completedAt": None,
        "cancelledAt": None,
        "charges": [],
    }
    reserved = await seller.ticket(ticket)
    assert (reserved["status"], reserved["orderId"]) == ("reserved", order["id"])


async def test_an_edit_after_the_api_has_looked_is_in_the_answer(
    market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await seller.list_ticket(price=4200, title="Front row")
    reserve = reservations.lock_ticket

    async def edit_first(input: ReserveTicket, session: AsyncClientSession) -> Reservation:
        assert (await seller.edit(ticket, price=4200, title="Back row")).status_code == 200
        return await reserve(input, session)

    monkeypatch.setattr(reservations, "lock_ticket", edit_first)
    order = await buyer.reserve(ticket)
    assert order["ticket"]["title"] == "Back row"
    assert await buyer.order(order) == order


async def test_the_same_buyer_asking_again_gets_the_same_order_with_200(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    before = await market.written()
    answer = await buyer.ask_for(ticket)
    assert (answer.status_code, answer.json()) == (200, order)
    assert answer.headers["Location"] == f"/api/orders/{order['id']}"
    assert await market.written() == before


async def test_a_double_click_makes_one_order(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    for _ in range(5):
        ticket = await seller.list_ticket()
        answers = await asyncio.gather(buyer.ask_for(ticket), buyer.ask_for(ticket))
        assert sorted(answer.status_code for answer in answers) == [200, 201]
        assert answers[0].json() == answers[1].json()
    assert len((await buyer.orders())["items"]) == 5
    await market.is_consistent()


async def test_somebody_elses_reserved_ticket_is_refused_without_asking_temporal(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    await buyer.reserve(ticket)
    before = await market.written()
    await market.lose_temporal()
    assert_problem(await other_buyer.ask_for(ticket), 409, "ticket_reserved")
    assert await market.written() == before


async def test_a_sold_ticket_is_refused_to_everybody_without_asking_temporal(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    await buyer.buy(await buyer.reserve(ticket))
    before = await market.written()
    await market.lose_temporal()
    assert_problem(await other_buyer.ask_for(ticket), 409, "ticket_sold")
    assert_problem(await buyer.ask_for(ticket), 409, "ticket_sold")
    assert await market.written() == before


async def test_a_ticket_that_does_not_exist_or_was_withdrawn_is_not_found(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    assert (await seller.withdraw(ticket)).status_code == 204
    assert_problem(await buyer.ask_for(ticket), 404, "ticket_not_found")
    assert_problem(await buyer.ask_for({"id": "0" * 24}), 404, "ticket_not_found")
    assert await market.written() == {"tickets": [], "orders": [], "charges": []}


async def test_a_seller_cannot_buy_their_own_ticket(market: Marketplace, seller: Person) -> None:
    ticket = await seller.list_ticket()
    before = await market.written()
    assert_problem(await seller.ask_for(ticket), 403, "own_ticket")
    assert await market.written() == before


async def test_a_seller_may_not_buy_their_own_ticket_reserved_or_sold(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    assert_problem(await seller.ask_for(ticket), 403, "own_ticket")
    await buyer.buy(order)
    assert_problem(await seller.ask_for(ticket), 403, "own_ticket")


async def test_a_reserved_ticket_can_be_neither_edited_nor_withdrawn(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    await buyer.reserve(ticket)
    before = await market.written()
    assert_problem(await seller.edit(ticket, price=9900), 409, "ticket_reserved")
    assert_problem(await seller.withdraw(ticket), 409, "ticket_reserved")
    assert await market.written() == before


async def test_a_sold_ticket_can_be_neither_edited_nor_withdrawn(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    await buyer.buy(await buyer.reserve(ticket))
    before = await market.written()
    assert_problem(await seller.edit(ticket, price=9900), 409, "ticket_sold")
    assert_problem(await seller.withdraw(ticket), 409, "ticket_sold")
    assert await market.written() == before


async def test_a_cancelled_order_gives_its_ticket_back_and_another_buyer_gets_it(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    answer = await buyer.cancel(order)

    assert answer.status_code == 200
    cancelled = assert_order(answer.json())
    assert cancelled == order | {
        "status": "cancelled",
        "cancelReason": "cancelled_by_buyer",
        "cancelledAt": cancelled["cancelledAt"],
    }
    free = await seller.ticket(ticket)
    assert (free["status"], free["orderId"]) == ("available", None)
    await other_buyer.buy(await other_buyer.reserve(ticket))
    await market.is_consistent()


async def test_a_buyer_who_cancelled_may_reserve_the_ticket_again_under_a_new_order(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    first = await buyer.reserve(ticket)
    await buyer.cancel(first)
    second = await buyer.reserve(ticket)
    assert second["id"] != first["id"]
    await market.is_consistent()


async def test_after_a_cancellation_the_seller_may_edit_and_a_new_order_has_the_new_price(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket(price=1000)
    first = await buyer.reserve(ticket)
    await buyer.cancel(first)
    assert (await seller.edit(ticket, price=2000)).status_code == 200
    second = await buyer.reserve(ticket)
    assert second["ticket"]["price"] == 2000
    assert (await buyer.order(first))["ticket"]["price"] == 1000
    assert (await buyer.buy(second))["amount"] == 2000


async def test_cancelling_again_gives_the_same_answer_and_needs_no_temporal(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    first = await buyer.cancel(order)
    before = await market.written()
    await market.lose_temporal()
    second = await buyer.cancel(order)
    assert (second.status_code, second.json()) == (200, first.json())
    assert await market.written() == before


async def test_two_cancellations_at_the_same_time_give_the_same_answer(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    answers = await asyncio.gather(*(buyer.cancel(order) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all(answer.json() == answers[0].json() for answer in answers)
    await market.is_consistent()


async def test_a_completed_order_cannot_be_cancelled(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.buy(order)
    before = await market.written()
    assert_problem(await buyer.cancel(order), 409, "order_completed")
    assert await market.written() == before


async def test_an_unpaid_order_expires_and_gives_the_ticket_back(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    market.set_rules(reservation_ttl=timedelta(seconds=1))
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    expired = await buyer.sees(order, "cancelled", "expired")
    assert instant(expired["cancelledAt"]) >= instant(order["expiresAt"])
    assert (await seller.ticket(ticket))["status"] == "available"

    before = await market.written()
    assert_problem(await buyer.pay(order), 409, "order_expired")
    cancelled = await buyer.cancel(order)
    assert (cancelled.status_code, cancelled.json()) == (200, expired)
    assert await market.written() == before
    await other_buyer.reserve(ticket)
    await market.is_consistent()


async def test_an_order_is_nobodys_business_but_its_buyers(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    before = await market.written()
    for stranger in (seller, other_buyer):
        for answer in await _everything_done_with(order, stranger):
            assert_problem(answer, 404, "order_not_found")
        assert (await stranger.orders())["items"] == []
    assert await market.written() == before
    assert (await buyer.order(order)) == order


async def test_an_order_that_does_not_exist_is_not_found(
    market: Marketplace, buyer: Person
) -> None:
    for answer in await _everything_done_with({"id": "0" * 24}, buyer):
        assert_problem(answer, 404, "order_not_found")


async def test_ones_own_orders_are_listed_newest_first_and_page_by_page(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    orders = [await buyer.reserve(await seller.list_ticket()) for _ in range(5)]
    await other_buyer.reserve(await seller.list_ticket())
    newest_first = orders[::-1]

    whole = await buyer.orders()
    assert whole == {"items": newest_first, "nextCursor": None}

    first = await buyer.orders(limit=2)
    # Whoever comes in between is on no later page, and pushes nobody off one.
    await buyer.reserve(await seller.list_ticket())
    second = await buyer.orders(limit=2, cursor=first["nextCursor"])
    third = await buyer.orders(limit=2, cursor=second["nextCursor"])
    assert first["items"] + second["items"] + third["items"] == newest_first
    assert third["nextCursor"] is None


async def test_orders_are_listed_by_status_with_their_charges(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    created, cancelled, waiting, completed = [
        await buyer.reserve(await seller.list_ticket()) for _ in range(4)
    ]
    await buyer.cancel(cancelled)
    await buyer.pay_through_the_bank(waiting)
    charge = await buyer.buy(completed)

    for status, order in {
        "created": created,
        "cancelled": cancelled,
        "awaiting_payment": waiting,
        "completed": completed,
    }.items():
        page = await buyer.orders(status=status)
        assert [(item["id"], item["status"]) for item in page["items"]] == [(order["id"], status)]
    assert (await buyer.orders(status="completed"))["items"][0]["charges"] == [charge]
    both = await buyer.orders(status="created", limit=1)
    assert both["nextCursor"] is None


async def test_somebody_without_orders_gets_an_empty_page(
    market: Marketplace, buyer: Person
) -> None:
    assert await buyer.orders() == {"items": [], "nextCursor": None}


async def test_a_cursor_is_good_only_for_the_list_that_it_came_from(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    for _ in range(2):
        await buyer.reserve(await seller.list_ticket())
    cursor = (await buyer.orders(limit=1))["nextCursor"]
    filtered = {"cursor": cursor, "status": "created"}
    for person, query in ((buyer, filtered), (other_buyer, {"cursor": cursor})):
        answer = await person.http.get("/api/orders", params=query)
        problem = assert_problem(answer, 422, "validation_error")
        assert [error["field"] for error in problem["errors"]] == ["cursor"]


async def _everything_done_with(order: Json, person: Person) -> list[Response]:
    read = await person.http.get(f"/api/orders/{order['id']}")
    return [read, await person.cancel(order), await person.pay(order)]
