"""An API that runs in the test's own event loop, and people who use it."""

import asyncio
from collections.abc import AsyncIterator
from http.cookies import Morsel, SimpleCookie
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from pymongo import AsyncMongoClient

from api.app import create_app
from tests.settings import settings_of_an_api_alone
from ticketing.mongodb import BSONDocument
from ticketing.settings import ApiSettings, MongoDBSettings

BASE_URL = "http://holdfast.example"
PASSWORD = "correct horse battery"

Mongo = AsyncMongoClient[BSONDocument]
Json = dict[str, Any]


@pytest.fixture
def api_settings(mongodb_settings: MongoDBSettings) -> ApiSettings:
    return settings_of_an_api_alone(mongodb_settings)


@pytest.fixture
async def app(api_settings: ApiSettings, mongodb: Mongo) -> AsyncIterator[FastAPI]:
    """An API of the test's own, which it may change; `mongodb` has emptied its database."""
    app = create_app(api_settings)
    before = asyncio.all_tasks()
    async with app.router.lifespan_context(app):
        yield app
    # A feed that goes on watching asks MongoDB, and a later test would count that.
    left = [task for task in asyncio.all_tasks() - before if "Feed" in str(task.get_coro())]
    assert not left, "a feed is still watching: see `use_feed`"


def visit(app: FastAPI) -> AsyncClient:
    """A client of the app with a cookie jar of its own, as another browser would have."""
    return AsyncClient(transport=ASGITransport(app), base_url=BASE_URL)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Somebody who has not signed in."""
    async with visit(app) as client:
        yield client


@pytest.fixture
async def seller(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Somebody who is signed in, to sell."""
    async with visit(app) as client:
        await sign_up(client)
        yield client


@pytest.fixture
async def buyer(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Somebody else who is signed in, to buy."""
    async with visit(app) as client:
        await sign_up(client)
        yield client


async def sign_up(
    client: AsyncClient, *, email: str | None = None, password: str = PASSWORD
) -> Json:
    """Make an account; from then on the client carries its cookie."""
    email = email or f"user-{uuid4().hex}@example.com"
    answer = await client.post("/api/users/signup", json={"email": email, "password": password})
    assert answer.status_code == 201, answer.text
    user: Json = answer.json()
    return user


async def sign_in(client: AsyncClient, email: str, password: str = PASSWORD) -> Response:
    return await client.post("/api/users/signin", json={"email": email, "password": password})


async def current_user(client: AsyncClient, **headers: str) -> Json | None:
    answer = (await client.get("/api/users/currentuser", headers=headers)).json()
    user: Json | None = answer["currentUser"]
    return user


def cookie_of(answer: Response) -> Morsel[str]:
    """The session cookie that an answer sets, with its attributes."""
    return SimpleCookie(answer.headers["Set-Cookie"])["session"]


async def list_ticket(
    client: AsyncClient, *, title: str = "Radiohead, Berlin", price: int = 5000
) -> Json:
    """List a ticket for sale as whoever the client is."""
    answer = await client.post("/api/tickets", json={"title": title, "price": price})
    assert answer.status_code == 201, answer.text
    ticket: Json = answer.json()
    return ticket


def assert_problem(answer: Response, status: int, code: str) -> Json:
    """The answer is this refusal, as a whole problem; gives its members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: Json = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:problem-type:holdfast:{code}"
    assert problem["title"]
    assert problem["detail"]
    return problem
