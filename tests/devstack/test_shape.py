"""A stack with several processes of a kind keeps working when one is killed or frozen."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from devstack.settings import ProcessCounts, StackSettings
from devstack.stack import Stack
from tests.devstack.processes import is_alive, is_frozen
from tests.devstack.waiting import eventually

Json = dict[str, Any]
MEMBERS = ("mongodb-1", "mongodb-2", "mongodb-3")

pytestmark = pytest.mark.long  # elections of a replica set of three


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A replica set of three, two API processes and two workers."""
    directory = tmp_path_factory.mktemp("shape")
    settings = StackSettings.on_free_ports(directory, ProcessCounts(mongodb=3, api=2, workers=2))
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    with Stack(settings, environ) as stack:
        yield stack


@pytest.fixture(autouse=True)
def whole(stack: Stack) -> Iterator[None]:
    """Restart what a test has killed or frozen."""
    yield
    for part in stack.parts.values():
        part.thaw()
    stack.start_parts(*(part.name for part in stack.ended_parts()))


@contextmanager
def person(url: str) -> Iterator[httpx.Client]:
    """A client that has signed up."""
    user = {"email": f"{os.urandom(4).hex()}@example.com", "password": "a long password"}
    with httpx.Client(base_url=url, timeout=60) as client:
        assert client.post("/api/users/signup", json=user).status_code == 201
        yield client


def created(answer: httpx.Response) -> Json:
    assert answer.status_code == 201, answer.text
    body: Json = answer.json()
    return body


def list_ticket(seller: httpx.Client) -> Json:
    return created(seller.post("/api/tickets", json={"title": "Row 4", "price": 5000}))


def reserve(buyer: httpx.Client) -> Json:
    with person(str(buyer.base_url)) as seller:
        ticket = list_ticket(seller)
    return created(buyer.post("/api/orders", json={"ticketId": ticket["id"]}))


def pay(buyer: httpx.Client, order: Json, card: str = "pm_card_visa") -> httpx.Response:
    return buyer.post("/api/payments", json={"orderId": order["id"], "paymentMethod": card})


def has_status(buyer: httpx.Client, order: Json, status: str) -> bool:
    return bool(buyer.get(f"/api/orders/{order['id']}").json()["status"] == status)


def undelivered_events(stack: Stack) -> list[Json]:
    events: list[Json] = httpx.get(
        f"{stack.urls['stripe_sandbox']}/v1/events",
        params={"limit": 100},
        headers={"Authorization": f"Bearer {stack.environment['STRIPE_API_KEY']}"},
    ).json()["data"]
    assert events
    return [event for event in events if event["pending_webhooks"]]


def primary_of(stack: Stack) -> str:
    eventually(lambda: stack.primary() is not None)
    name = stack.primary()
    assert name
    return name


def pid_of(stack: Stack, name: str) -> int:
    pid = stack.parts[name].pid
    assert pid
    return pid


def titles_at(stack: Stack, member: str) -> list[str]:
    """The titles of the tickets on one member, primary or secondary."""
    port = stack.settings.mongodb_ports[MEMBERS.index(member)]
    url = f"mongodb://127.0.0.1:{port}/?directConnection=true&readPreference=secondaryPreferred"
    with MongoClient[Json](url) as client:
        tickets = client[stack.environment["MONGODB_DATABASE"]].tickets.find()
        return [ticket["title"] for ticket in tickets]


def test_each_part_has_its_name_and_serves(stack: Stack) -> None:
    assert list(stack.parts) == [
        *MEMBERS,
        "temporal",
        "stripe",
        "worker-1",
        "worker-2",
        "api-1",
        "api-2",
    ]
    assert stack.api_urls[0] == stack.urls["api"]
    assert [httpx.get(f"{url}/readyz").status_code for url in stack.api_urls] == [200, 200]


def test_a_killed_primary_is_replaced_without_losing_answered_writes(stack: Stack) -> None:
    killed = primary_of(stack)
    with person(stack.urls["api"]) as seller:
        before = list_ticket(seller)
        stack.kill(killed)
        assert primary_of(stack) != killed
        eventually(lambda: seller.get("/readyz").status_code == 200)
        assert seller.get(f"/api/tickets/{before['id']}").status_code == 200
        sold_meanwhile = {"title": "Sold meanwhile", "price": 5000}
        created(seller.post("/api/tickets", json=sold_meanwhile))

    stack.start_part(killed)
    eventually(lambda: sold_meanwhile["title"] in titles_at(stack, killed))


def test_a_frozen_primary_is_replaced_and_rejoins_as_a_secondary(stack: Stack) -> None:
    frozen = primary_of(stack)
    pid = pid_of(stack, frozen)
    with person(stack.urls["api"]) as seller:
        before = list_ticket(seller)
        stack.freeze(frozen)
        eventually(lambda: is_frozen(pid))
        eventually(lambda: stack.primary() not in {frozen, None})
        successor = stack.primary()
        eventually(lambda: seller.get("/readyz").status_code == 200)
        assert seller.get(f"/api/tickets/{before['id']}").status_code == 200
        list_ticket(seller)

    stack.thaw(frozen)
    assert stack.primary() == successor
    eventually(stack.parts[frozen].is_ready)
    assert is_alive(pid)


def test_the_other_api_and_worker_take_over_webhooks_included(stack: Stack) -> None:
    stack.kill("api-1")
    stack.kill("worker-1")
    with person(stack.api_urls[1]) as buyer:
        assert created(pay(buyer, reserve(buyer)))["status"] == "completed"

        order = reserve(buyer)
        waiting = pay(buyer, order, "pm_card_authenticationRequired")
        assert waiting.status_code == 202
        page = f"{stack.urls['stripe_sandbox']}/authenticate"
        params = {"client_secret": waiting.json()["clientSecret"]}
        httpx.post(page, params=params, data={"decision": "approve"})
        eventually(lambda: has_status(buyer, order, "completed"))
    eventually(lambda: undelivered_events(stack) == [])


def test_a_killed_majority_restarts_together(stack: Stack) -> None:
    for name in MEMBERS[:2]:
        stack.kill(name)
    eventually(lambda: stack.primary() is None)
    stack.start_parts(*MEMBERS[:2])
    assert stack.primary() in MEMBERS
