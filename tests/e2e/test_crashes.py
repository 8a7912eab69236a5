"""The real processes, driven over HTTP, and killed in the middle of a purchase."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest

from devstack.settings import StackSettings
from devstack.stack import Stack
from tests.devstack.stripe_faults import has_struck, stripe_fault
from tests.devstack.waiting import eventually

Json = dict[str, Any]

HELD = {"kind": "held", "match": {"path": "/v1/payment_intents"}}
"""The next payment, for as long as Stripe is to decide."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """uvicorn, `worker.py`, mongod, the Temporal server and the Stripe sandbox."""
    settings = StackSettings.on_free_ports(tmp_path_factory.mktemp("e2e"))
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    with Stack(settings, environ | {"PAYMENT_WAIT": "30"}) as stack:
        yield stack


@contextmanager
def person(stack: Stack, name: str) -> Iterator[httpx.Client]:
    """Somebody who has signed up."""
    user = {"email": f"{name}-{os.urandom(4).hex()}@example.com", "password": "a long password"}
    with httpx.Client(base_url=stack.urls["api"], timeout=60) as client:
        assert client.post("/api/users/signup", json=user).status_code == 201
        yield client


@pytest.fixture
def seller(stack: Stack) -> Iterator[httpx.Client]:
    with person(stack, "seller") as client:
        yield client


@pytest.fixture
def buyer(stack: Stack) -> Iterator[httpx.Client]:
    with person(stack, "buyer") as client:
        yield client


def created(answer: httpx.Response) -> Json:
    assert answer.status_code == 201, answer.text
    body: Json = answer.json()
    return body


def reserve(seller: httpx.Client, buyer: httpx.Client) -> Json:
    ticket = created(seller.post("/api/tickets", json={"title": "Row 4", "price": 5000}))
    return created(buyer.post("/api/orders", json={"ticketId": ticket["id"]}))


def pay(buyer: httpx.Client, order: Json, card: str = "pm_card_visa") -> httpx.Response:
    return buyer.post("/api/payments", json={"orderId": order["id"], "paymentMethod": card})


def order_now(buyer: httpx.Client, order: Json) -> Json:
    body: Json = buyer.get(f"/api/orders/{order['id']}").json()
    return body


def charged(stack: Stack, order: Json) -> list[Json]:
    """What the sandbox's own ledger says was captured for the order."""
    ledger = httpx.get(f"{stack.urls['stripe_sandbox']}/_sandbox/ledger").json()
    intents = [i for i in ledger["payment_intents"] if i["metadata"]["order_id"] == order["id"]]
    return [intent for intent in intents if intent["captured"]]


def assert_bought(stack: Stack, buyer: httpx.Client, order: Json) -> None:
    now = order_now(buyer, order)
    assert now["status"] == "completed"
    assert [charge["status"] for charge in now["charges"]] == ["completed"]
    assert buyer.get(f"/api/tickets/{order['ticketId']}").json()["status"] == "sold"
    assert [intent["captured"] for intent in charged(stack, order)] == [5000]


@pytest.mark.long
def test_a_worker_killed_between_reservation_and_payment_costs_nobody_anything(
    stack: Stack, seller: httpx.Client, buyer: httpx.Client
) -> None:
    order = reserve(seller, buyer)

    stack.kill("worker")
    with ThreadPoolExecutor() as threads:
        payment = threads.submit(pay, buyer, order)
        stack.start_part("worker")

        assert created(payment.result())["status"] == "completed"
    assert_bought(stack, buyer, order)


def test_a_worker_killed_while_stripe_decides_charges_once(
    stack: Stack, seller: httpx.Client, buyer: httpx.Client
) -> None:
    order = reserve(seller, buyer)

    with ThreadPoolExecutor() as threads:
        with stripe_fault(stack, **HELD):
            payment = threads.submit(pay, buyer, order)
            eventually(lambda: has_struck(stack))
            stack.kill("worker")
            stack.start_part("worker")
        payment.result()

    eventually(lambda: order_now(buyer, order)["status"] == "completed", timeout=60)
    assert_bought(stack, buyer, order)


@pytest.mark.long
def test_what_was_answered_survives_a_kill_of_every_process(
    stack: Stack, seller: httpx.Client, buyer: httpx.Client
) -> None:
    order = reserve(seller, buyer)

    for name in ("api", "worker", "temporal", "mongodb", "stripe"):
        stack.kill(name)
    for name in ("mongodb", "temporal", "stripe", "worker", "api"):
        stack.start_part(name)

    assert order_now(buyer, order)["status"] == "created"
    assert created(pay(buyer, order))["status"] == "completed"
    assert_bought(stack, buyer, order)


@pytest.mark.long
def test_an_api_killed_before_it_answers_is_asked_again_under_the_same_key(
    stack: Stack, seller: httpx.Client, buyer: httpx.Client
) -> None:
    ticket = created(seller.post("/api/tickets", json={"title": "Row 4", "price": 5000}))
    key = {"Idempotency-Key": f'"{uuid4()}"'}
    wish = {"ticketId": ticket["id"]}
    order = created(buyer.post("/api/orders", json=wish, headers=key))
    stack.kill("api")
    stack.start_part("api")
    assert created(buyer.post("/api/orders", json=wish, headers=key)) == order

    payment = {"orderId": order["id"], "paymentMethod": "pm_card_visa"}
    pay = partial(buyer.post, "/api/payments", json=payment, headers=key)
    with ThreadPoolExecutor() as threads, stripe_fault(stack, **HELD):
        unanswered = threads.submit(pay)
        eventually(lambda: has_struck(stack))
        stack.kill("api")
        assert isinstance(unanswered.exception(), httpx.TransportError)
    stack.start_part("api")

    def is_paid() -> bool:
        answer = pay()
        return answer.status_code == 201 or answer.json()["code"] != "request_in_progress"

    eventually(is_paid, timeout=60)
    assert created(pay()) == order_now(buyer, order)["charges"][0]
    assert_bought(stack, buyer, order)


@pytest.mark.long
def test_the_bank_is_asked_on_its_page_and_the_webhook_tells_the_order(
    stack: Stack, seller: httpx.Client, buyer: httpx.Client
) -> None:
    order = reserve(seller, buyer)
    waiting = pay(buyer, order, "pm_card_authenticationRequired")
    assert waiting.status_code == 202

    page = f"{stack.urls['stripe_sandbox']}/authenticate"
    params = {"client_secret": waiting.json()["clientSecret"]}
    pressed = httpx.post(page, params=params, data={"decision": "approve"})
    assert pressed.status_code < 400, pressed.text

    eventually(lambda: order_now(buyer, order)["status"] == "completed")
    assert_bought(stack, buyer, order)
