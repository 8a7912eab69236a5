"""A client that leaves ends the wait of its request, and only that."""

import asyncio
import logging

import pytest
from fastapi import FastAPI, Request
from httpx import AsyncClient
from starlette.requests import ClientDisconnect

from api.http.disconnects import ends_when_client_leaves
from api.http.middleware import RequestLogMiddleware
from api.http.problems import render_problem
from tests.api.event_stream import serving
from tests.waiting import eventually


class Office:
    """A server whose answer takes until somebody says so."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.events: list[str] = []
        self.app = FastAPI()
        self.app.add_middleware(RequestLogMiddleware, render=render_problem)
        self.app.post("/watched")(self.wait_watched)
        self.app.post("/unwatched")(self.wait_unwatched)

    async def wait_watched(self, request: Request, body: dict[str, str]) -> str:
        self.events.append("waits")
        try:
            async with ends_when_client_leaves(request):
                await self.may_answer.wait()
        except ClientDisconnect:
            self.events.append("client left")
            raise
        self.events.append("answers")
        return body["name"]

    async def wait_unwatched(self, body: dict[str, str]) -> str:
        self.events.append("waits")
        await self.may_answer.wait()
        self.events.append("answers")
        return body["name"]


async def ask_and_leave(office: Office, url: str, path: str) -> None:
    async with AsyncClient(base_url=url) as client:
        asking = asyncio.create_task(client.post(path, json={"name": "Ada"}))
        await eventually(lambda: office.events == ["waits"])
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_client_that_leaves_ends_the_wait(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    office = Office()
    async with serving(office.app) as url:
        await ask_and_leave(office, url, "/watched")
        await eventually(lambda: "POST '/watched' 0 " in caplog.text)
    assert office.events == ["waits", "client left"]
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_control_without_the_guard_the_server_goes_on_for_nobody() -> None:
    office = Office()
    async with serving(office.app) as url:
        await ask_and_leave(office, url, "/unwatched")
        office.may_answer.set()
        await eventually(lambda: office.events == ["waits", "answers"])


async def test_a_client_that_stays_is_answered() -> None:
    office = Office()
    async with serving(office.app) as url, AsyncClient(base_url=url) as client:
        asking = asyncio.create_task(client.post("/watched", json={"name": "Ada"}))
        await eventually(lambda: office.events == ["waits"])
        office.may_answer.set()
        assert (await asking).json() == "Ada"
        # The connection serves the next request as well.
        assert (await client.post("/watched", json={"name": "Bob"})).json() == "Bob"


async def test_a_cancelled_request_and_a_timeout_within_are_not_mistaken_for_it() -> None:
    async def receive() -> dict[str, str]:
        return await asyncio.Future()

    request = Request({"type": "http"}, receive)  # as of a client that stays

    async def wait() -> None:
        async with ends_when_client_leaves(request):
            await asyncio.Future()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(TimeoutError):
        async with ends_when_client_leaves(request), asyncio.timeout(0):
            await asyncio.Future()
