"""The storefront as people with browsers meet it; without Temporal, unless a test needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from api.app import create_app
from api.resources import resources_of
from tests.api.conftest import sign_up
from tests.storefront.browser import Browser
from ticketing.settings import (
    ApiSettings,
)


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


@pytest.fixture
def api_settings(app: FastAPI) -> ApiSettings:
    """For another API on the same database."""
    return resources_of(app).settings


@asynccontextmanager
async def running(settings: ApiSettings) -> AsyncIterator[FastAPI]:
    """An API of a test's own, with settings of its own; documents are bound to its database."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


async def make_account(app: FastAPI, email: str) -> None:
    """Let somebody sign up elsewhere."""
    async with Browser(app) as browser:
        await sign_up(browser.http, email=email)


@pytest.fixture
async def visitor(app: FastAPI) -> AsyncIterator[Browser]:
    """Somebody who has not signed in."""
    async with Browser(app) as browser:
        yield browser


@pytest.fixture
async def seller(app: FastAPI) -> AsyncIterator[Browser]:
    """Somebody who is signed in, to sell."""
    async with Browser(app) as browser:
        await sign_up(browser.http)
        yield browser


@pytest.fixture
async def buyer(app: FastAPI) -> AsyncIterator[Browser]:
    """Somebody else who is signed in, to buy."""
    async with Browser(app) as browser:
        await sign_up(browser.http)
        yield browser
