"""Server-sent events, read as a browser reads them, from an API that is really served."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from httpx import AsyncClient, Response

from stripe_sandbox.server import SandboxServer, listen, url_of

EVENTS = "/api/tickets/events"
TIMEOUT_SECONDS = 20.0
"""Far above what any event takes; only a failing test waits so long."""


@dataclass(frozen=True)
class Event:
    """One event, as an `EventSource` dispatches it."""

    type: str
    data: Any
    id: str


class EventReader:
    """The client's side of a stream."""

    def __init__(self, response: Response, last_event_id: str) -> None:
        self.response = response
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._lines = response.aiter_lines()
        self._events = self._dispatched()

    async def next(self) -> Event:
        """The next event, however long the stream says nothing but where it is."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (event := await anext(self._events)) is None:
                pass
        return event

    async def take(self, count: int) -> list[Event]:
        return [await self.next() for _ in range(count)]

    async def begins(self) -> None:
        """Wait until the stream has said where it is, hence hears of all that is done from now."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await anext(self._events) is None

    async def rest(self) -> list[Event]:
        """What still comes until the other side ends the stream."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return [event async for event in self._events if event]

    async def _dispatched(self) -> AsyncIterator[Event | None]:
        """Event by event; None where there is only an id."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                assert name in {"event", "data", "id", "retry"} - fields.keys(), line
                fields[name] = value
                continue
            self.last_event_id = fields.get("id", self.last_event_id)
            self.retry = int(fields["retry"]) if "retry" in fields else self.retry
            if "data" in fields:
                yield Event(fields["event"], json.loads(fields["data"]), self.last_event_id)
            elif "id" in fields:
                yield None
            fields = {}


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve an app whose lifespan runs already; httpx alone would wait for the end of a stream."""
    listener = listen("127.0.0.1", 0)
    server = SandboxServer(app)
    server.config.lifespan = "off"
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.ready.wait()
    try:
        yield url_of(listener)
    finally:
        server.stop()
        await task


@asynccontextmanager
async def hearing(
    url: str, *, last_event_id: str = "", **query: str | list[str]
) -> AsyncIterator[EventReader]:
    """An open stream."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    async with (
        AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS) as client,
        client.stream("GET", EVENTS, params=query, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield EventReader(response, last_event_id)
