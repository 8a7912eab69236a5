"""Tickets listed more than once under one Idempotency-Key."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient, Response

from api.tickets import service as module
from tests.api.conftest import assert_problem
from tests.api.tickets import hold
from ticketing.models import Ticket

CROWD = 20
OFFER = {"title": "Radiohead, Berlin", "price": 5000}


@pytest.fixture
def key() -> str:
    return f'"{uuid4()}"'


async def post(client: AsyncClient, key: str, **changes: Any) -> Response:
    return await client.post(
        "/api/tickets", json={**OFFER, **changes}, headers={"Idempotency-Key": key}
    )


def assert_same(answer: Response, first: Response) -> None:
    """The same answer, with the same headers that tell of the ticket."""
    assert first.status_code == 201, first.text
    assert (answer.status_code, answer.json()) == (201, first.json())
    for header in ("Location", "ETag"):
        assert answer.headers[header] == first.headers[header]


async def test_the_same_key_gets_the_first_answer_again_and_lists_one_ticket(
    seller: AsyncClient, key: str
) -> None:
    first = await post(seller, key)
    assert_same(await post(seller, key), first)
    assert_same(await post(seller, key, title="  Radiohead, Berlin "), first)
    assert await Ticket.count() == 1


async def test_whatever_became_of_the_ticket_its_key_gets_the_first_answer_again(
    seller: AsyncClient, key: str
) -> None:
    first = await post(seller, key)
    ticket = first.json()
    edited = await seller.put(f"/api/tickets/{ticket['id']}", json={"title": "Blur", "price": 70})
    assert edited.status_code == 200
    assert_same(await post(seller, key), first)
    for sold in (False, True):
        await hold(ticket, sold=sold)
        assert_same(await post(seller, key), first)
    now = (await seller.get(f"/api/tickets/{ticket['id']}")).json()
    assert (now["title"], now["price"], now["status"]) == ("Blur", 70, "sold")
    assert await Ticket.count() == 1


@pytest.mark.parametrize("changes", [{"price": 5001}, {"title": "Blur"}])
async def test_the_same_key_with_another_body_is_refused_and_lists_nothing(
    seller: AsyncClient, key: str, changes: dict[str, Any]
) -> None:
    first = await post(seller, key)
    assert_problem(await post(seller, key, **changes), 422, "idempotency_key_reused")
    # An edit does not make another body the first one.
    path = f"/api/tickets/{first.json()['id']}"
    assert (await seller.put(path, json={**OFFER, **changes})).status_code == 200
    assert_problem(await post(seller, key, **changes), 422, "idempotency_key_reused")
    assert await Ticket.count() == 1


async def test_a_bad_body_and_a_bad_key_are_told_as_ever(seller: AsyncClient, key: str) -> None:
    assert_problem(await post(seller, key, price=1), 422, "validation_error")
    problem = assert_problem(await post(seller, "two words"), 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == ["Idempotency-Key"]
    assert await Ticket.count() == 0
    assert (await post(seller, key)).status_code == 201


async def test_twenty_requests_at_once_under_one_key_list_one_ticket(
    seller: AsyncClient, key: str
) -> None:
    first, *others = await asyncio.gather(*(post(seller, key) for _ in range(CROWD)))
    for other in others:
        assert_same(other, first)
    assert await Ticket.count() == 1


async def test_control_without_the_index_each_request_lists_a_ticket_of_its_own(
    seller: AsyncClient, key: str
) -> None:
    await Ticket.get_pymongo_collection().drop_index("one_ticket_per_listing_request")
    answers = await asyncio.gather(*(post(seller, key) for _ in range(3)))
    assert len({answer.json()["id"] for answer in answers}) == 3


async def test_the_keys_of_two_people_do_not_meet(
    seller: AsyncClient, buyer: AsyncClient, key: str
) -> None:
    first, second = await post(seller, key), await post(buyer, key)
    assert first.json()["id"] != second.json()["id"]
    assert await Ticket.count() == 2


@pytest.mark.parametrize("price", [5000, 99_900])
async def test_after_a_withdrawal_the_key_lists_a_ticket_with_another_id(
    seller: AsyncClient, key: str, price: int
) -> None:
    first = await post(seller, key)
    path = f"/api/tickets/{first.json()['id']}"
    assert (await seller.delete(path)).status_code == 204
    second = await post(seller, key, price=price)
    assert (second.status_code, second.json()["price"]) == (201, price)
    assert second.json()["id"] != first.json()["id"]
    assert_problem(await seller.get(path), 404, "ticket_not_found")
    assert_same(await post(seller, key, price=price), second)


async def test_a_ticket_that_is_withdrawn_while_its_key_is_looked_up_is_listed_anew(
    seller: AsyncClient, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await post(seller, key)
    look_up = module.find_listed

    async def withdraw_and_look_up(*request: Any) -> Ticket | None:
        await seller.delete(f"/api/tickets/{first.json()['id']}")
        return await look_up(*request)

    monkeypatch.setattr(module, "find_listed", withdraw_and_look_up)
    second = await post(seller, key)
    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]
    assert await Ticket.count() == 1


async def test_without_a_key_each_request_lists_a_ticket(seller: AsyncClient) -> None:
    ids = {(await seller.post("/api/tickets", json=OFFER)).json()["id"] for _ in range(3)}
    assert len(ids) == 3


async def test_what_the_request_was_is_told_to_nobody(
    seller: AsyncClient, client: AsyncClient, key: str
) -> None:
    ticket = (await post(seller, key)).json()
    (listed,) = (await client.get("/api/tickets")).json()["items"]
    assert listed == ticket == (await client.get(f"/api/tickets/{ticket['id']}")).json()
    assert "listingRequest" not in ticket
