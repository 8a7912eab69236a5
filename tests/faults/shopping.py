"""A customer at an API whose processes come and go: asks again, elsewhere, until answered."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import httpx

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
    patience_seconds: float
    """How long a customer goes on trying once everything works again; before, for ever."""
    mended_at: float | None = None
    """Since when, on the clock of `time.monotonic()`, nothing breaks any more."""
    answers: Counter[int] = field(default_factory=Counter)
    """By HTTP status; 0 where the connection broke or nothing came in time."""
    blunders: list[str] = field(default_factory=list)
    """Answers that no fault excuses: a 500, or an error without a code."""

    def tries_its_customers(self, since: float) -> bool:
        """Whether somebody who has waited since then has been patient enough."""
        if self.mended_at is None:
            return False
        return time.monotonic() - max(since, self.mended_at) > self.patience_seconds

    def _record(self, request: str, answer: httpx.Response) -> None:
        self.answers[answer.status_code] += 1
        is_problem = answer.headers.get("content-type") == "application/problem+json"
        if answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR or (
            answer.is_error and not is_problem
        ):
            self.blunders.append(f"{request} answered {answer.status_code}: {answer.text[:200]}")


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
        token = await self.shop.doors[0].post("/api/users/token", data=form)
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
    ) -> httpx.Response:
        """Send a request until something other than an outage answers it.

        A request that changes something carries one idempotency key for all its tries.

        Raises:
            Unanswered: nothing did, long after everything was mended.
        """
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if method == "POST":
            headers["Idempotency-Key"] = f'"{key or uuid4()}"'
        since, pause = time.monotonic(), FIRST_PAUSE
        while not self.shop.tries_its_customers(since):
            door = dice.choice(self.shop.doors)
            try:
                answer = await door.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                self.shop.answers[0] += 1
            else:
                self.shop._record(f"{method} {path}", answer)
                if not _says_try_again(answer):
                    return answer
            await asyncio.sleep(pause * dice.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE)
        raise Unanswered(f"{method} {path}")


def _says_try_again(answer: httpx.Response) -> bool:
    if answer.status_code == HTTPStatus.CONFLICT:
        return bool(answer.json()["code"] == "request_in_progress")
    return answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
