"""Listing, editing and withdrawing a ticket."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from tests.api.conftest import assert_problem, list_ticket
from tests.api.tickets import hold
from ticketing.models import Ticket

UNKNOWN = "6740f3a2c1b5d94e8f1a2b3c"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


async def test_a_ticket_is_listed_for_sale(seller: AsyncClient) -> None:
    me = (await seller.get("/api/users/currentuser")).json()["currentUser"]

    answer = await seller.post("/api/tickets", json={"title": "  Radiohead \t", "price": 5000})

    ticket = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/tickets/{ticket['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert ticket == {
        "id": ticket["id"],
        "title": "Radiohead",
        "price": 5000,
        "currency": "usd",
        "userId": me["id"],
        "orderId": None,
        "status": "available",
        "version": 1,
        "createdAt": ticket["createdAt"],
        "updatedAt": ticket["createdAt"],
    }
    assert ticket["createdAt"].endswith("Z")


async def test_anybody_sees_a_ticket(client: AsyncClient, seller: AsyncClient) -> None:
    ticket = await list_ticket(seller)

    answer = await client.get(f"/api/tickets/{ticket['id']}")

    assert (answer.status_code, answer.json()) == (200, ticket)
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("sold", "status"), [(False, "reserved"), (True, "sold")])
async def test_a_ticket_names_the_order_that_holds_it(
    client: AsyncClient, seller: AsyncClient, sold: bool, status: str
) -> None:
    ticket = await list_ticket(seller)
    order_id = await hold(ticket, sold=sold)

    seen = (await client.get(f"/api/tickets/{ticket['id']}")).json()

    assert (seen["status"], seen["orderId"], seen["version"]) == (status, str(order_id), 1)


@pytest.mark.parametrize(
    ("title", "price"),
    [
        ("x", 50),
        ("x" * 200, 99_999_999),
        ("🎫" * 200, 50),
        (" " + "x" * 200 + "\n", 50),
        ("Sigur Rós — „Ágætis“ 👩‍🎤", 50),
        ("<script>alert(1)</script>", 50),
        ("$where", 50),
    ],
)
async def test_a_ticket_is_accepted(seller: AsyncClient, title: str, price: int) -> None:
    ticket = await list_ticket(seller, title=title, price=price)

    assert (ticket["title"], ticket["price"]) == (title.strip(), price)


BAD_TICKETS = [
    ({"price": 100}, "title"),
    ({"title": "x"}, "price"),
    ({"title": "", "price": 100}, "title"),
    ({"title": " \t\n", "price": 100}, "title"),
    ({"title": "x" * 201, "price": 100}, "title"),
    ({"title": "a\u0000b", "price": 100}, "title"),
    ({"title": "a\nb", "price": 100}, "title"),
    ({"title": "a\u0085b", "price": 100}, "title"),
    ({"title": "a\u2028b", "price": 100}, "title"),
    ({"title": "\ud800", "price": 100}, "title"),
    ({"title": None, "price": 100}, "title"),
    ({"title": 7, "price": 100}, "title"),
    ({"title": ["x"], "price": 100}, "title"),
    ({"title": {"$gt": ""}, "price": 100}, "title"),
    ({"title": "x", "price": 49}, "price"),
    ({"title": "x", "price": 100_000_000}, "price"),
    ({"title": "x", "price": 10**30}, "price"),
    ({"title": "x", "price": 0}, "price"),
    ({"title": "x", "price": -100}, "price"),
    ({"title": "x", "price": 100.5}, "price"),
    ({"title": "x", "price": 100.0}, "price"),
    ({"title": "x", "price": 1e300}, "price"),
    ({"title": "x", "price": float("nan")}, "price"),
    ({"title": "x", "price": float("inf")}, "price"),
    ({"title": "x", "price": "100"}, "price"),
    ({"title": "x", "price": True}, "price"),
    ({"title": "x", "price": None}, "price"),
    ({"title": "x", "price": [100]}, "price"),
    ({"title": "x", "price": 100, "userId": UNKNOWN}, "userId"),
    ({"title": "x", "price": 100, "orderId": None}, "orderId"),
    ({"title": "x", "price": 100, "currency": "eur"}, "currency"),
    ({"title": "x", "price": 100, "version": 9}, "version"),
    ([{"title": "x", "price": 100}], "body"),
    ("title", "body"),
    (None, "body"),
]


@pytest.mark.parametrize(("body", "field"), BAD_TICKETS)
async def test_a_bad_ticket_is_refused_and_nothing_is_written(
    seller: AsyncClient, body: Any, field: str
) -> None:
    answer = await seller.post("/api/tickets", content=json.dumps(body), headers=JSON)

    problem = assert_problem(answer, 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert await Ticket.count() == 0


async def test_a_bad_edit_is_refused_and_nothing_is_written(seller: AsyncClient) -> None:
    ticket = await list_ticket(seller)
    path = f"/api/tickets/{ticket['id']}"

    for body, _ in BAD_TICKETS:
        answer = await seller.put(path, content=json.dumps(body), headers=JSON)
        assert_problem(answer, 422, "validation_error")
    assert (await seller.get(path)).json() == ticket


async def test_selling_needs_a_session(client: AsyncClient) -> None:
    answer = await client.post("/api/tickets", json={"title": "x", "price": 100})

    assert_problem(answer, 401, "not_authenticated")
    assert await Ticket.count() == 0
