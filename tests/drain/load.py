"""Customers who buy one ticket after the other, while somebody stops processes."""

import asyncio
import time
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Self
from uuid import uuid4

import httpx

from devstack.stack import Stack
from tests.devstack.waiting import eventually
from tests.drain.balancer import Balancer, Json, NotAnswered, balancer_before
from tests.faults.promises import ListedTicket, Promises, ReservedOrder

CUSTOMERS = 5
PRICE = 5000
CREATED = 201
PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 60.0


@dataclass
class Load:
    """Purchases through a balancer, from a thread of their own, for as long as the block runs."""

    stack: Stack
    promises: Promises = field(default_factory=Promises)
    unanswered: list[str] = field(default_factory=list)
    """Requests whose connection was refused or broke before their answer."""
    unexpected: list[str] = field(default_factory=list)
    """Answers other than 201."""
    longest_seconds: float = 0.0
    """The longest that anybody has waited for an answer."""

    def __enter__(self) -> Self:
        self._is_over = Event()
        self._bought = 0
        self._thread = Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def wait_for_purchases(self, more: int, timeout: float = 60.0) -> None:
        """Return when so many more have been completed."""
        wanted, deadline = self._bought + more, time.monotonic() + timeout
        while self._bought < wanted:
            assert time.monotonic() < deadline, f"{self._bought} of {wanted} bought"
            assert self._thread.is_alive(), "nobody buys any more"
            time.sleep(0.02)

    def wait_for_a_look_at(self, url: str) -> None:
        """Return when the balancer has just looked at the API process, and will not for a while."""
        before = self._balancer.looks[httpx.URL(url)]
        eventually(lambda: self._balancer.looks[httpx.URL(url)] > before)

    async def _run(self) -> None:
        async with balancer_before(self.stack.api_urls) as balancer:
            self._balancer = balancer
            self.unanswered = balancer.unanswered
            await asyncio.gather(*(self._shop(balancer) for _ in range(CUSTOMERS)))

    async def _shop(self, balancer: Balancer) -> None:
        customer = _Customer(self, balancer)
        await customer.sign_up()
        while not self._is_over.is_set():
            await customer.buy()
            self._bought += 1


class _Customer:
    """Somebody who sells tickets, and buys them under another name.

    Asks again under the same idempotency key when no answer came, as RFC 9110 (section 9.2.2)
    allows only to who knows that it cannot do harm.
    """

    def __init__(self, load: Load, balancer: Balancer) -> None:
        self._load = load
        self._balancer = balancer
        self._seller, self._buyer = "", ""

    async def sign_up(self) -> None:
        self._seller, self._buyer = [await self._token() for _ in range(2)]

    async def buy(self) -> None:
        ticket = await self._ask("/api/tickets", self._seller, {"title": "A", "price": PRICE})
        promises = self._load.promises
        promises.listed.append(ListedTicket(ticket["id"], PRICE))
        order = await self._ask("/api/orders", self._buyer, {"ticketId": ticket["id"]})
        reserved = ReservedOrder(order["id"], ticket["id"], order["userId"], PRICE)
        promises.reserved[order["id"]] = reserved
        payment = {"orderId": order["id"], "paymentMethod": "pm_card_visa"}
        await self._ask("/api/payments", self._buyer, payment)
        promises.paid.add(order["id"])

    async def _token(self) -> str:
        user = {"email": f"{uuid4()}@example.com", "password": "a long password"}
        answer = await self._balancer.post("/api/users/signup", user)
        self._load.promises.users.add(answer.json()["id"])
        return answer.cookies["session"]

    async def _ask(self, path: str, token: str, body: Json) -> Json:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f'"{uuid4()}"'}
        began_at = time.monotonic()
        while time.monotonic() < began_at + PATIENCE_SECONDS:
            try:
                answer = await self._balancer.post(path, body, headers)
            except NotAnswered:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if answer.status_code == CREATED:
                waited = time.monotonic() - began_at
                self._load.longest_seconds = max(self._load.longest_seconds, waited)
                found: Json = answer.json()
                return found
            self._load.unexpected.append(f"{path}: {answer.status_code} {answer.text}")
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError(f"{path} was not answered in {PATIENCE_SECONDS} s")
