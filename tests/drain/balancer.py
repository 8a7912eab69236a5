"""A balancer as platforms have it: it sends requests to whoever said lately to be ready."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

LOOK_SECONDS = 1.5
"""How often it asks who is ready; so long it may still send somebody to one that is not."""
KEEP_ALIVE_SECONDS = 30.0
"""How long it keeps idle connections; shorter than the API does, as every proxy has to."""
ANSWER_WITHIN_SECONDS = 40.0

Json = dict[str, Any]


class NotAnswered(Exception):
    """The connection was refused or broke before an answer had come."""


class Balancer:
    """Sends each request once, over connections that it keeps open, and never again."""

    def __init__(self, doors: Sequence[httpx.AsyncClient]) -> None:
        self._doors = doors
        self._open = list(doors)
        self.unanswered: list[str] = []
        self.looks: Counter[httpx.URL] = Counter()
        """How often each door was asked whether it is ready."""

    async def post(
        self, path: str, body: Json, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send the request to one of those that are ready.

        Raises:
            NotAnswered: nobody answered it.
        """
        door = random.choice(self._open or self._doors)
        try:
            return await door.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            self.unanswered.append(f"{path}: {type(error).__name__}: {error}")
            raise NotAnswered(path) from error

    async def keep_looking(self, door: httpx.AsyncClient) -> None:
        """Ask the door again and again whether it is ready, until cancelled."""
        async with httpx.AsyncClient(base_url=door.base_url, trust_env=False) as probe:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                is_ready = await _is_ready(probe)
                self.looks[door.base_url] += 1
                if is_ready and door not in self._open:
                    self._open.append(door)
                if is_ready is False and door in self._open:
                    self._open.remove(door)


async def _is_ready(probe: httpx.AsyncClient) -> bool | None:
    """None where nobody can tell: a busy process is not one that stops."""
    try:
        answer = await probe.get("/readyz", headers={"Connection": "close"})
    except httpx.ConnectError:
        return False
    except httpx.TransportError:
        return None
    return answer.is_success


@asynccontextmanager
async def balancer_before(urls: Sequence[str]) -> AsyncIterator[Balancer]:
    """A balancer in front of the API processes at these URLs, while the block runs."""
    limits = httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS)
    async with AsyncExitStack() as clients:
        doors = [
            await clients.enter_async_context(
                httpx.AsyncClient(
                    base_url=url, timeout=ANSWER_WITHIN_SECONDS, limits=limits, trust_env=False
                )
            )
            for url in urls
        ]
        balancer = Balancer(doors)
        looking = [asyncio.create_task(balancer.keep_looking(door)) for door in doors]
        try:
            yield balancer
        finally:
            for task in looking:
                task.cancel()
