"""People who buy and sell at a running stack."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from devstack.stack import Stack

PASSWORD = "a-password-that-nobody-is-told"

Json = dict[str, Any]


@dataclass
class Shopper:
    """Somebody who is signed in."""

    http: httpx.Client
    email: str

    def list_ticket(self) -> Json:
        listing = {"title": "Front row", "price": 4200}
        return _created(self.http.post("/api/tickets", json=listing))

    def ask_for(self, ticket: Json) -> httpx.Response:
        return self.http.post("/api/orders", json={"ticketId": ticket["id"]})

    def reserve(self, ticket: Json) -> Json:
        return _created(self.ask_for(ticket))

    def submit(
        self, order: Json, card: str = "pm_card_visa", *, key: str | None = None
    ) -> httpx.Response:
        payment = {"orderId": order["id"], "paymentMethod": card}
        headers = {"Idempotency-Key": key} if key else {}
        return self.http.post("/api/payments", json=payment, headers=headers)

    def pay(self, order: Json) -> Json:
        return _created(self.submit(order))


@contextmanager
def shoppers(stack: Stack, *names: str) -> Iterator[list[Shopper]]:
    """As many people as there are names, each with an address of its own."""
    with ExitStack() as clients:
        people = []
        for name in names:
            http = clients.enter_context(
                httpx.Client(base_url=stack.urls["api"], timeout=30, trust_env=False)
            )
            email = f"{name}-{uuid4().hex}@example.com"
            user = {"email": email, "password": PASSWORD}
            assert http.post("/api/users/signup", json=user).status_code == 201
            people.append(Shopper(http, email))
        yield people


def _created(answer: httpx.Response) -> Json:
    assert answer.status_code == 201, answer.text
    created: Json = answer.json()
    return created
