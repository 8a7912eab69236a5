"""Editing and withdrawing a ticket: by its seller, while no order holds it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest
from beanie import PydanticObjectId
from fastapi import FastAPI
from httpx import AsyncClient, Response

from api.http.etags import Precondition
from api.tickets.service import TicketService
from tests.api.conftest import Json, assert_problem, list_ticket
from tests.api.tickets import SOME_ID, hold
from ticketing.models import Ticket

UNKNOWN = "6740f3a2c1b5d94e8f1a2b3c"
JSON = {"Content-Type": "application/json"}


Change = Callable[..., Awaitable[Response]]


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


async def put(
    client: AsyncClient, ticket: Json, *, price: int = 7000, if_match: str | None = None
) -> Response:
    return await client.put(
        f"/api/tickets/{ticket['id']}",
        json={"title": ticket["title"], "price": price},
        headers={} if if_match is None else {"If-Match": if_match},
    )


async def delete(client: AsyncClient, ticket: Json, *, if_match: str | None = None) -> Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    return await client.delete(f"/api/tickets/{ticket['id']}", headers=headers)


async def test_a_seller_edits_a_ticket(client: AsyncClient, seller: AsyncClient) -> None:
    ticket = await list_ticket(seller)

    answer = await seller.put(
        f"/api/tickets/{ticket['id']}", json={"title": " Björk ", "price": 7000}
    )

    edited = answer.json()
    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"2"'
    assert edited == {
        **ticket,
        "title": "Björk",
        "price": 7000,
        "version": 2,
        "updatedAt": edited["updatedAt"],
    }
    changed, listed = (datetime.fromisoformat(seen["updatedAt"]) for seen in (edited, ticket))
    assert changed >= listed
    assert (await client.get(f"/api/tickets/{ticket['id']}")).json() == edited


async def test_a_seller_withdraws_a_ticket(seller: AsyncClient) -> None:
    ticket = await list_ticket(seller)

    answer = await delete(seller, ticket)

    assert (answer.status_code, answer.content) == (204, b"")
    assert_problem(await seller.get(f"/api/tickets/{ticket['id']}"), 404, "ticket_not_found")
    assert_problem(await delete(seller, ticket), 404, "ticket_not_found")


@pytest.mark.parametrize("ticket_id", [SOME_ID, "1", "x" * 24, "6740f3a2c1b5d94e8f1a2b3", "a b"])
async def test_a_ticket_that_does_not_exist_is_not_found(
    seller: AsyncClient, ticket_id: str
) -> None:
    ticket = {"id": ticket_id, "title": "x"}

    for answer in (
        await seller.get(f"/api/tickets/{ticket_id}"),
        await put(seller, ticket),
        await delete(seller, ticket),
    ):
        assert_problem(answer, 404, "ticket_not_found")


@pytest.mark.parametrize("change", [put, delete])
async def test_only_its_seller_changes_a_ticket(
    client: AsyncClient, seller: AsyncClient, buyer: AsyncClient, change: Change
) -> None:
    ticket = await list_ticket(seller)

    assert_problem(await change(client, ticket), 401, "not_authenticated")
    assert_problem(await change(buyer, ticket), 403, "not_ticket_owner")
    assert (await client.get(f"/api/tickets/{ticket['id']}")).json() == ticket


@pytest.mark.parametrize("change", [put, delete])
@pytest.mark.parametrize(("sold", "code"), [(False, "ticket_reserved"), (True, "ticket_sold")])
async def test_a_ticket_that_an_order_holds_does_not_change(
    seller: AsyncClient, buyer: AsyncClient, change: Change, sold: bool, code: str
) -> None:
    ticket = await list_ticket(seller)
    await hold(ticket, sold=sold)
    before = (await seller.get(f"/api/tickets/{ticket['id']}")).json()

    assert_problem(await change(seller, ticket), 409, code)
    assert_problem(await change(seller, ticket, if_match='"1"'), 409, code)
    assert_problem(await change(buyer, ticket), 403, "not_ticket_owner")
    assert (await seller.get(f"/api/tickets/{ticket['id']}")).json() == before


@pytest.mark.parametrize("change", [put, delete])
@pytest.mark.parametrize("if_match", ['"2"', "*", '"1", "2"', '"other","2"', ' "2" '])
async def test_a_change_that_builds_on_the_current_version_is_made(
    seller: AsyncClient, change: Change, if_match: str
) -> None:
    ticket = await list_ticket(seller)
    await put(seller, ticket)

    assert (await change(seller, ticket, if_match=if_match)).is_success


@pytest.mark.parametrize("change", [put, delete])
@pytest.mark.parametrize(
    "if_match", ['"1"', '"3"', 'W/"2"', '"other"', '""', '"02"', '"' + "2" * 40 + '"', '"1", "3"']
)
async def test_a_change_that_builds_on_another_version_is_refused(
    seller: AsyncClient, change: Change, if_match: str
) -> None:
    ticket = await list_ticket(seller)
    current = (await put(seller, ticket)).json()

    assert_problem(await change(seller, ticket, if_match=if_match), 412, "stale_version")
    assert (await seller.get(f"/api/tickets/{ticket['id']}")).json() == current


@pytest.mark.parametrize("if_match", ["2", '"2', "'2'", '"1" "2"', "*, *", ","])
async def test_an_if_match_that_is_no_entity_tag_is_refused(
    seller: AsyncClient, if_match: str
) -> None:
    ticket = await list_ticket(seller)

    problem = assert_problem(await put(seller, ticket, if_match=if_match), 422, "validation_error")

    assert [error["field"] for error in problem["errors"]] == ["If-Match"]


async def test_checks_run_from_the_caller_to_the_state(
    client: AsyncClient, seller: AsyncClient, buyer: AsyncClient
) -> None:
    """401 → 422 → 404 → 403 → 409: each request fails in every way that is left."""
    ticket = await list_ticket(seller)
    await hold(ticket)
    held, missing = f"/api/tickets/{ticket['id']}", "/api/tickets/nonsense"
    good, bad = {"title": "x", "price": 100}, {"title": "", "price": "100"}

    assert_problem(await client.put(missing, json=bad), 401, "not_authenticated")
    assert_problem(await client.put(held, json=good), 401, "not_authenticated")
    assert_problem(await buyer.put(missing, json=bad), 422, "validation_error")
    assert_problem(await buyer.put(held, json=bad), 422, "validation_error")
    assert_problem(await buyer.put(missing, json=good), 404, "ticket_not_found")
    assert_problem(await buyer.put(held, json=good), 403, "not_ticket_owner")
    assert_problem(await seller.put(held, json=good), 409, "ticket_reserved")


async def test_of_simultaneous_edits_of_one_version_one_wins(seller: AsyncClient) -> None:
    ticket = await list_ticket(seller)

    answers = await asyncio.gather(
        *(put(seller, ticket, price=1000 + n, if_match='"1"') for n in range(20))
    )

    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 19}
    (winner,) = [answer.json() for answer in answers if answer.is_success]
    assert (await seller.get(f"/api/tickets/{ticket['id']}")).json() == winner


async def test_without_if_match_simultaneous_edits_overwrite_each_other(
    seller: AsyncClient,
) -> None:
    ticket = await list_ticket(seller)

    answers = await asyncio.gather(*(put(seller, ticket, price=1000 + n) for n in range(20)))

    assert Counter(answer.status_code for answer in answers) == {200: 20}
    assert (await seller.get(f"/api/tickets/{ticket['id']}")).json()["version"] == 21


async def test_an_edit_is_tried_again_when_what_refused_it_is_gone(seller: AsyncClient) -> None:
    """A reservation can end between the write that it refuses and the look at why."""

    class Released(TicketService):
        async def _raise_refusal(self, ticket_id: str, *rest: object) -> None:
            await Ticket.get_pymongo_collection().update_one(
                {"_id": PydanticObjectId(ticket_id)}, {"$set": {"order_id": None}}
            )
            await super()._raise_refusal(ticket_id, *rest)  # type: ignore[arg-type]

    ticket = await list_ticket(seller)
    await hold(ticket)
    owner = PydanticObjectId(ticket["userId"])

    edited = await Released(currency="usd").edit(
        ticket["id"], owner, Precondition(), title="x", price=100
    )

    assert edited.version == 2
