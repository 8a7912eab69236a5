"""A customer at an API whose processes come and go: asks again, elsewhere, until answered."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import httpx

from tests.faults.pace import Machine, Wait

Json = dict[str, Any]

ANSWER_WITHIN_SECONDS = 14.0
"""Longer than the API itself waits for a worker or for Stripe."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Before a request is sent again: longer each time, or a short outage is followed by a stampede."""
PASSWORD = "correct horse battery staple"


class Unanswered(Exception):
    """Nobody answered for as long as a customer is willing to try."""


@dataclass
class Shop:
    """The doors of the marketplace, and what was seen of it from outside."""

    doors: Sequence[httpx.AsyncClient]
    """One for each API process."""
    machine: Machine
    patience_seconds: float
    """How long a customer goes on trying once everything works again, in machine time."""
    is_mended: bool = False
    """Whether nothing breaks any more; until then customers try for ever."""
    answers: Counter[int] = field(default_factory=Counter)
    """By HTTP status; 0 where the connection broke or nothing came in time."""
    blunders: list[str] = field(default_factory=list)
    """Answers that no fault excuses: a 500, or an error without a code."""

    def patience(self) -> "Patience":
        """Of a customer who begins to wait now."""
        return Patience(self)

    def _record(self, request: str, answer: httpx.Response) -> None:
        status = answer.status_code
        self.answers[status] += 1
        is_problem = answer.headers.get("content-type") == "application/problem+json"
        if status == HTTPStatus.INTERNAL_SERVER_ERROR or (answer.is_error and not is_problem):
            self.blunders.append(f"{request} answered {status}: {answer.text[:200]}")


class Patience:
    """Of one customer; it does not shrink before everything works again."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._wait: Wait | None = None

    @property
    def is_over(self) -> bool:
        if self._wait is None and self._shop.is_mended:
            self._wait = Wait(self._shop.machine, self._shop.patience_seconds)
        return self._wait is not None and self._wait.is_over

    def __str__(self) -> str:
        """How long nothing has happened."""
        return str(self._wait)


@dataclass
class Customer:
    """Somebody who is signed in."""

    shop: Shop
    email: str
    id: str = ""
    _token: str = ""

    async def sign_up(self) -> None:
        """Make the account; it stands from now on, whatever dies."""
        account = {"email": self.email, "password": PASSWORD}
        answer = await self.ask(random.Random(self.email), "POST", "/api/users/signup", account)
        assert answer.status_code in (HTTPStatus.CREATED, HTTPStatus.CONFLICT), answer.text
        form = {"username": self.email, "password": PASSWORD}
        token = await self.ask(random.Random(), "POST", "/api/users/token", form=form)
        self._token = token.raise_for_status().json()["access_token"]
        answer = await self.ask(random.Random(), "GET", "/api/users/currentuser")
        self.id = answer.json()["currentUser"]["id"]

    async def ask(
        self,
        dice: random.Random,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        key: str | None = None,
        form: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request until something other than an outage answers it.

        A request that changes something carries one idempotency key for all its tries.

        Raises:
            Unanswered: nothing did, long after everything was mended.
        """
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if method == "POST":
            headers["Idempotency-Key"] = f'"{key or uuid4()}"'
        patience, pause = self.shop.patience(), FIRST_PAUSE
        while not patience.is_over:
            door = dice.choice(self.shop.doors)
            try:
                answer = await door.request(method, path, json=body, data=form, headers=headers)
            except httpx.TransportError:
                self.shop.answers[0] += 1
            else:
                self.shop._record(f"{method} {path}", answer)
                if not _says_try_again(answer):
                    return answer
            await asyncio.sleep(pause * dice.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE)
        raise Unanswered(f"{method} {path} {patience}")


def _says_try_again(answer: httpx.Response) -> bool:
    if answer.status_code == HTTPStatus.CONFLICT:
        return bool(answer.json()["code"] == "request_in_progress")
    return answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
