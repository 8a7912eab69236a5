"""A marketplace on real servers: MongoDB and Temporal for the run, everything else for a test."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from api.app import create_app
from devstack.temporal import running_temporal_dev_server
from tests.purchases.contract import Documentation
from tests.purchases.marketplace import Marketplace, Person, api_settings, open_marketplace
from ticketing.models import DOCUMENT_MODELS
from ticketing.mongodb import BSONDocument, connect_mongodb
from ticketing.settings import MongoDBSettings


@pytest.fixture(scope="session")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Temporal server that lives as long as the test run."""
    with running_temporal_dev_server(tmp_path_factory.mktemp("temporal")) as address:
        yield address


@pytest.fixture(scope="session")
def documentation(mongodb_url: str, temporal_address: str) -> Documentation:
    """The OpenAPI page, the same for every test: describing the API takes a while."""
    mongodb = MongoDBSettings(url=SecretStr(mongodb_url))
    return Documentation(create_app(api_settings(mongodb, temporal_address)))


@pytest.fixture
def mongodb_settings(mongodb_url: str) -> MongoDBSettings:
    """One database for all of these tests: making and dropping one takes longer than a test."""
    return MongoDBSettings(url=SecretStr(mongodb_url), database="test_purchases")


@pytest.fixture
async def mongodb(
    mongodb_settings: MongoDBSettings,
) -> AsyncIterator[AsyncMongoClient[BSONDocument]]:
    """A connected client; the documents are bound to a database that is empty."""
    client = await connect_mongodb(mongodb_settings)  # makes an index that a test has dropped
    for document in DOCUMENT_MODELS:
        await document.get_pymongo_collection().delete_many({})
    yield client
    await client.close()


@pytest.fixture
async def idle_market(
    mongodb: AsyncMongoClient[BSONDocument],
    mongodb_settings: MongoDBSettings,
    temporal_address: str,
    documentation: Documentation,
) -> AsyncIterator[Marketplace]:
    """A marketplace without a worker; its task queue is its own."""
    async with open_marketplace(
        mongodb, mongodb_settings, temporal_address, documentation
    ) as market:
        yield market


@pytest.fixture
async def market(idle_market: Marketplace) -> AsyncIterator[Marketplace]:
    """A marketplace with a worker."""
    async with idle_market.working():
        yield idle_market


@pytest.fixture
async def seller(idle_market: Marketplace) -> Person:
    return await idle_market.somebody()


@pytest.fixture
async def buyer(idle_market: Marketplace) -> Person:
    return await idle_market.somebody()


@pytest.fixture
async def other_buyer(idle_market: Marketplace) -> Person:
    return await idle_market.somebody()
