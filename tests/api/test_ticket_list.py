"""Lists of tickets: what they hold, in which order, and what a page costs."""

import base64
import json
from typing import Any

import pytest
from beanie import PydanticObjectId
from fastapi import FastAPI
from httpx import AsyncClient

from tests.api.conftest import assert_problem, list_ticket
from tests.api.tickets import GONE, HELD, SOME_ID, insert, ticket
from ticketing.models import Ticket


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


async def listed(client: AsyncClient, **query: Any) -> list[str]:
    """The titles of all pages."""
    titles: list[str] = []
    while True:
        answer = await client.get("/api/tickets", params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        titles += [item["title"] for item in page["items"]]
        if page["nextCursor"] is None:
            return titles
        query["cursor"] = page["nextCursor"]


async def test_a_list_shows_what_can_be_bought_newest_first(client: AsyncClient) -> None:
    await insert(ticket(0), ticket(1, **HELD), ticket(2, **GONE), ticket(3))

    assert await listed(client) == ["Ticket 3", "Ticket 0"]


@pytest.mark.parametrize(
    ("status", "titles"),
    [
        ("available", ["Ticket 0"]),
        ("reserved", ["Ticket 1"]),
        ("sold", ["Ticket 2"]),
        ("all", ["Ticket 2", "Ticket 1", "Ticket 0"]),
        ("", ["Ticket 0"]),
    ],
)
async def test_a_list_is_of_one_status_or_of_all(
    client: AsyncClient, status: str, titles: list[str]
) -> None:
    await insert(ticket(0), ticket(1, **HELD), ticket(2, **GONE))

    assert await listed(client, status=status) == titles


async def test_a_released_ticket_is_available_again(
    client: AsyncClient, seller: AsyncClient
) -> None:
    held = await list_ticket(seller)
    tickets, its_id = Ticket.get_pymongo_collection(), {"_id": PydanticObjectId(held["id"])}
    await tickets.update_one(its_id, {"$set": HELD})
    assert await listed(client) == []

    await tickets.update_one(its_id, {"$unset": {"order_id": ""}})

    assert await listed(client) == [held["title"]]
    assert await listed(client, status="reserved") == []


async def test_a_list_is_of_one_seller(
    client: AsyncClient, seller: AsyncClient, buyer: AsyncClient
) -> None:
    mine = await list_ticket(seller, title="Mine")
    await list_ticket(buyer, title="Somebody else's")

    assert await listed(client, seller=mine["userId"]) == ["Mine"]
    assert await listed(seller, seller="me") == ["Mine"]
    assert await listed(seller, seller="me", status="sold") == []


async def test_ones_own_list_needs_a_session_before_anything_else(client: AsyncClient) -> None:
    for query in ({"seller": "me"}, {"seller": "me", "limit": "many"}):
        answer = await client.get("/api/tickets", params=query)
        assert_problem(answer, 401, "not_authenticated")


@pytest.mark.parametrize(
    ("query", "prices"),
    [
        ({"minPrice": 200}, {200, 300}),
        ({"maxPrice": 200}, {100, 200}),
        ({"minPrice": 200, "maxPrice": 200}, {200}),
        ({"minPrice": 301}, set()),
        ({"minPrice": "", "maxPrice": ""}, {100, 200, 300}),
    ],
)
async def test_a_list_stays_within_prices(
    client: AsyncClient, query: dict[str, Any], prices: set[int]
) -> None:
    await insert(*(ticket(number) for number in range(6)))

    answer = await client.get("/api/tickets", params=query)

    assert {item["price"] for item in answer.json()["items"]} == prices


@pytest.mark.parametrize(
    ("q", "titles"),
    [
        ("radiohead", ["Radiohead in Berlin", "RADIOHEAD in Paris"]),
        ("berlin radiohead", ["Radiohead in Berlin"]),
        ("radiohead nowhere", []),
        ("in", ["Radiohead in Berlin", "RADIOHEAD in Paris", "Björk in Berlin"]),
        ("BJORK", ["Björk in Berlin"]),
        ("radio", []),
        ("-berlin radiohead", ["Radiohead in Berlin"]),
        ('"in berlin', ["Radiohead in Berlin", "Björk in Berlin"]),
        ('\\" $where', []),
        ("!?", []),
        ("\u0000", []),
    ],
)
async def test_a_search_finds_titles_with_every_word(
    client: AsyncClient, q: str, titles: list[str]
) -> None:
    found = ["Björk in Berlin", "RADIOHEAD in Paris", "Radiohead in Berlin"]
    await insert(*(ticket(number, title=title) for number, title in enumerate(found)))

    assert await listed(client, q=q) == titles


async def test_a_search_for_a_whole_title_finds_it_and_nothing_that_lacks_a_word(
    client: AsyncClient,
) -> None:
    title = "An evening with the slow orchestra of the old harbour, balcony, row 12"
    await insert(ticket(0, title=title), ticket(1, title=title.replace("old", "new")))

    assert await listed(client, q=title) == [title]
    assert await listed(client, q=f"{title} matinee") == []


async def test_a_search_finds_the_title_that_an_edit_has_given(seller: AsyncClient) -> None:
    listed_ticket = await list_ticket(seller, title="Radiohead in Berlin")
    change = {"title": "Björk in Berlin", "price": 5000}
    answer = await seller.put(f"/api/tickets/{listed_ticket['id']}", json=change)

    assert answer.status_code == 200
    assert await listed(seller, q="bjork") == ["Björk in Berlin"]
    assert await listed(seller, q="radiohead") == []


async def test_a_search_goes_with_every_other_filter(client: AsyncClient) -> None:
    await insert(
        ticket(0, title="Radiohead", price=100),
        ticket(1, title="Radiohead", price=900),
        ticket(2, title="Radiohead", price=100, **HELD),
    )

    answer = await client.get(
        "/api/tickets", params={"q": "radiohead", "maxPrice": 500, "sort": "price"}
    )

    assert [item["price"] for item in answer.json()["items"]] == [100]


@pytest.mark.parametrize(
    ("sort", "key", "reverse"),
    [
        ("-createdAt", lambda t: (t.created_at, t.id), True),
        ("createdAt", lambda t: (t.created_at, t.id), False),
        ("price", lambda t: (t.price, t.id), False),
        ("-price", lambda t: (t.price, t.id), True),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_neither_skip_nor_repeat(
    client: AsyncClient, sort: str, key: Any, reverse: bool, limit: int
) -> None:
    tickets = [ticket(number) for number in range(7)]
    tickets.append(ticket(6, title="At the same instant"))
    await insert(*tickets)
    stored = sorted(await Ticket.find().to_list(), key=key, reverse=reverse)

    assert await listed(client, sort=sort, limit=limit) == [ticket.title for ticket in stored]


@pytest.mark.parametrize("sort", ["-createdAt", "createdAt", "price", "-price"])
async def test_pages_are_stable_while_others_sell_and_buy(client: AsyncClient, sort: str) -> None:
    before = await insert(*(ticket(number) for number in range(6)))
    first = (await client.get("/api/tickets", params={"sort": sort, "limit": 3})).json()

    await insert(*(ticket(number) for number in (-1, 100, 200)))
    await Ticket.find_one({"title": first["items"][0]["title"]}).delete()
    rest = await listed(client, sort=sort, limit=3, cursor=first["nextCursor"])

    seen = [item["title"] for item in first["items"]] + rest
    assert len(seen) == len(set(seen))
    assert set(before) <= set(seen)


async def test_a_page_has_twenty_tickets_unless_asked_otherwise(client: AsyncClient) -> None:
    await insert(*(ticket(number) for number in range(21)))

    assert len((await client.get("/api/tickets")).json()["items"]) == 20
    assert len((await client.get("/api/tickets?limit=100")).json()["items"]) == 21


async def test_the_last_page_has_no_cursor_even_when_it_is_full(client: AsyncClient) -> None:
    await insert(ticket(0), ticket(1))

    assert (await client.get("/api/tickets?limit=2")).json()["nextCursor"] is None
    assert (await client.get("/api/tickets?limit=1")).json()["nextCursor"] is not None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"minPrice": "-1"}, "minPrice"),
        ({"minPrice": "1.5"}, "minPrice"),
        ({"maxPrice": "1" * 30}, "maxPrice"),
        ({"minPrice": "200", "maxPrice": "100"}, "query"),
        ({"status": "gone"}, "status"),
        ({"seller": "you"}, "seller"),
        ({"seller": "6740f3a2c1b5d94e8f1a2b3"}, "seller"),
        ({"sort": "title"}, "sort"),
        ({"sort": "-title"}, "sort"),
        ({"q": "x" * 201}, "q"),
        ({"cursor": "x" * 501}, "cursor"),
        ({"page": "2"}, "page"),
        ({"min_price": "1"}, "min_price"),
    ],
)
async def test_a_bad_query_is_refused(
    client: AsyncClient, query: dict[str, Any], field: str
) -> None:
    answer = await client.get("/api/tickets", params=query)

    problem = assert_problem(answer, 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == [field]


def encoded(parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "xx",
        "ä",
        "AAAA",
        "%00",
        encoded({}),
        encoded([]),
        encoded([1, SOME_ID]),
        encoded([1, SOME_ID, "0" * 12]),
        encoded([10**40, SOME_ID, "0" * 12]),
        encoded([-(10**40), SOME_ID, "0" * 12]),
        encoded(["1", SOME_ID, "0" * 12]),
        encoded([{"$gt": 0}, SOME_ID, "0" * 12]),
        encoded([1, {"$oid": SOME_ID}, "0" * 12]),
        encoded([1, None, "0" * 12]),
    ],
)
async def test_a_made_up_cursor_is_refused(client: AsyncClient, cursor: str) -> None:
    answer = await client.get("/api/tickets", params={"cursor": cursor})

    problem = assert_problem(answer, 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == ["cursor"]


@pytest.mark.parametrize(
    "other",
    [{"sort": "price"}, {"status": "all"}, {"q": "ticket"}, {"minPrice": 1}, {"seller": SOME_ID}],
)
async def test_a_cursor_of_another_list_is_refused(
    client: AsyncClient, other: dict[str, Any]
) -> None:
    await insert(ticket(0), ticket(1))
    cursor = (await client.get("/api/tickets?limit=1")).json()["nextCursor"]

    answer = await client.get("/api/tickets", params={"cursor": cursor, **other})
    assert_problem(answer, 422, "validation_error")

    # How many to show is not part of what is shown.
    answer = await client.get("/api/tickets", params={"cursor": cursor, "limit": 50})
    assert answer.status_code == 200
