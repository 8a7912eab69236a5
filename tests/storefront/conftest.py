"""The storefront as people with browsers meet it; without Temporal, unless a test needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from beanie import init_beanie
from fastapi import FastAPI
from pydantic import SecretStr

from api.app import create_app
from api.users import passwords
from tests import settings
from tests.api.conftest import Mongo, sign_up
from tests.databases import empty
from tests.storefront.browser import Browser
from ticketing.models import DOCUMENT_MODELS
from ticketing.settings import (
    ApiSettings,
    MongoDBSettings,
    OperatorSettings,
    StripeBrowserSettings,
)


@pytest.fixture(scope="session")
def api_settings(mongodb_url: str) -> ApiSettings:
    """A database for all tests of the pages, and a Temporal that does not respond."""
    mongodb = MongoDBSettings(url=SecretStr(mongodb_url), database="test_storefront")
    return settings.api_settings(mongodb).model_copy(
        update={"stripe": StripeBrowserSettings(), "operator": OperatorSettings()}
    )


@pytest.fixture(scope="session")
async def lasting_app(api_settings: ApiSettings) -> AsyncIterator[FastAPI]:
    """The API with its lifespan running; starting one takes longer than most tests here."""
    with pytest.MonkeyPatch.context() as cheap_hashes:
        cheap_hashes.setattr(passwords, "MEMORY_KIB", 8)
        app = create_app(api_settings)
    async with app.router.lifespan_context(app):
        yield app


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
async def app(lasting_app: FastAPI, api_settings: ApiSettings) -> FastAPI:
    """The API with an empty database, to which the documents are bound."""
    await empty(api_settings.mongodb)
    mongo: Mongo = lasting_app.state.mongo
    database = mongo[api_settings.mongodb.database]
    await init_beanie(database=database, document_models=DOCUMENT_MODELS, skip_indexes=True)
    return lasting_app


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
